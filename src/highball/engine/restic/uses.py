"""What a restic repository uses of the host that works in it: folders, keys, secrets, and what could run a program."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from highball.engine.base import Uses
from highball.engine.restic.location import ADDRESS, Location, address, local_path
from highball.engine.restic.variables import NAMING_FILES, PLAIN
from highball.secret import SecretReference

NOTHING = Uses()


def uses_of_both(everyday: Location, deleting: Location, admin: Location | None) -> dict[str, Uses]:
    """The same of both accesses; where the one that may delete leads is told as `deleting`."""
    where = together([_where(everyday), _where(deleting)])
    told = dict.fromkeys(_WHERE, where) | uses_of_fields(everyday)
    return told | {"admin": NOTHING if admin is None else together(uses_of_fields(admin).values(), "admin.")}


def uses_of_fields(location: Location) -> dict[str, Uses]:
    """What each field uses besides the place that they lead to together."""
    return {
        **{name: _secret(name, getattr(location, name, None)) for name in _SECRETS},
        **{name: _file(name, getattr(location, name)) for name in _PROOFS},
        "environment": together(_variable(name, value) for name, value in location.environment.items()),
        "options": Uses(commands=["options of restic"]) if location.options else NOTHING,
    }


_WHERE = ("url", "kind", *ADDRESS, "region", "rest_username")
_SECRETS = ("access_key_id", "secret_access_key", "rest_password", "password")
_PROOFS = ("identity_file", "known_hosts", "certificate")


def together(parts: Iterable[Uses], before: str = "") -> Uses:
    """All of them as one, each slot with this before it."""
    parts = tuple(parts)
    return Uses(
        places=[path for part in parts for path in part.places],
        files={f"{before}{slot}": path for part in parts for slot, path in part.files.items()},
        secrets={f"{before}{slot}": secret for part in parts for slot, secret in part.secrets.items()},
        commands=[words for part in parts for words in part.commands],
    )


def _where(location: Location) -> Uses:
    path = local_path(location)
    return Uses(
        places=[] if path is None else [path],
        commands=["rclone"] if address(location).startswith("rclone:") else [],
    )


def _secret(slot: str, value: object) -> Uses:
    return Uses(secrets={slot: value}) if isinstance(value, SecretReference) else NOTHING


def _file(slot: str, path: Path | None) -> Uses:
    return NOTHING if path is None else Uses(files={slot: path})


def _variable(name: str, value: str | SecretReference) -> Uses:
    """Only those are plain of which the whole name is known."""
    if name in NAMING_FILES and isinstance(value, str):
        return _file(name, Path(value))
    found = _secret(f"environment.{name}", value)
    return found if name in PLAIN else together([found, Uses(commands=[f"the variable {name}"])])
