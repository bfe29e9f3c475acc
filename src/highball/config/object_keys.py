"""The names by which declared things refer to one another."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator

from highball.config.problems import wrong

_KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.A)

TAKEN = "new"
"""What would be a key, if the pages' forms had no such address: `/jobs/new`."""


def key_from(name: str) -> str:
    """A key that resembles the name: `Ünser Server` becomes `unser-server`; empty where nothing is left."""
    plain = unicodedata.normalize("NFKD", name[:400]).encode("ascii", "ignore").decode().lower()
    found = re.sub(r"[^a-z0-9._-]+", "-", plain).lstrip("._-")[:63].rstrip("-")
    return "new-one" if found == TAKEN else found


def check_key(text: str) -> str:
    """The text, if it is a key; ValueError with one that resembles it if not."""
    if text == TAKEN:
        raise wrong(f'"{TAKEN}" is reserved, and cannot be an ID', f'perhaps "{key_from(TAKEN)}"')
    if _KEY.fullmatch(text):
        return text
    resembling = key_from(text)
    raise wrong(
        (
            f'"{text[:80]}" is not an ID: lower-case letters and digits, after the first also . _ '
            "-, at most 63"
        ),
        f'perhaps "{resembling}"' if resembling else None,
    )


Key = Annotated[str, AfterValidator(check_key)]
"""An object's name in files, references, API paths and tags: `[a-z0-9][a-z0-9._-]{0,62}`."""


def _check_title(text: str) -> str:
    if len(text) > 200:
        raise ValueError("is longer than 200 characters")
    if any(unicodedata.category(c) == "Cc" for c in text):
        raise ValueError("contains a control character")
    return text


Title = Annotated[str, AfterValidator(_check_title)]
"""An object's name for people: free text of one line."""
