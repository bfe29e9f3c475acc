"""How a job stands in a repository, and what holds its retention."""

from __future__ import annotations

from enum import StrEnum

from highball.model.fact import Fact
from highball.model.run import Outcome, Reason
from highball.model.text import UtcTime


class Health(StrEnum):
    """How a job stands in a repository; the first that applies."""

    NEVER = "never"
    OVERDUE = "overdue"
    FAILED = "failed"
    LATE = "late"
    HEALTHY = "healthy"


class HoldCause(StrEnum):
    """Why retention stands still."""

    NEWEST_SHRANK = "newest_shrank"
    CHECK_FAILED = "check_failed"
    DELETED_ELSEWHERE = "deleted_elsewhere"
    ROLLED_BACK = "rolled_back"
    RESTORE_TEST_FAILED = "restore_test_failed"
    GAP = "gap"
    CLOCK_WRONG = "clock_wrong"
    REPOSITORY_TWICE = "repository_twice"


NOT_BY_A_PERSON = (HoldCause.CHECK_FAILED, HoldCause.CLOCK_WRONG, HoldCause.REPOSITORY_TWICE)
"""What is wrong there does not become right by saying so."""


class Hold(Fact):
    """Retention stands still: in a whole repository, or (where they are named) for a job there, or one set of it."""

    id: str
    repository: str
    job: str | None = None
    host: str | None = None
    set: str | None = None
    cause: HoldCause
    message: str
    """What is odd."""
    lifts: str
    """What it waits for: "retention stands still until …"."""
    acceptable: bool
    """Whether a person's word lifts it."""
    since: UtcTime
    run: str | None = None
    """The run that shows it."""
    about: str | None = None
    """What exactly is odd, like a snapshot's id."""


class Standing(Fact):
    """One job in one repository. `state` is its health; times and sizes that are not known are null."""

    job: str
    repository: str
    state: Health
    last_success_at: UtcTime | None = None
    age_seconds: int | None = None
    snapshots: int = 0
    last_outcome: Outcome | None = None
    last_reason: Reason | None = None
    last_run: str | None = None
    failures: int = 0
    """How many backups have failed in a row, since the last good one."""
    last_check_at: UtcTime | None = None
    last_restore_proof_at: UtcTime | None = None
    last_retention_at: UtcTime | None = None
    """When retention was last applied; null is never: all is kept."""
    size_bytes: int | None = None
    """What the newest snapshot holds."""
    repository_bytes: int | None = None
    """What the repository stored when it was last measured."""
    unknown_snapshots: int | None = None
    """How many snapshots the repository last showed that no known run made; null where nothing has looked there."""
    holds: tuple[Hold, ...] = ()
    """What makes retention stand still here."""
    untested: Reason | None = None
    """Why nobody knows whether the repository can be used as it is declared now: nothing has reached it since."""
