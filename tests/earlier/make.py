"""Make the sample of a state as this version leaves it: `python tests/earlier/make.py`, from a checkout of it.

What a hub declared and remembers lies in `sample.tar.xz` beside this: its database as SQL, its key, its runs, the
state of its agent, the configuration file and a small repository. HERE stands for the folder in which it all lay.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hub.served import Served, serve
from testbed import parts

HERE = "@HERE@"
SAMPLE = Path(__file__).with_name("sample.tar.xz")
PASSWORD = "open sesame"


def live(served: Served) -> None:
    """Declare, run, seal, pin and pause a little of everything."""
    served.tables["profiles"] = {"careful": {"retention": {"daily": 30}, "exclude": ["*.tmp"]}}
    served.tables["jobs"]["docs"] |= {"profile": "careful", "schedule": "daily", "title": "Documents"}
    served.tables["jobs"]["docs"]["before"] = [{"run": "true", "name": "nothing to do"}]
    assert served.command("run", "docs").returncode == 0
    (served.source / "letter").write_text("dear reader, once more")
    served.serve()
    first = served.back_up()
    snapshot = first["steps"][-1]["snapshot_id"]
    served.post(
        "pins?key=first", {"repository": "nas", "snapshot": snapshot, "reason": "the first of the hub"}
    )
    served.post(
        "repositories?key=vaulted",
        {
            **served.repository_spec,
            "url": f"{served.folder}/vaulted",
            "password": {"sealed": True},
            "append_only": True,
        },
    )
    served.http.put("repositories/vaulted/secrets/password", json={"value": PASSWORD}).raise_for_status()
    served.end_of(served.post("runs", {"task": "init", "repository": "vaulted"})["id"])
    served.post(
        "jobs?key=pictures",
        {
            "schedule": "weekly",
            "repositories": ["vaulted"],
            "sources": [{"path": str(served.source), "exclude": ["large"]}],
        },
    )
    served.end_of(served.post("runs", {"task": "backup", "job": "pictures"})["id"])
    served.end_of(served.post("runs", {"task": "check", "repository": "nas"})["id"])
    served.end_of(served.post("runs", {"task": "verify", "repository": "nas", "snapshot": snapshot})["id"])
    served.end_of(served.post("runs", {"task": "stats", "repository": "nas"})["id"])
    served.post("users?key=vera", {"role": "viewer"})
    served.post("jobs/pictures/pause", {"reason": "on holiday"})


def pack(folder: Path) -> None:
    """Everything in a folder as one archive; what is text names the folder HERE."""
    for database in folder.rglob("*.db"):
        with closing(sqlite3.connect(database)) as connection:
            database.with_suffix(".sql").write_text("\n".join(connection.iterdump()))
    for path in [path for path in folder.rglob("*") if not path.is_file() or path.is_symlink()]:
        if path.is_symlink() or path.is_socket():
            path.unlink()
    with tarfile.open(SAMPLE, "w:xz") as archive:
        for path in sorted(folder.rglob("*")):
            if not path.is_file() or path.suffix in (".db", ".log") or path.name.startswith("highball.db"):
                continue
            text = path.read_bytes().replace(str(folder).encode(), HERE.encode())
            if path.is_relative_to(folder / "repository") or path.is_relative_to(folder / "vaulted"):
                text = path.read_bytes()
            path.write_bytes(text)
            archive.add(path, path.relative_to(folder), filter=_nobodys)


def _nobodys(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp(prefix="sample-")) / "machine"
    folder.mkdir()
    with serve(folder, parts.get_restic(parts.RESTIC_VERSIONS[-1])) as served:
        live(served)
        (folder / "token").write_text(served.http.headers["authorization"])
        assert served.end_hub() == 0
    shutil.rmtree(folder / "state" / "cache", ignore_errors=True)
    shutil.rmtree(folder / "home", ignore_errors=True)
    pack(folder)
    print(SAMPLE, SAMPLE.stat().st_size)
