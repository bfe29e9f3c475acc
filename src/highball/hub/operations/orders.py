"""Runs: ordered of a hub, found again and ended.

`order` serves every verb of the table of actions, and whatever is queued comes by it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from highball.actions import By
from highball.config.document import effective_job
from highball.config.pin import names_snapshot
from highball.errors import Misuse, NotAllowed, StateUnusable, Unknown
from highball.hub.agents.remote_repository import LISTING_SECONDS
from highball.hub.audit import Actor
from highball.hub.bus.base import News
from highball.hub.parts import HubParts
from highball.hub.runs.queue import Placing, RestoreWish, RunOrder
from highball.hub.runs.recorded import RunFilter
from highball.hub.storage.database import new_run_id
from highball.model.event import Event
from highball.model.run import Run
from highball.protocol.queries import RestorePlan


class RunOperations:
    """What is ordered of a hub, and what became of it."""

    _hub: HubParts
    _now: Callable[[], datetime]

    def order(
        self,
        action: str,
        subject: str | None,
        fields: Mapping[str, Any] | None = None,
        *,
        actor: Actor,
        key: str | None = None,
    ) -> tuple[Run, Placing]:
        """Queue a run of any verb of the table of actions, on a job or a repository; raises as `place` does.

        `fields` are those that the verb's row names besides.
        """
        return self.place(RunOrder.about(action, subject, **(fields or {})), actor, key=key)

    def place(
        self, order: RunOrder, actor: Actor, *, key: str | None = None, id: str | None = None
    ) -> tuple[Run, Placing]:
        """Queue a run; with the same idempotency key, the run that this key began; the one that waits already.

        Raises NotAllowed for who may not order that (`not_allowed`, `restore_in_place_needed`), Unknown for a job or
        repository that is not declared, and Misuse, Unknown or NotAllowed for a snapshot that is none or cannot be
        removed. Not to be called in the loop's own thread.
        """
        actor.demand(order.verb.role)
        if order.may_replace:
            _demand_in_place(actor)
        now, document = self._now(), self._hub.document()
        host = self._host_of(order.job)
        if order.repository is not None:
            repository = document.repositories.get(order.repository)
            if repository is None:
                raise Unknown(f"there is no repository {order.repository}", code="repository_unknown")
            if order.job is None or order.verb.by is not By.JOB_HOST:
                host = repository.maintainer(self._hub.host)
        if order.snapshot is not None and not self._hub.backlog.has_answered(actor, key):
            self._demand_snapshot(order, order.snapshot)
        try:
            run, placing = self._hub.backlog.enqueue(
                order, host, now, id=id or new_run_id(now, secrets.randbits(74)), actor=actor, key=key
            )
        except StateUnusable as error:
            raise self._with_way_out(order, error) from None
        if placing is Placing.NEW:
            self._hub.bus.news.publish("run", run.id)
            self._hub.dispatcher.wake()
        return run, placing

    async def cancel(self, run: str, actor: Actor) -> Run:
        """End a run politely; raises Unknown, and Conflict where it has ended."""
        await self._hub.dispatcher.cancel(run, actor)
        return await asyncio.to_thread(self._hub.record.find_run, run)

    def find_run(self, id_or_start: str) -> Run:
        """The run with this id, or the only one whose id begins so; raises Unknown."""
        return self._hub.record.find_run(id_or_start)

    def list_runs(self, chosen: RunFilter | None = None, *, limit: int = 50, after: str = "") -> list[Run]:
        """The latest runs, newest first, behind the run `after` if one is named; raises Unknown for that."""
        return self._hub.record.list_runs(chosen, limit=limit, after=after)

    def read_events(self, run: str, *, after: int = 0) -> Iterator[Event]:
        """What has happened so far in the run with this id, behind a number."""
        return self._hub.record.read_events(run, after=after)

    def follow(self, silence: float, since: str = "") -> AsyncIterator[News | None]:
        """What changes, as it changes, first what came behind this mark; None after so many seconds of nothing."""
        return self._hub.bus.news.listen(silence, since)

    def _with_way_out(self, order: RunOrder, error: StateUnusable) -> StateUnusable:
        """The same error; of a restore with the way that needs no hub."""
        file = self._hub.documents.file()
        if order.task != "restore" or file is None:
            return error
        restore = f"highball -c {file} restore {order.job or 'JOB'}"
        way = f"until then, on the hub's own machine: {restore}"
        return StateUnusable(
            error.message, code=error.code, hint=f"{error.hint}; {way}" if error.hint else way
        )

    def _demand_snapshot(self, order: RunOrder, snapshot: str) -> None:
        key = order.repository or ""
        if not names_snapshot(snapshot):
            raise Misuse(
                "what is named is not the id of a snapshot",
                code="snapshot_invalid",
                hint="it is 8 to 64 digits and letters a to f; "
                f"see highball snapshots, or /api/v1/repositories/{key}/snapshots",
            )
        if order.task == "forget":
            self._hub.plans.demand_removable(key, snapshot)

    def _host_of(self, job: str | None) -> str:
        """The machine whose data a job reads, and where a restore of it goes; raises Unknown."""
        named = None if job is None else effective_job(self._hub.document(), job).host
        return named or self._hub.host

    async def plan_restore(self, wish: RestoreWish, seconds: float = LISTING_SECONDS) -> RestorePlan:
        """What a restore would do, from a look at the machine it goes to.

        Raises HighballError, also where the look takes longer than so many seconds.
        """
        asked = replace(
            await asyncio.to_thread(self._hub.repositories.asked, wish.repository), seconds=seconds
        )
        if wish.job is not None:
            asked = replace(asked, host=await asyncio.to_thread(self._host_of, wish.job))
        return await asked.plan_restore(
            wish.snapshot, wish.paths, wish.target, wish.overwrite, counts=wish.counts
        )


def _demand_in_place(actor: Actor) -> None:
    if actor.may_restore_in_place:
        return
    place = "Settings, Tokens, and Users where it acts for one" if actor.is_token else "Settings, Users"
    raise NotAllowed(
        f"{actor.name} may restore into a new folder, and not in place or over files that are there",
        code="restore_in_place_needed",
        hint="name a new folder, without a rule that overwrites; "
        f"or an administrator gives that right, restore_in_place: {place}",
    )
