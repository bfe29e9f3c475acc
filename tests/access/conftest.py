"""A hub's access for each test, and a web application around it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.testclient import TestClient

from highball.config.document import build
from highball.config.roles import User
from highball.hub.audit import Actor
from highball.hub.auth import passwords
from highball.hub.auth.sessions import Access
from highball.hub.document.store import load_document
from highball.hub.secrets.vault import Vault, open_vault
from highball.hub.storage.database import Database, open_database
from highball.model.role import Role
from highball.secret import SecretValue
from highball.web import error_responses
from highball.web.api import accounts, audit_log, login, own_account, own_tokens, sealed_secrets, tokens
from highball.web.dependencies import access_of, clock_of, vault_of
from highball.web.middleware import Guard, Rules

ROOMS = (login, own_account, own_tokens, accounts, tokens, audit_log, sealed_secrets)
"""Whose addresses are about who comes in, and about what is kept sealed."""

NOW = datetime(2026, 5, 3, 10, tzinfo=UTC)
CLI = Actor("cli")
PASSWORD = "four words in a row"


class Clock:
    """What time it is; a test moves it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, time: timedelta) -> None:
        """Let time pass."""
        self.now += time


def secret(text: str) -> SecretValue:
    """A value as it comes in."""
    return SecretValue(text.encode())


def declare(database: Database) -> None:
    """The repository nas, whose password is sealed."""
    nas = {"url": "/srv/nas", "password": {"sealed": True}}
    load_document(database, build({"repositories": {"nas": nas}}), now=NOW)


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same algorithm with less effort: what a hash costs is one test of its own."""
    monkeypatch.setattr(passwords, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    passwords._nobodys.cache_clear()
    yield
    passwords._nobodys.cache_clear()


@pytest.fixture
def clock() -> Clock:
    """A clock that stands until it is moved."""
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """A database in which the repository nas is declared."""
    database = open_database(tmp_path / "highball.db")
    declare(database)
    return database


@pytest.fixture
def vault(database: Database, tmp_path: Path) -> Vault:
    """An empty vault."""
    return open_vault(database, tmp_path / "hub.key")


@pytest.fixture
def access(database: Database, vault: Vault) -> Access:
    """No account yet."""
    return Access(database, vault)


def add_user(access: Access, name: str, role: Role, now: datetime = NOW) -> None:
    """A user who has set a password by the invitation."""
    access.create_user(name, User(role=role), CLI, now)
    access.use_link(access.make_link(name, CLI, now).token, secret(PASSWORD), now)


@pytest.fixture
def people(access: Access) -> Access:
    """Anna administers, Otto operates, Vera looks; all have the same password."""
    for name, role in (("anna", Role.ADMIN), ("otto", Role.OPERATOR), ("vera", Role.VIEWER)):
        add_user(access, name, role)
    return access


async def _take_as_it_is(key: str, secret: str, value: SecretValue, anyway: bool) -> bool:
    return False


def make_app(access: Access, vault: Vault, clock: Clock, rules: Rules | None = None) -> FastAPI:
    """The addresses of these rooms behind the guard; a password is taken as it is."""
    app = FastAPI()
    for room in ROOMS:
        app.include_router(room.router)
    app.dependency_overrides = {
        access_of: lambda: access,
        vault_of: lambda: vault,
        clock_of: lambda: clock,
        sealed_secrets.trial_of: lambda: _take_as_it_is,
    }
    error_responses.register(app)
    app.add_middleware(Guard, access=access, clock=clock, rules=rules)
    return app


@pytest.fixture
def app(access: Access, vault: Vault, clock: Clock) -> FastAPI:
    """A web application of these rooms alone."""
    return make_app(access, vault, clock)


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    """A browser that is not logged in, over https."""
    return TestClient(app, base_url="https://hub.example", client=("192.0.2.7", 4711))


def log_in(client: TestClient, name: str, password: str = PASSWORD) -> TestClient:
    """Log this browser in."""
    answer = client.post("/api/v1/login", json={"name": name, "password": password})
    assert answer.status_code == 200, answer.text
    return client
