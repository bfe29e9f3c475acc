"""The contract: what every room relies on, and SQLite and PostgreSQL both keep."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from database.older import TOO_OLD, make_older
from highball.errors import StateUnusable
from highball.hub.runs.record import Record
from highball.hub.storage import schema
from highball.hub.storage.database import Database, open_database
from highball.hub.storage.dialects import WRITING, open_engine
from highball.hub.storage.schema import (
    Moment,
    audit,
    events,
    marks,
    objects,
    revisions,
    runs,
    steps,
    vault,
)
from highball.hub.storage.upgrade import migrate
from record.stories import back_up, order
from testbed.together import at_once

NOW = datetime(2026, 3, 1, 2, tzinfo=UTC)


# --- the schema ----------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where nothing is yet, on each of the two."""
    if request.param == "sqlite":
        return tmp_path / "empty.db"
    address: str = request.getfixturevalue("empty_postgres")
    return address


def structure(engine: sa.Engine) -> dict[str, Any]:
    """Tables, columns, keys and indexes, as the database itself tells them."""
    inspector = sa.inspect(engine)
    found = {
        table: {
            "columns": {
                c["name"]: (str(c["type"]), c["nullable"], c["default"]) for c in inspector.get_columns(table)
            },
            "key": inspector.get_pk_constraint(table)["constrained_columns"],
            "foreign": [
                (k["constrained_columns"], k["referred_table"], k["referred_columns"], k["options"])
                for k in inspector.get_foreign_keys(table)
            ],
            "indexes": sorted(
                (str(i["name"]), i["column_names"], i["unique"], rows_of(i))
                for i in inspector.get_indexes(table)
            ),
            "unique": inspector.get_unique_constraints(table),
        }
        for table in sorted(inspector.get_table_names())
    }
    engine.dispose()
    return found


def rows_in(engine: sa.Engine) -> dict[str, list[Any]]:
    """All that a database holds, by table."""
    tables = sa.MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        held = {t.name: [*connection.execute(sa.select(t)).all()] for t in tables.sorted_tables}
    engine.dispose()
    return held


def rows_of(index: Mapping[str, Any]) -> str:
    """Which rows an index is about, where not all."""
    options = index.get("dialect_options", {})
    return str(options.get("sqlite_where", options.get("postgresql_where", "")))


