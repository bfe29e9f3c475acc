"""One hub serves a database; a second is refused or stays passive, until the first is gone, however it went."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from highball.errors import Conflict, StateUnusable
from highball.hub.storage.database import open_database
from highball.hub.storage.leader_lock import (
    Holder,
    _name_of_ours,
    _read_name,
    lease_on,
    refuse_if_served,
)
from highball.process.file_lock import FileLock
from testbed.postgres import PostgresServer
from testbed.together import at_once

ADDRESS = "http://127.0.0.1:8080"

HOLD = """
import sys
from pathlib import Path
from highball.hub.storage.leader_lock import lease_on
where = sys.argv[1]
lease = lease_on(where if "://" in where else Path(where))
assert lease.take(sys.argv[2])
print("serving", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_hub(where: Path | str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the lease."""
    argv = [sys.executable, "-c", HOLD, str(where), ADDRESS]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"serving\n"
        yield child
        child.kill()


def test_a_second_hub_is_passive_and_knows_who_serves(database_place: Path | str) -> None:
    lease = lease_on(database_place)
    assert lease.find_holder() is None
    with another_hub(database_place) as other:
        assert not lease.take()
        assert not lease.holds()
        holder = lease.find_holder()
        assert holder is not None
        assert (holder.process, holder.address) == (other.pid, ADDRESS)
        assert str(other.pid) in str(holder)
        assert ADDRESS in str(holder)
    lease.release()


def test_the_lease_of_a_hub_that_was_killed_is_free(database_place: Path | str) -> None:
    lease = lease_on(database_place)
    with another_hub(database_place) as other:
        other.kill()
        other.wait()
        assert lease.take(ADDRESS)
        assert lease.holds()
    lease.release()


def test_what_was_taken_is_held_until_it_is_given_back(database_place: Path | str) -> None:
    first, second = lease_on(database_place), lease_on(database_place)
    assert first.take(ADDRESS)
    assert first.take(ADDRESS)
    assert not second.take()
    first.release()
    first.release()
    assert not first.holds()
    assert second.find_holder() is None
    assert second.take()
    assert second.find_holder() is not None
    assert not first.take()
    second.release()


def test_of_many_that_try_at_once_one_gets_it(database_place: Path | str) -> None:
    taken = []

    def trying() -> None:
        lease = lease_on(database_place)
        taken.append((lease.take(), lease))

    assert at_once(trying, times=8) == []
    assert sorted(got for got, _ in taken) == [False] * 7 + [True]
    for _, lease in taken:
        lease.release()


def test_asking_who_serves_keeps_nobody_from_serving(database_place: Path | str) -> None:
    lease = lease_on(database_place)

    def ask_and_let_go() -> None:
        for _ in range(5):
            refuse_if_served(database_place)

    assert at_once(ask_and_let_go, times=3) == []
    assert lease.take()
    lease.release()


def test_a_command_on_a_served_database_is_told_whom_to_ask(database_place: Path | str) -> None:
    refuse_if_served(database_place)
    with another_hub(database_place), pytest.raises(Conflict, match="a hub serves this database") as raised:
        refuse_if_served(database_place)
    assert raised.value.code == "hub_is_serving"
    assert raised.value.hint == f"use --hub {ADDRESS}"


def test_a_lease_needs_no_tables_of_ours(empty_postgres: str, tmp_path: Path) -> None:
    for where in (empty_postgres, tmp_path / "none.db"):
        lease = lease_on(where)
        assert lease.take()
        assert lease.holds()
        lease.release()


def test_the_lease_holds_up_no_writer(database_place: Path | str) -> None:
    lease = lease_on(database_place)
    assert lease.take()
    database = open_database(database_place)
    with database.write():
        assert lease.holds()
    database.close()
    lease.release()


def test_two_databases_of_one_server_have_each_a_lease(postgres: str, empty_postgres: str) -> None:
    one, other = lease_on(postgres), lease_on(empty_postgres)
    assert one.take()
    assert other.find_holder() is None
    assert other.take()
    one.release()
    other.release()


def test_a_database_in_memory_is_ours_alone() -> None:
    one, other = lease_on(None), lease_on(None)
    assert one.take()
    assert one.holds()
    assert other.take()
    refuse_if_served(None)
    one.release()


# --- how it is lost ------------------------------------------------------------------------------


def test_a_lost_connection_is_a_lost_lease_which_may_be_taken_again(postgres_server: PostgresServer) -> None:
    name = postgres_server.create()
    address = postgres_server.address(name)
    lease = lease_on(address)
    assert lease.take()
    postgres_server.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    )
    other = lease_on(address)
    assert other.take()
    assert not lease.holds()
    assert not lease.take()
    other.release()
    assert lease.take()
    lease.release()
    postgres_server.drop(name)


def test_while_the_server_is_away_nobody_serves() -> None:
    with PostgresServer() as server:
        lease = lease_on(server.address())
        assert lease.take()
        server.stop()
        assert not lease.holds()
        with pytest.raises(StateUnusable, match="cannot be used"):
            lease.take()
        server.start()
        assert lease.take()
        assert lease.holds()
        lease.release()


def test_a_lock_file_that_was_removed_is_no_lease_any_more(tmp_path: Path) -> None:
    path = tmp_path / "highball.db"
    lease, other = lease_on(path), lease_on(path)
    assert lease.take()
    (tmp_path / "highball.db.lock").unlink()
    assert other.take()
    assert not lease.holds()
    assert not lease.take()
    other.release()


def test_a_link_to_the_database_is_the_same_database(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    lease = lease_on(tmp_path / "highball.db")
    assert lease.take()
    assert not lease_on(tmp_path / "link" / "highball.db").take()
    lease.release()


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StateUnusable, match="no lock can be taken beside"):
        lease_on(tmp_path / "no" / "highball.db").take()
    assert lease_on(tmp_path / "no" / "highball.db").find_holder() is None


# --- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [None, ADDRESS])
def test_what_a_connection_calls_itself_is_read_back(address: str | None) -> None:
    holder = _read_name(_name_of_ours(address, lambda: "alpha"))
    assert holder == Holder(os.getpid(), "alpha", address)


def test_another_name_of_a_connection_is_nobody_known() -> None:
    assert _read_name("highball") == Holder(None, None, None)
    assert str(_read_name("highball")) == "an unknown process"
    long = _name_of_ours("http://" + "long." * 20 + "example", lambda: "alpha")
    assert len(long) == 63
    assert _read_name(long).address is None


def test_a_lock_says_what_its_holder_wants_known(tmp_path: Path) -> None:
    lock, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert not lock.is_taken
    assert not lock.is_ours
    assert lock.take("here\nand there")
    assert other.is_taken
    assert not other.is_ours
    assert (other.holder(), other.note()) == (os.getpid(), "here\nand there")
    lock.release()
    assert not other.is_taken
    assert other.take()
    assert other.note() == ""
    other.release()
