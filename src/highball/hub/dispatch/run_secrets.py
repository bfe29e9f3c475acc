"""The sealed secrets of a run: the values that its agent is given, and no others.

They leave the hub only for a run that it ordered, to the host that carries it out; those that may delete only where the
run does.
"""

from __future__ import annotations

from highball.hub.data import HubData
from highball.hub.dispatch.claims import Claims
from highball.hub.runs.queue import RunOrder
from highball.model.run import RunState
from highball.protocol.tasks import Assignment


class RunSecrets:
    """Opens what runs need."""

    def __init__(self, data: HubData, claims: Claims) -> None:
        self._data = data
        self._claims = claims

    def of_assignment(self, order: RunOrder | None, assignment: Assignment) -> dict[str, bytes]:
        """The values of an assignment's sealed secrets; the admin's only for what may delete."""
        values = self._open_new(order)
        for repository in assignment.repositories.values():
            opened = self._data.vault.open_named(repository, admin=_may_delete(order))
            values |= {place: value.reveal() for place, value in opened.items()}
        return values

    def _open_new(self, order: RunOrder | None) -> dict[str, bytes]:
        """The password that is to open a repository, too, where an order names one that is sealed."""
        if order is None or order.new is None or not isinstance(order.new.sealed, str):
            return {}
        return {order.new.sealed: self._data.vault.open(order.new.sealed).reveal()}

    def of_run(self, run: str) -> dict[str, bytes]:
        """Those of the repositories that the hub's own order for this run names, while it is not over.

        An order that only its signature proves, as the record lost it, gives what its host may use today, and no
        right to delete.
        """
        found, scope = self._data.backlog.find(run), self._data.record.find_scope(run)
        if found is None or scope is None or not scope.ordered or found.state is RunState.DONE:
            return {}
        document = self._data.document()
        keys = [key for key in scope.repositories if key in document.repositories]
        if found.order is None:
            keys = [key for key in keys if key in self._claims.repositories_of(found.host)]
        values = self._open_new(found.order)
        for key in keys:
            placed = self._data.vault.place(key, document.repositories[key])
            opened = self._data.vault.open_named(placed, admin=_may_delete(found.order))
            values |= {place: value.reveal() for place, value in opened.items()}
        return values


def _may_delete(order: RunOrder | None) -> bool:
    """Whether a run is given the access that may delete."""
    return order is not None and order.opens_admin
