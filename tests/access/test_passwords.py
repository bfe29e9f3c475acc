"""Passwords: which are good enough, what is kept of them, and how often they may be guessed."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher, extract_parameters
from hypothesis import given
from hypothesis import strategies as st

from access.conftest import NOW, secret
from highball.errors import ConfigurationInvalid, Throttled
from highball.hub.auth import passwords, rate_limit
from highball.hub.storage.database import Database, open_database
from highball.hub.storage.schema import throttles

# --- passwords ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["four words in a row", "ääääääääää", "1111111111", "x" * 1024, " " * 10])
def test_length_is_all_that_is_asked_of_a_password(text: str) -> None:
    passwords.check_password(secret(text), "anna")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "fewer than 10"),
        ("123456789", "fewer than 10"),
        ("anna-the-admin", "own name"),
        ("Anna-The-ADMIN ", "own name"),
        ("x" * 1025, "longer"),
    ],
)
def test_a_password_that_is_too_short_or_the_name_is_refused_without_showing_it(text: str, why: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=why) as raised:
        passwords.check_password(secret(text), "anna-the-admin")
    assert raised.value.code == "password_refused"
    assert [one.at for one in raised.value.problems] == ["password"]
    if text:
        assert text not in str(raised.value.problems) + str(raised.value.hint)


def test_what_is_kept_is_argon2id_with_the_effort_of_the_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real effort
    kept = passwords.hash_password(secret("four words in a row"))
    assert kept.startswith(b"$argon2id$")
    effort = extract_parameters(kept.decode())
    assert (effort.memory_cost, effort.time_cost) >= (64 * 1024, 3)
    assert passwords.is_right(secret("four words in a row"), kept)
    assert not passwords.is_right(secret("four words in a raw"), kept)
    assert not passwords.is_outdated(kept)


@given(st.text(max_size=40), st.text(max_size=40))
def test_only_the_same_password_is_right(one: str, other: str) -> None:
    kept = passwords.hash_password(secret(one))
    assert passwords.is_right(secret(one), kept)
    assert passwords.is_right(secret(other), kept) == (
        passwords._text(secret(one)) == passwords._text(secret(other))
    )


def test_the_same_letter_composed_otherwise_is_the_same_password() -> None:
    assert passwords.is_right(
        secret("scho\u0308ne gru\u0308\u00dfe"), passwords.hash_password(secret("schöne grüße"))
    )


def test_nobody_has_no_password_at_all() -> None:
    for guess in ("", "nobody's password", "x"):
        assert not passwords.is_right(secret(guess), None)
    assert not passwords.is_right(secret("x"), b"no hash at all")


def test_an_account_that_does_not_exist_costs_as_much_work_as_one_that_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verified = []
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)

    class Counting:
        def __getattr__(self, name: str) -> object:
            return getattr(hasher, name)

        def verify(self, kept: str, text: str) -> bool:
            verified.append(extract_parameters(kept))
            return hasher.verify(kept, text)

    kept = passwords.hash_password(secret("four words in a row"))
    monkeypatch.setattr(passwords, "_HASHER", Counting())
    passwords.is_right(secret("wrong"), kept)
    passwords.is_right(secret("wrong"), None)
    passwords.is_right(secret("x" * 5000), None)
    assert len(verified) == 3
    assert verified[0] == verified[1] == verified[2]


# --- throttling ---------------------------------------------------------------------------------------


def attempt(database: Database, now: datetime, *subjects: str) -> int:
    """Seconds to wait before the next attempt; 0 where this one may be judged."""
    try:
        with database.write() as connection:
            rate_limit.charge(connection, subjects, now)
    except Throttled as error:
        return int(error.wait_for.total_seconds())
    return 0


@pytest.fixture
def database() -> Database:
    """Nothing was tried yet."""
    return open_database(None)


def test_five_failures_are_free_and_then_each_doubles_the_wait_up_to_a_quarter_of_an_hour(
    database: Database,
) -> None:
    now = NOW
    assert [attempt(database, now, "a") for _ in range(5)] == [0] * 5
    waits = []
    for _ in range(13):
        assert attempt(database, now, "a") == 0
        with database.read() as connection:
            until = connection.execute(sa.select(throttles.c.blocked_until)).scalar_one()
        assert attempt(database, now, "a") > 0, "at once it has to wait"
        assert attempt(database, until - timedelta(milliseconds=1), "a") > 0
        waits.append((until - now).total_seconds())
        now = until
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]


def test_one_account_s_failures_do_not_stop_another_s(database: Database) -> None:
    for _ in range(6):
        attempt(database, NOW, "a")
    assert attempt(database, NOW, "a") > 0
    assert attempt(database, NOW, "b") == 0


def test_where_one_of_two_has_to_wait_nothing_is_counted(database: Database) -> None:
    for _ in range(6):
        attempt(database, NOW, "address")
    for _ in range(20):
        assert attempt(database, NOW, "account", "address") > 0
    with database.read() as connection:
        counted = connection.execute(sa.select(throttles.c.subject, throttles.c.failures)).all()
    assert [tuple(row) for row in counted] == [("address", 6)]


def test_a_success_forgives_the_account_and_only_itself_to_the_address(database: Database) -> None:
    now = NOW
    for _ in range(4):
        attempt(database, now, "address")
    for _ in range(20):  # somebody who has an account here guesses another's between own log-ins
        now += timedelta(seconds=1)
        assert attempt(database, now, "account", "address") == 0
        with database.write() as connection:
            rate_limit.forgive(connection, "account")
            rate_limit.take_back(connection, ["address"])
    with database.read() as connection:
        failures = connection.execute(sa.select(throttles.c.failures)).scalars().all()
    assert failures == [4]


def test_after_a_day_all_is_forgotten(database: Database) -> None:
    for _ in range(6):
        attempt(database, NOW, "a")
    later = NOW + timedelta(days=1, seconds=1)
    assert [attempt(database, later, "a") for _ in range(5)] == [0] * 5
    with database.write() as connection:
        rate_limit.sweep(connection, later + timedelta(days=2))
        assert connection.execute(sa.select(throttles)).all() == []


def test_an_address_of_ipv6_counts_for_its_whole_network_and_names_are_never_kept() -> None:
    assert rate_limit.for_address("2001:db8::1") == rate_limit.for_address("2001:db8::ffff:1")
    assert rate_limit.for_address("2001:db8::1") != rate_limit.for_address("2001:db8:0:1::1")
    assert rate_limit.for_address("192.0.2.1") != rate_limit.for_address("192.0.2.2")
    assert rate_limit.for_address(None) == []
    assert "hunter2" not in rate_limit.for_account("hunter2-typed-here") + str(
        rate_limit.for_address("hunter2")
    )
    assert all(
        len(one) <= 200 for one in [rate_limit.for_account("x" * 9999), *rate_limit.for_address("x" * 9999)]
    )


def test_hashing_many_at_once_is_done_two_at_a_time() -> None:
    with passwords._AT_ONCE, passwords._AT_ONCE:
        assert not passwords._AT_ONCE.acquire(blocking=False)
