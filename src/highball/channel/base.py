"""The channel port: what every kind of channel takes, and what it answers.

A kind is one file with one class of declared fields, named in `kinds`. It knows nothing of alerts, of the database
or of other kinds: it carries one message to where it was declared to go, and says how that went.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, StringConstraints

from highball.model.run import Reason
from highball.model.text import UtcTime
from highball.secret import SecretReference, SecretValue

Resolve = Callable[[SecretReference], SecretValue]
"""The value of a secret on this machine; raises SecretUnavailable."""

LONGEST_PAUSE = timedelta(days=1)
"""A later try is asked for within this, whatever the other side says."""


class Severity(StrEnum):
    """How soon somebody has to look: now, today, or never mind."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Message(BaseModel):
    """What is to be told, in plain text."""

    model_config = ConfigDict(frozen=True)

    thread: Annotated[str, StringConstraints(max_length=64)]
    """The same for all that is told of one problem, so that a kind can keep it together."""
    at: UtcTime
    severity: Severity
    subject: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"\A[^\r\n]*\z")]
    """One line."""
    text: Annotated[str, StringConstraints(max_length=20_000)] = ""
    link: Annotated[str, StringConstraints(max_length=2000)] | None = None
    """The page where it is seen to."""


class Fate(StrEnum):
    """What became of a message that was sent."""

    DELIVERED = "delivered"
    LATER = "later"
    """It did not arrive, and may when it is sent again."""
    NEVER = "never"
    """It did not arrive, and will not before somebody changes the channel."""


@dataclass(frozen=True)
class Delivery:
    """How one sending went; `reason` is why it did not arrive, with no secret in it."""

    fate: Fate
    reason: Reason | None = None
    after: timedelta | None = None
    """Not sooner than this, where the other side said so."""


class Channel(Protocol):
    """A channel with its secrets at hand."""

    def send(self, message: Message) -> Delivery:
        """Carry one message; it is there when DELIVERED is answered, whole and once.

        Whatever the other side does (is away, refuses, answers nonsense, never ends) is answered, not raised, and
        within a bounded time. Nothing is tried twice in here: whoever sends keeps the row and decides.
        """


class DeclaredChannel(BaseModel, ABC):
    """The fields by which people declare a channel of one kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    """What `kind = "…"` says."""

    @abstractmethod
    def open(self, resolve: Resolve) -> Channel:
        """The channel with its secrets; raises SecretUnavailable."""
