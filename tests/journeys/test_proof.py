"""Never green without proof: each way in which a backup can be less than it seems, and the exit status of each."""

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from journeys.station import Answer, Station


def codes(step: dict[str, object]) -> list[str]:
    """The codes of a step's warnings."""
    warnings = step["warnings"]
    assert isinstance(warnings, list)
    return [warning["code"] for warning in warnings]


def without_right_to_read_all() -> tuple[str, ...]:
    """A program that takes the right to read every file from root; nothing where the tests have none."""
    if os.geteuid() != 0:
        return ()
    rights = "-dac_override,-dac_read_search"
    return ("setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}", "--")


# --- sources -------------------------------------------------------------------------------------


def test_a_missing_source_is_a_warning_and_the_others_are_saved(station: Station) -> None:
    station.add_job(sources=[str(station.source), str(station.folder / "not mounted")])
    step = station.back_up(status=3).step
    assert (step["outcome"], codes(step)) == ("warning", ["source_missing"])
    assert step["warnings"][0]["path"] == str(station.folder / "not mounted")
    assert [snapshot["paths"] for snapshot in station.snapshots()] == [[str(station.source)]]
    assert station.ask("status").json[0]["state"] == "never"


@pytest.mark.needs("setpriv")
def test_a_file_that_cannot_be_read_is_a_warning_that_names_it(every_station: Station) -> None:
    station = every_station
    station.prefix = without_right_to_read_all()
    for name in ("secret one", "another\none"):
        (station.source / name).write_text("nobody reads me")
        (station.source / name).chmod(0)
    step = station.back_up(status=3).step
    assert step["outcome"] == "warning"
    assert codes(step) == ["file_unreadable"] * 2
    assert {w["path"] for w in step["warnings"]} == {
        str(station.source / "secret one"),
        str(station.source / "another\none"),
    }
    assert all("permission denied" in w["message"] for w in step["warnings"])
    assert step["snapshot_id"] is not None


@pytest.mark.needs("setpriv")
def test_what_is_said_of_a_file_that_can_never_be_read_helps(station: Station) -> None:
    station.prefix = without_right_to_read_all()
    (station.source / "in [here]").mkdir()
    (station.source / "in [here]" / "*").write_text("nobody reads me")
    (station.source / "in [here]" / "*").chmod(0)
    message = station.back_up(status=3).step["reason"]["message"]
    assert "make it readable, or exclude it" in message
    [pattern] = json.loads(message.partition("exclude = ")[2])
    station.add_job(exclude=[pattern])
    station.back_up()


@pytest.mark.needs("setpriv")
def test_a_folder_that_cannot_be_entered_is_a_warning(station: Station) -> None:
    station.prefix = without_right_to_read_all()
    station.fill(folder=station.source / "inner")
    (station.source / "inner").chmod(0)
    try:
        assert set(codes(station.back_up(status=3).step)) == {"file_unreadable"}
    finally:
        (station.source / "inner").chmod(0o700)


@pytest.mark.needs("setpriv")
def test_the_only_source_that_cannot_be_read_is_a_failure(station: Station) -> None:
    station.prefix = without_right_to_read_all()
    station.source.chmod(0)
    try:
        step = station.back_up(status=1).step
    finally:
        station.source.chmod(0o700)
    assert step["reason"]["code"] == "no_source"
    assert station.snapshots() == []


def test_a_source_that_became_empty_is_a_failure_and_says_so(station: Station) -> None:
    station.back_up()
    shutil.rmtree(station.source)
    station.source.mkdir()
    step = station.back_up(status=1).step
    assert step["reason"]["code"] == "no_source"
    assert "empty folder" in step["reason"]["message"]
    assert len(station.snapshots()) == 1
    assert station.ask("status").json[0]["state"] == "failed"


