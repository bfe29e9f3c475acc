"""A disk that is away: who waits for it and until when, and what is told where it does not come."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from highball.agent.run import removable_disk
from highball.agent.run.backup import sum_up
from highball.agent.run.runner import carry_out
from highball.agent.run.steps import Steps
from highball.agent.run.success import judge_run
from highball.agent.run_directory import RunDirectory
from highball.agent.state_dir import Workplace
from highball.config.job import Job
from highball.engine.restic.declaration import ResticRepository
from highball.model.event import DISK_AWAY
from highball.model.run import (
    Action,
    Outcome,
    Reason,
    RunKind,
    Step,
)
from highball.process.child import Stop
from highball.protocol.tasks import Assignment, BackupTask

NOMINAL = datetime(2026, 6, 1, 3, 0, tzinfo=UTC)
Task = dict[str, Any]


def repository(folder: Path | str, **fields: Any) -> ResticRepository:
    return ResticRepository.model_validate({"url": str(folder), "password": {"env": "P"}, **fields})


def backup(folder: Path, schedule: str = "daily", **told: Any) -> Assignment:
    """A backup into a repository that was there before and is not any more."""
    job = {
        "sources": [str(folder)],
        "repositories": ["usb"],
        "schedule": schedule,
        "before": [{"run": f"echo before >> {folder}/hooks"}],
        "after": [{"run": f'echo "after $HIGHBALL_OUTCOME: $HIGHBALL_REASON" >> {folder}/hooks'}],
    }
    facts: dict[str, Any] = {
        "run": "019b0000-0000-7000-8000-000000000001",
        "kind": RunKind.BACKUP,
        "job": "docs",
        "host": "here",
        "nominal_at": NOMINAL,
        "task": BackupTask(job=Job.model_validate(job)),
        "repositories": {"usb": repository(folder / "gone", when_back=True)},
        "identities": {"usb": "1" * 64},
        "created_at": NOMINAL,
    }
    return Assignment(**facts | told)


@pytest.mark.parametrize(
    ("url", "fields", "waits"),
    [
        ("/media/disk/backup", {}, True),
        ("/run/media/anna/disk", {}, True),
        ("local:/mnt/backup", {}, True),
        ("/srv/backup", {}, False),
        ("/mnt/always/backup", {"when_back": False}, False),
        ("/srv/stick", {"when_back": True}, True),
        ("sftp:nas:/mnt/backup", {}, False),
    ],
)
def test_which_disks_are_waited_for(url: str, fields: Task, waits: bool) -> None:
    assert repository(url, **fields).comes_and_goes is waits


def test_only_a_backup_that_a_schedule_began_waits_until_its_next_time_is_near(tmp_path: Path) -> None:
    task = backup(tmp_path).task
    assert isinstance(task, BackupTask)
    now = NOMINAL + timedelta(seconds=1)
    assert removable_disk.until(backup(tmp_path), task, now) == NOMINAL + timedelta(days=1, minutes=-1)
    assert removable_disk.until(backup(tmp_path, nominal_at=None), task, now) is None
    manual = backup(tmp_path, "manual").task
    assert isinstance(manual, BackupTask)
    assert removable_disk.until(backup(tmp_path), manual, now) is None


def steps_of(folder: Path, **told: Any) -> Steps:
    """The steps of a backup that is about to begin."""
    assignment = backup(folder, **told).model_copy(update={"run": str(uuid4())})
    return Steps(RunDirectory.create(folder / "runs", assignment), Workplace(folder), Stop())


def test_one_that_was_never_met_is_not_waited_for(tmp_path: Path) -> None:
    assert removable_disk.list_away(steps_of(tmp_path), ["usb"]) == ["usb"]
    assert removable_disk.list_away(steps_of(tmp_path, identities={}), ["usb"]) == []


def test_what_was_saved_elsewhere_is_not_all_of_it() -> None:
    def step(number: int, outcome: Outcome, reason: Reason | None = None) -> Step:
        return Step(number=number, action=Action.BACKUP, repository="usb", outcome=outcome, reason=reason)

    away = step(2, Outcome.SKIPPED, Reason(code=DISK_AWAY, message="skipped: the disk was away"))
    assert judge_run([step(1, Outcome.SUCCESS), away]) is Outcome.WARNING
    told = sum_up([step(1, Outcome.SUCCESS), away], Outcome.WARNING)
    assert told is not None
    assert told.message == "usb: skipped: the disk was away"
    assert judge_run([away]) is Outcome.SKIPPED


@pytest.mark.parametrize(
    ("stop", "outcome", "told"),
    [
        (lambda: False, Outcome.SKIPPED, "skipped: the disk of usb was away"),
        (lambda: True, Outcome.CANCELLED, "cancelled while waiting for the disk"),
    ],
)
def test_a_disk_that_does_not_come_is_skipped_and_the_hooks_are_told(
    stop: Callable[[], bool], outcome: Outcome, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away_until = datetime.now(UTC) + (timedelta(days=1) if stop() else timedelta(0))
    monkeypatch.setattr(removable_disk, "until", lambda *_: away_until)
    place = Workplace(tmp_path / "state")
    place.prepare()
    directory = RunDirectory.create(place.runs, backup(tmp_path))
    ended = carry_out(directory, place, Stop(stop))
    assert ended.outcome is outcome
    assert ended.reason is not None
    assert told in ended.reason.message
    hooks = (tmp_path / "hooks").read_text()
    assert hooks.startswith(f"after {outcome.value}: "), hooks
    assert told in hooks
