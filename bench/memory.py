"""How much memory Highball's own process takes at its peak (VmHWM; what restic takes is restic's).

Measured during a backup, and while `ls` streams a million entries through it: these a stand-in for restic
prints, for a real tree of a million files would take an hour to make. --real-files lists a real one as well.
Run as: .venv/bin/python bench/memory.py [--restic PATH]
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from measuring import HIGHBALL, Result, WithHighball, make_small_files, options, scratch

TARGET_MIB = 60.0
SNAPSHOT = "5ca1ab1e" * 8

STAND_IN = """\
#!{python}
import json, sys
if "version" in sys.argv:
    print("restic 0.18.0 compiled with go1.24 on linux/amd64")
elif "snapshots" in sys.argv:
    print(json.dumps([{snapshot!r}]))
elif "ls" in sys.argv:
    node = (
        '{{"name":"%08d.odt","type":"file","path":"/source/%05d/%08d.odt","uid":1000,"gid":1000,"size":4711,'
        '"mode":420,"mtime":"2026-05-04T12:34:56.123456789+02:00","inode":%d,"struct_type":"node",'
        '"message_type":"node"}}\\n'
    )
    print('{{"struct_type":"snapshot","message_type":"snapshot"}}')
    for start in range(0, {entries}, 1000):
        sys.stdout.write("".join(node % (n, n // 100, n, n) for n in range(start, min(start + 1000, {entries}))))
else:
    print(json.dumps({{"id": "{snapshot_id}"}}))
"""


@dataclass(frozen=True)
class Peak:
    """A command's peak."""

    mib: float
    seconds: float
    lines: int


def main() -> None:
    """Measure and write down."""
    chosen = options(
        __doc__ or "",
        ("files", 20_000, "files of the tree that is backed up"),
        ("entries", 1_000_000, "entries of the listing"),
        ("real-files", 0, "files of a real tree to list"),
    )
    result = Result("memory", "Memory of Highball's own process")
    with scratch() as folder:
        _measure_backup(result, folder, chosen.restic, chosen.files)
        _measure_listing(result, folder, chosen.entries)
        if chosen.real_files:
            _measure_real_listing(result, folder, chosen.restic, chosen.real_files)
    result.write(chosen.restic)


def _measure_backup(result: Result, folder: Path, restic: Path, files: int) -> None:
    make_small_files(folder / "source", files)
    subject = WithHighball(folder / "backup", folder / "source", restic)
    _add(result, f"first backup of {files:,} files", watch(subject, "run"))
    _add(result, "the same once more, nothing changed", watch(subject, "run"))


def _measure_listing(result: Result, folder: Path, entries: int) -> None:
    snapshot = {
        "id": SNAPSHOT,
        "time": "2026-05-04T12:34:56.123456789+02:00",
        "tree": SNAPSHOT,
        "paths": ["/source"],
        "hostname": "bench",
        "username": "me",
        "tags": [],
    }
    stand_in = folder / "restic"
    stand_in.write_text(
        STAND_IN.format(python=sys.executable, snapshot=snapshot, entries=entries, snapshot_id=SNAPSHOT)
    )
    stand_in.chmod(0o755)
    subject = WithHighball(folder / "listing", folder / "source", stand_in)
    for arguments in (("ls", SNAPSHOT), ("ls", SNAPSHOT, "--json")):
        peak = watch(subject, *arguments)
        _add(
            result, f"{arguments[0]}{' --json' if '--json' in arguments else ''} of {entries:,} entries", peak
        )


def _measure_real_listing(result: Result, folder: Path, restic: Path, files: int) -> None:
    make_small_files(folder / "many", files, size=1)
    subject = WithHighball(folder / "real", folder / "many", restic)
    subject.back_up()
    found = subprocess.run(
        [HIGHBALL, "snapshots", "--json"], env=subject.environment, capture_output=True, check=True
    )
    _add(result, f"ls of {files:,} real files", watch(subject, "ls", json.loads(found.stdout)[0]["id"]))


def watch(subject: WithHighball, *arguments: str) -> Peak:
    """Run a command and look at its own peak again and again until it ends."""
    started, peak = time.monotonic(), 0
    with open(subject.folder / "output", "wb") as output:
        child = subprocess.Popen(
            [HIGHBALL, *arguments], env=subject.environment, stdout=output, stderr=subprocess.DEVNULL
        )
        while child.poll() is None:
            peak = max(peak, _peak_of(child.pid))
            time.sleep(0.01)
    if child.returncode != 0:
        sys.exit(f"highball {' '.join(arguments)} ended with status {child.returncode}")
    with open(subject.folder / "output", "rb") as lines:
        count = sum(1 for _ in lines)
    return Peak(peak / 1024, time.monotonic() - started, count)


def _peak_of(pid: int) -> int:
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) if found else 0


def _add(result: Result, what: str, peak: Peak) -> None:
    result.add(
        what,
        f"{peak.mib:.1f} MiB (in {peak.seconds:.1f} s)",
        f"≤ {TARGET_MIB:.0f} MiB",
        peak.mib <= TARGET_MIB,
        mib=round(peak.mib, 1),
        seconds=round(peak.seconds, 1),
        lines=peak.lines,
    )


if __name__ == "__main__":
    main()
