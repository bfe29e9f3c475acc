"""What people declared, in the database; what follows from it and the record: orders, standings, upkeep."""

from __future__ import annotations

import platform
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from highball.config.document import Document, build
from highball.config.repository import demand_right_to_delete
from highball.errors import NotAllowed, Unknown
from highball.hub.audit import COMMAND
from highball.hub.dispatch.assignments import Orders
from highball.hub.document import rows as stored_rows
from highball.hub.document import store as config
from highball.hub.document.store import load_document, read_host
from highball.hub.retention.planner import (
    Retainer,
    next_slice,
    order_removal,
    tags_of,
)
from highball.hub.runs.holds import Held
from highball.hub.runs.ingest import SetOf
from highball.hub.runs.record import Record
from highball.hub.status.health import list_standings
from highball.hub.storage.database import Database, open_database
from highball.hub.storage.schema import objects, revisions
from highball.model.event import Statistics
from highball.model.run import Action, Outcome
from highball.model.snapshot import Loss, Snapshot
from highball.model.standing import Health, HoldCause
from highball.protocol.tasks import (
    BackupTask,
    CheckTask,
    PlainTask,
    RestoreTask,
    VerifyTask,
)
from highball.retention import Retention, rules
from record.stories import OF, START, Story, back_up, check, measure, snapshot

BASIC: dict[str, Any] = {
    "settings": {"timezone": "Europe/Vienna"},
    "repositories": {
        "nas": {"url": "/mnt/nas", "password": {"env": "X"}},
        "far": {"url": "/mnt/far", "password": {"env": "X"}},
    },
    "jobs": {"docs": {"sources": ["/docs"], "repositories": ["nas"], "schedule": "daily"}},
}


def document(**changes: Any) -> Document:
    return build(BASIC | changes)


def stored(database: Database) -> dict[tuple[str, str], tuple[int, bool]]:
    with database.read() as connection:
        return {
            (row.kind, row.key): (row.revision, row.deleted_at is not None)
            for row in connection.execute(sa.select(objects))
        }


def history(database: Database, key: str) -> list[tuple[int, bool]]:
    with database.read() as connection:
        asked = sa.select(revisions).where(revisions.c.key == key).order_by(revisions.c.revision)
        return [(row.revision, row.spec is None) for row in connection.execute(asked)]


# --- objects ----------------------------------------------------------------------------------------


def test_an_object_is_created_changed_deleted_and_restored_each_a_revision(database: Database) -> None:
    made = load_document(database, document(), now=START)
    assert {(one.kind, one.key, one.what) for one in made} == {
        ("settings", "settings", "created"),
        ("repository", "nas", "created"),
        ("repository", "far", "created"),
        ("job", "docs", "created"),
    }
    assert load_document(database, document(), now=START) == []

    other = document(jobs={"docs": {**BASIC["jobs"]["docs"], "title": "Documents"}})
    changed = load_document(database, other, now=START + timedelta(1))
    assert [(one.key, one.what) for one in changed] == [("docs", "changed")]
    gone = load_document(database, document(jobs={}), now=START + timedelta(2))
    assert [(one.key, one.what) for one in gone] == [("docs", "deleted")]
    assert stored(database)["job", "docs"] == (3, True)
    assert load_document(database, document(jobs={}), now=START) == []
    back = load_document(database, document(), now=START + timedelta(3))
    assert [(one.key, one.what) for one in back] == [("docs", "restored")]
    assert stored(database)["job", "docs"] == (4, False)
    assert history(database, "docs") == [(1, False), (2, False), (3, True), (4, False)]
    assert history(database, "nas") == [(1, False)]


