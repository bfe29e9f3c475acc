"""What restic prints, as facts: recorded lines of 0.14 to 0.19, and whatever may be odd about a line."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from highball.engine.base import Summary
from highball.engine.restic import failures, output
from highball.engine.restic.failures import classify
from highball.engine.restic.program import (
    ResticBinary,
    find_restic,
    read_version,
)
from highball.errors import ProgramMissing
from highball.model.snapshot import NodeKind
from highball.model.text import as_listed
from highball.place.local import LOCAL, LocalPlace
from highball.process.child import Command, Ended, OnData
from highball.protocol.wire import Ask

# --- lines ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [b"", b"[0:00] 100.00%  1 / 1 packs", b"{broken", b"[1, 2]", b"  {}", b'{"a":"\xff"}', b"\xff", b"null"],
)
def test_a_line_that_is_no_json_object_is_log(line: bytes) -> None:
    assert output.read_json(line) is None


def test_json_objects_of_any_kind_are_read() -> None:
    assert output.read_json(b'{"message_type":"moon","x":[1]}\r') == {"message_type": "moon", "x": [1]}


# --- times ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("1969-12-31T23:59:59.5+00:00", -500_000_000),
        ("1901-12-13T20:45:52Z", -(2**31) * 10**9),
        ("2026-03-01T12:00:00.123456789+05:45", 1772345700_123456789),
        ("2026-03-01T12:00:00.1-09:30", 1772400600_100000000),
        ("9999-12-31T23:59:59.999999999-14:00", 253402351199_999999999),
        ("0001-01-01T00:00:00+14:00", -62135647200 * 10**9),
    ],
)
def test_times_keep_their_nanoseconds(text: str, nanoseconds: int) -> None:
    assert output.nanoseconds(text) == nanoseconds
    found = output.read_time(text)
    assert found.tzinfo is not None
    whole = found - datetime(1970, 1, 1, tzinfo=UTC)
    assert whole // timedelta(microseconds=1) == nanoseconds // 1000


@given(st.integers(-(2**40) * 10**9 // 32, 2**40 * 10**9 // 32), st.integers(-14 * 4, 14 * 4))
def test_nanoseconds_come_back_from_any_offset(nanoseconds: int, quarters: int) -> None:
    whole, rest = divmod(nanoseconds, 10**9)
    offset = timedelta(minutes=15 * quarters)
    local = datetime(1970, 1, 1) + timedelta(seconds=whole) + offset  # noqa: DTZ001
    sign = "-" if quarters < 0 else "+"
    minutes = abs(15 * quarters)
    zone = f"{sign}{minutes // 60:02}:{minutes % 60:02}" if quarters else "Z"
    fraction = f".{rest:09}".rstrip("0") if rest else ""
    text = f"{local:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + fraction + zone
    assert output.nanoseconds(text) == nanoseconds


def test_a_time_that_cannot_be_held_does_not_stop_a_listing() -> None:
    # a file system of 64 bits gives a year 0 to whoever asks for it, and Go prints it
    node = output.read_node({"path": "/a", "type": "file", "mtime": "0000-05-01T00:00:00Z"})
    assert (node.modified_at, node.modified_ns) == (None, None)


# --- backup -----------------------------------------------------------------------------------------


def test_a_status_becomes_progress() -> None:
    told = {
        "message_type": "status",
        "seconds_elapsed": 2,
        "seconds_remaining": 6,
        "percent_done": 0.256789,
        "total_files": 4,
        "files_done": 1,
        "total_bytes": 400,
        "bytes_done": 100,
        "current_files": ["/a/\ufffd", "/b"],
    }
    progress = output.read_status(told)
    assert progress.model_dump(mode="json") == {
        "type": "progress",
        "percent": 25.68,
        "files_done": 1,
        "files_total": 4,
        "bytes_done": 100,
        "bytes_total": 400,
        "bytes_per_second": 50.0,
        "seconds_left": 6.0,
        "current": "/a/\ufffd",
    }
    restored = output.read_status({"message_type": "status", "files_restored": 3, "bytes_restored": 9})
    assert (restored.files_done, restored.bytes_done, restored.bytes_per_second) == (3, 9, None)
    nothing = output.read_status({"message_type": "status", "percent_done": None, "current_files": None})
    assert (nothing.percent, nothing.files_total, nothing.current) == (0, None, None)


def test_progress_never_goes_beyond_the_whole() -> None:
    grown = output.read_status(  # as 0.19.1 tells of files that grow while they are read
        {
            "message_type": "status",
            "seconds_elapsed": 4,
            "seconds_remaining": 229_908_466_423,
            "percent_done": 1.8266,
            "total_files": 2,
            "files_done": 3,
            "total_bytes": 417_333_248,
            "bytes_done": 762_314_752,
        }
    )
    assert (grown.percent, grown.seconds_left) == (100, None)
    assert (grown.files_done, grown.files_total) == (3, 3)
    assert (grown.bytes_done, grown.bytes_total) == (762_314_752, 762_314_752)
    soon = output.read_status({"total_bytes": 100, "bytes_done": 100, "seconds_remaining": 0})
    assert (soon.bytes_total, soon.seconds_left) == (100, 0)
    never = output.read_status({"total_bytes": 100, "bytes_done": 1, "seconds_remaining": 2**62})
    assert never.seconds_left is None, "nobody is helped by a forecast of ages"


def test_numbers_that_are_missing_from_a_summary_are_0() -> None:
    empty = output.read_summary({"message_type": "summary"})
    assert empty == Summary(None, 0, 0, 0, 0, 0)
    unnamed = output.read_summary({"snapshot_id": ""})
    assert unnamed is not None
    assert unnamed.snapshot_id is None


NO_NUMBERS = [-1, 2**63, 10**30, 1.5, float("nan"), float("inf"), "7", True, [1], {"a": 1}]


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_a_summary_with_a_number_that_cannot_be_is_none(value: object) -> None:
    told = {"files_new": 1, "total_bytes_processed": 5, "snapshot_id": "a1b2c3d4"}
    assert output.read_summary(told) is not None
    assert output.read_summary(told | {"total_bytes_processed": value}) is None
    assert output.read_summary(told | {"snapshot_id": value}) is None
    assert output.read_check({"message_type": "summary", "num_errors": value}) is None


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_a_number_that_cannot_be_is_not_known_and_hides_nothing_else(value: object) -> None:
    progress = output.read_status(
        {"percent_done": value, "bytes_done": value, "total_bytes": value, "current_files": value}
        | {"seconds_elapsed": value, "seconds_remaining": value, "files_done": 3}
    )
    assert (progress.bytes_done, progress.bytes_total, progress.files_done) == (0, None, 3)
    assert json.loads(progress.model_dump_json())["files_done"] == 3
    sizes = {"total_bytes_processed": value, "total_files_processed": 2}
    odd = SNAPSHOT | {"summary": sizes, "tree": value, "parent": value}
    [listed] = output.read_snapshots(json.dumps([odd]).encode(), "nas")
    assert (listed.size_bytes, listed.files, listed.tree, listed.parent) == (None, 2, None, None)
    node = output.read_node({"path": "/a", "type": "file", "size": value, "uid": value, "inode": value})
    assert (node.size_bytes, node.uid) == (None, None)
    lock = output.read_lock("l", json.dumps({"time": "2026-03-01T12:00:00Z", "pid": value}).encode())
    assert lock.pid == 0


def test_what_a_message_says_at_length_is_cut_and_no_path_is_endless() -> None:
    told = {"error": {"message": "x" * 10**6}, "item": "/" * 10**6}
    caution = output.read_file_error(told)
    assert (len(caution.message), caution.path) == (output.LONGEST_MESSAGE, None)
    assert output.read_file_error({"error": {"message": [1]}, "item": 5}).message == "[1]"
    assert output.read_difference({"message_type": "change", "path": 7}) is None


@pytest.mark.parametrize("id", ["", "abc", "--help", "A" * 64, "a" * 65, 7, None])
def test_a_listing_of_ids_that_are_none_is_no_listing(id: object) -> None:
    with pytest.raises(ValueError, match="not an id"):
        output.read_snapshot(SNAPSHOT | {"id": id}, "nas")


@pytest.mark.parametrize("line", [b'{"a":' * 100_000, b'{"a":' + b"9" * 5000 + b"}", b'{"a":"\\ud800"}'])
def test_a_line_that_nests_or_counts_beyond_all_bounds_is_log(line: bytes) -> None:
    assert output.read_json(line) is None


@pytest.mark.parametrize(
    ("told", "message", "path"),
    [
        # 0.14
        (
            {"error": {"Op": "open", "Path": "/x/y", "Err": 13}, "during": "archival", "item": "/x/y"},
            "open /x/y: permission denied",
            b"/x/y",
        ),
        (
            {"error": {"Op": "lstat", "Path": "/g", "Err": 2}, "item": "/g"},
            "lstat /g: no such file or directory",
            b"/g",
        ),
        ({"error": {"Op": "read", "Path": "/g", "Err": 99}}, "read /g: error 99", None),
        ({"error": {"Err": "strange"}}, "read : strange", None),
        # 0.17
        ({"error": {}, "during": "scan", "item": "/a"}, "error during scan", b"/a"),
        ({"error": {}}, "error during the backup", None),
        # 0.17.1 and later
        (
            {"error": {"message": "open /caf\ufffd: denied"}, "item": "/caf\ufffd"},
            "open /caf\ufffd: denied",
            "/caf\ufffd".encode(),
        ),
        ({"error": "plain"}, "plain", None),
        ({"error": None, "item": 7}, "error during the backup", None),
    ],
)
def test_a_file_that_could_not_be_read(told: dict[str, Any], message: str, path: bytes | None) -> None:
    caution = output.read_file_error({"message_type": "error", **told})
    assert (caution.code, caution.message, caution.path) == ("file_unreadable", message, path)


# --- failures ---------------------------------------------------------------------------------------


def test_exit_statuses_have_a_meaning_only_where_the_version_gives_them_one() -> None:
    def code(version: tuple[int, int, int], status: int) -> str:
        return classify(version, status, ["Fatal: something"]).code

    assert [code((0, 16, 5), status) for status in (10, 11, 12)] == ["restic_failed"] * 3
    assert [code((0, 17, 0), status) for status in (10, 11, 12)] == [
        "repository_missing",
        "repository_locked",
        "restic_failed",
    ]
    assert [code((0, 17, 1), status) for status in (10, 11, 12)] == [
        "repository_missing",
        "repository_locked",
        "wrong_password",
    ]
    for version in ((0, 14, 0), (0, 19, 1)):
        assert [code(version, status) for status in (1, 2, 3, 77, 128, 130, 137, 143)] == [
            "restic_failed",
            "restic_crashed",
            "restic_failed",
            "restic_failed",
            "restic_failed",
            "interrupted",
            "killed",
            "killed",
        ]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (
            "Fatal: unable to create lock in backend: repository is already locked by PID 1 on h by u (UID 0, GID 0)",
            "repository_locked",
        ),
        ("Fatal: wrong password or no key found", "wrong_password"),
        ("Fatal: unable to save snapshot: write /x: no space left on device", "no_space"),
        ("server response unexpected: 507 Insufficient Storage (507)", "no_space"),
        (
            "Fatal: unable to open config file: unexpected HTTP response (401): 401 Unauthorized",
            "access_denied",
        ),
        (
            "Fatal: unable to open config file: Stat: The Access Key Id you provided: InvalidAccessKeyId",
            "access_denied",
        ),
        ("root@h: Permission denied (publickey).", "access_denied"),
        ("Host key verification failed.", "server_unknown"),
        ("Head https://h/config: x509: certificate signed by unknown authority", "certificate_refused"),
        ("Head https://h/config: http: server gave HTTP response to HTTPS client", "wrong_scheme"),
        ("unexpected HTTP response (400): 400 Bad Request", "wrong_scheme"),
        ("unexpected HTTP response (403): 403 Forbidden", "refused_by_server"),
        ("dial tcp 127.0.0.1:1: connect: connection refused", "unreachable"),
        ("dial tcp: lookup nowhere: no such host", "unreachable"),
        ("ssh: connect to host h port 22: Connection timed out", "unreachable"),
        (
            "Fatal: repository does not exist: unable to open config file: stat /x/config: no such file or directory",
            "repository_missing",
        ),
        ("Fatal: unable to open config file: Stat: The specified key does not exist.", "repository_missing"),
        (
            "Fatal: create repository at /x failed: Fatal: unable to open: config file already exists",
            "already_initialised",
        ),
        ("fatal error: runtime: out of memory", "out_of_memory"),
        ('cannot dump file: path "/nope" not found in snapshot', "path_unknown"),
        (
            "Save(<lock/8402df2264>) returned error, retrying after 4.5s: open repo/locks/8-tmp-3: permission denied",
            "repository_read_only",
        ),
        (
            "unable to create lock in backend: open repo/locks/f-tmp-1: read-only file system",
            "repository_read_only",
        ),
        ("Fatal: create repository at x failed: mkdir repo2: permission denied", "repository_read_only"),
        ("Fatal: unable to open config file: open repo/config: permission denied", "restic_failed"),
        ('no matching ID found for prefix "abc"', "snapshot_unknown"),
        ("Is there a repository at the following location?", "restic_failed"),
    ],
)
def test_words_say_why_where_the_status_does_not(line: str, code: str) -> None:
    reason = classify((0, 14, 0), 1, ["", "some line before", line])
    assert reason.code == code
    assert failures.sentence(code) in reason.message
    assert code in {"restic_failed", "already_initialised"} or failures.hint(code)


def test_the_telling_line_is_the_last_fatal_one() -> None:
    reason = classify((0, 19, 1), 1, ["Fatal: first", "Fatal: second", "later"])
    assert reason.message == "restic failed: second"
    assert classify((0, 19, 1), 1, []).message == "restic failed (exit status 1)"
    assert (
        classify((0, 19, 1), 12, ["Fatal: secret?"]).message
        == "the repository's password is wrong (exit status 12)"
    )
    assert (
        failures.read_exit_error({"message_type": "exit_error", "code": 1, "message": " Fatal: x\n"})
        == "Fatal: x"
    )
    assert failures.read_exit_error({}) == ""


def test_what_restic_tries_again_is_told_without_how_often() -> None:
    line = "Stat(<config/>) returned error, retrying after 1.2s: dial tcp 127.0.0.1:1: connect: connection refused"
    assert failures.is_retrying(line)
    assert not failures.is_in_vain(line)
    told = classify((0, 19, 1), 130, [line]).message
    assert told == f"{failures.sentence('unreachable')}: dial tcp 127.0.0.1:1: connect: connection refused"
    assert failures.is_in_vain(line.replace("connect: connection refused", "x509: certificate has expired"))


def test_a_stack_does_not_hide_the_error_above_it() -> None:
    stack = ["main.open", "\tgithub.com/restic/global.go:703", "runtime.goexit", "\truntime/asm_amd64.s:1594"]
    assert classify((0, 14, 0), 1, ["cannot do it", *stack]).message == "restic failed: cannot do it"
    assert classify((0, 14, 0), 1, stack).message == "restic failed: main.open"


def test_a_panic_is_told_by_its_first_words() -> None:
    stack = ["goroutine 1 [running]:", "main.main()", "\t/build/main.go:12 +0x1d"]
    told = classify((0, 19, 1), 2, ["panic: it broke", "", *stack])
    assert (told.code, told.message) == ("restic_crashed", "restic crashed: panic: it broke")


def test_every_code_has_its_sentence() -> None:
    codes = {code for _, code in failures._PATTERNS} | set(failures._HINTS)
    codes |= failures.RETRYABLE | failures.PASSING
    assert codes <= set(failures._SENTENCES)


def test_the_owner_of_a_lock_in_words() -> None:
    text = (
        "unable to create lock in backend: repository is already locked exclusively by PID 42 on web-1"
        " by root (UID 0, GID 0)\n"
        "lock was created at 2026-03-01 12:00:00 (1h2m3s ago)\nstorage ID abc"
    )
    assert failures.describe_lock(text) == "root on web-1 (pid 42, since 1h2m3s)"
    assert failures.describe_lock(text.splitlines()[0]) == "root on web-1 (pid 42)"
    assert failures.describe_lock("repository is already locked") is None


# --- lists ------------------------------------------------------------------------------------------

SNAPSHOT: dict[str, Any] = {
    "time": "2026-03-01T12:00:00.123456789+02:00",
    "tree": "7" * 64,
    "paths": ["/a", "/caf\ufffd"],
    "hostname": "h",
    "id": "1" * 64,
    "short_id": "11111111",
}


def test_snapshots_of_every_version() -> None:
    tags = ["hb:run=r", "hb:job=j", "hb:set=s", "other"]
    new = SNAPSHOT | {
        "tags": tags,
        "parent": "9" * 64,
        "username": "u",
        "program_version": "restic 0.19.1",
        "summary": {"total_bytes_processed": 5, "total_files_processed": 2},
    }
    old, ours = output.read_snapshots(json.dumps([SNAPSHOT, new]).encode(), "nas")
    assert (old.job, old.run, old.set, old.tags, old.size_bytes, old.files) == (
        None,
        None,
        None,
        (),
        None,
        None,
    )
    assert (ours.job, ours.run, ours.set, ours.size_bytes, ours.files) == ("j", "r", "s", 5, 2)
    assert (ours.user, ours.parent, ours.tree, ours.repository) == ("u", "9" * 64, "7" * 64, "nas")
    assert ours.time.isoformat() == "2026-03-01T12:00:00.123456+02:00"
    assert ours.paths == (b"/a", "/caf\ufffd".encode())
    for nothing in (b"null\n", b"", b"[]", b"  \n"):
        assert output.read_snapshots(nothing, "nas") == []


def test_nodes_of_every_kind() -> None:
    file = {
        "name": "f",
        "type": "file",
        "path": "/f",
        "uid": 1,
        "gid": 2,
        "size": 7,
        "mode": 420,
        "mtime": "2026-03-01T12:00:00.000000001Z",
        "inode": 9,
        "future": {},
    }
    node = output.read_node(file)
    assert (node.path, node.kind, node.size_bytes, node.mode, node.inode) == (
        b"/f",
        NodeKind.FILE,
        7,
        0o644,
        9,
    )
    assert node.modified_ns is not None
    assert node.modified_ns % 10 == 1
    assert not node.inexact
    empty = output.read_node({"type": "file", "path": "/e"})
    assert (empty.size_bytes, empty.mode, empty.modified_at, empty.modified_ns) == (0, None, None, None)
    folder = output.read_node({"type": "dir", "path": "/caf\ufffd", "size": 4096})
    assert (folder.kind, folder.size_bytes, folder.inexact) == (NodeKind.DIRECTORY, None, True)
    assert output.read_node({"type": "symlink", "path": "/l"}).kind is NodeKind.SYMLINK
    assert output.read_node({"type": "fifo", "path": "/p"}).kind is NodeKind.OTHER
    assert output.read_node({"path": "/?"}).kind is NodeKind.OTHER


@given(st.integers(0, 0o7777))
def test_permission_bits_come_back_from_gos_file_mode(mode: int) -> None:
    go = mode & 0o777
    for bit, go_bit in ((0o4000, 23), (0o2000, 22), (0o1000, 20)):
        go |= (1 << go_bit) if mode & bit else 0
    for kind in (0, 1 << 31, 1 << 27):  # file, directory, symbolic link
        assert output.permissions(go | kind) == mode


def test_locks_and_differences() -> None:
    entry = {"time": "2026-03-01T12:00:00Z", "exclusive": True, "hostname": "h", "username": "u", "pid": 7}
    lock = output.read_lock("l", json.dumps(entry).encode())
    assert (lock.id, lock.exclusive, lock.hostname, lock.pid, lock.username) == ("l", True, "h", 7, "u")
    bare = output.read_lock("l", b'{"time": "2026-03-01T12:00:00+01:00"}')
    assert (bare.exclusive, bare.hostname, bare.pid, bare.username) == (False, "", 0, None)
    change = output.read_difference({"message_type": "change", "path": "/a", "modifier": "M"})
    assert change is not None
    assert (change.path, change.modifier) == (b"/a", "M")
    unsaid = output.read_difference({"message_type": "change", "path": "/a"})
    assert unsaid is not None
    assert unsaid.modifier == "?"
    assert output.read_difference({"message_type": "statistics"}) is None


def test_what_a_check_found() -> None:
    found = output.read_check({"message_type": "summary", "num_errors": 2, "broken_packs": ["a" * 64, 7]})
    assert found == output.CheckResult(2, (), ("a" * 64,))
    assert output.read_check({"message_type": "summary", "broken_packs": None}) == output.CheckResult(0, ())
    assert output.read_check({"message_type": "error"}) is None


@pytest.mark.parametrize(
    ("lines", "shows"),
    [
        (
            ["total prune:           6 blobs / 2.862 MiB", "remaining: 3 blobs / 543 B", "done"],
            (True, 3001025, 0),
        ),
        (["total prune:           0 blobs / 0 B", "done"], (True, 0, 0)),
        (["total prune:           0 blobs / 0 B"], (False, 0, 0)),
        (["done"], (False, None, 0)),
        ([], (False, None, 0)),
        (
            ["total prune: 1 blobs / 1 B", "unable to remove <data/ab> from the repository", "done"],
            (True, 1, 1),
        ),
    ],
)
def test_what_a_prune_shows(lines: list[str], shows: tuple[bool, int | None, int]) -> None:
    told = output.PruneText()
    for line in ["loading indexes...", *lines]:
        told.hear(line)
    report = told.report
    assert (report.is_shown, report.freed, report.left) == shows


# --- names ------------------------------------------------------------------------------------------

SHORT = {7: "a", 8: "b", 12: "f", 10: "n", 13: "r", 9: "t", 11: "v", 92: "\\", 34: '"'}


def go_quote(name: bytes) -> str:
    """Go's `strconv.Quote` without the quotes: invalid bytes as \\x, what cannot be printed as \\u or \\U."""
    text: list[str] = []
    rest = name
    while rest:
        width = next((w for w in (1, 2, 3, 4) if _is_rune(rest[:w])), 0)
        if not width:
            text.append(f"\\x{rest[0]:02x}")
            rest = rest[1:]
            continue
        rune, rest = rest[:width].decode(), rest[width:]
        number = ord(rune)
        if number in SHORT:
            text.append("\\" + SHORT[number])
        elif rune == " " or unicodedata.category(rune)[0] in "LMNPS":
            text.append(rune)
        elif number < 0x20 or number == 0x7F:
            text.append(f"\\x{number:02x}")
        else:
            text.append(f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}")
    return "".join(text)


