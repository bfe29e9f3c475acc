"""Tokens of one's own: whoever is logged in makes and deletes those that act in their name."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import Field

from highball.config.moment import Moment
from highball.config.object_keys import Key, Title
from highball.config.roles import Token
from highball.model.role import Role
from highball.web.api.bodies import KEY_BESIDE, NOT_DECLARED, ByKey, Confirming, confirmed, key_of, tagged
from highball.web.api.tokens import TokenAnswer, TokenMade, made_answer, token_answer
from highball.web.authorize import Sees, known, own_user
from highball.web.dependencies import TheAccess, TheClock


class OwnToken(Confirming):
    """A token of one's own, with the key to be, unless the address names it."""

    key: Key | None = KEY_BESIDE
    title: Title | None = None
    role: Role = Field(Role.VIEWER, description="what it may do; not more than oneself")
    restore_in_place: bool = Field(
        False, strict=True, description="it may restore in place, where one may oneself"
    )
    expires_at: Moment | None = None


router = APIRouter(prefix="/api/v1", tags=["access"])


@router.get("/me/tokens")
def list_own_tokens(access: TheAccess, request: Request, _: Sees) -> list[TokenAnswer]:
    """The tokens that act in one's name, with their last use."""
    return [token_answer(program) for program in access.list_own_tokens(own_user(known(request)))]


@router.post("/me/tokens", status_code=201)
def create_own_token(
    access: TheAccess,
    clock: TheClock,
    sent: OwnToken,
    request: Request,
    response: Response,
    actor: Sees,
    key: ByKey = None,
) -> TokenMade:
    """A token in one's own name; its value is in this answer and nowhere else."""
    token = Token.model_validate(sent.model_dump(exclude=NOT_DECLARED, exclude_unset=True))
    user = own_user(known(request))
    actor = confirmed(access, request, sent, actor, clock)
    made = access.create_own_token(user, key_of(sent.key, key), token, actor, clock())
    return tagged(response, made_answer(*made))


@router.delete("/me/tokens/{key}", status_code=204)
def delete_own_token(access: TheAccess, clock: TheClock, key: str, request: Request, actor: Sees) -> None:
    """Delete a token of one's own: its value opens nothing any more."""
    access.delete_own_token(own_user(known(request)), key, actor, clock())
