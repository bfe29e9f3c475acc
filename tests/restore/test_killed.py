"""Killed at any move of a staged restore: what was there is there, in the old way or the new; the next one goes on."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from highball.agent.run.steps import Steps
from highball.agent.run_directory import list_run_directories
from highball.model.run import Outcome
from restore.bench import Bench, no_leftovers

NEW = 1_500_000_000_123_456_789
MOVES = 5
"""How often something is renamed: what was lost, changed, a link put aside, the folder in its place, a lost folder."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree to be saved."""
    source = tmp_path / "data" / "source"
    for name in ("changed", "lost", "same", "sub/deep", "whole/one", "whole/two"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(f"saved {name}")
        os.utime(source / name, ns=(NEW, NEW))
    return source


def spoil(source: Path) -> None:
    (source / "changed").write_text("changed, and mine")
    (source / "lost").unlink()
    shutil.rmtree(source / "sub")
    (source / "sub").symlink_to("mine")
    shutil.rmtree(source / "whole")
    (source / "mine").write_text("in no snapshot")


def die_at(number: int, *, done: bool) -> Callable[..., None]:
    """A rename that is the last act of its process, or is not begun any more, the time it is this one's turn."""
    real, count = os.rename, 0

    def rename(*names: Any, **folders: Any) -> None:
        nonlocal count
        count += 1
        if count == number and not done:
            os.kill(os.getpid(), signal.SIGKILL)
        real(*names, **folders)
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return rename


def restore_and_die(bench: Bench, source: Path, number: int, *, done: bool) -> int:
    """How a process ended that restores in place and is killed at one of its moves."""
    child = os.fork()
    if child == 0:
        try:
            os.rename = die_at(number, done=done)
            bench.restore([os.fsencode(source)])
        finally:
            os._exit(0)  # it came to an end
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, MOVES + 1))
def test_nothing_is_lost_and_the_next_one_brings_the_rest(
    bench: Bench, source: Path, number: int, done: bool
) -> None:
    bench.back_up(os.fsencode(source))
    spoil(source)
    assert restore_and_die(bench, source, number, done=done) == -signal.SIGKILL
    assert not no_leftovers(source)
    [directory] = list_run_directories(bench.place.runs)
    assert directory.take_if_free()
    Steps(directory, bench.place, bench.stop).clear_away()
    directory.release()
    assert no_leftovers(source)
    assert (source / "mine").read_text() == "in no snapshot"
    assert (source / "same").read_text() == "saved same"
    assert (source / "changed").read_text() in ("changed, and mine", "saved changed")
    link, folder = source / "sub", source / "sub" / "deep"
    assert link.readlink() == Path("mine") if link.is_symlink() else folder.read_text() == "saved sub/deep"

    again = bench.restore([os.fsencode(source)])
    assert again.outcome is Outcome.SUCCESS, again.reason
    for name in ("changed", "lost", "same", "sub/deep", "whole/one", "whole/two"):
        assert (source / name).read_text() == f"saved {name}"
    assert restore_and_die(bench, source, 1, done=done) == 0, "there is nothing left to be moved"


def test_all_its_moves_are_tried(bench: Bench, source: Path) -> None:
    bench.back_up(os.fsencode(source))
    spoil(source)
    assert restore_and_die(bench, source, MOVES + 1, done=False) == 0
    assert (source / "whole" / "two").read_text() == "saved whole/two"
