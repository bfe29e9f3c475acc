"""What a child is given, and that everything it prints arrives, however much and however it is cut."""

import itertools
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from highball.errors import Failed, ProgramMissing
from highball.process.child import (
    Command,
    Input,
    Lines,
    by_lines,
    run,
)
from highball.secret import SecretValue
from process.children import PYTHON, environment, outcome_of, python, wait_until

SHOW_ENVIRONMENT = "import os, sys; sys.stdout.buffer.write(open('/proc/self/environ', 'rb').read())"


def test_a_child_gets_exactly_the_environment_of_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIGHBALL_TEST_LEAK", "must not arrive")
    _, heard = outcome_of(
        python(SHOW_ENVIRONMENT, environment={"ONE": "1", "ODD": "a=b\nc\udcff", "S": SecretValue(b"\xfe!")})
    )
    assert sorted(bytes(heard.out).split(b"\0")[:-1]) == [b"ODD=a=b\nc\xff", b"ONE=1", b"S=\xfe!"]


def test_a_child_without_environment_has_none() -> None:
    _, heard = outcome_of(python(SHOW_ENVIRONMENT))
    assert heard.out == b""


def test_standard_input_is_empty_and_nothing_else_is_open() -> None:
    code = """
import os, sys
print(repr(sys.stdin.read()), os.readlink('/proc/self/fd/0'), sorted(os.listdir('/proc/self/fd'), key=int)[:4])
"""
    with open(os.devnull) as open_here:
        os.set_inheritable(open_here.fileno(), True)
        _, heard = outcome_of(python(code))
    assert heard.out.decode().startswith("'' /dev/null ['0', '1', '2', '3']")  # 3 is the listing's own
    code = "import os; print(len(os.listdir('/proc/self/fd')))"
    with open(os.devnull) as open_here:
        os.set_inheritable(open_here.fileno(), True)
        _, heard = outcome_of(python(code))
    assert heard.out == b"4\n"


def test_a_child_has_a_process_group_of_its_own() -> None:
    _, heard = outcome_of(python("import os; print(os.getpid() == os.getpgrp())"))
    assert heard.out == b"True\n"


def test_exit_statuses_are_counted_as_a_shell_does() -> None:
    assert outcome_of(python("raise SystemExit(7)"))[0].exit_status == 7
    assert outcome_of(python("import os; os.kill(os.getpid(), 9)"))[0].exit_status == 137
    ended, _ = outcome_of(python(""))
    assert (ended.exit_status, ended.stopped, ended.timed_out) == (0, False, False)
    assert ended.seconds > 0


def test_100_megabytes_on_both_outputs_arrive_without_deadlock() -> None:
    # each pipe is filled while the other one waits, which would block a reader that takes them in turn
    code = """
import os, threading
def fill(fd):
    left = memoryview(bytes(100 * 1000 * 1000))
    while left:
        left = left[os.write(fd, left[:1 << 20]):]
other = threading.Thread(target=fill, args=(2,))
other.start(); fill(1); other.join()
"""
    counted = {"stdout": 0, "stderr": 0}

    def count(stream: str, data: bytes) -> None:
        counted[stream] += len(data)

    assert run(python(code), count).exit_status == 0
    assert counted == {"stdout": 100_000_000, "stderr": 100_000_000}


def test_the_whole_of_one_output_before_the_other() -> None:
    code = "import os; os.write(2, b'e' * 60000); os.close(2); [os.write(1, b'o' * 65536) for _ in range(40)]"
    _, heard = outcome_of(python(code))
    assert (len(heard.out), len(heard.err)) == (40 * 65536, 60000)


def test_a_child_that_closes_its_outputs_is_waited_for() -> None:
    ended, heard = outcome_of(
        python("import os, time; os.close(1); os.close(2); time.sleep(0.3); os._exit(5)")
    )
    assert ended.exit_status == 5
    assert ended.seconds >= 0.3
    assert heard.out + heard.err == b""


