"""How the demo tells what it does: a short heading for each step, one line for what was shown, a table at the end.

A terminal gets colour and something that moves while one waits; a pipe gets plain lines; NO_COLOR is honoured.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

PLAIN_WIDTH = 110
WIDEST = 110


@dataclass(frozen=True)
class Shown:
    """One step that held: what it proved, in a few words and in a sentence, and how long both programs took."""

    brief: str
    proof: str
    seconds: float | None = None
    restic_seconds: float | None = None


class Teller:
    """Tells one person what happens."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else PLAIN_WIDTH
        self._console = Console(highlight=False, markup=False, emoji=False, width=width)
        self.shown: list[Shown] = []

    @property
    def on_terminal(self) -> bool:
        """Whether Highball may write its live progress itself: both outputs are a person's terminal."""
        return self._console.is_terminal and sys.stderr.isatty()

    def line(self, text: str = "", style: str = "", indent: int = 0) -> None:
        """A line, or a paragraph that keeps its indentation where it is too long."""
        blanks = " " * indent
        for line in text.splitlines() or [""]:
            wrapped = textwrap.wrap(line, self._width - indent, subsequent_indent=blanks) or [""]
            self._print(Text((blanks + "\n".join(wrapped)).rstrip(), style=style))

    def heading(self, title: str, command: str | None = None) -> None:
        """A new step, and the command that a person would type for it."""
        self.line()
        text = Text(title, style="bold")
        if command:
            text.append(f"  $ {command}", style="not bold dim")
        self._print(text)

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)

    @property
    def _width(self) -> int:
        return min(self._console.width, WIDEST)

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """While this lasts, a terminal shows what is being waited for."""
        if not self.on_terminal:
            yield
            return
        with self._console.status(Text(what, style="dim"), spinner_style="dim"):
            yield

    def held(self, shown: Shown) -> None:
        """A step held: say what it has shown."""
        self.shown.append(shown)
        self._held_line(shown.proof, _seconds(shown.seconds))

    def _held_line(self, proof: str, took: str) -> None:
        wrapped = textwrap.wrap(f"{proof}  {took}".rstrip(), self._width - 4, subsequent_indent="    ")
        text = Text.assemble("  ", ("✓", "green"), " ", "\n".join(wrapped))
        if took:
            text.stylize("dim", len(text) - len(took))
        self._print(text)

    def failed(self, sentence: str) -> None:
        """Something did not hold."""
        self.line()
        self.line(f"✗ {sentence}", style="red")

    def table(self, restic: str) -> None:
        """All that was proved, with the times of both programs side by side."""
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
        table.add_column("What was proved", overflow="fold")
        table.add_column("highball", justify="right", no_wrap=True)
        table.add_column(restic, justify="right", no_wrap=True)
        for shown in self.shown:
            what = Text.assemble(("✓ ", "green"), shown.brief)
            table.add_row(what, _seconds(shown.seconds), _seconds(shown.restic_seconds))
        table.add_row(Text("  together, where both did it", "dim"), *self._sums(), style="bold")
        self._console.print(table, width=self._width)

    def _sums(self) -> tuple[str, str]:
        both = [shown for shown in self.shown if shown.restic_seconds is not None]
        return (
            _seconds(sum(shown.seconds or 0 for shown in both)),
            _seconds(sum(shown.restic_seconds or 0 for shown in both)),
        )


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f}\N{NO-BREAK SPACE}s"


def number(count: int) -> str:
    """`12,345`."""
    return f"{count:,}"


def size(count: int) -> str:
    """`120 MiB`."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if count >= 1024**power:
            value = count / 1024**power
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{count} B"
