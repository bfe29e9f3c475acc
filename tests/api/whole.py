"""A hub with everything in it that addresses are about, and nobody of its agents there."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.testclient import TestClient

from highball.config.roles import Token, User
from highball.hub.audit import Actor
from highball.hub.auth import passwords
from highball.hub.auth.users import kept_sound
from highball.hub.document.store import Documents
from highball.hub.hub import Hub
from highball.hub.runs.subjects import planned_of
from highball.hub.secrets.vault import open_vault
from highball.hub.storage.database import open_database
from highball.hub.storage.leader_lock import lease_on
from highball.model.role import Role
from highball.model.run import Outcome
from highball.secret import SecretValue
from highball.web.app import make_app
from record.stories import back_up, check, run_id

NOW = datetime.now(UTC)
ANNA = Actor("anna", address="192.0.2.1")
PASSWORD = "four words in a row"
CANARY = "canary-of-the-vault"

BACKUP, CHECK = run_id(1), run_id(9)
SNAPSHOT = f"{1:064x}"

DECLARED: list[tuple[str, str, dict[str, Any]]] = [
    ("host", "here", {}),
    ("profile", "often", {"schedule": "hourly"}),
    ("repository", "nas", {"url": "/mnt/nas", "password": {"env": "X"}}),
    ("repository", "far", {"url": "/mnt/far", "password": {"sealed": True}, "maintained_by": "here"}),
    ("job", "docs", {"sources": ["/docs"], "repositories": ["nas"], "schedule": "daily"}),
    ("job", "pics", {"sources": ["/pics"], "repositories": ["nas", "far"], "profile": "often"}),
    ("pin", "first", {"repository": "nas", "snapshot": SNAPSHOT, "reason": "the first"}),
]

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""The same algorithm with less effort."""


class Whole:
    """A hub, its app, and a token for each role."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.tokens: dict[Role, str] = {}

    @cached_property
    def app(self) -> FastAPI:
        """What answers; made when it is first asked, as that takes longer than the rest."""
        return make_app(self.hub)

    def fill(self) -> Whole:
        """Declare, remember and seal one of everything."""
        hub = self.hub
        told: dict[str, Any] = {"now": NOW, "actor": ANNA}
        for kind, key, spec in DECLARED:
            hub.documents.create(kind, key, spec, **told)
        hub.vault.seal(hub.vault.find_place("far", "password"), SecretValue(CANARY.encode()), **told)
        back_up(hub.record, 1, 1000)
        check(hub.record, 9, "1/20", Outcome.SUCCESS)
        hub.scheduler.reconcile(planned_of(hub.document(), hub.host), NOW)
        return self.let_in()

    def let_in(self) -> Whole:
        """Make people, and a token for each role."""
        access = self.hub.access
        access.create_user("vera", User(role=Role.VIEWER), ANNA, NOW)
        access.create_user("anna", User(role=Role.ADMIN), ANNA, NOW)
        link = access.make_link("anna", ANNA, NOW)
        access.use_link(link.token, SecretValue(PASSWORD.encode()), NOW)
        for role in Role:
            _, value = access.create_token(f"of-{role}", Token(role=role, may_grant=True), ANNA, NOW)
            self.tokens[role] = value.reveal().decode()
        return self

    def client(self, role: Role | None = Role.ADMIN) -> TestClient:
        """A program with a token of this role; None is nobody."""
        client = TestClient(self.app, base_url="https://hub.example")
        if role is not None:
            client.headers["Authorization"] = f"Bearer {self.tokens[role]}"
        return client


@contextlib.contextmanager
def whole_hub(folder: Path, where: Path | str | None = None) -> Iterator[Whole]:
    """A hub on a new database; its own loop runs, its clock does not."""
    folder.mkdir(parents=True, exist_ok=True)
    database = open_database(where)
    documents = Documents(database, kept_sound)
    vault = open_vault(database, folder / "hub.key")
    hub = Hub(database, documents, "here", vault, folder, lease_on(None))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        hub.bus.open(loop)
        hub.dispatcher.open(loop)
        with mock.patch.object(passwords, "_HASHER", QUICK):
            passwords._nobodys.cache_clear()
            yield Whole(hub).fill()
    finally:
        passwords._nobodys.cache_clear()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        database.close()
