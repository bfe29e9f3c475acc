"""From an order in the queue to what is sent to an agent: the full assignment, signed, with the secrets of the run.

What has to be seen of a repository first is asked of its agent, and no thread waits for that.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from highball.config.document import HUB_JOB
from highball.config.merge import profiles_of, table_of
from highball.config.repository import demand_maintained
from highball.errors import Misuse, Unknown
from highball.hub.agents.remote_repository import AskedOverWire
from highball.hub.data import HubData
from highball.hub.dispatch.assignments import Orders
from highball.hub.dispatch.claims import Claims
from highball.hub.dispatch.own_work import OwnWork
from highball.hub.dispatch.run_secrets import RunSecrets
from highball.hub.retention.live_plans import LivePlans, Looks
from highball.hub.runs.queue import Queued, RunOrder
from highball.hub.runs.record import utc_now
from highball.protocol.tasks import Assignment, RestoreTask
from highball.protocol.wire import Assign


class Preparation:
    """Prepares runs for their agents."""

    def __init__(
        self, data: HubData, plans: LivePlans, claims: Claims, secrets: RunSecrets, own_work: OwnWork
    ) -> None:
        self._data = data
        self._plans = plans
        self._repositories = plans.repositories
        self._claims = claims
        self._secrets = secrets
        self._own_work = own_work

    async def prepare(self, run: Queued) -> Assign:
        """What the agent of a run is sent; raises HighballError where there is nothing to send."""
        looks = await self._look_first(run)
        written = await asyncio.to_thread(self._write, run, looks)
        assignment = await asyncio.to_thread(self._claims.order, written)
        values = await asyncio.to_thread(self._secrets.of_assignment, run.order, assignment)
        return Assign(assignment=assignment, needs=assignment.needs, secrets=values)

    async def _look_first(self, run: Queued) -> Looks:
        """What has to be seen of a repository before a run there can be prepared; raises HighballError."""
        order = run.order
        if order is None or not (order.verb.plans or order.task == "verify"):
            return Looks(self._plans.retainer)
        key = _named(order.repository)
        if order.task != "verify":
            demand_maintained(key, self._repositories.get(key))
            return await self._plans.look_at(key, order.job, order.snapshot, patient=True)
        asked = await asyncio.to_thread(self._find_to_list, run, order, key)
        return Looks(self._plans.retainer, listing=await asked.list_snapshots() if asked else ())

    def _find_to_list(self, run: Queued, order: RunOrder, key: str) -> AskedOverWire | None:
        """The repository that has to be listed before a snapshot of it can be chosen."""
        document = self._data.document()
        orders = Orders(document, self._data.record, run.host, self._data.former_keys())
        has_to = key in document.repositories and orders.has_to_list(order, key)
        return replace(self._repositories.asked(key), patient=True) if has_to else None

    def _write(self, run: Queued, looks: Looks) -> Assignment:
        """The full assignment; raises HighballError where there is none."""
        order, now, document = run.order, utc_now(), self._data.document()
        assert order is not None
        orders = Orders(document, self._data.record, run.host, self._data.former_keys())
        wait = None if order.wait_seconds is None else timedelta(seconds=order.wait_seconds)
        if order.task == "backup":
            return self._placed(
                run, orders.back_up(_named(order.job), now, wait=wait, dry_run=order.dry_run, run=run.id)
            )
        if order.task == "hub-backup":
            key = _named(document.settings.backup_repository)
            copy, copied = self._own_work.copy()
            return self._placed(run, orders.save_copy(copy, copied, key, now, run=run.id, wait=wait))
        key = _named(order.repository)
        if key not in document.repositories:
            raise Unknown(f"there is no repository {key}", code="repository_unknown")
        if order.task == "restore":
            task = RestoreTask(
                repository=key,
                snapshot_id=_named(order.snapshot),
                paths=order.paths,
                target=order.target,
                overwrite=order.overwrite,
            )
            return self._placed(run, orders.bring_back(task, key, now, job=order.job, wait=wait, run=run.id))
        if order.verb.plans:
            removal = self._plans.removal(order, key, looks)
            return self._placed(run, orders.maintain(removal, key, now, job=order.job, wait=wait, run=run.id))
        given, job = orders.task_for(order, key, lambda: list(looks.listing))
        return self._placed(run, orders.maintain(given, key, now, job=job, wait=wait, run=run.id))

    def _placed(self, run: Queued, assignment: Assignment) -> Assignment:
        """The assignment of a run whose sealed secrets name their places in the vault."""
        placed = {key: self._data.vault.place(key, found) for key, found in assignment.repositories.items()}
        about = [("repository", key) for key in placed]
        if assignment.job not in (None, HUB_JOB):
            about += [("job", assignment.job), *self._inherited(assignment.job)]
        from_file = all(self._data.documents.is_from_file(kind, key) for kind, key in about)
        told = {"repositories": placed, "from_file": from_file}
        of_run = {"subject": run.order and run.order.subject, "nominal_at": run.nominal_at}
        return assignment.model_copy(update={**told, **of_run})

    def _inherited(self, job: str) -> list[tuple[str, str]]:
        """What a job takes over from: its profiles and the defaults, where there are any."""
        tables = self._data.document().tables
        chain = [
            ("profile", key)
            for key in profiles_of(tables, table_of(table_of(tables, "jobs"), job).get("profile"))
        ]
        return [*chain, *([("defaults", "defaults")] if tables.get("defaults") else [])]


def _named(key: str | None) -> str:
    if key is None:
        raise Misuse("the order lacks what it is about", code="order_incomplete")
    return key
