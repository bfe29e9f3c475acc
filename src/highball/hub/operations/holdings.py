"""What repositories hold: asked of their agents, never changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from pathlib import Path

from highball.config.document import effective_job
from highball.config.repository import Repository
from highball.engine.kinds import engine_of
from highball.errors import Conflict, Failed, Unknown
from highball.hub.agents.remote_repository import AskedOverWire
from highball.hub.audit import Actor, write_down
from highball.hub.auth.users import demand_present
from highball.hub.disaster.hub_kit import demand_makeable, list_kept
from highball.hub.disaster.self_backup import Manifest, examine, list_backups
from highball.hub.parts import HubParts
from highball.hub.runs.record import not_lost
from highball.model.snapshot import Difference, Lock, Loss, Node, Snapshot
from highball.protocol.queries import Dump, Flowing, ListNodes


class RepositoryOperations:
    """Repositories, and what is to be known before one is lost."""

    _hub: HubParts
    _now: Callable[[], datetime]

    def get_repository(self, key: str) -> Repository:
        """What is declared of a repository. Raises Unknown."""
        return self._hub.repositories.get(key)

    async def list_snapshots(self, key: str) -> list[Snapshot]:
        """What a repository holds, of other tools too, newest first; raises HighballError."""
        listing = await (await self._asked(key)).list_snapshots()
        return await asyncio.to_thread(self._recognise, key, listing)

    def _recognise(self, key: str, listing: list[Snapshot]) -> list[Snapshot]:
        self._hub.record.take_listing(key, listing, self._now())
        found = self._hub.record.recognise(key, listing)
        return sorted(found, key=lambda snapshot: snapshot.time, reverse=True)

    async def list_folder(self, key: str, snapshot: str, path: bytes) -> list[Node]:
        """What a snapshot's folder holds; raises HighballError."""
        return await (await self._asked(key)).list_folder(snapshot, path)

    async def list_nodes(self, key: str, snapshot: str, path: bytes | None) -> AsyncGenerator[bytes, None]:
        """Everything that a snapshot holds, or only a folder of it, as it is listed: one JSON object a line.

        Raises HighballError, also while it is read.
        """
        asked = await self._asked(key)
        return self._read(asked, ListNodes(snapshot=snapshot, path=path, **asked.about()))

    async def read_content(self, key: str, snapshot: str, path: bytes) -> AsyncGenerator[bytes, None]:
        """The content of a file, or a folder as a tar archive, as it comes; raises as `list_nodes` does."""
        asked = await self._asked(key)
        return self._read(asked, Dump(snapshot=snapshot, path=path, **asked.about()))

    async def compare(self, key: str, old: str, new: str) -> list[Difference]:
        """What differs between two snapshots; raises HighballError."""
        return await (await self._asked(key)).compare(old, new)

    async def list_locks(self, key: str) -> list[Lock]:
        """The locks in a repository, each with its owner; raises HighballError."""
        return await (await self._asked(key)).list_locks()

    async def _asked(self, key: str) -> AskedOverWire:
        return await asyncio.to_thread(self._hub.repositories.asked, key)

    def _read(self, asked: AskedOverWire, question: Flowing) -> AsyncGenerator[bytes, None]:
        return self._hub.fleet.read(asked.host, question, dict(asked.sealed))

    async def tell_loss(self, key: str) -> Loss:
        """What would be given up by beginning a repository anew.

        Raises Conflict where the one that was met is there, and HighballError where nobody can say.
        """
        found = await (await self._asked(key)).test()
        if found["state"] in ("existing", "empty", "locked"):
            raise not_lost(key)
        if found["state"] not in ("gone", "changed", "uninitialised"):
            raise Failed(found["message"], code="loss_unknown", hint=found.get("hint"))
        return await asyncio.to_thread(self._hub.record.tell_loss, key)

    async def give_up(self, key: str, identity: str | None, actor: Actor) -> None:
        """Hold a repository for gone, with all that was in it. Raises as `tell_loss` does, and where it is another."""
        if (await self.tell_loss(key)).identity != identity:
            raise Conflict(
                f"{key} is another repository by now",
                code="repository_another",
                hint="review again what would be given up",
            )
        await asyncio.to_thread(self._hub.record.give_up, key, actor, self._now())
        self._hub.bus.news.publish("object", key)

    def list_copies(self) -> list[tuple[Path, Manifest]]:
        """The hub's copies of its own database, the newest first; each is read through for what it says of itself."""
        return [(path, examine(path)) for path in list_backups(self._hub.state)]

    def make_kit(self, key: str, actor: Actor) -> str:
        """The page to print for a repository; who took it, and when, is in the audit.

        Raises Unknown, ConfirmationNeeded, NotAllowed (`kit_not_here`) and SecretUnavailable.
        """
        demand_present(actor)
        now, document = self._now(), self._hub.document()
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
