"""A second factor: who knows the password alone does not come in, each code counts once, and nobody is shut out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from access.conftest import CLI, NOW, PASSWORD, Clock, declare, log_in, secret
from highball.config.roles import User
from highball.errors import Conflict, HighballError, LoginNeeded, NotAllowed, StateUnusable, Throttled
from highball.hub.audit import Actor
from highball.hub.auth.authenticators import Offered, spell_code
from highball.hub.auth.sessions import (
    Access,
    CodeAwaited,
    LoggedIn,
)
from highball.hub.secrets.vault import Vault, open_vault
from highball.hub.storage import schema
from highball.hub.storage.database import Database, open_database
from highball.model.role import Role
from highball.secret import SecretValue

ANNA = Actor("anna", Role.ADMIN, "192.0.2.7")
STEP = timedelta(seconds=30)
API = "/api/v1"


class App:
    """An authenticator app on somebody's phone."""

    def __init__(self, offered: Offered) -> None:
        self._totp = pyotp.parse_uri(offered.address.reveal().decode())

    def code(self, later: timedelta = timedelta()) -> SecretValue:
        """What it shows, as people type it."""
        assert isinstance(self._totp, pyotp.TOTP)
        shown = self._totp.at(NOW + later)
        return secret(f"{shown[:3]} {shown[3:]}")


class Phone:
    """The app, and the recovery codes beside it."""

    def __init__(self, access: Access, user: str = "anna") -> None:
        self.access = access
        self.user = user
        factors = access.authenticators
        self.app = App(factors.offer(user, secret(PASSWORD), ANNA, NOW))
        self.codes = factors.confirm(user, self.app.code(), ANNA, NOW)

    def begin(self, later: timedelta = timedelta()) -> SecretValue:
        """Enter the password."""
        began = self.access.log_in(self.user, secret(PASSWORD), NOW + later, address="192.0.2.7")
        assert isinstance(began, CodeAwaited)
        return began.token

    def finish(self, code: SecretValue, later: timedelta = timedelta()) -> LoggedIn:
        """Enter the password and a code."""
        return self.access.finish(self.begin(later), code, NOW + later, address="192.0.2.7")


@pytest.fixture
def place() -> str | None:
    """In memory, as most of these tests are not about the disk."""
    return None


ON_DISK = pytest.mark.parametrize("place", ["highball.db"])
"""Where several ask at once: one in memory has a single connection."""


@pytest.fixture
def database(place: str | None, tmp_path: Path) -> Database:
    """A database in which the repository nas is declared."""
    database = open_database(None if place is None else tmp_path / place)
    declare(database)
    return database


@pytest.fixture
def phone(people: Access) -> Phone:
    """Anna's, who has a second factor; its first code was used."""
    return Phone(people)


def rows_of(database: Database, table: sa.Table) -> list[dict[str, Any]]:
    with database.read() as connection:
        return [row._asdict() for row in connection.execute(sa.select(table))]


def actions(database: Database) -> list[str]:
    return [row["action"] for row in rows_of(database, schema.audit)]


# --- setting up ---------------------------------------------------------------------------------------


def test_a_secret_counts_only_once_a_code_of_it_was_entered(people: Access) -> None:
    factors = people.authenticators
    offered = factors.offer("anna", secret(PASSWORD), ANNA, NOW)
    assert isinstance(people.log_in("anna", secret(PASSWORD), NOW), LoggedIn)
    with pytest.raises(NotAllowed) as raised:
        factors.confirm("anna", secret("000000"), ANNA, NOW)
    assert raised.value.code == "code_wrong"
    assert factors.find("anna") is None
    assert len(factors.confirm("anna", App(offered).code(), ANNA, NOW)) == 10
    assert isinstance(people.log_in("anna", secret(PASSWORD), NOW), CodeAwaited)
    assert people.get_user("anna").has_second_factor
    assert not people.get_user("otto").has_second_factor


