"""A small office's hub with a month behind it, to look at: its repositories, snapshots and newest runs are real.

The runs of the month before are written into the record as they might have been, each with the snapshot that restic
made for it under its day. Nothing of this is for judging Highball: that is what `first_light` does.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from highball.hub.audit import Actor
from highball.hub.document.store import Documents
from highball.hub.storage.database import new_run_id, open_database
from highball.hub.storage.schema import (
    repository_days,
    runs,
    snapshots,
    steps,
)
from programs import Program, clean_environment, find_highball, find_restic
from served import ServedHub

HOST, ACCOUNT, PASSWORD = "atlas", "maria", "a picture of a password"
DAYS = 30
REPOSITORIES = {"vault": "Vault in the office", "offsite": "Offsite"}
MIB = 1 << 20
PIECES = 12
"""So many files each source has, of the same size."""


@dataclass(frozen=True)
class Kept:
    """A job, and how its month went: days are counted back from today."""

    key: str
    title: str
    schedule: str
    size: int
    repositories: tuple[str, ...] = ("vault",)
    every: int = 1
    failed: tuple[int, ...] = ()
    warned: tuple[int, ...] = ()
    more: tuple[tuple[str, Any], ...] = ()

    @property
    def clock(self) -> tuple[int, int]:
        """When it is due on its days: the hour and the minute."""
        minute, hour, *_ = self.schedule.split()
        return int(hour), int(minute)

    def days(self) -> Iterator[int]:
        """The days on which it ran, oldest first."""
        return (day for day in range(DAYS, 0, -1) if day % self.every == 0)


JOBS = (
    Kept("documents", "Documents", "30 1 * * *", 38 * MIB, ("vault", "offsite"), warned=(12,)),
    Kept("photos", "Photos", "0 2 * * *", 214 * MIB, ("vault", "offsite"), failed=(21, 20)),
    Kept("mail", "Mail", "15 3 * * *", 64 * MIB, more=(("tags", ["office"]),)),
    Kept(
        *("wiki", "Wiki", "0 4 * * *", 12 * MIB),
        failed=(2, 1),
        more=(
            (
                "before",
                [{"name": "dump of the database", "run": "echo 'no connection to wiki-db' >&2; exit 1"}],
            ),
        ),
    ),
    Kept("system", "System settings", "30 4 * * *", 3 * MIB, ("offsite",), more=(("tags", ["system"]),)),
    Kept("music", "Music", "0 5 * * sun", 96 * MIB, every=7),
)


class Scene:
    """The office, in a folder that is made for it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o755, parents=True)
        self.folder = folder
        found, _ = find_restic(Path(__file__).resolve().parents[1])
        self._restic = folder / "bin" / "restic"  # its path is seen in logs
        self._restic.parent.mkdir()
        shutil.copy(found, self._restic)
        self._chance = random.Random(DAYS)
        self._today = datetime.now(UTC)
        self._program = Program(
            find_highball(), clean_environment(HIGHBALL_STATE=str(folder / "hub"), HOME=str(folder)), folder
        )
        self._write_files()

    def serve(self) -> ServedHub:
        """The hub, with nothing declared yet."""
        self._live_through()
        return ServedHub(self._program, self.folder / "hub", ACCOUNT, PASSWORD, role="admin")

    def declare(self, hub: ServedHub) -> None:
        """What somebody who looks after this office has clicked together."""
        for key, title in REPOSITORIES.items():
            spec = {"title": title, "url": str(self.folder / key), "password": {"file": str(self._password)}}
            hub.send(f"repositories?key={key}", spec)
        hub.send("profiles?key=office", {"retention": {"last": 7, "daily": 14, "weekly": 8, "monthly": 12}})
        for job in JOBS:
            spec = {"title": job.title, "schedule": job.schedule, "repositories": list(job.repositories)}
            spec |= {"profile": "office", "sources": [str(self._source(job))]} | dict(job.more)
            hub.send(f"jobs?key={job.key}", spec)
        job, changed = JOBS[0], {"tags": ["office"]}
        for more in (changed, changed | {"exclude": ["*.tmp", "~$*"]}):
            now = hub.get(f"jobs/{job.key}")
            known = {"if-match": f'"{now["revision"]}"'}
            hub.send(f"jobs/{job.key}", now["spec"] | more, method="PUT", **known)

    def work(self, hub: ServedHub) -> None:
        """This night's runs, for real."""
        for job in JOBS:
            hub.carry_out({"task": "backup", "job": job.key}, outcomes=("success", "failure"))
        hub.carry_out({"task": "check", "repository": "vault"})
        for job in JOBS[:3]:
            hub.carry_out({"task": "verify", "job": job.key, "repository": "vault"})

    # --- what there is to protect, and the month ---

    @property
    def _password(self) -> Path:
        return self.folder / "keys" / "restic"

    def _source(self, job: Kept) -> Path:
        return self.folder / "data" / job.key

    def _write_files(self) -> None:
        self._password.parent.mkdir(mode=0o700)
        self._password.write_text("only for pictures\n")
        self._password.chmod(0o600)
        for job in JOBS:
            for number in range(PIECES):
                path = self._source(job) / f"{2020 + number // 2}" / f"{job.key}-{number:02}.dat"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._chance.randbytes(job.size // PIECES))
        policy = self.folder / "hub" / "agent" / "policy.toml"
        policy.parent.mkdir(mode=0o700, parents=True)
        policy.write_text('commands = "always"\n')

    def _live_through(self) -> None:
        for repository in REPOSITORIES:
            self._call(repository, "init")
        database = open_database(self.folder / "hub" / "highball.db")
        settings = {"host": HOST, "restic": str(self._restic)}
        Documents(database).patch(
            *("settings", "settings", settings), expected=0, now=self._today, actor=Actor(ACCOUNT)
        )
        with database.write() as connection:
            for number, (day, job) in enumerate(self._nights()):
                for table, row in self._rows(job, day, number):
                    connection.execute(table.insert().values(**row))
            for row in self._trend():
                connection.execute(repository_days.insert().values(**row))
        database.close()

    def _nights(self) -> list[tuple[int, Kept]]:
        """What ran, oldest first: how many days ago, and the job."""
        return sorted(
            ((day, job) for job in JOBS for day in job.days()), key=lambda ran: (-ran[0], ran[1].clock)
        )

    def _rows(self, job: Kept, day: int, number: int) -> Iterator[tuple[Any, dict[str, Any]]]:
        at = self._due(job, day)
        outcome = "failure" if day in job.failed else "warning" if day in job.warned else "success"
        told = {"outcome": outcome, "started_at": at}
        if outcome == "failure":
            told |= {"reason_code": "restic_failed", "reason_message": "the repository was out of reach"}
        ended = at + timedelta(seconds=self._chance.randint(4, 70))
        run: dict[str, Any] = {
            "id": new_run_id(at, number),
            "kind": "backup",
            "action": "backup",
            "job": job.key,
        }
        run |= {"host": HOST, "state": "done", "created_at": at, "ended_at": ended, "last_seq": 0}
        run |= {"origin": "schedule", "nominal_at": at, "subject": f"backup:{job.key}"}
        yield runs, run | told
        for place, repository in enumerate(job.repositories, start=1):
            account = self._account(job, day, repository, outcome) | {"number": place, "job": job.key}
            account |= {"started_at": f"{at:%Y-%m-%dT%H:%M:%SZ}", "ended_at": f"{ended:%Y-%m-%dT%H:%M:%SZ}"}
            step = {"run": run["id"], "number": place, "action": "backup", "repository": repository}
            yield steps, step | {"job": job.key, "outcome": outcome, "ended_at": ended, "account": account}
            if account["snapshot_id"]:
                row = {"repository": repository, "id": account["snapshot_id"], "host": HOST, "job": job.key}
                row |= {"run": run["id"], "time": at, "set": "files", "size_bytes": job.size, "shrank": False}
                yield snapshots, row

    def _due(self, job: Kept, day: int) -> datetime:
        hour, minute = job.clock
        return self._today.replace(hour=hour, minute=minute, second=0, microsecond=0) - timedelta(days=day)

    def _account(self, job: Kept, day: int, repository: str, outcome: str) -> dict[str, Any]:
        added = int(job.size * self._chance.uniform(0.005, 0.04))
        found = {"action": "backup", "repository": repository, "set": "files", "outcome": outcome}
        if outcome == "failure":
            reason = {"code": "restic_failed", "message": "the repository was out of reach"}
            return found | {"reason": reason, "snapshot_id": None}
        snapshot = self._save(job, day, repository) if day <= 14 or day % 7 == 0 else None
        return found | {
            "snapshot_id": snapshot,
            "files_new": self._chance.randint(0, 3),
            "files_changed": self._chance.randint(0, 4),
            "files_unmodified": PIECES - 4,
            "bytes_processed": job.size,
            "bytes_added": added,
        }

    def _save(self, job: Kept, day: int, repository: str) -> str:
        at = f"{self._due(job, day):%Y-%m-%d %H:%M:%S}"
        tags = f"hb:job={job.key},hb:set=files,hb:run=of-day-{day}"
        words = ("backup", "--json", "--host", HOST, "--tag", tags, "--time", at, str(self._source(job)))
        short = json.loads(self._call(repository, *words).splitlines()[-1])["snapshot_id"]
        (path,) = (self.folder / repository / "snapshots").glob(
            f"{short}*"
        )  # restic 0.14 tells no more of it
        return path.name

    def _call(self, repository: str, *words: str) -> str:
        environment = {
            "RESTIC_REPOSITORY": str(self.folder / repository),
            "RESTIC_PASSWORD_FILE": str(self._password),
            "RESTIC_CACHE_DIR": str(self.folder / "cache"),
            "TZ": "UTC",
        }
        restic = Program((str(self._restic),), clean_environment(**environment), self.folder)
        return restic.run(*words).output

    def _trend(self) -> Iterator[dict[str, Any]]:
        for repository in REPOSITORIES:
            size = sum(job.size for job in JOBS if repository in job.repositories)
            for back in range(90, 0, -1):
                day: date = (self._today - timedelta(days=back)).date()
                grown = 1 - back / 400 + self._chance.uniform(0, 0.01)
                held = {"bytes_stored": int(size * grown), "bytes_restorable": int(size * grown * 19)}
                yield {"repository": repository, "day": day.isoformat(), **held, "snapshots": 160 - back // 2}
