"""Run a child program: clean environment, secrets through pipes, both outputs drained, polite stop then group kill.

A child gets exactly the environment that its Command names, an empty standard input, a process group of its
own, and dies with us: Linux sends it SIGINT when we vanish, so that restic removes its lock. One thread reads
both outputs, so that nothing blocks and a callback may itself run another child.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Literal, Protocol, Self

from highball.errors import Failed, ProgramMissing
from highball.process.parent_death import ended_after_us
from highball.secret import SecretValue

_LOG = logging.getLogger(__name__)

MARKER = "HIGHBALL_JOB_ID"
"""The environment variable by which a process of a run is recognised: `<job>_<run>`."""

TICK_SECONDS = 0.2
LINGER_SECONDS = 1.0
"""How long the outputs of a child that has ended may be held open by a grandchild before we stop listening."""

LIVES_ON = 255
"""In place of the exit status of a child that could not be made to end."""

_READ_BYTES = 256 * 1024
_PIPE_BYTES = 64 * 1024
"""What a pipe holds unless it is asked for more."""

_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of Linux; elsewhere the call fails and the pipe stays as it is
_WIDE_PIPE_BYTES = 1024 * 1024

Stream = Literal["stdout", "stderr"]
OnData = Callable[[Stream, bytes], None]


@dataclass(frozen=True)
class Input:
    """A stretch of bytes that the child reads from a file named in its arguments."""

    content: bytes


@dataclass(frozen=True)
class Inside:
    """A path below an open folder: the child reaches it by the folder's handle, whoever moves what leads there."""

    folder: int
    path: bytes
    shown: bytes
    """The folder's path, for people."""


Argument = str | bytes | Input | Inside


@dataclass(frozen=True)
class Command:
    """A program to start. `files` maps an environment variable to a secret that the child reads from the file
    which the variable names; the value is offered through a pipe, once, and never touches a disk."""

    argv: tuple[Argument, ...]
    environment: Mapping[str, str | SecretValue] = field(default_factory=dict)
    files: Mapping[str, SecretValue] = field(default_factory=dict)
    lasting_files: Mapping[str, SecretValue] = field(default_factory=dict)
    """The same for a child that reads the file more than once: it lies in memory, as long as the child lives."""
    directory: Path | None = None

    def shown(self) -> str:
        """The command line for people: quoted, without inputs' content (it never holds a secret)."""
        return " ".join(_quote(argument) for argument in self.argv)

    def prefixed(self, *argv: str) -> Command:
        """The same command started by another program."""
        return replace(self, argv=(*argv, *self.argv))


@dataclass(frozen=True)
class Ended:
    """How a child ended: `exit_status` as a shell counts it (128 + n after signal n).

    `left`: those of its group who live on because they became another user, whom we may not signal. The child itself
    may be one of them: then its exit status is 255.
    """

    exit_status: int
    stopped: bool
    timed_out: bool
    seconds: float
    left: tuple[int, ...] = ()


class Stop:
    """A person's or a signal's request to end, asked for at every tick."""

    def __init__(self, ask: Callable[[], bool] = lambda: False) -> None:
        self._ask = ask
        self._requested = False

    def request(self) -> None:
        """Ask to end; safe in a signal handler."""
        self._requested = True

    @property
    def requested(self) -> bool:
        """Whether the end was asked for."""
        self._requested = self._requested or self._ask()
        return self._requested


@dataclass(frozen=True)
class Manners:
    """How a child is asked to end: which signal, to it alone or its whole group, and for how long before SIGKILL.

    `outlives_us`: for so long it may tidy up when we are killed, and its outputs must not break with us.
    """

    polite_signal: int = signal.SIGINT
    whole_group: bool = False
    grace: timedelta = timedelta(seconds=30)
    outlives_us: timedelta | None = None
    reads_to_end: bool = False
    """Its standard output is over when nobody can write to it any more, and not soon after the child itself is."""


