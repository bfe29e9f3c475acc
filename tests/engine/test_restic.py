"""restic itself, all three versions: flags that are accepted, failures that are told apart, names byte for byte."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.test_messages import go_quote
from highball.engine.base import BackupOrder, Listener
from highball.engine.restic import output
from highball.engine.restic.access import RepositoryAccess
from highball.engine.restic.access import access as resolve_access
from highball.engine.restic.argv import RestoreOrder
from highball.engine.restic.commands import (
    LONGEST_MESSAGE,
    Restic,
)
from highball.engine.restic.declaration import ResticRepository
from highball.engine.restic.program import ResticBinary as Binary
from highball.engine.restic.program import Version, read_version
from highball.engine.restic.retrying import FinishedProcess
from highball.engine.restic.ssh import SshOutput
from highball.errors import Failed, RepositoryError
from highball.model.run import Caution
from highball.model.snapshot import Node, Snapshot
from highball.model.text import as_listed
from highball.retention import BUILT_IN, Retention
from highball.secret import SecretValue
from testbed.rest import RestServer
from testbed.restic import Location, ResticBinary
from testbed.s3 import S3Server
from testbed.serving import free_port
from testbed.sftp import SftpServer
from testbed.written import WrittenRepository

pytestmark = pytest.mark.each_restic

PASSWORD = "open sesame"
Opener = Callable[..., Restic]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A folder for temporary files."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def opened(restic: ResticBinary, tmp_path: Path, scratch: Path) -> Opener:
    """The product's restic on a repository, with each version in turn."""

    def open_it(location: Location, password: str = PASSWORD, listener: Listener | None = None) -> Restic:
        options = tuple(
            '"' + option.replace('"', '""') + '"' if '"' in option or "," in option else option
            for option in location.options
            if option != "-o"
        )
        access = RepositoryAccess(
            location=SecretValue(os.fsencode(location.repository)),
            shown="somewhere",
            password=SecretValue(password.encode()),
            environment=location.environment,
            options=options,
        )
        binary = Binary(restic.path, restic.version)
        return Restic(
            binary, "nas", access, tmp_path / "cache", scratch, "test", listener=listener or Listener()
        )

    return open_it


def test_versions_are_read_from_the_real_ones(restic: ResticBinary) -> None:
    import subprocess

    said = subprocess.run([restic.path, "version"], capture_output=True, text=True, check=True).stdout
    assert read_version(said, restic.path) == restic.version


def test_a_long_message_is_cut_only_after_secrets_are_masked(
    opened: Opener, local_location: Location
) -> None:
    restic = opened(local_location)
    for length in range(LONGEST_MESSAGE - 40, LONGEST_MESSAGE):
        said = f"Fatal: {'x' * length}{PASSWORD}{'y' * 1000}"
        message = restic.why(FinishedProcess(1, stopped=False, timed_out=False, log=(said,))).message
        assert len(message) == LONGEST_MESSAGE
        assert "open" not in message


@pytest.mark.parametrize("version", [(0, 16, 0), (0, 16, 3)])
def test_the_compression_that_damages_data_is_refused(
    opened: Opener, local_location: Location, tmp_path: Path, version: Version
) -> None:
    restic = opened(local_location)
    restic.initialise()
    order = BackupOrder([os.fsencode(tmp_path)], [], "here", ("a",), dry_run=True)
    told = replace(restic, binary=replace(restic.binary, version=version))
    with pytest.raises(Failed) as raised:
        told.backup(replace(order, compression="max"))
    assert (raised.value.code, raised.value.hint is not None) == ("compression_unsafe", True)
    assert told.backup(replace(order, compression="auto"))[0].exit_status == 0
    assert restic.backup(replace(order, compression="max"))[0].exit_status == 0


# --- every flag -------------------------------------------------------------------------------------


def accepted(finished: FinishedProcess) -> bool:
    text = "\n".join(finished.log)
    assert "unknown" not in text, text
    assert "invalid" not in text, text
    return finished.exit_status == 0


