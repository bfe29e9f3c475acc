"""The guard: who is believed, what another site cannot do, how much is read, and what every answer carries."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from fastapi.testclient import TestClient
from starlette.types import Message

from access.conftest import CLI, NOW, Clock, log_in, make_app
from highball.config.roles import Token
from highball.errors import StateUnusable
from highball.hub.auth.sessions import IDLE_FOR, Access
from highball.hub.bus.in_process import LocalLimits
from highball.hub.secrets.vault import Vault
from highball.model.role import Role
from highball.web.middleware import (
    MOST_BYTES,
    Guard,
    Rules,
)
from highball.web.request_rates import (
    AT_ONCE,
    EACH_SECOND,
    Rates,
)


def with_probe(app: FastAPI) -> FastAPI:
    """Addresses that tell what the guard let through."""

    @app.api_route("/api/v1/probe", methods=["GET", "POST"])
    async def probe(request: Request) -> dict[str, Any]:
        actor = request.state.actor
        client = request.client
        return {
            "actor": actor and actor.name,
            "role": actor and actor.role.value,
            "address": client and client.host,
            "scheme": request.url.scheme,
            "bytes": len(await request.body()),
        }

    @app.get("/page")
    async def page() -> HTMLResponse:
        return HTMLResponse("<p>")

    @app.get("/static/x.css")
    async def static() -> HTMLResponse:
        return HTMLResponse("", headers={"Cache-Control": "max-age=3600"})

    @app.post("/agents/bulk")
    async def bulk(request: Request) -> int:
        return sum([len(part) async for part in request.stream()])

    return app


@pytest.fixture
def app(people: Access, vault: Vault, clock: Clock) -> FastAPI:
    """The room's addresses, and some that tell what came through."""
    return with_probe(make_app(people, vault, clock))


def browser(app: FastAPI, base: str = "https://hub.example", host: str = "192.0.2.7") -> TestClient:
    return TestClient(app, base_url=base, client=(host, 4711))


# --- who ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "name"),
    [
        ("https://hub.example", "__Host-highball"),
        ("https://hub.example:8443", "__Host-highball-8443"),
        ("http://hub.example", "highball"),
        ("http://[::1]:8765", "highball-8765"),
    ],
)
def test_a_session_s_cookie_is_for_this_host_and_no_script(app: FastAPI, base: str, name: str) -> None:
    client = browser(app, base)
    answer = client.post("/api/v1/login", json={"name": "anna", "password": "four words in a row"})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{name}=")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert ("Secure" in cookie) == base.startswith("https")
    assert "Domain" not in cookie
    assert client.get("/api/v1/probe").json()["actor"] == "anna"
    gone = client.post("/api/v1/logout")
    assert gone.status_code == 204
    assert client.get("/api/v1/probe").json()["actor"] is None


def test_a_cookie_of_the_plain_name_proves_nothing_over_https(app: FastAPI) -> None:
    plain = log_in(browser(app, "http://hub.example"), "anna")
    token = plain.cookies["highball"]
    for name, actor in (("highball", None), ("__Host-highball", "anna")):
        answer = browser(app).get("/api/v1/probe", headers={"Cookie": f"a=b; {name}={token}"})
        assert answer.json()["actor"] == actor


def test_two_hubs_on_one_host_do_not_log_each_other_out(app: FastAPI) -> None:
    one = log_in(browser(app, "http://hub.example:8765"), "anna")
    name = next(name for name in one.cookies if name.count("-") == 1)
    with_both = {"Cookie": f"highball-8766=of-the-other; {name}={one.cookies[name]}; highball=of-a-third"}
    assert one.get("/api/v1/probe", headers=with_both).json()["actor"] == "anna"
    other = browser(app, "http://hub.example:8766").get("/api/v1/probe", headers=with_both)
    assert other.json()["actor"] is None


@pytest.mark.parametrize("host", ["", "a:b", ":", "hub:99999999999", "[::1]", "[", "hub:0x1", "hub:²"])
def test_a_host_that_is_none_names_no_cookie_of_its_own(app: FastAPI, host: str) -> None:
    answer = browser(app, "http://hub.example").get("/api/v1/probe", headers={"Host": host.encode()})
    assert answer.json()["actor"] is None


def test_a_session_ends_while_the_browser_still_has_the_cookie(app: FastAPI, clock: Clock) -> None:
    client = log_in(browser(app), "anna")
    clock.pass_by(IDLE_FOR)
    assert client.get("/api/v1/probe").json()["actor"] is None
    assert client.get("/api/v1/me").status_code == 401


