"""Every page and every role: who may see and do what stands in one table, and no page is missing from it."""

from __future__ import annotations

import pytest
from fastapi.routing import iter_route_contexts

from api.test_roles import place_of
from api.whole import Whole
from highball.model.role import Role
from highball.web.error_responses import PROGRAMS

OPEN = None
VIEWER, OPERATOR, ADMIN = Role

ENTRANCE: dict[tuple[str, str], Role | None] = {
    ("GET", "/setup"): OPEN,
    ("POST", "/setup"): OPEN,
    ("GET", "/login"): OPEN,
    ("POST", "/login"): OPEN,
    ("POST", "/login/code"): OPEN,
    ("GET", "/login/provider"): OPEN,
    ("GET", "/login/provider/back"): OPEN,
    ("POST", "/logout"): OPEN,
    ("GET", "/password"): OPEN,
    ("POST", "/password"): OPEN,
    ("POST", "/theme"): OPEN,
}

OVERVIEW: dict[tuple[str, str], Role | None] = {("GET", "/"): VIEWER, ("GET", "/rail"): VIEWER}

START: dict[tuple[str, str], Role | None] = {
    ("GET", "/start"): ADMIN,
    ("POST", "/start/repository"): ADMIN,
    ("POST", "/start/kit"): ADMIN,
    ("POST", "/start/job"): ADMIN,
    ("POST", "/start/back"): ADMIN,
    ("POST", "/start/run"): ADMIN,
}

RUNS: dict[tuple[str, str], Role | None] = {
    ("GET", "/runs"): VIEWER,
    ("GET", "/runs/{id}"): VIEWER,
    ("GET", "/runs/{id}/log"): VIEWER,
    ("GET", "/runs/{id}/log/{seq}"): VIEWER,
    ("GET", "/runs/{id}/cancel"): OPERATOR,
    ("POST", "/runs/{id}/cancel"): OPERATOR,
    ("POST", "/runs/{id}/again"): OPERATOR,
}

RESTORE: dict[tuple[str, str], Role | None] = {
    ("GET", "/restore"): VIEWER,
    ("POST", "/restore"): OPERATOR,
    ("GET", "/restore/folder"): VIEWER,
    ("GET", "/repositories/{key}/snapshots"): VIEWER,
    ("POST", "/repositories/{key}/snapshots/{snapshot}/pin"): ADMIN,
    ("POST", "/repositories/{key}/snapshots/{snapshot}/unpin"): ADMIN,
    ("GET", "/repositories/{key}/snapshots/{snapshot}/remove"): OPERATOR,
    ("POST", "/repositories/{key}/snapshots/{snapshot}/remove"): OPERATOR,
    ("GET", "/repositories/{key}/compare"): VIEWER,
    ("GET", "/repositories/{key}/foreign"): VIEWER,
    ("GET", "/repositories/{key}/foreign/{group}/adopt"): ADMIN,
    ("POST", "/repositories/{key}/foreign/{group}/adopt"): ADMIN,
    ("POST", "/repositories/{key}/foreign/{group}/release"): ADMIN,
}

