"""What nobody sends by mistake: too much, too deep, out of all time, and text that is none. Each is told so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from hypothesis import given
from hypothesis import strategies as st

from api.whole import Whole, whole_hub
from highball.web.json_limits import DEEPEST, find_fault

API = "/api/v1"
JSON = {"content-type": "application/json"}
LISTS = ("runs", "jobs", "upcoming", "audit", "maintenance/runs")


@pytest.fixture
def api(whole: Whole) -> TestClient:
    """An admin's program: whoever may do all does most harm."""
    return whole.client()


def assert_refused(answer: Response, *statuses: int) -> Any:
    """A problem, in so many words."""
    assert answer.status_code in (statuses or (400, 404, 409, 412, 422)), answer.text[:300]
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) < 8000, "it does not repeat what was sent"
    told = answer.json()
    assert {"type", "title", "status", "detail", "code", "hint", "problems"} <= set(told)
    return told


def send(api: TestClient, method: str, path: str, body: bytes | str, **headers: str) -> Response:
    """Send these very bytes as JSON."""
    answer: Response = api.request(
        method, f"{API}{path}", content=body, headers={**JSON, "If-Match": '"1"', **headers}
    )
    return answer


# --- how much -----------------------------------------------------------------------------------------


def test_a_body_of_5_mib_goes_no_further(api: TestClient) -> None:
    for path, kind in (("/jobs?key=x", "application/json"), ("/apply?file=x", "application/yaml")):
        answer = api.post(API + path, content=b'"' + b"x" * (5 << 20), headers={"content-type": kind})
        assert assert_refused(answer, 413)["code"] == "too_large"


def test_headers_and_addresses_end_somewhere(api: TestClient) -> None:
    many = [("Authorization", api.headers["Authorization"]), *((f"x-{n}", "") for n in range(10_000))]
    assert_refused(TestClient(api.app, base_url="https://hub.example").get(f"{API}/me", headers=many), 431)
    assert_refused(api.get(f"{API}/runs", params={"job": "x" * 60_000}), 414)
    assert_refused(api.get(f"{API}/runs/{'x' * 60_000}"), 414)


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", ["1000000000", "0", "-1", "9" * 5000, "NaN", "1e3"])
def test_a_list_has_a_length_that_is_one(api: TestClient, path: str, limit: str) -> None:
    assert_refused(api.get(f"{API}/{path}", params={"limit": limit}), 422)


@pytest.mark.parametrize("key", ["x" * 10_000, "x" * 201, "é", "\xff", "a b", ""])
def test_an_idempotency_key_is_short_and_plain(api: TestClient, key: str) -> None:
    order = {"task": "backup", "job": "docs"}
    headers = [(b"idempotency-key", key.encode("latin-1"))]
    assert_refused(api.post(f"{API}/runs", json=order, headers=headers), 422)


# --- how deep -----------------------------------------------------------------------------------------

BODIES = (
    ("POST", "/jobs?key=x", '{"sources":%s}'),
    ("PATCH", "/jobs/docs", '{"retention":%s}'),
    ("POST", "/runs", '{"task":"backup","job":"docs","paths":%s}'),
    ("POST", "/login", '{"name":%s}'),
    ("PUT", "/settings", '{"x":%s}'),
    ("POST", "/jobs/docs/restore", '{"spec":%s}'),
    ("POST", "/repositories?key=x", '{"url":%s}'),
)


@pytest.mark.parametrize(("method", "path", "body"), BODIES)
@pytest.mark.parametrize("depth", [DEEPEST - 1, DEEPEST, 900, 100_000])
def test_json_is_not_nested_without_end(
    api: TestClient, method: str, path: str, body: str, depth: int
) -> None:
    for nested in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth):
        told = assert_refused(send(api, method, path, body % nested))
        assert depth < DEEPEST or "nested more than" in told["problems"][0]["message"]


@pytest.mark.parametrize("text", ["jobs: " + "[" * 5000, "jobs: " + "{a: " * 5000, "- " * 5000])
def test_neither_is_a_configuration(api: TestClient, text: str) -> None:
    told = api.post(f"{API}/configuration/preview", content=text)
    assert "nested more than" in told.json()["problems"][0]["message"]
    assert_refused(api.post(f"{API}/apply?file=x", content=text), 422)
    assert_refused(
        api.post(
            f"{API}/apply?file=x", content="a = " + "[" * 5000, headers={"content-type": "application/toml"}
        )
    )


