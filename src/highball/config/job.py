"""Backup jobs and the profiles they inherit from.

A class here tells what one table of the configuration may say; how tables are merged is the matter of
`inheritance`. A field's default is what holds where no table names it.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    field_validator,
)

from highball.config.object_keys import Key, Title
from highball.config.problems import all_wrong, wrong
from highball.model.text import PathText, path_for_people
from highball.retention import Retention
from highball.schedule import (
    Duration,
    Schedule,
    window_to_text,
)
from highball.source.base import Omissions
from highball.source.command import CommandLine, CommandSource, check_timeout
from highball.source.kinds import AnySource
from highball.source.path import PathSource
from highball.source.spelling import Pattern, check_path, lies_inside

# --- sizes and rates -----------------------------------------------------------------------------

_SIZE = re.compile(r"(\d{1,19}(?:\.\d{1,6})?) ?([KMGT]?)(?:I?B)?", re.A)
_LARGEST = 2**60


def _size_from_value(value: object) -> int:
    """Bytes from a number or text like `1G`, `500M`, `1.5 GiB`; a K is 1024, as restic reads it."""
    if isinstance(value, int) and not isinstance(value, bool):
        found = value
    elif isinstance(value, str):
        match = _SIZE.fullmatch(value.strip().upper())
        if match is None:
            raise wrong(f'"{value[:40]}" is not a size', "write it like 500M or 1G")
        unit = 1024 ** " KMGT".index(match[2] or " ")
        found = math.ceil(float(match[1]) * unit) if "." in match[1] else int(match[1]) * unit
    else:
        raise ValueError('a size is text like "1G", or a number of bytes')
    if not 0 < found <= _LARGEST:
        raise ValueError("a size is at least one byte and at most 2^60")
    return found


def _size_to_text(size: int) -> str:
    power = next(power for power in (4, 3, 2, 1, 0) if size % 1024**power == 0)
    return f"{size // 1024**power}{' KMGT'[power]}".strip()


def _rate_from_value(value: object) -> int:
    """KiB a second from a number of these or text like `2M`."""
    if isinstance(value, str):
        return math.ceil(_size_from_value(value.strip().lower().removesuffix("/s")) / 1024)
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST:
        return value
    raise ValueError('a rate is text like "2M", or a number of KiB a second')


Size = Annotated[
    int,
    BeforeValidator(_size_from_value),
    PlainSerializer(_size_to_text, return_type=str),
    WithJsonSchema({"anyOf": [{"type": "string", "examples": ["1G"]}, {"type": "integer", "minimum": 1}]}),
]
"""A number of bytes, written as people say it."""

Rate = Annotated[
    int,
    BeforeValidator(_rate_from_value),
    WithJsonSchema({"anyOf": [{"type": "string", "examples": ["2M"]}, {"type": "integer", "minimum": 1}]}),
]
"""KiB a second."""


# --- hooks ---------------------------------------------------------------------------------------


class Hook(BaseModel):
    """A command that runs before or after a backup."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: str | None = Field(None, description="its name in messages")
    run: CommandLine = Field(description="a command for the shell, or a list: a program and its arguments")
    dir: Annotated[PathText, AfterValidator(check_path)] | None = Field(
        None, description="the folder to run it in"
    )
    timeout: Annotated[Duration, AfterValidator(check_timeout)] = Field(
        timedelta(minutes=10),
        description="time limit; then it is killed, with all that it did not start in a session of its own",
        json_schema_extra={"default": "10m"},
    )
    on_error: Literal["fail", "warn", "skip"] = Field(
        "fail",
        description="if it fails: fail the run, continue with a warning, or (before only) skip the run",
    )


HOOK_VARIABLES: Final = {
    "HIGHBALL_JOB": "the ID of the job",
    "HIGHBALL_HOST": "the ID of the host",
    "HIGHBALL_RUN": "the ID of the run",
    "HIGHBALL_OUTCOME": "after only: success, warning, failure, cancelled or skipped",
    "HIGHBALL_REASON": "after only, where there is a reason: one sentence",
    "HIGHBALL_JOB_ID": "job and run, as every process of the run carries it",
}
"""What hooks find in their environment, told wherever hooks are written."""


