"""Why restic failed: its exit status, its words and its last messages, as a code and a sentence that people understand.

A status says more than words, and words of any line more than the last one; what is not known is told as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from highball.engine.restic.program import Version
from highball.engine.restic.ssh import SAID
from highball.model.run import Reason

_PATTERNS: tuple[tuple[str, str], ...] = (
    (r"repository is already locked|already locked (exclusively )?by", "repository_locked"),
    (r"wrong password or no key found", "wrong_password"),
    (r"no space left on device|disk quota exceeded", "no_space"),
    (r"server response unexpected: 507|Insufficient Storage|\(507\)", "no_space"),
    (r"has changed and you have requested strict checking|IDENTIFICATION HAS CHANGED", "server_changed"),
    (r"host key is known for|Host key verification failed", "server_unknown"),
    (
        r"\(401\)|401 Unauthorized|InvalidAccessKeyId|SignatureDoesNotMatch|Access Denied|AccessDenied"
        r"|Access Key Id you provided|request signature we calculated|no credentials found",
        "access_denied",
    ),
    (r"Permission denied \(|Too many authentication failures", "access_denied"),
    (r"\(403\)|403 Forbidden", "refused_by_server"),
    (
        r"(unable to create lock in backend|Save\(\S+ (returned error|failed)|create repository at)"
        r".*(permission denied|read-only file system)",
        "repository_read_only",
    ),
    (r"x509: |tls: failed to verify|certificate (required|unknown)", "certificate_refused"),
    (r"server gave HTTP response to HTTPS client|\(400\): 400 Bad Request", "wrong_scheme"),
    (r"cannot dump file: path .* not found in snapshot", "path_unknown"),
    (r"specified bucket does not exist|NoSuchBucket", "repository_missing"),
    (r"connection refused|no such host|i/o timeout|network is unreachable|No route to host", "unreachable"),
    (r"Could not resolve hostname|Timeout, server \S+ not responding", "unreachable"),
    (r"Connection (closed|reset|timed out|refused)|unexpected packet|ssh command exited", "unreachable"),
    (r"unable to start the sftp session", "unreachable"),
    (r"repository does not exist", "repository_missing"),
    (
        r"unable to open config file: .*(no such file|not exist|The specified key|404|NoSuchKey|NoSuchBucket)",
        "repository_missing",
    ),
    (
        r"config file already exists|repository master key and config already initialized",
        "already_initialised",
    ),
    (r"out of memory|cannot allocate memory", "out_of_memory"),
    (
        r"failed to load snapshot \S+: .*(no such file|not exist|not found|404|NoSuchKey)"
        r"|no matching ID found|ID \S+ is not unique|prefix not found|multiple IDs with prefix",
        "snapshot_unknown",
    ),
)

_SENTENCES: dict[str, str] = {
    "repository_locked": "the repository is locked",
    "wrong_password": "the repository's password is wrong",
    "no_space": "there is no space left in the repository, or in restic's cache or temporary folder",
    "access_denied": "the storage refused the credentials",
    "server_unknown": "the server's host key is not known, so it is not trusted",
    "server_changed": "the server's host key has changed",
    "certificate_refused": "the server's certificate cannot be trusted",
    "wrong_scheme": "the server does not speak the protocol of the address",
    "refused_by_server": "the storage refused the request (an append-only server refuses to delete)",
    "repository_read_only": "the repository's folder is not writable",
    "path_unknown": "this path is not in the snapshot",
    "unreachable": "the repository cannot be reached",
    "repository_missing": "there is no repository at this address",
    "already_initialised": "there is a repository at this address already",
    "out_of_memory": "restic ran out of memory",
    "snapshot_unknown": "the repository does not know this snapshot",
    "restic_crashed": "restic crashed",
    "killed": "restic was killed",
    "interrupted": "restic was interrupted",
    "restic_failed": "restic failed",
}

_HINTS: dict[str, str] = {
    "repository_locked": "wait for it, or see its owner with: highball unlock",
    "wrong_password": "check where the password comes from; nothing is lost as long as one valid password is known",
    "no_space": "make some room there by other means first, for restic itself needs a little to begin; "
    "then highball forget and highball prune free more in the repository",
    "access_denied": "check the user, the password or the keys of this repository's storage; "
    "a private key that asks for a passphrase cannot be used",
    "server_unknown": "compare what ssh-keyscan shows (ssh-keyscan -p PORT SERVER) with the server's own key, and add "
    "the line to the repository's known_hosts file, or to ~/.ssh/known_hosts of the user who backs up",
    "server_changed": "ask who runs the server; where it was made anew, take the old key out (ssh-keygen -R SERVER, "
    "with -f for a known_hosts file of its own) and add the new one; else somebody may stand in between",
    "certificate_refused": "where an authority of your own signed it, name that one's file by certificate = …; "
    "one that is too old, or made for another name, is renewed on the server",
    "wrong_scheme": "does it speak TLS? then the address begins with https, else with http",
    "refused_by_server": "add admin credentials to this repository, or allow deletion on the server",
    "repository_read_only": "check who owns it, and that its disk is not mounted read-only",
    "path_unknown": "list its contents with: highball ls SNAPSHOT",
    "unreachable": "check the address, the network and that the server runs",
    "repository_missing": "is its disk mounted? to create a new repository: highball setup --schedule none",
    "out_of_memory": "give the machine more memory, or run this action on another one",
    "snapshot_unknown": "list the snapshots with: highball snapshots",
}

_RETRYING = re.compile(r"^\S.* returned error, retrying after (?P<pause>\S+): ")
_STOPPING = re.compile(r"signal \S+ received, cleaning up")
_GO_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|µs|ns|h|m|s)")
_GO_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}
_VAIN = frozenset({"certificate_refused", "wrong_scheme", "access_denied", "repository_missing"})


def is_retrying(line: str) -> bool:
    """Whether restic says that it tries again: from 0.17 on it does for a quarter of an hour, whatever the error."""
    return _RETRYING.match(line) is not None


def is_stopping(line: str) -> bool:
    """Whether restic says that it was asked to stop, and heeds it: whatever it reads from then on, it saves nothing."""
    return _STOPPING.search(line) is not None


def next_try(line: str) -> timedelta:
    """After which pause restic tries again, by a line that says that it does; never more than an hour."""
    match = _RETRYING.match(line)
    parts = _GO_DURATION.findall(match["pause"]) if match else ()
    seconds = sum(float(number) * _GO_SECONDS[unit] for number, unit in parts)
    return timedelta(seconds=min(seconds, 3600))


def cause_of(line: str) -> str:
    """What a line says that restic tries again, without how often."""
    return _RETRYING.sub("", line.partition("\n")[0])


def is_in_vain(line: str) -> bool:
    """Whether what restic tries again cannot pass."""
    return is_retrying(line) and _code_of_words([line]) in _VAIN


RETRYABLE = frozenset({"repository_locked"})
"""What is worth waiting for."""

PASSING = frozenset(
    {"unreachable", "repository_locked", "out_of_memory", "restic_crashed", "killed", "restic_failed"}
)
"""What may be gone after a while, so that another attempt is worth it. Everything else needs a person: a wrong
password, refused credentials, no space, a repository that is gone or another one; and restic that was interrupted."""


def hint(code: str) -> str | None:
    """What to do about a failure of this code."""
    return _HINTS.get(code)


def sentence(code: str) -> str:
    """The sentence that belongs to a code of this room."""
    return _SENTENCES[code]


def classify(version: Version, exit_status: int, log: Iterable[str]) -> Reason:
    """Why restic failed, from its exit status where the version gives one a meaning, else from its words."""
    lines = [line for line in log if line.strip()]
    code = _code_of_status(version, exit_status) or _code_of_words(lines)
    code = code or _code_of_death(exit_status)
    detail = "" if code == "wrong_password" else _telling_line(lines)
    return Reason(
        code=code, message=f"{_SENTENCES[code]}: {detail}" if detail else _with_status(code, exit_status)
    )


def _with_status(code: str, exit_status: int) -> str:
    return f"{_SENTENCES[code]} (exit status {exit_status})"


def _code_of_status(version: Version, exit_status: int) -> str | None:
    if version >= (0, 17, 0) and exit_status == 10:
        return "repository_missing"
    if version >= (0, 17, 0) and exit_status == 11:
        return "repository_locked"
    if version >= (0, 17, 1) and exit_status == 12:
        return "wrong_password"
    return None


def _code_of_words(lines: list[str]) -> str | None:
    text = "\n".join(lines)
    return next((code for pattern, code in _PATTERNS if re.search(pattern, text, re.IGNORECASE)), None)


CRASHED = 2
"""The exit status of a Go program that panics."""


def _code_of_death(exit_status: int) -> str:
    if exit_status == CRASHED:
        return "restic_crashed"
    if exit_status == 130:
        return "interrupted"
    return "killed" if exit_status > 128 else "restic_failed"


_NOISE = re.compile(r"debug\d: |@|Warning: Permanently added|\*\* ")


def _telling_line(lines: list[str]) -> str:
    """The one line of a failure's output that says why: what ssh said, else the last `Fatal`, else the last line."""
    of_ssh = [line.removeprefix(SAID) for line in lines if line.startswith(SAID)]
    told = [line for line in of_ssh if not _NOISE.match(line)]
    if told:
        return " ".join(line.rstrip(".") + "." for line in told[-2:]).rstrip(".")
    lines = _without_stack([line for line in lines if not line.startswith("goroutine ")])
    fatal = [line for line in lines if line.startswith("Fatal: ")]
    chosen = (fatal or lines or [""])[-1].removeprefix("Fatal: ").strip()
    return cause_of(chosen)


_FRAME = re.compile(r"\s+\S+\.(go|s):\d+")


def _without_stack(lines: list[str]) -> list[str]:
    """Without the stack that 0.14 prints behind some errors: pairs of a function and an indented place."""
    first = next((number for number, line in enumerate(lines) if _FRAME.match(line)), None)
    return lines if first is None else lines[: max(first - 1, 1)]


def read_exit_error(message: dict[str, Any]) -> str:
    """The `exit_error` message (since 0.18) as the plain line that older versions print."""
    return str(message.get("message") or "").strip()


_OWNER = re.compile(
    r"locked(?P<exclusive> exclusively)? by PID (?P<pid>\d+) on (?P<host>\S+) by (?P<user>[^(\n]+)"
)
_CREATED = re.compile(r"lock was created at (?P<when>[^(\n]+)\((?P<ago>[^)]*) ago\)")


def describe_lock(text: str) -> str | None:
    """Who holds the lock that restic complains of, in words; None where it does not say."""
    owner = _OWNER.search(text)
    if owner is None:
        return None
    since = _CREATED.search(text)
    started = f", since {since['ago']}" if since else ""
    return f"{owner['user'].strip()} on {owner['host']} (pid {owner['pid']}{started})"
