"""The whole configuration as one text: read, changed, looked at as changes with all that speaks against them, and
applied if nobody was quicker.
"""

from __future__ import annotations

import hashlib

from fastapi import APIRouter, Request, Response

from highball.errors import HighballError, Stale
from highball.hub.document.diff import Preview
from highball.hub.hub import Hub
from highball.humanize import counted
from highball.web.authorize import Admin
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms.fields import (
    LongText,
    Number,
    Text,
)
from highball.web.pages.history import NAMES, history_of, name_of
from highball.web.ui.templating import (
    Pages,
    Said,
    go,
)

router = APIRouter(include_in_schema=False)


def _answer(
    hub: Hub,
    pages: Pages,
    request: Request,
    text: str,
    found: Preview | None = None,
    error: HighballError | None = None,
) -> Response:
    context = {
        "text": text,
        "lines": min(max(text.count("\n") + 2, 16), 40),
        "preview": found,
        "seen": _mark_of(text),
        "file": hub.documents.file(),
        "name_of": name_of,
        "history_of": history_of,
        "kinds": NAMES,
        "error": error,
    }
    status = error.http_status if error else 422 if found and found.problems else 200
    return pages.answer(request, "configuration", context, status=status)


@router.get("/configuration")
def show(hub: TheHub, pages: ThePages, request: Request, _: Admin) -> Response:
    return _answer(hub, pages, request, hub.operations.read_whole())


@router.post("/configuration/preview")
def preview(hub: TheHub, pages: ThePages, request: Request, _: Admin, text: LongText = "") -> Response:
    text = _plain_lines(text)
    return _answer(hub, pages, request, text, hub.operations.preview_whole(text))


@router.post("/configuration")
def apply(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    actor: Admin,
    text: LongText = "",
    token: Number = 0,
    seen: Text = "",
) -> Response:
    text = _plain_lines(text)
    if seen != _mark_of(text):  # it was changed after somebody looked at what it changes
        return _answer(hub, pages, request, text, hub.operations.preview_whole(text))
    try:
        made = hub.operations.write_whole(text, actor, expected=token)
    except Stale as error:
        return _answer(hub, pages, request, text, hub.operations.preview_whole(text), error)
    except HighballError:
        return _answer(hub, pages, request, text, hub.operations.preview_whole(text))
    return go("/configuration", said=Said(f"Applied: {counted(len(made), 'change')}."))


def _plain_lines(text: str) -> str:
    """A form ends lines with CR LF, whatever the text had."""
    return text.replace("\r\n", "\n")


def _mark_of(text: str) -> str:
    """What tells whether a text is the one whose changes were shown."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