def _is_rune(piece: bytes) -> bool:
    try:
        return len(piece.decode()) == 1
    except UnicodeDecodeError:
        return False


@given(st.one_of(st.binary(), st.text().map(lambda text: text.encode("utf-8", "replace"))))
def test_quoted_names_come_back_byte_for_byte(name: bytes) -> None:
    assert output.unquote(go_quote(name)) == name


@pytest.mark.parametrize(
    ("quoted", "name"),
    [
        (r"\a\b\f\n\r\t\v", b"\a\b\f\n\r\t\v"),
        (r"\\x41", rb"\x41"),
        (r"\\\x41", b"\\A"),
        (r"\'\"", b"'\""),
        (r"\101\377", b"A\xff"),
        (r"\u00e9\U0001f600", "é😀".encode()),
        ("plain é \ufffd", "plain é \ufffd".encode()),
        ("", b""),
    ],
)
def test_every_escape_of_go(quoted: str, name: bytes) -> None:
    assert output.unquote(quoted) == name


def test_a_tree_has_exact_names() -> None:
    tree = {"nodes": [{"name": "caf\\xe9", "subtree": "s", "type": "dir"}, {"name": "f"}]}
    assert output.read_tree(json.dumps(tree).encode()) == [
        output.TreeEntry(b"caf\xe9", "s"),
        output.TreeEntry(b"f", None),
    ]
    assert output.read_tree(b'{"nodes": null}') == []


