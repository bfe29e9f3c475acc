"""The address of a hub as somebody names it: whether it is one, and whether others may listen on the way there."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from highball.errors import Misuse


def check_url(text: str) -> str:
    """The address of a hub, without a slash at its end; raises Misuse."""
    try:
        parts = urlsplit(text)
        right = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port)
    except ValueError:
        right = False
    if not right or parts.query or parts.fragment:
        raise Misuse("--hub needs the address of a hub", hint="like --hub https://backup.example.org")
    if parts.username is not None or parts.password is not None:
        raise Misuse(
            "the address of a hub must not contain credentials",
            hint="name the token's file with HIGHBALL_TOKEN_FILE instead",
        )
    return text.rstrip("/")


def is_exposed(url: str) -> bool:
    """Whether what is sent there could be read on its way: plain http to another machine."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None or parts.hostname == "localhost":
        return False
    try:
        return not ip_address(parts.hostname).is_loopback
    except ValueError:
        return True
