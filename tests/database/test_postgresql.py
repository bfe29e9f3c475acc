"""PostgreSQL by itself: what its address may say, what is told when it fails, and that a hub outlives its restart."""

from __future__ import annotations

import os
import subprocess
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from highball.errors import StateUnusable
from highball.hub.runs.record import Record
from highball.hub.storage import dialects
from highball.hub.storage.database import Database, open_database
from highball.hub.storage.schema import marks
from record.stories import back_up
from testbed.postgres import PASSWORD, PASSWORD_IN_ADDRESS, PostgresServer


@pytest.fixture
def database(postgres: str) -> Iterator[Database]:
    """A new database on a server."""
    opened = open_database(postgres)
    yield opened
    opened.close()


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of this test's own, which it may stop."""
    with PostgresServer() as own:
        yield own


def write(database: Database, name: str) -> None:
    with database.write() as connection:
        connection.execute(marks.insert().values(name=name, value=""))


def names(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(sa.select(marks.c.name).order_by(marks.c.name)).scalars())


# --- the address ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "mysql://highball:canary@db/highball",
        "postgresql://highball:canary@db",
        "postgresql://highball:canary@db:port/highball",
        "postgresql://highball:canary/more@db/highball",
        "canary",
        "sqlite:///highball.db",
    ],
)
def test_an_address_of_something_else_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(StateUnusable) as raised:
        open_database(address)
    assert raised.value.code in {"database_address_invalid", "state_unusable"}
    assert "canary" not in "".join(traceback.format_exception(raised.value))


def test_the_usual_short_form_of_the_address_will_do(postgres: str) -> None:
    short = postgres.replace("postgresql://", "postgres://")
    assert names(open_database(short)) == []


def test_options_of_the_address_stand_beside_ours(postgres: str) -> None:
    database = open_database(f"{postgres}&options=-c%20statement_timeout%3D12345")
    with database.read() as connection:
        asked = [connection.exec_driver_sql(f"show {name}").scalar() for name in ("statement_timeout",)]
        assert asked == ["12345ms"]
        assert connection.exec_driver_sql("show lock_timeout").scalar() == "30s"
    database.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("/test_", "/missing_test_"), "does not exist"),
        (("highball:canary", "highball:wrong-canary"), "password authentication failed"),
        (("highball-pg-", "no-such-folder-"), "No such file or directory"),
        (("highball:canary", "stranger:canary"), "authentication failed"),
    ],
)
def test_a_server_that_cannot_be_used_is_told_without_the_password(
    postgres: str, change: tuple[str, str], said: str
) -> None:
    assert change[0] in postgres
    with pytest.raises(StateUnusable, match=said) as raised:
        open_database(postgres.replace(*change))
    shown = "".join(traceback.format_exception(raised.value))
    assert "canary" not in shown
    assert "cannot be used" in raised.value.message
    assert "address" in (raised.value.hint or "")


def test_no_spelling_of_the_password_is_told(database: Database) -> None:
    for spelling in (PASSWORD, PASSWORD_IN_ADDRESS):
        error = RuntimeError(f"could not make sense of {spelling}\nand gave up")
        told = dialects._tell_of_postgresql(database.engine, error)
        assert told.message.endswith("cannot be used: could not make sense of *** and gave up")
    assert PASSWORD not in repr(database.engine)
    assert database.name.startswith("the database test_")


def test_a_database_that_holds_no_utf_8_is_refused(postgres_server: PostgresServer) -> None:
    name = "latin"
    postgres_server.execute(
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C'"
    )
    try:
        with pytest.raises(StateUnusable, match="holds text as LATIN1") as raised:
            open_database(postgres_server.address(name))
        assert raised.value.code == "database_encoding"
    finally:
        postgres_server.drop(name)


# --- while it is used ----------------------------------------------------------------------------


def test_reading_cannot_write(database: Database) -> None:
    with pytest.raises(StateUnusable, match="read-only"), database.read() as connection:
        connection.execute(marks.insert().values(name="a", value=""))
    write(database, "b")
    assert names(database) == ["b"]


def test_text_that_is_too_long_is_the_callers_fault_and_no_fault_of_the_database(database: Database) -> None:
    with pytest.raises(sa.exc.DataError), database.write() as connection:
        connection.execute(marks.insert().values(name="n" * 101, value=""))


def test_a_server_that_was_restarted_is_found_again_and_lost_nothing(server: PostgresServer) -> None:
    server.execute("CREATE DATABASE hub")
    database = open_database(server.address("hub"))
    write(database, "a")
    server.stop()
    with pytest.raises(StateUnusable, match="cannot be used"):
        names(database)
    with pytest.raises(StateUnusable, match="cannot be used"):
        write(database, "b")
    server.start()
    assert names(database) == ["a"]
    write(database, "c")
    assert names(database) == ["a", "c"]
    database.close()


def test_a_server_that_dies_within_a_transaction_keeps_nothing_of_it(server: PostgresServer) -> None:
    server.execute("CREATE DATABASE hub")
    database = open_database(server.address("hub"))
    with pytest.raises(StateUnusable, match="cannot be used"), database.write() as connection:
        connection.execute(marks.insert().values(name="a", value=""))
        server.stop()
    server.start()
    assert names(database) == []
    database.close()


def test_a_writer_that_waited_too_long_says_that_another_is_writing(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(dialects._SERVER_SETTINGS, "lock_timeout", "50ms")
    database = open_database(postgres)
    refused: list[StateUnusable] = []

    def second() -> None:
        try:
            write(database, "second")
        except StateUnusable as error:
            refused.append(error)

    with database.write() as connection:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        connection.execute(marks.insert().values(name="first", value=""))
    assert [error.code for error in refused] == ["database_busy"]
    assert names(database) == ["first"]
    database.close()


def test_a_full_disk_is_said_and_leaves_nothing_half_done(server: PostgresServer) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    disk = server.directory / "small"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m,uid=65534,mode=700", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount")
    try:
        server.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        server.execute("CREATE DATABASE hub TABLESPACE small")
        database = open_database(server.address("hub"))
        record = Record(database)
        back_up(record, 1, 1)
        with pytest.raises(StateUnusable, match="cannot be written: the disk is full") as raised:
            for number in range(100):
                fill(database, number)
        assert raised.value.code == "state_full"
        with database.read() as connection:
            rows = connection.execute(sa.select(sa.func.count()).select_from(marks)).scalar()
        assert rows == number * 10
        assert len(record.list_runs()) == 1
        database.close()
    finally:
        server.stop()
        subprocess.run(["umount", "-l", disk], check=True)


def fill(database: Database, number: int) -> None:
    """Ten rows of 100 kB that do not compress, in one transaction."""
    with database.write() as connection:
        for part in range(10):
            text = os.urandom(50_000).hex()
            connection.execute(marks.insert().values(name=f"{number}.{part}", value=text))


def test_the_server_is_gone_when_the_tests_are() -> None:
    with PostgresServer() as server:
        pid, directory = server.pid, server.directory
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()
    assert not directory.exists()
