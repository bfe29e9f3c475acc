"""restic behind the engine port: its commands on one repository, told in the port's words.

What restic calls an exit status, a line of its log or a pattern ends here; `commands` starts it, and nothing in
here judges what it did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from highball.engine.base import (
    Abilities,
    BackupOrder,
    BackupReport,
    CheckReport,
    EngineWords,
    Finished,
    Portion,
    PruneReport,
)
from highball.engine.restic import failures, keyring, output
from highball.engine.restic.argv import RestoreOrder, pattern_of_path, portions
from highball.engine.restic.commands import Restic
from highball.engine.restic.output import CheckResult
from highball.engine.restic.retrying import FinishedProcess
from highball.errors import RepositoryError
from highball.model.run import Caution
from highball.model.snapshot import Difference, Lock, Node, RepositoryKey, Snapshot
from highball.process.child import Stop
from highball.retention import Retention
from highball.secret import SecretValue

WORDS = EngineWords(name="restic", failed="restic_failed", passing=failures.PASSING)

STALE_AFTER = timedelta(minutes=30)
"""restic calls a lock stale that was not refreshed for so long."""


@dataclass(frozen=True)
class OpenResticRepository:
    """A repository that restic opens; it has locks and keys, and rehearses retention."""

    restic: Restic

    @property
    def key(self) -> str:
        """The repository's key in the Document."""
        return self.restic.repository

    @property
    def shown(self) -> str:
        """Where it lies, for people."""
        return self.restic.access.shown

    @property
    def secrets(self) -> Sequence[SecretValue]:
        """All that is never to be shown."""
        return self.restic.access.secrets

    @property
    def scratch(self) -> Path:
        """Where temporary files lie."""
        return self.restic.scratch

    @property
    def words(self) -> EngineWords:
        """What it is called."""
        return WORDS

    @property
    def version(self) -> str:
        """The version of restic."""
        return self.restic.binary.text

    @property
    def abilities(self) -> Abilities:
        """What this version can do."""
        binary = self.restic.binary
        limits = ["sparse files are written out in full", "sockets are never saved"]
        if not binary.names_folders:
            limits.append("restic before 0.16 loses targets of links that are not UTF-8 when it saves")
        return Abilities(
            restores_folders=binary.names_folders,
            tells_progress_of_restores=binary.names_folders,
            keeps_named_files=binary.keeps_named_files,
            limits=limits,
        )

    @property
    def rehearsal(self) -> Self:
        """restic has rules of retention of its own."""
        return self

    @property
    def locks(self) -> Self:
        """restic leaves locks."""
        return self

    @property
    def keys(self) -> Self:
        """Its repositories have keys."""
        return self

    def having(self, *, stop: Stop | None = None, patience: timedelta | None = None) -> Self:
        """The same, which stops or gives up otherwise."""
        restic = self.restic
        changed = replace(restic, stop=stop or restic.stop, patience=patience or restic.patience)
        return replace(self, restic=changed)

    # --- what it is, and what it holds: restic's own answers ---

    def read_identity(self) -> str:
        """restic's id of the repository."""
        return self.restic.read_identity()

    def initialise(self) -> None:
        """Make it."""
        self.restic.initialise()

    def list_snapshots(
        self, *, hosts: Sequence[str] = (), tags: Sequence[str] = (), timeout: timedelta | None = None
    ) -> list[Snapshot]:
        """The snapshots with one of these hosts and one of these tag lists."""
        return self.restic.list_snapshots(hosts=hosts, tags=tags, timeout=timeout)

    def list_some(
        self, hosts: Sequence[str], tags: Sequence[str], timeout: timedelta
    ) -> tuple[list[Snapshot], int]:
        """The same, and how many there are in all."""
        return self.restic.list_some(hosts, tags, timeout)

    def exact_paths(self, snapshot: Snapshot) -> list[bytes]:
        """The paths that a snapshot was made of, byte for byte."""
        return self.restic.exact_paths(snapshot)

    def list_folder(self, snapshot: str, folder: bytes) -> Iterator[Node]:
        """The entries of one folder, and the folder itself."""
        return self.restic.list_nodes(snapshot, folder, recursive=False)

    def each_node(
        self,
        snapshot: str,
        on_node: Callable[[Node], None],
        folders: Sequence[bytes] = (),
        *,
        recursive: bool = True,
    ) -> None:
        """Every entry of a snapshot, or of these folders of it."""
        self.restic.each_node(snapshot, on_node, folders or None, recursive=recursive)

    def dump(self, snapshot: str, path: bytes, on_data: Callable[[bytes], None]) -> None:
        """The content of a file, or a folder as a tar archive."""
        self.restic.dump(snapshot, path, on_data)

    def compare(self, old: str, new: str, on_difference: Callable[[Difference], None]) -> None:
        """Every path that differs between two snapshots."""
        self.restic.compare(old, new, on_difference)

    def measure(self) -> int:
        """How many bytes the repository stores."""
        return self.restic.measure()

    # --- what it does ---

    def back_up(self, order: BackupOrder) -> tuple[Finished, BackupReport]:
        """Save the paths."""
        ended, report = self.restic.backup(order)
        return self._finished(ended), report

    def remove(self, ids: Sequence[str]) -> Finished:
        """Remove these snapshots."""
        return self._finished(self.restic.forget(ids))

    def prune(self) -> tuple[Finished, PruneReport]:
        """Remove data that no snapshot needs."""
        ended, told = self.restic.prune()
        return self._finished(ended), told.report

    def check(self, slice: str | None) -> tuple[Finished, CheckReport]:
        """Check the structure, and read part `n/t` of the data."""
        ended, result = self.restic.check(slice)
        finished = self._finished(ended)
        return finished, CheckReport(
            is_shown=result is not None,
            is_damaged=_is_damage(ended, finished, result),
            errors=result.errors if result else 0,
        )

    def portions(self, paths: Iterable[bytes]) -> Iterator[list[bytes]]:
        """As many paths as fit a command line."""
        return portions(paths)

    def restore(
        self, portion: Portion, on_caution: Callable[[Caution], None], on_lost: Callable[[bytes | None], None]
    ) -> Finished:
        """Write a part of a snapshot; before 0.16 restic takes no folder, so that patterns are whole paths."""
        folder, above = portion.folder.rstrip(b"/"), b""
        named: bytes | None = portion.folder
        if not self.restic.binary.names_folders or not folder:
            named, above = None, folder
        includes = [pattern_of_path(above + path) for path in portion.paths]
        if above and not includes:
            includes = [pattern_of_path(above)]

        def note(caution: Caution) -> None:
            on_caution(caution)
            if not output.spares_content(caution.message):
                on_lost(caution.path)

        def on_text(stream: str, text: str) -> None:
            if (ignored := output.read_ignored(text)) is not None:
                note(ignored)

        order = RestoreOrder(portion.snapshot, named, includes, portion.target)
        return self._finished(self.restic.restore(order, note, on_text))

    # --- capabilities ---

    def plan_forget(self, hosts: Sequence[str], tags: Sequence[str], retention: Retention) -> set[str]:
        """The ids that restic itself would remove by these rules."""
        return self.restic.plan_forget(hosts, tags, retention)

    def list_locks(self) -> list[Lock]:
        """The locks, each with its owner."""
        return self.restic.list_locks()

    def is_stale(self, lock: Lock) -> bool:
        """Whether `restic unlock` removes it: its process is dead here, or it was not refreshed."""
        place = self.restic.place
        dead_here = lock.hostname == place.hostname and not place.is_alive(lock.pid)
        return dead_here or datetime.now(UTC) - lock.created_at > STALE_AFTER

    def unlock(self, *, remove_all: bool = False) -> Finished:
        """Remove the stale locks, or all."""
        return self._finished(self.restic.unlock(remove_all=remove_all))

    def list_keys(self) -> list[RepositoryKey]:
        """The keys, the oldest first."""
        return keyring.list_keys(self.restic)

    def add_key(self, password: SecretValue, user: str, host: str) -> Finished:
        """Let another password open it, too."""
        return self._finished(keyring.add_key(self.restic, password, user, host))

    def remove_key(self, id: str) -> Finished:
        """Let the password of this key open it no more."""
        return self._finished(keyring.remove_key(self.restic, id))

    def opened_by(self, password: SecretValue) -> Self:
        """The same, by this password alone."""
        access = replace(self.restic.access, password=password)
        return replace(self, restic=replace(self.restic, access=access))

    # --- how a process of restic's ended, in the port's words ---

    def _finished(self, ended: FinishedProcess) -> Finished:
        reason = self.restic.why(ended) if ended.log or ended.exit_status != 0 else None
        return Finished(
            failure=self._failure(ended) if ended.exit_status != 0 else None,
            stopped=ended.stopped,
            unanswered=ended.unanswered,
            last_words=reason,
        )

    def _failure(self, ended: FinishedProcess) -> RepositoryError:
        reason = self.restic.why(ended)
        if reason.code == "repository_locked":
            return self.restic.locked(ended)
        return RepositoryError(
            reason.message,
            code=reason.code,
            hint=failures.hint(reason.code),
            retryable=reason.code in failures.RETRYABLE,
        )


def _is_damage(ended: FinishedProcess, finished: Finished, result: CheckResult | None) -> bool:
    """Whether a check found damage: restic calls what kept it from looking an error, too."""
    if finished.failure is None:
        return result is not None and result.errors > 0
    if (result is not None and result.broken_packs) or output.finds_damage(ended.log):
        return True
    return finished.failure.code == WORDS.failed and not output.was_kept_out(ended.log)
