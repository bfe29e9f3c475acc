"""Where a repository's secrets go: the servers that are shown them, as text that is the same for the same server.

A storage secret is shown to the server that it opens; the repository's own password is not, it never leaves the
machine that works. Nothing here reads a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

from highball.engine.restic.location import (
    Location,
    ResticRepository,
    address,
    as_admin,
    deleting_location,
    secrets_of,
)

_LEADS_ELSEWHERE = re.compile(r"URL|ENDPOINT|HOST|SUFFIX|PROXY|DOMAIN|SERVER|AUTH$")
"""What a variable is called that says to which server its neighbours are shown."""

_PORTS = {"http": 80, "https": 443}


def is_shown_to_storage(slot: str) -> bool:
    """Whether the secret of this slot, as `rest_password` or `admin.rest_password`, proves somebody to a server."""
    kept = slot in ("password", "admin", "admin.password") or slot.startswith("coming.")
    return not kept and not slot.endswith(".former")


def endpoint_of(location: Location) -> str:
    """The server that a location leads to, with its port and the user there, and all that could lead elsewhere."""
    where = address(location)
    scheme, _, rest = ("local", "", where) if where.startswith("/") else where.partition(":")
    told = _SERVER[scheme](rest) if scheme in _SERVER else ""
    user = location.rest_username or location.access_key_id
    parts = [f"{scheme}:{told}" if told else scheme]
    parts += [f"as {user}"] if isinstance(user, str) else []
    parts += [
        f"with {name}={value}"
        for name, value in sorted(location.environment.items())
        if isinstance(value, str) and _LEADS_ELSEWHERE.search(name.upper())
    ]
    return " ".join(parts)


def destinations_of(repository: ResticRepository, *, admin: bool) -> dict[str, frozenset[str]]:
    """The servers that each secret of a repository is shown to, by the path of its field; the ones of the access that
    may delete only where `admin` asks for it.
    """
    found: dict[str, frozenset[str]] = {}
    for slot, endpoint in _shown(repository, admin):
        found[slot] = found.get(slot, frozenset()) | {endpoint}
    return found


def servers_for(repository: ResticRepository, slot: str) -> frozenset[str]:
    """The servers that a value of this slot is for, whether the repository names it yet or not."""
    found = destinations_of(repository, admin=True).get(slot)
    if found is not None:
        return found
    location = deleting_location(repository) if slot.startswith("admin.") else repository
    return frozenset({endpoint_of(location)})


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


def _web_server(rest: str) -> str:
    """`https://host:port` of an address; of the socket of a server on this machine, all of it."""
    if "://" not in rest:
        rest = f"https://{rest.lstrip('/')}"
    if not rest.startswith(("http://", "https://")):
        return rest
    found = urlsplit(rest)
    try:
        port = found.port
    except ValueError:
        return rest
    return f"{found.scheme}://{(found.hostname or '').lower()}:{port or _PORTS[found.scheme]}"


def _ssh_server(rest: str) -> str:
    if rest.startswith("//"):
        found = rest.removeprefix("//").partition("/")[0]
        return found if re.search(r":\d+$", found) else f"{found}:22"
    return rest.rpartition(":")[0] if "/" not in rest.partition(":")[0] else rest


def _remote(rest: str) -> str:
    return rest.partition(":")[0]


_SERVER: Mapping[str, Callable[[str], str]] = {
    "rest": _web_server,
    "s3": _web_server,
    "sftp": _ssh_server,
    "rclone": _remote,
}