def test_every_flag_is_accepted(opened: Opener, local_location: Location, tmp_path: Path) -> None:
    WrittenRepository(Path(local_location.repository), password=PASSWORD)
    restic = opened(local_location)
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "file").write_text("x" * 1000)
    (source / "sub" / "[odd] *?\\").write_text("y")
    order = BackupOrder(
        paths=[os.fsencode(source)],
        excludes=[os.fsencode(source) + b"/*.tmp", b"\xff"],
        host="here",
        tags=("hb:job=j", "hb:set=files", "hb:run=r"),
        one_file_system=True,
        exclude_caches=True,
        exclude_if_present=[".nobackup"],
        exclude_larger_than="1000000",
        compression="max",
        read_concurrency=3,
        limit_upload=100000,
        limit_download=100000,
    )
    finished, report = restic.backup(replace(order, dry_run=True))
    assert accepted(finished)
    finished, report = restic.backup(order)
    assert accepted(finished)
    assert report.summary is not None
    (saved,) = restic.list_snapshots(hosts=["there", "here"], tags=["hb:job=j,hb:set=files"])
    assert saved.id.startswith(report.summary.snapshot_id or "?")
    assert (saved.job, saved.set, saved.run) == ("j", "files", "r")
    finished, _ = restic.backup(replace(order, parent=saved.id, compression="off"))
    assert accepted(finished)
    later = next(one for one in restic.list_snapshots() if one.id != saved.id)
    restic.compare(saved.id, later.id, lambda difference: None)
    assert restic.measure() > 0
    assert restic.list_snapshots(hosts=["there"]) == []
    tags = ["hb:job=other,hb:set=files", "hb:job=j,hb:set=files"]
    assert restic.plan_forget(["there", "here"], tags, Retention(last=1)) == {saved.id}

    names_folders = restic.binary.names_folders
    target = tmp_path / "target"
    target.mkdir()
    restoring = RestoreOrder(
        snapshot=saved.id,
        folder=os.fsencode(source / "sub") if names_folders else None,
        includes=[
            rb"/\[odd\] \*\?\\" if names_folders else os.fsencode(source / "sub") + rb"/\[odd\] \*\?\\"
        ],
        target=os.fsencode(target),
    )
    cautions: list[Caution] = []
    assert accepted(restic.restore(restoring, cautions.append))
    assert cautions == []
    assert [name for _, _, names in os.walk(target) for name in names] == ["[odd] *?\\"]
    dumped: list[bytes] = []
    restic.dump(saved.id, os.fsencode(source / "file"), dumped.append)
    assert b"".join(dumped) == b"x" * 1000

    assert restic.list_locks() == []
    assert accepted(restic.unlock())
    assert accepted(restic.unlock(remove_all=True))
    assert accepted(restic.forget([saved.id]))
    finished, pruned = restic.prune()
    assert accepted(finished)
    assert pruned.report.is_shown
    for part in (None, "1/2"):
        finished, found = restic.check(part)
        assert accepted(finished)
        assert found is not None
        assert found.errors == 0
    finished, report = restic.backup(replace(order, parent="f" * 64))
    assert restic.why(finished).code == "snapshot_unknown"
    gone = saved.id
    for ask in (
        lambda: restic.each_node(gone, lambda node: None),
        lambda: restic.list_nodes(gone, b"/", recursive=False),
        lambda: restic.compare(gone, gone, lambda difference: None),
        lambda: restic.dump(gone, b"/", lambda data: None),
    ):
        with pytest.raises(RepositoryError) as raised:
            ask()
        assert raised.value.code == "snapshot_unknown"


def test_a_repository_is_made_once(opened: Opener, local_location: Location) -> None:
    restic = opened(local_location)
    restic.initialise()
    with pytest.raises(RepositoryError) as again:
        restic.initialise()
    assert again.value.code == "already_initialised"
    assert len(restic.read_identity()) == 64


# --- failures ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def locked_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that opens at once, with another machine's exclusive lock in it."""
    written = WrittenRepository(tmp_path_factory.mktemp("written") / "repository", password=PASSWORD)
    written.add(datetime(2026, 3, 1, tzinfo=UTC))
    lock = {
        "time": datetime.now(UTC).isoformat(),
        "exclusive": True,
        "hostname": "other-machine",
        "username": "wrong",
        "pid": 4711,
        "uid": 0,
        "gid": 0,
    }
    sealed = written._seal(lock)
    (written.path / "locks" / hashlib.sha256(sealed).hexdigest()).write_bytes(sealed)
    return written.path


_PLAIN = {"Content-Type": "application/octet-stream"}


