"""From the vault to a real restic: a run gets what it needs beside its assignment, and leaves nothing behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from highball.agent.run import runner
from highball.agent.run_directory import RunDirectory
from highball.agent.state_dir import Workplace
from highball.config.document import Document, build
from highball.hub.dispatch.assignments import Orders
from highball.hub.document.store import load_document
from highball.hub.runs.record import Record
from highball.hub.secrets.vault import Vault, open_vault
from highball.hub.storage import schema
from highball.hub.storage.database import Database, open_database
from highball.model.run import Outcome, Reason
from highball.process.child import Stop
from highball.protocol.tasks import Assignment, PlainTask
from highball.secret import SecretValue
from testbed.restic import ResticBinary
from testbed.written import WrittenRepository
from vault.conftest import ANNA, NOW

CANARY = "canary-5ecret-of-the-repository"
SEALED = {"sealed": True}


@dataclass
class Hub:
    """The little of a hub that sends one run to an agent, in process."""

    folder: Path
    database: Database
    vault: Vault
    document: Document

    def seal(self, slot: str) -> None:
        """Set a secret of the repository."""
        self.vault.seal(self.vault.find_place("nas", slot), SecretValue(CANARY.encode()), ANNA, NOW)

    def send(self, assignment: Assignment, *, admin: bool) -> tuple[Outcome, Reason | None]:
        """Carry out a run with the values that it is handed; how it ended."""
        with self.database.read() as connection:
            id = connection.execute(
                sa.select(schema.objects.c.id).where(schema.objects.c.key == "nas")
            ).scalar_one()
        nas = self.document.repositories["nas"]
        placed = assignment.model_copy(update={"repositories": {"nas": nas.with_places(id)}})
        sealed = self.vault.open_for(nas, id, admin=admin)
        place = Workplace(self.folder / "state", self.document.settings, sealed=sealed)
        place.prepare()
        directory = RunDirectory.create(place.runs, placed)
        ended = runner.carry_out(directory, place, Stop())
        directory.release()
        return ended.outcome, ended.reason


@pytest.fixture
def hub(tmp_path: Path, newest_restic: ResticBinary) -> Hub:
    """A hub whose job backs up a folder into a repository, the passwords of which are sealed."""
    WrittenRepository(tmp_path / "repository", CANARY)
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("content")
    nas = {"url": str(tmp_path / "repository"), "password": SEALED, "admin": {"password": SEALED}}
    document = build(
        {
            "settings": {"restic": str(newest_restic.path)},
            "repositories": {"nas": nas},
            "jobs": {"docs": {"repositories": ["nas"], "sources": [str(source)], "schedule": "manual"}},
        }
    )
    database = open_database(tmp_path / "highball.db")
    load_document(database, document, now=NOW)
    return Hub(tmp_path, database, open_vault(database, tmp_path / "hub.key"), document)


def test_a_backup_runs_with_a_password_that_lies_sealed_in_the_hub_and_in_no_file_afterwards(
    hub: Hub,
) -> None:
    hub.seal("password")
    hub.seal("admin")
    outcome, reason = hub.send(
        Orders(hub.document, Record(hub.database), "web").back_up("docs", NOW), admin=False
    )
    assert (outcome, reason) == (Outcome.SUCCESS, None)
    leaks = [
        path for path in hub.folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()
    ]
    assert leaks == []
    assert list((hub.folder / "state" / "runs").iterdir()), "the run directory is there, and was looked at"


def test_what_may_delete_fails_where_only_the_everyday_password_was_handed_over(hub: Hub) -> None:
    hub.seal("password")
    hub.seal("admin")
    orders = Orders(hub.document, Record(hub.database), "web")
    outcome, reason = hub.send(
        orders.maintain(PlainTask(type="prune", repository="nas"), "nas", NOW), admin=False
    )
    assert outcome is Outcome.FAILURE
    assert reason is not None
    assert reason.code == "secret_sealed_elsewhere"
    outcome, reason = hub.send(
        orders.maintain(PlainTask(type="prune", repository="nas"), "nas", NOW), admin=True
    )
    assert (outcome, reason) == (Outcome.SUCCESS, None)
