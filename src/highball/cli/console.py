"""How a command answers: tables and colour for a terminal, plain lines for a pipe, one JSON document for a program.

Results go to standard output; progress, logs and errors to standard error. With `--json` standard output holds
exactly one JSON document, also when something failed. What comes from outside (names, log lines) is shown with
its control characters escaped.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from highball.errors import HighballError
from highball.model.run import Outcome
from highball.model.standing import Health

if TYPE_CHECKING:
    from rich.console import Console


class Form(Enum):
    """The form of an answer."""

    PEOPLE = "people"
    JSON = "json"
    EVENTS = "events"


TONES = {
    Outcome.SUCCESS: "green",
    Outcome.WARNING: "yellow",
    Outcome.FAILURE: "red",
    Outcome.CANCELLED: "dim",
    Outcome.SKIPPED: "dim",
    Outcome.MISSED: "red",
    Health.HEALTHY: "green",
    Health.LATE: "yellow",
    Health.OVERDUE: "red",
    Health.FAILED: "red",
    Health.NEVER: "yellow",
}

MARKS = {
    Outcome.SUCCESS: "✓",
    Outcome.WARNING: "!",
    Outcome.FAILURE: "✗",
    Outcome.CANCELLED: "–",
    Outcome.SKIPPED: "–",
    Outcome.MISSED: "✗",
    Health.HEALTHY: "✓",
    Health.LATE: "!",
    Health.OVERDUE: "✗",
    Health.FAILED: "✗",
    Health.NEVER: "!",
}
"""State is never colour alone."""


@dataclass
class Cell:
    """A word in a table with its tone."""

    text: str
    tone: str | None = None


def state(of: Outcome | Health | None, otherwise: str = "–") -> Cell:
    """An outcome or a health as a mark and a word in its tone."""
    return Cell(otherwise) if of is None else Cell(f"{MARKS[of]} {of.value}", TONES[of])


@dataclass
class Column:
    """A table's column."""

    title: str
    right: bool = False
    wraps: bool = False
    spare: bool = False
    """Left out, the last first, where the terminal is too narrow for all columns."""


