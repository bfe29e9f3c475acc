"""The rarer fields of a job's form: each stands for one value of the spec, as text that a person types.

A blank field says nothing: then what is inherited holds, or what is usual. A field that a job may have and that has
no form of its own is added here, and with that it is shown, read, written and told of on the job's page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from highball.config.job import Job
from highball.config.references import Spec
from highball.schedule import duration_to_text

YES_OR_NO = (("yes", "Yes"), ("no", "No"))


@dataclass(frozen=True)
class Option:
    """A value of a job and the field that shows it."""

    path: str
    """Where the spec says it, like `retry.max`."""
    label: str
    help: str
    kind: str = "text"
    """text, number, percent, lines, or choice."""
    choices: tuple[tuple[str, str], ...] = ()
    unit: str = ""

    @property
    def name(self) -> str:
        """What the field is called in the form."""
        return self.path.replace(".", "-")


READING = (
    Option(
        "one_file_system",
        "Stay on one file system",
        "Skip other file systems mounted below a source. Bind mounts of the same file system are included.",
        "choice",
        YES_OR_NO,
    ),
    Option(
        "exclude_if_present",
        "Exclude folders that contain",
        "One file name per line. Folders that contain such a file are excluded.",
        "lines",
    ),
    Option("exclude_larger_than", "Exclude files larger than", "A size, like 1G."),
    Option(
        "read_concurrency",
        "Files read in parallel",
        "More can help on fast disks, fewer on slow ones.",
        "number",
    ),
)
WRITING = (
    Option(
        "compression",
        "Compression",
        "Strength of compression.",
        "choice",
        (("auto", "Automatic"), ("max", "Maximum"), ("off", "Off")),
    ),
    Option("limit_upload", "Upload limit", "KiB per second, or a size like 2M.", unit=" KiB/s"),
    Option("limit_download", "Download limit", "KiB per second, or a size like 2M.", unit=" KiB/s"),
)
OBSTACLES = (
    Option("retry.max", "Retries", "How often a failed backup is retried.", "number"),
    Option("retry.backoff", "Delay before a retry", "Like 10m; doubled for each further retry."),
    Option("wait", "Wait for other runs", "How long a run waits for others to finish, like 1h."),
    Option(
        "missed",
        "Missed runs",
        "When the scheduled time passed while the host was off, for example.",
        "choice",
        (("run-latest", "Run once as soon as possible"), ("skip", "Wait for the next scheduled time")),
    ),
    Option(
        "shrink_limit",
        "Warn when the size drops by more than",
        "Percent of the usual size; 0 never warns.",
        "percent",
        unit=" %",
    ),
)
CACHES = Option(
    "exclude_caches",
    "Exclude cache folders",
    "Folders marked as caches by a CACHEDIR.TAG file.",
    "choice",
    YES_OR_NO,
)
ZONE = Option("schedule.timezone", "Time zone", "Of this job's schedule, like Europe/Berlin.")
WITHIN = tuple(
    Option(f"retention.within{suffix}", label, help)
    for suffix, label, help in (
        ("", "All within", "Like 14d, counted from the newest snapshot."),
        ("_hourly", "Hourly within", "One per hour for this long."),
        ("_daily", "Daily within", "One per day for this long."),
        ("_weekly", "Weekly within", "One per week for this long."),
        ("_monthly", "Monthly within", "One per month for this long."),
        ("_yearly", "Yearly within", "One per year for this long."),
    )
)
GROUPS = (("Reading", READING), ("Writing", WRITING), ("Retries and waiting", OBSTACLES))
OPTIONS = (CACHES, ZONE, *WITHIN, *READING, *WRITING, *OBSTACLES)
BY_PATH = {one.path: one for one in OPTIONS}

Texts = Mapping[str, str]
"""What the fields hold, by the paths of their options."""


def texts_of(spec: Spec) -> dict[str, str]:
    """What the fields show of a spec."""
    return {one.path: _text_of(one, _find(spec, one.path)) for one in OPTIONS}


def write(spec: Spec, shown: Texts, sent: Texts) -> None:
    """Set in a spec every value whose field was sent, and otherwise than it was shown."""
    for one in OPTIONS:
        text = sent.get(one.path, shown.get(one.path, ""))
        if text != shown.get(one.path, ""):
            _put(spec, one.path, _value_of(one, text))


def usual_of(inherited: Spec) -> dict[str, str]:
    """What holds where a field is blank: the inherited value, else the usual one, in the words of its field."""
    return {one.path: _said(one, _text_of(one, _usual(one, inherited))) for one in OPTIONS}


def told_of(job: Job) -> Iterator[tuple[str, str]]:
    """The options by which a job differs from others, and what they say; what it excludes stands by its sources."""
    for one in (*READING, *WRITING, *OBSTACLES):
        value = _of_model(job, one.path)
        if one.path.startswith("exclude_"):
            continue
        if value != _default(one.path):
            said = ", ".join(_said(one, _text_of(one, value)).splitlines())
            yield one.label, f"{said}{one.unit}"


def _usual(one: Option, inherited: Spec) -> Any:
    found = _find(inherited, one.path)
    return _default(one.path) if found in (None, "none") else found


def _said(one: Option, text: str) -> str:
    return dict(one.choices).get(text, text)


def _default(path: str) -> Any:
    """What a job says that says nothing."""
    model: type[BaseModel] = Job
    value: Any = None
    for name in path.split("."):
        value = model.model_fields[name].default
        model = type(value) if isinstance(value, BaseModel) else model
        if value is None:
            return None
    return value


def _of_model(job: Job, path: str) -> Any:
    value: Any = job
    for name in path.split("."):
        value = getattr(value, name, None)
    return value


def _find(spec: Spec, path: str) -> Any:
    value: Any = spec
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _put(spec: Spec, path: str, value: Any) -> None:
    name, _, below = path.partition(".")
    if below:
        table = dict(spec[name]) if isinstance(spec.get(name), dict) else {}
        if name == "schedule" and isinstance(spec.get(name), str):
            table["cron"] = spec[name]
        _put(table, below, value)
        value = table["cron"] if set(table) == {"cron"} else table
    if value in (None, "", [], {}):
        spec.pop(name, None)
    else:
        spec[name] = value


def _text_of(one: Option, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "\n".join(str(line) for line in value)
    if isinstance(value, timedelta):
        return duration_to_text(value)
    if one.kind == "percent" and isinstance(value, int | float):
        return f"{value * 100:g}"
    return str(value)


def _value_of(one: Option, text: str) -> Any:
    """The value that a field's text stands for; what makes no sense is left for the spec's own rules to refuse."""
    if one.choices is YES_OR_NO and text in ("yes", "no"):
        return text == "yes"
    if one.kind == "lines":
        return text.splitlines()
    if one.kind == "number" and text.isdecimal() and len(text) < 10:
        return int(text)
    if one.kind == "percent":
        return _share(text)
    if one.path in ("limit_upload", "limit_download") and text.isdecimal() and len(text) < 19:
        return int(text)
    return text


def _share(text: str) -> Any:
    try:
        return round(float(text.rstrip("% ")) / 100, 6)
    except ValueError:
        return text
