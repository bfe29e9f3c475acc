"""A database, from its own dump to the same rows again; and what a dump that does not come to its end leaves behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from journeys.station import Going, Station, of_process, until
from testbed.postgres import PASSWORD, PostgresServer
from testbed.shop import Shop, open_shop

MEGABYTE = 1 << 20


@pytest.fixture
def shop(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Shop]:
    """One on the server that other tests use, too."""
    opened = open_shop(postgres_server, tmp_path)
    yield opened
    postgres_server.drop(opened.name)


def test_what_was_in_a_database_is_in_it_again_after_it_was_lost(each_station: Station, shop: Shop) -> None:
    station = each_station
    station.add_job(sources=[shop.source])
    station.back_up()
    rows = shop.read()
    assert "Žofie" in rows

    shop.lose()
    target = station.folder / "back"
    station.ask("restore", "docs", "-t", target)
    shop.psql("--file", str(target / "shop.sql"))
    assert shop.read() == rows

    shop.lose()
    [made] = station.ask("snapshots").json
    dumped = station.call("dump", made["id"], "/shop.sql")
    shop.psql(script=dumped.stdout)
    assert shop.read() == rows


def test_a_wrong_password_saves_nothing_and_is_told_in_the_words_of_pg_dump(
    station: Station, shop: Shop
) -> None:
    wrong = "canary-wrong-password"
    shop.password_file.write_text(wrong)
    station.add_job(sources=[shop.source])
    answer = station.back_up(status=1)
    reason = answer.json["runs"][0]["reason"]
    assert reason["code"] == "command_failed"
    assert "shop.sql ended with exit status 1" in reason["message"]
    assert "password authentication failed" in reason["message"]
    assert station.snapshots() == []
    log = station.call("logs", answer.json["runs"][0]["id"]).text
    assert "password authentication failed" in log
    assert wrong not in log + answer.text + answer.stderr
    assert holding(station, wrong) == []


def test_a_password_is_nowhere_but_in_the_environment_of_its_command(station: Station, shop: Shop) -> None:
    seen = station.folder / "seen"
    tell = f"tr '\\0' ' ' < /proc/$$/cmdline > {seen}; echo password $PGPASSWORD >&2; exec pg_dump"
    station.add_job(sources=[{**shop.source, "run": tell}])
    answer = station.back_up()
    assert PASSWORD not in seen.read_text()
    log = station.call("logs", answer.json["runs"][0]["id"]).text
    assert "password ***" in log
    assert holding(station, PASSWORD) == []


def holding(station: Station, secret: str) -> list[Path]:
    """The files of the state in which a secret stands."""
    files = (path for path in station.state.rglob("*") if path.is_file())
    return [path for path in files if secret.encode() in path.read_bytes()]


def test_a_secret_that_is_not_there_is_told_beforehand(station: Station) -> None:
    lost = station.nowhere / "password"
    source = {"run": "pg_dump", "name": "shop.sql", "environment": {"PGPASSWORD": {"file": str(lost)}}}
    station.add_job(sources=[source])
    [problem] = station.call("--json", "validate").error["problems"]
    assert problem["at"] == "jobs.docs.sources[0].environment.PGPASSWORD"
    assert f"the secret file {lost} cannot be read" in problem["message"]


def test_a_secret_that_is_not_there_is_why_nothing_was_saved(station: Station, shop: Shop) -> None:
    station.add_job(sources=[shop.source, str(station.source)])
    shop.password_file.unlink()
    answer = station.back_up(status=1)
    assert [step["outcome"] for step in answer.json["runs"][0]["steps"]] == ["failure", "success"]
    assert f"{shop.password_file} cannot be read" in answer.json["runs"][0]["reason"]["message"]


# --- large ones ----------------------------------------------------------------------------------


def test_a_server_that_stops_in_the_middle_leaves_no_snapshot(station: Station, tmp_path: Path) -> None:
    with PostgresServer() as server:
        shop = open_shop(server, tmp_path)
        many = "SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 32768 + n % 1)"  # for each row anew
        shop.execute(f"INSERT INTO customers (name) SELECT ({many}) FROM generate_series(1, 30) AS n")
        station.add_job(sources=[shop.source], limit_upload=400)
        going = station.start("--json", "run")
        until(lambda: is_copying(server), otherwise=lambda: going.stderr)
        server.stop()
        answer = going.end()
    assert answer.status == 1
    reason = answer.json["runs"][0]["reason"]
    assert reason["code"] == "command_failed"
    assert "pg_dump: error: " in reason["message"], "what it says first is what happened"
    assert "server closed the connection" in reason["message"]
    assert station.snapshots() == []


def is_copying(server: PostgresServer) -> bool:
    """Whether pg_dump is at the rows of a table."""
    with psycopg.connect(server.address()) as connection:
        asked = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'pg_dump' AND query LIKE 'COPY%'"
        return connection.execute(asked).fetchone() is not None


def test_a_large_dump_takes_little_memory_of_ours(station: Station, shop: Shop) -> None:
    """Two hundred megabytes pass through; what lies in memory at any time is a part of that."""
    size = 200 * MEGABYTE
    shop.execute(
        f"INSERT INTO customers (name) SELECT repeat(md5(n::text), {MEGABYTE // 32}) FROM generate_series(1, 200) AS n"
    )
    station.add_job(sources=[shop.source])
    going = station.start("--json", "run")
    highest = peak_of(going)
    answer = going.end()
    assert answer.status == 0, answer
    assert answer.step["bytes_processed"] > size
    assert highest < size, (
        "with all of it in memory it would be more than that, for the program takes some as well"
    )


def peak_of(going: Going) -> int:
    """The most memory that a process ever held, in bytes."""
    highest = 0
    while going.process.poll() is None:
        told = of_process(going.pid, "status").partition(b"VmHWM:")[2].split()[:1]
        highest = max(highest, int(told[0]) * 1024 if told else 0)
        time.sleep(0.02)
    return highest