# --- text that is none --------------------------------------------------------------------------------

WORDS = (
    ("POST", "/jobs?key=x", '{"sources":["/x"],"repositories":["nas"],"title":%s}'),
    ("PATCH", "/jobs/docs", '{"title":%s}'),
    ("PATCH", "/jobs/docs", "{%s:1}"),
    ("POST", "/runs", '{"task":"backup","job":%s}'),
    ("POST", "/runs", '{"task":"hub-backup","job":%s}'),
    ("POST", "/runs", '{"task":"verify","repository":"nas","snapshot":%s}'),
    ("POST", "/runs", '{"task":"restore","repository":"nas","snapshot":"x","paths":[%s]}'),
    ("POST", "/login", '{"name":%s,"password":"x"}'),
    ("POST", "/setup", '{"token":%s,"name":"x","password":"x"}'),
    ("POST", "/users", '{"key":"u1","title":%s}'),
    ("POST", "/tokens", '{"key":"t2","user":%s}'),
    ("PUT", "/repositories/far/secrets/password", '{"value":%s}'),
    ("POST", "/jobs/docs/pause", '{"reason":%s}'),
    ("POST", "/jobs/docs/rekey", '{"key":%s}'),
    ("POST", "/pins?key=p9", '{"repository":"nas","snapshot":"abcdef123","reason":%s}'),
    ("POST", "/settings/retention/preview", '{"job_id":%s,"repository_id":"nas"}'),
)
NO_TEXT = [
    b'"\\u0000"',
    b'"\\ud800"',
    b'"\\udcff"',
    b'"\\udc00\\ud800"',
    b'"\xed\xa0\x80"',
    b'"\xff"',
    b'"\0"',
]


@pytest.mark.parametrize(("method", "path", "body"), WORDS)
def test_nul_and_halves_of_characters_are_no_text(api: TestClient, method: str, path: str, body: str) -> None:
    for odd in NO_TEXT:
        found = send(api, method, path, body.encode().replace(b"%s", odd))
        assert assert_refused(found, 422)["problems"][0]["at"] == "body"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_numbers_that_are_none(api: TestClient, number: str) -> None:
    for method, path, body in (
        ("POST", "/runs", '{"task":"backup","job":"docs","wait_seconds":%s}'),
        ("PATCH", "/jobs/docs", '{"retention":{"last":%s}}'),
        ("POST", "/jobs/docs/undo", '{"to":%s}'),
    ):
        assert_refused(send(api, method, path, body % number))


def test_another_encoding_hides_nothing(api: TestClient) -> None:
    for encoding in ("utf-16", "utf-16-le", "utf-32-le"):
        assert_refused(send(api, "POST", "/jobs/docs/pause", '{"reason":"\\ud800"}'.encode(encoding)), 422)


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(
    st.recursive(
        st.none() | st.integers() | TEXT,
        lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    )
)
def test_json_that_is_sound_is_let_in(value: Any) -> None:
    for plain in (True, False):
        assert find_fault(json.dumps(value, ensure_ascii=plain).encode()) is None


# --- places that are none -----------------------------------------------------------------------------

ODD_IDS = [
    "\0",
    "..",
    "../../etc/passwd",
    "x" * 10_000,
    "_" * 25_000,
    "é" * 2000,
    "%",
    "A B",
    "'; --",
    "\u202e",
]


