"""When things are due: schedules, the times they name, and how a job stands measured against them.

Everything here is pure: the clock is an argument and nothing is read or written. Times go in and come out as
aware UTC. Calendars are cronsim's, which treats daylight saving as Debian's cron does: a time that the clocks
skip comes at the moment they jumped, and a time that comes twice counts once.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import islice, pairwise, takewhile
from typing import Annotated, Any
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError

from highball.model.standing import Health
from highball.model.text import time_to_text

# --- how long ------------------------------------------------------------------------------------

_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(
    r"(?:(\d{1,9})w)?(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9}(?:\.\d{1,6})?)s?)?", re.A
)
_LONGEST = timedelta(days=36500)


def duration_from_value(value: object) -> timedelta:
    """A length of time from `1h30m`, `2d`, `45s`, or a number of seconds."""
    if isinstance(value, timedelta):
        found = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found = _duration_from_seconds(value)
    elif isinstance(value, str):
        found = _duration_from_text(value)
    else:
        raise ValueError('a length of time is text like "10m" or "1h30m", or a number of seconds')
    if not timedelta(0) <= found <= _LONGEST:
        raise ValueError("a length of time is between 0 and 100 years")
    return found


def _duration_from_seconds(seconds: float) -> timedelta:
    try:
        return timedelta(seconds=seconds)
    except (OverflowError, ValueError):  # infinite, not a number, or beyond any calendar
        return timedelta(-1)


def _duration_from_text(text: str) -> timedelta:
    match = _DURATION.fullmatch("".join(text.lower().split()))
    if match is None or not any(match.groups()):
        raise _wrong(f'"{text[:40]}" is not a length of time', 'write it like "45s", "10m", "1h30m" or "2d"')
    parts = zip(match.groups(), _UNITS.values(), strict=True)
    return _duration_from_seconds(sum(float(number) * unit for number, unit in parts if number))


def duration_to_text(duration: timedelta) -> str:
    """The text that reads back as the same length: `1h30m`, `2d`, `0.5s`."""
    parts = []
    for unit in "dhm":
        whole, duration = divmod(duration, timedelta(seconds=_UNITS[unit]))
        if whole:
            parts.append(f"{whole}{unit}")
    if duration or not parts:
        parts.append(f"{duration.total_seconds():.6f}".rstrip("0").rstrip(".") + "s")
    return "".join(parts)


Duration = Annotated[
    timedelta,
    BeforeValidator(duration_from_value),
    PlainSerializer(duration_to_text, return_type=str),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "examples": ["10m", "1h30m"]}, {"type": "number", "minimum": 0}]}
    ),
]
"""A length of time, written as people say it."""


# --- when ----------------------------------------------------------------------------------------

NAMED = {"hourly": "0 * * * *", "daily": "0 3 * * *", "weekly": "0 3 * * 0", "monthly": "0 3 1 * *"}
"""The schedules that have a name, and the times they stand for."""

MANUAL = "manual"

_FIELDS = ("a minute", "an hour", "a day of the month", "a month", "a day of the week")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_SOME_DAY = datetime(2024, 1, 1, tzinfo=UTC)


class Schedule(BaseModel):
    """When something happens by itself: a name or five cron fields, a time zone, a delay by chance."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    cron: str = Field(MANUAL, description="hourly, daily, weekly, monthly, manual, or five cron fields")
    timezone: str | None = Field(
        None, description="the time zone of these times; without one, that of the settings"
    )
    jitter: Duration = Field(
        timedelta(0),
        description="random delay: start up to this much later, so that not all start at once",
        json_schema_extra={"default": "0s"},
    )

    @model_validator(mode="before")
    @classmethod
    def _text_is_its_cron(cls, value: object) -> object:
        return {"cron": value} if isinstance(value, str) else value

    @field_validator("cron")
    @classmethod
    def _check_cron(cls, text: str) -> str:
        words = text.strip().lower()
        if words == MANUAL or words in NAMED:
            return words
        check_cron(text)
        return " ".join(text.split())

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, name: str | None) -> str | None:
        return name if name is None else check_timezone(name)

    @model_serializer(mode="wrap")
    def _as_short_as_can_be(self, whole: SerializerFunctionWrapHandler) -> Any:
        return self.cron if self.timezone is None and not self.jitter else whole(self)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "examples": [*NAMED, MANUAL, "30 4 * * 1-5"]}, handler(core)]}

    @property
    def expression(self) -> str | None:
        """The five cron fields; None where nothing happens by itself."""
        return None if self.cron == MANUAL else NAMED.get(self.cron, self.cron)


