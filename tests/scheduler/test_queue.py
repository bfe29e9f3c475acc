"""What may be sent now, and for what the rest waits; in words that people understand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from highball.hub.runs.admission import (
    Candidate,
    Decision,
    Limits,
    choose,
)
from highball.model.run import RunKind

NOW = datetime(2026, 6, 1, 2, 30, tzinfo=UTC)
NIGHT = "22:00-06:00"
HOSTS = ("web1", "web2", "nas1")
UNLIMITED = Limits()
MINUTE = timedelta(minutes=1)

KINDS = {"backup": RunKind.BACKUP, "restore": RunKind.RESTORE}


def run(title: str, host: str = "web1", came: int = 0, **told: Any) -> Candidate:
    """`backup docs nas` on a host, come (and where it runs, started) so many minutes ago."""
    task, key, *repositories = title.split()
    kind = KINDS.get(task, RunKind.MAINTENANCE)
    facts: dict[str, Any] = {
        "repositories": tuple(repositories) if kind is RunKind.BACKUP else (key,),
        "job": key if kind is RunKind.BACKUP else None,
        "subject": f"{task}:{key}",
        "created_at": NOW - came * MINUTE,
    }
    return Candidate(**{"run": f"{title} {came}", "kind": kind, "task": task, "host": host, **facts, **told})


def begun(title: str, host: str = "web1", ago: int = 20, **told: Any) -> Candidate:
    """One that is under way."""
    return run(title, host, ago, **{"started_at": NOW - ago * MINUTE, **told})


def decide(
    queued: list[Candidate],
    running: list[Candidate] | None = None,
    *,
    connected: tuple[str, ...] = HOSTS,
    limits: Limits = UNLIMITED,
    now: datetime = NOW,
) -> dict[str, str]:
    """Each title with `sent`, or the reason, in the order of their turns."""
    found = choose(queued, running or [], connected, limits, now, UTC)
    return {decision.candidate.title: words(decision) for decision in found}


def words(decision: Decision) -> str:
    if decision.reason is None:
        return "sent"
    return ("refused: " if decision.refused else "") + decision.reason.message


# --- restic's locks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("backup docs nas", "backup photos nas", True),
        ("backup docs nas", "restore nas", True),
        ("backup docs nas", "verify nas", True),
        ("backup docs nas", "unlock nas", True),
        ("prune nas", "unlock nas", True),
        ("prune nas", "backup docs far", True),
        ("prune nas", "check far", True),
        ("backup docs nas far", "check far", False),
        *(
            (f"{task} nas", "backup docs nas", False)
            for task in ("check", "prune", "forget", "discard", "init")
        ),
        *((f"{task} nas", "restore nas", False) for task in ("check", "prune", "forget", "discard", "init")),
        ("check nas", "prune nas", False),
        ("backup docs nas", "backup docs nas", False),
    ],
)
def test_what_may_be_under_way_together(one: str, other: str, together: bool) -> None:
    for first, second in ((one, other), (other, one)):
        found = decide([run(second)], [begun(first)])
        title = " ".join(first.split()[:2])
        assert list(found.values()) == ["sent" if together else f'waiting for "{title}" (started 02:10)']


def test_the_same_job_never_runs_twice_whatever_its_repositories_are_now() -> None:
    found = decide([run("backup docs far")], [begun("backup docs nas")])
    assert found == {"backup docs": 'waiting for "backup docs" (started 02:10)'}


def test_a_run_of_another_day_is_told_with_its_day() -> None:
    found = decide([run("prune nas")], [begun("backup docs nas", ago=60 * 24)])
    assert found == {"prune nas": 'waiting for "backup docs" (started 2026-05-31 02:30)'}


# --- turns ---------------------------------------------------------------------------------------------


def test_first_come_first_served_and_backups_first_at_equal_times() -> None:
    at_three: dict[str, Any] = {"nominal_at": NOW}
    queued = [
        run("check nas", **at_three),
        run("backup docs nas", **at_three),
        run("backup photos nas", nominal_at=NOW + MINUTE),
        run("prune far", came=1),
    ]
    assert decide(queued) == {
        "prune far": "sent",
        "backup docs": "sent",
        "check nas": 'waiting for "backup docs", which starts now',
        "backup photos": 'waiting for "check nas", which is next',
    }


def test_who_waits_is_passed_only_while_one_that_it_met_is_under_way() -> None:
    """A first backup of days does not keep all others waiting behind a prune; an endless row does not pass it."""
    prune = run("prune nas", came=30)
    later = run("backup photos nas", came=1)
    met = begun("backup films nas", ago=60 * 24)
    passed_it = begun("backup docs nas", ago=20)
    assert decide([prune, later], [met, passed_it])["backup photos"] == "sent"
    assert decide([prune, later], [passed_it]) == {
        "prune nas": 'waiting for "backup docs" (started 02:10)',
        "backup photos": 'waiting for "prune nas", which is next',
    }


def test_who_waits_for_a_repository_keeps_nobody_from_the_host() -> None:
    """A discard that waits behind a backup of days would leave the host's other place unused all that time."""
    discard = run("discard nas", came=20)
    others = [
        run("backup photos far", came=3),
        run("backup films far", came=2),
        run("backup docs nas", came=1),
    ]
    limits = Limits(host=2)
    assert decide([discard, *others], [begun("backup music nas", ago=20)], limits=limits) == {
        "discard nas": 'waiting for "backup music" (started 02:10)',
        "backup photos": "sent",
        "backup films": 'waiting for "backup music" (started 02:10): host web1 takes 2 at a time',
        "backup docs": 'waiting for "discard nas", which is next',
    }


