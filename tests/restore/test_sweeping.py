"""What Highball made for itself is removed whole, and nothing around it is touched."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from highball.model.run import Outcome
from highball.place.local_files import LocalFiles
from restore.bench import Bench, no_leftovers
from testbed.restic import ResticBinary

SEEDS = range(8)
"""For each the hashes of strings, and so the order of sets, are other ones."""


@pytest.fixture
def above(tmp_path: Path) -> Path:
    """A folder that others share."""
    path = tmp_path / "above"
    path.mkdir()
    path.chmod(0o1777)
    return path


def remove_tree(path: Path) -> OSError | None:
    """Remove it as Highball does."""
    with LocalFiles() as files:
        return files.remove_tree(os.fsencode(path))


@pytest.mark.parametrize("inside", ["gone", "gone/as/well"])
def test_a_path_that_is_gone_is_no_work(above: Path, inside: str) -> None:
    code = "import os, sys; from highball.place.local_files import LocalFiles; "
    code += "print(LocalFiles().remove_tree(os.fsencode(sys.argv[1])))"
    for seed in SEEDS if inside == "gone" else SEEDS[:1]:
        done = subprocess.run(
            [sys.executable, "-c", code, above / inside],
            env={"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
        )
        assert done.stdout == b"None\n"
        assert stat.S_IMODE(above.stat().st_mode) == 0o1777, f"seed {seed}"


def test_all_of_a_tree_goes_and_no_link_is_followed(above: Path, tmp_path: Path) -> None:
    tree, outside = above / "tree", tmp_path / "outside"
    outside.mkdir(mode=0o750)
    (outside / "precious").write_text("precious")
    (tree / "locked" / "inner").mkdir(parents=True)
    (tree / "locked" / "inner" / "file").touch()
    (tree / "link").symlink_to(outside)
    (tree / "locked" / "file").symlink_to(outside / "precious")
    os.mkfifo(tree / "pipe")
    for folder in (tree / "locked" / "inner", tree / "locked", tree):
        folder.chmod(0)
    assert remove_tree(tree) is None
    assert list(above.iterdir()) == []
    assert (outside / "precious").read_text() == "precious"
    assert stat.S_IMODE(outside.stat().st_mode) == 0o750
    assert stat.S_IMODE(above.stat().st_mode) == 0o1777


def test_a_link_goes_and_what_it_points_to_stays(above: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (above / "link").symlink_to(tmp_path / "outside")
    assert remove_tree(above / "link") is None
    assert list(above.iterdir()) == []
    assert (tmp_path / "outside").is_dir()


def test_depth_costs_no_handles(above: Path) -> None:
    at = os.open(above, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=at)
        inner = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    try:
        assert remove_tree(above / "d") is None
        assert list(above.iterdir()) == []
    finally:
        subprocess.run(["rm", "-rf", above / "d"], check=True)  # pytest itself cannot remove it


def test_what_does_not_go_is_said(above: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs the right to mount")
    (above / "tree" / "mounted").mkdir(parents=True)
    (above / "tree" / "file").touch()
    subprocess.run(["mount", "-t", "tmpfs", "none", above / "tree" / "mounted"], check=True)
    try:
        assert remove_tree(above / "tree") is not None
        assert os.listdir(above / "tree") == ["mounted"]
    finally:
        subprocess.run(["umount", "-l", above / "tree" / "mounted"], check=True)


def test_the_folder_above_a_lost_source_keeps_its_mode(bench: Bench, above: Path) -> None:
    source = above / "source"
    source.mkdir()
    (source / "file").write_text("saved")
    bench.back_up(os.fsencode(source))
    shutil.rmtree(source)
    assert bench.restore([os.fsencode(source)]).outcome is Outcome.SUCCESS
    bench.steps.clear_away()  # as the run's own process does at its end
    assert (source / "file").read_text() == "saved"
    assert stat.S_IMODE(above.stat().st_mode) == 0o1777


def test_what_cannot_even_be_looked_at_takes_no_run_its_end(bench: Bench, above: Path) -> None:
    bench.back_up(os.fsencode(above))
    bench.restore([os.fsencode(above)])
    unseen = above / ("n" * 300) / ".highball-restore-1"
    bench.steps.will_leave(os.fsencode(unseen))
    bench.steps.clear_away()
    assert f"{unseen} could not be removed" in bench.log()


WHOLE_RESTORE = """
import shutil, sys
from pathlib import Path
from highball.protocol.tasks import Overwrite
from restore.bench import Bench, no_leftovers
from testbed.restic import ResticBinary
from testbed.restic import ResticBinary

folder, program, version = sys.argv[1:]
bench = Bench(Path(folder) / "bench", ResticBinary(Path(program), tuple(map(int, version.split(".")))))
source = Path(folder) / "above" / "source"
bench.back_up(bytes(source))
for rule in (Overwrite.IF_CHANGED, Overwrite.ALWAYS):
    shutil.rmtree(source / "lost")
    (source / "changed").write_text("mine")
    done = bench.restore([bytes(source)], None, rule)
    bench.steps.clear_away()
    print(done.outcome, done.facts["files_restored"], (source / "changed").read_text())
"""


def test_a_whole_restore_comes_to_the_same_whatever_the_order_of_sets(
    newest_restic: ResticBinary, tmp_path: Path
) -> None:
    paths = [str(Path(__file__).parents[1]), *filter(None, sys.path)]
    version = ".".join(map(str, newest_restic.version))
    for seed in SEEDS[:4]:
        folder = tmp_path / f"{seed}"
        source = folder / "above" / "source"
        for name in ("lost/a", "lost/inner/b", "changed", "kept"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text("saved")
        modes = {source.parent: 0o1777, source: 0o750, source / "lost": 0o711, source / "lost/inner": 0o700}
        for path, mode in modes.items():
            path.chmod(mode)
        done = subprocess.run(
            [sys.executable, "-c", WHOLE_RESTORE, folder, newest_restic.path, version],
            env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join(paths), "PATH": os.defpath},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.splitlines() == ["success 3 saved"] * 2, f"seed {seed}: {done.stderr}"
        assert {path: stat.S_IMODE(path.stat().st_mode) for path in modes} == modes, f"seed {seed}"
        assert no_leftovers(folder / "above", folder / "bench" / "state" / "scratch"), f"seed {seed}"
