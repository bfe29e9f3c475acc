"""The tags that snapshots of ours carry, whatever engine keeps them: `hb:job=…`, `hb:set=…` and `hb:run=…`.

They lie in repositories for ever, so they are spelled and read here and nowhere else. A tag says whose a snapshot
claims to be; that it is governed only the record proves.
"""

from __future__ import annotations

from collections.abc import Iterable

_OURS = "hb:"
_JOB = f"{_OURS}job="
_SET = f"{_OURS}set="
_RUN = f"{_OURS}run="

_ONE = rf"{_OURS}[a-z]+=[a-z0-9][a-z0-9._-]{{0,62}}"
TAG_LIST = rf"\A{_ONE}(,{_ONE})*\z"
"""What a comma-joined list of our tags looks like, as a pattern of pydantic's."""


def job_tag(job: str) -> str:
    """The tag of a job's snapshots."""
    return f"{_JOB}{job}"


def set_tags(job: str, set: str) -> tuple[str, str]:
    """The tags that all snapshots of a job's set carry."""
    return job_tag(job), f"{_SET}{set}"


def set_tag_list(job: str, set: str) -> str:
    """The same, comma-joined: a snapshot of the set carries all of them."""
    return ",".join(set_tags(job, set))


def backup_tags(job: str, set: str, run: str) -> tuple[str, ...]:
    """The tags of the snapshot that one run makes of a set."""
    return *set_tags(job, set), f"{_RUN}{run}"


def read_job(tags: Iterable[str]) -> str | None:
    """The job that tags name."""
    return _read(tags, _JOB)


def read_set(tags: Iterable[str]) -> str | None:
    """The set that tags name."""
    return _read(tags, _SET)


def read_run(tags: Iterable[str]) -> str | None:
    """The run that tags name."""
    return _read(tags, _RUN)


def names_job(tags: Iterable[str], job: str) -> bool:
    """Whether tags name this job, were it among others."""
    return job_tag(job) in tags


def without_run(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags that snapshots of several runs have in common: every run of ours has one of its own."""
    return tuple(tag for tag in tags if not tag.startswith(_RUN))


def is_ours(tag: str) -> bool:
    """Whether a tag is one that only we write."""
    return tag.startswith(_OURS)


def _read(tags: Iterable[str], prefix: str) -> str | None:
    return next((tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)), None)