class Feeding(Protocol):
    """What a child reads on its standard input, where that is not empty."""

    @property
    def reading(self) -> int:
        """The descriptor that becomes the child's standard input."""

    @property
    def held(self) -> int:
        """One that the child inherits besides."""

    def hand_over(self) -> None:
        """The child has both."""

    def tick(self) -> None:
        """Asked every now and then while the child lives."""

    def end(self) -> None:
        """The child is over, or was never started."""


class Signals(Protocol):
    """How a child is reached where it runs elsewhere, and what was started here only carries it."""

    def send(self, carrier: int, number: int, *, whole_group: bool) -> None:
        """Send it a signal, or it and all that it started; one that is over is no error."""


RESTIC_MANNERS = Manners()
"""SIGINT is clean on every restic; to restic alone, because it still needs its ssh to remove the lock."""

LOCKING_MANNERS = Manners(outlives_us=timedelta(seconds=3.25))
"""For a restic that holds a lock: when we are killed, SIGINT lets it remove the lock, but what it prints on the way
would kill it by SIGPIPE first, if nobody held the other end of its pipes. Under a low limit of its rate it would
live on for minutes: it first sleeps until all that it has begun to send may be sent."""

HOOK_MANNERS = Manners(polite_signal=signal.SIGTERM, whole_group=True, grace=timedelta(seconds=5))


def run(
    command: Command,
    on_data: OnData,
    *,
    stop: Stop | None = None,
    timeout: timedelta | None = None,
    manners: Manners = RESTIC_MANNERS,
    on_start: Callable[[int], None] = lambda pid: None,
    feed: Feeding | None = None,
    signals: Signals | None = None,
) -> Ended:
    """Run the command to its end and hand everything it prints to `on_data` as it comes.

    It reads what `feed` gives it, or nothing. With `signals` it is asked to end, and made to, by these.
    If `on_data` raises, the child's group is killed before the exception goes on.
    Raises ProgramMissing when the program is not there, Failed when it cannot be started.
    """
    started = time.monotonic()
    deadline = started + timeout.total_seconds() if timeout else None
    _LOG.debug("starts %s", command.shown())
    with _Outputs() as outputs, _ended(feed):
        child = _start(command, outputs, feed, outlives_us=manners.outlives_us is not None)
        try:
            with _watched(child, manners):
                on_start(child.pid)
                ending = _Ending(child, manners, stop or Stop(), deadline, signals)
                _drain(child, outputs, on_data, ending, feed)
                status = _reap(child, ending)
        except BaseException:
            if signals is not None:
                signals.send(child.pid, signal.SIGKILL, whole_group=True)
            _kill_group(child)
            raise
    exit_status = 128 - status if status < 0 else status
    _LOG.debug("%s ended with %s", _quote(command.argv[0]), exit_status)
    return Ended(
        exit_status=exit_status,
        stopped=ending.stopped,
        timed_out=ending.timed_out,
        seconds=time.monotonic() - started,
        left=ending.left,
    )


class Lines:
    """Turns the pieces of one output into lines; of a line longer than the limit only its beginning is kept."""

    def __init__(self, on_line: Callable[[bytes], None], longest: int = 64 * 1024) -> None:
        self._on_line = on_line
        self._longest = longest
        self._rest = bytearray()  # grows in place: a line of 50 MB comes in a thousand pieces
        self._cut = False

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        *whole, rest = data.split(b"\n")
        for line in whole:
            self._keep(line)
            self.finish()
        self._keep(rest)

    def finish(self) -> None:
        """Give out what has been gathered of the current line."""
        if self._rest or self._cut:
            line = bytes(self._rest)
            self._rest.clear()
            self._cut = False
            self._on_line(line.removesuffix(b"\r"))

    def _keep(self, piece: bytes) -> None:
        if self._cut or not piece:
            return
        room = self._longest - len(self._rest)
        self._cut = len(piece) > room
        self._rest += piece[:room]


