"""Short ways to declare things in tests."""

from typing import Any

import pytest

from highball.config.document import (
    Document,
    build,
    parse,
)
from highball.errors import ConfigurationInvalid, Problem

NAS = {"url": "/mnt/nas/restic", "password": {"env": "NAS"}}


def tables(job: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A document that is right: one repository, one job; `job` adds to it or replaces."""
    own = {"sources": ["/srv"], "repositories": ["nas"], **(job or {})}
    return {"repositories": {"nas": NAS, **more.pop("repositories", {})}, "jobs": {"j": own}, **more}


def document(job: dict[str, Any] | None = None, **more: Any) -> Document:
    """The same, read."""
    return build(tables(job, **more))


def problems_in(declared: dict[str, Any]) -> list[str]:
    """What is wrong with the tables, as people see it."""
    return _shown(lambda: build(declared))


def problems_in_text(text: bytes | str, kind: Any = "toml") -> list[str]:
    """What is wrong with the text, as people see it."""
    return _shown(lambda: parse(text.encode() if isinstance(text, str) else text, kind))


def problems_in_job(**fields: Any) -> list[str]:
    """What is wrong with a job, without the place that all of it has."""
    return [one.removeprefix("jobs.j").removeprefix(".") for one in problems_in(tables(fields))]


def _shown(do: Any) -> list[str]:
    with pytest.raises(ConfigurationInvalid) as caught:
        do()
    assert caught.value.problems
    assert all(isinstance(problem, Problem) for problem in caught.value.problems)
    return [str(problem) for problem in caught.value.problems]
