"""Every field that comes from a hub has been decided about: what it can do on a host, and what the policy is asked.

A new message, class or field of the protocol fails here, and is refused by every agent, until somebody has decided.
"""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from highball.agent import veto
from highball.agent.host_policy import Policy
from highball.engine.base import DeclaredRepository
from highball.engine.kinds import ENGINES
from highball.engine.restic.declaration import Admin, ResticRepository
from highball.engine.restic.uses import uses_of_fields
from highball.errors import NotAllowed
from highball.place.base import DeclaredPlace, Place
from highball.place.kinds import KINDS as PLACES
from highball.place.local import LOCAL
from highball.protocol import queries, tasks, wire
from highball.source.base import Source
from highball.source.kinds import KINDS
from hostile.test_host_veto import use_restic
from testbed.restic import ResticBinary

GREETING = {wire.Challenge, wire.Welcome, wire.Refusal, wire.Enrolled}
"""What a hub says before it has proved who it is: signatures, keys and words."""

FROM_AGENTS = {
    wire.Hello,
    wire.Enrol,
    wire.Taken,
    wire.Declined,
    wire.RunHeld,
    wire.Inventory,
    wire.Events,
    wire.ProgressSeen,
    wire.SecretsWanted,
    wire.Heartbeat,
    wire.Answer,
    wire.Unsupported,
}

HOSTILE = (
    *(
        "/etc/shadow",
        "--repo=x",
        "-o",
        "../../x",
        "..",
        "$(id)",
        "a b|c",
        "x\0y",
        "x\ny",
        "a=b",
        "rclone:x:y",
    ),
    *("http://127.0.0.1/", "", "`id`", ":/x", "~/x"),
)
"""What would do something on a host if it came to where paths, programs, words or variables are."""


