"""The form of a job holds all that a job can say, and gives it back as it was."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel

from api.whole import Whole
from highball.config.job import HOOK_VARIABLES, Job
from highball.source.base import Source
from highball.source.kinds import KINDS
from pages.reading import Form, read_page

SAID: dict[str, Any] = {
    "profile": "often",
    "title": "Rich",
    "tags": ["office", "nightly"],
    "enabled": False,
    "host": "here",
    "sources": [
        {"path": "/a", "exclude": ["x", "y/z"], "allow_empty": True, "follow": True},
        {"b64": "L/8K"},
        "/b",
    ],
    "schedule": {"cron": "30 3 * * 1-5", "timezone": "Asia/Tokyo", "jitter": "10m"},
    "missed": "skip",
    "windows": ["22:00-06:00"],
    "retry": {"max": 3, "backoff": "5m"},
    "repositories": ["nas"],
    "exclude": ["*.tmp", "*.bak"],
    "retention": {
        "last": 3,
        "hourly": 1,
        "daily": 30,
        "weekly": 2,
        "monthly": 6,
        "yearly": "none",
        "within": "1y",
        "within_hourly": "2d",
        "within_daily": "30d",
        "within_weekly": "3m",
        "within_monthly": "2y",
        "within_yearly": "10y",
    },
    "before": [
        {"run": ["/bin/x", "a b"], "dir": "/tmp", "name": "x", "timeout": "1m", "on_error": "skip"},
        {"run": "y", "on_error": "warn"},
    ],
    "after": [{"run": "z", "dir": "/tmp", "name": "z", "timeout": "30s", "on_error": "warn"}],
    "shrink_limit": 0.3,
    "one_file_system": True,
    "exclude_caches": True,
    "exclude_if_present": [".nobackup", ".skip"],
    "exclude_larger_than": "1G",
    "compression": "max",
    "read_concurrency": 4,
    "limit_upload": "2M",
    "limit_download": 500,
    "wait": "30m",
}
"""A job that says everything."""

CALLED = {
    "schedule.cron": "rhythm",
    "schedule.jitter": "jitter",
    "sources.path": "source",
    **{f"sources.{name}": f"source-{name}" for name in ("exclude", "allow_empty", "follow")},
    **{
        f"retention.{name}": f"keep-{name}"
        for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly")
    },
}
"""Fields of the form that do not bear the name of what they set."""


def leaves_of(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """Every value that an object of this class may say, like `retry.max`."""
    for name, field in model.model_fields.items():
        below = next(models_in(field.annotation), None)
        if below is None:
            yield f"{above}{name}"
        else:
            yield from leaves_of(below, f"{above}{name}.")


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The classes of objects that a field may hold."""
    if annotation is Source:
        yield from KINDS
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


LEAVES = list(leaves_of(Job))


@pytest.fixture(scope="module")
def client(whole: Whole) -> Iterator[TestClient]:
    """An admin before the form of a job that says everything, and of one that says the least."""
    with whole.client() as client:
        for key, spec in (("rich", SAID), ("poor", {"sources": ["/a"], "repositories": ["nas"]})):
            client.post(f"/api/v1/jobs?key={key}", json=spec).raise_for_status()
        yield client


def form_of(client: TestClient, key: str) -> Form:
    """The form as a browser has it."""
    return read_page(client.get(f"/jobs/{key}/edit").text).form(f"/jobs/{key}/edit")


def test_the_form_has_a_field_for_all_that_a_job_can_say(client: TestClient) -> None:
    text = client.get("/jobs/rich/edit").text
    there = set(re.findall(r'<(?:input|select|textarea) [^>]*name="([^"]+)"', text))
    wanted = {leaf: CALLED.get(leaf, leaf.replace(".", "-")) for leaf in LEAVES}
    assert {leaf for leaf, name in wanted.items() if name not in there} == set()


def test_hooks_are_told_beside_them_what_they_find_in_their_environment(client: TestClient) -> None:
    text = client.get("/jobs/poor/edit").text
    hooks = text[text.index('id="s-hooks"') : text.index('id="s-more"')]
    assert not {name for name in HOOK_VARIABLES if f">{name}</dt>" not in hooks}


def test_the_job_that_says_everything_says_everything() -> None:
    assert {leaf for leaf in LEAVES if not said_of(SAID, leaf)} == set()


def said_of(value: Any, leaf: str) -> bool:
    """Whether a spec says this somewhere."""
    name, _, below = leaf.partition(".")
    rows = value if isinstance(value, list) else [value]
    found = [row[name] for row in rows if isinstance(row, dict) and name in row]
    return bool(found) and (not below or any(said_of(one, below) for one in found))


