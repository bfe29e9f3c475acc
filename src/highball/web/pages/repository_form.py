"""The form of a repository: where it lies, by what it is opened, and who looks after it; tested before it is saved."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response

from highball.config.object_keys import key_from
from highball.config.references import Spec
from highball.config.repository import is_reached_otherwise
from highball.engine import kinds
from highball.engine.kinds import USUAL, engine_in
from highball.errors import ConfigurationInvalid, Conflict, HighballError, Problem, Stale, Unknown
from highball.hub.audit import Actor
from highball.hub.hub import Hub
from highball.hub.operations.trials import OPENS, RepositoryTestAnswer
from highball.hub.runs.record import utc_now
from highball.secret import SecretValue
from highball.web.api.connection_tests import UNSAVED
from highball.web.authorize import Admin
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms.fields import file_of, new_order_key
from highball.web.forms.repository_fields import RepositoryForm
from highball.web.ui import status_looks
from highball.web.ui.addresses import repository_page
from highball.web.ui.templating import (
    Pages,
    Said,
    go,
    link,
    own,
)

# --- the pages -----------------------------------------------------------------------------------

Sent = Annotated[RepositoryForm, Form()]

router = APIRouter(include_in_schema=False)


@router.get("/repositories/new")
def show_new(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    _: Admin,
    to: Annotated[str, Query(max_length=200)] = "",
    engine: str = USUAL.words.name,
) -> Response:
    if engine not in _engines():
        raise Unknown(f"{engine[:40]} is not a known engine", code="engine_unknown")
    blank = RepositoryForm(to=to, engine=engine, order_key=new_order_key())
    return _drawn(hub, pages, request, None, blank)


@router.post("/repositories/new")
async def make(hub: TheHub, pages: ThePages, request: Request, actor: Admin, sent: Sent) -> Response:
    return await _take(hub, pages, request, actor, None, sent)


@router.get("/repositories/{key}/edit")
def show_edit(hub: TheHub, pages: ThePages, request: Request, key: str, _: Admin) -> Response:
    declared = hub.operations.get_object("repository", key)
    return _drawn(hub, pages, request, key, RepositoryForm.of(key, declared.spec, declared.revision))


@router.post("/repositories/{key}/edit")
async def change(
    hub: TheHub, pages: ThePages, request: Request, key: str, actor: Admin, sent: Sent
) -> Response:
    return await _take(hub, pages, request, actor, key, await asyncio.to_thread(_as_declared, hub, key, sent))


@router.post("/repositories/address")
def spell(hub: TheHub, pages: ThePages, request: Request, _: Admin, sent: Sent) -> Response:
    return _drawn(hub, pages, request, None, sent)


def _as_declared(hub: Hub, key: str, sent: RepositoryForm) -> RepositoryForm:
    """The form of the engine that the repository has: that is nothing to be changed."""
    engine = engine_in(_before(hub, key)).words.name
    return sent.model_copy(update={"engine": engine})


def _engines() -> list[str]:
    return [engine.words.name for engine in kinds.ENGINES]


async def _take(
    hub: Hub, pages: Pages, request: Request, actor: Actor, key: str | None, sent: RepositoryForm
) -> Response:
    if sent.act == "read":
        return await asyncio.to_thread(_drawn, hub, pages, request, key, sent.with_address())
    found: RepositoryTestAnswer | None = None
    reaches = False
    try:
        if sent.act == "test":
            found = await _test(hub, key, sent, actor)
        elif reaches := await asyncio.to_thread(_reaches_otherwise, hub, key, sent):
            found = await _test_to_save(hub, key, sent, actor)
    except HighballError as error:
        return await asyncio.to_thread(_drawn, hub, pages, request, key, sent, error=error)
    if sent.act == "test" or (found is not None and _is_held_back(found, sent)):
        status = 200 if sent.act == "test" else 409
        return await asyncio.to_thread(_drawn, hub, pages, request, key, sent, found=found, status=status)
    untested = _why_untested(found) if reaches else None
    return await asyncio.to_thread(_save, hub, pages, request, actor, key, sent, reaches, untested)


def _why_untested(found: RepositoryTestAnswer | None) -> str | None:
    """Why no test of what is saved succeeded; None where one has."""
    if found is None:
        return "its agent was offline when it was saved, so it was never tested"
    bad = [one for one in (found, found.admin) if one and one.state not in (*OPENS, "uninitialised")]
    return bad[0].message if bad else None


def _reaches_otherwise(hub: Hub, key: str | None, sent: RepositoryForm) -> bool:
    """Whether it would be reached or opened otherwise than now; what is refused anyway is not tried."""
    before = _before(hub, key)
    spec, sealed = sent.applied_to(before)
    if hub.operations.preview_object("repository", _key_of(key, sent), spec, entered=sealed).problems:
        return False
    return key is None or bool(sealed) or is_reached_otherwise(before, spec)


def _key_of(key: str | None, sent: RepositoryForm) -> str:
    return key or sent.key.strip() or key_from(sent.title or "repository")


async def _test_to_save(
    hub: Hub, key: str | None, sent: RepositoryForm, actor: Actor
) -> RepositoryTestAnswer | None:
    """How it is found before it is saved so; None where its agent is away, and nothing can be lost by that.

    Raises ConfigurationInvalid where a password is to be made up for a repository that is there, and Conflict where
    nobody can say whether a password opens what another opens now.
    """
    known = None if key is None else await asyncio.to_thread(hub.record.find_identity, key)
    if known and sent.makes_password:
        raise _cannot_make_up(key or UNSAVED)
    try:
        return await _test(hub, key, sent, actor)
    except ConfigurationInvalid:
        return None  # saving says the same, and what else is wrong
    except HighballError as error:
        spec, sealed = sent.applied_to(await asyncio.to_thread(_before, hub, key))
        replaces = key is not None and spec.get("password") == {"sealed": True} and "password" in sealed
        if sent.anyway or (error.code == "host_offline" and not (replaces and known)):
            return None
        raise


def _is_held_back(found: RepositoryTestAnswer, sent: RepositoryForm) -> bool:
    """Whether what was found stands against saving: a wrong password always, the rest until one insists."""
    states = _states(found)
    if "wrong_password" in states:
        return True
    fine = (*OPENS, "uninitialised") if sent.init else OPENS
    return not sent.anyway and not all(state in fine for state in states)


def _states(found: RepositoryTestAnswer) -> list[str]:
    return [one.state for one in (found, found.admin) if one is not None]


def _cannot_make_up(key: str) -> ConfigurationInvalid:
    told = "cannot be generated for a repository that exists", "rotate it on its Keys page"
    problem = Problem(f"repositories.{key}.password", *told)
    return ConfigurationInvalid(str(problem), problems=[problem])


async def _test(hub: Hub, key: str | None, sent: RepositoryForm, actor: Actor) -> RepositoryTestAnswer:
    """How the repository is found that the form declares; one whose password is yet to be made has some other."""
    spec, sealed = sent.applied_to(_before(hub, key))
    _demand_values(sealed, sent, key or UNSAVED)
    values = {slot: value or secrets.token_urlsafe(24) for slot, value in sealed.items()}
    return await hub.operations.test_unsaved(key or UNSAVED, spec, values, actor)


def _before(hub: Hub, key: str | None) -> Spec:
    return {} if key is None else hub.operations.get_object("repository", key).spec


def _save(
    hub: Hub,
    pages: Pages,
    request: Request,
    actor: Actor,
    key: str | None,
    sent: RepositoryForm,
    reaches: bool,
    untested: str | None,
) -> Response:
    spec, sealed = sent.applied_to(_before(hub, key))
    made = _key_of(key, sent)
    try:
        _demand_values(sealed, sent, made)
        if key is None:
            hub.operations.create_object("repository", made, spec, actor)
        else:
            hub.operations.change_object(
                "repository", key, spec, actor, expected=sent.revision, entered=sealed
            )
    except (ConfigurationInvalid, Conflict) as error:
        again = sent.model_copy(update={"revision": error.revision}) if isinstance(error, Stale) else sent
        return _drawn(hub, pages, request, key, again, error=error)
    for slot, value in sealed.items():
        place = hub.vault.find_place(made, "admin" if slot == "admin.password" else slot)
        fresh = SecretValue((value or secrets.token_urlsafe(24)).encode())
        hub.vault.seal(place, fresh, actor, utc_now(), keep_former=untested is not None)
    if reaches:
        hub.record.note_test(made, untested, utc_now())
        hub.bus.news.publish("object", made)
    if sent.init:
        hub.operations.order("init", made, actor=actor, key=f"{sent.order_key}:init")
    address = repository_page(made)
    if "password" in sealed:
        return go(link(f"{address}/kit", {"made": "yes", "to": sent.to or ""}))
    return go(sent.to or address, said=Said(f"{made} is saved."))


def _demand_values(sealed: Mapping[str, str], sent: RepositoryForm, key: str) -> None:
    """Raise ConfigurationInvalid where a value is to be sealed and none was typed in."""
    made = sent.makes_password
    blank = [slot for slot, value in sealed.items() if not value and not (made and slot == "password")]
    if blank:
        problems = [Problem(f"repositories.{key}.{slot}", "is missing", "type it in") for slot in blank]
        raise ConfigurationInvalid(str(problems[0]), problems=problems)


def _drawn(
    hub: Hub,
    pages: Pages,
    request: Request,
    key: str | None,
    sent: RepositoryForm,
    *,
    error: HighballError | None = None,
    found: RepositoryTestAnswer | None = None,
    status: int = 200,
) -> Response:
    declared = hub.operations.get_object("repository", key) if key else None
    context = {
        "key": key,
        "sent": sent,
        "error": error,
        "differences": error.differences if isinstance(error, Stale) else (),
        "problems": _problems(error, sent),
        "found": found,
        "known": key is not None and hub.record.find_identity(key) is not None,
        "wrong_password": found is not None and "wrong_password" in _states(found),
        "file": file_of(hub, declared),
        "kind": sent.asked.kind_called(sent.kind),
        "numbers": {one.name: number for number, one in enumerate(sent.asked.kinds, 1)},
        "labels": {field.name: field.label for field in sent.asked.fields()},
        "engines": _engines(),
        "hosts": sorted({hub.host, *hub.document().hosts}),
        "own_host": hub.host,
        "back": own(sent.to) if sent.to else repository_page(key) if key else "/repositories",
    }
    return pages.answer(request, "repository-form", context, status=error.http_status if error else status)


def _problems(error: HighballError | None, sent: RepositoryForm) -> dict[str, str]:
    """What is wrong with each field of the form, by its name; under the blank name what belongs to none."""
    found: dict[str, str] = {}
    if isinstance(error, Conflict) and not isinstance(error, Stale):
        return {
            "key": status_looks.sentence(f"{error.message}; {error.hint}" if error.hint else error.message)
        }
    for one in error.problems if error else ():
        place = (
            one.at.split(".", 2)[2]
            if one.at.startswith("repositories.") and one.at.count(".") > 1
            else one.at
        )
        words = status_looks.sentence(f"{one.message}; {one.hint}" if one.hint else one.message)
        found.setdefault(_field_of(place.removeprefix("secrets."), sent), words)
    if error and not found and not isinstance(error, Stale):
        found[""] = status_looks.sentence(f"{error.message}; {error.hint}" if error.hint else error.message)
    return found


def _field_of(place: str, sent: RepositoryForm) -> str:
    """The form's field for a place in the spec: `admin.password.file` is `admin_password`."""
    known = {*RepositoryForm.model_fields, *(field.name for field in sent.asked.fields())}
    parts = place.split(".")
    admin = "admin_" if parts[0] == "admin" and len(parts) > 1 else ""
    name = parts[1] if admin else parts[0]
    field = f"{admin}{name}"
    return field if field in known else ""