def test_a_line_of_50_megabytes_arrives_whole_in_linear_time() -> None:
    lines: list[bytes] = []
    splitter = Lines(lines.append, 64 * 1024 * 1024)
    piece = b"x" * 16384  # restic writes into pipes that hold 64 KiB at most
    started = time.process_time()
    for _ in range(50_000_000 // 16384 + 1):
        splitter.feed(piece)
    splitter.feed(b"\r\nnext")
    splitter.finish()
    assert time.process_time() - started < 2
    assert [len(line) for line in lines] == [(50_000_000 // 16384 + 1) * 16384, 4]


def test_lines_of_a_real_child_whatever_their_ends() -> None:
    told: list[tuple[str, bytes]] = []
    on_data, finish = by_lines(lambda stream, line: told.append((stream, line)), longest=10)
    code = r"""
import os
os.write(1, b"one\r\ntwo\n\n\nthree is far too long\nfour\xff\n")
os.write(2, b"without an end")
"""
    run(python(code), on_data)
    finish()
    assert [line for stream, line in told if stream == "stdout"] == [
        b"one",
        b"two",
        b"three is f",
        b"four\xff",
    ]
    assert [line for stream, line in told if stream == "stderr"] == [b"without an"]


@given(
    lines=st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b""))),
    ends=st.sampled_from([b"\n", b"\r\n"]),
    cuts=st.lists(st.integers(0, 400)),
    longest=st.integers(1, 30),
)
def test_lines_do_not_depend_on_how_they_are_cut(
    lines: list[bytes], ends: bytes, cuts: list[int], longest: int
) -> None:
    text = ends.join(lines)
    found: list[bytes] = []
    splitter = Lines(found.append, longest)
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    for start, end in itertools.pairwise(edges):
        splitter.feed(text[start:end])
    splitter.finish()
    shown = [line.removesuffix(b"\r") for line in found]
    assert [line for line in shown if line] == [line[:longest] for line in lines if line]


# --- what it is started with -----------------------------------------------------------------------


def test_an_input_of_several_megabytes_is_read_from_a_file_named_in_the_arguments() -> None:
    content = os.urandom(1 << 20) * 5
    code = """
import hashlib, sys
print(*(hashlib.sha256(open(name, 'rb').read()).hexdigest() for name in sys.argv[1:]))
"""
    command = Command(argv=(*PYTHON, code, Input(content), Input(b"")))
    _, heard = outcome_of(command)
    import hashlib

    assert heard.out.decode().split() == [hashlib.sha256(part).hexdigest() for part in (content, b"")]
    assert command.shown().endswith("'<(list)' '<(list)'") or command.shown().endswith("<(list) <(list)")


def test_no_descriptor_stays_open_here(tmp_path: Path) -> None:
    def opened() -> set[str]:
        return set(os.listdir("/proc/self/fd"))

    before = opened()
    outcome_of(python("", files={"A": SecretValue(b"a"), "B": SecretValue(b"b")}))
    outcome_of(Command(argv=(*PYTHON, "", Input(b"x"))))
    with pytest.raises(ProgramMissing):
        outcome_of(Command(argv=(str(tmp_path / "nothing"), Input(b"x")), files={"A": SecretValue(b"a")}))
    assert opened() == before


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ProgramMissing, match="no-such-program is not installed") as raised:
        outcome_of(Command(argv=("no-such-program",), environment=environment()))
    assert raised.value.exit_code == 2


