"""What holds for every kind of engine; a new kind is one more bench here."""

from __future__ import annotations

import io
import os
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from highball.config.repository import Repository
from highball.engine import tags
from highball.engine.base import (
    BackupOrder,
    DeclaredRepository,
    Engine,
    Finished,
    Listener,
    OpenRepository,
    Portion,
    Setting,
    StreamedFile,
    Summary,
)
from highball.engine.kinds import ENGINES, AnyRepository, engine_of
from highball.engine.restic.engine import RESTIC
from highball.errors import HighballError
from highball.model.run import Caution
from highball.model.snapshot import Difference, Node, NodeKind, Snapshot
from highball.place.local import LOCAL
from highball.process.child import Command, Stop, run
from highball.process.feed import Feed
from highball.retention import Retention
from testbed import copies
from testbed.restic import ResticBinary
from testbed.trees import same_tree
from testbed.written import WrittenRepository

PASSWORD = "open sesame"
HOST = "here"
RUN = "019b0000-0000-7000-8000-00000000000{}"
SOON = timedelta(minutes=5)


class Bench(ABC):
    """A kind of engine with a folder for its repository, and a source."""

    engine: Engine

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "repository"
        self.source = folder / "source"
        self.log: list[str] = []
        (folder / "scratch").mkdir(parents=True)
        self.fill()

    @abstractmethod
    def written(self, **more: Any) -> dict[str, Any]:
        """The repository as people write it."""

    @abstractmethod
    def make(self) -> None:
        """A repository without a snapshot, quickly."""

    @abstractmethod
    def damage(self) -> None:
        """Spoil what some file was saved as."""

    def setting(self, **more: Any) -> Setting:
        """Where it is opened."""
        scratch, cache = self.folder / "scratch", self.folder / "cache"
        listener = Listener(log=lambda stream, text: self.log.append(text))
        return Setting("nas", "docs_run", cache, scratch, cache, listener=listener, **more)

    @property
    def declared(self) -> DeclaredRepository:
        """The repository as it is declared."""
        return self.engine.declared.model_validate(self.written())

    def open(self) -> OpenRepository:
        """The repository, ready."""
        return self.engine.open(self.declared, self.setting())

    def fill(self) -> None:
        """A source with some of everything."""
        (self.source / "sub").mkdir(parents=True)
        (self.source / "a").write_text("the first")
        (self.source / "[odd] *?").write_text("a pattern's name")
        (self.source / "sub" / "b").write_bytes(os.urandom(50_000))
        (self.source / "sub" / "link").symlink_to("b")
        Path(os.fsdecode(os.fsencode(self.source) + b"/\xff")).write_text("not UTF-8")
        (self.source / "a").chmod(0o640)
        for path in (self.source / "sub" / "b", self.source / "sub", self.source):
            os.utime(path, (1_600_000_000, 1_600_000_000))

    @property
    def top(self) -> bytes:
        """The source's path."""
        return os.fsencode(self.source)

    def order(self, number: int = 1, **more: Any) -> BackupOrder:
        """A backup of the source by a run of this number."""
        usual: dict[str, Any] = {"paths": [self.top], "excludes": [], "host": HOST}
        usual["tags"] = tags.backup_tags("docs", "files", RUN.format(number))
        return BackupOrder(**usual | more)

    def save(self, number: int = 1, **more: Any) -> Summary:
        """Save the source, which has to be a success."""
        finished, report = self.open().back_up(self.order(number, **more))
        assert finished == Finished(last_words=finished.last_words), self.log
        assert (report.cautions, report.unlisted) == ([], 0)
        assert report.summary is not None
        return report.summary

    def list(self) -> list[Snapshot]:
        """All that it holds, the oldest first."""
        return sorted(self.open().list_snapshots(timeout=SOON), key=lambda one: one.time)

    def nodes(self, *folders: bytes, recursive: bool = True) -> dict[bytes, Node]:
        """The entries of the newest snapshot, in order."""
        found: list[Node] = []
        self.open().each_node(self.list()[-1].id, found.append, folders, recursive=recursive)
        return {node.path: node for node in found}


