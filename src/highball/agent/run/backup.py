"""Back up a job: hooks before, its sources into each repository, hooks after.

One failing repository does not stop the next. What the engine did is evidence; `success` judges it. By the job's
`retry` a repository is tried again when what stood in the way may pass (as its engine says); an
attempt never saves what one before it has saved already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from highball.agent.run import hooks, removable_disk, success
from highball.agent.run.steps import (
    ONCE,
    StepResult,
    Steps,
)
from highball.agent.run.stream import Printing
from highball.agent.state_dir import as_gone
from highball.config.job import Hook
from highball.engine import base as engine
from highball.engine.base import BackupOrder, BackupReport, EngineWords, Finished, OpenRepository
from highball.engine.tags import backup_tags, set_tag_list
from highball.errors import Cancelled, HighballError
from highball.model.event import (
    DISK_AWAY,
    SnapshotSaved,
    Statistics,
)
from highball.model.run import (
    Action,
    Caution,
    Outcome,
    Printed,
    Reason,
    Step,
)
from highball.model.snapshot import FILES_SET, Snapshot
from highball.place.base import Place
from highball.process.child import Stop
from highball.protocol.tasks import BackupTask
from highball.source.base import Content, Omissions, Path, Stream
from highball.source.contents import find_too_large, list_idle
from highball.source.kinds import AnySource

LISTING_TIMEOUT = timedelta(minutes=15)
LISTING_TIMEOUT_WHEN_CANCELLED = timedelta(seconds=30)


class Backup:
    """One backup run."""

    def __init__(self, steps: Steps, task: BackupTask) -> None:
        self._steps = steps
        self._place = steps.workplace.place
        self._task = task
        self._job = task.job
        self._key = steps.assignment.job or ""

    def carry_out(self) -> None:
        """Do all of it; a dry run leaves the hooks out. What lies on a disk that is away comes when that is back."""
        assignment = self._steps.assignment
        end = removable_disk.until(assignment, self._task, datetime.now(UTC))
        away = removable_disk.list_away(self._steps, self._job.repositories) if end is not None else []
        if here := [key for key in self._job.repositories if key not in away]:
            self._go_round(here)
        if end is not None and away:
            self._await_disks(away, end, begun=bool(here))

    def _await_disks(self, away: list[str], end: datetime, *, begun: bool) -> None:
        """Back up into each repository that comes back; without one the hooks after are told all the same."""
        cancelled: Reason | None = None
        try:
            while away and (back := removable_disk.wait(self._steps, away, end)):
                away = [key for key in away if key not in back]
                self._go_round(back)
                begun = True
        except Cancelled as error:
            cancelled = _reason(error.code, error.message)
        for key in away:
            outcome = Outcome.SKIPPED if cancelled is None else Outcome.CANCELLED
            reason = cancelled or removable_disk.skipped(self._steps.assignment, key)
            self._steps.leave_out(Action.BACKUP, key, outcome, reason)
        if not begun:
            self.run_after_hooks()

    def _go_round(self, repositories: Sequence[str]) -> None:
        """The hooks before, these repositories, the hooks after."""
        obstacle = None if self._task.dry_run else self._run_before_hooks()
        for repository in repositories:
            if obstacle is not None:
                self._steps.leave_out(Action.BACKUP, repository, *obstacle)
            else:
                self._back_up_into(repository)
        self.release_sources()
        if not self._task.dry_run:
            self.run_after_hooks()

    def release_sources(self) -> None:
        """Give back what was taken to read them; more than once does no harm."""
        for source in self._job.sources:
            source.release(self._place)

    # --- hooks ---

    def _run_before_hooks(self) -> tuple[Outcome, Reason] | None:
        """Run the hooks in order; what keeps the backup from starting, or None."""
        for hook in self._job.before:
            ended = self._run_hook(hook, {}, self._steps.stop, always=False)
            if ended.outcome is Outcome.FAILURE:
                return Outcome.SKIPPED, _reason("hook_failed", f"not started: the hook {ended.title} failed")
            if ended.outcome is Outcome.SKIPPED:
                why = f": {ended.reason.message}" if ended.reason else ""
                return Outcome.SKIPPED, _reason("hook_skipped", f"skipped by the hook {ended.title}{why}")
            if ended.outcome is Outcome.CANCELLED:
                return Outcome.CANCELLED, _reason("cancelled", "cancelled before it started")
        return None

    def run_after_hooks(self, begun: int = 0, ended: tuple[Outcome, Reason | None] | None = None) -> None:
        """Run the `after` hooks, all but the first `begun`, told the outcome; a cancelled run runs them too.

        `ended` is how a run ended that is over already; else its steps so far tell.
        """
        outcome, reason = ended or (self._steps.outcome, sum_up(self._steps.ended, self._steps.outcome))
        told = {"HIGHBALL_OUTCOME": outcome.value}
        if reason is not None:
            told["HIGHBALL_REASON"] = reason.message
        for hook in self._job.after[begun:]:
            self._run_hook(hook, told, Stop(), always=True)

    def _run_hook(self, hook: Hook, told: dict[str, str], stop: Stop, *, always: bool) -> Step:
        assignment = self._steps.assignment
        environment = {**self._facts(), **told}

        def body() -> StepResult:
            return hooks.run_hook(hook, environment, assignment.marker, stop, self._steps.log, self._place)

        return self._steps.step(Action.HOOK, None, body, title=hooks.title_of(hook), always=always)

    def _facts(self) -> dict[str, str]:
        assignment = self._steps.assignment
        return {
            "HIGHBALL_JOB": self._key,
            "HIGHBALL_RUN": assignment.run,
            "HIGHBALL_HOST": assignment.host,
        }

    # --- one repository ---

    def _back_up_into(self, repository: str) -> None:
        """Each set becomes a snapshot of its own, in a step of its own: one that fails does not stop the next."""
        for name, sources in self._task.sets.items():
            self._save(_Part(repository, name, sources))

    def _save(self, part: _Part) -> None:
        made: list[_MadeBackup] = []
        self._steps.step(
            Action.BACKUP,
            part.repository,
            lambda: self._attempt(part, made),
            job=self._key,
            set=part.set,
            retry=ONCE if self._task.dry_run else self._job.retry,
        )

    def _attempt(self, part: _Part, made: list[_MadeBackup]) -> StepResult:
        """Back up, unless what an earlier attempt made turns out to be there: an engine may fail after it saved, and
        a repository that cannot be listed proves nothing. Then only the proof is made up for.
        """
        if made:
            opened = self._steps.open(part.repository)
            if self._is_saved(part, opened):
                return self._prove(part, opened, made[-1])
        return self._back_up(part, made)

    def _is_saved(self, part: _Part, opened: OpenRepository) -> bool:
        run = self._steps.assignment.run
        listing, _ = self._list(part, opened, LISTING_TIMEOUT)
        return any(snapshot.run == run for snapshot in listing)

    def _back_up(self, part: _Part, made: list[_MadeBackup]) -> StepResult:
        repository = part.repository
        sources = [_Source(source, self._job.omissions, self._place) for source in part.sources]
        sound = [source for source in sources if source.usable]
        complaints = [source.caution for source in sources if source.caution is not None]
        for caution in complaints:
            self._steps.warn(caution)
        if not sound:
            return StepResult(Outcome.FAILURE, _reason("no_source", _nothing_to_do(complaints)), complaints)
        ready = [source.prepare() for source in sound]
        stream = next((one for one in ready if isinstance(one, Stream)), None)
        if stream is not None and self._task.dry_run:
            message = f"a dry run runs no commands, so {stream.name} was skipped"
            return StepResult(Outcome.SKIPPED, _reason("not_rehearsed", message), complaints)
        opened = self._steps.open(repository)
        printing = self._print(stream) if stream is not None else None
        if printing is None:
            complaints += self._left_out(sound, opened)
        order = self._order(part, ready, printing)
        if order.parent is None or repository not in self._steps.assignment.identities:
            self._steps.meet(repository, opened)
        finished, report = self._steps.patiently(lambda: self._back_up_once(repository, opened, order))
        if self._task.dry_run:
            complaints += _nothing_saved(sound, report, complaints)
            return _judge_dry_run(opened.words, finished, report, complaints)
        if printing is not None and (failed := printing.find_failure()) is not None:
            return StepResult(Outcome.FAILURE, failed, complaints)
        if finished.unanswered and report.summary is None:  # nor would it answer a listing
            return StepResult(Outcome.FAILURE, self._why(finished, repository), complaints)
        complaints += [found for source in sound if (found := source.find_what_became()) is not None]
        complaints += _nothing_saved(sound, report, complaints)
        if report.summary and report.summary.snapshot_id:
            saved = report.summary.snapshot_id
            self._steps.say(SnapshotSaved, step=self._steps.current, repository=repository, snapshot_id=saved)
        printed = printing.printed if printing is not None else None
        made.append(_MadeBackup(order, finished, report, complaints, printed))
        return self._prove(part, opened, made[-1])

    def _left_out(self, sound: Sequence[_Source], opened: OpenRepository) -> Iterator[Caution]:
        """What the job leaves out in vain is only told; what it leaves out by mistake is yielded."""
        with self._place.files() as files:
            for pattern in list_idle(files, self._job.exclude, [source.found.path for source in sound]):
                self._steps.warn(_idle(pattern))
            if not opened.abilities.keeps_named_files:
                for one in sound:
                    if (found := find_too_large(files, one.found.path, self._job.omissions)) is not None:
                        yield found

    def _print(self, stream: Stream) -> Printing:
        known = hooks.surroundings(self._place, self._facts(), self._steps.assignment.marker)
        own = {
            name: value if isinstance(value, str) else self._steps.resolve(value)
            for name, value in stream.environment.items()
        }
        return Printing(stream, {**known, **own}, self._steps.log, self._place)

    def _prove(self, part: _Part, opened: OpenRepository, made: _MadeBackup) -> StepResult:
        """Look at the repository with other eyes, and judge."""
        repository, finished, report = part.repository, made.finished, made.report
        expected = self._task.expected_of(part.set, repository)
        listing, failure = self._look(part, opened, finished.stopped)
        verdict = success.judge_backup(
            success.BackupEvidence(
                run=self._steps.assignment.run,
                repository=repository,
                engine=opened.words,
                stopped=finished.stopped,
                summary=report.summary,
                complaints=[*made.complaints, *report.cautions, *_unlisted(report)],
                failure=self._why(finished, repository),
                listing=listing,
                listing_failure=failure,
                paths=made.order.paths,
                expected_ids=expected.snapshot_ids,
                sizes=expected.sizes,
                shrink_limit=self._job.shrink_limit,
            )
        )
        if verdict.snapshot is not None:
            self._steps.note_saved(verdict.snapshot.id)
        saved = {"snapshot_id": verdict.snapshot.id, "printed": made.printed} if verdict.snapshot else {}
        facts = {**_facts_of(report), **saved}
        shown = tuple(listing) if listing is not None else None
        # a backup that its engine calls good lacks only its listing: that may be had later
        obstacle = failure.code if failure is not None and finished.failure is None else None
        return StepResult(verdict.outcome, verdict.reason, verdict.warnings, facts, shown, obstacle)

    def _back_up_once(
        self, repository: str, opened: OpenRepository, order: BackupOrder
    ) -> tuple[Finished, BackupReport]:
        """Where the repository does not know the parent, the engine stops before it stores anything."""
        finished, report = opened.back_up(order)
        failure = finished.failure
        if failure is None or report.summary is not None or finished.stopped:
            return finished, report
        if failure.code == "repository_locked":
            raise failure
        if failure.code == "snapshot_unknown" and order.parent is not None:
            self._steps.meet(repository, opened)
            self._steps.log(
                "highball",
                f"the parent {order.parent[:8]} is gone from the repository; trying again without it",
            )
            return opened.back_up(replace(order, parent=None))
        return finished, report

    def _order(self, part: _Part, ready: Sequence[Path | Stream], printing: Printing | None) -> BackupOrder:
        job = self._job
        parent = self._task.expected_of(part.set, part.repository).parent
        order = BackupOrder(
            paths=[one.path for one in ready if isinstance(one, Path)],
            excludes=[pattern for one in ready if isinstance(one, Path) for pattern in one.excludes],
            host=self._steps.assignment.host,
            tags=backup_tags(self._key, part.set, self._steps.assignment.run),
            parent=parent,
            one_file_system=job.one_file_system,
            exclude_caches=job.exclude_caches,
            exclude_if_present=job.exclude_if_present,
            exclude_larger_than=None if job.exclude_larger_than is None else str(job.exclude_larger_than),
            compression=job.compression,
            read_concurrency=job.read_concurrency,
            limit_upload=job.limit_upload,
            limit_download=job.limit_download,
            dry_run=self._task.dry_run,
        )
        if printing is None:
            return order
        name = printing.declared.name  # it has no parent: it is read whole, and nothing is left out of it
        return replace(
            order,
            paths=[source.path_within for source in part.sources],
            parent=None,
            exclude_if_present=(),
            exclude_larger_than=None,
            stream=engine.StreamedFile(name, printing.open),
        )

    def _look(
        self, part: _Part, opened: OpenRepository, cancelled: bool
    ) -> tuple[list[Snapshot] | None, Reason | None]:
        """The independent listing of this set's snapshots, or why it could not be had."""
        timeout = LISTING_TIMEOUT_WHEN_CANCELLED if cancelled else LISTING_TIMEOUT
        try:
            # a Stop of its own: a cancelled run wants the truth as well
            listing, count = self._list(part, opened.having(stop=Stop()), timeout)
            step = self._steps.current
            self._steps.say(Statistics, step=step, repository=part.repository, snapshots=count)
            return listing, None
        except HighballError as error:
            return None, _reason(error.code, error.message)

    def _list(self, part: _Part, opened: OpenRepository, timeout: timedelta) -> tuple[list[Snapshot], int]:
        keys = (self._key, *self._steps.assignment.former_jobs)
        tags = [set_tag_list(key, part.set) for key in keys]
        return opened.list_some(self._steps.assignment.hosts, tags, timeout)

    def _why(self, finished: Finished, repository: str) -> Reason | None:
        if finished.failure is None:
            return None
        told = as_gone(finished.failure, self._steps.assignment.identities.get(repository), repository)
        return _reason(told.code, f"{told.message} — {told.hint}" if told.hint else told.message)


