"""Profiles: named sets of what jobs inherit; each is edited as the text that a file would hold."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from highball.config.dump import spec_as_yaml
from highball.config.job import Profile
from highball.config.load import read
from highball.config.references import Spec
from highball.errors import ConfigurationInvalid, HighballError, Problem
from highball.hub.document.diff import (
    Declared,
    Preview,
)
from highball.hub.hub import Hub
from highball.web.authorize import Admin, Sees
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms.fields import (
    LongText,
    Number,
    Question,
    Text,
    ask,
    file_of,
    revision_that_holds,
)
from highball.web.pages.history import history_of, in_use, name_of, page_of
from highball.web.ui import status_looks
from highball.web.ui.templating import (
    Pages,
    Said,
    go,
)

PROFILES = "/profiles"

router = APIRouter(include_in_schema=False)


@router.get(PROFILES)
def show_all(hub: TheHub, pages: ThePages, request: Request, _: Sees) -> Response:
    found = hub.operations.list_objects("profile")
    used: dict[str, int] = {}
    for job in hub.operations.list_objects("job"):
        name = job.spec.get("profile")
        used[str(name)] = used.get(str(name), 0) + 1
    return pages.answer(
        request, "profiles", {"profiles": [(one, _says(one.spec), used.get(one.key, 0)) for one in found]}
    )


def _says(spec: Spec) -> str:
    """What a profile sets, in short."""
    return "; ".join(f"{name} {status_looks.plain(value)}" for name, value in spec.items() if name != "title")


def _answer(
    hub: Hub,
    pages: Pages,
    request: Request,
    key: str,
    text: str,
    one: Declared | None,
    *,
    revision: int = 0,
    found: Preview | None = None,
    error: HighballError | None = None,
) -> Response:
    problems = _problems_of(found, error)
    context: dict[str, Any] = {
        "key": key,
        "text": text,
        "one": one,
        "revision": revision,
        "preview": found,
        "problems": _without(f"profiles.{key}", problems),
        "error": error,
        "file": file_of(hub, one),
        "used_by": _list_users(hub, one.key) if one else [],
        "question": _about(one) if one else None,
        "fields": [(name, field.description) for name, field in Profile.model_fields.items()],
    }
    status = error.http_status if error else 422 if problems else 200
    return pages.answer(request, "profile", context, status=status)


@router.get("/profiles/new")
def new(hub: TheHub, pages: ThePages, request: Request, _: Admin) -> Response:
    return _answer(hub, pages, request, "", "", None)


@router.post(PROFILES)
def create(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    actor: Admin,
    key: Text = "",
    text: LongText = "",
    do: Text = "",
) -> Response:
    key = key.strip()
    try:
        spec = _read(text)
        if do == "preview":
            return _answer(
                hub,
                pages,
                request,
                key,
                text,
                None,
                found=hub.operations.preview_object("profile", key, spec),
            )
        hub.operations.create_object("profile", key, spec, actor)
    except HighballError as error:
        return _answer(hub, pages, request, key, text, None, error=error)
    return go(_address(key), said=Said(f"The profile {key} is created. Jobs can use it now."))


@router.get("/profiles/{key}")
def show(hub: TheHub, pages: ThePages, key: str, request: Request, _: Sees) -> Response:
    one = hub.operations.get_object("profile", key)
    return _answer(hub, pages, request, key, spec_as_yaml("profile", one.spec), one, revision=one.revision)


@router.post("/profiles/{key}")
def change(
    hub: TheHub,
    pages: ThePages,
    key: str,
    request: Request,
    actor: Admin,
    text: LongText = "",
    do: Text = "",
    revision: Number = 0,
) -> Response:
    one = hub.operations.get_object("profile", key)
    try:
        spec = _read(text)
        if do == "preview":
            found = hub.operations.preview_object("profile", key, spec)
            return _answer(hub, pages, request, key, text, one, revision=revision, found=found)
        hub.operations.change_object("profile", key, spec, actor, expected=revision)
    except HighballError as error:
        holds = revision_that_holds(error, revision)
        return _answer(hub, pages, request, key, text, one, revision=holds, error=error)
    return go(_address(key), said=Said(f"The profile {key} is saved.", undo=history_of("profile", key)))


@router.get("/profiles/{key}/delete")
def ask_about(hub: TheHub, pages: ThePages, key: str, request: Request, _: Admin) -> Response:
    declared = hub.operations.get_object("profile", key)
    return ask(pages, request, in_use(hub, "profile", key) or _about(declared))


@router.post("/profiles/{key}/delete")
def delete(hub: TheHub, key: str, actor: Admin, revision: Number = 0) -> Response:
    hub.operations.delete_object("profile", key, actor, expected=revision)
    return go(PROFILES, said=Said(f"The profile {key} is deleted.", undo="/deleted"))


# --- small steps ---------------------------------------------------------------------------------


def _read(text: str) -> Spec:
    """The table that the text spells. Raises ConfigurationInvalid."""
    return read(text.encode("utf-8", "surrogatepass"), "yaml")


def _address(key: str) -> str:
    return f"{PROFILES}/{quote(key, safe='')}"


def _problems_of(found: Preview | None, error: HighballError | None) -> tuple[Problem, ...]:
    if found is not None:
        return found.problems
    return error.problems if isinstance(error, ConfigurationInvalid) else ()


def _without(place: str, problems: tuple[Problem, ...]) -> list[Problem]:
    """The problems with their places inside the text; what lies elsewhere in the document keeps its place."""
    return [
        Problem(one.at.removeprefix(f"{place}.") if one.at != place else "", one.message, one.hint)
        for one in problems
    ]


def _list_users(hub: Hub, key: str) -> list[tuple[str, str]]:
    """Who names the profile, and where that is shown."""
    found = dict.fromkeys(reference.of for reference in hub.operations.list_references("profile", key))
    return [(name_of(*place), page_of(*place)) for place in found]


def _about(one: Declared) -> Question:
    return Question(
        title=f"Delete the profile {one.key}?",
        text="Jobs can no longer use it. You can restore it later under Settings, Deleted.",
        action=f"{_address(one.key)}/delete",
        verb="Delete profile",
        back=_address(one.key),
        hidden=(("revision", str(one.revision)),),
    )