@dataclass
class Output:
    """Where answers go, and in which form."""

    form: Form = Form.PEOPLE
    verbose: bool = False
    """Whether all that programs print is told as it comes."""
    _consoles: dict[str, Console] = field(default_factory=dict)

    @property
    def for_people(self) -> bool:
        """Whether a person reads the answer."""
        return self.form is Form.PEOPLE

    @property
    def interactive(self) -> bool:
        """Whether a person can be asked."""
        return self.for_people and sys.stdin.isatty() and sys.stderr.isatty()

    def console(self, name: str = "stdout") -> Console:
        """The terminal on standard output or error."""
        if name not in self._consoles:
            from rich.console import Console

            width = None if getattr(sys, name).isatty() else 200
            self._consoles[name] = Console(
                file=getattr(sys, name),
                highlight=False,
                soft_wrap=False,
                markup=False,
                emoji=False,
                width=width,
            )
        return self._consoles[name]

    # --- answers ---

    def document(self, answer: Any) -> None:
        """The one JSON document of this command."""
        sys.stdout.write(to_json(answer) + "\n")

    def line(self, text: str = "", tone: str | None = None) -> None:
        """A line of the answer for people."""
        if sys.stdout.isatty():
            self.console().print(safe(text), style=tone)
        else:
            sys.stdout.write(safe(text) + "\n")

    def note(self, text: str, tone: str | None = None) -> None:
        """A remark on standard error, whatever the form."""
        if sys.stderr.isatty():
            self.console("stderr").print(safe(text), style=tone, soft_wrap=True)
        else:
            sys.stderr.write(safe(text) + "\n")
            sys.stderr.flush()

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str | Cell]], empty: str) -> None:
        """A table for people; where there are no rows, a sentence that says so and what to do."""
        cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
        if not cells:
            self.line(empty, "dim")
        elif sys.stdout.isatty():
            self._rich_table(columns, cells)
        else:
            self._plain_table(columns, cells)

    def _fitting(self, columns: Sequence[Column], rows: list[list[Cell]]) -> list[int]:
        """The numbers of the columns for which the terminal has room."""
        widths = [
            max(len(column.title), 0 if column.wraps else max(len(safe(row[number].text)) for row in rows))
            + 2
            for number, column in enumerate(columns)
        ]
        chosen = list(range(len(columns)))
        for number in reversed(range(len(columns))):
            if sum(widths[n] for n in chosen) - 2 <= self.console().width:
                break
            if columns[number].spare:
                chosen.remove(number)
        return chosen

    def _rich_table(self, columns: Sequence[Column], rows: list[list[Cell]]) -> None:
        from rich.table import Table
        from rich.text import Text

        chosen = self._fitting(columns, rows)
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        for column in (columns[number] for number in chosen):
            table.add_column(
                column.title,
                justify="right" if column.right else "left",
                no_wrap=not column.wraps,
                overflow="fold" if column.wraps else "ellipsis",
            )
        for row in rows:
            table.add_row(*(Text(safe(row[number].text), style=row[number].tone or "") for number in chosen))
        self.console().print(table)

    def _plain_table(self, columns: Sequence[Column], rows: list[list[Cell]]) -> None:
        texts = [[column.title for column in columns], *([safe(cell.text) for cell in row] for row in rows)]
        widths = [max(len(row[i]) for row in texts) for i in range(len(columns))]
        for row in texts:
            shown = (
                text.rjust(width) if column.right else text.ljust(width)
                for text, width, column in zip(row, widths, columns, strict=True)
            )
            sys.stdout.write("  ".join(shown).rstrip() + "\n")

    # --- errors and questions ---

    def error(self, error: HighballError) -> None:
        """Say what went wrong: a JSON document where a program reads, else sentences on standard error."""
        if self.form is not Form.PEOPLE:
            self.document(error_document(error))
            return
        self.note(f"✗ {error.message}", "red")
        for problem in error.problems:
            place = f"{problem.at}: " if problem.at else ""
            self.note(f"  {place}{problem.message}")
            if problem.hint:
                self.note(f"    → {problem.hint}", "dim")
        if error.hint:
            self.note(f"  → {error.hint}", "dim")

    def confirm(self, question: str) -> bool:
        """Ask a yes-or-no question whose default is no."""
        sys.stderr.write(f"{safe(question)} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    def choose(self, question: str, options: Sequence[str]) -> int | None:
        """Let a person choose one of some lines by its number; None where they choose none."""
        for number, option in enumerate(options, 1):
            self.note(f"{number:4}  {option}")
        sys.stderr.write(f"{safe(question)} [1–{len(options)}, Enter for none] ")
        sys.stderr.flush()
        answer = sys.stdin.readline().strip()
        return int(answer) - 1 if answer.isdigit() and 1 <= int(answer) <= len(options) else None


def error_document(error: HighballError) -> dict[str, Any]:
    """An error as the API and `--json` show it."""
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "problems": [{"at": p.at, "message": p.message, "hint": p.hint} for p in error.problems],
        }
    }


def to_json(answer: Any) -> str:
    """An answer as one line of JSON; models keep their null fields."""
    text = json.dumps(_plain(answer), ensure_ascii=False, separators=(",", ":"), default=str)
    # a message may quote an argument that is not UTF-8; no JSON document holds such bytes
    return text if text.isprintable() else text.encode("utf-8", "replace").decode()


def _plain(answer: Any) -> Any:
    if isinstance(answer, BaseModel):
        return answer.model_dump(mode="json")
    if isinstance(answer, dict):
        return {key: _plain(value) for key, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [_plain(value) for value in answer]
    return answer


def safe(text: str) -> str:
    """Text that cannot steer a terminal: control characters are escaped, line ends among them."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode()


def wants_colour() -> bool:
    """Whether colour is welcome (https://no-color.org)."""
    return not os.environ.get("NO_COLOR")
