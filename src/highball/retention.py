"""Which snapshots a policy keeps and why; the plan that follows from it; the guards that stop the plan.

Pure: what time it is, what a repository lists and what the record knows are handed in, and nothing is deleted
here. The rules are those of restic 0.16 and later, and the real ones are asked whether that is so. Everything
here works on one set of one job of one host in one repository.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from highball.errors import ConfigurationInvalid, Problem, Unknown
from highball.model.fact import Fact
from highball.model.run import Reason
from highball.model.snapshot import Snapshot
from highball.model.text import RecordedTime, time_for_people

MOST_OF_A_RULE = 1_000_000
"""No rule keeps more than this; restic's own limit is that of its machine's integers."""

LARGEST_SKEW = timedelta(minutes=2)
"""Clocks that differ by more are wrong."""

REMOVED_WITHOUT_ASKING = 20
"""A plan that removes more than this, and more than half of the set, waits for a person."""

LEAST_GAP = timedelta(days=7)
"""A shorter time without a snapshot is never odd."""

INTERVALS_MISSED = 3
"""A time without a snapshot is odd that is longer than so many of the usual distances."""

# --- the policy ----------------------------------------------------------------------------------


class _CalendarSpan(NamedTuple):
    """A length of time as the calendar has it: what a month is depends on where one starts."""

    years: int
    months: int
    days: int
    hours: int

    def __str__(self) -> str:
        parts = [f"{number}{unit}" for number, unit in zip(self, "ymdh", strict=True) if number]
        return "".join(parts) or "0h"


def _span(text: str) -> _CalendarSpan:
    parts = re.findall(r"([0-9]{1,6})([ymdh])", text, re.ASCII)
    by_unit = {unit: int(number) for number, unit in parts}
    # Twice the same unit would mean the last one to restic and the sum to most people.
    if not parts or len(by_unit) < len(parts) or "".join(n + u for n, u in parts) != text:
        raise ValueError("a length of time is written like 1y5m7d2h: years, months, days, hours")
    return _CalendarSpan(*(by_unit.get(unit, 0) for unit in "ymdh"))


_Count = Annotated[int, Field(strict=True, ge=0, le=MOST_OF_A_RULE)]
_Length = Annotated[str, AfterValidator(lambda text: str(_span(text.strip())))]


class Retention(BaseModel):
    """How long snapshots are kept: one that any of these rules keeps is kept. A field not named is None."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    last: _Count | None = Field(None, description="Keep this many of the newest snapshots.")
    hourly: _Count | None = Field(None, description="Keep one of each of so many hours that have any.")
    daily: _Count | None = Field(None, description="Keep one of each of so many days that have any.")
    weekly: _Count | None = Field(None, description="Keep one of each of so many weeks that have any.")
    monthly: _Count | None = Field(None, description="Keep one of each of so many months that have any.")
    yearly: _Count | None = Field(None, description="Keep one of each of so many years that have any.")
    within: _Length | None = Field(
        None, description="Keep all this long, counted from the newest, like 1y5m7d2h; m is months."
    )
    within_hourly: _Length | None = Field(None, description="Keep one an hour for this long, like 2d.")
    within_daily: _Length | None = Field(None, description="Keep one a day for this long, like 30d.")
    within_weekly: _Length | None = Field(None, description="Keep one a week for this long, like 3m.")
    within_monthly: _Length | None = Field(None, description="Keep one a month for this long, like 2y.")
    within_yearly: _Length | None = Field(None, description="Keep one a year for this long, like 10y.")


BUILT_IN = Retention(last=7, hourly=6, daily=7, weekly=4, monthly=6, yearly=0)
"""What applies where nobody says anything about retention."""

_COUNTED = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
_WITHIN = ("within_hourly", "within_daily", "within_weekly", "within_monthly", "within_yearly")


def effective(declared: Retention, *, at: str = "retention") -> Retention:
    """The policy that applies: the built-in one where no field is named, else a count not named is 0.

    `declared` is what remains after merging. Raises ConfigurationInvalid, with `at` as the place, where the
    policy would keep nothing.
    """
    named = declared.model_dump(exclude_none=True)
    policy = Retention(**(dict.fromkeys(_COUNTED, 0) | named)) if named else BUILT_IN
    if not rules(policy):
        raise ConfigurationInvalid(
            "this retention keeps no snapshot at all",
            problems=[Problem(at, "keeps no snapshot at all", "name a rule that keeps some, like last = 7")],
        )
    return policy


