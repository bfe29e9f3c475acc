"""A schedule is a name or five cron fields, and what is wrong with it is said in words."""

import pytest
from pydantic import ValidationError

from highball.schedule import Schedule, check_timezone


def complaint(declared: object) -> tuple[str, str | None]:
    with pytest.raises(ValidationError) as caught:
        Schedule.model_validate(declared)
    (error,) = caught.value.errors()
    context = error["ctx"]
    return (str(context["error"]), None) if "error" in context else (context["message"], context["hint"])


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("hourly", "0 * * * *"),
        ("daily", "0 3 * * *"),
        ("weekly", "0 3 * * 0"),
        ("monthly", "0 3 1 * *"),
        ("Daily ", "0 3 * * *"),
        ("manual", None),
        ("30 4 * * 1-5", "30 4 * * 1-5"),
        ("  */15  *  * * * ", "*/15 * * * *"),
        ("0 3 * jan,feb MON#2", "0 3 * jan,feb MON#2"),
        ("0 3 L * *", "0 3 L * *"),
        ("0 0 29 2 *", "0 0 29 2 *"),
    ],
)
def test_names_and_fields(name: str, fields: str | None) -> None:
    assert Schedule.model_validate(name).expression == fields
    assert Schedule.model_validate({"cron": name}).expression == fields


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("61 * * * *", "61 is not a minute"),
        ("* 24 * * *", "24 is not an hour"),
        ("* * 0 * *", "0 is not a day of the month"),
        ("* * * 13 *", "13 is not a month"),
        ("* * * * 9", "9 is not a day of the week"),
        ("61 25 * * funday", "61 is not a minute, 25 is not an hour, funday is not a day of the week"),
        ("0,x,5 * * * *", "x is not a minute"),
        ("0-60 * * * *", "60 is not a minute"),
        ("1,,2 * * * *", "1,,2 lacks a minute"),
        ("*/0 * * * *", "*/0 has no step that counts, like the 15 in */15"),
        ("0 3 1/ * *", "1/ has no step that counts, like the 15 in */15"),
        ("0 3 * * SAT-SUN", "SAT-SUN is not a range from a lower to a higher value"),
        ("0 0 30 2 *", "30 February never comes"),
        ("0 0 31 2,4 *", "a day like 31 2,4 * never comes"),
        ("0 0 */29 2 MON#5", "a day like */29 2 MON#5 never comes"),
    ],
)
def test_wrong_fields(cron: str, words: str) -> None:
    assert complaint(cron) == (words, None)


@pytest.mark.parametrize(
    ("cron", "words", "hint"),
    [
        ("dayly", '"dayly" is not a schedule', "perhaps daily"),
        ("@daily", '"@daily" is not a schedule', "perhaps daily"),
        ("", '"" is not a schedule', "hourly, daily, weekly, monthly, manual or five cron fields"),
        ("* * * *", "a schedule has five fields, not 4", "minute, hour, day of month, month, day of week"),
        ("0 " * 6, "a schedule has five fields, not 6", "minute, hour, day of month, month, day of week"),
        (
            "9" * 5000 + " * * * *",
            f'"{"9" * 40}" is not a schedule',
            "hourly, daily, weekly, monthly, manual or five cron fields",
        ),
    ],
)
def test_what_is_no_schedule(cron: str, words: str, hint: str) -> None:
    assert complaint(cron) == (words, hint)


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/St_Johns"])
def test_timezones(name: str) -> None:
    assert check_timezone(name) == name
    assert Schedule.model_validate({"cron": "daily", "timezone": name}).timezone == name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Berlim", "perhaps Europe/Berlin"),
        ("", "write it like Europe/Berlin, or UTC"),
        ("a\0b", "write it like Europe/Berlin, or UTC"),
        ("/etc/passwd", "write it like Europe/Berlin, or UTC"),
        ("../../etc/passwd", "write it like Europe/Berlin, or UTC"),
        ("x" * 9000, "write it like Europe/Berlin, or UTC"),
    ],
)
def test_wrong_timezones(name: str, hint: str) -> None:
    assert complaint({"cron": "daily", "timezone": name}) == (f'"{name[:60]}" is not a time zone', hint)


@pytest.mark.parametrize(
    ("declared", "spelled"),
    [
        ("daily", "daily"),
        ({"cron": "0 3 * * *"}, "0 3 * * *"),
        ({}, "manual"),
        ({"cron": "daily", "timezone": None}, "daily"),
        (
            {"cron": "daily", "timezone": "UTC", "jitter": "90m"},
            {"cron": "daily", "timezone": "UTC", "jitter": "1h30m"},
        ),
    ],
)
def test_it_is_spelled_as_short_as_can_be_and_reads_back(declared: object, spelled: object) -> None:
    schedule = Schedule.model_validate(declared)
    assert schedule.model_dump(mode="json") == spelled
    assert Schedule.model_validate(spelled) == schedule


def test_schema_of_editors() -> None:
    text, table = Schedule.model_json_schema()["anyOf"]
    assert text["type"] == "string"
    assert table["properties"]["jitter"]["default"] == "0s"