@given(st.binary(max_size=12))
def test_a_name_as_restic_lists_it(name: bytes) -> None:
    """Go's encoder shows U+FFFD once for each byte that is no part of a whole character."""
    expected = b""
    rest = name
    while rest:
        width = next((w for w in (1, 2, 3, 4) if _is_rune(rest[:w])), 0)
        expected += rest[:width] if width else b"\xef\xbf\xbd"
        rest = rest[width or 1 :]
    assert as_listed(name) == expected


# --- the program ------------------------------------------------------------------------------------


def fake(path: Path, says: str = "restic 0.18.0 compiled with go1.24", status: int = 0) -> Path:
    path.write_text(f"#!/bin/sh\necho run >> {path}.runs\necho '{says}'\nexit {status}\n")
    path.chmod(0o755)
    return path


def runs_of(path: Path) -> int:
    return len(Path(f"{path}.runs").read_text().splitlines())


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("restic 0.14.0 compiled with go1.19.8 on linux/amd64\n", (0, 14, 0)),
        ("restic 0.19.1-dev (compiled manually) compiled with go1.26", (0, 19, 1)),
        ("restic 1.0 compiled", (1, 0, 0)),
    ],
)
def test_versions_are_read_from_words(text: str, version: tuple[int, int, int]) -> None:
    assert read_version(text, Path("/r")) == version


