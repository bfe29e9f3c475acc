"""A second engine, for tests alone: plain copies of folders, each with a manifest; it proves that none else is known.

`repository.json` holds the identity; a snapshot is a folder below `copies/` and its manifest below `snapshots/`, which
is put there last and goes first. It has no secrets, no locks, no keys, and rehearses no retention.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import io
import json
import os
import secrets
import select
import shutil
import stat
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from highball.engine import kinds
from highball.engine.base import (
    Abilities,
    BackupOrder,
    BackupReport,
    CheckReport,
    DeclaredRepository,
    EngineWords,
    Finished,
    Kept,
    Portion,
    PruneReport,
    Sample,
    Setting,
    StreamedFile,
    Summary,
    Uses,
)
from highball.engine.form import FormField, FormKind, FormRow, RepositoryFields
from highball.engine.tags import read_job, read_run, read_set
from highball.errors import RepositoryError
from highball.model.run import Caution, Progress
from highball.model.snapshot import Difference, Node, NodeKind, Snapshot
from highball.place.base import Files, Place
from highball.process.child import Inside, Stop
from highball.secret import SecretReference, SecretValue

FOLDER = FormField(slot="folder", label="Folder of the copies", placeholder="/mnt/copies")
FORM = RepositoryFields(
    kinds=(FormKind("folder", "Folder", "On a disk of the host", {}, on_disk=True),),
    where=(FormRow((FOLDER,)),),
)
SAMPLE = Sample(needed={"folder": "/mnt/nas/copies"})
WORDS = EngineWords(name="copies", failed="copies_failed", passing=frozenset({"unreachable"}))


def _check_whole(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("is not an absolute path")
    return path


class CopiesRepository(DeclaredRepository):
    """A folder of copies."""

    engine: Literal["copies"] = Field("copies", description="what writes it")
    folder: Annotated[Path, AfterValidator(_check_whole)] = Field(description="where the copies lie")

    @property
    def address(self) -> str:
        return str(self.folder)

    @property
    def local_folder(self) -> Path | None:
        return self.folder

    def is_in_its_folder(self, files: Files) -> bool:
        return (self.folder / "repository.json").exists()

    @property
    def files(self) -> Mapping[str, Path]:
        return {}

    def uses(self) -> Mapping[str, Uses]:
        return {"folder": Uses(places=[self.folder])}

    def secrets(self) -> list[tuple[str, SecretReference]]:
        return []

    def with_places(self, id: str) -> Self:
        return self

    @property
    def has_admin(self) -> bool:
        return False

    def as_admin(self) -> Self:
        return self

    def without_admin(self) -> Self:
        return self

    def with_sealed(self, slot: str) -> Self | None:
        return None

    def destinations(self, *, admin: bool) -> dict[str, frozenset[str]]:
        return {}

    def servers_for(self, slot: str) -> frozenset[str]:
        return frozenset()

    def endpoints(self) -> frozenset[str]:
        return frozenset({"local"})


@dataclass(frozen=True)
class _Copied:
    """An entry of a snapshot, as its manifest keeps it."""

    path: bytes
    kind: NodeKind
    size: int
    mode: int
    uid: int
    gid: int
    modified_ns: int
    digest: str | None

    @classmethod
    def of(cls, path: bytes, seen: os.stat_result, digest: str | None) -> _Copied:
        kind = _kind_of(seen)
        size = seen.st_size if kind is NodeKind.FILE else 0
        mode = stat.S_IMODE(seen.st_mode)
        return cls(path, kind, size, mode, seen.st_uid, seen.st_gid, seen.st_mtime_ns, digest)

    @property
    def node(self) -> Node:
        return Node(
            path=self.path,
            kind=self.kind,
            size_bytes=self.size if self.kind is NodeKind.FILE else None,
            mode=self.mode,
            uid=self.uid,
            gid=self.gid,
            modified_at=datetime.fromtimestamp(self.modified_ns // 1_000_000_000, UTC),
            modified_ns=self.modified_ns,
        )


def _kind_of(seen: os.stat_result) -> NodeKind:
    kinds = {stat.S_IFREG: NodeKind.FILE, stat.S_IFDIR: NodeKind.DIRECTORY, stat.S_IFLNK: NodeKind.SYMLINK}
    return kinds.get(stat.S_IFMT(seen.st_mode), NodeKind.OTHER)


@dataclass(frozen=True)
class _Manifest:
    """A snapshot and its entries, parents before children."""

    snapshot: Snapshot
    entries: tuple[_Copied, ...]

    def write(self, path: Path) -> None:
        told = [
            [base64.b64encode(one.path).decode(), one.kind.value, *(getattr(one, n) for n in _NUMBERS)]
            for one in self.entries
        ]
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"snapshot": self.snapshot.model_dump(mode="json"), "entries": told}))
        fresh.replace(path)

    @classmethod
    def read(cls, path: Path) -> _Manifest:
        told = json.loads(path.read_bytes())
        entries = (
            _Copied(base64.b64decode(at), NodeKind(kind), *rest) for at, kind, *rest in told["entries"]
        )
        return cls(Snapshot.model_validate(told["snapshot"]), tuple(entries))


_NUMBERS = ("size", "mode", "uid", "gid", "modified_ns", "digest")


@dataclass(frozen=True)
class OpenCopies:
    """A folder of copies at work."""

    folder: Path
    setting: Setting
    locks: None = None
    keys: None = None
    rehearsal: None = None
    words: EngineWords = WORDS
    version: str = "1"
    abilities: Abilities = field(default_factory=Abilities)
    secrets: Sequence[SecretValue] = ()

    @property
    def key(self) -> str:
        return self.setting.key

    @property
    def shown(self) -> str:
        return str(self.folder)

    @property
    def scratch(self) -> Path:
        return self.setting.scratch

    def having(self, *, stop: Stop | None = None, patience: timedelta | None = None) -> Self:
        return replace(self, setting=replace(self.setting, stop=stop or self.setting.stop))

    # --- what it is, and what it holds ---

    def read_identity(self) -> str:
        try:
            return str(json.loads((self.folder / "repository.json").read_bytes())["id"])
        except FileNotFoundError:
            message = f"there is no repository at {self.folder}"
            raise RepositoryError(message, code="repository_missing") from None

    def initialise(self) -> None:
        if (self.folder / "repository.json").exists():
            raise RepositoryError("there is one already", code="already_initialised")
        for name in ("copies", "snapshots"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "repository.json").write_text(json.dumps({"id": secrets.token_hex(32)}))

    def list_snapshots(
        self, *, hosts: Sequence[str] = (), tags: Sequence[str] = (), timeout: timedelta | None = None
    ) -> list[Snapshot]:
        self.read_identity()
        wanted = [set(joined.split(",")) for joined in tags]
        found = [_Manifest.read(path).snapshot for path in (self.folder / "snapshots").glob("*.json")]
        return [
            one.model_copy(update={"repository": self.key})
            for one in sorted(found, key=lambda one: one.time)
            if (not hosts or one.host in hosts) and (not wanted or any(w <= set(one.tags) for w in wanted))
        ]

    def list_some(
        self, hosts: Sequence[str], tags: Sequence[str], timeout: timedelta
    ) -> tuple[list[Snapshot], int]:
        return self.list_snapshots(hosts=hosts, tags=tags), len(self.list_snapshots())

    def exact_paths(self, snapshot: Snapshot) -> list[bytes]:
        return list(snapshot.paths)

    def list_folder(self, snapshot: str, folder: bytes) -> Iterator[Node]:
        found: list[Node] = []
        self.each_node(snapshot, found.append, (folder,), recursive=False)
        return iter(found)

    def each_node(
        self,
        snapshot: str,
        on_node: Callable[[Node], None],
        folders: Sequence[bytes] = (),
        *,
        recursive: bool = True,
    ) -> None:
        for one in self._manifest(snapshot).entries:
            if not folders or any(_is_in(one.path, folder, recursive=recursive) for folder in folders):
                on_node(one.node)

    def dump(self, snapshot: str, path: bytes, on_data: Callable[[bytes], None]) -> None:
        manifest = self._manifest(snapshot)
        found = next((one for one in manifest.entries if one.path == path), None)
        if found is None:
            raise RepositoryError("this path is not in the snapshot", code="path_unknown")
        copy = self._copy_of(manifest.snapshot.id, path)
        if found.kind is NodeKind.FILE:
            on_data(Path(os.fsdecode(copy)).read_bytes())
            return
        with io.BytesIO() as held:
            with tarfile.open(fileobj=held, mode="w") as archive:
                archive.add(os.fsdecode(copy), arcname=os.fsdecode(path).lstrip("/"))
            on_data(held.getvalue())

    def compare(self, old: str, new: str, on_difference: Callable[[Difference], None]) -> None:
        before, after = ({one.path: one for one in self._manifest(id).entries} for id in (old, new))
        for path in sorted(before.keys() | after.keys()):
            was, now = before.get(path), after.get(path)
            if was is None or now is None:
                on_difference(Difference(path=path, modifier="+" if was is None else "-"))
            elif was.digest != now.digest:
                on_difference(Difference(path=path, modifier="M"))

    def measure(self) -> int:
        return sum(path.lstat().st_size for path in (self.folder / "copies").rglob("*") if path.is_file())

    def _manifest(self, snapshot: str) -> _Manifest:
        self.read_identity()
        known = sorted((self.folder / "snapshots").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        found = known[-1:] if snapshot == "latest" else [p for p in known if p.name.startswith(snapshot)]
        if len(found) != 1:
            raise RepositoryError("the repository does not know this snapshot", code="snapshot_unknown")
        return _Manifest.read(found[0])

    def _copy_of(self, snapshot: str, path: bytes) -> bytes:
        return os.fsencode(self.folder / "copies" / snapshot) + path

    # --- what it does ---

    def back_up(self, order: BackupOrder) -> tuple[Finished, BackupReport]:
        report = BackupReport()
        try:
            self.read_identity()
            before = self._before(order)
        except RepositoryError as error:
            return Finished(failure=error), report
        id = secrets.token_hex(32)
        place = self.folder / "copies" / id
        entries: list[_Copied] = []
        if order.stream is not None:
            content = self._read(order.stream)
            if content is None:
                stopped = self.setting.stop.requested
                return self._stopped(place) if stopped else _failed("not all of it came"), report
            self._take_printed(place, order.stream.name, content, entries, dry=order.dry_run)
        try:
            for path in _walk(order.paths, order.excludes):
                if self.setting.stop.requested:
                    return self._stopped(place), report
                self._take(place, path, entries, report, dry=order.dry_run)
                self.setting.listener.progress(Progress(files_done=len(entries)))
        except OSError as error:
            shutil.rmtree(place, ignore_errors=True)
            return _failed(f"the repository cannot be written: {error}"), report
        files = [one for one in entries if one.kind is NodeKind.FILE]
        size = sum(one.size for one in files)
        known = {one.path: one.digest for one in before}
        report.summary = Summary(
            snapshot_id=None if order.dry_run else id,
            files_new=sum(one.path not in known for one in files),
            files_changed=sum(known.get(one.path, one.digest) != one.digest for one in files),
            files_unmodified=sum(known.get(one.path) == one.digest for one in files),
            bytes_processed=size,
            bytes_added=size,
        )
        if not order.dry_run:
            snapshot = Snapshot(
                id=id,
                time=datetime.now(UTC),
                job=read_job(order.tags),
                set=read_set(order.tags),
                run=read_run(order.tags),
                host=order.host,
                tags=tuple(order.tags),
                paths=tuple(sorted(order.paths)) or tuple(one.path for one in entries),
                repository=self.key,
                size_bytes=size,
                files=len(files),
                parent=order.parent,
            )
            _Manifest(snapshot, tuple(entries)).write(self.folder / "snapshots" / f"{id}.json")
        return _failed("not everything could be read") if report.cautions else Finished(), report

    def _before(self, order: BackupOrder) -> Sequence[_Copied]:
        return self._manifest(order.parent).entries if order.parent is not None else ()

    def _take(
        self, place: Path, path: bytes, entries: list[_Copied], report: BackupReport, *, dry: bool
    ) -> None:
        try:
            seen = os.lstat(path)
            content = _content_of(path, seen)
        except OSError as error:
            message = (error.strerror or str(error)).lower()
            report.note(Caution(code="file_unreadable", message=message, path=path))
            return
        digest = None if content is None else hashlib.sha256(content).hexdigest()
        copied = _Copied.of(path, seen, digest)
        entries.append(copied)
        if not dry:
            _put(os.fsencode(place) + path, copied, content)

    def _read(self, stream: StreamedFile) -> bytes | None:
        """All that it prints; None where it does not end well, or nobody wants it any more."""
        feed = stream.open()
        parts = []
        feed.begin()
        try:
            while not (feed.is_broken or self.setting.stop.requested):
                feed.tick()
                if select.select([feed.reading], [], [], 0.05)[0]:
                    parts.append(os.read(feed.reading, 1 << 16))
                    if not parts[-1]:
                        return b"".join(parts)
        finally:
            feed.end()
        return None

    def _take_printed(
        self, place: Path, name: str, content: bytes, entries: list[_Copied], *, dry: bool
    ) -> None:
        told = (len(content), 0o600, os.getuid(), os.getgid(), time.time_ns())
        digest = hashlib.sha256(content).hexdigest()
        entries.append(_Copied(os.fsencode(f"/{name}"), NodeKind.FILE, *told, digest))
        if not dry:
            _put(os.fsencode(place / name), entries[-1], content)

    def _stopped(self, place: Path) -> Finished:
        shutil.rmtree(place, ignore_errors=True)
        return replace(_failed("interrupted"), stopped=True)

    def remove(self, ids: Sequence[str]) -> Finished:
        for id in ids:
            (self.folder / "snapshots" / f"{id}.json").unlink(missing_ok=True)
        return Finished()

    def prune(self) -> tuple[Finished, PruneReport]:
        before = self.measure()
        known = {path.stem for path in (self.folder / "snapshots").glob("*.json")}
        for place in (self.folder / "copies").iterdir():
            if place.name not in known:
                shutil.rmtree(place)
        return Finished(), PruneReport(is_shown=True, freed=before - self.measure())

    def check(self, slice: str | None) -> tuple[Finished, CheckReport]:
        wrong = 0
        for path in (self.folder / "snapshots").glob("*.json"):
            manifest = _Manifest.read(path)
            for one in manifest.entries:
                wrong += not self._is_whole(manifest.snapshot.id, one, reads=slice is not None)
        report = CheckReport(is_shown=True, is_damaged=wrong > 0, errors=wrong)
        return (_failed(f"{wrong} copies are not as they were") if wrong else Finished()), report

    def _is_whole(self, snapshot: str, one: _Copied, *, reads: bool) -> bool:
        copy = Path(os.fsdecode(self._copy_of(snapshot, one.path)))
        if not os.path.lexists(copy):
            return False
        if one.kind is not NodeKind.FILE:
            return True
        content = copy.read_bytes()
        return len(content) == one.size and (not reads or hashlib.sha256(content).hexdigest() == one.digest)

    def portions(self, paths: Iterable[bytes]) -> Iterator[list[bytes]]:
        yield list(paths)

    def restore(
        self, portion: Portion, on_caution: Callable[[Caution], None], on_lost: Callable[[bytes | None], None]
    ) -> Finished:
        try:
            manifest = self._manifest(portion.snapshot)
        except RepositoryError as error:
            return Finished(failure=error)
        folder = portion.folder.rstrip(b"/")
        target = _reached(portion.target)
        below = [one for one in manifest.entries if one.path.startswith(folder + b"/")]
        chosen = [one for one in below if _is_chosen(one.path[len(folder) :], portion.paths)]
        lost = False
        for one in chosen:
            told = one.path[len(folder) :]
            try:
                content = _content_of(self._copy_of(manifest.snapshot.id, one.path), None, one.kind)
                if one.digest is not None and hashlib.sha256(content or b"").hexdigest() != one.digest:
                    raise OSError("the copy is not as it was")
                _put(target + told, one, content)
            except OSError as error:
                lost = True
                on_caution(Caution(code="file_unreadable", message=error.strerror or str(error), path=told))
                on_lost(told)
        for one in reversed(chosen):  # what was put into a folder changed its time
            if one.kind is NodeKind.DIRECTORY and os.path.lexists(target + one.path[len(folder) :]):
                os.utime(target + one.path[len(folder) :], ns=(one.modified_ns, one.modified_ns))
        return _failed("not everything could be restored") if lost else Finished()


def _failed(message: str) -> Finished:
    return Finished(failure=RepositoryError(message, code=WORDS.failed))


def _is_in(path: bytes, folder: bytes, *, recursive: bool) -> bool:
    if path == folder:
        return True
    below = path.startswith(folder.rstrip(b"/") + b"/")
    return below and (recursive or os.path.dirname(path) == (folder.rstrip(b"/") or b"/"))


def _is_chosen(path: bytes, paths: Sequence[bytes]) -> bool:
    """Whether it is one of the paths, below one, or on the way to one; no paths are everything."""
    return not paths or any(
        path == one or path.startswith(one + b"/") or one.startswith(path + b"/") for one in paths
    )


def _walk(paths: Sequence[bytes], excludes: Sequence[bytes]) -> Iterator[bytes]:
    """Everything below the paths, and the folders above them, parents before children."""
    above: set[bytes] = set()
    for top in sorted(paths):
        parts = top.strip(b"/").split(b"/")
        for count in range(1, len(parts)):
            folder = b"/" + b"/".join(parts[:count])
            if folder not in above:
                above.add(folder)
                yield folder
        yield from _below(top, excludes)


def _below(path: bytes, excludes: Sequence[bytes]) -> Iterator[bytes]:
    if any(fnmatch.fnmatchcase(os.fsdecode(path), os.fsdecode(pattern)) for pattern in excludes):
        return
    yield path
    if os.path.isdir(path) and not os.path.islink(path):
        try:
            names = sorted(os.listdir(path))
        except OSError:
            return
        for name in names:
            yield from _below(path.rstrip(b"/") + b"/" + name, excludes)


def _content_of(path: bytes, seen: os.stat_result | None, kind: NodeKind | None = None) -> bytes | None:
    """A file's bytes, a link's target; None of anything else."""
    kind = kind or (_kind_of(seen) if seen is not None else None)
    if kind is NodeKind.FILE:
        with open(path, "rb") as opened:
            return opened.read()
    return os.readlink(path) if kind is NodeKind.SYMLINK else None


def _put(path: bytes, copied: _Copied, content: bytes | None) -> None:
    """Make an entry, as it was."""
    if copied.kind is NodeKind.DIRECTORY:
        os.makedirs(path, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.lexists(path):
            os.unlink(path)
        if copied.kind is NodeKind.SYMLINK:
            os.symlink(content or b"", path)
            os.utime(path, ns=(copied.modified_ns, copied.modified_ns), follow_symlinks=False)
            return
        if copied.kind is NodeKind.OTHER:
            return
        Path(os.fsdecode(path)).write_bytes(content or b"")
    os.chmod(path, copied.mode | stat.S_IRWXU if copied.kind is NodeKind.DIRECTORY else copied.mode)
    os.utime(path, ns=(copied.modified_ns, copied.modified_ns))


def _reached(target: bytes | Inside) -> bytes:
    """The folder to write into: by the handle of the folder that it lies in, where that is how it is named."""
    if isinstance(target, bytes):
        return target
    return b"/proc/self/fd/%d" % target.folder + target.path


@dataclass(frozen=True)
class CopiesEngine:
    """Plain copies."""

    words: EngineWords = WORDS
    declared: type[DeclaredRepository] = CopiesRepository
    program: None = None
    form: RepositoryFields = FORM
    sample: Sample = SAMPLE
    rehearses: bool = False
    keeps_keys: bool = False
    repair: None = None

    def spell_address(self, fields: Mapping[str, Any]) -> str:
        return str(fields.get("folder", ""))

    def read_address(self, text: str) -> dict[str, str | int]:
        return {"folder": text}

    def recovery_page(
        self,
        key: str,
        repository: DeclaredRepository,
        kept: Sequence[Kept],
        now: datetime,
        *,
        identity: str | None = None,
        sealed: Mapping[str, SecretValue] | None = None,
    ) -> str:
        return f"# Recovery kit: {key}\n\nThe copies lie in {repository.address}/copies: cp -a brings them back.\n"

    def demand_program(self, named: Path | None, cache: Path, place: Place) -> str:
        return "1"

    def open(
        self,
        repository: DeclaredRepository,
        setting: Setting,
        *,
        admin: bool = False,
        environment: Mapping[str, str] | None = None,
        sealed: Mapping[str, SecretValue] | None = None,
    ) -> OpenCopies:
        assert isinstance(repository, CopiesRepository)
        return OpenCopies(repository.folder, setting)


COPIES = CopiesEngine()


def register() -> None:
    """Let this process know the second engine."""
    if COPIES not in kinds.ENGINES:
        kinds.ENGINES = (*kinds.ENGINES, COPIES)


def forget() -> None:
    """Let this process know it no more."""
    kinds.ENGINES = tuple(engine for engine in kinds.ENGINES if engine != COPIES)
