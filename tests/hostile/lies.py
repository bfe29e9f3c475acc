"""What a rogue agent may say: every message and event of the protocol, full of names and ids that are not its own."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st
from pydantic import BaseModel

from highball.config.job import Job
from highball.engine.base import DeclaredRepository
from highball.model.event import Event
from highball.protocol.wire import (
    Declined,
    Events,
    Heartbeat,
    Inventory,
    ProgressSeen,
    RunHeld,
    SecretsWanted,
    Taken,
    Unsupported,
)

Table = dict[str, Any]
Pools = Mapping[str, Sequence[Any]]
"""What may stand in the fields of these names."""

SAID = (Declined, Events, Heartbeat, Inventory, ProgressSeen, RunHeld, SecretsWanted, Taken, Unsupported)

TIMES = ("2026-03-01T19:23:00Z", "0001-01-02T00:00:00Z", "9999-12-30T00:00:00Z", "0001-01-01T00:00:00+23:59")
NUMBERS = (0, 1, 2, 5, 10_001, 2**31 - 1, 2**63 - 1, 10**30, -1)
WORDS = ("", "x", "success", "\0", "\x1b[2J", "é" * 500, "latest")


def messages(pools: Pools) -> st.SearchStrategy[tuple[str, Table]]:
    """Messages as the type and the body of each."""
    told = [st.tuples(st.just(kind.type), _objects(kind, pools, 3)) for kind in SAID]
    return st.one_of(*told, *[events(pools)] * 2 * len(told))  # that is where most can be said


def events(pools: Pools) -> st.SearchStrategy[tuple[str, Table]]:
    """Messages that hold events, each of some kind, mostly of the run that the message names."""
    kinds = get_args(get_args(Event)[0])
    event = st.one_of(*(_objects(kind, pools, 3) for kind in kinds), *[_plausible(pools)] * 10)

    def told(run: str, found: list[Table], strays: bool) -> tuple[str, Table]:
        numbered = [one if strays else {**one, "run": run, "seq": n} for n, one in enumerate(found, 1)]
        return "events", {"run": run, "events": numbered}

    strays = st.sampled_from([False, False, False, True])
    run = st.one_of(st.sampled_from(pools["own"]), st.sampled_from(pools["run"]))
    return st.builds(told, run, st.lists(event, min_size=1, max_size=8), strays)


def _plausible(pools: Pools) -> st.SearchStrategy[Table]:
    """Events that are whole and make sense, but for whose they are."""
    at = datetime.now(UTC).isoformat()
    of = {name: st.sampled_from(pools[name]) for name in ("repository", "job", "host", "snapshot_id")}
    snapshot = st.fixed_dictionaries(
        {
            "id": of["snapshot_id"],
            "time": st.just(at),
            "host": st.sampled_from([one for one in pools["host"] if one]),
            "repository": st.just("shared"),
            "original": st.sampled_from(pools["original"]),
        }
    )
    step = st.fixed_dictionaries(
        {
            **of,
            "number": st.just(1),
            "action": st.sampled_from(["backup", "forget", "check", "verify"]),
            "set": st.just("files"),
            "outcome": st.just("success"),
            "ended_at": st.just(at),
            "snapshots_removed": st.lists(of["snapshot_id"], max_size=1),
        }
    )
    ended = {"type": st.just("step.ended"), "step": st.just(1), "done": step}
    identity = st.sampled_from(pools["repository_id"])
    stats = {"type": st.just("stats"), "repository": of["repository"], "repository_id": identity}
    return st.one_of(
        st.fixed_dictionaries({"at": st.just(at), **ended, "snapshots": st.lists(snapshot, max_size=2)}),
        st.fixed_dictionaries({"at": st.just(at), **ended}),
        st.fixed_dictionaries({"at": st.just(at), **stats}),
    )


def _objects(model: type[BaseModel], pools: Pools, depth: int) -> st.SearchStrategy[Table]:
    """Objects of a class, most of them with all its fields."""
    hints = get_type_hints(model, include_extras=True)
    needed: dict[str, st.SearchStrategy[Any]] = {}
    left: dict[str, st.SearchStrategy[Any]] = {}
    for name, field in model.model_fields.items():
        value = _values(name, hints[name], pools, depth)
        (needed if field.is_required() or name == "type" else left)[name] = value
    return st.fixed_dictionaries(needed, optional=left)


def _values(name: str, annotation: Any, pools: Pools, depth: int) -> st.SearchStrategy[Any]:
    if get_origin(annotation) is Annotated:
        return _values(name, get_args(annotation)[0], pools, depth)
    if isinstance(annotation, type) and annotation in (Job, DeclaredRepository):
        return st.sampled_from(pools[annotation.__name__])
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return st.one_of(*(_values(name, part, pools, depth) for part in parts))
    if origin is tuple:
        return st.lists(_values(name, parts[0], pools, depth), max_size=2)
    if origin is dict:
        keys = _values(name, parts[0], pools, depth).filter(lambda key: isinstance(key, str))
        return st.dictionaries(keys, _values(name, parts[1], pools, depth), max_size=2)
    if origin is Literal:
        return st.sampled_from(parts)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _objects(annotation, pools, depth - 1) if depth else st.just({})
    return _plain(name, annotation, pools)


def _plain(name: str, kind: Any, pools: Pools) -> st.SearchStrategy[Any]:
    if name in pools:
        return st.sampled_from(pools[name])
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from([one.value for one in kind])
    known: dict[Any, Sequence[Any]] = {
        bool: (True, False),
        int: NUMBERS,
        float: (0.0, 1e308),
        datetime: TIMES,
        timedelta: ("PT1H",),
        type(None): (None,),
    }
    return st.sampled_from(known.get(kind, WORDS))
