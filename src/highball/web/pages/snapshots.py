"""What a repository holds, and what can be done to one snapshot or to those of others: pin, compare, remove, adopt.

What removes something is asked first, and goes by the same guards as retention. Whose snapshots others made is said
by a person alone, after seeing what the job's retention would do with them.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from highball.config.document import Document
from highball.errors import HighballError
from highball.hub.hub import Hub
from highball.hub.runs.queue import RunOrder
from highball.humanize import counted
from highball.model.snapshot import Difference, ForeignGroup, Snapshot
from highball.web.authorize import Admin, Forgets, Sees
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms.fields import (
    InQuery,
    Question,
    Text,
    ask,
)
from highball.web.snapshot_cache import ANEW, SnapshotList
from highball.web.ui import status_looks
from highball.web.ui.addresses import repository_page
from highball.web.ui.templating import (
    Said,
    block_wanted,
    go,
    link,
)

SnapshotId = Annotated[str, Path(pattern="^[0-9a-f]{8,64}$")]
Group = Annotated[str, Path(pattern="^[0-9a-f]{12}$")]

SNAPSHOTS = 20
MOST_DIFFERENCES = 500

MODIFIERS = {
    "+": ("added", "ok"),
    "-": ("removed", "bad"),
    "M": ("modified", "warn"),
    "T": ("type changed", "warn"),
    "U": ("metadata changed", "idle"),
    "?": ("content changed, metadata unchanged", "bad"),
}
"""What differs of a path, in words and as a tone."""

router = APIRouter(include_in_schema=False)


def _address(key: str) -> str:
    return f"{repository_page(key)}/snapshots"


# --- the list ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ListedSnapshots:
    """Snapshots of a repository, newest first; `shown` are some of those that were `found`."""

    found: Sequence[Snapshot]
    asked_at: datetime
    shown: Sequence[Snapshot]
    known: Collection[str]
    """The runs among theirs that the record knows."""
    pins: Mapping[str, tuple[str, str]]
    before: Mapping[str, str]
    """The id of the one before it, of each."""
    newest: Collection[str]
    jobs: Sequence[tuple[str, str]]
    others: int
    """So many are governed by no job."""


@dataclass(frozen=True)
class SnapshotsPage:
    """What a repository holds: nothing is listed until it was asked, or where it cannot be."""

    key: str
    skip: int
    job: str
    listed: ListedSnapshots | None = None
    trouble: HighballError | None = None
    step: int = SNAPSHOTS


@router.get("/repositories/{key}/snapshots")
async def list_snapshots(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    _: Sees,
    key: str,
    skip: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    list: InQuery = "",
    job: InQuery = "",
) -> Response:
    await run_in_threadpool(hub.operations.get_repository, key)
    page = SnapshotsPage(key, skip, job)
    listing = None if list == ANEW else pages.listings.find_listing(key)
    if listing is None and (list or block_wanted(request) == "snapshots"):
        try:
            listing = await pages.listings.list_snapshots(key, anew=list == ANEW)
        except HighballError as error:
            page = replace(page, trouble=error)
    if listing is not None:
        page = replace(page, listed=await run_in_threadpool(_listed, hub, page, listing))
    return await run_in_threadpool(pages.answer, request, "snapshots", {"page": page})


def _listed(hub: Hub, page: SnapshotsPage, listing: SnapshotList) -> ListedSnapshots:
    every, key = listing.snapshots, page.key
    found = [one for one in every if page.job in ("", one.job or "others")]
    shown = found[page.skip : page.skip + SNAPSHOTS]
    newest: dict[str, str] = {}
    for one in every:
        newest.setdefault(f"{one.host} {one.job} {one.set}", one.id)
    return ListedSnapshots(
        found=found,
        asked_at=listing.at,
        shown=shown,
        known=hub.record.list_known([one.run for one in shown if one.run]),
        pins={one.id: pin for one in shown if (pin := find_pin(hub.document(), key, one.id))},
        before=_before_each(every),
        newest=set(newest.values()),
        jobs=[("", "All jobs"), *_choices(every)],
        others=sum(not one.governed for one in every),
    )


def _choices(every: Sequence[Snapshot]) -> list[tuple[str, str]]:
    jobs = sorted({one.job for one in every if one.job})
    return [*((job, job) for job in jobs), ("others", "Foreign")]


def _before_each(every: Sequence[Snapshot]) -> dict[str, str]:
    """For each snapshot the one of the same host, job and set before it; `every` is newest first."""
    before: dict[str, str] = {}
    last: dict[tuple[Any, ...], str] = {}
    for one in every:
        of = (one.host, one.job, one.set, one.paths if one.job is None else ())
        if of in last:
            before[last[of]] = one.id
        last[of] = one.id
    return before


# --- pins ----------------------------------------------------------------------------------------


def find_pin(document: Document, repository: str, snapshot: str) -> tuple[str, str] | None:
    """The key of the pin that keeps a snapshot, and why it does."""
    for key, pin in document.pins.items():
        if pin.holds(repository, snapshot):
            return key, pin.reason
    return None


@router.post("/repositories/{key}/snapshots/{snapshot}/pin")
def pin(hub: TheHub, actor: Admin, key: str, snapshot: SnapshotId, reason: Text = "") -> Response:
    hub.operations.get_repository(key)
    spec = {
        "repository": key,
        "snapshot": snapshot,
        "reason": reason.strip() or f"pinned by {actor.name}",
    }
    name = f"pin-{snapshot[:8]}-{secrets.token_hex(3)}"
    hub.operations.create_object("pin", name, spec, actor)
    return _back(key, Said(f"{snapshot[:8]} is pinned: it is not removed until it is unpinned."))


@router.post("/repositories/{key}/snapshots/{snapshot}/unpin")
def unpin(hub: TheHub, actor: Admin, key: str, snapshot: SnapshotId) -> Response:
    taken = 0
    while (found := find_pin(hub.document(), key, snapshot)) is not None:
        declared = hub.operations.get_object("pin", found[0])
        hub.operations.delete_object("pin", declared.key, actor, expected=declared.revision)
        taken += 1
    if not taken:
        return _back(key, Said(f"{snapshot[:8]} is not pinned.", "warn"))
    return _back(key, Said(f"{snapshot[:8]} is unpinned: retention applies to it again.", undo="/deleted"))


def _back(key: str, said: Said) -> Response:
    return go(link(_address(key), {"list": "1"}), said=said)


# --- two of them ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class ComparisonPage:
    """What differs between two snapshots, the older one first, or why nobody knows."""

    key: str
    old: Snapshot | None = None
    new: Snapshot | None = None
    differences: Sequence[Difference] = ()
    more: int = 0
    """So many others differ that are not shown."""
    counts: Sequence[str] = ()
    trouble: HighballError | None = None
    modifiers: Mapping[str, tuple[str, str]] = field(default_factory=MODIFIERS.copy)


@router.get("/repositories/{key}/compare")
async def compare(
    hub: TheHub, pages: ThePages, request: Request, _: Sees, key: str, old: InQuery = "", new: InQuery = ""
) -> Response:
    await run_in_threadpool(hub.operations.get_repository, key)
    shown = ComparisonPage(key)
    try:
        pair = [await pages.listings.get_snapshot(key, one) for one in (old, new)]
        pair.sort(key=lambda one: one.time)
        found = await hub.operations.compare(key, pair[0].id, pair[1].id)
    except HighballError as error:
        shown = replace(shown, trouble=error)
    else:
        shown = replace(
            shown,
            old=pair[0],
            new=pair[1],
            differences=found[:MOST_DIFFERENCES],
            more=max(0, len(found) - MOST_DIFFERENCES),
            counts=_count(found),
        )
    return await run_in_threadpool(pages.answer, request, "comparison", {"page": shown})


def _count(found: Sequence[Difference]) -> list[str]:
    """How many paths differ in which way."""
    ways = Counter(one.modifier[:1] for one in found)
    return [f"{ways[sign]:,} {word}" for sign, (word, _) in MODIFIERS.items() if ways[sign]]


# --- one of them ---------------------------------------------------------------------------------


@router.get("/repositories/{key}/snapshots/{snapshot}/remove")
def ask_to_remove(
    hub: TheHub, pages: ThePages, request: Request, _: Forgets, key: str, snapshot: SnapshotId
) -> Response:
    hub.plans.demand_removable(key, snapshot)
    return ask(pages, request, _about_removal(key, snapshot))


@router.post("/repositories/{key}/snapshots/{snapshot}/remove")
def remove(
    hub: TheHub, pages: ThePages, actor: Forgets, key: str, snapshot: SnapshotId, order_key: Text = ""
) -> Response:
    order = RunOrder(task="forget", repository=key, snapshot=snapshot)
    return pages.to_run(*hub.operations.place(order, actor, key=order_key[:200] or None))


def _about_removal(key: str, id: str) -> Question:
    return Question(
        title=f"Remove snapshot {id[:8]} from {key}?",
        text="Only this snapshot is removed, whatever retention says, and this cannot be undone. The newest one of "
        "a job, the last restore-tested one and pinned ones are never removed. The next prune frees its space.",
        action=f"{_address(key)}/{id}/remove",
        verb="Remove snapshot",
        back=link(_address(key), {"list": "1"}),
        hidden=(("order_key", f"remove-{id}-{secrets.token_hex(6)}"),),
    )


# --- those of others -----------------------------------------------------------------------------


@dataclass(frozen=True)
class ForeignPage:
    """The snapshots of a repository that no known run made, and the jobs that may govern them."""

    key: str
    jobs: Sequence[tuple[str, str]]
    groups: Sequence[ForeignGroup] = ()
    trouble: HighballError | None = None


@router.get("/repositories/{key}/foreign")
async def list_groups(hub: TheHub, pages: ThePages, request: Request, _: Sees, key: str) -> Response:
    await run_in_threadpool(hub.operations.get_repository, key)
    jobs = [job for job, one in hub.document().jobs.items() if one.enabled]
    shown = ForeignPage(key, [(one, one) for one in jobs])
    try:
        shown = replace(shown, groups=await hub.operations.list_foreign(key))
    except HighballError as error:
        shown = replace(shown, trouble=error)
    return await run_in_threadpool(pages.answer, request, "foreign", {"page": shown})


@router.get("/repositories/{key}/foreign/{group}/adopt")
async def ask_to_adopt(
    hub: TheHub, pages: ThePages, request: Request, _: Admin, key: str, group: Group, job: InQuery = ""
) -> Response:
    try:
        plans = await hub.operations.preview_adoption(key, group, job)
    except HighballError as error:
        return go(_foreign(key), said=Said(status_looks.sentence(error.message), "warn"))
    going = sum(len(plan.remove) for plan in plans)
    staying = sum(len(plan.keep) for plan in plans)
    return await run_in_threadpool(
        ask,
        pages,
        request,
        Question(
            title=f"Adopt these snapshots into the retention of {job}?",
            text=f"Adopting removes nothing. Of all snapshots the job would then have, {staying} would be kept and "
            f"{counted(going, 'snapshot')} removed; the first plan that removes any of these must be approved. Release "
            "undoes it.",
            action=f"{_foreign(key)}/{group}/adopt",
            verb="Adopt",
            back=_foreign(key),
            hidden=(("job", job),),
            destroys=False,
        ),
    )


@router.post("/repositories/{key}/foreign/{group}/adopt")
async def adopt(hub: TheHub, actor: Admin, key: str, group: Group, job: Text = "") -> Response:
    found = await hub.operations.adopt(key, group, job, actor)
    told = f"Adopted {counted(found.snapshots, 'snapshot')} into the retention of {job}."
    return go(_foreign(key), said=Said(told))


@router.post("/repositories/{key}/foreign/{group}/release")
async def release(hub: TheHub, actor: Admin, key: str, group: Group) -> Response:
    await hub.operations.release(key, group, actor)
    return go(_foreign(key), said=Said("Released: these snapshots are foreign again. Nothing was removed."))


def _foreign(key: str) -> str:
    return f"{repository_page(key)}/foreign"