def test_what_is_not_restic_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProgramMissing, match=r"is not restic: it answered 'borg 1.2.3'"):
        read_version("borg 1.2.3", Path("/r"))
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o755)
    with pytest.raises(ProgramMissing, match="could not be started: Exec format error"):
        find_restic(broken, tmp_path / "memory", LOCAL)


def test_a_restic_that_does_not_say_its_version_is_given_up_while_its_question_is_still_waited_for(
    tmp_path: Path,
) -> None:
    told: dict[str, Any] = {}

    class Hanging(LocalPlace):
        def run(self, command: Command, on_data: OnData, **how: Any) -> Ended:
            told.update(how)
            return Ended(137, stopped=False, timed_out=True, seconds=0)

    with pytest.raises(ProgramMissing, match="did not say its version"):
        find_restic(Path("/bin/true"), tmp_path / "memory", Hanging())
    assert told["timeout"] + told["manners"].grace < timedelta(seconds=Ask.model_fields["seconds"].default)


def test_a_missing_or_old_restic_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ProgramMissing, match="is not an executable file") as raised:
        find_restic(tmp_path / "none", tmp_path / "memory", LOCAL)
    assert raised.value.code == "restic_missing"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProgramMissing, match="restic is not installed"):
        find_restic(None, tmp_path / "memory", LOCAL)
    old = fake(tmp_path / "old", "restic 0.13.1 compiled with go")
    with pytest.raises(ProgramMissing, match=r"is restic 0\.13\.1; Highball needs 0.14 or later") as too_old:
        find_restic(old, tmp_path / "memory", LOCAL)
    assert too_old.value.code == "restic_too_old"


