"""Secrets of repositories that the hub keeps sealed: values go in, are tried before they count, and never come out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field, SecretStr

from highball.errors import Unknown
from highball.hub.secrets.vault import Sealed
from highball.model.text import UtcTime
from highball.secret import SecretValue
from highball.web.api.bodies import Sent, value_of
from highball.web.authorize import Admin
from highball.web.dependencies import TheClock, TheOperations, TheVault


class SecretSent(Sent):
    """The value of a secret, to be sealed."""

    value: SecretStr = Field(max_length=64 * 1024)


class SealedAnswer(BaseModel):
    """That a secret is set, and since when; never its value."""

    secret: str
    sealed: Literal[True] = True
    set_at: UtcTime
    set_by: str


SecretName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]{1,120}$")]
Anyway = Annotated[
    bool,
    Query(description="also where nobody can say whether it opens the repository: the one before is kept"),
]

Prove = Callable[[str, str, SecretValue, bool], Awaitable[bool]]
"""Raises where a value does not open its repository; says whether the one before is to be kept beside it."""


async def trial_of(operations: TheOperations) -> Prove:
    """How a value is looked at before it is sealed."""
    return operations.prove_secret


TheTrial = Annotated[Prove, Depends(trial_of)]

router = APIRouter(prefix="/api/v1", tags=["access"])


@router.get("/repositories/{key}/secrets")
def list_secrets(vault: TheVault, _: Admin, key: str) -> list[SealedAnswer]:
    """Which secrets of a repository are sealed here, and since when."""
    id = vault.find_place(key, "password").split(":")[1]
    return [_sealed(one) for one in vault.list_places(id)]


@router.get("/repositories/{key}/secrets/{secret}")
def get_secret(vault: TheVault, _: Admin, key: str, secret: SecretName) -> SealedAnswer:
    """Since when a secret is sealed; never its value."""
    found = vault.find(vault.find_place(key, secret))
    if found is None:
        raise Unknown(f'no "{secret}" is sealed for {key}', code="secret_unset")
    return _sealed(found)


@router.put("/repositories/{key}/secrets/{secret}")
async def set_secret(
    vault: TheVault,
    clock: TheClock,
    prove: TheTrial,
    key: str,
    secret: SecretName,
    sent: SecretSent,
    actor: Admin,
    anyway: Anyway = False,
) -> SealedAnswer:
    """Seal a value: `password`, `admin` (the admin access's password), or another field's name.

    A password that does not open the repository is refused.
    """
    value = value_of(sent.value)
    place = await asyncio.to_thread(vault.find_place, key, secret)
    keep = await prove(key, secret, value, anyway)
    return _sealed(await asyncio.to_thread(vault.seal, place, value, actor, clock(), keep_former=keep))


@router.post("/repositories/{key}/secrets/{secret}/bring-back")
def bring_back_secret(
    vault: TheVault, clock: TheClock, key: str, secret: SecretName, actor: Admin
) -> SealedAnswer:
    """Let the value that was replaced without proof be the one again."""
    return _sealed(vault.bring_back(vault.find_place(key, secret), actor, clock()))


@router.delete("/repositories/{key}/secrets/{secret}", status_code=204)
def remove_secret(vault: TheVault, clock: TheClock, key: str, secret: SecretName, actor: Admin) -> None:
    """Forget a sealed value; where none is, that is no error."""
    vault.remove(vault.find_place(key, secret), actor, clock())


def _sealed(sealed: Sealed) -> SealedAnswer:
    return SealedAnswer(secret=sealed.slot, set_at=sealed.set_at, set_by=sealed.set_by)
