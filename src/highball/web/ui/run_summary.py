"""What a run did, in words: its steps, the sentence it came to, and how it compares with the one before.

The same facts stand in the API; here they are only said. Nothing here knows of templates or requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from highball.actions import words_of
from highball.config.job import Job
from highball.humanize import (
    counted,
    length,
    number,
    sample,
    size,
)
from highball.model.run import (
    Action,
    Caution,
    Outcome,
    Run,
    RunKind,
    RunState,
    Step,
)
from highball.web.ui import status_looks
from highball.web.ui.status_looks import Look
from highball.web.ui.titles import Names

MOST_CAUTIONS = 100

_ORIGINS = {
    "schedule": "by schedule",
    "hub": "by the hub",
    "agent": "by its agent",
    None: "from the command line",
}


# --- runs ----------------------------------------------------------------------------------------


def origin_of(run: Run) -> str:
    """Who, or what, started it."""
    if run.origin == "manual":
        return f"by {status_looks.actor(run.actor)}" if run.actor else "from the command line"
    return _ORIGINS.get(run.origin, "by schedule")


def starter_of(run: Run) -> str:
    """The same as a fact beside `Started by`."""
    return origin_of(run).removeprefix("by ").removeprefix("from ")


def took(run: Run | Step, now: datetime | None = None) -> timedelta | None:
    """How long it took, or has taken until now."""
    end = run.ended_at or now
    return None if run.started_at is None or end is None else end - run.started_at


def new_data(run: Run) -> int | None:
    """What a backup added to all its repositories."""
    return _sum(step.bytes_added for step in run.steps)


def _sum(values: Iterator[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def about(run: Run, names: Names) -> str:
    """What a row says below a run's name: what was done, and where."""
    places = list(dict.fromkeys(names.repository(step.repository) for step in run.steps if step.repository))
    if run.kind is RunKind.BACKUP:
        if run.job is None:
            return "Backup of the hub’s database"
        what = "Dry run of a backup" if run.dry_run else "Backup"
        return f"{what} to {', '.join(places)}" if places else what
    if run.kind is RunKind.RESTORE:
        return f"from {names.repository(run.repository)}" if run.repository else ""
    return f"of {names.job(run.job)}" if run.job else run.kind.value.capitalize()


def question_of_cancelling(run: Run, names: Names) -> str:
    """What is asked before a run is ended."""
    what = names.run(run)
    if run.kind is RunKind.BACKUP and run.job is not None:
        return f"Cancel this run of {what}?"
    if run.kind is RunKind.MAINTENANCE and run.repository:
        noun = words_of(run.action).noun.lower()
        return f"Cancel this {noun} of {names.repository(run.repository)}?"
    return f"Cancel this {what[:1].lower()}{what[1:]}?"


def cost_of_cancelling(run: Run) -> str:
    """What is lost if a run is ended now, and what stays."""
    kept = [step.repository for step in _backups(run) if step.snapshot_id and step.repository]
    if run.started_at is None:
        return "It has not started: nothing is lost."
    if run.kind is RunKind.RESTORE:
        return "Files restored so far stay; the rest is not restored."
    if run.kind is RunKind.MAINTENANCE:
        return "It stops at the next safe point. Work done by then is kept."
    saved = f"The snapshot in {_listed(kept)} is kept. " if kept else ""
    return f"{saved}Data uploaded so far stays in the repository and is not uploaded again next time."


def come_to(run: Run) -> str:
    """What a run came to, in one sentence."""
    if run.outcome is Outcome.SUCCESS:
        return _success(run)
    why = status_looks.sentence(run.reason.message) if run.reason else ""
    if run.dry_run:
        return f"{why} It was a dry run: nothing was saved.".strip()
    kept = [step.repository for step in _backups(run) if step.snapshot_id and step.repository]
    if run.kind is RunKind.BACKUP and kept and run.outcome in (Outcome.FAILURE, Outcome.CANCELLED):
        return f"{why} A snapshot was saved in {_listed(kept)}.".strip()
    return why or f"{status_looks.look_of_run(run).word}."


def _success(run: Run) -> str:
    if run.kind is RunKind.BACKUP and run.job is not None:
        kept = [step.repository for step in _backups(run) if step.snapshot_id and step.repository]
        if not kept:
            return _rehearsed(run)
        found = files(run)
        return f"Backup complete: {counted(found, 'file') if found else 'saved'} in {_listed(kept)}."
    facts = _facts(run)
    told = words_of(run.action).done
    if run.action is Action.VERIFY and _is_sample(run):
        told = ""
    elif run.action is Action.HISTORY:
        reasons = (step.reason for step in run.steps if step.reason)
        told = ", ".join(status_looks.sentence(reason.message) for reason in reasons)
    return f"{told} {status_looks.sentence(facts)}".strip() if facts else told