def test_a_place_that_is_kept_for_the_next_is_told_so() -> None:
    """Two of three places are taken: that they are all full would be untrue."""
    limits = Limits(host=1, own={("destination", "nas1"): 2})
    there: dict[str, Any] = {"destinations": ("nas1",)}
    first = run("backup docs nas", came=20, **there)
    found = decide(
        [first, run("backup photos nas", "web2", came=1, **there)],
        [begun("backup films far", ago=10), begun("backup music nas", "nas1", ago=10, **there)],
        limits=limits,
    )
    assert (
        found["backup photos"]
        == 'waiting for "backup docs", which is next: destination nas1 takes 2 at a time'
    )


@pytest.mark.parametrize(
    "held",
    [
        {"not_before": NOW + MINUTE},
        {"windows": (NIGHT,), "zone": "Pacific/Auckland"},
        {"host": "laptop", "kind": RunKind.BACKUP},
    ],
)
def test_nobody_waits_for_what_could_not_begin_itself(held: dict[str, Any]) -> None:
    prune = Candidate(**{**vars(run("prune nas", came=30)), **held})
    found = decide([prune, run("backup photos nas")], [begun("backup docs nas")])
    assert found["backup photos"] == "sent"


# --- hosts ---------------------------------------------------------------------------------------------


def test_a_scheduled_backup_waits_for_its_host_and_nothing_else_does() -> None:
    queued = [
        run("backup docs nas"),
        run("check nas"),
        run("backup photos nas", manual=True),
        run("restore far"),
    ]
    assert decide(queued, connected=("web2",)) == {
        "backup docs": "waiting for host web1 to connect",
        "backup photos": "refused: host web1 is not connected",
        "check nas": "refused: host web1 is not connected",
        "restore far": "refused: host web1 is not connected",
    }


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(host=1), "host web1 takes 1 at a time"),
        (Limits(own={("host", "web1"): 1}), "host web1 takes 1 at a time"),
        (Limits(destination=1), "destination nas1 takes 1 at a time"),
        (Limits(repository=1), "repository nas takes 1 at a time"),
        (Limits(host=1, own={("host", "web1"): 2}), None),
        (Limits(own={("host", "web2"): 1}), None),
    ],
)
def test_limits(limits: Limits, reason: str | None) -> None:
    lies: dict[str, Any] = {"destinations": ("nas1",)}
    found = decide([run("backup photos nas", **lies)], [begun("backup docs nas", **lies)], limits=limits)
    assert found["backup photos"] == (
        "sent" if reason is None else f'waiting for "backup docs" (started 02:10): {reason}'
    )


def test_a_job_may_opt_out_of_limits_but_not_of_locks() -> None:
    limits = Limits(host=1, repository=1)
    queued = [run("backup photos nas", limited=False)]
    assert decide(queued, [begun("backup docs nas")], limits=limits) == {"backup photos": "sent"}
    found = decide(queued, [begun("prune nas")], limits=limits)
    assert found == {"backup photos": 'waiting for "prune nas" (started 02:10)'}


def test_a_limit_holds_for_those_that_begin_now_too() -> None:
    queued = [run(f"backup job{n} repo{n}", came=10 - n) for n in range(4)]
    found = decide(queued, limits=Limits(host=2))
    assert [told == "sent" for told in found.values()] == [True, True, False, False]


# --- times ---------------------------------------------------------------------------------------------


