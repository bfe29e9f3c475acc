"""Which snapshots an agent remembers as its own: all that it made, as long as its state lives."""

from pathlib import Path

import pytest

from highball.agent import provenance
from highball.agent.provenance import SavedHere
from hub.served import Served

FIRST, SECOND = "a" * 64, "b" * 64


def test_what_was_made_is_remembered_by_its_whole_id(tmp_path: Path) -> None:
    saved = SavedHere(tmp_path)
    assert FIRST not in saved
    saved.add([FIRST])
    assert FIRST in SavedHere(tmp_path)
    assert SECOND not in saved
    assert FIRST[:8] not in saved
    assert (tmp_path / "agent" / "saved").stat().st_mode & 0o777 == 0o600


def test_the_oldest_are_given_up_where_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "MOST_BYTES", 650)
    saved = SavedHere(tmp_path)
    ids = [f"{number:064x}" for number in range(20)]
    saved.add(ids)
    saved.begin([])
    assert ids[-1] in saved
    assert ids[0] not in saved
    assert all(len(line) == 64 for line in (tmp_path / "agent" / "saved").read_text().splitlines())


def test_what_this_machine_made_before_a_hub_had_an_agent_is_its_own(machine: Served) -> None:
    assert machine.command("setup", "--schedule", "none").returncode == 0
    made = machine.command("run")
    assert made.returncode == 0, made.stderr
    (machine.state / "agent" / "saved").unlink()  # as the program before left it
    machine.serve()
    snapshot = machine.get("repositories/nas/snapshots")[-1]
    assert snapshot["id"] in SavedHere(machine.state)

    done = machine.end_of(
        machine.post(
            "runs",
            {
                "task": "restore",
                "repository": "nas",
                "snapshot": snapshot["id"],
                "paths": [str(machine.source)],
            },
        )["id"]
    )
    assert done["outcome"] == "success", done
