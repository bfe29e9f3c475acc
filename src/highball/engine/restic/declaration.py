"""A restic repository as people declare it: its everyday access and, apart, the one that may delete.

Declared are an address, a password and whatever the backend asks for; what one access leaves blank the other says.
Secrets are references. Nothing here starts a program or touches the repository.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import Field, model_validator

from highball.engine.base import DeclaredRepository, Uses, is_shown_to_storage
from highball.engine.restic.endpoint import endpoint_of
from highball.engine.restic.location import (
    ADDRESS,
    CREDENTIALS,
    CREDENTIALS_OF,
    Location,
    address,
    local_folder,
    problems_of,
    together,
)
from highball.engine.restic.url import split_url
from highball.engine.restic.uses import uses_of_both
from highball.place.base import Files
from highball.secret import Secret, SecretReference


class Admin(Location):
    """A second, complete access that may delete; what is blank is as in the everyday access."""

    password: Secret | None = Field(None, description="the repository's password for the admin credentials")


class ResticRepository(DeclaredRepository, Location):
    """A restic repository: its everyday access and, apart, the one that may delete."""

    engine: Literal["restic"] = Field("restic", description="the backup program that writes it")
    password: Secret = Field(description="the repository's password, which encrypts it")
    admin: Admin | None = Field(None, description="admin credentials: separate credentials for deleting")

    @property
    def address(self) -> str:
        """The restic location, without any secret."""
        return address(self)

    @property
    def local_folder(self) -> Path | None:
        """The folder of its host, where it is a path."""
        return local_folder(self)

    def is_in_its_folder(self, files: Files) -> bool:
        """Whether the folder holds restic's config."""
        folder = self.local_folder
        return folder is not None and files.look(os.fsencode(folder / "config")) is not None

    @property
    def files(self) -> Mapping[str, Path]:
        """Keys and certificates."""
        named = {name: getattr(self, name) for name in ("identity_file", "known_hosts", "certificate")}
        return {name: path for name, path in named.items() if path is not None}

    def uses(self) -> Mapping[str, Uses]:
        """Where both accesses lead, and what they prove themselves with."""
        return uses_of_both(self, deleting_location(self), self.admin)

    def secrets(self) -> list[tuple[str, SecretReference]]:
        """Every reference to a secret, with its slot."""
        return secrets_of(self)

    def with_places(self, id: str) -> Self:
        """The same, each sealed secret with its place in the vault."""
        return with_places(self, id)

    @property
    def has_admin(self) -> bool:
        """Whether a second access is named."""
        return self.admin is not None

    def as_admin(self) -> Self:
        """The same by its second access."""
        return as_admin(self)

    def without_admin(self) -> Self:
        """The same without it."""
        return self.model_copy(update={"admin": None})

    def with_sealed(self, slot: str) -> Self | None:
        """The same, opened by what is sealed."""
        sealed = {"password": SecretReference(sealed=True)}
        if slot == "password":
            return self.model_copy(update=sealed)
        if self.admin is None:
            return None
        return self.model_copy(update={"admin": self.admin.model_copy(update=sealed)})

    def destinations(self, *, admin: bool) -> dict[str, frozenset[str]]:
        """The servers that each secret is shown to, by its slot."""
        return _destinations_of(self, admin=admin)

    def servers_for(self, slot: str) -> frozenset[str]:
        """The servers that a value of this slot is for."""
        found = self.destinations(admin=True).get(slot)
        if found is not None:
            return found
        location = deleting_location(self) if slot.startswith("admin.") else self
        return frozenset({endpoint_of(location)})

    def endpoints(self) -> frozenset[str]:
        """The servers that both accesses lead to."""
        return frozenset({endpoint_of(self), endpoint_of(deleting_location(self))})

    @model_validator(mode="after")
    def _check_both_ways(self) -> Self:
        found = list(problems_of(self))
        if self.when_back and not found and local_folder(self) is None:
            found = [("when_back", "has no effect for a repository that is not on a disk of this host", None)]
        if self.admin is not None and not found:
            merged = _admin_location(self, self.admin)
            found = [
                (f"admin.{name}".rstrip("."), message, hint) for name, message, hint in problems_of(merged)
            ]
        if found:
            raise together(found)
        return self


# --- both accesses -------------------------------------------------------------------------------

_Kept = TypeVar("_Kept", bound=ResticRepository)


