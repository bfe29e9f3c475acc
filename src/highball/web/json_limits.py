"""What a JSON body may be before anybody reads it: UTF-8, of whole characters, nested no deeper than sense goes.

Python's own reader is more generous: it takes halves of characters, which no database stores and no answer can
spell, NUL, which PostgreSQL refuses, and as many brackets as the stack holds. It is asked only after this.
"""

from __future__ import annotations

import re

DEEPEST = 64
"""What people declare is nested half as deep at most."""

_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.S)
_BRACKET = re.compile(r"[\[{\]}]")
_NO_NUMBER = re.compile(r"NaN|Infinity")
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<odd>u0000|u[dD][89a-fA-F])|.)", re.S
)


def find_fault(body: bytes) -> str | None:
    """Why nobody should read this JSON; None where it may be read (and may still be none)."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return "is not UTF-8"
    if "\0" in text or any(found["odd"] for found in _ESCAPE.finditer(text)):
        return "holds NUL or half a character, which no text may"
    bare = _STRING.sub("", text)
    if _NO_NUMBER.search(bare):
        return "holds a number that is none"
    if _is_deep(bare):
        return f"is nested more than {DEEPEST} levels deep"
    return None


def _is_deep(bare: str) -> bool:
    depth = 0
    for found in _BRACKET.finditer(bare):
        depth += 1 if found[0] in "[{" else -1
        if depth > DEEPEST:
            return True
    return False