def by_lines(
    on_line: Callable[[Stream, bytes], None], longest: int = 64 * 1024
) -> tuple[OnData, Callable[[], None]]:
    """An `on_data` that calls back line by line, and the function to call at the end for a last line without end."""
    splitters: dict[Stream, Lines] = {
        "stdout": Lines(lambda line: on_line("stdout", line), longest),
        "stderr": Lines(lambda line: on_line("stderr", line), longest),
    }

    def finish() -> None:
        for splitter in splitters.values():
            splitter.finish()

    return lambda stream, data: splitters[stream].feed(data), finish


def find_marked(marker: str) -> list[int]:
    """The pids of living processes that carry this marker in their environment, ourselves not among them."""
    needle = f"{MARKER}={marker}".encode()
    return [
        pid
        for pid in _list_pids()
        if pid != os.getpid() and needle in _read_proc(pid, "environ").split(b"\0") and not _is_zombie(pid)
    ]


def end_marked(marker: str, within: timedelta = timedelta(seconds=10)) -> list[int]:
    """End what is left of a run whose own process vanished; first politely, then by SIGKILL. Returns the pids."""
    found = find_marked(marker)
    left = found
    deadline = time.monotonic() + within.total_seconds()
    _signal_all(left, signal.SIGINT)
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = find_marked(marker)
    _signal_all(left, signal.SIGKILL)
    return found


def await_reaped(pid: int, within: timedelta = timedelta(seconds=15)) -> None:
    """Wait for the name of a process that has ended to go: an orphan's goes when the machine's first process looks.

    Until then it looks alive to everybody, to restic too. One that lives is not waited for.
    """
    deadline = time.monotonic() + within.total_seconds()
    while is_alive(pid) and _is_zombie(pid) and time.monotonic() < deadline:
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether a process with this id exists on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


# --- starting ------------------------------------------------------------------------------------


