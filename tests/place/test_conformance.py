"""What holds for every kind of place; a new kind is one more bench in conftest."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from highball.agent.host_policy import Policy
from highball.agent.state_dir import Workplace
from highball.errors import Failed, ProgramMissing
from highball.place.base import DeclaredPlace, Files, Place, Traits, holds_something, identity_of, is_there
from highball.place.kinds import open_place
from highball.place.priority import Priority
from highball.process.child import (
    HOOK_MANNERS,
    MARKER,
    Argument,
    Command,
    Ended,
    Input,
    Manners,
    Stop,
)
from highball.process.feed import Feed
from highball.secret import SecretValue
from testbed.serving import wait_until

CANARY = b"canary-of-a-place"
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def place(declared: DeclaredPlace) -> Place:
    """The place, as a run opens it."""
    return open_place(declared)


@pytest.fixture
def folder(place: Place, root: Path) -> Iterator[bytes]:
    """A new folder in it, by the path that it has there."""
    path = b"/var/tmp/place-" + uuid.uuid4().hex.encode()
    with place.files() as files:
        files.make_folder(path, 0o755).__exit__()
        yield path
        assert files.remove_tree(path) is None


@pytest.fixture
def files(place: Place) -> Iterator[Files]:
    with place.files() as files:
        yield files


@pytest.fixture
def seen(root: Path, folder: bytes) -> Path:
    """The same folder, as this machine sees it."""
    return root / os.fsdecode(folder).lstrip("/")


def said_by(place: Place, *argv: Argument, **how: object) -> tuple[Ended, bytes, bytes]:
    """How a command ended there, and what it said on both outputs."""
    heard: dict[str, bytes] = {"stdout": b"", "stderr": b""}

    def on_data(stream: str, data: bytes) -> None:
        heard[stream] += data

    told = {
        name: how.pop(name) for name in ("environment", "files", "lasting_files", "directory") if name in how
    }
    command = Command(argv, **{"environment": ENVIRONMENT, **told})  # type: ignore[arg-type]
    ended = place.run(command, on_data, **how)  # type: ignore[arg-type]
    return ended, heard["stdout"], heard["stderr"]


# --- children ------------------------------------------------------------------------------------


def test_a_command_gets_its_environment_and_no_other(place: Place) -> None:
    told = {**ENVIRONMENT, "GREETING": "grüß dich", MARKER: "docs_1"}
    ended, out, _ = said_by(place, "env", environment=told)
    assert ended.exit_status == 0
    given = dict(line.split("=", 1) for line in out.decode().splitlines())
    assert {name: given.get(name) for name in told} == told
    assert set(given) - set(told) <= {"PWD", "_", "SHLVL", "OLDPWD", "LC_CTYPE"}


def test_what_it_says_and_how_it_ends_is_told(place: Place) -> None:
    ended, out, err = said_by(place, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (ended.exit_status, out, err) == (7, b"out\n", b"err\n")
    assert not ended.stopped
    assert not ended.timed_out


def test_secrets_come_by_files_that_nobody_else_finds(place: Place) -> None:
    read = 'cat "$ONCE"; cat "$ONCE"; echo; cat "$LASTING"; cat "$LASTING"; echo; tr "\\0" " " < /proc/self/cmdline'
    ended, out, err = said_by(
        place,
        "sh",
        "-c",
        read,
        files={"ONCE": SecretValue(CANARY)},
        lasting_files={"LASTING": SecretValue(CANARY)},
    )
    assert ended.exit_status == 0, err
    once, lasting, arguments = out.split(b"\n")
    assert once == CANARY, "a pipe is empty once it was read"
    assert lasting == CANARY * 2
    assert CANARY not in arguments


def test_a_long_list_of_arguments_comes_as_a_file(place: Place) -> None:
    _, out, err = said_by(place, "cat", Input(b"one\0two\0"))
    assert out == b"one\0two\0", err


def test_standard_input_is_empty_or_what_it_is_fed(place: Place) -> None:
    _, out, _ = said_by(place, "cat")
    assert out == b""
    source = Command(("sh", "-c", "echo complaint >&2; seq 1 100000"), ENVIRONMENT)
    complaints: list[bytes] = []
    feed = Feed(place.run, source, complaints.append)
    feed.begin()
    ended, out, _ = said_by(place, "cat", feed=feed)
    assert ended.exit_status == 0
    assert out == b"".join(b"%d\n" % number for number in range(1, 100_001))
    assert (feed.is_whole, complaints) == (True, [b"complaint"])


def test_its_priority_is_the_kernels(place: Place) -> None:
    print_nice = "cut -d ' ' -f 19 /proc/self/stat"
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    for priority, more in ((Priority.NORMAL, 0), (Priority.BACKUP, 5), (Priority.MAINTENANCE, 10)):
        _, out, err = said_by(place, "sh", "-c", print_nice, priority=priority)
        assert int(out) == min(19, niceness + more), err


def test_it_works_in_its_directory(place: Place, folder: bytes) -> None:
    _, out, _ = said_by(place, "pwd", directory=Path(os.fsdecode(folder)))
    assert out.strip() == folder
    with pytest.raises(Failed) as caught:
        said_by(place, "pwd", directory=Path(os.fsdecode(folder + b"/none")))
    assert caught.value.code == "no_directory"


def test_a_program_that_is_not_there_is_said(place: Place) -> None:
    with pytest.raises(ProgramMissing):
        said_by(place, "/opt/no-such-program")
    assert place.find_program("no-such-program") is None
    assert place.find_program("sh") is not None
    assert place.find_program("/bin/sh") == "/bin/sh"


POLITE = "trap 'echo asked; exit 3' INT TERM; echo ready; while :; do sleep 0.05; done"


def stopped_once_ready(place: Place, script: str, manners: Manners) -> tuple[Ended, bytes]:
    """Stop a command when it says that it is ready."""
    heard = bytearray()
    ended = place.run(
        Command(("sh", "-c", script), ENVIRONMENT),
        lambda stream, data: heard.extend(data),
        stop=Stop(lambda: b"ready" in heard),
        manners=manners,
    )
    return ended, bytes(heard)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_asked_to_end_before_it_is_made_to(place: Place, number: signal.Signals) -> None:
    ended, heard = stopped_once_ready(place, POLITE, Manners(polite_signal=number))
    assert heard == b"ready\nasked\n"
    assert (ended.exit_status, ended.stopped) == (3, True)


def test_one_that_does_not_listen_is_made_to_end(place: Place) -> None:
    deaf = "trap '' INT TERM; echo ready; while :; do sleep 0.05; done"
    ended, _ = stopped_once_ready(place, deaf, Manners(grace=timedelta(seconds=0.3)))
    assert (ended.exit_status, ended.stopped, ended.left) == (128 + signal.SIGKILL, True, ())


def test_all_that_a_hook_started_ends_with_it(place: Place, folder: bytes, seen: Path) -> None:
    inner_one = f"echo $$ > {os.fsdecode(folder)}/inner; exec sleep 60"
    stopped_once_ready(place, f"sh -c '{inner_one}' & sleep 0.2; {POLITE}", HOOK_MANNERS)
    inner = int((seen / "inner").read_text())
    wait_until(lambda: not place.is_alive(inner))


def test_one_that_takes_too_long_is_ended(place: Place) -> None:
    ended, _, _ = said_by(place, "sleep", "60", timeout=timedelta(seconds=0.3))
    assert (ended.timed_out, ended.stopped) == (True, False)


def test_its_number_is_the_one_that_it_has_there(place: Place) -> None:
    started: list[int] = []
    _, out, _ = said_by(place, "sh", "-c", "echo $$; hostname", on_start=started.append)
    number, hostname = out.decode().split()
    assert started == [int(number)]
    assert hostname == place.hostname
    assert not place.is_alive(int(number))


ORPHAN = """
import os, sys
from highball.place.kinds import open_place
from highball.process.child import Command, MARKER
{preparation}
place = open_place({declared})
script = "trap 'exit 3' INT; echo $$; while :; do sleep 0.05; done"
def on_data(stream, data):
    os.write(1, data)
