"""How a child is asked, and made, to end; and that nothing of it outlives us."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from highball.place.priority import Priority, prioritised
from highball.process import child as process
from highball.process.child import (
    HOOK_MANNERS,
    MARKER,
    Manners,
    Stop,
    end_marked,
    find_marked,
    is_alive,
    run,
)
from process.children import PYTHON, environment, is_gone, outcome_of, python, seconds, wait_until

COUNT_INTERRUPTS = """
import os, signal, sys, time
signal.signal(signal.SIGINT, lambda *_: (print('interrupted', flush=True), sys.exit(130)))
open(sys.argv[1], 'x').close()
while True: time.sleep(0.05)
"""

IGNORE_INTERRUPTS = """
import os, signal, sys, time
for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)
open(sys.argv[1], 'x').close()
while True: time.sleep(0.05)
"""

WITH_GRANDCHILD = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
pid = os.fork()
if pid: open(sys.argv[1] + '~', 'w').write(str(pid)); os.rename(sys.argv[1] + '~', sys.argv[1])
while True: time.sleep(0.05)
"""


def test_a_stop_is_asked_for_by_sigint(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ended, heard = outcome_of(python(COUNT_INTERRUPTS, str(ready)), stop=Stop(ready.exists))
    assert (ended.exit_status, ended.stopped, ended.timed_out) == (130, True, False)
    assert heard.out == b"interrupted\n"


def test_a_stop_requested_before_the_start_still_ends_it() -> None:
    stop = Stop()
    stop.request()
    ended, _ = outcome_of(python("import time; time.sleep(60)"), stop=stop)
    assert ended.stopped
    assert ended.seconds < 20


def test_a_stop_stays_requested() -> None:
    answers = iter([False, True, False])
    stop = Stop(lambda: next(answers))
    assert [stop.requested for _ in range(4)] == [False, True, True, True]


def test_a_child_that_ignores_sigint_is_killed_after_the_grace(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ended, _ = outcome_of(
        python(IGNORE_INTERRUPTS, str(ready)), stop=Stop(ready.exists), manners=Manners(grace=seconds(0.4))
    )
    assert (ended.exit_status, ended.stopped) == (137, True)
    assert ended.seconds >= 0.4


def test_a_child_that_prints_for_ever_is_stopped_all_the_same(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = "import sys\nopen(sys.argv[1], 'x').close()\nwhile True: print('x' * 10000)"
    ended, _ = outcome_of(
        python(code, str(ready)), stop=Stop(ready.exists), manners=Manners(grace=seconds(5))
    )
    assert ended.stopped
    assert ended.seconds < 20


def test_a_timeout_kills_the_whole_group(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ended, _ = outcome_of(
        python(WITH_GRANDCHILD, str(ready)), timeout=seconds(0.7), manners=Manners(grace=seconds(0.2))
    )
    assert (ended.stopped, ended.timed_out) == (False, True)
    grandchild = int(ready.read_text())
    wait_until(lambda: is_gone(grandchild), "the grandchild is gone")


def test_a_timeout_ends_also_what_outlives_a_polite_child(tmp_path: Path) -> None:
    # the child obeys at once; what it started does not, and would hold our pipe and its files
    code = WITH_GRANDCHILD.replace("if pid:", "if pid: signal.signal(signal.SIGINT, signal.SIG_DFL)\nif pid:")
    ready = tmp_path / "ready"
    ended, _ = outcome_of(python(code, str(ready)), timeout=seconds(0.7))
    assert ended.timed_out
    grandchild = int(ready.read_text())
    wait_until(lambda: is_gone(grandchild), "the grandchild is gone")


def test_the_politeness_towards_hooks_reaches_the_group(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = WITH_GRANDCHILD.replace("signal.SIGINT, signal.SIG_IGN", "signal.SIGINT, signal.SIG_DFL")
    ended, _ = outcome_of(python(code, str(ready)), stop=Stop(ready.exists), manners=HOOK_MANNERS)
    assert ended.exit_status == 128 + signal.SIGTERM
    assert ended.seconds < 4
    grandchild = int(ready.read_text())
    wait_until(lambda: is_gone(grandchild), "the grandchild is gone")


@pytest.mark.parametrize("doing", ["time.sleep(0.05)", "os.write(1, b'x' * 1000)"])
def test_a_grandchild_that_holds_the_outputs_cannot_hang_the_run(tmp_path: Path, doing: str) -> None:
    code = f"""
import os, signal, sys, time
pid = os.fork()
if pid:
    open(sys.argv[1], 'w').write(str(pid))
    os._exit(3)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
until = time.monotonic() + 60
while time.monotonic() < until: {doing}
"""
    left = tmp_path / "pid"
    ended, _ = outcome_of(python(code, str(left)))
    try:
        assert ended.exit_status == 3
        assert process.LINGER_SECONDS <= ended.seconds < 15
    finally:
        os.kill(int(left.read_text()), signal.SIGKILL)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_in_on_data_kills_the_group_and_goes_on(tmp_path: Path, error: type[BaseException]) -> None:
    ready = tmp_path / "ready"
    code = "import sys\nprint('x', flush=True)\n" + WITH_GRANDCHILD
    pids: list[int] = []

    def refuse(stream: str, data: bytes) -> None:
        wait_until(ready.exists, "the grandchild lives")
        raise error("enough")

    with pytest.raises(error, match="enough"):
        run(python(code, str(ready)), refuse, on_start=pids.append)
    wait_until(lambda: is_gone(int(ready.read_text())), "the grandchild is gone")
    wait_until(lambda: is_gone(pids[0]), "the child is gone")


def test_an_error_in_on_start_kills_the_child() -> None:
    pids: list[int] = []

    def refuse(pid: int) -> None:
        pids.append(pid)
        raise ValueError("not now")

    with pytest.raises(ValueError, match="not now"):
        outcome_of(python("import time; time.sleep(60)"), on_start=refuse)
    assert is_gone(pids[0])


def test_a_callback_may_itself_run_a_child() -> None:
    inner: list[bytes] = []

    def ask(stream: str, data: bytes) -> None:
        inner.append(bytes(outcome_of(python("print('inner')"))[1].out))

    run(python("print('outer')"), ask)
    assert inner == [b"inner\n"]


# --- our own death ---------------------------------------------------------------------------------

PARENT = """
import sys
from datetime import timedelta
from highball.process.child import Command, Manners, run
manners = Manners(outlives_us=timedelta(seconds=float(sys.argv[1])))
run(Command(argv=sys.argv[2:]), lambda stream, data: print(data.decode(), flush=True), manners=manners)
"""

CHILD_OF_ONE_THAT_DIES = """
import os, signal, sys, time
def interrupted(*_):
    open(sys.argv[1] + '.interrupted', 'x').close()
    os._exit(130)
signal.signal(signal.SIGINT, interrupted)
open(sys.argv[1] + '~', 'w').write(str(os.getpid())); os.rename(sys.argv[1] + '~', sys.argv[1])
while True: time.sleep(0.05)
"""


def start_parent(ready: Path, code: str, *, outlives_us: float, **how: Any) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", PARENT, str(outlives_us), *PYTHON, code, str(ready)]
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **how)


def test_when_we_are_killed_the_child_gets_sigint(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    parent = start_parent(ready, CHILD_OF_ONE_THAT_DIES, outlives_us=60)
    wait_until(ready.exists, "the child runs")
    parent.kill()
    parent.wait()
    wait_until((tmp_path / "ready.interrupted").exists, "the child was interrupted")
    wait_until(lambda: is_gone(int(ready.read_text())), "the child is gone")


def test_when_we_are_killed_a_child_that_does_not_heed_it_is_killed_with_its_group(tmp_path: Path) -> None:
    ready, lock = tmp_path / "ready", tmp_path / "lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        parent = start_parent(ready, WITH_GRANDCHILD, outlives_us=1, pass_fds=[held.fileno()])
    wait_until(ready.exists, "the child runs")
    grandchild = int(ready.read_text())
    parent.kill()
    parent.wait()
    with lock.open() as held:  # whoever watches over the child holds nothing of ours
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not is_gone(grandchild), "it may tidy up"
    wait_until(lambda: is_gone(grandchild), "the whole group is gone")


def test_a_child_heeds_sigint_although_we_were_started_ignoring_it(tmp_path: Path) -> None:
    # `highball backup &` in a script: the shell lets background commands ignore SIGINT, and children inherit it
    code = "import os, sys, time\nopen(sys.argv[1], 'x').close()\nwhile True: time.sleep(0.05)"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        ready = tmp_path / "ready"
        shell = python(code, str(ready))
        ended, _ = outcome_of(shell, stop=Stop(ready.exists), manners=Manners(grace=seconds(8)))
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.exit_status in (1, 130), ended  # not 137
    assert ended.seconds < 8


# --- processes of a run -----------------------------------------------------------------------------


def start_marked(marker: str, code: str, ready: Path) -> subprocess.Popen[bytes]:
    child = subprocess.Popen([*PYTHON, code, str(ready)], env={MARKER: marker, "OTHER": "x"})
    wait_until(ready.exists, "the marked child runs")
    return child


def test_the_processes_of_a_run_are_found_by_their_marker_and_ended(tmp_path: Path) -> None:
    marker = f"job_{tmp_path.name}"
    polite = start_marked(marker, COUNT_INTERRUPTS, tmp_path / "polite")
    stubborn = start_marked(marker, IGNORE_INTERRUPTS, tmp_path / "stubborn")
    other = start_marked(f"{marker}-other", COUNT_INTERRUPTS, tmp_path / "other")
    try:
        assert sorted(find_marked(marker)) == sorted([polite.pid, stubborn.pid])
        assert sorted(end_marked(marker, within=seconds(0.5))) == sorted([polite.pid, stubborn.pid])
        assert polite.wait(120) == 130
        assert stubborn.wait(120) == -signal.SIGKILL
        assert find_marked(marker) == []
        assert end_marked(marker) == []
        assert find_marked(f"{marker}-other") == [other.pid]
    finally:
        for child in (polite, stubborn, other):
            child.kill()
            child.wait()


def test_a_process_that_has_ended_is_not_found(tmp_path: Path) -> None:
    marker = f"zombie_{tmp_path.name}"
    child = start_marked(marker, COUNT_INTERRUPTS, tmp_path / "ready")
    child.kill()
    wait_until(lambda: is_gone(child.pid), "it has ended")
    assert find_marked(marker) == []
    assert is_alive(child.pid)  # its status is still to be read
    child.wait()
    assert not is_alive(child.pid)


def test_whether_a_process_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_alive(os.getpid())

    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert is_alive(1)


def test_a_machine_without_proc_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: object) -> list[str]:
        raise FileNotFoundError

    monkeypatch.setattr(os, "listdir", missing)
    assert find_marked("anything") == []


def test_other_systems_have_no_signal_at_a_parents_death(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert outcome_of(python("print(1)"))[1].out == b"1\n"


# --- priority ---------------------------------------------------------------------------------------


@pytest.mark.needs("ionice")
@pytest.mark.parametrize(
    ("priority", "nice", "ionice"),
    [
        (Priority.BACKUP, 5, "best-effort: prio 4"),
        (Priority.MAINTENANCE, 10, "idle"),
        (Priority.NORMAL, 0, None),
    ],
)
def test_priorities_are_seen_by_the_kernel(priority: Priority, nice: int, ionice: str | None) -> None:
    code = """
import os, subprocess
print(int(open('/proc/self/stat').read().rpartition(')')[2].split()[16]))
print(subprocess.run(['ionice', '-p', str(os.getpid())], capture_output=True, text=True).stdout, end='')
"""
    command = prioritised(python(code, environment=environment()), priority, lambda program: True)
    _, heard = outcome_of(command)
    seen, shown = heard.out.decode().splitlines()
    assert int(seen) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + nice)
    assert ionice is None or shown == ionice


def test_a_machine_without_nice_and_ionice_runs_it_all_the_same() -> None:
    command = python("print(1)")
    assert prioritised(command, Priority.BACKUP, lambda program: False) == command


def test_time_does_not_pass_unseen() -> None:
    started = time.monotonic()
    ended, _ = outcome_of(python("import time; time.sleep(0.2)"))
    assert 0.2 <= ended.seconds <= time.monotonic() - started
