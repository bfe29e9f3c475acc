"""Which snapshot a person means: by its id, as the latest, by a date, or chosen from a list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, time

from highball.cli import formatting
from highball.cli.console import Output
from highball.engine.tags import names_job
from highball.errors import HighballError, Unknown
from highball.model.snapshot import Snapshot
from highball.model.text import path_for_people

SHOWN_TO_CHOOSE = 20

Lists = Callable[[str], Sequence[Snapshot]]
"""The snapshots of a repository; raises HighballError."""


@dataclass(frozen=True)
class SnapshotKeys:
    """By which tags and hosts the snapshots of a job are found: the keys that both have and had."""

    jobs: tuple[str, ...]
    hosts: tuple[str, ...] | None = None
    """None where it is not known which machine the job is of."""

    def carry(self, snapshot: Snapshot) -> bool:
        """Whether a snapshot says that it is the job's."""
        tagged = any(names_job(snapshot.tags, job) for job in self.jobs)
        return tagged and (self.hosts is None or snapshot.host in self.hosts)


def is_of(snapshot: Snapshot, job: str) -> bool:
    """Whether a snapshot is governed by a job, or says that it is the job's."""
    return snapshot.job == job or names_job(snapshot.tags, job)


def find_named(lists: Lists, repositories: Sequence[str], named: str) -> Snapshot:
    """The snapshot with this id, or the only one whose id begins so."""
    found: list[Snapshot] = []
    failures: list[HighballError] = []
    for key in repositories:
        try:
            known = {one.id for one in found}  # of one repository under two keys each has it
            begin = [s for s in lists(key) if named and s.id.startswith(named.lower())]
            found += [s for s in begin if s.id not in known]
        except HighballError as error:
            failures.append(error)
    if len(found) == 1:
        return found[0]
    if not found and failures:
        raise failures[0]
    what = f"{len(found)} snapshot IDs start" if found else "no snapshot ID starts"
    raise Unknown(
        f"{what} with {named}",
        code="snapshot_unknown",
        hint="write more of the ID, or name a --repository" if found else "see them with: highball snapshots",
    )


def choose_to_restore(
    output: Output, lists: Lists, repositories: Sequence[str], keys: SnapshotKeys, named: str | None
) -> Snapshot:
    """The snapshot of a job to restore, from the first of the repositories that answers and has it.

    Where no known run made any (the record was lost, or this machine is new), the tags of a snapshot have to do, and
    that is said.
    """
    failures: list[HighballError] = []
    for key in repositories:
        try:
            return _pick(output, keys, key, lists(key), named)
        except HighballError as error:
            failures.append(error)
            if len(repositories) > 1:
                output.note(f"{key}: {error.message}", "yellow")
    raise failures[0]


def _pick(
    output: Output, keys: SnapshotKeys, repository: str, found: Sequence[Snapshot], named: str | None
) -> Snapshot:
    # unknown snapshots may carry our tags: "latest" and dates mean those that our runs made
    job = keys.jobs[0]
    ours = [s for s in found if s.governed and s.job == job]
    if not ours and (named is None or named == "latest" or _read_date(named) is not None):
        ours = [s for s in found if keys.carry(s)]
        if len({s.host for s in ours} - set(keys.hosts or ())) > 1:  # whose they are is not known
            ours = []
        if ours:
            output.note(_not_confirmed(len(ours), job, repository), "yellow")
    ours.sort(key=lambda s: s.time, reverse=True)
    if named is None and output.interactive and len(ours) > 1:
        return _ask_which(output, ours)
    ours = [s for s in ours if not s.is_stream] or ours  # of a job that has both, its files are meant
    until = None if named in (None, "latest") else _read_date(named or "")
    if named in (None, "latest") or until is not None:
        old_enough = [s for s in ours if until is None or s.time <= until]
        own = [s for s in old_enough if s.run is not None or not s.governed]
        if not own and old_enough:
            raise _only_adopted(job, old_enough[0])
        if not ours and (others := [s for s in found if names_job(s.tags, job)]):
            raise _of_other_hosts(job, others)
        as_old = "yet" if until is None else f"as old as {named}"
        return _first(own, f"{job} has no snapshot here {as_old}")
    matching = [s for s in found if s.id.startswith((named or "").lower())]
    if len(matching) > 1:
        raise Unknown(
            f"{len(matching)} snapshot IDs start with {named}",
            code="snapshot_unknown",
            hint="write more of the ID",
        )
    return _first(matching, f"no snapshot ID starts with {named}")


def _not_confirmed(count: int, job: str, repository: str) -> str:
    subject = "1 snapshot carries" if count == 1 else f"{count} snapshots carry"
    word = "is used" if count == 1 else "are used"
    return (
        f"No known run created a snapshot of {job} in {repository}; {subject} its tags, and "
        f"{word} (another one: -s ID). To apply its retention to them again: highball hub rebuild "
        f"--confirm {job}, or highball adopt {repository}"
    )


def _of_other_hosts(job: str, others: Sequence[Snapshot]) -> Unknown:
    hosts = ", ".join(sorted({path_for_people(s.host.encode("utf-8", "replace")) for s in others})[:3])
    count = "1 snapshot carries" if len(others) == 1 else f"{len(others)} snapshots carry"
    return Unknown(
        f"{job} has no snapshot of this host here; {count} its tags, of {hosts}",
        code="snapshot_unknown",
        hint=f"see them with: highball snapshots; restore one by its id: highball restore {job} -s ID",
    )


def _first(found: Sequence[Snapshot], otherwise: str) -> Snapshot:
    if not found:
        raise Unknown(otherwise, code="snapshot_unknown", hint="see them with: highball snapshots")
    return found[0]


def _only_adopted(job: str, newest: Snapshot) -> Unknown:
    """What a job adopted of others is restored only by its id: it may hold something else altogether."""
    paths = ", ".join(path_for_people(path) for path in newest.paths)
    return Unknown(
        f"{job} has no snapshot of its own here; {newest.id[:8]}, which it adopted, is of {newest.host}: {paths}",
        code="snapshot_unknown",
        hint=f"restore that one with: --snapshot {newest.id[:8]}",
    )


def _described(snapshot: Snapshot) -> str:
    told = f"{formatting.moment(snapshot.time)}  {snapshot.id[:8]}  {formatting.size(snapshot.size_bytes)}"
    if snapshot.run is not None or not snapshot.governed:
        return told
    return (
        f"{told}  adopted from {snapshot.host}: {', '.join(path_for_people(path) for path in snapshot.paths)}"
    )


def _ask_which(output: Output, ours: Sequence[Snapshot]) -> Snapshot:
    own_first = sorted(ours, key=lambda snapshot: snapshot.run is None)
    shown = own_first[:SHOWN_TO_CHOOSE]
    output.note("Which snapshot? Enter takes the newest.")
    number = output.choose("Snapshot", [_described(snapshot) for snapshot in shown])
    return shown[number or 0]


def _read_date(text: str) -> datetime | None:
    """A time, or the end of a day, in the zone of the person who asks; None where the text is no date."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if text.isdigit():  # eight digits may as well be the start of an id; ids are what people copy
        return None
    if len(text) == len("2026-05-04"):
        at = datetime.combine(at.date(), time.max)
    return at.astimezone()