def test_a_secret_that_waits_too_long_has_to_be_made_anew(people: Access) -> None:
    factors = people.authenticators
    app = App(factors.offer("anna", secret(PASSWORD), ANNA, NOW))
    later = timedelta(minutes=30)
    with pytest.raises(Conflict) as raised:
        factors.confirm("anna", app.code(later), ANNA, NOW + later)
    assert raised.value.code == "second_factor_not_offered"


def test_only_who_knows_the_password_sets_it_up_and_never_over_another(phone: Phone) -> None:
    factors = phone.access.authenticators
    with pytest.raises(NotAllowed) as raised:
        factors.offer("otto", secret("wrong words here"), CLI, NOW)
    assert raised.value.code == "password_wrong"
    with pytest.raises(Conflict) as refused:
        factors.offer("anna", secret(PASSWORD), ANNA, NOW)
    assert refused.value.code == "second_factor_exists"
    assert phone.finish(phone.app.code(STEP), STEP).known.user == "anna"


def test_the_secret_is_sealed_in_its_user_s_place_and_recovery_codes_are_hashes(
    phone: Phone, database: Database, tmp_path: Path
) -> None:
    otto = Phone(phone.access, "otto")
    assert isinstance(phone.app._totp, pyotp.TOTP)
    stored = repr(rows_of(database, schema.vault)) + repr(rows_of(database, schema.audit))
    for one in (phone.app._totp.secret, *(code.reveal().decode() for code in phone.codes)):
        assert one not in stored
    kept = [row for row in rows_of(database, schema.vault) if ":recovery-" in row["place"]]
    assert {bytes(row["content"])[:10] for row in kept} == {b"$argon2id$"}
    ids = {row["key"]: row["id"] for row in rows_of(database, schema.objects) if row["kind"] == "user"}
    places = {name: f"user:{ids[name]}:totp" for name in ("anna", "otto")}
    content = {row["place"]: row["content"] for row in rows_of(database, schema.vault)}
    here = schema.vault.c.place == places["anna"]
    with database.write() as connection:  # a row that was moved opens nowhere
        connection.execute(schema.vault.update().where(here).values(content=content[places["otto"]]))
    with pytest.raises(StateUnusable):
        phone.finish(otto.app.code(STEP), STEP)


def test_another_key_of_the_hub_seals_the_secrets_of_apps_anew_too(
    phone: Phone, vault: Vault, database: Database, tmp_path: Path
) -> None:
    vault.rekey(ANNA, NOW)
    again = Access(database, open_vault(database, tmp_path / "hub.key"))
    phone.access = again
    assert phone.finish(phone.app.code(STEP), STEP).known.user == "anna"


# --- logging in ---------------------------------------------------------------------------------------


def test_the_password_alone_begins_no_session_and_tokens_go_on(phone: Phone, database: Database) -> None:
    phone.begin()
    assert rows_of(database, schema.sessions) == []
    began = phone.finish(phone.app.code(STEP), STEP)
    assert phone.access.find_by_session(began.token.reveal().decode(), NOW + STEP) is not None
    assert actions(database).count("logged_in") == 1


@pytest.mark.parametrize("drift", [-STEP, STEP])
def test_a_phone_whose_clock_is_half_a_minute_off_comes_in(phone: Phone, drift: timedelta) -> None:
    later = 4 * STEP
    assert phone.finish(phone.app.code(later + drift), later).known.user == "anna"
    with pytest.raises(NotAllowed):
        phone.finish(phone.app.code(later + 3 * drift), later)


def test_a_code_counts_once_and_none_before_it_counts_after(phone: Phone) -> None:
    with pytest.raises(NotAllowed) as raised:  # it set the second factor up
        phone.finish(phone.app.code())
    assert raised.value.code == "code_wrong"
    phone.finish(phone.app.code(3 * STEP), 2 * STEP)
    for code in (phone.app.code(3 * STEP), phone.app.code(2 * STEP)):
        with pytest.raises(NotAllowed):
            phone.finish(code, 2 * STEP)


def at_once(work: Callable[[], object]) -> list[object]:
    """What several who do the same at once get."""
    found: list[object] = []

    def one() -> None:
        try:
            found.append(work())
        except HighballError as error:
            found.append(error.code)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@ON_DISK
