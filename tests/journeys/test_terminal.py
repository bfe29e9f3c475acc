"""A person at a terminal sees colour and live progress; a pipe gets plain lines; NO_COLOR is honoured."""

import fcntl
import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from journeys.station import Station

ESCAPE = b"\x1b["


@dataclass
class Terminal:
    """`highball` on a pseudo-terminal, and whoever types there."""

    station: Station
    arguments: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    said: bytes = b""

    def run(self, *answers: tuple[bytes, bytes], timeout: float = 240) -> int:
        """Run to the end; each time a text is seen, the answer to it is typed. Returns the exit status."""
        self.station.write()
        master, slave = pty.openpty()

        def own_terminal() -> None:
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        with subprocess.Popen(
            self.station.argv(*self.arguments),
            env=self.station.clean_environment(TERM="xterm-256color", COLUMNS="100", **self.environment),
            cwd=self.station.folder,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=own_terminal,  # noqa: PLW1509 - Ctrl-C needs a terminal that controls
        ) as process:
            os.close(slave)
            try:
                self._talk(master, process.poll, list(answers), time.monotonic() + timeout)
            finally:
                os.close(master)
                if process.poll() is None:
                    process.terminate()
            return process.wait(120)

    def _talk(
        self,
        master: int,
        ended: Callable[[], int | None],
        answers: list[tuple[bytes, bytes]],
        deadline: float,
    ) -> None:
        while time.monotonic() < deadline:
            readable, _, _ = select.select([master], [], [], 0.1)
            if not readable:
                if ended() is not None:
                    return
                continue
            try:
                data = os.read(master, 65536)
            except OSError:  # Linux says so when the other side is closed
                return
            self.said += data
            if answers and answers[0][0] in self.said:
                os.write(master, answers.pop(0)[1])
        raise AssertionError(f"did not end: {self.said!r}")


def test_a_terminal_gets_colour_and_live_progress(station: Station) -> None:
    station.fill(20, 50_000)
    station.add_job(limit_upload=400)  # a backup that takes some seconds
    terminal = Terminal(station, ("run",))
    assert terminal.run() == 0
    assert ESCAPE in terminal.said
    assert "█".encode() in terminal.said or "░".encode() in terminal.said
    assert b" files" in terminal.said
    status = Terminal(station, ("status",))
    assert status.run() == 0
    assert ESCAPE in status.said
    assert "✓ healthy".encode() in status.said


def test_no_color_is_honoured(station: Station) -> None:
    station.back_up()
    terminal = Terminal(station, ("status",), {"NO_COLOR": "1"})
    assert terminal.run() == 0
    for colour in (b"\x1b[3", b"\x1b[9", b"\x1b[1;3", b"\x1b[38"):
        assert colour not in terminal.said


def test_a_pipe_gets_plain_lines(station: Station) -> None:
    for arguments in (["run"], ["status"], ["snapshots"], ["runs"], ["forget", "--dry-run"]):
        answer = station.call(*arguments)
        assert answer.status == 0
        assert "\x1b" not in answer.text + answer.stderr
        assert "\r" not in answer.text + answer.stderr


def test_names_cannot_steer_the_terminal(station: Station) -> None:
    (station.source / "evil\x1b[2J\x1b]0;owned\x07\nname").write_text("x")
    station.add_job(before=[{"run": "printf 'evil \\033[2J hook\\n'", "name": "n\x1b[2Jame"}])
    snapshot = station.back_up().step_in("nas")["snapshot_id"]
    for arguments in (("ls", snapshot), ("run",), ("logs", station.ask("runs").json[0]["id"])):
        terminal = Terminal(station, arguments)
        terminal.run()
        assert b"\x1b[2J" not in terminal.said
        assert b"\x1b]0;" not in terminal.said
        answer = station.call(*arguments)
        assert "\x1b" not in answer.text + answer.stderr


def test_a_restore_in_place_is_asked_about_and_no_is_the_default(station: Station) -> None:
    station.back_up()
    victim = station.source / "file-0000"
    before = victim.read_bytes()
    victim.write_bytes(b"changed")
    for typed in (b"\n", b"n\n", b"\x04", b"maybe\n"):
        terminal = Terminal(station, ("restore", "docs", "--in-place"))
        terminal.run((b"[y/N]", typed))
        assert victim.read_bytes() == b"changed"
        assert b"1 replaced" in terminal.said
        assert b"file-0000" in terminal.said
    terminal = Terminal(station, ("restore", "docs", "--in-place"))
    assert terminal.run((b"[y/N]", b"y\n")) == 0
    assert victim.read_bytes() == before


def test_a_person_may_choose_the_snapshot(station: Station) -> None:
    victim = station.source / "file-0000"
    victim.write_text("first")
    station.back_up()
    victim.write_text("second")
    station.back_up()
    target = station.folder / "chosen"
    terminal = Terminal(station, ("restore", "docs", "--target", str(target)))
    assert terminal.run((b"Enter for none]", b"2\n")) == 0
    assert (target / str(victim).lstrip("/")).read_text() == "first"


def test_unlocking_everything_is_asked_about(station: Station) -> None:
    terminal = Terminal(station, ("unlock", "--remove-all"))
    assert terminal.run((b"[y/N]", b"n\n")) == 0
    assert b"Nothing was removed" in terminal.said
    assert station.ask("unlock", "--remove-all", status=2).error["code"] == "confirmation_required"
    assert station.ask("runs").json == []
    station.ask("unlock", "--remove-all", "--yes")


def test_what_retention_removes_is_shown_before_and_asked_about(station: Station) -> None:
    station.add_job(retention={"last": 1})
    for _ in range(2):
        station.back_up()
    terminal = Terminal(station, ("forget",))
    assert terminal.run((b"[y/N]", b"n\n")) == 0
    assert b"will be removed" in terminal.said and b"Nothing was removed" in terminal.said
    assert len(station.snapshots()) == 2
    assert Terminal(station, ("forget",)).run((b"[y/N]", b"y\n")) == 0
    assert len(station.snapshots()) == 1
    assert Terminal(station, ("forget",)).run() == 0, "where nothing goes, nothing is asked"


def test_ctrl_c_at_the_question_changes_nothing(station: Station) -> None:
    station.back_up()
    (station.source / "file-0000").write_bytes(b"changed")
    terminal = Terminal(station, ("restore", "docs", "--in-place"))
    assert terminal.run((b"[y/N]", b"\x03")) == 130
    assert (station.source / "file-0000").read_bytes() == b"changed"
    assert b"Traceback" not in terminal.said
