"""Another key for what is declared: everything that names it follows, and its history stays with it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request, Response

from highball.errors import HighballError
from highball.hub.hub import Hub
from highball.web.authorize import Admin
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms.fields import (
    Number,
    faults_of,
    file_of,
    revision_that_holds,
    status_of,
)
from highball.web.pages.history import name_of, page_of
from highball.web.ui.templating import (
    Pages,
    Said,
    go,
)

Kind = Literal["job", "repository", "host", "profile", "pin"]

router = APIRouter(include_in_schema=False)


def _answer(
    hub: Hub,
    pages: Pages,
    request: Request,
    kind: Kind,
    key: str,
    new: str,
    revision: int,
    error: HighballError | None = None,
) -> Response:
    one = hub.operations.get_object(kind, key)
    names = dict.fromkeys(reference.of for reference in hub.operations.list_references(kind, key))
    context = {
        "kind": kind,
        "was": key,
        "new": new,
        "revision": revision or one.revision,
        "place": page_of(kind, key),
        "named_by": [(name_of(*place), page_of(*place)) for place in names],
        "file": file_of(hub, one),
        "error": error,
        "faults": faults_of(error),
    }
    return pages.answer(request, "key", context, status=status_of(error))


@router.get("/keys/{kind}/{key}")
def show(hub: TheHub, pages: ThePages, kind: Kind, key: str, request: Request, _: Admin) -> Response:
    return _answer(hub, pages, request, kind, key, key, 0)


@router.post("/keys/{kind}/{key}")
def change(
    hub: TheHub,
    pages: ThePages,
    kind: Kind,
    key: str,
    request: Request,
    actor: Admin,
    new: Annotated[str, Form(alias="key", max_length=4096)] = "",
    revision: Number = 0,
) -> Response:
    new = new.strip()
    try:
        hub.operations.rekey_object(kind, key, new, actor, expected=revision)
    except HighballError as error:
        return _answer(hub, pages, request, kind, key, new, revision_that_holds(error, revision), error)
    return go(page_of(kind, new), said=Said(f"The ID is {new} now. The history of {key} was kept."))