@pytest.mark.parametrize("which", ["app", "recovery"])
def test_of_two_who_send_the_same_code_at_once_one_comes_in(phone: Phone, which: str) -> None:
    code = phone.app.code(STEP) if which == "app" else phone.codes[3]
    tokens = [phone.begin(STEP) for _ in range(4)]
    found = at_once(lambda: phone.access.finish(tokens.pop(), code, NOW + STEP))
    assert sum(isinstance(one, LoggedIn) for one in found) == 1


@ON_DISK
def test_of_two_who_go_on_with_the_same_log_in_one_comes_in(phone: Phone) -> None:
    token, codes = phone.begin(STEP), [phone.app.code(STEP), *phone.codes[:3]]
    found = at_once(lambda: phone.access.finish(token, codes.pop(), NOW + STEP))
    assert sum(isinstance(one, LoggedIn) for one in found) == 1


def test_each_recovery_code_counts_once_in_place_of_the_app_s(phone: Phone, database: Database) -> None:
    typed = secret(spell_code(phone.codes[7]).upper())
    assert phone.finish(typed).known.user == "anna"
    with pytest.raises(NotAllowed):
        phone.finish(typed)
    found = phone.access.authenticators.find("anna")
    assert found is not None
    assert found.recovery_codes_left == 9
    [used] = [row for row in rows_of(database, schema.audit) if row["action"] == "recovery_code_used"]
    assert (used["actor"], used["message"]) == ("anna", "9 left")


@pytest.mark.parametrize("code", ["", " ", "12345", "1234567", "ä" * 6, "٣٣٣٣٣٣", "\0", "x" * 5000, "3abc"])
def test_what_is_no_code_is_refused_as_a_wrong_one(phone: Phone, code: str) -> None:
    with pytest.raises(NotAllowed) as raised:
        phone.finish(secret(code))
    assert raised.value.code == "code_wrong"


def test_wrong_codes_have_to_wait_even_where_the_password_is_entered_anew(phone: Phone) -> None:
    for number in range(6):
        token = phone.begin()
        with pytest.raises(NotAllowed) as raised:
            phone.access.finish(token, secret(f"00000{number}"), NOW, address=f"192.0.2.{number}")
        assert raised.value.code == "code_wrong"
    with pytest.raises(Throttled):
        phone.access.finish(phone.begin(), phone.app.code(), NOW)
    assert phone.access.finish(phone.begin(), phone.app.code(STEP), NOW + STEP).known.user == "anna"


def test_a_log_in_waits_ten_minutes_for_its_code(phone: Phone) -> None:
    token, later = phone.begin(), timedelta(minutes=10)
    for awaited in (token, secret("x" * 43)):
        with pytest.raises(LoginNeeded) as raised:
            phone.access.finish(awaited, phone.app.code(later), NOW + later)
        assert raised.value.code == "login_expired"


SHUT_OUT: dict[str, Callable[[Access], object]] = {
    "disabled": lambda access: access.change_user("anna", User(role=Role.ADMIN, enabled=False), CLI, NOW),
    "deleted": lambda access: access.delete_user("anna", CLI, NOW),
    "another password": lambda access: access.use_link(
        access.make_link("anna", CLI, NOW).token, secret("another password"), NOW
    ),
}


@pytest.mark.parametrize("why", SHUT_OUT)
def test_a_log_in_that_waits_for_its_code_ends_with_what_it_was_begun_with(phone: Phone, why: str) -> None:
    phone.access.change_user("otto", User(role=Role.ADMIN), CLI, NOW)
    token = phone.begin()
    SHUT_OUT[why](phone.access)
    with pytest.raises(LoginNeeded):
        phone.access.finish(token, phone.app.code(STEP), NOW + STEP)


# --- taking it away -----------------------------------------------------------------------------------


