"""Messages between hub and agent: proving who one is, runs, and questions; in JSON, one type each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, get_args
from uuid import uuid4

from pydantic import (
    Field,
    ValidationError,
)

from highball.model.run import (
    Progress,
)
from highball.protocol.bounded_fields import (
    MOST_HELD,
    Octets,
    Octets32,
    RunId,
    Seq,
    Ticket,
    WireModel,
    check_run,
)
from highball.protocol.queries import Question
from highball.protocol.tasks import Assignment

VERSIONS = (2, 2)
"""The oldest and the newest protocol that this program speaks."""

LARGEST_FRAME = 256 * 1024

HEARTBEAT = timedelta(seconds=30)
OFFLINE_AFTER = timedelta(seconds=90)


class Challenge(WireModel):
    """The hub's first word: sign this; `share` is its part of the key exchange (see `handshake`)."""

    type: ClassVar[str] = "challenge"
    versions: tuple[int, int] = VERSIONS
    nonce: Octets32
    share: Octets32


class Hello(WireModel):
    """The agent's first word: who it is, its proof, and what the hub is to sign: a nonce, and its own share."""

    type: ClassVar[str] = "hello"
    host: str
    versions: tuple[int, int] = VERSIONS
    nonce: Octets32
    share: Octets32
    proof: Octets
    """The agent's Ed25519 signature of `proof_text("agent", …)`."""
    program: str
    """The version of Highball."""
    capabilities: tuple[str, ...] = ()
    facts: dict[str, Any] = Field(default_factory=dict)
    """About the host: os, architecture, the version of each engine, boot time."""


class Welcome(WireModel):
    """The hub lets the agent in, and proves itself."""

    type: ClassVar[str] = "welcome"
    proof: Octets


class Refusal(WireModel):
    """The hub does not let the agent in; the connection ends."""

    type: ClassVar[str] = "refusal"
    code: str
    message: str
    hint: str | None = None


class Enrol(WireModel):
    """Instead of a Hello: a one-time token, and the key by which this agent will prove itself."""

    type: ClassVar[str] = "enrol"
    token: str
    public_key: Octets


class Enrolled(WireModel):
    """The agent belongs to this hub now, as this host; a Hello follows."""

    type: ClassVar[str] = "enrolled"
    host: str
    hub_key: Octets


def proof_text(
    who: Literal["agent", "hub"], host: str, challenge: Challenge, nonce: bytes, share: bytes
) -> bytes:
    """What `who` signs: its part, the host, the nonces and shares of the hub and of the agent."""
    said = challenge.nonce + challenge.share + nonce + share
    return b"highball 2 " + who.encode() + b"\0" + host.encode() + b"\0" + said


class Assign(WireModel):
    """Carry out a run; `secrets` are the values of its sealed references by their places."""

    type: ClassVar[str] = "assign"
    assignment: Assignment
    needs: tuple[str, ...] = ()
    secrets: dict[str, Octets] = Field(default_factory=dict)


class Taken(WireModel):
    """The run is safely on the agent's disk."""

    type: ClassVar[str] = "taken"
    run: RunId


class Declined(WireModel):
    """The agent does not carry out the run, and why."""

    type: ClassVar[str] = "declined"
    run: RunId
    code: str
    message: str


class CancelRun(WireModel):
    """End a run politely."""

    type: ClassVar[str] = "cancel"
    run: RunId


class RunHeld(WireModel):
    """A run directory that the agent has, told once after each greeting."""

    type: ClassVar[str] = "run.held"
    assignment: Assignment
    last_seq: Seq


class Inventory(WireModel):
    """All run directories that the agent has: a run that is not among them is not on this host.

    `kept` are those that a hub has acknowledged all of, with the number of their last event.
    """

    type: ClassVar[str] = "inventory"
    runs: Annotated[tuple[RunId, ...], Field(max_length=MOST_HELD)]
    kept: Annotated[dict[RunId, Seq], Field(max_length=MOST_HELD)] = Field(default_factory=dict)


class RunsWanted(WireModel):
    """The hub's record lacks something of runs that the agent keeps: what comes after these events' numbers."""

    type: ClassVar[str] = "runs.wanted"
    runs: dict[RunId, Seq]