REPOSITORIES: dict[tuple[str, str], Role | None] = {
    ("GET", "/repositories"): VIEWER,
    ("GET", "/repositories/{key}/keys"): VIEWER,
    ("GET", "/repositories/{key}/keys/listed"): VIEWER,
    ("GET", "/repositories/{key}/keys/rotate"): ADMIN,
    ("POST", "/repositories/{key}/keys/rotate"): ADMIN,
    ("GET", "/repositories/{key}/keys/add"): ADMIN,
    ("POST", "/repositories/{key}/keys/add"): ADMIN,
    ("POST", "/repositories/{key}/keys/undo"): ADMIN,
    ("GET", "/repositories/{key}/keys/remove"): ADMIN,
    ("POST", "/repositories/{key}/keys/remove"): ADMIN,
    ("GET", "/repositories/new"): ADMIN,
    ("POST", "/repositories/new"): ADMIN,
    ("POST", "/repositories/address"): ADMIN,
    ("GET", "/repositories/{key}/edit"): ADMIN,
    ("POST", "/repositories/{key}/edit"): ADMIN,
    ("POST", "/repositories/{key}/kept"): ADMIN,
    ("GET", "/repositories/{key}"): VIEWER,
    ("GET", "/repositories/{key}/locks"): VIEWER,
    ("GET", "/repositories/{key}/anew"): ADMIN,
    ("POST", "/repositories/{key}/anew"): ADMIN,
    ("GET", "/repositories/{key}/repair"): VIEWER,
    ("GET", "/repositories/{key}/unlock"): OPERATOR,
    ("POST", "/repositories/{key}/unlock"): OPERATOR,
    ("POST", "/repositories/{key}/test"): OPERATOR,
    ("POST", "/repositories/{key}/run"): OPERATOR,
    ("POST", "/repositories/{key}/pause"): OPERATOR,
    ("POST", "/repositories/{key}/resume"): OPERATOR,
    ("GET", "/repositories/{key}/delete"): ADMIN,
    ("POST", "/repositories/{key}/delete"): ADMIN,
    ("GET", "/repositories/{key}/retention"): VIEWER,
    ("GET", "/repositories/{key}/discard"): OPERATOR,
    ("POST", "/repositories/{key}/discard"): OPERATOR,
    ("GET", "/repositories/{key}/off"): ADMIN,
    ("POST", "/repositories/{key}/maintenance"): ADMIN,
    ("GET", "/repositories/{key}/kit"): ADMIN,
    ("POST", "/repositories/{key}/kit"): ADMIN,
}

KEYS: dict[tuple[str, str], Role | None] = {
    ("GET", "/repositories/{key}/keys"): VIEWER,
    ("GET", "/repositories/{key}/keys/listed"): VIEWER,
    **{("GET", f"/repositories/{{key}}/keys/{act}"): ADMIN for act in ("rotate", "add", "remove")},
    **{("POST", f"/repositories/{{key}}/keys/{act}"): ADMIN for act in ("rotate", "add", "undo", "remove")},
}

MAINTENANCE: dict[tuple[str, str], Role | None] = {
    ("GET", "/maintenance"): VIEWER,
    ("POST", "/maintenance/run"): OPERATOR,
    ("POST", "/maintenance/pause"): OPERATOR,
    ("POST", "/maintenance/resume"): OPERATOR,
    ("GET", "/holds/{id}/accept"): OPERATOR,
    ("POST", "/holds/{id}/accept"): OPERATOR,
}

HOSTS: dict[tuple[str, str], Role | None] = {
    ("GET", "/hosts"): VIEWER,
    ("GET", "/hosts/{key}/shut-out"): ADMIN,
    ("POST", "/hosts/{key}/shut-out"): ADMIN,
}

SETTINGS: dict[tuple[str, str], Role | None] = {
    ("GET", "/settings"): VIEWER,
    ("POST", "/settings/password"): VIEWER,
    ("GET", "/settings/second-factor"): VIEWER,
    ("POST", "/settings/second-factor"): VIEWER,
    ("POST", "/settings/second-factor/confirm"): VIEWER,
    ("POST", "/settings/second-factor/recovery-codes"): VIEWER,
    ("POST", "/settings/second-factor/remove"): VIEWER,
    ("POST", "/settings/sessions/end-others"): VIEWER,
    ("POST", "/settings/sessions/{id}/end"): VIEWER,
    ("GET", "/settings/own-tokens/new"): VIEWER,
    ("POST", "/settings/own-tokens"): VIEWER,
    ("GET", "/settings/own-tokens/{key}/delete"): VIEWER,
    ("POST", "/settings/own-tokens/{key}/delete"): VIEWER,
    ("GET", "/settings/appearance"): VIEWER,
    ("GET", "/settings/general"): VIEWER,
    ("POST", "/settings/general"): ADMIN,
    ("GET", "/settings/hub"): ADMIN,
    ("POST", "/settings/hub/backups"): ADMIN,
    ("GET", "/settings/users"): ADMIN,
    ("POST", "/settings/users"): ADMIN,
    ("GET", "/settings/users/new"): ADMIN,
    ("GET", "/settings/users/{key}"): ADMIN,
    ("POST", "/settings/users/{key}"): ADMIN,
    ("POST", "/settings/users/{key}/link"): ADMIN,
    ("POST", "/settings/users/{key}/end-sessions"): ADMIN,
    ("GET", "/settings/users/{key}/reset-second-factor"): ADMIN,
    ("POST", "/settings/users/{key}/reset-second-factor"): ADMIN,
    ("GET", "/settings/users/{key}/delete"): ADMIN,
    ("POST", "/settings/users/{key}/delete"): ADMIN,
    ("GET", "/settings/tokens"): ADMIN,
    ("POST", "/settings/tokens"): ADMIN,
    ("GET", "/settings/tokens/new"): ADMIN,
    ("GET", "/settings/tokens/{key}"): ADMIN,
    ("POST", "/settings/tokens/{key}"): ADMIN,
    ("GET", "/settings/tokens/{key}/renew"): ADMIN,
    ("POST", "/settings/tokens/{key}/renew"): ADMIN,
    ("GET", "/settings/tokens/{key}/delete"): ADMIN,
    ("POST", "/settings/tokens/{key}/delete"): ADMIN,
}

