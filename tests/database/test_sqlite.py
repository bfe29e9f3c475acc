"""SQLite by itself: what is refused, and that nothing is lost by a refusal."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from database.older import OLDEST, TOO_OLD, make_older
from highball.errors import StateUnusable
from highball.hub.runs.record import Record
from highball.hub.storage import schema
from highball.hub.storage.database import Database, open_database
from record.stories import back_up, order
from testbed.together import at_once


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database lies."""
    return tmp_path / "highball.db"


@pytest.fixture
def database(path: Path) -> Database:
    """A new database on disk."""
    return open_database(path)


@pytest.fixture
def record(database: Database) -> Record:
    """An empty record."""
    return Record(database)


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
    set_revision(path, schema.REVISION)
    assert len(Record(open_database(path)).list_runs()) == 1
    assert [file.name for file in path.parent.iterdir() if "before" in file.name] == []


@pytest.mark.parametrize("revision", TOO_OLD)
def test_a_database_that_is_too_old_stays_the_same_byte_for_byte(path: Path, revision: str) -> None:
    make_older(path, revision)
    before = path.read_bytes()
    with pytest.raises(StateUnusable, match="this database is too old"):
        open_database(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_an_upgrade_copies_the_database_first_for_its_owners_eyes_only(path: Path) -> None:
    make_older(path)
    Record(open_database(path)).list_runs()
    copy = path.with_name(f"{path.name}.before-{schema.REVISION}")
    assert copy.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(copy) as connection:
        assert connection.execute("select version_num from alembic_version").fetchall() == [(OLDEST,)]
        assert connection.execute("select id from runs").fetchall() == [("1",)]
    connection.close()
    assert [run.id for run in Record(open_database(copy)).list_runs()] == ["1"]


def test_many_may_upgrade_at_once_and_the_copy_is_of_before(path: Path) -> None:
    make_older(path)
    assert at_once(lambda: Record(open_database(path)).list_runs(), times=6) == []
    with sqlite3.connect(path.with_name(f"{path.name}.before-{schema.REVISION}")) as connection:
        assert connection.execute("select version_num from alembic_version").fetchall() == [(OLDEST,)]
    connection.close()


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
    with pytest.raises(StateUnusable, match="cannot be written: unable to open database file") as raised:
        open_database(tmp_path / "no" / "highball.db")
    assert "who owns it" in (raised.value.hint or "")


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
    with pytest.raises(StateUnusable, match=r"cannot be written: .*(readonly|read-only|unable to open)"):
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


def test_every_commit_is_on_disk_and_other_keys_are_followed(database: Database) -> None:
    with database.read() as connection:
        asked = {
            name: connection.exec_driver_sql(f"pragma {name}").scalar()
            for name in ("synchronous", "foreign_keys", "journal_mode")
        }
    assert asked == {"synchronous": 2, "foreign_keys": 1, "journal_mode": "wal"}
