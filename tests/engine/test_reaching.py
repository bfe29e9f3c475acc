"""What the storage itself says stands in every failure, and one cause has one code, every time."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from highball.engine.base import BackupOrder, Listener
from highball.engine.restic.access import access
from highball.engine.restic.commands import Restic
from highball.engine.restic.declaration import ResticRepository
from highball.engine.restic.program import ResticBinary as Binary
from highball.engine.restic.retrying import FirstAnswer, Trying
from highball.errors import RepositoryError
from highball.process.child import Stop
from testbed.parts import get_program
from testbed.restic import ResticBinary
from testbed.s3 import S3Server
from testbed.serving import free_port
from testbed.sftp import SftpServer
from testbed.written import WrittenRepository

PASSWORD = "correct horse battery staple"

Opener = Callable[..., Restic]


@pytest.fixture
def reach(newest_restic: ResticBinary, tmp_path: Path, password_file: Path) -> Opener:
    """The product's restic on a declared repository; what it logs goes to `heard`."""
    (tmp_path / "scratch").mkdir()

    def open_it(
        heard: list[str] | None = None,
        restic: ResticBinary = newest_restic,
        within: float | None = None,
        **fields: Any,
    ) -> Restic:
        declared = ResticRepository.model_validate({"password": {"file": str(password_file)}, **fields})
        told = [] if heard is None else heard
        listener = Listener(
            log=lambda stream, text: told.append(text),
            waiting=lambda why, left: told.append(f"waiting: {why}"),
            answered=lambda: told.append("answered"),
        )
        binary = Binary(restic.path, restic.version)
        places = (tmp_path / "cache", tmp_path / "scratch", "test")
        first = None if within is None else timedelta(seconds=within)
        return Restic(binary, "nas", access(declared), *places, listener=listener, answer_within=first)

    return open_it


@pytest.fixture
def both(oldest_restic: ResticBinary, newest_restic: ResticBinary) -> tuple[ResticBinary, ResticBinary]:
    """One that says at once what is wrong, and one that tries the same for a quarter of an hour."""
    return oldest_restic, newest_restic


def refusal(call: Callable[[], object]) -> RepositoryError:
    with pytest.raises(RepositoryError) as raised:
        call()
    return raised.value


# --- ssh --------------------------------------------------------------------------------------------


def on(server: SftpServer, /, **fields: Any) -> dict[str, Any]:
    """A repository on the server, as it is declared."""
    usual = {
        "kind": "sftp",
        "server": server.host,
        "port": server.port,
        "user": server.user,
        "path": str(server.directory / "none"),
        "identity_file": str(server.identity_file),
        "known_hosts": str(server.known_hosts),
    }
    return usual | fields


def make_key(path: Path) -> Path:
    """A private key that no server knows."""
    keygen: list[str | Path] = [
        get_program("ssh-keygen"),
        "-q",
        "-t",
        "ed25519",
        "-N",
        "",
        "-C",
        "",
        "-f",
        path,
    ]
    subprocess.run(keygen, check=True, capture_output=True)
    return path


def unknown_server(server: SftpServer, folder: Path) -> dict[str, Any]:
    (folder / "nobody").touch()
    return {"known_hosts": str(folder / "nobody")}


def other_server(server: SftpServer, folder: Path) -> dict[str, Any]:
    other = make_key(folder / "other").with_suffix(".pub").read_text()
    (folder / "changed").write_text(f"[{server.host}]:{server.port} {other}")
    return {"known_hosts": str(folder / "changed")}


def other_key(server: SftpServer, folder: Path) -> dict[str, Any]:
    return {"identity_file": str(make_key(folder / "stranger"))}


def open_key(server: SftpServer, folder: Path) -> dict[str, Any]:
    shutil.copy(server.identity_file, folder / "open")
    (folder / "open").chmod(0o644)
    return {"identity_file": str(folder / "open")}


def nobody_listens(server: SftpServer, folder: Path) -> dict[str, Any]:
    return {"port": free_port()}


