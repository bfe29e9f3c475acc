"""The guard at the web's door: who asks, from where, and whether a browser was tricked into asking.

Every request passes here first: its size and time are bounded, the client's address is found, a session's cookie
or a bearer token is proved and becomes `request.state.actor`, what another site made a browser send is refused,
and every answer carries the headers that keep pages from being framed, sniffed or fed foreign scripts. What an
actor may do is not decided here: `web.who` holds the role against each address.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from highball.errors import HighballError, Misuse, Problem
from highball.hub.auth.known_browsers import COUNTS_FOR
from highball.hub.auth.sessions import (
    Access,
    Known,
    LoggedIn,
)
from highball.hub.bus.base import RateLimits
from highball.hub.bus.in_process import LocalLimits
from highball.model.run import Reason
from highball.secret import SecretValue
from highball.web import error_responses
from highball.web.disconnect import while_there
from highball.web.json_limits import find_fault
from highball.web.request_rates import Rates
from highball.web.subpath import ROOT

MOST_BYTES = 4 * 1024 * 1024
MOST_BYTES_OF_NOBODY = 64 * 1024
"""Before anybody proved who they are, a request is a name and a password."""

MOST_ADDRESS_BYTES = 32 * 1024
MOST_HEADER_BYTES = 32 * 1024
MOST_HEADERS = 100
SECONDS_FOR_BODY = 30.0

MOST_SIGNS = 4
"""So many people of one browser are looked for, where its address asked too often."""

PROVED_FOR_SECONDS = 1.0
"""Who is told something that lasts proves themselves again after so long: a session that has ended hears no more."""

EXPOSED = Reason(
    code="plain_http",
    message="passwords and tokens travel in the clear between you and this hub: reach it by https",
)
"""What is said to whoever proves themselves over plain http from another machine."""

TOO_MANY = "too_many_requests"

_URL = "highball.url"
_ANY_HOST = ("/agent/v1/", "/healthz")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Rules:
    """What an installation says about its door."""

    trusted_proxies: tuple[_Network, ...] = ()
    """Whose X-Forwarded-For and -Proto are believed."""
    allowed_hosts: frozenset[str] | None = None
    """By which names it may be asked, besides the loopback's and the address that it is reached at; None is by any."""
    url: str | None = None
    """The address that links are made with; None is the one that was asked."""
    framed_by: tuple[str, ...] = ()
    """Sites that may show Highball in a frame, as `https://home.example.org`."""
    streams: tuple[str, ...] = ()
    """Beginnings of paths whose bodies are read as they come, and bounded by whoever reads them."""
    lasting: tuple[str, ...] = ()
    """Paths whose answers last, and notice by themselves that nobody hears them any more."""
    most_bytes: int = MOST_BYTES
    seconds_for_body: float = SECONDS_FOR_BODY


DrawRefusal = Callable[[Request, HighballError, int | None], Response]
"""How a refusal looks to people; without a status, the error's own holds."""