def _facts(run: Run) -> str:
    """What its steps did, in figures: of several jobs, each job's by itself."""
    each = [(step.job, ", ".join(facts_of(step))) for step in run.steps]
    several = len({job for job, facts in each if job and facts}) > 1
    told = [f"of {job}: {facts}" if job and several else facts for job, facts in each if facts]
    return ("; " if several else ", ").join(told)


def _is_sample(run: Run) -> bool:
    """Whether a restore test read only some of the files: it shows nothing of the others."""
    return any(step.files_held not in (None, step.files_compared) for step in run.steps)


def _rehearsed(run: Run) -> str:
    would = new_data(run)
    told = f" A backup would have added about {size(would)}." if would is not None else ""
    return f"Dry run: everything was read, nothing was saved.{told}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _backups(run: Run) -> Iterator[Step]:
    return (step for step in run.steps if step.action is Action.BACKUP)


# --- steps ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A step as a list shows it."""

    look: Look
    title: str
    detail: str
    took: str
    current: bool = False


def title_of(step: Step) -> str:
    """What a step does, and where."""
    if step.action is Action.HOOK:
        return f"Hook: {step.title}" if step.title else "Hook"
    if step.repository is None:
        return (step.title or words_of(step.action).noun).capitalize()
    if step.action is Action.FORGET and step.job is not None:
        return f"{words_of(step.action).title.format(step.repository)}: {step.job}"
    return words_of(step.action).title.format(step.repository)


def lines_of(run: Run, now: datetime, job: Job | None, before: Run | None) -> list[Line]:
    """The steps of a run; of one that goes on, those too that are to come, as long as last time."""
    lines = [_line(step, run, now) for step in run.steps]
    if run.state is RunState.DONE or run.kind is not RunKind.BACKUP or job is None:
        return lines
    seen = {step.repository for step in run.steps}
    last = {step.repository: took(step) for step in before.steps} if before else {}
    for repository in job.repositories:
        if repository not in seen:
            estimate = last.get(repository)
            told = f"about {length(estimate)}" if estimate else ""
            look = Look("idle", "circle-dashed", "Pending")
            lines.append(Line(look, f"Backup to {repository}", "Pending", told))
    return lines


def _line(step: Step, run: Run, now: datetime) -> Line:
    spent = length(took(step, now)) if step.started_at else ""
    if step.outcome is not None:
        return Line(status_looks.OUTCOMES[step.outcome], title_of(step), _came_to(step), spent)
    if run.state is RunState.DONE:
        return Line(status_looks.OUTCOMES[Outcome.FAILURE], title_of(step), "Its end was never reported.", "")
    waits = run.state is RunState.WAITING and run.reason is not None
    look = status_looks.STATES[RunState.WAITING if waits else RunState.RUNNING]
    told = f"Attempt {step.attempts}" if step.attempts > 1 else ""
    if waits and run.reason:
        told = status_looks.sentence(run.reason.message)
    return Line(look, title_of(step), told, spent, current=True)


def _came_to(step: Step) -> str:
    facts = ", ".join(facts_of(step))
    why = status_looks.sentence(step.reason.message) if step.reason else ""
    if step.outcome is Outcome.SUCCESS and facts:
        why = ""
    return f"{why} {facts[:1].upper()}{facts[1:]}".strip()


def facts_of(step: Step) -> Iterator[str]:
    """What a step did, in figures."""
    if step.snapshot_id is not None:
        yield f"snapshot {step.snapshot_id[:8]}"
    if step.bytes_added is not None:
        yield f"{size(step.bytes_added)} new"
    if step.files_new is not None:
        yield f"{counted(step.files_new, 'file')} new, {number(step.files_changed or 0)} changed"
    if step.snapshots_removed is not None:
        yield f"{counted(len(step.snapshots_removed), 'snapshot')} removed, {number(step.snapshots_kept)} kept"
    if step.slice is not None:
        part, _, parts = step.slice.partition("/")
        yield f"part {part} of {parts} of the data read"
    if step.files_compared is not None:
        yield f"{sample(step.files_compared, step.files_held)} read back and compared, {size(step.bytes_compared)}"
    if step.files_restored is not None:
        to = f" to {status_looks.path(step.target)}" if step.target is not None else ""
        yield f"{counted(step.files_restored, 'entry', 'entries')} ({size(step.bytes_restored)}) restored{to}"
    if step.bytes_freed is not None:
        yield f"{size(step.bytes_freed)} freed"
    if step.bytes_stored is not None:
        yield f"{size(step.bytes_stored)} stored"
    if step.locks_removed is not None:
        yield f"{counted(step.locks_removed, 'lock')} removed"
    if step.attempts > 1:
        yield f"{step.attempts} attempts"


