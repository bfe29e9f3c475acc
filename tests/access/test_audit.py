"""The audit: filtered, read page by page, and as a table that no spreadsheet calculates."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access.conftest import NOW
from highball.hub.audit import COLUMNS, Actor, AuditFilter, Entry, as_csv, list_audit, write_down
from highball.hub.auth.sessions import Access
from highball.hub.storage.database import Database
from highball.hub.storage.schema import audit
from highball.model.role import Role

ACTORS = (Actor("anna", Role.ADMIN, "192.0.2.7"), Actor("token:ci"))


@pytest.fixture
def written(database: Database) -> Database:
    """Forty entries and no other, one a minute, of two actors, two kinds, four keys."""
    with database.write() as connection:
        connection.execute(audit.delete())
        for minute in range(40):
            write_down(
                connection,
                ACTORS[minute % 2],
                "changed" if minute % 5 else "deleted",
                NOW + timedelta(minutes=minute),
                kind=("job", "repository")[minute // 2 % 2],
                key=f"k{minute % 4}",
                before={"n": minute},
                after={"n": minute + 1} if minute % 5 else None,
            )
    return database


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        (AuditFilter(), 40),
        (AuditFilter(actor="anna"), 20),
        (AuditFilter(kind="job"), 20),
        (AuditFilter(kind="job", key="k0"), 10),
        (AuditFilter(key="k0", actor="token:ci"), 0),
        (AuditFilter(action="deleted"), 8),
        (AuditFilter(since=NOW + timedelta(minutes=30)), 10),
        (AuditFilter(since=NOW + timedelta(minutes=30), until=NOW + timedelta(minutes=31)), 1),
    ],
)
def test_filters_hold_together_and_pages_miss_and_repeat_nothing(
    access: Access, written: Database, wanted: AuditFilter, number: int
) -> None:
    whole = access.list_audit(wanted, limit=500)
    assert len(whole) == number
    assert [entry.at for entry in whole] == sorted((entry.at for entry in whole), reverse=True)
    pages: list[Entry] = []
    while page := access.list_audit(wanted, before=pages[-1].id if pages else None, limit=7):
        pages += page
    assert pages == whole == list(access.every_entry(wanted))


def entry(**told: object) -> Entry:
    blank = dict.fromkeys(("address", "kind", "key", "before", "after", "message"))
    return Entry.model_validate(blank | {"id": "1", "at": NOW, "actor": "anna", "action": "changed"} | told)


def cells(*entries: Entry) -> list[list[str]]:
    return list(csv.reader(io.StringIO("".join(as_csv(entries)))))


def test_a_table_has_a_head_and_a_line_each(access: Access, written: Database) -> None:
    found = cells(*access.every_entry())
    assert len(found) == 41
    assert tuple(found[0]) == COLUMNS
    assert found[1] == [
        "2026-05-03T10:39:00Z",
        "token:ci",
        "",
        "changed",
        "repository",
        "k3",
        '{"n": 39}',
        '{"n": 40}',
        "",
    ]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "\u00a0="])
def test_no_cell_is_one_that_a_spreadsheet_would_calculate(begin: str) -> None:
    formula = f'{begin}HYPERLINK("http://evil","x")'
    told = entry(message=formula, key=formula, action=formula, before=[formula])
    for cell in cells(told)[1]:
        assert not cell.lstrip().startswith(("=", "+", "-", "@"))
        assert not cell.startswith(("\t", "\r", "\n"))
    assert f"'{formula}" in cells(told)[1]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30))
def test_whatever_is_written_is_read_again_or_has_a_mark_before_it(message: str) -> None:
    [_, line] = list(csv.reader(io.StringIO("".join(as_csv([entry(message=message)])), newline="")))
    assert line[-1] in (message, f"'{message}")
    assert line[-1] == message or message.strip()[:1] in tuple("=+-@") or message[0] in "\t\r\n"


def test_what_was_done_within_one_moment_is_told_in_the_order_in_which_it_was_done(
    database: Database,
) -> None:
    words = [f"step_{number}" for number in range(40)]
    with database.write() as connection:
        for word in words:
            write_down(connection, ACTORS[0], word, NOW)
    told = [entry.action for entry in list_audit(database, limit=40)]
    assert told == words[::-1]
