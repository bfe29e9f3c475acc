"""Folders to look into and choose from, of a host or of a snapshot: one row for each entry, opened where it stands.

Rows come folder by folder, as they are opened. Without script a row is opened by a button of its form, where the
form has a page for that.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote, quote_from_bytes

from fastapi import APIRouter, Query, Request, Response

from highball.errors import HighballError
from highball.hub.hub import Hub
from highball.model.text import path_from_text
from highball.protocol.queries import (
    Measure,
    MeasuredSource,
)
from highball.web.authorize import Admin
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms.job_fields import spell_path
from highball.web.ui.byte_paths import ByPath

BROWSE_SECONDS = 20.0
ICONS = {"dir": "folder", "symlink": "link"}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class FolderRow:
    """What lies in a folder, as a row: ticked, it sends its value; `why_not` says why it cannot be ticked."""

    path: bytes
    value: str
    kind: str
    opens: str | None = None
    """The address of what lies in it."""
    button: str | None = None
    """What the form's button `open` sends to show what lies in it."""
    ticked: bool = False
    why_not: str | None = None
    size: int | None = None
    holds: MeasuredSource | None = None
    """How much lies in it, where that was asked."""
    modified_at: datetime | None = None

    @property
    def name(self) -> bytes:
        """Its own name."""
        return posixpath.basename(self.path)

    @property
    def icon(self) -> str:
        """How its kind looks."""
        return "folder-lock" if self.kind == "dir" and not self.opens else ICONS.get(self.kind, "file")


@dataclass(frozen=True)
class Folder:
    """An open folder: which field its rows fill, and what ticking one means."""

    field: str
    verb: str
    asked: str
    entries: tuple[FolderRow, ...] = ()
    note: str | None = None
    sizes: str | None = None
    """The address of the same with how much lies in each folder, where that can be asked."""
    trouble: HighballError | None = None


@router.get("/folders")
async def show(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    _: Admin,
    path: ByPath,
    host: Annotated[str, Query(max_length=200)] = "",
    source: Annotated[list[str] | None, Query()] = None,
    sizes: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    wanted = set(source or ())
    found = await _look(hub, host or hub.host, path or b"/", wanted, measuring=bool(sizes))
    return pages.answer(request, "folder", {"folder": found}, block="folder")


async def _look(hub: Hub, host: str, path: bytes, chosen: Collection[str], *, measuring: bool) -> Folder:
    """The folders in a folder of a host; those that are chosen already are ticked for good."""
    try:
        found = await hub.operations.browse(host, path, BROWSE_SECONDS)
        held = await _measure(hub, host, found["entries"]) if measuring else {}
    except HighballError as error:
        return Folder("source", "Back up", host, trouble=error)
    inside = [one for one in found["entries"] if one["kind"] == "dir"]
    entries = tuple(_entry_of(one, host, chosen, held) for one in inside)
    files = len(found["entries"]) - len(inside)
    note = None
    if found["more"]:
        note = f"{found['more']:,} more entries are not shown: enter the path below."
    elif not entries:
        note = (
            f"No subfolders, {files:,} {'file' if files == 1 else 'files'}."
            if files
            else "This folder is empty."
        )
    sizes = f"{_address(path, host)}&sizes=yes" if entries and not measuring else None
    return Folder("source", "Back up", host, entries, note, sizes)


async def _measure(hub: Hub, host: str, entries: Sequence[Mapping[str, Any]]) -> dict[bytes, MeasuredSource]:
    """What lies in each folder, as far as it can be seen in the time."""
    folders = [one["path"] for one in entries if one["kind"] == "dir" and one["readable"]]
    if not folders:
        return {}
    found = await hub.operations.measure(host, Measure.model_validate({"sources": folders}))
    return {one.path: one for one in found.sources}


def _address(path: bytes, host: str) -> str:
    return f"/folders?path={quote_from_bytes(path)}&host={quote(host)}"


def _entry_of(
    told: Mapping[str, Any], host: str, chosen: Collection[str], held: Mapping[bytes, MeasuredSource]
) -> FolderRow:
    path = path_from_text(told["path"])
    value = spell_path(path)
    opens = _address(path, host) if told["readable"] else None
    why_not = "selected" if value in chosen else None if told["readable"] else "not readable"
    ticked = value in chosen
    return FolderRow(path, value, "dir", opens, ticked=ticked, why_not=why_not, holds=held.get(path))
