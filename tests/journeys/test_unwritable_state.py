"""The state's disk is full or read-only: looking, restoring and proving work with a copy of the record, and say so."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from journeys.station import Station


def mount(*arguments: str | Path) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("needs the right to mount")


def fill_up(state: Path) -> None:
    with (state / "ballast").open("wb", buffering=0) as opened, pytest.raises(OSError, match="No space"):
        while True:
            opened.write(bytes(4096))


def make_read_only(state: Path) -> None:
    mount("-o", "remount,ro", state)


@pytest.fixture
def small(station: Station) -> Iterator[Station]:
    """A station whose state lies on a small disk of its own, with one good backup."""
    station.state.mkdir()
    mount("-t", "tmpfs", "-o", "size=16m", "none", station.state)
    try:
        station.back_up()
        yield station
    finally:
        subprocess.run(["umount", "-l", station.state], check=False)


@pytest.mark.parametrize("spoil", [fill_up, make_read_only])
def test_looking_and_restoring_need_no_state_to_write_to(
    small: Station, spoil: Callable[[Path], None]
) -> None:
    [before] = small.ask("runs").json
    [saved] = small.ask("snapshots").json
    spoil(small.state)
    refused = small.call("run")
    assert refused.status != 0
    assert str(small.state) in refused.stderr, "what is to be made room for, or mounted otherwise"
    seen = small.call("status")
    assert "Everything is protected" in seen.text, seen
    assert f"{small.state} cannot be written" in seen.stderr
    assert [run["id"] for run in small.ask("runs").json] == [before["id"]]
    assert small.ask("logs", before["id"]).json
    assert [(one["id"], one["governed"]) for one in small.ask("snapshots").json] == [(saved["id"], True)]
    file = small.source / "file-0000"
    assert small.call("dump", saved["id"][:8], str(file)).stdout == file.read_bytes()
    assert str(file) in small.call("ls", saved["id"]).text
    [plan] = small.ask("forget", "--dry-run").json
    assert [kept["id"] for kept in plan["keep"]] == [saved["id"]]
    target = small.folder / "back"
    assert small.ask("restore", "docs", "--target", str(target)).json["outcome"] == "success"
    assert (target / str(file).lstrip("/")).read_bytes() == file.read_bytes()
    assert small.ask("verify").json["outcome"] == "success"
