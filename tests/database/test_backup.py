"""The hub's copies of itself: whole, consistent, on either database, refused when damaged, and the way back."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from database.older import OLDEST, TOO_OLD, make_older
from highball.errors import Conflict, HighballError, StateUnusable, Unknown
from highball.hub.disaster import self_backup
from highball.hub.disaster.self_backup import (
    back_up,
    examine,
    get_newest_backup,
    list_backups,
    restore_backup,
)
from highball.hub.runs.record import Record
from highball.hub.storage import schema
from highball.hub.storage.database import Database, open_database
from highball.hub.storage.dialects import open_engine
from highball.hub.storage.leader_lock import lease_on
from highball.hub.storage.schema import (
    audit,
    marks,
    metadata,
    vault,
)
from record import stories

NOW = datetime(2026, 3, 1, 2, tzinfo=UTC)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory."""
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a copy is brought back to, with nothing there yet."""
    if request.param == "sqlite":
        return tmp_path / "back.db"
    address: str = request.getfixturevalue("empty_postgres")
    return address


def furnish(database: Database) -> None:
    """Something of everything: runs with events, objects, sealed values, JSON null and no JSON."""
    for number in range(1, 4):
        stories.back_up(Record(database), number, 2**40)
    told = {"actor": "anna", "at": NOW, "action": "changed"}
    with database.write() as connection:
        connection.execute(audit.insert().values(id="1", before=None, after=sa.JSON.NULL, **told))
        connection.execute(audit.insert().values(id="2", before={"ü": [None, 0.5, {}]}, message="é", **told))
        sealed = [
            {"place": f"{n}", "content": os.urandom(n), "changed_at": NOW, "actor": "x"} for n in range(300)
        ]
        connection.execute(vault.insert(), sealed)
        connection.execute(
            schema.pauses.insert().values(subject="backup:docs", since=NOW, actor="anna", reason="\U0001f9ea")
        )
        connection.execute(schema.throttles.insert().values(subject="login:anna", failures=3, last_at=NOW))
        connection.execute(
            schema.enrolments.insert().values(token="t", purpose="agent", expires_at=NOW, actor="anna")
        )


def contents(database: Database) -> dict[str, list[Any]]:
    """All that a copy has to hold."""
    with database.read() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(sa.select(table))), key=repr)
            for table in metadata.sorted_tables
            if table.name not in self_backup.LEFT_OUT
        }


def without_the_restoring(found: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The same without the line of the audit that a restore adds."""
    return found | {"audit": [row for row in found["audit"] if "restored" not in row]}


def test_a_copy_brings_everything_back_on_either_database(
    database: Database, state: Path, target: Path | str
) -> None:
    furnish(database)
    copy = back_up(database, state, NOW)
    restored = restore_backup(copy, target, NOW)
    back = open_database(target)
    assert without_the_restoring(contents(back)) == contents(database)
    assert restored.aside is None
    assert restored.manifest.rows["runs"] == 3
    assert restored.manifest.made_at == NOW
    with back.read() as connection:
        nothing = sa.select(audit.c.id).where(audit.c.before.is_(sa.null())).order_by(audit.c.id)
        assert "1" in connection.execute(nothing).scalars().all()
        no_value = sa.select(sa.func.count()).where(audit.c.after.is_(sa.null()), audit.c.id == "1")
        assert connection.execute(no_value).scalar() == 0
        told = connection.execute(sa.select(audit).where(audit.c.action == "restored")).one()
        assert told.message == "the hub's copy of 2026-03-01 02:00 UTC was restored"
    back.close()


def test_nobody_is_let_in_by_a_copy(database: Database, state: Path, tmp_path: Path) -> None:
    furnish(database)
    with database.write() as connection:
        row = {"token": "t", "id": "1", "user": "anna", "created_at": NOW, "seen_at": NOW, "expires_at": NOW}
        connection.execute(schema.sessions.insert().values(**row))
    restore_backup(back_up(database, state, NOW), tmp_path / "back.db", NOW)
    with open_database(tmp_path / "back.db").read() as connection:
        for table in (schema.sessions, schema.throttles, schema.enrolments, schema.idempotency):
            assert connection.execute(sa.select(table)).all() == []