def test_a_source_that_goes_away_while_it_is_saved_is_a_warning(each_station: Station) -> None:
    station = each_station
    program = station.folder / "restic"
    program.write_text(
        f'#!/bin/sh\ncase " $* " in *" backup "*) rm {station.source}/*;; esac\nexec "{station.restic.path}" "$@"\n'
    )
    program.chmod(0o755)
    station.settings["restic"] = str(program)
    step = station.back_up(status=3).step
    assert (step["outcome"], codes(step)) == ("warning", ["source_empty"])
    assert "after the backup, " in step["reason"]["message"]


def test_an_empty_source_that_may_be_empty_is_fine(station: Station) -> None:
    empty = station.folder / "empty"
    empty.mkdir()
    station.add_job(sources=[str(station.source), {"path": str(empty), "allow_empty": True}])
    station.back_up()


@pytest.mark.parametrize(
    ("job", "made", "code"),
    [
        ({"exclude": ["*"]}, ["file"], "source_left_out"),
        ({"exclude_larger_than": "1"}, ["file"], "source_left_out"),
        ({"exclude_if_present": [".nobackup"]}, [".nobackup", "file"], "source_left_out"),
        ({}, ["disk/"], "source_hollow"),
    ],
    ids=["excluded", "too large", "marked", "only folders"],
)
def test_a_snapshot_of_nothing_lights_nothing(
    station: Station, job: dict[str, Any], made: list[str], code: str
) -> None:
    source = station.folder / "nothing"
    for name in made:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).mkdir() if name.endswith("/") else (source / name).write_text("data")
    station.add_job(sources=[str(source)], **job)
    assert codes(station.back_up("docs", "--dry-run", status=3).step) == [code]
    step = station.back_up(status=3).step
    assert (codes(step), step["reason"]["code"]) == ([code], code)
    assert step["warnings"][0]["path"] == str(source)
    assert station.ask("verify", status=3).step["reason"]["code"] == "nothing_to_compare"
    [standing] = station.ask("status").json
    assert (standing["state"], standing["last_restore_proof_at"]) == ("never", None)


def test_one_source_of_several_that_is_left_out_is_a_warning_that_names_it(station: Station) -> None:
    other = station.folder / "other"
    other.mkdir()
    (other / "only.tmp").write_text("data")
    station.add_job(sources=[str(station.source), str(other)], exclude=["*.tmp"])
    step = station.back_up(status=3).step
    assert [(w["code"], w["path"]) for w in step["warnings"]] == [("source_left_out", str(other))]
    assert station.snapshots()[0]["paths"] == sorted([str(other), str(station.source)])


def test_a_source_of_links_and_one_that_may_hold_nothing_are_fine(station: Station) -> None:
    links, empty = station.folder / "links", station.folder / "empty"
    links.mkdir()
    (links / "link").symlink_to("elsewhere")
    (empty / "folder").mkdir(parents=True)
    station.add_job(sources=[str(links), {"path": str(empty), "allow_empty": True}])
    station.back_up()


def test_a_file_that_is_a_source_and_too_large_is_told_where_restic_leaves_it_out(
    each_station: Station,
) -> None:
    station = each_station
    station.fill(1, 10, folder=station.folder / "small")
    large = station.source / "file-0000"
    station.add_job(sources=[str(large), str(station.folder / "small")], exclude_larger_than="100")
    is_old = station.restic.version < (0, 19)
    step = station.back_up(status=3 if is_old else 0).step
    assert codes(step) == (["source_left_out"] if is_old else [])
    listed = station.ask("ls", step["snapshot_id"]).json
    assert (str(large) in {node["path"] for node in listed}) != is_old


def test_a_backup_in_which_restic_counts_no_file_is_a_warning(station: Station) -> None:
    pretend(station, f'[ "$command" = backup ] && exec "{station.restic.path}" "$@" "--exclude=*"')
    assert codes(station.back_up(status=3).step) == ["nothing_saved"]


def test_a_link_in_place_of_a_source_is_not_followed_silently(station: Station) -> None:
    link = station.folder / "link"
    link.symlink_to(station.source)
    station.add_job(sources=[str(link)])
    assert station.back_up(status=1).step["reason"]["code"] == "no_source"
    station.add_job(sources=[str(link), str(station.source / "file-0000")])
    assert codes(station.back_up(status=3).step) == ["source_is_link"]
    station.add_job(sources=[{"path": str(link), "follow": True}])
    assert station.back_up().step["bytes_processed"] == 3000