def rules(policy: Retention) -> dict[str, int | str]:
    """The rules that keep something, by name; restic's option is `--keep-` and the name with dashes."""
    return {
        name: value
        for name, value in policy.model_dump(exclude_none=True).items()
        if (any(_span(value)) if isinstance(value, str) else value > 0)
    }


# --- what is kept --------------------------------------------------------------------------------


class Verdict(Fact):
    """Whether one snapshot is kept, and why: a reason's code is the rule's name. Without a reason it goes."""

    id: str
    time: RecordedTime
    keep: bool
    reasons: tuple[Reason, ...] = ()


def decide(policy: Retention, snapshots: Iterable[Snapshot], *, now: datetime) -> tuple[Verdict, ...]:
    """Judges each snapshot as restic 0.16 and later would, newest first.

    `now` matters to the `within` rules only: they count from the newest snapshot that is not in the future.
    Of snapshots of the very same time restic keeps what it happened to read first, not the same every time.
    Here all of them stay as soon as one does, so that never more goes than restic would remove.
    """
    ordered = sorted(((_recorded(s.time), s.id) for s in snapshots), reverse=True)
    present = _recorded(now)
    judges = list(_judges(rules(effective(policy)), next((at for at, _ in ordered if at < present), None)))
    verdicts = []
    for number, (at, snapshot_id) in enumerate(ordered, start=1):
        found = [judge.reason(at, number, oldest=number == len(ordered)) for judge in judges]
        reasons = tuple(reason for reason in found if reason)
        verdicts.append(Verdict(id=snapshot_id, time=at, keep=bool(reasons), reasons=reasons))
    return _with_twins(verdicts)


@dataclass(slots=True)
class _Judge:
    """One rule at work: what it may still keep, the period of which it kept one last, and how many it has kept."""

    name: str
    says: str
    period: Callable[[datetime, int], str]
    left: float = math.inf
    after: datetime | None = None
    kept: str | None = None
    count: int = 0

    def reason(self, at: datetime, number: int, *, oldest: bool) -> Reason | None:
        """Why this rule keeps the snapshot of this time, None if it does not; asked newest first."""
        if not self.left or (self.after is not None and at <= self.after):
            return None
        period = self.period(at, number)
        is_first = period != self.kept
        if not is_first and not oldest:
            return None
        # A rule that has not had its fill keeps the oldest too: history is as long as it can be.
        self.kept, self.left, self.count = period, self.left - 1, self.count + 1
        message = self.says.format(self.count)
        return Reason(code=self.name, message=message if is_first else f"{message} (oldest)")


# The date that counts is the one on the wall where the snapshot was made: `at` has the recorded offset.
_PERIODS: dict[str, Callable[[datetime, int], str]] = {
    "last": lambda _, number: f"{number}",
    "hourly": lambda at, _: f"{at.date()} {at.hour:02}:00",
    "daily": lambda at, _: f"{at.date()}",
    "weekly": lambda at, _: "{}-W{:02}".format(*at.isocalendar()),
    "monthly": lambda at, _: f"{at.year}-{at.month:02}",
    "yearly": lambda at, _: f"{at.year}",
}


def _judges(chosen: dict[str, int | str], newest: datetime | None) -> Iterator[_Judge]:
    for name, value in chosen.items():
        if isinstance(value, int):
            yield _Judge(name, f"{name} {{}} of {value}", _PERIODS[name], left=value)
        else:
            # Without a newest (all are in the future), and before the calendar begins, none is too old.
            after = _earlier(newest, _span(value)) if newest else None
            kind = name.removeprefix("within").removeprefix("_")
            says = f"{kind} within {value}" if kind else f"within {value}"
            yield _Judge(name, says, _PERIODS[kind or "last"], after=after)


