"""The commented sample: right as it stands, and with every one of its comments taken at its word."""

from __future__ import annotations

import re

import pytest

from highball.config.document import MODEL_OF, parse
from highball.config.job import JobSettings
from highball.config.sample import sample
from highball.engine.restic.location import Location

TEXT = sample("Europe/Vienna")
LINES = TEXT.splitlines()
VALUES = [number for number, line in enumerate(LINES) if re.match(r"#\w+ = ", line)]
SECTIONS = {"#[hosts.web-1]", "#[profiles.critical]"}


def with_values(*numbers: int) -> bytes:
    """The sample with these lines, and the sections that are comments, taken in."""
    taken = {number: LINES[number][1:] for number in numbers}
    told = [taken.get(number, line) for number, line in enumerate(LINES)]
    return "\n".join(line[1:] if line in SECTIONS else line for line in told).encode()


def test_the_sample_is_right_as_it_stands() -> None:
    document = parse(TEXT.encode(), "toml")
    assert document.settings.timezone == "Europe/Vienna"
    assert document.jobs["documents"].repositories == ("nas",)


@pytest.mark.parametrize("number", VALUES, ids=lambda number: f"{number}-{LINES[number].split(' =')[0][1:]}")
def test_every_comment_may_be_taken_in(number: int) -> None:
    line = LINES[number]
    section = next(one for one in reversed(LINES[:number]) if one.startswith(("[", "#[")))
    if section == "#[pins.audit]":
        text = (
            with_values()
            + b"\n[pins.audit]\n"
            + "\n".join(
                one[1:] for one in LINES[LINES.index(section) + 1 :] if re.match(r"#\w+ = ", one)
            ).encode()
        )
    elif section == "#[profiles.critical]" and line.startswith("#profile"):
        text = with_values(number) + b"\n[profiles.usual]\n"
    else:
        text = with_values(number)
        if "_schedule" in line:
            text = text.replace(b'#maintenance = "auto"', b'maintenance = "user"')
    assert parse(text, "toml")


def test_every_field_is_in_the_sample() -> None:
    for kind, model in MODEL_OF.items():
        if kind in ("user", "token"):
            continue
        own = set(model.model_fields)
        own -= set(Location.model_fields) - {"url"} if issubclass(model, Location) else set()
        own -= set(JobSettings.model_fields) if kind in ("job", "profile") else set()
        header = {"settings": "[settings]", "defaults": "[defaults]", "pin": "#[pins.audit]"}
        start = next(
            n
            for n, one in enumerate(LINES)
            if one == header.get(kind)
            or one.strip("#[").startswith(
                {"repository": "repositories.", "job": "jobs.", "host": "hosts.", "profile": "profiles."}.get(
                    kind, "-"
                )
            )
        )
        end = next((n for n, one in enumerate(LINES) if n > start and not one), len(LINES))
        shown = {match[1] for one in LINES[start:end] if (match := re.match(r"#?(\w+) = ", one))}
        assert own <= shown, kind
