"""People of an organisation log in with its provider: who may, as what, and that nobody else comes in that way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from api.whole import ANNA, PASSWORD, Whole, whole_hub
from highball.config.roles import Token, User
from highball.errors import ConfigurationInvalid, NotAllowed
from highball.hub.runs.record import utc_now
from highball.model.role import Role
from highball.secret import SecretValue
from testbed.organisation import CLIENT, PEOPLE, SECRET, Organisation

pytestmark = pytest.mark.xdist_group("provider")

HUB = "https://hub.example"
BACK = f"{HUB}/login/provider/back"
ROLES = {"backup-admins": "admin", "backup-ops": "operator"}


@pytest.fixture(scope="module")
def organisation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Organisation]:
    """A provider that knows this hub."""
    with Organisation(tmp_path_factory.mktemp("canaille"), [BACK]) as running:
        yield running


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """A hub that knows no provider."""
    folder = tmp_path_factory.mktemp("hub")
    with whole_hub(folder, folder / "highball.db") as whole:
        yield whole


@pytest.fixture
def hub(installed: Whole, organisation: Organisation) -> Iterator[Whole]:
    """A hub that knows the provider, and none of its people."""
    configure(installed, organisation)
    sealed = installed.client().put("/api/v1/settings/oidc/secret", json={"value": SECRET})
    assert sealed.status_code == 204, sealed.text
    yield installed
    for account in installed.hub.access.list_users():
        if account.key in PEOPLE:
            installed.hub.access.delete_user(account.key, ANNA, utc_now())
    _say(installed, None)


def configure(hub: Whole, organisation: Organisation, **more: Any) -> None:
    """Declare the provider, and what else is said of it."""
    told: dict[str, Any] = {
        "issuer": organisation.issuer,
        "client_id": CLIENT,
        "client_secret": {"sealed": True},
        "scopes": ["profile", "email", "groups"],
        "roles": ROLES,
        "create_accounts": True,
        "label": "Example Org",
    }
    _say(hub, None)  # else what is said now is merged with what was said before
    _say(hub, told | more)


def _say(hub: Whole, oidc: dict[str, Any] | None) -> None:
    documents = hub.hub.documents
    revision, spec = documents.get("settings", "settings").revision, {"oidc": oidc}
    documents.patch("settings", "settings", spec, expected=revision, now=utc_now(), actor=ANNA)


def browser(hub: Whole) -> TestClient:
    return TestClient(hub.app, base_url=HUB, headers={"Accept": "text/html"}, follow_redirects=False)


class Person:
    """Somebody with one browser, which shows the hub's pages and the provider's."""

    def __init__(self, hub: Whole, organisation: Organisation, name: str) -> None:
        self.name = name
        self.here = browser(hub)
        self.organisation = organisation
        self.there = organisation.browser()

    def leave(self, to: str = "/", **more: str) -> str:
        """Press the button; where it leads."""
        sent = self.here.get("/login/provider", params={"to": to, **more})
        assert sent.status_code == 303, sent.text
        return str(sent.headers["location"])

    def come_back(self, address: str) -> httpx.Response:
        """Prove who one is there, and follow the way back."""
        back = self.organisation.visit(self.there, address, self.name)
        assert back.startswith(BACK)
        answer: httpx.Response = self.here.get(back)
        return answer

    def log_in(self, to: str = "/", **more: str) -> httpx.Response:
        """The whole way."""
        return self.come_back(self.leave(to, **more))

    def me(self) -> Any:
        return self.here.get("/api/v1/me", headers={"Accept": "application/json"}).json()


def code_of(answer: httpx.Response, hub: Whole, person: Person) -> str:
    """That a way back ended on the login page, with nobody logged in; the sentence on it."""
    assert answer.status_code in (401, 403), answer.text
    assert person.me()["code"] == "login_needed"
    assert 'href="/login/provider' in answer.text
    return answer.text


# --- who comes in, and as what ------------------------------------------------------------------------


def test_the_login_page_leads_to_the_provider_and_back_to_where_one_was_going(
    hub: Whole, organisation: Organisation
) -> None:
    ada = Person(hub, organisation, "ada")
    assert "Log in with Example Org" in ada.here.get("/login?to=/jobs").text
    address = ada.leave("/jobs")
    asked = {name: value[0] for name, value in parse_qs(urlsplit(address).query).items()}
    assert address.startswith(f"{organisation.issuer}/")
    assert (asked["redirect_uri"], asked["code_challenge_method"]) == (BACK, "S256")
    assert len({asked[name] for name in ("state", "nonce", "code_challenge")}) == 3
    assert SECRET not in address
    came = ada.come_back(address)
    assert (came.status_code, came.headers["location"]) == (303, "/jobs")
    told = ada.me()
    assert (told["name"], told["role"], told["user"]) == ("ada", "admin", "ada")
    account = hub.client().get("/api/v1/users/ada").json()
    assert (account["from_provider"], account["has_password"]) == (True, False)
    assert ada.here.post("/logout").status_code == 303
    assert ada.me()["code"] == "login_needed"


def test_the_role_is_what_the_provider_says_at_each_log_in(hub: Whole, organisation: Organisation) -> None:
    bob = Person(hub, organisation, "bob")
    bob.log_in()
    assert bob.me()["role"] == "operator"
    hub.hub.access.change_user("bob", User(role=Role.ADMIN), ANNA, utc_now())
    bob.here.post("/logout")
    bob.log_in()
    assert bob.me()["role"] == "operator"


def test_restoring_in_place_is_a_right_that_the_account_has_or_the_provider_gives(
    hub: Whole, organisation: Organisation
) -> None:
    access, bob = hub.hub.access, Person(hub, organisation, "bob")

    def may_after_log_in(**more: Any) -> bool:
        configure(hub, organisation, **more)
        assert bob.log_in().status_code == 303
        account, me = access.get_user("bob"), bob.me()
        bob.here.post("/logout")
        assert (me["role"], me["restore_in_place"]) == ("operator", account.user.restore_in_place)
        return account.user.restore_in_place

    assert not may_after_log_in(), "it is off where nobody says otherwise"
    access.change_user("bob", User(role=Role.OPERATOR, restore_in_place=True), ANNA, utc_now())
    revision = access.get_user("bob").revision
    assert may_after_log_in(), "what an administrator gave stays"
    assert may_after_log_in(restore_in_place=["chess"])
    assert access.get_user("bob").revision == revision, "nothing changed"
    assert not may_after_log_in(restore_in_place=["backup-admins"])
    assert may_after_log_in(restore_in_place=["backup-admins", "chess"])
    form = hub.client().get("/settings/users/bob").text
    assert "gives the role and the right to restore in place at each log-in" in form


def test_who_has_no_role_any_more_is_shut_out_everywhere(hub: Whole, organisation: Organisation) -> None:
    ada = Person(hub, organisation, "ada")
    ada.log_in()
    own = Token(role=Role.ADMIN, user="ada")
    _, value = hub.hub.access.create_token("of-ada", own, ANNA, utc_now())
    configure(hub, organisation, roles={"backup-ops": "operator"})
    again = Person(hub, organisation, "ada")
    assert "has no role here" in code_of(again.log_in(), hub, again)
    assert ada.me()["code"] == "login_needed", "her other session has ended"
    bearer = {"Authorization": f"Bearer {value.reveal().decode()}"}
    assert TestClient(hub.app).get("/api/v1/me", headers=bearer).json()["role"] == "viewer"


def test_who_was_never_mapped_gets_no_account_unless_there_is_a_role_for_all(
    hub: Whole, organisation: Organisation
) -> None:
    eve = Person(hub, organisation, "eve")
    assert "has no role here" in code_of(eve.log_in(), hub, eve)
    assert "eve" not in [one.key for one in hub.hub.access.list_users()]
    configure(hub, organisation, default_role="viewer")
    eve.log_in()
    assert eve.me()["role"] == "viewer"


def test_without_leave_to_make_accounts_only_whose_account_was_made_comes_in(
    hub: Whole, organisation: Organisation
) -> None:
    configure(hub, organisation, create_accounts=False)
    bob = Person(hub, organisation, "bob")
    assert "there is no account bob" in code_of(bob.log_in(), hub, bob).lower()
    hub.hub.access.create_user("bob", User(), ANNA, utc_now())
    bob.log_in()
    assert bob.me()["role"] == "operator"


def test_an_account_with_a_password_is_never_opened_by_a_name_at_the_provider(
    hub: Whole, organisation: Organisation
) -> None:
    access, now = hub.hub.access, utc_now()
    access.create_user("ada", User(role=Role.VIEWER), ANNA, now)
    access.use_link(access.make_link("ada", ANNA, now).token, SecretValue(PASSWORD.encode()), now)
    ada = Person(hub, organisation, "ada")
    assert "has a password" in code_of(ada.log_in(), hub, ada)
    assert access.get_user("ada").user.role is Role.VIEWER


def test_people_from_the_provider_get_no_password_and_the_last_admin_with_one_stays(
    hub: Whole, organisation: Organisation
) -> None:
    Person(hub, organisation, "ada").log_in()
    access = hub.hub.access
    with pytest.raises(NotAllowed) as raised:
        access.make_link("ada", ANNA, utc_now())
    assert raised.value.code == "account_of_provider"
    with pytest.raises(NotAllowed) as last:
        access.delete_user("anna", ANNA, utc_now())
    assert last.value.code == "last_admin"
    with_password = browser(hub).post("/login", data={"name": "anna", "password": PASSWORD})
    assert with_password.status_code == 303


def test_an_account_that_is_disabled_or_deleted_here_is_not_opened_from_there(
    hub: Whole, organisation: Organisation
) -> None:
    bob = Person(hub, organisation, "bob")
    bob.log_in()
    access = hub.hub.access
    access.change_user("bob", User(role=Role.OPERATOR, enabled=False), ANNA, utc_now())
    assert bob.me()["code"] == "login_needed"
    assert "is disabled here" in code_of(bob.log_in(), hub, bob)
    configure(hub, organisation, create_accounts=False)
    access.delete_user("bob", ANNA, utc_now())
    assert "there is no account bob" in code_of(bob.log_in(), hub, bob).lower()


# --- the way itself -----------------------------------------------------------------------------------


def test_another_browser_cannot_end_what_this_one_began(hub: Whole, organisation: Organisation) -> None:
    ada = Person(hub, organisation, "ada")
    state = parse_qs(urlsplit(ada.leave()).query)["state"][0]
    back = f"{BACK}?code=some&state={state}"
    victim = browser(hub)
    for prepare in (lambda: None, lambda: victim.get("/login/provider")):
        prepare()
        refused = victim.get(back)
        assert refused.status_code == 401
        assert "another browser" in refused.text
    assert ada.here.get(back.replace("state=", "state=x")).status_code == 401
    assert ada.here.get(back).status_code == 401, "the way was given up with that"


def test_a_way_back_counts_once(hub: Whole, organisation: Organisation) -> None:
    ada = Person(hub, organisation, "ada")
    address = ada.leave()
    cookies = dict(ada.here.cookies)
    back = organisation.visit(ada.there, address, "ada")
    assert ada.here.get(back).status_code == 303
    thief = browser(hub)
    for name, value in cookies.items():
        thief.cookies.set(name, value)
    refused = thief.get(back)
    assert refused.status_code >= 400, "the provider takes a code once"
    assert "invalid_grant" in refused.text


def test_who_says_no_at_the_provider_is_told_so_here(hub: Whole, organisation: Organisation) -> None:
    ada = Person(hub, organisation, "ada")
    state = parse_qs(urlsplit(ada.leave()).query)["state"][0]
    refused = ada.here.get("/login/provider/back", params={"state": state, "error": "access_denied"})
    assert "access_denied" in code_of(refused, hub, ada)


def test_nobody_is_sent_out_through_the_way_back(hub: Whole, organisation: Organisation) -> None:
    ada = Person(hub, organisation, "ada")
    assert ada.log_in("//evil.example/x").headers["location"] == "/"


def test_a_wrong_secret_is_told_without_showing_it(hub: Whole, organisation: Organisation) -> None:
    hub.client().put("/api/v1/settings/oidc/secret", json={"value": "another secret"})
    ada = Person(hub, organisation, "ada")
    state = parse_qs(urlsplit(ada.leave()).query)["state"][0]
    refused = ada.here.get("/login/provider/back", params={"state": state, "code": "some"})
    assert refused.status_code == 502
    assert "invalid_client" in refused.text
    assert "another secret" not in refused.text


def test_a_sealed_secret_counts_for_its_issuer_alone(hub: Whole, organisation: Organisation) -> None:
    configure(hub, organisation, issuer="https://evil.example")
    found = hub.hub._provider()
    assert found is not None
    with pytest.raises(Exception, match="nothing is sealed"):
        found.secret()


@pytest.mark.parametrize("place", [{"file": "/etc/shadow"}, {"env": "HOME"}, {"command": ["id"]}])
def test_only_the_hub_s_own_file_says_what_is_read_on_its_machine(
    hub: Whole, organisation: Organisation, place: dict[str, Any]
) -> None:
    with pytest.raises(NotAllowed) as raised:
        configure(hub, organisation, client_secret=place)
    assert raised.value.code == "secret_not_here"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("issuer", "http://id.example.org"),
        ("issuer", "https://user@id.example.org"),
        ("issuer", "https://id.example.org/?x"),
        ("issuer", "id.example.org"),
        ("roles", {"x": "root"}),
        ("scopes", ["a b"]),
        ("hosts", ["https://x"]),
        ("default_role", "owner"),
    ],
)
def test_what_cannot_be_a_provider_is_refused_where_it_is_declared(
    hub: Whole, organisation: Organisation, field: str, value: object
) -> None:
    with pytest.raises(ConfigurationInvalid) as raised:
        configure(hub, organisation, **{field: value})
    assert raised.value.problems[0].at.startswith(f"settings.oidc.{field}")


def test_a_provider_that_is_gone_leaves_the_passwords(hub: Whole, organisation: Organisation) -> None:
    configure(hub, organisation, issuer="http://127.0.0.1:9")
    answer = browser(hub).get("/login/provider")
    assert answer.status_code == 502
    assert "could not be reached" in answer.text
    assert browser(hub).post("/login", data={"name": "anna", "password": PASSWORD}).status_code == 303


def test_where_no_provider_is_configured_there_is_no_way_to_it(installed: Whole) -> None:
    client = browser(installed)
    assert "/login/provider" not in client.get("/login").text
    assert client.get("/login/provider").status_code == 404
    assert client.get("/login/provider/back?code=x&state=y").status_code == 401


# --- proving it again ---------------------------------------------------------------------------------


def test_who_is_to_prove_it_again_is_asked_by_the_provider(hub: Whole, organisation: Organisation) -> None:
    ada = Person(hub, organisation, "ada")
    ada.log_in()
    before = ada.me()["session"]
    address = ada.leave("/settings/users", again="1")
    asked = parse_qs(urlsplit(address).query)
    assert (asked["prompt"], asked["max_age"]) == (["login"], ["60"])
    assert ada.come_back(address).headers["location"] == "/settings/users"
    assert ada.me()["session"] not in (None, before)


def test_somebody_else_proves_nothing_for_who_is_logged_in(hub: Whole, organisation: Organisation) -> None:
    ada = Person(hub, organisation, "ada")
    ada.log_in()
    ada.name, ada.there = "bob", organisation.browser()
    refused = ada.log_in(again="1")
    assert refused.status_code == 403
    assert "another person" in refused.text
    assert ada.me()["name"] == "ada"
