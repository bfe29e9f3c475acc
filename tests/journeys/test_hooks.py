"""Hooks: their order, once per run, the end that is always told, time limits, and nothing that is not theirs."""

import os
from typing import Any

import pytest

from journeys.station import Station, is_alive, until


def noted(station: Station) -> list[str]:
    """What the hooks wrote down."""
    path = station.folder / "notes"
    return path.read_text().splitlines() if path.exists() else []


def note(station: Station, text: str, **fields: Any) -> dict[str, Any]:
    """A hook that writes a line down."""
    return {"run": f'echo "{text}" >> {station.folder}/notes', **fields}


def actions(answer: Any) -> list[tuple[str, str]]:
    """What each step was, and how it ended."""
    return [(step["action"], step["outcome"]) for step in answer.json["runs"][0]["steps"]]


def test_hooks_run_in_order_once_around_all_repositories(station: Station) -> None:
    station.add_repository("second")
    before = [
        note(station, "one $HIGHBALL_JOB $HIGHBALL_HOST"),
        note(station, "two ${HIGHBALL_OUTCOME-unset}"),
    ]
    after = [note(station, "three $HIGHBALL_OUTCOME"), note(station, "four $HIGHBALL_RUN")]
    station.add_job(repositories=["nas", "second"], before=before, after=after)
    answer = station.back_up()
    run = answer.json["runs"][0]["id"]
    assert noted(station) == ["one docs station", "two unset", "three success", f"four {run}"]
    assert actions(answer) == [
        (action, "success") for action in ("hook", "hook", "backup", "backup", "hook", "hook")
    ]


def test_after_hooks_are_told_every_outcome(station: Station) -> None:
    station.add_job(after=[note(station, "$HIGHBALL_OUTCOME $HIGHBALL_REASON")])
    station.add_job(
        "part", sources=[str(station.source), str(station.nowhere)], after=station.jobs["docs"]["after"]
    )
    station.add_job("none", sources=[str(station.nowhere)], after=station.jobs["docs"]["after"])
    station.back_up(status=1)
    told = [line.partition(" ") for line in noted(station)]
    assert [outcome for outcome, _, _ in told] == ["success", "warning", "failure"]
    assert told[0][2] == ""
    assert f"{station.nowhere} is missing" in told[1][2]
    assert f"{station.nowhere} is missing" in told[2][2]


@pytest.mark.parametrize(
    ("on_error", "status", "outcome", "steps"),
    [
        ("fail", 1, "failure", [("hook", "failure"), ("backup", "skipped"), ("hook", "success")]),
        (
            "warn",
            3,
            "warning",
            [("hook", "warning"), ("hook", "success"), ("backup", "success"), ("hook", "success")],
        ),
        ("skip", 0, "skipped", [("hook", "skipped"), ("backup", "skipped"), ("hook", "success")]),
    ],
)
def test_what_a_failing_hook_means_is_the_users_choice(
    station: Station, on_error: str, status: int, outcome: str, steps: list[tuple[str, str]]
) -> None:
    before = [{"name": "gate", "run": "exit 7", "on_error": on_error}, note(station, "second")]
    station.add_job(before=before, after=[note(station, "after $HIGHBALL_OUTCOME")])
    answer = station.back_up(status=status)
    assert answer.json["outcome"] == outcome
    assert actions(answer) == steps
    assert answer.json["runs"][0]["steps"][0]["reason"] == {
        "code": "hook_failed",
        "message": "ended with exit status 7",
    }
    assert len(station.snapshots()) == (1 if on_error == "warn" else 0)
    assert noted(station)[-1].startswith("after ")


def test_a_skipped_backup_is_told_to_its_hooks_as_skipped_and_why(station: Station) -> None:
    gate = {"name": "disk is there", "run": "exit 75", "on_error": "skip"}
    station.add_job(before=[gate], after=[note(station, "$HIGHBALL_OUTCOME $HIGHBALL_REASON")])
    answer = station.back_up()
    assert noted(station) == ["skipped skipped by the hook disk is there: ended with exit status 75"]
    reason = answer.json["runs"][0]["reason"]
    assert (reason["code"], reason["message"]) == ("hook_skipped", noted(station)[0].partition(" ")[2])


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_skipped_backup_never_ends_as_a_warning(station: Station, where: str) -> None:
    gate, grumble = {"run": "exit 75", "on_error": "skip"}, {"run": "false", "on_error": "warn"}
    hooks = (
        {"before": [grumble, gate], "after": []}
        if where == "before"
        else {"before": [gate], "after": [grumble]}
    )
    station.add_job(before=hooks["before"], after=[*hooks["after"], note(station, "$HIGHBALL_OUTCOME")])
    answer = station.back_up()
    assert answer.json["outcome"] == answer.json["runs"][0]["outcome"] == "skipped"
    assert ("hook", "warning") in actions(answer)
    assert noted(station) == ["skipped"]
    assert station.snapshots() == []


def test_a_hook_that_fails_after_a_skipped_backup_fails_the_run(station: Station) -> None:
    station.add_job(before=[{"run": "exit 75", "on_error": "skip"}], after=[{"run": "false"}])
    assert station.back_up(status=1).json["outcome"] == "failure"


