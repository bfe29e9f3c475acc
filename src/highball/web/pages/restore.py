"""Restore: from which snapshot, which files, where to, and the plan; four answers on one page, then a run.

A restore goes into a new folder. Names are bytes: a form carries a path percent-encoded, so that what is chosen
is what comes back, whatever its spelling.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlencode

from fastapi import APIRouter, Form, Query, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from highball.config.document import Document, effective_job
from highball.errors import HighballError
from highball.hub.hub import Hub
from highball.hub.runs.queue import RestoreWish, RunOrder
from highball.hub.runs.recorded import RunFilter
from highball.humanize import counted, size
from highball.model.run import Run, RunKind
from highball.model.snapshot import Node, Snapshot
from highball.protocol.queries import RestorePlan
from highball.web.authorize import Restores, Sees
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms.fields import InQuery, new_order_key
from highball.web.pages.folders import Folder, FolderRow
from highball.web.snapshot_cache import (
    ANEW,
    Listings,
    SnapshotList,
)
from highball.web.ui import run_summary
from highball.web.ui.templating import (
    Pages,
    block_wanted,
    go,
)

Text = Annotated[str, Form(max_length=20_000)]

SNAPSHOTS = 20
ENTRIES = 400
"""So many entries of a folder are shown; who wants others of so large a one takes the folder."""

RECENT = 5

COUNT_SECONDS = 45.0
"""So long may the host look into chosen folders while somebody waits for the figures."""

_PICK = re.compile(r"(?:d|f(?P<size>\d{0,18})):(?P<path>/[!-~]*)")

router = APIRouter(include_in_schema=False)


# --- what somebody wants -------------------------------------------------------------------------


@dataclass(frozen=True)
class Pick:
    """A chosen path; whether it is a folder, and a file's size, are only told again."""

    path: bytes
    is_folder: bool
    size: int = 0

    @property
    def spelled(self) -> str:
        """The same in a form."""
        kind = "d" if self.is_folder else f"f{self.size}"
        return f"{kind}:{quote_from_bytes(self.path)}"


def read_pick(text: str) -> Pick | None:
    """What a form says was chosen; None where nothing like that could have been."""
    found = _PICK.fullmatch(text)
    if found is None:
        return None
    return Pick(unquote_to_bytes(found["path"]), text.startswith("d"), int(found["size"] or 0))


def pick_of(node: Node) -> Pick:
    """An entry of a folder as it would be chosen."""
    return Pick(node.path, node.kind == "dir", node.size_bytes or 0)


def outermost(picks: Sequence[Pick]) -> list[Pick]:
    """Those that no other one holds already, each once."""
    folders = {pick.path for pick in picks if pick.is_folder}
    once = {pick.path: pick for pick in picks}
    return [pick for pick in once.values() if not any(above in folders for above in _above(pick.path))]


def _above(path: bytes) -> list[bytes]:
    found = []
    while path not in (b"/", b""):
        path = posixpath.dirname(path)
        found.append(path)
    return found


@dataclass(frozen=True)
class Wish:
    """All answers so far, as the page holds them."""

    job: str = ""
    repository: str = ""
    snapshot: str = ""
    everything: bool = True
    picks: tuple[Pick, ...] = ()
    folder: bytes = b""
    target: str = ""

    @property
    def source(self) -> str:
        """Where from, as the first form says it."""
        return f"{self.job}/{self.repository}"

    def address(self, **more: str) -> str:
        """The page with these answers, as a link."""
        told = {"job": self.job, "repository": self.repository, "snapshot": self.snapshot} | more
        return f"/restore?{urlencode({name: value for name, value in told.items() if value})}"


# --- the page ------------------------------------------------------------------------------------