def summary(text: str) -> list[str]:
    """What the list of all that is wrong says."""
    found = re.search(r'<div class="errors-summary".*?<ul>(.*?)</ul>', text, re.S)
    assert found is not None, text[:2000]
    return [
        html.unescape(re.sub("<[^>]+>", "", line)) for line in re.findall("<li>(.*?)</li>", found[1], re.S)
    ]


def test_the_list_of_what_is_wrong_names_each_field(client: TestClient) -> None:
    sent = {
        "keep-last": "x",
        "read_concurrency": "abc",
        "retry-max": "many",
        "limit_upload": "fast",
        "jitter": "?",
    }
    answer = client.post("/jobs/poor/edit", data=as_sent(form_of(client, "poor"), **sent))
    told = summary(answer.text)
    for label in ("Keep last", "Files read in parallel", "Retries", "Upload limit", "Random delay"):
        assert any(line.startswith(f"{label}: ") for line in told), (label, told)
    for name in re.findall(r'<li><a href="#([^"]+)">', answer.text):
        assert f'id="{name}"' in answer.text, name


def test_of_an_empty_form_all_that_lacks_is_told(client: TestClient) -> None:
    told = summary(client.post("/jobs/new", data={"act": "save"}).text)
    assert [line.partition(":")[0] for line in told] == ["ID", "Sources", "Repositories"], told


def test_what_others_changed_is_told_without_brackets_of_a_program(client: TestClient) -> None:
    page = as_sent(form_of(client, "poor"))
    at = {"If-Match": f'"{client.get("/api/v1/jobs/poor").json()["revision"]}"'}
    client.patch("/api/v1/jobs/poor", json={"tags": ["office", "night"]}, headers=at).raise_for_status()
    text = client.post("/jobs/poor/edit", data=page).text
    assert "was changed in the meantime" in text
    assert "office, night" in text and "['office" not in html.unescape(text)
    at = {"If-Match": f'"{client.get("/api/v1/jobs/poor").json()["revision"]}"'}
    client.patch("/api/v1/jobs/poor", json={"tags": None}, headers=at).raise_for_status()


def test_a_form_sent_back_as_it_was_shown_changes_nothing(client: TestClient) -> None:
    for key in ("rich", "poor"):
        before = client.get(f"/api/v1/jobs/{key}").json()
        answer = client.post(f"/jobs/{key}/edit", data=as_sent(form_of(client, key)), follow_redirects=False)
        assert answer.status_code == 303, answer.text
        after = client.get(f"/api/v1/jobs/{key}").json()
        assert (after["spec"], after["revision"]) == (before["spec"], before["revision"])


def as_sent(form: Form, **changed: str | None) -> dict[str, list[str]]:
    """What a browser sends of a form when it is saved, with some fields typed anew."""
    sent: dict[str, list[str]] = {}
    for name, value in [*form.fields, ("act", "save")]:
        sent.setdefault(name, []).append(value)
    for name, text in changed.items():
        field = name.replace("__", "-")
        sent[field] = [] if text is None else [text]
    return sent


def saved(client: TestClient, key: str, **changed: str | None) -> dict[str, Any]:
    """What a job says after its form was sent with these fields typed anew."""
    answer = client.post(
        f"/jobs/{key}/edit", data=as_sent(form_of(client, key), **changed), follow_redirects=False
    )
    assert answer.status_code == 303, re.findall(r'class="error"[^>]*>.*?</p>', answer.text, re.S)
    spec: dict[str, Any] = client.get(f"/api/v1/jobs/{key}").json()["spec"]
    return spec


TYPED: list[tuple[str, str, str, Any]] = [
    ("missed", "skip", "missed", "skip"),
    ("retry__max", "2", "retry", {"max": 2}),
    ("retry__backoff", "1m", "retry", {"backoff": "1m"}),
    ("schedule__timezone", "Europe/Berlin", "schedule", {"timezone": "Europe/Berlin"}),
    ("retention__within", "14d", "retention", {"within": "14d"}),
    ("shrink_limit", "25", "shrink_limit", 0.25),
    ("one_file_system", "yes", "one_file_system", True),
    ("exclude_caches", "no", "exclude_caches", False),
    ("exclude_if_present", ".nobackup\r\n.skip", "exclude_if_present", [".nobackup", ".skip"]),
    ("exclude_larger_than", "1G", "exclude_larger_than", "1G"),
    ("compression", "off", "compression", "off"),
    ("read_concurrency", "8", "read_concurrency", 8),
    ("limit_upload", "700", "limit_upload", 700),
    ("limit_download", "1M", "limit_download", "1M"),
    ("wait", "2h", "wait", "2h"),
    ("source__exclude", "*.iso", "sources", [{"path": "/a", "exclude": ["*.iso"]}]),
    ("source__allow_empty", "/a", "sources", [{"path": "/a", "allow_empty": True}]),
    ("source__follow", "/a", "sources", [{"path": "/a", "follow": True}]),
    ("exclude", "*.tmp", "exclude", ["*.tmp"]),
    ("title", "Poor", "title", "Poor"),
    ("tags", "a b", "tags", ["a", "b"]),
    ("windows", "01:00-02:00", "windows", ["01:00-02:00"]),
]


