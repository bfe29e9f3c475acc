"""What CONTRIBUTING says of one more kind is true: its examples are put into a copy of the program, and work there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"`(src/[^`\n]+)`[^`\n]*:\n\n```(python|diff)\n(.*?)```", re.DOTALL)


def example_of(heading: str) -> list[tuple[str, str, str]]:
    """The files of one example: each path, whether it is a whole file (`python`) or a change (`diff`), and its text."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    [section] = re.findall(rf"^### {re.escape(heading)}\n(.*?)(?=^##)", text, re.DOTALL | re.MULTILINE)
    return BLOCK.findall(section)


def carry_out(heading: str, copy: Path) -> tuple[int, int]:
    """Put an example into a copy of the program: how many files it adds, and how many lines elsewhere it changes."""
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "static"))
    files = lines = 0
    for path, form, text in example_of(heading):
        at = copy / path
        if form == "python":
            assert not at.exists(), f"{path} is there already"
            at.write_text(text)
            module = path.removeprefix("src/").removesuffix(".py").replace("/", ".")
            files += 1
            continue
        [old], [new] = ([line[1:] for line in text.splitlines() if line.startswith(sign)] for sign in "-+")
        before = at.read_text()
        assert before.count(old) == 1, f"{path} does not say: {old}"
        [name] = set(re.findall(r"\w+", new)) - set(re.findall(r"\w+", old))
        imported = f"from {module} import {name}\n\n{new}"
        at.write_text(before.replace(old, imported))
        lines += 1
    return files, lines


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
