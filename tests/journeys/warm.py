"""`highball` without its start: a fork of a process that has read its modules and done nothing else.

Two thirds of a second of every call are Python reading modules; hundreds of calls made that most of the suite's
time. So each worker starts this file as a server, once. For a call it forks: the child takes over the call's
session, streams, folder, environment and arguments, and then runs the program's own `main`, its exit handlers
too. `test_warm` holds it to the answers of a real process.

It is no process of its own in five respects: its parent is the server, /proc shows the server's command line and
environment, hashes are seeded once per server, it had no time before its first line, and the interpreter does not
take itself apart at the end. A test that is about one of these, or about signals, needs a real one
(`Station.start`, `Station.own_process`).
"""

import atexit
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
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
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
    server = _servers.pop("command", None) or _Server("command")
    status = server.run(_order(argv, env, cwd), streams, timeout)
    _servers["command"] = server  # only one that ended its call in good order is asked again
    return status


def serve(argv: Sequence[Argument], *, env: Mapping[str, str], cwd: Path, log: int) -> "Serving":
    """Start `highball … serve`, which says what it says into this descriptor, and leave it to itself."""
    server = _servers.pop("hub", None) or _Server("hub")
    with open(os.devnull) as nothing:
        hub = server.start(_order(argv, env, cwd), [nothing.fileno(), log, log])
    _servers["hub"] = server
    return hub


def _order(argv: Sequence[Argument], env: Mapping[str, str], cwd: Path) -> object:
    assert not [name for name in env if name.startswith(READ_AT_START)], "needs a process of its own"
    return list(argv), dict(env), str(cwd)


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


class Serving:
    """A hub that was started: as much of Popen as there is need of."""

    def __init__(self, told: socket.socket) -> None:
        self._told = told
        self.pid = _receive(told)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit status, if it has ended."""
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self._note_end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has ended; raises TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("highball serve", timeout or 0)
            self._note_end()
        assert self.returncode is not None
        return self.returncode

    def _note_end(self) -> None:
        self.returncode = _receive(self._told)
        self._told.close()

    def terminate(self) -> None:
        """SIGTERM, if it lives."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, if it lives."""
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class _Server:
    """A server of this process, from the client's side."""

    def __init__(self, kind: str) -> None:
        self._line, its = socket.socketpair()
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(its.fileno()), kind],
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
            self._send(order, streams)
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

    def start(self, order: object, streams: Sequence[int]) -> Serving:
        """Have one call carried out that nobody waits for."""
        told, its = socket.socketpair()
        with its:
            self._send(order, [*streams, its.fileno()])
        return Serving(told)

    def _send(self, order: object, streams: Sequence[int]) -> None:
        content = pickle.dumps(order)
        socket.send_fds(self._line, [_NUMBER.pack(len(content))], list(streams))
        self._line.sendall(content)


_servers: dict[str, _Server] = {}
"""One for what commands need, and one for what a hub needs besides."""


def _receive(line: socket.socket) -> int:
    """The next number on the line; EOFError where the other side is gone."""
    data = line.recv(_NUMBER.size, socket.MSG_WAITALL)
    if len(data) < _NUMBER.size:
        raise EOFError("the other side is gone")
    number: int = _NUMBER.unpack(data)[0]
    return number


# --- the server's side ---------------------------------------------------------------------------


def _wait_for_calls(line: socket.socket) -> None:
    """Fork for each call, and report its pid and how it ended; returns in the fork, which has become the call.

    With a fourth descriptor that is told there, by a process between the two, and the next call is awaited at once.
    """
    while True:
        size, streams, _, _ = socket.recv_fds(line, _NUMBER.size, 4)
        if not size:  # the tests are over
            sys.exit()
        content = line.recv(_NUMBER.unpack(size)[0], socket.MSG_WAITALL)
        told = socket.socket(fileno=streams.pop()) if len(streams) > 3 else None
        if told is not None and os.fork():
            told.close()
            for descriptor in streams:
                os.close(descriptor)
            continue
        pid = os.fork()
        if pid == 0:
            line.close()
            if told is not None:
                told.close()
            argv, env, cwd = pickle.loads(content)
            _become(argv, env, cwd, streams)
            return
        for descriptor in streams:
            os.close(descriptor)
        if told is not None:
            line.close()
        (told or line).sendall(_NUMBER.pack(pid))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(OSError):  # where nobody asks any more
            (told or line).sendall(_NUMBER.pack(status))
        if told is not None:
            os._exit(0)


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


def _build_models() -> None:
    """Have every class of the product read what it is told: they put that off until it is needed."""
    from pydantic import BaseModel

    def kinds_of(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
        for kind in model.__subclasses__():
            yield kind
            yield from kinds_of(kind)

    for kind in set(kinds_of(BaseModel)):
        kind.model_rebuild(raise_errors=False)


def _leave(status: int) -> None:
    """Do what an interpreter does at its end, but not take itself apart: that takes longer than most calls.

    Raises what the streams raise, for the interpreter to tell in its own way.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    from highball.cli import (
        hub_client,  # noqa: F401
        main,
        single_machine,  # noqa: F401
    )
    from highball.cli.commands import hub, table, this_machine  # noqa: F401

    if sys.argv[2] == "hub":
        from uvicorn.lifespan import on  # noqa: F401
        from uvicorn.loops import auto  # noqa: F401
        from uvicorn.protocols.http import auto as http  # noqa: F401
        from uvicorn.protocols.websockets import auto as websockets  # noqa: F401

        from highball.cli import local_agent  # noqa: F401
        from highball.web import app as web  # noqa: F401
        from highball.web.ui import templating

        for (
            name
        ) in templating._environment().list_templates():  # pages that a fork draws are compiled already
            templating._environment().get_template(name)
    _build_models()
    _wait_for_calls(socket.socket(fileno=int(sys.argv[1])))
    try:
        main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            with contextlib.suppress(OSError, ValueError):
                _leave(end.code or 0)
        raise