def with_times(schedule: Schedule, times: Mapping[Any, str]) -> Schedule:
    """The schedule with its name replaced by the cron fields that the name stands for here."""
    fields = times.get(schedule.cron)
    return schedule if fields is None else schedule.model_copy(update={"cron": fields})


def check_timezone(name: str) -> str:
    """The name, if it is that of a time zone; ValueError with the nearest name if not."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # what an odd name is to the zone files, depending on its oddity
        nearest = difflib.get_close_matches(name[:60], sorted(available_timezones()), 1)
        raise _wrong(
            f'"{name[:60]}" is not a time zone',
            f"perhaps {nearest[0]}" if nearest else "write it like Europe/Berlin, or UTC",
        ) from None
    return name


def check_cron(text: str) -> None:
    """Refuse what is not five cron fields or names no time at all; the ValueError says in words why."""
    fields = text.split()
    if len(fields) < 2 or len(text) > 200:
        nearest = difflib.get_close_matches(text.lower().strip("@ ")[:20], [*NAMED, MANUAL], 1)
        raise _wrong(
            f'"{text[:40]}" is not a schedule',
            f"perhaps {nearest[0]}" if nearest else f"{', '.join(NAMED)}, {MANUAL} or five cron fields",
        )
    if len(fields) != 5:
        raise _wrong(
            f"a schedule has five fields, not {len(fields)}", "minute, hour, day of month, month, day of week"
        )
    wrong = [_what_is_wrong(n, field) for n, field in enumerate(fields) if not _understood(n, field)]
    if wrong:
        raise ValueError(", ".join(wrong))
    if not _ever_comes(text):
        raise ValueError(_never_comes(fields))


def _wrong(message: str, hint: str) -> PydanticCustomError:
    return PydanticCustomError("wrong", "{message}", {"message": message, "hint": hint})


def _understood(position: int, field: str) -> bool:
    try:
        CronSim(" ".join(field if n == position else "*" for n in range(5)), _SOME_DAY)
    except CronSimError:
        return False
    return True


def _what_is_wrong(position: int, field: str) -> str:
    term = next(term for term in field.split(",") if not _understood(position, term))
    base, _, _ = term.partition("/")
    if _understood(position, base):
        return f"{term} has no step that counts, like the 15 in */15"
    ends = base.split("-")
    for end in ends:
        if not _understood(position, end):
            return f"{end} is not {_FIELDS[position]}" if end else f"{field} lacks {_FIELDS[position]}"
    return f"{base} is not a range from a lower to a higher value"


def _ever_comes(text: str) -> bool:
    try:
        return next(CronSim(text, _SOME_DAY), None) is not None
    except CronSimError:  # it sees some impossible dates itself
        return False


def _never_comes(fields: list[str]) -> str:
    _, _, day, month, weekday = fields
    if weekday == "*" and day.isdecimal() and month.isdecimal():
        return f"{int(day)} {_MONTHS[int(month) - 1]} never comes"
    return f"a day like {day} {month} {weekday} never comes"


# --- which times ---------------------------------------------------------------------------------


def times_after(schedule: Schedule, after: datetime, timezone: str) -> Iterator[datetime]:
    """All times after that moment, each later than the one before."""
    if schedule.expression is None:
        return
    newest = after
    times = CronSim(schedule.expression, after.astimezone(_zone(schedule, timezone)))
    for time in times:  # pragma: no branch - what comes once comes again
        found = time.astimezone(UTC)
        # Two times that the clocks skip fall on one moment, and one that comes twice may lie behind us.
        if found > newest:
            newest = found
            yield found


def next_times(schedule: Schedule, after: datetime, timezone: str, count: int = 1) -> list[datetime]:
    """The next `count` times after that moment, oldest first; none where nothing happens by itself."""
    return list(islice(times_after(schedule, after, timezone), count))


def previous_time(schedule: Schedule, at: datetime, timezone: str) -> datetime | None:
    """The newest time at or before that moment; None where nothing happens by itself."""
    if schedule.expression is None:
        return None
    zone = _zone(schedule, timezone)
    # Backwards, cronsim may be off by a time or two where clocks change: it says from where to go forward.
    earlier = list(islice(CronSim(schedule.expression, at.astimezone(zone), reverse=True), 3))
    before = min(time.astimezone(UTC) for time in earlier) - timedelta(seconds=1)
    due = takewhile(lambda time: time <= at, times_after(schedule, before, timezone))
    return max(due, default=None)


def interval(schedule: Schedule, now: datetime, timezone: str) -> timedelta | None:
    """The usual distance between two times, the median of the next ten; None where there are none."""
    times = next_times(schedule, now, timezone, 11)
    gaps = sorted(later - earlier for earlier, later in pairwise(times))
    return (gaps[4] + gaps[5]) / 2 if gaps else None


def _zone(schedule: Schedule, timezone: str) -> tzinfo:
    return _named(schedule.timezone or timezone)


def _named(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)  # cronsim is quickest with Python's own UTC


# --- fires ---------------------------------------------------------------------------------------

_FIRES = UUID("0d7c2f58-6a3e-5b41-9c0d-4f1e8ab27c63")


@lru_cache(maxsize=8192)
def fire_id(subject: str, host: str, action: str, nominal: datetime) -> str:
    """The run id of a fire: the same wherever it is computed, so that hub and agent never make two of one."""
    return str(uuid5(_FIRES, f"{subject} {host} {action} {time_to_text(nominal)}"))


def jitter_of(subject: str, host: str, schedule: Schedule) -> timedelta:
    """How much later than its nominal time a subject begins: whole seconds, the same at each of its fires."""
    if not schedule.jitter:
        return timedelta(0)
    digest = hashlib.sha256(f"{subject} {host}".encode()).digest()
    choices = int(schedule.jitter.total_seconds()) + 1
    return timedelta(seconds=int.from_bytes(digest[:8]) * choices >> 64)


# --- when something may begin ----------------------------------------------------------------------

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(r"(?:([a-z]{3}(?:[-,][a-z]{3})*) )?(\d{1,2}):(\d\d) ?- ?(\d{1,2}):(\d\d)", re.A)
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True)
class TimeWindow:
    """A span of the local day, in minutes from midnight, on the days on which it begins; it may reach into the next."""

    days: frozenset[int]
    begins: int
    ends: int


def read_window(text: str) -> TimeWindow:
    """The window that `22:00-06:00` or `mon-fri 22:00-06:00` says; ValueError with what is wrong if none."""
    match = _WINDOW.fullmatch(" ".join(text.lower().split()))
    if match is None:
        raise _wrong(
            f'"{text[:40]}" is not a span of times', "write it like 22:00-06:00 or mon-fri 22:00-06:00"
        )
    days, *numbers = match.groups()
    begins, ends = (_minutes(int(hour), int(minute)) for hour, minute in (numbers[:2], numbers[2:]))
    if begins == ends or (begins, ends) == (_DAY_MINUTES, 0):
        raise _wrong(f'"{text[:40]}" ends when it starts', "the whole day is 00:00-24:00")
    return TimeWindow(_read_days(days) if days else frozenset(range(7)), begins % _DAY_MINUTES, ends)


def window_to_text(text: str) -> str:
    """The same window, written as it is always written; ValueError as in `read_window`."""
    read_window(text)
    return re.sub(r" ?- ?", "-", " ".join(text.lower().split()))


def _minutes(hour: int, minute: int) -> int:
    found = hour * 60 + minute
    if minute > 59 or found > _DAY_MINUTES:
        raise _wrong(f"{hour:02}:{minute:02} is not a time of day", "from 00:00 to 24:00")
    return found


def _read_days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        ends = [_day(name) for name in part.split("-")]
        if len(ends) > 2:
            raise _wrong(f"{part} is not a span of days", "write it like mon-fri")
        found |= {(ends[0] + n) % 7 for n in range((ends[-1] - ends[0]) % 7 + 1)}
    return frozenset(found)


def _day(name: str) -> int:
    if name not in _DAYS:
        raise _wrong(f"{name} is not a day of the week", f"the days are {', '.join(_DAYS)}")
    return _DAYS.index(name)


def is_within(windows: Iterable[str], at: datetime, timezone: str) -> bool:
    """Whether something may begin at that moment, by the clocks of that zone; without windows it may always."""
    return _is_within([read_window(text) for text in windows], at, timezone)


def _is_within(windows: Sequence[TimeWindow], at: datetime, timezone: str) -> bool:
    return not windows or any(_covers(window, at.astimezone(_named(timezone))) for window in windows)


def _covers(window: TimeWindow, local: datetime) -> bool:
    day, minute = local.weekday(), local.hour * 60 + local.minute
    if window.begins < window.ends:
        return day in window.days and window.begins <= minute < window.ends
    if minute >= window.begins:
        return day in window.days
    return minute < window.ends and (day - 1) % 7 in window.days


def next_opening(windows: Sequence[str], at: datetime, timezone: str) -> datetime:
    """The first moment from then on at which something may begin: that moment itself within a window."""
    read = [read_window(text) for text in windows]
    if _is_within(read, at, timezone):
        return at
    minute = at.replace(second=0, microsecond=0)
    # Step by step by real minutes, so that hours that clocks skip or repeat need no thought. A window comes
    # every week at least, but clocks may skip the whole of it once.
    steps = (minute + timedelta(minutes=n) for n in range(1, 15 * _DAY_MINUTES))
    return next(moment for moment in steps if _is_within(read, moment, timezone))


# --- how a job stands ----------------------------------------------------------------------------

LATE_WITHOUT_SCHEDULE = timedelta(hours=24)
OVERDUE_WITHOUT_SCHEDULE = timedelta(hours=48)


def health(
    last_good_at: datetime | None,
    last_failed: bool,
    schedule: Schedule | None,
    now: datetime,
    timezone: str,
) -> Health:
    """How a job stands in a repository: the first of never, overdue, failed, late that applies, else healthy.

    `last_good_at` is the time of the newest good backup, `last_failed` whether the last run failed.
    """
    if last_good_at is None:
        return Health.NEVER
    late, overdue = _late_and_overdue(last_good_at, schedule or Schedule(), now, timezone)
    if overdue:
        return Health.OVERDUE
    if last_failed:
        return Health.FAILED
    return Health.LATE if late else Health.HEALTHY


def _late_and_overdue(
    last_good_at: datetime, schedule: Schedule, now: datetime, timezone: str
) -> tuple[bool, bool]:
    age = now - last_good_at
    due = _next_after(schedule, _minute(last_good_at), timezone)
    if due is None:
        return age >= LATE_WITHOUT_SCHEDULE, age >= OVERDUE_WITHOUT_SCHEDULE
    due_at = due + schedule.jitter
    usual = _usual_gap(schedule, _minute(now), timezone) if now > due_at else None
    if usual is None:
        return False, False
    # Where all gaps are alike, an age of 1.5 of them means that half a gap has passed since the due time.
    # Where they are not (hourly on workdays), the age alone would alarm all weekend although nothing was due.
    return True, age > 1.5 * usual and now > due_at + usual / 2


def _minute(at: datetime) -> datetime:
    """Its beginning: the times of schedules are whole minutes, so what comes after either is the same."""
    return at.replace(second=0, microsecond=0)


@lru_cache(maxsize=8192)
def _next_after(schedule: Schedule, minute: datetime, timezone: str) -> datetime | None:
    """Kept, for how hundreds of jobs stand is asked again and again."""
    return next(times_after(schedule, minute, timezone), None)


@lru_cache(maxsize=8192)
def _usual_gap(schedule: Schedule, minute: datetime, timezone: str) -> timedelta | None:
    return interval(schedule, minute, timezone)
