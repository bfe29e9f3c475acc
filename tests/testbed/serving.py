"""Servers of the tests: start one on a free loopback port, wait until it answers, end it with all it started.

Readiness is a fact (the port accepts a connection while our process lives), never a guess in seconds.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from testbed.parts import find_program

HOST: Final = "127.0.0.1"
START_WITHIN: Final = 120.0  # seconds; a busy machine with two cores is slow, a broken server exits at once
STOP_WITHIN: Final = 5.0
PORTS_TO_TRY: Final = 5


def free_port() -> int:
    """A loopback port nobody listens on now. Somebody may in a moment: servers here try more than one."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Server(ABC):
    """A program that listens on one loopback port. Entering starts it and waits for it; leaving ends it.

    `stop()` and `start()` may be called in between: a server started again keeps its port and its data, so a
    test can take it away in the middle of its client's work and give it back.
    """

    name: str

    def __init__(self, log: Path) -> None:
        self.log = log
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def argv(self, port: int) -> Sequence[str | Path]:
        """How the server is started on this port; may write its configuration first."""

    def environment(self) -> Mapping[str, str]:
        """What the server finds in its environment; nothing is inherited."""
        return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}

    @property
    def host(self) -> str:
        return HOST

    @property
    def port(self) -> int:
        """The port it listens on. Raises AssertionError before the first start."""
        assert self._port is not None, f"{self.name} was never started"
        return self._port

    @property
    def pid(self) -> int:
        """The process started. Raises AssertionError while it does not run."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it accepts connections; raises AssertionError with its log if it does not."""
        assert self._process is None, f"{self.name} runs already"
        # Between finding a free port and listening on it, another process may take it: then try another.
        ports = [self._port] if self._port is not None else [free_port() for _ in range(PORTS_TO_TRY)]
        for port in ports:
            self._launch(port)
            if self._is_ready(port):
                self._port = port
                return
            self.stop()
        raise AssertionError(f"{self.name} did not start:\n{self.log.read_text(errors='replace')[-4000:]}")

    def stop(self) -> None:
        """End it and everything it started, as a power cut would. Does nothing when it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        # sshd gives each connection a session of its own, which a signal to the process group does not reach,
        # and on SIGTERM it may still accept one more. Held still and then killed, it leaves nobody behind.
        _signal_group(process.pid, signal.SIGSTOP)
        wait_until(lambda: process.poll() is not None or _state(process.pid) in "TtZX")
        family = _descendants(process.pid)
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: all(_state(pid) in "ZX" for pid in family))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def _launch(self, port: int) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_ends_with_its_parent(), *self.argv(port)],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _is_ready(self, port: int) -> bool:
        assert self._process is not None
        until = time.monotonic() + START_WITHIN
        while time.monotonic() < until and self._process.poll() is None:
            if self._answers(port):
                return self._process.poll() is None
            time.sleep(0.01)  # between two questions, not instead of one
        return False

    def _answers(self, port: int) -> bool:
        """Whether it can be talked to."""
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            return False
        return True


def _ends_with_its_parent() -> list[str | Path]:
    """What makes the kernel end a server whose test run was killed and could not end it.

    Strictly the kernel ends it with the thread that started it: start servers from the main thread.
    """
    setpriv = find_program("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def _signal_group(leader: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, number)


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + STOP_WITHIN
    while not is_so() and time.monotonic() < until:
        time.sleep(0.005)


def _state(pid: int) -> str:
    """The kernel's letter for a process: T stopped, Z ended and not yet waited for; X when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _descendants(pid: int) -> list[int]:
    """The children of a process, their children, and so on, as the kernel lists them."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                found += [child, *_descendants(child)]
    return found