def test_all_sources_missing_is_a_failure_without_a_snapshot(station: Station) -> None:
    station.add_job(sources=[str(station.nowhere / "one"), str(station.nowhere / "two")])
    step = station.back_up(status=1).step
    assert (step["outcome"], step["reason"]["code"]) == ("failure", "no_source")
    assert str(station.nowhere / "one") in step["reason"]["message"]
    assert station.snapshots() == []


# --- what the repository shows -------------------------------------------------------------------


def test_a_snapshot_that_shrank_is_a_warning_until_a_person_accepts_it(station: Station) -> None:
    station.fill(4, 50_000)
    station.back_up()
    for name in list(station.source.iterdir())[1:]:
        name.unlink()
    shrunken = station.back_up(status=3)
    assert codes(shrunken.step) == ["shrank"]
    assert "highball accept" in shrunken.step["reason"]["message"]
    run = shrunken.json["runs"][0]["id"]
    assert codes(station.back_up(status=3).step) == ["shrank"]
    accepted = station.ask("accept", run, "--reason", "moved away").json
    assert (accepted["accepted"], accepted["holds"][0]["cause"]) == (1, "newest_shrank")
    station.back_up()


def test_accepting_a_run_that_did_not_shrink_changes_nothing(station: Station) -> None:
    run = station.back_up().json["runs"][0]["id"]
    assert station.ask("accept", run, status=2).error["code"] == "nothing_to_accept"
    assert station.ask("accept", "ffff", status=4).error["code"] == "run_unknown"


def test_a_snapshot_deleted_by_others_is_a_warning_once(station: Station) -> None:
    station.back_up()
    gone = station.back_up().step["snapshot_id"]
    station.bare("forget", gone)
    step = station.back_up(status=3).step
    assert codes(step) == ["deleted_elsewhere"]
    assert gone[:8] in step["warnings"][0]["message"]
    station.back_up()


def pretend(station: Station, *lines: str) -> None:
    """Put a program before the real restic: these shell lines see `$command` and may end it."""
    program = station.folder / "restic"
    finding = (
        'for word; do case "$word" in backup|snapshots|forget|prune|check|stats) command=$word;; esac; done'
    )
    program.write_text("\n".join(["#!/bin/sh", finding, *lines, f'exec "{station.restic.path}" "$@"', ""]))
    program.chmod(0o755)
    station.settings["restic"] = str(program)


def test_exit_0_without_a_summary_is_a_failure(station: Station) -> None:
    pretend(station, '[ "$command" = backup ] && exit 0')
    step = station.back_up(status=1).step
    assert (step["outcome"], step["reason"]["code"]) == ("failure", "no_proof")
    assert station.ask("status").json[0]["state"] != "healthy"


def test_a_snapshot_without_a_summary_is_a_warning(station: Station) -> None:
    real = station.restic.path
    pretend(station, f'[ "$command" = backup ] && {{ "{real}" "$@" >/dev/null; exit $?; }}')
    step = station.back_up(status=3).step
    assert step["outcome"] == "warning"
    assert step["snapshot_id"] == station.snapshots()[0]["id"]


def test_a_summary_that_the_repository_does_not_confirm_is_a_failure(station: Station) -> None:
    summary = '{"message_type":"summary","files_new":3,"total_bytes_processed":9,"snapshot_id":"%s"}' % (
        "ab" * 32
    )
    pretend(station, f"[ \"$command\" = backup ] && {{ echo '{summary}'; exit 0; }}")
    step = station.back_up(status=1).step
    assert (step["reason"]["code"], step["snapshot_id"]) == ("no_proof", None)
    assert station.ask("snapshots").json == []


