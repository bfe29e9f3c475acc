"""For which servers a sealed value counts: read from its row without its key, and held against what is declared.

A storage secret that was sealed for one server is never shown to another: where a repository leads elsewhere, it has
to be entered again. The repository's own password is shown to no server, and counts wherever the repository lies.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator

import sqlalchemy as sa
from pydantic import ValidationError

from highball.config.references import Spec
from highball.config.repository import Repository
from highball.engine.base import is_shown_to_storage
from highball.errors import Problem
from highball.hub.document.diff import Edit
from highball.hub.storage.schema import objects, vault

SEALED_ELSEWHERE = "sealed_for_another_endpoint"

FREE, BOUND = b"hb1", b"hb2"
"""How a sealed value begins: one that counts for its place alone, and one that names its servers beside that."""

ID_BYTES = 8
NONCE_BYTES = 12
HEAD = len(FREE) + ID_BYTES + NONCE_BYTES
_LENGTH_BYTES = 4


def spell(servers: Iterable[str]) -> bytes:
    """Servers as they stand in a row, with the length before them."""
    told = json.dumps(sorted(servers)).encode()
    return len(told).to_bytes(_LENGTH_BYTES, "big") + told


def take_apart(content: bytes) -> tuple[bytes, bytes] | None:
    """What a row says of its servers, and what is sealed; None where it is no sealed value."""
    if len(content) < HEAD or content[: len(FREE)] not in (FREE, BOUND):
        return None
    if content.startswith(FREE):
        return b"", content[HEAD:]
    end = HEAD + _LENGTH_BYTES + int.from_bytes(content[HEAD : HEAD + _LENGTH_BYTES], "big")
    return (content[HEAD:end], content[end:]) if end <= len(content) else None


def servers_of(content: bytes) -> frozenset[str] | None:
    """For which servers a value counts; None is one that names none."""
    found = take_apart(content)
    if found is None or not found[0]:
        return None
    try:
        return frozenset(json.loads(found[0][_LENGTH_BYTES:]))
    except (ValueError, TypeError):
        return frozenset()


def servers_at(connection: sa.Connection, place: str) -> frozenset[str] | None:
    """For which servers what is sealed at a place now would count; None where it is shown to none."""
    kind, _, rest = place.partition(":")
    id, _, slot = rest.partition(":")
    if kind != "repository" or not is_shown_to_storage(slot):
        return None
    spec = connection.execute(sa.select(objects.c.spec).where(objects.c.id == id)).scalar()
    repository = _read(spec)
    return frozenset() if repository is None else repository.servers_for(slot)


def find_moved(connection: sa.Connection, edits: Iterable[Edit], entered: Collection[str]) -> list[Problem]:
    """The sealed values of repositories that lead elsewhere once these edits are made; those that are `entered` with
    them are not meant.
    """
    return [one for edit in edits for one in _moved(connection, edit, entered)]


def _moved(connection: sa.Connection, edit: Edit, entered: Collection[str]) -> Iterator[Problem]:
    before, after = edit.before, edit.after
    if before is None or after is None or not after.lives or edit.place[0] != "repository":
        return
    needed, was = _needed(after.spec), _needed(before.spec)
    held = {
        slot: servers for slot, servers in needed.items() if slot not in entered and servers != was.get(slot)
    }
    if not held:
        return
    mine = vault.c.place.like(f"repository:{after.id}:%")
    for place, content in connection.execute(sa.select(vault.c.place, vault.c.content).where(mine)):
        slot = str(place).split(":", 2)[2]
        bound = servers_of(bytes(content))
        if slot in held and not held[slot] <= (bound or frozenset()):
            yield moved(f"repositories.{after.key}.{slot}", bound, held[slot])


def moved(at: str, bound: frozenset[str] | None, needed: frozenset[str]) -> Problem:
    """That a sealed value counts for other servers than it would be shown to."""
    return Problem(
        at, f"is sealed for {_told(bound)}, not for {_told(needed - (bound or frozenset()))}", ENTER_AGAIN
    )


ENTER_AGAIN = "enter it again; over the API remove the sealed value, change the address, then set it"


def _told(servers: frozenset[str] | None) -> str:
    return " and ".join(sorted(servers or ())) or "no server that is known"


def _needed(spec: Spec) -> dict[str, frozenset[str]]:
    repository = _read(spec)
    if repository is None:
        return {}
    sealed = {name for name, reference in repository.secrets() if reference.sealed is not None}
    found = repository.destinations(admin=True)
    return {slot: servers for slot, servers in found.items() if slot in sealed}


def _read(spec: object) -> Repository | None:
    try:
        return Repository.model_validate(spec)
    except ValidationError:
        return None
