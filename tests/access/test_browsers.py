"""No stranger's wrong guesses keep somebody out of a browser in which they had logged in before."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from access.conftest import PASSWORD, Clock, log_in, secret
from highball.errors import LoginNeeded, Throttled
from highball.hub.auth.known_browsers import COUNTS_FOR
from highball.hub.auth.sessions import Access, LoggedIn

API = "/api/v1"
GUESSES = 12


def browser(app: FastAPI, address: str) -> TestClient:
    return TestClient(app, base_url="https://hub.example", client=(address, 4711))


def sign_for(access: Access, name: str, clock: Clock) -> str:
    """What a browser is given when this user logs in there."""
    began = access.log_in(name, secret(PASSWORD), clock.now)
    assert isinstance(began, LoggedIn)
    return began.sign.reveal().decode()


def guess(app: FastAPI, name: str) -> set[int]:
    """Wrong passwords for a name, from changing addresses."""
    told = {"name": name, "password": "a guess of somebody"}
    return {
        browser(app, f"198.51.100.{n}").post(f"{API}/login", json=told).status_code for n in range(GUESSES)
    }


def test_who_was_here_before_comes_in_whatever_strangers_guess(
    people: Access, app: FastAPI, client: TestClient
) -> None:
    log_in(client, "anna")
    client.post(f"{API}/logout")
    assert guess(app, "anna") == {401, 429}
    told = {"name": "anna", "password": PASSWORD}
    assert browser(app, "203.0.113.9").post(f"{API}/login", json=told).status_code == 429
    log_in(client, "anna")
    assert guess(app, "anna") == {429}, "that forgives no stranger"


def test_a_browser_that_is_known_has_no_more_guesses_than_another(people: Access, client: TestClient) -> None:
    log_in(client, "anna")
    codes = [
        client.post(f"{API}/login", json={"name": "anna", "password": f"guess number {n}"}).status_code
        for n in range(GUESSES)
    ]
    assert codes[-1] == 429
    log_in(browser_of_otto := client, "otto")
    assert browser_of_otto.get(f"{API}/me").json()["name"] == "otto"


def test_guesses_of_strangers_keep_nobody_from_changing_their_password(
    people: Access, app: FastAPI, client: TestClient
) -> None:
    log_in(client, "anna")
    guess(app, "anna")
    assert client.put(f"{API}/me/password", json={"old": PASSWORD, "new": f"{PASSWORD} x"}).status_code == 204


@pytest.mark.parametrize("case", ["another user's", "altered", "too old", "nonsense", "another hub's"])
def test_a_sign_is_the_hubs_own_and_for_one_person(people: Access, clock: Clock, case: str) -> None:
    sign = sign_for(people, "anna", clock)
    at = clock.now + (COUNTS_FOR if case == "too old" else timedelta(minutes=1))
    other = sign_for(people, "otto", clock)
    shown = {
        "another user's": other,
        "altered": "0" * 32 + sign[32:],
        "nonsense": "a.b.ü",
        "another hub's": sign_for(Access(people._database), "anna", clock),
    }.get(case, sign)
    for _ in range(GUESSES):
        with pytest.raises((LoginNeeded, Throttled)):
            people.log_in("anna", secret("a guess of somebody"), at)
    with pytest.raises(Throttled):
        people.log_in("anna", secret(PASSWORD), at, sign_of=lambda _: shown)


def test_the_sign_is_no_way_in_and_no_script_reads_it(people: Access, client: TestClient) -> None:
    answer = client.post(f"{API}/login", json={"name": "anna", "password": PASSWORD})
    signs = [line for line in answer.headers.get_list("set-cookie") if "-" in line.partition("=")[0][8:]]
    assert len(signs) == 1
    assert {"HttpOnly", "Secure", "SameSite=lax"} <= {part.strip() for part in signs[0].split(";")}
    client.post(f"{API}/logout")
    assert client.get(f"{API}/me").status_code == 401
