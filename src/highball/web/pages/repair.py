"""How a damaged repository is repaired: its engine's own steps, as commands that a person types.

Nothing is repaired from here. No command holds a secret: each is read from where the repository says that it lies,
and what is sealed in the hub is told by the recovery kit.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from highball.engine.kinds import engine_of
from highball.errors import Unknown
from highball.model.standing import HoldCause
from highball.web.authorize import Sees
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms.fields import new_order_key
from highball.web.ui.addresses import repository_page

router = APIRouter(include_in_schema=False)


@router.get("/repositories/{key}/repair")
def show(hub: TheHub, pages: ThePages, request: Request, key: str, _: Sees) -> Response:
    repository = hub.operations.get_repository(key)
    repair = engine_of(repository).repair
    if repair is None:
        raise Unknown(f"there are no repair steps for a repository of {repository.engine}", code="no_repair")
    held = hub.operations.get_holding(key)
    damage = next(
        (one for one in hub.operations.list_holds(key) if one.cause is HoldCause.CHECK_FAILED), None
    )
    version = str(hub.fleet.find_facts(repository.maintainer(hub.host)).get(repository.engine))
    is_old = repair.is_too_old(version)
    context = {
        "key": key,
        "held": held,
        "damage": damage,
        "repair": repair,
        "place": repository_page(key),
        "way_in": repair.way_in(repository),
        "by_admin": repository.has_admin,
        "steps": repair.steps(repository, key, version),
        "old": version if is_old else None,
        "order_key": new_order_key(),
    }
    return pages.answer(request, "repair", context)
