"""An organisation's identity provider: Canaille, a real one, in a process of its own with its people in memory.

Run as a program it is that process. Its people log in with a name and a password on its own pages.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

import httpx

from testbed.serving import HOST, Server

PEOPLE: Final = {"ada": ["backup-admins"], "bob": ["backup-ops", "chess"], "eve": ["chess"]}
"""Who is there, and in which groups."""

PASSWORD: Final = "of theirs at the provider"
CLIENT, SECRET = "highball", "the hub’s own / secret+"


class Organisation(Server):
    """The provider; browsers are sent back to these addresses only."""

    name = "canaille"

    def __init__(self, directory: Path, backs: Sequence[str]) -> None:
        super().__init__(directory / "canaille.log")
        self._backs = list(backs)
        directory.mkdir(parents=True, exist_ok=True)

    def argv(self, port: int) -> Sequence[str | Path]:
        return [sys.executable, Path(__file__), str(port), json.dumps(self._backs)]

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), "PYTHONPATH": os.fspath(Path(__file__).parents[1])}

    @property
    def issuer(self) -> str:
        return f"http://{self.host}:{self.port}"

    def browser(self) -> httpx.Client:
        """A browser that has never been there."""
        return httpx.Client(trust_env=False, timeout=120)

    def visit(self, browser: httpx.Client, address: str, name: str) -> str:
        """Follow the provider's pages as this person; the address to which it sends back."""
        answer = browser.get(address)
        for _ in range(12):
            if answer.is_redirect:
                address = urljoin(str(answer.url), answer.headers["location"])
                if not address.startswith(self.issuer):
                    return address
                answer = browser.get(address)
                continue
            fields = {
                unescape(found[1]): unescape(found[2])
                for found in re.finditer(r'name="(csrf_token)"[^>]*value="([^"]*)"', answer.text)
            }
            fields |= {"answer": "accept"}
            if 'name="login"' in answer.text:
                fields["login"] = name
            if 'name="password"' in answer.text:
                fields["password"] = PASSWORD
            answer = browser.post(str(answer.url), data=fields)
        raise AssertionError(f"the provider never sent back: {answer.status_code} {answer.text[:2000]}")


def _serve(port: int, backs: list[str]) -> None:
    from canaille import create_app
    from canaille.app import models
    from canaille.backends import Backend
    from werkzeug.serving import make_server

    told: dict[str, Any] = {
        "SECRET_KEY": "of the tests",
        "SERVER_NAME": f"{HOST}:{port}",
        "PREFERRED_URL_SCHEME": "http",
        "CANAILLE": {"DATABASE": "memory", "ENABLE_PASSWORD_COMPROMISSION_CHECK": False},
        "CANAILLE_OIDC": {"TRUSTED_DOMAINS": [HOST]},
    }
    app = create_app(told)
    with app.app_context():
        people = {}
        for name in PEOPLE:
            fields = {
                "formatted_name": name,
                "display_name": name,
                "family_name": name,
                "emails": [f"{name}@example.org"],
            }
            people[name] = models.User(user_name=name, password=PASSWORD, **fields)
            Backend.instance.save(people[name])
        for group in sorted({group for groups in PEOPLE.values() for group in groups}):
            members = [people[name] for name, groups in PEOPLE.items() if group in groups]
            Backend.instance.save(models.Group(display_name=group, members=members))
        client = models.Client(
            client_id=CLIENT,
            client_secret=SECRET,
            client_name="Highball",
            client_uri=f"http://{HOST}",
            redirect_uris=backs,
            grant_types=["authorization_code"],
            response_types=["code"],
            scope=["openid", "profile", "email", "groups"],
            token_endpoint_auth_method="client_secret_basic",
            client_id_issued_at=datetime.now(UTC),
        )
        Backend.instance.save(client)  # it has to be there before it is named
        client.audience = [client]
        Backend.instance.save(client)
    make_server(HOST, port, app, threaded=True).serve_forever()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), json.loads(sys.argv[2]))