def test_a_summary_that_no_backup_can_come_to_is_none_and_the_state_lives_on(station: Station) -> None:
    real = station.restic.path
    spoil = (
        's/"files_new":[0-9]*/"files_new":-5/; s/"total_bytes_processed":[0-9]*/&000000000000000000000000000/'
    )
    pretend(station, f'[ "$command" = backup ] && {{ "{real}" "$@" | sed \'{spoil}\'; exit; }}')
    step = station.back_up(status=3).step
    assert (step["outcome"], codes(step), step["bytes_processed"]) == ("warning", ["no_summary"], None)
    assert step["snapshot_id"] == station.snapshots()[0]["id"]
    assert station.ask("status").json[0]["state"] == "never"
    assert '"files_new":-5' in station.call("logs", station.ask("runs").json[0]["id"]).text


@pytest.mark.parametrize("exit_status", [1, 2, 3, 77, 137])
def test_a_snapshot_that_restic_is_not_content_with_is_a_warning(station: Station, exit_status: int) -> None:
    real = station.restic.path
    pretend(station, f'[ "$command" = backup ] && {{ "{real}" "$@"; exit {exit_status}; }}')
    step = station.back_up(status=3).step
    assert step["outcome"] == "warning"
    assert step["snapshot_id"] == station.snapshots()[0]["id"]


def test_a_listing_that_fails_is_no_proof(station: Station) -> None:
    pretend(station, '[ "$command" = snapshots ] && exit 1')
    assert station.back_up(status=1).step["reason"]["code"] == "no_proof"


@pytest.mark.parametrize("said", ["true", "echo null", "echo all is well"])
def test_maintenance_whose_output_shows_no_result_is_no_proof(each_station: Station, said: str) -> None:
    station = each_station
    station.back_up()
    pretend(station, f'case "$command" in check|prune) {said}; exit 0;; esac')
    for command in ("check", "prune"):
        step = station.ask(command, status=1).step
        assert (step["outcome"], step["reason"]["code"]) == ("failure", "no_proof")
        assert "highball logs" in step["reason"]["message"]
    assert station.ask("status").json[0]["last_check_at"] is None
    assert station.ask("forget").status == 0  # a check that shows nothing shows no damage


@pytest.mark.parametrize("said", ["true", "echo null", "echo {}"])
def test_a_measurement_without_a_figure_is_none(station: Station, said: str) -> None:
    station.back_up()
    pretend(station, f'[ "$command" = stats ] && {{ {said}; exit 0; }}')
    [told] = station.ask("stats", status=1).json
    assert (told["reason"]["code"], told["bytes_stored"]) == ("no_statistics", None)
    station.ask("check")  # it is good all the same, and what is stored is not known
    assert station.ask("status").json[0]["repository_bytes"] is None


def test_prune_that_could_not_remove_everything_is_a_warning(station: Station) -> None:
    station.back_up()
    left = 'echo "unable to remove <data/0123456789> from the repository" >&2'
    pretend(station, f'[ "$command" = prune ] && {left}')
    step = station.ask("prune", status=3).step
    assert (step["outcome"], step["reason"]["code"]) == ("warning", "prune_incomplete")


def test_what_restic_only_says_in_words_is_a_warning(station: Station) -> None:
    pretend(station, '[ "$command" = backup ] && echo "error: read /x: input/output error" >&2')
    step = station.back_up(status=3).step
    assert [(w["code"], w["message"]) for w in step["warnings"]] == [
        ("file_unreadable", "read /x: input/output error")
    ]
    assert codes(station.back_up("docs", "--dry-run", status=3).step) == ["file_unreadable"]


def test_a_restic_killed_in_its_work_is_a_failure(station: Station) -> None:
    pretend(station, '[ "$command" = backup ] && kill -9 $$')
    step = station.back_up(status=1).step
    assert (step["outcome"], step["reason"]["code"]) == ("failure", "killed")


