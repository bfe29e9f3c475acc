"""A run in another place: its children, and every look at files, are there, and nothing is done on this machine.

The paths of these tests exist in the second place only, or on this machine only: whatever looked at the wrong one would
find something else, or nothing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from highball.agent.host_policy import POLICY
from highball.agent.query.repository_queries import RepositoryQueries
from highball.agent.query.responder import answer
from highball.agent.run.runner import carry_out
from highball.agent.run_directory import RunDirectory
from highball.agent.state_dir import Workplace
from highball.config.job import Job
from highball.engine.kinds import engine_named
from highball.model.event import LogLine, ProcessStarted, RunEnded, StepEnded, WarningSeen
from highball.model.run import Outcome, RunKind
from highball.process.child import Stop
from highball.protocol.queries import Browse, Measure, TestSources, needs_of
from highball.protocol.tasks import (
    Assignment,
    BackupTask,
    Overwrite,
    PlainTask,
    RestoreTask,
    Task,
    VerifyTask,
)
from testbed.jail import HOSTNAME, DeclaredJail
from testbed.serving import wait_until

KEY = "nas"
GROUPS = Path("/proc/self/autogroup")


class World:
    """A state on this machine, and a repository and data in the second place."""

    def __init__(self, declared: DeclaredJail, folder: Path) -> None:
        self.declared = declared
        self.home = f"/srv-{uuid.uuid4().hex}"
        self.there = Path(f"/proc/{declared.keeper}/root{self.home}")
        self.here = Path(self.home)
        self.state = folder / "state"
        self.workplace = Workplace(self.state, place=declared.open())
        self.workplace.prepare()
        self.there.mkdir()
        self.password = folder / "password"
        self.password.write_text("correct horse battery staple")
        fields = {"url": f"{self.home}/repository", "password": {"file": str(self.password)}}
        self.repository = engine_named(None).declared.model_validate(fields)
        self.ended: RunEnded | None = None

    def assignment(self, task: Task) -> Assignment:
        """An order to the agent of this machine, to be carried out there."""
        return Assignment(
            run=str(uuid.uuid4()),
            kind=RunKind.BACKUP,
            job="docs",
            host="web",
            task=task,
            place=self.declared,
            repositories={KEY: self.repository},
            created_at=datetime.now(UTC),
        )

    def do(self, task: Task) -> RunEnded:
        """Carry a task out in this process."""
        directory = RunDirectory.create(self.workplace.runs, self.assignment(task))
        try:
            self.ended = carry_out(directory, self.workplace, Stop())
        finally:
            directory.release()
        self.events = list(directory.read_events())
        return self.ended

    def job(self, *sources: object, **fields: Any) -> BackupTask:
        """A backup of paths below the home there, or of other sources."""
        told = [f"{self.home}/{one}" if isinstance(one, str) else one for one in sources]
        return BackupTask(job=Job.model_validate({"sources": told, "repositories": [KEY], **fields}))

    def log(self) -> str:
        return "\n".join(event.text for event in self.events if isinstance(event, LogLine))

    def asked(self) -> RepositoryQueries:
        return RepositoryQueries(self.workplace, KEY, self.repository, None)


@pytest.fixture
def world(declared_jail: DeclaredJail, tmp_path: Path) -> Iterator[World]:
    """With a repository, and some data."""
    world = World(declared_jail, tmp_path)
    docs = world.there / "docs"
    (docs / "inner").mkdir(parents=True)
    (docs / "inner" / "letter").write_text("dear reader")
    (docs / "big").write_bytes(os.urandom(300_000))
    (docs / "link").symlink_to("big")
    (docs / "inner").chmod(0o750)
    ended = world.do(PlainTask(type="init", repository=KEY))
    assert ended.outcome is Outcome.SUCCESS, ended
    yield world
    assert not world.here.exists(), "something was written on this machine"
    assert list(world.workplace.scratch.iterdir()) == []
    with world.workplace.place.files() as files:
        assert list(files.list_folder(b"/var/tmp")) == []


def test_a_backup_reads_what_is_there(world: World) -> None:
    (world.there / "docs" / "cache").mkdir()
    (world.there / "docs" / "cache" / ".nobackup").touch()
    (world.there / "docs" / "cache" / "junk").touch()
    hook = {
        "run": f"hostname > {world.home}/docs/told; env >> {world.home}/docs/told; pwd",
        "dir": world.home,
    }
    stream = {"run": ["cat", "/proc/sys/kernel/hostname"], "name": "hostname"}
    ended = world.do(world.job("docs", stream, before=[hook], exclude_if_present=[".nobackup"]))
    assert ended.outcome is Outcome.SUCCESS, ended
    told = (world.there / "docs" / "told").read_text().splitlines()
    assert told[0] == HOSTNAME
    assert "PATH=/opt/bin:/usr/bin:/bin" in told
    assert "HIGHBALL_JOB=docs" in told
    assert world.home in world.log()
    snapshots = world.asked().list_snapshots()
    assert {one.set for one in snapshots} == {"files", "hostname"}
    printed = bytearray()
    of_stream = next(one for one in snapshots if one.set == "hostname")
    world.asked().dump(of_stream.id, b"/hostname", printed.extend)
    assert printed.strip() == HOSTNAME.encode()
    of_files = next(one for one in snapshots if one.set == "files")
    cache = os.fsencode(f"{world.home}/docs/cache")
    assert cache + b"/junk" not in {node.path for node in world.asked().list_folder(of_files.id, cache)}
    started = [event for event in world.events if isinstance(event, ProcessStarted)]
    assert {event.hostname for event in started} == {HOSTNAME}


def test_what_lies_on_this_machine_alone_is_missing(world: World, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "file").write_text("here")
    ended = world.do(world.job({"path": str(tmp_path / "here")}))
    assert ended.outcome is Outcome.FAILURE
    seen = [event.warning.code for event in world.events if isinstance(event, WarningSeen)]
    assert seen == ["source_missing"]


def test_what_is_left_out_in_vain_is_told_by_what_is_there(world: World) -> None:
    ended = world.do(world.job("docs", exclude=["/none/x", "/inner/none"]))
    assert ended.outcome is Outcome.SUCCESS, ended
    idle = [event.warning.message for event in world.events if isinstance(event, WarningSeen)]
    assert len(idle) == 1
    assert "/none/x" in idle[0]


@pytest.fixture
def saved(world: World) -> str:
    """The id of a snapshot of the data."""
    ended = world.do(world.job("docs"))
    assert ended.outcome is Outcome.SUCCESS, ended
    return world.asked().list_snapshots()[0].id


def restore_of(world: World, snapshot: str, target: str | None, **fields: Any) -> RestoreTask:
    paths = (os.fsencode(f"{world.home}/docs"),)
    landing = None if target is None else os.fsencode(f"{world.home}/{target}")
    return RestoreTask(repository=KEY, snapshot_id=snapshot, paths=paths, target=landing, **fields)


def test_a_restore_to_a_new_folder_comes_to_lie_there(world: World, saved: str) -> None:
    plan = world.asked().plan_restore(saved, (), os.fsencode(f"{world.home}/back"), None, counts=True)
    assert (plan.new.files, plan.in_use) == (3, False)
    ended = world.do(restore_of(world, saved, "back", overwrite=Overwrite.NEVER))
    assert ended.outcome is Outcome.SUCCESS, ended
    back = Path(f"{world.there}/back{world.home}/docs")
    assert (back / "inner" / "letter").read_text() == "dear reader"
    assert (back / "inner").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("overwrite", [Overwrite.IF_CHANGED, Overwrite.ALWAYS])
def test_a_restore_in_place_replaces_what_changed_there(
    world: World, saved: str, overwrite: Overwrite
) -> None:
    docs = world.there / "docs"
    (docs / "inner" / "letter").write_text("forged")
    (docs / "big").unlink()
    (docs / "mine").write_text("mine")
    plan = world.asked().plan_restore(saved, (), None, overwrite, counts=True)
    assert (plan.new.files, plan.replaced.files) == (1, 1)
    ended = world.do(restore_of(world, saved, None, overwrite=overwrite))
    assert ended.outcome is Outcome.SUCCESS, ended
    assert (docs / "inner" / "letter").read_text() == "dear reader"
    assert (docs / "big").stat().st_size == 300_000
    assert (docs / "mine").read_text() == "mine"
    assert not list(docs.rglob(".highball*"))


def test_a_restore_test_compares_with_what_is_there(world: World, saved: str) -> None:
    whole = VerifyTask(repository=KEY, snapshot_id=saved, all_data=True)
    assert world.do(whole).outcome is Outcome.SUCCESS
    (step,) = [event.done for event in world.events if isinstance(event, StepEnded)]
    assert step.reason is not None
    assert "restored, identical to the source" in step.reason.message
    forged, there = (
        world.there / "docs" / "inner" / "letter",
        (world.there / "docs" / "inner" / "letter").stat(),
    )
    forged.write_text("DEAR READER")
    os.utime(forged, ns=(there.st_atime_ns, there.st_mtime_ns))
    assert world.do(whole).outcome is Outcome.FAILURE


def test_questions_are_answered_from_there(world: World, saved: str) -> None:
    home = os.fsencode(world.home)
    shown = answer(Browse(path=home + b"/docs", place=world.declared))
    assert {(one["name"], one["kind"]) for one in shown["entries"]} == {
        ("inner", "dir"),
        ("big", "file"),
        ("link", "symlink"),
    }
    jail = {"kind": "jail", "keeper": world.declared.keeper}
    told = {"sources": [{"path": f"{world.home}/docs"}], "place": jail}
    measured = answer(Measure.model_validate(told))
    assert (measured["sources"][0]["kept"]["files"], measured["unreadable"]) == (3, 0)
    tested = answer(TestSources(job=world.job("docs", "none").job, place=world.declared))
    assert [one["sound"] for one in tested] == [True, False]
    found = world.asked().sample_names(saved)
    assert (found.sampled, found.found) == (3, 3)


def test_an_agent_that_knows_no_places_is_told_of_none(world: World) -> None:
    question = Browse(path=b"/srv")
    assert needs_of(question) == frozenset()
    assert needs_of(question.model_copy(update={"place": world.declared})) == {"places"}
    assignment = world.assignment(world.job("docs"))
    assert assignment.needs == ("places",)
    assert assignment.model_copy(update={"place": None}).needs == ()


# --- processes that vanish -----------------------------------------------------------------------


def begin(world: World, task: Task) -> tuple[subprocess.Popen[bytes], RunDirectory]:
    """Begin a run as an agent does, in a process of its own."""
    (world.state / POLICY).parent.mkdir(exist_ok=True)
    (world.state / POLICY).write_text('commands = "always"\nrestore = ["/"]\nreplaces = ["web"]\n')
    directory = RunDirectory.create(world.workplace.runs, world.assignment(task))
    directory.release()
    return again(world, directory), directory


def again(world: World, directory: RunDirectory) -> subprocess.Popen[bytes]:
    """The process of a run: the first one, or the one that settles it."""
    tests = Path(__file__).parents[1]
    paths = os.pathsep.join([str(tests / "testbed" / "second_place"), str(tests)])
    argv = [sys.executable, "-m", "highball.agent.run", str(world.state), directory.path.name]
    environment = {**os.environ, "PYTHONPATH": paths}
    started = subprocess.Popen(argv, stdin=subprocess.PIPE, env=environment, start_new_session=True)
    assert started.stdin is not None
    started.stdin.write(json.dumps({}).encode())
    started.stdin.close()
    return started


def test_what_a_killed_run_left_there_is_ended_and_cleared_away(world: World) -> None:
    slow = {"run": f"echo begun > {world.home}/begun; echo line; sleep 60", "name": "slow"}
    after = {"run": f"echo $HIGHBALL_OUTCOME > {world.home}/after"}
    process, directory = begin(world, world.job(slow, after=[after]))
    wait_until((world.there / "begun").exists)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert again(world, directory).wait() == 0
    ended = [event for event in directory.read_events() if isinstance(event, RunEnded)]
    assert [one.outcome for one in ended] == [Outcome.FAILURE]
    assert (world.there / "after").read_text() == "failure\n"
    assert world.asked().list_locks() == []
    assert world.workplace.place.end_marked(directory.assignment.marker) == []


@pytest.mark.skipif(not GROUPS.exists(), reason="the kernel groups no sessions")
def test_a_run_gives_way_to_other_sessions(world: World) -> None:
    ours = GROUPS.read_text()
    hook = {"run": f"cat /proc/self/autogroup > {world.home}/group"}
    process, _ = begin(world, world.job("docs", before=[hook]))
    assert process.wait() == 0
    assert (world.there / "group").read_text().split()[1:] == ["nice", "5"]
    assert GROUPS.read_text() == ours


def test_a_hub_is_refused_another_place_where_no_command_may_run(world: World) -> None:
    process, directory = begin(world, world.job("docs"))
    assert process.wait() == 0
    (ended,) = [event for event in directory.read_events() if isinstance(event, RunEnded)]
    assert ended.outcome is Outcome.SUCCESS
    (world.state / POLICY).write_text("")
    directory = RunDirectory.create(world.workplace.runs, world.assignment(world.job("docs")))
    directory.release()
    assert again(world, directory).wait() == 0
    (refused,) = [event for event in directory.read_events() if isinstance(event, RunEnded)]
    assert refused.reason is not None
    assert refused.reason.code == "refused_by_host"
    assert "another place" in refused.reason.message
