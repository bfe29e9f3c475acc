"""How a hub is reached: by which names, through which proxies, below which path, and who may show its pages."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from highball.config.problems import wrong

_HOST = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]{0,252})|[0-9a-f:.]{2,45}")
_PART = re.compile(r"/[A-Za-z0-9._~-]+")


def _check_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        right = False
    if not right or parts.query or parts.fragment or "@" in parts.netloc:
        raise wrong("is not the address of a hub", "write it like https://backup.example.org")
    _check_root(parts.path.rstrip("/"))
    return text.rstrip("/")


def _check_host(text: str) -> str:
    name = text.strip().strip("[]").lower().rstrip(".")
    if not _HOST.fullmatch(name):
        raise wrong(
            "is not a name or address", "write it like backup.example.org or *.example.org, without a port"
        )
    return name


def _check_network(text: str) -> str:
    try:
        return str(ip_network(text.strip(), strict=False))
    except ValueError:
        raise wrong("is not an address or network", "write it like 10.0.0.7 or 10.0.0.0/24") from None


def _check_root(text: str) -> str:
    found = text.rstrip("/")
    if found and (not re.fullmatch(f"(?:{_PART.pattern})+", found) or {".", ".."} & set(found.split("/"))):
        raise wrong("is not a path for pages", "write it like /highball")
    return found


def _check_site(text: str) -> str:
    parts = urlsplit(text.strip().rstrip("/"))
    is_site = parts.scheme in ("http", "https") and re.fullmatch(r"[A-Za-z0-9.-]+(?::\d{1,5})?", parts.netloc)
    if not is_site or parts.path or parts.query or parts.fragment:
        raise wrong("is not a site", "write it like https://home.example.org")
    return f"{parts.scheme}://{parts.netloc.lower()}"


class Web(BaseModel):
    """How the hub is reached; it counts from the hub's next start on."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    url: Annotated[str, AfterValidator(_check_url)] | None = Field(
        None, description="the address at which people and agents reach this hub, used in its links"
    )
    allowed_hosts: tuple[Annotated[str, AfterValidator(_check_host)], ...] = Field(
        (),
        description=(
            "host names that it answers to, besides this machine's own and that of url; "
            "*.example.org covers all below"
        ),
    )
    trusted_proxies: tuple[Annotated[str, AfterValidator(_check_network)], ...] = Field(
        (), description="addresses of proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted"
    )
    root_path: Annotated[str, AfterValidator(_check_root)] | None = Field(
        None, description="the path below which a proxy serves it, like /highball; by default that of url"
    )
    frame_ancestors: tuple[Annotated[str, AfterValidator(_check_site)], ...] = Field(
        (), description="sites that may show its pages in a frame, like https://home.example.org"
    )
    plain_http: bool = Field(
        False,
        strict=True,
        description="answer other machines without TLS: anybody on the network can read passwords",
    )

    @property
    def below(self) -> str:
        """The path below which it lies; blank is none."""
        if self.root_path is not None:
            return self.root_path
        return urlsplit(self.url or "").path.rstrip("/")
