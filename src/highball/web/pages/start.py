"""From a new account to a first finished backup: where to keep it, the way back in, what to protect, the first run.

Nothing of the way is remembered but what it made: which step is next is read from what is declared, whether the
recovery key was kept from the audit, how the first backup goes from the record. So it may be left and taken up again.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from starlette.concurrency import run_in_threadpool

from highball import humanize
from highball.config.document import effective_job
from highball.config.repository import Repository
from highball.errors import Conflict, Failed, HighballError, Misuse
from highball.hub.agents.remote_repository import AskedOverWire
from highball.hub.audit import Actor, AuditFilter
from highball.hub.auth.users import demand_present
from highball.hub.hub import Hub
from highball.hub.runs.queue import RunOrder
from highball.hub.runs.record import utc_now
from highball.hub.runs.recorded import RunFilter
from highball.model.run import (
    Outcome,
    Run,
    RunState,
)
from highball.model.text import path_for_people, path_to_text
from highball.protocol.queries import TestSources
from highball.secret import SecretValue
from highball.web.authorize import Admin
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms.fields import Text
from highball.web.forms.job_fields import When, read_path
from highball.web.ui import run_summary
from highball.web.ui.templating import (
    Pages,
    Said,
    go,
)

Texts = Annotated[list[str] | None, Form(max_length=200)]

REPOSITORY = "backups"
JOB = "files"
SCHEDULE = "daily"
AT = "03:00"
"""When that is."""
KIT_KEPT = "kept_kit"
OFFERED = ("/home", "/root", "/etc", "/srv", "/var/www", "/opt")
"""What most machines want to keep; of these, what is there."""

DISKS = ("/mnt", "/media", "/run/media")
FOLDER_WITHOUT_DISK = "/var/backups/highball"
ASK_SECONDS = 30.0
INIT_SECONDS = 60.0
USABLE = ("existing", "empty")


@dataclass(frozen=True)
class Told:
    """A sentence and its tone."""

    text: str
    tone: str


router = APIRouter(include_in_schema=False)


@router.get("/start")
async def show(hub: TheHub, pages: ThePages, request: Request, actor: Admin) -> Response:
    return await _show(hub, pages, request, actor, {})


@router.post("/start/repository")
async def make_repository(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    actor: Admin,
    folder: Text = "",
    password: Text = "",
    act: Text = "make",
) -> Response:
    told: dict[str, Any] = {"folder": folder, "password": password}
    try:
        if act == "test":
            told["found"] = await _test(hub, folder, password)
        else:
            await _make_repository(hub, folder.strip(), password, actor)
            return go("/start")
    except HighballError as error:
        told["error"] = error
    return await _show(hub, pages, request, actor, told)


@router.post("/start/kit")
def keep_kit(hub: TheHub, actor: Admin, kept: Text = "") -> Response:
    if kept:
        hub.access.note(actor, KIT_KEPT, utc_now(), kind="repository", key=_first_repository(hub))
    return go("/start")


@router.post("/start/job")
async def make_job(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    actor: Admin,
    source: Texts = None,
    more: Text = "",
    at: Text = AT,
    caches: Text = "",
) -> Response:
    typed = [line.strip().encode("utf-8", "surrogateescape") for line in more.splitlines() if line.strip()]
    try:
        await _make_job(hub, [*map(read_path, source or ()), *typed], _daily(at.strip()), bool(caches), actor)
    except HighballError as error:
        told = {"chosen": set(source or ()), "more": more, "at": at, "caches": caches, "error": error}
        return await _show(hub, pages, request, actor, told)
    return go("/start")


@router.post("/start/back")
def choose_another(hub: TheHub, actor: Admin) -> Response:
    return go("/start", said=_take_back(hub, actor))


@router.post("/start/run")
def run_again(hub: TheHub, actor: Admin) -> Response:
    if hub.document().jobs:
        _back_up_again(hub, actor)
    return go("/start")


def _back_up_again(hub: Hub, actor: Actor) -> None:
    """Order the first backup once more, where the last one came to nothing."""
    told = _first_run(hub)
    if not told["going"]:
        hub.operations.order("backup", told["job"], actor=actor)


async def _show(hub: Hub, pages: Pages, request: Request, actor: Actor, told: dict[str, Any]) -> Response:
    """The next step, with what this machine has to offer for it."""
    step = await run_in_threadpool(_step, hub)
    offered: Sequence[str] = ()
    if step == "repository":
        offered = [await _offer_folder(hub)]
    elif step == "job":
        offered = await _offer_sources(hub)
    return await run_in_threadpool(_draw, hub, pages, request, actor, step, offered, told)


def _draw(
    hub: Hub,
    pages: Pages,
    request: Request,
    actor: Actor,
    step: str,
    offers: Sequence[str],
    told: dict[str, Any],
) -> Response:
    context: dict[str, Any] = {"step": step, "host": hub.host, "error": None, "found": None}
    if step == "repository":
        context |= {"folder": offers[0], "password": ""}
    elif step == "kit":
        demand_present(actor)
        key = _first_repository(hub)
        hub.access.note(actor, "took_kit", utc_now(), kind="repository", key=key)
        context |= {"repository": key, "recovery_key": _recovery_key(hub, key), "place": _place_of(hub, key)}
    elif step == "job":
        chosen: set[str] = told.get("chosen", set())
        offered = dict.fromkeys([*offers, *sorted(chosen)])
        context |= {"offered": [(value, read_path(value)) for value in offered], "chosen": chosen, "more": ""}
        context |= {"at": AT, "caches": "yes", "zone_name": hub.document().settings.timezone}
        context |= {"repository": _first_repository(hub), "place": _place_of(hub, _first_repository(hub))}
    else:
        context |= _first_run(hub)
    error = told.get("error")
    status = error.http_status if error is not None else 200
    return pages.answer(request, "start", context | told, status=status)


def _step(hub: Hub) -> str:
    document = hub.document()
    if not document.repositories:
        return "repository"
    if document.jobs:
        return "run"
    key = _first_repository(hub)
    sealed = hub.vault.find(hub.vault.find_place(key, "password"))
    kept = hub.access.list_audit(AuditFilter(kind="repository", key=key, action=KIT_KEPT), limit=1)
    return "kit" if sealed is not None and not kept else "job"


def _first_repository(hub: Hub) -> str:
    return min(hub.document().repositories)


def _place_of(hub: Hub, key: str) -> str:
    return str(hub.document().repositories[key].address or key)


def _recovery_key(hub: Hub, key: str) -> str:
    return hub.vault.open(hub.vault.find_place(key, "password")).reveal().decode(errors="replace")


# --- where to keep backups -----------------------------------------------------------------------


async def _offer_folder(hub: Hub) -> str:
    """A folder on another disk where one is mounted: the best place that this machine has."""
    for disks in DISKS:
        for found in await _folders_in(hub, disks):
            return f"{found}/highball"
    return FOLDER_WITHOUT_DISK


async def _folders_in(hub: Hub, path: str) -> list[str]:
    try:
        told = await hub.operations.browse(hub.host, path.encode())
    except HighballError:
        return []
    return [
        entry["path"]
        for entry in told["entries"]
        if entry["kind"] == "dir" and isinstance(entry["path"], str)
    ]


async def _test(hub: Hub, folder: str, password: str) -> dict[str, Any]:
    """How a folder was found as a repository, from the machine that will use it."""
    value = SecretValue(password.encode() or b"none yet")

    def place() -> AskedOverWire:
        return hub.repositories.asked_unsaved(REPOSITORY, _spec(hub, folder.strip()), {"password": value})

    asked = replace(await run_in_threadpool(place), seconds=ASK_SECONDS)
    found = await asked.test()
    return {"host": asked.host, **found, "sentence": say_storage(found)}


def say_storage(found: dict[str, Any]) -> Told:
    """What a folder is like as a place for backups, in one sentence, and what speaks against it."""
    storage = found.get("storage")
    if found["action"] != "init":
        usable = found["state"] in USABLE
        told = "there is a repository, and this password opens it" if usable else found["message"]
        return Told(
            told + _room(storage), "ok" if usable and _is_apart(storage) else "warn" if usable else "bad"
        )
    if storage is None:
        return Told("no repository there yet; one will be created", "ok")
    if not storage["is_folder"]:
        return Told("the path is not a folder: choose another", "bad")
    if not storage["free_bytes"]:
        return Told("nothing can be stored there: choose a folder on a disk", "bad")
    if not storage["writable"]:
        return Told("the agent cannot write there: choose another folder, or run the agent as root", "bad")
    if storage["entries"]:
        return Told(f"the folder contains other files: an empty or new one is better{_room(storage)}", "warn")
    what = "an empty folder" if storage["exists"] else "new folder, will be created"
    return Told(f"{what}{_room(storage)}", "ok" if _is_apart(storage) else "warn")


def _is_apart(storage: dict[str, Any] | None) -> bool:
    return storage is None or not storage["with_system"]


def _room(storage: dict[str, Any] | None) -> str:
    if storage is None:
        return ""
    disk = (
        "on the same disk as the system: if it fails, the backups are lost too"
        if storage["with_system"]
        else "not on the system disk"
    )
    return f"; {humanize.size(storage['free_bytes'])} free, {disk}"


def _spec(hub: Hub, folder: str) -> Repository:
    if not folder.startswith("/"):
        raise Misuse(
            "enter the folder as an absolute path", code="path_relative", hint="like /mnt/disk/highball"
        )
    spec = {"url": folder, "password": {"sealed": True}}
    return hub.documents.rehearse("repository", REPOSITORY, spec).repositories[REPOSITORY]


async def _make_repository(hub: Hub, folder: str, password: str, actor: Actor) -> None:
    """Declare it, seal its password, and make it where it is not there yet; what failed leaves nothing behind."""
    found = await _test(hub, folder, password)
    if await run_in_threadpool(_declare, hub, folder, password, actor, found):
        await _initialise(hub, actor)


def _declare(hub: Hub, folder: str, password: str, actor: Actor, found: dict[str, Any]) -> bool:
    """Declare it and seal its password; whether it is still to be made."""
    fresh = found["action"] == "init"
    if fresh and found["sentence"].tone == "bad":
        why, _, hint = found["sentence"].text.partition(": ")
        raise Failed(f"{folder}: {why}", code="repository_unusable", hint=hint)
    if not fresh and found["state"] not in USABLE:
        raise Failed(found["message"], code="repository_unusable", hint=found["hint"])
    if hub.document().repositories:
        raise Conflict("a repository was created in the meantime", code="repository_exists")
    spec = {"url": folder, "password": {"sealed": True}}
    hub.operations.create_object("repository", REPOSITORY, spec, actor)
    value = secrets.token_urlsafe(24) if fresh else password
    place = hub.vault.find_place(REPOSITORY, "password")
    hub.vault.seal(place, SecretValue(value.encode()), actor, utc_now())
    if not fresh:
        hub.record.note_test(REPOSITORY, None, utc_now())  # it was opened before it was declared
    return bool(fresh)


def _take_back(hub: Hub, actor: Actor) -> Said | None:
    """Declare the repository no more, so that another is chosen: only while nothing is in it and nothing uses it."""
    document = hub.document()
    if document.jobs or len(document.repositories) != 1:
        return Said("The repository is in use. Change it on its own page.", "warn")
    key = _first_repository(hub)
    if hub.record.list_sets(repository=key):
        return Said("The repository already contains backups. Change it on its own page.", "warn")
    place = _place_of(hub, key)
    _undeclare(hub, key, actor)
    hub.record.forget_identity(key)
    return Said(
        f"Choose another place. The repository in {place} was not deleted; you can delete its folder."
    )


def _undeclare(hub: Hub, key: str, actor: Actor) -> None:
    declared = hub.operations.get_object("repository", key)
    hub.operations.delete_object("repository", key, actor, expected=declared.revision)
    hub.operations.purge_object("repository", key, actor)


async def _initialise(hub: Hub, actor: Actor) -> None:
    run, _ = await run_in_threadpool(
        hub.operations.place, RunOrder(task="init", repository=REPOSITORY), actor
    )
    ended = await _await_end(hub, run.id)
    if ended.outcome is not Outcome.SUCCESS:
        await run_in_threadpool(_undo, hub, actor, ended)


def _undo(hub: Hub, actor: Actor, ended: Run) -> None:
    """Leave nothing behind of what could not be made, and raise Failed with the reason."""
    _undeclare(hub, REPOSITORY, actor)
    why = ended.reason.message if ended.reason else "it was not created in time"
    raise Failed(why, code="repository_not_made", hint="choose another folder, or make this one writable")


async def _await_end(hub: Hub, id: str) -> Run:
    deadline = time.monotonic() + INIT_SECONDS
    while (run := await run_in_threadpool(hub.operations.find_run, id)).state is not RunState.DONE:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.1)
    return run


# --- what to protect, and the first run ----------------------------------------------------------


async def _offer_sources(hub: Hub) -> list[str]:
    there = {*await _folders_in(hub, "/"), *await _folders_in(hub, "/var")}
    return [path for path in OFFERED if path in there]


def _outermost(paths: Iterable[bytes]) -> list[bytes]:
    """Those that no other one holds already: what lies in a chosen folder is protected with it."""
    once = list(dict.fromkeys(paths))
    return [path for path in once if not any(_is_below(path, other) for other in once if other != path)]


def _daily(at: str) -> Any:
    """Every day at this time; by the name of every day where it is the usual one."""
    when = When(rhythm="daily", at=at)
    if problem := when.problem():
        raise Misuse(problem.message, code="time_invalid", hint=problem.hint)
    return SCHEDULE if at == AT else {"cron": when.expression()}


async def _make_job(hub: Hub, sources: list[bytes], schedule: Any, caches: bool, actor: Actor) -> None:
    spec, question = await run_in_threadpool(_plan_job, hub, sources, schedule, caches)
    wrong = [one for one in await hub.fleet.ask(hub.host, question, ASK_SECONDS) if not one["sound"]]
    if wrong:
        raise Misuse(str(wrong[0]["message"]), code="source_unsound", hint=f"checked on {hub.host}")

    def begin() -> None:
        hub.operations.create_object("job", JOB, spec, actor)
        hub.operations.order("backup", JOB, actor=actor)

    await run_in_threadpool(begin)


def _plan_job(
    hub: Hub, sources: list[bytes], schedule: Any, caches: bool
) -> tuple[dict[str, Any], TestSources]:
    """What is to be declared, and the question whether its sources are sound; raises Misuse."""
    if not sources:
        raise Misuse("no folder is selected", code="nothing_chosen", hint="select at least one")
    odd = next((source for source in sources if not source.startswith(b"/")), None)
    if odd is not None:
        raise Misuse(
            f"{path_for_people(odd)} is not an absolute path", code="path_relative", hint="like /data/photos"
        )
    sources = _outermost(sources)
    repository = _first_repository(hub)
    spec = {
        "sources": [path_to_text(source) for source in sources],
        "repositories": [repository],
        "schedule": schedule,
        "exclude_caches": caches,
        "exclude": _own_folders(hub, sources, repository),
    }
    return spec, TestSources(job=effective_job(hub.documents.rehearse("job", JOB, spec), JOB))


def _own_folders(hub: Hub, sources: list[bytes], repository: str) -> list[str]:
    """What must be left out, since it lies below what is chosen: the repository itself, and the hub's state."""
    own = [_place_of(hub, repository), os.fspath(hub.state)]
    return [place for place in own if any(_is_below(os.fsencode(place), source) for source in sources)]


def _is_below(place: bytes, source: bytes) -> bool:
    return place.startswith(b"/") and os.path.commonpath([place, source]) == os.path.normpath(source)


def _first_run(hub: Hub) -> dict[str, Any]:
    job = JOB if JOB in hub.document().jobs else min(hub.document().jobs)
    found = hub.operations.list_runs(RunFilter(job=job), limit=1)
    run: Run | None = found[0] if found else None
    going = run is not None and run.state is not RunState.DONE
    return {
        "job": job,
        "rhythm": humanize.rhythm(effective_job(hub.document(), job).schedule.expression),
        "zone_name": hub.document().settings.timezone,
        "sources": [source.title for source in effective_job(hub.document(), job).sources],
        "run": run,
        "going": going,
        "told": run_summary,
        "progress": hub.progress.find(run.id) if run is not None and going else None,
        "repository": min(hub.document().repositories),
        "place": _place_of(hub, min(hub.document().repositories)),
    }
