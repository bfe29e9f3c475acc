"""What CONTRIBUTING says of one more kind is true: its examples are put into a copy of the program, and work there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.restic import ResticBinary
from testbed.written import WrittenRepository

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"`(src/[^`\n]+)`[^`\n]*:\n\n```(python|diff)\n(.*?)```", re.DOTALL)


def example_of(heading: str) -> list[tuple[str, str, str]]:
    """The files of one example: each path, whether it is a whole file (`python`) or a change (`diff`), and its text."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    [section] = re.findall(rf"^### {re.escape(heading)}\n(.*?)(?=^##)", text, re.DOTALL | re.MULTILINE)
    return BLOCK.findall(section)


def carry_out(heading: str, copy: Path) -> tuple[int, int]:
    """Put an example into a copy of the program: how many files it adds, and how many places elsewhere it changes.

    What is imported there is no place of its own.
    """
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "static"))
    files = places = 0
    for path, form, text in example_of(heading):
        at = copy / path
        if form == "python":
            assert not at.exists(), f"{path} is there already"
            at.write_text(text)
            files += 1
            continue
        for hunk in text.split("@@\n"):
            places += change(at, hunk.splitlines())
    return files, places


def change(path: Path, hunk: list[str]) -> bool:
    """Change the one place that a hunk means; whether it is more than an import."""
    old, new = ("\n".join(line[1:] for line in hunk if line[:1] != sign) + "\n" for sign in "+-")
    before = path.read_text()
    assert before.count(old) == 1, f"{path} does not say:\n{old}"
    path.write_text(before.replace(old, new))
    return any(line.startswith("+") and not line.startswith("+from ") for line in hunk)


def ask(copy: Path, program: str, *words: str) -> str:
    """What a program says that imports Highball from the copy."""
    environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
    done = subprocess.run(
        [sys.executable, "-c", program, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Where a copy of the program comes to lie."""
    return tmp_path / "copy"


RUN = "import sys; from highball.cli import main; sys.argv = ['highball', *sys.argv[1:]]; main()"


@pytest.fixture
def machine(tmp_path: Path, newest_restic: ResticBinary) -> Path:
    """The configuration of a machine with a repository and a job that has no source yet."""
    (tmp_path / "password").write_text("open sesame")
    (tmp_path / "password").chmod(0o600)
    WrittenRepository(tmp_path / "nas", "open sesame")
    nas = {"url": str(tmp_path / "nas"), "password": {"file": str(tmp_path / "password")}}
    settings = {"restic": str(newest_restic.path), "host": "here", "state": str(tmp_path / "state")}
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "letter").write_text("dear reader")
    job = {"repositories": ["nas"], "sources": [str(tmp_path / "source")]}
    tables = {"settings": settings, "repositories": {"nas": nas}, "jobs": {"docs": job}}
    file = tmp_path / "highball.json.yaml"
    file.write_text(json.dumps(tables))
    return file


def declare(file: Path, *path: str, value: object) -> None:
    """Say something else in a configuration."""
    tables = json.loads(file.read_text())
    *ways, last = path
    table = tables
    for way in ways:
        table = table[way]
    table[last] = value
    file.write_text(json.dumps(tables))


def test_a_source_is_one_file_and_one_line(copy: Path, machine: Path) -> None:
    assert carry_out("A source", copy) == (1, 1)
    declare(
        machine, "jobs", "docs", "sources", value=[str(machine.parent / "source"), {"packages": "debian"}]
    )
    ask(copy, RUN, "-c", str(machine), "run", "docs")
    told = json.loads(ask(copy, RUN, "-c", str(machine), "--json", "snapshots"))
    assert {one["set"] for one in told} == {"files", "packages.txt"}
    [listed] = [one["id"] for one in told if one["set"] == "packages.txt"]
    installed = ask(copy, RUN, "-c", str(machine), "dump", listed, "/packages.txt")
    assert any(line.startswith("dpkg ") for line in installed.splitlines())


def test_an_engine_is_one_file_and_one_line(copy: Path, machine: Path) -> None:
    assert carry_out("An engine", copy) == (0, 1)
    shutil.copy(ROOT / "tests/testbed/copies.py", copy / "src/highball/engine/copies.py")
    declare(
        machine, "repositories", "nas", value={"engine": "copies", "folder": str(machine.parent / "copies")}
    )
    ask(copy, RUN, "-c", str(machine), "setup", "--schedule", "none")
    ask(copy, RUN, "-c", str(machine), "run", "docs")
    assert len(json.loads(ask(copy, RUN, "-c", str(machine), "--json", "snapshots"))) == 1


def test_a_verb_is_a_row_and_what_carries_it_out(copy: Path, machine: Path) -> None:
    assert carry_out("A verb", copy) == (1, 2)
    ask(copy, RUN, "-c", str(machine), "run", "docs")
    [run] = json.loads(ask(copy, RUN, "-c", str(machine), "--json", "count", "nas"))["runs"]
    assert (run["outcome"], run["steps"][0]["reason"]["message"]) == ("success", "1 snapshot")


SEND = """
import sys
from datetime import UTC, datetime
import highball
from highball.channel.base import Message, Severity
from highball.channel.kinds import read_channel
channel = read_channel({"kind": "mailbox", "path": sys.argv[1]}).open(None)
message = Message(thread="t", at=datetime.now(UTC), severity=Severity.INFO, subject="All is well", text="Grüße")
print(highball.__file__, channel.send(message).fate)
"""


def test_a_channel_is_one_file_and_one_line(copy: Path, tmp_path: Path) -> None:
    assert carry_out("A channel", copy) == (1, 1)
    told = ask(copy, SEND, str(tmp_path / "mail"))
    assert told.split() == [str(copy / "src/highball/__init__.py"), "delivered"]
    assert "Subject: All is well" in (tmp_path / "mail").read_text()
