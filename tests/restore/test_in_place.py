"""A restore in place: the rule is obeyed, no link is followed, and nothing that was not shown is touched."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from highball.model.run import Outcome
from highball.process.child import Stop
from highball.protocol.tasks import Overwrite
from restore.bench import Bench, came_back, no_leftovers
from testbed.trees import ODD_NAMES, mixed_tree, same_tree
from testbed.unprivileged import Unprivileged

OLD, NEW = 1_000_000_000_000_000_000, 1_500_000_000_123_456_789


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small tree whose entries can be told apart."""
    source = tmp_path / "data" / "source"
    (source / "sub").mkdir(parents=True)
    for name in ("same", "older", "newer", "gone", "sub/deep"):
        (source / name).write_text(f"saved {name}")
        os.utime(source / name, ns=(NEW, NEW))
    os.symlink("same", source / "link")
    os.chmod(source / "sub", 0o711)
    os.utime(source / "sub", ns=(NEW, NEW))
    os.utime(source, ns=(NEW, NEW))
    return source


def change(source: Path) -> None:
    """Make one entry older, one newer than the snapshot, and one vanish."""
    (source / "older").write_text("older, and mine")
    os.utime(source / "older", ns=(OLD, OLD))
    (source / "newer").write_text("newer, and mine")
    (source / "gone").unlink()
    (source / "mine").write_text("not in the snapshot")
    os.chmod(source / "sub", 0o700)


@pytest.mark.parametrize("rule", list(Overwrite))
def test_each_rule(bench: Bench, source: Path, rule: Overwrite) -> None:
    bench.back_up(os.fsencode(source))
    change(source)
    inode = os.stat(source / "same").st_ino
    above = os.stat(source.parent)
    plan = bench.plan([os.fsencode(source)], None, rule)
    done = bench.restore([os.fsencode(source)], None, rule)
    assert done.outcome is Outcome.SUCCESS, (done.reason, bench.log())
    saved = {
        Overwrite.NEVER: {"gone"},
        Overwrite.IF_NEWER: {"gone", "older"},
        Overwrite.IF_CHANGED: {"gone", "older", "newer"},
        Overwrite.ALWAYS: {"gone", "older", "newer"},
    }[rule]
    for name in ("older", "newer", "gone"):
        text = (source / name).read_text()
        assert (text == f"saved {name}") == (name in saved), (name, text)
    assert done.facts["files_restored"] == len(saved)
    assert (plan.new.files, plan.replaced.files, plan.kept.files) == (1, len(saved) - 1, 3 - len(saved))
    assert (source / "mine").read_text() == "not in the snapshot"
    assert os.stat(source / "same").st_ino == inode
    keeps = rule in (Overwrite.NEVER, Overwrite.IF_NEWER)
    assert stat.S_IMODE(os.stat(source / "sub").st_mode) == (0o700 if keeps else 0o711)
    after = os.stat(source.parent)
    assert (after.st_mode, after.st_mtime_ns) == (above.st_mode, above.st_mtime_ns)
    if not keeps:
        assert os.stat(source).st_mtime_ns == NEW
    assert no_leftovers(source.parent, bench.place.scratch)


def test_unchanged_is_success_with_nothing_restored(bench: Bench, source: Path) -> None:
    bench.back_up(os.fsencode(source))
    done = bench.restore([os.fsencode(source)])
    assert done.outcome is Outcome.SUCCESS, done.reason
    assert done.facts["files_restored"] == 0


def test_always_looks_at_the_content(bench: Bench, source: Path) -> None:
    bench.back_up(os.fsencode(source))
    (source / "same").write_text("SAVED same")  # the same size, and below the same time
    os.utime(source / "same", ns=(NEW, NEW))
    done = bench.restore([os.fsencode(source)], None, Overwrite.ALWAYS)
    assert done.outcome is Outcome.SUCCESS, done.reason
    assert (source / "same").read_text() == "saved same"


@pytest.mark.parametrize("lost", ["each", "all"])
def test_odd_names_come_back_where_they_were(bench: Bench, tmp_path: Path, lost: str) -> None:
    names = [*ODD_NAMES, b"--target", b"-rf", b"[a]*?", b"$HOME", b"x" * 255, b"\xff\n"]
    top = os.fsencode(tmp_path / "source")
    os.mkdir(top)
    paths = [os.path.join(top, name) for name in dict.fromkeys(names)]
    for path in paths:
        with open(path, "wb") as file:
            file.write(os.path.basename(path))
    bench.back_up(top)
    for path in paths:
        os.unlink(path)
    done = bench.restore(paths if lost == "each" else [top])
    assert done.outcome is Outcome.SUCCESS, bench.log()
    assert sorted(os.listdir(top)) == sorted(map(os.path.basename, paths))
    for path in paths:
        with open(path, "rb") as file:
            assert file.read() == os.path.basename(path)


