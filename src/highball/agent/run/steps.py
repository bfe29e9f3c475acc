"""The steps of a run, and what every step needs: telling what happens, a repository made ready, patience.

What happens goes to the run directory first and then to whoever listens. A step that raises an error of ours
ends as failed or cancelled; the run goes on with the next.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from highball.agent.provenance import SavedHere
from highball.agent.restore.staging import clear_away_staging
from highball.agent.run.success import judge_run
from highball.agent.run_directory import RunDirectory
from highball.agent.state_dir import (
    Workplace,
    meet,
)
from highball.config.job import Retry
from highball.engine.base import Finished, Listener, OpenRepository
from highball.errors import Cancelled, HighballError, RepositoryError
from highball.model.event import (
    Event,
    LogLine,
    ProcessStarted,
    Statistics,
    StepEnded,
    StepStarted,
    Waiting,
    WarningSeen,
)
from highball.model.run import (
    Action,
    Caution,
    Outcome,
    Progress,
    Reason,
    Step,
)
from highball.model.snapshot import Snapshot
from highball.model.text import path_for_people
from highball.place.base import Files
from highball.process.child import Stop
from highball.protocol.tasks import Assignment
from highball.schedule import duration_to_text
from highball.secret import SecretReference, SecretValue, mask, resolve

LONGEST_LOG_BYTES = 4 * 1024 * 1024
LONGEST_TEXT = 64 * 1024
MOST_WARNINGS = 2000
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 20.0
ONCE = Retry()

T = TypeVar("T")


@dataclass
class StepResult:
    """How a step's own part ended; `facts` are fields of Step."""

    outcome: Outcome = Outcome.SUCCESS
    reason: Reason | None = None
    warnings: Sequence[Caution] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    snapshots: tuple[Snapshot, ...] | None = None
    obstacle: str | None = None
    """The code of what stood in the way, where that is not the reason's own: it may be passing."""