class Events(WireModel):
    """Events of a run, in order and without a gap; each as the run's own process wrote it."""

    type: ClassVar[str] = "events"
    run: RunId
    events: tuple[dict[str, Any], ...]


class Acknowledged(WireModel):
    """The hub has all events of a run up to this one."""

    type: ClassVar[str] = "acknowledged"
    run: RunId
    seq: Seq


class ProgressSeen(WireModel):
    """How far a run is; may be dropped."""

    type: ClassVar[str] = "progress"
    run: RunId
    progress: Progress


class SecretsWanted(WireModel):
    """The agent lost the sealed values of a run that has to be settled."""

    type: ClassVar[str] = "secrets.wanted"
    run: RunId


class Secrets(WireModel):
    """The values of a run's sealed references."""

    type: ClassVar[str] = "secrets"
    run: RunId
    secrets: dict[str, Octets]


class Heartbeat(WireModel):
    """Still there."""

    type: ClassVar[str] = "heartbeat"


class Ask(WireModel):
    """A question: answered, never recorded. An answer that is larger than a frame is posted with the ticket."""

    type: ClassVar[str] = "ask"
    question: Question
    seconds: float = 30
    ticket: Ticket | None = None
    secrets: dict[str, Octets] = Field(default_factory=dict)


class StopAsking(WireModel):
    """Nobody waits for the answer (to `re`) any more."""

    type: ClassVar[str] = "ask.stop"


class Answer(WireModel):
    """The answer to `re`: a value, or the error's code, message and hint."""

    type: ClassVar[str] = "answer"
    value: Any = None
    error: dict[str, Any] | None = None


class Unsupported(WireModel):
    """The other side's message of this type means nothing here."""

    type: ClassVar[str] = "unsupported"
    name: str


Body = (
    Challenge
    | Hello
    | Welcome
    | Refusal
    | Enrol
    | Enrolled
    | Assign
    | Taken
    | Declined
    | CancelRun
    | RunHeld
    | Inventory
    | RunsWanted
    | Events
    | Acknowledged
    | ProgressSeen
    | SecretsWanted
    | Secrets
    | Heartbeat
    | Ask
    | StopAsking
    | Answer
    | Unsupported
)

_BODIES: dict[str, type[WireModel]] = {body.type: body for body in get_args(Body)}


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message as it came: `body` is None where its type is not known here."""

    type: str
    id: str
    re: str | None
    at: datetime
    body: Any


class Misunderstood(ValueError):
    """A message of a known type whose body makes no sense here: the other side is older, newer, or no friend."""

    def __init__(self, type: str, id: str, body: object) -> None:
        super().__init__(f"not a message: the body of {type} is not understood")
        self.type = type
        self.id = id
        self.run = _find_run(body)
        """The run that it would assign, if it names one."""


def _find_run(body: object) -> str | None:
    assignment = body.get("assignment") if isinstance(body, dict) else None
    run = assignment.get("run") if isinstance(assignment, dict) else None
    try:
        return check_run(run) if isinstance(run, str) else None
    except ValueError:
        return None


def spell(body: Body, *, id: str | None = None, re: str | None = None) -> str:
    """The text of a message."""
    told = {"type": body.type, "id": id or uuid4().hex, "at": datetime.now(UTC).isoformat()}
    if re is not None:
        told["re"] = re
    return json.dumps(told | {"body": body.model_dump(mode="json", exclude_none=True)}, separators=(",", ":"))


def read(text: str | bytes) -> Envelope:
    """The message in a text; raises ValueError where it is none, Misunderstood where only its body is none."""
    try:
        told = json.loads(text)
        name, id, re = str(told["type"]), str(told["id"]), told.get("re")
        at = datetime.fromisoformat(told["at"]).astimezone(UTC)
        known = _read_body(name, id, told["body"])
        return Envelope(name, id, None if re is None else str(re), at, known)
    except (KeyError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"not a message: {type(error).__name__}") from None


def _read_body(name: str, id: str, told: object) -> Any:
    """The body; None where its type is not known here."""
    body = _BODIES.get(name)
    try:
        return None if body is None else body.model_validate(told)
    except ValidationError:
        raise Misunderstood(name, id, told) from None
