"""The run directory: what is on disk is the truth, whatever happened to the process that wrote it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from highball.agent.connection import Link
from highball.agent.run.steps import StepResult, Steps
from highball.agent.run_directory import RunDirectory, list_run_directories
from highball.agent.state_dir import Workplace
from highball.agent.supervisor import Carrier
from highball.errors import Conflict, StateUnusable
from highball.model.event import (
    LogLine,
    RunEnded,
    RunStarted,
    StepEnded,
    WarningSeen,
)
from highball.model.run import (
    Action,
    Caution,
    Outcome,
    Progress,
    RunKind,
    Step,
)
from highball.model.snapshot import Snapshot
from highball.process.child import Stop
from highball.process.file_lock import FileLock
from highball.protocol.tasks import Assignment, PlainTask
from highball.protocol.wire import (
    Declined,
    Envelope,
    read,
)
from testbed.unprivileged import Unprivileged

RUN = "019b0000-0000-7000-8000-000000000001"


def assignment(run: str = RUN) -> Assignment:
    return Assignment(
        run=run,
        kind=RunKind.MAINTENANCE,
        host="here",
        task=PlainTask(type="stats", repository="nas"),
        repositories={},
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
    )


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[RunDirectory]:
    """A new run's directory, locked by us."""
    made = RunDirectory.create(tmp_path / "runs", assignment())
    yield made
    made.release()


def say(directory: RunDirectory, text: str) -> None:
    directory.append(LogLine, stream="highball", text=text)


def texts(directory: RunDirectory) -> list[str]:
    return [event.text for event in directory.read_events() if isinstance(event, LogLine)]


# --- making it --------------------------------------------------------------------------------------


def test_a_new_directory_is_for_its_owner_and_holds_the_assignment(directory: RunDirectory) -> None:
    assert directory.assignment == assignment()
    assert directory.path.stat().st_mode & 0o777 == 0o700
    assert (directory.path / "assignment.json").stat().st_mode & 0o777 == 0o600
    assert directory.assignment.marker == f"maintenance_{RUN}"
    assert list(directory.read_events()) == []
    assert not directory.ended
    assert not directory.cancel_requested


def test_the_same_run_is_not_made_twice(directory: RunDirectory) -> None:
    with pytest.raises(StateUnusable, match="cannot be written: File exists"):
        RunDirectory.create(directory.path.parent, assignment())
    assert directory.assignment == assignment(), "the first one is still there"


def test_an_unwritable_directory_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(StateUnusable, match="runs cannot be written: Not a directory") as raised:
        RunDirectory.create(tmp_path / "runs", assignment())
    assert raised.value.code == "state_unusable"
    assert "HIGHBALL_STATE" in (raised.value.hint or "")


def test_events_that_cannot_be_opened_are_said_so(directory: RunDirectory) -> None:
    (directory.path / "events.ndjson").mkdir()
    with pytest.raises(StateUnusable, match="cannot be written: Is a directory"):
        directory.append(RunStarted, pid=1)


def test_without_the_right_to_write_it_is_said_so(unprivileged: Unprivileged) -> None:
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
from run_directory.test_rundir import assignment, RunDirectory, Path
from highball.errors import StateUnusable
try:
    RunDirectory.create(Path(sys.argv[1]), assignment())
except StateUnusable as error:
    print(error.code, error)
