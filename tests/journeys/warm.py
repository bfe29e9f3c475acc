"""`highball` without its start: a fork of a process that has read its modules and done nothing else.

Two thirds of a second of every call are Python reading modules; hundreds of calls made that most of the suite's
time. So each worker starts this file as a server, once. For a call it forks: the child takes over the call's
session, streams, folder, environment and arguments, and then runs the program's own `main` to the end of the
interpreter. `test_warm` holds it to the answers of a real process.

It is no process of its own in four respects: its parent is the server, /proc shows the server's command line and
environment, hashes are seeded once per server, and it had no time before its first line. A test that is about one
of these, or about signals, needs a real one (`Station.start`, `Station.own_process`).
"""

import contextlib
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

Argument = str | bytes | os.PathLike[str]

_NUMBER: Final = struct.Struct("i")

READ_AT_START: Final = ("PYTHON", "LANG", "LC_")
"""Variables that Python obeys before the first line: what begins like this needs a process of its own."""


def call(
    argv: Sequence[Argument],
    *,
    env: Mapping[str, str],
    cwd: Path,
    streams: Sequence[int],
    timeout: float,
) -> int:
    """Run `highball` with these three streams; the exit status as Popen's returncode. Raises TimeoutExpired."""
    global _server  # noqa: PLW0603 - one for this process
    assert not [name for name in env if name.startswith(READ_AT_START)], "needs a process of its own"
    server, _server = _server or _Server(), None
    status = server.run((list(argv), dict(env), str(cwd)), streams, timeout)
    _server = server  # only one that ended its call in good order is asked again
    return status


def run(
    argv: Sequence[Argument], *, env: Mapping[str, str], cwd: Path, timeout: float
) -> "subprocess.CompletedProcess[bytes]":
    """The same as subprocess.run has it: nothing to read, and what it said kept."""
    with open(os.devnull) as nothing, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        streams = [nothing.fileno(), out.fileno(), err.fileno()]
        status = call(argv, env=env, cwd=cwd, streams=streams, timeout=timeout)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(argv, status, out.read(), err.read())


class _Server:
    """The server of this process, from the client's side."""

    def __init__(self) -> None:
        self._line, its = socket.socketpair()
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(its.fileno())],
                env={},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
                start_new_session=True,
            )

    def run(self, order: object, streams: Sequence[int], timeout: float) -> int:
        """Have one call carried out; whatever comes between leaves neither it nor this server behind."""
        pid = None
        try:
            content = pickle.dumps(order)
            socket.send_fds(self._line, [_NUMBER.pack(len(content))], list(streams))
            self._line.sendall(content)
            pid = _receive(self._line)
            if not select.select([self._line], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("highball", timeout)
            return _receive(self._line)
        except BaseException:
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._line.shutdown(socket.SHUT_WR)  # the server reports that end, and finds that it was the last
            self._process.wait(120)
            self._line.close()
            raise


_server: _Server | None = None


def _receive(line: socket.socket) -> int:
    """The next number on the line; EOFError where the other side is gone."""
    data = line.recv(_NUMBER.size, socket.MSG_WAITALL)
    if len(data) < _NUMBER.size:
        raise EOFError("the other side is gone")
    number: int = _NUMBER.unpack(data)[0]
    return number


# --- the server's side ---------------------------------------------------------------------------


def _wait_for_calls(line: socket.socket) -> None:
    """Fork for each call, and report its pid and how it ended; returns in the fork, which has become the call."""
    while True:
        size, streams, _, _ = socket.recv_fds(line, _NUMBER.size, 3)
        if not size:  # the tests are over
            sys.exit()
        content = line.recv(_NUMBER.unpack(size)[0], socket.MSG_WAITALL)
        pid = os.fork()
        if pid == 0:
            line.close()
            argv, env, cwd = pickle.loads(content)
            _become(argv, env, cwd, streams)
            return
        for descriptor in streams:
            os.close(descriptor)
        line.sendall(_NUMBER.pack(pid))
        status = os.waitpid(pid, 0)[1]
        line.sendall(_NUMBER.pack(os.waitstatus_to_exitcode(status)))


def _become(argv: Sequence[Argument], env: Mapping[str, str], cwd: str, streams: Sequence[int]) -> None:
    """Make this process what `Station.start` would have started."""
    os.setsid()
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(cwd)
    os.environ.update(env)  # over what Python itself put there as it started, as in any other process
    time.tzset()
    sys.argv[:] = [os.fsdecode(argument) for argument in argv]


if __name__ == "__main__":
    from highball.cli import app, commands, main, remote  # noqa: F401 - all that a command needs, here or over a hub

    _wait_for_calls(socket.socket(fileno=int(sys.argv[1])))
    main()
