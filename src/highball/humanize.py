"""Sizes, times and lengths of time as people read them, the same on every page and in every terminal."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo

UNKNOWN = "–"
NOT_YET = "not yet"

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: float | None) -> str:
    """`38.2 GiB`, `412 MiB`: three digits that count; a dash where it is not known."""
    if count is None:
        return UNKNOWN
    value = float(count)
    for unit in _UNITS:
        if abs(value) < 999.5 or unit == _UNITS[-1]:
            break
        value /= 1024
    if unit == "B":
        return f"{value:.0f} B"
    return f"{value:.{_places(value)}f} {unit}"


def _places(value: float) -> int:
    return 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0


def number(count: int | None) -> str:
    """`12,345`; a dash where it is not known."""
    return UNKNOWN if count is None else f"{count:,}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 snapshot`, `2 snapshots`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def sample(count: int, of: int | None) -> str:
    """`a sample of 20 of 65 files`, or how many files where that is all of them, or where nobody knows of how many."""
    return (
        counted(count, "file")
        if of in (None, count)
        else f"a sample of {number(count)} of {counted(of, 'file')}"
    )


def length(seconds: float | timedelta | None) -> str:
    """`0.4 s`, `3 min 12 s`, `2 h 48 min`, `1 d 5 h`: two units at most; a dash where it is not known."""
    if seconds is None:
        return UNKNOWN
    total = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
    if total < 59.95:
        return f"{total:.1f} s"
    minutes, rest = divmod(round(total), 60)
    if minutes < 60:
        return _two(minutes, "min", rest, "s")
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return _two(hours, "h", minutes, "min")
    days, hours = divmod(hours, 24)
    return _two(days, "d", hours, "h")


def _two(large: int, its: str, small: int, their: str) -> str:
    return f"{large} {its} {small} {their}" if small else f"{large} {its}"


def about(between: timedelta) -> str:
    """A length of time in one unit, two where the first says too little: `48 min`, `2 h 48 min`, `16 h`, `6 d`."""
    minutes = int(between.total_seconds() // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 4:
        return _two(hours, "h", rest, "min")
    return f"{hours} h" if hours < 24 else f"{hours // 24} d"


def age(at: datetime | None, now: datetime) -> str:
    """`6 d ago`, `in 48 min`, `just now`; `not yet` where it never was."""
    if at is None:
        return NOT_YET
    if abs(now - at) < timedelta(minutes=1):
        return "just now" if at <= now else "in a moment"
    return f"{about(now - at)} ago" if at < now else f"in {about(at - now)}"


def moment(at: datetime | None, now: datetime, zone: tzinfo) -> str:
    """`09:12` today, `Sat 04:00` within a week, `16 November` this year, `24 May 2025`; `not yet` if never."""
    if at is None:
        return NOT_YET
    here, today = at.astimezone(zone), now.astimezone(zone)
    if here.date() == today.date():
        return f"{here:%H:%M}"
    if abs((here.date() - today.date()).days) < 7:
        return f"{here:%a %H:%M}"
    return f"{here.day} {here:%B}" if here.year == today.year else f"{here.day} {here:%B %Y}"


def appointment(at: datetime, now: datetime, zone: tzinfo) -> str:
    """A time that is told with its hour however far it is: `Today 10:00`, `Mon 23 Nov 03:34`."""
    here = at.astimezone(zone)
    if here.date() == now.astimezone(zone).date():
        return f"Today {here:%H:%M}"
    return f"{here:%a} {here.day} {here:%b %H:%M}"


def full_moment(at: datetime, zone: tzinfo) -> str:
    """All of it: `Sunday 22 November 2026, 09:12:04 CET`."""
    here = at.astimezone(zone)
    return f"{here:%A} {here.day} {here:%B %Y, %H:%M:%S} {here.tzname()}"


# --- schedules -----------------------------------------------------------------------------------

_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_NUMBERS = {day[:3].lower(): number for number, day in enumerate(_DAYS)}


def rhythm(cron: str | None) -> str:
    """Five cron fields as people say them: `Every hour, on the hour`, `Daily at 03:00`, `Mondays at 04:00`.

    What people have no short words for stays as it is; None is what runs by hand.
    """
    if cron is None:
        return "Manual"
    minute, hour, day, month, weekday = cron.split()
    if month == "*" and (day, weekday) == ("*", "*"):
        return _within_a_day(minute, hour) or cron
    at = _clock(minute, hour)
    if at is None or month != "*":
        return cron
    if day == "*":
        days = _weekdays(weekday)
        return f"{days} at {at}" if days else cron
    if weekday == "*" and day.isdecimal():
        return f"On the {_ordinal(int(day))} of each month at {at}"
    return cron


def _within_a_day(minute: str, hour: str) -> str | None:
    if at := _clock(minute, hour):
        return f"Daily at {at}"
    if hour == "*" and minute.isdecimal():
        return "Every hour, on the hour" if int(minute) == 0 else f"Every hour at {int(minute):02} past"
    if hour == "*" and (step := _step(minute, 60)):
        return f"Every {counted(step, 'minute') if step > 1 else 'minute'}"
    if minute.isdecimal() and (step := _step(hour, 24)):
        past = "" if int(minute) == 0 else f", at {int(minute):02} past"
        return f"Every {step} hours{past}" if step > 1 else f"Every hour{past}"
    return None


def _step(field: str, whole: int) -> int | None:
    """The n of `*/n`, where it goes round without a rest: else the last step is a shorter one."""
    star, _, step = field.partition("/")
    return int(step) if star == "*" and step.isdecimal() and whole % int(step) == 0 else None


def _clock(minute: str, hour: str) -> str | None:
    hours = hour.split(",")
    if not minute.isdecimal() or not all(one.isdecimal() for one in hours):
        return None
    return _listed([f"{int(one):02}:{int(minute):02}" for one in sorted(hours, key=int)])


def _weekdays(field: str) -> str | None:
    found: set[int] = set()
    for part in field.split(","):
        ends = [_weekday(one) for one in part.split("-")]
        if len(ends) > 2 or None in ends:
            return None
        first, last = (number or 0 for number in (ends[0], ends[-1]))
        found |= {(first + n) % 7 or 7 for n in range((last - first) % 7 + 1)}
    days = sorted(found)  # the week begins on Monday, whatever cron counts from
    if len(days) == 7:
        return "Daily"
    if len(days) > 2 and days[-1] - days[0] == len(days) - 1:
        return f"{_DAYS[days[0] % 7]} to {_DAYS[days[-1] % 7]}"
    return _listed([f"{_DAYS[n % 7]}s" for n in days])


def _weekday(text: str) -> int | None:
    if text.isdecimal():
        return int(text) % 7
    return _NUMBERS.get(text.lower())


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _ordinal(number: int) -> str:
    ending = "th" if 10 < number < 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
