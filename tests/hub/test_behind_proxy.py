"""A hub behind a proxy, below a path of it: pages, news, agents and cookies come through, and who asked is known."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hub.served import Elsewhere, Served, serve
from testbed.proxy import CLIENT, proxied
from testbed.restic import ResticBinary

NAME = "highball"
PASSWORD = "correct horse battery"
PAGES = ("/", "/jobs", "/jobs/docs", "/runs", "/repositories/nas", "/hosts", "/settings", "/settings/tokens")
ADDRESS = re.compile(r'\s(href|src|action|formaction|hx-get|hx-post|data-stream|data-news)="(/[^"]*)"')


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, newest_restic: ResticBinary) -> Iterator[Served]:
    """A hub that lies below a path of a proxy on its machine."""
    with serve(tmp_path_factory.mktemp("behind"), newest_restic) as machine:
        machine.tables["settings"]["web"] = {
            "trusted_proxies": ["127.0.0.1"],
            "root_path": f"/{NAME}",
            "frame_ancestors": ["https://home.example.org"],
            "allowed_hosts": ["backup.example.org"],
        }
        machine.http.base_url = f"{machine.url}/{NAME}/api/v1"
        machine.serve()
        yield machine


@pytest.fixture(scope="module", params=["strips", "keeps"])
def url(request: pytest.FixtureRequest, machine: Served) -> Iterator[str]:
    """The hub's address at a proxy that takes the path away, and at one that does not."""
    with proxied(machine.url, NAME, strips=request.param == "strips") as proxy:
        yield proxy.url


@contextlib.contextmanager
def log_in(url: str) -> Iterator[httpx.Client]:
    """A browser at the proxy, which speaks https to it."""
    with httpx.Client(trust_env=False, timeout=120, headers={"accept": "text/html"}) as client:
        _prove(client, url)
        yield client


def _prove(client: httpx.Client, url: str) -> None:
    came = client.post(f"{url}/login", data={"name": "anna", "password": PASSWORD, "to": "/jobs"})
    assert (came.status_code, came.headers["location"]) == (303, f"/{NAME}/jobs")
    given = came.headers.get_list("set-cookie")
    assert given
    for cookie in given:
        name, parts = cookie.partition("=")[0], [part.strip() for part in cookie.split(";")]
        assert name.startswith("__Secure-highball-")
        assert {f"Path=/{NAME}/", "Secure", "HttpOnly"} <= set(parts)
    client.headers["cookie"] = "; ".join(cookie.partition(";")[0] for cookie in given)


def test_every_address_on_its_pages_leads_below_its_path(url: str) -> None:
    origin = url.removesuffix(f"/{NAME}")
    with log_in(url) as client:
        loaded = set()
        for page in PAGES:
            shown = client.get(f"{url}{page}")
            assert shown.status_code == 200, page
            assert "frame-ancestors https://home.example.org" in shown.headers["content-security-policy"]
            found = ADDRESS.findall(shown.text)
            assert found
            assert [address for _, address in found if not address.startswith(f"/{NAME}/")] == []
            loaded |= {address for kind, address in found if kind == "src" or "/static/" in address}
        for address in loaded:
            assert client.get(f"{origin}{address.partition('#')[0]}").status_code == 200, address
        assert client.get(f"{url}/login").headers["location"] == f"/{NAME}/"


def test_news_come_through_as_they_happen(url: str, machine: Served) -> None:
    with log_in(url) as client, client.stream("GET", f"{url}/api/v1/stream") as stream:
        lines = stream.iter_lines()
        assert stream.headers["content-type"].startswith("text/event-stream")
        run = machine.order("stats")
        assert next(line for line in lines if run in line)
    machine.end_of(run)


def test_an_agent_joins_and_works_through_it(url: str, machine: Served, tmp_path: Path) -> None:
    host = f"laptop-{url.rpartition(':')[2][:5]}"
    machine.post(f"hosts?key={host}", {})
    with Elsewhere(tmp_path, machine, host) as laptop:
        laptop.join(url)
        (tmp_path / "looked-at").mkdir()
        for number in range(2000):
            (
                tmp_path
                / "looked-at"
                / f"a file with quite a long name, the one with the number {number:>120}"
            ).touch()
        found = machine.get(f"hosts/{host}/browse", path=str(tmp_path / "looked-at"))
        assert found["entries"], "what is larger than a message comes another way"


def test_who_asked_is_known_through_a_trusted_proxy_alone(url: str, machine: Served) -> None:
    with log_in(url):
        pass
    found = machine.get("audit", action="logged_in", limit=1)["items"][0]
    assert found["address"] == CLIENT


def test_a_name_that_is_not_the_hubs_is_refused_with_the_setting_that_allows_it(machine: Served) -> None:
    for host, status in (
        ("evil.example", 421),
        ("backup.example.org", 200),
        ("backup.example.org:444", 200),
        ("localhost:1", 200),
        ("192.0.2.1", 421),
    ):
        answer = machine.http.get("me", headers={"host": host})
        assert answer.status_code == status, host
        if status == 421:
            assert answer.json()["code"] == "host_unknown"
            assert "allowed_hosts under [settings.web]" in answer.json()["hint"]
    assert machine.http.get(f"{machine.url}/healthz", headers={"host": "10.1.2.3"}).status_code == 200
