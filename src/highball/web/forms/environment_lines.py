"""Variables of an environment as lines of a form: `NAME=text`, or `NAME=file:/path` where a secret lies.

A secret itself is none of these lines: what becomes of one that is typed here is the matter of whose form it is.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

_PLACES = ("file", "env", "command")


def spell_variable(name: str, value: Any) -> str:
    """The line that stands for a variable: its text, or where its secret lies, which is not in a hub."""
    if not isinstance(value, dict):
        return f"{name}={value}"
    how, at = next(iter(value.items()))
    return f"{name}={how}:{at if isinstance(at, str) else shlex.join(at)}"


def read_variables(text: str) -> Iterator[tuple[str, Any]]:
    """Each variable with its text or a reference; lines that name none are left out."""
    for line in text.splitlines():
        name, _, value = (part.strip() for part in line.partition("="))
        how, colon, at = value.partition(":")
        if name:
            yield name, {how: at} if colon and how in _PLACES else value
