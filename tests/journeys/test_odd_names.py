"""Paths are bytes: whatever a name holds, it goes in, is listed, dumped, and comes back, alone and with all."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from journeys.station import Station
from testbed.parts import get_restic
from testbed.trees import ODD_NAMES, mixed_tree, same_tree

LONGEST_PATH = 4095


def path_of(node: Any) -> bytes:
    """A path's bytes from its text form."""
    path = node["path"]
    return path.encode() if isinstance(path, str) else base64.b64decode(path["b64"])


def every_path(top: bytes) -> set[bytes]:
    """All paths below, the top itself among them."""
    found = {top}
    for folder, folders, files, _ in os.fwalk(top):
        found |= {folder + b"/" + name for name in folders + files}
    return found


@pytest.fixture(params=["0.14.0", "0.19.1"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Station]:
    """A station whose source holds every odd name, and one path as long as its restored copy may be."""
    station = Station(tmp_path / "s", get_restic(request.param))
    station.add_repository()
    station.add_job()
    source = os.fsencode(station.source)
    room = LONGEST_PATH - len(source) - len(os.fsencode(station.folder / "back")) - 2
    if station.restic.version < (0, 16, 0):  # their way back leads through a folder with a longer name
        room -= 80
    mixed_tree(source, files=4, deep_path_bytes=room)
    yield station
    station.close()


def test_odd_names_go_in_are_listed_dumped_and_come_back(odd: Station) -> None:
    source = os.fsencode(odd.source)
    step = odd.back_up().step
    assert step["warnings"] == []
    snapshot = step["snapshot_id"]
    nodes = odd.ask("ls", snapshot).json
    listed = {path_of(node) for node in nodes if path_of(node).startswith(source)}
    assert listed == every_path(source)
    assert not [node for node in nodes if node["inexact"]]
    lines = odd.call("ls", snapshot).text.splitlines()
    assert len(lines) == len(nodes)
    assert all(line.isprintable() for line in lines)

    for name in (b"-rf", b"two\nlines", b"[brackets]", b"latin1-\xe9", b"back\\slash", b"n" * 255):
        answer = odd.call("dump", snapshot, source + b"/odd-files/" + name)
        assert answer.stdout == b"I am " + name, answer

    back = os.fsencode(odd.folder / "back")
    loses = odd.restic.version < (0, 16, 0)  # what a link's target is that is not UTF-8, and says so
    outcome = odd.ask("restore", "docs", "--target", back, status=3 if loses else 0).step["outcome"]
    assert outcome == ("warning" if loses else "success")
    differences = same_tree(source, back + source)
    if odd.restic.version < (0, 16, 0):  # these cannot save a link's target that is not UTF-8
        differences = [line for line in differences if "not-utf-8" not in line]
    assert differences == []

    folder = source + b"/odd-files"
    names = os.listdir(folder)
    assert set(names) == set(ODD_NAMES)
    some = os.fsencode(odd.folder / "some")
    wanted = [argument for name in names for argument in (b"--path", folder + b"/" + name)]
    assert odd.ask("restore", "docs", "--target", some, *wanted).step["files_restored"] == len(names)
    assert same_tree(folder, some + folder) == []
    for number, name in enumerate((b"star*", b"\xff\xfe", b"two\nlines", b"\\")):
        one = os.fsencode(odd.folder / f"one-{number}")
        odd.ask("restore", "docs", "--target", one, "--path", folder + b"/" + name)
        assert os.listdir(one + folder) == [name]


def test_sources_themselves_may_be_odd(each_station: Station) -> None:
    save_and_bring_back(
        each_station, b"-v", b"two\nlines", b"[x]*?", b" blank ", b"back\\slash", b"caf\xc3\xa9"
    )


def test_the_name_of_a_source_may_be_no_text(each_station: Station) -> None:
    save_and_bring_back(each_station, b"caf\xe9", b"text")


def save_and_bring_back(station: Station, *names: bytes) -> None:
    """Back up folders of these names, list them, bring all back and prove it."""
    sources = [os.fsencode(station.folder) + b"/" + name for name in names]
    for source in sources:
        os.mkdir(source)
        Path(os.fsdecode(source + b"/file")).write_bytes(source)
    station.add_job(sources=[{"b64": base64.b64encode(source).decode()} for source in sources])
    answer = station.back_up()
    paths = {path_of(node) for node in station.ask("ls", answer.step["snapshot_id"]).json}
    assert {source + b"/file" for source in sources} <= paths
    assert station.call("list").status == 0
    station.ask("verify", "--read-data")
    back = os.fsencode(station.folder / "back")
    station.ask("restore", "docs", "--target", back)
    for source in sources:
        assert Path(os.fsdecode(back + source + b"/file")).read_bytes() == source


def test_a_target_may_be_odd(station: Station) -> None:
    station.back_up()
    for name in (b"-target", b"two\nlines", b"caf\xe9", b"[x]"):
        target = os.fsencode(station.folder) + b"/" + name
        answer = station.ask("restore", "docs", b"--target=" + target)
        assert answer.status == 0
        assert same_tree(os.fsencode(station.source), target + os.fsencode(station.source)) == []
