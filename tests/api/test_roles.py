"""Every address and every role: who is let in stands in one table, and no address is missing from it."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.routing import iter_route_contexts

from api.whole import BACKUP, CHECK, SNAPSHOT, Whole
from highball.model.role import Role
from highball.web.error_responses import PROGRAMS

API = "/api/v1"
OPEN = None
VIEWER, OPERATOR, ADMIN = Role
ROLES = (None, *Role)

ACCESS: dict[tuple[str, str], Role | None] = {
    ("GET", "/setup"): OPEN,
    ("POST", "/setup"): OPEN,
    ("POST", "/login"): OPEN,
    ("POST", "/logout"): OPEN,
    ("POST", "/password"): OPEN,
    ("GET", "/me"): VIEWER,
    ("PUT", "/me/password"): VIEWER,
    ("GET", "/me/sessions"): VIEWER,
    ("DELETE", "/me/sessions"): VIEWER,
    ("DELETE", "/me/sessions/{id}"): VIEWER,
    ("GET", "/me/second-factor"): VIEWER,
    ("POST", "/me/second-factor"): VIEWER,
    ("POST", "/me/second-factor/confirm"): VIEWER,
    ("POST", "/me/second-factor/recovery-codes"): VIEWER,
    ("POST", "/me/second-factor/remove"): VIEWER,
    ("POST", "/me/confirmation"): VIEWER,
    ("GET", "/me/tokens"): VIEWER,
    ("POST", "/me/tokens"): VIEWER,
    ("DELETE", "/me/tokens/{key}"): VIEWER,
    ("GET", "/users"): ADMIN,
    ("POST", "/users"): ADMIN,
    ("GET", "/users/{key}"): ADMIN,
    ("PUT", "/users/{key}"): ADMIN,
    ("DELETE", "/users/{key}"): ADMIN,
    ("POST", "/users/{key}/link"): ADMIN,
    ("DELETE", "/users/{key}/second-factor"): ADMIN,
    ("DELETE", "/users/{key}/sessions"): ADMIN,
    ("GET", "/tokens"): ADMIN,
    ("POST", "/tokens"): ADMIN,
    ("GET", "/tokens/{key}"): ADMIN,
    ("PUT", "/tokens/{key}"): ADMIN,
    ("DELETE", "/tokens/{key}"): ADMIN,
    ("POST", "/tokens/{key}/value"): ADMIN,
    ("GET", "/audit"): ADMIN,
    ("GET", "/repositories/{key}/secrets"): ADMIN,
    ("GET", "/repositories/{key}/secrets/{secret}"): ADMIN,
    ("PUT", "/repositories/{key}/secrets/{secret}"): ADMIN,
    ("DELETE", "/repositories/{key}/secrets/{secret}"): ADMIN,
    ("POST", "/repositories/{key}/secrets/{secret}/bring-back"): ADMIN,
}

DECLARED: dict[tuple[str, str], Role | None] = {
    ("GET", ""): VIEWER,
    ("POST", ""): ADMIN,
    ("GET", "/{key}"): VIEWER,
    ("PUT", "/{key}"): ADMIN,
    ("PATCH", "/{key}"): ADMIN,
    ("DELETE", "/{key}"): ADMIN,
    ("GET", "/{key}/history"): VIEWER,
    ("POST", "/{key}/rename"): ADMIN,
    ("POST", "/{key}/rekey"): ADMIN,
    ("POST", "/{key}/undo"): ADMIN,
    ("POST", "/{key}/copy"): ADMIN,
    ("POST", "/{key}/restore"): ADMIN,
    ("POST", "/{key}/purge"): ADMIN,
}
"""The same for each kind of thing that people declare."""

WORK: dict[tuple[str, str], Role | None] = {
    ("GET", "/settings"): VIEWER,
    ("PUT", "/settings"): ADMIN,
    ("GET", "/settings/history"): VIEWER,
    ("PUT", "/settings/oidc/secret"): ADMIN,
    ("DELETE", "/settings/oidc/secret"): ADMIN,
    ("GET", "/defaults"): VIEWER,
    ("PUT", "/defaults"): ADMIN,
    ("GET", "/defaults/history"): VIEWER,
    ("GET", "/configuration"): ADMIN,
    ("PUT", "/configuration"): ADMIN,
    ("POST", "/configuration/preview"): ADMIN,
    ("POST", "/apply"): ADMIN,
    ("GET", "/deleted"): ADMIN,
    ("GET", "/jobs/{key}/effective"): VIEWER,
    ("GET", "/overview"): VIEWER,
    ("GET", "/status"): VIEWER,
    ("GET", "/runs"): VIEWER,
    ("POST", "/runs"): OPERATOR,
    ("GET", "/runs/{run}"): VIEWER,
    ("POST", "/runs/{run}/cancel"): OPERATOR,
    ("POST", "/runs/{run}/accept"): OPERATOR,
    ("GET", "/runs/{run}/events"): VIEWER,
    ("GET", "/runs/{run}/log"): VIEWER,
    ("GET", "/stream"): VIEWER,
    ("GET", "/agents"): VIEWER,
    ("GET", "/hosts/{host}/browse"): OPERATOR,
    ("POST", "/hosts/{host}/measure"): OPERATOR,
    ("POST", "/repositories/test"): ADMIN,
    ("POST", "/hosts/{host}/invitation"): ADMIN,
    ("DELETE", "/hosts/{host}/agent"): ADMIN,
    ("POST", "/repositories/{key}/test"): OPERATOR,
    ("POST", "/jobs/{key}/test"): OPERATOR,
    ("GET", "/repositories/{key}/snapshots"): VIEWER,
    ("GET", "/repositories/{key}/locks"): VIEWER,
    ("GET", "/repositories/{key}/figures"): VIEWER,
    ("GET", "/repository-figures"): VIEWER,
    ("GET", "/repositories/{key}/loss"): ADMIN,
    ("POST", "/repositories/{key}/give-up"): ADMIN,
    ("GET", "/repositories/{key}/keys"): VIEWER,
    ("POST", "/repositories/{key}/keys"): ADMIN,
    ("POST", "/repositories/{key}/keys/rotate"): ADMIN,
    ("POST", "/repositories/{key}/keys/{id}/remove"): ADMIN,
    ("GET", "/repositories/{key}/snapshots/{snapshot}/folder"): VIEWER,
    ("GET", "/repositories/{key}/snapshots/{snapshot}/nodes"): VIEWER,
    ("GET", "/repositories/{key}/snapshots/{snapshot}/content"): OPERATOR,
    ("GET", "/repositories/{key}/differences"): VIEWER,
    ("POST", "/restores/preview"): OPERATOR,
    ("GET", "/repositories/{key}/retention"): VIEWER,
    ("GET", "/repositories/{key}/trend"): VIEWER,
    ("GET", "/repositories/{key}/foreign"): VIEWER,
    ("GET", "/repositories/{key}/foreign/{group}/retention"): VIEWER,
    ("POST", "/repositories/{key}/foreign/{group}/adopt"): ADMIN,
    ("POST", "/repositories/{key}/foreign/{group}/release"): ADMIN,
    ("GET", "/repositories/{key}/recovery-kit"): ADMIN,
    ("GET", "/hub/backups"): ADMIN,
    ("POST", "/hub/backups"): ADMIN,
    ("GET", "/maintenance/jobs"): VIEWER,
    ("GET", "/maintenance/jobs/{id}"): VIEWER,
    ("GET", "/maintenance/runs"): VIEWER,
    ("GET", "/maintenance/runs/{id}"): VIEWER,
    ("POST", "/settings/retention/preview"): VIEWER,
    ("POST", "/settings/retention/run"): OPERATOR,
    ("GET", "/holds"): VIEWER,
    ("POST", "/holds/{id}/accept"): OPERATOR,
    ("POST", "/repositories/{key}/accept"): OPERATOR,
    ("GET", "/upcoming"): VIEWER,
    ("GET", "/pauses"): VIEWER,
    ("POST", "/pauses"): OPERATOR,
    ("DELETE", "/pauses"): OPERATOR,
    ("POST", "/jobs/{key}/pause"): OPERATOR,
    ("POST", "/jobs/{key}/resume"): OPERATOR,
}

OUTSIDE: dict[tuple[str, str], Role | None] = {
    ("GET", f"{API}/openapi.json"): OPEN,
    ("GET", "/healthz"): OPEN,
    ("POST", "/agent/v1/bulk/{ticket}"): OPEN,  # the ticket opens it, once
}

KINDS = {"hosts": "here", "repositories": "nas", "jobs": "docs", "profiles": "often", "pins": "first"}
"""The tables, and a key in each."""

TABLE: dict[tuple[str, str], Role | None] = {
    **{(method, API + path): least for (method, path), least in {**ACCESS, **WORK}.items()},
    **{
        (method, f"{API}/{kind}{path}"): least for kind in KINDS for (method, path), least in DECLARED.items()
    },
    **OUTSIDE,
}

BODIES: dict[str, Any] = {
    "/password": {"token": "x", "password": "four words in a row"},
    "/me/password": {"old": "x", "new": "four words in a row"},
    "/secrets/{secret}": {"value": "x"},
    "/login": {"name": "anna", "password": "four words in a row"},
    "/setup": {"token": "x", "name": "x", "password": "four words in a row"},
    "/users": {"key": "fresh"},
    "/tokens": {"key": "fresh"},
    "/rename": {"title": "x"},
    "/rekey": {"key": "docs"},
    "/copy": {"key": "docs"},
    "/undo": {"to": 1},
    "/runs": {"task": "backup", "job": "docs"},
    "/repositories/test": {"spec": {"url": "/mnt/new", "password": {"env": "X"}}},
    "/adopt": {"job": "docs"},
    "/measure": {"sources": ["/docs"]},
    "/restores/preview": {"repository": "nas", "snapshot": SNAPSHOT},
}


def place_of(path: str) -> str:
    """A place at this address; users and tokens that are not there, so that those who ask stay."""
    table = path.removeprefix(f"{API}/").split("/")[0]
    told = {"{key}": KINDS.get(table, "nobody"), "{host}": "here", "{snapshot}": SNAPSHOT, "{ticket}": "x"}
    told |= {"{group}": "0" * 12, "{secret}": "password", "{run}": BACKUP, "{id}": CHECK, "{seq}": "1"}
    for name, value in told.items():
        path = path.replace(name, value)
    return path


def test_the_table_names_every_address_there_is(whole: Whole) -> None:
    routes = list(iter_route_contexts(whole.app.routes))
    there = {
        (method, str(route.path)) for route in routes for method in (route.methods or ()) if method != "HEAD"
    }
    assert {one for one in there if one[1].startswith(PROGRAMS)} == set(TABLE)
    sockets = {route.path for route in routes if not route.methods and route.path != "/static"}
    assert sockets == {"/agent/v1/link"}, "an agent proves itself there by its key"


@pytest.mark.parametrize(("method", "path"), TABLE)
def test_an_address_lets_in_who_has_its_role_and_nobody_else(whole: Whole, method: str, path: str) -> None:
    least = TABLE[method, path]
    body: Any = next((body for end, body in BODIES.items() if path.endswith(end)), {})
    for role in ROLES:
        allowed = least is OPEN or (role is not None and role.includes(least))
        if allowed and path.endswith("/stream"):
            continue  # it never ends, and is read where a hub serves
        # Half of a change's condition: whoever is let in is told that the revision is another one.
        headers = {"If-Match": '"999"'}
        answer = whole.client(role).request(
            method, place_of(path), json=None if method == "GET" else body, headers=headers
        )
        code = answer.json()["code"] if answer.status_code >= 400 and answer.content else None
        if allowed:
            assert code not in ("login_needed", "not_allowed"), (role, answer.text)
            assert answer.status_code < 500 or code == "host_offline", (role, answer.text)
        else:
            wanted = (401, "login_needed") if role is None else (403, "not_allowed")
            assert (answer.status_code, code) == wanted, (role, answer.text)