HISTORY: dict[tuple[str, str], Role | None] = {
    ("GET", "/activity"): ADMIN,
    ("GET", "/history/{kind}/{key}"): VIEWER,
    ("GET", "/history/{kind}/{key}/undo"): ADMIN,
    ("POST", "/history/{kind}/{key}/undo"): ADMIN,
    ("GET", "/deleted"): ADMIN,
    ("POST", "/deleted/restore"): ADMIN,
    ("GET", "/deleted/purge"): ADMIN,
    ("POST", "/deleted/purge"): ADMIN,
    ("GET", "/keys/{kind}/{key}"): ADMIN,
    ("POST", "/keys/{kind}/{key}"): ADMIN,
}

CONFIGURATION: dict[tuple[str, str], Role | None] = {
    ("GET", "/configuration"): ADMIN,
    ("POST", "/configuration"): ADMIN,
    ("POST", "/configuration/preview"): ADMIN,
    ("GET", "/profiles"): VIEWER,
    ("POST", "/profiles"): ADMIN,
    ("GET", "/profiles/new"): ADMIN,
    ("GET", "/profiles/{key}"): VIEWER,
    ("POST", "/profiles/{key}"): ADMIN,
    ("GET", "/profiles/{key}/delete"): ADMIN,
    ("POST", "/profiles/{key}/delete"): ADMIN,
}

JOBS: dict[tuple[str, str], Role | None] = {
    ("GET", "/jobs"): VIEWER,
    ("POST", "/jobs"): OPERATOR,
    ("GET", "/jobs/new"): ADMIN,
    ("POST", "/jobs/new"): ADMIN,
    ("GET", "/jobs/new/times"): ADMIN,
    ("GET", "/jobs/new/kept"): ADMIN,
    ("GET", "/folders"): ADMIN,
    ("GET", "/jobs/{key}/edit"): ADMIN,
    ("POST", "/jobs/{key}/edit"): ADMIN,
    ("GET", "/jobs/{key}"): VIEWER,
    ("GET", "/jobs/{key}/keeping"): VIEWER,
    ("GET", "/jobs/{key}/trend"): VIEWER,
    ("GET", "/jobs/{key}/test"): OPERATOR,
    ("POST", "/jobs/{key}/run"): OPERATOR,
    ("POST", "/jobs/{key}/prove"): OPERATOR,
    ("POST", "/jobs/{key}/pause"): OPERATOR,
    ("POST", "/pauses"): OPERATOR,
    ("POST", "/pauses/end"): OPERATOR,
    ("POST", "/jobs/{key}/resume"): OPERATOR,
    ("GET", "/jobs/{key}/delete"): ADMIN,
    ("POST", "/jobs/{key}/delete"): ADMIN,
}

TABLE = {
    **ENTRANCE,
    **OVERVIEW,
    **START,
    **RUNS,
    **RESTORE,
    **REPOSITORIES,
    **KEYS,
    **MAINTENANCE,
    **HOSTS,
    **SETTINGS,
    **HISTORY,
    **CONFIGURATION,
    **JOBS,
}


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