class _Refused(Exception):
    """The request goes no further."""

    def __init__(
        self, error: HighballError, status: int | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__()
        self.error = error
        self.status = status
        self.headers = headers or {}


class Guard:
    """The outermost middleware."""

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        clock: Callable[[], datetime],
        rules: Rules | None = None,
        draw: DrawRefusal | None = None,
        limits: RateLimits | None = None,
    ) -> None:
        self._app = app
        self._access = access
        self._clock = clock
        self._rules = rules or Rules()
        self._draw = draw
        self._proofs: dict[str, asyncio.Future[Known | None]] = {}
        self._rates = Rates(limits or LocalLimits())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        self._find_client(scope)
        scope[_URL] = self._rules.url
        if scope["type"] == "websocket":  # an agent's door: it proves itself there, and never by a cookie
            scope.setdefault("state", {})["actor"] = None
            await self._app(scope, receive, send)
            return
        answered = self._with_headers(scope, send)
        try:
            received = await self._admit(scope, receive)
        except _Refused as refused:
            response = await self._answer(scope, refused)
            if _has_body(Headers(scope=scope)):
                response.headers["connection"] = "close"  # what is left of it is not read
            await response(scope, receive, answered)
            return
        answering = self._app(scope, received, answered)
        if scope["method"] not in _SAFE_METHODS or scope["path"] in self._rules.lasting:
            await answering
            return
        with contextlib.suppress(
            ClientDisconnect
        ):  # who only looked has gone: nobody is asked any more for them
            await while_there(receive, answering)

    async def _answer(self, scope: Scope, refused: _Refused) -> Response:
        """The refusal: a page for people, where one can be drawn, and a problem for programs."""
        is_cheap = refused.error.code == TOO_MANY  # or strangers would have pages drawn all the same
        if self._draw is not None and error_responses.wants_page(scope) and not is_cheap:
            try:
                page = await run_in_threadpool(self._draw, Request(scope), refused.error, refused.status)
            except HighballError:  # what is wrong keeps pages from being drawn, too
                pass
            else:
                page.headers.update(refused.headers)
                return page
        return error_responses.answer_error(refused.error, refused.status, refused.headers)

    async def _admit(self, scope: Scope, receive: Receive) -> Receive:
        headers = Headers(scope=scope)
        try:
            _demand_bounded(scope, headers)
            self._demand_host(scope, headers)
        except _Refused:  # for which a page is drawn, and nobody has proved anything yet
            await self._demand_patience(scope, headers)
            raise
        known = await self._find_known(scope, headers)
        if known is None:
            await self._demand_patience(scope, headers)
        state = scope.setdefault("state", {})
        state["known"] = known
        state["actor"] = known.actor if known else None
        state["prove_again"] = partial(self._prove_again, scope, headers)
        if scope["method"] not in _SAFE_METHODS and _bearer(headers) is None:
            _demand_own_site(scope, headers)
        if scope["path"].startswith(self._rules.streams or ("\0",)):
            return receive
        most = self._rules.most_bytes if known else min(MOST_BYTES_OF_NOBODY, self._rules.most_bytes)
        return await self._read_body(headers, receive, most)

    def _demand_host(self, scope: Scope, headers: Headers) -> None:
        """Refuse a name that is not this hub's: by one of theirs, others have a browser ask in their name.

        What proves itself without a browser's cookies is asked nothing: agents, and whoever looks for a sign of life.
        """
        allowed = self._rules.allowed_hosts
        if allowed is None or scope["path"].startswith(_ANY_HOST):
            return
        name = host_of(headers.get("host", ""))
        if not (_is_own(name, scope) or _is_among(name, allowed)):
            raise _refuse(
                421,
                "host_unknown",
                f"this hub is not called {ascii(name)[1:-1] or 'nothing'}",
                hint="name it in allowed_hosts under [settings.web], or ask by a name of the hub's machine",
            )

    async def _demand_patience(self, scope: Scope, headers: Headers) -> None:
        """Refuse a stranger who has asked too often, but for a sign of life and what agents send by their tickets."""
        address = _address(address_of(scope) or "")
        if scope["path"].startswith(_ANY_HOST) or address is None or await self._rates.admit(str(address)):
            return
        for sign in _read_signs(scope, headers):
            browser = await run_in_threadpool(self._find_browser, sign)
            if browser is not None and await self._rates.admit_browser(browser):
                return
        raise _refuse(
            429,
            TOO_MANY,
            "too many requests came from this address without a log-in or a token",
            hint="ask again in a minute; behind a proxy, name it in trusted_proxies under [settings.web]",
            headers={"Retry-After": "60"},
        )

    # --- who, and from where ---

    def _find_browser(self, sign: str) -> str | None:
        try:
            return self._access.find_browser(sign, self._clock())
        except HighballError:  # it is a stranger's as long as nobody can tell
            return None

    def _find_client(self, scope: Scope) -> None:
        """The client's own address and scheme, as far as the proxies before us are trusted."""
        client = scope.get("client")
        if client is None or not self._trusts(client[0]):
            return
        headers = Headers(scope=scope)
        hops = [hop.strip() for line in headers.getlist("x-forwarded-for") for hop in line.split(",")]
        untrusted = next((hop for hop in reversed(hops) if not self._trusts(hop)), None)
        if untrusted is not None and _address(untrusted) is not None:
            scope["client"] = (str(_address(untrusted)), 0)
        if headers.get("x-forwarded-proto") in ("http", "https"):
            secure = headers["x-forwarded-proto"] == "https"
            plain = "http" if scope["type"] == "http" else "ws"
            scope["scheme"] = f"{plain}s" if secure else plain

    def _trusts(self, address: str) -> bool:
        found = _address(address)
        return found is not None and any(found in network for network in self._rules.trusted_proxies)

    async def _find_known(self, scope: Scope, headers: Headers) -> Known | None:
        """Who asks. A token that proves nothing is refused; a cookie that does is nobody's."""
        address = address_of(scope)
        value = _bearer(headers)
        if value is not None:
            known = await self._ask(self._access.find_by_token, value, address)
            if known is None:
                await self._demand_patience(scope, headers)
                raise _refuse(
                    401,
                    "token_invalid",
                    "this token opens nothing",
                    hint="it may be wrong, expired, disabled or deleted",
                    headers={"WWW-Authenticate": "Bearer"},
                )
            return known
        token = _read_cookie(scope, headers)
        return None if token is None else await self._ask(self._access.find_by_session, token, address)

    async def _prove_again(self, scope: Scope, headers: Headers) -> Known | None:
        """Who asks, found at most once a second for all who prove themselves by the same."""
        proof = _bearer(headers) or _read_cookie(scope, headers) or ""
        finding = self._proofs.get(proof)
        if finding is None:
            finding = self._proofs[proof] = asyncio.ensure_future(self._find_known(scope, headers))
            asyncio.get_running_loop().call_later(PROVED_FOR_SECONDS, self._proofs.pop, proof, None)
        return await asyncio.shield(finding)

    async def _ask(self, find: Callable[..., Known | None], proof: str, address: str | None) -> Known | None:
        try:
            return await run_in_threadpool(find, proof, self._clock(), address=address)
        except HighballError as error:
            raise _Refused(error) from None

    # --- what is sent ---

    async def _read_body(self, headers: Headers, receive: Receive, most: int) -> Receive:
        """The whole body, read here, so that neither its size nor its slowness is anybody else's concern."""
        told = headers.get("content-length", "0")
        if not told.isdecimal() or len(told) > 12 or int(told) > most:
            raise _too_large(most)
        if not _has_body(headers):
            return _replay([{"type": "http.request", "body": b"", "more_body": False}], receive)
        try:
            async with asyncio.timeout(self._rules.seconds_for_body):
                messages = await _collect(receive, most)
        except TimeoutError:
            raise _refuse(
                408, "too_slow", "the request did not arrive in time", hint="send it again"
            ) from None
        if "json" in headers.get("content-type", "").lower():
            fault = await run_in_threadpool(find_fault, b"".join(m.get("body", b"") for m in messages))
            if fault is not None:
                raise _refuse_part("body", fault)

        return _replay(messages, receive)

    # --- what is answered ---

    def _with_headers(self, scope: Scope, send: Send) -> Send:
        own = _headers_for(scope, self._rules)
        asked = Headers(scope=scope)
        proved = _bearer(asked) is not None or _read_cookie(scope, asked) is not None

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in own.items():
                    headers[name] = value
                if proved and is_exposed(scope):
                    headers["highball-warning"] = EXPOSED.code
                if scope["path"].startswith("/api/") or "cache-control" not in headers:
                    headers["cache-control"] = "no-store"
            await send(message)

        return answered