"""
    closed = unprivileged.directory / "closed"
    closed.mkdir(mode=0o755)
    done = unprivileged.run([sys.executable, "-c", code, closed / "runs"])
    if b"ModuleNotFoundError" in done.stderr or done.returncode == 126 or b"Permission" in done.stderr:
        pytest.skip("the checkout cannot be read by nobody")
    assert done.stdout.startswith(b"state_unusable")


def test_directories_are_listed_oldest_first_and_unfinished_ones_left_out(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert list_run_directories(runs) == []
    names = [f"019b0000-0000-7000-8000-00000000000{number}" for number in (3, 1, 2)]
    for name in names:
        RunDirectory.create(runs, assignment(name)).release()
    (runs / "half-made").mkdir()
    (runs / "a-file").touch()
    assert [found.path.name for found in list_run_directories(runs)] == sorted(names)


def test_an_assignment_that_says_nothing_is_a_value_error(directory: RunDirectory) -> None:
    (directory.path / "assignment.json").write_bytes(b"{}")
    with pytest.raises(ValueError, match="Assignment"):
        _ = directory.assignment


def test_asking_for_the_end_and_forgetting_it(directory: RunDirectory) -> None:
    directory.request_cancel()
    directory.request_cancel()
    assert directory.cancel_requested
    directory.remove()
    assert not directory.path.exists()
    directory.remove()


# --- the lock ---------------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from highball.agent.run_directory import RunDirectory
assert RunDirectory(Path(sys.argv[1])).take_if_free()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_held_lock_names_its_holder(directory: RunDirectory) -> None:
    other = RunDirectory(directory.path)
    assert not other.take_if_free()
    with pytest.raises(Conflict, match=f"is being carried out by process {os.getpid()}"):
        other.take()
    directory.release()
    assert other.take_if_free()
    other.release()
    other.release()


def test_the_lock_is_free_when_its_holder_was_killed(directory: RunDirectory) -> None:
    directory.release()
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdin is not None
    with child.stdin, child.stdout:
        assert child.stdout.readline() == b"held\n"
        assert not directory.take_if_free()
        with pytest.raises(Conflict, match=str(child.pid)):
            directory.take()
        child.kill()
        child.wait()
    assert directory.take_if_free()


def test_a_lock_file_without_a_number_names_nobody(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    assert lock.holder() is None
    (tmp_path / "lock").write_bytes(b"\xff?")
    assert lock.holder() is None
    assert lock.take()
    assert lock.holder() == os.getpid()
    lock.release()


def test_a_child_of_ours_does_not_keep_the_lock(directory: RunDirectory) -> None:
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        directory.release()
        assert directory.take_if_free()
    finally:
        child.kill()
        child.wait()


# --- events -----------------------------------------------------------------------------------------


def test_events_are_numbered_without_gaps(directory: RunDirectory) -> None:
    directory.append(RunStarted, pid=7, safely=True)
    for number in range(50):
        say(directory, str(number))
    ended = directory.append(RunEnded, outcome=Outcome.SUCCESS, safely=True)
    events = list(directory.read_events())
    assert [event.seq for event in events] == list(range(1, 53))
    assert events[-1] == ended
    assert {event.run for event in events} == {RUN}
    assert [event.seq for event in directory.read_events(after=50)] == [51, 52]
    assert directory.ended


def test_numbers_go_on_where_a_former_process_stopped(directory: RunDirectory) -> None:
    say(directory, "one")
    directory.release()
    later = RunDirectory(directory.path)
    later.resume()
    say(later, "two")
    assert [event.seq for event in later.read_events()] == [1, 2]
    later.release()


def test_paths_that_are_not_utf_8_come_back_byte_for_byte(directory: RunDirectory) -> None:
    path = b'/\xff\xfe/\n"\\/caf\xc3\xa9/\x01'
    caution = Caution(code="x", message="\ufffd \x00 \u2028", path=path)
    directory.append(WarningSeen, warning=caution)
    done = Step(number=1, action=Action.RESTORE, target=path, warnings=(caution,), outcome=Outcome.WARNING)
    directory.append(StepEnded, done=done)
    warning, ended = directory.read_events()
    assert isinstance(warning, WarningSeen)
    assert warning.warning == caution
    assert isinstance(ended, StepEnded)
    assert ended.done == done
    assert len((directory.path / "events.ndjson").read_bytes().splitlines()) == 2


def test_text_of_any_kind_is_one_line_each(directory: RunDirectory) -> None:
    for text in ("a\nb\r\n", "\u2028\u0085", "", "x" * 65536, "\x00\x1b[31m"):
        say(directory, text)
    assert texts(directory) == ["a\nb\r\n", "\u2028\u0085", "", "x" * 65536, "\x00\x1b[31m"]


def write_line(directory: RunDirectory, **told: object) -> None:
    common = {"run": RUN, "at": "2026-03-01T00:00:00Z"}
    with (directory.path / "events.ndjson").open("ab") as opened:
        opened.write(json.dumps(common | told).encode() + b"\n")


def test_fields_that_a_newer_program_wrote_are_passed_over(directory: RunDirectory) -> None:
    write_line(
        directory, seq=1, type="log", stream="highball", text="old", colour="red", at="2027-01-01T00:00:00Z"
    )
    assert texts(directory) == ["old"]


def test_events_of_a_kind_that_a_newer_program_wrote_hide_and_lose_nothing(directory: RunDirectory) -> None:
    write_line(directory, seq=1, type="log", stream="highball", text="before")
    write_line(directory, seq=2, type="moon.phase", phase="full")
    write_line(directory, seq=3, type="run.ended", outcome="success")
    before = (directory.path / "events.ndjson").read_bytes()
    assert [event.seq for event in directory.read_events()] == [1, 3]
    assert directory.ended
    directory.resume()
    assert (directory.path / "events.ndjson").read_bytes() == before
    say(directory, "after")
    assert [event.seq for event in directory.read_events()] == [1, 3, 4]


def test_resuming_without_any_event_begins_with_number_1(directory: RunDirectory) -> None:
    directory.resume()
    say(directory, "one")
    assert [event.seq for event in directory.read_events()] == [1]


@settings(max_examples=150)
@given(
    texts_said=st.lists(st.text(max_size=12), min_size=1, max_size=4),
    cut=st.integers(0, 2000),
    junk=st.binary(max_size=6),
)
def test_a_line_cut_short_anywhere_is_recovered(texts_said: list[str], cut: int, junk: bytes) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        directory = RunDirectory.create(folder, assignment())
        for text in texts_said:
            say(directory, text.encode("utf-8", "replace").decode())
        directory.release()
        file = directory.path / "events.ndjson"
        whole = file.read_bytes()
        # any byte of the last two lines
        lines = whole.splitlines(keepends=True)
        tail = sum(map(len, lines[-2:]))
        kept = whole[: len(whole) - min(cut, tail)]
        file.write_bytes(kept + junk)
        left = kept.count(b"\n") if not (junk and not kept.endswith(b"\n") and b"\n" in junk) else None

        later = RunDirectory(directory.path)
        readable = [event.seq for event in later.read_events()]
        later.resume()
        assert [event.seq for event in later.read_events()] == readable
        assert left is None or readable == list(range(1, left + 1))
        say(later, "after")
        assert [event.seq for event in later.read_events()] == [*readable, len(readable) + 1]
        later.release()
    finally:
        shutil.rmtree(folder)


def test_every_byte_of_the_last_line_may_be_the_last(directory: RunDirectory) -> None:
    say(directory, "one")
    say(directory, "two")
    directory.release()
    file = directory.path / "events.ndjson"
    whole = file.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        file.write_bytes(whole[:length])
        later = RunDirectory(directory.path)
        later.resume()
        assert file.read_bytes() == whole[:first]
        say(later, "three")
        assert texts(later) == ["one", "three"]
        later.release()


# --- a full disk ------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", place], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("needs the right to mount")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path) -> None:
    with (place / "ballast").open("wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(4096))
        except OSError:
            return


class Heard:
    """A line to a hub of which only is kept what goes over it."""

    def __init__(self) -> None:
        self.said: list[Envelope] = []

    async def send(self, text: str) -> None:
        self.said.append(read(text))


def test_a_run_that_a_full_disk_keeps_from_beginning_is_given_back(small_disk: Path) -> None:
    RunDirectory.create(small_disk / "runs", assignment()).release()
    link, heard = Link(small_disk), Heard()
    link._line = heard  # type: ignore[assignment]
    fill(small_disk)

    async def look() -> None:
        for carrier in link._carriers:
            carrier.ready = True
            await link._forward_from(carrier)

    asyncio.run(look())
    [declined] = [message.body for message in heard.said]
    assert isinstance(declined, Declined)
    assert (declined.run, declined.code) == (RUN, "state_full")
    assert str(small_disk) in declined.message
    assert list_run_directories(small_disk / "runs") == []


def test_a_run_that_has_begun_waits_for_room(small_disk: Path) -> None:
    directory = RunDirectory.create(small_disk / "runs", assignment())
    directory.append(RunStarted, pid=1)
    directory.release()
    link, heard = Link(small_disk), Heard()
    link._line = heard  # type: ignore[assignment]
    fill(small_disk)
    [carrier] = link._carriers
    carrier.ready = True
    asyncio.run(link._forward_from(carrier))
    assert [type(message.body).__name__ for message in heard.said] == ["Events"]
    assert len(list_run_directories(small_disk / "runs")) == 1


def test_a_full_disk_swallows_log_lines_and_refuses_what_matters(small_disk: Path) -> None:
    directory = RunDirectory.create(small_disk / "runs", assignment())
    say(directory, "before")
    assert directory.has_room
    fill(small_disk)
    assert not directory.has_room
    written = [directory.append(LogLine, stream="stdout", text="x" * 3000) for _ in range(20)]
    assert directory.unwritten > 0
    assert written[-1] is None, "what was not written has not happened"
    with pytest.raises(StateUnusable) as raised:
        for _ in range(100):
            directory.append(RunStarted, pid=1)
    assert raised.value.code == "state_full"
    assert "make room" in (raised.value.hint or "")

    readable = [event.seq for event in directory.read_events()]
    assert readable == list(range(1, len(readable) + 1))
    assert (directory.path / "events.ndjson").read_bytes().endswith(b"\n")

    (small_disk / "ballast").unlink()
    assert directory.has_room
    ended = directory.append(RunEnded, outcome=Outcome.SUCCESS, safely=True)
    assert ended is not None
    assert ended.seq == len(readable) + 1
    assert directory.ended
    directory.release()


def test_a_full_disk_refuses_a_new_run_and_leaves_nothing(small_disk: Path) -> None:
    (small_disk / "runs").mkdir()
    fill(small_disk)
    with pytest.raises(StateUnusable) as raised:
        RunDirectory.create(small_disk / "runs", assignment())
    assert raised.value.code == "state_full"
    assert list((small_disk / "runs").iterdir()) == []


def test_reading_a_long_log_is_quick(directory: RunDirectory) -> None:
    for number in range(2000):
        say(directory, f"line {number}")
    started = time.process_time()
    assert len(texts(directory)) == 2000
    assert time.process_time() - started < 2


def test_what_would_be_left_behind_is_written_down(directory: RunDirectory) -> None:
    assert directory.list_litter() == []
    directory.note_litter(b"/a/\xff\n")
    directory.note_litter(b"/b")
    assert RunDirectory(directory.path).list_litter() == [b"/a/\xff\n", b"/b"]


def test_how_far_a_step_was_is_forgotten_when_the_next_begins(directory: RunDirectory) -> None:
    steps, carrier = Steps(directory, Workplace(directory.path), Stop()), Carrier(directory.path, directory)

    def reach_the_end() -> StepResult:
        assert carrier.read_progress() is None, "how far the step before was"
        directory.tell_progress(Progress(percent=100))
        return StepResult(Outcome.SUCCESS)

    for _ in range(2):
        steps.step(Action.BACKUP, "nas", reach_the_end)
    assert len(steps.ended) == 2


def test_an_event_that_makes_no_sense_is_told_in_its_place_and_hides_nothing(directory: RunDirectory) -> None:
    write_line(directory, seq=1, type="log", stream="highball", text="before")
    write_line(directory, seq=2, type="stats", repository="nas", bytes_stored=10**30)
    write_line(directory, seq=3, type="run.ended", outcome="success")
    odd = list(directory.read_events())[1]
    assert isinstance(odd, WarningSeen)
    assert (odd.seq, odd.set_aside and odd.set_aside.type) == (2, "stats")
    assert directory.ended
    directory.resume()
    say(directory, "after")
    assert [event.seq for event in directory.read_events()] == [1, 2, 3, 4]


def test_what_an_agent_hands_on_ends_at_a_line_that_is_none(directory: RunDirectory, tmp_path: Path) -> None:
    say(directory, "one")
    with (directory.path / "events.ndjson").open("ab") as opened:
        opened.write(b"\0\0\0\n")
    say(directory, "lost")
    carrier = Carrier(tmp_path, directory)
    assert [event["seq"] for event in carrier.read_on()] == [1]
    assert carrier.read_on() == []


def test_an_account_that_names_everything_is_cut_and_counts_the_rest(tmp_path: Path) -> None:
    made = RunDirectory.create(tmp_path / "runs", assignment())
    steps = Steps(made, Workplace(tmp_path), Stop())
    odd = [Caution(code="file_unreadable", message=str(number)) for number in range(300_000)]
    ended = steps.step(Action.STATS, "nas", lambda: StepResult(Outcome.WARNING, warnings=odd))
    assert len(ended.warnings) == 2001
    assert sum(warning.count for warning in ended.warnings) == 300_000
    [told] = [event for event in made.read_events() if isinstance(event, StepEnded)]
    assert told.done == ended
    made.release()


def test_a_listing_of_ten_thousand_fits_into_what_a_hub_takes_at_once(tmp_path: Path) -> None:
    made = RunDirectory.create(tmp_path / "runs", assignment())
    told = {"time": datetime.now(UTC), "job": "docs", "set": "files", "host": "here", "repository": "nas"}
    told |= {"tags": ("hb:job=docs",) * 4, "paths": (b"/a/long/path",) * 50, "tree": "f" * 64, "run": RUN}
    listing = tuple(Snapshot(id=f"{number:064x}", **told) for number in range(10_000))
    steps = Steps(made, Workplace(tmp_path), Stop())
    steps.step(Action.STATS, "nas", lambda: StepResult(snapshots=listing))
    [line] = [one for one in (made.path / "events.ndjson").read_bytes().splitlines() if b"step.ended" in one]
    assert len(line) < 4 << 20
    [ended] = [event for event in made.read_events() if isinstance(event, StepEnded)]
    assert [one.id for one in ended.snapshots or ()] == [one.id for one in listing]
    made.release()


@pytest.mark.parametrize("module", ["highball.agent.run.runner", "highball.agent.query.responder"])
def test_an_agent_from_before_an_update_still_starts_something(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module], input=b"", capture_output=True, check=False)
    assert done.returncode != 0, "it was given nothing to do, and has to say so"
