"""Retention and checks: what retention would remove and whether it may, and which part a check reads next.

The plan is made here from a fresh listing that an agent gives; the agent that carries it out lists again and
refuses if anything differs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from highball.config.document import (
    HUB_JOB,
    Document,
    effective_cadences,
    effective_job,
    effective_retention,
)
from highball.config.repository import Repository, parts_of
from highball.engine.kinds import engine_of
from highball.engine.tags import set_tag_list
from highball.errors import NotAllowed, Unknown
from highball.hub.document.rename import UNCHANGED, FormerKeys
from highball.hub.runs.holds import (
    LIFTS,
    Held,
    as_reasons,
)
from highball.hub.runs.ingest import (
    SetOf,
    held_by,
    words_of_lost,
)
from highball.hub.runs.record import Record
from highball.hub.runs.recorded import Governed
from highball.hub.runs.subjects import HUB_BACKUP_DAILY, HUB_COPIES_KEPT
from highball.model.run import (
    Action,
    Reason,
    Run,
    RunKind,
)
from highball.model.snapshot import Snapshot
from highball.model.standing import Hold, HoldCause
from highball.protocol.tasks import (
    ForgetTask,
    HeldRemoval,
    Removal,
)
from highball.retention import (
    DRY_RUN,
    FreshLook,
    GapsKnown,
    OnRecord,
    Plan,
    PlannedSet,
    Retention,
    decide,
    effective,
    make_plan,
    plan_unknown,
    stands_still,
    what_is_odd,
)
from highball.schedule import interval

ITS_RECORD = "the same policy on what the record knows"
"""What is held against a plan where the engine rehearses no retention."""

SEEN_IN_A_PLAN = (HoldCause.CLOCK_WRONG, HoldCause.GAP)
"""What only the look that a plan is made from tells: it holds for as long as such a look finds it."""


class RetentionQueries(Protocol):
    """Whoever answers questions about a repository: the agent."""

    def list_snapshots(self, *, hosts: Sequence[str] = (), tags: Sequence[str] = ()) -> list[Snapshot]:
        """What the repository holds."""

    def plan_forget(self, hosts: Sequence[str], tags: Sequence[str], retention: Retention) -> set[str]:
        """What the engine itself would remove."""


@dataclass(frozen=True)
class _Recorded:
    """A set as the record has it, which answers as a repository would that holds just this."""

    of: SetOf
    governed: Sequence[Governed]
    now: datetime

    def list_snapshots(self, *, hosts: Sequence[str] = (), tags: Sequence[str] = ()) -> list[Snapshot]:
        """All of the set; by its tags those that bear them."""
        return [
            Snapshot(id=one.id, time=one.time, host=self.of.host, repository=self.of.repository)
            for one in self.governed
            if one.run is not None or not tags
        ]

    def plan_forget(self, hosts: Sequence[str], tags: Sequence[str], retention: Retention) -> set[str]:
        """What the rules remove of those that bear the tags."""
        found = decide(retention, self.list_snapshots(hosts=hosts, tags=tags), now=self.now)
        return {verdict.id for verdict in found if not verdict.keep}


@dataclass(frozen=True)
class Wanted:
    """What has to be asked of a repository before retention of a set can be planned, and what the record knew then."""

    of: SetOf
    hosts: tuple[str, ...]
    tags: tuple[str, ...]
    retention: Retention
    rehearses: bool
    """Whether the engine is to say what it would remove."""
    own: frozenset[str]
    """The snapshots that runs of ours made."""
    adopted: frozenset[str]
    """Those that no run of ours made: a listing by tags may not show them."""


@dataclass(frozen=True)
class Seen:
    """A set as its repository showed it at one look; it answers as the repository did then."""

    own: frozenset[str]
    """What the record knew before: the look cannot be older than that."""
    listing: Sequence[Snapshot]
    everything: Sequence[Snapshot]
    removes: Collection[str]

    def list_snapshots(self, *, hosts: Sequence[str] = (), tags: Sequence[str] = ()) -> list[Snapshot]:
        """Those of the set, by its tags; and all that there is."""
        return [*(self.listing if tags else self.everything)]

    def plan_forget(self, hosts: Sequence[str], tags: Sequence[str], retention: Retention) -> set[str]:
        """What the engine itself would remove."""
        return set(self.removes)


@dataclass(frozen=True)
class Retainer:
    """Plans retention by the Document and the record."""

    document: Document
    record: Record
    former: FormerKeys = UNCHANGED

    def plan(
        self,
        of: SetOf,
        asked: RetentionQueries,
        now: datetime,
        approval: str | None = None,
        skew: timedelta | None = None,
        also: Sequence[Snapshot] = (),
    ) -> Plan:
        """What retention would do to a set, and whether it may; `skew` is how far the agent's clock is from ours.

        `also`: foreign snapshots, as if they had been adopted into the set.
        """
        return self._plan(of, self._retention(of), asked, now, approval=approval, skew=skew, also=also)

    def want(self, of: SetOf) -> Wanted:
        """What has to be asked before a set is planned for, where that is done beforehand."""
        governed = self.record.list_governed(of)
        return Wanted(
            of=of,
            hosts=(of.host, *self.former.of("host", of.host)),
            tags=tags_of(of, self.former),
            retention=self._retention(of),
            rehearses=self._is_rehearsed(of.repository),
            own=frozenset(one.id for one in self.record.list_own(of)),
            adopted=frozenset(one.id for one in governed if one.run is None),
        )

    def foresee(self, of: SetOf, retention: Retention, now: datetime) -> Plan:
        """What a retention that is not declared yet would do to a set, by the record alone: nobody is asked."""
        return self._plan(of, retention, _Recorded(of, self.record.list_governed(of), now), now)

    def _plan(
        self,
        of: SetOf,
        retention: Retention,
        asked: RetentionQueries,
        now: datetime,
        *,
        approval: str | None = None,
        skew: timedelta | None = None,
        also: Sequence[Snapshot] = (),
    ) -> Plan:
        hosts = (of.host, *self.former.of("host", of.host))
        tags = tags_of(of, self.former)
        # before the listing: it cannot be older than that
        known = asked.own if isinstance(asked, Seen) else {one.id for one in self.record.list_own(of)}
        listing = asked.list_snapshots(hosts=hosts, tags=tags)
        self.record.follow(of.repository, listing)
        self.record.witness(of.repository, listing, now)
        seen = {snapshot.id for snapshot in listing}
        unseen = [one for one in (*also, *self._list_adopted(of, seen, asked)) if one.id not in seen]
        governed = self.record.list_governed(of)
        lost = tuple(one.id for one in governed if one.id in known - seen)
        holds = self.record.holds.list_of(of.repository, of.job, of.host, of.set)
        look = FreshLook(
            now=now,
            listing=[*listing, *unseen],
            judge_removes=self._judge(of, asked, retention, governed, now) if listing else set(),
            judge=DRY_RUN if self._is_rehearsed(of.repository) else ITS_RECORD,
            unjudged=[snapshot.id for snapshot in unseen],
            skew=skew,
        )
        on_record = OnRecord(
            governed={one.id for one in governed} | {one.id for one in also},
            newest_known=self.record.newest_time(of.repository),
            last_verified=self.record.find_last_verified(of),
            pinned=_pinned(self.document, of, look.listing, governed),
            holds=(*_about_lost(of, lost), *as_reasons(h for h in holds if h.cause not in SEEN_IN_A_PLAN)),
            agreed={one.id for one in governed if one.run is None and one.accepted_at is not None},
            gaps=self._gaps_of(of, holds, now),
        )
        plan = make_plan(
            PlannedSet(of.repository, of.host, of.job, of.set), retention, look, on_record, approval
        )
        return plan.model_copy(update={"lost": lost})

    def list_sets(self, key: str, host: str, job: str | None = None) -> list[SetOf]:
        """The sets of a repository that retention looks at, or of one job there; `host` is whose the jobs are that
        name none.

        Those that jobs save there now, and those that they left there before, also on other hosts.
        """
        declared = self.document.jobs if job is None else [job]
        jobs = {name: effective_job(self.document, name) for name in declared if name in self.document.jobs}
        own = [
            SetOf(key, one.host or host, name, set)
            for name, one in jobs.items()
            if key in one.repositories
            for set in one.sets
        ]
        known = self.record.list_sets(job=job, repository=key)
        kept = [of for of in known if of.job in (HUB_JOB, *self.document.jobs)]
        return list(dict.fromkeys([*own, *kept]))

    def order(
        self,
        key: str,
        plans: Sequence[Plan],
        now: datetime,
        approval: str | None = None,
        *,
        shown: Collection[str] | None = None,
        prune: bool = False,
    ) -> ForgetTask:
        """What an agent is told to do for these plans of a repository, or only for the one that a person approved.

        Of plans that somebody was `shown`, only these are carried out. Which of them stand still, and why, is told as
        well; what holds them by this look is in the record too. Raises Unknown where no plan is the approved one.
        """
        self.settle(plans, now)
        if approval is not None:
            plans = [plan for plan in plans if plan.id == approval]
            if not plans:
                raise plan_unknown(approval)
            self.record.agree(key, [id for plan in plans if plan.held is None for id in plan.adopted], now)
        held = [(plan, plan.held or _changed_since(plan, shown)) for plan in plans]
        return ForgetTask(
            repository=key,
            removals=tuple(order_removal(plan, self.former) for plan, why in held if why is None),
            held=tuple(
                HeldRemoval(job=plan.job, set=plan.set, code=why.code, message=why.message)
                for plan, why in held
                if why is not None
            ),
            prune=prune,
        )

    def order_one(
        self, key: str, snapshot: str, asked: RetentionQueries, now: datetime, skew: timedelta | None = None
    ) -> ForgetTask:
        """What an agent is told to do where a person wants this one snapshot gone, whatever the policy says.

        Raises Unknown where no job has it, NotAllowed where a guard keeps it or the repository is damaged.
        """
        of, id = self.find_set(key, snapshot)
        plan = self.plan(of, asked, now, skew=skew)
        _demand_free(plan, id)
        stay = tuple(one for one in (*plan.ids_to_stay, *plan.ids_to_remove) if one != id)
        removal = order_removal(plan, self.former).model_copy(update={"remove": (id,), "stay": stay})
        return ForgetTask(repository=key, removals=(removal,))

    def demand_removable(self, key: str, snapshot: str, now: datetime) -> None:
        """Raise as `order_one` does for what the record alone can tell."""
        of, id = self.find_set(key, snapshot)
        _demand_free(self.foresee(of, self._retention(of), now), id)

    def find_set(self, key: str, snapshot: str) -> tuple[SetOf, str]:
        """The set that a snapshot belongs to, and its whole id; raises Unknown."""
        found = [
            (of, one.id)
            for of in self.record.list_sets(repository=key)
            for one in self.record.list_governed(of)
            if one.id.startswith(snapshot)
        ]
        if len(found) != 1:
            what = f"{len(found)} snapshots begin with" if found else "no snapshot of a job of this hub is"
            hint = (
                "give more digits of its id"
                if found
                else f"list foreign snapshots with: highball adopt {key}"
            )
            raise Unknown(f"{what} {snapshot}", code="snapshot_unknown", hint=hint)
        return found[0]

    def settle(self, plans: Sequence[Plan], now: datetime) -> None:
        """What these plans show of the world holds retention from now on, or does no more."""
        for plan in plans:
            held = Held(plan.repository, plan.job, plan.host, plan.set)
            if plan.lost:
                self.record.miss(SetOf(plan.repository, plan.host, plan.job, plan.set), plan.lost, now)
            for cause in SEEN_IN_A_PLAN:
                found = next((reason for reason in plan.messages if reason.code == cause.value), None)
                about = plan.gap if cause is HoldCause.GAP else None
                self.record.holds.settle(held, cause, what_is_odd(found) if found else None, now, about)

    def _is_rehearsed(self, repository: str) -> bool:
        """Whether the engine of a repository tells beforehand what it would remove."""
        declared = self.document.repositories.get(repository)
        return declared is None or engine_of(declared).rehearses

    def _judge(
        self,
        of: SetOf,
        asked: RetentionQueries,
        retention: Retention,
        governed: Sequence[Governed],
        now: datetime,
    ) -> set[str]:
        """What the plan is held against: what the engine would remove, or else the plan of what the record knows."""
        judge = asked if self._is_rehearsed(of.repository) else _Recorded(of, governed, now)
        return judge.plan_forget(
            (of.host, *self.former.of("host", of.host)), tags_of(of, self.former), retention
        )

    def _list_adopted(self, of: SetOf, seen: Collection[str], asked: RetentionQueries) -> list[Snapshot]:
        """The adopted snapshots of a set that a listing by its tags does not show; no run of ours made these."""

        def list_wanted() -> set[str]:
            governed = self.record.list_governed(of)
            return {one.id for one in governed if one.run is None and one.id not in seen}

        if not list_wanted():
            return []
        everything = asked.list_snapshots()
        self.record.follow(of.repository, everything)
        wanted = list_wanted()
        return [snapshot for snapshot in everything if snapshot.id in wanted]

    def _gaps_of(self, of: SetOf, holds: Sequence[Hold], now: datetime) -> GapsKnown:
        zone = self.document.settings.timezone
        schedule = HUB_BACKUP_DAILY if of.job == HUB_JOB else effective_job(self.document, of.job).schedule
        return GapsKnown(
            interval=interval(schedule, now, zone),
            accepted=self.record.holds.list_accepted(held_by(of), HoldCause.GAP),
            holding=next((hold.about for hold in holds if hold.cause is HoldCause.GAP), None),
        )

    def _retention(self, of: SetOf) -> Retention:
        if of.job == HUB_JOB:
            return effective(Retention(last=HUB_COPIES_KEPT))
        return effective_retention(self.document, of.job, of.repository)


def _about_lost(of: SetOf, lost: Sequence[str]) -> tuple[Reason, ...]:
    """That a set lacks what the record expects of it: the repository was put back to an older state, or worse."""
    cause = HoldCause.DELETED_ELSEWHERE
    return (stands_still(cause.value, words_of_lost(of, len(lost)), until=LIFTS[cause]),) if lost else ()


_KEPT_FROM_PEOPLE = {
    "newest": ("is the newest of its job, which is always kept", "make another backup first"),
    "last_verified": ("is the last one with a restore test", "run a restore test of another one first"),
    "pinned": ("is pinned", "unpin it first"),
}


def _demand_free(plan: Plan, id: str) -> None:
    """Raise Unknown where a plan does not know of a snapshot, NotAllowed where a guard keeps it or everything."""
    verdict = next((one for one in (*plan.keep, *plan.remove) if one.id == id), None)
    if verdict is None:
        hint = "see what is there with: highball snapshots"
        raise Unknown(
            f"{plan.repository} does not hold {id[:8]} any more", code="snapshot_unknown", hint=hint
        )
    codes = {reason.code for reason in verdict.reasons}
    for code, (message, hint) in _KEPT_FROM_PEOPLE.items():
        if code in codes:
            raise NotAllowed(f"{id[:8]} {message}", code=f"snapshot_{code}", hint=hint)
    if any(reason.code == HoldCause.CHECK_FAILED.value for reason in plan.messages):
        raise NotAllowed(
            f"a check found damage in {plan.repository}: nothing is removed there for now",
            code=HoldCause.CHECK_FAILED.value,
            hint="repair it and check it again first",
        )


def _changed_since(plan: Plan, shown: Collection[str] | None) -> Reason | None:
    """Why a plan that removes something stands still where somebody was shown another one."""
    if shown is None or plan.id in shown or not plan.remove:
        return None
    message = "the plan has changed since it was shown: review it again"
    return Reason(code="plan_changed", message=message)


def list_discards_after(document: Document, run: Run) -> list[str]:
    """The repositories into which a backup saved a snapshot, and where retention comes after each backup."""
    if run.kind is not RunKind.BACKUP or run.job not in document.jobs:
        return []
    saved = {step.repository for step in run.steps if step.action is Action.BACKUP and step.snapshot_id}
    return [
        key
        for key in effective_job(document, run.job).repositories
        if key in saved and effective_cadences(document, key).after_backup
    ]


def order_removal(plan: Plan, former: FormerKeys = UNCHANGED) -> Removal:
    """What an agent is told to do for a plan that may be carried out."""
    of = SetOf(plan.repository, plan.host, plan.job, plan.set)
    return Removal(
        job=plan.job,
        host=plan.host,
        former_hosts=former.of("host", plan.host),
        set=plan.set,
        tags=tags_of(of, former),
        remove=plan.ids_to_remove,
        stay=plan.ids_to_stay,
        unknown=plan.unknown,
        adopted=plan.adopted,
    )


def tags_of(of: SetOf, former: FormerKeys = UNCHANGED) -> tuple[str, ...]:
    """The tag lists by which an engine finds a set: one for each key that its job has and had."""
    return tuple(set_tag_list(key, of.set) for key in (of.job, *former.of("job", of.job)))


def next_slice(record: Record, key: str, repository: Repository, share: float | None = None) -> str | None:
    """Which part `n/t` of the data the next check reads: n moves on after each success, so that all of it is read.

    `share` (per cent) is how large a part is; without one, as large as the repository says.
    """
    parts = repository.check_slices if share is None else parts_of(share)
    if parts is None:
        return None
    last = next((part for part, _ in record.list_parts_read(key, parts)), 0)
    return f"{last % parts + 1}/{parts}"


def _pinned(
    document: Document, of: SetOf, listing: Sequence[Snapshot], governed: Sequence[Governed]
) -> list[str]:
    """Those that a pin holds, by any id that they have and had."""
    pins = document.pins.values()
    names = {one.id: one.names for one in governed}
    return [
        shown.id
        for shown in listing
        if any(pin.holds(of.repository, id) for pin in pins for id in names.get(shown.id, (shown.id,)))
    ]
