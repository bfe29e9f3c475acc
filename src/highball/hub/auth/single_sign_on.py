"""Logging in with an OpenID Connect provider: the authorization code flow with PKCE, state and nonce.

What a browser has to show again when it comes back is one random value in its cookie; state, nonce and verifier are
made of it, so nothing is kept here in between. What the provider answers is fetched with a deadline, bounded in size,
and only from the issuer's own server or from those that are named. Who may come in is decided by `identities`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from highball.config.provider import Provider, is_loopback
from highball.errors import Failed, LoginNeeded, NotAllowed, Unknown
from highball.secret import SecretValue, resolve

SECONDS_TO_ANSWER = 10.0
SECONDS_OF_SILENCE = 5.0
MOST_BYTES = 512 * 1024
BACK_WITHIN = timedelta(minutes=10)
KNOWN_FOR = timedelta(minutes=10)
LEEWAY_SECONDS = 60
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures by the provider's key; none that could be made with the client's secret."""

LONGEST_TO = 1000


@dataclass(frozen=True)
class Configured:
    """The provider as it is declared, and the secret by which it knows this hub."""

    provider: Provider
    secret: Callable[[], SecretValue | None]


@dataclass(frozen=True)
class Departure:
    """Where to send a browser, and what it has to show when it comes back."""

    address: str
    cookie: SecretValue


@dataclass(frozen=True)
class Proved:
    """Who somebody is, as their provider says."""

    provider: Provider
    subject: str
    claims: Mapping[str, Any]
    proved_at: datetime | None
    """When they last proved it to the provider; None where it does not say."""


@dataclass(frozen=True)
class Arrival:
    """Somebody who came back from the provider, and what for."""

    proved: Proved
    to: str
    again: bool
    """Whether they were to prove it anew, though they were logged in."""


