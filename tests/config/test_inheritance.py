"""What a job inherits: tables merge key by key, lists replace, excludes add, "none" takes back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from highball.config.document import (
    build,
    effective_job,
    effective_retention,
    origins,
)
from highball.config.merge import (
    Level,
    merge,
    settled,
)
from highball.retention import BUILT_IN, Retention

from .declared import NAS, document, tables


def merged(field: str, *levels: Any) -> Any:
    """What a field comes to when defaults, a profile and the job say this; `...` says nothing."""
    names = ("defaults", "profile", "job")
    defaults, profile, job = ({} if value is ... else {field: value} for value in levels)
    assert len(levels) == len(names)
    declared = tables({"profile": "p", **job}, defaults=defaults, profiles={"p": profile})
    return getattr(effective_job(build(declared), "j"), field)


@pytest.mark.parametrize(
    ("field", "levels", "expected"),
    [
        ("compression", ("max", ..., ...), "max"),
        ("compression", ("max", "off", ...), "off"),
        ("compression", ("max", "off", "auto"), "auto"),
        ("compression", ("max", ..., "none"), "auto"),
        ("compression", ("max", "none", ...), "auto"),
        ("compression", ("max", None, ...), "auto"),
        ("compression", ("none", ..., ...), "auto"),
        ("one_file_system", (True, ..., False), False),
        ("one_file_system", (True, ..., None), False),
        ("read_concurrency", (4, ..., "none"), None),
        ("limit_upload", ("2M", 100, ...), 100),
        ("limit_upload", ("2M", ..., ...), 2048),
        # lists replace
        ("exclude_if_present", (["a"], ["b", "c"], ...), ("b", "c")),
        ("exclude_if_present", (["a"], ..., []), ()),
        ("exclude_if_present", (["a"], ..., "none"), ()),
        # excludes add
        ("exclude", (["a"], ["b"], ["c"]), ("a", "b", "c")),
        ("exclude", (["a"], "none", ["c"]), ("c",)),
        ("exclude", (["a"], ["b"], None), ()),
        ("exclude", (["a"], [], ...), ("a",)),
        # off is a value of its own
        ("shrink_limit", (0.25, ..., ...), 0.25),
        ("shrink_limit", (0.25, ..., "none"), 0),
        ("shrink_limit", (0.25, None, ...), 0),
        ("shrink_limit", ("none", ..., 0.75), 0.75),
    ],
)
def test_scalars_and_lists(field: str, levels: tuple[Any, Any, Any], expected: object) -> None:
    assert merged(field, *levels) == expected


def test_hooks_replace() -> None:
    first, second = {"run": "a"}, {"run": "b"}
    assert [hook.run for hook in merged("before", [first, second], ..., [second])] == ["b"]
    assert merged("before", [first], "none", ...) == ()


def test_a_schedule_merges_key_by_key_and_text_is_short_for_its_cron() -> None:
    usual = {"cron": "daily", "timezone": "Europe/Berlin", "jitter": "5m"}
    schedule = merged("schedule", usual, {"jitter": "10m"}, "hourly")
    assert schedule.model_dump(mode="json") == {
        "cron": "hourly",
        "timezone": "Europe/Berlin",
        "jitter": "10m",
    }
    assert merged("schedule", usual, {"timezone": "none", "jitter": None}, ...).model_dump() == "daily"
    assert merged("schedule", usual, "none", ...).model_dump() == "manual"
    assert merged("schedule", usual, "none", {"jitter": "1s"}).cron == "manual"


def test_the_order_is_defaults_then_profiles_from_the_first_ancestor_on() -> None:
    read = document(
        {"profile": "c", "exclude": ["job"]},
        defaults={"exclude": ["defaults"], "compression": "max"},
        profiles={
            "a": {"exclude": ["a"], "compression": "off"},
            "b": {"profile": "a", "exclude": ["b"], "wait": "2h"},
            "c": {"profile": "b", "exclude": ["c"]},
        },
    )
    job = effective_job(read, "j")
    assert job.exclude == ("defaults", "a", "b", "c", "job")
    assert job.compression == "off"
    assert job.profile == "c"
    assert job.paths[0].path == b"/srv"
    assert effective_job(read, "j") is job


def test_where_each_value_comes_from() -> None:
    read = document(
        {"profile": "p", "exclude": ["c"], "title": "T", "compression": "none"},
        defaults={"exclude": ["a"], "compression": "max", "schedule": "daily", "retention": {"last": 1}},
        profiles={
            "p": {"exclude": ["b"], "schedule": {"jitter": "5m"}, "wait": "1m", "retention": {"daily": 2}}
        },
        repositories={"nas": {**NAS, "retention": {"last": 9, "yearly": 3}}},
    )
    found = origins(read, "j")
    named = {name: place for name, place in found.items() if place != "built-in"}
    assert named == {
        "exclude[0]": "defaults",
        "exclude[1]": "profiles.p",
        "exclude[2]": "jobs.j",
        "schedule.cron": "defaults",
        "schedule.jitter": "profiles.p",
        "retention.last": "defaults",
        "retention.daily": "profiles.p",
        "wait": "profiles.p",
        "profile": "jobs.j",
        "title": "jobs.j",
        "sources": "jobs.j",
        "repositories": "jobs.j",
    }
    assert found["compression"] == found["enabled"] == "built-in"
    assert "exclude" not in found
    assert origins(read, "j", "nas")["retention.last"] == "repositories.nas"
    assert origins(read, "j", "nas")["retention.yearly"] == "repositories.nas"


# --- retention -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((None, None, None, None), BUILT_IN.model_dump(exclude_none=True)),
        (({}, {}, {}, {}), BUILT_IN.model_dump(exclude_none=True)),
        ((None, None, None, {"last": 1}), {"last": 1}),
        (({"last": 5}, {"last": 4, "daily": 3}, {"last": 2}, None), {"last": 2, "daily": 3}),
        (({"last": 5}, {"daily": 3}, None, {"daily": "none"}), {"last": 5}),
        (({"last": 5}, {"daily": 3}, None, "none"), BUILT_IN.model_dump(exclude_none=True)),
        (({"last": 5}, None, "none", {"yearly": 1}), {"yearly": 1}),
        ((None, None, None, {"within": "30d"}), {"within": "30d"}),
    ],
)
def test_retention_merges_field_by_field(levels: tuple[Any, ...], expected: dict[str, Any]) -> None:
    defaults, repository, profile, job = ({} if level is None else {"retention": level} for level in levels)
    read = document(
        {"profile": "p", **job},
        defaults=defaults,
        profiles={"p": profile},
        repositories={"nas": {**NAS, **repository}},
    )
    counted = dict.fromkeys(("last", "hourly", "daily", "weekly", "monthly", "yearly"), 0)
    assert effective_retention(read, "j", "nas") == Retention(**(counted | expected))


# --- against a naive model -----------------------------------------------------------------------

VALUES = {
    "compression": st.sampled_from(["auto", "max", "off", "none"]),
    "exclude": st.lists(st.sampled_from("abc"), max_size=2) | st.just("none"),
    "retention": st.dictionaries(
        st.sampled_from(["last", "daily"]), st.integers(1, 9) | st.just("none") | st.none(), max_size=2
    )
    | st.just("none"),
    "repositories": st.lists(st.sampled_from(["nas", "b2"]), max_size=2) | st.none(),
}
LEVELS = st.lists(st.fixed_dictionaries({}, optional=VALUES), max_size=5)


@given(LEVELS)
def test_merging_is_what_a_naive_model_says(levels: list[dict[str, Any]]) -> None:
    naive: dict[str, Any] = {}
    for level in levels:
        for name, value in level.items():
            if value in ("none", None):
                naive.pop(name, None)
            elif name == "exclude":
                naive[name] = naive.get(name, []) + value
            elif name == "retention":
                both = {**naive.get(name, {}), **value}
                naive[name] = {key: one for key, one in both.items() if one not in ("none", None)}
            else:
                naive[name] = value
    found = merge(Level(str(number), level) for number, level in enumerate(levels))
    assert found.table == naive
    told = {name.partition("[")[0].partition(".")[0] for name in found.origins}
    assert told == {name for name, value in naive.items() if value or name not in ("exclude", "retention")}
    for origin, place in found.origins.items():
        assert origin.partition("[")[0].partition(".")[0] in levels[int(place)]


@given(
    st.lists(
        st.dictionaries(st.sampled_from([*VALUES, "title"]), st.sampled_from([1, "none", None, [], {}, "x"]))
    )
)
def test_merging_takes_anything(levels: list[dict[str, Any]]) -> None:
    merge(Level("", level) for level in levels)
    for level in levels:
        assert settled(level).keys() <= level.keys()


def test_what_a_level_takes_back_is_no_value_of_it() -> None:
    assert settled(
        {
            "exclude": "none",
            "wait": None,
            "title": "none",
            "shrink_limit": "none",
            "retention": {"last": None},
        }
    ) == {"title": "none", "shrink_limit": 0.0, "retention": {}}
