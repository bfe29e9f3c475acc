"""Carry out one run, and settle one whose process vanished.

The process that calls `carry_out` is the run's own: when it dies, what it started dies with it. On one machine that
is the command itself; an agent starts `python -m highball.agent.run STATE RUN` for each run, in a session of
its own, so that agent, hub and connection may go while the run goes on. Whoever finds the run directory with a free
lock and no end looks for the snapshot, and ends the account truthfully; what the dead run held (its lock in the
repository, its `after` hooks) is released as well: at once by an agent, on one machine by the next command that
begins a run.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from highball.actions import ACTIONS, step_of
from highball.agent import veto
from highball.agent.host_policy import load_policy
from highball.agent.run import key_change, maintenance, removable_disk
from highball.agent.run.backup import Backup, sum_up
from highball.agent.run.restore import restore
from highball.agent.run.stale_locks import remove_own_lock
from highball.agent.run.steps import StepResult, Steps
from highball.agent.run.success import judge_run
from highball.agent.run.verify import verify
from highball.agent.run_directory import RunDirectory
from highball.agent.state_dir import Workplace
from highball.engine.base import OpenRepository
from highball.engine.tags import set_tag_list
from highball.errors import Conflict, Failed, HighballError
from highball.model.event import (
    Event,
    RunEnded,
    RunStarted,
    StepEnded,
    StepStarted,
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
from highball.place.kinds import open_place
from highball.place.priority import Priority, yield_session
from highball.process.child import Stop
from highball.process.file_lock import FileLock
from highball.protocol.bounded_fields import check_run
from highball.protocol.tasks import (
    BackupTask,
    CheckTask,
    ForgetTask,
    KeyTask,
    PlainTask,
    Removal,
    RestoreTask,
    Task,
    UnlockTask,
    VerifyTask,
)
from highball.secret import SecretValue

OnEvent = Callable[[Event], None]
OnProgress = Callable[[Progress], None]

SETTLING_TIMEOUT = timedelta(seconds=60)


def carry_out(
    directory: RunDirectory,
    workplace: Workplace,
    stop: Stop,
    on_event: OnEvent = lambda event: None,
    on_progress: OnProgress = lambda progress: None,
) -> RunEnded:
    """Carry out the run whose (locked) directory this is; whatever happens, its last event says how it ended."""
    steps = Steps(directory, workplace, stop, on_event, on_progress)
    steps.say(RunStarted, safely=True, pid=os.getpid())
    try:
        for done in steps.assignment.done_before:
            steps.account_for(done)
        steps.make_scratch()
        _do(steps, steps.assignment.task)
        for repository in sorted(steps.cut_short):
            remove_own_lock(steps, repository, directory.read_events())
    except HighballError as error:
        return _end(steps, Outcome.FAILURE, Reason(code=error.code, message=error.message))
    except Exception as error:  # the outermost loop of an assignment
        message = f"Highball itself failed: {type(error).__name__}: {error}"
        return _end(steps, Outcome.FAILURE, Reason(code="internal_error", message=message))
    finally:
        steps.clear_away()
    return _end(steps, steps.outcome)


def _do(steps: Steps, task: Task) -> None:
    if not isinstance(task, BackupTask) and removable_disk.is_passed_over(steps, task.repository):
        why = removable_disk.skipped(steps.assignment, task.repository)
        steps.leave_out(Action(step_of(task.type)), task.repository, Outcome.SKIPPED, why)
        return
    match task:
        case BackupTask():
            Backup(steps, task).carry_out()
        case ForgetTask():
            maintenance.forget(steps, task)
            if task.prune and steps.outcome in (Outcome.SUCCESS, Outcome.WARNING):
                pruning = PlainTask(type="prune", repository=task.repository)
                _do_plainly(steps, pruning)
        case PlainTask():
            _do_plainly(steps, task)
        case CheckTask():
            _single(steps, task.repository, Action.CHECK, lambda: maintenance.check(steps, task))
        case UnlockTask():
            _single(steps, task.repository, Action.UNLOCK, lambda: maintenance.unlock(steps, task))
        case KeyTask():
            key_change.change_keys(steps, task)
        case VerifyTask():
            _on_snapshot(steps, task, Action.VERIFY, lambda opened: verify(steps, opened, task))
        case RestoreTask():
            _on_snapshot(steps, task, Action.RESTORE, lambda opened: restore(steps, opened, task))


def _do_plainly(steps: Steps, task: PlainTask) -> None:
    verb, body = ACTIONS.get(task.type), maintenance.PLAIN.get(task.type)
    if verb is None or body is None:
        raise Failed(f"this agent does not know how to {task.type}", code="unsupported")
    _single(steps, task.repository, verb.action, lambda: body(steps, task.repository))


def _single(steps: Steps, repository: str, action: Action, body: Callable[[], StepResult]) -> None:
    steps.step(action, repository, body, job=steps.assignment.job)


def _on_snapshot(
    steps: Steps, task: VerifyTask | RestoreTask, action: Action, body: Callable[[OpenRepository], StepResult]
) -> None:
    def on_known() -> StepResult:
        if isinstance(task, VerifyTask) and task.unconfirmed:
            steps.warn(_unconfirmed(task, steps.assignment.job))
        done = steps.with_identity(task.repository, body)
        return replace(done, facts={**done.facts, "snapshot_id": task.snapshot_id})

    _single(steps, task.repository, action, on_known)


def _unconfirmed(task: VerifyTask, job: str | None) -> Caution:
    return Caution(
        code="unconfirmed",
        message=(
            f"no known run created the snapshot {task.snapshot_id[:8]}, only its tags name {job}; "
            f"confirm the job's snapshots with: highball hub rebuild --confirm {job}"
        ),
    )


def _end(
    steps: Steps, outcome: Outcome, reason: Reason | None = None, ended_at: datetime | None = None
) -> RunEnded:
    told = reason or sum_up(steps.ended, outcome)
    ended = steps.say(RunEnded, safely=True, outcome=outcome, reason=told, ended_at=ended_at)
    assert isinstance(ended, RunEnded)
    return ended


# --- a run whose process vanished ----------------------------------------------------------------


def settle(directory: RunDirectory, workplace: Workplace, on_event: OnEvent = lambda event: None) -> None:
    """End the account of a run whose process vanished (its lock is ours now): what is left of it is ended first,
    then the repositories tell whether a snapshot was saved."""
    directory.resume()
    if directory.ended:
        return
    workplace.place.end_marked(directory.assignment.marker)
    last_sign = max((event.at for event in directory.read_events()), default=None)
    steps = Steps(directory, workplace, Stop(), on_event)
    steps.make_scratch()
    for begun, ended in list(_account(directory)):
        steps.ended.append(ended or _settle_step(steps, begun, last_sign))
    reason = Reason(code="interrupted", message="interrupted: the process of this run vanished")
    outcome = Outcome.WARNING if _only_saved(steps.ended) else Outcome.FAILURE
    told = sum_up(steps.ended, outcome)
    _end(
        steps,
        outcome,
        Reason(code="interrupted", message=f"{reason.message}; {told.message}") if told else reason,
        last_sign,
    )


def _account(directory: RunDirectory) -> Iterator[tuple[Step, Step | None]]:
    """Each step as it was begun and, where it came to its end, as it ended."""
    begun: Step | None = None
    for event in directory.read_events():
        if isinstance(event, StepStarted):
            if begun is not None and begun.number != event.running.number:  # else its next attempt
                yield begun, None
            begun = event.running
        elif isinstance(event, StepEnded):
            yield event.done, event.done
            begun = None
    if begun is not None:
        yield begun, None


def _settle_step(steps: Steps, begun: Step, last_sign: datetime | None) -> Step:
    outcome, reason = Outcome.FAILURE, Reason(code="interrupted", message="interrupted")
    snapshots = _list_set(steps, begun)
    facts: dict[str, object] = {}
    if begun.action is Action.FORGET and snapshots is not None:
        left = {snapshot.id for snapshot in snapshots}
        removal = _find_removal(steps, begun)
        facts["snapshots_removed"] = tuple(id for id in (removal.remove if removal else ()) if id not in left)
    if begun.action is Action.BACKUP:
        saved = [snapshot for snapshot in snapshots or () if snapshot.run == steps.assignment.run]
        if snapshots is None:
            message = "interrupted, and the repository could not be asked whether a snapshot was saved"
            reason = Reason(code="interrupted", message=message)
        elif saved:
            steps.note_saved(saved[-1].id)
            facts["snapshot_id"] = saved[-1].id
            message = "interrupted, but its snapshot was saved; its content was not accounted for"
            outcome, reason = Outcome.WARNING, Reason(code="interrupted", message=message)
    ended = begun.model_copy(update={**facts, "outcome": outcome, "reason": reason, "ended_at": last_sign})
    shown = tuple(snapshots) if snapshots is not None else None
    steps.say(StepEnded, step=begun.number, attempt=begun.attempts, safely=True, done=ended, snapshots=shown)
    return ended


def _list_set(steps: Steps, begun: Step) -> list[Snapshot] | None:
    """What the repository shows of the set that the step was about; None where it cannot be asked."""
    if begun.repository is None or begun.job is None or begun.set is None:
        return None
    removal = _find_removal(steps, begun)
    keys = (begun.job, *steps.assignment.former_jobs)
    tags = [set_tag_list(key, begun.set) for key in keys]
    try:
        opened = steps.open(begun.repository)
        if removal is not None:
            return maintenance.list_set(opened, removal, SETTLING_TIMEOUT)
        return opened.list_snapshots(hosts=steps.assignment.hosts, tags=tags, timeout=SETTLING_TIMEOUT)
    except HighballError:
        return None


def _find_removal(steps: Steps, begun: Step) -> Removal | None:
    """What a step was to remove."""
    task = steps.assignment.task
    removals = task.removals if isinstance(task, ForgetTask) else ()
    about = (begun.job, begun.set, begun.host)
    return next((one for one in removals if (one.job, one.set, one.host) == about), None)


def _only_saved(steps: list[Step]) -> bool:
    """Whether every repository that the run got to holds a snapshot of it."""
    backups = [step for step in steps if step.action is Action.BACKUP]
    return bool(backups) and judge_run(steps) in (Outcome.WARNING, Outcome.SUCCESS)


def release(directory: RunDirectory, workplace: Workplace, on_event: OnEvent = lambda event: None) -> None:
    """Give back what a settled run still holds: its own lock in each repository, and run its `after` hooks.

    A run that began no step holds nothing; one that this host refused has nothing to run here, either.
    """
    if (directory.path / "released").exists():
        return
    events = list(directory.read_events())
    if not any(isinstance(event, StepStarted) for event in events):
        return
    steps = Steps(directory, workplace, Stop(), on_event)
    steps.clear_away()  # also what the dead run meant to remove itself, such as a restore's staging directory
    steps.ended += [event.done for event in events if isinstance(event, StepEnded)]
    for repository in _unfinished_repositories(events):
        remove_own_lock(steps, repository, events)
    task = steps.assignment.task
    if isinstance(task, BackupTask) and not task.dry_run:
        ended = next((event for event in events if isinstance(event, RunEnded)), None)
        told = (ended.outcome, ended.reason) if ended else None
        backup = Backup(steps, task)
        backup.release_sources()
        backup.run_after_hooks(_count_after_hooks(events), told)
    (directory.path / "released").touch()


def _unfinished_repositories(events: list[Event]) -> list[str]:
    """Where a program may have left a lock: in the repositories of the steps that were cut short."""
    done = [event.done for event in events if isinstance(event, StepEnded)]
    return [
        step.repository
        for step in done
        if step.repository and step.reason and step.reason.code == "interrupted"
    ]


def _count_after_hooks(events: list[Event]) -> int:
    """How many `after` hooks were begun: those behind the first backup, or behind the end of the account."""
    backed_up, count = False, 0
    for event in events:
        action = event.running.action if isinstance(event, StepStarted) else None
        backed_up = backed_up or action is Action.BACKUP or isinstance(event, RunEnded)
        count += backed_up and action is Action.HOOK
    return count


# --- a process of its own ------------------------------------------------------------------------

PROGRESS_SECONDS = 1.0


def main(arguments: Sequence[str]) -> None:
    """The run's own process: STATE, RUN, and the descriptor of its lock where that was taken already.

    Sealed values come as one JSON object on standard input. A run that has begun before is settled. Whatever was
    begun or ordered, this host's policy is asked first.
    """
    state = Path(arguments[0])
    directory = RunDirectory(state / "runs" / check_run(arguments[1]))
    if len(arguments) > 2:
        directory.lock.adopt(int(arguments[2]))
    else:
        directory.take()
    told = json.load(sys.stdin.buffer)
    sealed = {place: SecretValue(base64.b64decode(value)) for place, value in told.items()}
    stop = Stop(lambda: directory.cancel_requested)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.request())
    try:
        policy = load_policy(state)
        veto.demand(policy, directory.assignment)
    except HighballError as error:
        _refuse(directory, error)
        return
    place = open_place(directory.assignment.place)
    workplace = Workplace(state, policy, sealed, policy, place)
    workplace.prepare()
    of_user = isinstance(directory.assignment.task, BackupTask | RestoreTask)
    yield_session(Priority.BACKUP if of_user else Priority.MAINTENANCE)
    may_wait_on = removable_disk.only_waited(directory)
    if may_wait_on:
        directory.resume()
    if may_wait_on or next(directory.read_events(), None) is None:
        _carry_out_alone(directory, workplace, stop)
    else:
        settle(directory, workplace)
        release(directory, workplace)


def _carry_out_alone(directory: RunDirectory, workplace: Workplace, stop: Stop) -> None:
    """Carry out a backup only while no other process is at its job."""
    lock = FileLock(workplace.locks / f"job.{directory.assignment.job}")
    is_backup = isinstance(directory.assignment.task, BackupTask)
    if is_backup and not lock.take():
        running = f"{directory.assignment.job} is already running (process {lock.holder()})"
        _refuse(directory, Conflict(running, code="job_running"))
        return
    carry_out(directory, workplace, stop, on_progress=_Told(directory))
    lock.release()


def _refuse(directory: RunDirectory, error: HighballError) -> None:
    """End a run's account unless it has an end, and do nothing else of it."""
    directory.resume()
    if directory.ended:
        return
    if next(directory.read_events(), None) is None:
        directory.append(RunStarted, pid=os.getpid())
    words = f"{error.message} — {error.hint}" if error.hint else error.message
    reason = Reason(code=error.code, message=words)
    directory.append(RunEnded, safely=True, outcome=Outcome.FAILURE, reason=reason)


class _Told:
    """Writes progress down, at most once a second."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        if (now := time.monotonic()) >= self._next:
            self._next = now + PROGRESS_SECONDS
            self._directory.tell_progress(progress)


if __name__ == "__main__":  # so it is started by an agent that was begun before an update, and lives on
    main(sys.argv[1:])