def test_a_failing_hook_shows_in_the_status(station: Station) -> None:
    station.back_up()
    station.add_job(before=[{"run": "false"}])
    station.back_up(status=1)
    [standing] = station.ask("status").json
    assert (standing["state"], standing["last_outcome"]) == ("failed", "failure")


def test_a_failing_after_hook_spoils_the_run_but_not_the_snapshot(station: Station) -> None:
    station.add_job(after=[{"run": "false"}, note(station, "$HIGHBALL_OUTCOME")])
    answer = station.back_up(status=1)
    assert answer.json["runs"][0]["steps"][0]["outcome"] == "success"
    assert noted(station) == ["success"]  # what is told is the outcome of the backup
    assert "a snapshot was saved in nas" in answer.json["runs"][0]["reason"]["message"]


def test_a_hook_beyond_its_time_is_killed_with_all_it_started(station: Station) -> None:
    pids = station.folder / "pids"
    script = (
        f"trap '' TERM INT; sleep 300 & echo $! >> {pids}; (sleep 301 & echo $! >> {pids}; wait) & wait; wait"
    )
    station.add_job(before=[{"run": script, "timeout": "1s"}])
    answer = station.back_up(status=1)
    assert "did not end within 1s" in answer.json["runs"][0]["steps"][0]["reason"]["message"]
    children = [int(line) for line in pids.read_text().split()]
    assert len(children) == 2
    assert not [pid for pid in children if is_alive(pid)]


def test_a_background_child_does_not_hang_the_run(station: Station) -> None:
    pid = station.folder / "pid"
    station.add_job(before=[{"run": f"sleep 6000 & echo $! > {pid}; echo started"}])
    station.back_up()
    os.kill(int(pid.read_text()), 9)


def test_a_chatty_hook_is_cut_and_ends_well(station: Station) -> None:
    script = "i=0; while [ $i -lt 40000 ]; do echo line $i of a hook that talks all day; i=$((i+1)); done"
    station.add_job(before=[{"run": script}, {"run": "head -c 3000000 /dev/zero | tr '\\0' x"}])
    run = station.back_up().json["runs"][0]["id"]
    events = station.ask("logs", run).json
    text = "".join(
        event["text"] for event in events if event["type"] == "log" and event["stream"] == "stdout"
    )
    assert 200_000 < len(text) < 700_000
    assert any("the rest is not kept" in e["text"] for e in events if e["type"] == "log")


def test_a_hook_gets_a_small_environment_its_folder_and_no_input(station: Station) -> None:
    station.own_process = True
    folder = station.folder / "where hooks work"
    folder.mkdir()
    script = f"(env | cut -d= -f1 | tr '\\n' ' '; echo; pwd; cat) >> {station.folder}/notes"
    station.add_job(before=[{"run": script, "dir": str(folder)}])
    station.back_up(SECRET_OF_MINE="canary", RESTIC_PASSWORD="canary", AWS_SECRET_ACCESS_KEY="canary")
    names, where = noted(station)
    assert where == str(folder)
    known = {
        "PATH",
        "HOME",
        "PWD",
        "HIGHBALL_JOB",
        "HIGHBALL_RUN",
        "HIGHBALL_HOST",
        "HIGHBALL_JOB_ID",
        "OLDPWD",
    }
    assert set(names.split()) - {"SHLVL", "_"} <= known


def test_a_hook_as_a_list_meets_no_shell(station: Station) -> None:
    station.add_job(before=[{"run": ["touch", f"{station.folder}/$HOME; and *"]}])
    station.back_up()
    assert (station.folder / "$HOME; and *").exists()


def test_a_hook_that_does_not_exist_is_a_failure_of_the_hook(station: Station) -> None:
    station.add_job(before=[{"run": [str(station.nowhere)]}], after=[note(station, "$HIGHBALL_OUTCOME")])
    answer = station.back_up(status=1)
    assert actions(answer) == [("hook", "failure"), ("backup", "skipped"), ("hook", "success")]
    station.add_job(before=[{"run": [str(station.nowhere)], "on_error": "warn"}])
    assert actions(station.back_up(status=3)) == [("hook", "warning"), ("backup", "success")]
    station.add_job(before=[{"run": "true", "dir": str(station.nowhere), "on_error": "skip"}])
    assert actions(station.back_up()) == [("hook", "skipped"), ("backup", "skipped")]


def test_a_cancelled_hook_ends_the_run_and_after_hooks_still_run(station: Station) -> None:
    begun = station.folder / "begun"
    station.add_job(before=[{"run": f"touch {begun}; sleep 60"}], after=[note(station, "$HIGHBALL_OUTCOME")])
    going = station.start("--json", "run")
    until(begun.exists)
    going.send(2)
    answer = going.end()
    assert answer.status == 130, answer
    assert actions(answer) == [("hook", "cancelled"), ("backup", "cancelled"), ("hook", "success")]
    assert noted(station) == ["cancelled"]