class SignOn:
    """The way to the provider that is configured, and back."""

    def __init__(self, configured: Callable[[], Configured | None]) -> None:
        self._configured = configured
        self._lock = threading.Lock()
        self._known: tuple[Provider, datetime, dict[str, Any]] | None = None

    def label(self) -> str | None:
        """What the button calls the provider; None where there is none."""
        found = self._configured()
        return None if found is None else found.provider.label

    def depart(self, back: str, to: str, now: datetime, *, again: bool = False) -> Departure:
        """The way to the provider; with `again` people prove anew who they are.

        Raises Unknown (`provider_unset`) and Failed (`provider_unreachable`, `provider_invalid`).
        """
        provider = self._get().provider
        address = self._discover(provider, now)["authorization_endpoint"]
        way = to if len(to.encode()) <= LONGEST_TO else "/"
        parts = (
            str(int(now.timestamp())),
            "again" if again else "",
            secrets.token_urlsafe(32),
            _encode(way.encode()),
        )
        cookie = ".".join(parts)
        asked = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": back,
            "scope": " ".join(dict.fromkeys(("openid", *provider.scopes))),
            "state": _derive("state", cookie),
            "nonce": _derive("nonce", cookie),
            "code_challenge": create_s256_code_challenge(_derive("verifier", cookie)),
            "code_challenge_method": "S256",
        }
        if again:
            # not 0: some providers then ask for ever
            asked |= {"prompt": "login", "max_age": str(LEEWAY_SECONDS)}
        joint = "&" if urlsplit(address).query else "?"
        return Departure(f"{address}{joint}{urlencode(asked)}", SecretValue(cookie.encode()))

    def arrive(self, cookie: str, told: Mapping[str, str], back: str, now: datetime) -> Arrival:
        """Who came back, by what the provider `told` in the address.

        Raises LoginNeeded (`login_expired`), NotAllowed (`provider_refused`, `id_token_invalid`) and as `depart` does.
        """
        begun_at, again, to = _read_cookie(cookie)
        state = told.get("state", "")
        if begun_at is None or not hmac.compare_digest(_derive("state", cookie).encode(), state.encode()):
            raise _expired()
        if not timedelta(seconds=-LEEWAY_SECONDS) <= now - begun_at < BACK_WITHIN:
            raise _expired()
        found = self._get()
        if "code" not in told:
            raise _refused(told.get("error", ""), told.get("error_description", ""))
        metadata = self._discover(found.provider, now)
        if told.get("iss", found.provider.issuer) != found.provider.issuer:
            raise _invalid_token("another provider answered")
        tokens = self._exchange(found, metadata, told["code"], _derive("verifier", cookie), back)
        claims = self._read_id_token(found.provider, metadata, tokens, _derive("nonce", cookie), now)
        proved_at = _moment(claims.get("auth_time"))
        if again and (proved_at is None or proved_at < begun_at - timedelta(seconds=LEEWAY_SECONDS)):
            raise _invalid_token("the provider did not ask for the log-in again")
        more = self._ask_who(found.provider, metadata, tokens, claims)
        proved = Proved(found.provider, str(claims["sub"]), {**more, **claims}, proved_at)
        return Arrival(proved, to, again)

    def _get(self) -> Configured:
        found = self._configured()
        if found is None:
            raise Unknown(
                "no provider is configured here", code="provider_unset", hint="log in with a password"
            )
        return found

    # --- what the provider says of itself ---

    def _discover(self, provider: Provider, now: datetime) -> dict[str, Any]:
        with self._lock:
            known = self._known
        if known is not None and known[0] == provider and now - known[1] < KNOWN_FOR:
            return known[2]
        address = provider.issuer.rstrip("/") + "/.well-known/openid-configuration"
        found = _fetch(provider, "GET", address)
        if found.get("issuer") != provider.issuer:
            raise _invalid(f"it calls itself {str(found.get('issuer'))[:200]!r}, not {provider.issuer!r}")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not isinstance(found.get(name), str) or not _is_safe(found[name]):
                raise _invalid(f"its {name} is missing, or not an address that starts with https://")
        if "S256" not in (found.get("code_challenge_methods_supported") or ["S256"]):
            raise _invalid("it does not support PKCE with S256")
        with self._lock:
            self._known = (provider, now, found)
        return found

    # --- tokens ---

    def _exchange(
        self, found: Configured, metadata: Mapping[str, Any], code: str, verifier: str, back: str
    ) -> dict[str, Any]:
        provider, secret = found.provider, found.secret()
        sent = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": back,
            "code_verifier": verifier,
        }
        auth = None
        ways = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        if secret is None:
            sent["client_id"] = provider.client_id
        elif "client_secret_basic" in ways:
            auth = (_form(provider.client_id), _form(secret.reveal().decode("utf-8", "replace")))
        else:
            sent |= {
                "client_id": provider.client_id,
                "client_secret": secret.reveal().decode("utf-8", "replace"),
            }
        return _fetch(provider, "POST", metadata["token_endpoint"], data=sent, auth=auth)

    def _read_id_token(
        self,
        provider: Provider,
        metadata: Mapping[str, Any],
        tokens: Mapping[str, Any],
        nonce: str,
        now: datetime,
    ) -> dict[str, Any]:
        keys = _fetch(provider, "GET", metadata["jwks_uri"])
        value = tokens.get("id_token")
        if not isinstance(value, str):
            raise _invalid_token("there is none in the provider's answer")
        options = {
            "iss": {"essential": True, "value": provider.issuer},
            "aud": {"essential": True, "value": provider.client_id},
        }
        params = {"nonce": nonce, "client_id": provider.client_id, "access_token": tokens.get("access_token")}
        try:
            registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
            read = jwt.decode(value, key=KeySet.import_key_set(keys), registry=registry)  # type: ignore[arg-type]
            claims = CodeIDToken(read.claims, read.header, options, params)
            claims.validate(now=int(now.timestamp()), leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise _invalid_token(
                _printable(getattr(error, "description", "") or type(error).__name__)
            ) from None
        if not isinstance(claims.get("sub"), str) or not 0 < len(claims["sub"]) <= 255:
            raise _invalid_token("it names no user")
        return dict(claims)

    def _ask_who(
        self,
        provider: Provider,
        metadata: Mapping[str, Any],
        tokens: Mapping[str, Any],
        claims: Mapping[str, Any],
    ) -> dict[str, Any]:
        """What the token does not tell of roles and name, where the provider tells it elsewhere."""
        wanted = (provider.claim, provider.name_claim)
        address, value = metadata.get("userinfo_endpoint"), tokens.get("access_token")
        if all(find_claim(claims, one) is not None for one in wanted):
            return {}
        if not isinstance(address, str) or not isinstance(value, str):
            return {}
        told = _fetch(provider, "GET", address, headers={"Authorization": f"Bearer {value}"})
        if told.get("sub") != claims["sub"]:
            raise _invalid_token("the provider identified somebody else")
        return told


def find_claim(claims: Mapping[str, Any], name: str) -> Any:
    """The value of a claim; `a.b` is b within a, where no claim is called so."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def secret_of(
    provider: Provider, is_from_file: bool, open_sealed: Callable[[str], SecretValue]
) -> SecretValue | None:
    """The hub's password at the provider: sealed; or from a place on this machine that the hub's own file names."""
    reference = provider.client_secret
    if reference is None:
        return None
    if reference.sealed is not None:
        return open_sealed(place_of_secret(provider.issuer))
    if not is_from_file:
        raise Failed(
            "the client secret may be read from this machine only if the hub’s own file names it",
            code="provider_secret_unset",
            hint="seal it, or name it under [settings.oidc] in the hub’s own file",
        )
    return resolve(reference)


def place_of_secret(issuer: str) -> str:
    """Where in the vault the client's secret lies: it counts for this issuer alone."""
    return f"oidc:{hashlib.sha256(issuer.encode()).hexdigest()[:32]}:client_secret"


# --- the wire -------------------------------------------------------------------------------------


def _fetch(
    provider: Provider,
    method: str,
    address: str,
    *,
    data: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    auth: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """An answer of the provider, as JSON: from its own server, in time, and of a size that it may have."""
    host = urlsplit(address).netloc.lower()
    if not _is_safe(address) or host not in {urlsplit(provider.issuer).netloc.lower(), *provider.hosts}:
        raise _invalid(f"it sends this hub to {host[:200]!r}; name that server under hosts, if it is right")
    try:
        status, content = _read(
            method, address, data, {"Accept": "application/json", **(headers or {})}, auth
        )
    except httpx.HTTPError as error:
        raise _unreachable(type(error).__name__) from None
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if status != 200:
        told = found if isinstance(found, dict) else {}
        why = [_printable(str(told[name])) for name in ("error", "error_description") if told.get(name)]
        raise _unreachable(", ".join((f"status {status}", *why)))
    if not isinstance(found, dict):
        raise _invalid("its answer is not a JSON object")
    return found


def _read(
    method: str,
    address: str,
    data: Mapping[str, str] | None,
    headers: Mapping[str, str],
    auth: tuple[str, str] | None,
) -> tuple[int, bytes]:
    deadline = time.monotonic() + SECONDS_TO_ANSWER
    at_home = is_loopback(urlsplit(address).hostname)  # no proxy leads to this machine
    with (
        httpx.Client(timeout=SECONDS_OF_SILENCE, follow_redirects=False, trust_env=not at_home) as client,
        client.stream(method, address, data=data, headers=headers, auth=auth) as answer,
    ):
        content = b""
        for part in answer.iter_bytes(65536):
            content += part
            if len(content) > MOST_BYTES:
                raise _invalid(f"its answer is larger than {MOST_BYTES // 1024} KiB")
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("too slow")
        return answer.status_code, content


def _is_safe(address: str) -> bool:
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if "@" in parts.netloc:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))


