"""What no configuration holds is refused before anything is built of it, by its number and its depth, not its time."""

from __future__ import annotations

import pytest

from highball.config.load import (
    MOST_VALUES,
    Kind,
    read,
)
from highball.errors import ConfigurationInvalid

MANY = {
    "a list": b"a:\n" + b"- a\n" * 900_000,
    "a list on one line": b"a: [" + b"a," * 1_900_000 + b"]",
    "a table on one line": b"a: {" + b"".join(b"k%d: 1," % n for n in range(80_000)) + b"}",
    "aliases": b"a: &a [1]\nb: [" + b"*a," * (MOST_VALUES + 1) + b"]",
}


@pytest.mark.parametrize("what", MANY)
def test_too_many_values_in_yaml(what: str) -> None:
    with pytest.raises(ConfigurationInvalid, match="the configuration has a problem") as raised:
        read(MANY[what], "yaml")
    assert "values, so it is not a configuration" in raised.value.problems[0].message


def test_too_many_values_in_toml() -> None:
    with pytest.raises(ConfigurationInvalid) as raised:
        read(b"a=[" + b"1," * 1_900_000 + b"]", "toml")
    assert "values, so it is not a configuration" in raised.value.problems[0].message


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"a: " + b"[" * 5_000, "yaml"),
        (b"".join(b" " * n + b"a:\n" for n in range(2_000)), "yaml"),
        (b"a=" + b"[" * 5_000, "toml"),
    ],
)
def test_too_deep(text: bytes, kind: Kind) -> None:
    with pytest.raises(ConfigurationInvalid) as raised:
        read(text, kind)
    assert "levels deep" in raised.value.problems[0].message


def test_a_large_fleet_is_read() -> None:
    one = b"  j%d: {schedule: daily, sources: [/a], repositories: [nas]}\n"
    assert len(read(b"jobs:\n" + b"".join(one % n for n in range(5_000)), "yaml")["jobs"]) == 5_000