@dataclass(frozen=True)
class _Part:
    """What one step of a backup does: sources that become one snapshot of one repository."""

    repository: str
    set: str
    sources: tuple[AnySource, ...]


@dataclass(frozen=True)
class _MadeBackup:
    """A backup that came to its end, and what it was to do: the evidence for its proof."""

    order: BackupOrder
    finished: Finished
    report: BackupReport
    complaints: Sequence[Caution]
    printed: Printed | None = None


class _Source:
    """A source as it was found just before the backup, and what became of it."""

    def __init__(self, declared: AnySource, omissions: Omissions, place: Place) -> None:
        self._declared = declared
        self._omissions = omissions
        self._place = place
        self.found = declared.examine(omissions, place)
        self.caution = self.found.caution
        self.usable = self.found.usable
        self.may_hold_no_file = self.found.may_be_empty or self.found.holds is Content.NO_FILES

    def prepare(self) -> Path | Stream:
        return self._declared.prepare(self.found, self._omissions, self._place)

    def find_what_became(self) -> Caution | None:
        """What is wrong with it now: a disk that goes away in between leaves an empty folder, which is no error."""
        caution = self._declared.examine(self._omissions, self._place).caution
        if caution is None or self.caution is not None:  # else it was told before
            return None
        return caution.model_copy(update={"message": f"after the backup, {caution.message}"})


