"""Snapshots of other tools: shown in groups, governed by a job once a person says so, and released again."""

from journeys.station import HOST, Station, Table
from journeys.test_retention import listed, save

OLD = ("--host", "web.old.example.org", "--tag", "weekly")


def save_elsewhere(station: Station, times: int, *more: str) -> set[str]:
    """What another tool saved years ago; the snapshots' ids."""
    before = listed(station)
    for number in range(times):
        station.bare("backup", *OLD, *more, "--time", f"2020-01-0{number + 1} 12:00:00", station.source)
    return listed(station) - before


def only_group(station: Station) -> Table:
    """The one group that there is."""
    [group] = station.ask("adopt", "nas").json
    found: Table = group
    return found


def test_adopted_snapshots_are_governed_and_go_only_by_an_approved_plan(station: Station) -> None:
    station.add_job(retention={"last": 2})
    old = save_elsewhere(station, 3)
    ours = save(station, 2)
    group = only_group(station)
    assert (group["host"], group["tags"], group["snapshots"]) == (OLD[1], [OLD[3]], 3)
    assert (group["job"], group["newest_at"]) == (None, "2020-01-03T12:00:00Z")

    [shown] = station.ask("adopt", "nas", group["id"], "--job", "docs", "--dry-run").json
    assert {one["id"] for one in shown["remove"]} == old == set(shown["adopted"])
    assert [one["id"] for one in shown["keep"]] == ours[::-1]
    assert shown["held"]["code"] == "approval_required"
    assert only_group(station)["job"] is None
    unasked = station.ask("adopt", "nas", group["id"], "--job", "docs", status=2).error
    assert unasked["code"] == "confirmation_required"

    done = station.ask("adopt", "nas", group["id"][:6], "--job", "docs", "--yes").json
    assert (done["id"], done["job"], done["adopted_by"]) == (group["id"], "docs", "cli")
    assert only_group(station) == done
    assert listed(station) == old | set(ours)
    shown_of_docs = {one["id"]: one["job"] for one in station.ask("snapshots", "docs").json}
    assert shown_of_docs == dict.fromkeys(old | set(ours), "docs")

    assert station.ask("forget", status=6).error["code"] == "approval_required"
    assert listed(station) == old | set(ours)
    [plan] = station.ask("forget", "--dry-run").json
    assert plan["id"] == shown["id"]
    assert set(station.ask("forget", "--approve", plan["id"]).step["snapshots_removed"]) == old
    assert listed(station) == set(ours)
    assert station.ask("adopt", "nas").json == []


def test_once_a_plan_was_approved_what_was_adopted_goes_like_the_rest(station: Station) -> None:
    station.add_job(retention={"last": 4})
    old = sorted(save_elsewhere(station, 3), key=[one["id"] for one in station.snapshots()].index)
    station.ask("adopt", "nas", only_group(station)["id"], "--job", "docs", "--yes")
    save(station, 2)
    [plan] = station.ask("forget", "--dry-run").json
    assert ([one["id"] for one in plan["remove"]], plan["held"]["code"]) == (old[:1], "approval_required")
    assert station.ask("forget", status=6).error["code"] == "approval_required"
    station.ask("forget", "--approve", plan["id"])
    save(station, 1)
    assert station.ask("forget").step["snapshots_removed"] == old[1:2], "nobody is asked twice"

    more = save_elsewhere(station, 2, "--tag", "more") - set(old)
    [group] = [one for one in station.ask("adopt", "nas").json if one["job"] is None]
    station.ask("adopt", "nas", group["id"], "--job", "docs", "--yes")
    [plan] = station.ask("forget", "--dry-run").json
    assert set(more) <= {one["id"] for one in plan["remove"]}
    assert plan["held"]["code"] == "approval_required", "what is adopted later is asked about once more"


