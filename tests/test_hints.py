"""What messages, pages and documents name is there: every command with its options, every link, every test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from highball.cli import app as program
from highball.config.job import HOOK_VARIABLES
from highball.config.sample import sample
from highball.process.child import MARKER

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")
NAMED_TEST = re.compile(r"\btests/([\w/]+\.py)::(test_\w+)")
NOTE = re.compile(r"\[\^(\w+)\]")
CALL = re.compile(r"(?<![\w/.-])highball((?: +(?:[\w./:=@-]+|…|\[[^\]]*\]))+)")
WITH_VALUE = ("-c", "--config", "--hub")
GLOBAL = {"--json", "--events", "--verbose", "-v", "--version", "-V", "--help", "-h"}


@cache
def tree(over_hub: bool) -> TyperGroup:
    """All commands, on one machine or over a hub."""
    program.register(over_hub=over_hub)
    whole = typer.main.get_command(program.app)
    assert isinstance(whole, TyperGroup)
    return whole


def texts() -> Iterator[tuple[str, str]]:
    """Everything that people may be told, with where it stands."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "X" for part in node.values]
                yield f"{path.name}:{node.lineno}", "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{path.name}:{node.lineno}", node.value
    for path in [*sorted((ROOT / "src").rglob("*.html")), ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        whole = re.sub(r"\{[{%].*?[%}]\}", "X", path.read_text())
        yield path.name, re.sub(r"</?[a-z][^>]*>", "\n", whole)


def calls() -> Iterator[tuple[str, list[str]]]:
    """Each call of the program in these texts, as its words."""
    for place, text in texts():
        for found in CALL.finditer(text):
            words = found[1].split()
            while words and (words[0] in GLOBAL or words[0] in WITH_VALUE):
                words = words[2 if words[0] in WITH_VALUE else 1 :]
            if words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
                yield place, words


def find(over_hub: bool, words: list[str]) -> tuple[Any, list[str]]:
    """The command that these words call, and what is left of them."""
    command: Any = tree(over_hub)
    left = list(words)
    while isinstance(command, TyperGroup) and left:
        command = command.commands.get(left.pop(0))
    return command, left


def fault_of(words: list[str]) -> str | None:
    """Why nobody could type this."""
    faults = []
    for over_hub in (False, True):
        command, left = find(over_hub, words)
        if command is None:
            faults.append("there is no such command")
            continue
        options = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
        told = [word.partition("=")[0] for word in left if re.match(r"--?[a-z]", word)]
        unknown = [word for word in told if word not in options | GLOBAL | set(WITH_VALUE)]
        if not unknown:
            return None
        faults.append(f"it has no {' '.join(unknown)}")
    return faults[0]


def test_what_people_are_told_to_type_is_there() -> None:
    told = sorted({(place.partition(":")[0], " ".join(words)) for place, words in calls()})
    found = {call for _, call in told}
    assert len(found) > 40, "too few are found to be tried"
    assert {"forget --dry-run", "setup --schedule none"} <= found
    faults = [(place, call, fault) for place, call in told if (fault := fault_of(call.split()))]
    assert faults == []


def test_every_variable_that_hooks_get_is_written_down() -> None:
    given = set(re.findall(r'"(HIGHBALL_[A-Z_]+)"', (ROOT / "src/highball/agent/run/backup.py").read_text()))
    assert given | {MARKER} == set(HOOK_VARIABLES)
    for place in ("README.md", "docs/hub.md"):
        text = (ROOT / place).read_text()
        assert not {name for name in HOOK_VARIABLES if f"`{name}`" not in text}, place
    assert not {name for name in HOOK_VARIABLES if f"#   {name}: " not in sample("UTC")}


# --- links, and tests that documents name --------------------------------------------------------


def headings(path: Path) -> set[str]:
    """The headings of a document, as links name them."""
    found = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


def leads_nowhere(document: Path, to: str, heading: str) -> bool:
    """Whether a link of a document names a file or a heading that is not there."""
    path = document.parent / to if to else document
    return not path.exists() or (bool(heading) and heading not in headings(path))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_of_a_document_leads_somewhere(document: Path) -> None:
    links = LINK.findall(document.read_text())
    assert links
    assert [link for link in links if leads_nowhere(document, *link)] == []


def test_every_test_that_a_document_names_is_there() -> None:
    named = {one for path in (ROOT / "docs").glob("*.md") for one in NAMED_TEST.findall(path.read_text())}
    assert len(named) > 50
    there = {
        file: (ROOT / "tests" / file).read_text() for file, _ in named if (ROOT / "tests" / file).exists()
    }
    assert {one for one in named if f"def {one[1]}(" not in there.get(one[0], "")} == set()


def test_every_claim_about_thieves_names_the_test_that_would_show_it_false() -> None:
    text, _, notes = (ROOT / "docs" / "security.md").read_text().partition("\n[^")
    claims = re.findall(r"^- .*?(?=^- |^$)", text, re.M | re.S)
    assert len(claims) > 20
    assert [claim for claim in claims if not NOTE.search(claim)] == []
    told = dict(re.findall(r"^\[\^(\w+)\]: (.*)$", f"[^{notes}", re.M))
    assert set(NOTE.findall(text)) == set(told)
    assert [note for note in told.values() if len(NAMED_TEST.findall(note)) != 1] == []
