"""What a hub is told beside jobs and repositories: hosts, pins, users, tokens, cadences, times, windows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from highball.config.document import (
    build,
    effective_cadences,
    effective_job,
    origins,
)
from highball.config.job import Retry
from highball.config.pin import Pin
from highball.config.references import (
    NAMES,
    TABLE_OF,
    TABLES,
    references_of,
    with_new_key,
)
from highball.config.repository import CHECK, DISCARD
from highball.errors import ConfigurationInvalid, Unknown
from highball.hub.runs.subjects import planned_of
from highball.model.fact import Fact
from highball.schedule import Schedule, jitter_of

from .declared import NAS, document, problems_in, problems_in_job, problems_in_text, tables

WHOLE: dict[str, Any] = {
    "settings": {"host": "hub", "backup_repository": "nas", "times": {"daily": "30 1 * * *"}},
    "defaults": {"retry": {"max": 3}, "windows": ["22:00-06:00"]},
    "hosts": {"web-1": {"tags": ["linux"], "always_on": False, "limit_upload": "2M", "concurrency": 4}},
    "repositories": {"nas": {**NAS, "host": "web-1", "maintained_by": "hub"}},
    "jobs": {"j": {"sources": ["/srv"], "repositories": ["nas"], "host": "web-1", "tags": ["a", "b"]}},
    "pins": {"audit": {"repository": "nas", "snapshot": "0123abcd", "reason": "the auditors want it"}},
    "users": {"anna": {"role": "admin"}},
    "tokens": {"ci": {"user": "anna", "role": "operator", "expires_at": "2030-01-01T00:00:00Z"}},
}


def test_all_of_a_hub_is_declared() -> None:
    read = build(WHOLE)
    host = read.hosts["web-1"]
    assert (host.tags, host.always_on, host.limit_upload, host.concurrency) == (("linux",), False, 2048, 4)
    assert read.tokens["ci"].expires_at == datetime(2030, 1, 1, tzinfo=UTC)
    assert read.pins["audit"].holds("nas", "0123abcd" + "e" * 56)
    assert not read.pins["audit"].holds("far", "0123abcd" + "e" * 56)
    assert build(read.tables) == read
    assert not issubclass(Pin, Fact), "what is declared is strict: an unknown field is an error"


def test_references_lead_to_what_is_there() -> None:
    broken = {
        "settings": {"backup_repository": "nass"},
        "hosts": {"web-1": {}},
        "repositories": {"nas": {**NAS, "host": "web-2", "maintained_by": "nobody"}},
        "jobs": {"j": {"sources": ["/srv"], "repositories": ["nas"], "host": "wbe-1"}},
        "pins": {"p": {"repository": "far", "snapshot": "0123abcd", "reason": "x"}},
        "tokens": {"ci": {"user": "ana"}},
        "users": {"anna": {}},
    }
    assert problems_in(broken) == [
        'settings.backup_repository: there is no repository "nass" (perhaps "nas")',
        'repositories.nas.host: there is no host "web-2" (perhaps "web-1")',
        'repositories.nas.maintained_by: there is no host "nobody" (known are web-1)',
        'jobs.j.host: there is no host "wbe-1" (perhaps "web-1")',
        'pins.p.repository: there is no repository "far" (known are nas)',
        'tokens.ci.user: there is no user "ana" (perhaps "anna")',
    ]


def test_on_one_machine_no_host_need_be_declared() -> None:
    assert document({"host": "anything"}).jobs["j"].host == "anything"
    assert document({"host": "me"}, hosts={"other": {}}, settings={"host": "me"})


@pytest.mark.parametrize(
    ("pin", "said"),
    [
        (
            {"snapshot": "0123"},
            '.snapshot: "0123" is not a snapshot ID (8 to 64 digits and letters a to f)',
        ),
        (
            {"snapshot": "latest!!"},
            '.snapshot: "latest!!" is not a snapshot ID (8 to 64 digits and letters a to f)',
        ),
        ({"reason": "  "}, ".reason: is blank"),
        ({"reason": None}, ".reason: is missing"),
    ],
)
def test_a_pin_names_a_snapshot_and_says_why(pin: dict[str, Any], said: str) -> None:
    whole = {"repository": "nas", "snapshot": "0123abcd", "reason": "x", **pin}
    assert problems_in(tables(pins={"p": whole})) == ["pins.p" + said]


def test_a_title_is_a_line_to_read() -> None:
    assert document({"title": "Büro – Papiere\u00a0😀"})
    assert problems_in_job(title="a\0b") == ["title: contains a control character"]
    assert problems_in_job(title="x" * 201) == ["title: is longer than 200 characters"]


# --- jobs ----------------------------------------------------------------------------------------


def test_windows_retry_and_missed_are_inherited() -> None:
    read = build(WHOLE | {"profiles": {"p": {"missed": "skip", "retry": {"backoff": "1m"}}}})
    read = build(read.tables | {"jobs": {"j": {**WHOLE["jobs"]["j"], "profile": "p", "windows": "none"}}})
    job = effective_job(read, "j")
    assert (job.retry.max, job.retry.backoff.total_seconds(), job.missed) == (3, 60, "skip")
    assert job.windows == ()
    assert origins(read, "j")["retry.max"] == "defaults"
    assert origins(read, "j")["retry.backoff"] == "profiles.p"


def test_the_wait_before_another_attempt_doubles_up_to_half_an_hour() -> None:
    def minutes(backoff: str) -> list[float]:
        retry = Retry.model_validate({"max": 5, "backoff": backoff})
        return [retry.pause_after(attempt).total_seconds() / 60 for attempt in range(1, 6)]

    assert minutes("10m") == [10, 20, 30, 30, 30]
    assert minutes("1m") == [1, 2, 4, 8, 16]
    assert minutes("2h") == [120] * 5, "what was declared is never cut"


def test_what_a_job_may_not_say() -> None:
    assert problems_in_job(
        windows=["22:00-06:00", "noon"], retry={"max": 11}, missed="all", tags=["A b", "x", "x"]
    ) == [
        'missed: "all" is none of "run-latest", "skip"',
        'windows[1]: "noon" is not a span of times (write it like 22:00-06:00 or mon-fri 22:00-06:00)',
        "retry.max: is more than 10",
        'tags[0]: "A b" is not an ID: lower-case letters and digits, after the first also . _ -, at most 63'
        ' (perhaps "a-b")',
    ]
    assert problems_in_job(tags=["x", "x"]) == ['tags[1]: "x" is listed twice']
    assert problems_in_job(retry={"backoff": "0s"}) == ["retry.backoff: must be more than zero"]


# --- when ----------------------------------------------------------------------------------------


def test_the_settings_say_what_the_names_of_times_stand_for() -> None:
    read = document(
        {"schedule": {"cron": "daily", "jitter": "5m"}}, settings={"times": {"daily": "30  1 * * *"}}
    )
    schedule = effective_job(read, "j").schedule
    assert (schedule.cron, schedule.jitter.total_seconds()) == ("30 1 * * *", 300)
    weekly = document({"schedule": "weekly"}, settings={"times": {"daily": "30 1 * * *"}})
    assert effective_job(weekly, "j").schedule == Schedule(cron="weekly")


def test_a_time_that_never_comes_or_has_no_name_is_refused() -> None:
    assert problems_in({"settings": {"times": {"daily": "0 0 30 2 *"}}}) == [
        "settings.times.daily: 30 February never comes"
    ]
    said = problems_in({"settings": {"times": {"yearly": "0 0 1 1 *"}}})
    assert said == ['settings.times.yearly: "yearly" is none of "hourly", "daily", "weekly", "monthly"']


def test_cadences_of_a_repository() -> None:
    user = {"maintenance": "user", "discard_schedule": "daily", "check_schedule": "manual"}
    grows = {"maintenance": "off", "accept_growth": True}
    read = document(
        repositories={"own": {**NAS, **user}, "grows": {**NAS, **grows}},
        settings={"times": {"daily": "30 1 * * *"}},
    )
    assert (effective_cadences(read, "nas").discard, effective_cadences(read, "nas").check) == (
        DISCARD,
        CHECK,
    )
    own = effective_cadences(read, "own")
    assert (own.discard.cron, own.check.expression) == ("30 1 * * *", None)
    assert effective_cadences(read, "grows").discard.expression is None
    assert effective_cadences(read, "grows").check == CHECK
    with pytest.raises(Unknown):
        effective_cadences(read, "nothing")


def test_a_cadence_that_would_count_for_nothing_is_refused() -> None:
    assert problems_in(tables(repositories={"nas": {**NAS, "check_schedule": "daily"}})) == [
        "repositories.nas.check_schedule: has no effect while maintenance is auto"
        ' (set maintenance = "user", or omit it)'
    ]
    off = {**NAS, "maintenance": "off", "accept_growth": True, "prune_schedule": "daily"}
    assert len(problems_in(tables(repositories={"nas": off}))) == 1


@pytest.mark.parametrize(
    ("fields", "discard", "after", "prune"),
    [
        ({}, "0 3 * * *", False, None),
        ({"discard_schedule": "weekly"}, "weekly", False, None),
        ({"discard_schedule": "weekly", "prune_schedule": "monthly"}, "weekly", False, "monthly"),
        ({"discard_schedule": "after-backup"}, "manual", True, "0 3 * * *"),
        ({"discard_schedule": ["after-backup", "weekly"]}, "weekly", True, None),
    ],
)
def test_retention_comes_by_schedule_after_each_backup_or_both(
    fields: dict[str, Any], discard: str, after: bool, prune: str | None
) -> None:
    read = document(repositories={"nas": {**NAS, **fields}})
    found = effective_cadences(read, "nas")
    assert (found.discard.cron, found.after_backup) == (discard, after)
    assert (found.prune.cron if found.prune else None) == prune
    assert found.verify.expression is None
    told = read.repositories["nas"].model_dump(mode="json", exclude_unset=True)
    assert told.get("discard_schedule") == fields.get("discard_schedule"), "it is written as it was read"


def test_maintenance_at_times_that_nobody_typed_is_spread_over_an_hour() -> None:
    names = [f"nas{number}" for number in range(40)]
    read = document(repositories=dict.fromkeys(names, NAS))
    planned = [one for one in planned_of(read, "hub") if one.subject.startswith(("discard:", "check:"))]
    late = {one.subject: jitter_of(one.subject, one.host, one.schedule) for one in planned}
    assert max(late.values()) <= timedelta(hours=1)
    assert len(set(late.values())) > len(names), "each has a time of its own"
    assert {one.schedule.expression for one in planned} == {"0 3 * * *", "0 2 * * 0"}, "which stays its name"


@pytest.mark.parametrize(
    ("said", "spread"),
    [
        ("weekly", timedelta(hours=1)),
        ("30 5 * * *", timedelta(0)),
        ({"cron": "daily", "jitter": "0s"}, timedelta(0)),
        ({"cron": "daily", "jitter": "5m"}, timedelta(minutes=5)),
    ],
)
def test_a_time_that_somebody_typed_for_maintenance_is_kept(said: object, spread: timedelta) -> None:
    repository = {**NAS, "maintenance": "user", "discard_schedule": said, "prune_schedule": said}
    found = effective_cadences(document(repositories={"nas": repository}), "nas")
    assert found.prune is not None
    assert (found.discard.jitter, found.prune.jitter) == (spread, spread)


@pytest.mark.parametrize(
    "said", [[], ["daily", "weekly"], ["after-backup", "after-backup"], "after-check", [3]]
)
def test_other_words_for_when_retention_comes_are_refused(said: object) -> None:
    assert problems_in(tables(repositories={"nas": {**NAS, "discard_schedule": said}}))


def test_a_time_without_a_zone_is_refused() -> None:
    (said,) = problems_in_text('[tokens.ci]\nexpires_at = "soon"\n')
    assert said.startswith("tokens.ci.expires_at: ")
    assert "something else" not in said
    for written in ('"2030-01-31T12:00:00"', "2030-01-31T12:00:00"):
        assert problems_in_text(f"[tokens.ci]\nexpires_at = {written}\n") == [
            "tokens.ci.expires_at: has no time zone (write it like 2030-01-31T12:00:00Z)"
        ]


# --- who names whom ------------------------------------------------------------------------------


def test_every_field_that_names_another_is_known_and_exists() -> None:
    read = build(WHOLE)
    for kind, fields in NAMES.items():
        held = getattr(read, TABLE_OF[kind])
        one: Any = held if kind in ("settings", "defaults") else next(iter(held.values()), None)
        assert one is None or set(fields) <= set(type(one).model_fields), kind
    assert set(TABLES) == {
        name for name in type(read).model_fields if name not in ("format", "settings", "defaults")
    }


def test_a_new_key_is_taken_on_by_all_that_name_it() -> None:
    job = {"repositories": ["nas", "far", "nas2"], "profile": "nas"}
    assert with_new_key("job", job, ("repository", "nas"), "new") == {
        **job,
        "repositories": ["new", "far", "nas2"],
    }
    assert with_new_key("job", job, ("profile", "nas"), "new") == {**job, "profile": "new"}
    assert with_new_key("job", job, ("user", "nas"), "new") == job
    assert with_new_key("job", {"profile": "none"}, ("profile", "none"), "new") == {"profile": "none"}
    assert [one.field for one in references_of("job", "j", job)] == [
        "repositories[0]",
        "repositories[1]",
        "repositories[2]",
        "profile",
    ]


def test_no_job_is_called_as_the_copies_of_a_hub() -> None:
    with pytest.raises(ConfigurationInvalid) as raised:
        build({"repositories": {"nas": NAS}, "jobs": {"hub": {"repositories": ["nas"], "sources": ["/srv"]}}})
    assert [(one.at, one.hint) for one in raised.value.problems] == [("jobs", "choose another ID")]