def test_what_a_repository_stores_is_known_after_every_backup(station: Station) -> None:
    station.add_repository("own", made=False)
    station.add_job(repositories=["own"])
    station.ask("setup", "--schedule", "none")
    for folder in ("one", "two"):
        station.fill(folder=station.source / folder, size=50_000)
        station.back_up()
    [counted] = station.ask("status").json
    [measured] = station.ask("stats", "own").json
    # what a backup adds counts the heads of packs, too: some forty bytes for each piece of data
    assert 300_000 < measured["bytes_stored"] <= counted["repository_bytes"]
    assert counted["repository_bytes"] < measured["bytes_stored"] * 1.01


def test_a_check_measures_what_is_stored(each_station: Station) -> None:
    each_station.back_up()
    assert each_station.ask("status").json[0].get("repository_bytes") is None
    each_station.ask("check")
    assert each_station.ask("status").json[0]["repository_bytes"] > 3000


def test_a_repository_that_was_put_back_to_an_older_state_is_told(each_station: Station) -> None:
    station = each_station
    station.add_job("other")
    station.jobs["docs"]["retention"] = station.jobs["other"]["retention"] = {"last": 1}
    station.back_up()
    shutil.copytree(station.path_of(), station.folder / "older")
    station.back_up()
    shutil.rmtree(station.path_of())
    shutil.move(station.folder / "older", station.path_of())
    assert station.ask("verify", "other", status=1).step["outcome"] == "failure"
    for _ in range(2):  # one that has not been backed up since finds it by itself
        assert station.ask("forget", "other", status=6).error["code"] == "deleted_elsewhere"
    assert codes(station.back_up("docs", status=3).step) == ["deleted_elsewhere"]
    stand = {one["job"]: one for one in station.ask("status").json}
    assert {job for job, one in stand.items() if one["holds"]} == {"docs", "other"}
    assert stand["other"]["snapshots"] == 1
    station.ask("accept", "nas")
    station.ask("forget")


def test_what_the_snapshot_before_lacks_is_no_fault_of_the_files(each_station: Station) -> None:
    station = each_station
    station.back_up()
    shutil.copytree(station.path_of(), station.folder / "older")
    station.fill(5)
    station.back_up()
    shutil.rmtree(station.path_of())
    shutil.move(
        station.folder / "older", station.path_of()
    )  # its cache still knows the snapshot that is gone
    step = station.back_up(status=3).step
    assert step["reason"]["code"] == "deleted_elsewhere"
    assert "file_unreadable" not in codes(step)
    assert station.ask("verify").step["files_compared"] == 5

    for path in (station.path_of() / "data").rglob("*"):
        if path.is_file():
            path.unlink()
    for path in (station.path_of() / "index").iterdir():
        path.unlink()
    step = station.back_up(status=3).step
    assert set(codes(step)) == {"repository_lacking"}
    assert "highball check nas" in step["reason"]["message"]


# --- several repositories, several jobs ----------------------------------------------------------


def test_one_repository_failing_does_not_stop_the_next(station: Station) -> None:
    station.add_repository("first")
    station.add_repository("last")
    shutil.rmtree(station.path_of("nas"))
    station.add_job(repositories=["first", "nas", "last"])
    answer = station.back_up(status=1)
    outcomes = [step["outcome"] for step in answer.json["runs"][0]["steps"]]
    assert outcomes == ["success", "failure", "success"]
    reason = answer.json["runs"][0]["reason"]
    assert reason["code"] == "repository_missing"
    assert "a snapshot was saved in first, last" in reason["message"]
    assert len(station.snapshots("first")) == len(station.snapshots("last")) == 1
    assert [one["state"] for one in station.ask("status").json] == ["healthy", "never", "healthy"]


def outcome_of(answer: Answer) -> tuple[int, list[str]]:
    """The exit status, and the outcomes of the runs."""
    return answer.status, [run["outcome"] for run in answer.json["runs"]]


