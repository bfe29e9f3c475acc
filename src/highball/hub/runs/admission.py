"""The queue's rules: which runs may be sent now, and for what the others wait.

Pure: what is queued, what runs, who is connected and the limits go in; a decision for each queued run comes out.
Two runs conflict where one needs a repository for itself, where both are of one subject, and where a
host, a destination or a repository takes no more at a time. Nothing here reads or writes, or sends anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo

from highball.actions import Need, need_of
from highball.model.run import Reason, RunKind
from highball.schedule import is_within

# --- what is known -------------------------------------------------------------------------------

FORBIDS: Mapping[Need, tuple[Need, ...]] = {
    Need.NOTHING: (),
    Need.SHARED: (Need.EXCLUSIVE,),
    Need.EXCLUSIVE: (Need.EXCLUSIVE, Need.SHARED),
}
"""What may not be there for each need: what locks in a repository forbid, and is kept to where it has none."""


@dataclass(frozen=True)
class Candidate:
    """A run that is queued or under way, as far as the queue's rules look at it.

    `task` is what its order says (`backup`, `discard`, `check`, `restore`…), `subject` what only one run at a time
    may work on, `destinations` the hosts that its repositories lie on.
    """

    run: str
    kind: RunKind
    task: str
    host: str
    created_at: datetime
    job: str | None = None
    repositories: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    subject: str | None = None
    nominal_at: datetime | None = None
    not_before: datetime | None = None
    started_at: datetime | None = None
    windows: tuple[str, ...] = ()
    """When it may begin, like `mon-fri 22:00-06:00`; none is always."""
    zone: str = "UTC"
    """Whose clock its windows are read on."""
    manual: bool = False
    limited: bool = True
    """Whether limits hold for it; a job may opt out of them, never of what a repository forbids."""

    @property
    def title(self) -> str:
        """What people call it: `prune nas`."""
        return f"{self.task} {self.job or ', '.join(self.repositories) or self.host}"

    @property
    def need(self) -> Need:
        """How much it needs of each of its repositories."""
        return need_of(self.task)

    @property
    def places(self) -> list[Place]:
        """Where it takes up room, if limits hold for it."""
        if not self.limited:
            return []
        return [
            ("host", self.host),
            *(("destination", key) for key in dict.fromkeys(self.destinations)),
            *(("repository", key) for key in dict.fromkeys(self.repositories)),
        ]

    @property
    def turn(self) -> tuple[datetime, bool, datetime, str]:
        """Its place in the queue: by time, and backups before the rest at equal times."""
        came_at = self.nominal_at or self.created_at
        return came_at, self.kind is not RunKind.BACKUP, self.created_at, self.run


Place = tuple[str, str]
"""A kind of place (host, destination, repository) and its key."""


@dataclass(frozen=True)
class Limits:
    """How many runs at a time a place takes: by its kind, and otherwise for some; None is any number."""

    host: int | None = None
    destination: int | None = None
    repository: int | None = None
    own: Mapping[Place, int] = field(default_factory=dict)

    def of(self, place: Place) -> int | None:
        """How many a place takes."""
        kind, _ = place
        usual: dict[str, int | None] = {
            "host": self.host,
            "destination": self.destination,
            "repository": self.repository,
        }
        return self.own.get(place, usual[kind])


@dataclass(frozen=True)
class Decision:
    """What becomes of a queued run: sent now (no reason), left waiting for the reason, or refused for it."""

    candidate: Candidate
    reason: Reason | None = None
    refused: bool = False


# --- the decision --------------------------------------------------------------------------------


def choose(
    queued: Iterable[Candidate],
    running: Iterable[Candidate],
    connected: Collection[str],
    limits: Limits,
    now: datetime,
    zone: tzinfo,
) -> list[Decision]:
    """A decision for each queued run, in the order of their turns; `zone` is in which reasons tell times."""
    board = _Board(running, limits, zone)
    return [board.decide(candidate, connected, now) for candidate in sorted(queued, key=lambda c: c.turn)]


class _Board:
    """What is under way, what is chosen now, and what those claim that come next; found by what they hold."""

    def __init__(self, running: Iterable[Candidate], limits: Limits, zone: tzinfo) -> None:
        self._limits = limits
        self._zone = zone
        self._chosen: set[str] = set()
        self._next: set[str] = set()
        self._of_subject: defaultdict[str, list[Candidate]] = defaultdict(list)
        self._locks: defaultdict[tuple[str, Need], list[Candidate]] = defaultdict(list)
        self._places: defaultdict[Place, list[Candidate]] = defaultdict(list)
        for candidate in running:
            self._put(candidate)

    def _put(self, candidate: Candidate, *, places: bool = True) -> None:
        if candidate.subject is not None:
            self._of_subject[candidate.subject].append(candidate)
        for key in candidate.repositories:
            self._locks[key, candidate.need].append(candidate)
        for place in candidate.places if places else ():
            self._places[place].append(candidate)

    def decide(self, candidate: Candidate, connected: Collection[str], now: datetime) -> Decision:
        """Send it, let it wait, or refuse it."""
        if candidate.not_before is not None and now < candidate.not_before:
            return _wait(candidate, "not_before", f"waiting until {self._clock(candidate.not_before, now)}")
        if not is_within(candidate.windows, now, candidate.zone):
            return _wait(
                candidate, "window", f"waiting for its backup window ({', '.join(candidate.windows)})"
            )
        if candidate.host not in connected:
            return _offline(candidate)
        found = next(self._obstacles(candidate), None)
        if found is None:
            self._chosen.add(candidate.run)
            self._put(candidate)
            return Decision(candidate)
        obstacle, because = found
        words = f'waiting for "{obstacle.title}"{self._since(obstacle, now)}{because}'
        if self._may_claim(candidate):
            self._next.add(candidate.run)
            # until its repository is free it could not use a place on a host, so it keeps nobody from one
            self._put(candidate, places=next(self._forbidding(candidate), None) is None)
        return _wait(candidate, "busy", words)

    def _obstacles(self, candidate: Candidate) -> Iterator[tuple[Candidate, str]]:
        """What stands in the way, and why if that does not go without saying."""
        yield from ((other, "") for other in self._forbidding(candidate))
        for place in candidate.places:
            most = self._limits.of(place)
            if most is not None and len(held := self._places[place]) >= most:
                because = f": {place[0]} {place[1]} takes {most} at a time"
                if sum(other.run not in self._next for other in held) < most:  # not full but for who is next
                    held = sorted(held, key=lambda other: other.run not in self._next)
                yield from ((other, because) for other in held)

    def _forbidding(self, candidate: Candidate) -> Iterator[Candidate]:
        """What works on the same subject, or works where it may not be beside it."""
        if candidate.subject is not None:
            yield from self._of_subject[candidate.subject]
        for key in candidate.repositories:
            for need in FORBIDS[candidate.need]:
                yield from self._locks[key, need]

    def _may_claim(self, candidate: Candidate) -> bool:
        """Whether those behind it have to leave to it what it needs.

        They may pass it as long as one is under way that was so when it came: they do not make its wait longer,
        and a first backup of days does not keep all others waiting behind a prune. After that nobody passes.
        """
        return all(self._came_later(other, candidate) for other, _ in self._obstacles(candidate))

    def _came_later(self, other: Candidate, candidate: Candidate) -> bool:
        if other.run in self._next:
            return False
        return other.run in self._chosen or (other.started_at or other.created_at) >= candidate.created_at

    def _since(self, obstacle: Candidate, now: datetime) -> str:
        if obstacle.run in self._next:
            return ", which is next"
        if obstacle.run in self._chosen or obstacle.started_at is None:
            return ", which starts now"
        return f" (started {self._clock(obstacle.started_at, now)})"

    def _clock(self, at: datetime, now: datetime) -> str:
        local, today = at.astimezone(self._zone), now.astimezone(self._zone)
        return f"{local:%H:%M}" if local.date() == today.date() else f"{local:%Y-%m-%d %H:%M}"


def _offline(candidate: Candidate) -> Decision:
    """Scheduled backups wait for their host; what is not urgent, or what a person waits for, does not."""
    if candidate.kind is RunKind.BACKUP and not candidate.manual:
        return _wait(candidate, "host_offline", f"waiting for host {candidate.host} to connect")
    message = f"host {candidate.host} is not connected"
    return Decision(candidate, Reason(code="host_offline", message=message), refused=True)


def _wait(candidate: Candidate, code: str, message: str) -> Decision:
    return Decision(candidate, Reason(code=code, message=message))
