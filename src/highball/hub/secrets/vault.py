"""The vault: values that the hub keeps sealed, each bound to its place, under a key outside the database.

A value is sealed with AES-256-GCM under a nonce of its own; the place (`repository:<id>:password`,
`repository:<id>:admin`) is bound to it, so that a row which was moved opens nowhere, and with it the servers that a
storage secret was entered for (`bindings`). What does not open is an
error and never overwritten. The key lies in a file of its own, made at first use, for its owner's eyes only.
The secret of a user's authenticator app (`user:<id>:totp`) lies here likewise. Hashes of passwords, tokens and recovery
codes, which `hub.access` keeps in the same table (`user:…`, `token:…`), are not sealed: they give nothing away.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from highball.engine.base import DeclaredRepository
from highball.errors import ConfigurationInvalid, Conflict, Misuse, Problem, StateUnusable, Unknown
from highball.hub.audit import Actor, write_down
from highball.hub.document.endpoint_bindings import (
    BOUND,
    ENTER_AGAIN,
    FREE,
    HEAD,
    ID_BYTES,
    NONCE_BYTES,
    SEALED_ELSEWHERE,
    moved,
    servers_at,
    servers_of,
    spell,
    take_apart,
)
from highball.hub.storage.database import Database
from highball.hub.storage.schema import objects, vault
from highball.secret import LARGEST_BYTES, PLACE, SecretValue

KEY_FILE = "hub.key"
KEY_BYTES = 32

_Kept = TypeVar("_Kept", bound=DeclaredRepository)

IDENTITY = "hub:identity"
"""The place of the Ed25519 key by which the hub proves itself to its agents."""

FORMER = ".former"
"""How the slot ends that keeps the value before one of which nobody knows yet whether it opens its repository."""

COMING = "coming."
"""How the slot begins of a value that a run adds to its repository: it counts once that has ended well."""

OF_PEOPLE = r"user:[0-9a-f-]{36}:totp|oidc:[0-9a-f]{32}:client_secret"
"""The places of what is sealed for people, and for the provider that proves who they are."""

_SEALED = sa.or_(
    vault.c.place.like("repository:%"),
    vault.c.place == IDENTITY,
    vault.c.place.like("user:%:totp"),
    vault.c.place.like("oidc:%"),
)

# --- the key --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HubKey:
    """The key that seals, and the file it lies in."""

    path: Path
    value: bytes = field(repr=False)

    @property
    def id(self) -> bytes:
        """What tells this key from another, and nothing of the key itself."""
        return hashlib.sha256(b"highball hub key\0" + self.value).digest()[:ID_BYTES]


def find_key_file(beside: Path, environment: Mapping[str, str]) -> Path:
    """Where the key lies: HIGHBALL_KEY_FILE, a systemd credential, or `hub.key` beside the configuration."""
    if environment.get("HIGHBALL_KEY_FILE"):
        return Path(environment["HIGHBALL_KEY_FILE"]).absolute()
    if environment.get("CREDENTIALS_DIRECTORY"):
        credential = Path(environment["CREDENTIALS_DIRECTORY"], KEY_FILE)
        if credential.exists():
            return credential
    return beside / KEY_FILE


def read_key(path: Path) -> HubKey | None:
    """The key in a file; None where there is no such file.

    Raises StateUnusable where others may read it, or it is no key.
    """
    try:
        with path.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            content = opened.read(4096)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateUnusable(
            f"the hub's key {path} cannot be read: {error.strerror}", code="key_unreadable"
        ) from None
    # systemd lets the service's user read a credential by an access list, which shows as the group's right.
    foreign = 0o007 if _is_credential(path) else 0o077
    if mode & foreign:
        raise StateUnusable(
            f"the hub's key {path} is readable by others",
            code="key_open_to_others",
            hint=f"chmod 600 {path}; if somebody read it, change the secrets that are sealed with it",
        )
    try:
        value = bytes.fromhex(content.decode("ascii").strip())
    except ValueError:
        value = b""
    if len(value) != KEY_BYTES:
        raise StateUnusable(
            f"{path} contains no hub key",
            code="key_unreadable",
            hint="put the right file in its place: without it sealed secrets cannot be opened",
        )
    return HubKey(path, value)


def make_key(path: Path) -> HubKey:
    """A new key, on disk before it counts; another process's, if that was quicker. Raises StateUnusable."""
    try:
        with contextlib.suppress(FileExistsError):
            _write_key(path, secrets.token_bytes(KEY_BYTES))
    except OSError as error:
        raise StateUnusable(
            f"the hub's key {path} cannot be created: {error.strerror}",
            code="key_unreadable",
            hint="name a writable file with HIGHBALL_KEY_FILE",
        ) from None
    made = read_key(path)
    assert made is not None
    return made


