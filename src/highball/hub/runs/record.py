"""The record: what is known of each run, of the snapshots that runs made, and of the repositories.

The record learns from events, by their numbers: the same event twice changes nothing. It never depends on a
snapshot or a run directory still being there. Nothing here starts a program.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa

from highball.actions import step_of
from highball.errors import Conflict, Unknown
from highball.hub.audit import Actor, write_down
from highball.hub.document.rows import note_untested
from highball.hub.runs.holds import Holds
from highball.hub.runs.ingest import (
    LONGEST_ID,
    SetOf,
    chunk,
    find_back,
    find_saved,
    follow,
    is_end,
    list_renamed,
    mark_snapshots,
    miss,
    of_set,
    open_again,
    take_as_evidence,
    take_in,
    told_its_end,
    update_run,
    was_not_missed,
)
from highball.hub.runs.log_volume import within_bounds
from highball.hub.runs.recorded import (
    Ending,
    Figures,
    Governed,
    Made,
    RepositoryDay,
    RunFilter,
    as_governed,
    as_run,
    as_scope,
    list_steps,
)
from highball.hub.runs.scopes import Scope, scope_of
from highball.hub.runs.set_aside import read_account
from highball.hub.storage.database import Database
from highball.hub.storage.schema import (
    ANEW,
    BY_WORD,
    NOT_REHEARSED,
    events,
    is_since_anew,
    marks,
    moment_to_text,
    repositories,
    repository_days,
    runs,
    snapshots,
    steps,
)
from highball.model.event import Event
from highball.model.event_lines import read_line
from highball.model.run import (
    Action,
    Outcome,
    Printed,
    Reason,
    Run,
    RunKind,
    RunState,
)
from highball.model.snapshot import Loss, Snapshot
from highball.protocol.tasks import (
    Assignment,
    BackupTask,
    Expectation,
)

NOTHING_LEFT = Reason(code="interrupted", message="interrupted: nothing is left of this run but its name")
"""Why a run is over of which nothing was left to read."""

TESTS_LOOKED_AT = 100
"""So many of a job's last restore tests are looked through for one of a set."""

SIZES_COMPARED = 10
"""A new snapshot's size is held against the median of so many before it."""


