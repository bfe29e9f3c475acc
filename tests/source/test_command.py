"""What a command source may say; and that every kind keeps the contract of the port."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from highball.agent.connection import CAPABILITIES
from highball.config.job import Job
from highball.place.local import LOCAL
from highball.protocol.queries import TestSources, needs_of
from highball.source import base
from highball.source.command import CommandSource, key_of
from highball.source.kinds import KINDS, kind_of


def job(*sources: Any) -> Job:
    return Job.model_validate({"sources": list(sources)})


def complaint(*sources: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        job(*sources)
    return str(caught.value)


def test_the_shape_tells_the_kind() -> None:
    read = job("/etc", {"run": "pg_dump app", "name": "app.sql"}, {"path": "/srv", "exclude": ["x"]})
    assert [one.kind for one in read.sources] == ["path", "command", "path"]
    assert Job.model_validate(read.model_dump(mode="json", exclude_unset=True)) == read


def test_paths_are_one_set_and_each_stream_its_own() -> None:
    streams = [{"run": "pg_dump app", "name": "App Dump.sql"}, {"run": ["redis-dump"], "name": "redis"}]
    assert job("/etc", *streams, "/srv").sets == ("files", "app-dump.sql", "redis")
    assert job(streams[0]).sets == ("app-dump.sql",)


@pytest.mark.parametrize("name", ["", "a/b", "..", "files", "Files", "a\nb", " a", "…", "x" * 64])
def test_names_that_are_refused(name: str) -> None:
    assert complaint({"run": "true", "name": name})


def test_two_streams_of_one_set_are_refused() -> None:
    told = complaint({"run": "a", "name": "App.sql"}, {"run": "b", "name": "app.sql"})
    assert 'makes the set "app.sql"' in told


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("PGPASSWORD", "open", "is a secret, not text"),
        ("MYSQL_PWD", "open", "is a secret, not text"),
        ("PGPASSWORD", {"sealed": True}, "cannot be sealed"),
        ("HIGHBALL_JOB", "x", "cannot be set here"),
        ("A B", "x", "is not the name of a variable"),
        ("A", "x\0", "cannot be printed"),
    ],
)
def test_variables_that_are_refused(name: str, value: Any, told: str) -> None:
    assert told in complaint({"run": "pg_dump", "name": "app.sql", "environment": {name: value}})


def test_a_command_without_variables_is_told_as_to_agents_that_know_none() -> None:
    plain = job({"run": "pg_dump", "name": "app.sql"})
    setting = job({"run": "pg_dump", "name": "app.sql", "environment": {"PGHOST": "db"}})
    assert plain.model_dump(mode="json", exclude_none=True)["sources"] == [
        {"run": "pg_dump", "name": "app.sql"}
    ]
    assert "command-variables" not in needs_of(TestSources(job=plain))
    assert "command-variables" in needs_of(TestSources(job=setting))
    assert "command-variables" in CAPABILITIES


@pytest.mark.parametrize("name", ["PGPASSFILE", "DB_PASSWORD_FILE", "PGHOST"])
def test_where_a_secret_lies_is_text(name: str) -> None:
    assert job({"run": "pg_dump", "name": "app.sql", "environment": {name: "/etc/highball/pgpass"}})


@pytest.mark.parametrize("name", ["app.sql", "App Dump.SQL", "ÜbËr-1", "a" * 63, "-x-"])
def test_a_set_is_written_like_a_key(name: str) -> None:
    declared = CommandSource(run="true", name=name)
    assert declared.set == key_of(name)
    assert job({"run": "true", "name": name}).sets == (declared.set,)


@pytest.mark.parametrize(("text", "status"), [("false | cat", 1), ("true | cat", 0), ("exit 4", 4)])
def test_every_part_of_a_pipe_has_to_end_well(text: str, status: int) -> None:
    declared = CommandSource(run=text, name="x")
    given = declared.prepare(declared.examine(base.Omissions(), LOCAL), base.Omissions(), LOCAL)
    assert subprocess.run(given.argv, check=False, stderr=subprocess.DEVNULL).returncode == status


# --- the contract --------------------------------------------------------------------------------


def written(kind: type[Any], there: Path) -> Any:
    return {"path": {"path": str(there)}, "command": {"run": ["/bin/echo"], "name": "a.txt"}}[kind.kind]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_the_contract_of_every_kind(kind: type[Any], tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    spec = written(kind, tmp_path)
    assert [other for other in KINDS if other.claims(spec)] == [kind]
    assert kind_of(spec) == kind.kind
    source: base.Source = kind.model_validate(spec)
    reads = source.reads()
    assert reads.paths or reads.command, "the policy has nothing to judge by"
    assert source.title
    assert "\n" not in source.title
    assert (source.set == "files") == bool(reads.paths)
    found = source.examine(base.Omissions(), LOCAL)
    assert found.usable
    assert found.caution is None
    ready = source.prepare(found, base.Omissions(), LOCAL)
    is_stream = isinstance(ready, base.Stream)
    assert is_stream == (source.set != "files")
    assert source.path_within.startswith(b"/")
    assert sorted(os.listdir(tmp_path)) == ["x"]
    source.release(LOCAL)
    source.release(LOCAL)
