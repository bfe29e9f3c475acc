"""Every page and every role: who may see and do what stands in one table, and no page is missing from it."""

from __future__ import annotations

import pytest
from fastapi.routing import iter_route_contexts

from api.test_roles import place_of
from api.whole import Whole
from highball.spec.access import Role
from highball.web.problems import PROGRAMS

OPEN = None
VIEWER, OPERATOR, ADMIN = Role

ENTRANCE: dict[tuple[str, str], Role | None] = {
    ("GET", "/setup"): OPEN,
    ("POST", "/setup"): OPEN,
    ("GET", "/login"): OPEN,
    ("POST", "/login"): OPEN,
    ("POST", "/logout"): OPEN,
    ("GET", "/password"): OPEN,
    ("POST", "/password"): OPEN,
    ("POST", "/theme"): OPEN,
}

OVERVIEW: dict[tuple[str, str], Role | None] = {("GET", "/"): VIEWER}

START: dict[tuple[str, str], Role | None] = {
    ("GET", "/start"): ADMIN,
    ("POST", "/start/repository"): ADMIN,
    ("POST", "/start/kit"): ADMIN,
    ("POST", "/start/job"): ADMIN,
}

JOBS: dict[tuple[str, str], Role | None] = {
    ("GET", "/jobs"): VIEWER,
    ("POST", "/jobs"): OPERATOR,
    ("GET", "/jobs/{key}"): VIEWER,
    ("GET", "/jobs/{key}/keeping"): VIEWER,
    ("GET", "/jobs/{key}/test"): OPERATOR,
    ("POST", "/jobs/{key}/run"): OPERATOR,
    ("POST", "/jobs/{key}/prove"): OPERATOR,
    ("POST", "/jobs/{key}/pause"): OPERATOR,
    ("POST", "/jobs/{key}/resume"): OPERATOR,
    ("GET", "/jobs/{key}/delete"): ADMIN,
    ("POST", "/jobs/{key}/delete"): ADMIN,
}

TABLE = {**ENTRANCE, **OVERVIEW, **START, **JOBS}


def test_the_table_names_every_page_there_is(whole: Whole) -> None:
    there = {
        (method, str(route.path))
        for route in iter_route_contexts(whole.app.routes)
        for method in (route.methods or ())
        if method != "HEAD" and not str(route.path).startswith(PROGRAMS)
    }
    assert there == set(TABLE)


@pytest.mark.parametrize(("method", "path"), TABLE)
def test_a_page_lets_in_who_has_its_role_and_nobody_else(whole: Whole, method: str, path: str) -> None:
    least = TABLE[method, path]
    for role in (None, *Role):
        answer = whole.client(role).request(method, place_of(path), follow_redirects=False)
        if least is OPEN or (role is not None and role.includes(least)):
            assert answer.status_code < 500, (role, answer.text)
            assert least is OPEN or answer.status_code not in (401, 403), (role, answer.text)
        elif role is None and method == "GET":
            assert answer.headers["location"].startswith("/login?to="), (role, answer.text)
        else:
            assert answer.status_code == (401 if role is None else 403), (role, answer.text)
