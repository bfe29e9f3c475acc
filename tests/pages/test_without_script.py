"""Without script every page is links and forms: each leads somewhere, and no button is dead."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from starlette.routing import Match, Mount

from api.test_roles import place_of
from api.whole import ANNA, NOW, PASSWORD, Whole
from pages.reading import Form, PageRead, read_page
from pages.test_roles import TABLE

KEYS = {
    "/jobs": "docs",
    "/repositories": "nas",
    "/profiles": "often",
    "/history/{kind}": "docs",
    "/keys/{kind}": "docs",
    "/settings/users": "vera",
    "/settings/tokens": "of-admin",
}
"""One of each that is there."""

MORE = (
    "/restore?job=docs&repository=nas",
    "/jobs/new?from=docs",
    "/jobs?q=nothing-like-this",
    "/runs?job=docs",
    "/repositories/nas/snapshots?list=1",
    "/deleted/purge?kind=profile&key=gone",
    "/history/profile/often/undo?to=1",
    "/history/profile/often",
)
"""Pages that look otherwise when they are asked for something, or hold something else."""


def address_of(path: str) -> str:
    """The path with one that is there in its place."""
    before, _, _ = path.partition("/{key}")
    return place_of(path.replace("{key}", KEYS.get(before, "nobody")).replace("{kind}", "job"))


ADDRESSES = (*(address_of(path) for method, path in TABLE if method == "GET"), *MORE)


def leads_somewhere(whole: Whole, method: str, address: str) -> bool:
    """Whether anything answers there; what a path names need not exist."""
    path = urlsplit(address).path
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    mounted = (
        route for route in whole.app.routes if not isinstance(route, Mount) or path.startswith("/static")
    )
    return any(route.matches(scope)[0] is Match.FULL for route in mounted)


@pytest.fixture(scope="module")
def client(whole: Whole) -> TestClient:
    """An admin before a browser, with a job that was deleted."""
    told: dict[str, Any] = {"now": NOW, "actor": ANNA}
    gone = whole.hub.documents.create("profile", "gone", {}, **told)
    whole.hub.documents.delete("profile", "gone", expected=gone.revision, **told)
    changed = whole.hub.documents.patch("profile", "often", {"title": "O"}, expected=1, **told)
    assert changed.revision == 2
    client = TestClient(whole.app, base_url="https://hub.example", headers={"Accept": "text/html"})
    client.post("/login", data={"name": "anna", "password": PASSWORD})
    return client


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_form_link_and_button_of_a_page_works_without_script(
    whole: Whole, client: TestClient, address: str
) -> None:
    answer = client.get(address)
    assert answer.status_code < 500 or answer.status_code == 502
    if not answer.headers.get("content-type", "").startswith("text/html"):
        return
    page = read_page(answer.text)
    told = [f"{form.method} {form.action}" for form in page.forms if not _is_sent(whole, form, address)]
    told += [str(button) for button in page.lost_buttons if "popovertarget" not in button]
    told += [str(one) for form in page.forms for one in form.buttons if one.get("type") == "button"]
    told += [link["href"] for link in page.links if not _is_followed(whole, page, link["href"], address)]
    assert told == []


def _is_sent(whole: Whole, form: Form, here: str) -> bool:
    if form.method == "dialog":
        return True
    return form.method in ("get", "post") and leads_somewhere(whole, form.method.upper(), form.action or here)


def _is_followed(whole: Whole, page: PageRead, href: str, here: str) -> bool:
    if href.startswith("#"):
        return href[1:] in page.ids
    return href.startswith(("https://", "http://")) or leads_somewhere(
        whole, "GET", href if href[:1] == "/" else here
    )


def test_what_is_shown_once_has_no_button_that_only_script_understands(client: TestClient) -> None:
    page = read_page(client.post("/settings/own-tokens", data={"key": "shown", "role": "viewer"}).text)
    assert "value" in page.ids
    assert [one for one in page.lost_buttons if "popovertarget" not in one] == []
