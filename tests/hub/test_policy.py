"""What a host allows: its own veto, whatever a hub, a page or a stolen session orders."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from highball.agent.policy import Policy, load_policy
from highball.engine.restic.repository import ResticRepository
from highball.errors import NotAllowed, StateUnusable
from highball.facts import RunKind
from highball.protocol import Assignment, BackupTask, Overwrite, RestoreTask
from highball.spec.job import Job
from hub.served import Served

SECRET = {"file": "/etc/highball/nas.key"}


def repository(**fields: Any) -> ResticRepository:
    """A repository, and whatever else it says."""
    return ResticRepository.model_validate({"url": "/mnt/nas", "password": SECRET} | fields)


def order(task: Any, *, from_file: bool = False, **fields: Any) -> Assignment:
    """An assignment of this task."""
    return Assignment(
        run=str(uuid4()),
        kind=RunKind.BACKUP,
        job="docs",
        host="station",
        task=task,
        repositories={"nas": repository(**fields)},
        created_at=datetime.now(UTC),
        from_file=from_file,
    )


def backup(**fields: Any) -> BackupTask:
    """A backup of a job that says this besides."""
    return BackupTask(job=Job.model_validate({"sources": ["/home/me"], "repositories": ["nas"]} | fields))


def refused(policy: Policy, assignment: Assignment) -> list[str]:
    """Where the policy objects."""
    try:
        policy.demand(assignment)
    except NotAllowed as error:
        assert error.code == "refused_by_host"
        return [problem.at for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("commands", "from_file", "runs"),
    [
        ("never", False, False),
        ("never", True, False),
        ("file", False, False),
        ("file", True, True),
        ("always", False, True),
        ("always", True, True),
    ],
)
def test_whose_commands_run(commands: str, from_file: bool, runs: bool) -> None:
    policy = Policy.model_validate({"commands": commands})
    hooked = order(backup(after=[{"run": "true"}]), from_file=from_file)
    by_command = order(backup(), from_file=from_file, password={"command": "pass show nas"})
    free = order(backup(), from_file=from_file, options={"sftp.command": "ssh -o ProxyCommand=evil host"})
    elsewhere = order(backup(), from_file=from_file, environment={"RCLONE_CONFIG": "/tmp/evil"})
    for assignment in (hooked, by_command, free, elsewhere):
        assert refused(policy, assignment) == ([] if runs else ["commands"])
    assert refused(policy, order(backup(), environment={"AWS_DEFAULT_REGION": "here"})) == []


def test_which_paths(tmp_path: Path) -> None:
    home, outside = tmp_path / "home", tmp_path / "outside"
    home.mkdir()
    outside.mkdir()
    (home / "way-out").symlink_to(outside)
    policy = Policy.model_validate(
        {"read": [str(home)], "restore": [str(home)], "secrets": ["/etc/highball"]}
    )

    def of(path: Path) -> BackupTask:
        return backup(sources=[str(path)])

    def into(path: Path) -> RestoreTask:
        told = {"repository": "nas", "snapshot_id": "0", "paths": ["/x"], "target": str(path)}
        return RestoreTask.model_validate(told | {"overwrite": Overwrite.NEVER})

    assert refused(policy, order(of(home))) == []
    assert refused(policy, order(of(home / "below"))) == []
    assert refused(policy, order(of(outside))) == ["read"]
    assert refused(policy, order(of(home / "way-out"))) == ["read"]
    assert refused(policy, order(into(home / "new"))) == []
    assert refused(policy, order(into(outside))) == ["restore"]
    assert refused(policy, order(into(home / "way-out" / "new"))) == ["restore"]
    assert refused(policy, order(of(home), password={"file": "/etc/shadow"})) == ["secrets"]
    policy.demand_path(bytes(home))
    with pytest.raises(NotAllowed):
        policy.demand_path(b"/etc")


def test_without_a_policy_no_command_of_a_hub_runs_and_a_broken_one_allows_nothing(tmp_path: Path) -> None:
    assert refused(load_policy(tmp_path), order(backup(before=[{"run": "true"}]), from_file=True))
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "policy.toml").write_text('commands = "sometimes"')
    with pytest.raises(StateUnusable, match="nothing is allowed"):
        load_policy(tmp_path)


def test_a_hook_that_a_session_declares_does_not_run_and_one_of_the_file_does(machine: Served) -> None:
    ran = machine.folder / "ran"
    machine.tables["jobs"]["docs"]["after"] = [{"run": f"touch {ran}-by-the-file"}]
    machine.serve()
    machine.back_up()
    assert Path(f"{ran}-by-the-file").exists()
    spec = {
        "repositories": ["nas"],
        "sources": [str(machine.source)],
        "before": [{"run": f"touch {ran}-by-a-session"}],
    }
    machine.post("jobs?key=evil", spec)
    done = machine.end_of(machine.post("runs", {"task": "backup", "job": "evil"})["id"])
    assert (done["outcome"], done["reason"]["code"]) == ("failure", "refused_by_host")
    assert not Path(f"{ran}-by-a-session").exists()
    (machine.state / "agent" / "policy.toml").write_text('commands = "always"')
    assert (
        machine.end_of(machine.post("runs", {"task": "backup", "job": "evil"})["id"])["outcome"] == "success"
    )
    assert Path(f"{ran}-by-a-session").exists()
