"""What lies in a hub's state is for its owner's eyes only, however the folder was made and whatever the umask is."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from hub.served import serve
from testbed.restic import ResticBinary


def open_to_others(folder: Path) -> Iterator[str]:
    """What others can read or enter in a folder that they can enter."""
    for entry in os.scandir(folder):
        mode = entry.stat(follow_symlinks=False).st_mode
        if not stat.S_ISLNK(mode) and mode & 0o077:
            yield f"{entry.path} {stat.filemode(mode)}"


def test_nobody_else_reads_a_state_whose_folder_was_there_before(
    tmp_path: Path, newest_restic: ResticBinary
) -> None:
    before = os.umask(0o022)
    try:
        with serve(tmp_path, newest_restic) as machine:
            machine.state.chmod(0o755)
            for folder in ("runs", "locks", "cache", "agent"):
                (machine.state / folder).mkdir(exist_ok=True)
                (machine.state / folder).chmod(0o755)
            (machine.state / "agent.log").touch(mode=0o644)
            for path in machine.state.glob("highball.db*"):
                path.chmod(0o644)
            machine.serve()
            machine.back_up()
            machine.end_of(machine.post("runs", {"task": "hub-backup"})["id"])
            assert list(open_to_others(machine.state)) == []
            assert stat.S_IMODE(machine.state.stat().st_mode) == 0o755, (
                "the folder itself is its owner's affair"
            )
    finally:
        os.umask(before)