def _form(text: str) -> str:
    """As a name and a password are written in the header, says RFC 6749; a blank so that everybody reads it."""
    return quote(text, safe="")


def _derive(what: str, cookie: str) -> str:
    return _encode(hashlib.sha256(f"highball {what}\0{cookie}".encode()).digest())


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _read_cookie(cookie: str) -> tuple[datetime | None, bool, str]:
    """When a browser was sent away, whether to prove anew who is there, and where it was going."""
    parts = cookie.split(".")
    if len(parts) != 4 or not parts[0].isdecimal() or len(parts[0]) > 12:
        return None, False, "/"
    try:
        to = base64.urlsafe_b64decode(parts[3] + "=" * (-len(parts[3]) % 4)).decode()
    except ValueError:
        to = "/"
    return datetime.fromtimestamp(int(parts[0]), UTC), parts[1] == "again", to


def _moment(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 2**33:
        return None
    return datetime.fromtimestamp(value, UTC)


def _printable(text: str) -> str:
    return "".join(one for one in text[:200] if one.isprintable())


# --- what goes wrong ------------------------------------------------------------------------------


def _expired() -> LoginNeeded:
    return LoginNeeded(
        "this login took too long or was started in another browser",
        code="login_expired",
        hint="log in again",
    )


def _refused(error: str, description: str) -> NotAllowed:
    why = _printable(description) or _printable(error) or "no reason given"
    return NotAllowed(
        f"the provider refused the log-in: {why}",
        code="provider_refused",
        hint="log in again; if it happens again, ask the administrator of the provider",
    )


def _invalid_token(why: str) -> NotAllowed:
    return NotAllowed(
        f"the answer of the provider is not valid: {why}",
        code="id_token_invalid",
        hint="log in again; if it happens again, check issuer and client_id under settings.oidc, and the hub’s clock",
    )


def _unreachable(why: str) -> Failed:
    return Failed(
        f"the provider could not be reached: {why}",
        code="provider_unreachable",
        hint="log in again in a moment, or with your password",
    )


def _invalid(why: str) -> Failed:
    return Failed(
        f"the provider is misconfigured: {why}",
        code="provider_invalid",
        hint="check settings.oidc, or log in with your password",
    )
