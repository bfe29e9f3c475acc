"""What a command prints, from the file to the restore: a set of its own, good only where the command ended well."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from journeys.station import Station


def stream(run: str, name: str = "app.sql", **more: Any) -> dict[str, Any]:
    return {"run": run, "name": name, **more}


def steps(answer: Any) -> list[tuple[str, str]]:
    """The set and the outcome of each backup."""
    return [(step["set"], step["outcome"]) for step in answer.json["runs"][0]["steps"]]


def test_a_job_of_both_makes_a_snapshot_of_each_and_all_of_it_comes_back(each_station: Station) -> None:
    station = each_station
    station.add_job(sources=[str(station.source), stream("echo dump of $HIGHBALL_JOB | cat")])
    for _ in range(2):
        answer = station.back_up()
        assert steps(answer) == [("files", "success"), ("app.sql", "success")]
    saved = answer.json["runs"][0]["steps"][1]
    printed = b"dump of docs\n"
    assert saved["printed"] == {"size_bytes": len(printed), "sha256": hashlib.sha256(printed).hexdigest()}
    made = station.ask("snapshots").json
    dump = next(snapshot for snapshot in made if snapshot["set"] == "app.sql")
    assert dump["paths"] == ["/app.sql"]
    target = station.folder / "back"
    station.ask("restore", "docs", "-s", dump["id"], "-p", "/app.sql", "-t", target)
    assert (target / "app.sql").read_text() == "dump of docs\n"
    refused = station.call("--json", "restore", "docs", "-s", dump["id"], "--in-place", "--yes")
    assert refused.status != 0
    assert "lies nowhere on this host" in refused.text
    plans = station.ask("forget", "--dry-run").json
    assert sorted((plan["set"], len(plan["keep"])) for plan in plans) == [("app.sql", 2), ("files", 2)]
    [standing] = station.ask("status").json
    assert (standing["state"], standing["snapshots"]) == ("healthy", 4)


def test_a_restore_of_the_job_brings_its_files_back(station: Station) -> None:
    station.add_job(sources=[str(station.source), stream("echo dump")])
    station.back_up()
    target = Path(station.ask("restore", "docs").json["target"])
    assert Path(f"{target}{station.source}").is_dir()


def test_restore_tests_take_turns_over_the_sets(station: Station) -> None:
    station.add_job(sources=[str(station.source), stream("echo dump")])
    station.back_up()
    told = [station.ask("verify", "docs").step["reason"]["message"] for _ in range(2)]
    assert sum("identical to the output of the command" in words for words in told) == 1, told
    assert sum("identical to the source" in words for words in told) == 1, told


def test_a_command_that_fails_saves_nothing_and_says_why_while_the_files_are_saved(
    each_station: Station,
) -> None:
    station = each_station
    dump = stream("echo half; echo 'no such database' >&2; exit 3")
    station.add_job(sources=[dump, str(station.source)])
    answer = station.back_up(status=1)
    assert steps(answer) == [("app.sql", "failure"), ("files", "success")]
    reason = answer.json["runs"][0]["reason"]
    assert reason["code"] == "command_failed"
    assert "app.sql ended with exit status 3, so nothing was saved: no such database" in reason["message"]
    assert [snapshot["set"] for snapshot in station.ask("snapshots").json] == ["files"]
    [standing] = station.ask("status").json
    assert (standing["state"], standing["last_success_at"]) == ("never", None)
    assert standing["last_outcome"] == "failure", "the files that went well must not hide it"


def test_silence_is_a_failure(station: Station) -> None:
    station.add_job(sources=[stream("true")])
    answer = station.back_up(status=1)
    assert steps(answer) == [("app.sql", "failure")]
    assert answer.json["runs"][0]["reason"]["code"] == "source_empty"
    assert station.snapshots() == []


def test_a_rehearsal_runs_no_command(station: Station) -> None:
    ran = station.folder / "ran"
    station.add_job(sources=[str(station.source), stream(f"touch {ran}; echo x")])
    answer = station.ask("run", "--dry-run")
    assert steps(answer) == [("files", "success"), ("app.sql", "skipped")]
    assert not ran.exists()