class Wizard:
    """A wish with what its page shows; each part is found beforehand, and only where a block shows it."""

    def __init__(self, hub: Hub, listings: Listings, wish: Wish) -> None:
        self._hub = hub
        self._listings = listings
        self.wish = wish
        self.listing: SnapshotList | None = None
        self.listed: Sequence[Snapshot] = ()
        self.snapshot: Snapshot | None = None
        self.entries: tuple[Node, ...] = ()
        """What lies in the open folder."""
        self.problems: dict[str, str] = {}
        self.counted: RestorePlan | None = None
        self.uncounted: HighballError | None = None

    # --- from where ---

    @property
    def sources(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """What can be restored from: jobs in their repositories, and whole repositories."""
        document = self._hub.document()
        of_jobs = [
            (f"{job}/{repository}", f"{job} in {repository}")
            for job in document.jobs
            for repository in effective_job(document, job).repositories
        ]
        whole = [(f"/{key}", f"{key} (all snapshots)") for key in document.repositories]
        return [("Jobs", of_jobs), ("Whole repositories", whole)]

    @property
    def is_listed(self) -> bool:
        """Whether its snapshots are known without asking."""
        return self._listings.find_listing(self.wish.repository) is not None

    async def find_snapshots(self, *, anew: bool = False) -> None:
        """Find the snapshots to choose from, newest first; raises HighballError."""
        self.listing = await self._listings.list_snapshots(self.wish.repository, anew=anew)
        of = self.wish.job
        self.listed = [one for one in self.listing.snapshots if not of or one.job == of]

    async def find_snapshot(self) -> Snapshot | None:
        """The one that was chosen; raises HighballError."""
        if self.snapshot is None and self.wish.snapshot and self.wish.repository:
            self.snapshot = await self._listings.get_snapshot(self.wish.repository, self.wish.snapshot)
        return self.snapshot

    def describe(self, snapshot: Snapshot) -> str:
        """A snapshot in figures."""
        parts = [f"snapshot {snapshot.id[:8]}"]
        if snapshot.files is not None:
            parts.append(counted(snapshot.files, "file"))
        if snapshot.size_bytes is not None:
            parts.append(size(snapshot.size_bytes))
        return ", ".join(parts)

    # --- which files ---

    @property
    def folder(self) -> bytes:
        """The folder that is open: at first the one that holds all that was saved."""
        if self.wish.folder:
            return self.wish.folder
        paths = self.snapshot.paths if self.snapshot else ()
        return posixpath.commonpath([posixpath.dirname(path) for path in paths]) if paths else b"/"

    @property
    def way(self) -> list[tuple[str, str]]:
        """The folders down to the open one: how a form spells each, and its name."""
        found = [self.folder, *_above(self.folder)] if self.folder != b"/" else [b"/"]
        names = [(quote_from_bytes(path), posixpath.basename(path)) for path in reversed(found)]
        return [(spelled, os.fsdecode(name) if name else "/") for spelled, name in names]

    async def find_entries(self) -> None:
        """Find what lies in the open folder; raises HighballError."""
        assert self.snapshot is not None
        self.entries = await self._listings.list_folder(self.wish.repository, self.snapshot.id, self.folder)

    @property
    def shown(self) -> tuple[Node, ...]:
        """As much of it as a page shows."""
        return self.entries[:ENTRIES]

    @property
    def is_within_a_pick(self) -> bool:
        """Whether all of the open folder comes back already."""
        folders = {pick.path for pick in self.wish.picks if pick.is_folder}
        return any(path in folders for path in (self.folder, *_above(self.folder)))

    @property
    def rows(self) -> Folder:
        """The open folder, to choose from."""
        note = "This folder is empty." if not self.entries else None
        if len(self.entries) > ENTRIES:
            note = f"Showing the first {ENTRIES} of {counted(len(self.entries), 'entry', 'entries')}."
            note += " To restore others, select the whole folder."
        within = self.is_within_a_pick
        entries = tuple(self._row(node, within=within) for node in self.shown)
        return Folder("pick", "Restore", self.host, entries, note)

    def _row(self, node: Node, *, within: bool) -> FolderRow:
        is_folder = node.kind == "dir" and not node.inexact
        spelled = self.spell_path(node.path)
        told = {"repository": self.wish.repository, "snapshot": self.wish.snapshot, "open": spelled}
        return FolderRow(
            node.path,
            pick_of(node).spelled,
            node.kind.value,
            opens=f"/restore/folder?{urlencode(told)}" if is_folder else None,
            button=spelled if is_folder else None,
            ticked=within or any(pick.path == node.path for pick in self.wish.picks),
            why_not="included with its folder" if within or node.inexact else None,
            size=node.size_bytes if node.kind == "file" else None,
            modified_at=node.modified_at,
        )

    def spell_path(self, path: bytes) -> str:
        """A folder as a form says that it is to be opened."""
        return quote_from_bytes(path)

    @property
    def picked_elsewhere(self) -> list[Pick]:
        """What was chosen in other folders than the open one."""
        here = {node.path for node in self.shown}
        return [pick for pick in self.wish.picks if pick.path not in here]

    # --- where to ---

    @property
    def host(self) -> str:
        """Where it is restored."""
        document = self._hub.document()
        if self.wish.job in document.jobs:
            return effective_job(document, self.wish.job).host or self._hub.host
        repository = document.repositories.get(self.wish.repository)
        return (repository.maintained_by if repository else None) or self._hub.host

    @property
    def target(self) -> str:
        """The new folder: what was typed, or one beside what was saved."""
        if self.wish.target or self.snapshot is None:
            return self.wish.target
        beside = posixpath.commonpath([posixpath.dirname(path) for path in self.snapshot.paths] or [b"/"])
        try:
            folder = beside.decode()
        except UnicodeDecodeError:
            folder = "/var/tmp"  # noqa: S108 - a suggestion that is shown, not a place that we write to
        return f"{folder.rstrip('/')}/restored-{self.wish.job or self.wish.repository}-{self.snapshot.id[:8]}"

    # --- the plan ---

    @property
    def paths(self) -> tuple[bytes, ...]:
        """What comes back."""
        if self.wish.everything:
            return self.snapshot.paths if self.snapshot else ()
        return tuple(pick.path for pick in outermost(self.wish.picks))

    @property
    def holds_folders(self) -> bool:
        """Whether folders were chosen that nobody has looked into yet."""
        return not self.wish.everything and any(pick.is_folder for pick in self.wish.picks)

    async def count(self) -> None:
        """Have the host look what would be new, and what is there already; what keeps it from that is told."""
        if not self.paths or self.snapshot is None:
            return
        wish = RestoreWish(
            job=self.wish.job or None,
            repository=self.wish.repository,
            snapshot=self.snapshot.id,
            paths=self.paths,
            target=os.fsencode(self.target),
        )
        try:
            self.counted = await self._hub.operations.plan_restore(wish, COUNT_SECONDS)
        except HighballError as error:
            self.uncounted = error

    @property
    def amount(self) -> str:
        """How much that is, as far as it is known: `8 files`, `2 folders and 1 file`."""
        if self.counted is not None:
            return counted(self.counted.new.files, "file")
        if self.wish.everything:
            files = self.snapshot.files if self.snapshot else None
            return "everything" if files is None else counted(files, "file")
        picks = outermost(self.wish.picks)
        folders = sum(pick.is_folder for pick in picks)
        files = len(picks) - folders
        parts = [counted(folders, "folder")] * bool(folders) + [counted(files, "file")] * bool(files)
        return " and ".join(parts)

    @property
    def size(self) -> int | None:
        """How many bytes; None where a folder hides it."""
        if self.counted is not None:
            return self.counted.new.size_bytes
        if self.wish.everything:
            return self.snapshot.size_bytes if self.snapshot else None
        picks = outermost(self.wish.picks)
        return None if any(pick.is_folder for pick in picks) else sum(pick.size for pick in picks)

    def order(self, document: Document) -> RunOrder | None:
        """The run that is wanted; None where something is wrong, which `problems` then tells."""
        if not self.paths:
            self.problems["files"] = "Nothing selected: select files or folders, or choose everything."
        why = _why_no_folder(self.wish.target)
        if why is not None:
            self.problems["target"] = why
        if self.problems:
            return None
        assert self.snapshot is not None
        try:
            return RunOrder(
                task="restore",
                job=self.wish.job if self.wish.job in document.jobs else None,
                repository=self.wish.repository,
                snapshot=self.snapshot.id,
                paths=self.paths,
                target=self.wish.target.encode("utf-8", "surrogateescape"),
            )
        except ValidationError as error:
            self.problems["target"] = error.errors(include_input=False, include_url=False)[0]["msg"]
            return None

    def new_key(self) -> str:
        """What makes a second click the same order."""
        return new_order_key()


def _why_no_folder(target: str) -> str | None:
    if not target:
        return "The destination is missing: enter the full path of a new folder."
    if not target.startswith("/"):
        return f"{target[:80]} is not a full path: it must start with /."
    if not target.strip("/."):
        return "Cannot restore to /: enter a new folder below it."
    return "The path must not contain '..'." if ".." in target.split("/") else None


@router.get("/restore")
async def show_restore(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    _: Sees,
    source: Annotated[str, Query(alias="from", max_length=200)] = "",
    job: InQuery = "",
    repository: InQuery = "",
    snapshot: InQuery = "",
    open: Annotated[str, Query(max_length=20_000)] = "",
    skip: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    list: InQuery = "",
) -> Response:
    if "/" in source:
        job, _sign, repository = source.partition("/")
    document = hub.document()
    if job in document.jobs and not repository:
        repository = effective_job(document, job).repositories[0]
    wish = Wish(job, repository, snapshot, folder=_folder(open), everything=not open)
    wizard = Wizard(hub, pages.listings, wish)
    return await _draw(request, pages, wizard, hub, skip=skip, lists=list)


@router.post("/restore")
async def restore(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    actor: Restores,
    job: Text = "",
    repository: Text = "",
    snapshot: Text = "",
    what: Text = "all",
    pick: Annotated[Sequence[str], Form()] = (),
    here: Text = "",
    open: Text = "",
    target: Text = "",
    do: Text = "",
    key: Annotated[str | None, Form(max_length=200, pattern="^[!-~]+$")] = None,
) -> Response:
    picks = tuple(found for found in map(read_pick, pick) if found is not None)
    wish = Wish(job, repository, snapshot, what != "some", picks, _folder(here), target.strip())
    if open:
        wish = replace(wish, folder=_folder(open), everything=False)
    wizard = Wizard(hub, pages.listings, wish)
    try:
        await wizard.find_snapshot()
        if do == "count":
            await wizard.count()
        order = wizard.order(hub.document()) if do == "restore" else None
    except HighballError as error:
        return await _draw(request, pages, wizard, hub, trouble=error)
    if order is None:
        return await _draw(request, pages, wizard, hub, status=422 if wizard.problems else 200)
    ordered, _ = await run_in_threadpool(hub.operations.place, order, actor, key=key)
    return go(f"/runs/{ordered.id}")


@router.get("/restore/folder")
async def show_folder(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    _: Sees,
    repository: InQuery = "",
    snapshot: InQuery = "",
    open: Annotated[str, Query(max_length=20_000)] = "",
) -> Response:
    wish = Wish(repository=repository, snapshot=snapshot, everything=False, folder=_folder(open))
    wizard = Wizard(hub, pages.listings, wish)
    try:
        found = Folder("pick", "Restore", "")
        if await wizard.find_snapshot() is not None:
            await wizard.find_entries()
            found = wizard.rows
    except HighballError as error:
        found = Folder("pick", "Restore", "", trouble=error)
    return await run_in_threadpool(pages.answer, request, "folder", {"folder": found}, block="folder")


def _folder(text: str) -> bytes:
    path = unquote_to_bytes(text)
    return posixpath.normpath(path) if path.startswith(b"/") and b"\0" not in path else b""


@dataclass(frozen=True)
class RestoreForm:
    """A restore as far as it is chosen, with what there is to choose from."""

    wizard: Wizard
    skip: int
    """So many snapshots are newer than those that are shown."""
    lists: bool
    """Whether snapshots are shown to choose from."""
    browses: bool
    """Whether a folder is open."""
    recent: Sequence[Run]
    sent: bool
    trouble: HighballError | None = None
    step: int = SNAPSHOTS

    @property
    def wish(self) -> Wish:
        """What was chosen so far."""
        return self.wizard.wish


async def _draw(
    request: Request,
    pages: Pages,
    wizard: Wizard,
    hub: Hub,
    *,
    skip: int = 0,
    lists: str = "",
    status: int = 200,
    trouble: HighballError | None = None,
) -> Response:
    block = block_wanted(request)
    shown = RestoreForm(
        wizard=wizard,
        skip=skip,
        lists=bool(lists) or block == "snapshots" or wizard.is_listed,
        browses=bool(wizard.wish.folder) or block == "files" or not wizard.wish.everything,
        recent=await run_in_threadpool(_recent, hub) if block is None else [],
        sent=request.method == "POST",
    )
    try:
        if trouble is not None:
            raise trouble
        if wizard.wish.repository:
            await run_in_threadpool(hub.operations.get_repository, wizard.wish.repository)
        if shown.lists and not wizard.wish.snapshot and wizard.wish.repository:
            await wizard.find_snapshots(anew=lists == ANEW)
        if await wizard.find_snapshot() is not None and shown.browses and block != "plan":
            await wizard.find_entries()
    except HighballError as error:
        shown = replace(shown, trouble=error)
        status = error.http_status if request.method == "POST" and block is None else status
    context = {"page": shown, "told": run_summary}
    return await run_in_threadpool(pages.answer, request, "restore", context, status=status)


def _recent(hub: Hub) -> Sequence[Run]:
    return hub.operations.list_runs(RunFilter(kind=RunKind.RESTORE), limit=RECENT)