def no_name(server: SftpServer, folder: Path) -> dict[str, Any]:
    return {"server": "nobody.invalid"}


FAULTS = [
    (unknown_server, "server_unknown", "Host key verification failed"),
    (other_server, "server_changed", "has changed and you have requested strict checking"),
    (other_key, "access_denied", "Permission denied (publickey)"),
    (open_key, "access_denied", "bad permissions"),
    (nobody_listens, "unreachable", "Connection refused"),
    (no_name, "unreachable", "Could not resolve hostname nobody.invalid"),
]


@pytest.mark.parametrize(("fault", "code", "words"), FAULTS)
def test_what_ssh_says_is_told(
    fault: Callable[[SftpServer, Path], dict[str, Any]],
    code: str,
    words: str,
    reach: Opener,
    sftp_server: SftpServer,
    tmp_path: Path,
) -> None:
    heard: list[str] = []
    restic = reach(heard, **on(sftp_server, **fault(sftp_server, tmp_path)))
    error = refusal(restic.read_identity)
    assert (error.code, words in error.message, bool(error.hint)) == (code, True, True), error
    finished, _ = restic.prune()
    assert restic.why(finished).message == error.message
    assert words in "\n".join(heard)
    assert list(restic.scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "code"), [(unknown_server, "server_unknown"), (other_key, "access_denied")]
)
def test_one_cause_has_one_code_every_time(
    fault: Callable[[SftpServer, Path], dict[str, Any]],
    code: str,
    restic: ResticBinary,
    reach: Opener,
    sftp_server: SftpServer,
    tmp_path: Path,
) -> None:
    refused = reach(restic=restic, **on(sftp_server, **fault(sftp_server, tmp_path)))
    errors = [refusal(refused.read_identity) for _ in range(5)]
    assert [(error.code, error.message) for error in errors] == [(code, errors[0].message)] * 5


@pytest.mark.parametrize("fields", [{}, {"options": {"sftp.args": "-v"}}, {"options": {"sftp.command": "?"}}])
def test_what_ssh_says_is_told_of_every_kind_of_address(
    fields: dict[str, Any], reach: Opener, free_port: int
) -> None:
    command = f"ssh -F none -p {free_port} me@127.0.0.1 -s sftp"
    given = {"options": {"sftp.command": command}} if "?" in str(fields) else fields
    restic = reach(url=f"sftp://me@127.0.0.1:{free_port}//x", **given)
    error = refusal(restic.read_identity)
    assert (error.code, "Connection refused" in error.message) == ("unreachable", True), error


def test_a_good_ssh_says_nothing(reach: Opener, sftp_server: SftpServer) -> None:
    heard: list[str] = []
    restic = reach(heard, **on(sftp_server))
    assert refusal(restic.read_identity).code == "repository_missing"
    assert not [line for line in heard if "ssh" in line]


def test_a_disk_that_takes_no_file_does_not_keep_us_from_the_server(
    reach: Opener, sftp_server: SftpServer
) -> None:
    restic = reach(**on(sftp_server))
    restic.scratch.rmdir()
    assert refusal(restic.read_identity).code == "repository_missing"


# --- S3 ---------------------------------------------------------------------------------------------


def test_a_bucket_that_is_missing(
    both: tuple[ResticBinary, ResticBinary], reach: Opener, s3_server: S3Server, tmp_path: Path
) -> None:
    secret = tmp_path / "secret-key"
    secret.write_text(s3_server.secret_access_key)
    keys = {
        "access_key_id": s3_server.access_key_id,
        "secret_access_key": {"file": str(secret)},
    }
    for restic in both:
        found = reach(restic=restic, kind="s3", endpoint=s3_server.endpoint, bucket="none", **keys)
        error = refusal(found.read_identity)
        assert (error.code, "bucket" in error.message) == ("repository_missing", True), error


REFUSALS = {
    "InvalidAccessKeyId": "The AWS Access Key Id you provided does not exist in our records.",
    "SignatureDoesNotMatch": "The request signature we calculated does not match the signature you provided.",
    "AccessDenied": "Access Denied.",
}


