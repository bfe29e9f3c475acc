"""A provider that lies: no answer of its that does not hold lets anybody in."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from highball.config.provider import Provider
from highball.errors import HighballError
from highball.hub.auth.single_sign_on import (
    Arrival,
    Configured,
    SignOn,
)
from highball.secret import SecretValue

KEY, OTHER = RSAKey.generate_key(2048, {"kid": "1"}), RSAKey.generate_key(2048, {"kid": "1"})
BACK = "https://hub.example/login/provider/back"


class Liar:
    """A provider whose every answer a test may bend."""

    def __init__(self) -> None:
        liar = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = liar.answers[self.path]()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(content if isinstance(content, bytes) else json.dumps(content).encode())

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.do_GET()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"
        self.nonce = ""
        self.claims: dict[str, Any] = {}
        self.sign: Callable[[dict[str, Any]], str] = lambda claims: jwt.encode(
            {"alg": "RS256", "kid": "1"}, claims, KEY
        )
        self.metadata = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
        }
        self.answers: dict[str, Callable[[], object]] = {
            "/.well-known/openid-configuration": lambda: self.metadata,
            "/keys": lambda: {"keys": [KEY.as_dict(private=False)]},
            "/token": lambda: {"access_token": "x", "id_token": self.sign(self.all_claims())},
        }

    def all_claims(self) -> dict[str, Any]:
        now = int(time.time())
        told = {"iss": self.issuer, "aud": "highball", "sub": "1", "iat": now, "exp": now + 60}
        told |= {"nonce": self.nonce, "groups": "a", "preferred_username": "ada"} | self.claims
        return {name: value for name, value in told.items() if value is not None}

    def log_in(self) -> Arrival:
        """The whole way, as a browser goes it."""
        provider = Provider(issuer=self.issuer, client_id="highball")
        sign_on = SignOn(
            lambda: Configured(provider, lambda: SecretValue(b"known to both of us, 32 bytes long"))
        )
        now = datetime.now(UTC)
        departure = sign_on.depart(BACK, "/", now)
        asked = parse_qs(urlsplit(departure.address).query)
        self.nonce = asked["nonce"][0]
        told = {"state": asked["state"][0], "code": "some"}
        return sign_on.arrive(departure.cookie.reveal().decode(), told, BACK, now)


@pytest.fixture
def liar() -> Iterator[Liar]:
    """A provider that tells the truth, until a test bends it."""
    running = Liar()
    yield running
    running.server.shutdown()
    running.server.server_close()


def test_what_holds_lets_somebody_in(liar: Liar) -> None:
    assert liar.log_in().proved.subject == "1"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"aud": []},
        {"aud": ["highball", "another"], "azp": "another"},
        {"exp": 1},
        {"exp": None},
        {"iat": 2**33},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 256},
        {"at_hash": "another"},
    ],
    ids=str,
)
def test_no_claim_that_does_not_hold_is_believed(liar: Liar, claims: dict[str, Any]) -> None:
    liar.claims = claims
    with pytest.raises(HighballError) as raised:
        liar.log_in()
    assert raised.value.code == "id_token_invalid"


SIGNED: dict[str, Callable[[dict[str, Any]], str]] = {
    "with another key": lambda claims: jwt.encode({"alg": "RS256", "kid": "1"}, claims, OTHER),
    "with the client's secret": lambda claims: jwt.encode(
        {"alg": "HS256", "kid": "1"}, claims, OctKey.import_key(b"known to both of us, 32 bytes long")
    ),
    "not at all": lambda claims: (
        "eyJhbGciOiJub25lIn0." + SIGNED["with another key"](claims).split(".")[1] + "."
    ),
    "as no token": lambda claims: "x.y.z",
}


@pytest.mark.parametrize("how", SIGNED)
def test_no_token_counts_that_its_key_did_not_sign(liar: Liar, how: str) -> None:
    liar.sign = SIGNED[how]
    with pytest.raises(HighballError) as raised:
        liar.log_in()
    assert raised.value.code == "id_token_invalid"


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"jwks_uri": "http://127.0.0.2:9/keys"},
        {"token_endpoint": "http://evil.example/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"x": "x" * 600_000},
    ],
    ids=lambda one: next(iter(one)),
)
def test_nothing_is_fetched_from_elsewhere_and_nothing_without_end(
    liar: Liar, metadata: dict[str, str]
) -> None:
    liar.metadata |= metadata
    with pytest.raises(HighballError) as raised:
        liar.log_in()
    assert raised.value.code == "provider_invalid"
