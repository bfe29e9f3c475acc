"""The real restic is asked whether it would keep the same: thousands of sets and policies, by dry runs."""

from __future__ import annotations

import json
import random
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from highball.model.snapshot import Snapshot
from highball.retention import (
    FreshLook,
    OnRecord,
    PlannedSet,
    Retention,
    decide,
    make_plan,
    rules,
)
from testbed.restic import ResticBinary
from testbed.written import WrittenRepository

from .samples import random_policy, random_times


def dry_run(
    restic: ResticBinary, repository: WrittenRepository, policy: Retention, *selection: str, zone: str = "UTC"
) -> list[dict[str, Any]]:
    """The groups that restic's own dry run tells of."""
    password = repository.path.with_suffix(".password")
    password.write_text(repository.password)
    keep = [
        text
        for name, value in rules(policy).items()
        for text in (f"--keep-{name.replace('_', '-')}", str(value))
    ]
    done = subprocess.run(
        [str(restic.path), "forget", "--dry-run", "--json", "--no-lock", "--no-cache", *selection, *keep],
        env={"RESTIC_REPOSITORY": str(repository.path), "RESTIC_PASSWORD_FILE": str(password), "TZ": zone},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    groups: list[dict[str, Any]] = json.loads(done.stdout)
    return groups


def ids_of(snapshots: list[dict[str, Any]] | None) -> set[str]:
    """The ids in one list of restic's answer, which is null where it is empty."""
    return {snapshot["id"] for snapshot in snapshots or []}


# --- many sets at once ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cases:
    seed: int
    now: datetime
    repository: WrittenRepository
    sets: dict[str, list[Snapshot]]
    policies: list[Retention]


@pytest.fixture(scope="module", params=["the same every time", "new every time"])
def cases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> _Cases:
    """One repository with hundreds of sets, each with a tag of its own, and policies that judge them all."""
    fixed = request.param == "the same every time"
    seed = 20260504 if fixed else random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    repository = WrittenRepository(tmp_path_factory.mktemp("restic") / "repository", seed=seed)
    now = datetime.now(UTC)
    sets: dict[str, list[Snapshot]] = {}
    for number in range(60 if fixed else 160):
        tag = f"set-{number}"
        sets[tag] = [
            Snapshot(id=repository.add(at, tags=[tag]), time=at, host="host", repository="nas")
            for at in random_times(rng, now)
        ]
    policies = [random_policy(rng) for _ in range(6 if fixed else 9)]
    return _Cases(seed, now, repository, sets, policies)


def test_restic_keeps_the_same_for_the_same_reasons(restic: ResticBinary, cases: _Cases) -> None:
    judged = 0
    for policy in cases.policies:
        for group in dry_run(restic, cases.repository, policy, "--group-by", "tags"):
            (tag,) = group["tags"]
            judged += 1
            told = f"seed {cases.seed}, {tag}, {rules(policy)}"
            if restic.version >= (0, 16):
                _assert_same(group, policy, cases.sets[tag], cases.now, told)
            else:
                kept = {v.id for v in decide(policy, cases.sets[tag], now=cases.now) if v.keep}
                assert ids_of(group["keep"]) <= kept, told
    print(f"{judged} cases")
    assert judged == len(cases.policies) * len(cases.sets)


def _assert_same(
    group: dict[str, Any], policy: Retention, snapshots: list[Snapshot], now: datetime, told: str
) -> None:
    verdicts = decide(policy, snapshots, now=now)
    kept = {verdict.id for verdict in verdicts if verdict.keep}
    by_a_rule = {v.id for v in verdicts if v.keep and v.reasons[0].code != "same_time"}
    by_restic = ids_of(group["keep"])
    assert by_restic <= kept, told
    # Which of several of the very same time restic keeps is chance, and how many is not.
    assert len(by_restic) == len(by_a_rule), told
    times = [snapshot.time for snapshot in snapshots]
    if len(times) == len(set(times)):
        assert by_restic == kept, told
    ours: defaultdict[datetime, set[tuple[str, bool]]] = defaultdict(set)
    for verdict in verdicts:
        for reason in verdict.reasons:
            if reason.code != "same_time":
                ours[verdict.time].add((reason.code, reason.message.endswith("(oldest)")))
    assert ours == _restics_reasons(group, snapshots), told


def _restics_reasons(
    group: dict[str, Any], snapshots: list[Snapshot]
) -> dict[datetime, set[tuple[str, bool]]]:
    """Its reasons in our words, by time: rule, and whether only for being the oldest."""
    times = {snapshot.id: snapshot.time for snapshot in snapshots}
    reasons: defaultdict[datetime, set[tuple[str, bool]]] = defaultdict(set)
    # Before 0.17 a reason does not name its snapshot; they have the order of what is kept.
    for kept, reason in zip(group["keep"], group["reasons"], strict=True):
        for match in reason["matches"]:
            words = match.removeprefix("oldest ").split()
            rule = f"within_{words[0]}" if words[1] == "within" else words[0]
            reasons[times[kept["id"]]].add((rule, match.startswith("oldest ")))
    return reasons


# --- one set, as maintenance asks ----------------------------------------------------------------


def test_a_plan_agrees_with_restics_dry_run_of_its_set_among_others(
    restic: ResticBinary, tmp_path: Path
) -> None:
    repository = WrittenRepository(tmp_path / "repository")
    start = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    ours: list[Snapshot] = []
    for number in range(40):
        at = start + timedelta(hours=7 * number)
        for host, of_set in (("web", "files"), ("web", "database"), ("mail", "files")):
            tags = ["hb:job=documents", f"hb:set={of_set}", f"hb:run={number}"]
            snapshot_id = repository.add(at, host=host, tags=tags)
            if (host, of_set) == ("web", "files"):
                ours.append(Snapshot(id=snapshot_id, time=at, host=host, repository="nas"))
    policy = Retention(last=3, daily=5, monthly=6)
    selection = ("--group-by", "", "--host", "web", "--tag", "hb:job=documents,hb:set=files")
    (group,) = dry_run(restic, repository, policy, *selection)
    look = FreshLook(
        now=datetime(2026, 2, 1, tzinfo=UTC), listing=ours, judge_removes=ids_of(group["remove"])
    )
    record = OnRecord(governed=[snapshot.id for snapshot in ours])
    plan = make_plan(PlannedSet("nas", "web", "documents", "files"), policy, look, record)
    assert [reason.code for reason in plan.messages] == ["approval_required"]
    assert set(plan.ids_to_remove) <= ids_of(group["remove"])
    assert len(ids_of(group["keep"])) in (len(plan.keep), len(plan.keep) - 1), "0.14 lets the oldest go"


def test_a_dry_run_agrees_only_where_it_is_made_in_utc(restic: ResticBinary, tmp_path: Path) -> None:
    """Where its own zone has the recorded offset, restic goes back across the change of summer time."""
    repository = WrittenRepository(tmp_path / "repository")
    summer, winter = timezone(timedelta(hours=2)), timezone(timedelta(hours=1))
    times = [datetime(2024, 11, 10, 12, tzinfo=winter), datetime(2024, 10, 10, 12, 30, tzinfo=summer)]
    snapshots = [Snapshot(id=repository.add(at), time=at, host="host", repository="nas") for at in times]
    policy = Retention(within="1m")
    kept = {v.id for v in decide(policy, snapshots, now=datetime(2026, 1, 1, tzinfo=UTC)) if v.keep}
    berlin = str(files("tzdata").joinpath("zoneinfo/Europe/Berlin"))
    (in_utc,) = dry_run(restic, repository, policy)
    (in_berlin,) = dry_run(restic, repository, policy, zone=berlin)
    assert ids_of(in_utc["keep"]) == kept == {snapshots[0].id}
    assert len(ids_of(in_berlin["keep"])) == 2
