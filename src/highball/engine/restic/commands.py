"""restic at work on one repository: each action as one function that starts restic and says what happened.

Nothing here decides whether something is good: what restic did is returned as it was, and judged elsewhere
(`agent.run.success`). Every invocation gets a clean environment, its secrets through pipes, and an empty input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pydantic_core

from highball.engine.base import BackupOrder, BackupReport, Listener
from highball.engine.restic import failures, output
from highball.engine.restic.access import RepositoryAccess, as_csv
from highball.engine.restic.argv import (
    RestoreOrder,
    backup_argv,
    in_folder,
    keep_argv,
    restore_argv,
)
from highball.engine.restic.exact import ExactNames
from highball.engine.restic.output import (
    CheckResult,
    PruneText,
    TreeEntry,
)
from highball.engine.restic.program import ResticBinary
from highball.engine.restic.retrying import (
    FinishedProcess,
    FirstAnswer,
    Trying,
)
from highball.engine.restic.ssh import SshOutput, listening
from highball.engine.restic.variables import kept_environment
from highball.errors import Cancelled, Failed, RepositoryError
from highball.humanize import length
from highball.model.run import (
    Action,
    Caution,
    Reason,
)
from highball.model.snapshot import (
    Difference,
    Lock,
    Node,
    Snapshot,
)
from highball.model.text import LOST, as_listed, path_for_people
from highball.place.base import Place
from highball.place.local import LOCAL
from highball.place.priority import Priority
from highball.process.child import (
    LOCKING_MANNERS,
    MARKER,
    RESTIC_MANNERS,
    Argument,
    Command,
    OnData,
    Stop,
    Stream,
    by_lines,
)
from highball.process.feed import Feed
from highball.retention import Retention
from highball.secret import mask

LONGEST_LINE = 64 * 1024 * 1024
"""A `snapshot` line lists all its paths (10,000 of them were seen): JSON lines may be long."""

LARGEST_ANSWER = 512 * 1024 * 1024
"""A listing of 100,000 snapshots takes 60 MB."""

LATEST = "latest"
"""What restic calls the newest snapshot."""

LONGEST_MESSAGE = 500

ARGUMENTS_AT_ONCE = 5000


@dataclass
class Restic:
    """restic, on one repository with one access, for one run (the `marker`) or one question."""

    binary: ResticBinary
    repository: str
    access: RepositoryAccess
    cache: Path
    scratch: Path
    marker: str
    timezone: str = "UTC"
    listener: Listener = field(default_factory=Listener)
    stop: Stop = field(default_factory=Stop)
    patience: timedelta | None = None
    """How long it may try in vain to reach the repository; None leaves it to restic (a quarter of an hour)."""
    answer_within: timedelta | None = None
    """How long the repository may take until it answers for the first time; None leaves that to restic as well."""
    place: Place = LOCAL

    # --- what it is, and whether it is there ---

    def read_identity(self) -> str:
        """restic's id of the repository; raises RepositoryError where there is none."""
        text = self._collect("cat", "config", "--no-lock")
        with _understood():
            found = pydantic_core.from_json(text)["id"]
            if not output.is_id(found):
                raise ValueError("not an id")
            return str(found)

    def initialise(self) -> None:
        """Make the repository; raises RepositoryError, code `already_initialised`, where there is one."""
        self._collect("init", "--repository-version", "2")

    # --- backup ---

    def backup(self, order: BackupOrder) -> tuple[FinishedProcess, BackupReport]:
        """Save the paths; the report holds what restic told, whatever its exit status.

        Raises Failed, code `compression_unsafe`, where this restic could damage what it compresses.
        """
        if order.compression == "max" and self.binary.damages_at_max:
            raise Failed(
                f"restic {self.binary.text} can damage data that it compresses as much as it can",
                code="compression_unsafe",
                hint='use restic 0.16.4 or later, or take compression = "max" away',
            )
        report = BackupReport()
        feed = order.stream.open() if order.stream else None

        def on_message(message: output.JsonMessage) -> bool:
            kind = message.get("message_type")
            if kind == "status":
                self.listener.progress(output.read_status(message))
                if feed is not None:  # it holds its lock, and reads
                    feed.begin()
            elif kind == "summary":
                report.summary = output.read_summary(message)
                return report.summary is not None  # what makes no sense stands in the log
            elif kind == "error":
                caution = output.as_lacking(output.read_file_error(message), order.paths)
                self._note_file_error(report, caution)
            else:
                return False
            return True

        def on_text(stream: str, text: str) -> None:
            plain = output.read_plain_error(text) if stream == "stderr" else None
            if plain is not None:
                report.note(plain)
            if feed is not None and failures.is_stopping(
                text
            ):  # from 0.17 on it would first read on to the end
                feed.let_go()

        restic = self
        if feed is not None:
            restic = replace(self, stop=Stop(lambda: self.stop.requested or feed.is_broken))
        try:
            finished = restic._run(
                backup_argv(self.binary, order), on_message, Priority.BACKUP, on_text=on_text, feed=feed
            )
        except Failed as error:
            raise _with_excludes_counted(error, order) from None
        return finished, report

    def _note_file_error(self, report: BackupReport, caution: Caution) -> None:
        if not report.note(caution):
            return
        where = f"{path_for_people(caution.path)}: " if caution.path else ""
        self._tell("stderr", f"{where}{caution.message}")

    # --- what the repository holds ---

    def list_snapshots(
        self, *, hosts: Sequence[str] = (), tags: Sequence[str] = (), timeout: timedelta | None = None
    ) -> list[Snapshot]:
        """The snapshots that carry one of these hosts and, for one of the comma-joined tag lists, all its tags."""
        argv: list[Argument] = ["snapshots", "--no-lock"]
        argv += _hosts_and_tags(hosts, tags)
        text = self._collect(*argv, timeout=timeout)
        with _understood():
            return output.read_snapshots(text, self.repository)

    def list_some(
        self, hosts: Sequence[str], tags: Sequence[str], timeout: timedelta
    ) -> tuple[list[Snapshot], int]:
        """The same, told from all that there are, and how many these are: restic reads each of them anyway."""
        text = self._collect("snapshots", "--no-lock", timeout=timeout)
        with _understood():
            return output.read_some(text, self.repository, hosts, tags)

    def list_nodes(
        self, snapshot: str, folder: bytes | None = None, *, recursive: bool = True, exact: bool = True
    ) -> Iterator[Node]:
        """Not streamed: all entries, see `each_node`."""
        found: list[Node] = []
        self.each_node(snapshot, found.append, folder, recursive=recursive, exact=exact)
        return iter(found)

    def each_node(
        self,
        snapshot: str,
        on_node: Callable[[Node], None],
        folder: bytes | Sequence[bytes] | None = None,
        *,
        recursive: bool = True,
        exact: bool = True,
    ) -> None:
        """Hand every entry of a snapshot (of one folder, or several) to `on_node`, parents before children.

        With `exact`, names whose bytes the listing loses are looked up in the tree itself.
        Raises RepositoryError.
        """
        folders = [folder] if isinstance(folder, bytes) else folder or ()
        exactly = ExactNames(self, snapshot, folders) if exact else None
        kinds: set[object] = set()

        def on_message(message: output.JsonMessage) -> bool:
            kinds.add(str(message.get("struct_type", message.get("message_type"))))
            if "path" in message and message.get("struct_type", message.get("message_type")) == "node":
                with _understood():
                    node = output.read_node(message)
                on_node(exactly.of(node) if exactly else node)
            return "struct_type" in message or "message_type" in message

        argv: list[Argument] = ["ls", "--no-lock"]
        if folder is not None and recursive:
            argv.append("--recursive")
        argv += ["--", snapshot, *folders]
        finished = self._run(argv, on_message)
        self._demand(finished)
        if "snapshot" not in kinds:  # restic 0.14 lists nothing of one that is gone, and calls that a success
            raise _unknown_snapshot()

    def read_tree(
        self, snapshot: str, folder: bytes, root: str | None = None, known: dict[bytes, str] | None = None
    ) -> list[TreeEntry]:
        """The entries of one folder with their exact names; `known` remembers trees between calls (before 0.16)."""
        folder = folder or b"/"
        if snapshot == LATEST:  # no restic takes it here
            snapshot = self._get_snapshot(snapshot).id
        if self.binary.names_folders:
            return self._read_tree("tree", in_folder(snapshot, folder))
        known = {} if known is None else known
        if b"/" not in known:
            known[b"/"] = root or str(self._get_snapshot(snapshot).tree)
        above = folder
        while above not in known:
            above = above.rpartition(b"/")[0] or b"/"
        entries = self._read_tree("blob", known[above])
        for name in folder[len(above) :].strip(b"/").split(b"/") if folder != above else ():
            above = above.rstrip(b"/") + b"/" + name
            tree = next((entry.subtree for entry in entries if entry.name == name), None)
            if tree is None:
                raise Failed(f"{path_for_people(folder)} is not in the snapshot", code="path_unknown")
            known[above] = tree
            entries = self._read_tree("blob", tree)
        return entries

    def _read_tree(self, kind: str, named: Argument) -> list[TreeEntry]:
        text = self._collect("cat", kind, "--no-lock", "--", named)
        with _understood():
            return output.read_tree(text)

    def _get_snapshot(self, named: str) -> Snapshot:
        found = self.list_snapshots()
        if named == LATEST:
            matching = sorted(found, key=lambda snapshot: snapshot.time)[-1:]
        else:
            matching = [snapshot for snapshot in found if snapshot.id.startswith(named)]
        if len(matching) != 1:
            raise _unknown_snapshot()
        return matching[0]

    def exact_paths(self, snapshot: Snapshot) -> list[bytes]:
        """The paths that a snapshot was made of, byte for byte: restic lists bytes that are not UTF-8 as U+FFFD."""
        known: dict[bytes, str] = {}
        found: list[bytes] = []
        for path in snapshot.paths:
            found += self._spelled_so(snapshot, path, known) if LOST in path else [path]
        return list(dict.fromkeys(found))

    def _spelled_so(self, snapshot: Snapshot, listed: bytes, known: dict[bytes, str]) -> list[bytes]:
        exact = [b""]
        for part in listed.strip(b"/").split(b"/"):
            if LOST not in part:
                exact = [above + b"/" + part for above in exact]
                continue
            exact = [
                above + b"/" + entry.name
                for above in exact
                for entry in self.read_tree(snapshot.id, above, snapshot.tree, known)
                if as_listed(entry.name) == part
            ]
        return exact

    def dump(self, snapshot: str, path: bytes, on_data: Callable[[bytes], None]) -> None:
        """Hand the content of a file, or a folder as a tar archive, to `on_data`; raises where any of it is missing."""
        attempts = self._trying()
        on_error, finish = by_lines(lambda stream, line: attempts.hear(_plain(line)))

        with listening(self.access.ssh, self.scratch) as ssh:
            ended = self.place.run(
                self._command(["dump", "--no-lock", "--", snapshot, path], ssh, json=False),
                _apart(attempts, on_data, on_error),
                stop=attempts.stop,
                on_start=self.listener.started,
            )
            finish()
            self._hear(ssh, attempts)
        self._demand(attempts.finished(ended))

    def compare(self, old: str, new: str, on_difference: Callable[[Difference], None]) -> None:
        """Hand every path that differs between two snapshots to `on_difference`."""

        def on_message(message: output.JsonMessage) -> bool:
            found = output.read_difference(message)
            if found is not None:
                on_difference(found)
            return "message_type" in message

        self._demand(self._run(["diff", "--no-lock", "--", old, new], on_message))

    def measure(self) -> int:
        """How many bytes the repository stores."""
        # 0.19.0 mixes a progress bar into this JSON: the object is the line that parses.
        lines = self._collect("stats", "--mode", "raw-data", "--no-lock").splitlines()
        found = [
            message for line in lines if "total_size" in (message := output.read_json(line.strip()) or {})
        ]
        if not found:
            raise Failed("restic gave no statistics", code="no_statistics")
        size = output.read_count(found[-1]["total_size"])
        if size is None:
            raise Failed("restic gave statistics that cannot be", code="no_statistics")
        return size

    # --- upkeep ---

    def plan_forget(self, hosts: Sequence[str], tags: Sequence[str], retention: Retention) -> set[str]:
        """The ids that restic itself would remove by these rules."""
        argv: list[Argument] = ["forget", "--dry-run", "--no-lock", "--group-by", ""]
        text = self._collect(*argv, *_hosts_and_tags(hosts, tags), *keep_argv(retention))
        with _understood():
            groups = pydantic_core.from_json(text.strip() or b"null") or []
            return {str(entry["id"]) for group in groups for entry in group.get("remove") or ()}

    def forget(self, ids: Sequence[str]) -> FinishedProcess:
        """Remove these snapshots; whether they are gone only a new listing tells, on every version."""
        finished = FinishedProcess(0, stopped=False, timed_out=False, log=())
        for start in range(0, len(ids), ARGUMENTS_AT_ONCE):
            # no --json: restic gives none when ids are named
            argv: list[Argument] = ["forget", "--", *ids[start : start + ARGUMENTS_AT_ONCE]]
            finished = self._run(argv, None, Priority.MAINTENANCE, json=False)
            if finished.exit_status != 0:
                break
        return finished

    def prune(self) -> tuple[FinishedProcess, PruneText]:
        """Remove data that no snapshot needs."""
        report = PruneText()
        finished = self._run(
            ["prune"], None, Priority.MAINTENANCE, json=False, on_text=lambda _, text: report.hear(text)
        )
        return finished, report

    def check(self, part: str | None) -> tuple[FinishedProcess, CheckResult | None]:
        """Check the structure, and read part `n/t` of the data; None where restic gave no result of it."""
        found: list[CheckResult] = []

        def on_message(message: output.JsonMessage) -> bool:
            result = output.read_check(message)
            if result is not None:
                found.append(result)
            return result is not None

        def on_text(stream: str, text: str) -> None:
            if not self.binary.has_json_check and text == output.NO_ERRORS:
                found.append(CheckResult(0, ()))

        argv: list[Argument] = ["check", *([f"--read-data-subset={part}"] if part else [])]
        finished = self._run(
            argv, on_message, Priority.MAINTENANCE, json=self.binary.has_json_check, on_text=on_text
        )
        return finished, found[-1] if found else None

    def list_locks(self) -> list[Lock]:
        """The locks in the repository, each with its owner; one that vanished meanwhile is left out."""
        locks: list[Lock] = []
        for lock_id in self._collect("list", "locks", "--no-lock", json=False).decode().split():
            try:
                text = self._collect("cat", "lock", "--no-lock", lock_id)
            except RepositoryError:
                continue
            with _understood():
                locks.append(output.read_lock(lock_id, text))
        return locks

    def unlock(self, *, remove_all: bool = False) -> FinishedProcess:
        """Remove the locks that restic calls stale, or all of them."""
        return self._run(["unlock", *(["--remove-all"] if remove_all else [])], None, json=False)

    # --- what `keyring` asks of it ---

    def collect(self, *argv: Argument, json: bool = True) -> bytes:
        """All that a command prints on its standard output; raises RepositoryError."""
        return self._collect(*argv, json=json)

    def change(self, *argv: Argument) -> FinishedProcess:
        """A command that changes the repository, its output for the log."""
        return self._run(list(argv), None, json=False)

    # --- restore ---

    def restore(
        self,
        order: RestoreOrder,
        on_error: Callable[[Caution], None],
        on_text: Callable[[str, str], None] = lambda stream, text: None,
    ) -> FinishedProcess:
        """Write a part of a snapshot into a directory; what could not be written is told as it comes."""

        def on_message(message: output.JsonMessage) -> bool:
            kind = message.get("message_type")
            if kind == "status":
                self.listener.progress(output.read_status(message))
            elif kind == "error":
                on_error(output.read_file_error(message))
            return kind in {"status", "summary", "error", "verbose_status"}

        return self._run(restore_argv(order), on_message, Priority.BACKUP, on_text=on_text)

    # --- running restic ---

    def require(self, finished: FinishedProcess) -> None:
        """Raise what a failed process means: Cancelled, or RepositoryError with its code."""
        self._demand(finished)

    def why(self, finished: FinishedProcess) -> Reason:
        """Why a process failed."""
        reason = failures.classify(self.binary.version, finished.exit_status, finished.log)
        if finished.unanswered:
            reason = self._unanswered(reason if finished.log else None)
        if reason.code == "repository_missing":
            bucket = ": the bucket does not exist" if "bucket" in reason.message else ""
            return Reason(code=reason.code, message=f"there is no repository at {self.access.shown}{bucket}")
        # masked only now: a password like "wrong" must not hide restic's own words from us
        return Reason(code=reason.code, message=mask(reason.message, self.access.secrets, LONGEST_MESSAGE))

    def _unanswered(self, failed: Reason | None) -> Reason:
        told = failed or Reason(
            code="unreachable", message=f"{failures.sentence('unreachable')}: it does not answer"
        )
        return Reason(code=told.code, message=f"{told.message} (given up after {length(self.answer_within)})")

    def locked(self, finished: FinishedProcess) -> RepositoryError:
        """The error that says who holds the lock a process ran into."""
        owner = failures.describe_lock("\n".join(finished.log))
        return RepositoryError(
            f"the repository is locked by {owner}" if owner else "the repository is locked",
            code="repository_locked",
            hint=failures.hint("repository_locked"),
            retryable=True,
        )

    def _demand(self, finished: FinishedProcess) -> None:
        if finished.exit_status == 0:
            return
        if finished.stopped:
            raise Cancelled("cancelled")
        if finished.timed_out:
            raise RepositoryError("the repository did not answer in time", code="unreachable", retryable=True)
        reason = self.why(finished)
        if reason.code == "repository_locked":
            raise self.locked(finished)
        raise RepositoryError(
            reason.message,
            code=reason.code,
            hint=failures.hint(reason.code),
            retryable=reason.code in failures.RETRYABLE,
        )

    def _collect(self, *argv: Argument, json: bool = True, timeout: timedelta | None = None) -> bytes:
        """All that a command prints on its standard output; raises RepositoryError where that has no end."""
        answer = _BoundedOutput()
        attempts = self._trying()

        def on_line(stream: str, line: bytes) -> None:
            text = self._plain_or_fatal(line)
            attempts.hear(text)
            if failures.is_retrying(text):  # for a quarter of an hour nothing else would be heard
                self._tell(stream, text)

        on_error, finish = by_lines(on_line)

        with listening(self.access.ssh, self.scratch) as ssh:
            ended = self.place.run(
                self._command(argv, ssh, json=json),
                _apart(attempts, answer.add, on_error),
                stop=attempts.stop,
                timeout=timeout,
                on_start=self.listener.started,
            )
            finish()
            self._hear(ssh, attempts)
        self._demand(attempts.finished(ended))
        return b"".join(answer.parts)

    def _run(
        self,
        argv: Sequence[Argument],
        on_message: Callable[[output.JsonMessage], bool] | None,
        priority: Priority = Priority.NORMAL,
        *,
        json: bool = True,
        on_text: Callable[[str, str], None] = lambda stream, text: None,
        feed: Feed | None = None,
    ) -> FinishedProcess:
        """Run a command line by line: JSON messages to `on_message`, what it does not take to `on_text` and the log."""
        attempts = self._trying()

        def on_line(stream: str, line: bytes) -> None:
            if stream == "stdout":
                attempts.hear_answer()
            message = output.read_json(line)
            if (
                message is not None
                and on_message is not None
                and not _is_exit(message)
                and on_message(message)
            ):
                return
            text = self._plain_or_fatal(line)
            if text:
                attempts.hear(text)
                self._tell(stream, text)
                on_text(stream, text)

        on_data, finish = by_lines(on_line, LONGEST_LINE)
        with listening(self.access.ssh, self.scratch) as ssh:
            command = self._command(argv, ssh, json=json)
            self._tell("highball", f"$ {command.shown()}")
            ended = self.place.run(
                command,
                on_data,
                priority=priority,
                stop=attempts.stop,
                # backups and maintenance hold a lock in the repository
                manners=RESTIC_MANNERS if priority is Priority.NORMAL else LOCKING_MANNERS,
                on_start=self.listener.started,
                feed=feed,
            )
            finish()
            self._hear(ssh, attempts)
        finished = attempts.finished(ended)
        if finished.cut_short:
            self.listener.cut_short()
        return finished

    def _trying(self) -> Trying:
        if self.answer_within is None:
            return Trying(self.stop, self.patience)
        told = self.listener
        first = FirstAnswer(self.answer_within, self._answers, told.waiting, told.answered)
        return Trying(self.stop, self.patience, first)

    def _answers(self, within: timedelta) -> bool:
        """Whether anything answers, were it only with a refusal."""
        asking = replace(self, answer_within=None, patience=within, listener=Listener())
        try:
            asking._collect("cat", "config", "--no-lock", timeout=within)
        except RepositoryError as error:
            return error.code != "unreachable"
        except Cancelled:
            return True
        return True

    def _hear(self, ssh: SshOutput, attempts: Trying) -> None:
        """Take in what ssh said, now that restic is over."""
        for line in ssh.read():
            attempts.hear(line)
            self._tell("stderr", line)

    def _tell(self, stream: str, text: str) -> None:
        self.listener.log(stream, mask(text, self.access.secrets))

    @staticmethod
    def _plain_or_fatal(line: bytes) -> str:
        message = output.read_json(line)
        if message is not None and _is_exit(message):
            return failures.read_exit_error(message)
        return _plain(line)

    def _command(self, argv: Sequence[Argument], ssh: SshOutput, *, json: bool) -> Command:
        options: list[Argument] = [part for option in self._options(ssh) for part in ("-o", option)]
        if self.access.certificate is not None:
            options += ["--cacert", str(self.access.certificate)]
        return Command(
            argv=(str(self.binary.path), *(["--json"] if json else []), *options, *argv),
            environment={
                **kept_environment(self.place.environment()),
                **self.access.environment,
                "RESTIC_CACHE_DIR": str(self.cache),
                "RESTIC_PROGRESS_FPS": "2",
                "TMPDIR": str(self.scratch),
                "LC_ALL": "C.UTF-8",
                "TZ": self.timezone,
                MARKER: self.marker,
            },
            files={
                "RESTIC_REPOSITORY_FILE": self.access.location,
                "RESTIC_PASSWORD_FILE": self.access.password,
            },
            # the S3 client reads its credentials anew for each connection that it sets up
            lasting_files=self.access.files,
        )

    def _options(self, ssh: SshOutput) -> Iterator[str]:
        how = self.access.ssh if ssh.log is not None else None
        for option in self.access.options:
            if how is None or not option.lstrip('"').startswith(f"{how.option}="):
                yield option
        if how is not None and ssh.log is not None:
            yield as_csv(how.writing_to(ssh.log))