def as_admin(repository: _Kept) -> _Kept:
    """The repository with its admin access as the everyday one; itself where none is declared."""
    if repository.admin is None:
        return repository
    location = _admin_location(repository, repository.admin)
    told = {name: getattr(location, name) for name in Location.model_fields}
    password = repository.admin.password or repository.password
    return repository.model_copy(update={**told, "password": password, "admin": None})


def secrets_of(repository: ResticRepository) -> list[tuple[str, SecretReference]]:
    """Every reference to a secret with the path of its field, as `environment.B2_ACCOUNT_KEY`."""
    found = _references(repository)
    if repository.admin is not None:
        found += [(f"admin.{place}", reference) for place, reference in _references(repository.admin)]
    return found


def with_places(repository: _Kept, id: str) -> _Kept:
    """The repository with the place in the vault of each sealed secret, whatever place it named before.

    `id` is the stored object's: so no declaration can point at what belongs to another.
    """
    named = repository.model_copy(update=_placed(repository, f"repository:{id}:"))
    if repository.admin is None:
        return named
    admin = repository.admin.model_copy(update=_placed(repository.admin, f"repository:{id}:admin."))
    return named.model_copy(update={"admin": admin})


def _placed(location: ResticRepository | Admin, before: str) -> dict[str, object]:
    """The fields that hold sealed secrets, each secret with its place."""
    fields: dict[str, object] = {}
    variables = dict(location.environment)
    for name, reference in _references(location):
        if reference.sealed is None:
            continue
        # The admin password is the slot `admin`; every other secret is called as its field is.
        placed = SecretReference(sealed=f"{before}{name}".replace(":admin.password", ":admin"))
        if name.startswith("environment."):
            variables[name.removeprefix("environment.")] = placed
            fields["environment"] = variables
        else:
            fields[name] = placed
    return fields


def _references(location: ResticRepository | Admin) -> list[tuple[str, SecretReference]]:
    fields: dict[str, object] = {
        "password": location.password,
        "access_key_id": location.access_key_id,
        "secret_access_key": location.secret_access_key,
        "rest_password": location.rest_password,
        **{f"environment.{name}": value for name, value in location.environment.items()},
    }
    return [(place, value) for place, value in fields.items() if isinstance(value, SecretReference)]


def deleting_location(repository: ResticRepository) -> Location:
    """Where the access that may delete leads; the everyday one where no other is declared."""
    return _admin_location(repository, repository.admin) if repository.admin is not None else repository


def _admin_location(everyday: Location, admin: Location) -> Location:
    """The admin access, its blanks filled from the everyday one as far as these go with its backend."""
    named = {
        name: value for name in Location.model_fields if (value := getattr(admin, name)) not in (None, {})
    }
    elsewhere = "url" in named or named.get("kind", everyday.kind) != everyday.kind
    backend = named.get("kind") or split_url(named.get("url") or everyday.url or f"{everyday.kind}:")[0]
    dropped = {*CREDENTIALS} - {*CREDENTIALS_OF.get(backend, ())}
    if elsewhere:
        dropped |= {"url", "kind", *ADDRESS}
    blanks = {name: getattr(everyday, name) for name in Location.model_fields if name not in dropped}
    merged = blanks | named
    for table in ("environment", "options"):
        merged[table] = getattr(everyday, table) | getattr(admin, table)
    return Location.model_construct(**merged)


# --- where its secrets go ------------------------------------------------------------------------


def _destinations_of(repository: ResticRepository, *, admin: bool) -> dict[str, frozenset[str]]:
    """The servers that each secret of a repository is shown to, by the path of its field; the ones of the access that
    may delete only where `admin` asks for it.
    """
    found: dict[str, frozenset[str]] = {}
    for slot, endpoint in _shown(repository, admin):
        found[slot] = found.get(slot, frozenset()) | {endpoint}
    return found


def _shown(repository: ResticRepository, admin: bool) -> Iterator[tuple[str, str]]:
    everyday = endpoint_of(repository)
    for slot, _ in secrets_of(repository.model_copy(update={"admin": None})):
        if is_shown_to_storage(slot):
            yield slot, everyday
    if not admin or repository.admin is None:
        return
    own = {slot for slot, _ in secrets_of(repository) if slot.startswith("admin.")}
    merged = as_admin(repository)
    for slot, _ in secrets_of(merged):
        named = f"admin.{slot}" if f"admin.{slot}" in own else slot
        if is_shown_to_storage(named):
            yield named, endpoint_of(merged)
