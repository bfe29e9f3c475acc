"""Which snapshots this host made itself: by default it restores no others for a hub.

The agent keeps their ids in a file of its own, one a line, because a snapshot's host and tags are only what somebody
wrote into the repository. A command typed on this machine needs no such leave.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from highball.agent.host_policy import POLICY, Policy
from highball.agent.run_directory import RunDirectory
from highball.errors import NotAllowed, Problem, Unknown
from highball.model.event import StepEnded
from highball.model.run import Action
from highball.model.snapshot import Snapshot

if TYPE_CHECKING:
    from highball.engine.base import OpenRepository

SAVED = Path("agent", "saved")
MOST_BYTES = 16 * 1024 * 1024
"""Some 250,000 snapshots; the oldest ids are given up."""
WHOLE_ID = 64


class SavedHere:
    """The ids of the snapshots that were made on this state."""

    def __init__(self, state: Path) -> None:
        self._path = state / SAVED

    def __contains__(self, snapshot: str) -> bool:
        try:
            return len(snapshot) == WHOLE_ID and snapshot.encode() in self._path.read_bytes()
        except FileNotFoundError:
            return False

    @property
    def is_kept(self) -> bool:
        """Whether anything was ever written down."""
        return self._path.exists()

    def add(self, snapshots: Iterable[str]) -> None:
        """Note snapshots as made here, on disk before it returns; raises OSError."""
        lines = "".join(f"{snapshot}\n" for snapshot in snapshots).encode()
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        held = os.open(self._path, flags, 0o600)
        try:
            os.write(held, lines)
            os.fsync(held)
        finally:
            os.close(held)

    def begin(self, folders: Iterable[Path]) -> None:
        """Where nothing was ever written down, note what the runs in these folders saved.

        Else shorten what has grown too long. Only one agent works on a state, so nobody else does this.
        """
        if not self.is_kept:
            runs = (path.parent for folder in folders for path in folder.glob("*/events.ndjson"))
            self.add(dict.fromkeys(id for run in runs for id in _saved_by(RunDirectory(run))))
        elif self._path.stat().st_size > MOST_BYTES:
            newest = self._path.read_bytes()[-MOST_BYTES // 2 :].partition(b"\n")[2]
            beside = self._path.with_suffix(".new")
            beside.write_bytes(newest)
            beside.chmod(0o600)
            beside.replace(self._path)


def _saved_by(run: RunDirectory) -> list[str]:
    ended = [event.done for event in run.read_events() if isinstance(event, StepEnded)]
    return [step.snapshot_id for step in ended if step.action is Action.BACKUP and step.snapshot_id]


def demand_own(state: Path, policy: Policy, opened: OpenRepository, wanted: str, *, in_place: bool) -> str:
    """The whole id of a snapshot that a hub may have restored here; raises NotAllowed, or Unknown."""
    saved = SavedHere(state)
    if wanted in saved:
        return wanted
    found = _find(opened, wanted)
    if found.id in saved or policy.believes(found.host, in_place=in_place):
        return found.id
    raise _refusal(policy, found, in_place=in_place)


def _find(opened: OpenRepository, wanted: str) -> Snapshot:
    listed = opened.list_snapshots()
    if wanted == "latest":
        found = max(listed, key=lambda one: one.time, default=None)
    else:
        found = next((one for one in listed if one.id.startswith(wanted)), None)
    if found is None:
        message = f"{opened.key} contains no snapshot {wanted[:8]}"
        raise Unknown(message, code="snapshot_unknown")
    return found


def _refusal(policy: Policy, found: Snapshot, *, in_place: bool) -> NotAllowed:
    what = f"snapshot {found.id[:8]}, which names {found.host} as its host, was not made by this agent"
    line = f'restore_from = ["{found.host}"]'
    if in_place and found.host in policy.restore_from:
        what += ", so it comes back in place only where restore says so"
        line = "naming the folder under restore"
    return NotAllowed(
        f"this host does not allow it: {what}",
        code="refused_by_host",
        hint=f"its administrator may allow it by {line} in {POLICY} of its state, "
        f"or, where this machine replaces {found.host}, by replaces",
        problems=[Problem("restore_from", what, line)],
    )