def test_the_jobs_own_backups_neither_miss_nor_measure_what_was_adopted(station: Station) -> None:
    station.add_job(retention={"last": 3})
    station.fill(4, 50_000)
    old = save_elsewhere(station, 1)
    for path in sorted(station.source.iterdir())[1:]:
        path.unlink()
    station.ask("adopt", "nas", only_group(station)["id"], "--job", "docs", "--yes")
    ours = save(station, 4)
    [standing] = station.ask("status").json
    assert (standing["snapshots"], standing["state"]) == (5, "healthy")
    [plan] = station.ask("forget", "--dry-run").json
    assert {one["id"] for one in plan["remove"]} == {ours[0], *old}
    assert plan["unknown"] == []


def test_what_restics_dry_run_would_keep_stays_beside_what_it_cannot_see(station: Station) -> None:
    station.add_job(retention={"daily": 2})
    save_elsewhere(station, 1)
    station.ask("adopt", "nas", only_group(station)["id"], "--job", "docs", "--yes")
    ours = save(station, 3)
    [plan] = station.ask("forget", "--dry-run").json
    assert plan["held"] is None
    reasons = {one["id"]: [why["code"] for why in one["reasons"]] for one in plan["keep"]}
    assert reasons[ours[0]] == ["restic"]
    assert [one["id"] for one in plan["remove"]] == [ours[1]]
    assert station.ask("forget").step["snapshots_removed"] == [ours[1]]


def test_released_is_foreign_again_and_stays(station: Station) -> None:
    station.add_job(retention={"last": 1})
    old = save_elsewhere(station, 2)
    ours = save(station, 2)
    group = only_group(station)["id"]
    station.ask("adopt", "nas", group, "--job", "docs", "--yes")
    released = station.ask("adopt", "nas", group, "--release").json
    assert (released["job"], released["adopted_by"], released["snapshots"]) == (None, None, 2)
    assert station.ask("adopt", "nas", group, "--release", status=4).error["code"] == "group_unknown"
    assert station.ask("forget").step["snapshots_removed"] == ours[:1]
    assert listed(station) == old | {ours[1]}


def test_what_a_lost_record_made_is_of_its_own_set_again(station: Station) -> None:
    station.add_job(retention={"last": 1})
    ours = save(station, 3)
    station.state.rename(station.folder / "burnt")
    assert station.ask("forget", "--dry-run").json[0]["unknown"] == sorted(ours)
    group = only_group(station)
    assert (group["snapshots"], "hb:job=docs" in group["tags"]) == (3, True)
    [plan] = station.ask("adopt", "nas", group["id"], "--job", "docs", "--dry-run").json
    assert (plan["adopted"], plan["held"], len(plan["remove"])) == ([], None, 2)
    station.ask("adopt", "nas", group["id"], "--job", "docs", "--yes")
    assert set(station.ask("forget").step["snapshots_removed"]) == set(ours[:2])


def test_what_carries_former_keys_is_of_its_own_set_and_what_carries_others_is_not(station: Station) -> None:
    station.hosts = {HOST: {"title": "the station"}}
    station.add_job(retention={"last": 2})
    [first] = save(station, 1)
    station.hosts, station.settings["host"] = {"attic": {"title": "the station"}}, "attic"
    station.ask("rekey", "host", HOST, "attic", "--yes")
    station.jobs = {"papers": station.jobs["docs"]}
    station.ask("rekey", "job", "docs", "papers", "--yes")

    def save_tagged(job: str, host: str, day: str) -> str:
        before = listed(station)
        tags = f"hb:job={job},hb:set=files,hb:run=00000000-0000-7000-8000-0000000000{day}"
        station.bare(
            *("backup", "--host", host, "--tag", tags, "--time", f"2020-01-{day} 12:00:00", station.source)
        )
        return (listed(station) - before).pop()

    former = save_tagged("docs", HOST, "01")
    other = save_tagged("letters", "attic", "02")
    for group in station.ask("adopt", "nas").json:
        station.ask("adopt", "nas", group["id"], "--job", "papers", "--yes")
    [second] = save(station, 1)
    assert station.back_up().json["outcome"] == "success", "no backup misses what its listing cannot show"
    [standing] = station.ask("status").json
    assert (standing["job"], standing["snapshots"]) == ("papers", 5)
    [plan] = station.ask("forget", "--dry-run").json
    assert [one["id"] for one in plan["remove"]] == [first, other, former]
    assert plan["adopted"] == [other]
    done = station.ask("forget", "--approve", plan["id"]).step
    assert set(done["snapshots_removed"]) == {first, former, other}
    assert second in listed(station)
    assert station.ask("status").json[0]["snapshots"] == 2