class Record:
    """What happened, in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.holds = Holds(database)

    # --- a run's life ---

    def begin(self, assignment: Assignment, scope: Scope | None = None) -> None:
        """Write down a run that is about to be carried out; `scope` is what it covers, None all of the assignment.

        One that was not ordered is its host's word: it is of no job and no repository here.
        """
        task, scope = assignment.task, scope or scope_of(assignment)
        repository = None if isinstance(task, BackupTask) else task.repository
        origin = None if assignment.nominal_at is None else "schedule"
        with self._database.write() as connection:
            if assignment.nominal_at is not None:
                was_not_missed(connection, assignment)
            connection.execute(
                runs.insert().values(
                    id=assignment.run,
                    kind=assignment.kind.value,
                    action=step_of(task.type),
                    job=assignment.job if scope.ordered else None,
                    repository=repository if scope.ordered else None,
                    host=assignment.host,
                    state=RunState.QUEUED.value,
                    created_at=assignment.created_at,
                    assigned_at=assignment.created_at if scope.ordered else utc_now(),
                    last_seq=0,
                    subject=assignment.subject,
                    nominal_at=assignment.nominal_at,
                    origin=origin if scope.ordered else BY_WORD,
                    scope=scope.model_dump(mode="json"),
                )
            )

    def note_scope(self, run: str, scope: Scope) -> None:
        """Remember what the assignment covers that is given for a run; without an order it is of no job any more."""
        told: dict[str, Any] = {"scope": scope.model_dump(mode="json")}
        if not scope.ordered:
            told |= {"origin": BY_WORD, "job": None, "repository": None}
        with self._database.write() as connection:
            connection.execute(runs.update().where(runs.c.id == run).values(**told))

    def count_by_word(self, host: str, since: datetime) -> int:
        """How many runs that nobody here ordered were written down of a host since then."""
        here = (runs.c.host == host, runs.c.origin == BY_WORD, runs.c.assigned_at >= since)
        with self._database.read() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(runs).where(*here)).scalar_one()

    def find_scope(self, run: str) -> Scope | None:
        """What a run was ordered to do; None where no assignment was made of it, or none is remembered."""
        with self._database.read() as connection:
            return as_scope(connection.execute(sa.select(runs.c.scope).where(runs.c.id == run)).scalar())

    def absorb(
        self,
        run: str,
        told: Sequence[Event],
        scope: Scope | None = None,
        refuse: Callable[[str], None] = lambda why: None,
        on_end: Callable[[sa.Connection, Run], None] | None = None,
    ) -> int:
        """Take in events of a run; those that are known already are passed over. Returns the last that is known.

        `scope` is what the run was ordered to do, where the record does not know it; `refuse` is told of each event
        that goes beyond. What is to follow its end is done by `on_end` in the same transaction: it cannot end without
        that.
        """
        with self._database.write() as connection:
            row = connection.execute(sa.select(runs).where(runs.c.id == run)).first()
            if row is None:
                raise Unknown(f"there is no run {run}", code="run_unknown")
            last: int = row.last_seq
            fresh: list[Event] = []
            for event in told:
                if event.seq > last:
                    fresh.append(event)
                    last = event.seq
            if not fresh:
                return last
            if row.state == RunState.DONE.value and not told_its_end(connection, run):
                open_again(connection, row)
            scope = scope or as_scope(row.scope)
            fresh = within_bounds(
                connection,
                run,
                fresh,
                refuse,
                ordered=scope is None or scope.ordered,
                is_over=row.state == RunState.DONE.value,
            )
            taken = [take_in(connection, row.host, event, scope, refuse) for event in fresh]
            if taken:
                connection.execute(events.insert().values(**chunk(run, taken)))
            connection.execute(runs.update().where(runs.c.id == run).values(last_seq=last))
            if on_end is not None and any(map(is_end, taken)):
                row = connection.execute(sa.select(runs).where(runs.c.id == run)).one()
                on_end(connection, as_run(row, list_steps(connection, [run]).get(run, [])))
            return last

    def open_again(self, run: str) -> None:
        """A run of which only the hub says that it is over is at its agent after all."""
        with self._database.write() as connection:
            row = connection.execute(sa.select(runs).where(runs.c.id == run)).first()
            if row is not None and row.state == RunState.DONE.value and not told_its_end(connection, run):
                open_again(connection, row)

    def find_host(self, run: str) -> str | None:
        """Whose run it is; None where it is not known."""
        with self._database.read() as connection:
            return connection.execute(sa.select(runs.c.host).where(runs.c.id == run)).scalar()

    def find_last_seq(self, run: str) -> int:
        """The number of the last event that is known of a run; raises Unknown."""
        with self._database.read() as connection:
            found = connection.execute(sa.select(runs.c.last_seq).where(runs.c.id == run)).scalar()
        if found is None:
            raise Unknown(f"there is no run {run}", code="run_unknown")
        return int(found)

    def list_lacking(self, host: str, told: Mapping[str, int]) -> dict[str, int]:
        """Of runs of a host and the numbers of their last events: those of which more was told than is known here,
        and what is known."""
        known: dict[str, int] = {}
        with self._database.read() as connection:
            for start in range(0, len(told), 500):
                some = runs.c.id.in_(list(told)[start : start + 500])
                asked = sa.select(runs.c.id, runs.c.host, runs.c.last_seq).where(some)
                for row in connection.execute(asked):
                    known[row.id] = row.last_seq if row.host == host else told[row.id]
        return {run: known.get(run, 0) for run, last in told.items() if known.get(run, 0) < last}

    def list_open(self) -> list[str]:
        """The ids of runs that have not ended, oldest first."""
        asked = sa.select(runs.c.id).where(runs.c.state != RunState.DONE.value).order_by(runs.c.created_at)
        with self._database.read() as connection:
            return list(connection.execute(asked).scalars())

    def abandon(
        self,
        run: str,
        now: datetime,
        reason: Reason = NOTHING_LEFT,
        outcome: Outcome = Outcome.FAILURE,
    ) -> None:
        """End the account of a run that nobody tells of any more."""
        told = {"outcome": outcome.value, "ended_at": now}
        with self._database.write() as connection:
            update_run(connection, run, state=RunState.DONE, reason=reason, **told)

    # --- looking at runs ---

    def find_run(self, id_or_start: str) -> Run:
        """The run with this id, or the only one whose id begins so; raises Unknown."""
        start = id_or_start[
            :LONGEST_ID
        ].lower()  # a pattern of thousands of characters is too much for SQLite
        with self._database.read() as connection:
            is_whole = len(start) == LONGEST_ID  # that goes by the index: a pattern looks at every run
            fits = runs.c.id == start if is_whole else runs.c.id.startswith(start, autoescape=True)
            asked = sa.select(runs).where(fits).limit(2)
            found = connection.execute(asked).all() if len(id_or_start) <= LONGEST_ID else []
            if len(found) != 1 or not start:
                what = "more than one run begins" if found else "no run begins"
                raise Unknown(f"{what} with {start}", code="run_unknown", hint="see them with: highball runs")
            return as_run(found[0], list_steps(connection, [found[0].id]).get(found[0].id, []))

    def list_runs(
        self, chosen: RunFilter | None = None, *, job: str | None = None, limit: int = 50, after: str = ""
    ) -> list[Run]:
        """The latest runs, newest first, behind the run `after` if one is named; raises Unknown for that."""
        asked = sa.select(runs).order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(limit)
        asked = asked.where(*(chosen or RunFilter(job=job)).conditions())
        if after:
            last = self.find_run(after)
            place = sa.tuple_(runs.c.created_at, runs.c.id)
            asked = asked.where(
                place < sa.tuple_(sa.literal(last.created_at, runs.c.created_at.type), last.id)
            )
        with self._database.read() as connection:
            found = connection.execute(asked).all()
            accounts = list_steps(connection, [row.id for row in found])
        return [as_run(row, accounts.get(row.id, [])) for row in found]

    def find_before(self, run: Run) -> Run | None:
        """The last run of the same job and kind that saved something before this one; None where there is none."""
        good = [Outcome.SUCCESS.value, Outcome.WARNING.value]
        same = (runs.c.job == run.job, runs.c.kind == run.kind.value, runs.c.outcome.in_(good))
        asked = sa.select(runs).where(
            *same, NOT_REHEARSED, runs.c.created_at < sa.literal(run.created_at, runs.c.created_at.type)
        )
        with self._database.read() as connection:
            row = connection.execute(asked.order_by(runs.c.created_at.desc()).limit(1)).first()
            return None if row is None else as_run(row, list_steps(connection, [row.id]).get(row.id, []))

    def list_known(self, ids: Iterable[str]) -> set[str]:
        """Those of these runs that the record still has."""
        with self._database.read() as connection:
            return set(connection.execute(sa.select(runs.c.id).where(runs.c.id.in_(list(ids)))).scalars())

    def list_made(self, run: str) -> list[Made]:
        """The snapshots that a run made, those too that are gone by now."""
        asked = sa.select(snapshots).where(snapshots.c.run == run).order_by(snapshots.c.repository)
        with self._database.read() as connection:
            return [
                Made(
                    repository=row.repository,
                    id=row.id,
                    size_bytes=row.size_bytes,
                    shrank=row.shrank,
                    accepted_at=row.accepted_at,
                    forgotten_at=row.forgotten_at,
                    missing_since=row.missing_since,
                )
                for row in connection.execute(asked)
            ]

    def list_present(self, ids: Iterable[str]) -> set[str]:
        """Those of these snapshots that are there, as far as is known."""
        there = (snapshots.c.forgotten_at.is_(None), snapshots.c.missing_since.is_(None))
        asked = sa.select(snapshots.c.id).where(snapshots.c.id.in_(list(ids)), *there)
        with self._database.read() as connection:
            return set(connection.execute(asked).scalars())

    def list_under_way(self, limit: int) -> list[Run]:
        """The runs that have not ended: what runs before what waits, each the oldest first."""
        waits = runs.c.state == RunState.QUEUED.value
        going = [state.value for state in RunState if state is not RunState.DONE]
        asked = sa.select(runs).where(runs.c.state.in_(going))
        with self._database.read() as connection:
            found = connection.execute(asked.order_by(waits, runs.c.created_at, runs.c.id).limit(limit)).all()
            accounts = list_steps(connection, [row.id for row in found])
        return [as_run(row, accounts.get(row.id, [])) for row in found]

    def read_events(self, run: str, *, after: int = 0) -> Iterator[Event]:
        """The events of a run behind a number, in order."""
        here = (events.c.run == run) & (events.c.last_seq > after)
        asked = sa.select(events.c.lines).where(here).order_by(events.c.first_seq)
        with self._database.read() as connection:
            for lines in connection.execute(asked).scalars():
                for line in zlib.decompress(lines).splitlines():
                    seq, event = read_line(line, run) or (0, None)
                    if event is not None and seq > after:
                        yield event

    def read_events_back(self, run: str, *, before: int | None = None) -> Iterator[Event]:
        """The events of a run from the last one back, of those below a number: its end, without all of it."""
        asked = sa.select(events.c.lines).where(events.c.run == run).order_by(events.c.first_seq.desc())
        if before is not None:
            asked = asked.where(events.c.first_seq < before)
        with self._database.read() as connection:
            for lines in connection.execute(asked).scalars():
                for line in reversed(zlib.decompress(lines).splitlines()):
                    seq, event = read_line(line, run) or (0, None)
                    if event is not None and (before is None or seq < before):
                        yield event

    # --- what is known of jobs and repositories ---

    def find_identity(self, repository: str) -> str | None:
        """The identity of a repository, where it was met before."""
        asked = sa.select(repositories.c.identity).where(repositories.c.key == repository)
        with self._database.read() as connection:
            return connection.execute(asked).scalar()

    def forget_identity(self, repository: str) -> None:
        """Know no more which repository this key meant: it was given up, and the next of that name is another."""
        with self._database.write() as connection:
            connection.execute(repositories.delete().where(repositories.c.key == repository))

    def list_identities(self) -> dict[str, str]:
        """The identities of all the repositories that were met."""
        asked = sa.select(repositories.c.key, repositories.c.identity).where(
            repositories.c.identity.is_not(None)
        )
        with self._database.read() as connection:
            return {row.key: row.identity for row in connection.execute(asked)}

    def list_others(self, key: str, declared: Collection[str]) -> dict[str, str]:
        """The keys of the other declared repositories by their ids, where this one was never met."""
        met = self.list_identities()
        return {} if key in met else {id: other for other, id in met.items() if other in declared}

    def find_size(self, repository: str) -> int | None:
        """How many bytes a repository stored when it was last measured."""
        asked = sa.select(repositories.c.bytes_stored).where(repositories.c.key == repository)
        with self._database.read() as connection:
            return connection.execute(asked).scalar()

    def list_days(self, repository: str, since: date) -> list[RepositoryDay]:
        """What a repository held at the end of each day on which something was learned of it, oldest first."""
        days = repository_days
        asked = sa.select(days).where(days.c.repository == repository, days.c.day >= since.isoformat())
        with self._database.read() as connection:
            return [
                RepositoryDay(
                    day=row.day,
                    bytes_stored=row.bytes_stored,
                    bytes_restorable=row.bytes_restorable,
                    snapshots=row.snapshots,
                )
                for row in connection.execute(asked.order_by(days.c.day))
            ]

    def list_figures(self, job: str, since: datetime) -> list[Figures]:
        """What each backup of a job took that saved all it should, or nearly so, oldest first."""
        added, read = (steps.c.account[name].as_float() for name in ("bytes_added", "bytes_processed"))
        asked = (
            sa.select(
                runs.c.started_at,
                runs.c.ended_at,
                sa.func.max(added).label("added"),
                sa.func.max(read).label("read"),
            )
            .join(steps, steps.c.run == runs.c.id)
            .where(
                runs.c.job == job,
                runs.c.kind == RunKind.BACKUP.value,
                runs.c.created_at >= since,
                runs.c.outcome.in_((Outcome.SUCCESS.value, Outcome.WARNING.value)),
                runs.c.started_at.is_not(None),
                steps.c.action == Action.BACKUP.value,
                NOT_REHEARSED,
            )
            .group_by(runs.c.id, runs.c.created_at, runs.c.started_at, runs.c.ended_at)
            .order_by(runs.c.created_at)
        )
        with self._database.read() as connection:
            return [
                Figures(
                    row.started_at,
                    (row.ended_at - row.started_at).total_seconds(),
                    row.added or 0.0,
                    row.read or 0.0,
                )
                for row in connection.execute(asked)
            ]

    def list_governed(self, of: SetOf) -> list[Governed]:
        """The snapshots of a set that are governed and not known to be gone, newest first."""
        asked = (
            sa.select(snapshots)
            .where(of_set(of), snapshots.c.forgotten_at.is_(None), snapshots.c.missing_since.is_(None))
            .order_by(snapshots.c.time.desc())
        )
        with self._database.read() as connection:
            return [as_governed(row) for row in connection.execute(asked)]

    def list_own(self, of: SetOf) -> list[Governed]:
        """Those of them that hold what the set is of; what was adopted without its tags is of somebody else."""
        return [snapshot for snapshot in self.list_governed(of) if snapshot.run is not None]

    def list_saved_on(self, host: str) -> list[str]:
        """The ids of the snapshots that runs on this host made, and that are there, oldest first."""
        asked = sa.select(snapshots.c.id).where(
            snapshots.c.host == host,
            snapshots.c.run.is_not(None),
            snapshots.c.adopted_by.is_(None),
            snapshots.c.forgotten_at.is_(None),
        )
        with self._database.read() as connection:
            return list(connection.scalars(asked.order_by(snapshots.c.time)))

    def list_sets(self, *, job: str | None = None, repository: str | None = None) -> list[SetOf]:
        """The sets that hold snapshots, jobs among them that are not declared any more."""
        columns = (snapshots.c.repository, snapshots.c.host, snapshots.c.job, snapshots.c.set)
        asked = sa.select(*columns).distinct().where(snapshots.c.forgotten_at.is_(None))
        if job is not None:
            asked = asked.where(snapshots.c.job == job)
        if repository is not None:
            asked = asked.where(snapshots.c.repository == repository)
        with self._database.read() as connection:
            return [SetOf(*row) for row in connection.execute(asked.order_by(*columns))]

    def expect(self, of: SetOf) -> Expectation:
        """What a backup should find: earlier snapshots (by their first ids), the one to build upon, the usual size."""
        ours = self.list_own(of)
        return Expectation(
            snapshot_ids=tuple(snapshot.names[0] for snapshot in ours),
            parent=ours[0].id if ours else None,
            sizes=tuple(self._list_sizes(of)),
        )

    def _list_sizes(self, of: SetOf) -> Iterator[int]:
        """Sizes of the last good snapshots, back to the one whose new size a person accepted."""
        columns = (snapshots.c.size_bytes, snapshots.c.shrank, snapshots.c.accepted_at)
        measured = snapshots.c.run.is_not(None) & snapshots.c.size_bytes.is_not(None)
        asked = sa.select(*columns).where(of_set(of), measured)
        count = 0
        with self._database.read() as connection:
            for row in connection.execute(asked.order_by(snapshots.c.time.desc())):
                if count == SIZES_COMPARED:
                    return
                if not row.shrank or row.accepted_at is not None:
                    count += 1
                    yield row.size_bytes
                if row.accepted_at is not None:
                    return

    def find_newest(self, repository: str) -> str | None:
        """The newest snapshot that a repository holds as far as is known."""
        there = (snapshots.c.forgotten_at.is_(None), snapshots.c.missing_since.is_(None))
        asked = sa.select(snapshots.c.id).where(snapshots.c.repository == repository, *there)
        with self._database.read() as connection:
            return connection.execute(asked.order_by(snapshots.c.time.desc()).limit(1)).scalar()

    def newest_time(self, repository: str) -> datetime | None:
        """The newest time that the record knows of the snapshots that a repository holds."""
        there = (snapshots.c.forgotten_at.is_(None), snapshots.c.missing_since.is_(None))
        asked = sa.select(sa.func.max(snapshots.c.time, type_=snapshots.c.time.type))
        with self._database.read() as connection:
            return connection.execute(asked.where(snapshots.c.repository == repository, *there)).scalar()

    def witness(self, repository: str, listing: Sequence[Snapshot], now: datetime) -> None:
        """Take a listing as evidence: what it shows is there, and a run's snapshot is known by it."""
        with self._database.read() as connection:
            back = find_back(connection, repository, listing, now)
            if not back and not find_saved(connection, repository, listing):
                return
        with self._database.write() as connection:
            take_as_evidence(connection, repository, listing, now)

    def take_listing(self, repository: str, listing: Sequence[Snapshot], now: datetime) -> None:
        """Take a listing of all that a repository holds as evidence, and remember how much that is."""
        self.witness(repository, listing, now)
        here = repositories.c.key == repository
        with self._database.read() as connection:
            known = connection.execute(sa.select(repositories).where(here)).first()
        if known is not None and known.snapshots_listed == len(listing):
            return
        told = {"snapshots_listed": len(listing), "listed_at": now}
        with self._database.write() as connection:
            if connection.execute(repositories.update().where(here).values(**told)).rowcount == 0:
                connection.execute(repositories.insert().values(key=repository, **told))

    def recognise(self, repository: str, listed: Iterable[Snapshot]) -> list[Snapshot]:
        """The snapshots of a listing with what is known of them; the tags of one that is not governed prove nothing.

        Where other tags made a twin of one that could not be removed, one of both is told: the governed one.
        """
        listing = list(listed)
        governed = [
            (of, one) for of in self.list_sets(repository=repository) for one in self.list_governed(of)
        ]
        known = {one.id: (of, one) for of, one in governed}
        firsts = {one.names[0]: (of, one) for of, one in governed}
        renamed = {one.id: firsts.get(one.original or "") for one in list_renamed(listing)}
        twins = _list_twins(listing, known)
        return [
            _recognised(one, known.get(one.id) or renamed.get(one.id))
            for one in listing
            if one.id not in twins
        ]

    def follow(self, repository: str, listing: Sequence[Snapshot]) -> None:
        """Know those of a listing by their new ids to which `restic tag` gave one."""
        if list_renamed(listing):
            with self._database.write() as connection:
                follow(connection, repository, listing)

    def miss(self, of: SetOf, lost: Sequence[str], at: datetime) -> None:
        """Snapshots of a set are gone that nobody here removed: retention stands still until a person has seen it."""
        with self._database.write() as connection:
            miss(connection, of, lost, at, None)

    def tell_loss(self, repository: str) -> Loss:
        """What would be given up by beginning this repository anew."""
        held = (snapshots.c.repository == repository) & snapshots.c.forgotten_at.is_(None)
        newest = sa.func.max(snapshots.c.time, type_=snapshots.c.time.type)
        here = repositories.c.key == repository
        with self._database.read() as connection:
            row = connection.execute(sa.select(repositories).where(here)).first()
            count, last = connection.execute(sa.select(sa.func.count(), newest).where(held)).one()
        found = self.list_runs(RunFilter(repository=repository), limit=1)
        return Loss(
            repository=repository,
            identity=row.identity if row else None,
            met_at=row.met_at if row else None,
            bytes_stored=_measured_since(row, last),
            snapshots=count,
            newest_at=last,
            last_run=found[0].id if found else None,
        )

    def give_up(self, repository: str, actor: Actor, now: datetime) -> None:
        """A person says that a repository is lost: its identity is forgotten, its snapshots are gone with it, and what
        was proved by it counts no more."""
        mark = f"{ANEW}{repository}"
        here = repositories.c.key == repository
        held = (snapshots.c.repository == repository) & snapshots.c.forgotten_at.is_(None)
        with self._database.write() as connection:
            row = connection.execute(sa.select(repositories.c.identity).where(here)).first()
            connection.execute(snapshots.update().where(held).values(forgotten_at=now))
            connection.execute(repositories.update().where(here).values(**_BLANK))
            connection.execute(marks.delete().where(marks.c.name == mark))
            connection.execute(marks.insert().values(name=mark, value=moment_to_text(now)))
            before = {"identity": row.identity if row else None}
            write_down(connection, actor, "given_up", now, kind="repository", key=repository, before=before)

    def note_test(self, repository: str, why: str | None, now: datetime) -> None:
        """A repository was saved though no test of it succeeded, and why; None once one has."""
        with self._database.write() as connection:
            note_untested(connection, repository, why, now)

    def agree(self, repository: str, adopted: Iterable[str], now: datetime) -> None:
        """A person approved a plan that these adopted snapshots were part of."""
        with self._database.write() as connection:
            mark_snapshots(connection, repository, list(adopted), accepted_at=now)

    def find_last(
        self,
        action: Action,
        repository: str | None,
        *,
        job: str | None = None,
        outcomes: Sequence[Outcome] = (),
    ) -> Ending | None:
        """How the last step of this kind ended, in a repository or in none; one that only rehearsed is none."""
        return next(self._last_steps(action, repository, job, outcomes), None)

    def _last_steps(
        self, action: Action, repository: str | None, job: str | None, outcomes: Sequence[Outcome]
    ) -> Iterator[Ending]:
        asked = (
            sa.select(steps)
            .join(runs, runs.c.id == steps.c.run)
            .where(
                steps.c.action == action.value,
                steps.c.repository == repository,
                steps.c.ended_at.is_not(None),
                is_since_anew(steps.c.ended_at, steps.c.repository),
                NOT_REHEARSED,
            )
        )
        if job is not None:
            asked = asked.where(steps.c.job == job)
        if outcomes:
            asked = asked.where(steps.c.outcome.in_([outcome.value for outcome in outcomes]))
        with self._database.read() as connection:
            for row in connection.execute(asked.order_by(steps.c.ended_at.desc()).limit(1)):
                yield Ending(Outcome(row.outcome), row.ended_at, read_account(row.account), row.run)

    def list_parts_read(self, repository: str, parts: int) -> list[tuple[int, datetime]]:
        """Which of so many parts of its data each of the last good checks read, and when; the newest first.

        A check that cut the data otherwise, as somebody may order one, is none of these.
        """
        asked = (
            sa.select(steps.c.account["slice"].as_string().label("slice"), steps.c.ended_at)
            .where(steps.c.action == Action.CHECK.value, steps.c.repository == repository)
            .where(steps.c.outcome == Outcome.SUCCESS.value)
            .where(steps.c.account["slice"].as_string().like(f"%/{parts}"))
            .where(is_since_anew(steps.c.ended_at, steps.c.repository))
            .order_by(steps.c.ended_at.desc())
            .limit(parts)
        )
        with self._database.read() as connection:
            return [(int(row.slice.partition("/")[0]), row.ended_at) for row in connection.execute(asked)]

    def find_last_verified(self, of: SetOf) -> str | None:
        """The snapshot of a set that was last proved restorable."""
        tests = self._list_tests(of)
        return tests[0][0] if tests else None

    def find_last_tested(self, of: SetOf) -> datetime | None:
        """When a snapshot of a set was last proved restorable."""
        tests = self._list_tests(of)
        return tests[0][1] if tests else None

    def _list_tests(self, of: SetOf) -> list[tuple[str, datetime]]:
        """The snapshots of a set that were proved restorable, each with when, the last one first."""
        tested = steps.c.account["snapshot_id"].as_string().label("snapshot")
        asked = (
            sa.select(tested, steps.c.ended_at)
            .where(steps.c.action == Action.VERIFY.value, steps.c.repository == of.repository)
            .where(steps.c.job == of.job, steps.c.outcome == Outcome.SUCCESS.value)
            .order_by(steps.c.ended_at.desc())
            .limit(TESTS_LOOKED_AT)
        )
        names = {name: one.id for one in self.list_governed(of) for name in one.names}
        with self._database.read() as connection:
            rows = connection.execute(asked).all()
        return [(names[row.snapshot], row.ended_at) for row in rows if row.snapshot in names]

    def find_set_of(self, repository: str, snapshot: str) -> str | None:
        """The set that a snapshot is of, as far as the record knows it."""
        named = snapshots.c.id.startswith(snapshot, autoescape=True)
        asked = sa.select(snapshots.c.set).where(snapshots.c.repository == repository, named).limit(1)
        with self._database.read() as connection:
            return connection.execute(asked).scalar()

    def find_printed(self, repository: str, snapshot: str) -> Printed | None:
        """What a command printed that a snapshot holds, as its own backup told."""
        named = snapshots.c.id.startswith(snapshot, autoescape=True)
        asked = sa.select(snapshots).where(snapshots.c.repository == repository, named).limit(1)
        with self._database.read() as connection:
            if (row := connection.execute(asked).first()) is None or row.run is None:
                return None
            made = list_steps(connection, [row.run]).get(row.run, [])
        names = as_governed(row).names
        return next(
            (one.printed for one in made if one.repository == repository and one.snapshot_id in names), None
        )