def parts_of(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of, each with its own rules about what it may hold."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType, tuple, list, dict):
        for part in get_args(annotation):
            if part not in (type(None), Ellipsis):
                yield from parts_of(part)
    elif origin is Annotated and list(parts_of(get_args(annotation)[0])) != [get_args(annotation)[0]]:
        yield from parts_of(get_args(annotation)[0])
    else:
        yield annotation


def bare(annotation: Any) -> Any:
    """A type without what is said about it."""
    return bare(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation


def fields_of(model: type[BaseModel]) -> dict[str, Any]:
    """The fields of a class, and their annotations in full."""
    hints = get_type_hints(model, include_extras=True)
    return {name: hints[name] for name in model.model_fields}


def declared_by(kind: Any) -> Iterator[type[BaseModel]]:
    """A class of objects itself; in place of what all kinds of a port have in common, each of them."""
    if kind is DeclaredRepository:
        yield from (engine.declared for engine in ENGINES)
    elif kind is Source:
        yield from KINDS
    elif kind is DeclaredPlace:
        yield from PLACES
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind


ANSWERED = (veto.recorded, veto.unused, veto.is_used, veto.goes_elsewhere, None)
"""Rules that leave nothing within a field to be asked about."""


def reachable(models: set[type[BaseModel]]) -> set[type[BaseModel]]:
    """All classes that may lie in these, as deep as anybody looks: what is only recorded is not looked into, what a
    repository uses its engine says, and another place is a command whatever it is."""
    found: set[type[BaseModel]] = set()
    left = list(models)
    while left:
        model = left.pop()
        if model in found:
            continue
        found.add(model)
        for name, annotation in fields_of(model).items():
            if veto.rules_of(model).get(name) in ANSWERED:
                continue
            kinds = [bare(part) for part in parts_of(annotation)]
            left += [declared for kind in kinds for declared in declared_by(kind)]
    return found


FROM_HUBS = set(get_args(wire.Body)) - GREETING - FROM_AGENTS
COMES = sorted(reachable(FROM_HUBS), key=lambda model: model.__name__)
FIELDS = [(model, name) for model in COMES for name in model.model_fields]


def test_every_class_that_comes_from_a_hub_has_its_row_and_no_other() -> None:
    assert set(get_args(wire.Body)) >= GREETING | FROM_AGENTS
    of_engines = {engine.declared for engine in ENGINES}
    assert set(COMES) == {*veto.DECIDED, *of_engines}
    of_tasks, questions = get_args(tasks.Task)[0], get_args(queries.Question)[0]
    assert {bare(task) for task in get_args(of_tasks)} | set(get_args(questions)) <= set(COMES)


@pytest.mark.parametrize("model", COMES, ids=lambda model: model.__name__)
def test_every_field_has_been_decided_about(model: type[BaseModel]) -> None:
    assert set(veto.rules_of(model)) == set(model.model_fields)


@pytest.mark.parametrize(("model", "name"), FIELDS, ids=[f"{m.__name__}.{name}" for m, name in FIELDS])
def test_what_is_called_harmless_can_hold_nothing_else(model: type[BaseModel], name: str) -> None:
    rule = veto.rules_of(model)[name]
    for part in parts_of(fields_of(model)[name]):
        kind = bare(part)
        is_model = any(declared_by(kind))
        if rule is veto.harmless:
            assert not is_model, "it holds fields of its own: they are within"
            assert is_tame(part), f"{part} can name a path, a program, a variable or a secret"
        elif rule is veto.within:
            assert is_model or isinstance(kind, str) or kind is str, part


def is_tame(part: Any) -> bool:
    """Whether a type can hold nothing that would do something on a host."""
    kind = bare(part)
    if get_origin(kind) is Literal:
        return all(not isinstance(value, str) or value.replace("-", "").isalnum() for value in get_args(kind))
    if kind in (bool, int, float, datetime, timedelta) or (isinstance(kind, type) and issubclass(kind, Enum)):
        return True
    return kind is str and not any(takes(part, text) for text in HOSTILE)


def takes(part: Any, text: str) -> bool:
    try:
        TypeAdapter(part, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(text)
    except ValidationError:
        return False
    return True


def test_a_field_that_nobody_decided_about_is_refused() -> None:
    class Newer(tasks.PlainTask):
        """A task as a later program might have it."""

        argv: tuple[str, ...] = ()

    class Unheard(BaseModel):
        """A message that is in no row."""

        program: str = "/bin/sh"

    everything = Policy.model_validate({"commands": "always"})
    for message in (Newer(type="stats", repository="nas", argv=("x",)), Unheard()):
        with pytest.raises(NotAllowed, match="there is no rule for"):
            veto.demand(everything, message)
    veto.demand(everything, tasks.PlainTask(type="stats", repository="nas"))


def test_nothing_is_looked_at_in_a_place_that_is_not_allowed() -> None:
    opened: list[str] = []

    class Faraway(DeclaredPlace):
        """A place that is reached by a program."""

        name: ClassVar[str] = "faraway"

        def open(self) -> Place:
            opened.append(self.name)
            return LOCAL

    asked = queries.Browse(path=b"/srv", place=Faraway())
    reading = {"read": ["/srv"]}
    with pytest.raises(NotAllowed, match="another place"):
        veto.demand(Policy.model_validate(reading), asked)
    assert opened == []
    veto.demand(Policy.model_validate(reading | {"commands": "always"}), asked)
    assert opened == ["faraway"]


def test_a_field_of_a_repository_that_its_engine_says_nothing_of_is_refused() -> None:
    class Later(ResticRepository):
        """A repository as a later restic might have it."""

        program: str = "/bin/sh"

    everything = Policy.model_validate({"commands": "always"})
    written = {"url": "/mnt/nas", "password": {"file": "/etc/highball/nas.key"}}
    veto.demand(everything, ResticRepository.model_validate(written))
    with pytest.raises(NotAllowed, match="there is no rule for program"):
        veto.demand(everything, Later.model_validate(written))


def test_every_field_of_the_access_that_may_delete_has_been_decided_about() -> None:
    where = {"url", "kind", "path", "server", "port", "user", "endpoint", "bucket", "prefix", "region"}
    assert set(uses_of_fields(Admin())) == set(Admin.model_fields) - where - {"rest_username"}


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ({"file": "/etc/shadow"}, "/etc/shadow may not be where docs's environment.TOKEN is read from"),
        ({"env": "AGENT_TOKEN"}, "may not be env:AGENT_TOKEN here"),
    ],
)
def test_a_secret_of_a_source_is_asked_about_besides_its_command(
    reference: dict[str, str], told: str
) -> None:
    source = {"run": "dump", "name": "app.sql", "environment": {"TOKEN": reference}}
    task = tasks.BackupTask.model_validate({"job": {"sources": [source]}})
    case = veto.Case(Policy.model_validate({"commands": "always", "secrets": ["/etc/keys"]}), about="docs")
    [problem] = veto.walk(case, task)
    assert told in problem.message


# --- that it is so -------------------------------------------------------------------------------

WATCHING = """
import json, os, sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

seen = []

def told(value):
    if isinstance(value, (str, bytes, os.PathLike)):
        yield os.fsencode(value)
    elif isinstance(value, dict):
        for pair in value.items():
            yield from told(pair)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from told(one)

def watch(event, arguments):
    if event == "open" or event.startswith(("os.", "subprocess.", "socket.", "shutil.", "tempfile.")):
        seen.extend((event, text) for text in told(arguments) if b"canary" in text)

from highball.agent.run import runner
from highball.agent.run_directory import RunDirectory
from highball.agent.state_dir import Workplace
from highball.process.child import Stop
from highball.protocol.tasks import Assignment

state, orders = Path(sys.argv[1]), json.load(sys.stdin)
place = Workplace(state)
place.prepare()
sys.addaudithook(watch)
outcomes = []
for order in orders:
    assignment = Assignment.model_validate({"run": str(uuid4()), "created_at": datetime.now(UTC), **order})
    directory = RunDirectory.create(place.runs, assignment)
    outcomes.append(runner.carry_out(directory, place, Stop()).outcome.value)
    directory.release()
try:
    open("/nowhere/a canary that is seen")
except OSError:
    pass
print(json.dumps({"outcomes": outcomes, "seen": [[event, text.decode()] for event, text in seen]}))
"""


def test_what_is_only_recorded_reaches_no_program_and_no_file(
    restic: ResticBinary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_restic(restic, tmp_path, monkeypatch)
    source = tmp_path / "source"
    source.mkdir()
    (source / "letter").write_text("dear reader")
    nas = {"url": str(tmp_path / "nas"), "password": {"file": str(tmp_path / "password")}}
    nas |= {"title": "canary title", "host": "canary-host", "maintained_by": "canary-maintainer"}
    job = {
        "repositories": ["nas"],
        "sources": [str(source)],
        "title": "canary of a job",
        "profile": "canary-profile",
        "host": "canary-host",
        "tags": ["canary-tag"],
        "windows": ["22:00-06:00"],
    }
    held = {"job": "docs", "set": "files", "code": "canary", "message": "canary: it is held"}
    step = {"number": 1, "action": "hook", "title": "canary of a step", "outcome": "success"}
    removal = {"job": "docs", "host": "laptop", "set": "files", "tags": ["hb:job=docs,hb:set=files"]}
    tasks: list[dict[str, Any]] = [
        {"type": "backup", "job": job},
        {"type": "verify", "repository": "nas", "snapshot_id": "latest"},
        {"type": "restore", "repository": "nas", "snapshot_id": "latest", "overwrite": "never"}
        | {"paths": [str(source)], "target": str(tmp_path / "back")},
        {"type": "check", "repository": "nas", "slice": "1/2"},
        {"type": "forget", "repository": "nas", "held": [held], "removals": []},
        {"type": "forget", "repository": "nas", "removals": [removal | {"remove": [], "stay": ["f"]}]},
        {"type": "unlock", "repository": "nas"},
        {"type": "stats", "repository": "nas"},
        {"type": "init", "repository": "nas"},
    ]
    about = {"kind": "maintenance", "host": "laptop", "job": "docs", "subject": "canary:subject"}
    orders = [about | {"task": task, "repositories": {"nas": nas}, "done_before": [step]} for task in tasks]
    argv = [sys.executable, "-c", WATCHING, str(tmp_path / "state")]
    ended = subprocess.run(argv, input=json.dumps(orders), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["seen"] == [["open", "/nowhere/a canary that is seen"]], "and nothing else"
    worked = [
        task["type"] for task, outcome in zip(tasks, told["outcomes"], strict=True) if outcome == "success"
    ]
    assert {"backup", "verify", "restore", "check", "unlock", "stats", "init"} <= set(worked), told[
        "outcomes"
    ]