def _write_key(path: Path, value: bytes) -> None:
    """Whole or not at all, and never over a file that is there."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as opened:
            opened.write(value.hex().encode() + b"\n")
            opened.flush()
            os.fsync(opened.fileno())
        os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_credential(path: Path) -> bool:
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(directory) and path.parent == Path(directory or "/")


# --- the vault ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sealed:
    """That a value is sealed at a place, since when and by whom; never the value."""

    place: str
    set_at: datetime
    set_by: str

    @property
    def slot(self) -> str:
        """Which secret of its object it is."""
        return self.place.rpartition(":")[2]


class Vault:
    """The sealed values of a hub."""

    def __init__(self, database: Database, key: HubKey) -> None:
        self._database = database
        self._key = key

    def seal(
        self, place: str, value: SecretValue, actor: Actor, now: datetime, *, keep_former: bool = False
    ) -> Sealed:
        """Keep a value at a place, in place of the one before; line ends at its end do not count.

        With `keep_former` the one before is kept beside it, for `bring_back`; else nothing is kept there any more.
        Raises StateUnusable (`vault_sealed_otherwise`) where what lies there, or anywhere in the vault, was
        sealed with another key, so that no vault ever needs two.
        """
        _check_place(place)
        content = value.reveal().rstrip(b"\r\n")
        _check_size(content)
        with self._database.write() as connection:
            found = _read_all(connection)
            self._demand_own_key(found)
            former = self._unseal(place, found[place]) if place in found else None
            self._put(connection, place, content, actor, now)
            if (
                former is not None and keep_former and place + FORMER not in found
            ):  # the oldest is what opened it
                self._put(connection, place + FORMER, former, actor, now)
            elif not keep_former:
                connection.execute(vault.delete().where(vault.c.place == place + FORMER))
            _note(connection, place, "sealed", actor, now)
        return Sealed(place, now, actor.name)

    def seal_within(
        self, connection: sa.Connection, place: str, value: SecretValue, actor: Actor, now: datetime
    ) -> None:
        """Keep a value at a place in a transaction of the caller's, who tells the audit. Raises as `seal` does."""
        _check_place(place)
        content = value.reveal()
        _check_size(content)
        self._demand_own_key(_read_all(connection))
        self._put(connection, place, content, actor, now)

    def _put(
        self, connection: sa.Connection, place: str, content: bytes, actor: Actor, now: datetime
    ) -> None:
        connection.execute(vault.delete().where(vault.c.place == place))
        sealed = self._seal(place, content, servers_at(connection, place))
        told = {"content": sealed, "changed_at": now, "actor": actor.name}
        connection.execute(vault.insert().values(place=place, **told))

    def bring_back(self, place: str, actor: Actor, now: datetime) -> Sealed:
        """Let the value that was kept be the one at a place again. Raises Unknown (`secret_unset`)."""
        former = self.open(place + FORMER)
        return self.seal(place, former, actor, now)

    def take_over(self, coming: str, place: str, actor: Actor, now: datetime) -> None:
        """Let the value at one place be the one at another, too; the one there before is kept beside it.

        Where it is already, nothing is done. Raises Unknown (`secret_unset`), StateUnusable.
        """
        value = self.open(coming)
        if self.find(place) is None or self.open(place) != value:
            self.drop_former(place)
            self.seal(place, value, actor, now, keep_former=True)

    def drop_former(self, place: str) -> None:
        """Keep nothing beside a place any more: what lies there is known to open its repository."""
        with self._database.write() as connection:
            connection.execute(vault.delete().where(vault.c.place == place + FORMER))

    def open(self, place: str) -> SecretValue:
        """The value at a place. Raises Unknown (`secret_unset`), StateUnusable (`vault_sealed_otherwise`)."""
        return SecretValue(self._unseal(place, self._read(place)))

    def _read(self, place: str) -> bytes:
        with self._database.read() as connection:
            found = connection.execute(sa.select(vault.c.content).where(vault.c.place == place)).scalar()
        if found is None:
            raise Unknown(f"nothing is sealed at {place}", code="secret_unset", hint="set it in the hub")
        return bytes(found)

    def _open_to(self, place: str, servers: frozenset[str], name: str) -> SecretValue:
        """The value at a place, if it counts for these servers. Raises Conflict (`sealed_for_another_endpoint`)."""
        content = self._read(place)
        bound = servers_of(content)
        if not servers <= (bound or frozenset()):
            found = moved(name, bound, servers)
            raise Conflict(
                f"{name} {found.message}", code=SEALED_ELSEWHERE, hint=ENTER_AGAIN, problems=[found]
            )
        return SecretValue(self._unseal(place, content))

    def open_for(self, repository: DeclaredRepository, id: str, *, admin: bool) -> dict[str, SecretValue]:
        """The values that a run on this repository needs, by their places; the admin's only where asked for.

        `id` is the stored object's. Raises as `open` does.
        """
        return self.open_named(repository.with_places(id), admin=admin)

    def place(self, key: str, repository: _Kept) -> _Kept:
        """The declared repository with this key, its sealed secrets with their places. Raises Unknown."""
        if not any(reference.sealed for _, reference in repository.secrets()):
            return repository
        return repository.with_places(self.find_place(key, "password").split(":")[1])

    def open_named(self, repository: DeclaredRepository, *, admin: bool) -> dict[str, SecretValue]:
        """The values at the places that a repository names; the admin's only where asked for.

        Raises as `open` does, and Conflict (`sealed_for_another_endpoint`) where one would be shown to another server
        than it was entered for.
        """
        servers = repository.destinations(admin=admin)
        return {
            reference.sealed: self._open_to(reference.sealed, servers.get(name, frozenset()), name)
            for name, reference in repository.secrets()
            if isinstance(reference.sealed, str) and (admin or not name.startswith("admin."))
        }

    def place_unsaved(
        self, key: str, repository: _Kept, given: Mapping[str, SecretValue], *, admin: bool = False
    ) -> tuple[_Kept, dict[str, SecretValue]]:
        """A repository that is not saved so, by its everyday access or, with `admin`, by the one that may delete:
        with places for its sealed secrets, and the values at these.

        `given` holds values by the names of their slots; others are what is sealed for the key now. Raises
        ConfigurationInvalid where there is neither.
        """
        try:
            id = self.find_place(key, "password").split(":")[1]
        except Unknown:
            id = str(uuid4())
        declared = repository.with_places(id)
        placed = declared.as_admin() if admin else declared.without_admin()
        servers = placed.destinations(admin=False)
        needed = {one.sealed: servers.get(slot, frozenset()) for slot, one in placed.secrets()}
        opened, problems = {}, []
        for name, reference in declared.secrets():
            place = reference.sealed
            if not isinstance(place, str) or place not in needed:
                continue
            try:
                opened[place] = given.get(name) or self._open_to(place, needed[place], f"secrets.{name}")
            except Unknown:
                problems.append(
                    Problem(f"secrets.{name}", "is missing", "it is declared as sealed: send its value")
                )
            except Conflict as error:
                problems += error.problems
        if problems:
            raise ConfigurationInvalid(str(problems[0]), problems=problems)
        return placed, opened

    def find(self, place: str) -> Sealed | None:
        """Since when and by whom something is sealed at a place."""
        return next((sealed for sealed in self.list_places() if sealed.place == place), None)

    def list_places(self, id: str | None = None) -> list[Sealed]:
        """What is sealed: of one object, or of all."""
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(vault.c.place, vault.c.changed_at, vault.c.actor)
                .where(_SEALED)
                .order_by(vault.c.place)
            ).all()
        found = [Sealed(row.place, row.changed_at, row.actor) for row in rows]
        return [sealed for sealed in found if id is None or sealed.place.startswith(f"repository:{id}:")]

    def remove(self, place: str, actor: Actor, now: datetime) -> bool:
        """Forget the value at a place, even one that does not open; False where nothing lay there."""
        _check_place(place)
        with self._database.write() as connection:
            gone = connection.execute(vault.delete().where(vault.c.place == place)).rowcount == 1
            connection.execute(vault.delete().where(vault.c.place == place + FORMER))
            if gone:
                _note(connection, place, "unsealed", actor, now)
        return gone

    def find_place(self, repository: str, slot: str) -> str:
        """The place of a declared repository's secret. Raises Unknown and Misuse."""
        with self._database.read() as connection:
            here = (objects.c.kind == "repository") & (objects.c.key == repository)
            id = connection.execute(
                sa.select(objects.c.id).where(here, objects.c.deleted_at.is_(None))
            ).scalar()
        if id is None:
            raise Unknown(f'there is no repository "{repository}"', code="repository_unknown")
        place = f"repository:{id}:{slot}"
        _check_place(place)
        return place

    def identity(self, actor: Actor, now: datetime) -> Ed25519PrivateKey:
        """The hub's own key, made at first use."""
        if self.find(IDENTITY) is None:
            fresh = Ed25519PrivateKey.generate().private_bytes_raw()
            self.seal(IDENTITY, SecretValue(fresh.hex().encode()), actor, now)
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(self.open(IDENTITY).reveal().decode()))

    def check(self) -> None:
        """Open everything once; raises StateUnusable where something does not open."""
        with self._database.read() as connection:
            for place, content in _read_all(connection).items():
                self._unseal(place, content)

    def rekey(self, actor: Actor, now: datetime) -> Path:
        """Seal everything anew under a new key; the old one is kept beside it, under the path returned.

        The new key is on disk before any row needs it, and takes its name only when all rows do: what a crash
        leaves in between, `open_vault` finishes. Raises StateUnusable, and then nothing has changed.
        """
        coming = _coming(self._key.path)
        coming.unlink(missing_ok=True)
        fresh = Vault(self._database, make_key(coming))
        with self._database.write() as connection:
            for place, content in _read_all(connection).items():
                sealed = fresh._seal(place, self._unseal(place, content), servers_of(content))
                connection.execute(vault.update().where(vault.c.place == place).values(content=sealed))
            write_down(connection, actor, "rekeyed", now, kind="vault")
        kept = _put_in_place(self._key)
        self._key = HubKey(self._key.path, fresh._key.value)
        return kept

    def bind(self) -> None:
        """Let storage secrets that were sealed before they were bound count for what their repository is now."""
        with self._database.read() as connection:
            if not _list_unbound(connection):
                return
        with self._database.write() as connection:
            for place, content in _list_unbound(connection).items():
                sealed = self._seal(place, self._unseal(place, content), servers_at(connection, place))
                connection.execute(vault.update().where(vault.c.place == place).values(content=sealed))

    def _seal(self, place: str, value: bytes, servers: frozenset[str] | None = None) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        told = b"" if servers is None else spell(servers)
        head = (BOUND if told else FREE) + self._key.id + nonce + told
        return head + AESGCM(self._key.value).encrypt(nonce, value, _bound(place, self._key.id, told))

    def _unseal(self, place: str, content: bytes) -> bytes:
        found = take_apart(content)
        if found is None:
            raise self._closed(place, "is not a sealed value")
        told, sealed = found
        id = _key_of(content)
        if id != self._key.id:
            raise self._closed(place, f"was sealed with another key ({(id or b'').hex()})")
        nonce = content[HEAD - NONCE_BYTES : HEAD]
        try:
            return AESGCM(self._key.value).decrypt(nonce, sealed, _bound(place, id, told))
        except InvalidTag:
            raise self._closed(place, "is damaged, or was sealed for another place") from None

    def _demand_own_key(self, found: Mapping[str, bytes]) -> None:
        for place, content in found.items():
            id = _key_of(content)
            if id is not None and id != self._key.id:
                raise self._closed(place, f"was sealed with another key ({id.hex()})")

    def _closed(self, place: str, why: str) -> StateUnusable:
        return StateUnusable(
            f"the sealed value at {place} {why}; the key file is {self._key.path} ({self._key.id.hex()})",
            code="vault_sealed_otherwise",
            hint="restore the right key file; or remove this secret, and set it again",
        )