# --- what was missing ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Cautions:
    """The first warnings, and how many more there are."""

    shown: tuple[tuple[str, Caution], ...]
    more: int

    @property
    def count(self) -> int:
        """How many things they stand for."""
        return sum(caution.count for _, caution in self.shown) + self.more


def cautions_of(run: Run) -> Cautions:
    """The warnings of all steps, each with where it came up."""
    found = [(step.repository or title_of(step), caution) for step in run.steps for caution in step.warnings]
    more = sum(caution.count for _, caution in found[MOST_CAUTIONS:])
    return Cautions(tuple(found[:MOST_CAUTIONS]), more)


# --- against the run before ----------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """One figure of two runs, and what differs."""

    name: str
    before: str
    now: str
    change: str = ""


@dataclass(frozen=True)
class Comparison:
    """A run held against the one before."""

    before: Run
    figures: tuple[Figure, ...]
    sentence: str


TINY = 1 << 20
"""Less new data than this is not worth a comparison."""


def compare(run: Run, before: Run) -> Comparison:
    """Two backups of one job, the later one first."""
    figures = [
        _counts("Files", files(before), files(run)),
        _sizes("Size", read(before), read(run)),
        _sizes("New data", new_data(before), new_data(run), times=True),
        _counts("Changed files", changed(before), changed(run)),
        _counts("Warnings", cautions_of(before).count, cautions_of(run).count),
    ]
    lasted = {step.repository: took(step) for step in _backups(before)}
    for step in _backups(run):
        if step.ended_at is not None and step.repository is not None:
            figures.append(
                Figure(f"To {step.repository}", length(lasted.get(step.repository)), length(took(step)))
            )
    return Comparison(before, tuple(figures), _difference(run, before))


def _counts(name: str, before: int | None, now: int | None) -> Figure:
    known = before is not None and now is not None and now != before
    return Figure(name, number(before), number(now), f"{now - before:+,}" if known else "")  # type: ignore[operator]


def _sizes(name: str, before: int | None, now: int | None, *, times: bool = False) -> Figure:
    change = ""
    if before is not None and now is not None and before != now:
        change = f"{'+' if now > before else '−'}{size(abs(now - before))}"
        if times and before and now >= 2 * before and now > TINY:
            change = _times(now / before)
    return Figure(name, size(before), size(now), change)


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} times as much"


def files(run: Run) -> int | None:
    """How many files a backup found."""
    counts = [
        step.files_new + (step.files_changed or 0) + (step.files_unmodified or 0)
        for step in _backups(run)
        if step.files_new is not None
    ]
    return max(counts, default=None)


def read(run: Run) -> int | None:
    """How large they are."""
    return max(
        (step.bytes_processed for step in _backups(run) if step.bytes_processed is not None), default=None
    )


def changed(run: Run) -> int | None:
    """How many of them had changed."""
    return max((step.files_changed for step in _backups(run) if step.files_changed is not None), default=None)


def how_new(run: Run) -> str:
    """How many of the files it found were new, or had changed, since the snapshot before."""
    new = max((step.files_new for step in _backups(run) if step.files_new is not None), default=0)
    found = files(run)
    if new and new == found:
        return "all new"
    return f"{number(new)} new, {number(changed(run))} changed" if new else f"{number(changed(run))} changed"


def _difference(run: Run, before: Run) -> str:
    """What somebody who compares would notice."""
    told = []
    found, earlier = files(run), files(before)
    if found is not None and earlier is not None and found != earlier:
        told.append(f"{counted(abs(found - earlier), 'file')} {'more' if found > earlier else 'fewer'}")
    added, then = new_data(run), new_data(before)
    if added is not None and then is not None and max(added, then) > TINY:
        if added >= 2 * max(then, 1):
            told.append(f"{_times(added / then)} new data" if then else f"{size(added)} of new data")
        elif 2 * added <= then:
            told.append("much less new data")
    spent, lasted = took(run), took(before)
    if spent and lasted and spent > timedelta(minutes=1) and spent >= 2 * lasted:
        told.append(f"{spent / lasted:.0f} times as long")
    if not told:
        return "About the same as the previous run."
    return status_looks.sentence(_listed(told))
