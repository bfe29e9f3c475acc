"""Everything that can be asked of a hub or ordered of it; the API and the pages are thin over this.

`order` serves every verb of the table of actions, and whatever is queued comes by it. What asks an agent is awaited in
the loop; the rest reads or writes the database, and is not to be called in the loop's own thread.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from highball.actions import By
from highball.config.document import effective_job
from highball.config.pin import names_snapshot
from highball.engine.kinds import engine_of
from highball.errors import Conflict, Failed, Misuse, NotAllowed, StateUnusable, Unknown
from highball.hub.agents.fleet import Fleet
from highball.hub.agents.pending_queries import each_of
from highball.hub.agents.remote_repository import LISTING_SECONDS, RemoteRepositories
from highball.hub.audit import Actor, write_down
from highball.hub.auth.users import demand_present
from highball.hub.bus.base import Bus
from highball.hub.data import HubData
from highball.hub.disaster.recovery_kit import demand_makeable, list_kept
from highball.hub.dispatch.dispatcher import Dispatcher
from highball.hub.retention.adoption import Adoption
from highball.hub.retention.live_plans import LivePlans, look
from highball.hub.retention.planner import Seen
from highball.hub.runs.queue import Placing, RestoreWish, RunOrder
from highball.hub.runs.record import not_lost, utc_now
from highball.hub.runs.recorded import RunFilter
from highball.hub.storage.database import new_run_id
from highball.model.run import Run
from highball.model.snapshot import Loss, Snapshot
from highball.model.standing import Hold
from highball.protocol.queries import RestorePlan
from highball.retention import Plan


class HubOperations:
    """What people and programs may ask for; who acts is told to whatever changes something."""

    def __init__(
        self,
        data: HubData,
        fleet: Fleet,
        bus: Bus,
        dispatcher: Dispatcher,
        repositories: RemoteRepositories,
        plans: LivePlans,
    ) -> None:
        self._data = data
        self._fleet = fleet
        self._bus = bus
        self._dispatcher = dispatcher
        self._repositories = repositories
        self._plans = plans

    # --- runs ---

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

        Raises NotAllowed (`restore_in_place_needed`), Unknown for a job or repository that is not declared, and Misuse,
        Unknown or NotAllowed for a snapshot that is none or cannot be removed. Not to be called in the loop's own
        thread.
        """
        if order.may_replace:
            _demand_in_place(actor)
        now, document = utc_now(), self._data.document()
        host = self._host_of(order.job)
        if order.repository is not None:
            repository = document.repositories.get(order.repository)
            if repository is None:
                raise Unknown(f"there is no repository {order.repository}", code="repository_unknown")
            if order.job is None or order.verb.by is not By.JOB_HOST:
                host = repository.maintainer(self._data.host)
        if order.snapshot is not None and not self._data.backlog.has_answered(actor, key):
            self._demand_snapshot(order, order.snapshot)
        try:
            run, placing = self._data.backlog.enqueue(
                order, host, now, id=id or new_run_id(now, secrets.randbits(74)), actor=actor, key=key
            )
        except StateUnusable as error:
            raise self._with_way_out(order, error) from None
        if placing is Placing.NEW:
            self._bus.news.publish("run", run.id)
            self._dispatcher.wake()
        return run, placing

    async def cancel(self, run: str, actor: Actor) -> Run:
        """End a run politely; raises Unknown, and Conflict where it has ended."""
        await self._dispatcher.cancel(run, actor)
        return await asyncio.to_thread(self._data.record.find_run, run)

    def find_run(self, id_or_start: str) -> Run:
        """The run with this id, or the only one whose id begins so; raises Unknown."""
        return self._data.record.find_run(id_or_start)

    def list_runs(self, chosen: RunFilter | None = None, *, limit: int = 50, after: str = "") -> list[Run]:
        """The latest runs, newest first, behind the run `after` if one is named; raises Unknown for that."""
        return self._data.record.list_runs(chosen, limit=limit, after=after)

    # --- retention ---

    async def list_plans(self, key: str, job: str | None = None, approval: str | None = None) -> list[Plan]:
        """What retention would do in a repository, one plan per set; raises HighballError."""
        return await self._plans.plan(key, job, approval)

    def list_holds(self, repository: str | None = None) -> list[Hold]:
        """What makes retention stand still, the oldest first."""
        return self._data.record.holds.list_open(repository)

    def accept_run(self, run: str, actor: Actor, reason: str | None = None) -> list[Hold]:
        """A person says that what a run showed is right; what goes on from now on. Raises Unknown."""
        found = self._data.record.find_run(run)
        return self._data.record.holds.accept_run(found.id, actor, utc_now(), reason)

    def accept_repository(self, key: str, actor: Actor, reason: str | None = None) -> list[Hold]:
        """The same of all that waits for a person in a repository."""
        self._repositories.get(key)
        return self._data.record.holds.accept_repository(key, actor, utc_now(), reason)

    def accept_hold(self, id: str, actor: Actor, reason: str | None = None) -> Hold:
        """The same of one guard."""
        return self._data.record.holds.accept(id, actor, utc_now(), reason)

    def _with_way_out(self, order: RunOrder, error: StateUnusable) -> StateUnusable:
        """The same error; of a restore with the way that needs no hub."""
        file = self._data.documents.file()
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
            self._plans.demand_removable(key, snapshot)

    def _host_of(self, job: str | None) -> str:
        """The machine whose data a job reads, and where a restore of it goes; raises Unknown."""
        named = None if job is None else effective_job(self._data.document(), job).host
        return named or self._data.host

    async def plan_restore(self, wish: RestoreWish, seconds: float = LISTING_SECONDS) -> RestorePlan:
        """What a restore would do, from a look at the machine it goes to.

        Raises HighballError, also where the look takes longer than so many seconds.
        """
        asked = replace(await asyncio.to_thread(self._repositories.asked, wish.repository), seconds=seconds)
        if wish.job is not None:
            asked = replace(asked, host=await asyncio.to_thread(self._host_of, wish.job))
        return await asked.plan_restore(
            wish.snapshot, wish.paths, wish.target, wish.overwrite, counts=wish.counts
        )

    async def adoption(self, key: str) -> Adoption:
        """Whose the snapshots of a repository are, as it holds them now; raises HighballError.

        What it answers with is not to be used in the loop's own thread.
        """
        asked = await asyncio.to_thread(self._repositories.asked, key)
        listed = Seen(frozenset(), (), await asked.list_snapshots(), ())
        retainer, skew = self._plans.retainer, self._fleet.find_skew(asked.host)
        return Adoption(self._data.database, retainer, self._data.host, key, listed, skew)

    async def preview_adoption(self, key: str, group: str, job: str) -> list[Plan]:
        """What a job's retention would do once it governs a group of a repository; raises HighballError."""
        adoption = await self.adoption(key)
        asked = await asyncio.to_thread(self._repositories.asked, key)
        sets = await asyncio.to_thread(adoption.list_sets, group, job)
        wanted = await asyncio.to_thread(lambda: [adoption.retainer.want(of) for of in sets])
        seen = await each_of(look(asked, one) for one in wanted)
        return await asyncio.to_thread(
            adoption.preview, group, job, utc_now(), dict(zip(sets, seen, strict=True))
        )

    def invite(self, host: str, actor: Actor, now: datetime) -> str:
        """A one-time token for the agent of a declared host. Raises Unknown, and Misuse for the hub's own machine."""
        self._demand_elsewhere(host, "invite another host")
        self._data.documents.get("host", host)
        demand_present(actor)
        return self._fleet.invite(host, actor, now)

    async def shut_out(self, host: str, actor: Actor, now: datetime) -> None:
        """Take a host's agent its key and its invitations. Raises Unknown, and Misuse for the hub's own machine."""
        self._demand_elsewhere(host, "end the hub to end it")
        await self._fleet.shut_out(host, actor, now)

    def _demand_elsewhere(self, host: str, hint: str) -> None:
        if host == self._data.host:
            words = f"{host} is the hub's own machine: its agent comes with the hub"
            raise Misuse(words, code="own_host", hint=hint)

    # --- what repositories hold ---

    async def list_snapshots(self, key: str) -> list[Snapshot]:
        """What a repository holds, of other tools too, newest first; raises HighballError."""
        asked = await asyncio.to_thread(self._repositories.asked, key)
        return await asyncio.to_thread(self._recognise, key, await asked.list_snapshots())

    def _recognise(self, key: str, listing: list[Snapshot]) -> list[Snapshot]:
        self._data.record.take_listing(key, listing, utc_now())
        found = self._data.record.recognise(key, listing)
        return sorted(found, key=lambda snapshot: snapshot.time, reverse=True)

    async def tell_loss(self, key: str) -> Loss:
        """What would be given up by beginning a repository anew.

        Raises Conflict where the one that was met is there, and HighballError where nobody can say.
        """
        asked = await asyncio.to_thread(self._repositories.asked, key)
        found = await asked.test()
        if found["state"] in ("existing", "empty", "locked"):
            raise not_lost(key)
        if found["state"] not in ("gone", "changed", "uninitialised"):
            raise Failed(found["message"], code="loss_unknown", hint=found.get("hint"))
        return await asyncio.to_thread(self._data.record.tell_loss, key)

    async def give_up(self, key: str, identity: str | None, actor: Actor) -> None:
        """Hold a repository for gone, with all that was in it. Raises as `tell_loss` does, and where it is another."""
        if (await self.tell_loss(key)).identity != identity:
            raise Conflict(
                f"another repository is known as {key} by now",
                code="repository_another",
                hint="look at what would be given up once more",
            )
        await asyncio.to_thread(self._data.record.give_up, key, actor, utc_now())
        self._bus.news.publish("object", key)

    # --- the way back ---

    def make_kit(self, key: str, actor: Actor) -> str:
        """The page to print for a repository; who took it, and when, is in the audit.

        Raises Unknown, ConfirmationNeeded, NotAllowed (`kit_not_here`) and SecretUnavailable.
        """
        demand_present(actor)
        now, document = utc_now(), self._data.document()
        repository = document.repositories.get(key)
        if repository is None:
            raise Unknown(f"there is no repository {key}", code="repository_unknown")
        demand_makeable(key, repository, from_file=self._data.documents.is_from_file("repository", key))
        placed = self._data.vault.place(key, repository)
        sealed = self._data.vault.open_named(placed, admin=False)
        jobs = {name: effective_job(document, name) for name in document.jobs}
        kept = list_kept(jobs, key)
        with self._data.database.write() as connection:
            write_down(connection, actor, "took_kit", now, kind="repository", key=key)
        identity = self._data.record.find_identity(key)
        return engine_of(placed).recovery_page(key, placed, kept, now, identity=identity, sealed=sealed)


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