def open_vault(database: Database, path: Path) -> Vault:
    """The vault under the key in this file, which is made if nothing was ever sealed.

    Raises StateUnusable where the key is missing, open to others, or not the one that sealed.
    """
    with database.read() as connection:
        found = _read_all(connection)
    _finish_rekeying(path, {_key_of(content) for content in found.values()})
    key = read_key(path)
    if key is None and found:
        raise StateUnusable(
            f"the hub's key {path} is missing, and secrets are sealed with it",
            code="key_missing",
            hint="put it back (it is part of a backup of the hub's configuration), or name it with HIGHBALL_KEY_FILE",
        )
    opened = Vault(database, key or make_key(path))
    opened._demand_own_key(found)
    with contextlib.suppress(
        StateUnusable
    ):  # on a full disk, or where one does not open: it says so when it is used
        opened.bind()
    return opened


def _finish_rekeying(path: Path, ids: set[bytes | None]) -> None:
    """What a crash in the middle of `rekey` left: the new key counts if the rows bear it."""
    coming = read_key(_coming(path))
    if coming is None:
        return
    current = read_key(path)
    if coming.id in ids:
        if current is not None:
            _put_in_place(current)
    elif current is not None:
        coming.path.unlink(missing_ok=True)


def _put_in_place(current: HubKey) -> Path:
    """The coming key gets its name; the one before stays, for backups of the database that need it."""
    kept = current.path.with_name(f"{current.path.name}.before-{current.id.hex()}")
    kept.unlink(missing_ok=True)
    os.link(current.path, kept)
    _coming(current.path).replace(current.path)
    _sync_folder(current.path.parent)
    return kept