# --- jobs ----------------------------------------------------------------------------------------


def _check_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Each name once."""
    twice = [n for n, name in enumerate(names) if name in names[:n]]
    if twice:
        raise all_wrong((f"[{n}]", f'"{names[n]}" is listed twice', None) for n in twice)
    return names


Tags = Annotated[tuple[Key, ...], AfterValidator(_check_names)]
"""Words to find things by; each is written like a key."""


def _check_file_name(name: str) -> str:
    if not name.strip() or "/" in name or "\0" in name:
        raise ValueError("is not the name of a file")
    return name


LONGEST_BACKOFF = timedelta(minutes=30)
"""Doubling stops here."""


class Retry(BaseModel):
    """How often what failed on the way is tried again, and how long after."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    max: int = Field(0, ge=0, le=10, strict=True, description="how many times at most; 0 is never")
    backoff: Annotated[Duration, AfterValidator(check_timeout)] = Field(
        timedelta(minutes=10),
        description="how long to wait before the first; each later one waits twice as long, up to 30m",
        json_schema_extra={"default": "10m"},
    )

    def pause_after(self, attempt: int) -> timedelta:
        """How long to wait after this attempt failed; one declared above half an hour is kept as it is."""
        return min(self.backoff * (1 << (attempt - 1)), max(self.backoff, LONGEST_BACKOFF))


Window = Annotated[str, AfterValidator(window_to_text)]
"""Times of day in which something may begin: `22:00-06:00`, `mon-fri 22:00-06:00`."""


