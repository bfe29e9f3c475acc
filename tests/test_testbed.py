"""The testbed itself: every restic reaches every backend, and each part has the property it is there for."""

# Paths of bytes are beyond pathlib.

import contextlib
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed import parts
from testbed.rest import RestServer
from testbed.restic import Location, ResticBinary
from testbed.s3 import S3Server
from testbed.serving import Server
from testbed.sftp import SftpServer
from testbed.trees import ODD_NAMES, mixed_tree, same_tree
from testbed.unprivileged import Unprivileged


@pytest.mark.each_restic
def test_every_restic_backs_up_to_every_location(
    restic: ResticBinary, location: Location, password_file: Path, tmp_path: Path
) -> None:
    source = tmp_path / "small"
    source.mkdir()
    (source / "hello").write_text("world")

    restic.init(at=location, password_file=password_file)
    restic.run("backup", source, at=location, password_file=password_file)

    (snapshot,) = restic.json("snapshots", at=location, password_file=password_file)
    assert snapshot["paths"] == [str(source)]
    config = restic.json("cat", "config", at=location, password_file=password_file)
    assert config["version"] == 2


def test_every_restic_brings_an_odd_tree_back_unchanged(
    restic: ResticBinary, local_location: Location, password_file: Path, source_tree: bytes, tmp_path: Path
) -> None:
    restic.init(at=local_location, password_file=password_file)
    restic.run("backup", source_tree, at=local_location, password_file=password_file)
    target = tmp_path / "restored"
    restic.run("restore", "latest", "--target", target, at=local_location, password_file=password_file)

    lost = same_tree(source_tree, os.fsencode(target) + source_tree)
    # restic 0.14 keeps a link's target as text: bytes that are no UTF-8 come back as U+FFFD.
    known = r"'links/not-utf-8': target '\xe9\xff' and '\xef\xbf\xbd\xef\xbf\xbd'"
    assert lost == ([known] if restic.version < (0, 18, 0) else [])