def test_a_run_waits_for_its_window_and_for_its_time() -> None:
    noon = NOW.replace(hour=12)
    assert decide([run("backup docs nas", windows=(NIGHT,))], now=noon) == {
        "backup docs": "waiting for its backup window (22:00-06:00)"
    }
    tokyo = run("backup docs nas", windows=(NIGHT, "12:00-13:00"), zone="Asia/Tokyo")
    assert decide([tokyo], now=noon - 9 * 60 * MINUTE) == {"backup docs": "sent"}
    assert decide([run("backup docs nas", not_before=NOW + 40 * MINUTE)]) == {
        "backup docs": "waiting until 03:10"
    }


# --- always --------------------------------------------------------------------------------------------

TASKS = st.sampled_from(["backup", "backup", "check", "prune", "discard", "verify", "restore", "unlock"])


@st.composite
def some_runs(draw: st.DrawFn, most: int, started: bool = False) -> list[Candidate]:
    found = []
    for number in range(draw(st.integers(0, most))):
        came = draw(st.integers(0, 100))
        repositories = draw(st.sets(st.sampled_from(["nas", "far", "old"]), min_size=1, max_size=2))
        title = f"{draw(TASKS)} {draw(st.sampled_from(['docs', 'photos', 'films']))}"
        found.append(
            run(
                title,
                draw(st.sampled_from([*HOSTS, "laptop"])),
                came,
                run=f"{started}{number}",
                repositories=tuple(sorted(repositories)),
                started_at=NOW - draw(st.integers(0, 100)) * MINUTE if started else None,
                limited=draw(st.booleans()),
                not_before=draw(st.sampled_from([None, None, NOW + MINUTE])),
            )
        )
    return found


def collide(one: Candidate, other: Candidate) -> bool:
    """restic's manual, word for word."""
    alone = {"check", "prune", "discard"}
    if one.subject == other.subject:
        return True
    if "unlock" in (one.task, other.task) or not {one.task, other.task} & alone:
        return False
    return bool(set(one.repositories) & set(other.repositories))


LIMITS = st.builds(Limits, st.none() | st.integers(1, 3), st.just(None), st.none() | st.integers(1, 3))


@given(some_runs(12), some_runs(4, started=True), LIMITS)
def test_what_is_sent_never_collides_and_never_exceeds(
    queued: list[Candidate], running: list[Candidate], limits: Limits
) -> None:
    found = choose(queued, running, HOSTS, limits, NOW, UTC)
    assert sorted(d.candidate.run for d in found) == sorted(c.run for c in queued)
    sent = [d.candidate for d in found if d.reason is None]
    for one in sent:
        assert one.host in HOSTS
        assert not any(collide(one, other) for other in running)
        for place in one.places:
            there = sum(place in other.places for other in [*running, *sent])
            assert there <= (limits.of(place) or 99)
    assert not any(collide(one, other) for one, other in combinations(sent, 2))
    if (
        not running
        and limits == UNLIMITED
        and not any(d.reason and "until" in d.reason.message for d in found)
    ):
        able = [d for d in found if d.candidate.host in HOSTS]
        assert not able or able[0].reason is None  # somebody always goes on


@given(
    some_runs(6),
    LIMITS,
    st.lists(st.tuples(TASKS, st.sampled_from(HOSTS), st.integers(1, 90)), min_size=3, max_size=3),
)
@settings(max_examples=40)
def test_nobody_is_starved(queued: list[Candidate], limits: Limits, row: list[tuple[str, str, int]]) -> None:
    """Each minute new runs come, without end; whoever was there at first has had its turn all the same."""
    waiting = [Candidate(**{**vars(one), "not_before": None}) for one in queued if one.host in HOSTS]
    first = {one.run for one in waiting}
    running: list[tuple[datetime, Candidate]] = []
    now = NOW
    for minute in range(90 * 25):
        if not first & {one.run for one in waiting}:
            return
        now += MINUTE
        for number, (task, host, _) in enumerate(row):
            title = f"{task} job{minute % 7}-{number}"
            waiting.append(
                run(title, host, run=f"{minute}-{number}", created_at=now, repositories=("nas", "far"))
            )
        running = [(ends, one) for ends, one in running if ends > now]
        waiting = [one for one in waiting if one.run in first] + waiting[-12:]
        waiting = list({one.run: one for one in waiting}.values())
        decisions = choose(waiting, [one for _, one in running], HOSTS, limits, now, UTC)
        sent = {d.candidate.run for d in decisions if d.reason is None}
        for position, one in enumerate([one for one in waiting if one.run in sent]):
            length = row[position % len(row)][2] * MINUTE
            running.append((now + length, Candidate(**{**vars(one), "started_at": now})))
        waiting = [one for one in waiting if one.run not in sent]
    assert not first & {one.run for one in waiting}
