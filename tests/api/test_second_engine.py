"""A hub with a repository of another engine: declared over the API, and drawn on every page that shows repositories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from api.whole import ANNA, NOW, Whole, whole_hub
from highball.model.role import Role
from pages.reading import read_page
from testbed import copies

DECLARED = {"engine": "copies", "folder": "/srv/copies", "title": "The shelf", "host": "here"}


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Whole]:
    """A hub of its own that knows the second engine."""
    copies.register()
    with whole_hub(tmp_path / "hub", tmp_path / "hub.db") as made:
        yield made
    copies.forget()


def test_it_is_declared_and_drawn_like_any_other(whole: Whole) -> None:
    admin = whole.client(Role.ADMIN)
    made = admin.post("/api/v1/repositories", params={"key": "shelf"}, json=DECLARED)
    assert made.status_code == 201, made.text
    assert admin.get("/api/v1/repositories/shelf").json()["spec"] == DECLARED
    job = {"sources": ["/docs"], "repositories": ["shelf"], "schedule": "daily"}
    assert admin.post("/api/v1/jobs", params={"key": "shelved"}, json=job).status_code == 201
    for address in ("/", "/repositories", "/repositories/shelf", "/jobs", "/jobs/shelved"):
        page = admin.get(address)
        assert page.status_code == 200, address
    assert "/srv/copies" in admin.get("/repositories/shelf").text
    assert admin.get("/repositories/shelf/repair").status_code == 404
    assert 'href="/repositories/shelf/keys"' not in admin.get("/repositories/shelf").text
    refused = admin.post("/api/v1/repositories/shelf/keys/rotate", json={})
    assert (refused.status_code, refused.json()["code"]) == (404, "no_keys")
    assert admin.get("/repositories/shelf/keys").status_code == 404
    for address in ("snapshots", "delete", "discard", "kit"):
        page = admin.get(f"/repositories/shelf/{address}")
        assert page.status_code == 200, (address, page.text)


def test_it_is_made_and_changed_by_the_form_that_its_engine_says(whole: Whole) -> None:
    """The hub of this test has no agent: it is saved untested."""
    admin = whole.client(Role.ADMIN)
    assert 'href="/repositories/new?engine=copies' in admin.get("/repositories/new").text
    blank = read_page(admin.get("/repositories/new?engine=copies").text).form("/repositories/new")
    sent = dict(blank.fields)
    assert {"engine", "folder"} <= set(sent) and not {"password", "kind", "admin"} & set(sent)
    sent |= {"key": "shelf", "act": "save", "folder": "relative"}
    told = admin.post("/repositories/new", data=sent)
    assert told.status_code == 422 and 'href="#folder"' in told.text
    sent["folder"] = "/srv/copies"
    assert "<code>/srv/copies</code>" in admin.post("/repositories/address", data=sent).text
    saved = admin.post("/repositories/new", data=sent, follow_redirects=False)
    assert saved.status_code == 303, saved.text
    spec = admin.get("/api/v1/repositories/shelf").json()["spec"]
    assert spec == {"engine": "copies", "folder": "/srv/copies"}

    address = "/repositories/shelf/edit"
    held = dict(read_page(admin.get(address).text).form(address).fields)
    assert held["folder"] == "/srv/copies"
    held |= {"folder": "/srv/other", "title": "The shelf"}
    changed = admin.post(address, data=held, follow_redirects=False)
    assert changed.status_code == 303, changed.text
    assert admin.get("/api/v1/repositories/shelf").json()["spec"] == spec | {
        "folder": "/srv/other",
        "title": "The shelf",
    }
    assert admin.get("/repositories/new?engine=tar").status_code == 404


def test_an_engine_that_is_not_known_is_refused_with_those_that_are(whole: Whole) -> None:
    sent = DECLARED | {"engine": "tar"}
    answer = whole.client(Role.ADMIN).post("/api/v1/repositories", params={"key": "shelf"}, json=sent)
    assert answer.status_code == 422
    [problem] = answer.json()["problems"]
    assert (problem["at"], problem["hint"]) == ("repositories.shelf.engine", "one of restic, copies")


def test_one_that_is_declared_opens_no_more_where_its_engine_is_gone(whole: Whole) -> None:
    documents = whole.hub.documents
    documents.create("repository", "shelf", DECLARED, now=NOW, actor=ANNA)
    copies.forget()
    assert "nas" in documents.document().repositories
