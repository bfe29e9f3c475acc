"""Which snapshot a person means: by its id, as the latest, by a date, or chosen from a list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, time

from highball.cli import words
from highball.cli.output import Output
from highball.errors import HighballError, Unknown
from highball.facts import Snapshot

SHOWN_TO_CHOOSE = 20

Lists = Callable[[str], Sequence[Snapshot]]
"""The snapshots of a repository; raises HighballError."""


def is_of(snapshot: Snapshot, job: str) -> bool:
    """Whether a snapshot is governed by a job, or says that it is the job's."""
    return snapshot.job == job or f"hb:job={job}" in snapshot.tags


def find_named(lists: Lists, repositories: Sequence[str], named: str) -> Snapshot:
    """The snapshot with this id, or the only one whose id begins so."""
    found: list[Snapshot] = []
    failures: list[HighballError] = []
    for key in repositories:
        try:
            found += [s for s in lists(key) if named and s.id.startswith(named.lower())]
        except HighballError as error:
            failures.append(error)
    if len(found) == 1:
        return found[0]
    if not found and failures:
        raise failures[0]
    what = f"{len(found)} snapshots begin" if found else "no snapshot begins"
    raise Unknown(
        f"{what} with {named}",
        code="snapshot_unknown",
        hint="write more of its id, or name a --repository" if found else "see them with: highball snapshots",
    )


def choose_to_restore(
    output: Output, lists: Lists, repositories: Sequence[str], job: str, named: str | None
) -> Snapshot:
    """The snapshot of a job to restore, from the first of the repositories that answers and has it."""
    failures: list[HighballError] = []
    for key in repositories:
        try:
            return _pick(output, job, lists(key), named)
        except HighballError as error:
            failures.append(error)
            if len(repositories) > 1:
                output.note(f"{key}: {error.message}", "yellow")
    raise failures[0]


def _pick(output: Output, job: str, found: Sequence[Snapshot], named: str | None) -> Snapshot:
    # unknown snapshots may carry our tags: "latest" and dates mean those that our runs made
    ours = sorted((s for s in found if s.governed and s.job == job), key=lambda s: s.time, reverse=True)
    if named is None and output.interactive and len(ours) > 1:
        return _ask_which(output, ours)
    if named in (None, "latest"):
        return _first(ours, f"{job} has no snapshot here yet")
    until = _read_date(named or "")
    if until is not None:
        return _first([s for s in ours if s.time <= until], f"{job} has no snapshot here as old as {named}")
    matching = [s for s in found if s.id.startswith((named or "").lower())]
    if len(matching) > 1:
        raise Unknown(
            f"{len(matching)} snapshots begin with {named}",
            code="snapshot_unknown",
            hint="write more of its id",
        )
    return _first(matching, f"no snapshot begins with {named}")


def _first(found: Sequence[Snapshot], otherwise: str) -> Snapshot:
    if not found:
        raise Unknown(otherwise, code="snapshot_unknown", hint="see them with: highball snapshots")
    return found[0]


def _ask_which(output: Output, ours: Sequence[Snapshot]) -> Snapshot:
    shown = ours[:SHOWN_TO_CHOOSE]
    output.note("Which snapshot? Enter takes the newest.")
    number = output.choose(
        "Snapshot", [f"{words.moment(s.time)}  {s.id[:8]}  {words.size(s.size_bytes)}" for s in shown]
    )
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
