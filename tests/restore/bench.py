"""What every test of a restore needs: a repository with a snapshot, and a run to restore in."""

import os
import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from highball.agent.run.restore import plan_restore, restore
from highball.agent.run.steps import StepResult, Steps
from highball.agent.run.verify import verify
from highball.agent.run_directory import RunDirectory
from highball.agent.state_dir import Workplace
from highball.engine.base import Listener, OpenRepository
from highball.engine.restic.access import RepositoryAccess
from highball.engine.restic.commands import Restic
from highball.engine.restic.declaration import ResticRepository
from highball.engine.restic.open_repository import OpenResticRepository
from highball.engine.restic.program import ResticBinary as Binary
from highball.errors import HighballError
from highball.model.run import (
    Outcome,
    Progress,
    Reason,
    RunKind,
)
from highball.place.local import LOCAL
from highball.process.child import Stop
from highball.protocol.queries import RestorePlan
from highball.protocol.tasks import (
    Assignment,
    Overwrite,
    RestoreTask,
    VerifyTask,
)
from highball.secret import SecretReference, SecretValue
from testbed.photograph import Photograph
from testbed.restic import Location, ResticBinary
from testbed.written import WrittenRepository

PASSWORD = b"correct horse battery staple"
KEY = "nas"


@dataclass
class Bench:
    """One repository, one snapshot of it, and any number of restores out of it."""

    folder: Path
    binary: ResticBinary
    stop: Stop = field(default_factory=Stop)
    snapshot: str = ""
    started: int = 0
    progress: list[Progress] = field(default_factory=list)
    on_start: Callable[[int], None] = lambda pid: None
    saved: set[bytes] = field(default_factory=set)
    """All paths that were ever saved."""
    around: list[bytes] = field(default_factory=list)
    """What is photographed before and after each restore; the folder of the test, unless told otherwise."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.password_file = self.folder / "password"
        self.password_file.write_bytes(PASSWORD)
        self.location = Location("local", str(self.folder / "repository"))
        self.place = Workplace(self.folder / "state")
        self.place.prepare()
        # written, not made by restic: its key opens at once, where a real one costs half a second a process
        WrittenRepository(self.folder / "repository", PASSWORD.decode(), seed=random.getrandbits(32))

    def back_up(self, *paths: bytes) -> str:
        """Save paths; the snapshot's full id."""
        at = {"at": self.location, "password_file": self.password_file}
        self.saved.update(path for top in paths for path in _all_below(top))
        self.binary.run("backup", "--", *paths, **at)  # type: ignore[arg-type]
        found = self.binary.json("snapshots", **at)  # type: ignore[arg-type]
        self.snapshot = str(max(found, key=lambda one: str(one["time"]))["id"])
        return self.snapshot

    def restore(
        self,
        paths: Sequence[bytes],
        target: bytes | None = None,
        overwrite: Overwrite = Overwrite.IF_CHANGED,
    ) -> StepResult:
        """Carry a restore out, errors told as a step tells them."""
        task = RestoreTask(
            repository=KEY, snapshot_id=self.snapshot, paths=tuple(paths), target=target, overwrite=overwrite
        )
        around = self.around or [os.fsencode(self.folder.parent)]
        restless = [os.fsencode(self.folder)]
        before = Photograph.take(around, restless)
        done = self._carry_out(task, lambda steps, restic: restore(steps, restic, task))
        placed = [_as_placed(path) for path in paths]
        base = b"" if target is None else os.path.realpath(target)
        asked = [os.path.normpath(base + path) for path in placed]
        mine = {path for path in before.seen if _source_of(path, target) not in self.saved}
        found = before.differences(Photograph.take(around, restless), asked, mine)
        assert found == [], "\n".join(found)
        return done

    def verify(
        self, *, all_data: bool = False, files: int = 20, size: int = 1024**3, **more: Any
    ) -> StepResult:
        """Carry a proof of restore out."""
        task = VerifyTask(
            repository=KEY,
            snapshot_id=self.snapshot,
            all_data=all_data,
            sample_files=files,
            sample_bytes=size,
            **more,
        )
        return self._carry_out(task, lambda steps, restic: verify(steps, restic, task))

    def plan(
        self,
        paths: Sequence[bytes],
        target: bytes | None = None,
        overwrite: Overwrite = Overwrite.IF_CHANGED,
    ) -> RestorePlan:
        """What a restore would do."""
        about = (self.restic(Listener()), self.snapshot, paths, target, overwrite)
        with LOCAL.files() as files:
            return plan_restore(*about, files, self.place.scratch)

    def restic(self, listener: Listener) -> OpenRepository:
        """The product's own restic on this repository."""
        access = RepositoryAccess(
            location=SecretValue(os.fsencode(self.location.repository)),
            shown=self.location.repository,
            password=SecretValue(PASSWORD),
        )
        binary = Binary(self.binary.path, self.binary.version)
        return OpenResticRepository(
            Restic(
                binary, KEY, access, self.place.cache, self.place.scratch, "run", "UTC", listener, self.stop
            )
        )

    def log(self) -> str:
        """The log of the last run."""
        return "\n".join(getattr(event, "text", "") for event in self.directory.read_events())

    def _carry_out(
        self, task: RestoreTask | VerifyTask, body: Callable[[Steps, OpenRepository], StepResult]
    ) -> StepResult:
        secret = SecretReference(file=self.password_file)
        assignment = Assignment(
            run=str(uuid.uuid4()),
            kind=RunKind.RESTORE,
            job="docs",
            host="here",
            task=task,
            repositories={KEY: ResticRepository(url=self.location.repository, password=secret)},
            wait=timedelta(seconds=20),
            created_at=datetime.now(UTC),
        )
        self.directory = RunDirectory.create(self.place.runs, assignment)
        self.steps = Steps(self.directory, self.place, self.stop, on_progress=self.progress.append)
        self.started = 0

        def started(pid: int) -> None:
            self.started += 1
            self.on_start(pid)

        try:
            restic = self.restic(Listener(self.steps.log, self.steps.progress, started))
            return body(self.steps, restic)
        except HighballError as error:
            outcome = Outcome.CANCELLED if error.code == "cancelled" else Outcome.FAILURE
            return StepResult(outcome, Reason(code=error.code, message=error.message))
        finally:
            self.directory.release()


def _all_below(top: bytes) -> set[bytes]:
    found = {folder + b"/" + name for folder, below, names in os.walk(top) for name in below + names}
    return {top, *found}


def _as_placed(path: bytes) -> bytes:
    above, name = os.path.split(path.rstrip(b"/") or b"/")
    return os.path.realpath(above or b"/").rstrip(b"/") + b"/" + name


def _source_of(path: bytes, target: bytes | None) -> bytes:
    return path if target is None else path.removeprefix(os.path.realpath(target))


def came_back(bench: Bench, done: StepResult) -> bool:
    """Whether all of a mixed tree is back; restic before 0.16 lost bytes of a link's target when it saved it."""
    if bench.binary.version >= (0, 16, 0):
        return done.outcome is Outcome.SUCCESS
    return done.outcome is Outcome.WARNING and [w.code for w in done.warnings] == ["link_target_lost"]


def no_leftovers(*folders: bytes | Path) -> bool:
    """Whether nothing of ours is left anywhere below these folders."""
    ours = (b".highball-", b"verify-", b"restore-")
    found = [
        name
        for folder in folders
        for _, subfolders, names in os.walk(os.fsencode(folder))
        for name in subfolders + names
        if name.startswith(ours)
    ]
    return not found