def test_the_version_is_asked_once_and_again_when_the_file_changes(tmp_path: Path) -> None:
    path = fake(tmp_path / "restic")
    memory = tmp_path / "cache" / "memory.json"
    assert [find_restic(path, memory, LOCAL).version for _ in range(3)] == [(0, 18, 0)] * 3
    assert runs_of(path) == 1
    other = fake(tmp_path / "other", "restic 0.14.0 compiled")
    assert find_restic(other, memory, LOCAL).version == (0, 14, 0)
    assert find_restic(path, memory, LOCAL).version == (0, 18, 0)
    assert runs_of(path) == 1
    fake(path, "restic 0.19.1 compiled with go1.26")
    assert find_restic(path, memory, LOCAL).version == (0, 19, 1)


@pytest.mark.parametrize(
    "content",
    [b"", b"broken", b"[]", b"7", b"{}", b'{"PATH": 1}', b'{"PATH": {"version": [1], "file": []}}', b"\xff"],
)
def test_a_memory_that_makes_no_sense_is_passed_over(content: bytes, tmp_path: Path) -> None:
    path = fake(tmp_path / "restic")
    memory = tmp_path / "memory.json"
    memory.write_bytes(content.replace(b"PATH", str(path).encode()))
    assert find_restic(path, memory, LOCAL).version == (0, 18, 0)


