"""Pages to print: Markdown whose blocks can be typed or pasted into any shell as they stand."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime

from highball import __version__
from highball.secret import SecretValue


def preamble(now: datetime, warning: str) -> str:
    """How every page begins."""
    made = f"Made {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC by Highball {__version__}."
    return f"{made} Print it, and keep it away from the machines that it is about. **{warning}**"


def block(lines: Sequence[str]) -> str:
    """Lines to type."""
    return "\n".join(["```sh", *lines, "```"])


def for_people(password: SecretValue) -> str:
    """A password to read, where that can be."""
    text = as_text(password.reveal())
    if text is None or "`" in text:
        return "(as below: it holds characters that cannot be shown)"
    return f"`{text}`"


def word(value: str | bytes) -> str:
    """One word of a shell, whatever it holds."""
    content = value.encode() if isinstance(value, str) else value
    text = as_text(content, newlines=True)
    if text is not None:
        return shlex.quote(text)
    return "\"$(printf '" + "".join(f"\\{byte:03o}" for byte in content) + "')\""


def as_text(content: bytes, *, newlines: bool = False) -> str | None:
    """The text that these bytes spell, if a person can read and type it."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return text if (text.replace("\n", "") if newlines else text).isprintable() else None
