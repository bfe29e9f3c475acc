"""Run directories that the hub has all of: kept for a while, told of without being read, bounded in every way."""

import os
import time
from pathlib import Path

import pytest

from highball.agent import run_archive as room
from highball.agent.run_archive import KEPT_FOR, RunArchive
from highball.agent.run_directory import RunDirectory, list_run_directories
from highball.model.event import LogLine
from run_directory.test_rundir import assignment


def run_id(number: int) -> str:
    return f"019b0000-0000-7000-8000-{number:012d}"


def put_by(folder: Path, number: int, *, age: float = 0, text: str = "well") -> None:
    directory = RunDirectory.create(folder / "runs", assignment(run_id(number)))
    directory.append(LogLine, step=1, stream="stdout", text=text)
    then = time.time() - age
    os.utime(directory.path / "events.ndjson", (then, then))
    RunArchive(folder / "kept").add(directory, number)


def numbers(folder: Path) -> list[int]:
    return sorted(RunArchive(folder / "kept").last_seqs().values())


def test_a_run_is_kept_with_its_number_and_comes_back_whole(tmp_path: Path) -> None:
    put_by(tmp_path, 7)
    kept = RunArchive(tmp_path / "kept")
    assert kept.last_seqs() == {run_id(7): 7}
    assert list_run_directories(tmp_path / "runs") == []
    back = kept.bring_back(run_id(7), tmp_path / "runs")
    assert back is not None
    assert [event.seq for event in back.read_events()] == [1]
    assert kept.last_seqs() == {}
    assert kept.bring_back(run_id(7), tmp_path / "runs") is None
    kept.add(back, 7)
    assert kept.last_seqs() == {run_id(7): 7}


def test_the_old_go(tmp_path: Path) -> None:
    put_by(tmp_path, 1, age=KEPT_FOR.total_seconds() - 60)
    put_by(tmp_path, 2, age=KEPT_FOR.total_seconds() + 60)
    assert numbers(tmp_path) == [1]


def test_of_too_many_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_KEPT", 2)
    for number, age in ((1, 20), (2, 30), (3, 10)):
        put_by(tmp_path, number, age=age)
    assert numbers(tmp_path) == [1, 3]


def test_of_too_much_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_BYTES", 3000)
    for number, age in ((1, 20), (2, 30), (3, 10)):
        put_by(tmp_path, number, age=age, text="x" * 1000)
    assert numbers(tmp_path) == [1, 3]


def test_what_cannot_be_kept_is_let_go(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("no folder")
    put_by(tmp_path, 1)
    assert list_run_directories(tmp_path / "runs") == []
    assert numbers(tmp_path) == []
