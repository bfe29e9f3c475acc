"""What repositories hold: asked of their agents, never changed."""

from __future__ import annotations

import asyncio

from highball.config.document import effective_job
from highball.engine.kinds import engine_of
from highball.errors import Conflict, Failed, Unknown
from highball.hub.audit import Actor, write_down
from highball.hub.auth.users import demand_present
from highball.hub.disaster.recovery_kit import demand_makeable, list_kept
from highball.hub.parts import HubParts
from highball.hub.runs.record import not_lost, utc_now
from highball.model.snapshot import Loss, Snapshot


class RepositoryOperations:
    """Repositories, and what is to be known before one is lost."""

    _hub: HubParts

    async def list_snapshots(self, key: str) -> list[Snapshot]:
        """What a repository holds, of other tools too, newest first; raises HighballError."""
        asked = await asyncio.to_thread(self._hub.repositories.asked, key)
        return await asyncio.to_thread(self._recognise, key, await asked.list_snapshots())

    def _recognise(self, key: str, listing: list[Snapshot]) -> list[Snapshot]:
        self._hub.record.take_listing(key, listing, utc_now())
        found = self._hub.record.recognise(key, listing)
        return sorted(found, key=lambda snapshot: snapshot.time, reverse=True)

    async def tell_loss(self, key: str) -> Loss:
        """What would be given up by beginning a repository anew.

        Raises Conflict where the one that was met is there, and HighballError where nobody can say.
        """
        asked = await asyncio.to_thread(self._hub.repositories.asked, key)
        found = await asked.test()
        if found["state"] in ("existing", "empty", "locked"):
            raise not_lost(key)
        if found["state"] not in ("gone", "changed", "uninitialised"):
            raise Failed(found["message"], code="loss_unknown", hint=found.get("hint"))
        return await asyncio.to_thread(self._hub.record.tell_loss, key)

    async def give_up(self, key: str, identity: str | None, actor: Actor) -> None:
        """Hold a repository for gone, with all that was in it. Raises as `tell_loss` does, and where it is another."""
        if (await self.tell_loss(key)).identity != identity:
            raise Conflict(
                f"another repository is known as {key} by now",
                code="repository_another",
                hint="look at what would be given up once more",
            )
        await asyncio.to_thread(self._hub.record.give_up, key, actor, utc_now())
        self._hub.bus.news.publish("object", key)

    def make_kit(self, key: str, actor: Actor) -> str:
        """The page to print for a repository; who took it, and when, is in the audit.

        Raises Unknown, ConfirmationNeeded, NotAllowed (`kit_not_here`) and SecretUnavailable.
        """
        demand_present(actor)
        now, document = utc_now(), self._hub.document()
        repository = document.repositories.get(key)
        if repository is None:
            raise Unknown(f"there is no repository {key}", code="repository_unknown")
        demand_makeable(key, repository, from_file=self._hub.documents.is_from_file("repository", key))
        placed = self._hub.vault.place(key, repository)
        sealed = self._hub.vault.open_named(placed, admin=False)
        jobs = {name: effective_job(document, name) for name in document.jobs}
        kept = list_kept(jobs, key)
        with self._hub.database.write() as connection:
            write_down(connection, actor, "took_kit", now, kind="repository", key=key)
        identity = self._hub.record.find_identity(key)
        return engine_of(placed).recovery_page(key, placed, kept, now, identity=identity, sealed=sealed)
