"""The server that a location leads to: what a secret that is shown there is bound to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from highball.engine.restic.location import Location, address

_LEADS_ELSEWHERE = re.compile(r"URL|ENDPOINT|HOST|SUFFIX|PROXY|DOMAIN|SERVER|AUTH$")
"""What a variable is called that says to which server its neighbours are shown."""

_PORTS = {"http": 80, "https": 443}


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
