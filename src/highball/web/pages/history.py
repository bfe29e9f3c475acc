"""History: every revision of anything declared, who made it and what it changed, and the way back to it; and what
was deleted, to be restored or removed for good.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response

from highball.config.references import ALONE
from highball.errors import HighballError, NotAllowed, Unknown
from highball.hub.audit import Actor
from highball.hub.document.diff import (
    Declared,
    Revision,
)
from highball.hub.hub import Hub
from highball.model.role import Role
from highball.web.authorize import Admin, Sees
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms.fields import (
    Number,
    Question,
    Text,
    ask,
    faults_of,
    file_of,
    status_of,
)
from highball.web.ui.templating import (
    Pages,
    Said,
    go,
)

AT_ONCE = 50

NAMES = {
    "job": "job",
    "repository": "repository",
    "host": "host",
    "profile": "profile",
    "pin": "pin",
    "defaults": "defaults",
    "settings": "settings",
    "user": "user",
    "token": "token",
}
"""Every kind of declared thing, as people call it."""

_PLACES = {
    "job": "/jobs/{}",
    "repository": "/repositories/{}",
    "host": "/hosts",
    "profile": "/profiles/{}",
    "pin": "/configuration",
    "defaults": "/configuration",
    "settings": "/settings/general",
    "user": "/settings/users/{}",
    "token": "/settings/tokens/{}",
}

_OF_ADMINS = frozenset({"user", "token"})

router = APIRouter(include_in_schema=False)


def history_of(kind: str, key: str) -> str:
    """The address of an object's history."""
    return f"/history/{kind}/{quote(key, safe='')}"


def page_of(kind: str, key: str) -> str:
    """The address where an object is shown."""
    return _PLACES[kind].format(quote(key, safe=""))


def name_of(kind: str, key: str) -> str:
    """What a sentence calls it: `the job docs`, `the settings`."""
    return f"the {NAMES[kind]}" if kind in ALONE else f"the {NAMES[kind]} {key}"


def in_use(hub: Hub, kind: str, key: str) -> Question | None:
    """What has to be changed before an object can be deleted, with the way there; None where nothing names it."""
    found = dict.fromkeys(reference.of for reference in hub.operations.list_references(kind, key))
    if not found:
        return None
    return Question(
        title=f"{_begun(name_of(kind, key))} is in use",
        text=f"{'This uses' if len(found) == 1 else 'These use'} it. Remove it there first, then it can be deleted.",
        action=page_of(kind, key),
        verb="",
        back=page_of(kind, key),
        leave="Close",
        links=tuple((_begun(name_of(*place)), page_of(*place)) for place in found),
    )


def _begun(name: str) -> str:
    """The same at the beginning of a sentence; a key keeps its letters."""
    return f"{name[:1].upper()}{name[1:]}"


# --- every revision ------------------------------------------------------------------------------


@dataclass(frozen=True)
class RevisionRow:
    """A revision, and the question before going back to it, where that can be done."""

    revision: Revision
    undo: Question | None


def _answer(
    hub: Hub,
    pages: Pages,
    request: Request,
    actor: Actor,
    kind: str,
    key: str,
    before: int = 0,
    error: HighballError | None = None,
) -> Response:
    _demand_seen(actor, kind)
    found = hub.operations.list_revisions(kind, key)
    newest = found[0].revision if found else 0
    one = _find(hub, kind, key)
    file = file_of(hub, one)
    shown = [each for each in found if not before or each.revision < before][: AT_ONCE + 1]
    goes_back = actor.role.includes(Role.ADMIN) and one is not None and file is None
    context = {
        "name": name_of(kind, key),
        "kind": kind,
        "key": key,
        "place": page_of(kind, key),
        "address": history_of(kind, key),
        "rows": [
            RevisionRow(
                each,
                _about_undo(kind, key, each, newest) if goes_back and each.spec is not None else None,
            )
            for each in shown[:AT_ONCE]
        ],
        "newest": newest,
        "older": shown[AT_ONCE - 1].revision if len(shown) > AT_ONCE else None,
        "lives": one is not None,
        "file": file,
        "error": error,
        "faults": faults_of(error),
    }
    return pages.answer(request, "history", context, status=status_of(error))


