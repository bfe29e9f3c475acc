"""An OpenID Connect provider: where people of an organisation log in instead of with a password of the hub's own."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from highball.config.object_keys import Title
from highball.config.problems import wrong
from highball.model.role import Role
from highball.secret import Secret

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?", re.A)


def is_loopback(host: str | None) -> bool:
    """Whether a server of this name is on this machine."""
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def _check_issuer(text: str) -> str:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise wrong("is not an address") from None
    if (
        not host
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
        or not text.isprintable()
        or " " in text
    ):
        raise wrong("is not an issuer", "it looks like https://id.example.org, without ? and #")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise wrong(
            "does not start with https://", "otherwise anybody on the network could log in as somebody else"
        )
    return text


def _check_host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise wrong("is not a server name", "it looks like keys.example.org")
    return text.lower()


_Word = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]
_Scope = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$")]
_Claim = Annotated[str, Field(min_length=1, max_length=200)]


class Provider(BaseModel):
    """Who proves people's identity for this hub, and which role they get."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    issuer: Annotated[str, Field(max_length=500), AfterValidator(_check_issuer)] = Field(
        description="the provider's address, as it calls itself"
    )
    client_id: _Word = Field(description="this hub's client ID at the provider")
    client_secret: Secret | None = Field(
        None, description="this hub's client secret at the provider; null for a public client"
    )
    scopes: Annotated[tuple[_Scope, ...], Field(max_length=30)] = Field(
        ("openid", "profile", "email"), description="the scopes to request; openid always is"
    )
    claim: _Claim = Field(
        "groups", description="the claim with the role; a.b is b within a, unless a claim has that name"
    )
    roles: Annotated[dict[_Claim, Role], Field(max_length=200)] = Field(
        {}, description="which value of the claim gives which role; the highest one counts"
    )
    default_role: Role | None = Field(
        None, description="the role of people with none of these values; null: they cannot log in"
    )
    restore_in_place: Annotated[tuple[_Claim, ...], Field(max_length=200)] = Field(
        (),
        description=(
            "values of the claim that let an operator restore in place, at each log-in; without any, "
            "the account decides"
        ),
    )
    name_claim: _Claim = Field("preferred_username", description="the claim with the account name")
    create_accounts: bool = Field(False, strict=True, description="create an account at the first log-in")
    label: Title = Field("your organisation", description="the provider's name on the button: Log in with …")
    hosts: Annotated[tuple[Annotated[str, AfterValidator(_check_host)], ...], Field(max_length=10)] = Field(
        (), description="other servers that tokens and keys may come from, besides the issuer's own"
    )
