"""A child that became another user, whom we may not signal: it is given up after its time, and said so.

Root may signal everybody, so the one who runs it is a fork of this process that became nobody; the door through
which the child becomes root is a set-uid copy of setpriv, as sudo is one.
"""

import contextlib
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from highball.agent.run.hooks import run_hook
from highball.config.job import Hook
from highball.errors import Cancelled
from highball.place.local import LOCAL
from highball.process.child import (
    HOOK_MANNERS,
    LIVES_ON,
    Command,
    Ended,
    Stop,
)
from process.children import is_gone, outcome_of, seconds
from testbed.parts import get_program
from testbed.unprivileged import Unprivileged

T = TypeVar("T")

PATIENT = replace(HOOK_MANNERS, grace=seconds(0.3))


@pytest.fixture
def door(unprivileged: Unprivileged) -> Path:
    """A program by which nobody becomes root: `door PROGRAM …`."""
    setpriv = unprivileged.install(get_program("setpriv"))
    os.chown(setpriv, 0, 0)
    setpriv.chmod(0o4755)
    if unprivileged.run([setpriv, *AS_ROOT, "id", "-ru"]).stdout != b"0\n":
        pytest.skip("no set-uid programs here")
    return setpriv


AS_ROOT = ("--reuid", "0", "--clear-groups", "--")


@pytest.fixture
def ends(unprivileged: Unprivileged) -> Iterator[list[int]]:
    """Processes that only root can end, and is to."""
    found: list[int] = []
    yield found
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def as_nobody(user: Unprivileged, call: Callable[[], T]) -> T:
    """What a call returns in a fork of this process that became nobody."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
            os.write(writing, pickle.dumps(call()))
        except BaseException:  # whatever it is, this process ends here
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        told = answer.read()
    os.waitpid(child, 0)
    assert told, "the call failed, see above"
    result: T = pickle.loads(told)
    return result


def ended_as_nobody(user: Unprivileged, *argv: str | Path, stop: Stop | None = None) -> Ended:
    command = Command(argv=tuple(map(str, argv)), environment={"PATH": os.defpath})
    timeout = None if stop else seconds(0.3)
    return as_nobody(user, lambda: outcome_of(command, timeout=timeout, stop=stop, manners=PATIENT)[0])


def test_a_child_that_became_root_is_given_up(
    unprivileged: Unprivileged, door: Path, ends: list[int]
) -> None:
    ended = ended_as_nobody(unprivileged, door, *AS_ROOT, "sleep", "60")
    ends += ended.left
    [pid] = ended.left
    assert (ended.exit_status, ended.timed_out, ended.stopped) == (LIVES_ON, True, False)
    assert ended.seconds < 20
    assert not is_gone(pid)


def test_a_stop_does_not_wait_for_it_either(
    unprivileged: Unprivileged, door: Path, ends: list[int], tmp_path: Path
) -> None:
    ended = ended_as_nobody(unprivileged, door, *AS_ROOT, "sleep", "60", stop=Stop(lambda: True))
    ends += ended.left
    assert ended.stopped
    assert len(ended.left) == 1


def test_what_a_child_started_as_root_is_named_when_it_lives_on(
    unprivileged: Unprivileged, door: Path, ends: list[int]
) -> None:
    script = f"{door} {' '.join(AS_ROOT)} sleep 60 & sleep 61 & wait"
    ended = ended_as_nobody(unprivileged, "/bin/sh", "-c", script)
    ends += ended.left
    [pid] = ended.left
    assert ended.exit_status == 128 + signal.SIGTERM
    assert b"sleep\x0060\0" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_nobody_is_left_where_all_could_be_ended(unprivileged: Unprivileged) -> None:
    ended = ended_as_nobody(unprivileged, "/bin/sh", "-c", "trap '' TERM; sleep 60 & wait; wait")
    assert (ended.timed_out, ended.left) == (True, ())


@pytest.mark.parametrize(("on_error", "outcome"), [("fail", "failure"), ("warn", "warning")])
def test_a_hook_that_lives_on_is_a_failure_that_names_it(
    unprivileged: Unprivileged,
    door: Path,
    ends: list[int],
    monkeypatch: pytest.MonkeyPatch,
    on_error: str,
    outcome: str,
) -> None:
    monkeypatch.setattr("highball.agent.run.hooks.HOOK_MANNERS", PATIENT)
    run = f"{door} {' '.join(AS_ROOT)} sh -c 'echo $$; exec sleep 60'"
    hook = Hook(run=run, timeout=seconds(0.5), on_error=on_error)

    def call() -> tuple[str, str, list[str]]:
        said: list[str] = []
        done = run_hook(hook, {}, "marker", Stop(), lambda stream, text: said.append(text), LOCAL)
        return done.outcome.value, done.reason.message if done.reason else "", said

    ended, message, [pid] = as_nobody(unprivileged, call)
    ends.append(int(pid))
    assert ended == outcome
    assert message == (
        f"did not end within 0.5s, but process {pid} lives on: "
        "it became another user, whose processes Highball may not end"
    )


def test_a_cancelled_hook_that_lives_on_is_named_too(
    unprivileged: Unprivileged, door: Path, ends: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("highball.agent.run.hooks.HOOK_MANNERS", PATIENT)
    hook = Hook(run=(str(door), *AS_ROOT, "sh", "-c", "echo $$; exec sleep 60"))

    def call() -> tuple[str, list[str]]:
        said: list[str] = []
        stop = Stop(lambda: bool(said))
        try:
            run_hook(hook, {}, "marker", stop, lambda stream, text: said.append(text), LOCAL)
        except Cancelled as error:
            return error.message, said
        return "", said

    message, [pid] = as_nobody(unprivileged, call)
    ends.append(int(pid))
    assert message.startswith(f"cancelled, but process {pid} lives on: ")