class JobSettings(BaseModel):
    """What a job may say and may inherit: from its profile, that one's profile, and the defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    host: Key | None = Field(
        None, description="the host whose data it backs up; by default the machine where it is declared"
    )
    schedule: Schedule = Field(Schedule(), description="when it runs")
    missed: Literal["run-latest", "skip"] = Field(
        "run-latest",
        description="if a scheduled time was missed: run once as soon as possible, or skip it",
    )
    windows: tuple[Window, ...] = Field(
        (),
        description="backup window: scheduled runs start only then, like mon-fri 22:00-06:00; none is always",
    )
    retry: Retry = Field(
        Retry(),
        description="retries of a backup whose repository was unreachable or locked, or whose engine failed",
    )
    repositories: Annotated[tuple[str, ...], AfterValidator(_check_names)] = Field(
        (), description="IDs of the repositories it backs up to"
    )
    exclude: tuple[Pattern, ...] = Field(
        (), description="patterns to exclude from every source; added to the inherited ones"
    )
    retention: Retention | None = Field(None, description="which snapshots are kept; merged field by field")
    before: tuple[Hook, ...] = Field((), description="commands to run first")
    after: tuple[Hook, ...] = Field((), description="commands to run last, whatever the outcome")
    shrink_limit: float = Field(
        0.5,
        strict=True,
        ge=0,
        le=1,
        description="warn when a snapshot shrank by more than this share of the usual size; 0 is never",
    )
    one_file_system: bool = Field(
        False,
        strict=True,
        description="do not enter other file systems; a bind mount of the same one is entered",
    )
    exclude_caches: bool = Field(False, strict=True, description="exclude folders marked by CACHEDIR.TAG")
    exclude_if_present: tuple[Annotated[str, AfterValidator(_check_file_name)], ...] = Field(
        (), description="exclude folders that contain a file of this name"
    )
    exclude_larger_than: Size | None = Field(None, description="exclude files larger than this, like 1G")
    compression: Literal["auto", "max", "off"] = Field("auto", description="compression level")
    read_concurrency: int | None = Field(
        None, ge=1, le=1024, strict=True, description="how many files are read at a time"
    )
    limit_upload: Rate | None = Field(None, description="limit: KiB a second, or text like 2M")
    limit_download: Rate | None = Field(None, description="limit: KiB a second, or text like 2M")
    wait: Duration = Field(
        timedelta(hours=1),
        description="how long to wait for a busy repository",
        json_schema_extra={"default": "1h"},
    )

    @field_validator("after")
    @classmethod
    def _nothing_left_to_skip(cls, hooks: tuple[Hook, ...]) -> tuple[Hook, ...]:
        late = [n for n, hook in enumerate(hooks) if hook.on_error == "skip"]
        if late:
            raise all_wrong(
                (f"[{n}].on_error", "cannot be skip: the backup is over", "fail or warn") for n in late
            )
        return hooks


class Profile(JobSettings):
    """A named set of what jobs inherit."""

    title: Title | None = Field(None, description="the name shown")
    profile: str | None = Field(None, description="the ID of a profile that this one inherits from")


def _is_blank(row: object) -> bool:
    if isinstance(row, dict):
        return all(value in (None, "", [], False) for value in row.values())
    return row is None or (isinstance(row, str) and not row.strip())


def _row(value: object, validate: ValidatorFunctionWrapHandler) -> Any:
    return None if _is_blank(value) else validate(value)


def _check_sources(rows: tuple[AnySource | None, ...]) -> tuple[AnySource, ...]:
    """Without blank rows; at least one, and none that reads what another reads."""
    sources = {n: source for n, source in enumerate(rows) if source is not None}
    if not sources:
        raise ValueError("names nothing to back up")
    found = [
        (f"[{n}]", words, None)
        for n, source in sources.items()
        for m, other in sources.items()
        for path in source.reads().paths
        for theirs in other.reads().paths
        if (words := _overlap(path, theirs, n, m))
    ]
    found += [
        (f"[{n}]", f'its name makes the set "{source.set}", as does that of another source', None)
        for n, source in sources.items()
        if not isinstance(source, PathSource)
        and any(source.set == other.set for m, other in sources.items() if m < n)
    ]
    if found:
        raise all_wrong(found)
    return tuple(sources.values())


def _overlap(path: bytes, other: bytes, n: int, m: int) -> str | None:
    if path == other:
        return f"{path_for_people(path)} is listed twice" if n > m else None
    if lies_inside(path, other):
        return f"{path_for_people(path)} is inside {path_for_people(other)}, another source"
    return None


class Job(JobSettings):
    """A backup job: what is read, where it goes, when, and how long it is kept."""

    profile: str | None = Field(None, description="the ID of the profile it inherits from")
    title: Title | None = Field(None, description="the name shown")
    tags: Tags = Field((), description="tags to find and group it by")
    enabled: bool = Field(
        True, strict=True, description="a job that is not enabled runs only when started manually"
    )
    sources: Annotated[
        tuple[Annotated[AnySource, WrapValidator(_row)], ...], AfterValidator(_check_sources)
    ] = Field(description="the folders and files to back up, and commands whose output to back up")

    @property
    def paths(self) -> tuple[PathSource, ...]:
        """Those of its sources that are folders and files."""
        return tuple(source for source in self.sources if isinstance(source, PathSource))

    @property
    def streams(self) -> tuple[CommandSource, ...]:
        """Those of its sources that are commands."""
        return tuple(source for source in self.sources if isinstance(source, CommandSource))

    @property
    def sets_variables(self) -> bool:
        """Whether one of its commands gets variables of its own."""
        return any(source.environment for source in self.streams)

    @property
    def sets(self) -> tuple[str, ...]:
        """What it saves, each as a snapshot of its own in each repository; in the order in which it is saved."""
        return tuple(dict.fromkeys(source.set for source in self.sources))

    @property
    def omissions(self) -> Omissions:
        """What it leaves out of all its sources."""
        return Omissions(
            exclude=self.exclude,
            one_file_system=self.one_file_system,
            exclude_caches=self.exclude_caches,
            exclude_if_present=self.exclude_if_present,
            exclude_larger_than=self.exclude_larger_than,
        )
