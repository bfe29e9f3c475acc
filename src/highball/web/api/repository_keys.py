"""The keys of a repository: which passwords open it, another one more, and one in the place of the one before."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from fastapi import Path as Named
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from highball.hub.runs.queue import KEY_NAME
from highball.model.run import Run
from highball.model.snapshot import KeyTold
from highball.secret import SecretReference, SecretValue
from highball.web.authorize import AddsKey, RemovesKey, RotatesKey, Sees
from highball.web.dependencies import TheOperations
from highball.web.error_responses import ASKED_IN_VAIN

KeyId = Annotated[str, Named(pattern="^[0-9a-f]{64}$")]


class NewPassword(BaseModel):
    """A password that is to open a repository: its value, or where it lies on the host that looks after it."""

    model_config = ConfigDict(extra="forbid")

    password: Annotated[SecretStr, Field(max_length=64 * 1024)] | None = None
    reference: SecretReference | None = Field(None, description="in its place: a file, variable or command")
    name: str = Field("highball", pattern=KEY_NAME, description="what the key is called")

    @field_validator("reference")
    @classmethod
    def _names_no_place_of_the_vault(cls, reference: SecretReference | None) -> SecretReference | None:
        if reference is not None and reference.sealed is not None:
            raise ValueError("a value to be sealed is sent as password")
        return reference

    @property
    def value(self) -> SecretValue | None:
        """The value, where it was sent."""
        return None if self.password is None else SecretValue(self.password.get_secret_value().encode())


class Rotation(NewPassword):
    """A password that takes the place of the one that opens a repository; with nothing said one is made up."""

    of_admin: bool = Field(False, description="the password of the access that may delete, not the usual one")


router = APIRouter(prefix="/api/v1/repositories/{key}/keys", tags=["repositories"], responses=ASKED_IN_VAIN)


@router.get("")
async def list_keys(operations: TheOperations, key: str, _: Sees) -> list[KeyTold]:
    """The keys of a repository, as its engine lists them now, and what each is for."""
    return await operations.list_keys(key)


@router.post("", status_code=202)
def add_key(
    operations: TheOperations, key: str, actor: AddsKey, sent: NewPassword, response: Response
) -> Run:
    """Let another password open it, besides the one that does; this hub does not keep it."""
    run = operations.add_key(key, actor, name=sent.name, value=sent.value, reference=sent.reference)
    return _begun(response, run)


@router.post("/rotate", status_code=202)
def rotate(operations: TheOperations, key: str, actor: RotatesKey, sent: Rotation, response: Response) -> Run:
    """Let a new password open it, and once it has, take the place of the one before; nothing is encrypted anew.

    The key before stays until it is removed. A reference has to be declared afterwards by whoever declares the
    repository.
    """
    run = operations.rotate_key(
        key,
        actor,
        value=sent.value,
        reference=sent.reference,
        of_admin=sent.of_admin,
        name=sent.name,
    )
    return _begun(response, run)


@router.post("/{id}/remove", status_code=202)
def remove_key(operations: TheOperations, key: str, id: KeyId, actor: RemovesKey, response: Response) -> Run:
    """Let the password of this key open it no more; one that this hub opens it by is never removed."""
    return _begun(response, operations.remove_key(key, id, actor))


def _begun(response: Response, run: Run) -> Run:
    response.headers["Location"] = f"/api/v1/runs/{run.id}"
    return run