def test_a_copy_is_of_one_moment_while_others_write(
    database: Database, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows_of = self_backup._rows_of

    def slowly(connection: sa.Connection, table: sa.Table) -> Iterator[list[Any]]:
        yield from rows_of(connection, table)
        with database.write() as other:  # a run that begins in the middle
            other.execute(marks.insert().values(name=table.name, value=""))
            row = {"place": table.name, "content": b"", "changed_at": NOW, "actor": "x"}
            other.execute(vault.insert().values(**row))

    monkeypatch.setattr(self_backup, "_rows_of", slowly)
    manifest = examine(back_up(database, state, NOW))
    assert set(manifest.rows.values()) == {0}


def test_seven_copies_are_kept_for_their_owners_eyes_only(database: Database, state: Path) -> None:
    made = [back_up(database, state, NOW + timedelta(days=day)) for day in range(9)]
    (state / "backups" / "mine.txt").write_text("not of Highball")
    assert list_backups(state) == made[:1:-1]
    assert get_newest_backup(state) == made[-1]
    assert {path.stat().st_mode & 0o777 for path in list_backups(state)} == {0o600}
    assert (state / "backups").stat().st_mode & 0o777 == 0o700
    assert len(os.listdir(state / "backups")) == 8


def test_the_same_data_makes_the_same_file(database: Database, state: Path) -> None:
    stories.back_up(Record(database), 1, 1)
    assert back_up(database, state, NOW).read_bytes() == back_up(database, state, NOW).read_bytes()


def test_without_a_copy_the_way_on_is_told(state: Path) -> None:
    with pytest.raises(Unknown, match="no backup of the hub") as raised:
        get_newest_backup(state)
    assert "rebuild" in (raised.value.hint or "")
    with pytest.raises(Unknown, match="there is no backup"):
        examine(state / "none")


# --- damaged -------------------------------------------------------------------------------------


@pytest.fixture
def copy(state: Path, tmp_path: Path) -> Path:
    """A copy of a furnished database."""
    database = open_database(tmp_path / "first.db")
    furnish(database)
    return back_up(database, state, NOW)


def repacked(path: Path, lines: list[bytes]) -> None:
    path.write_bytes(gzip.compress(b"".join(lines)))


def lines_of(path: Path) -> list[bytes]:
    return gzip.decompress(path.read_bytes()).splitlines(keepends=True)


def test_a_copy_that_was_cut_anywhere_is_refused(copy: Path) -> None:
    whole = copy.read_bytes()
    for length in (0, 1, 10, 30, len(whole) // 2, len(whole) - 1):
        copy.write_bytes(whole[:length])
        with pytest.raises(StateUnusable, match="is damaged") as raised:
            examine(copy)
        assert raised.value.code == "backup_damaged"


def test_a_copy_with_a_changed_byte_is_refused(copy: Path) -> None:
    whole = copy.read_bytes()
    for place in random.Random(1).sample(range(10, len(whole)), 40):  # the first ten hold nothing of ours
        copy.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(HighballError) as raised:
            examine(copy)
        assert raised.value.code == "backup_damaged", place


def test_missing_and_changed_lines_are_named(copy: Path) -> None:
    lines = lines_of(copy)
    at = next(n for n, line in enumerate(lines) if b'"table":"vault"' in line)
    repacked(copy, [*lines[: at + 1], *lines[at + 2 :]])
    with pytest.raises(StateUnusable, match="rows are missing") as raised:
        examine(copy)
    assert [str(problem) for problem in raised.value.problems] == ["vault: 299 rows of 300"]
    repacked(copy, [*lines[: at + 1], lines[at + 2], *lines[at + 2 :]])
    with pytest.raises(StateUnusable, match="not what was written"):
        examine(copy)
    repacked(copy, lines[:-1])
    with pytest.raises(StateUnusable, match="its end is missing"):
        examine(copy)
    repacked(copy, [b'{"something":"else"}\n'])
    with pytest.raises(StateUnusable, match="no backup of a hub"):
        examine(copy)
    repacked(copy, [lines[0], b"[1]\n"])
    with pytest.raises(StateUnusable, match="before any table"):
        examine(copy)
    repacked(copy, [lines[0], b"{}\n"])
    with pytest.raises(StateUnusable, match="means nothing"):
        examine(copy)
    repacked(copy, [lines[0], b"not JSON\n"])
    with pytest.raises(StateUnusable, match="cannot be read"):
        examine(copy)


Lines = list[bytes]


def _vault_at(lines: Lines) -> int:
    return next(n for n, line in enumerate(lines) if b'"table":"vault"' in line)


def _with_head(lines: Lines, **told: Any) -> Lines:
    return [json.dumps(json.loads(lines[0]) | told).encode() + b"\n", *lines[1:]]


def _with_row(lines: Lines, row: bytes) -> Lines:
    at = _vault_at(lines) + 1
    return [*lines[:at], row + b"\n", *lines[at + 1 :]]


def _with_columns(lines: Lines, columns: Any) -> Lines:
    at = _vault_at(lines)
    told = json.dumps({"table": "vault", "columns": columns}).encode() + b"\n"
    return [*lines[:at], told, *lines[at + 1 :]]


MALFORMED: dict[str, Callable[[Lines], Lines]] = {
    "columns that are none": lambda lines: _with_columns(lines, ["place", "content", "changed_at", "evil"]),
    "columns that are no list": lambda lines: _with_columns(lines, {"place": 1}),
    "columns that are no names": lambda lines: _with_columns(lines, [1, 2, 3, 4]),
    "an uneven row": lambda lines: _with_row(lines, b'["x"]'),
    "a cell of no kind": lambda lines: _with_row(lines, b'[{},{"b64":""},"x","x"]'),
    "a cell that is no base64": lambda lines: _with_row(lines, b'["x",{"b64":"?"},"x","x"]'),
    "a cell of two kinds": lambda lines: _with_row(lines, b'["x",{"b64":"","json":1},"x","x"]'),
    "a list in a cell": lambda lines: _with_row(lines, b'["x",[],"x","x"]'),
    "nothing where something must be": lambda lines: _with_row(lines, b'["x",null,"x","x"]'),
    "JSON where there is none": lambda lines: _with_row(lines, b'["x",{"json":{}},"x","x"]'),
    "a number larger than any": lambda lines: _with_row(lines, b'["x",' + b"9" * 400 + b',"x","x"]'),
    "no moment": lambda lines: _with_head(lines, made_at="yesterday"),
    "a moment of no zone": lambda lines: _with_head(lines, made_at="2026-03-01T02:00:00"),
    "a number for a moment": lambda lines: _with_head(lines, made_at=7),
    "a schema that is none": lambda lines: _with_head(lines, schema=[]),
    "a line that is text": lambda lines: [lines[0], b'"table"\n', *lines[1:]],
    "a line that is a number": lambda lines: [lines[0], b"7\n", *lines[1:]],
    "a line as deep as none": lambda lines: _with_row(lines, b"[" * 200_000 + b"]" * 200_000),
    "a table twice": lambda lines: [
        *lines[: _vault_at(lines)],
        lines[_vault_at(lines)],
        *lines[_vault_at(lines) :],
    ],
    "one endless line": lambda lines: [lines[0], b"[" + b" " * (self_backup.LONGEST_LINE + 1), *lines[1:]],
    "endless lines": lambda lines: [lines[0], *[b" " * 999_999 + b"[]\n"] * 70, *lines[1:]],
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_copy_is_damaged_whoever_made_its_sum(copy: Path, what: str, tmp_path: Path) -> None:
    changed = MALFORMED[what](lines_of(copy)[:-1])
    end = json.loads(lines_of(copy)[-1]) | {"sha256": hashlib.sha256(b"".join(changed)).hexdigest()}
    repacked(copy, [*changed, json.dumps(end).encode() + b"\n"])
    with pytest.raises(HighballError) as raised:
        restore_backup(copy, tmp_path / "back.db", NOW)
    assert raised.value.code == "backup_damaged", raised.value
    assert not (tmp_path / "back.db").exists()


def test_a_damaged_copy_changes_nothing(copy: Path, database_place: Path | str, database: Database) -> None:
    stories.back_up(Record(database), 9, 1)
    before = contents(database)
    copy.write_bytes(copy.read_bytes()[:-20])
    with pytest.raises(StateUnusable, match="is damaged"):
        restore_backup(copy, database_place, NOW)
    assert contents(database) == before


def test_a_copy_that_fails_in_the_middle_changes_nothing(
    copy: Path, database_place: Path | str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    stories.back_up(Record(database), 9, 1)
    before = contents(database)

    def fails(*_: object, **__: object) -> None:
        raise StateUnusable("no")

    monkeypatch.setattr(self_backup, "write_down", fails)  # the last thing that is done
    with pytest.raises(StateUnusable, match="no"):
        restore_backup(copy, database_place, NOW)
    assert contents(database) == before
    assert [name for name in os.listdir(copy.parent.parent) if "restoring" in name] == []


@pytest.mark.parametrize("head", [{"highball_backup": 2}, {"schema": "9999"}])
def test_a_copy_of_a_newer_program_is_refused(copy: Path, head: dict[str, Any], tmp_path: Path) -> None:
    lines = lines_of(copy)
    told = json.loads(lines[0]) | head
    changed = [json.dumps(told).encode() + b"\n", *lines[1:-1]]
    end = json.loads(lines[-1]) | {"sha256": __import__("hashlib").sha256(b"".join(changed)).hexdigest()}
    repacked(copy, [*changed, json.dumps(end).encode() + b"\n"])
    with pytest.raises(StateUnusable, match="a newer Highball wrote") as raised:
        restore_backup(copy, tmp_path / "back.db", NOW)
    assert raised.value.code == "database_newer"
    assert not (tmp_path / "back.db").exists()


# --- the place of another database ---------------------------------------------------------------


def test_the_former_database_is_moved_aside_whole(
    copy: Path, database_place: Path | str, database: Database
) -> None:
    stories.back_up(Record(database), 9, 1)
    with database.write() as connection:
        connection.execute(marks.insert().values(name="former", value="1"))
    if isinstance(database_place, Path):
        database_place.chmod(0o644)
    with database.read() as reading:  # somebody still has it open
        reading.execute(sa.select(marks)).all()
        if isinstance(database_place, Path):
            restored = restore_backup(copy, database_place, NOW)
    if isinstance(database_place, str):
        restored = restore_backup(copy, database_place, NOW)
    assert restored.aside is not None
    modes = {path.stat().st_mode & 0o777 for path in Path(restored.aside).parent.glob("*.aside-*")}
    again = open_database(database_place)
    assert len(Record(again).list_runs()) == 3
    if isinstance(database_place, Path):
        assert modes == {0o600}, "what was open to others is its owner's alone from here on"
        with open_database(Path(restored.aside)).read() as connection:
            assert connection.execute(sa.select(marks.c.name)).scalars().all() == ["former"]
    else:
        with again.read() as connection:
            schema = restored.aside.split()[2]
            asked = sa.text(f'select name from "{schema}".marks')
            assert connection.execute(asked).scalars().all() == ["former"]
    with again.write() as connection:
        connection.execute(marks.insert().values(name="new", value="1"))
    again.close()


def test_a_damaged_database_names_its_newest_copy_and_is_replaced_by_it(copy: Path, state: Path) -> None:
    path = state / "highball.db"
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4080)
    with pytest.raises(StateUnusable, match="is damaged") as raised:
        open_database(path)
    assert raised.value.hint == f"bring back its newest backup with: highball hub restore-backup {copy}"
    restored = restore_backup(copy, path, NOW)
    assert len(Record(open_database(path)).list_runs()) == 3
    assert Path(restored.aside or "").read_bytes().startswith(b"SQLite format 3\0\xff")
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_an_older_database_left_in_its_log_does_not_get_into_the_new_one(
    copy: Path, state: Path
) -> None:
    path = state / "highball.db"
    for beside in ("-wal", "-shm"):
        (state / f"highball.db{beside}").write_bytes(os.urandom(5000))
    assert restore_backup(copy, path, NOW).aside is None
    assert len(Record(open_database(path)).list_runs()) == 3


def test_while_a_hub_serves_nothing_is_restored(copy: Path, database_place: Path | str) -> None:
    lease = lease_on(database_place)
    assert lease.take("http://127.0.0.1:8080")
    with pytest.raises(Conflict) as raised:
        restore_backup(copy, database_place, NOW)
    assert raised.value.code == "hub_is_serving"
    assert "end the hub" in (raised.value.hint or ""), "over --hub there is no such command"
    lease.release()
    restore_backup(copy, database_place, NOW)
    assert lease.take()
    lease.release()


@pytest.fixture
def copy_of(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes a copy as an older program made it, of a revision."""

    def make(revision: str) -> Path:
        make_older(tmp_path / "old.db", revision)
        monkeypatch.setattr(self_backup, "REVISION", revision)
        copy = back_up(Database(open_engine(tmp_path / "old.db")), state, NOW)
        monkeypatch.undo()
        assert examine(copy).schema == revision
        return copy

    return make


def test_a_copy_of_an_older_program_is_brought_to_this_ones_schema(
    copy_of: Callable[[str], Path], target: Path | str
) -> None:
    restore_backup(copy_of(OLDEST), target, NOW)
    with open_database(target).read() as connection:
        [row] = connection.execute(sa.select(schema.objects)).all()
    assert (row.key, row.spec, len(row.id)) == ("docs", {"a": 1}, 36)


def test_a_copy_from_before_the_baseline_is_refused_and_nothing_is_made(
    copy_of: Callable[[str], Path], state: Path
) -> None:
    copy = copy_of(TOO_OLD[-1])
    with pytest.raises(StateUnusable, match=f"{copy.name} is too old for this Highball") as raised:
        restore_backup(copy, state / "back.db", NOW)
    assert raised.value.code == "database_too_old"
    assert not (state / "back.db").exists()


# --- a full disk ---------------------------------------------------------------------------------


@pytest.mark.needs("root")
def test_a_full_disk_keeps_the_older_copies_and_says_so(copy: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount")
    try:
        small = open_database(tmp_path / "small.db")
        kept = back_up(small, disk, NOW)
        with small.write() as connection:
            row = {"content": os.urandom(100_000), "changed_at": NOW, "actor": "x"}
            connection.execute(vault.insert().values(place="large", **row))
        with pytest.raises(StateUnusable, match="cannot be written: No space left") as raised:
            back_up(small, disk, NOW + timedelta(days=1))
        assert raised.value.code == "state_full"
        assert list_backups(disk) == [kept]
        assert os.listdir(kept.parent) == [kept.name]
        examine(kept)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