def _place_of(step: Step) -> str | None:
    """Where a step was at work, and at what where that is not all of a job."""
    is_part = step.action is Action.BACKUP and step.set not in (None, FILES_SET, step.job)
    return f"{step.repository} ({step.set})" if step.repository and is_part else step.repository


def sum_up(steps: Sequence[Step], outcome: Outcome) -> Reason | None:
    """The sentence for a whole run: the first step that ended so, and where a good snapshot lies all the same."""
    told = [step for step in steps if step.outcome is outcome and step.reason]
    if (
        outcome is Outcome.SKIPPED
    ):  # why the backups were says more than how the hook ended, and it is one reason
        return next((step.reason for step in told if step.action is not Action.HOOK), None)
    away = (step for step in steps if step.reason is not None and step.reason.code == DISK_AWAY)
    first = told[0] if told else next(away, None) if outcome is Outcome.WARNING else None
    if first is None or first.reason is None or outcome is Outcome.SUCCESS:
        return None
    where = _place_of(first) or (f"the hook {first.title}" if first.title else None)
    good = [step.repository for step in steps if step.snapshot_id and step is not first and step.repository]
    safe = f"; a snapshot was saved in {', '.join(good)}" if good and outcome is Outcome.FAILURE else ""
    message = f"{where}: {first.reason.message}" if where else first.reason.message
    return _reason(first.reason.code, f"{message}{safe}")