def test_the_worst_run_decides_the_exit_status(station: Station) -> None:
    station.add_job("missing", sources=[str(station.source), str(station.nowhere)])
    station.add_job("bad", sources=[str(station.nowhere)])
    station.add_job("skipped", before=[{"run": "false", "on_error": "skip"}])
    assert outcome_of(station.back_up("docs", "skipped")) == (0, ["success", "skipped"])
    assert outcome_of(station.back_up("missing", "docs", status=3)) == (3, ["warning", "success"])
    everything = station.back_up(status=1)
    assert everything.json["outcome"] == "failure"
    assert outcome_of(everything) == (1, ["success", "warning", "failure", "skipped"])


def test_a_job_that_is_not_enabled_runs_only_when_named(station: Station) -> None:
    station.add_job("rare", enabled=False)
    assert [run["job"] for run in station.back_up().json["runs"]] == ["docs"]
    assert [run["job"] for run in station.back_up("rare").json["runs"]] == ["rare"]


# --- checks and proofs of restore ----------------------------------------------------------------


def damage(station: Station, key: str = "nas") -> None:
    """Flip a byte in the middle of the largest pack."""
    packs = [path for path in (station.path_of(key) / "data").rglob("*") if path.is_file()]
    largest = max(packs, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    largest.chmod(stat.S_IRUSR | stat.S_IWUSR)
    largest.write_bytes(content)


def test_damage_is_found_by_check_and_by_verify(each_station: Station) -> None:
    station = each_station
    station.fill(3, 100_000)
    station.back_up()
    station.repositories["nas"]["check_share"] = "100%"
    damage(station)
    reason = station.ask("check", status=1).step["reason"]
    assert (reason["code"], "1 errors" in reason["message"]) == ("repository_damaged", False)
    proof = station.ask("verify", "--read-data", status=1).step
    assert proof["outcome"] == "failure"
    stands = station.ask("status").json[0]
    assert (stands["last_check_at"], stands["last_restore_proof_at"]) == (None, None)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("unable to create lock in backend: write /x: no space left on device", "no_space"),
        ("unable to create lock in backend: something never heard of", "restic_failed"),
        ("Fatal: unable to load index: dial tcp 127.0.0.1:1: connect: connection refused", "unreachable"),
    ],
)
def test_a_check_that_could_not_look_finds_no_damage(station: Station, words: str, code: str) -> None:
    station.add_job(retention={"last": 1})
    station.back_up()
    station.back_up()
    counted = '{"message_type":"summary","num_errors":1,"broken_packs":null}'
    said = f'{{"message_type":"exit_error","code":1,"message":"{words}"}}'
    pretend(station, f"[ \"$command\" = check ] && {{ echo '{counted}'; echo '{said}' >&2; exit 1; }}")
    assert station.ask("check", status=1).step["reason"]["code"] == code
    assert station.ask("status").json[0]["holds"] == []
    assert len(station.ask("forget").step["snapshots_removed"]) == 1


def test_verify_tells_a_copy_that_differs_from_its_unchanged_source(station: Station) -> None:
    station.back_up()
    victim = station.source / "file-0001"
    before = victim.stat()
    victim.write_bytes(os.urandom(1000))  # as a failing disk would: other bytes, the same size and time
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    step = station.ask("verify", status=1).step
    assert step["reason"]["code"] == "proof_failed"
    assert str(victim) in step["reason"]["message"]


def test_a_changed_source_does_not_spoil_a_proof(station: Station) -> None:
    station.back_up()
    (station.source / "file-0001").write_text("changed since")
    (station.source / "file-0002").unlink()
    assert station.ask("verify").step["files_compared"] == 3


def test_every_slice_is_read_in_turn(station: Station) -> None:
    station.repositories["nas"]["check_share"] = "50%"
    station.back_up()
    assert [station.ask("check").step["slice"] for _ in range(3)] == ["1/2", "2/2", "1/2"]


def test_nothing_is_ever_left_in_scratch(station: Station) -> None:
    station.back_up()
    station.ask("verify")
    station.ask("restore", "docs", "--dry-run")
    assert list((station.state / "tmp").iterdir()) == []
    assert list((station.state / "runs").iterdir()) == []
    assert not list(Path(station.home).iterdir())
