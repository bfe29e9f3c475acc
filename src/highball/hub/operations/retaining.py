"""What stays in repositories and why: plans of retention, what holds it, and whose snapshots are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from highball.hub.agents.pending_queries import each_of
from highball.hub.audit import Actor
from highball.hub.parts import HubParts
from highball.hub.retention.adoption import Adoption
from highball.hub.retention.live_plans import look
from highball.hub.retention.planner import Seen
from highball.model.snapshot import ForeignGroup
from highball.model.standing import Hold
from highball.retention import Plan


class RetentionOperations:
    """What retention would do, and people's word on it."""

    _hub: HubParts
    _now: Callable[[], datetime]

    async def list_plans(self, key: str, job: str | None = None, approval: str | None = None) -> list[Plan]:
        """What retention would do in a repository, one plan per set; raises HighballError."""
        return await self._hub.plans.plan(key, job, approval)

    def list_holds(self, repository: str | None = None) -> list[Hold]:
        """What makes retention stand still, the oldest first."""
        return self._hub.record.holds.list_open(repository)

    def accept_run(self, run: str, actor: Actor, reason: str | None = None) -> list[Hold]:
        """A person says that what a run showed is right; what goes on from now on. Raises Unknown."""
        found = self._hub.record.find_run(run)
        return self._hub.record.holds.accept_run(found.id, actor, self._now(), reason)

    def accept_repository(self, key: str, actor: Actor, reason: str | None = None) -> list[Hold]:
        """The same of all that waits for a person in a repository."""
        self._hub.repositories.get(key)
        return self._hub.record.holds.accept_repository(key, actor, self._now(), reason)

    def accept_hold(self, id: str, actor: Actor, reason: str | None = None) -> Hold:
        """The same of one guard."""
        return self._hub.record.holds.accept(id, actor, self._now(), reason)

    async def list_foreign(self, key: str) -> list[ForeignGroup]:
        """The snapshots that no known run made, alike ones together; raises HighballError."""
        adoption = await self._adoption(key)
        return await asyncio.to_thread(adoption.list_groups)

    async def adopt(self, key: str, group: str, job: str, actor: Actor) -> ForeignGroup:
        """Let a job's retention govern a group from now on; raises HighballError."""
        adoption = await self._adoption(key)
        return await asyncio.to_thread(adoption.adopt, group, job, self._now(), actor)

    async def release(self, key: str, group: str, actor: Actor) -> ForeignGroup:
        """Let nobody govern a group any more; raises HighballError."""
        adoption = await self._adoption(key)
        return await asyncio.to_thread(adoption.release, group, self._now(), actor)

    async def preview_adoption(self, key: str, group: str, job: str) -> list[Plan]:
        """What a job's retention would do once it governs a group of a repository; raises HighballError."""
        adoption = await self._adoption(key)
        asked = await asyncio.to_thread(self._hub.repositories.asked, key)
        sets = await asyncio.to_thread(adoption.list_sets, group, job)
        wanted = await asyncio.to_thread(lambda: [adoption.retainer.want(of) for of in sets])
        seen = await each_of(look(asked, one) for one in wanted)
        return await asyncio.to_thread(
            adoption.preview, group, job, self._now(), dict(zip(sets, seen, strict=True))
        )

    async def _adoption(self, key: str) -> Adoption:
        """Whose the snapshots of a repository are, as it holds them now; not to be used in the loop's own thread."""
        asked = await asyncio.to_thread(self._hub.repositories.asked, key)
        listed = Seen(frozenset(), (), await asked.list_snapshots(), ())
        retainer, skew = self._hub.plans.retainer, self._hub.fleet.find_skew(asked.host)
        return Adoption(self._hub.database, retainer, self._hub.host, key, listed, skew)