@pytest.fixture
def made(empty_place: Path | str, tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The structure of a database that this program made, on the same of the two."""
    on_a_server = isinstance(empty_place, str)
    created = open_database(request.getfixturevalue("postgres") if on_a_server else tmp_path / "created.db")
    return structure(created.engine)


def test_all_migrations_from_empty_make_the_schema_of_this_program(
    empty_place: Path | str, made: dict[str, Any]
) -> None:
    migrated = open_engine(empty_place)
    with migrated.execution_options(**WRITING).begin() as connection:
        migrate(connection, "head")
        assert schema.read_revision(connection) == schema.REVISION
    assert structure(migrated) == made


def test_the_oldest_database_is_upgraded_and_keeps_what_it_holds(
    empty_place: Path | str, made: dict[str, Any]
) -> None:
    make_older(empty_place)
    database = open_database(empty_place)
    there = {name: len(rows) for name, rows in rows_in(database.engine).items() if rows}
    assert there.pop("holds") == 1, "of the snapshot that shrank"
    assert there == dict.fromkeys(
        ("agents", "alembic_version", "marks", "objects", "runs", "sessions", "snapshots", "steps"), 1
    )
    with database.read() as connection:
        [row] = connection.execute(sa.select(objects)).all()
    assert (row.key, row.spec, row.changed_at, len(row.id)) == ("docs", {"a": 1}, NOW, 36)
    assert structure(database.engine) == made


@pytest.mark.parametrize("revision", TOO_OLD)
def test_a_database_from_before_the_baseline_is_refused_and_left_as_it_is(
    empty_place: Path | str, revision: str
) -> None:
    make_older(empty_place, revision)
    engine = open_engine(empty_place)
    before = structure(engine), rows_in(engine)
    with pytest.raises(
        StateUnusable, match=f"too old for this Highball .schema {revision}; .* 0006 and"
    ) as raised:
        open_database(empty_place)
    assert raised.value.code == "database_too_old"
    assert "with the Highball of commit " in (raised.value.hint or "")
    assert (structure(engine), rows_in(engine)) == before


def test_its_mark_is_another_after_every_change_and_the_same_while_it_is_only_read(
    database_place: Path | str, database: Database
) -> None:
    seen = [database.mark()]
    for other in (database, open_database(database_place)):
        back_up(Record(other), len(seen), 1)
        seen.append(database.mark())
        assert len(Record(database).list_runs()) == len(seen) - 1
        assert database.mark() == seen[-1]
        other.close()
    assert len(set(seen)) == 3
    assert database.mark() not in seen[:2], "after it was closed and opened again"


def test_a_database_of_a_newer_program_is_refused_and_left_as_it_is(
    database_place: Path | str, database: Database
) -> None:
    back_up(Record(database), 1, 1)
    with database.write() as connection:
        connection.execute(schema.schema_version.update().values(version_num="9999"))
    with pytest.raises(StateUnusable, match="a newer Highball wrote this database") as raised:
        open_database(database_place)
    assert raised.value.code == "database_newer"
    assert raised.value.hint
    with database.write() as connection:
        connection.execute(schema.schema_version.update().values(version_num=schema.REVISION))
    assert len(Record(open_database(database_place)).list_runs()) == 1


def test_many_may_open_a_new_database_at_once(empty_place: Path | str) -> None:
    def opening() -> None:
        database = open_database(empty_place)
        Record(database).list_runs()
        database.close()

    assert at_once(opening, times=6) == []


# --- transactions --------------------------------------------------------------------------------


def write(database: Database, name: str, value: str) -> None:
    with database.write() as connection:
        connection.execute(marks.insert().values(name=name, value=value))


def test_a_failing_write_leaves_nothing_half_done(database: Database) -> None:
    with pytest.raises(ValueError, match="no"), database.write() as connection:
        connection.execute(marks.insert().values(name="a", value="1"))
        raise ValueError("no")
    with database.read() as connection:
        assert connection.execute(sa.select(marks)).all() == []


def test_a_refused_row_leaves_nothing_of_its_transaction(database: Database) -> None:
    write(database, "a", "1")
    with pytest.raises(sa.exc.IntegrityError), database.write() as connection:
        connection.execute(marks.insert().values(name="b", value="1"))
        connection.execute(marks.insert().values(name="a", value="2"))
    with database.read() as connection:
        assert connection.execute(sa.select(marks.c.name, marks.c.value)).all() == [("a", "1")]


def test_the_same_row_twice_is_an_integrity_error_that_shows_no_values(database: Database) -> None:
    Record(database).begin(order(1))
    with pytest.raises(sa.exc.IntegrityError) as raised:
        Record(database).begin(order(1))
    assert "here" not in str(raised.value).split("[SQL:")[-1]


def test_a_savepoint_takes_back_a_refused_row_only(database: Database) -> None:
    write(database, "a", "1")
    with database.write() as connection:
        connection.execute(marks.insert().values(name="b", value="1"))
        with pytest.raises(sa.exc.IntegrityError), connection.begin_nested():
            connection.execute(marks.insert().values(name="a", value="2"))
        connection.execute(marks.insert().values(name="c", value="1"))
    with database.read() as connection:
        found = connection.execute(sa.select(marks.c.name).order_by(marks.c.name)).scalars()
        assert list(found) == ["a", "b", "c"]


def test_what_a_writer_has_read_still_holds_when_it_writes(
    database_place: Path | str, database: Database
) -> None:
    def count() -> None:
        own = open_database(database_place)
        for _ in range(10):
            with own.write() as connection:
                known = connection.execute(sa.select(marks.c.value).where(marks.c.name == "n")).scalar()
                if known is None:
                    connection.execute(marks.insert().values(name="n", value="1"))
                else:
                    connection.execute(marks.update().values(value=str(int(known) + 1)))
        own.close()

    assert at_once(count, times=4) == []
    with database.read() as connection:
        assert connection.execute(sa.select(marks.c.value)).scalar() == "40"


def test_the_threads_of_one_program_write_one_after_the_other(database: Database) -> None:
    def take_the_next() -> None:
        with database.write() as connection:
            asked = sa.select(sa.func.count()).select_from(marks)
            number = connection.execute(asked).scalar()
            connection.execute(marks.insert().values(name=str(number), value=""))

    assert at_once(take_the_next, times=40) == []  # as many as a web server has
    with database.read() as connection:
        assert len(connection.execute(sa.select(marks)).all()) == 40


def test_reading_sees_one_moment_and_waits_for_nobody(database: Database) -> None:
    write(database, "a", "1")
    with database.read() as connection:
        before = connection.execute(sa.select(marks.c.name)).scalars().all()
        write(database, "b", "1")
        assert connection.execute(sa.select(marks.c.name)).scalars().all() == before == ["a"]
    with database.write() as writing, database.read() as reading:
        writing.execute(marks.insert().values(name="c", value="1"))
        assert len(reading.execute(sa.select(marks)).all()) == 2
    with database.read() as connection:
        assert len(connection.execute(sa.select(marks)).all()) == 3


def test_a_reader_that_is_left_in_the_middle_holds_nobody_up(database: Database) -> None:
    for number in range(100):
        write(database, str(number), "1")

    def reading() -> Generator[str, None, None]:
        with database.read() as connection:
            yield from connection.execute(sa.select(marks.c.name)).scalars()

    left = reading()
    next(left)
    write(database, "more", "1")
    left.close()
    with database.read() as connection:
        assert len(connection.execute(sa.select(marks)).all()) == 101


# --- values --------------------------------------------------------------------------------------


def test_a_time_keeps_its_moment_and_sorts_as_text(database: Database) -> None:
    nepal = datetime(2026, 3, 1, 3, 30, 0, 5, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    dialect = database.engine.dialect
    text = Moment().process_bind_param(nepal, dialect)
    assert text == "2026-02-28T21:45:00.000005Z"
    assert Moment().process_result_value(text, dialect) == nepal
    assert Moment().process_result_value(None, dialect) is None
    assert Moment().process_bind_param(None, dialect) is None
    assert isinstance(runs.c.created_at.type, Moment)


def test_times_are_sorted_compared_and_aggregated_by_the_database(database: Database) -> None:
    zone = timezone(timedelta(hours=-11))
    times = [NOW, NOW + timedelta(microseconds=1), NOW - timedelta(days=4000), NOW.astimezone(zone)]
    with database.write() as connection:
        for number, at in enumerate(times):
            connection.execute(
                vault.insert().values(place=str(number), content=b"", changed_at=at, actor="x")
            )
    with database.read() as connection:
        by_time = sa.select(vault.c.changed_at).order_by(vault.c.changed_at)
        assert connection.execute(by_time).scalars().all() == sorted(times)
        since = sa.select(sa.func.count()).where(vault.c.changed_at >= NOW)
        assert connection.execute(since).scalar() == 3
        newest = sa.select(sa.func.max(vault.c.changed_at, type_=vault.c.changed_at.type))
        assert connection.execute(newest).scalar() == max(times)


def test_run_ids_are_sorted_by_time_and_found_by_their_beginning(database: Database) -> None:
    record = Record(database)
    for number in (3, 1, 2):
        record.begin(order(number))
    with database.read() as connection:
        found = connection.execute(sa.select(runs.c.id).order_by(runs.c.id)).scalars().all()
    assert found == sorted(found)
    assert record.find_run(found[0][:-1] + "1").id == found[0]


def test_json_null_and_no_value_are_two_things(database: Database) -> None:
    told = {"actor": "x", "at": NOW, "action": "changed"}
    with database.write() as connection:
        connection.execute(audit.insert().values(id="none", before=None, **told))
        connection.execute(audit.insert().values(id="null", before=sa.JSON.NULL, **told))
        for key, spec in (("none", None), ("some", {"a": None, "b": [1, 2.5, True, "ü\u2028"]})):
            row = {"kind": "job", "key": key, "revision": 1, "at": NOW, "actor": "x", "spec": spec}
            connection.execute(revisions.insert().values(**row))
    with database.read() as connection:
        absent = sa.select(audit.c.id).where(audit.c.before.is_(sa.null()))
        assert connection.execute(absent).scalars().all() == ["none"]
        found = {row.key: row.spec for row in connection.execute(sa.select(revisions))}
    assert found == {"none": None, "some": {"a": None, "b": [1, 2.5, True, "ü\u2028"]}}


def test_json_keeps_what_paths_and_messages_may_hold(database: Database) -> None:
    Record(database).begin(order(1))
    account = {"text": "nul \0, lone \udcff, \U0001f9ea", "number": 2**63}
    row = {"run": order(1).run, "number": 1, "action": "backup", "account": account}
    with database.write() as connection:
        connection.execute(steps.insert().values(**row))
    with database.read() as connection:
        assert connection.execute(sa.select(steps.c.account)).scalar() == account


def test_text_for_people_is_stored_whatever_it_holds(database: Database) -> None:
    told = {"actor": "x", "at": NOW, "action": "changed", "id": "1"}
    with database.write() as connection:
        connection.execute(audit.insert().values(message="nul \0, lone \udcff, ü \U0001f9ea", **told))
    with database.read() as connection:
        found = connection.execute(sa.select(audit.c.message)).scalar()
    assert found == "nul \ufffd, lone \ufffd, ü \U0001f9ea"


def test_large_numbers_and_large_blobs_come_back_as_they_were(database: Database) -> None:
    content = os.urandom(8 * 1024 * 1024)
    Record(database).begin(order(1))
    with database.write() as connection:
        connection.execute(events.insert().values(run=order(1).run, first_seq=1, last_seq=2, lines=content))
        connection.execute(schema.repositories.insert().values(key="nas", bytes_stored=2**62))
    with database.read() as connection:
        assert connection.execute(sa.select(events.c.lines)).scalar() == content
        assert connection.execute(sa.select(schema.repositories.c.bytes_stored)).scalar() == 2**62


def test_what_belongs_to_a_run_goes_with_it(database: Database) -> None:
    back_up(Record(database), 1, 1)
    with database.write() as connection:
        gone = connection.execute(runs.delete())
        assert gone.rowcount == 1
    with database.read() as connection:
        for table in (steps, events):
            assert connection.execute(sa.select(table)).all() == []


def test_a_step_of_no_run_is_refused(database: Database) -> None:
    row = {"run": "nobody", "number": 1, "action": "backup", "account": {}}
    with pytest.raises(sa.exc.IntegrityError), database.write() as connection:
        connection.execute(steps.insert().values(**row))


def test_an_update_tells_how_many_rows_it_met(database: Database) -> None:
    write(database, "a", "1")
    with database.write() as connection:
        assert connection.execute(marks.update().values(value="1")).rowcount == 1
        assert connection.execute(marks.update().where(marks.c.name == "b").values(value="1")).rowcount == 0


def test_a_flag_is_asked_for_as_it_is(database: Database) -> None:
    made = back_up(Record(database), 1, 1)
    back_up(Record(database), 2, 1)
    with database.write() as connection:
        here = schema.snapshots.c.id == made
        connection.execute(schema.snapshots.update().where(here).values(shrank=True))
    with database.read() as connection:
        asked = sa.select(schema.snapshots.c.id).where(schema.snapshots.c.shrank)
        assert connection.execute(asked).scalars().all() == [made]
        rest = sa.select(sa.func.count()).select_from(schema.snapshots).where(~schema.snapshots.c.shrank)
        assert connection.execute(rest).scalar() == 1


def test_a_database_may_be_used_from_a_thread_that_did_not_open_it(database: Database) -> None:
    thread = threading.Thread(target=write, args=(database, "a", "1"))
    thread.start()
    thread.join()
    with database.read() as connection:
        assert connection.execute(sa.select(marks.c.value)).scalar() == "1"