def _coming(path: Path) -> Path:
    return path.with_name(f"{path.name}.coming")


def _read_all(connection: sa.Connection) -> dict[str, bytes]:
    rows = connection.execute(sa.select(vault.c.place, vault.c.content).where(_SEALED))
    return {row.place: bytes(row.content) for row in rows}


def _list_unbound(connection: sa.Connection) -> dict[str, bytes]:
    """The storage secrets that name no server."""
    return {
        place: content
        for place, content in _read_all(connection).items()
        if content.startswith(FREE) and servers_at(connection, place) is not None
    }


def _key_of(content: bytes) -> bytes | None:
    return None if take_apart(content) is None else content[len(FREE) : len(FREE) + ID_BYTES]


def _bound(place: str, id: bytes, servers: bytes) -> bytes:
    if not servers:
        return b"\0".join((FREE, id, place.encode()))
    return b"\0".join((BOUND, id, place.encode(), servers))


def _note(connection: sa.Connection, place: str, action: str, actor: Actor, now: datetime) -> None:
    """In the audit, under the key of the object that the place belongs to."""
    if place == IDENTITY:
        write_down(connection, actor, action, now, kind="hub", key="identity")
        return
    kind, id, slot = place.split(":")
    if kind == "oidc":
        write_down(connection, actor, action, now, kind="settings", key="settings", after={"secret": slot})
        return
    key = connection.execute(sa.select(objects.c.key).where(objects.c.id == id)).scalar()
    write_down(connection, actor, action, now, kind="repository", key=key, after={"secret": slot})


def _check_place(place: str) -> None:
    if place != IDENTITY and not re.fullmatch(f"{PLACE}|{OF_PEOPLE}", place):
        raise Misuse(
            "there is no such secret",
            code="place_invalid",
            hint="a secret is named password, admin, or like its field",
        )


def _check_size(content: bytes) -> None:
    if not 0 < len(content) <= LARGEST_BYTES:
        what = "is empty" if not content else f"is larger than {LARGEST_BYTES // 1024} KiB"
        raise Misuse(f"the secret {what}", code="secret_invalid")