def test_a_snapshot_that_another_deleted_holds_nothing_up(station: Station) -> None:
    station.add_job(retention={"last": 1})
    gone, *_ = save_elsewhere(station, 1)
    station.ask("adopt", "nas", only_group(station)["id"], "--job", "docs", "--yes")
    save(station, 2)
    station.bare("forget", gone)
    assert station.ask("forget").json["outcome"] == "success"
    assert station.ask("status").json[0]["snapshots"] == 1


def test_what_cannot_be_adopted_is_said(station: Station) -> None:
    station.add_repository("other")
    station.add_job()
    station.add_job("mail", repositories=["other"])
    save_elsewhere(station, 1)
    group = only_group(station)["id"]
    for words, status, code in (
        (("adopt", "nass"), 4, "repository_unknown"),
        (("adopt", "nas", group, "--job", "dics"), 4, "job_unknown"),
        (("adopt", "nas", group, "--job", "mail", "--yes"), 2, "repository_not_of_job"),
        (("adopt", "nas", "fff", "--job", "docs"), 4, "group_unknown"),
        (("adopt", "nas", group, "--release"), 4, "group_unknown"),
        (("adopt", "nas", group), 2, "usage"),
        (("adopt", "nas", "--job", "docs"), 2, "usage"),
        (("adopt", "nas", group, "--job", "docs", "--release"), 2, "usage"),
    ):
        assert station.ask(*words, status=status).error["code"] == code, words


def test_a_person_sees_the_plan_before_being_asked(station: Station) -> None:
    station.add_job(retention={"last": 1})
    save_elsewhere(station, 2)
    group = only_group(station)["id"]
    assert group in station.call("adopt", "nas").text
    done = station.call("adopt", "nas", group, "--job", "docs", "--yes").text
    assert done.index("will be removed") < done.index("the retention of docs applies to it")
    assert "docs (adopted by cli)" in station.call("adopt", "nas", COLUMNS="200").text


def test_what_was_adopted_of_others_is_never_a_jobs_latest(station: Station) -> None:
    station.fill(1, 5_000)
    station.back_up()
    [own] = listed(station)
    size = station.ask("status").json[0]["size_bytes"]
    dump = station.folder / "app.sql"
    dump.write_bytes(b"insert")
    station.bare("backup", "--host", "db1", str(dump))
    [theirs] = listed(station) - {own}
    station.ask("adopt", "nas", only_group(station)["id"], "--job", "docs", "--yes")

    assert station.ask("status").json[0]["size_bytes"] == size
    assert station.ask("verify").step["snapshot_id"] == own
    for named in ((), ("--snapshot", "latest"), ("--snapshot", "2099-01-01")):
        [run] = station.ask(
            "restore", "docs", "--target", str(station.folder / "back"), "--yes", *named
        ).json["runs"]
        assert run["steps"][0]["snapshot_id"] == own
    station.bare("forget", own)
    station.back_up(status=3)
    [newest] = listed(station) - {theirs}
    station.bare("forget", newest)
    error = station.ask("restore", "docs", "--target", str(station.folder / "away"), "--yes", status=4).error
    assert "db1" in error["message"]
    assert theirs[:8] in error["hint"]