def _earlier(at: datetime, span: _CalendarSpan) -> datetime | None:
    """`at` less a span, None before the year 1; a day that a month does not have falls into the next one."""
    months = (at.year - span.years) * 12 + at.month - 1 - span.months
    try:
        first = at.replace(year=months // 12, month=months % 12 + 1, day=1)
        return first + timedelta(days=at.day - 1 - span.days, hours=-span.hours)
    except (ValueError, OverflowError):
        return None


def _recorded(at: datetime) -> datetime:
    """The same time with a fixed offset: Python compares two times of one named zone by their wall clocks."""
    offset = at.utcoffset()
    if offset is None:
        raise ValueError(f"{at} says nothing of its offset from UTC")
    return at.replace(tzinfo=timezone(offset))


def _with_twins(verdicts: list[Verdict]) -> tuple[Verdict, ...]:
    stays = {verdict.time for verdict in verdicts if verdict.keep}
    return tuple(
        _kept_also(verdict, "same_time", "same time as a kept one")
        if not verdict.keep and verdict.time in stays
        else verdict
        for verdict in verdicts
    )


def _kept_also(verdict: Verdict, code: str, message: str) -> Verdict:
    reasons = (*verdict.reasons, Reason(code=code, message=message))
    return verdict.model_copy(update={"keep": True, "reasons": reasons})


# --- the plan ------------------------------------------------------------------------------------


class Plan(Fact):
    """What retention would do to one set, newest first; nothing of it may be done while it is held."""

    id: str
    """A digest of the place, of what goes and of what stays: who approves it approves exactly this."""
    repository: str
    host: str
    job: str
    set: str
    remove: tuple[Verdict, ...]
    keep: tuple[Verdict, ...]
    held: Reason | None = None
    """Why nothing goes at all, and what to do about it; the first of `messages`."""
    messages: tuple[Reason, ...] = ()
    """Everything that holds the plan."""
    unknown: tuple[str, ...] = ()
    """Snapshots that the record does not know: shown, neither removed nor counted."""
    gap: str | None = None
    """The newest snapshot from before a gap that holds the plan."""
    lost: tuple[str, ...] = ()
    """Those that the record knows to be there, and the listing lacks."""
    adopted: tuple[str, ...] = ()
    """Those of the set that a person adopted and that carry none of its tags: no dry run of restic sees them."""

    @property
    def ids_to_remove(self) -> tuple[str, ...]:
        """What an assignment removes."""
        return tuple(verdict.id for verdict in self.remove)

    @property
    def ids_to_stay(self) -> tuple[str, ...]:
        """What must be there before and after."""
        return tuple(verdict.id for verdict in self.keep)


def plan_unknown(approval: str) -> Unknown:
    """The error where no plan is the one that a person approved: an approval is for one plan and no other."""
    return Unknown(
        f"no plan is {approval} now: it was never made, or the repository has changed since",
        code="plan_unknown",
        hint="see the plans with: highball forget --dry-run",
    )


DRY_RUN = "restic's own dry run"
"""What is held against a plan where the engine rehearses retention."""


@dataclass(frozen=True, slots=True)
class PlannedSet:
    """Whose snapshots are planned for, in which repository."""

    repository: str
    host: str
    job: str
    set: str


@dataclass(frozen=True, slots=True)
class FreshLook:
    """What a fresh look at the set's repository showed."""

    now: datetime
    listing: Sequence[Snapshot]
    judge_removes: Collection[str]
    """What `judge`, who is asked the same of this set, would remove."""
    judge: str = DRY_RUN
    unjudged: Collection[str] = ()
    """Adopted snapshots that the dry run could not see, for want of our tags; beside these it judged only a part of the
    set, and what it would keep of that part stays."""
    skew: timedelta | None = None
    """How far the clocks are apart, where that was measured."""


@dataclass(frozen=True, slots=True)
class OnRecord:
    """What the record knows of the set."""

    governed: Collection[str]
    newest_known: datetime | None = None
    """The newest time in the record."""
    last_verified: str | None = None
    pinned: Collection[str] = ()
    holds: Sequence[Reason] = ()
    """What makes retention of the set stand still."""
    agreed: Collection[str] = ()
    """Those that nobody judged, and that a person saw in a plan and approved: the policy goes on with these itself."""
    gaps: GapsKnown | None = None
    """What is known of times without a snapshot."""


def make_plan(
    of: PlannedSet, retention: Retention, look: FreshLook, record: OnRecord, approval: str | None = None
) -> Plan:
    """What retention would do to one set, and whether it may; `approval` is the plan that a person approved."""
    present = {snapshot.id: snapshot for snapshot in look.listing}
    known, unjudged = frozenset(record.governed), frozenset(look.unjudged)
    seen = frozenset(present) - unjudged
    ours = [snapshot for snapshot in present.values() if snapshot.id in known]
    verdicts = _guarded(decide(retention, ours, now=look.now), look, record, seen)
    plan = Plan(
        id=_digest(of, verdicts),
        repository=of.repository,
        host=of.host,
        job=of.job,
        set=of.set,
        remove=tuple(verdict for verdict in verdicts if not verdict.keep),
        keep=tuple(verdict for verdict in verdicts if verdict.keep),
        unknown=tuple(sorted(present.keys() - known)),
        adopted=tuple(sorted(present.keys() & unjudged)),
    )
    tagged = [verdict for verdict in verdicts if verdict.id in seen]
    gap = _find_gap(tagged, retention, record.gaps or GapsKnown(), look.now)
    messages = (
        *_wrong_clock(look.now, _times_of(look, record), look.skew),
        *_odd_gap(gap),
        *record.holds,
        *_beyond_judge(plan, look.judge, look.judge_removes, unjudged),
        *_unapproved(plan, unjudged.difference(record.agreed), approval),
    )
    told = {"gap": gap[1].id if gap else None, "messages": messages, "held": next(iter(messages), None)}
    return plan.model_copy(update=told)


def _guarded(
    verdicts: Iterable[Verdict], look: FreshLook, record: OnRecord, seen: frozenset[str]
) -> tuple[Verdict, ...]:
    guards = _Guards(
        last_verified=record.last_verified,
        pinned=tuple(record.pinned),
        judge=look.judge,
        kept_by_judge=seen.difference(look.judge_removes) if look.unjudged else frozenset(),
    )
    return tuple(guards.apply(verdict, newest=number == 0) for number, verdict in enumerate(verdicts))


def _times_of(look: FreshLook, record: OnRecord) -> list[datetime]:
    """A snapshot that we do not know still tells the time: if it is of tomorrow, a clock somewhere is wrong."""
    times = [snapshot.time for snapshot in look.listing]
    return [*times, record.newest_known] if record.newest_known else times


@dataclass(frozen=True, slots=True)
class _Guards:
    """What no policy removes; an id given in its short form protects all that it may mean."""

    last_verified: str | None
    pinned: tuple[str, ...]
    judge: str
    kept_by_judge: Collection[str] = ()

    def apply(self, verdict: Verdict, *, newest: bool) -> Verdict:
        """The verdict after the guards: they only ever add reasons to keep."""
        if newest:
            verdict = _kept_also(verdict, "newest", "newest")
        if self.last_verified is not None and verdict.id.startswith(self.last_verified):
            verdict = _kept_also(verdict, "last_verified", "last restore test")
        if verdict.id.startswith(self.pinned):
            verdict = _kept_also(verdict, "pinned", "pinned")
        if not verdict.keep and verdict.id in self.kept_by_judge:
            verdict = _kept_also(verdict, "restic", f"{self.judge}, which does not see adopted snapshots")
        return verdict


def _digest(of: PlannedSet, verdicts: tuple[Verdict, ...]) -> str:
    fates = sorted((verdict.id, verdict.keep) for verdict in verdicts)
    text = json.dumps([of.repository, of.host, of.job, of.set, fates])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_STILL = "; nothing is removed until "


def stands_still(code: str, what: str, *, until: str) -> Reason:
    """Why nothing goes at all, and what that waits for."""
    return Reason(code=code, message=f"{what}{_STILL}{until}")


def what_is_odd(reason: Reason) -> str:
    """The same without what it waits for."""
    return reason.message.partition(_STILL)[0]


def _wrong_clock(now: datetime, times: list[datetime], skew: timedelta | None) -> Iterator[Reason]:
    if skew is not None and abs(skew) > LARGEST_SKEW:
        yield stands_still(
            "clock_wrong",
            f"the clocks of hub and agent differ by {abs(skew)}",
            until="they agree: let both machines set their time from the network",
        )
    newest = max(map(_recorded, times), default=None)
    if newest is not None and _recorded(now) < newest:
        yield stands_still(
            "clock_wrong",
            f"it is {time_for_people(now)} here, but a snapshot or the record is of {time_for_people(newest)}",
            until="then: correct the clock, or remove that snapshot manually if its date is wrong",
        )


# --- an odd gap ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GapsKnown:
    """What is known of times without a snapshot, each named by the newest snapshot from before it."""

    interval: timedelta | None = None
    """How far apart snapshots are by their schedule; without one, as far as they usually were."""
    accepted: Collection[str] = ()
    """Those that a person said are right."""
    holding: str | None = None
    """The one that has held the set until now."""


def _find_gap(
    verdicts: Sequence[Verdict], retention: Retention, known: GapsKnown, now: datetime
) -> tuple[Verdict, Verdict] | None:
    """The snapshots behind and before a gap from before which nothing would be left; `verdicts` are newest first.

    A clock that runs ahead looks like this, and so does a machine that was off: the rules cannot tell. The newest
    gap asks by itself, one further back only where its length is what makes the older ones go.
    """
    distances = [newer.time - older.time for newer, older in pairwise(verdicts)]
    for place, distance in enumerate(distances):
        newer, before = verdicts[place], verdicts[place + 1 :]
        usual = known.interval or _usual(distances[:place] + distances[place + 1 :])
        if usual is None or distance < LEAST_GAP or distance <= usual * INTERVALS_MISSED:
            continue
        if before[0].id in known.accepted or any(_is_kept_by_a_rule(one) for one in before):
            continue
        if all(one.keep for one in before):
            continue
        closed = [(one.time + (distance - usual), one.id) for one in before]
        times = [*closed, *((one.time, one.id) for one in verdicts[: place + 1])]
        asks = place == 0 or before[0].id == known.holding
        if asks or _keeps_any(retention, times, {one.id for one in before}, now):
            return newer, before[0]
    return None


def _usual(distances: Sequence[timedelta]) -> timedelta | None:
    return sorted(distances)[(len(distances) - 1) // 2] if distances else None


_NOT_RULES = frozenset({"newest", "last_verified", "pinned", "restic"})


def _is_kept_by_a_rule(verdict: Verdict) -> bool:
    return any(reason.code not in _NOT_RULES for reason in verdict.reasons)


def _keeps_any(
    retention: Retention, times: Iterable[tuple[datetime, str]], ids: Collection[str], now: datetime
) -> bool:
    """Whether the rules would keep any of these, had snapshots been made at these times."""
    made = [Snapshot(id=id, time=at, host="", repository="") for at, id in times]
    return any(verdict.keep for verdict in decide(retention, made, now=now) if verdict.id in ids)


def _odd_gap(gap: tuple[Verdict, Verdict] | None) -> Iterator[Reason]:
    if gap is not None:
        newer, older = gap
        yield stands_still(
            "gap",
            f"nothing was saved for {(newer.time - older.time).days} days, from {time_for_people(older.time)} to"
            f" {time_for_people(newer.time)}, and nothing from before would be kept",
            until="somebody accepts it: check the clock, and review what would be removed",
        )


# --- what else holds a plan ----------------------------------------------------------------------


def _beyond_judge(
    plan: Plan, judge: str, judge_removes: Collection[str], unjudged: Collection[str]
) -> Iterator[Reason]:
    allowed = frozenset(judge_removes).union(unjudged)
    beyond = [snapshot_id for snapshot_id in plan.ids_to_remove if snapshot_id not in allowed]
    if beyond:
        yield Reason(
            code="differs_from_restic",
            message=f"{judge} would keep {_named(beyond)}; nothing is removed:"
            " try again, and report it if it happens again",
        )


def _unapproved(plan: Plan, unseen: Collection[str], approval: str | None) -> Iterator[Reason]:
    if approval == plan.id:
        return
    going, of_all = len(plan.remove), len(plan.remove) + len(plan.keep)
    adopted = [snapshot_id for snapshot_id in plan.ids_to_remove if snapshot_id in unseen]
    what_to_do = f"review the plan and approve it with --approve {plan.id}"
    if approval is not None:
        what_to_do = f"the plan has changed since {approval} was approved: {what_to_do}"
    if going > REMOVED_WITHOUT_ASKING and going * 2 > of_all:
        yield Reason(
            code="approval_required",
            message=f"{going} of {of_all} snapshots would be removed at once; {what_to_do}",
        )
    if adopted:
        yield Reason(
            code="approval_required",
            message=f"adopted snapshots would be removed that no dry run covers: {_named(adopted)}; {what_to_do}",
        )


# --- the proof -----------------------------------------------------------------------------------


def judge_removal(
    planned: Collection[str], must_stay: Collection[str], listing_after: Collection[str]
) -> Reason | None:
    """What is wrong after a removal, by a listing made afterwards: what is gone must be what was planned."""
    there = frozenset(listing_after)
    lost = [snapshot_id for snapshot_id in must_stay if snapshot_id not in there]
    left = [snapshot_id for snapshot_id in planned if snapshot_id in there]
    refused = f"{_named(left)} of {len(planned)} planned for removal still exist"
    if lost:
        gone = f"{_named(lost)} should have been kept and is gone: something else deletes in this repository"
        return Reason(code="deleted_elsewhere", message=f"{gone}; {refused}" if left else gone)
    if left:
        return Reason(
            code="not_deleted",
            message=f"{refused}: check whether these credentials may delete in the repository",
        )
    return None


def _named(ids: Collection[str]) -> str:
    """Some ids for people: how many, and the first three in their short form."""
    short = ", ".join(snapshot_id[:8] for snapshot_id in list(ids)[:3])
    return f"{len(ids)} ({short}{', …' if len(ids) > 3 else ''})"