def test_it_is_removed_by_password_and_code_together(phone: Phone, database: Database) -> None:
    factors = phone.access.authenticators
    for password, code, told in (
        ("wrong words here", phone.codes[0], "password_wrong"),
        (PASSWORD, secret("000000"), "code_wrong"),
    ):
        with pytest.raises(NotAllowed) as raised:
            factors.remove("anna", secret(password), code, ANNA, NOW)
        assert raised.value.code == told
    factors.remove("anna", secret(PASSWORD), phone.codes[0], ANNA, NOW)
    assert isinstance(phone.access.log_in("anna", secret(PASSWORD), NOW), LoggedIn)
    assert not any(
        ":totp" in row["place"] or "recovery" in row["place"] for row in rows_of(database, schema.vault)
    )
    with pytest.raises(Conflict):
        factors.remove("anna", secret(PASSWORD), phone.codes[1], ANNA, NOW)


def test_other_recovery_codes_take_the_place_of_those_before(phone: Phone) -> None:
    factors = phone.access.authenticators
    fresh = factors.renew_codes("anna", secret(PASSWORD), phone.app.code(STEP), ANNA, NOW + STEP)
    with pytest.raises(NotAllowed):
        phone.finish(phone.codes[1], STEP)
    assert phone.finish(fresh[1], STEP).known.user == "anna"


def test_it_is_reset_for_who_lost_it_and_that_is_written_down(phone: Phone, database: Database) -> None:
    for number in range(6):
        with pytest.raises(NotAllowed):
            phone.finish(secret(f"00000{number}"))
    otto = Actor("otto", Role.ADMIN)
    assert phone.access.authenticators.reset("anna", otto, NOW)
    assert not phone.access.authenticators.reset("anna", otto, NOW)
    assert isinstance(phone.access.log_in("anna", secret(PASSWORD), NOW), LoggedIn)
    [told] = [row for row in rows_of(database, schema.audit) if row["action"] == "second_factor_reset"]
    assert (told["actor"], told["key"]) == ("otto", "anna")


def test_a_name_that_comes_back_brings_no_second_factor(phone: Phone, database: Database) -> None:
    phone.access.change_user("otto", User(role=Role.ADMIN), CLI, NOW)
    phone.access.delete_user("anna", CLI, NOW)
    phone.access.create_user("anna", User(), CLI, NOW)
    assert phone.access.authenticators.find("anna") is None
    assert rows_of(database, schema.authenticators) == []


# --- over the API -------------------------------------------------------------------------------------


def test_the_whole_way_over_the_api(client: TestClient, people: Access, clock: Clock) -> None:
    anna = log_in(client, "anna")
    offered = anna.post(f"{API}/me/second-factor", json={"password": PASSWORD}).json()
    app = pyotp.TOTP(offered["secret"])
    confirmed = anna.post(f"{API}/me/second-factor/confirm", json={"code": app.at(clock.now)})
    codes = confirmed.json()["recovery_codes"]
    assert len(codes) == 10
    anna.post(f"{API}/logout")

    proofs = {"name": "anna", "password": PASSWORD}
    for sent, status, told in (
        (proofs, 401, "code_needed"),
        (proofs | {"code": app.at(clock.now)}, 403, "code_wrong"),
        (proofs | {"password": "wrong words", "code": codes[0]}, 401, "login_failed"),
    ):
        refused = anna.post(f"{API}/login", json=sent)
        assert (refused.status_code, refused.json()["code"]) == (status, told)
    assert anna.get(f"{API}/me").status_code == 401
    assert anna.post(f"{API}/login", json=proofs | {"code": codes[0]}).status_code == 200
    state = anna.get(f"{API}/me/second-factor").json()
    assert (state["recovery_codes_left"], state["since"]) == (9, "2026-05-03T10:00:00Z")

    both = {"password": PASSWORD, "code": codes[1]}
    assert len(anna.post(f"{API}/me/second-factor/recovery-codes", json=both).json()["recovery_codes"]) == 10
    clock.pass_by(STEP)
    both = {"password": PASSWORD, "code": app.at(clock.now)}
    assert anna.post(f"{API}/me/second-factor/remove", json=both).status_code == 204
    assert anna.get(f"{API}/me/second-factor").json() == {"since": None, "recovery_codes_left": 0}
    assert anna.delete(f"{API}/users/otto/second-factor").status_code == 204
