"""The hub's own copy in a repository: a step that an agent carries out, and the way back when all else is gone."""

import gzip
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

from highball.hub.disaster.self_backup import list_backups
from hub.served import PASSWORD, Served, Table
from journeys.station import until


def restic(machine: Served, *words: str) -> bytes:
    """What restic itself says of the repository."""
    argv: list[str | Path] = [machine.restic.path, "-r", machine.repository, "--no-cache", *words]
    environment = {"RESTIC_PASSWORD": PASSWORD, "PATH": os.defpath}
    return subprocess.run(argv, env=environment, capture_output=True, check=True, timeout=240).stdout


def copy_by_hand(machine: Served) -> Table:
    """The hub's run that copies itself, ended."""
    return machine.end_of(machine.post("hub/backups")["id"])


def test_from_a_copy_in_the_repository_back_to_the_hub_that_was(machine: Served) -> None:
    machine.tables["settings"]["backup_repository"] = "nas"
    machine.serve()
    run = machine.back_up()["id"]
    done = copy_by_hand(machine)
    assert done["outcome"] == "success", (done, machine.said)
    copied, saved = done["steps"]
    assert (copied["number"], copied.get("repository"), copied["outcome"]) == (1, None, "success")
    assert (saved["repository"], saved["job"], saved["set"], saved["outcome"]) == (
        "nas",
        "hub",
        "hub",
        "success",
    )
    [shown] = json.loads(restic(machine, "snapshots", "--json", "--tag", "hb:job=hub"))
    assert {"hb:job=hub", "hb:set=hub", f"hb:run={done['id']}"} <= set(shown["tags"])
    [path] = list_backups(machine.state)
    assert shown["paths"] == [str(path)]
    held = restic(machine, "dump", shown["id"], str(path))
    key = (machine.folder / "hub.key").read_bytes().strip()
    for text in (held, gzip.decompress(held), restic(machine, "ls", shown["id"])):
        assert key not in text
        assert b"hub.key" not in text

    discarded = machine.end_of(machine.order("discard"))
    assert discarded["outcome"] == "success", discarded
    sets = {(step.get("job"), step.get("set")) for step in discarded["steps"] if step["action"] == "forget"}
    assert sets == {("docs", "files"), ("hub", "hub")}, "they are kept in order as all others are"

    assert machine.end_hub() == 0
    shutil.rmtree(machine.state)
    for words in (["rebuild"], ["restore-backup", "--yes"]):
        told = machine.command("hub", *words)
        assert told.returncode == 0, told.stderr
    machine.serve()
    assert machine.run(run)["outcome"] == "success"
    assert machine.get("status")[0]["snapshots"] == 1
    again = copy_by_hand(machine)
    assert again["outcome"] == "success", again


def test_a_copy_that_cannot_be_taken_to_its_repository_is_a_failure_and_lies_here(machine: Served) -> None:
    machine.tables["settings"]["backup_repository"] = "nas"
    machine.serve()
    (machine.folder / "password").write_text("changed")
    done = copy_by_hand(machine)
    assert (done["outcome"], done["reason"]["code"]) == ("failure", "wrong_password")
    assert [step["outcome"] for step in done["steps"]] == ["success", "failure"]
    assert len(list_backups(machine.state)) == 1

    os.kill(machine.agent_pid, signal.SIGTERM)
    until(lambda: not machine.agent["connected"])
    done = copy_by_hand(machine)
    assert (done["outcome"], done["reason"]["code"]) == ("failure", "host_offline")
    assert [step["outcome"] for step in done["steps"]] == ["success", "failure"]