class ResticBench(Bench):
    """restic on a folder."""

    engine = RESTIC

    def __init__(self, folder: Path, restic: ResticBinary) -> None:
        self.restic = restic
        super().__init__(folder)
        (folder / "password").write_text(PASSWORD)

    def written(self, **more: Any) -> dict[str, Any]:
        password = {"file": str(self.folder / "password")}
        return {"url": str(self.repository), "password": password, **more}

    def setting(self, **more: Any) -> Setting:
        return super().setting(program=self.restic.path, **more)

    def make(self) -> None:
        WrittenRepository(self.repository, PASSWORD, seed=1)

    def damage(self) -> None:
        packs = [path for path in (self.repository / "data").rglob("*") if path.is_file()]
        pack = max(packs, key=lambda path: path.stat().st_size)
        content = bytearray(pack.read_bytes())
        content[len(content) // 2] ^= 255
        pack.chmod(0o600)
        pack.write_bytes(content)


class CopiesBench(Bench):
    """Plain copies in a folder."""

    engine = copies.COPIES

    def written(self, **more: Any) -> dict[str, Any]:
        return {"engine": "copies", "folder": str(self.repository), **more}

    def make(self) -> None:
        self.open().initialise()

    def damage(self) -> None:
        [found] = (self.repository / "copies").glob(f"*{self.source}/sub/b")
        found.write_bytes(os.urandom(50_000))


@pytest.fixture(params=["restic", "copies"])
def empty(request: pytest.FixtureRequest, tmp_path: Path, newest_restic: ResticBinary) -> Iterator[Bench]:
    """Each kind in turn, its repository not made yet."""
    copies.register()
    restic = request.param == "restic"
    yield ResticBench(tmp_path, newest_restic) if restic else CopiesBench(tmp_path)
    copies.forget()


@pytest.fixture
def bench(empty: Bench) -> Bench:
    """The same, its repository made."""
    empty.make()
    return empty


def refused(call: Any, *arguments: Any) -> str:
    """The code of the error that a call raises."""
    with pytest.raises(HighballError) as caught:
        call(*arguments)
    assert caught.value.message
    return str(caught.value.code)


def test_every_kind_has_a_bench(empty: Bench) -> None:
    assert {engine.words.name for engine in ENGINES} <= {"restic", "copies"}
    assert empty.engine.words.name == empty.declared.engine


# --- what is declared ----------------------------------------------------------------------------


def test_it_is_declared_flat_and_known_by_its_engine(empty: Bench) -> None:
    written = empty.written(maintenance="user", retention={"last": 3}, title="The vault", when_back=True)
    found = Repository.model_validate(written)
    assert engine_of(found) == empty.engine
    assert isinstance(found, empty.engine.declared)
    assert found.model_dump(mode="json", exclude_unset=True) == written | {"retention": {"last": 3}}
    with pytest.raises(ValidationError, match="Extra inputs"):
        Repository.model_validate(written | {"nonsense": 1})


def test_it_crosses_the_wire_without_what_the_hub_alone_needs(empty: Bench) -> None:
    wire: TypeAdapter[DeclaredRepository] = TypeAdapter(AnyRepository)
    sent = wire.dump_json(Repository.model_validate(empty.written(retention={"last": 3})), exclude_unset=True)
    assert wire.validate_json(sent) == empty.declared


def test_an_engine_that_is_not_known_is_told_with_those_that_are(empty: Bench) -> None:
    with pytest.raises(ValidationError) as caught:
        Repository.model_validate(empty.written() | {"engine": "tar"})
    [wrong] = caught.value.errors()
    assert "is not a known engine" in wrong["msg"]
    assert wrong["ctx"]["all"][0]["hint"] == "one of restic, copies"


def test_it_says_where_it_lies_and_which_secrets_it_has(empty: Bench) -> None:
    declared = empty.declared
    assert (declared.address, declared.local_folder) == (str(empty.repository), empty.repository)
    assert not declared.is_in_its_folder(LOCAL.files())
    empty.make()
    assert declared.is_in_its_folder(LOCAL.files())
    assert set(declared.destinations(admin=True)) <= {slot for slot, _ in declared.secrets()}
    assert declared.with_places("some-id") == declared, "nothing in it is sealed"
    assert (declared.has_admin, declared.has_admin_password) == (False, False)
    assert declared.as_admin() == declared == declared.without_admin()
    assert empty.engine.demand_program(empty.setting().program, empty.folder / "cache", LOCAL)


def test_it_says_what_each_field_that_it_adds_uses_of_the_host(empty: Bench) -> None:
    told = empty.declared.uses()
    assert set(told) == set(empty.engine.declared.model_fields) - set(DeclaredRepository.model_fields)
    assert {place for uses in told.values() for place in uses.places} == {empty.repository}
    assert {slot for uses in told.values() for slot in uses.secrets} == {
        slot for slot, _ in empty.declared.secrets()
    }
    assert {path for uses in told.values() for path in uses.files.values()} == set(
        empty.declared.files.values()
    )


# --- what it is ----------------------------------------------------------------------------------


def test_it_is_made_once_and_is_itself_from_then_on(empty: Bench) -> None:
    assert refused(empty.open().read_identity) == "repository_missing"
    assert refused(empty.open().list_snapshots) == "repository_missing"
    finished, report = empty.open().back_up(empty.order())
    assert finished.failure is not None
    assert (finished.failure.code, report.summary) == ("repository_missing", None)
    empty.open().initialise()
    identity = empty.open().read_identity()
    assert 8 <= len(identity) <= 64 and set(identity) <= set("0123456789abcdef")
    assert refused(empty.open().initialise) == "already_initialised"
    assert empty.open().read_identity() == identity
    assert empty.list() == []


# --- backup --------------------------------------------------------------------------------------


def test_a_backup_is_told_and_then_listed_with_all_that_it_was_ordered_with(bench: Bench) -> None:
    first = bench.save()
    assert (first.files_changed, first.files_unmodified) == (0, 0)
    assert first.files == first.files_new >= 4
    assert first.bytes_processed > 50_000
    [listed] = bench.list()
    assert first.snapshot_id is not None
    assert listed.id.startswith(first.snapshot_id)
    assert (listed.host, listed.paths, listed.repository) == (HOST, (bench.top,), "nas")
    assert (listed.job, listed.set, listed.run) == ("docs", "files", RUN.format(1))
    assert listed.size_bytes == first.bytes_processed


def test_a_parent_tells_what_changed(bench: Bench) -> None:
    first = bench.save()
    (bench.source / "new").write_text("new")
    (bench.source / "a").write_text("the first, changed")
    second = bench.save(2, parent=bench.list()[0].id)
    assert (second.files_new, second.files_changed) == (1, 1)
    assert second.files_unmodified == first.files - 1


def test_a_dry_run_stores_nothing(bench: Bench) -> None:
    summary = bench.save(dry_run=True)
    assert summary.files_new >= 4
    assert bench.list() == []


def test_an_unknown_parent_ends_it_before_anything_is_stored(bench: Bench) -> None:
    finished, report = bench.open().back_up(bench.order(parent="f" * 64))
    assert finished.failure is not None
    assert (finished.failure.code, report.summary) == ("snapshot_unknown", None)
    assert bench.list() == []


def test_who_asks_it_to_stop_finds_no_half_snapshot(bench: Bench) -> None:
    stop = Stop()
    stop.request()
    finished, report = bench.open().having(stop=stop).back_up(bench.order())
    assert finished.stopped
    assert finished.failure is not None
    assert report.summary is None
    assert bench.list() == []
    assert refused(finished.demand) == "cancelled"


def stream_of(shell: str) -> StreamedFile:
    """What this prints, as a file."""
    command = Command(("/bin/sh", "-c", shell), {"PATH": os.defpath})
    return StreamedFile("app.sql", lambda: Feed(run, command, lambda line: None))


def test_what_a_command_prints_is_saved_as_a_file_in_no_folder(bench: Bench) -> None:
    summary = bench.save(paths=(), stream=stream_of("head -c 300000 /dev/zero; echo done"))
    assert (summary.files, summary.bytes_processed) == (1, 300_005)
    [listed] = bench.list()
    assert listed.paths == (b"/app.sql",)
    parts: list[bytes] = []
    bench.open().dump(listed.id, b"/app.sql", parts.append)
    assert b"".join(parts) == bytes(300_000) + b"done\n"


@pytest.mark.parametrize("shell", ["echo something; exit 3", "true", "exec /no/such/program"])
def test_a_command_that_does_not_end_well_is_no_snapshot(bench: Bench, shell: str) -> None:
    finished, _ = bench.open().back_up(bench.order(paths=(), stream=stream_of(shell)))
    assert finished.failure is not None
    assert bench.list() == []


# --- what it holds -------------------------------------------------------------------------------


def test_a_listing_is_by_hosts_and_tag_lists(bench: Bench) -> None:
    bench.save(1)
    bench.save(2, host="there")
    bench.save(3, tags=("hb:job=pics", "hb:set=files"))
    opened = bench.open()
    docs, pics = tags.set_tag_list("docs", "files"), tags.set_tag_list("pics", "files")

    def runs(**wanted: Any) -> list[str | None]:
        return [one.run and one.run[-1] for one in sorted(opened.list_snapshots(**wanted), key=_time)]

    assert runs() == ["1", "2", None]
    assert runs(hosts=[HOST]) == ["1", None]
    assert runs(hosts=[HOST, "there"], tags=[docs]) == ["1", "2"]
    assert runs(tags=[docs, pics]) == ["1", "2", None]
    some, count = opened.list_some([HOST], [docs], SOON)
    assert ([one.run for one in some], count) == ([RUN.format(1)], 3)


def _time(snapshot: Snapshot) -> Any:
    return snapshot.time


def test_every_entry_is_told_parents_first_and_by_its_exact_name(bench: Bench) -> None:
    bench.save()
    found = bench.nodes()
    paths = list(found)
    assert all(
        paths.index(os.path.dirname(path)) < paths.index(path) for path in paths if path.count(b"/") > 1
    )
    expected = [b"/" + part for part in (b"a", b"[odd] *?", b"\xff", b"sub", b"sub/b", b"sub/link")]
    assert {path for path in found if path.startswith(bench.top + b"/")} == {bench.top + e for e in expected}
    assert not any(node.inexact for node in found.values())
    file, link = found[bench.top + b"/a"], found[bench.top + b"/sub/link"]
    assert (file.kind, file.size_bytes, file.mode) == (NodeKind.FILE, len("the first"), 0o640)
    assert link.kind is NodeKind.SYMLINK
    assert found[bench.top + b"/sub/b"].modified_ns == 1_600_000_000 * 10**9
    snapshot = bench.list()[0]
    assert bench.open().exact_paths(snapshot) == [bench.top]


def test_a_folder_is_told_by_itself(bench: Bench) -> None:
    bench.save()
    inner = bench.top + b"/sub"
    assert set(bench.nodes(inner)) == {inner, inner + b"/b", inner + b"/link"}
    assert inner + b"/b" not in bench.nodes(bench.top, recursive=False)
    shallow = {node.path for node in bench.open().list_folder(bench.list()[0].id, bench.top)}
    assert {bench.top + b"/a", inner} <= shallow
    assert inner + b"/b" not in shallow
    assert refused(bench.open().each_node, "e" * 64, lambda node: None) == "snapshot_unknown"


def test_a_file_and_a_folder_are_handed_out_whole(bench: Bench) -> None:
    bench.save()
    snapshot = bench.list()[0].id
    parts: list[bytes] = []
    bench.open().dump(snapshot, bench.top + b"/a", parts.append)
    assert b"".join(parts) == b"the first"
    parts.clear()
    bench.open().dump(snapshot, bench.top + b"/sub", parts.append)
    with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as archive:
        names = [name for name in archive.getnames() if name.endswith("/b")]
        file = archive.extractfile(names[0])
        assert file is not None
        assert file.read() == (bench.source / "sub" / "b").read_bytes()
    assert refused(bench.open().dump, snapshot, bench.top + b"/none", parts.append) == "path_unknown"


def test_two_snapshots_are_compared(bench: Bench) -> None:
    bench.save(1)
    (bench.source / "new").write_text("new")
    (bench.source / "a").write_text("another text altogether")
    bench.save(2)
    old, new = (one.id for one in bench.list())
    found: list[Difference] = []
    bench.open().compare(old, new, found.append)
    told = {one.path: one.modifier for one in found}
    assert (told[bench.top + b"/new"], told[bench.top + b"/a"]) == ("+", "M")
    assert bench.top + b"/sub/b" not in told


# --- upkeep --------------------------------------------------------------------------------------


def test_what_is_removed_is_these_and_no_others_and_prune_frees_it(bench: Bench) -> None:
    bench.save(1)
    (bench.source / "sub" / "b").write_bytes(os.urandom(50_000))
    bench.save(2)
    first, second = bench.list()
    assert bench.open().remove([first.id]).failure is None
    assert [one.id for one in bench.list()] == [second.id]
    finished, report = bench.open().prune()
    assert finished.failure is None
    assert (report.is_shown, report.left) == (True, 0)
    assert report.freed is not None and report.freed >= 50_000
    assert bench.open().measure() >= 50_000
    finished, checked = bench.open().check("1/1")
    assert finished.failure is None
    assert (checked.is_shown, checked.is_damaged, checked.errors) == (True, False, 0)
    assert set(bench.nodes()) > {bench.top + b"/a"}


def test_a_check_that_reads_the_data_finds_damage(bench: Bench) -> None:
    bench.save()
    bench.damage()
    finished, report = bench.open().check("1/1")
    assert report.is_damaged
    assert finished.failure is not None


def test_what_it_cannot_do_it_says(bench: Bench) -> None:
    bench.save(1)
    bench.save(2)
    opened = bench.open()
    assert (opened.rehearsal is not None) == bench.engine.rehearses
    assert (opened.keys is not None) == bench.engine.keeps_keys
    if opened.rehearsal is not None:
        docs = tags.set_tag_list("docs", "files")
        assert opened.rehearsal.plan_forget([HOST], [docs], Retention(last=1)) == {bench.list()[0].id}
    if opened.locks is not None:
        assert opened.locks.list_locks() == []
        assert opened.locks.unlock().failure is None
    if opened.keys is not None:
        assert [key.current for key in opened.keys.list_keys()] == [True]
    assert opened.words.name == bench.engine.words.name
    assert opened.words.failed not in opened.words.passing or "unreachable" in opened.words.passing
    assert opened.version


# --- restore -------------------------------------------------------------------------------------


def bring_back(
    bench: Bench, target: Path, folder: bytes, *paths: bytes
) -> tuple[list[Caution], list[bytes | None]]:
    """Restore paths of the newest snapshot's folder; what was complained of, and what was lost."""
    opened = bench.open()
    cautions: list[Caution] = []
    lost: list[bytes | None] = []
    target.mkdir()
    for some in opened.portions(iter(paths)):
        portion = Portion(bench.list()[-1].id, folder, some, os.fsencode(target))
        finished = opened.restore(portion, cautions.append, lost.append)
        assert (finished.failure is None) == (not lost), bench.log
    return cautions, lost


def test_all_of_a_folder_comes_back_as_it_was(bench: Bench, tmp_path: Path) -> None:
    bench.save()
    assert bring_back(bench, tmp_path / "back", os.path.dirname(bench.top), b"/source") == ([], [])
    assert same_tree(bench.top, os.fsencode(tmp_path / "back" / "source")) == []


def test_no_paths_are_everything(bench: Bench, tmp_path: Path) -> None:
    bench.save()
    bring_back(bench, tmp_path / "back", b"/")
    assert same_tree(bench.top, os.fsencode(tmp_path / "back") + bench.top) == []


def test_only_what_was_chosen_comes_back(bench: Bench, tmp_path: Path) -> None:
    bench.save()
    bring_back(bench, tmp_path / "back", bench.top, b"/[odd] *?", b"/sub/link")
    found = [name for _, _, names in os.walk(tmp_path / "back") for name in names]
    assert sorted(found) == ["[odd] *?", "link"]


def test_what_comes_back_without_its_content_is_named(bench: Bench, tmp_path: Path) -> None:
    bench.save()
    bench.damage()
    cautions, lost = bring_back(bench, tmp_path / "back", bench.top, b"/sub")
    assert cautions
    assert any(path is None or path.endswith(b"/b") for path in lost)


# --- without Highball ----------------------------------------------------------------------------


def test_the_page_to_print_says_where_it_lies(bench: Bench) -> None:
    from highball.engine.base import Kept
    from highball.hub.runs.record import utc_now

    kept = [Kept("docs", bench.top, "files")]
    page = bench.engine.recovery_page("nas", bench.declared, kept, utc_now())
    assert page.startswith("# Recovery kit")
    assert str(bench.repository) in page


@pytest.mark.parametrize("text", ["/mnt/backup/here"])
def test_an_address_is_read_and_spelled(empty: Bench, text: str) -> None:
    assert empty.engine.spell_address(empty.engine.read_address(text)) == text
