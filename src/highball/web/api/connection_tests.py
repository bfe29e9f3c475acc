"""Repositories and jobs tried out from the hosts that use them: can they be used, and what helps if not."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from highball.config.document import effective_job
from highball.config.object_keys import Key
from highball.config.references import Spec
from highball.hub.operations.trials import JobTestAnswer, RepositoryTestAnswer
from highball.web.authorize import Admin, Runs
from highball.web.dependencies import TheOperations
from highball.web.disconnect import while_asked
from highball.web.error_responses import ASKED_IN_VAIN

UNSAVED = "unsaved"
"""What a repository is called that has no key yet."""


class UnsavedRepository(BaseModel):
    """A repository as it would be declared, with the values that would be sealed for it."""

    model_config = ConfigDict(extra="forbid")

    spec: Spec
    secrets: dict[
        Annotated[str, Field(max_length=120)], Annotated[SecretStr, Field(max_length=64 * 1024)]
    ] = Field(
        {}, description="by the names of their fields, as password; others are those sealed for its key"
    )
    key: Key = Field(UNSAVED, description="whose identity and sealed secrets it has, where it is declared")


router = APIRouter(prefix="/api/v1", tags=["repositories"], responses=ASKED_IN_VAIN)


@router.post("/repositories/test")
async def test_unsaved(
    operations: TheOperations, request: Request, unsaved: UnsavedRepository, actor: Admin
) -> RepositoryTestAnswer:
    """Whether a repository could be used if it were declared so, by each access; nothing is kept but in the audit.

    A secret that is sealed for its key is used where it was entered for the same server, port and user; else
    `secrets` has to hold it.
    """
    secrets = {name: value.get_secret_value() for name, value in unsaved.secrets.items()}
    return await while_asked(request, operations.test_unsaved(unsaved.key, unsaved.spec, secrets, actor))


@router.post("/repositories/{key}/test")
async def test(operations: TheOperations, request: Request, key: str, _: Runs) -> RepositoryTestAnswer:
    """Whether a repository can be used, from the host that maintains it, by each access that it has."""
    return await while_asked(request, operations.test_repository(key))


@router.post("/jobs/{key}/test")
async def test_job(
    operations: TheOperations,
    request: Request,
    key: str,
    _: Runs,
    content: Annotated[
        bool, Query(description="also ask whether its newest snapshots hold what its host has now")
    ] = True,
) -> JobTestAnswer:
    """Whether a job's sources are sound and its repositories can be used, from its host."""
    job = await asyncio.to_thread(lambda: effective_job(operations.document(), key))
    return await while_asked(request, operations.test_job(job, key if content else None))
