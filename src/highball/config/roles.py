"""Who may do what: roles, users and tokens as people declare them; passwords and token values lie in the vault."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from highball.config.moment import Moment
from highball.config.object_keys import Key, Title
from highball.model.role import Role

_IN_PLACE = "an operator may restore in place and overwrite existing files; an admin always may"


class User(BaseModel):
    """A person with an account."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    title: Title | None = Field(None, description="the name shown")
    role: Role = Field(Role.VIEWER, description="viewer sees, operator runs and restores, admin changes")
    restore_in_place: bool = Field(False, strict=True, description=_IN_PLACE)
    enabled: bool = Field(True, strict=True, description="an account that is not enabled cannot log in")


class Token(BaseModel):
    """A program's proof of who it is; its value is shown once, when it is made."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    title: Title | None = Field(None, description="what it is for")
    user: Key | None = Field(None, description="the user it acts for; null: a program of its own")
    role: Role = Field(Role.VIEWER, description="what it may do; never more than its user may")
    expires_at: Moment | None = Field(None, description="when it expires; null is never")
    may_grant: bool = Field(
        False, strict=True, description="it may create tokens, admins and links that set passwords"
    )
    restore_in_place: bool = Field(
        False, strict=True, description=f"{_IN_PLACE}; never more than its user may"
    )
    enabled: bool = Field(True, strict=True, description="a token that is not enabled is refused")


def restores_in_place(declared: User | Token) -> bool:
    """Whether what is declared lets somebody restore in place: an operator by a right of their own, an admin always."""
    return declared.role is Role.ADMIN or (declared.role is Role.OPERATOR and declared.restore_in_place)
