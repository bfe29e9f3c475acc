"""Retention of a repository as it is now: its agent is asked what it holds, and then it is planned for.

Who waits for the agent holds no thread; what is planned from the answers is planned in one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from highball.config.document import (
    effective_cadences,
)
from highball.config.repository import demand_maintained
from highball.hub.agents.fleet import Fleet
from highball.hub.agents.pending_queries import each_of
from highball.hub.agents.remote_repository import AskedOverWire, RemoteRepositories
from highball.hub.data import HubData
from highball.hub.retention.planner import Retainer, Seen, Wanted
from highball.hub.runs.ingest import SetOf
from highball.hub.runs.queue import RunOrder
from highball.hub.runs.record import utc_now
from highball.model.snapshot import Snapshot
from highball.protocol.tasks import ForgetTask
from highball.retention import Plan


@dataclass(frozen=True)
class Looks:
    """What was seen of a repository before something is planned there."""

    retainer: Retainer
    sets: Mapping[SetOf, Seen] = field(default_factory=dict)
    listing: Sequence[Snapshot] = ()
    skew: timedelta | None = None
    """How far the clock of the agent that looked is from ours."""

    def plan(self, approval: str | None = None) -> list[Plan]:
        """What retention would do to each set; not to be called in the loop's own thread."""
        return [
            self.retainer.plan(of, seen, utc_now(), approval, self.skew) for of, seen in self.sets.items()
        ]


class LivePlans:
    """Plans retention from a look at the repository."""

    def __init__(self, data: HubData, repositories: RemoteRepositories, fleet: Fleet) -> None:
        self._data = data
        self.repositories = repositories
        self._fleet = fleet

    async def plan(self, key: str, job: str | None = None, approval: str | None = None) -> list[Plan]:
        """What retention would do in a repository, one plan per set; raises HighballError."""
        looks = await self.look_at(key, job)

        def plan() -> list[Plan]:
            plans = looks.plan(approval)
            # what a plan shows to hold it can be accepted from then on
            self.retainer.settle(plans, utc_now())
            return plans

        return await asyncio.to_thread(plan)

    async def look_at(
        self, key: str, job: str | None = None, snapshot: str | None = None, *, patient: bool = False
    ) -> Looks:
        """A look at the sets of a repository, or at one job's, or at the one that holds a snapshot."""
        asked, retainer, wanted = await asyncio.to_thread(self._want, key, job, snapshot)
        asked = replace(asked, patient=patient)
        seen = await each_of(look(asked, one) for one in wanted)
        skew = self._fleet.find_skew(asked.host)
        return Looks(retainer, {one.of: shown for one, shown in zip(wanted, seen, strict=True)}, skew=skew)

    def _want(
        self, key: str, job: str | None, snapshot: str | None
    ) -> tuple[AskedOverWire, Retainer, list[Wanted]]:
        retainer, asked = self.retainer, self.repositories.asked(key)
        if snapshot is not None:
            sets = [retainer.find_set(key, snapshot)[0]]
        else:
            sets = retainer.list_sets(key, self._data.host, job)
        return asked, retainer, [retainer.want(of) for of in sets]

    @property
    def retainer(self) -> Retainer:
        """Plans retention by what is declared now."""
        return Retainer(self._data.document(), self._data.record, self._data.former_keys())

    def demand_removable(self, key: str, snapshot: str) -> None:
        """Raise NotAllowed or Unknown where it is known by now that this snapshot cannot be removed."""
        demand_maintained(key, self.repositories.get(key))
        self.retainer.demand_removable(key, snapshot, utc_now())

    def removal(self, order: RunOrder, key: str, looks: Looks) -> ForgetTask:
        """What an agent is told to remove, by these looks; raises Unknown and NotAllowed."""
        if order.snapshot is not None:
            [seen] = looks.sets.values()
            return looks.retainer.order_one(key, order.snapshot, seen, utc_now(), looks.skew)
        plans = looks.plan(order.plan)
        prune = order.task == "discard" and effective_cadences(self._data.document(), key).prune is None
        return looks.retainer.order(key, plans, utc_now(), order.plan, shown=order.shown, prune=prune)


async def look(asked: AskedOverWire, wanted: Wanted) -> Seen:
    """What a repository shows of a set now, for a plan; raises HighballError."""
    listing = await asked.list_snapshots(hosts=wanted.hosts, tags=wanted.tags)
    shown = {snapshot.id for snapshot in listing}
    everything = await asked.list_snapshots() if wanted.adopted - shown else []
    removes: set[str] = set()
    if listing and wanted.rehearses:
        removes = await asked.plan_forget(wanted.hosts, wanted.tags, wanted.retention)
    return Seen(wanted.own, listing, everything, removes)
