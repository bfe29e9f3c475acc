"""Paths and times as text: as programs read them, and as people do."""

from __future__ import annotations

import base64
import binascii
import os
from datetime import UTC, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainSerializer,
    WithJsonSchema,
)


def path_from_text(value: object) -> bytes:
    """A path's exact bytes from its text form: a string, or `{"b64": …}` where it is not UTF-8."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            return os.fsencode(value)
    if isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except binascii.Error:
            raise ValueError("b64 does not hold base64") from None
    raise ValueError("a path is text, or { b64 = … } where it is not valid UTF-8")


def path_to_text(path: bytes) -> str | dict[str, str]:
    """The text form of a path: a string when it is valid UTF-8, else `{"b64": …}`."""
    try:
        return path.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(path).decode()}


LOST_CHARACTER = "\ufffd"
"""What a program's listing shows in place of a byte that is not UTF-8."""

LOST = LOST_CHARACTER.encode()
"""The same as bytes of a path."""


def as_listed(name: bytes) -> bytes:
    """A name as lossy listings show it: each byte that is not UTF-8 becomes U+FFFD, as Go's encoder of JSON does."""
    shown: list[str] = []
    rest = name
    while rest:
        try:
            shown.append(rest.decode())
            break
        except UnicodeDecodeError as error:
            shown.append(rest[: error.start].decode() + LOST_CHARACTER)
            rest = rest[error.start + 1 :]
    return "".join(shown).encode()


def path_for_people(path: bytes) -> str:
    """A path as one printable line: control characters and bytes that are not UTF-8 are escaped."""
    text = path.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


PathText = Annotated[
    bytes,
    BeforeValidator(path_from_text),
    PlainSerializer(path_to_text, return_type=str | dict[str, str]),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {"b64": {"type": "string"}},
                    "required": ["b64"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
"""A path: bytes here, text where it can be, base64 where it cannot."""


FIRST_TIME, LAST_TIME = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
"""Between these, a time can be said in every zone."""


def sayable(at: datetime) -> datetime:
    """The same moment, or the nearest one that can be said in every zone."""
    return at if at.tzinfo is None else min(max(at, FIRST_TIME), LAST_TIME)


def in_utc(at: datetime) -> datetime:
    """The same in UTC."""
    return sayable(at).astimezone(UTC)


def time_to_text(at: datetime) -> str:
    """RFC 3339 in UTC with `Z`, to the microsecond where there is one."""
    return in_utc(at).isoformat().replace("+00:00", "Z")


def time_for_people(at: datetime) -> str:
    """A time as people read it, where the zone of the one who reads is not known: `2026-05-04 12:00:00 UTC`."""
    return f"{in_utc(at):%Y-%m-%d %H:%M:%S} UTC"


UtcTime = Annotated[
    datetime,
    AfterValidator(in_utc),
    PlainSerializer(time_to_text, return_type=str, when_used="json"),
]
"""An aware time in UTC, written with `Z`."""


RecordedTime = Annotated[
    datetime, AfterValidator(sayable), PlainSerializer(time_to_text, return_type=str, when_used="json")
]
"""A snapshot's time with the UTC offset that restic recorded, in which retention cuts its periods; with `Z` in JSON."""


def _check_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds a character that cannot be printed")
    if not text.strip():
        raise ValueError("is blank")
    return text.strip()


Line = Annotated[str, AfterValidator(_check_line)]
"""Text of one line."""


def spelled_out(value: object) -> object:
    """True, false and whole numbers as the text that they are written as; anything else as it is."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value
