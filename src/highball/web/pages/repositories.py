"""Repositories: what each holds, who locks it, how far it was checked, how it is kept in order, who may reach it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from markupsafe import Markup
from pydantic import AfterValidator
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse

from highball import humanize as words
from highball.actions import Verb, list_offered, words_of
from highball.config.document import Cadences, effective_cadences
from highball.config.repository import Repository
from highball.engine.kinds import engine_of
from highball.errors import ConfigurationInvalid, Conflict, HighballError, Misuse, Stale
from highball.hub.audit import Actor, Entry
from highball.hub.hub import Hub
from highball.hub.operations.trials import RepositoryTestAnswer
from highball.hub.runs.pauses import Pause
from highball.hub.runs.queue import RunOrder
from highball.hub.runs.record import LOST, utc_now
from highball.hub.runs.recorded import RepositoryDay, RunFilter
from highball.hub.runs.scheduler import Upcoming
from highball.hub.status.repository_status import (
    Coverage,
    HeldSecret,
    Holding,
    find_coverage,
    list_secrets,
)
from highball.model.run import (
    Action,
    Outcome,
    Run,
    RunKind,
    RunState,
)
from highball.model.standing import Hold
from highball.retention import Plan
from highball.web.authorize import Admin, Discards, Orders, Runs, Sees, Unlocks
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms import pause_length as pausing
from highball.web.forms.fields import (
    InQuery,
    Offer,
    Question,
    ask,
    file_of,
    needs_no_look,
    new_order_key,
    plan_address,
)
from highball.web.forms.maintenance_fields import MaintenanceForm
from highball.web.pages.history import in_use
from highball.web.pages.keyrings import is_outdated, kit_taken
from highball.web.pages.start import KIT_KEPT, USABLE
from highball.web.seen_locks import LockTold, judge_lock
from highball.web.ui import charts, status_looks
from highball.web.ui.addresses import repository_page
from highball.web.ui.status_looks import Look
from highball.web.ui.templating import (
    Pages,
    Said,
    go,
    link,
)

Text = Annotated[str, Form(max_length=200)]
Shown = Annotated[tuple[Text, ...], Form(max_length=1000)]
"""The plans that the page showed, by their ids."""

PERIODS = {30: "30 d", 90: "90 d", 365: "1 y"}
LATEST = 6

router = APIRouter(include_in_schema=False)


@router.get("/repositories")
def list_them(hub: TheHub, pages: ThePages, request: Request, _: Sees) -> Response:
    now = utc_now()
    going = _going(hub)
    paused = {pause.subject for pause in hub.operations.list_pauses()}
    rows = [
        RepositoryRow(
            held,
            look_of(held, going.get(held.key), locked=pages.seen_locks.tell(held.key, now)),
            f"check:{held.key}" in paused,
        )
        for held in hub.operations.list_holdings()
    ]
    return pages.answer(request, "repositories", {"page": RepositoryList(rows)})


@router.get("/repositories/{key}")
def show(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    key: str,
    _: Sees,
    days: Annotated[int, Query(ge=1, le=3660)] = 90,
) -> Response:
    locked = pages.seen_locks.tell(key, utc_now())
    return pages.answer(request, "repository", {"page": _page_of(hub, key, days, locked)})


@router.get("/repositories/{key}/locks")
async def show_locks(hub: TheHub, pages: ThePages, request: Request, key: str, _: Sees) -> Response:
    found = await _locks(hub, key)
    if found.error is None:
        pages.seen_locks.note(key, found.locks, utc_now())

    def draw() -> Response:
        look = look_of(
            hub.operations.get_holding(key),
            _going(hub).get(key),
            locked=pages.seen_locks.tell(key, utc_now()),
        )
        return pages.answer(request, "repository-locks", {"page": found, "look": look})

    return await run_in_threadpool(draw)


@router.get("/repositories/{key}/unlock")
async def ask_to_unlock(hub: TheHub, pages: ThePages, request: Request, key: str, _: Unlocks) -> Response:
    found = await _locks(hub, key)
    if error := found.error:
        return go(repository_page(key), said=Said(status_looks.sentence(error.message), "warn"))
    if not found.locks:
        return go(repository_page(key), said=Said(f"{key} is no longer locked."))
    return await run_in_threadpool(ask, pages, request, _about_locks(key, found.locks))


@router.post("/repositories/{key}/unlock")
def unlock(
    hub: TheHub, pages: ThePages, key: str, actor: Unlocks, order_key: Text = "", everything: Text = ""
) -> Response:
    pages.seen_locks.forget(key)
    order = RunOrder(task="unlock", repository=key, remove_all=bool(everything))
    return _ordered(hub, pages, order, actor, order_key)


@router.post("/repositories/{key}/test")
async def test(hub: TheHub, key: str, _: Runs) -> Response:
    await run_in_threadpool(hub.operations.get_repository, key)
    try:
        found = await hub.operations.test_repository(key)
    except HighballError as error:
        return go(
            repository_page(key), said=Said(f"Not tested: {status_looks.sentence(error.message)}", "warn")
        )
    return go(repository_page(key), said=_said_of(found))


@router.post("/repositories/{key}/run")
def run(
    hub: TheHub,
    pages: ThePages,
    key: str,
    actor: Orders,
    task: Annotated[str, AfterValidator(partial(needs_no_look, "repository")), Form()],
    order_key: Text = "",
) -> Response:
    return _ordered(hub, pages, RunOrder(task=task, repository=key), actor, order_key)


@router.post("/repositories/{key}/pause")
def pause(
    hub: TheHub,
    pages: ThePages,
    key: str,
    actor: Runs,
    pause: Text = pausing.UNTIL_RESUMED,
    day: Text = "",
    hour: Text = "",
) -> Response:
    now = utc_now()
    try:
        until = pausing.end_of(pause, day, hour, now, pages.zone())
        hub.operations.pause_upkeep(key, until, actor)
    except (ConfigurationInvalid, Misuse) as error:
        return go(repository_page(key), said=pausing.why_not(error))
    lasting = pausing.lasting(until, now, pages.zone())
    return go(repository_page(key), said=Said(f"Maintenance of {key} is paused{lasting}."))


@router.post("/repositories/{key}/resume")
def resume(hub: TheHub, key: str, actor: Runs) -> Response:
    hub.operations.resume_upkeep(key, actor)
    return go(repository_page(key), said=Said(f"Maintenance of {key} is resumed."))


@router.get("/repositories/{key}/delete")
def ask_to_delete(hub: TheHub, pages: ThePages, request: Request, key: str, _: Admin) -> Response:
    declared = hub.operations.get_object("repository", key)
    question = in_use(hub, "repository", key) or _about_deletion(key, declared.revision)
    return ask(pages, request, question)


@router.post("/repositories/{key}/delete")
def delete(hub: TheHub, key: str, actor: Admin, revision: Annotated[int, Form()]) -> Response:
    try:
        hub.operations.delete_object("repository", key, actor, expected=revision)
    except Conflict as error:
        hint = f" {status_looks.sentence(error.hint)}" if error.hint else ""
        return go(repository_page(key), said=Said(f"Not deleted: {error.message}.{hint}", "warn"))
    text = f"{key} is deleted. Its data stays in its place."
    return go("/repositories", said=Said(text, undo="/deleted"))


@dataclass(frozen=True)
class PlansPage:
    """What retention would do in a repository, of all jobs or of one, or why nobody knows."""

    key: str
    repository: Repository
    job: str | None
    order_key: str
    plans: Sequence[Plan] = ()
    error: HighballError | None = None


@router.get("/repositories/{key}/retention")
async def preview(
    hub: TheHub, pages: ThePages, request: Request, key: str, _: Sees, job: str | None = None
) -> Response:
    repository = await run_in_threadpool(hub.operations.get_repository, key)
    shown = PlansPage(key, repository, job, new_order_key())
    try:
        shown = replace(shown, plans=await hub.operations.list_plans(key, job))
    except HighballError as error:
        shown = replace(shown, error=error)
    return await run_in_threadpool(pages.answer, request, "repository-retention", {"page": shown})


@router.get("/repositories/{key}/discard")
async def ask_to_approve(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    key: str,
    _: Discards,
    plan: InQuery = "",
    job: InQuery = "",
) -> Response:
    await run_in_threadpool(hub.operations.get_repository, key)
    try:
        plans = await hub.operations.list_plans(key, job or None)
    except HighballError as error:
        return go(repository_page(key), said=Said(status_looks.sentence(error.message), "warn"))
    found = next((one for one in plans if one.id == plan), None)
    if found is None:
        told = Said("The plan has changed: review it again.", "warn")
        return go(f"{repository_page(key)}/retention", said=told)
    return await run_in_threadpool(ask, pages, request, _about_plan(key, found))


@router.post("/repositories/{key}/discard")
def discard(
    hub: TheHub,
    pages: ThePages,
    key: str,
    actor: Discards,
    shown: Shown = (),
    order_key: Text = "",
    job: Text = "",
    plan: Text = "",
) -> Response:
    if not (shown or plan):
        return go(plan_address(key, job))
    order = RunOrder(task="discard", repository=key, job=job or None, plan=plan or None, shown=shown or None)
    return _ordered(hub, pages, order, actor, order_key)


@router.get("/repositories/{key}/off")
def ask_to_switch_off(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    key: str,
    _: Admin,
    revision: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    hub.operations.get_repository(key)
    return ask(pages, request, _about_off(key, revision))


@router.post("/repositories/{key}/maintenance")
def set_maintenance(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    key: str,
    actor: Admin,
    sent: Annotated[MaintenanceForm, Form()],
) -> Response:
    if sent.is_off and not sent.accept_growth:
        return ask(pages, request, _about_off(key, sent.revision))
    spec = sent.applied_to(hub.operations.get_object("repository", key).spec)
    try:
        hub.operations.change_object("repository", key, spec, actor, expected=sent.revision)
    except ConfigurationInvalid as error:
        problems = problems_below(error, f"repositories.{key}")
        shown = replace(_page_of(hub, key), sent=sent, problems=problems)
        return pages.answer(request, "repository", {"page": shown}, status=422)
    except Stale as error:
        again = sent.model_copy(update={"revision": error.revision})
        shown = replace(_page_of(hub, key), sent=again, differences=error.differences)
        return pages.answer(request, "repository", {"page": shown}, status=412)
    return go(f"{repository_page(key)}#maintenance", said=Said(f"Maintenance of {key}: {sent.in_words}."))


@dataclass(frozen=True)
class KitPage:
    """The recovery kit of a repository, once it was taken; `to` is where its reader goes on."""

    key: str
    made: bool
    """Whether the repository was made just now."""
    to: str
    sheet: str | None = None


@router.get("/repositories/{key}/kit")
def offer_kit(
    hub: TheHub, pages: ThePages, request: Request, key: str, _: Admin, made: InQuery = "", to: InQuery = ""
) -> Response:
    hub.operations.get_repository(key)
    return pages.answer(request, "repository-kit", {"page": KitPage(key, bool(made), to), "error": None})


@router.post("/repositories/{key}/kit")
def make_kit(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    key: str,
    actor: Admin,
    download: Text = "",
    made: Text = "",
    to: Text = "",
) -> Response:
    shown = KitPage(key, bool(made), to)
    try:
        kit = hub.operations.make_kit(key, actor)
    except HighballError as error:
        told = {"page": shown, "error": error}
        return pages.answer(request, "repository-kit", told, status=error.http_status)
    if not download:
        return pages.answer(request, "repository-kit", {"page": replace(shown, sheet=kit), "error": None})
    name = f"recovery-kit-{key}.md"
    return PlainTextResponse(kit, headers={"Content-Disposition": f'attachment; filename="{name}"'})


@router.post("/repositories/{key}/kept")
def note_kept(hub: TheHub, key: str, actor: Admin, kept: Text = "", to: Text = "") -> Response:
    hub.operations.get_repository(key)
    if not kept:
        return go(link(f"{repository_page(key)}/kit", {"made": "yes", "to": to}))
    hub.access.note(actor, KIT_KEPT, utc_now(), kind="repository", key=key)
    return go(to or repository_page(key))


# --- small steps ---------------------------------------------------------------------------------


def _ordered(hub: Hub, pages: Pages, order: RunOrder, actor: Actor, key: str) -> Response:
    return pages.to_run(*hub.operations.place(order, actor, key=f"{key}:{order.task}" if key else None))


def _said_of(found: RepositoryTestAnswer) -> Said:
    """What a test found, by each access."""
    each = [("Credentials", found), ("Admin credentials", found.admin)] if found.admin else [("", found)]
    told = []
    for access, one in each:
        message = f"{access}: {one.message}" if access and one else one.message if one else ""
        told.append(
            status_looks.sentence(message)
            + (f" {status_looks.sentence(one.hint)}" if one and one.hint else "")
        )
    usable = all(one is None or one.state in USABLE for _, one in each)
    took = found.milliseconds + (found.admin.milliseconds if found.admin else 0)
    return Said(f"Tested from {found.host} in {took:,} ms. {' '.join(told)}", "ok" if usable else "warn")


def problems_below(error: ConfigurationInvalid, place: str) -> dict[str, str]:
    """What is wrong with each field of an object; under the blank name what is wrong elsewhere."""
    found: dict[str, str] = {}
    for one in error.problems:
        field = one.at.removeprefix(f"{place}.") if one.at.startswith(f"{place}.") else ""
        words = f"{one.message}; {one.hint}" if one.hint else one.message
        found.setdefault(field, status_looks.sentence(words))
    return found


# --- the list ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RepositoryRow:
    """A repository as a row of the list shows it."""

    held: Holding
    look: Look
    paused: bool


@dataclass(frozen=True)
class RepositoryList:
    """All repositories."""

    rows: Sequence[RepositoryRow]


def _going(hub: Hub) -> dict[str, Action]:
    """What is at work in each repository, besides backups and restores."""
    return {
        run.repository: run.action
        for run in hub.record.list_under_way(100)
        if run.kind is RunKind.MAINTENANCE and run.repository and run.state is RunState.RUNNING
    }


def look_of(held: Holding, going: Action | None = None, locked: str | None = None) -> Look:
    """How a repository stands: what is at work there, that it is locked, else the worst that was last done there."""
    doing = None if going is None else words_of(going).doing
    if doing is not None:
        return Look("run", "loader-circle", doing)
    if locked is not None:
        return Look(locked, "lock", "Locked")
    for action, done in held.last.items():
        if done.step.outcome is Outcome.FAILURE:
            return Look("bad", "circle-x", f"{words_of(action).noun} failed")
    for action, done in held.last.items():
        if done.step.outcome is Outcome.WARNING:
            return Look("warn", "triangle-alert", f"{words_of(action).noun} with warnings")
    if held.identity is None:
        return Look("idle", "circle-dashed", "Not connected yet")
    if held.last_good_check is None:
        return Look("idle", "circle-dashed", "Not checked yet")
    return Look("ok", "circle-check", "Healthy")


# --- the page of one -----------------------------------------------------------------------------


@dataclass(frozen=True)
class RepositoryPage:
    """A repository: what it holds, how it is kept in order, and who may reach it."""

    key: str
    place: str
    held: Holding
    repository: Repository
    file: str | None
    look: Look
    holds: Sequence[Hold]
    coverage: Coverage | None
    check_state: Look
    paused: Pause | None
    pauses: Sequence[tuple[str, str]]
    coming: Mapping[str, Upcoming]
    runs: Sequence[Run]
    days: int
    periods: Mapping[int, str]
    figures: RepositoryFigures
    plots: Sequence[tuple[str, Markup]]
    sent: MaintenanceForm
    """What somebody wants of its maintenance, and may not have."""
    cadences: Cadences
    secrets: Sequence[HeldSecret]
    has_keys: bool
    admin: str
    kit_taken: Entry | None
    kit_outdated: bool
    order_key: str
    offered: Sequence[Verb]
    problems: Mapping[str, str] = field(default_factory=dict)
    differences: Sequence[Any] = ()
    """How what is declared by now differs from what was sent."""


def _page_of(hub: Hub, key: str, days: int = 90, locked: str | None = None) -> RepositoryPage:
    now, repository = utc_now(), hub.operations.get_repository(key)
    declared = hub.operations.get_object("repository", key)
    held, secrets = hub.operations.get_holding(key), list_secrets(hub, key)
    pauses = {pause.subject: pause for pause in hub.operations.list_pauses()}
    chosen = RunFilter(repository=key, kind=RunKind.MAINTENANCE)
    known, taken = hub.operations.list_days(key, days), kit_taken(hub, key)
    return RepositoryPage(
        key=key,
        place=repository_page(key),
        held=held,
        repository=repository,
        file=file_of(hub, declared),
        look=look_of(held, _going(hub).get(key), locked),
        holds=hub.operations.list_holds(key),
        coverage=find_coverage(hub, key, now),
        check_state=_check_state(held),
        paused=_pause_of(pauses, key),
        pauses=pausing.choices(),
        coming=hub.operations.next_of_each(hub.operations.list_upkeep(key)),
        runs=hub.operations.list_runs(chosen, limit=LATEST),
        days=days,
        periods=PERIODS,
        figures=_figures(held, known),
        plots=_plots(known, now.date() - timedelta(days=days), now.date(), alone=not held.others),
        sent=MaintenanceForm.of(repository, declared.revision),
        cadences=effective_cadences(hub.document(), key),
        secrets=secrets,
        has_keys=engine_of(repository).keeps_keys,
        admin=_admin_in_words(repository, secrets),
        kit_taken=taken,
        kit_outdated=is_outdated(hub, key, taken),
        order_key=new_order_key(),
        offered=list_offered("repository"),
    )


def _pause_of(pauses: Mapping[str, Pause], key: str) -> Pause | None:
    subjects = (f"{task}:{key}" for task in ("check", "discard", "prune"))
    return next((pauses[subject] for subject in subjects if subject in pauses), None)


def _check_state(held: Holding) -> Look:
    done = held.last.get(Action.CHECK)
    if done is None or done.step.outcome is None:
        return Look("idle", "circle-dashed", "Not checked yet")
    look = status_looks.OUTCOMES[done.step.outcome]
    return Look(look.tone, look.icon, "No problems found" if look.tone == "ok" else look.word)


def _admin_in_words(repository: Repository, held: Sequence[HeldSecret]) -> str:
    if repository.has_admin:
        named = (
            "its own password" if any(one.name == "admin.password" for one in held) else "its own credentials"
        )
        return f"Can delete, with {named}. Sent only for clean-ups, prunes and unlocking."
    if repository.append_only:
        return "None. Without them nothing can be removed here."
    return "None. The credentials above can delete."


# --- figures over time ---------------------------------------------------------------------------


@dataclass(frozen=True)
class RepositoryFigures:
    """What a repository holds, each figure with what gives it meaning."""

    stored: int | None
    growth: str
    protects: int | None
    snapshots: str
    factor: float | None
    saved: str


def _figures(held: Holding, days: Sequence[RepositoryDay]) -> RepositoryFigures:
    weekly = charts.growth_a_week(_points(days, "bytes_stored"))
    growth = "as last measured" if held.measured_at else "not measured yet"
    if weekly is not None:
        growth = f"about {words.size(abs(weekly))} {'more' if weekly >= 0 else 'less'} a week"
    snapshots = f"in {words.counted(held.snapshots, 'snapshot')}" if held.snapshots else "no snapshots yet"
    if held.others:
        snapshots += f", and {held.others:,} foreign"
    saved = "foreign data is stored here too" if held.others else "by deduplication and compression"
    if held.saved is not None and held.saved < 1:
        saved = "more is stored than protected"
    return RepositoryFigures(held.bytes_stored, growth, held.bytes_protected, snapshots, held.saved, saved)


def _points(days: Sequence[RepositoryDay], name: str) -> list[tuple[date, float]]:
    return [
        (date.fromisoformat(day.day), float(value))
        for day in days
        if (value := getattr(day, name)) is not None
    ]


def _plots(
    days: Sequence[RepositoryDay], first: date, last: date, *, alone: bool
) -> list[tuple[str, Markup]]:
    """What was stored, what deduplication and compression saved, and how many snapshots there were.

    What was saved is not known where others' data is stored there, too.
    """
    found = []
    stored, restorable = _points(days, "bytes_stored"), dict(_points(days, "bytes_restorable"))
    if _is_line(stored, last):
        scale = charts.scale_of_sizes(max(value for _, value in stored))
        label = charts.in_words("Stored", stored, words.size)
        found.append(("Stored", charts.draw(stored, first, last, scale, label)))
    saved = [(day, restorable[day] / value) for day, value in stored if value and day in restorable]
    if alone and _is_line(saved, last):
        scale = charts.scale_of_numbers(max(value for _, value in saved), suffix=" ×", whole=False)
        label = charts.in_words("Deduplication and compression", saved, lambda factor: f"{factor:.1f} times")
        drawn = charts.draw(saved, first, last, scale, label, small=True)
        found.append(("Saved by deduplication and compression", drawn))
    counts = _points(days, "snapshots")
    if _is_line(counts, last):
        scale = charts.scale_of_numbers(max(value for _, value in counts))
        label = charts.in_words("Snapshots", counts, lambda count: f"{count:.0f}")
        found.append(("Snapshots", charts.draw(counts, first, last, scale, label, small=True)))
    return found


def _is_line(points: Sequence[tuple[date, float]], last: date) -> bool:
    """Whether there is more than one day to draw."""
    return bool(points) and points[0][0] < last


# --- locks ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HeldLocks:
    """The locks of a repository as it was found just now, or why nobody could look."""

    key: str
    place: str
    locks: Sequence[LockTold] = ()
    error: HighballError | None = None
    gone: bool = False
    """Whether the repository is not there that once was met."""


async def _locks(hub: Hub, key: str) -> HeldLocks:
    repository = await run_in_threadpool(hub.operations.get_repository, key)
    now, host, place = utc_now(), repository.maintainer(hub.host), repository_page(key)
    try:
        found = await hub.operations.list_locks(key)
    except HighballError as error:
        gone = error.code in LOST and await run_in_threadpool(hub.record.find_identity, key) is not None
        return HeldLocks(key, place, error=error, gone=gone)
    return HeldLocks(key, place, [judge_lock(lock, host, now) for lock in found])


def _about_deletion(key: str, revision: int) -> Question:
    return Question(
        title=f"Delete the repository {key}?",
        text="It is no longer maintained. Its data stays in its place, and the entry can be restored from the deleted "
        "objects.",
        action=f"{repository_page(key)}/delete",
        verb=f"Delete {key}",
        back=repository_page(key),
        hidden=(("revision", str(revision)),),
    )


def _about_locks(key: str, locks: Sequence[LockTold]) -> Question:
    """What is asked before locks are removed: whose they are, and what is known of them."""
    one = len(locks) == 1
    in_use = any(not told.stale for told in locks)
    return Question(
        title=f"Remove the lock of {status_looks.path(locks[0].lock.hostname)} in {key}?"
        if one
        else f"Remove the {len(locks)} locks in {key}?",
        text="Only stale locks are removed; locks in use stay.",
        details=tuple(_lock_in_words(told) for told in locks),
        offer=Offer(
            "everything",
            "Remove all locks, including those in use",
            "Running operations would continue without protection: concurrent writes can damage the repository.",
        )
        if in_use
        else None,
        action=f"{repository_page(key)}/unlock",
        verb="Remove lock" if one else "Remove locks",
        back=repository_page(key),
        hidden=(("order_key", new_order_key()),),
        destroys=in_use,
    )


def _lock_in_words(told: LockTold) -> str:
    kind = "Exclusive" if told.lock.exclusive else "Shared"
    owner = status_looks.path(told.lock.username or "unknown user")
    where = f"{owner} on {status_looks.path(told.lock.hostname)}, process {told.lock.pid}"
    return f"{kind}, held by {where}. {told.known}"


def _about_plan(key: str, plan: Plan) -> Question:
    """What is asked before a plan is carried out that no rule lets pass by itself."""
    going, staying = words.counted(len(plan.remove), "snapshot"), words.counted(len(plan.keep), "snapshot")
    return Question(
        title=f"Remove {going} of {plan.job} from {key}?",
        text=f"{staying} {'is' if len(plan.keep) == 1 else 'are'} kept. Exactly the snapshots of this plan are "
        "removed, or none if anything changes before. This cannot be undone.",
        action=f"{repository_page(key)}/discard",
        verb=f"Remove {going}",
        back=f"{repository_page(key)}/retention",
        hidden=(("order_key", f"{new_order_key()}-{plan.id}"), ("plan", plan.id), ("job", plan.job)),
    )


# --- maintenance ---------------------------------------------------------------------------------


def _about_off(key: str, revision: int) -> Question:
    """The second of the two steps by which maintenance is switched off."""
    return Question(
        title=f"Switch off maintenance of {key}?",
        text="No more clean-ups and no more checks: the repository keeps growing, and damage is not noticed. Backups "
        "continue.",
        action=f"{repository_page(key)}/maintenance",
        verb="Switch off",
        back=f"{repository_page(key)}#maintenance",
        hidden=(("revision", str(revision)), ("mode", "user"), ("user", "off"), ("accept_growth", "yes")),
    )