class Steps:
    """The steps of one run, in the order in which they are carried out."""

    def __init__(
        self,
        directory: RunDirectory,
        workplace: Workplace,
        stop: Stop,
        on_event: Callable[[Event], None] = lambda event: None,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self.assignment: Assignment = directory.assignment
        self.workplace = workplace
        self.scratch = workplace.scratch / self.assignment.run
        self.stop = stop
        self.ended: list[Step] = []
        self.cut_short: set[str] = set()
        """The repositories where a killed program may have left its lock."""
        self._directory = directory
        self._on_event = on_event
        self._on_progress = on_progress
        self._secrets: list[SecretValue] = []
        self._passing: frozenset[str] = frozenset()
        """The codes of what may be gone after a while, by the engines that were at work."""
        self._met: dict[str, str] = {}
        """The repositories that were met in this run, by their ids."""
        self._step: int | None = None
        self._attempt = 1
        self._logged = 0
        self._pid = 0

    # --- what lies around while the run goes on ---

    def make_scratch(self) -> None:
        """Make the run's own folder for temporary files; raises OSError."""
        self.scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.workplace.make_scratch(self.scratch)

    def will_leave(self, path: bytes) -> None:
        """Name a directory that has to be removed should this process vanish; on disk before it is made."""
        self._directory.note_litter(path)

    def will_make(self, folders: Sequence[bytes]) -> None:
        """Name directories that have to be removed at the end where nothing came to lie in them."""
        if folders:
            self._directory.note_made(folders)

    def clear_away(self) -> None:
        """Remove the temporary files, and what a vanished process left."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        with self.workplace.place.files() as files:
            files.remove_tree(self.workplace.scratch_there(self.scratch))
            for path in self._directory.list_litter():
                left = clear_away_staging(files, path)
                if left is not None and not _is_gone(files, path):
                    self.log("highball", f"{path_for_people(path)} could not be removed: {left}")
            for folder in sorted(self._directory.list_made(), key=len, reverse=True):  # innermost first
                with suppress(OSError):  # something came to lie in it
                    files.remove_folder(folder)

    # --- telling ---

    def say(self, make: type[Any], *, safely: bool = False, **facts: Any) -> Event | None:
        """Write an event down and tell those who listen; None of a log line that a full disk refused."""
        told = {name: self._masked(fact) for name, fact in facts.items()}
        event = self._directory.append(make, safely=safely, **{"attempt": self._attempt, **told})
        if event is not None:  # its number belongs to the next one, so nobody may have heard of it
            self._on_event(event)
        return event

    def note_saved(self, snapshot: str) -> None:
        """Remember a snapshot as made by this host; on a full disk its restore by a hub asks for leave."""
        try:
            SavedHere(self.workplace.state).add([snapshot])
        except OSError as error:
            self.log("highball", f"that this host made {snapshot[:8]} could not be written down: {error}")

    @property
    def current(self) -> int | None:
        """The number of the step that is being carried out."""
        return self._step

    def log(self, stream: str, text: str) -> None:
        """Some text for the run's log, secrets masked; past 4 MiB an attempt's log is cut."""
        masked = mask(
            text, self._secrets
        )  # the whole of it: half a secret would be none at the edge of a piece
        for start in range(0, max(len(masked), 1), LONGEST_TEXT // 4):
            piece = masked[start : start + LONGEST_TEXT // 4]
            before, self._logged = self._logged, self._logged + len(piece)
            if before > LONGEST_LOG_BYTES:
                return
            if self._logged > LONGEST_LOG_BYTES:
                piece = f"(this step prints more than {LONGEST_LOG_BYTES >> 20} MiB; the rest is not kept)"
            self.say(LogLine, step=self._step, stream=stream, text=piece)

    def _masked(self, fact: Any) -> Any:
        """The same, secrets masked in every sentence of it; names of files are data and stay as they are."""
        if isinstance(fact, Reason | Caution):
            return fact.model_copy(update={"message": mask(fact.message, self._secrets)})
        if isinstance(fact, Step):
            warnings = tuple(self._masked(caution) for caution in fact.warnings)
            return fact.model_copy(update={"reason": self._masked(fact.reason), "warnings": warnings})
        return fact

    def warn(self, caution: Caution) -> None:
        """Something is missing or odd; the step goes on."""
        self.say(WarningSeen, step=self._step, warning=caution)

    def progress(self, progress: Progress) -> None:
        """How far the step is; only those who listen hear it."""
        self._on_progress(progress)

    def process_started(self, pid: int) -> None:
        """A program runs: known on disk before it can do anything that a later process has to undo."""
        self._pid = pid
        self.say(
            ProcessStarted, step=self._step, safely=True, pid=pid, hostname=self.workplace.place.hostname
        )

    # --- steps ---

    def step(
        self,
        action: Action,
        repository: str | None,
        body: Callable[[], StepResult],
        *,
        title: str | None = None,
        set: str | None = None,
        job: str | None = None,
        host: str | None = None,
        always: bool = False,
        retry: Retry = ONCE,
    ) -> Step:
        """Carry out one step: its start, its own part, and its full account at the end.

        After a request to stop a step is not begun any more, unless it is to be done `always`. One that failed by
        what may pass is tried again as often as `retry` says; how the last attempt ended is how the step ended.
        """
        begun = Step(
            number=len(self.ended) + 1,
            action=action,
            repository=repository,
            title=title,
            set=set,
            job=job,
            host=host,
            started_at=datetime.now(UTC),
        )
        self._step = begun.number
        done = self._attempt_it(begun, body, retry, always=always)
        ended: Step = self._masked(
            begun.model_copy(
                update={
                    **done.facts,
                    "attempts": self._attempt,
                    "outcome": done.outcome,
                    "reason": done.reason,
                    "warnings": tuple(_some_of(done.warnings)),
                    "ended_at": datetime.now(UTC),
                }
            )
        )
        self.ended.append(ended)
        self.say(StepEnded, step=begun.number, safely=True, done=ended, snapshots=_in_short(done.snapshots))
        self._step, self._attempt = None, 1
        return ended

    def _attempt_it(
        self, begun: Step, body: Callable[[], StepResult], retry: Retry, *, always: bool
    ) -> StepResult:
        while True:
            self._logged = 0
            running = begun.model_copy(update={"attempts": self._attempt})
            self._directory.forget_progress()  # that of the step before says nothing of this one
            self.say(StepStarted, step=begun.number, running=running)
            done = self._guarded(body, always=always)
            reason = done.reason
            if reason is None or self._attempt > retry.max or not self._may_pass(done):
                return done
            try:
                self._await_next(reason, retry)
            except Cancelled:
                message = (
                    f"cancelled before attempt {self._attempt + 1}; the previous one failed: {reason.message}"
                )
                return replace(
                    done, outcome=Outcome.CANCELLED, reason=Reason(code="cancelled", message=message)
                )
            self._attempt += 1

    def _may_pass(self, done: StepResult) -> bool:
        code = done.obstacle or (done.reason.code if done.reason else None)
        return done.outcome is Outcome.FAILURE and code in self._passing

    def _await_next(self, failed: Reason, retry: Retry) -> None:
        """Say when the next attempt begins and why it is needed, and wait for it; raises Cancelled."""
        pause = retry.pause_after(self._attempt)
        which = f"attempt {self._attempt + 1} of {retry.max + 1} in {duration_to_text(pause)}"
        reason = Reason(code=failed.code, message=f"{which}: {failed.message}")
        self.say(Waiting, step=self._step, reason=reason, until=datetime.now(UTC) + pause)
        self._sleep(pause)

    def _guarded(self, body: Callable[[], StepResult], *, always: bool) -> StepResult:
        if self.stop.requested and not always:
            return StepResult(
                Outcome.CANCELLED, Reason(code="cancelled", message="cancelled before it started")
            )
        try:
            return body()
        except Cancelled as error:
            return StepResult(Outcome.CANCELLED, Reason(code=error.code, message=error.message))
        except HighballError as error:
            hint = f" — {error.hint}" if error.hint else ""
            return StepResult(Outcome.FAILURE, Reason(code=error.code, message=f"{error.message}{hint}"))

    def leave_out(
        self, action: Action, repository: str, outcome: Outcome, reason: Reason, *, job: str | None = None
    ) -> None:
        """Account for a step that was not begun."""
        about = job or self.assignment.job
        self.step(action, repository, lambda: StepResult(outcome, reason), job=about, always=True)

    def account_for(self, done: Step) -> None:
        """Tell of a step that was done before this process began."""
        self.ended.append(done)
        running = done.model_copy(update={"outcome": None, "reason": None, "ended_at": None})
        self.say(StepStarted, step=done.number, running=running)
        self.say(StepEnded, step=done.number, done=done)

    @property
    def outcome(self) -> Outcome:
        """How the run ended, were it over after the steps so far."""
        return judge_run(self.ended)

    def open(self, repository: str, *, admin: bool = False) -> OpenRepository:
        """One of the assignment's repositories, made ready, telling this run."""
        opened = self.workplace.open(
            repository,
            self.assignment.repositories[repository],
            self.assignment.marker,
            admin=admin,
            timezone=self.assignment.timezone,
            listener=Listener(
                self.log,
                self.progress,
                self.process_started,
                partial(self.cut_short.add, repository),
                partial(self._tell_unanswered, repository),
                self._tell_answered,
            ),
            stop=self.stop,
            scratch=self.scratch,
        )
        self._secrets += opened.secrets
        self._passing |= opened.words.passing
        return opened

    def resolve(self, reference: SecretReference) -> SecretValue:
        """A secret of the task's own, masked from now on; raises SecretUnavailable."""
        value = resolve(reference, sealed=self.workplace.sealed)
        self._secrets.append(value)
        return value

    def patiently(self, call: Callable[[], T]) -> T:
        """Call, and while the repository is locked wait and call again, as long as the assignment allows."""
        deadline = time.monotonic() + self.assignment.wait.total_seconds()
        pause = FIRST_PAUSE
        while True:
            try:
                return call()
            except RepositoryError as error:
                if error.code != "repository_locked" or time.monotonic() + pause > deadline:
                    raise
                self._tell_waiting(error.message)
            self._sleep(timedelta(seconds=pause))
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def _tell_waiting(self, message: str) -> None:
        self.say(
            Waiting, step=self._step, reason=Reason(code="repository_locked", message=f"waiting: {message}")
        )

    def _tell_unanswered(self, repository: str, why: str, left: timedelta) -> None:
        within = duration_to_text(self.assignment.repositories[repository].answer_within)
        message = f"waiting for {repository} to answer, given up after {within}: {why}"
        reason = Reason(code="unreachable", message=message)
        self.say(Waiting, step=self._step, reason=reason, until=datetime.now(UTC) + left)

    def _tell_answered(self) -> None:
        """The wait is over, and the program that waited goes on."""
        self.process_started(self._pid)

    def _sleep(self, pause: timedelta) -> None:
        until = time.monotonic() + pause.total_seconds()
        while (left := until - time.monotonic()) > 0:
            if self.stop.requested:
                raise Cancelled("cancelled while waiting for the repository")
            time.sleep(min(left, 0.2))

    def with_identity(
        self, key: str, body: Callable[[OpenRepository], StepResult], *, admin: bool = False
    ) -> StepResult:
        """Compare the repository's identity before anything is done to it."""
        opened = self.open(key, admin=admin)
        self.meet(key, opened)
        return body(opened)

    def meet(self, key: str, opened: OpenRepository, **told: Any) -> None:
        """Compare the repository's identity, and say what is known of it; raises RepositoryError."""
        known = self.assignment.identities.get(key)
        found = meet(opened, known, {**self.assignment.others, **self._met})
        self._met[found] = key
        self.say(Statistics, step=self._step, repository=key, repository_id=found, **told)

    def finish(self, call: Callable[[], Finished]) -> Finished:
        """Run a command that needs the repository for itself, waiting for it where it is busy."""

        def once() -> Finished:
            finished = call()
            if finished.failure is not None and finished.failure.code == "repository_locked":
                raise finished.failure
            return finished

        return self.patiently(once)


def _is_gone(files: Files, path: bytes) -> bool:
    try:
        return files.status(path) is None
    except OSError:  # nobody knows
        return False


def _in_short(listing: Sequence[Snapshot] | None) -> tuple[Snapshot, ...] | None:
    """What the record needs of a listing: with their paths and tags, some thousands are more than a message holds."""
    unsaid: dict[str, Any] = {"tags": (), "paths": (), "tree": None, "parent": None, "user": None}
    return None if listing is None else tuple(one.model_copy(update=unsaid) for one in listing)


def _some_of(warnings: Sequence[Caution]) -> Iterator[Caution]:
    """The first ones, and how many more there are: an account that names 300,000 files helps nobody."""
    yield from warnings[:MOST_WARNINGS]
    left = warnings[MOST_WARNINGS:]
    if left:
        count = sum(warning.count for warning in left)
        yield Caution(code=left[0].code, message=f"{count:,} more like these, see the log", count=count)
