"""A time that somebody sends or declares: one moment, wherever it is read."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from highball.config.problems import wrong
from highball.model.text import time_to_text

_EXAMPLE = "write it like 2030-01-31T12:00:00Z"
_NUMBER = re.compile(r"\s*[-+.\d]+\s*")


def _refuse_number(value: object) -> object:
    """Seconds, or thousandths, since 1970? Nobody can tell."""
    if isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        raise wrong("is a number, not a time", _EXAMPLE)
    return value


def _as_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise wrong("has no time zone", _EXAMPLE)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise wrong("is out of range", _EXAMPLE) from None


Moment = Annotated[
    datetime,
    BeforeValidator(_refuse_number),
    AfterValidator(_as_utc),
    PlainSerializer(time_to_text, return_type=str, when_used="json"),
]
"""An aware time in UTC, from text that says its zone."""