def test_what_is_typed_is_what_the_job_says_and_blank_again_says_nothing(client: TestClient) -> None:
    poor = client.get("/api/v1/jobs/poor").json()["spec"]
    shown = dict(form_of(client, "poor").fields)
    for name, text, place, value in TYPED:
        assert saved(client, "poor", **{name: text}) == poor | {place: value}, name
        blank = shown.get(name.replace("__", "-"))
        assert saved(client, "poor", **{name: blank}) == poor, f"{name} taken back"


def test_variables_of_a_command_are_lines_and_a_password_among_them_is_a_reference(
    client: TestClient,
) -> None:
    at = {"PGDATABASE": "app", "PGPASSWORD": {"command": "pass show 'the app'"}}
    dump = {"run": "pg_dump", "name": "app.sql", "timeout": "1h", "environment": at}
    spec = {"repositories": ["nas"], "sources": ["/a", dump]}
    client.post("/api/v1/jobs?key=dumps", json=spec).raise_for_status()
    assert saved(client, "dumps") == spec
    shown = as_sent(form_of(client, "dumps"))["source-environment"]
    assert shown == ["PGDATABASE=app\nPGPASSWORD=command:pass show 'the app'", ""]

    def typed(*rows: str) -> Any:
        sent = as_sent(form_of(client, "dumps")) | {"source-environment": list(rows)}
        return client.post("/jobs/dumps/edit", data=sent, follow_redirects=False)

    assert typed("PGPASSWORD = file:/etc/app.key\r\nPGHOST=db", "").status_code == 303
    told = client.get("/api/v1/jobs/dumps").json()["spec"]["sources"][1]
    assert told == dump | {"environment": {"PGPASSWORD": {"file": "/etc/app.key"}, "PGHOST": "db"}}
    refused = typed("PGPASSWORD=open", "")
    assert any("PGPASSWORD is a secret, not text" in line for line in summary(refused.text))
    assert typed("", "").status_code == 303
    del dump["environment"]
    assert client.get("/api/v1/jobs/dumps").json()["spec"] == spec


def test_only_what_was_changed_is_changed(client: TestClient) -> None:
    changes: list[tuple[dict[str, str], dict[str, Any]]] = [
        ({"at": "04:00", "rhythm": "daily"}, {"schedule": SAID["schedule"] | {"cron": "0 4 * * *"}}),
        ({"keep__daily": "14"}, {"retention": SAID["retention"] | {"daily": 14}}),
        ({"compression": "off"}, {"compression": "off"}),
    ]
    wanted = dict(SAID)
    for typed, becomes in changes:
        wanted |= becomes
        assert saved(client, "rich", **typed) == wanted


def test_what_is_wrong_with_a_rare_field_is_said_beside_it_and_it_is_not_folded_away(
    client: TestClient,
) -> None:
    sent = as_sent(
        form_of(client, "poor"), retry__max="often", limit_upload="fast", exclude_larger_than="big"
    )
    answer = client.post("/jobs/poor/edit", data=sent)
    assert answer.status_code == 422
    for name in ("retry-max", "limit_upload", "exclude_larger_than"):
        assert f'href="#{name}"' in answer.text and f'id="{name}-told"' in answer.text, name
    folded = re.search(r'id="advanced".*?<details class="folded"( open)?', answer.text, re.S)
    assert folded is not None and folded[1]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ({"keep-last": "-1"}, "No preview: last "),
        ({"keep-last": "many"}, "No preview: last "),
        ({"keep-last": "0"}, "No preview: keeps no snapshot at all"),
        ({"retention-within": "soon"}, "No preview: within "),
        ({"keep-last": "1"}, "1 snapshot in nas: 1 kept."),
    ],
)
def test_a_retention_that_cannot_be_says_why_in_place_of_its_preview(
    whole: Whole, typed: dict[str, str], told: str
) -> None:
    with whole.client() as client:
        answer = client.get("/jobs/new/kept", params={"was": "docs", **typed})
    assert answer.status_code == 200
    assert told in re.sub(r"<[^>]+>", "", answer.text), answer.text
