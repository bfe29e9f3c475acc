"""The database: its schema, what is refused and that nothing is lost by a refusal."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from highball.errors import StateUnusable
from highball.hub import db
from highball.hub.db import Database, Moment, marks, open_database, runs
from highball.hub.runs import Record
from highball.hub.upgrade import configuration, upgrade
from record.stories import back_up, order


def structure(engine: sa.Engine) -> dict[str, Any]:
    """Tables, columns, keys and indexes, as the database itself tells them."""
    inspector = sa.inspect(engine)
    return {
        table: {
            "columns": [
                (c["name"], str(c["type"]), c["nullable"], c["default"]) for c in inspector.get_columns(table)
            ],
            "key": inspector.get_pk_constraint(table)["constrained_columns"],
            "foreign": [
                (k["constrained_columns"], k["referred_table"], k["referred_columns"], k["options"])
                for k in inspector.get_foreign_keys(table)
            ],
            "indexes": sorted(
                (str(i["name"]), i["column_names"], i["unique"]) for i in inspector.get_indexes(table)
            ),
            "unique": inspector.get_unique_constraints(table),
        }
        for table in sorted(inspector.get_table_names())
    }


def test_all_migrations_from_empty_make_the_schema_of_this_program(tmp_path: Path) -> None:
    migrated = sa.create_engine(f"sqlite:///{tmp_path / 'migrated.db'}", poolclass=sa.NullPool)
    with migrated.begin() as connection:
        settings = configuration()
        settings.attributes["connection"] = connection
        command.upgrade(settings, "head")
    assert structure(migrated) == structure(open_database(tmp_path / "created.db").engine)
    with migrated.connect() as connection:
        found = connection.execute(sa.text("select version_num from alembic_version")).scalar()
    assert found == db.REVISION


def set_revision(path: Path, revision: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("update alembic_version set version_num = ?", (revision,))
    connection.close()


def test_a_newer_database_is_refused_and_left_as_it_is(path: Path, record: Record) -> None:
    back_up(record, 1, 1)
    set_revision(path, "9999")
    with pytest.raises(StateUnusable, match="a newer Highball wrote this database") as raised:
        open_database(path)
    assert raised.value.code == "database_newer"
    assert raised.value.hint
    set_revision(path, db.REVISION)
    assert len(Record(open_database(path)).list_runs()) == 1
    assert [file.name for file in path.parent.iterdir() if "before" in file.name] == []


def test_an_upgrade_copies_the_database_first(path: Path, record: Record) -> None:
    back_up(record, 1, 1)
    upgrade(open_database(path).engine, db.REVISION, path, db.REVISION)  # nothing to do, but the copy is made
    copy = path.with_name(f"{path.name}.before-{db.REVISION}")
    assert len(Record(open_database(copy)).list_runs()) == 1


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 4080])
def test_a_file_that_is_no_database_is_refused_and_not_overwritten(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StateUnusable, match=r"highball\.db is damaged") as raised:
        open_database(path)
    assert raised.value.code == "database_damaged"
    assert "put a backup of it in its place" in (raised.value.hint or "")
    assert path.read_bytes() == content


def test_a_database_that_was_cut_short_is_refused_and_not_overwritten(path: Path, record: Record) -> None:
    for number in range(1, 30):
        back_up(record, number, number)
    with sqlite3.connect(path) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    for beside in ("-wal", "-shm"):
        path.with_name(path.name + beside).unlink(missing_ok=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StateUnusable, match="is damaged") as raised:
        Record(open_database(path)).list_runs()
    assert raised.value.code == "database_damaged"
    assert path.stat().st_size == len(whole) // 2


def test_a_database_that_was_overwritten_in_the_middle_is_told_when_it_is_read(
    path: Path, record: Record
) -> None:
    for number in range(1, 30):
        back_up(record, number, number)
    with sqlite3.connect(path) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    size = path.stat().st_size
    with path.open("r+b") as opened:
        opened.seek(4096)
        opened.write(b"\xff" * (size - 4096))
    with pytest.raises(StateUnusable, match="is damaged"):
        Record(open_database(path)).list_runs()


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StateUnusable, match="cannot be used: unable to open database file") as raised:
        open_database(tmp_path / "no" / "highball.db")
    assert "HIGHBALL_STATE" in (raised.value.hint or "")


def test_another_programs_tables_are_no_reason_to_fail_in_silence(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("create table alembic_version (version_num varchar(32))")
    connection.close()
    with pytest.raises(StateUnusable, match="cannot be used: no such table"):
        Record(open_database(path)).list_runs()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB that can be made read-only."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("needs the right to mount")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_read_only_disk_is_said(disk: Path) -> None:
    record = Record(open_database(disk / "highball.db"))
    back_up(record, 1, 1)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(StateUnusable, match=r"cannot be used: .*(readonly|read-only|unable to open)"):
        record.begin(order(2))


def test_a_full_disk_is_said_and_leaves_nothing_half_done(disk: Path) -> None:
    record = Record(open_database(disk / "highball.db"))
    back_up(record, 1, 1)
    with (disk / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError, match="No space"):
        while True:
            ballast.write(bytes(4096))
    with pytest.raises(StateUnusable, match="cannot be written: the disk is full") as raised:
        for number in range(2, 300):
            back_up(record, number, 1)
    assert raised.value.code == "state_full"
    (disk / "ballast").unlink()
    known = len(record.list_runs(limit=1000))
    back_up(record, 500, 1)
    assert len(record.list_runs(limit=1000)) == known + 1


# --- transactions -----------------------------------------------------------------------------------


def test_a_failing_write_leaves_nothing_half_done(database: Database) -> None:
    with pytest.raises(ValueError, match="no"), database.write() as connection:
        connection.execute(marks.insert().values(name="a", value="1"))
        raise ValueError("no")
    with database.read() as connection:
        assert connection.execute(sa.select(marks)).all() == []


def test_the_same_row_twice_is_an_integrity_error(record: Record) -> None:
    record.begin(order(1))
    with pytest.raises(sa.exc.IntegrityError):
        record.begin(order(1))


def test_writers_wait_for_one_another(path: Path) -> None:
    open_database(path)
    errors: list[BaseException] = []

    def count() -> None:
        try:
            database = open_database(path)
            for _ in range(10):
                with database.write() as connection:
                    known = connection.execute(sa.select(marks.c.value).where(marks.c.name == "n")).scalar()
                    if known is None:
                        connection.execute(marks.insert().values(name="n", value="1"))
                    else:
                        connection.execute(marks.update().values(value=str(int(known) + 1)))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with open_database(path).read() as connection:
        assert connection.execute(sa.select(marks.c.value)).scalar() == "40"


def test_many_may_open_a_new_database_at_once(path: Path) -> None:
    errors: list[BaseException] = []

    def opening() -> None:
        try:
            Record(open_database(path)).list_runs()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=opening) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_every_commit_is_on_disk_and_other_keys_are_followed(database: Database) -> None:
    with database.read() as connection:
        asked = {
            name: connection.exec_driver_sql(f"pragma {name}").scalar()
            for name in ("synchronous", "foreign_keys", "journal_mode")
        }
    assert asked == {"synchronous": 2, "foreign_keys": 1, "journal_mode": "wal"}


def test_a_time_keeps_its_moment_and_sorts_as_text(database: Database) -> None:
    paris = datetime(2026, 3, 1, 3, 30, 0, 5, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    dialect = database.engine.dialect
    text = Moment().process_bind_param(paris, dialect)
    assert text == "2026-02-28T21:45:00.000005Z"
    assert Moment().process_result_value(text, dialect) == paris
    assert Moment().process_result_value(None, dialect) is None
    assert Moment().process_bind_param(None, dialect) is None
    assert isinstance(runs.c.created_at.type, Moment)