@pytest.fixture(params=["sqlite", "postgresql"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Whole]:
    """A hub on each of the two databases in turn."""
    where = tmp_path / "highball.db" if request.param == "sqlite" else request.getfixturevalue("postgres")
    with whole_hub(tmp_path / "state", where) as hub:
        yield hub


def test_an_id_that_is_none_names_nothing(anywhere: Whole, pytestconfig: pytest.Config) -> None:
    # each address meets some of them every day, others than its neighbour, and with --all every one
    turns = (0, 3, 7) if not pytestconfig.getoption("--all") else range(len(ODD_IDS))
    api, number = anywhere.client(), 0
    for path, operations in anywhere.app.openapi()["paths"].items():
        if "{" not in path:
            continue
        for method in operations:
            number += 1
            for odd in (ODD_IDS[(number + turn) % len(ODD_IDS)] for turn in turns):
                named = "".join(
                    quote(odd, safe="") if part.startswith("{") else part
                    for part in path.replace("}", "}\n").replace("{", "\n{").split("\n")
                )
                body = None if method == "get" else b'{"value":"x"}' if "secrets" in path else b"{}"
                answer = api.request(method, named, content=body, headers={**JSON, "If-Match": '"1"'})
                if answer.status_code == 502:
                    assert answer.json()["code"] == "host_offline"
                else:
                    assert_refused(answer, 400, 403, 404, 405, 412, 414, 422, 428)


def test_a_question_with_any_words_is_answered(anywhere: Whole) -> None:
    api = anywhere.client()
    for path, operations in anywhere.app.openapi()["paths"].items():
        asked = operations.get("get")
        if asked is None or "{" in path or path.endswith("/stream"):
            continue
        for parameter in asked.get("parameters", []):
            for odd in ODD_IDS if parameter["in"] == "query" else ():
                answer = api.get(path, params={parameter["name"]: odd})
                assert answer.status_code == 200 or assert_refused(answer, 404, 414, 422)


# --- times --------------------------------------------------------------------------------------------

NO_TIMES = [
    "2026-01-01T00:00:00",
    "2026-01-01",
    "0001-01-01T00:00:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "1767225600",
    "99999999999999",
    "-62135596800",
    "NaN",
    "1e400",
    "10000-01-01T00:00:00Z",
    "now",
]


@pytest.mark.parametrize("time", NO_TIMES)
def test_a_time_that_could_be_another_is_refused(api: TestClient, time: str) -> None:
    for path, name in (("runs", "since"), ("runs", "until"), ("audit", "from"), ("audit", "to")):
        assert_refused(api.get(f"{API}/{path}", params={name: time}), 422)
    assert_refused(api.post(f"{API}/jobs/docs/pause", json={"until": time}), 422)
    assert_refused(api.post(f"{API}/tokens", json={"key": "late", "expires_at": time}), 422)


def test_the_first_and_the_last_year_are_times(api: TestClient) -> None:
    for time in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        for path, name in (("runs", "since"), ("runs", "until"), ("audit", "from"), ("audit", "to")):
            assert api.get(f"{API}/{path}", params={name: time}).status_code == 200
        assert_refused(api.post(f"{API}/jobs/docs/pause", json={"until": time}), 400)
    day = {"since": "2026-03-01T05:30:00+02:00", "until": "2026-03-01T23:00:00+02:00"}
    zoned = api.get(f"{API}/runs", params=day).json()["items"]
    assert [run["created_at"] for run in zoned] == ["2026-03-01T11:00:00Z"]


def test_all_jobs_are_paused_and_resumed_at_once(api: TestClient) -> None:
    wanted = {"until": "2035-01-01T00:00:00Z", "reason": "moving house"}
    assert_refused(api.post(f"{API}/pauses", json={"until": "2001-01-01T00:00:00Z"}), 400)
    held = api.post(f"{API}/pauses", json=wanted).json()
    assert {one["subject"] for one in held} >= {"backup:docs", "backup:pics"}
    assert all(one["until"] == wanted["until"] for one in held)
    more = api.post(f"{API}/pauses", json=wanted | {"maintenance": True}).json()
    assert "hub-backup:hub" in {one["subject"] for one in more}
    assert api.delete(f"{API}/pauses").json() == []


def test_a_pause_of_years_costs_no_more_than_one_of_a_day(api: TestClient) -> None:
    until = "2035-01-01T00:00:00Z"
    assert api.post(f"{API}/jobs/pics/pause", json={"until": until}).status_code == 200
    coming = [one for one in api.get(f"{API}/upcoming?limit=500").json() if one["subject"] == "backup:pics"]
    api.post(f"{API}/jobs/pics/resume")
    assert all(one["at"] >= until for one in coming)
