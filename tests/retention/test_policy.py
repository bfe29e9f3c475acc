"""What a policy may say, and which one applies."""

from __future__ import annotations

import pytest
from hypothesis import given
from pydantic import ValidationError

from highball.errors import ConfigurationInvalid
from highball.retention import (
    BUILT_IN,
    Retention,
    effective,
    rules,
)

from .samples import policies


def test_the_built_in_policy_applies_only_where_nothing_is_named() -> None:
    assert effective(Retention()) == BUILT_IN
    assert rules(BUILT_IN) == {"last": 7, "hourly": 6, "daily": 7, "weekly": 4, "monthly": 6}


def test_a_field_that_nobody_named_is_zero_once_any_is_named() -> None:
    assert rules(effective(Retention(last=1))) == {"last": 1}
    assert rules(effective(Retention(within="2d"))) == {"within": "2d"}
    assert effective(Retention(last=1)).yearly == 0


@pytest.mark.parametrize("named", [{"last": 0}, {"within": "0d"}, {"daily": 0, "within_yearly": "0y0h"}])
def test_a_policy_that_keeps_nothing_is_refused_with_its_place(named: dict[str, object]) -> None:
    with pytest.raises(ConfigurationInvalid, match="keeps no snapshot") as refused:
        effective(Retention.model_validate(named), at="jobs.documents.retention")
    assert [problem.at for problem in refused.value.problems] == ["jobs.documents.retention"]


@given(policies)
def test_the_effective_policy_of_an_effective_policy_is_itself(policy: Retention) -> None:
    assert effective(effective(policy)) == effective(policy)


@given(policies)
def test_a_policy_survives_json(policy: Retention) -> None:
    assert Retention.model_validate_json(policy.model_dump_json()) == policy


@pytest.mark.parametrize("number", [True, -1, 1.5, 1_000_001, "7"])
def test_a_count_is_a_whole_number_and_not_a_truth(number: object) -> None:
    with pytest.raises(ValidationError):
        Retention.model_validate({"last": number})


@pytest.mark.parametrize(
    ("written", "meant"),
    [("1y5m7d2h", "1y5m7d2h"), (" 2h1d ", "1d2h"), ("0y3d", "3d"), ("0h", "0h"), ("007d", "7d")],
)
def test_a_length_of_time_is_kept_in_one_spelling(written: str, meant: str) -> None:
    assert Retention(within=written).within == meant


@pytest.mark.parametrize(
    "written", ["", "5", "d", "1w", "1d1d", "-1d", "1.5d", "1d 2h", "1d,", "٣d", "1234567d"]
)
def test_a_length_of_time_that_restic_or_a_person_could_misread_is_refused(written: str) -> None:
    with pytest.raises(ValidationError, match="1y5m7d2h"):
        Retention(within_daily=written)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValidationError, match="fortnightly"):
        Retention.model_validate({"fortnightly": 3})
