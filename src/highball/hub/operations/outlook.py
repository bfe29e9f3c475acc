"""How things stand: what is protected, what repositories hold and how that grew, as the record tells.

Nothing here asks an agent, and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from highball.hub.parts import HubParts
from highball.hub.runs.recorded import RepositoryDay
from highball.hub.status.health import list_standings
from highball.hub.status.overview import Overview, look_over, survey
from highball.hub.status.repository_status import Holding, list_holdings
from highball.model.standing import Standing


class StatusOperations:
    """What the record says of jobs and repositories."""

    _hub: HubParts
    _now: Callable[[], datetime]

    def look_over(self, *, limit: int = 50, offset: int = 0) -> Overview:
        """What needs somebody, how so many of the jobs stand, what runs, and what is next."""
        return look_over(self._hub, survey(self._hub, self._now()), limit=limit, offset=offset)

    def list_standings(self, jobs: Sequence[str] | None = None) -> list[Standing]:
        """How jobs stand in each of their repositories; None is all, and one that is not declared is left out."""
        document = self._hub.document()
        chosen = [key for key in document.jobs if jobs is None or key in jobs]
        return list_standings(document, self._hub.database, self._hub.host, self._now(), chosen)

    def list_holdings(self) -> list[Holding]:
        """What each repository holds, who uses it, and what was last done to keep it in order."""
        return list_holdings(self._hub)

    def get_holding(self, key: str) -> Holding:
        """The same of one. Raises Unknown."""
        self._hub.repositories.get(key)
        return list_holdings(self._hub, [key])[0]

    def list_days(self, key: str, days: int) -> list[RepositoryDay]:
        """What a repository held at the end of each of the last days that it was measured. Raises Unknown."""
        self._hub.repositories.get(key)
        return self._hub.record.list_days(key, self._now().date() - timedelta(days=days))