def test_a_memory_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert find_restic(fake(tmp_path / "restic"), tmp_path / "file" / "memory.json", LOCAL).version == (
        0,
        18,
        0,
    )


def test_a_program_that_goes_by_the_name_it_is_called_by_keeps_it(tmp_path: Path) -> None:
    # a link into a program with many names (snap, busybox) is not its target
    many = tmp_path / "many"
    many.write_text('#!/bin/sh\ncase "$0" in *restic) echo restic 0.18.0 compiled;; *) echo many;; esac\n')
    many.chmod(0o755)
    (tmp_path / "restic").symlink_to(many)
    assert find_restic(tmp_path / "restic", tmp_path / "memory", LOCAL).version == (0, 18, 0)


def test_what_a_version_can_do() -> None:
    def able(*version: int) -> list[bool]:
        one = ResticBinary(Path("/r"), version)  # type: ignore[arg-type]
        return [
            one.reads_concurrently,
            one.names_folders,
            one.has_exit_codes,
            one.has_json_check,
        ]

    assert able(0, 14, 0) == [False] * 4
    assert able(0, 15, 0) == [True] + [False] * 3
    assert able(0, 16, 4) == [True, True] + [False] * 2
    assert able(0, 17, 0) == [True] * 3 + [False]
    assert able(0, 18, 0) == [True] * 4
    assert ResticBinary(Path("/r"), (0, 18, 1)).text == "0.18.1"


def test_what_prune_freed_is_read_from_its_text() -> None:
    lines = [
        "to delete:             1 blobs / 1.000 KiB",
        "total prune:           3 blobs / 293.664 KiB",
        "end",
    ]
    assert output.read_freed(lines) == round(293.664 * 1024)
    assert output.read_freed(["total prune:  0 blobs / 0 B"]) == 0
    assert output.read_freed(["nothing of the kind"]) is None
