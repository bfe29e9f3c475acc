"""A host as people declare it: a machine whose data is protected, and what it may be burdened with."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from highball.config.job import Rate, Tags
from highball.config.object_keys import Title


class Host(BaseModel):
    """A machine whose data is protected."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    title: Title | None = Field(None, description="the name shown")
    tags: Tags = Field((), description="tags to find and group it by")
    always_on: bool = Field(
        True,
        strict=True,
        description="false for a machine that sleeps or travels: no alert while it is offline",
    )
    limit_upload: Rate | None = Field(
        None, description="limit for all its runs together: KiB a second, or text like 2M"
    )
    limit_download: Rate | None = Field(
        None, description="limit for all its runs together: KiB a second, or text like 2M"
    )
    concurrency: int = Field(2, ge=1, le=100, strict=True, description="how many runs at a time")
