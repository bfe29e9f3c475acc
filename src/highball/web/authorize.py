"""Who asks: what every address of the API demands before it answers.

The guard has put the actor on the request (`request.state.actor`) once it proved who that is; here it is only
read, and held against the role that an address demands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request

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
        if not actor.role.includes(role):
            raise NotAllowed(
                f"this needs the role {role.value}, and {actor.name} has {actor.role.value}",
                hint="ask somebody with that role, or for that role",
            )
        return actor

    return demanded


Sees = Annotated[Actor, Depends(demand(Role.VIEWER))]
Runs = Annotated[Actor, Depends(demand(Role.OPERATOR))]
Admin = Annotated[Actor, Depends(demand(Role.ADMIN))]


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
