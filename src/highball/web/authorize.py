"""Who asks: what every address of the API demands before it answers.

The guard has put the actor on the request (`request.state.actor`) once it proved who that is; here it is only
read, and held against the role that an address demands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request

from highball.actions import role_for
from highball.errors import LoginNeeded, NotAllowed
from highball.hub.audit import Actor
from highball.hub.auth.sessions import Known
from highball.model.role import Role
from highball.web.middleware import find_known


def who(request: Request) -> Actor:
    """The actor of this request; raises LoginNeeded."""
    actor = getattr(request.state, "actor", None)
    if not isinstance(actor, Actor):
        raise LoginNeeded(
            "nobody is logged in", hint="log in, or send a token: Authorization: Bearer <token>"
        )
    return actor


def demand(role: Role) -> Callable[[Request], Actor]:
    """A dependency that answers with the actor, if that one has at least this role; else NotAllowed."""

    def demanded(request: Request) -> Actor:
        actor = who(request)
        actor.demand(role)
        return actor

    return demanded


def to_order(task: str | None = None) -> Callable[[Request], Actor]:
    """The same for who may order this verb, as its row of the table of actions says; with none, any verb at all.

    What is ordered in the end, the operations hold against its own row.
    """

    def demanded(request: Request) -> Actor:
        actor = who(request)
        actor.demand(role_for(task))
        return actor

    return demanded


Sees = Annotated[Actor, Depends(demand(Role.VIEWER))]
Runs = Annotated[Actor, Depends(demand(Role.OPERATOR))]
Admin = Annotated[Actor, Depends(demand(Role.ADMIN))]
Orders = Annotated[Actor, Depends(to_order())]
Discards = Annotated[Actor, Depends(to_order("discard"))]
Forgets = Annotated[Actor, Depends(to_order("forget"))]
Unlocks = Annotated[Actor, Depends(to_order("unlock"))]
Proves = Annotated[Actor, Depends(to_order("verify"))]
Restores = Annotated[Actor, Depends(to_order("restore"))]
AddsKey = Annotated[Actor, Depends(to_order("key-add"))]
RotatesKey = Annotated[Actor, Depends(to_order("key-rotate"))]
RemovesKey = Annotated[Actor, Depends(to_order("key-remove"))]


def known(request: Request) -> Known:
    """Who asks, and in which session; raises LoginNeeded."""
    found = find_known(request)
    if found is None:
        raise LoginNeeded("nobody is logged in")
    return found


def own_user(found: Known) -> str:
    """The key of the user whose session this is; raises NotAllowed (`session_needed`)."""
    if found.user is None or found.session is None:
        raise NotAllowed("this is for people, not for a token", code="session_needed", hint="log in first")
    return found.user
