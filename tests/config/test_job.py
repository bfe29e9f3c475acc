"""What the fields of a job mean: sizes, rates, shares, hooks, keys."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from highball.config.job import (
    Hook,
    Rate,
    Size,
)
from highball.config.object_keys import check_key, key_from
from highball.config.repository import Repository, Share
from highball.config.settings import Settings

from .declared import NAS, document, problems_in, problems_in_job, tables

SIZE, RATE, SHARE = TypeAdapter(Size), TypeAdapter(Rate), TypeAdapter(Share)


@pytest.mark.parametrize(
    ("written", "size", "text"),
    [
        ("1G", 2**30, "1G"),
        ("500M", 500 * 2**20, "500M"),
        ("1.5 GiB", 3 * 2**29, "1536M"),
        ("10 kb", 10240, "10K"),
        ("2T", 2**41, "2T"),
        (1000, 1000, "1000"),
        ("7", 7, "7"),
    ],
)
def test_sizes(written: object, size: int, text: str) -> None:
    assert SIZE.validate_python(written) == size
    assert SIZE.dump_python(size) == text


@given(st.integers(1, 2**60))
def test_a_size_reads_back_as_the_same(size: int) -> None:
    assert SIZE.validate_python(SIZE.dump_python(size)) == size


@pytest.mark.parametrize(
    ("written", "rate"), [(100, 100), ("2M", 2048), ("512K", 512), ("1 MiB/s", 1024), ("1", 1)]
)
def test_rates_are_kib_a_second(written: object, rate: int) -> None:
    assert RATE.validate_python(written) == rate


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("exclude_larger_than", "big", '"big" is not a size (write it like 500M or 1G)'),
        ("exclude_larger_than", 0, "a size is at least one byte and at most 2^60"),
        ("exclude_larger_than", "9999T", None),
        ("exclude_larger_than", "99999999T", "a size is at least one byte and at most 2^60"),
        ("exclude_larger_than", True, 'a size is text like "1G", or a number of bytes'),
        ("limit_upload", "fast", '"fast" is not a size (write it like 500M or 1G)'),
        ("limit_upload", 0, 'a rate is text like "2M", or a number of KiB a second'),
        ("limit_download", True, 'a rate is text like "2M", or a number of KiB a second'),
        ("exclude_if_present", ["a/b"], "is not the name of a file"),
        ("exclude_if_present", [" "], "is not the name of a file"),
    ],
)
def test_what_is_no_size_rate_or_name(field: str, value: Any, said: str | None) -> None:
    if said is None:
        document({field: value})
    else:
        place = f"{field}[0]" if isinstance(value, list) else field
        assert problems_in_job(**{field: value}) == [f"{place}: {said}"]


# --- shares --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "slices"),
    [("5%", 20), (5, 20), ("2.5 %", 40), ("100", 1), (60, 2), ("0.4%", 250), (0, None), ("0%", None)],
)
def test_a_share_is_a_number_of_slices(written: object, slices: int | None) -> None:
    repository = document(repositories={"nas": {**NAS, "check_share": written}}).repositories["nas"]
    assert repository.check_slices == slices
    assert Repository.model_validate(repository.model_dump(mode="json")) == repository


@pytest.mark.parametrize("written", [101, "-5%", "0.1%", float("nan"), float("inf")])
def test_shares_out_of_bounds(written: object) -> None:
    assert problems_in(tables(repositories={"nas": {**NAS, "check_share": written}})) == [
        "repositories.nas.check_share: a share is between 0.4% and 100%, or 0"
    ]


@pytest.mark.parametrize("written", ["half", "", True, [5]])
def test_what_is_no_share(written: object) -> None:
    assert problems_in(tables(repositories={"nas": {**NAS, "check_share": written}})) == [
        'repositories.nas.check_share: a share is text like "5%", or a number of per cent'
    ]


# --- hooks ---------------------------------------------------------------------------------------


def test_a_hook() -> None:
    hook = Hook.model_validate({"run": ["pg_dump", "app"], "dir": "/var//tmp/", "timeout": 90})
    assert (hook.run, hook.dir, hook.on_error) == (("pg_dump", "app"), b"/var/tmp", "fail")
    assert hook.model_dump(mode="json") == {
        "name": None,
        "run": ["pg_dump", "app"],
        "dir": "/var/tmp",
        "timeout": "1m30s",
        "on_error": "fail",
    }
    assert Hook(run="x").timeout.total_seconds() == 600


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ({"run": " "}, "before[0].run: is blank"),
        ({"run": []}, "before[0].run: is blank"),
        ({"run": "a\0b"}, "before[0].run: a command cannot hold the character NUL"),
        ({"run": "x", "dir": "tmp"}, 'before[0].dir: "tmp" is not an absolute path (it starts with /)'),
        ({"run": "x", "timeout": "0s"}, "before[0].timeout: must be more than zero"),
        (
            {"run": "x", "environment": {}},
            "before[0].environment: is not known here (known are name, run, dir, timeout, on_error)",
        ),
    ],
)
def test_hooks_that_are_refused(hook: dict[str, Any], said: str) -> None:
    assert problems_in_job(before=[hook]) == [said]


def test_only_what_comes_before_can_skip() -> None:
    document({"before": [{"run": "x", "on_error": "skip"}]})
    assert problems_in_job(after=[{"run": "x"}, {"run": "x", "on_error": "skip"}]) == [
        "after[1].on_error: cannot be skip: the backup is over (fail or warn)"
    ]


# --- keys and settings ---------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["a", "0", "my-host.example_1", "a" * 63])
def test_keys(key: str) -> None:
    assert check_key(key) == key
    assert Settings(host=key).host == key


@pytest.mark.parametrize("key", ["", "A", "-a", ".a", "_a", "a b", "ä", "a" * 64, "a/b", "a\n"])
def test_what_is_no_key(key: str) -> None:
    with pytest.raises(ValueError, match="is not an ID"):
        check_key(key)


@pytest.mark.parametrize(
    ("name", "key"),
    [("Ünser Server", "unser-server"), ("NAS", "nas"), ("--x--", "x"), ("日本", ""), ("a" * 99, "a" * 63)],
)
def test_a_key_from_a_name(name: str, key: str) -> None:
    assert key_from(name) == key


@given(st.text())
def test_a_key_from_anything_is_a_key_or_nothing(name: str) -> None:
    key = key_from(name)
    assert not key or check_key(key) == key


def test_settings() -> None:
    read = document(
        settings={"host": "laptop", "state": "/var/x", "timezone": "Europe/Berlin", "restic": None}
    )
    assert read.settings == Settings.model_validate(read.settings.model_dump(mode="json"))
    said = problems_in({"settings": {"host": "My Host", "state": "x", "timezone": "Mars", "restic": "/a\0"}})
    assert [one.partition(" (")[0] for one in said] == [
        'settings.host: "My Host" is not an ID: lower-case letters and digits, after the first also . _ -, at most 63',
        "settings.state: is not an absolute path",
        'settings.timezone: "Mars" is not a time zone',
        "settings.restic: is not an absolute path",
    ]