def put(repository: Path, location: Location, request: pytest.FixtureRequest) -> None:
    """Copy the repository to where the location is."""
    name = location.repository.rstrip("/").rpartition("/")[2]
    if location.kind == "local":
        shutil.copytree(repository, location.repository)
    elif location.kind == "sftp":
        server: SftpServer = request.getfixturevalue("sftp_server")
        shutil.copytree(repository, server.directory / name)
    elif location.kind == "rest":
        rest: RestServer = request.getfixturevalue("rest_server")
        shutil.copytree(repository, rest.data / (rest.user or "") / name)
    else:
        s3: S3Server = request.getfixturevalue("s3_server")
        for file in repository.rglob("*"):
            if file.is_file():
                where = f"{s3.endpoint}/{s3.bucket}/{name}/{file.relative_to(repository)}"
                put_it = urllib.request.Request(where, file.read_bytes(), _PLAIN, method="PUT")
                urllib.request.urlopen(put_it, timeout=120).close()


def refusal(call: Callable[[], object]) -> RepositoryError:
    with pytest.raises(RepositoryError) as raised:
        call()
    return raised.value


def test_missing_locked_and_closed_repositories_are_told_apart(
    opened: Opener, location: Location, locked_repository: Path, request: pytest.FixtureRequest
) -> None:
    missing = refusal(opened(location).read_identity)
    assert missing.code == "repository_missing", missing
    put(locked_repository, location, request)
    assert len(opened(location).read_identity()) == 64
    # the password is a word of restic's own sentence, and must not be hidden from us before it is read
    wrong = refusal(opened(location, "wrong").read_identity)
    assert wrong.code == "wrong_password", wrong
    restic = opened(location)
    finished, _ = restic.check(None)
    assert restic.why(finished).code == "repository_locked", finished
    error = restic.locked(finished)
    assert error.worth_retrying
    assert "wrong on other-machine (pid 4711" in error.message
    assert [lock.pid for lock in restic.list_locks()] == [4711]


def test_a_password_like_a_word_of_restics_does_not_hide_a_lock(
    opened: Opener, local_location: Location, locked_repository: Path
) -> None:
    shutil.copytree(locked_repository, local_location.repository)
    restic = opened(local_location)
    finished, _ = restic.check(None)
    access = replace(restic.access, parts=(SecretValue(b"lock"), SecretValue(b"repository is already")))
    assert replace(restic, access=access).why(finished).code == "repository_locked"


def test_wrong_credentials_of_a_rest_server(opened: Opener, rest_location: Location) -> None:
    scheme, _, address = rest_location.repository.partition("//")
    other = replace(rest_location, repository=f"{scheme}//keeper:no@{address.rpartition('@')[2]}")
    error = refusal(opened(other).read_identity)
    assert (error.code, "401" in error.message, bool(error.hint)) == ("access_denied", True, True), error


def test_a_program_that_only_calls_itself_restic(opened: Opener, local_location: Location) -> None:
    restic = opened(local_location)
    program = restic.scratch / "restic"
    program.write_text("#!/bin/sh\necho '[1]'\n")
    program.chmod(0o755)
    posing = replace(restic, binary=replace(restic.binary, path=program))
    for question in (
        posing.read_identity,
        posing.list_snapshots,
        lambda: posing.plan_forget("h", (), BUILT_IN),
    ):
        assert refusal(question).code == "unreadable_answer"


def test_excludes_that_fit_no_command_line(opened: Opener, local_location: Location) -> None:
    order = BackupOrder(paths=[b"/x"], excludes=[b"x" * 200_000], host="h", tags=())
    with pytest.raises(Failed, match="1 patterns, 195 KiB"):
        opened(local_location).backup(order)


def test_a_server_that_is_down_is_not_tried_for_longer_than_there_is_patience(opened: Opener) -> None:
    nobody = opened(Location("rest", f"rest:http://127.0.0.1:{free_port()}/x"))
    heard: list[str] = []
    told = Listener(log=lambda stream, text: heard.append(text))
    error = refusal(replace(nobody, patience=timedelta(seconds=0.5), listener=told).read_identity)
    assert error.code == "unreachable"
    assert nobody.binary.version < (0, 17, 0) or "retrying after" in heard[0]
    assert "connection refused" in error.message


def test_a_declared_certificate_reaches_restic(restic: ResticBinary, tmp_path: Path, scratch: Path) -> None:
    certificate = tmp_path / "ca.pem"
    certificate.write_text("no certificate")
    declared = ResticRepository.model_validate(
        {"url": "rest:https://127.0.0.1:1/", "password": {"env": "P"}, "certificate": str(certificate)}
    )
    found = resolve_access(declared, environment={"P": "x"})
    opened = Restic(Binary(restic.path, restic.version), "nas", found, tmp_path / "c", scratch, "test")
    assert ["--cacert", str(certificate)] == list(
        opened._command(["x"], SshOutput(None), json=False).argv[1:3]
    )
    with pytest.raises(RepositoryError) as raised:  # in whatever way, none goes on without it
        opened.read_identity()
    assert raised.value.code == "restic_failed"
    assert "cannot parse root certificate" in raised.value.message


