"""What a command prints is a snapshot only where all of it came, and the command ended well: asked of every restic."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from highball.engine.base import BackupOrder, BackupReport, Listener, StreamedFile
from highball.engine.restic.access import RepositoryAccess
from highball.engine.restic.commands import Restic
from highball.engine.restic.program import ResticBinary as Binary
from highball.engine.restic.retrying import FinishedProcess
from highball.place.local import LOCAL
from highball.process.child import Command, Stop, find_marked
from highball.process.feed import Feed
from highball.secret import SecretValue
from testbed.restic import ResticBinary
from testbed.written import WrittenRepository

pytestmark = pytest.mark.each_restic

PASSWORD = "open sesame"


class Bench:
    """A repository, and restic on it."""

    def __init__(self, program: ResticBinary, folder: Path) -> None:
        self.repository = folder / "repository"
        WrittenRepository(self.repository, PASSWORD)
        scratch = folder / "scratch"
        scratch.mkdir()
        access = RepositoryAccess(
            location=SecretValue(os.fsencode(self.repository)),
            shown="somewhere",
            password=SecretValue(PASSWORD.encode()),
        )
        binary = Binary(program.path, program.version)
        self.said: list[str] = []
        listener = Listener(log=lambda stream, text: self.said.append(text))
        self.restic = Restic(
            binary, "nas", access, folder / "cache", scratch, f"test_{folder.name}", listener=listener
        )
        self.feeds: list[Feed] = []
        self.complaints: list[bytes] = []

    def back_up(
        self, shell: str, timeout: timedelta | None = None, stop: Stop | None = None
    ) -> tuple[FinishedProcess, BackupReport]:
        """Save what this prints."""

        def open_it() -> Feed:
            command = Command(("/bin/sh", "-c", shell), {"PATH": os.defpath})
            self.feeds.append(Feed(LOCAL.run, command, self.complaints.append, timeout=timeout))
            return self.feeds[-1]

        self.restic.stop = stop or Stop()
        return self.restic.backup(BackupOrder((), (), "web", ("a",), stream=StreamedFile("app.sql", open_it)))

    @property
    def feed(self) -> Feed:
        """The last one."""
        return self.feeds[-1]

    def has_nothing(self) -> bool:
        """Neither a snapshot nor a lock."""
        self.restic.stop = Stop()
        return not self.restic.list_snapshots() and not list((self.repository / "locks").iterdir())


@pytest.fixture
def bench(restic: ResticBinary, tmp_path: Path) -> Bench:
    """With each restic in turn."""
    return Bench(restic, tmp_path)


def test_all_that_it_prints_is_saved(bench: Bench) -> None:
    finished, report = bench.back_up("head -c 3000000 /dev/zero; echo done; echo noted >&2")
    assert (finished.exit_status, bench.feed.is_whole, bench.feed.size) == (0, True, 3_000_005)
    assert report.summary is not None
    assert report.summary.bytes_processed == 3_000_005
    (snapshot,) = bench.restic.list_snapshots()
    assert snapshot.paths == (b"/app.sql",)
    found: list[bytes] = []
    bench.restic.dump(snapshot.id, b"/app.sql", found.append)
    assert b"".join(found) == bytes(3_000_000) + b"done\n"
    assert bench.complaints == [b"noted"]


def test_what_its_children_print_after_its_own_end_is_part_of_it(bench: Bench) -> None:
    finished, _ = bench.back_up("(sleep 1.5; echo late) & echo early")
    assert (finished.exit_status, bench.feed.size) == (0, len("early\nlate\n"))


@pytest.mark.parametrize(
    "shell",
    [
        "exit 3",
        "head -c 3000000 /dev/zero; exit 3",
        "echo something; kill -9 $$",
        "echo something; exec /no/such/program",
        "true",
    ],
    ids=["at once", "after its output", "killed", "not there", "silent"],
)
def test_a_command_that_fails_is_no_snapshot(bench: Bench, shell: str) -> None:
    finished, _ = bench.back_up(shell)
    assert finished.exit_status != 0
    assert (bench.feed.is_whole, bench.feed.is_broken) == (False, True)
    assert bench.has_nothing()


def test_a_command_that_is_not_done_in_time_is_no_snapshot(bench: Bench) -> None:
    bench.back_up("echo something; sleep 600", timeout=timedelta(seconds=1))
    assert bench.feed.ended is not None
    assert bench.feed.ended.timed_out
    assert bench.has_nothing()


def test_a_cancelled_one_is_no_snapshot_and_its_command_is_ended(bench: Bench, tmp_path: Path) -> None:
    stop = Stop((tmp_path / "pid").exists)
    finished, _ = bench.back_up(
        f"echo something; echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; sleep 600", stop=stop
    )
    assert finished.stopped
    assert bench.feed.ended is not None
    assert bench.feed.ended.stopped
    assert bench.has_nothing()


def test_a_reader_that_cannot_begin_starts_no_command(bench: Bench, tmp_path: Path) -> None:
    (bench.repository / "config").unlink()
    bench.restic.patience = timedelta(seconds=1)
    finished, _ = bench.back_up(f"touch {tmp_path}/begun; echo something")
    assert finished.exit_status != 0
    assert not (tmp_path / "begun").exists()


BACK_UP = """
import sys
from pathlib import Path
from engine.test_streams import Bench
from testbed.restic import ResticBinary

program = ResticBinary(Path(sys.argv[2]), tuple(map(int, sys.argv[3].split("."))))
Bench(program, Path(sys.argv[1])).back_up(f"echo something; touch {sys.argv[1]}/begun; sleep 600")
"""


def test_who_dies_with_the_reader_at_work_leaves_no_snapshot(restic: ResticBinary, tmp_path: Path) -> None:
    version = ".".join(map(str, restic.version))
    path = os.pathsep.join(sys.path)
    dying = subprocess.Popen(
        [sys.executable, "-c", BACK_UP, tmp_path, restic.path, version],
        env={**os.environ, "PYTHONPATH": path},
    )
    while not (tmp_path / "begun").exists():
        assert dying.poll() is None
        time.sleep(0.05)
    dying.send_signal(signal.SIGKILL)
    dying.wait()
    while find_marked(f"test_{tmp_path.name}"):
        time.sleep(0.05)
    assert not list((tmp_path / "repository" / "snapshots").iterdir())