def test_all_that_was_lost_comes_back(bench: Bench, tmp_path: Path) -> None:
    tree, copy = os.fsencode(tmp_path / "above" / "tree"), tmp_path / "copy"
    mixed_tree(tree, files=4, deep_path_bytes=1500)
    bench.back_up(tree)
    subprocess.run(["cp", "-a", tree, copy], check=True)
    shutil.rmtree(tmp_path / "above")
    done = bench.restore([tree])
    assert came_back(bench, done), (done.reason, bench.log())
    found = [line for line in same_tree(os.fsencode(copy), tree) if "not-utf-8" not in line]
    assert found == []


def test_names_that_are_linked_to_what_is_kept(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("saved")
    os.link(source / "a", source / "b")
    os.utime(source / "a", ns=(NEW, NEW))
    bench.back_up(os.fsencode(source))
    shutil.rmtree(source)
    source.mkdir()
    (source / "a").write_text("mine, keep it")
    before = os.stat(source / "a")
    done = bench.restore([os.fsencode(source)], None, Overwrite.NEVER)
    assert done.outcome is Outcome.SUCCESS, done.reason
    assert (source / "a").read_text() == "mine, keep it"
    assert os.stat(source / "a").st_mtime_ns == before.st_mtime_ns
    assert (source / "b").read_text() == "saved"


def test_a_file_shared_with_the_outside_is_not_written_through(
    bench: Bench, source: Path, tmp_path: Path
) -> None:
    bench.back_up(os.fsencode(source))
    (source / "same").write_text("other content here")
    os.link(source / "same", tmp_path / "outside")
    done = bench.restore([os.fsencode(source)], None, Overwrite.ALWAYS)
    assert done.outcome is Outcome.SUCCESS, done.reason
    assert (tmp_path / "outside").read_text() == "other content here"


# --- links and other kinds -----------------------------------------------------------------------


@pytest.mark.parametrize("rule", [Overwrite.ALWAYS, Overwrite.NEVER])
def test_a_link_where_a_directory_belongs(
    bench: Bench, source: Path, tmp_path: Path, rule: Overwrite
) -> None:
    bench.back_up(os.fsencode(source))
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o750)
    shutil.rmtree(source / "sub")
    os.symlink(outside, source / "sub")
    before = os.stat(outside)
    plan = bench.plan([os.fsencode(source)], None, rule)
    assert os.fsencode(source / "sub") in plan.other_kind.examples
    done = bench.restore([os.fsencode(source)], None, rule)
    assert os.listdir(outside) == []
    after = os.stat(outside)
    assert (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns)
    if rule is Overwrite.ALWAYS:
        assert done.outcome is Outcome.SUCCESS, done.reason
        assert (source / "sub" / "deep").read_text() == "saved sub/deep"
        assert stat.S_IMODE(os.lstat(source / "sub").st_mode) == 0o711
    else:
        assert done.outcome is Outcome.WARNING
        assert done.warnings[0].code == "other_kind_kept"
        assert os.path.islink(source / "sub")
    assert no_leftovers(source.parent)


@pytest.mark.parametrize("rule", [Overwrite.IF_CHANGED, Overwrite.IF_NEWER])
def test_a_link_among_the_parents_below_a_target(
    bench: Bench, source: Path, tmp_path: Path, rule: Overwrite
) -> None:
    bench.back_up(os.fsencode(source))
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    parent = Path(f"{target}{source.parent}")
    parent.parent.mkdir(parents=True)
    os.symlink(outside, parent)
    done = bench.restore([os.fsencode(source / "sub")], os.fsencode(target), rule)
    assert os.listdir(outside) == []
    if rule is Overwrite.IF_CHANGED:
        assert done.outcome is Outcome.SUCCESS, done.reason
        assert (parent / "source" / "sub" / "deep").exists()
        assert not parent.is_symlink()
    else:
        assert done.outcome is Outcome.FAILURE
        assert parent.is_symlink()
    assert no_leftovers(target)


def test_a_target_reached_by_a_link_is_resolved_first(bench: Bench, source: Path, tmp_path: Path) -> None:
    bench.back_up(os.fsencode(source))
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir(mode=0o711)
    os.symlink(real, link)
    before = os.stat(real).st_mode
    done = bench.restore([os.fsencode(source)], os.fsencode(link / "new"))
    assert done.outcome is Outcome.SUCCESS, done.reason
    assert done.facts["target"] == os.fsencode(real / "new")
    assert link.is_symlink()
    assert os.stat(real).st_mode == before
    os.rename(source.parent, tmp_path / "moved")
    os.symlink(tmp_path / "moved", source.parent)
    (tmp_path / "moved" / "source" / "gone").unlink()
    done = bench.restore([os.fsencode(source / "gone")])
    assert done.outcome is Outcome.SUCCESS, done.reason
    assert source.parent.is_symlink()
    assert (tmp_path / "moved" / "source" / "gone").exists()


