"""What a stolen session, or a stolen hub, cannot have a host do whose policy says `commands = "never"`.

A host's own policy is the last word: no program, no word of a command line and no folder of its state comes
from a hub. Every attack here is tried with real processes; what it would have run leaves a mark, and none is left.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hostile.stolen_hub import HOST, StolenHub, Table
from hub.served import PASSWORD, Elsewhere, Served, serve
from testbed import parts
from testbed.restic import Location, ResticBinary
from testbed.written import WrittenRepository

POLICY = """\
commands = "never"
read = ["{folder}/allowed"]
restore = ["{folder}/restored"]
repositories = ["{folder}/repositories"]
secrets = ["{folder}/secrets"]
"""


class Veto:
    """A hub that serves, whose admin's session was stolen; and a host that joined it, whose policy forbids."""

    def __init__(self, hub: Served, laptop: Elsewhere, folder: Path) -> None:
        self.hub = hub
        self.laptop = laptop
        self.folder = folder
        self.source = folder / "allowed"
        self.mark = folder / "something-ran"
        self.program = folder / "restored" / "restic"
        self._make_program()

    def _make_program(self) -> None:
        self.source.mkdir()
        (self.source / "letter").write_text("dear reader")
        self.program.parent.mkdir()
        self.program.write_text(f"#!/bin/sh\ntouch {self.mark}\necho restic 0.18.0\n")
        self.program.chmod(0o755)
        (self.folder / "secrets").mkdir()
        (self.folder / "secrets" / "password").write_text(PASSWORD)

    def test(self, **spec: Any) -> str:
        """The code with which the laptop refuses a repository that nobody has saved, or how it was found."""
        usual = {"url": str(self.folder / "repositories" / "none"), "maintained_by": HOST}
        told = {"spec": usual | {"password": {"sealed": True}} | spec, "secrets": {"password": "x"}}
        answer = self.hub.http.post("repositories/test", json=told).json()
        return str(answer.get("code") or answer["state"])

    def declare(self, **spec: Any) -> str:
        """A repository that the laptop looks after, as the session declares it."""
        key = f"r-{uuid.uuid4().hex[:8]}"
        path = self.folder / "repositories" / key
        WrittenRepository(path, PASSWORD, seed=hash(str(path)))
        usual = {"url": str(path), "password": {"file": str(self.folder / "secrets" / "password")}}
        self.hub.post(f"repositories?key={key}", usual | {"maintained_by": HOST} | spec)
        return key

    def save_both(self, key: str, path: Path) -> tuple[str, str]:
        """Two snapshots as an attacker has them: one of what a file holds, one of a wrong guess like it."""
        seen, content = path.stat(), path.read_bytes()
        found = []
        for guess in (content, content[::-1]):
            path.write_bytes(guess)
            os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
            at = Location("local", str(self.folder / "repositories" / key))
            secret = self.folder / "secrets" / "password"
            self.hub.restic.run("backup", "--force", str(path), at=at, password_file=secret)
            listed = self.hub.restic.run("snapshots", "--json", at=at, password_file=secret).stdout
            found.append(max(json.loads(listed), key=lambda one: one["time"])["id"])
        path.write_bytes(content)
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
        return found[0], found[1]

    def verify(self, key: str, snapshot: str) -> tuple[str, str]:
        """How a restore test of a snapshot ended, and what it said."""
        done = self.hub.end_of(
            self.hub.post("runs", {"task": "verify", "repository": key, "snapshot": snapshot})["id"]
        )
        return done["outcome"], (done["steps"][0]["reason"] or {})["message"]

    def run(self, task: str, **about: Any) -> tuple[str, str | None]:
        """How a run ended."""
        done = self.hub.end_of(self.hub.post("runs", {"task": task, **about})["id"])
        return done["outcome"], (done["reason"] or {}).get("code")


@pytest.fixture(scope="module", params=parts.RESTIC_VERSIONS)
def veto(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Veto]:
    """The same with the oldest restic and with the newest; with `--all` those between too."""
    folder = tmp_path_factory.mktemp("veto")
    with serve(folder / "hub", parts.get_restic(request.param)) as hub:
        hub.tables.pop("settings")
        (folder / "hub" / "bin").mkdir()
        (folder / "hub" / "bin" / "restic").symlink_to(hub.restic.path)
        hub.environment["PATH"] = f"{folder / 'hub' / 'bin'}:{parts.SEARCH_PATH}"
        hub.serve()
        hub.post(f"hosts?key={HOST}", {})
        with Elsewhere(folder / HOST, hub, HOST) as laptop:
            (laptop.state / "agent").mkdir(parents=True)
            (laptop.state / "agent" / "policy.toml").write_text(POLICY.format(folder=folder))
            laptop.join()
            yield Veto(hub, laptop, folder)