place.run(Command(("sh", "-c", script), {{"PATH": "/usr/bin:/bin", MARKER: "{marker}"}}), on_data)
"""


def begin_elsewhere(declared: DeclaredPlace, marker: str) -> tuple[subprocess.Popen[bytes], int]:
    """A process of ours that runs a command in the place, and the number that the command has there."""
    spelled = (
        f"DeclaredJail(keeper={getattr(declared, 'keeper', None)})" if declared.name == "jail" else "None"
    )
    preparation = "from testbed.jail import DeclaredJail" if declared.name == "jail" else ""
    code = ORPHAN.format(declared=spelled, preparation=preparation, marker=marker)
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    ours = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths}
    )
    assert ours.stdout is not None
    return ours, int(ours.stdout.readline())


def test_it_ends_with_us(declared: DeclaredPlace, place: Place) -> None:
    ours, number = begin_elsewhere(declared, f"docs_{uuid.uuid4().hex}")
    assert place.is_alive(number)
    ours.kill()
    ours.wait()
    wait_until(lambda: not place.is_alive(number))


def test_what_a_vanished_run_left_is_found_by_its_marker(declared: DeclaredPlace, place: Place) -> None:
    marker = f"docs_{uuid.uuid4().hex}"
    ours, number = begin_elsewhere(declared, marker)
    try:
        assert place.end_marked(f"{marker}x") == []
        assert number in place.end_marked(marker)
        wait_until(lambda: not place.is_alive(number))
    finally:
        ours.kill()
        ours.wait()


# --- looking at files ----------------------------------------------------------------------------


@pytest.fixture
def tree(seen: Path) -> Path:
    """A folder with a bit of everything in it."""
    (seen / "inner").mkdir()
    (seen / "inner" / "file").write_text("content")
    (seen / "file").write_bytes(b"x" * 5)
    os.utime(seen / "file", ns=(1, 1_600_000_000_123_456_789))
    (seen / "link").symlink_to("inner")
    (seen / "nowhere").symlink_to("none")
    os.mkfifo(seen / "pipe")
    return seen


def test_everything_there_is_seen_as_it_is(files: Files, folder: bytes, tree: Path) -> None:
    listed = {one.name: one.status for one in files.list_folder(folder)}
    assert set(listed) == {b"inner", b"file", b"link", b"nowhere", b"pipe"}
    for name, status in listed.items():
        there = os.lstat(tree / os.fsdecode(name))
        assert status is not None
        assert identity_of(status) == (there.st_dev, there.st_ino)
        again = files.status(folder + b"/" + name)
        assert again is not None
        assert (again.st_mode, again.st_size, again.st_mtime_ns) == (
            there.st_mode,
            there.st_size,
            there.st_mtime_ns,
        )
    assert files.read_link(folder + b"/link") == b"inner"
    assert files.open(folder + b"/inner/file").read() == b"content"
    assert files.free_bytes(folder) > 0
    assert holds_something(files, folder)


def test_what_is_not_there_is_none_or_an_error(files: Files, folder: bytes, tree: Path) -> None:
    for path in (b"/none", b"/none/below", b"/file/below"):
        assert files.status(folder + path) is None
        assert files.look(folder + path) is None
    for refused in (files.list_folder, files.open, files.read_link, files.free_bytes):
        with pytest.raises(OSError):
            _use(refused(folder + b"/none"))
    assert not holds_something(files, folder + b"/none")
    with pytest.raises(Failed):
        holds_something(files, folder + b"/file")


def _use(found: object) -> None:
    if isinstance(found, Iterator):
        next(found, None)


def test_no_link_is_followed_unless_that_is_asked_for(files: Files, folder: bytes, tree: Path) -> None:
    through = folder + b"/link/file"
    assert files.status(through) is None
    for refused in (lambda: files.open(through), lambda: next(files.list_folder(folder + b"/link"))):
        with pytest.raises(OSError):
            refused()
    there = files.look(through)
    assert there is not None
    assert stat.S_ISREG(there.st_mode)
    linked = files.look(folder + b"/link")
    assert linked is not None
    assert stat.S_ISLNK(linked.st_mode)


def test_a_path_is_known_without_its_links(files: Files, folder: bytes, tree: Path) -> None:
    (tree / "inner" / "absolute").symlink_to(os.fsdecode(folder + b"/inner/file"))
    (tree / "circle").symlink_to("circle")
    assert files.real_path(folder + b"/link/absolute") == folder + b"/inner/file"
    assert files.resolve(folder + b"/link/absolute") == folder + b"/inner/file"
    assert files.real_path(folder + b"/link/../file") == folder + b"/file"
    assert files.real_path(folder + b"/none/x") == folder + b"/none/x"
    with pytest.raises(FileNotFoundError):
        files.real_path(folder + b"/nowhere", strict=True)
    with pytest.raises(Failed):
        files.resolve(folder + b"/circle/x")


def test_a_way_that_others_may_change_is_not_safe(files: Files, folder: bytes, tree: Path) -> None:
    (tree / "shared").mkdir()
    (tree / "shared").chmod(0o777)
    assert files.is_safe(folder + b"/inner")
    assert not files.is_safe(folder + b"/shared")
    assert not files.is_safe(folder + b"/none")
    if files.user != 0:
        return
    os.lchown(tree / "link", 12345, 12345)
    with pytest.raises(Failed, match="could point anywhere"):
        files.resolve(folder + b"/link/file")


def test_rights_are_those_of_whoever_works_there(files: Files, folder: bytes, tree: Path) -> None:
    assert files.may_read(folder + b"/file")
    assert files.may_read(folder + b"/link")
    assert not files.may_read(folder + b"/nowhere")
    assert files.may_write(folder)
    assert not files.may_write(folder + b"/none")
    assert files.user == os.geteuid()


# --- touching files ------------------------------------------------------------------------------


def times_of(folder: Path) -> int:
    return folder.stat().st_mtime_ns


@pytest.fixture
def still(tree: Path) -> Iterator[Path]:
    """The folder with a time that shows whether anybody disturbed it."""
    os.utime(tree, ns=(1, 1_000_000_000_123_456_789))
    yield tree
    assert times_of(tree) == 1_000_000_000_123_456_789


def test_folders_are_made_for_us_alone_and_removed(files: Files, folder: bytes, still: Path) -> None:
    with files.make_folder(folder + b"/made") as made:
        status = made.status()
        assert stat.S_IMODE(status.st_mode) == 0o700
        there = os.stat(still / "made")
        assert identity_of(status) == (there.st_dev, there.st_ino)
    with pytest.raises(FileExistsError):
        files.make_folder(folder + b"/made")
    with pytest.raises(OSError):
        files.remove_folder(folder + b"/inner")
    files.remove_folder(folder + b"/made")
    assert not (still / "made").exists()


def test_what_is_written_is_appended(files: Files, folder: bytes, tree: Path) -> None:
    files.append(folder + b"/journal", b"one\n")
    files.append(folder + b"/journal", b"two\n")
    assert (tree / "journal").read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE((tree / "journal").stat().st_mode) == 0o600
    with pytest.raises(OSError):
        files.append(folder + b"/nowhere", b"through a link")
    assert not (tree / "none").exists()


def test_an_entry_is_moved_and_replaces_what_is_there(files: Files, folder: bytes, still: Path) -> None:
    files.move(folder + b"/inner/file", folder + b"/file")
    assert (still / "file").read_text() == "content"
    files.move(folder + b"/nowhere", folder + b"/inner/moved")
    assert os.readlink(still / "inner" / "moved") == "none"
    with pytest.raises(OSError):
        files.move(folder + b"/file", folder + b"/link/file")


def test_an_entry_keeps_all_it_has_when_it_is_carried(files: Files, folder: bytes, still: Path) -> None:
    (still / "inner" / "secret").write_text("secret")
    (still / "inner" / "secret").chmod(0o640)
    os.utime(still / "inner" / "secret", ns=(5, 7_000_000_001))
    with files.enter(folder + b"/inner") as inside:
        files.carry(b"/secret", folder + b"/carried", inside)
    there = (still / "carried").stat()
    assert ((still / "carried").read_text(), stat.S_IMODE(there.st_mode)) == ("secret", 0o640)
    assert there.st_mtime_ns == 7_000_000_001
    assert (still / "inner" / "secret").exists()
    files.carry(folder + b"/inner/secret", folder + b"/beside", files)
    assert (still / "beside").read_text() == "secret"
    files.carry(folder + b"/nowhere", folder + b"/carried", files)
    assert os.readlink(still / "carried") == "none"


def test_a_folder_is_no_content_and_leaves_nothing_open(files: Files, folder: bytes, tree: Path) -> None:
    files.status(folder + b"/inner")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(IsADirectoryError):
        files.open(folder + b"/inner")
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_a_host_lets_be_read_is_known_by_the_links_of_the_place(
    place: Place, folder: bytes, tree: Path, tmp_path: Path
) -> None:
    policy = Policy.model_validate({"read": [os.fsdecode(folder + b"/inner")]})
    workplace = Workplace(tmp_path, policy=policy, place=place)
    assert workplace.may_read(folder + b"/link/file")
    assert not workplace.may_read(folder + b"/file")


def test_what_leads_in_a_circle_is_refused_by_the_file_system(
    files: Files, folder: bytes, tree: Path
) -> None:
    (tree / "circle").symlink_to("circle")
    for path in (folder + b"/circle/x", folder + b"/circle"):
        with pytest.raises(OSError) as refused:
            files.real_path(path, strict=True)
        assert refused.value.errno == errno.ELOOP
        files.real_path(path)
        assert not files.may_read(path)
    with pytest.raises(OSError):
        files.look(folder + b"/circle/x")
    assert not is_there(files, folder + b"/circle/x")
    assert is_there(files, folder + b"/circle")


def test_traits_are_given_to_the_entry_that_is_held(files: Files, folder: bytes, tree: Path) -> None:
    with files.hold(folder + b"/file") as held:
        (tree / "file").rename(tree / "moved")
        (tree / "file").write_text("another")
        held.give(Traits(0o604, os.geteuid(), os.getegid(), 9_000_000_009))
        with files.hold(folder + b"/inner") as model:
            held.take_attributes(model)
    moved = (tree / "moved").stat()
    assert (stat.S_IMODE(moved.st_mode), moved.st_mtime_ns) == (0o604, 9_000_000_009)
    assert stat.S_IMODE((tree / "file").stat().st_mode) != 0o604


def test_a_tree_of_ours_goes_and_what_its_links_lead_to_stays(
    files: Files, folder: bytes, tree: Path
) -> None:
    (tree / "outside").mkdir()
    (tree / "outside" / "precious").write_text("precious")
    (tree / "inner" / "way-out").symlink_to("../outside")
    (tree / "inner").chmod(0)
    assert files.remove_tree(folder + b"/inner") is None
    assert files.remove_tree(folder + b"/inner") is None, "one that is gone is no work"
    assert (tree / "outside" / "precious").read_text() == "precious"
    assert not (tree / "inner").exists()


def test_a_view_stays_with_its_folder(place: Place, files: Files, folder: bytes, tree: Path) -> None:
    with files.enter(folder + b"/inner") as inside:
        (tree / "inner").rename(tree / "moved")
        (tree / "inner").mkdir()
        (tree / "inner" / "precious").write_text("precious")
        files.forget()
        assert [one.name for one in inside.list_folder(b"/")] == [b"file"]
        target = inside.as_target(b"/written", folder + b"/inner")
        ended, _, err = said_by(place, "cp", "/bin/true", target)
        assert ended.exit_status == 0, err
        assert (tree / "moved" / "written").exists()
        files.move(b"/file", folder + b"/taken-out", inside)
        inside.move(folder + b"/taken-out", b"/put-in", files)
        assert (tree / "moved" / "put-in").read_text() == "content"
        assert inside.clear() is None
    assert list((tree / "moved").iterdir()) == []
    assert (tree / "inner" / "precious").read_text() == "precious"


def test_names_are_bytes(files: Files, folder: bytes, seen: Path) -> None:
    name = b"\xff \n'\""
    files.append(folder + b"/" + name, b"x")
    files.make_folder(folder + b"/\xfe").__exit__()
    files.move(folder + b"/" + name, folder + b"/\xfe/" + name)
    assert [one.name for one in files.list_folder(folder + b"/\xfe")] == [name]
    assert os.listdir(os.fsencode(seen) + b"/\xfe") == [name]
