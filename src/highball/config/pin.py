"""A pin as people declare it: a snapshot that retention never removes, and why."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from highball.config.object_keys import Key
from highball.config.problems import wrong

SHORTEST_ID = 8
"""So much of a snapshot's id is shown, and so much names one snapshot."""


def names_snapshot(text: str) -> bool:
    """Whether this is the id of a snapshot, or enough of its beginning."""
    return SHORTEST_ID <= len(text) <= 64 and not set(text) - set("0123456789abcdef")


def _check_snapshot(text: str) -> str:
    if not names_snapshot(text):
        raise wrong(f'"{text[:80]}" is not a snapshot ID', "8 to 64 digits and letters a to f")
    return text


def _check_reason(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank")
    if len(text) > 500:
        raise ValueError("is longer than 500 characters")
    return text.strip()


class Pin(BaseModel):
    """A snapshot that no policy removes."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    repository: Key = Field(description="the ID of the repository that contains the snapshot")
    snapshot: Annotated[str, AfterValidator(_check_snapshot)] = Field(
        description="the snapshot's ID, or its first eight characters or more"
    )
    reason: Annotated[str, AfterValidator(_check_reason)] = Field(
        description="the reason, shown to whoever removes the pin"
    )

    def holds(self, repository: str, snapshot: str) -> bool:
        """Whether it is this snapshot, by its whole id, that the pin keeps."""
        return repository == self.repository and snapshot.startswith(self.snapshot)