def test_a_program_that_is_not_executable_is_a_failure(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    with pytest.raises(Failed, match="could not be started: Permission denied") as raised:
        outcome_of(Command(argv=(str(program),)))
    assert raised.value.code == "not_started"


def test_a_program_of_no_known_format_is_a_failure(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x00\x01")
    program.chmod(0o755)
    with pytest.raises(Failed, match="could not be started: Exec format error"):
        outcome_of(Command(argv=(str(program),)))


def test_a_missing_working_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="gone does not exist") as raised:
        outcome_of(python("", directory=tmp_path / "gone"))
    assert raised.value.code == "no_directory"
    (tmp_path / "file").touch()
    with pytest.raises(Failed, match="file does not exist"):
        outcome_of(python("", directory=tmp_path / "file"))
    _, heard = outcome_of(python("import os; print(os.getcwd())", directory=tmp_path))
    assert heard.out.decode().strip() == str(tmp_path)


def test_an_argument_that_is_too_long_is_a_failure_with_its_reason() -> None:
    with pytest.raises(Failed, match="could not be started: Argument list too long"):
        outcome_of(Command(argv=("/bin/true", "x" * (256 * 1024))))


def test_an_argument_that_no_program_can_be_given_is_a_failure() -> None:
    with pytest.raises(Failed, match="could not be started"):
        outcome_of(Command(argv=("/bin/true", b"a\0b")))


def test_the_command_line_for_people_is_one_printable_line() -> None:
    shown = Command(argv=("a b", b"\xff\n\x1b[31m", "it's", "plain")).shown()
    assert shown.isprintable()
    assert shown.startswith("'a b' ")
    assert shown.endswith(" plain")
    assert Command(argv=("restic", "backup")).prefixed("nice", "-n", "5").shown() == "nice -n 5 restic backup"


# --- secrets -----------------------------------------------------------------------------------------

READ_SECRET = """
import os, sys
path = os.environ['THE_FILE']
first = open(path, 'rb').read()
again = open(path, 'rb').read()
print(path.startswith('/dev/fd/'), first, again)
mine = b''.join(open(f'/proc/self/{name}', 'rb').read() for name in ('cmdline', 'environ'))
print(b'hid' + b'den' in mine)
"""


def test_a_secret_is_read_once_through_a_pipe_and_stands_nowhere_else() -> None:
    _, heard = outcome_of(python(READ_SECRET, files={"THE_FILE": SecretValue(b"hid" + b"den\xff")}))
    first, second = heard.out.decode().splitlines()
    assert first == r"True b'hidden\xff' b''"
    assert second == "False"


def test_a_secret_that_was_read_cannot_be_read_by_grandchildren() -> None:
    code = """
import os, subprocess, sys
print(open(os.environ['THE_FILE'], 'rb').read())
look = '''
import os
for name in os.listdir('/proc/self/fd'):
    path = '/proc/self/fd/' + name
    if os.path.exists(path) and 'pipe' in os.readlink(path) and int(name) > 2:
        print(open(path, 'rb').read())
'''
fd = int(os.environ['THE_FILE'].rpartition('/')[2])
print(subprocess.run([sys.executable, '-SIc', look], pass_fds=[fd], capture_output=True).stdout)
"""
    _, heard = outcome_of(python(code, files={"THE_FILE": SecretValue(b"hidden")}))
    assert heard.out.decode().splitlines()[0] == "b'hidden'"
    assert "hidden" not in heard.out.decode().splitlines()[1]


def test_a_secret_is_never_in_the_files_of_its_reader(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = """
import os, sys, time
assert open(os.environ['THE_FILE'], 'rb').read() == b'hidden'
open(sys.argv[1], 'x').close()
while not os.path.exists(sys.argv[1] + '2'): time.sleep(0.01)
"""
    looked: list[bytes] = []

    def look(pid: int) -> None:
        wait_until(ready.exists, "the child read its secret")
        for name in os.listdir(f"/proc/{pid}/fd"):
            target = os.readlink(f"/proc/{pid}/fd/{name}")
            if target.startswith("pipe:") and int(name) > 2:
                with open(os.open(f"/proc/{pid}/fd/{name}", os.O_RDONLY | os.O_NONBLOCK), "rb") as opened:
                    looked.append(opened.read() or b"")
        (tmp_path / "ready2").touch()

    ended, _ = outcome_of(python(code, str(ready), files={"THE_FILE": SecretValue(b"hidden")}), on_start=look)
    assert ended.exit_status == 0
    assert looked == [b""]


@pytest.mark.parametrize("size", [65536, 60 * 1024 * 3])
def test_a_secret_larger_than_a_pipe_never_hangs_the_start(size: int) -> None:
    # a password for REST may triple its length when it is quoted in the address
    code = "import os; print(len(open(os.environ['THE_FILE'], 'rb').read()))"
    _, heard = outcome_of(python(code, files={"THE_FILE": SecretValue(b"s" * size)}))
    assert heard.out.decode() == f"{size}\n"


def test_a_secret_that_fits_no_pipe_is_refused() -> None:
    with pytest.raises(Failed, match="could not be started"):
        outcome_of(python("", files={"THE_FILE": SecretValue(b"s" * (32 << 20))}))