def test_a_directory_is_never_replaced_by_a_file(bench: Bench, source: Path) -> None:
    bench.back_up(os.fsencode(source))
    (source / "same").unlink()
    (source / "same").mkdir()
    (source / "gone").unlink()
    for rule in (Overwrite.ALWAYS, Overwrite.IF_CHANGED):
        done = bench.restore([os.fsencode(source)], None, rule)
        assert done.outcome is Outcome.WARNING
        assert [caution.code for caution in done.warnings] == ["other_kind_kept"]
        assert (source / "same").is_dir()
        assert (source / "gone").read_text() == "saved gone"


def test_a_dangling_link_and_a_fifo_in_place_of_files(bench: Bench, source: Path, tmp_path: Path) -> None:
    bench.back_up(os.fsencode(source))
    (source / "same").unlink()
    os.symlink(tmp_path / "nowhere", source / "same")
    (source / "older").unlink()
    os.mkfifo(source / "older")
    done = bench.restore([os.fsencode(source / "same"), os.fsencode(source / "older")])
    assert done.outcome is Outcome.SUCCESS, done.reason
    assert not (source / "same").is_symlink()
    assert (source / "same").read_text() == "saved same"
    assert (source / "older").read_text() == "saved older"
    assert not (tmp_path / "nowhere").exists()


def test_a_file_where_a_parent_belongs(bench: Bench, source: Path) -> None:
    bench.back_up(os.fsencode(source))
    shutil.rmtree(source.parent)
    source.parent.write_text("mine")
    done = bench.restore([os.fsencode(source)], None, Overwrite.NEVER)
    assert done.outcome is Outcome.FAILURE
    assert source.parent.read_text() == "mine"
    done = bench.restore([os.fsencode(source)], None, Overwrite.ALWAYS)
    assert done.outcome is Outcome.SUCCESS, done.reason
    assert (source / "sub" / "deep").exists()


# --- below / -------------------------------------------------------------------------------------


@pytest.fixture
def below_root() -> Iterator[bytes]:
    """A directory directly below /."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    path = os.fsencode(tempfile.mkdtemp(prefix="hb-test-", dir="/"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_directories_and_files_directly_below_root(bench: Bench, below_root: bytes) -> None:
    inside, beside = below_root + b"/file", below_root + b"-file\xe9"
    for path in (inside, beside):
        with open(path, "wb") as file:
            file.write(b"saved")
    os.chmod(below_root, 0o751)
    try:
        bench.back_up(below_root, beside)
        root = os.stat("/").st_mode
        shutil.rmtree(below_root)
        os.unlink(beside)
        done = bench.restore([b"/"])
        assert done.outcome is Outcome.SUCCESS, (done.reason, bench.log())
        with open(beside, "rb") as file:
            assert file.read() == b"saved"
        assert os.path.exists(inside)
        assert stat.S_IMODE(os.stat(below_root).st_mode) == 0o751
        assert os.stat("/").st_mode == root
        assert b"--target=/ " not in bench.log().encode()
        assert no_leftovers(below_root)
        assert not [name for name in os.listdir("/") if bench.directory.path.name in name]
    finally:
        os.unlink(beside)


# --- when it goes wrong --------------------------------------------------------------------------


def test_cancelled_midway(bench: Bench, source: Path) -> None:
    (source / "large").write_bytes(os.urandom(30_000_000))
    bench.back_up(os.fsencode(source))
    shutil.rmtree(source / "sub")
    (source / "large").unlink()
    listings = []

    def stop_at_the_restore(pid: int) -> None:
        listings.append(pid)
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if b"\0restore\0" in file.read():
                bench.stop.request()

    bench.on_start = stop_at_the_restore
    done = bench.restore([os.fsencode(source)])
    assert done.outcome is Outcome.CANCELLED, done.reason
    assert done.reason is not None
    assert " of 2 files" in done.reason.message
    assert done.facts["files_restored"] < 2
    assert no_leftovers(source.parent, bench.place.scratch)
    bench.stop, bench.on_start = Stop(), lambda pid: None
    done = bench.restore([os.fsencode(source)])
    assert done.outcome is Outcome.SUCCESS, done.reason


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 4 MiB."""
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", path], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount")
    yield path
    subprocess.run(["umount", "-l", path], check=False)