def _list_twins(listing: Sequence[Snapshot], known: Collection[str]) -> set[str]:
    """Of each pair of which the one is the other with other tags, the one that is not told."""
    shown = {one.id: one for one in listing}
    pairs = [(shown[one.original], one) for one in listing if one.original in shown]
    return {
        new.id if old.id in known else old.id
        for old, new in pairs
        if (old.tree, old.time) == (new.tree, new.time)
    }


def _measured_since(row: sa.Row[Any] | None, newest: datetime | None) -> int | None:
    """What a repository stores, where that was measured after its newest snapshot was made."""
    if row is None or row.measured_at is None or (newest is not None and row.measured_at < newest):
        return None
    stored: int | None = row.bytes_stored
    return stored


def _recognised(snapshot: Snapshot, known: tuple[SetOf, Governed] | None) -> Snapshot:
    if known is None:
        return snapshot.model_copy(update={"job": None, "run": None, "set": None, "governed": False})
    of, one = known
    size = snapshot.size_bytes if snapshot.size_bytes is not None else one.size_bytes
    told = {"job": of.job, "run": one.run, "set": of.set, "governed": True, "size_bytes": size}
    return snapshot.model_copy(update=told)


LOST = ("repository_gone", "repository_changed", "repository_missing")
"""How a question about a repository fails that is not there any more."""


def not_lost(repository: str) -> Conflict:
    """That there is nothing to give up."""
    return Conflict(
        f"{repository} is there and opens: nothing is lost, so nothing was given up",
        code="repository_there",
        hint="a second repository gets a key of its own",
    )


_BLANK = {"identity": None, "met_at": None, "bytes_stored": None, "measured_at": None}

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time, as the record writes it."""
    return datetime.now(UTC)