def test_a_token_proves_itself_and_a_wrong_one_is_refused_everywhere(app: FastAPI, people: Access) -> None:
    _, value = people.create_token("ci", Token(role=Role.OPERATOR), CLI, NOW)
    good = value.reveal().decode()
    client = browser(app)
    told = client.get("/api/v1/probe", headers={"Authorization": f"bearer {good}"}).json()
    assert (told["actor"], told["role"]) == ("token:ci", "operator")
    log_in(client, "anna")
    for wrong in (good[:-1] + ("x" if good[-1] != "x" else "y"), "", "hb_", "\xff"):
        answer = client.get("/page", headers={b"Authorization": b"Bearer " + wrong.encode("latin-1")})
        assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert len(wrong) < 5 or wrong not in answer.text


@pytest.mark.parametrize(
    ("base", "host", "exposed"),
    [
        ("http://hub.example", "192.0.2.7", True),
        ("https://hub.example", "192.0.2.7", False),
        ("http://localhost", "127.0.0.1", False),
        ("http://localhost", "::1", False),
        ("http://hub.example", "::ffff:192.0.2.7", True),
    ],
)
def test_whoever_proves_themselves_where_others_may_listen_is_warned(
    app: FastAPI, base: str, host: str, exposed: bool
) -> None:
    client = browser(app, base, host)
    assert "highball-warning" not in client.get("/api/v1/probe").headers, "nobody showed anything"
    came = client.post("/api/v1/login", json={"name": "anna", "password": "four words in a row"}).json()
    assert (came["warning"] or {}).get("code") == ("plain_http" if exposed else None)
    assert ("highball-warning" in client.get("/api/v1/probe").headers) is exposed


def test_another_scheme_is_a_proxy_s_business_and_hides_no_cookie(app: FastAPI) -> None:
    client = log_in(browser(app), "anna")
    basic = {"Authorization": "Basic YTpi"}
    assert client.get("/api/v1/probe", headers=basic).json()["actor"] == "anna"
    foreign = basic | {"Sec-Fetch-Site": "cross-site"}
    assert client.post("/api/v1/probe", headers=foreign).status_code == 403


def test_a_database_that_fails_is_told_and_nobody_is_let_in(
    app: FastAPI, people: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = log_in(browser(app), "anna")

    def fail(*_: object, **__: object) -> None:
        raise StateUnusable("the disk is full", code="state_full")

    monkeypatch.setattr(people, "find_by_session", fail)
    answer = client.get("/api/v1/probe")
    assert (answer.status_code, answer.json()["code"]) == (503, "state_full")


# --- other sites --------------------------------------------------------------------------------------

FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://hub.example"},
    {"Origin": "https://evil.example"},
    {"Origin": "https://hub.example.evil.example"},
    {"Origin": "https://hub.example:8443"},
    {"Origin": "null"},
    {"Origin": ""},
]
OWN: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "https://hub.example"},
    {},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_what_another_site_makes_a_browser_send_changes_nothing(
    app: FastAPI, people: Access, headers: dict[str, str]
) -> None:
    client = log_in(browser(app), "anna")
    tries = [
        client.post("/api/v1/users", json={"key": "mallory"}, headers=headers),
        client.put("/api/v1/repositories/nas/secrets/password", json={"value": "x"}, headers=headers),
        client.delete("/api/v1/users/otto", headers=headers),
        client.post("/api/v1/logout", headers=headers),
        browser(app).post("/api/v1/login", json={"name": "anna", "password": "x"}, headers=headers),
    ]
    assert {(answer.status_code, answer.json()["code"]) for answer in tries} == {(403, "cross_origin")}
    assert [account.key for account in people.list_users()] == ["anna", "otto", "vera"]
    assert client.get("/api/v1/me", headers=headers).status_code == 200, "reading is what SameSite is for"


@pytest.mark.parametrize("headers", OWN)
def test_our_own_pages_and_programs_may(app: FastAPI, headers: dict[str, str]) -> None:
    client = log_in(browser(app), "anna")
    assert client.post("/api/v1/users", json={"key": "berta"}, headers=headers).status_code == 201


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_token_cannot_be_sent_by_a_browser_that_was_tricked(
    app: FastAPI, people: Access, headers: dict[str, str]
) -> None:
    _, value = people.create_token("ci", Token(role=Role.ADMIN), CLI, NOW)
    bearer = headers | {"Authorization": f"Bearer {value.reveal().decode()}"}
    assert browser(app).post("/api/v1/users", json={"key": "x"}, headers=bearer).status_code == 201