def test_a_failing_change_leaves_nothing_half_done(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_document(database, document(), now=START)
    before = stored(database)
    store = stored_rows.store

    def fail_at_the_end(*told: Any) -> None:
        store(*told)
        raise ValueError("power cut")

    monkeypatch.setattr(config, "store", fail_at_the_end)
    with pytest.raises(ValueError, match="power cut"):
        load_document(database, build({"repositories": {"newer": BASIC["repositories"]["nas"]}}), now=START)
    assert stored(database) == before
    assert history(database, "new") == []


def test_what_another_way_declared_is_not_deleted_by_a_file(database: Database) -> None:
    load_document(database, document(), now=START)
    with database.write() as connection:
        connection.execute(objects.update().where(objects.c.key == "far").values(origin="web"))
    left = document(repositories={"nas": BASIC["repositories"]["nas"]})
    assert load_document(database, left, now=START) == []


# --- the host's key ---------------------------------------------------------------------------------


def test_the_hosts_key_is_made_once_and_outlives_a_new_name(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "node", lambda: "Büro-PC.example.org")
    first = read_host(database, document())
    assert first
    monkeypatch.setattr(platform, "node", lambda: "other")
    assert read_host(database, document()) == first
    assert read_host(database, document(settings={"host": "named"})) == "named"


def test_a_machine_without_a_name_has_a_key(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "")
    assert read_host(database, document()) == "this-machine"


def test_two_commands_at_once_agree_on_the_hosts_key(
    database_place: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_database(database_place)
    barrier = threading.Barrier(3)

    def node() -> str:
        barrier.wait(120)  # each has looked, and none has written yet
        return "m"

    monkeypatch.setattr(platform, "node", node)
    found: list[object] = []

    def reading() -> None:
        try:
            found.append(read_host(open_database(database_place), document()))
        except BaseException as error:
            found.append(error)

    threads = [threading.Thread(target=reading) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["m", "m", "m"]


# --- orders -----------------------------------------------------------------------------------------


def test_an_order_carries_all_that_a_run_needs_and_nothing_else(record: Record) -> None:
    made = back_up(record, 1, 50)
    measure(2).tell(Statistics, repository="nas", repository_id="f" * 64).into(record)
    orders = Orders(document(), record, "here")
    backup = orders.back_up("docs", START)
    assert list(backup.repositories) == ["nas"]
    assert backup.identities == {"nas": "f" * 64}
    assert (backup.host, backup.job, backup.timezone) == ("here", "docs", "Europe/Vienna")
    assert backup.wait == timedelta(hours=1)
    assert isinstance(backup.task, BackupTask)
    assert backup.task.expected["nas"].parent == made
    assert backup.marker == f"docs_{backup.run}"
    assert orders.back_up("docs", START).run != backup.run
    with pytest.raises(Unknown):
        orders.back_up("nothing", START)

    upkeep = orders.maintain(PlainTask(type="stats", repository="far"), "far", START, wait=timedelta(0))
    assert (list(upkeep.repositories), upkeep.identities, upkeep.wait) == (["far"], {}, timedelta(0))
    restore = RestoreTask(repository="nas", snapshot_id=made, paths=(b"/\xff",), overwrite="never")
    back = Orders(document(), record, "here").bring_back(restore, "nas", START, job="docs")
    assert (back.kind.value, back.timezone) == ("restore", "Europe/Vienna")
    again = type(back).model_validate_json(back.model_dump_json())
    assert again.model_dump() == back.model_dump()


def test_not_waiting_at_all_is_not_the_same_as_saying_nothing(record: Record) -> None:
    assert Orders(document(), record, "here").back_up("docs", START, wait=timedelta(0)).wait == timedelta(0)


def test_a_schedules_own_zone_comes_first(record: Record) -> None:
    job = {**BASIC["jobs"]["docs"], "schedule": {"cron": "0 3 * * *", "timezone": "Asia/Tokyo"}}
    assert (
        Orders(document(jobs={"docs": job}), record, "here").back_up("docs", START).timezone == "Asia/Tokyo"
    )


# --- standings --------------------------------------------------------------------------------------


def standing(record: Record, days: float = 0.1) -> Any:
    (one,) = list_standings(document(), record._database, "here", START + timedelta(days=days), ["docs"])
    return one


def test_a_job_without_a_backup_never_succeeded(record: Record) -> None:
    one = standing(record)
    assert (one.state, one.snapshots, one.age_seconds, one.last_outcome) == (Health.NEVER, 0, None, None)
    Story(1).step(outcome=Outcome.FAILURE).into(record)
    assert standing(record).state is Health.NEVER


def test_a_job_is_healthy_fails_and_is_overdue(record: Record) -> None:
    back_up(record, 1, 50)
    one = standing(record)
    assert (one.state, one.snapshots, one.size_bytes, one.last_outcome) == (
        Health.HEALTHY,
        1,
        50,
        Outcome.SUCCESS,
    )
    assert one.age_seconds == int((START + timedelta(days=0.1) - one.last_success_at).total_seconds())
    Story(2).step(outcome=Outcome.FAILURE).into(record)
    assert standing(record).state is Health.FAILED
    assert standing(record, 5).state is Health.OVERDUE
    check(record, 3, "1/20", Outcome.SUCCESS)
    task = VerifyTask(repository="nas", snapshot_id="f")
    Story(4, task).step(Action.VERIFY).into(record)
    one = standing(record, 1)
    assert one.last_check_at is not None
    assert one.last_restore_proof_at is not None
    assert one.repository_bytes is None


def test_a_backup_of_the_future_has_no_age(record: Record) -> None:
    back_up(record, 30, 50)
    assert (standing(record).age_seconds, standing(record).snapshots) == (None, 1)


def test_failures_in_a_row_are_counted_from_the_last_good_backup(record: Record) -> None:
    assert standing(record, 1).failures == 0
    for number in (1, 2):
        Story(number).step(outcome=Outcome.FAILURE).into(record)
    assert standing(record, 1).failures == 2, "also where there was never a good one"
    back_up(record, 3, 50)
    assert standing(record, 1).failures == 0
    Story(4).step(outcome=Outcome.FAILURE).into(record)
    Story(5).step(outcome=Outcome.CANCELLED).into(record)
    assert standing(record, 1).failures == 1


# --- checks -----------------------------------------------------------------------------------------


def slice_of(record: Record, share: float = 5) -> str | None:
    repository = document().repositories["nas"].model_copy(update={"check_share": share})
    return next_slice(record, "nas", repository)


def test_slices_move_on_after_each_success_and_begin_anew(record: Record) -> None:
    assert slice_of(record, 25) == "1/4"
    for number, (done, follows) in enumerate([("1/4", "2/4"), ("2/4", "3/4"), ("4/4", "1/4")], 1):
        check(record, number, done, Outcome.SUCCESS)
        assert slice_of(record, 25) == follows
    check(record, 10, "1/4", Outcome.FAILURE, "repository_damaged")
    assert slice_of(record, 25) == "1/4", "a failure moves nothing on"


def test_what_was_done_in_a_repository_that_was_given_up_was_not_done_in_the_one_in_its_place(
    record: Record,
) -> None:
    def met(number: int) -> Loss:
        measure(number).tell(Statistics, repository="nas", repository_id=f"{number:02x}" * 32).end().into(
            record
        )
        return record.tell_loss("nas")

    assert met(1).met_at is not None
    check(record, 2, "2/4", Outcome.SUCCESS)
    record.give_up("nas", COMMAND, START + timedelta(days=1))
    assert slice_of(record, 25) == "1/4"
    assert record.find_last(Action.CHECK, "nas") is None
    assert record.tell_loss("nas").met_at is None
    assert met(3).met_at is not None


def test_slices_begin_anew_when_the_share_changes(record: Record) -> None:
    check(record, 1, "3/4", Outcome.SUCCESS)
    assert slice_of(record, 25) == "4/4"
    assert slice_of(record, 5) == "1/20"
    assert slice_of(record, 100) == "1/1"
    assert slice_of(record, 0) is None
    assert slice_of(record, 0.5) == "1/200"


def test_a_part_of_another_size_that_somebody_ordered_leaves_the_turn_alone(record: Record) -> None:
    check(record, 1, "3/20", Outcome.SUCCESS)
    repository = document().repositories["nas"]
    assert next_slice(record, "nas", repository, 50) == "1/2"
    check(record, 2, "1/2", Outcome.SUCCESS)
    assert next_slice(record, "nas", repository, 50) == "2/2"
    assert slice_of(record) == "4/20"
    ordered = [(share, next_slice(record, "nas", repository, share)) for share in (0, 0.001, 100)]
    assert ordered == [(0, None), (0.001, "1/256"), (100, "1/1")]


# --- retention --------------------------------------------------------------------------------------


class Answers:
    """A repository that answers with what the test says."""

    def __init__(self, listing: list[Snapshot], removes: set[str]) -> None:
        self.listing = listing
        self.removes = removes
        self.asked: list[Any] = []

    def list_snapshots(self, **told: Any) -> list[Snapshot]:
        self.asked.append(told)
        return self.listing

    def plan_forget(self, hosts: Any, tags: Any, retention: Any) -> set[str]:
        self.asked.append((tuple(hosts), tuple(tags), rules(retention)))
        return self.removes


def two_days(record: Record, **facts: Any) -> tuple[list[Snapshot], str, str]:
    old = back_up(record, 1, 1000)
    new = back_up(record, 2, 1000, before=[old], **facts)
    listing = [snapshot(one, at=START + timedelta(hours=n)) for n, one in enumerate([old, new], 1)]
    return listing, old, new


def retainer(record: Record) -> Retainer:
    return Retainer(document(jobs={"docs": {**BASIC["jobs"]["docs"], "retention": {"last": 1}}}), record)


def test_a_plan_removes_what_the_policy_does_not_keep(record: Record) -> None:
    listing, old, new = two_days(record)
    asked = Answers(listing, {old})
    plan = retainer(record).plan(OF, asked, START + timedelta(days=1))
    assert plan.ids_to_remove == (old,)
    assert asked.asked[0] == {"hosts": ("here",), "tags": tags_of(OF)}
    assert asked.asked[1] == (("here",), ("hb:job=docs,hb:set=files",), {"last": 1})
    removal = order_removal(plan)
    assert (removal.remove, removal.stay, removal.tags) == ((old,), (new,), tags_of(OF))


def test_a_person_removes_one_snapshot_whatever_the_policy_keeps(record: Record) -> None:
    ids: list[str] = []
    for number in range(1, 4):
        ids.append(back_up(record, number, 1000, before=ids))
    listing = [snapshot(one, at=START + timedelta(hours=n)) for n, one in enumerate(ids, 1)]
    asked, now = Answers(listing, set()), START + timedelta(days=1)
    keeps_all = Retainer(document(), record)
    [removal] = keeps_all.order_one("nas", ids[0], asked, now).removals
    assert (removal.remove, set(removal.stay)) == ((ids[0],), {ids[1], ids[2]})
    with pytest.raises(NotAllowed, match="newest") as newest:
        keeps_all.order_one("nas", ids[2], asked, now)
    assert newest.value.code == "snapshot_newest"
    pins = {"audit": {"repository": "nas", "snapshot": ids[1], "reason": "the auditors want it"}}
    with pytest.raises(NotAllowed, match="pinned"):
        Retainer(document(pins=pins), record).order_one("nas", ids[1], asked, now)
    with pytest.raises(Unknown):
        keeps_all.order_one("nas", "f" * 64, asked, now)
    with pytest.raises(Unknown, match="any more"):
        keeps_all.order_one("nas", ids[0], Answers(listing[1:], set()), now)
    check(record, 9, None, Outcome.FAILURE, "repository_damaged")
    with pytest.raises(NotAllowed, match="damage"):
        keeps_all.order_one("nas", ids[0], asked, now)


def test_what_is_foreseen_by_the_record_is_what_the_plan_of_the_repository_says(record: Record) -> None:
    listing, old, new = two_days(record)
    verify = Story(3, VerifyTask(repository="nas", snapshot_id=old))
    verify.step(Action.VERIFY, snapshot_id=old).into(record)
    record.holds.settle(
        Held("nas", "docs", "here", "files"), HoldCause.CHECK_FAILED, "the last check failed", START
    )
    retains, now = retainer(record), START + timedelta(days=1)
    plan = retains.plan(OF, Answers(listing, {old}), now)
    foreseen = retains.foresee(OF, Retention(last=1), now)
    assert foreseen == plan
    assert [one.id for one in foreseen.keep] == [new, old], "the last verified stays, too"
    assert retains.foresee(OF, Retention(last=2), now).remove == ()


def test_of_plans_that_were_shown_no_other_is_carried_out(record: Record) -> None:
    listing, old, _ = two_days(record)
    retains, now = retainer(record), START + timedelta(days=1)
    plan = retains.plan(OF, Answers(listing, {old}), now)
    assert [one.remove for one in retains.order("nas", [plan], now, shown=[plan.id]).removals] == [(old,)]
    task = retains.order("nas", [plan], now, shown=["what-stood-there-before"])
    assert (task.removals, [one.code for one in task.held]) == ((), ["plan_changed"])


def test_of_the_hubs_own_copies_seven_are_kept_whatever_is_declared_for_jobs(record: Record) -> None:
    made = [f"{number:064x}" for number in range(1, 10)]
    listing: list[Snapshot] = []
    for number, one in enumerate(made, 1):
        shown = snapshot(one, at=START + timedelta(hours=number))
        listing.append(shown.model_copy(update={"job": "hub"}))
        Story(number, job="hub").step(snapshot_id=one, bytes_processed=9, shows=listing).into(record)
    [of] = record.list_sets()
    asked = Answers(listing, set(made[:2]))
    plan = retainer(record).plan(of, asked, START + timedelta(days=1))
    assert plan.held is None
    assert set(plan.ids_to_remove) == set(made[:2])
    assert asked.asked[1] == (("here",), ("hb:job=hub,hb:set=files",), {"last": 7})


def test_an_empty_repository_asks_restic_nothing(record: Record) -> None:
    asked = Answers([], set())
    plan = retainer(record).plan(OF, asked, START)
    assert plan.ids_to_remove == ()
    assert len(asked.asked) == 1


@pytest.mark.parametrize(
    ("outcome", "code", "stands"),
    [
        (Outcome.FAILURE, "repository_damaged", True),
        (Outcome.FAILURE, "unreachable", False),
        (Outcome.SUCCESS, None, False),
    ],
)
def test_retention_stands_still_after_a_check_that_found_damage(
    record: Record, outcome: Outcome, code: str | None, stands: bool
) -> None:
    listing, old, _ = two_days(record)
    check(record, 3, None, outcome, code)
    plan = retainer(record).plan(OF, Answers(listing, {old}), START + timedelta(days=1))
    assert (plan.held is not None) is stands


def test_a_check_that_could_not_look_does_not_lift_what_damage_stopped(record: Record) -> None:
    listing, old, _ = two_days(record)
    check(record, 3, None, Outcome.FAILURE, "repository_damaged")
    check(record, 4, None, Outcome.FAILURE, "unreachable")
    plan = retainer(record).plan(OF, Answers(listing, {old}), START + timedelta(days=1))
    assert plan.held, "only a check that succeeds shows that the data is there"


def test_retention_stands_still_while_the_newest_shrank(record: Record) -> None:
    listing, old, _ = two_days(record, warnings=["shrank"])
    later = START + timedelta(days=1)
    assert retainer(record).plan(OF, Answers(listing, {old}), later).held
    record.holds.accept_run(Story(2).run, COMMAND, later)
    assert not retainer(record).plan(OF, Answers(listing, {old}), later).held


def test_deleting_from_an_append_only_repository_needs_an_admin() -> None:
    nas = {**BASIC["repositories"]["nas"], "append_only": True}
    found = document(repositories={"nas": nas, "far": BASIC["repositories"]["far"]}).repositories
    demand_right_to_delete("far", found["far"])
    with pytest.raises(NotAllowed, match="append-only") as raised:
        demand_right_to_delete("nas", found["nas"])
    assert raised.value.code == "admin_creds_required"
    admin = {**nas, "admin": {"url": "/mnt/nas"}}
    with_admin = document(repositories={"nas": admin, "far": BASIC["repositories"]["far"]}).repositories
    demand_right_to_delete("nas", with_admin["nas"])


def test_a_set_is_named_whole() -> None:
    assert tags_of(SetOf("nas", "h", "j", "s")) == ("hb:job=j,hb:set=s",)
    assert CheckTask(repository="nas").slice is None