def host_of(header: str) -> str:
    """The name in a Host header, without its port."""
    name = header.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].rstrip(".")


def _is_own(name: str, scope: Scope) -> bool:
    """Whether this is the loopback, or the very address that the request came in at."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    found, reached = _address(name), _address(str((scope.get("server") or ("",))[0]))
    return found is not None and (found.is_loopback or found == reached)


def _is_among(name: str, allowed: frozenset[str]) -> bool:
    parents = (f"*.{name.split('.', cut)[-1]}" for cut in range(1, name.count(".") + 1))
    return name in allowed or any(parent in allowed for parent in parents)


# --- for routes -----------------------------------------------------------------------------------


def find_known(request: HTTPConnection) -> Known | None:
    """Who the guard found to ask, with the session; None is nobody."""
    known = getattr(request.state, "known", None)
    return known if isinstance(known, Known) else None


async def is_still_known(request: HTTPConnection) -> bool:
    """Whether what proved this request counts still: what it is told lasts longer than the question did."""
    try:
        return await request.state.prove_again() is not None
    except _Refused:
        return False


def address_of(scope: Scope) -> str | None:
    """The client's address."""
    client = scope.get("client")
    return str(client[0])[:64] if client else None


def url_of(request: HTTPConnection) -> str:
    """The address of this hub, for a link that is handed out."""
    told = request.scope.get(_URL)
    return str(told) if told else f"{str(request.base_url).rstrip('/')}{request.scope.get(ROOT, '')}"


