"""Another key: what names the thing follows, its history stays, and who cannot have it is told why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api.whole import ANNA, NOW, Whole, whole_hub
from pages.reading import read_page


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """A hub of this module's own: its keys are changed for good."""
    folder = tmp_path_factory.mktemp("keys")
    with whole_hub(folder, folder / "highball.db") as hub:
        hub.hub.documents.create("host", "attic", {}, now=NOW, actor=ANNA)
        yield hub


CHANGES = {
    "job": ("pics", "/jobs/pics", "photos"),
    "profile": ("often", "/profiles/often", "seldom"),
    "host": ("attic", "/hosts", "loft"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_key_is_changed_where_the_thing_is_shown_and_its_history_comes_along(
    whole: Whole, kind: str
) -> None:
    old, shown_at, new = CHANGES[kind]
    client, address = whole.client(), f"/keys/{kind}/{old}"
    assert address in {link["href"] for link in read_page(client.get(shown_at).text).links}
    before = len(whole.hub.documents.history(kind, old))
    form = read_page(client.get(address).text).form(address)
    fields = dict(form.fields)
    wrong = client.post(address, data=fields | {"key": "Not a key"})
    assert wrong.status_code == 422
    assert 'value="Not a key"' in wrong.text and 'aria-invalid="true"' in wrong.text
    stale = client.post(address, data=fields | {"key": new, "revision": "77"})
    assert stale.status_code == 412
    done = client.post(address, data=fields | {"key": new}, follow_redirects=False)
    assert done.status_code == 303, done.text
    assert len(whole.hub.documents.history(kind, new)) == before + 1
    assert old in whole.hub.documents.get(kind, new).former_keys


def test_who_names_it_is_said_before_and_what_stands_against_it_after(whole: Whole) -> None:
    page = whole.client().get("/keys/repository/nas")
    assert "the job docs" in page.text
    refused = whole.client().post("/keys/job/docs", data={"key": "paper", "revision": "1"})
    assert refused.status_code == 409
    assert "is not over" in refused.text and 'value="paper"' in refused.text


@pytest.mark.parametrize("table", ["jobs", "profiles", "repositories"])
def test_no_key_hides_behind_the_address_of_a_form(whole: Whole, table: str) -> None:
    spec = {
        "jobs": {"sources": ["/a"], "repositories": ["nas"]},
        "profiles": {},
        "repositories": {"url": "/x"},
    }
    answer = whole.client().post(f"/api/v1/{table}?key=new", json=spec[table])
    assert answer.status_code == 422
    assert 'perhaps "new-one"' in answer.json()["hint"]
    answer = whole.client().post("/jobs/new", data={"act": "save", "title": "New", "source": "/a"})
    assert 'value="new-one"' in answer.text
