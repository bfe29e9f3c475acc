"""What the vault keeps: bound to its place, shown to nobody, never overwritten when it does not open."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from highball.config.repository import Repository
from highball.errors import HighballError, Misuse, StateUnusable, Unknown
from highball.hub.secrets import vault as room
from highball.hub.secrets.vault import (
    HubKey,
    Vault,
    find_key_file,
    make_key,
    open_vault,
    read_key,
)
from highball.hub.storage import schema
from highball.hub.storage.database import Database, open_database
from highball.secret import LARGEST_BYTES, SecretValue
from vault.conftest import ANNA, NOW

HIDDEN = "correct-horse-canary"
SECRET = SecretValue(HIDDEN.encode())


def content_of(database: Database, place: str) -> bytes:
    with database.read() as connection:
        found = connection.execute(
            sa.select(schema.vault.c.content).where(schema.vault.c.place == place)
        ).scalar_one()
    return bytes(found)


def put(database: Database, place: str, content: bytes) -> None:
    with database.write() as connection:
        connection.execute(schema.vault.update().where(schema.vault.c.place == place).values(content=content))


def everything_in(database: Database) -> str:
    with database.read() as connection:
        return repr([connection.execute(sa.select(table)).all() for table in schema.metadata.tables.values()])


def everything_told(error: BaseException) -> str:
    return f"{error!r} {error.args} {getattr(error, 'hint', '')} {error.__cause__!r} {error.__context__!r}"


# --- sealing and opening ------------------------------------------------------------------------------


def test_what_is_sealed_opens_again_and_tells_only_since_when_and_by_whom(vault: Vault) -> None:
    place = vault.find_place("nas", "password")
    sealed = vault.seal(place, SECRET, ANNA, NOW)
    assert vault.open(place) == SECRET
    assert vault.find(place) == sealed
    assert (sealed.slot, sealed.set_at, sealed.set_by) == ("password", NOW, "anna")
    assert HIDDEN not in repr(sealed)


def test_neither_value_nor_key_is_in_the_database_or_shows_when_printed(
    vault: Vault, database: Database, key_file: Path
) -> None:
    vault.seal(vault.find_place("nas", "password"), SECRET, ANNA, NOW)
    key = read_key(key_file)
    assert key is not None
    for hidden in (HIDDEN, key.value.hex(), repr(key.value)[2:-1]):
        assert hidden not in everything_in(database)
        assert hidden not in repr(key)


def test_the_same_value_sealed_twice_looks_different(vault: Vault, database: Database) -> None:
    places = [vault.find_place("nas", slot) for slot in ("password", "admin", "password")]
    seen = set()
    for place in places:
        vault.seal(place, SECRET, ANNA, NOW)
        seen.add(content_of(database, place)[-(len(HIDDEN) + 16) :])
    assert len(seen) == 3


def test_a_value_set_again_takes_the_place_of_the_one_before(vault: Vault) -> None:
    place = vault.find_place("nas", "admin")
    vault.seal(place, SECRET, ANNA, NOW)
    vault.seal(place, SecretValue(b"another\r\n"), replace(ANNA, name="bert"), NOW + timedelta(days=1))
    assert vault.open(place).reveal() == b"another"
    assert [(one.set_by, one.set_at) for one in vault.list_places()] == [("bert", NOW + timedelta(days=1))]


def test_the_admin_slot_is_apart_from_the_everyday_one(vault: Vault) -> None:
    everyday, admin = (vault.find_place("nas", slot) for slot in ("password", "admin"))
    vault.seal(admin, SECRET, ANNA, NOW)
    assert vault.find(everyday) is None
    with pytest.raises(Unknown) as raised:
        vault.open(everyday)
    assert raised.value.code == "secret_unset"
    vault.seal(everyday, SecretValue(b"everyday"), ANNA, NOW)
    assert vault.remove(everyday, ANNA, NOW)
    assert vault.open(admin) == SECRET


def test_removing_is_idempotent_and_written_down_once(vault: Vault, database: Database) -> None:
    place = vault.find_place("nas", "password")
    vault.seal(place, SECRET, ANNA, NOW)
    assert vault.remove(place, ANNA, NOW)
    assert not vault.remove(place, ANNA, NOW)
    with database.read() as connection:
        of_secrets = schema.audit.c.action.in_(["sealed", "unsealed"])
        rows = connection.execute(sa.select(schema.audit).where(of_secrets)).all()
    assert sorted((row.action, row.kind, row.key, row.actor, row.address) for row in rows) == [
        ("sealed", "repository", "nas", "anna", "192.0.2.7"),
        ("unsealed", "repository", "nas", "anna", "192.0.2.7"),
    ]
    assert all(row.after == {"secret": "password"} for row in rows)


@pytest.mark.parametrize(
    ("value", "why"), [(b"", "empty"), (b"\n", "empty"), (b"x" * (LARGEST_BYTES + 1), "larger than 60 KiB")]
)
def test_what_is_no_secret_is_refused(vault: Vault, value: bytes, why: str) -> None:
    with pytest.raises(Misuse, match=why):
        vault.seal(vault.find_place("nas", "password"), SecretValue(value), ANNA, NOW)


@pytest.mark.parametrize("slot", ["", "a:b", "../x", "user", "x" * 121, "a b"])
def test_a_place_is_a_repository_s_and_nothing_else(vault: Vault, slot: str) -> None:
    if slot != "user":
        with pytest.raises(Misuse):
            vault.find_place("nas", slot)
    with pytest.raises(Misuse):
        vault.seal("user:anna:password", SECRET, ANNA, NOW)
    with pytest.raises(Misuse):
        vault.remove("user:anna:password", ANNA, NOW)
    with pytest.raises(Unknown):
        vault.find_place("none", "password")


# --- what a run is handed -----------------------------------------------------------------------------


def test_a_run_is_handed_what_it_needs_and_the_admin_s_only_where_it_may_delete(vault: Vault) -> None:
    for slot in ("password", "admin"):
        vault.seal(vault.find_place("nas", slot), SecretValue(slot.encode()), ANNA, NOW)
    vault.seal(vault.find_place("b2", "password"), SecretValue(b"of another"), ANNA, NOW)
    id = vault.find_place("nas", "password").split(":")[1]
    stored = {"url": "/srv/nas", "password": {"sealed": True}, "admin": {"password": {"sealed": True}}}
    nas = Repository.model_validate(stored)
    everyday = vault.open_for(nas, id, admin=False)
    assert {place.rpartition(":")[2]: v.reveal() for place, v in everyday.items()} == {
        "password": b"password"
    }
    both = vault.open_for(nas, id, admin=True)
    assert {place.rpartition(":")[2]: v.reveal() for place, v in both.items()} == {
        "password": b"password",
        "admin": b"admin",
    }
    assert "password'" not in repr(list(both.values()))


# --- what does not open -------------------------------------------------------------------------------

_KEY = HubKey(Path("/etc/highball/hub.key"), bytes(range(32)))
_SEALS = Vault(open_database(None), _KEY)
_PLACES = st.sampled_from(
    [f"repository:{n:036x}:{slot}" for n in range(3) for slot in ("password", "admin", "admin.rest_password")]
)


@given(place=_PLACES, value=st.binary(max_size=200))
def test_whatever_is_sealed_opens_in_its_place(place: str, value: bytes) -> None:
    assert _SEALS._unseal(place, _SEALS._seal(place, value)) == value


@given(place=_PLACES, other=_PLACES, value=st.binary(max_size=50), key=st.binary(min_size=32, max_size=32))
def test_nothing_opens_in_another_place_or_with_another_key(
    place: str, other: str, value: bytes, key: bytes
) -> None:
    sealed = _SEALS._seal(place, value)
    if other != place:
        with pytest.raises(StateUnusable):
            _SEALS._unseal(other, sealed)
    if key != _KEY.value:
        with pytest.raises(StateUnusable):
            Vault(open_database(None), HubKey(_KEY.path, key))._unseal(place, sealed)


@given(value=st.binary(max_size=40), data=st.data())
def test_no_flipped_bit_and_no_cut_ever_opens(value: bytes, data: st.DataObject) -> None:
    place = f"repository:{1:036x}:password"
    sealed = bytearray(_SEALS._seal(place, value))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    cut = data.draw(st.integers(0, len(sealed) - 1))
    for spoilt in (sealed[:cut], sealed + b"\0"):
        with pytest.raises(StateUnusable):
            _SEALS._unseal(place, bytes(spoilt))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(StateUnusable) as raised:
        _SEALS._unseal(place, bytes(sealed))
    assert raised.value.code == "vault_sealed_otherwise"
    assert str(_KEY.path) in raised.value.message
    assert _KEY.value.hex() not in everything_told(raised.value)


SPOILS: list[Callable[[bytes], bytes]] = [
    lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    lambda _: b"",
    lambda _: b"no sealed value at all, whatever it may be",
]


@pytest.mark.parametrize("spoil", SPOILS)
def test_what_does_not_open_is_an_error_and_stays_as_it_is(
    vault: Vault, database: Database, spoil: Callable[[bytes], bytes]
) -> None:
    place = vault.find_place("nas", "password")
    vault.seal(place, SECRET, ANNA, NOW)
    spoilt = spoil(content_of(database, place))
    put(database, place, spoilt)
    for attempt in (
        lambda: vault.open(place),
        lambda: vault.seal(place, SECRET, ANNA, NOW),
        vault.check,
        lambda: vault.rekey(ANNA, NOW),
    ):
        with pytest.raises(StateUnusable) as raised:
            attempt()
        assert raised.value.code == "vault_sealed_otherwise"
        assert HIDDEN not in everything_told(raised.value)
    assert content_of(database, place) == spoilt
    assert vault.remove(place, ANNA, NOW), "removing it is the way out"
    vault.seal(place, SECRET, ANNA, NOW)
    assert vault.open(place) == SECRET


def test_a_row_that_was_moved_to_another_place_does_not_open(vault: Vault, database: Database) -> None:
    nas, b2 = (vault.find_place(key, "password") for key in ("nas", "b2"))
    vault.seal(nas, SECRET, ANNA, NOW)
    vault.seal(b2, SecretValue(b"of b2"), ANNA, NOW)
    put(database, b2, content_of(database, nas))
    with pytest.raises(StateUnusable, match="was sealed for another place"):
        vault.open(b2)


# --- the key ------------------------------------------------------------------------------------------


def test_the_key_is_made_at_first_use_for_its_owner_only_and_found_again(
    vault: Vault, database: Database, key_file: Path
) -> None:
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(key_file.parent) == ["hub.key"]
    made = key_file.read_bytes()
    vault.seal(vault.find_place("nas", "password"), SECRET, ANNA, NOW)
    again = open_vault(database, key_file)
    assert again.open(again.find_place("nas", "password")) == SECRET
    assert key_file.read_bytes() == made


def test_a_key_that_another_process_made_meanwhile_is_taken_not_overwritten(key_file: Path) -> None:
    assert make_key(key_file) == make_key(key_file)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_key_that_others_may_read_is_refused(key_file: Path, database: Database, mode: int) -> None:
    make_key(key_file)
    key_file.chmod(mode)
    with pytest.raises(StateUnusable) as raised:
        open_vault(database, key_file)
    assert raised.value.code == "key_open_to_others"
    assert f"chmod 600 {key_file}" in (raised.value.hint or "")


@pytest.mark.parametrize("content", [b"", b"short", b"zz" * 32, b"\xff" * 64, b"00" * 31])
def test_a_file_that_is_no_key_is_refused_and_kept(
    key_file: Path, database: Database, content: bytes
) -> None:
    key_file.parent.mkdir()
    key_file.write_bytes(content)
    key_file.chmod(0o600)
    with pytest.raises(StateUnusable, match="contains no hub key"):
        open_vault(database, key_file)
    assert key_file.read_bytes() == content


def test_a_missing_key_is_not_made_anew_where_something_is_sealed(
    vault: Vault, database: Database, key_file: Path
) -> None:
    vault.seal(vault.find_place("nas", "password"), SECRET, ANNA, NOW)
    key_file.unlink()
    with pytest.raises(StateUnusable, match="is missing, and secrets are sealed with it") as raised:
        open_vault(database, key_file)
    assert raised.value.code == "key_missing"
    assert not key_file.exists()


def test_another_key_opens_no_vault_and_says_which_file_it_is(
    vault: Vault, database: Database, key_file: Path
) -> None:
    vault.seal(vault.find_place("nas", "password"), SECRET, ANNA, NOW)
    key_file.unlink()
    make_key(key_file)
    with pytest.raises(StateUnusable) as raised:
        open_vault(database, key_file)
    assert raised.value.code == "vault_sealed_otherwise"
    assert str(key_file) in raised.value.message


def test_where_the_key_lies(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    told = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert find_key_file(tmp_path, {}) == tmp_path / "hub.key"
    assert find_key_file(tmp_path, told) == tmp_path / "hub.key", "no credential was given"
    make_key(credentials / "hub.key")
    assert find_key_file(tmp_path, told) == credentials / "hub.key"
    assert find_key_file(tmp_path, told | {"HIGHBALL_KEY_FILE": "/else/where"}) == Path("/else/where")


def test_a_systemd_credential_shows_an_access_list_as_the_group_s_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_key(tmp_path / "hub.key")
    (tmp_path / "hub.key").chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_key(tmp_path / "hub.key") is not None


# --- a new key ----------------------------------------------------------------------------------------


@pytest.fixture
def filled(vault: Vault) -> Vault:
    """A vault with two secrets in it."""
    for key in ("nas", "b2"):
        vault.seal(vault.find_place(key, "password"), SecretValue(key.encode()), ANNA, NOW)
    return vault


def opens(vault: Vault) -> list[bytes]:
    return [vault.open(vault.find_place(key, "password")).reveal() for key in ("nas", "b2")]


def test_a_new_key_seals_everything_anew_and_keeps_the_old_key_apart(
    filled: Vault, database: Database, key_file: Path
) -> None:
    before = key_file.read_bytes()
    kept = filled.rekey(ANNA, NOW)
    assert kept.read_bytes() == before != key_file.read_bytes()
    assert opens(filled) == opens(open_vault(database, key_file)) == [b"nas", b"b2"]
    assert {path.stat().st_mode & 0o777 for path in key_file.parent.iterdir()} == {0o600}
    assert len(list(key_file.parent.iterdir())) == 2
    assert "rekeyed" in everything_in(database)


def test_a_process_that_still_holds_the_old_key_seals_nothing_with_it(
    filled: Vault, database: Database, key_file: Path
) -> None:
    other = open_vault(database, key_file)
    filled.rekey(ANNA, NOW)
    with pytest.raises(StateUnusable) as raised:
        other.seal(filled.find_place("nas", "admin"), SECRET, ANNA, NOW)
    assert raised.value.code == "vault_sealed_otherwise"
    assert opens(filled) == [b"nas", b"b2"]


def test_a_crash_before_the_rows_were_sealed_anew_leaves_the_old_key(
    filled: Vault, database: Database, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key_file.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(room, "write_down", crash)
        with pytest.raises(Crash):
            filled.rekey(ANNA, NOW)
    assert opens(open_vault(database, key_file)) == [b"nas", b"b2"]
    assert key_file.read_bytes() == before
    assert os.listdir(key_file.parent) == ["hub.key"]


def test_a_crash_after_the_rows_were_sealed_anew_is_finished_at_the_next_start(
    filled: Vault, database: Database, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key_file.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(room, "_put_in_place", crash)
        with pytest.raises(Crash):
            filled.rekey(ANNA, NOW)
    assert key_file.read_bytes() == before
    assert opens(open_vault(database, key_file)) == [b"nas", b"b2"]
    assert key_file.read_bytes() != before


class Crash(Exception):
    """The process ended here."""


def crash(*_: object, **__: object) -> None:
    raise Crash


def test_every_error_of_the_vault_is_one_of_ours(vault: Vault) -> None:
    with pytest.raises(HighballError) as raised:
        vault.open(vault.find_place("nas", "password"))
    assert raised.value.hint
