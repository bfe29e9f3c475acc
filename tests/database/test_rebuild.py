"""Without the hub's database: what snapshots tell of jobs, declared as disabled, governed only once confirmed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from highball.config.document import effective_job, parse
from highball.hub.audit import Actor
from highball.hub.disaster.rebuild import (
    adopt,
    as_toml,
    find_copy,
    find_copy_within,
    find_skeletons,
    store_skeletons,
)
from highball.hub.runs.ingest import SetOf
from highball.hub.runs.record import Record
from highball.hub.storage.database import Database
from highball.hub.storage.schema import (
    audit,
    objects,
    revisions,
)
from highball.model.snapshot import (
    Node,
    NodeKind,
    Snapshot,
)

NOW = datetime(2026, 3, 1, 2, tzinfo=UTC)
ANNA = Actor("anna")


def snapshot(number: int, job: str | None = "docs", **facts: Any) -> Snapshot:
    usual = {"host": "alpha", "set": "files", "paths": (b"/home",), "repository": "nas"}
    at = NOW + timedelta(hours=number)
    return Snapshot(id=f"{number:064x}", time=at, job=job, **(usual | facts))


def test_the_newest_snapshot_says_what_a_job_is_and_all_say_where_it_goes() -> None:
    listing = [
        snapshot(3, paths=(b"/home", b"/etc"), host="beta"),
        snapshot(1),
        snapshot(2, repository="far"),
        snapshot(9, set="postgres", paths=(b"/dump.sql",)),
        snapshot(4, job="mail"),
        snapshot(5, job=None),
        snapshot(6, job="hub"),
        snapshot(7, job="Not a key!"),
    ]
    docs, mail = find_skeletons(listing)
    assert (docs.key, docs.host, docs.sources) == ("docs", "beta", (b"/home", b"/etc"))
    assert (docs.repositories, docs.snapshots, docs.newest_at) == (("far", "nas"), 4, listing[0].time)
    assert mail.key == "mail"
    assert find_skeletons(listing, known=["docs"]) == [mail]


def test_what_is_found_can_be_put_into_a_file_as_it_stands() -> None:
    odd = (b'/it\'s "odd" \\ \x7f \t', b"/\xff", b"/a", b"/a/b", "/ü\u2028".encode())
    found = find_skeletons([snapshot(1, paths=odd), snapshot(2, job="x.y")])
    repositories = {"nas": {"url": "/mnt/nas", "password": {"file": "/etc/key"}}}
    document = parse(as_toml(found, repositories).encode(), "toml")
    job = effective_job(document, "docs")
    assert {source.path for source in job.paths} == set(odd) - {b"/a/b"}
    assert not job.enabled
    assert not effective_job(document, "x.y").enabled
    assert document.repositories["nas"].address == "/mnt/nas"


def stored(database: Database) -> dict[tuple[str, str], tuple[int, str, Any]]:
    with database.read() as connection:
        rows = connection.execute(sa.select(objects)).all()
    return {(row.kind, row.key): (row.revision, row.origin, row.spec) for row in rows}


def test_jobs_are_made_once_disabled_and_what_is_there_stays(database: Database) -> None:
    found = find_skeletons([snapshot(1), snapshot(2, job="mail")])
    nas = {"url": "/mnt/nas", "password": {"file": "/etc/key"}}
    assert store_skeletons(database, found, NOW, ANNA, {"nas": nas}) == ["docs", "mail"]
    assert store_skeletons(database, found, NOW, ANNA, {"nas": nas}) == []
    assert stored(database) == {
        ("repository", "nas"): (1, "rebuild", nas),
        ("job", "docs"): (1, "rebuild", found[0].spec),
        ("job", "mail"): (1, "rebuild", found[1].spec),
    }
    assert found[0].spec["enabled"] is False
    with database.write() as connection:
        connection.execute(objects.update().where(objects.c.key == "docs").values(deleted_at=NOW))
    assert store_skeletons(database, found, NOW, ANNA) == ["docs"]
    assert stored(database)["job", "docs"][0] == 2
    with database.read() as connection:
        history = sa.select(revisions.c.what).where(revisions.c.key == "docs").order_by(revisions.c.revision)
        assert connection.execute(history).scalars().all() == ["created", "restored"]
        assert set(connection.execute(sa.select(audit.c.actor)).scalars()) == {"anna"}


def test_nothing_is_governed_until_a_person_confirms_it(database: Database) -> None:
    listing = [
        snapshot(1),
        snapshot(2),
        snapshot(3, job="mail"),
        snapshot(4, set=None),
        snapshot(5, job=None),
    ]
    store_skeletons(database, find_skeletons(listing), NOW, ANNA)
    record = Record(database)
    of = SetOf("nas", "alpha", "docs", "files")
    assert record.list_sets() == []
    assert adopt(database, listing, ["docs"], NOW, ANNA) == {"docs": 3}
    assert [one.id for one in record.list_governed(of)] == [listing[n].id for n in (3, 1, 0)]
    assert record.list_sets() == [of]
    assert adopt(database, listing, ["docs"], NOW, ANNA) == {"docs": 0}
    with database.read() as connection:
        told = (
            connection.execute(sa.select(audit.c.message).where(audit.c.action == "adopted")).scalars().all()
        )
    assert sorted(map(str, told)) == [
        "0 snapshots found in repositories",
        "3 snapshots found in repositories",
    ]


def test_the_newest_copy_of_the_hub_is_found() -> None:
    assert find_copy([snapshot(1), snapshot(2, job=None)]) is None
    newest = snapshot(5, job="hub", repository="far")
    assert find_copy([snapshot(9), newest, snapshot(4, job="hub")]) == newest


@pytest.mark.parametrize("folder", [b"/var/lib/highball/backups/", b"/odd-\xff/"])
def test_the_newest_file_within_a_snapshot_is_found(folder: bytes) -> None:
    names = (b"hub-20260301T020000Z.jsonl.gz", b"hub-20260302T020000Z.jsonl.gz", b"zzz", b".hub-3.jsonl.gz")
    nodes = [Node(path=folder + name, kind=NodeKind.FILE) for name in names]
    nodes.append(Node(path=folder + b"hub-9.jsonl.gz", kind=NodeKind.DIRECTORY))
    assert find_copy_within(nodes) == folder + names[1]
    assert find_copy_within(nodes[2:]) is None
