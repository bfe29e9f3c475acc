"""Fields of what hub and agent say: each bounded, each checked before anything is done with it."""

from __future__ import annotations

import base64
from typing import Annotated
from uuid import UUID

from annotated_types import Len
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
)

from highball.engine.tags import TAG_LIST

MIB = 1024 * 1024
USUAL_ANSWER = 4 * MIB
"""So many bytes the answer to a question has at most, as text, where its class says nothing else."""

MOST_HELD = 20_000
"""So many run directories an agent may have."""


def check_run(text: str) -> str:
    """The text, if it is the id of a run in its one spelling; ValueError if not."""
    if str(UUID(text)) != text:
        raise ValueError("is not the id of a run in its one spelling")
    return text


RunId = Annotated[str, AfterValidator(check_run)]
"""A run's id: a UUID, so that no folder but its own is ever named by it."""

SnapshotId = Annotated[str, StringConstraints(pattern=r"\A(latest|[0-9a-f]{1,64})\z")]
"""The engine's id of a snapshot, or the beginning of one, or `latest`."""

RepositoryId = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{1,64}\z")]
"""The engine's id of a repository."""

KeyName = Annotated[str, StringConstraints(pattern=r"\A[\w .,@()+-]{1,100}\z")]
"""What a key of a repository is called."""

KeyId = RepositoryId
"""The engine's id of a key of a repository."""

TagList = Annotated[
    str,
    StringConstraints(pattern=TAG_LIST),
]
"""Tags of ours that a snapshot has to carry, all of them."""

Slice = Annotated[str, StringConstraints(pattern=r"\A[0-9]{1,6}/[0-9]{1,6}\z")]
"""Part n of t."""

TimeZone = Annotated[
    str, StringConstraints(pattern=r"\A[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}\z", max_length=80)
]
"""The name of a time zone, and never that of a file."""

FileName = Annotated[str, StringConstraints(pattern=r"\A[^/\x00]{1,4096}\z")]
"""The name of a file in some folder."""

Ticket = Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9_-]{1,100}\z")]
"""By which a large answer is handed over."""

Warrant = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{128}\z")]
"""A signature of the hub, in hexadecimal digits."""

Seq = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""The number of an event within its run."""

Words = Annotated[str, StringConstraints(max_length=20_000)]
"""Text for people and for the record; nothing is done by it."""


def _octets(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return base64.b64decode(value, validate=True)
    raise ValueError("bytes are told as base64")


Octets = Annotated[
    bytes,
    BeforeValidator(_octets),
    PlainSerializer(lambda value: base64.b64encode(value).decode(), return_type=str),
]
"""Bytes here, base64 on the wire."""

Octets32 = Annotated[Octets, Len(32, 32)]
"""Exactly 32 of them: a nonce, or a share of a key exchange."""


class WireModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)