def _judge_dry_run(
    engine: EngineWords, finished: Finished, report: BackupReport, complaints: Sequence[Caution]
) -> StepResult:
    if finished.stopped:
        raise Cancelled("cancelled")
    warnings = [*complaints, *report.cautions, *_unlisted(report)]
    facts = _facts_of(report) | {"snapshot_id": None}
    if report.summary is None:
        finished.demand()
        return StepResult(
            Outcome.FAILURE, _reason("no_proof", f"{engine.name} gave no summary"), warnings, facts
        )
    if warnings:
        return StepResult(Outcome.WARNING, _reason(warnings[0].code, warnings[0].message), warnings, facts)
    return StepResult(facts=facts)


def _facts_of(report: BackupReport) -> dict[str, Any]:
    summary = report.summary
    if summary is None:
        return {}
    return {
        "files_new": summary.files_new,
        "files_changed": summary.files_changed,
        "files_unmodified": summary.files_unmodified,
        "bytes_processed": summary.bytes_processed,
        "bytes_added": summary.bytes_added,
        "bytes_packed": summary.bytes_packed,
    }


def _unlisted(report: BackupReport) -> Iterator[Caution]:
    if report.unlisted:
        message = f"{report.unlisted:,} more files could not be read"
        yield Caution(code="file_unreadable", message=message, count=report.unlisted)


def _nothing_saved(
    sources: Sequence[_Source], report: BackupReport, complaints: Sequence[Caution]
) -> Iterator[Caution]:
    """That no file at all was counted, where nothing else tells of it and no source is so."""
    is_known = bool(complaints) or any(source.may_hold_no_file for source in sources)
    if report.summary is not None and not report.summary.files and not is_known:
        yield Caution(code="nothing_saved", message="no file was saved; check the excludes of the job")


def _idle(pattern: str) -> Caution:
    message = f'exclude "{pattern}" matches nothing: it is relative to each source, and none contains its first folder'
    return Caution(code="exclude_idle", message=message)


def _nothing_to_do(complaints: Sequence[Caution]) -> str:
    return "there is nothing to back up: " + "; ".join(caution.message for caution in complaints[:3])


def _reason(code: str, message: str) -> Reason:
    return Reason(code=code, message=message)
