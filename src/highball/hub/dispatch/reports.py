"""What agents report: taken into the record within what their runs were ordered to do, and acknowledged.

What an agent has no right to say or to ask is passed over, and counted.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from highball.config.document import Document
from highball.errors import HighballError
from highball.hub.agents.connected import Connection
from highball.hub.agents.fleet import Fleet
from highball.hub.agents.refusals import Refused
from highball.hub.audit import HUB
from highball.hub.bus.base import Newsroom
from highball.hub.data import HubData
from highball.hub.dispatch.claims import Claims
from highball.hub.dispatch.dispatcher import Dispatcher
from highball.hub.dispatch.latest_progress import LatestProgress
from highball.hub.dispatch.run_secrets import RunSecrets
from highball.hub.retention.planner import list_discards_after
from highball.hub.runs.queue import RunOrder, put_in_queue
from highball.hub.runs.record import utc_now
from highball.hub.runs.scopes import Scope
from highball.hub.secrets.key_rotation import KeyRotations
from highball.hub.storage.database import new_run_id
from highball.model.event import Event, RunEnded, StepStarted
from highball.model.event_lines import read_told
from highball.model.run import Action, Progress, Reason, Run, RunState
from highball.protocol.wire import (
    Acknowledged,
    Declined,
    Envelope,
    Events,
    Inventory,
    ProgressSeen,
    RunHeld,
    RunsWanted,
    Secrets,
    SecretsWanted,
    Taken,
)

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reports:
    """Takes in what agents say of runs."""

    data: HubData
    fleet: Fleet
    newsroom: Newsroom
    claims: Claims
    secrets: RunSecrets
    progress: LatestProgress
    dispatcher: Dispatcher
    key_rotations: KeyRotations

    async def take(self, connection: Connection, message: Envelope) -> None:
        """One message of an agent; what it has no right to say or to ask is passed over, and counted."""
        try:
            await self._take(connection, message)
        except Refused as refused:
            await self._refuse_words(connection.host, [str(refused)])

    async def _refuse_words(self, host: str, reasons: Sequence[str]) -> None:
        told = {"times": len(reasons)}
        await asyncio.to_thread(self.fleet.refusals.add, host, reasons[-1], utc_now(), **told)
        self.newsroom.publish("host", host)

    async def _take(self, connection: Connection, message: Envelope) -> None:
        match message.body:
            case RunHeld() as held:
                last = await asyncio.to_thread(self.claims.meet, connection.host, held)
                await connection.say(Acknowledged(run=held.assignment.run, seq=last))
            case Inventory() as here:
                await self._take_stock(connection, here)
            case Events() as told:
                await self._absorb(connection, told)
            case ProgressSeen(run=run, progress=progress):
                await self._take_progress(connection.host, run, progress)
            case Declined(run=run) as declined:
                await asyncio.to_thread(self.claims.demand_own, connection.host, run)
                reason = Reason(code=declined.code[:60], message=declined.message)
                await asyncio.to_thread(self.dispatcher.refuse, run, reason)
                self.dispatcher.wake()
            case SecretsWanted(run=run):
                await asyncio.to_thread(self.claims.demand_own, connection.host, run)
                await self._hand_over_secrets(connection, run)
            case Taken():
                pass

    async def _take_progress(self, host: str, run: str, progress: Progress) -> None:
        """Of a run that goes on: of one that is over, or that nobody ordered, nobody asks."""
        await asyncio.to_thread(self.claims.demand_own, host, run)
        going = await asyncio.to_thread(self.data.backlog.find, run)
        if going is not None and going.state is not RunState.DONE and not going.by_word:
            self.progress.note(run, progress)
            self.newsroom.publish("progress", run, **progress.model_dump(mode="json", exclude_none=True))

    async def _take_stock(self, connection: Connection, here: Inventory) -> None:
        """What the record lacks of a host is asked for first, once a connection; then it tells what is gone."""
        lacking = await asyncio.to_thread(self.data.record.list_lacking, connection.host, here.kept)
        lacking = {run: known for run, known in lacking.items() if run not in connection.wanted}
        if lacking:
            connection.wanted |= set(lacking)
            await connection.say(RunsWanted(runs=lacking))
        else:
            await self._compare(connection, set(here.runs))

    async def _compare(self, connection: Connection, held: set[str]) -> None:
        """Runs that were given to this host and are not there never arrived, or nothing is left of them."""
        going = await asyncio.to_thread(self.data.backlog.list_going)
        for run in going:
            if run.host != connection.host or self.dispatcher.is_sending(run.id):
                continue
            if run.id in held:
                if run.cancel_requested_at is not None:
                    await self.fleet.cancel(run.host, run.id)
            elif run.last_seq == 0 and run.order is not None:
                await asyncio.to_thread(self.data.backlog.take_back, run.id)
            else:
                await asyncio.to_thread(self.data.record.abandon, run.id, utc_now())
                self.progress.forget(run.id)
                self.newsroom.publish("run", run.id, ended=True)
        self.fleet.note_reported(connection)
        self.newsroom.publish("host", connection.host)
        self.dispatcher.wake()

    async def _absorb(self, connection: Connection, told: Events) -> None:
        scope = await asyncio.to_thread(self.claims.demand_scope, connection.host, told.run)
        self.fleet.begin_anew()
        read = [found for event in told.events if (found := read_told(event, told.run)) is not None]
        events = [event for _, event in read if event is not None]
        refused = ["it speaks of another run" for event in told.events if event.get("run") != told.run]
        last = await asyncio.to_thread(self._take_in, told.run, events, scope, refused.append)
        newest = max([last, *(seq for seq, _ in read)])
        await connection.say(Acknowledged(run=told.run, seq=newest))
        if refused:
            await self._refuse_words(connection.host, refused)
        ended = any(isinstance(event, RunEnded) for event in events)
        if ended or any(isinstance(event, StepStarted) for event in events):
            self.progress.forget(told.run)  # that of the step before says nothing of the next
        self.newsroom.publish("run", told.run, seq=newest, ended=ended)
        if ended and scope.ordered:
            await asyncio.to_thread(self._after_end, told.run)
        if ended:
            self.dispatcher.wake()

    async def _hand_over_secrets(self, connection: Connection, run: str) -> None:
        """The values that a run's settling needs, opened anew: they lie nowhere on the agent's disk."""
        try:
            values = await asyncio.to_thread(self.secrets.of_run, run)
        except HighballError:
            values = {}
        await self.fleet.handouts.note(connection.host, values, run)
        await connection.say(Secrets(run=run, secrets=values))

    def _take_in(self, run: str, told: Sequence[Event], scope: Scope, refuse: Callable[[str], None]) -> int:
        """Into the record, and with a run's end whatever is to follow; the number of the last event that is known."""
        follow = partial(self._discard_after, self.data.document()) if scope.ordered else None
        return self.data.record.absorb(run, told, scope, refuse, on_end=follow)

    def _discard_after(self, document: Document, connection: sa.Connection, run: Run) -> None:
        """Queue the retention of a job where that comes after each backup; once for each, however often told."""
        for key in list_discards_after(document, run):
            order = RunOrder(task="forget", repository=key, job=run.job)
            host, now = document.repositories[key].maintainer(self.data.host), utc_now()
            about = {"id": new_run_id(now, secrets.randbits(74)), "key": f"after:{run.id}:{key}"}
            put_in_queue(connection, order, host, now, actor=HUB, **about)

    def _after_end(self, run: str) -> None:
        """A change of keys leaves something to do; what a hub that ends here leaves undone, the house makes good."""
        found = self.data.record.find_run(run)
        if found.action is not Action.KEY:
            return
        try:
            self.key_rotations.end(found)
        except HighballError:
            _LOG.exception("keys of %s could not be settled", found.repository)