@router.get("/history/{kind}/{key}")
def show(
    hub: TheHub,
    pages: ThePages,
    kind: str,
    key: str,
    request: Request,
    actor: Sees,
    before: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> Response:
    return _answer(hub, pages, request, actor, kind, key, before)


@router.get("/history/{kind}/{key}/undo")
def ask_about_undo(
    hub: TheHub,
    pages: ThePages,
    kind: str,
    key: str,
    request: Request,
    actor: Admin,
    to: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> Response:
    _demand_seen(actor, kind)
    found = hub.operations.list_revisions(kind, key)
    one = next((each for each in found if each.revision == to), None)
    if one is None:
        raise Unknown(f"{key} has no revision {to}", code="revision_unknown")
    question = _about_undo(kind, key, one, found[0].revision)
    leaves = _leaves(hub, kind, key, to)
    return ask(pages, request, replace(question, details=(leaves,) if leaves else ()))


@router.post("/history/{kind}/{key}/undo")
def undo(
    hub: TheHub,
    pages: ThePages,
    kind: str,
    key: str,
    request: Request,
    actor: Admin,
    to: Number = 0,
    revision: Number = 0,
) -> Response:
    _demand_seen(actor, kind)
    try:
        _, leaves = hub.operations.undo_object(kind, key, to, actor, expected=revision)
    except HighballError as error:
        return _answer(hub, pages, request, actor, kind, key, error=error)
    text = f"{_begun(name_of(kind, key))} is restored to revision {to}."
    return go(
        history_of(kind, key),
        said=Said(f"{text} {leaves}" if leaves else text, "warn" if leaves else "ok"),
    )


def _leaves(hub: Hub, kind: str, key: str, to: int) -> str | None:
    """What an undo cannot bring back."""
    return hub.operations.tell_undo_leaves(kind, key, to) if _find(hub, kind, key) else None


def _demand_seen(actor: Actor, kind: str) -> None:
    """Users and tokens are admins' business, and what is no kind has no history."""
    if kind not in NAMES:
        raise Unknown(f"there is no kind of object called {kind[:80]}", code="kind_unknown")
    if kind in _OF_ADMINS and not actor.role.includes(Role.ADMIN):
        raise NotAllowed(f"only admins may see the history of a {kind}", hint="ask somebody with that role")


def _find(hub: Hub, kind: str, key: str) -> Declared | None:
    try:
        return hub.operations.get_object(kind, key)
    except Unknown:
        return None


def _about_undo(kind: str, key: str, one: Revision, newest: int) -> Question:
    name = name_of(kind, key)
    return Question(
        title=f"Restore {name} to revision {one.revision}?",
        text=f"This creates revision {newest + 1}. The revisions in between stay in the history, so this can be "
        "undone too.",
        action=f"{history_of(kind, key)}/undo",
        verb=f"Restore revision {one.revision}",
        back=history_of(kind, key),
        hidden=(("to", str(one.revision)), ("revision", str(newest))),
        destroys=False,
    )


# --- what was deleted ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Gone:
    """Something deleted, and the question before it is permanently deleted."""

    one: Declared
    name: str
    purge: Question


def _answer_deleted(
    hub: Hub, pages: Pages, request: Request, page: int = 1, error: HighballError | None = None
) -> Response:
    found = hub.operations.list_deleted()
    from_here = (page - 1) * AT_ONCE
    context = {
        "gone": [
            Gone(one, name_of(one.kind, one.key), _about_purge(one.kind, one.key))
            for one in found[from_here : from_here + AT_ONCE]
        ],
        "count": len(found),
        "page": page,
        "more": len(found) > from_here + AT_ONCE,
        "error": error,
        "faults": faults_of(error),
    }
    return pages.answer(request, "deleted", context, status=status_of(error))


@router.get("/deleted")
def show_deleted(
    hub: TheHub, pages: ThePages, request: Request, _: Admin, page: Annotated[int, Query(ge=1, le=10**6)] = 1
) -> Response:
    return _answer_deleted(hub, pages, request, page)


@router.post("/deleted/restore")
def restore(
    hub: TheHub, pages: ThePages, request: Request, actor: Admin, kind: Text = "", key: Text = ""
) -> Response:
    try:
        one = hub.operations.restore_object(kind, key, actor)
    except HighballError as error:
        return _answer_deleted(hub, pages, request, error=error)
    return go("/deleted", said=Said(f"{_begun(name_of(one.kind, one.key))} is restored."))


@router.get("/deleted/purge")
def ask_about_purge(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    _: Admin,
    kind: Annotated[str, Query(max_length=80)] = "",
    key: Annotated[str, Query(max_length=80)] = "",
) -> Response:
    there = {(one.kind, one.key) for one in hub.operations.list_deleted()}
    if (kind, key) not in there:
        raise Unknown(f"there is no deleted {kind} {key}".rstrip())
    return ask(pages, request, _about_purge(kind, key))


@router.post("/deleted/purge")
def purge(
    hub: TheHub, pages: ThePages, request: Request, actor: Admin, kind: Text = "", key: Text = ""
) -> Response:
    try:
        hub.operations.purge_object(kind, key, actor)
    except HighballError as error:
        return _answer_deleted(hub, pages, request, error=error)
    return go("/deleted", said=Said(f"{_begun(name_of(kind, key))} is permanently deleted."))


def _about_purge(kind: str, key: str) -> Question:
    return Question(
        title=f"Permanently delete {name_of(kind, key)}?",
        text="Its history and sealed secrets are deleted too, and this cannot be undone. Snapshots and the record "
        "of its runs are kept.",
        action="/deleted/purge",
        verb="Delete permanently",
        back="/deleted",
        hidden=(("kind", kind), ("key", key)),
    )