def is_plain(url: str) -> bool:
    """Whether what is sent to this address could be read on its way."""
    parts = urlsplit(url)
    found = _address(parts.hostname or "")
    is_loopback = parts.hostname == "localhost" or (found is not None and found.is_loopback)
    return parts.scheme == "http" and not is_loopback


def is_exposed(scope: Scope) -> bool:
    """Whether what a request carries could be read on its way: plain http from another machine."""
    client = _address(address_of(scope) or "")
    return scope["scheme"] == "http" and client is not None and not client.is_loopback


def give_cookie(request: HTTPConnection, response: Response, began: LoggedIn) -> None:
    """Hand the session to the browser."""
    secure = request.scope["scheme"] == "https"
    response.set_cookie(
        _cookie_name(request.scope),
        began.token.reveal().decode(),
        max_age=int(began.lasts_for.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=secure,
        path="/",
    )
    response.set_cookie(
        _sign_name(request.scope, began.known.user or ""),
        began.sign.reveal().decode(),
        max_age=int(COUNTS_FOR.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=secure,
        path="/",
    )


def sign_of(request: HTTPConnection, user: str) -> str | None:
    """What this browser was given when that user logged in here before."""
    return _find_cookie(Headers(scope=request.scope), _sign_name(request.scope, user.strip().lower()))


def _sign_name(scope: Scope, user: str) -> str:
    return f"{_cookie_name(scope)}-{hashlib.sha256(user.encode()).hexdigest()[:8]}"


def take_cookie(request: HTTPConnection, response: Response) -> None:
    """Let the browser forget the session."""
    secure = request.scope["scheme"] == "https"
    response.delete_cookie(
        _cookie_name(request.scope), httponly=True, samesite="lax", secure=secure, path="/"
    )


def give_way_cookie(
    request: HTTPConnection, response: Response, value: SecretValue, counts_for: timedelta
) -> None:
    """Let the browser keep what it has to show when it comes back from the provider."""
    response.set_cookie(
        _way_cookie(request.scope),
        value.reveal().decode(),
        max_age=int(counts_for.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=request.scope["scheme"] == "https",
        path="/",
    )


def read_way_cookie(request: HTTPConnection) -> str:
    """What the browser shows when it comes back from the provider; empty where it shows nothing."""
    return request.cookies.get(_way_cookie(request.scope), "")


def take_way_cookie(request: HTTPConnection, response: Response) -> None:
    """Let the browser forget it."""
    secure = request.scope["scheme"] == "https"
    response.delete_cookie(_way_cookie(request.scope), httponly=True, samesite="lax", secure=secure, path="/")


# --- the rules ------------------------------------------------------------------------------------


def _headers_for(scope: Scope, rules: Rules) -> dict[str, str]:
    ancestors = " ".join(rules.framed_by) or "'none'"
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
        f"frame-ancestors {ancestors}"
    )
    told = {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        # Not `no-referrer`: with that, browsers send `Origin: null` with our own forms over plain http.
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=()",
    }
    if not rules.framed_by:
        told["x-frame-options"] = "DENY"
    return told


def _demand_own_site(scope: Scope, headers: Headers) -> None:
    """Refuse what another site made a browser send: it tells so itself, in one of two headers.

    A client that sends neither is no browser of these years, and then SameSite keeps the cookie away.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        own = site in ("same-origin", "none")
    elif (origin := headers.get("origin")) is not None:
        own = urlsplit(origin).netloc == headers.get("host", "") != ""
    else:
        own = True
    if not own:
        raise _refuse(
            403,
            "cross_origin",
            "another site made this request",
            hint="behind a proxy: it must pass on the Host that the browser asked for",
        )


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _replay(messages: list[Message], receive: Receive) -> Receive:
    async def replay() -> Message:
        return messages.pop(0) if messages else await receive()

    return replay


def _demand_bounded(scope: Scope, headers: Headers) -> None:
    query = scope.get("query_string", b"")
    address = max(len(scope["path"]), len(scope.get("raw_path") or b"")) + len(query)
    if address > MOST_ADDRESS_BYTES:
        raise _refuse(414, "address_too_long", "the request's address is too long")
    size = sum(len(name) + len(value) for name, value in headers.raw)
    if size > MOST_HEADER_BYTES or len(headers.raw) > MOST_HEADERS:
        raise _refuse(431, "headers_too_large", "the request's headers are too large")
    for part, holds_nul in (("path", "\0" in scope["path"]), ("query", b"%00" in query or b"\0" in query)):
        if holds_nul:
            raise _refuse_part(part, "holds NUL, which no text may")


async def _collect(receive: Receive, most: int) -> list[Message]:
    messages: list[Message] = []
    size = 0
    while True:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if size > most:
            raise _too_large(most)
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return messages


def _too_large(most: int) -> _Refused:
    return _refuse(
        413,
        "too_large",
        f"the request is larger than {most // 1024} KiB",
        hint="it may be more once you are logged in" if most < MOST_BYTES else None,
        headers={"Connection": "close"},
    )


def _refuse(
    status: int, code: str, detail: str, *, hint: str | None = None, headers: dict[str, str] | None = None
) -> _Refused:
    return _Refused(Misuse(detail, code=code, hint=hint), status, headers)


def _refuse_part(part: str, fault: str) -> _Refused:
    found = [Problem(part, fault)]
    return _Refused(Misuse("the request has a problem", code="request_invalid", problems=found), 422)


def _cookie_name(scope: Scope) -> str:
    """Over https under a name that browsers guard: no other host and no plain http can set it.

    Browsers send a host's cookies to all its ports: two hubs on one host have one each, by the port that was asked.
    """
    found = re.search(r":(\d{1,5})$", Headers(scope=scope).get("host", ""), re.A)
    own = f"highball-{found[1]}" if found else "highball"
    if scope.get(ROOT):  # a cookie with __Host- is for all paths; two hubs below two paths have one each
        own += str(scope[ROOT]).replace("/", "-")
        return f"__Secure-{own}" if scope["scheme"] == "https" else own
    return f"__Host-{own}" if scope["scheme"] == "https" else own


def _way_cookie(scope: Scope) -> str:
    return f"{_cookie_name(scope)}-way"


def _bearer(headers: Headers) -> str | None:
    """The token of this request; another scheme (Basic, of a proxy before us) is none of our business."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def _read_cookie(scope: Scope, headers: Headers) -> str | None:
    return _find_cookie(headers, _cookie_name(scope))


def _read_signs(scope: Scope, headers: Headers) -> list[str]:
    """What this browser was given when somebody logged in here before."""
    name = re.compile(f"{re.escape(_cookie_name(scope))}-[0-9a-f]{{8}}")
    return [value for found, value in _cookies(headers) if name.fullmatch(found)][:MOST_SIGNS]


def _find_cookie(headers: Headers, wanted: str) -> str | None:
    return next((value for name, value in _cookies(headers) if name == wanted), None)


def _cookies(headers: Headers) -> Iterator[tuple[str, str]]:
    for line in headers.getlist("cookie"):
        for part in line.split(";"):
            name, _, value = part.strip().partition("=")
            yield name, value.strip('"')


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A socket for both families shows IPv4 as ::ffff:192.0.2.1.
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found
