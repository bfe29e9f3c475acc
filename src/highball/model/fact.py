"""What every recorded fact has in common: it does not change, and its numbers and words are bounded."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)

LARGEST_NUMBER = 2**63 - 1
"""What every database and every program that reads our answers can hold."""

LONGEST_WORDS = 64 * 1024
MOST_LISTED = 10_000
"""So many warnings of a step, say, are told one by one at most."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """The same with a mark in place of what not every database stores: NUL, and half of a pair."""
    return text if text.isprintable() else _UNSTORABLE.sub("\ufffd", text)


def _cut(value: object) -> object:
    return value[:LONGEST_WORDS] if isinstance(value, str) else value


def _bounded(value: object) -> object:
    return storable(value[:LONGEST_WORDS]) if isinstance(value, str) else value


Count = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]
"""How many, or how many bytes."""

Ordinal = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""The number of an event or a step within its run."""

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Percent = Annotated[Amount, AfterValidator(lambda percent: min(percent, 100.0))]

Print = Annotated[str, BeforeValidator(_cut)]
"""What a program printed: cut where it is longer than a line ever is."""

Words = Annotated[str, BeforeValidator(_bounded)]
"""A sentence, as every database can hold it."""

Name = Annotated[str, Field(max_length=63)]
"""A key, or what stands in the place of one."""

Slice = Annotated[str, Field(pattern=r"^[0-9]{1,6}/[0-9]{1,6}$")]

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

Id = Annotated[str, Field(max_length=64)]


class Fact(BaseModel):
    """The root of all facts: unchangeable, and lenient towards fields that a newer program added."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        use_enum_values=False,
        ser_json_inf_nan="null",
        defer_build=True,  # a command uses few of these: each is built when it is first used
    )


JsonObject = dict[str, Any]
