"""Accounts: set up once, log in, be believed for a while, and be shut out at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher

from access.conftest import CLI, NOW, PASSWORD, add_user, secret
from highball.config.roles import Token, User
from highball.errors import (
    ConfigurationInvalid,
    Conflict,
    HighballError,
    LoginNeeded,
    NotAllowed,
    Stale,
    Throttled,
    Unknown,
)
from highball.hub.audit import Actor
from highball.hub.auth import passwords
from highball.hub.auth.sessions import Access, LoggedIn
from highball.hub.auth.users import OneTimeLink, kept_sound
from highball.hub.storage import schema
from highball.hub.storage.database import Database
from highball.model.role import Role
from highball.secret import SecretValue

DAY = timedelta(days=1)
ANNA = Actor("anna", Role.ADMIN, "192.0.2.7")


def come_in(access: Access, name: str = "anna", now: datetime = NOW) -> LoggedIn:
    began = access.log_in(name, secret(PASSWORD), now, address="192.0.2.7", browser="Firefox")
    assert isinstance(began, LoggedIn)
    return began


def text(value: SecretValue) -> str:
    return value.reveal().decode()


def is_believed(access: Access, began: LoggedIn, now: datetime = NOW) -> bool:
    return access.find_by_session(text(began.token), now) is not None


def rows_of(database: Database, table: sa.Table) -> list[dict[str, Any]]:
    with database.read() as connection:
        return [row._asdict() for row in connection.execute(sa.select(table))]


def actions(database: Database) -> list[str]:
    return [row["action"] for row in sorted(rows_of(database, schema.audit), key=lambda row: str(row["at"]))]


def invite(access: Access) -> OneTimeLink:
    access.create_user("bert", User(), CLI, NOW)
    return access.make_link("bert", CLI, NOW)


# --- the first account --------------------------------------------------------------------------------


def test_the_first_admin_is_made_by_the_set_up_token_and_is_logged_in(access: Access) -> None:
    assert access.needs_setup()
    link = access.make_setup_token(NOW)
    assert link is not None
    began = access.set_up(link.token, "Anna", secret(PASSWORD), NOW)
    assert began.known.actor == Actor("anna", Role.ADMIN, None)
    assert is_believed(access, began)
    assert come_in(access).known.user == "anna"
    assert not access.needs_setup()
    assert access.make_setup_token(NOW) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda access, token: (secret("x" * 43), NOW),
        lambda access, token: (token, NOW + timedelta(hours=24)),
        lambda access, token: (access.make_setup_token(NOW) and token, NOW),
        lambda access, token: (access.set_up(token, "first", secret(PASSWORD), NOW) and token, NOW),
        lambda access, token: (
            access.create_user("bert", User(), CLI, NOW),
            access.make_link("bert", CLI, NOW).token,
            NOW,
        )[1:],
    ],
    ids=["guessed", "too old", "made anew at a start", "used", "made for something else"],
)
def test_a_set_up_token_counts_once_for_a_day_and_only_the_last_one_made(
    access: Access, spoil: Callable[[Access, SecretValue], tuple[SecretValue, datetime]]
) -> None:
    link = access.make_setup_token(NOW)
    assert link is not None
    token, now = spoil(access, link.token)
    with pytest.raises(NotAllowed) as raised:
        access.set_up(token, "mallory", secret(PASSWORD), now)
    assert raised.value.code == "link_invalid"
    assert "mallory" not in [account.key for account in access.list_users()]


def test_a_set_up_that_is_refused_leaves_the_token_as_it_was(access: Access) -> None:
    link = access.make_setup_token(NOW)
    assert link is not None
    for name, password in (("anna", "short"), ("No Key!", PASSWORD), ("hub", PASSWORD), ("", PASSWORD)):
        with pytest.raises(ConfigurationInvalid):
            access.set_up(link.token, name, secret(password), NOW)
    assert access.list_users() == []
    access.set_up(link.token, "anna", secret(PASSWORD), NOW)


def test_where_every_admin_is_shut_out_by_a_restored_database_a_new_start_offers_set_up_again(
    people: Access, database: Database
) -> None:
    with database.write() as connection:
        connection.execute(schema.vault.delete().where(schema.vault.c.place.like("user:%")))
    link = people.make_setup_token(NOW)
    assert link is not None
    with pytest.raises(Conflict):
        people.set_up(link.token, "anna", secret(PASSWORD), NOW)
    people.set_up(link.token, "berta", secret(PASSWORD), NOW)
    assert come_in(people, "berta").known.actor.role is Role.ADMIN


# --- logging in ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "password"),
    [("anna", "wrong password"), ("nobody-here", PASSWORD), ("", ""), ("ANNA ", "x" * 5000), ("invited", "")],
)
def test_every_reason_not_to_let_somebody_in_sounds_the_same(
    people: Access, name: str, password: str
) -> None:
    people.create_user("invited", User(), CLI, NOW)
    people.change_user("otto", User(role=Role.OPERATOR, enabled=False), CLI, NOW)
    told = set()
    for who, what in ((name, password), ("otto", PASSWORD)):
        with pytest.raises(LoginNeeded) as raised:
            people.log_in(who, secret(what), NOW)
        told.add((raised.value.code, raised.value.message, raised.value.hint))
    assert len(told) == 1


def test_a_name_is_the_same_in_any_letters_and_between_blanks(people: Access) -> None:
    assert come_in(people, " Anna ").known.user == "anna"


def test_after_five_failures_the_account_has_to_wait_even_with_the_right_password(people: Access) -> None:
    for number in range(6):
        with pytest.raises(LoginNeeded):
            people.log_in("anna", secret("wrong"), NOW, address=f"192.0.2.{number}")
    with pytest.raises(Throttled) as raised:
        come_in(people)
    assert raised.value.wait_for == timedelta(seconds=2)
    assert (raised.value.http_status, raised.value.code) == (429, "throttled")
    assert come_in(people, "otto").known.user == "otto", "another account does not wait"
    assert come_in(people, "anna", NOW + timedelta(seconds=2)).known.user == "anna"
    come_in(people)  # and with that, the failures are forgotten


def test_an_address_that_tries_many_names_has_to_wait_too(people: Access) -> None:
    for number in range(6):
        with pytest.raises(LoginNeeded):
            people.log_in(f"name-{number}", secret("wrong"), NOW, address="192.0.2.7")
    with pytest.raises(Throttled):
        come_in(people)
    assert isinstance(people.log_in("anna", secret(PASSWORD), NOW, address="192.0.2.8"), LoggedIn)


def test_many_guesses_at_once_gain_nothing(people: Access) -> None:
    judged = []

    def guess(number: int) -> None:
        try:
            people.log_in("anna", secret(f"wrong {number}"), NOW)
        except LoginNeeded:
            judged.append(number)
        except Throttled:
            pass

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(judged) == 6


def test_a_hash_of_less_effort_is_made_anew_at_log_in(
    people: Access, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept() -> set[bytes]:
        return {row["content"] for row in rows_of(database, schema.vault)}

    before = kept()
    monkeypatch.setattr(passwords, "_HASHER", PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    passwords._nobodys.cache_clear()
    come_in(people)
    assert len(kept() - before) == 1
    come_in(people)
    assert len(kept() - before) == 1


# --- sessions -----------------------------------------------------------------------------------------


def test_a_session_is_in_the_database_as_a_hash_only_and_of_256_random_bits(
    people: Access, database: Database
) -> None:
    tokens = {text(come_in(people).token) for _ in range(3)}
    assert {len(token) for token in tokens} == {43}
    assert len(tokens) == 3
    stored = repr(rows_of(database, schema.sessions))
    assert not any(token in stored for token in tokens)
    assert {len(row["token"]) for row in rows_of(database, schema.sessions)} == {64}


def test_a_session_ends_after_two_weeks_unused_and_after_ninety_days_at_the_latest(people: Access) -> None:
    unused = come_in(people)
    assert is_believed(people, unused, NOW + 14 * DAY - timedelta(seconds=1))
    assert not is_believed(people, unused, NOW + 28 * DAY)
    used = come_in(people)
    for week in range(1, 13):
        assert is_believed(people, used, NOW + week * 7 * DAY)
    assert is_believed(people, used, NOW + 90 * DAY - timedelta(seconds=1))
    assert not is_believed(people, used, NOW + 90 * DAY)


def test_how_long_a_session_lasts_can_be_set(people: Access, database: Database) -> None:
    shorter = Access(database, idle_for=timedelta(hours=1), absolute_for=timedelta(hours=2))
    began = come_in(shorter)
    assert is_believed(shorter, began, NOW + timedelta(minutes=59))
    assert not is_believed(shorter, began, NOW + timedelta(hours=2))
    assert not is_believed(shorter, come_in(shorter), NOW + timedelta(hours=1))


def test_reading_many_pages_in_a_minute_writes_nothing(people: Access, database: Database) -> None:
    began = come_in(people)
    for second in range(0, 60, 10):
        assert is_believed(people, began, NOW + timedelta(seconds=second))
    assert rows_of(database, schema.sessions)[0]["seen_at"] == NOW
    assert is_believed(people, began, NOW + timedelta(seconds=60))
    assert rows_of(database, schema.sessions)[0]["seen_at"] == NOW + timedelta(seconds=60)


def test_what_is_no_session_is_nobody_s(people: Access) -> None:
    began = come_in(people)
    for token in ("", "x", text(began.token)[:-1], text(began.token) + "=", "\0", "ä" * 43):
        assert people.find_by_session(token, NOW) is None


def test_sessions_are_listed_and_ended_one_by_one_or_all(people: Access) -> None:
    one, two, three = come_in(people), come_in(people), come_in(people)
    other = come_in(people, "otto")
    assert {session.id for session in people.list_sessions("anna", NOW)} == {
        began.known.session for began in (one, two, three)
    }
    assert [(s.address, s.browser) for s in people.list_sessions("otto", NOW)] == [("192.0.2.7", "Firefox")]
    assert one.known.session is not None
    with pytest.raises(Unknown):
        people.end_session("otto", one.known.session, ANNA, NOW)
    people.end_session("anna", one.known.session, ANNA, NOW)
    people.log_out(two.known, NOW)
    people.log_out(two.known, NOW)
    assert [is_believed(people, began) for began in (one, two, three, other)] == [False, False, True, True]
    assert people.end_sessions("anna", ANNA, NOW) == 1
    assert [is_believed(people, began) for began in (three, other)] == [False, True]


def disable(access: Access, _: LoggedIn) -> None:
    access.change_user("otto", User(role=Role.OPERATOR, enabled=False), ANNA, NOW)


def delete(access: Access, _: LoggedIn) -> None:
    access.delete_user("otto", ANNA, NOW)


def reset(access: Access, _: LoggedIn) -> None:
    access.use_link(access.make_link("otto", ANNA, NOW).token, secret("another password"), NOW)


def change(access: Access, other: LoggedIn) -> None:
    access.change_password(other.known, secret(PASSWORD), secret("another password"), NOW)


@pytest.mark.parametrize("shut_out", [disable, delete, reset, change])
def test_a_user_who_is_shut_out_or_has_another_password_is_logged_out_at_once(
    people: Access, shut_out: Callable[[Access, LoggedIn], None]
) -> None:
    began, other, anna = come_in(people, "otto"), come_in(people, "otto"), come_in(people)
    shut_out(people, other)
    assert not is_believed(people, began)
    assert is_believed(people, other) == (shut_out is change), "who changes it stays logged in"
    assert is_believed(people, anna)
    with pytest.raises(LoginNeeded):
        come_in(people, "otto")
    if shut_out is disable:  # and what was ended does not come back
        people.change_user("otto", User(role=Role.OPERATOR), ANNA, NOW)
        assert not is_believed(people, began)


def test_another_role_holds_from_the_next_request_on(people: Access) -> None:
    began = come_in(people, "otto")
    people.change_user("otto", User(role=Role.VIEWER), ANNA, NOW)
    known = people.find_by_session(text(began.token), NOW)
    assert known is not None
    assert known.actor.role is Role.VIEWER


def test_a_sweep_removes_what_counts_no_more_and_nothing_else(people: Access, database: Database) -> None:
    come_in(people)
    stays = come_in(people, "otto", NOW + 10 * DAY)
    people.make_link("vera", CLI, NOW)
    with database.write() as connection:
        of_agents = {"purpose": "agent", "expires_at": NOW, "actor": "anna"}
        connection.execute(schema.enrolments.insert().values(token="0" * 64, subject="nas", **of_agents))
    people.sweep(NOW + 15 * DAY)
    assert is_believed(people, stays, NOW + 15 * DAY)
    assert [row["user"] for row in rows_of(database, schema.sessions)] == ["otto"]
    assert [row["purpose"] for row in rows_of(database, schema.enrolments)] == ["agent"]


# --- users --------------------------------------------------------------------------------------------


def test_a_user_is_created_invited_changed_and_deleted_and_each_is_a_revision(
    people: Access, database: Database
) -> None:
    made = people.create_user("berta", User(title="Berta B", role=Role.VIEWER), ANNA, NOW)
    assert (made.revision, made.has_password) == (1, False)
    people.use_link(people.make_link("berta", ANNA, NOW).token, secret(PASSWORD), NOW)
    assert people.get_user("berta").has_password
    changed = people.change_user("berta", User(role=Role.OPERATOR), ANNA, NOW, revision=1)
    assert (changed.revision, changed.user.role, changed.user.title) == (2, Role.OPERATOR, None)
    people.delete_user("berta", ANNA, NOW)
    with pytest.raises(Unknown):
        people.get_user("berta")
    history = [row for row in rows_of(database, schema.revisions) if row["key"] == "berta"]
    assert [(row["revision"], row["what"], row["spec"]) for row in history] == [
        (1, "created", {"title": "Berta B", "role": "viewer"}),
        (2, "changed", {"role": "operator"}),
        (3, "deleted", None),
    ]
    [row] = [row for row in rows_of(database, schema.objects) if row["key"] == "berta"]
    assert (row["revision"], row["origin"], row["deleted_at"]) == (3, "hand", NOW)


def test_a_name_that_comes_back_brings_nothing_of_its_predecessor(people: Access) -> None:
    _, value = people.create_token("of-otto", Token(user="otto", role=Role.OPERATOR), ANNA, NOW)
    link = people.make_link("otto", ANNA, NOW)
    began = come_in(people, "otto")
    people.delete_user("otto", ANNA, NOW)
    again = people.create_user("otto", User(role=Role.ADMIN), ANNA, NOW)
    assert (again.revision, again.has_password) == (3, False)
    assert people.find_by_token(text(value), NOW) is None
    assert not is_believed(people, began)
    with pytest.raises(NotAllowed):
        people.use_link(link.token, secret(PASSWORD), NOW)
    with pytest.raises(LoginNeeded):
        come_in(people, "otto")


@pytest.mark.parametrize("name", ["hub", "CLI", "nobody", "token", "a b", "", "ä", "-x", "x" * 64])
def test_names_that_are_no_keys_or_mean_no_person_are_refused(access: Access, name: str) -> None:
    with pytest.raises(ConfigurationInvalid) as raised:
        access.create_user(name, User(), ANNA, NOW)
    assert [one.at for one in raised.value.problems] == ["key"]


def test_nobody_overwrites_another_s_change_or_name_unseen(people: Access) -> None:
    with pytest.raises(Conflict) as raised:
        people.create_user("otto", User(role=Role.ADMIN), ANNA, NOW)
    assert raised.value.code == "user_exists"
    people.change_user("otto", User(title="Otto"), ANNA, NOW)
    for late in (
        lambda: people.change_user("otto", User(role=Role.ADMIN), ANNA, NOW, revision=1),
        lambda: people.delete_user("otto", ANNA, NOW, revision=1),
    ):
        with pytest.raises(Stale):
            late()
    assert people.get_user("otto").user == User(title="Otto")


LAST = [
    lambda access: access.delete_user("anna", ANNA, NOW),
    lambda access: access.change_user("anna", User(role=Role.OPERATOR), ANNA, NOW),
    lambda access: access.change_user("anna", User(role=Role.ADMIN, enabled=False), ANNA, NOW),
]


@pytest.mark.parametrize("lose", LAST)
def test_the_last_admin_who_can_log_in_is_protected(
    people: Access, database: Database, lose: Callable[[Access], object]
) -> None:
    people.create_user("invited", User(role=Role.ADMIN), ANNA, NOW)
    add_user(people, "disabled", Role.ADMIN)
    people.change_user("disabled", User(role=Role.ADMIN, enabled=False), ANNA, NOW)
    _, value = people.create_token("of-anna", Token(user="anna", role=Role.ADMIN), ANNA, NOW)
    began, before = come_in(people), len(rows_of(database, schema.revisions))
    with pytest.raises(NotAllowed) as raised:
        lose(people)
    assert raised.value.code == "last_admin"
    assert is_believed(people, began)
    assert people.find_by_token(text(value), NOW) is not None
    assert len(rows_of(database, schema.revisions)) == before
    add_user(people, "berta", Role.ADMIN)
    lose(people)
    assert not people.needs_setup()


def test_of_two_admins_who_dismiss_each_other_at_once_one_stays(people: Access) -> None:
    add_user(people, "berta", Role.ADMIN)
    refused = []

    def dismiss(name: str) -> None:
        try:
            people.delete_user(name, ANNA, NOW)
        except NotAllowed:
            refused.append(name)

    threads = [threading.Thread(target=dismiss, args=(name,)) for name in ("anna", "berta")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert not people.needs_setup()


def test_a_change_by_another_way_is_held_to_the_same(people: Access, database: Database) -> None:
    """As a file that is applied changes users: the rows first, then what has to hold."""

    def change(key: str, **told: Any) -> None:
        with database.write() as connection, kept_sound(connection, ANNA, NOW):
            here = (schema.objects.c.kind == "user") & (schema.objects.c.key == key)
            connection.execute(schema.objects.update().where(here).values(**told))

    began = come_in(people, "otto")
    _, value = people.create_token("t", Token(user="otto"), ANNA, NOW)
    link = people.make_link("otto", ANNA, NOW)
    change("otto", spec={"role": "operator", "enabled": False})
    change("otto", spec={"role": "operator"})
    assert not is_believed(people, began)
    assert people.find_by_token(text(value), NOW) is not None
    change("otto", deleted_at=NOW)
    change("otto", deleted_at=None)
    assert people.find_by_token(text(value), NOW) is None
    assert not people.get_user("otto").has_password
    with pytest.raises(NotAllowed):
        people.use_link(link.token, secret(PASSWORD), NOW)
    with pytest.raises(NotAllowed) as raised:
        change("anna", spec={"role": "viewer"})
    assert raised.value.code == "last_admin"
    assert people.get_user("anna").user.role is Role.ADMIN


# --- passwords and links ------------------------------------------------------------------------------


def test_a_link_sets_a_password_once_and_only_the_last_one_made_counts(people: Access) -> None:
    first, second = (people.make_link("otto", ANNA, NOW).token for _ in range(2))
    with pytest.raises(NotAllowed):
        people.use_link(first, secret("another password"), NOW)
    with pytest.raises(ConfigurationInvalid):
        people.use_link(second, secret("short"), NOW)
    assert people.use_link(second, secret("another password"), NOW) == "otto"
    with pytest.raises(NotAllowed):
        people.use_link(second, secret("a third password"), NOW)
    assert isinstance(people.log_in("otto", secret("another password"), NOW), LoggedIn)


def test_a_link_counts_three_days(people: Access) -> None:
    link = people.make_link("otto", ANNA, NOW)
    assert link.expires_at == NOW + 3 * DAY
    with pytest.raises(NotAllowed):
        people.use_link(link.token, secret("another password"), NOW + 3 * DAY)
    with pytest.raises(Unknown):
        people.make_link("none", ANNA, NOW)


def test_a_link_lets_in_somebody_whom_guesses_of_others_lock_out(people: Access) -> None:
    for number in range(6):
        with pytest.raises(LoginNeeded):
            people.log_in("otto", secret("wrong"), NOW, address=f"198.51.100.{number}")
    people.use_link(people.make_link("otto", ANNA, NOW).token, secret(PASSWORD), NOW)
    assert come_in(people, "otto").known.user == "otto"


def test_one_s_own_password_changes_only_with_the_old_one_and_guessing_that_is_throttled(
    people: Access,
) -> None:
    known = come_in(people).known
    with pytest.raises(ConfigurationInvalid):
        people.change_password(known, secret(PASSWORD), secret("short"), NOW)
    for _ in range(6):
        with pytest.raises(NotAllowed) as raised:
            people.change_password(known, secret("a guess"), secret("another password"), NOW)
        assert raised.value.code == "password_wrong"
    with pytest.raises(Throttled):
        people.change_password(known, secret(PASSWORD), secret("another password"), NOW)


# --- tokens -------------------------------------------------------------------------------------------


def test_a_token_s_value_is_told_once_and_kept_as_a_hash_only(people: Access, database: Database) -> None:
    program, value = people.create_token("ci", Token(title="CI", role=Role.OPERATOR), ANNA, NOW)
    shown = text(value)
    assert shown.startswith("hb_")
    assert [len(part) for part in shown.split("_", 2)] == [2, 8, 43]
    known = people.find_by_token(shown, NOW, address="192.0.2.9")
    assert known is not None
    assert known.actor == Actor("token:ci", Role.OPERATOR, "192.0.2.9")
    assert (known.user, known.session) == (None, None)
    hidden = shown[12:]
    assert hidden not in repr(program)
    assert all(hidden not in repr(rows_of(database, table)) for table in schema.metadata.tables.values())


@pytest.mark.parametrize("of_token", list(Role))
@pytest.mark.parametrize("of_user", list(Role))
def test_a_token_never_does_more_than_its_user(people: Access, of_token: Role, of_user: Role) -> None:
    people.create_user("berta", User(role=Role.ADMIN), ANNA, NOW)
    _, value = people.create_token("t", Token(user="berta", role=of_token), ANNA, NOW)
    people.change_user("berta", User(role=of_user), ANNA, NOW)
    known = people.find_by_token(text(value), NOW)
    assert known is not None
    assert known.actor.role is min(of_token, of_user, key=list(Role).index)
    assert known.user == "berta"


SHUT = [
    lambda access: access.change_token("t", Token(user="otto", enabled=False), ANNA, NOW),
    lambda access: access.change_token("t", Token(user="otto", expires_at=NOW), ANNA, NOW),
    lambda access: access.delete_token("t", ANNA, NOW),
    lambda access: access.renew_token("t", ANNA, NOW),
    lambda access: access.change_user("otto", User(enabled=False), ANNA, NOW),
    lambda access: access.delete_user("otto", ANNA, NOW),
    lambda access: (
        access.delete_token("t", ANNA, NOW),
        access.create_token("t", Token(user="otto"), ANNA, NOW),
    ),
]


@pytest.mark.parametrize("shut", SHUT)
def test_a_token_that_is_shut_opens_nothing_from_then_on(
    people: Access, shut: Callable[[Access], object]
) -> None:
    _, value = people.create_token("t", Token(user="otto", expires_at=NOW + DAY), ANNA, NOW)
    assert people.find_by_token(text(value), NOW) is not None
    assert people.find_by_token(text(value), NOW + DAY) is None
    shut(people)
    assert people.find_by_token(text(value), NOW) is None


def test_what_resembles_a_token_opens_nothing(people: Access) -> None:
    _, value = people.create_token("t", Token(role=Role.ADMIN), ANNA, NOW)
    _, other = people.create_token("u", Token(role=Role.ADMIN), ANNA, NOW)
    good = text(value)
    mixed = good[:12] + text(other)[12:]
    for wrong in (
        "",
        "hb_",
        good[:-1],
        good + "x",
        good.upper(),
        mixed,
        "hb_%%%%%%%%_" + good[12:],
        good + "\n",
    ):
        assert people.find_by_token(wrong, NOW) is None


def test_a_token_for_nobody_s_account_or_of_a_name_in_use_is_refused(people: Access) -> None:
    with pytest.raises(ConfigurationInvalid) as raised:
        people.create_token("t", Token(user="none"), ANNA, NOW)
    assert [one.at for one in raised.value.problems] == ["user"]
    people.create_token("t", Token(), ANNA, NOW)
    with pytest.raises(Conflict):
        people.create_token("t", Token(), ANNA, NOW)
    with pytest.raises(Stale):
        people.change_token("t", Token(role=Role.ADMIN), ANNA, NOW, revision=7)
    with pytest.raises(HighballError):
        people.create_token("No Key", Token(), ANNA, NOW)


# --- what is written down -----------------------------------------------------------------------------


def test_every_change_and_every_log_in_is_in_the_audit(access: Access, database: Database) -> None:
    link = access.make_setup_token(NOW)
    assert link is not None
    steps: list[Callable[[datetime], object]] = [
        lambda now: access.set_up(link.token, "anna", secret(PASSWORD), now, address="192.0.2.7"),
        lambda now: access.create_user("otto", User(), ANNA, now),
        lambda now: access.use_link(access.make_link("otto", ANNA, now).token, secret(PASSWORD), now),
        lambda now: access.log_out(come_in(access, "otto", now).known, now),
        lambda now: access.change_user("otto", User(role=Role.OPERATOR), ANNA, now),
        lambda now: access.create_token("ci", Token(), ANNA, now),
        lambda now: access.change_token("ci", Token(role=Role.OPERATOR), ANNA, now),
        lambda now: access.delete_token("ci", ANNA, now),
        lambda now: access.delete_user("otto", ANNA, now),
    ]
    for minute, step in enumerate(steps):
        step(NOW + timedelta(minutes=minute))
    about = [entry for entry in access.list_audit() if entry.kind in ("user", "token")]
    assert sorted((e.action, e.kind, e.key, e.actor) for e in about) == sorted(
        [
            ("created", "user", "anna", "anna"),
            ("set_up", "user", "anna", "anna"),
            ("created", "user", "otto", "anna"),
            ("link_made", "user", "otto", "anna"),
            ("password_set", "user", "otto", "otto"),
            ("logged_in", "user", "otto", "otto"),
            ("logged_out", "user", "otto", "otto"),
            ("changed", "user", "otto", "anna"),
            ("created", "token", "ci", "anna"),
            ("changed", "token", "ci", "anna"),
            ("deleted", "token", "ci", "anna"),
            ("deleted", "user", "otto", "anna"),
        ]
    )
    [changed] = [e for e in access.list_audit() if (e.action, e.kind) == ("changed", "user")]
    assert (changed.before, changed.after) == ({}, {"role": "operator"})
    assert (changed.address, changed.at) == ("192.0.2.7", NOW + timedelta(minutes=4))


def test_a_failed_log_in_is_written_down_with_why_and_never_with_what_was_typed(
    people: Access, database: Database
) -> None:
    people.change_user("otto", User(enabled=False), CLI, NOW)
    typed_into_the_name = "my-secret-canary"
    for name, password in (("anna", "canary-guess"), (typed_into_the_name, "x"), ("otto", PASSWORD)):
        with pytest.raises(LoginNeeded):
            people.log_in(name, secret(password), NOW, address="192.0.2.66")
    failed = [row for row in rows_of(database, schema.audit) if row["action"] == "login_failed"]
    assert sorted((row["actor"], row["key"], row["message"], row["address"]) for row in failed) == sorted(
        [
            ("anna", "anna", "wrong password", "192.0.2.66"),
            ("nobody", None, "no such account", "192.0.2.66"),
            ("otto", "otto", "the account is disabled", "192.0.2.66"),
        ],
        key=str,
    )
    everything = repr([rows_of(database, table) for table in schema.metadata.tables.values()])
    assert "canary" not in everything
