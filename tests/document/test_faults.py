"""What was right when it was stored and is wrong by now is left out and told; everything else goes on."""

from __future__ import annotations

from typing import Any

import pytest

from document.conftest import DOCS, Desk
from highball.errors import ConfigurationInvalid
from highball.hub.document.store import Documents
from highball.hub.storage.schema import objects


def spoil(desk: Desk, kind: str, key: str, **fields: Any) -> None:
    """Let an object say what no program of today takes, as an older one may have stored it."""
    desk.create(kind, key, DOCS) if kind == "job" and key != "docs" else None
    spec = desk.documents.get(kind, key).spec | fields
    with desk.database.write() as connection:
        connection.execute(
            objects.update().where(objects.c.kind == kind, objects.c.key == key).values(spec=spec)
        )
    desk.documents = Documents(desk.database)


def test_a_job_that_cannot_be_read_stops_no_other(desk: Desk) -> None:
    desk.start()
    spoil(desk, "job", "letters", schedule="61 * * * *")
    assert list(desk.documents.document().jobs) == ["docs"]
    [fault] = desk.documents.list_faults()
    assert fault.at.startswith("jobs.letters.schedule")


def test_what_names_something_unreadable_is_left_out_with_it(desk: Desk) -> None:
    desk.start()
    spoil(desk, "repository", "nas", nonsense=True)
    document = desk.documents.document()
    assert (document.repositories, document.jobs) == ({}, {})
    places = [fault.at for fault in desk.documents.list_faults()]
    assert places[0] == "repositories.nas.nonsense" and places[1].startswith("jobs.docs.repositories")


def test_of_settings_only_the_wrong_field_is_left_out(desk: Desk) -> None:
    desk.start()
    settings = {"timezone": "Europe/Vienna", "host": "here"}
    desk.documents.change("settings", "settings", settings, expected=0, **desk.told)
    spoil(desk, "settings", "settings", timezone="Mars/Olympus")
    found = desk.documents.document().settings
    assert (found.timezone, found.host) == ("UTC", "here")
    assert [fault.at for fault in desk.documents.list_faults()] == ["settings.timezone"]


def test_others_are_changed_meanwhile_and_the_wrong_one_only_for_the_better(desk: Desk) -> None:
    desk.start()
    spoil(desk, "job", "letters", schedule="61 * * * *")
    desk.change("job", "docs", title="Documents")
    with pytest.raises(ConfigurationInvalid):
        desk.change("job", "letters", title="Letters")
    with pytest.raises(ConfigurationInvalid, match="problem"):
        desk.change("job", "docs", repositories=["nowhere"])
    desk.change("job", "letters", schedule="weekly")
    assert sorted(desk.documents.document().jobs) == ["docs", "letters"]
    assert desk.documents.list_faults() == []


def test_it_may_be_deleted(desk: Desk) -> None:
    desk.start()
    spoil(desk, "job", "letters", schedule="61 * * * *")
    desk.delete("job", "letters")
    assert desk.documents.list_faults() == []