def test_append_only_takes_backups_and_refuses_to_forget(
    restic: ResticBinary,
    rest_location: Location,
    rest_admin_location: Location,
    password_file: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("kept")
    restic.init(at=rest_location, password_file=password_file)
    restic.run("backup", tmp_path / "file", at=rest_location, password_file=password_file)

    # restic 0.14 takes the refusal for a passing trouble and asks again for most of a minute.
    with contextlib.suppress(subprocess.TimeoutExpired):
        forget = ("forget", "latest")
        refused = restic.run(*forget, at=rest_location, password_file=password_file, check=False, timeout=5)
        assert b"403" in refused.stdout + refused.stderr
    (kept,) = restic.json("snapshots", "--no-lock", at=rest_location, password_file=password_file)

    restic.run("unlock", "--remove-all", at=rest_admin_location, password_file=password_file)
    restic.run("forget", kept["id"], at=rest_admin_location, password_file=password_file)
    assert restic.json("snapshots", at=rest_location, password_file=password_file) == []


def test_a_private_repository_needs_its_users_password(
    rest_server: RestServer,
    rest_location: Location,
    repository_name: str,
    newest_restic: ResticBinary,
    password_file: Path,
) -> None:
    newest_restic.init(at=rest_location, password_file=password_file)
    _, _, address = rest_location.repository.partition("@")
    for stranger in (f"rest:http://{address}", f"rest:http://keeper:wrong@{address}"):
        refused = newest_restic.run(
            "cat", "config", at=Location("rest", stranger), password_file=password_file, check=False
        )
        assert refused.returncode != 0
        assert b"401" in refused.stderr
    assert (rest_server.data / "keeper" / repository_name).is_dir()


SERVERS: dict[str, Callable[[Path], Server]] = {
    "sshd": SftpServer,
    "rest-server": lambda path: RestServer(path / "data"),
    "moto": S3Server,
}


@pytest.mark.parametrize("kind", SERVERS)
def test_a_stopped_server_is_gone_and_comes_back_at_its_port(kind: str, tmp_path: Path) -> None:
    with SERVERS[kind](tmp_path) as server:
        port, pid = server.port, server.pid
        server.stop()
        assert not Path(f"/proc/{pid}").exists()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((server.host, port), timeout=5)
        server.start()
        assert server.port == port
        socket.create_connection((server.host, port), timeout=5).close()
        again = server.pid
    assert not Path(f"/proc/{again}").exists()


def test_stopping_sshd_ends_its_connections(tmp_path: Path) -> None:
    with SftpServer(tmp_path) as server:
        client = subprocess.Popen(
            [*server.ssh_argv, "echo here; sleep 600"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert client.stdout is not None
        assert client.stdout.readline() == b"here\n"
        server.stop()
        assert client.wait(120) == 255
        client.stdout.close()


class Broken(Server):
    name = "broken"

    def argv(self, port: int) -> list[str | Path]:
        return ["sh", "-c", f"echo cannot listen on {port}; exit 1"]


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"broken did not start:\ncannot listen on \d+\n"):
        Broken(tmp_path / "log").start()


def test_nobody_does_not_read_what_root_does(unprivileged: Unprivileged) -> None:
    secret = unprivileged.directory / "unreadable"
    secret.write_text("secret")
    secret.chmod(0)
    assert secret.read_text() == "secret"

    done = unprivileged.run(["cat", secret])

    assert done.returncode == 1
    assert b"Permission denied" in done.stderr
    assert unprivileged.run(["id", "-u"]).stdout.strip() == str(unprivileged.uid).encode()


def test_nobody_runs_an_installed_restic(unprivileged: Unprivileged, oldest_restic: ResticBinary) -> None:
    program = unprivileged.install(oldest_restic.path)
    assert unprivileged.run([program, "version"]).stdout.startswith(b"restic 0.14.0")


def test_the_same_seed_gives_the_same_tree(tmp_path: Path) -> None:
    one, two, other = (os.fsencode(tmp_path / name) for name in ("one", "two", "other"))
    paths = mixed_tree(one, files=6)
    assert mixed_tree(two, files=6) == paths
    mixed_tree(other, files=6, seed=1)

    assert same_tree(one, two) == []
    assert same_tree(one, other) != []
    assert {b"odd-files/" + name for name in ODD_NAMES} < set(paths)
    assert max(map(len, paths)) == 3500


def append_a_byte(path: bytes) -> None:
    with open(path, "ab") as file:
        file.write(b"!")


def change_the_last_byte(path: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")


def break_the_link(path: bytes) -> None:
    os.rename(path, path + b"~")
    with open(path + b"~", "rb") as old, open(path, "xb") as new:
        new.write(old.read())
    os.unlink(path + b"~")


def point_elsewhere(path: bytes) -> None:
    os.unlink(path)
    os.symlink(b"elsewhere", path)


def make_it_a_file(path: bytes) -> None:
    os.unlink(path)
    open(path, "xb").close()


CHANGES: list[tuple[bytes, Callable[[bytes], None], str]] = [
    (b"special/sparse", append_a_byte, "8388608 bytes and 8388609 bytes"),
    (b"special/sparse", change_the_last_byte, "content from byte 8388607 on"),
    (b"links/hard-2", break_the_link, "one file only in the first"),
    (b"links/dangling", point_elsewhere, "target 'nowhere/at all' and 'elsewhere'"),
    (b"special/fifo", make_it_a_file, "fifo in the first, file in the second"),
    (b"special/empty-file", os.unlink, "only in the first"),
    (b"special/empty-folder/new", make_it_a_file, "only in the second"),
    (b"odd-metadata/mode-4755", lambda path: os.chmod(path, 0o755), "mode 4755 and 0755"),
    (b"odd-metadata/time-0", lambda path: os.utime(path, ns=(0, 1)), "mtime 0 ns and 1 ns"),
]


@pytest.mark.parametrize(("path", "change", "said"), CHANGES)
def test_a_difference_between_trees_is_named(
    path: bytes, change: Callable[[bytes], None], said: str, source_tree: bytes, tmp_path: Path
) -> None:
    copy = os.fsencode(tmp_path / "copy")
    mixed_tree(copy, files=12)
    target = os.path.join(copy, path)
    if path.endswith(b"/new"):
        open(target, "xb").close()
    else:
        change(target)

    assert any(said in line for line in same_tree(source_tree, copy))


@pytest.mark.needs("root")
def test_a_changed_owner_is_named(source_tree: bytes, tmp_path: Path) -> None:
    copy = os.fsencode(tmp_path / "copy")
    mixed_tree(copy, files=12)
    os.chown(os.path.join(copy, b"links/target"), 1, 2)
    assert "links/target': owner 0:0 and 1:2" in " ".join(same_tree(source_tree, copy))


def test_a_missing_part_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"needs restic 0\.1\.0: run scripts/setup tests"):
        parts.get_restic("0.1.0")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"needs restic 0\.1\.0"):
        parts.get_restic("0.1.0")
    assert parts.find_program("no-such-program") is None
