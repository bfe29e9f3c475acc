"""Claims: whether a run is an agent's to speak of, and what it was ordered to do.

Each assignment goes out with the hub's own signature of its scope. So a hub that was brought back from an older copy
of itself knows its orders again when agents tell of them. What bears no signature and is not in the record is an
agent's word: it is written down as that, within limits, and nothing is believed for it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, timedelta
from uuid import UUID

from highball.config.document import effective_job
from highball.hub.agents.fleet import Fleet
from highball.hub.agents.refusals import Refused
from highball.hub.data import HubData
from highball.hub.runs.queue import Queued
from highball.hub.runs.record import utc_now
from highball.hub.runs.scopes import (
    Scope,
    scope_of,
    scope_of_word,
)
from highball.hub.runs.subjects import planned_of
from highball.model.run import Action, RunKind
from highball.protocol.tasks import Assignment
from highball.protocol.wire import RunHeld
from highball.schedule import fire_id

MOST_BY_WORD = 1000
"""So many runs that nobody here ordered are written down of one host in a day."""

SIGNED_FOR = timedelta(days=60)
"""An order that the record has lost counts for so long; agents keep what they did for two weeks."""

_OF_NAMES = 5
"""The version of ids that are computed from what they name: those of scheduled runs."""


@dataclass
class Claims:
    """What agents say of their runs, held against what the hub ordered."""

    data: HubData
    fleet: Fleet
    _by_word: dict[str, tuple[date, int]] = field(default_factory=dict)

    # --- what is ordered ---

    def order(self, assignment: Assignment) -> Assignment:
        """Remember what an assignment covers; the same with the hub's signature of that."""
        scope = scope_of(assignment)
        self.data.record.note_scope(assignment.run, scope)
        return assignment.model_copy(update={"warrant": self.fleet.sign(scope.text).hex()})

    # --- what is claimed ---

    def demand_own(self, host: str, run: str) -> None:
        """Raise Refused where a run is not this host's."""
        known = self.data.record.find_host(run)
        if known != host:
            whose = "that nobody here knows" if known is None else f"of the host {known}"
            raise Refused(f"it speaks of a run {whose}")

    def demand_scope(self, host: str, run: str) -> Scope:
        """What a run of this host was ordered to do; raises Refused where it was never given to it."""
        self.demand_own(host, run)
        scope = self.data.record.find_scope(run)
        if scope is None:
            raise Refused("it speaks of a run that was never given to it")
        return scope

    def meet(self, host: str, held: RunHeld) -> int:
        """How much the record has of a run that an agent holds; raises Refused where it cannot be its own.

        One that the record lost is written down again.
        """
        told = held.assignment
        known, its_host = self.data.record.find_host(told.run), self.data.former_keys().now("host", told.host)
        if its_host != host or known not in (host, None):
            whose = its_host if known is None else known
            raise Refused(f"it says that it holds a run of the host {whose}")
        ordered = self._find_ordered(told)
        if known is None:
            self._take_up(host, told, ordered)
            return 0
        self._note_scope(told, ordered)
        self.data.backlog.mark_assigned(
            told.run, utc_now()
        )  # an older copy of the database may not know that
        self.data.record.open_again(told.run)
        return self.data.record.find_last_seq(told.run)

    def _find_ordered(self, told: Assignment) -> Scope | None:
        """What an assignment covers that bears the hub's signature; None where it bears none, or is too old."""
        scope = scope_of(told)
        is_ours = self.fleet.is_signed(scope.text, bytes.fromhex(told.warrant or ""))
        return scope if is_ours and utc_now() - told.created_at < SIGNED_FOR else None

    def _take_up(self, host: str, told: Assignment, ordered: Scope | None) -> None:
        """Write down a run that the record lost, or never had."""
        if ordered is not None:
            self.data.record.begin(told.model_copy(update={"host": host}), ordered)
            return
        is_fire = self._is_own_fire(host, told)
        if UUID(told.run).version == _OF_NAMES and not is_fire:
            raise Refused("it says that it holds a run whose id is that of another scheduled run")
        self._count_word(host)
        now = utc_now()
        when = {} if is_fire else {"subject": None, "nominal_at": None}
        about = told.model_copy(update={"host": host, "created_at": min(told.created_at, now), **when})
        self.data.record.begin(about, scope_of_word(about, host, self._jobs_of(host)))

    def _is_own_fire(self, host: str, told: Assignment) -> bool:
        """Whether a run's id is that of a time of this host's own schedule, which has come."""
        subject, nominal = told.subject, told.nominal_at
        if subject is None or nominal is None or nominal > utc_now():
            return False
        if all(told.run != fire_id(subject, told.host, action.value, nominal) for action in Action):
            return False
        planned = planned_of(self.data.document(), self.data.host)
        return any(one.subject == subject and one.host == host for one in planned)

    def _count_word(self, host: str) -> None:
        """Counted from the record where this hub has not counted yet today: a hub that begins anew forgets nothing."""
        now = utc_now()
        day, count = self._by_word.get(host, (None, 0))
        if day != now.date():
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
            count = self.data.record.count_by_word(host, midnight)
        self._by_word[host] = (now.date(), min(count + 1, MOST_BY_WORD))
        if count >= MOST_BY_WORD:
            raise Refused(f"it tells of more than {MOST_BY_WORD} runs a day that nobody here ordered")

    def repositories_of(self, host: str) -> set[str]:
        """The repositories that a host may use today: those of its jobs, and those that it maintains."""
        document, hub = self.data.document(), self.data.host
        kept = {key for key, one in document.repositories.items() if one.maintainer(hub) == host}
        return kept.union(*self._jobs_of(host).values())

    def _jobs_of(self, host: str) -> dict[str, Collection[str]]:
        """The jobs of a host, each with its repositories."""
        document = self.data.document()
        jobs = {key: effective_job(document, key) for key in document.jobs}
        own = {key: job for key, job in jobs.items() if (job.host or self.data.host) == host}
        return {key: job.repositories for key, job in own.items()}

    # --- runs that were given before scopes were remembered ---

    def _note_scope(self, told: Assignment, ordered: Scope | None) -> None:
        """What a run covers that the record has: by its signature, or within what its row says."""
        known = self.data.record.find_scope(told.run)
        if ordered is not None and ordered != known:
            self.data.record.note_scope(told.run, ordered)
        elif known is None and (queued := self.data.backlog.find(told.run)) is not None:
            self.data.record.note_scope(told.run, self._within_row(queued, told))

    def _within_row(self, queued: Queued, told: Assignment) -> Scope:
        scope, order = scope_of(told), queued.order
        is_ordered = order is not None or queued.host == self.data.host
        if not is_ordered or scope.task != queued.action.value:
            return scope_of_word(told, queued.host, self._jobs_of(queued.host))
        repositories = self._repositories_of(queued)
        is_of_one = queued.job is not None or queued.kind is RunKind.BACKUP
        jobs = {queued.job} if is_of_one else set(scope.jobs)
        return scope.model_copy(
            update={
                "jobs": tuple(job for job in scope.jobs if job in jobs),
                "repositories": tuple(key for key in scope.repositories if key in repositories),
                "sets": tuple(
                    one for one in scope.sets if one.repository in repositories and one.job in jobs
                ),
            }
        )

    def _repositories_of(self, queued: Queued) -> set[str]:
        document = self.data.document()
        found = {queued.repository} if queued.repository else set()
        if queued.kind is RunKind.BACKUP and queued.job in document.jobs:
            found |= set(effective_job(document, queued.job).repositories)
        if queued.order is not None and queued.order.task == "hub-backup":
            found |= {document.settings.backup_repository or ""}
        return found