# --- names ------------------------------------------------------------------------------------------

NAMES = [
    b"caf\xe9",
    b"caf\xe8",
    b"caf\xef\xbf\xbd",  # a real U+FFFD
    b"cut\xe2\x82",
    b"\xff",
    b"\xfe\xff",
    b"\xff\xfe",
    b"plain",
    b"caf\xc3\xa9",
    b'quote"back\\slash',
    b"line\nend\ttab\x01\x7f",
    "\u2028\u00ad\u200b😀".encode(),
]


@pytest.fixture(scope="session")
def odd_tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bytes]:
    """Files and folders whose names look the same in restic's JSON, nested in one another."""
    root = os.fsencode(tmp_path_factory.mktemp("odd"))
    for folder in (
        b"",
        b"/d\xff",
        b"/d\xfe",
        b"/d\xff/e\xff",
        b"/d\xff/e\xfe",
        b"/d\xef\xbf\xbd",
        b"/plain-dir",
    ):
        os.makedirs(root + folder, exist_ok=True)
        for name in NAMES:
            with open(root + folder + b"/" + name, "xb") as opened:
                opened.write(name)
    yield root


_SAVED: dict[str, tuple[Location, Snapshot]] = {}


@pytest.fixture
def odd_snapshot(
    opened: Opener, restic: ResticBinary, odd_tree: bytes, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Restic, Snapshot]:
    """A snapshot of the odd tree, made once by each version."""
    if str(restic) not in _SAVED:
        written = WrittenRepository(tmp_path_factory.mktemp("odd") / "repository", password=PASSWORD)
        location = Location("local", str(written.path))
        maker = opened(location)
        maker.backup(BackupOrder(paths=[odd_tree], excludes=[], host="h", tags=("hb:run=r",)))
        _SAVED[str(restic)] = location, maker.list_snapshots()[0]
    location, saved = _SAVED[str(restic)]
    return opened(location), saved


def test_names_that_look_the_same_each_get_their_own_bytes_back(
    odd_snapshot: tuple[Restic, Snapshot], odd_tree: bytes
) -> None:
    restic, saved = odd_snapshot
    found: list[Node] = []
    restic.each_node(saved.id, found.append)
    below = {node.path for node in found if node.path.startswith(odd_tree + b"/")}
    real = {folder + b"/" + name for folder, folders, names in os.walk(odd_tree) for name in folders + names}
    assert below == real
    assert not any(node.inexact for node in found)
    sizes = {node.path: node.size_bytes for node in found if node.kind == "file"}
    assert all(size == len(path.rpartition(b"/")[2]) for path, size in sizes.items())

    entries = restic.read_tree(saved.id, odd_tree)
    assert {entry.name for entry in entries} == set(os.listdir(odd_tree))
    assert restic.read_tree("latest", odd_tree) == restic.read_tree(saved.id[:8], odd_tree) == entries
    with pytest.raises(RepositoryError) as raised:
        restic.read_tree("0123abcd", odd_tree)
    assert raised.value.code == "snapshot_unknown"

    shown: list[Node] = []
    restic.each_node(saved.id, shown.append, exact=False)
    assert {node.path for node in shown} == {as_listed(node.path) for node in found}


def test_one_folder_below_an_odd_one_is_listed_with_its_exact_path(
    odd_snapshot: tuple[Restic, Snapshot], odd_tree: bytes
) -> None:
    restic, saved = odd_snapshot
    folder = odd_tree + b"/d\xff/e\xfe"
    found: list[Node] = []
    restic.each_node(saved.id, found.append, folder)
    real = {folder, *(folder + b"/" + name for name in os.listdir(folder))}
    assert {node.path for node in found if node.path.startswith(odd_tree)} == real


def test_go_quotes_as_our_own_quoter_does(odd_snapshot: tuple[Restic, Snapshot], odd_tree: bytes) -> None:
    restic, saved = odd_snapshot
    tree = saved.tree
    for name in [part for part in odd_tree.split(b"/") if part]:
        entries = output.read_tree(restic._collect("cat", "blob", "--no-lock", str(tree)))
        tree = next(entry.subtree for entry in entries if entry.name == name)
    nodes = json.loads(restic._collect("cat", "blob", "--no-lock", str(tree)))["nodes"]
    assert {node["name"] for node in nodes} == {go_quote(name) for name in os.listdir(odd_tree)}
