"""The agent as a process. Holds its lock for as long as it lives."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from highball.agent.connection import Link
from highball.agent.provenance import SavedHere
from highball.agent.state_dir import Workplace
from highball.process.file_lock import FileLock


def main(arguments: list[str]) -> int:
    """Stay linked to the hub until a signal ends it; 0, or 5 where another agent works on this state."""
    state = Path(arguments[0])
    Workplace(state).prepare()
    lock = FileLock(state / "agent.lock")
    if not lock.take():
        _tell(f"another agent uses {state} (process {lock.holder()})")
        return 5
    with contextlib.suppress(OSError):  # a full disk keeps no agent from its hub
        SavedHere(state).begin([state / "runs", state / "kept"])
    asyncio.run(_stay(Link(state, _tell)))
    return 0


async def _stay(link: Link) -> None:
    keeping = asyncio.create_task(link.keep())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, keeping.cancel)
    try:
        await keeping
    except asyncio.CancelledError:
        _tell("stopped; active runs continue")


def _tell(words: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {words}\n")
    sys.stderr.flush()