# --- what every answer carries ------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/page", "/api/v1/probe", "/api/v1/users", "/none", "/static/x.css"])
def test_every_answer_carries_the_headers_that_protect_it(app: FastAPI, path: str) -> None:
    headers = browser(app).get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == ("max-age=3600" if "static" in path else "no-store")


def test_a_refusal_of_the_guard_s_own_carries_them_too(app: FastAPI) -> None:
    answer = browser(app).post("/api/v1/login", headers={"Origin": "https://evil.example"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert "content-security-policy" in answer.headers
    assert answer.headers["cache-control"] == "no-store"


def test_a_site_that_the_settings_name_may_frame(people: Access, vault: Vault, clock: Clock) -> None:
    rules = Rules(framed_by=("https://home.example",))
    headers = browser(with_probe(make_app(people, vault, clock, rules))).get("/page").headers
    assert headers["content-security-policy"].endswith("frame-ancestors https://home.example")
    assert "x-frame-options" not in headers


# --- from where ---------------------------------------------------------------------------------------

PROXY = Rules(trusted_proxies=(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1")))


@pytest.mark.parametrize(
    ("peer", "forwarded", "address", "scheme"),
    [
        ("192.0.2.7", "203.0.113.1", "192.0.2.7", "http"),
        ("10.0.0.1", "203.0.113.1", "203.0.113.1", "https"),
        ("10.0.0.1", "198.51.100.66, 203.0.113.1", "203.0.113.1", "https"),
        ("10.0.0.1", "203.0.113.1, 10.0.0.2", "203.0.113.1", "https"),
        ("::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1", "https"),
        ("::1", "nonsense", "::1", "https"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.1", "https"),
    ],
)
def test_a_client_s_address_is_a_proxy_s_word_only_where_that_proxy_is_trusted(
    people: Access, vault: Vault, clock: Clock, peer: str, forwarded: str, address: str, scheme: str
) -> None:
    app = with_probe(make_app(people, vault, clock, PROXY))
    headers = {"X-Forwarded-For": forwarded, "X-Forwarded-Proto": "https"}
    told = browser(app, "http://hub.example", peer).get("/api/v1/probe", headers=headers).json()
    assert (told["address"], told["scheme"]) == (address, scheme)


def test_guesses_through_a_proxy_that_is_not_trusted_count_for_the_proxy(app: FastAPI) -> None:
    client = browser(app)
    for number in range(7):
        answer = client.post(
            "/api/v1/login",
            json={"name": f"name{number}", "password": "x"},
            headers={"X-Forwarded-For": f"198.51.100.{number}"},
        )
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "2"
    assert answer.json()["code"] == "throttled"


# --- how often ----------------------------------------------------------------------------------------


def test_a_stranger_who_asks_without_end_is_answered_no_more_and_nobody_else_notices(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("highball.web.request_rates.EACH_SECOND", 0.0)
    known, stranger = log_in(browser(app), "anna"), browser(app)
    statuses = [stranger.get("/api/v1/probe").status_code for _ in range(AT_ONCE + 5)]
    assert set(statuses[: AT_ONCE - 5]) == {200} and set(statuses[AT_ONCE:]) == {429}
    refused = stranger.get("/page", headers={"accept": "text/html"})
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    assert refused.headers["retry-after"] == "60"
    assert stranger.get("/api/v1/probe", headers={"Authorization": "Bearer hb_nothing"}).status_code == 429
    assert known.get("/api/v1/probe").json()["actor"] == "anna", "who is logged in is counted nowhere"
    assert browser(app, host="192.0.2.8").get("/api/v1/probe").status_code == 200
    assert stranger.get("/healthz").status_code != 429


def test_whoever_asks_without_end_keeps_no_browser_out_in_which_somebody_had_logged_in_before(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("highball.web.request_rates.EACH_SECOND", 0.0)
    monkeypatch.setattr("highball.web.request_rates.AT_ONCE", 3)
    before, stranger = log_in(browser(app), "anna"), browser(app)
    before.post("/api/v1/logout")
    [name] = before.cookies
    while stranger.get("/api/v1/probe").status_code != 429:
        pass
    log_in(before, "anna").post("/api/v1/logout")
    made_up = {"Cookie": f"{name}={'0' * 32}.1.{'0' * 64}; {name}=a.b.c"}
    assert stranger.get("/api/v1/probe", headers=made_up).status_code == 429
    assert [before.get("/api/v1/probe").status_code for _ in range(4)][-1] == 429, "that is counted, too"


def test_no_page_without_end_is_drawn_for_whoever_asks_by_another_name_or_at_too_great_length(
    people: Access, vault: Vault, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("highball.web.request_rates.EACH_SECOND", 0.0)
    monkeypatch.setattr("highball.web.request_rates.AT_ONCE", 3)
    app = make_app(people, vault, clock, Rules(allowed_hosts=frozenset({"hub.example"})))
    odd = browser(app, "https://evil.example")
    assert [odd.get("/page").status_code for _ in range(4)] == [421, 421, 421, 429]
    long = browser(app, host="192.0.2.8")
    assert [long.get("/page?" + "x" * 40_000).status_code for _ in range(4)] == [414, 414, 414, 429]


def test_an_address_is_admitted_again_as_time_goes_by_and_a_network_of_ipv6_is_one() -> None:
    now = [1000.0]
    rates = Rates(LocalLimits(lambda: now[0]))

    def admitted(*addresses: str) -> list[bool]:
        async def ask() -> list[bool]:
            return [await rates.admit(address) for address in addresses]

        return asyncio.run(ask())

    assert admitted(*["2001:db8::1"] * (AT_ONCE + 1))[-2:] == [True, False]
    assert admitted("2001:db8::2", "2001:db8:0:1::1") == [False, True]
    now[0] += 1
    assert admitted(*["2001:db8::2"] * (int(EACH_SECOND) + 1)) == [True] * int(EACH_SECOND) + [False]


# --- how much -----------------------------------------------------------------------------------------


def test_a_body_is_read_up_to_its_bound_and_less_of_nobody(app: FastAPI) -> None:
    client = log_in(browser(app), "anna")
    assert client.post("/api/v1/probe", content=b"x" * MOST_BYTES).json()["bytes"] == MOST_BYTES
    for content in (b"x" * (MOST_BYTES + 1), iter([b"x" * MOST_BYTES, b"x"])):
        answer = client.post("/api/v1/probe", content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    nobody = browser(app)
    assert nobody.post("/api/v1/probe", content=b"x" * 65536).status_code == 200
    assert nobody.post("/api/v1/probe", content=b"x" * 65537).status_code == 413


def test_headers_have_a_bound(app: FastAPI) -> None:
    client = browser(app)
    assert client.get("/page", headers={"X": "x" * 40_000}).status_code == 431
    assert client.get("/page", headers={f"x-{n}": "" for n in range(101)}).status_code == 431
    assert client.get("/page?" + "x" * 40_000).status_code == 414
    assert client.get("/" + "x" * 40_000).status_code == 414


@pytest.mark.parametrize("length", ["-1", "x", "9" * 5000, "1e3"])
def test_a_length_that_is_none_is_refused(app: FastAPI, length: str) -> None:
    answer = browser(app).post("/page", headers={"Content-Length": length})
    assert answer.status_code in (413, 400)


def test_what_streams_is_bounded_by_its_reader(people: Access, vault: Vault, clock: Clock) -> None:
    app = with_probe(make_app(people, vault, clock, Rules(streams=("/agents/",))))

    def parts() -> Iterator[bytes]:
        for _ in range(6):
            yield b"x" * 1024**2

    assert browser(app).post("/agents/bulk", content=parts()).json() == 6 * 1024**2


def test_a_body_that_never_ends_is_given_up(people: Access, clock: Clock) -> None:
    sent: list[Message] = []

    async def app(*_: object) -> None:
        raise AssertionError("it must not come this far")

    async def drip() -> Message:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    guard = Guard(app, people, clock, Rules(seconds_for_body=0.05))
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/v1/login",
        "scheme": "http",
        "headers": [(b"transfer-encoding", b"chunked")],
        "client": ("192.0.2.7", 1),
    }
    asyncio.run(guard(scope, drip, send))
    assert sent[0]["status"] == 408


def test_a_stream_of_events_passes_as_it_comes(people: Access, clock: Clock) -> None:
    async def events(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def read() -> list[bytes]:
        transport = httpx.ASGITransport(Guard(events, people, clock))
        async with (
            httpx.AsyncClient(transport=transport, base_url="https://hub.example") as client,
            client.stream("GET", "/api/v1/events") as answer,
        ):
            return [part async for part in parts_of(answer)]

    assert b"".join(asyncio.run(read())) == b"data: x\n\n" * 3


async def parts_of(answer: httpx.Response) -> AsyncIterator[bytes]:
    async for part in answer.aiter_raw():
        yield part