@pytest.fixture(params=parts.RESTIC_VERSIONS)
def binary(request: pytest.FixtureRequest) -> ResticBinary:
    """The oldest restic, and the newest; with `--all` those between too."""
    return parts.get_restic(request.param)


# --- which program runs --------------------------------------------------------------------------


def test_no_session_says_which_restic_runs(veto: Veto) -> None:
    hub, named = veto.hub, str(veto.program)
    at = {"if-match": hub.http.get("settings").headers["etag"]}
    refused = hub.http.put("settings", json={"restic": named}, headers=at)
    assert (refused.status_code, refused.json()["code"]) == (403, "restic_not_here")
    assert "agent/policy.toml" in refused.json()["hint"]
    whole = hub.http.get("configuration").text
    previewed = hub.http.post(
        "configuration/preview", content=f"{whole}\nsettings: {{restic: {named}}}\n"
    ).json()
    assert [one["at"] for one in previewed["problems"]] == ["settings.restic"], previewed
    repository = veto.declare()
    assert veto.run("stats", repository=repository) == ("success", None)
    assert hub.post(f"repositories/{repository}/test")["state"] == "empty"
    assert not veto.mark.exists()


def test_a_message_that_names_a_program_or_words_for_it_has_them_in_vain(
    binary: ResticBinary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "something-ran"
    evil = tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {mark}\necho restic 0.18.0\n")
    evil.chmod(0o755)
    use_restic(binary, tmp_path, monkeypatch)
    nas = {"url": str(tmp_path / "nas"), "password": {"file": str(tmp_path / "password")}}
    about = {"key": "nas", "repository": nas, "restic": str(evil)}
    words = ["--keep-last=1", "--repo=sftp:u@h:/x", "--repository-file=", f"-osftp.command=touch {mark}"]
    rules: Table = {"asks": "forget", "host": HOST, "tags": [], **about}

    async def story() -> None:
        hub = StolenHub(tmp_path / "agent")
        async with hub.with_agent():
            older = await hub.ask(rules | {"policy": words})
            assert older.error is not None
            assert (older.error["code"], "update the older" in older.error["message"]) == (
                "unsupported",
                True,
            )
            both = await hub.ask(rules | {"policy": words, "retention": {"last": 1}})
            assert both.value == []
            unknown = await hub.ask(rules | {"retention": {"last": 1, "repo": "sftp:u@h:/x"}})
            assert unknown.error is not None
            assert unknown.error["code"] == "unsupported"
            task = {"type": "stats", "repository": "nas"}
            assert await hub.order(assignment(task, nas=nas) | {"restic": str(evil)}) == ("success", None)

    asyncio.run(story())
    assert not mark.exists()


# --- what it may read, and where it may write ----------------------------------------------------


def test_no_variable_and_no_file_of_the_host_is_what_a_session_names(veto: Veto) -> None:
    gcp = veto.folder / "restored" / "gcp.json"
    command = f"/bin/sh -c 'touch {veto.mark}'"
    source = {"executable": {"command": command, "timeout_millis": 5000}}
    gcp.write_text(
        json.dumps(
            {
                "type": "external_account",
                "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "token_url": "https://127.0.0.1:1/v1/token",
                "credential_source": source,
            }
        )
    )
    google = {"GOOGLE_APPLICATION_CREDENTIALS": str(gcp), "GOOGLE_PROJECT_ID": "x"}
    allowing = google | {"GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "1"}
    assert veto.test(url="gs:bkt:/x", environment=allowing) == "configuration_invalid"
    assert veto.test(url="gs:bkt:/x", environment=google) == "refused_by_host"
    assert veto.test(url="s3:https://127.0.0.1:1/b", environment={"AWS_PROFILE": "x"}) == "refused_by_host"
    anybody = {"url": "rest:http://127.0.0.1:1/", "rest_username": "u"}
    assert veto.test(**anybody, rest_password={"env": "HOME"}) == "refused_by_host"
    assert veto.test(**anybody, rest_password={"file": "/etc/shadow"}) == "refused_by_host"
    assert veto.test(**anybody, rest_password={"command": f"touch {veto.mark}"}) == "refused_by_host"
    assert veto.test(url="rest:https://127.0.0.1:1/", certificate="/etc/shadow") == "refused_by_host"
    assert veto.test(url="rest:http+unix:///run/docker.sock:/x") == "refused_by_host"
    for name in ("identity_file", "known_hosts"):
        assert veto.test(url="sftp:u@127.0.0.1:/x", **{name: "/home/me/.ssh/id_rsa"}) == "refused_by_host"
    assert not veto.mark.exists()


def test_a_key_of_s3_is_no_file_that_names_a_program(veto: Veto) -> None:
    told = {"endpoint": "http://127.0.0.1:1", "bucket": "bucket", "kind": "s3", "maintained_by": HOST}
    sealed = {"sealed": True}
    spec = told | {"access_key_id": "x", "secret_access_key": sealed, "password": sealed}
    value = f"x\ncredential_process = /bin/touch {veto.mark}"
    sent = {"spec": spec, "secrets": {"password": "x", "secret_access_key": value}}
    answer = veto.hub.http.post("repositories/test", json=sent).json()
    assert "holds a character that no key of S3 has" in answer["message"]
    assert not veto.mark.exists()


def test_no_repository_is_made_where_none_may_lie(veto: Veto) -> None:
    outside = veto.folder / "outside"
    key = veto.declare(url=str(outside / "repo"), answer_within="2s")
    assert veto.run("init", repository=key) == ("failure", "refused_by_host")
    assert veto.run("stats", repository=key) == ("failure", "refused_by_host")
    assert veto.test(url=str(outside / "repo")) == "refused_by_host"
    assert not outside.exists()


def test_a_comparison_says_nothing_of_files_that_may_not_be_read(veto: Veto) -> None:
    secret, letter = veto.folder / "not-allowed", veto.source / "letter"
    secret.write_text("the password is swordfish")
    key = veto.declare()
    told = [veto.verify(key, snapshot) for snapshot in veto.save_both(key, secret)]
    assert told[0] == told[1]
    assert told[0][0] == "success"
    assert "may not be read here" in told[0][1]
    right, wrong = [veto.verify(key, snapshot) for snapshot in veto.save_both(key, letter)]
    assert "identical to" in right[1]
    assert (wrong[0], "differs" in wrong[1]) == ("failure", True)


# --- where its state lies ------------------------------------------------------------------------


def test_no_path_is_made_of_an_id(
    binary: ResticBinary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, other = tmp_path / "something-ran", tmp_path / "other"
    use_restic(binary, tmp_path, monkeypatch)
    nas = {"url": str(tmp_path / "nas"), "password": {"file": str(tmp_path / "password")}}
    (other / "agent").mkdir(parents=True)
    (other / "agent" / "policy.toml").write_text('commands = "always"')
    job = {"repositories": ["nas"], "sources": [str(tmp_path)], "before": [{"run": f"touch {mark}"}]}

    def order(run: str) -> Table:
        return assignment({"type": "backup", "job": job}, nas=nas) | {"job": "docs", "run": run}

    async def story() -> None:
        hub = StolenHub(tmp_path / "agent")
        async with hub.with_agent():
            for run in ("../../../other/runs/p1", "..", "", "{018f0000-0000-7000-8000-000000000000}", "x"):
                await hub.say("assign", {"assignment": order(run)})
                for type in ("cancel", "secrets", "secrets.wanted"):
                    await hub.say(type, {"run": run, "secrets": {}})
                await hub.say("runs.wanted", {"runs": {run: 0}})
            assert (await hub.ask({"asks": "browse", "path": str(tmp_path)})).value is not None
            assert await hub.order(order(str(uuid.uuid4()))) == ("failure", "refused_by_host")

    asyncio.run(story())
    assert not mark.exists()
    assert [path.name for path in other.iterdir()] == ["agent"]


def test_a_run_that_was_refused_runs_nothing_later_either(
    binary: ResticBinary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "something-ran"
    use_restic(binary, tmp_path, monkeypatch)
    nas = {"url": str(tmp_path / "nas"), "password": {"file": str(tmp_path / "password")}}
    hook = {"run": f"touch {mark}"}
    job = {"repositories": ["nas"], "sources": [str(tmp_path)], "after": [hook]}
    order = assignment({"type": "backup", "job": job}, nas=nas) | {"job": "docs"}

    async def story() -> None:
        hub = StolenHub(tmp_path / "agent")
        hub.acknowledges = False
        async with hub.with_agent():
            assert await hub.order(order) == ("failure", "refused_by_host")
            directory = hub.state / "runs" / order["run"]
            for _ in range(3):  # it is settled, as if its process had vanished
                await hub.say("secrets", {"run": order["run"], "secrets": {}})
                assert (await hub.ask({"asks": "browse", "path": str(tmp_path)})).value is not None
            assert directory.exists()

    asyncio.run(story())
    assert not mark.exists()


def use_restic(binary: ResticBinary, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this restic on the path, and a repository with a password beside it."""
    (folder / "bin").mkdir()
    (folder / "bin" / "restic").symlink_to(binary.path)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{parts.SEARCH_PATH}")
    WrittenRepository(folder / "nas", PASSWORD)
    (folder / "password").write_text(PASSWORD)


def assignment(task: Table, **repositories: Table) -> Table:
    """An order as a hub sends it."""
    return {
        "run": str(uuid.uuid4()),
        "kind": "maintenance",
        "host": HOST,
        "task": task,
        "repositories": json.loads(json.dumps(repositories)),
        "created_at": datetime.now(UTC).isoformat(),
    }
