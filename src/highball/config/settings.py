"""What holds for the whole installation."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from highball.config.object_keys import Key
from highball.config.problems import wrong
from highball.config.provider import Provider
from highball.config.web_settings import Web
from highball.engine.kinds import Programs
from highball.schedule import (
    Duration,
    check_cron,
    check_timezone,
)


def _check_whole(path: Path) -> Path:
    if not path.is_absolute() or "\0" in str(path):
        raise wrong("is not an absolute path", "it starts with /")
    return path


_WholePath = Annotated[Path, AfterValidator(_check_whole)]


def _check_fields(text: str) -> str:
    check_cron(text)
    return " ".join(text.split())


_Fields = Annotated[str, AfterValidator(_check_fields)]


class History(BaseModel):
    """How long the record keeps what happened; a run that still says something stays anyway."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    logs: Duration = Field(timedelta(days=90), description="the output of programs")
    runs: Duration = Field(timedelta(days=400), description="runs, except the last ones; at least 15d")
    last: Annotated[int, Field(ge=1, le=100_000)] = Field(
        50, description="how many runs of each job are kept regardless of age"
    )


class _Installation(BaseModel):
    """What holds for the whole installation, whatever engines there are."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    host: Key | None = Field(
        None, description="this machine's host ID; by default made from its name at first use"
    )
    state: _WholePath | None = Field(
        None, description="the folder where Highball keeps its record, runs and cache"
    )
    timezone: Annotated[str, AfterValidator(check_timezone)] = Field(
        "UTC", description="the time zone of schedules that do not name one"
    )
    times: dict[Literal["hourly", "daily", "weekly", "monthly"], _Fields] = Field(
        {},
        description="five cron fields for hourly, daily, weekly or monthly, instead of the usual ones",
    )
    backup_repository: Key | None = Field(None, description="the ID of the repository for the hub backup")
    history: History = Field(
        History(),
        description="how long logs (90d) and runs (400d, at least the last 50 of each job) are kept",
        json_schema_extra={"default": {"logs": "90d", "runs": "400d", "last": 50}},
    )
    web: Web = Field(
        Web(),
        description="how the hub is reached: names, proxies, its path, plain http",
        json_schema_extra={"default": {}},
    )
    oidc: Provider | None = Field(
        None,
        description="the OpenID Connect provider for log-ins: issuer, client_id, client_secret, roles …",
    )


class Settings(Programs, _Installation):
    """What holds for the whole installation."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
