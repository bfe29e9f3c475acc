"""Every error that Highball raises on purpose: one tree.

Each has a stable code (for programs), one sentence (for people), a hint what to do, and where it matters
all problems at once. The exit status of the command line and the status of an HTTP answer are decided here
and nowhere else.

    HighballError
    ├── Misuse                  2   the command line makes no sense
    ├── ConfigurationInvalid    2   what people declared is wrong; carries every Problem
    ├── StateUnusable           2   the state directory or its database cannot be used
    ├── ProgramMissing          2   restic is not there, or too old
    ├── Unknown                 4   a job, repository, run or snapshot that was named does not exist
    ├── Conflict                5   something of the same kind is already under way
    │   └── Stale                   it was changed by somebody else meanwhile
    ├── LoginNeeded             6   nobody has said who asks
    ├── RevisionMissing         2   a change must say which revision it changes
    ├── NotAllowed              6   refused by a rule, a role or a missing credential
    │   └── Throttled               too many attempts failed: wait a while
    ├── Cancelled             130   a person or a signal ended it
    ├── Busy                    1   it has enough to do already: come again in a while
    └── Failed                  1   it was tried and did not work
        ├── SecretUnavailable       a reference to a secret leads nowhere
        └── RepositoryError         the storage said no; its code says why
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, with its place (`jobs.documents.schedule`) and what to do about it."""

    at: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        place = f"{self.at}: " if self.at else ""
        return f"{place}{self.message}" + (f" ({self.hint})" if self.hint else "")


class HighballError(Exception):
    """The root of the tree; never raised itself."""

    default_code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        problems: Iterable[Problem] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint
        self.problems = tuple(problems)


class Misuse(HighballError):
    """The command was called in a way that makes no sense."""

    default_code = "usage"
    exit_code = 2
    http_status = 400


class ConfigurationInvalid(HighballError):
    """What people declared is wrong; every problem is listed with its place."""

    default_code = "configuration_invalid"
    exit_code = 2
    http_status = 422


class StateUnusable(HighballError):
    """The state directory or the database in it cannot be used."""

    default_code = "state_unusable"
    exit_code = 2
    http_status = 503


class ProgramMissing(HighballError):
    """A program that the work needs is not installed, or too old."""

    default_code = "program_missing"
    exit_code = 2
    http_status = 503


class Unknown(HighballError):
    """Something was named that does not exist; the code says of which kind."""

    default_code = "unknown"
    exit_code = 4
    http_status = 404


class Conflict(HighballError):
    """Something of the same kind is already under way."""

    default_code = "conflict"
    exit_code = 5
    http_status = 409


class Stale(Conflict):
    """What was to be changed is not what it was: it carries the revision that holds, and what differs."""

    default_code = "revision_conflict"
    http_status = 412

    def __init__(
        self, message: str, *, revision: int, differences: Iterable[Any] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.revision = revision
        self.differences = tuple(differences)


class LoginNeeded(HighballError):
    """Nobody has said who asks."""

    default_code = "login_needed"
    exit_code = 6
    http_status = 401


class RevisionMissing(HighballError):
    """A change must say which revision it changes, so that nobody undoes another's work unseen."""

    default_code = "revision_missing"
    exit_code = 2
    http_status = 428


class NotAllowed(HighballError):
    """A rule, a role or a missing credential forbids it."""

    default_code = "not_allowed"
    exit_code = 6
    http_status = 403


class ConfirmationNeeded(NotAllowed):
    """Only who has just typed their password may do it."""

    default_code = "confirmation_needed"


class Throttled(NotAllowed):
    """Too many attempts failed; it says how long to wait."""

    default_code = "throttled"
    http_status = 429

    def __init__(self, message: str, *, wait_for: timedelta, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.wait_for = wait_for


class Cancelled(HighballError):
    """A person or a signal ended it before it was done."""

    default_code = "cancelled"
    exit_code = 130
    http_status = 409


class Busy(HighballError):
    """There is enough to do already; it says when to come again."""

    default_code = "busy"
    http_status = 503
    retryable = True

    def __init__(
        self, message: str, *, wait_for: timedelta, code: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.wait_for = wait_for


class Failed(HighballError):
    """It was tried and did not work."""

    default_code = "failed"
    exit_code = 1
    http_status = 502


class SecretUnavailable(Failed):
    """A reference to a secret leads nowhere."""

    default_code = "secret_unavailable"


class RepositoryError(Failed):
    """A repository could not be used; the code is its engine's."""

    default_code = "repository_failed"

    def __init__(self, message: str, *, code: str, hint: str | None = None, retryable: bool = False) -> None:
        super().__init__(message, code=code, hint=hint)
        self.worth_retrying = retryable
