"""What a host allows: its own veto, whatever a hub, a page or a stolen session orders."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from highball.agent import veto
from highball.agent.host_policy import (
    Policy,
    ask_to_replace,
    load_policy,
)
from highball.config.job import Job
from highball.engine.restic.access import access
from highball.engine.restic.declaration import ResticRepository
from highball.errors import NotAllowed, SecretUnavailable, StateUnusable
from highball.model.run import RunKind
from highball.protocol.queries import (
    Browse,
    ListLocks,
    PlanRestore,
)
from highball.protocol.tasks import (
    Assignment,
    BackupTask,
    Overwrite,
    RestoreTask,
)
from highball.secret import SecretReference, SecretValue
from hub.served import Served
from testbed.unprivileged import Unprivileged

SECRET = {"file": "/etc/highball/nas.key"}
PLACE = "repository:018f0000-0000-7000-8000-000000000000:password"


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
        veto.demand(policy, assignment)
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


def test_what_an_agent_must_be_able_to_for_the_variables_of_a_command() -> None:
    dump = {"run": "pg_dump", "name": "app.sql"}
    assert order(backup(sources=[dump])).needs == ()
    assert order(backup(sources=[dump | {"environment": {"PGHOST": "db"}}])).needs == ("command-variables",)


def test_which_paths(tmp_path: Path) -> None:
    home, outside = tmp_path / "home", tmp_path / "outside"
    home.mkdir()
    outside.mkdir()
    (home / "way-out").symlink_to(outside)
    told = {"read": [str(home)], "restore": [str(home)], "secrets": ["/etc/highball"]}
    policy = Policy.model_validate(told | {"repositories": ["/mnt"]})

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
    veto.demand(policy, Browse(path=bytes(home)))
    with pytest.raises(NotAllowed) as error:
        veto.demand(policy, Browse(path=b"/etc"))
    assert error.value.hint == (
        'its administrator may allow it by naming "/etc" under read in agent/policy.toml of its state'
    )


def test_what_would_be_replaced_at_a_target_that_leads_nowhere(
    tmp_path: Path, unprivileged: Unprivileged
) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    closed = unprivileged.directory / "closed"
    (closed / "inside").mkdir(parents=True)
    closed.chmod(0o700)
    unlisted = unprivileged.directory / "unlisted"
    unlisted.mkdir()
    unlisted.chmod(0o711)
    policy = Policy()

    def may_replace(path: Path) -> bool:
        return policy.may_restore_to(bytes(path), replaces=True)

    assert not may_replace(tmp_path / "dangling")
    assert not may_replace(tmp_path / "circle")
    assert may_replace(tmp_path / "circle" / "below"), "nothing is there, as far as anybody can see"
    assert may_replace(tmp_path / ("n" * 300))
    os.seteuid(unprivileged.uid)
    try:
        assert may_replace(closed / "inside")
        assert not may_replace(unlisted)
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"environment": {"AWS_DEFAULT_REGION": "here", "GOOGLE_PROJECT_ID": "x", "B2_ACCOUNT_ID": "x"}}, []),
        ({"environment": {"AWS_PROFILE": "x"}}, ["commands"]),
        ({"environment": {"AWS_DEFAULT_REGION_X": "x"}}, ["commands"]),
        ({"environment": {"AZURE_FORCE_CLI_CREDENTIAL": "1"}}, ["commands"]),
        ({"environment": {"HTTPS_PROXY": "http://x"}}, ["commands"]),
        ({"environment": {"GOOGLE_APPLICATION_CREDENTIALS": "/etc/highball/gcp.json"}}, []),
        ({"environment": {"GOOGLE_APPLICATION_CREDENTIALS": "/tmp/gcp.json"}}, ["secrets"]),
        ({"environment": {"AWS_CONFIG_FILE": "/tmp/aws"}}, ["secrets"]),
        ({"environment": {"GOOGLE_APPLICATION_CREDENTIALS": {"env": "NAS"}}}, ["commands"]),
        ({"environment": {"B2_ACCOUNT_KEY": {"file": "/tmp/key"}}}, ["secrets"]),
        ({"environment": {"B2_ACCOUNT_KEY": {"command": "cat /tmp/key"}}}, ["commands"]),
        ({"password": {"env": "NAS"}}, []),
        ({"password": {"env": "XDG_CONFIG_HOME"}}, ["secrets"]),
        ({"url": "rest:https://x/", "certificate": "/tmp/ca.pem"}, ["secrets"]),
        ({"url": "sftp:x:/r", "identity_file": "/home/me/.ssh/id_rsa"}, ["secrets"]),
        ({"url": "sftp:x:/r", "known_hosts": "/home/me/.ssh/known_hosts"}, ["secrets"]),
        ({"url": "/srv/backup"}, []),
        ({"url": "/srv"}, []),
        ({"url": "local:/srv/../etc"}, None),
        ({"url": "/etc/cron.d"}, ["repositories"]),
        ({"kind": "local", "path": "/etc/cron.d"}, ["repositories"]),
        ({"url": "rest:http+unix:///run/docker.sock:/x"}, ["repositories"]),
        ({"url": "/srv/nas", "admin": {"url": "/etc/nas"}}, ["repositories"]),
        ({"url": "/srv/nas", "admin": {"password": {"file": "/etc/shadow"}}}, ["secrets"]),
        ({"url": "rclone:far:x"}, ["commands"]),
        ({"url": "/srv/nas", "admin": {"url": "rclone:far:x"}}, ["commands"]),
        ({"options": {"s3.connections": "5"}}, ["commands"]),
    ],
)
def test_what_a_repository_may_need(fields: dict[str, Any], at: list[str] | None) -> None:
    lists = {"secrets": ["/etc/highball", "env:NAS"], "repositories": ["/srv"]}
    policy = Policy.model_validate({"commands": "never", **lists})
    told = fields if {"url", "kind"} & set(fields) else {"url": "/srv/nas", **fields}
    told = {"password": SECRET, **told}
    if at is None:
        with pytest.raises(ValidationError):
            ResticRepository.model_validate(told)
        return
    declared = ResticRepository.model_validate(told)
    for message in (
        order(backup()).model_copy(update={"repositories": {"nas": declared}}),
        PlanRestore(key="nas", repository=declared, snapshot="latest"),
        ListLocks(key="nas", repository=declared),
    ):
        try:
            veto.demand(policy, message)
            found = []
        except NotAllowed as error:
            found = [problem.at for problem in error.problems]
        assert found == at, (message, found)


def test_what_lets_a_file_start_a_program_is_not_even_declared() -> None:
    with pytest.raises(ValidationError, match="ALLOW_EXECUTABLES cannot be set here"):
        repository(environment={"GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "1"})
    two_lines = SecretValue(b"key\ncredential_process = /bin/touch /tmp/x")
    s3 = repository(url="s3:https://x/b", access_key_id="x", secret_access_key={"sealed": PLACE})
    with pytest.raises(SecretUnavailable) as error:
        access(s3.model_copy(update={"password": SecretReference(sealed=PLACE)}), sealed={PLACE: two_lines})
    assert error.value.code == "secret_malformed"


def test_a_policy_that_names_no_place_of_repositories_lets_them_lie_where_may_be_restored_to() -> None:
    narrow = Policy.model_validate({"restore": ["/srv"]})
    assert narrow.may_hold_repository(b"/srv/nas")
    assert not narrow.may_hold_repository(b"/etc/nas")
    assert Policy().may_hold_repository(b"/mnt/nas")
    with pytest.raises(ValidationError):
        Policy.model_validate({"secrets": ["env:NO NAME"]})
    with pytest.raises(ValidationError):
        Policy.model_validate({"read": ["env:NAME"]})


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


def test_a_machine_that_replaces_another_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    ask_to_replace(tmp_path, "old")
    policy = load_policy(tmp_path)
    assert policy.replaces == ("old",)
    assert policy.believes("old", in_place=True)
    assert (policy.commands, policy.restore_from) == ("never", ())
    ask_to_replace(tmp_path, "old")
    assert (tmp_path / "agent" / "policy.toml").read_text().count('"old"') == 1
    with pytest.raises(StateUnusable, match="names other hosts"):
        ask_to_replace(tmp_path, "older")
