"""What requests about accounts and tokens have in common: secrets that are sent, one's own password along with them,
the key to be, and the revision that is changed.
"""

from __future__ import annotations

from typing import Annotated, Protocol, TypeVar

from fastapi import Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from highball.config.object_keys import Key
from highball.errors import ConfigurationInvalid, Problem
from highball.hub.audit import Actor
from highball.hub.auth.sessions import Access
from highball.secret import SecretValue
from highball.web.authorize import known
from highball.web.dependencies import Clock

IfMatch = Annotated[str | None, Header(alias="If-Match", pattern=r'^(W/)?"\d{1,9}"$')]
ByKey = Annotated[Key | None, Query(description="the key to be, as at every other address")]
KEY_BESIDE = Field(None, description="the key to be, where the address does not name it (?key=)")

NOT_DECLARED = {"key", "current_password"}
"""What is sent beside what is declared."""


class Sent(BaseModel):
    """What is sent: nothing that nobody knows is passed over."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Confirming(BaseModel):
    """With one's own password, where it was not typed just now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    current_password: SecretStr | None = Field(
        None, max_length=4096, description="one's own, where it was not typed within the last five minutes"
    )


def value_of(sent: SecretStr) -> SecretValue:
    """What was sent, as a secret."""
    return SecretValue(sent.get_secret_value().encode("utf-8", "replace"))


def confirmed(access: Access, request: Request, sent: Confirming | None, actor: Actor, clock: Clock) -> Actor:
    """Who asks, with the password that came along looked at."""
    if sent is None or sent.current_password is None:
        return actor
    return access.confirm(known(request), value_of(sent.current_password), clock())


def key_of(in_body: str | None, in_address: str | None) -> str:
    """The key to be, said in the address or beside what it is of. Raises ConfigurationInvalid for none and for two."""
    told = {key for key in (in_body, in_address) if key is not None}
    if len(told) == 1:
        return told.pop()
    message = "is missing" if not told else "is another one than in the body"
    problem = Problem("query.key", message, "name it once, like ?key=anna")
    raise ConfigurationInvalid(f"the key {message}", code="request_invalid", problems=[problem])


class _Stored(Protocol):
    @property
    def revision(self) -> int: ...


_Answer = TypeVar("_Answer", bound=_Stored)


def tagged(response: Response, answer: _Answer) -> _Answer:
    """The answer, with its revision as its ETag."""
    response.headers["ETag"] = f'"{answer.revision}"'
    return answer


def revision_of(if_match: str | None) -> int | None:
    """The revision that is to be changed; None is whichever there is."""
    return None if if_match is None else int(if_match.removeprefix("W/").strip('"'))