@pytest.fixture(params=REFUSALS)
def refusing(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """An S3 service that refuses everybody: its address, and its words. moto refuses nobody."""
    code = request.param
    said = f"<Error><Code>{code}</Code><Message>{REFUSALS[code]}</Message></Error>".encode()

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def do_HEAD(self) -> None:
            self.send_response(403)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", REFUSALS[code]
        server.shutdown()


def test_credentials_that_a_bucket_refuses(
    refusing: tuple[str, str], both: tuple[ResticBinary, ResticBinary], reach: Opener, tmp_path: Path
) -> None:
    address, words = refusing
    secret = tmp_path / "secret-key"
    secret.write_text("not the right one")
    fields = {"endpoint": address, "bucket": "backups", "access_key_id": "me"}
    for restic in both:
        found = reach(restic=restic, kind="s3", secret_access_key={"file": str(secret)}, **fields)
        error = refusal(found.read_identity)
        assert (error.code, words in error.message) == ("access_denied", True), error


# --- a repository that does not answer --------------------------------------------------------------


def order(folder: Path) -> BackupOrder:
    """A backup of a folder."""
    return BackupOrder([os.fsencode(folder)], [], "here", ("a",))


def test_a_server_that_is_down_is_given_up_after_a_while(reach: Opener, tmp_path: Path) -> None:
    heard: list[str] = []
    nobody = reach(heard, within=6, url=f"rest:http://127.0.0.1:{free_port()}/x/")
    finished, _ = nobody.backup(order(tmp_path))
    reason = nobody.why(finished)
    assert (finished.unanswered, finished.stopped, reason.code) == (True, False, "unreachable")
    assert "connection refused (given up after 6.0 s)" in reason.message
    assert any(line.startswith("waiting: ") and "connection refused" in line for line in heard)
    assert refusal(nobody.list_snapshots).message.endswith("(given up after 6.0 s)")


def test_a_server_that_takes_calls_and_is_silent_is_given_up_too(
    both: tuple[ResticBinary, ResticBinary], reach: Opener, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rest:http://127.0.0.1:{silent.getsockname()[1]}/x/"
        for restic in both:
            heard: list[str] = []
            nobody = reach(heard, restic, within=1, url=url)
            finished, _ = nobody.backup(order(tmp_path))
            reason = nobody.why(finished)
            assert (reason.code, "it does not answer" in reason.message) == ("unreachable", True), reason
            assert "waiting: it has said nothing yet" in heard


def test_a_restic_that_reads_for_long_is_not_given_up(
    reach: Opener, newest_restic: ResticBinary, tmp_path: Path
) -> None:
    """A large index says nothing for minutes: whether anybody is there is asked beside it."""
    WrittenRepository(tmp_path / "repository", PASSWORD)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("x")
    asked = tmp_path / "asked"
    slow = tmp_path / "slow"
    slow.write_text(
        f"""#!/bin/sh
case " $* " in
*" backup "*) while [ ! -e {asked} ]; do sleep 0.05; done;;
*" cat config "*) touch {asked};;
esac
exec {newest_restic.path} "$@"
"""
    )
    slow.chmod(0o755)
    heard: list[str] = []
    restic = reach(heard, replace(newest_restic, path=slow), within=6, url=str(tmp_path / "repository"))
    finished, report = restic.backup(order(tmp_path / "source"))
    assert (finished.exit_status, finished.unanswered) == (0, False), finished
    assert report.summary is not None
    assert "answered" in heard


def test_one_that_has_answered_is_left_to_restics_own_patience() -> None:
    waits: list[str] = []
    first = FirstAnswer(timedelta(0), ask=lambda within: False, waiting=lambda why, left: waits.append(why))
    trying = Trying(Stop(), None, first)
    trying.hear_answer()
    trying.hear("Save(<data/1>) returned error, retrying after 1.2s: connection refused")
    assert not trying.stop.requested
    assert waits == []