def test_a_full_disk_is_said(bench: Bench, source: Path, small_disk: Path) -> None:
    (source / "large").write_bytes(os.urandom(6_000_000))
    bench.back_up(os.fsencode(source))
    done = bench.restore([os.fsencode(source)], os.fsencode(small_disk / "new"))
    assert done.outcome is Outcome.FAILURE
    assert done.reason is not None
    assert done.reason.code == "no_space", (done.reason, bench.log())
    assert no_leftovers(small_disk)


def test_a_full_disk_leaves_what_is_there(bench: Bench, small_disk: Path) -> None:
    source = small_disk / "source"
    source.mkdir()
    (source / "file").write_bytes(os.urandom(3_000_000))
    bench.back_up(os.fsencode(source))
    (source / "file").write_text("mine")
    (small_disk / "ballast").write_bytes(bytes(3_000_000))
    done = bench.restore([os.fsencode(source)], None, Overwrite.ALWAYS)
    assert done.outcome is Outcome.FAILURE
    assert done.reason is not None
    assert done.reason.code == "no_space", (done.reason, bench.log())
    assert (source / "file").read_text() == "mine"


def test_across_file_systems(bench: Bench, source: Path, small_disk: Path) -> None:
    inner = source / "sub"
    (inner / "pipe").unlink(missing_ok=True)
    os.symlink("deep", inner / "pointer")
    bench.back_up(os.fsencode(source))
    shutil.rmtree(inner)
    inner.mkdir()
    subprocess.run(["mount", "--bind", small_disk, inner], check=True)
    bench.around = [os.fsencode(source.parent)]  # the small disk is there twice
    try:
        done = bench.restore([os.fsencode(source)])
        assert done.outcome is Outcome.SUCCESS, (done.reason, done.warnings)
        assert (inner / "deep").read_text() == "saved sub/deep"
        assert os.stat(inner / "deep").st_mtime_ns == NEW
        assert os.readlink(inner / "pointer") == "deep"
    finally:
        subprocess.run(["umount", "-l", inner], check=True)


AS_NOBODY = """
import os, sys
from pathlib import Path
from highball.protocol.tasks import Overwrite
from restore.bench import Bench
from testbed.restic import ResticBinary
binary, version, folder = sys.argv[1:4]
bench = Bench(Path(folder) / "bench", ResticBinary(Path(binary), tuple(map(int, version.split(".")))))
source = Path(folder) / "tree"
bench.back_up(os.fsencode(source))
done = bench.restore([os.fsencode(source)], os.fsencode(Path(folder) / "new"))
print(done.outcome, done.reason, done.facts.get("files_restored"))
for rule in (Overwrite.IF_CHANGED, Overwrite.NEVER):
    (source / "locked").chmod(0o700)
    (source / "locked" / "file").unlink()
    done = bench.restore([os.fsencode(source)], None, rule)
    print(done.outcome, done.reason, done.facts.get("files_restored"))
    print(done.warnings, bench.log(), file=sys.stderr)
"""


def test_as_nobody(bench: Bench, unprivileged: Unprivileged) -> None:
    tree = unprivileged.directory / "tree"
    (tree / "locked").mkdir(parents=True)
    (tree / "locked" / "file").write_text("x")
    (tree / "of-root").write_text("readable")
    os.chmod(tree / "locked", 0o500)
    for path in (tree, tree / "locked", tree / "locked" / "file"):
        os.chown(path, unprivileged.uid, unprivileged.gid)
    binary = unprivileged.install(bench.binary.path)
    code = unprivileged.directory / "code"
    checkout = Path(__file__).parents[2]
    for part in ("src/highball", "tests/restore", "tests/testbed"):
        shutil.copytree(checkout / part, code / Path(part).name, ignore=shutil.ignore_patterns("__pycache__"))
    site = [entry for entry in sys.path if entry.endswith("site-packages")]
    environment = {"PYTHONPATH": os.pathsep.join([str(code), *site]), "PYTHONDONTWRITEBYTECODE": "1"}
    version = ".".join(map(str, bench.binary.version))
    argv = [
        os.path.realpath(sys.executable),
        "-c",
        AS_NOBODY,
        str(binary),
        version,
        str(unprivileged.directory),
    ]
    done = unprivileged.run(argv, env=environment)
    if b"No module named" in done.stderr:
        pytest.skip("nobody cannot read the Python packages here")
    lines = done.stdout.decode().splitlines()
    assert len(lines) == 3, done.stderr.decode()
    assert lines[0].startswith("warning")
    assert "owner_not_restored" in lines[0]
    assert lines[0].endswith(" 2")
    assert "failure" not in lines[1], lines
    assert lines[1].endswith(" 1")
    assert "failure" not in lines[2], lines
    assert stat.S_IMODE(os.stat(unprivileged.directory / "new" / str(tree)[1:] / "locked").st_mode) == 0o500