class _BoundedOutput:
    """The output of a process, piece by piece, as long as it is one that can be held."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > LARGEST_ANSWER:
            raise _unreadable(f"restic's answer is longer than {LARGEST_ANSWER >> 20} MiB")
        self.parts.append(data)


def _apart(attempts: Trying, on_data: Callable[[bytes], None], on_error: OnData) -> OnData:
    """Hand what is answered to one, and what is complained of to the other."""

    def on_output(stream: Stream, data: bytes) -> None:
        if stream == "stderr":
            on_error(stream, data)
            return
        attempts.hear_answer()
        on_data(data)

    return on_output


@contextmanager
def _understood() -> Iterator[None]:
    """Whatever a program answered that only calls itself restic is its failure, not ours."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise _unreadable("restic's answer cannot be read") from None


def _unreadable(message: str) -> RepositoryError:
    return RepositoryError(
        message,
        code="unreadable_answer",
        hint="is this program really restic? try it by hand with: restic snapshots --json",
    )


def _unknown_snapshot() -> RepositoryError:
    code = "snapshot_unknown"
    return RepositoryError(failures.sentence(code), code=code, hint=failures.hint(code))


def _is_exit(message: output.JsonMessage) -> bool:
    """Whether it is the last word of a restic that failed."""
    return message.get("message_type") == "exit_error"


def _plain(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip()


def _hosts_and_tags(hosts: Sequence[str], tags: Sequence[str]) -> list[Argument]:
    return [
        *(part for host in hosts for part in ("--host", host)),
        *(part for tag in tags for part in ("--tag", tag)),
    ]


def _with_excludes_counted(error: Failed, order: BackupOrder) -> Failed:
    if error.code != "arguments_too_long":
        return error
    size = sum(len(pattern) for pattern in order.excludes) // 1024
    return Failed(
        f"what to leave out ({len(order.excludes):,} patterns, {size:,} KiB) does not fit restic's command line",
        code=error.code,
        hint="name fewer and broader patterns, or leave folders out by exclude_if_present",
    )


ACTIONS_WITH_ADMIN = frozenset({Action.FORGET, Action.PRUNE})
"""The actions for which the admin access of a repository is used where there is one."""
