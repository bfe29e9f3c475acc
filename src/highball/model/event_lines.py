"""Events as they come from elsewhere: a line of a run directory or of the record, an object of the wire.

What cannot be taken in stops nothing. In its place stands a warning under the same number, which keeps what was
said. A kind of event that only a newer program knows is passed over. Nothing here decides what a run came to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_args

import pydantic_core
from pydantic import ConfigDict, TypeAdapter, ValidationError

from highball.model.event import (
    Event,
    SetAside,
    WarningSeen,
)
from highball.model.run import Caution
from highball.model.text import path_for_people

_EVENTS: TypeAdapter[Event] = TypeAdapter(Event, config=ConfigDict(defer_build=True))

_KINDS = frozenset(kind.model_fields["type"].default for kind in get_args(get_args(Event)[0]))

CODE = "event_set_aside"
"""The code of the warning that stands for an event that could not be taken in."""

_HIGHEST = 2**31 - 1


def read_line(line: bytes, run: str | None = None) -> tuple[int, Event | None] | None:
    """The number and the event of a line; None of a line that is no event, an event of None of a newer kind."""
    try:
        event = _EVENTS.validate_json(line)
    except ValidationError:
        return _read_told(_read_object(line), run)
    return event.seq, event


def read_told(told: Mapping[str, Any], run: str) -> tuple[int, Event | None] | None:
    """The same of what an agent says of a run."""
    if told.get("run") == run:
        try:
            event = _EVENTS.validate_python(told)
        except ValidationError:
            pass
        else:
            return event.seq, event
    return _read_told(told, run)


def _read_object(line: bytes) -> Mapping[str, Any]:
    try:
        found = pydantic_core.from_json(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _read_told(told: Mapping[str, Any], run: str | None) -> tuple[int, Event | None] | None:
    seq, kind = told.get("seq"), told.get("type")
    if type(seq) is not int or not 0 < seq <= _HIGHEST:
        return None
    if kind not in _KINDS:
        return seq, None
    run = run if run is not None else str(told.get("run"))[:64]
    return seq, put_aside(told, seq, run, str(kind), _what_is_wrong(told, run))


def _what_is_wrong(told: Mapping[str, Any], run: str) -> str:
    if told.get("run") != run:
        return "it speaks of another run"
    try:
        _EVENTS.validate_python(told)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        at = ".".join(str(part) for part in first["loc"][1:])
        return f"{at}: {first['msg']}" if at else str(first["msg"])
    return "it cannot be stored"


def put_aside(told: Mapping[str, Any], seq: int, run: str, kind: str, why: str) -> WarningSeen:
    """The warning that stands for an event."""
    message = f"an event ({kind}) could not be taken in and is set aside: {why}"
    step = told.get("step")
    return WarningSeen(
        seq=seq,
        run=run,
        step=step if type(step) is int and 0 < step <= _HIGHEST else None,
        at=_when(told.get("at")),
        warning=Caution(code=CODE, message=path_for_people(message.encode("utf-8", "replace"))),
        set_aside=SetAside(type=kind, text=_spell(told)),
    )


def _when(told: object) -> datetime:
    try:
        return datetime.fromisoformat(str(told)).astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.now(UTC)


def _spell(told: Mapping[str, Any]) -> str:
    try:
        return json.dumps(told, default=repr)
    except (ValueError, RecursionError):
        return "(what it said cannot be written down)"