class _Outputs:
    """The two pipes that a child prints into."""

    def __init__(self) -> None:
        pipes = (os.pipe(), os.pipe())
        self.reading: dict[Stream, int] = {"stdout": pipes[0][0], "stderr": pipes[1][0]}
        self.writing: dict[Stream, int] = {"stdout": pipes[0][1], "stderr": pipes[1][1]}

    def close_writing(self) -> None:
        """Leave the writing ends to the child."""
        while self.writing:
            os.close(self.writing.popitem()[1])

    def widen(self) -> None:
        """Make room for all that a child may print between our death and its own."""
        for descriptor in self.writing.values():
            with contextlib.suppress(OSError):  # above the user's limit
                fcntl.fcntl(descriptor, _SET_PIPE_SIZE, _WIDE_PIPE_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_writing()
        for descriptor in self.reading.values():
            os.close(descriptor)


@contextlib.contextmanager
def _ended(feed: Feeding | None) -> Iterator[None]:
    try:
        yield
    finally:
        if feed is not None:
            feed.end()


def _start(
    command: Command, outputs: _Outputs, feed: Feeding | None, *, outlives_us: bool
) -> subprocess.Popen[bytes]:
    descriptors: list[int] = []
    held = []
    if outlives_us:
        outputs.widen()
        held = list(outputs.reading.values())
    if feed is not None:
        held.append(feed.held)
    try:
        argv = [_placed(argument, descriptors) for argument in command.argv]
        environment = {name: _revealed(value) for name, value in command.environment.items()}
        for name, value in command.files.items():
            descriptors.append(_offer_by_pipe(value.reveal()))
            environment[name] = f"/dev/fd/{descriptors[-1]}".encode()
        for name, value in command.lasting_files.items():
            environment[name] = _offer_in_memory(value.reveal(), descriptors).encode()
        return subprocess.Popen(
            argv,
            env=environment,
            cwd=command.directory,
            stdin=subprocess.DEVNULL if feed is None else feed.reading,
            stdout=outputs.writing["stdout"],
            stderr=outputs.writing["stderr"],
            pass_fds=[*descriptors, *held],
            process_group=0,
            preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509 - one thread, see the head of this file
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        if command.directory is not None and not command.directory.is_dir():
            raise Failed(
                f"the working directory {command.directory} does not exist", code="no_directory"
            ) from None
        raise ProgramMissing(
            f"the program {_quote(command.argv[0])} is not installed: {error.strerror}"
        ) from None
    except OSError as error:
        code = "arguments_too_long" if error.errno == errno.E2BIG else "not_started"
        raise Failed(f"{_quote(command.argv[0])} could not be started: {error.strerror}", code=code) from None
    except ValueError as error:  # the character NUL, which no argument can hold
        raise Failed(f"{_quote(command.argv[0])} could not be started: {error}", code="not_started") from None
    finally:
        outputs.close_writing()
        if feed is not None:
            feed.hand_over()
        for descriptor in descriptors:
            os.close(descriptor)


def _watched(child: subprocess.Popen[bytes], manners: Manners) -> contextlib.AbstractContextManager[None]:
    if manners.outlives_us is None:
        return contextlib.nullcontext()
    return ended_after_us(child.pid, manners.outlives_us)


def _placed(argument: Argument, descriptors: list[int]) -> str | bytes:
    if isinstance(argument, Inside):
        descriptors.append(os.dup(argument.folder))
        return f"/proc/self/fd/{descriptors[-1]}".encode() + argument.path
    return _offer_in_memory(argument.content, descriptors) if isinstance(argument, Input) else argument


def _offer_in_memory(content: bytes, descriptors: list[int]) -> str:
    descriptor = os.memfd_create("highball-input", 0)
    descriptors.append(descriptor)
    with open(descriptor, "wb", closefd=False) as opened:
        opened.write(content)
    return f"/dev/fd/{descriptor}"


def _offer_by_pipe(content: bytes) -> int:
    # A pipe and not a memory file: once read it is empty, so that ssh or rclone, which inherit the
    # descriptor from restic, find nothing in it.
    reading, writing = os.pipe()
    try:
        if len(content) > _PIPE_BYTES:
            fcntl.fcntl(writing, _SET_PIPE_SIZE, len(content))
        os.set_blocking(writing, False)  # nobody reads yet: what does not fit would block for ever
        if os.write(writing, content) < len(content):
            raise OSError(errno.EMSGSIZE, "a secret is larger than a pipe can hold")
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return reading


def _revealed(value: str | SecretValue) -> bytes:
    return value.reveal() if isinstance(value, SecretValue) else os.fsencode(value)


def _die_with(parent: int) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None

    def in_child() -> None:
        _libc().prctl(1, signal.SIGINT)  # PR_SET_PDEATHSIG
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell lets its background commands ignore it
        if os.getppid() != parent:  # the parent died before the line above
            os._exit(130)

    _libc()  # loaded here: a child between fork and exec must not import
    return in_child


_loaded_libc: ctypes.CDLL | None = None


def _libc() -> ctypes.CDLL:
    global _loaded_libc  # noqa: PLW0603
    if _loaded_libc is None:
        _loaded_libc = ctypes.CDLL(None, use_errno=True)
    return _loaded_libc


# --- watching ------------------------------------------------------------------------------------


class _Ending:
    """Decides at every tick whether the child is to be asked, or made, to end."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        manners: Manners,
        stop: Stop,
        deadline: float | None,
        signals: Signals | None,
    ) -> None:
        self._child = child
        self._signals = signals
        self._manners = manners
        self._stop = stop
        self._deadline = deadline
        self._kill_at: float | None = None
        self.stopped = False
        self.timed_out = False
        self.gave_up = False
        """The child itself became another user: it cannot be made to end."""
        self.left: tuple[int, ...] = ()

    @property
    def is_patient(self) -> bool:
        """Whether the child's output is waited for after its own end, as nobody has asked for that."""
        return self._manners.reads_to_end and not (self.stopped or self.timed_out)

    def tick(self) -> None:
        now = time.monotonic()
        if self._kill_at is not None:
            if now >= self._kill_at:
                self.kill()
                self._kill_at = now + 1
            return
        self.stopped = self._stop.requested
        self.timed_out = not self.stopped and self._deadline is not None and now >= self._deadline
        if self.stopped or self.timed_out:
            self._ask_politely()
            self._kill_at = now + self._manners.grace.total_seconds()

    def kill(self) -> None:
        """Make the whole group end, and note who in it cannot be made to."""
        if self._signals is not None:
            self._signals.send(self._child.pid, signal.SIGKILL, whole_group=True)
        _kill_group(self._child)
        self.left = _list_out_of_reach(self._child.pid)
        self.gave_up = self._child.returncode is None and not _may_signal(self._child.pid)

    def _ask_politely(self) -> None:
        polite, whole_group = self._manners.polite_signal, self._manners.whole_group
        if self._signals is not None:
            self._signals.send(self._child.pid, polite, whole_group=whole_group)
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if whole_group:
                os.killpg(self._child.pid, polite)
            else:
                self._child.send_signal(polite)


def _drain(
    child: subprocess.Popen[bytes],
    outputs: _Outputs,
    on_data: OnData,
    ending: _Ending,
    feed: Feeding | None,
) -> None:
    with selectors.DefaultSelector() as selector:
        for name, descriptor in outputs.reading.items():
            selector.register(descriptor, selectors.EVENT_READ, name)
        listen_until: float | None = None
        while selector.get_map():
            for key, _ in selector.select(TICK_SECONDS):
                data = os.read(key.fd, _READ_BYTES)
                if data:
                    on_data(key.data, data)
                else:
                    selector.unregister(key.fileobj)
            ending.tick()
            if feed is not None:
                feed.tick()
            if ending.gave_up:
                return
            is_awaited = ending.is_patient and outputs.reading["stdout"] in selector.get_map()
            if listen_until is None and child.poll() is not None and not is_awaited:
                listen_until = time.monotonic() + LINGER_SECONDS
            if listen_until is not None and time.monotonic() >= listen_until:
                return


def _reap(child: subprocess.Popen[bytes], ending: _Ending) -> int:
    while not ending.gave_up:
        try:
            status = child.wait(TICK_SECONDS)
        except subprocess.TimeoutExpired:
            ending.tick()
            continue
        if ending.stopped or ending.timed_out:
            ending.kill()  # whatever of its group outlived the polite request
        return status
    return LIVES_ON


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    if child.returncode is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(1)


# --- looking -------------------------------------------------------------------------------------


def _list_pids() -> Iterator[int]:
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir("/proc"):
            if name.isdigit():
                yield int(name)


def _read_proc(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _is_zombie(pid: int) -> bool:
    return _read_proc(pid, "stat").rpartition(b")")[2].split()[:1] in ([b"Z"], [])


def _list_out_of_reach(group: int) -> tuple[int, ...]:
    """The living processes of a group that we may not signal; its own number where the machine hides them."""
    members = (pid for pid in _list_pids() if _group_of(pid) == group and not _is_zombie(pid))
    found = tuple(pid for pid in members if not _may_signal(pid))
    return found or (() if _may_signal(-group) else (group,))


def _group_of(pid: int) -> int | None:
    found = _read_proc(pid, "stat").rpartition(b")")[2].split()[2:3]
    return int(found[0]) if found else None


def _may_signal(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return False
    except ProcessLookupError:
        pass
    return True


def _signal_all(pids: Sequence[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _quote(argument: Argument) -> str:
    import shlex  # noqa: PLC0415 - only where somebody looks

    if isinstance(argument, Input):
        return "<(list)"
    text = os.fsdecode(argument.shown + argument.path if isinstance(argument, Inside) else argument)
    return shlex.quote(
        "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)
    )
