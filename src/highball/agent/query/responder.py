"""Answer what a hub asks: look into a folder or at sources here, look into a repository in a process of its own.

A question about a repository starts a program, and whoever starts one has one thread (see `process`); so these
run as `python -m highball.agent.query`, which reads one question on standard input, answers one on standard
output, and keeps the agent itself small.
"""

from __future__ import annotations

import json
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from highball.agent import veto
from highball.agent.repository_folder import Storage, look_at_storage
from highball.errors import Failed, HighballError, NotAllowed
from highball.humanize import counted
from highball.model.fact import Fact
from highball.model.snapshot import (
    Lock,
    Node,
    NodeKind,
    Snapshot,
)
from highball.model.text import (
    PathText,
    UtcTime,
    path_for_people,
)
from highball.place.base import Files, Listed
from highball.place.kinds import open_place
from highball.protocol.queries import (
    Browse,
    CompareSnapshots,
    Dump,
    Flowing,
    ListFolder,
    ListKeys,
    ListLocks,
    ListNodes,
    ListSnapshots,
    Measure,
    OfRepository,
    PlanRestore,
    Question,
    RehearseForget,
    RestorePlan,
    SampleNames,
    TestRepository,
    TestSources,
)
from highball.protocol.wire import Answer, Ask

if TYPE_CHECKING:
    from highball.agent.query.repository_queries import RepositoryQueries

MOST_ENTRIES = 2000


class HostEntry(Fact):
    """One entry of a folder on the host."""

    name: PathText
    path: PathText
    kind: NodeKind
    size_bytes: int | None = None
    modified_at: UtcTime | None = None
    readable: bool = True


class HostFolder(Fact):
    """A folder of the host; `more` says how many entries were left out."""

    path: PathText
    entries: tuple[HostEntry, ...]
    more: int = 0


class RepositoryTest(Fact):
    """How a repository was found from this host, and the action that helps.

    `state`: existing, empty, uninitialised, locked, wrong_password, changed, gone, twice, unreachable.
    """

    state: str
    message: str
    hint: str | None = None
    action: str | None = None
    """init, unlock, retry; null where nothing is to be done."""
    milliseconds: int
    snapshots: int | None = None
    newest_at: UtcTime | None = None
    engine: str | None = None
    version: str | None = None
    """The version of the engine that found it."""
    storage: Storage | None = None
    """Where it is a folder of this host: what there is."""


class SourceTest(Fact):
    """How one source of a job was found."""

    path: PathText
    title: str | None = None
    """What people call it, where it is no path."""
    sound: bool
    code: str | None = None
    message: str | None = None


def answer(question: Question, ask: Callable[[OfRepository], Any] | None = None) -> Any:
    """The answer as plain data; `ask` answers what is about a repository. Raises HighballError."""
    match question:
        case Browse():
            with open_place(question.place).files() as files:
                return browse(files, question.path).model_dump(mode="json")
        case Measure():
            from highball.agent.query.disk_usage import measure  # noqa: PLC0415 - an idle agent does without

            with open_place(question.place).files() as files:
                return measure(question, files).model_dump(mode="json")
        case TestSources():
            return [test.model_dump(mode="json") for test in test_sources(question)]
        case _:
            assert ask is not None
            return ask(question)


def spell_error(error: HighballError) -> dict[str, Any]:
    """An error as an Answer carries it."""
    return {"code": error.code, "message": error.message, "hint": error.hint}


# --- about the host ------------------------------------------------------------------------------


def browse(files: Files, path: bytes) -> HostFolder:
    """What lies in a folder, folders first; raises Failed and NotAllowed."""
    try:
        folder = files.real_path(path, strict=True)
        found = sorted(
            (_entry(files, path, folder, listed) for listed in list(files.list_folder(folder))),
            key=_folders_first,
        )
    except (FileNotFoundError, NotADirectoryError):
        raise Failed(f"{path_for_people(path)} is not a folder here", code="path_unknown") from None
    except PermissionError:
        raise NotAllowed(
            f"{path_for_people(path)} may not be read", code="path_unreadable", hint="run the agent as root"
        ) from None
    except (OSError, ValueError) as error:
        raise Failed(f"{path_for_people(path)} cannot be read: {error}", code="path_unreadable") from None
    return HostFolder(path=path, entries=tuple(found[:MOST_ENTRIES]), more=max(0, len(found) - MOST_ENTRIES))


def _folders_first(entry: HostEntry) -> tuple[bool, bytes]:
    return entry.kind is not NodeKind.DIRECTORY, entry.name


def _entry(files: Files, asked: bytes, folder: bytes, listed: Listed) -> HostEntry:
    kind, size, modified = NodeKind.OTHER, None, None
    if (found := listed.status) is not None:
        kind = _kind(found.st_mode)
        size = found.st_size if kind is NodeKind.FILE else None
        with suppress(OverflowError, ValueError):  # its time is no time
            modified = datetime.fromtimestamp(found.st_mtime_ns / 1e9, UTC)
    return HostEntry(
        name=listed.name,
        path=asked.rstrip(b"/") + b"/" + listed.name,
        kind=kind,
        size_bytes=size,
        modified_at=modified,
        readable=files.may_read(folder.rstrip(b"/") + b"/" + listed.name),
    )


def _kind(mode: int) -> NodeKind:
    if stat.S_ISDIR(mode):
        return NodeKind.DIRECTORY
    if stat.S_ISLNK(mode):
        return NodeKind.SYMLINK
    return NodeKind.FILE if stat.S_ISREG(mode) else NodeKind.OTHER


def test_sources(question: TestSources) -> list[SourceTest]:
    """Each source of a job, as it is now."""
    found, place = [], open_place(question.place)
    for source in question.job.sources:
        caution = source.examine(question.job.omissions, place).caution
        found.append(
            SourceTest(
                path=source.path_within,
                title=None if source.kind == "path" else source.title,
                sound=caution is None,
                code=caution.code if caution else None,
                message=caution.message if caution else None,
            )
        )
    return found


# --- about a repository --------------------------------------------------------------------------


def main() -> None:
    """One question on standard input, one answer on standard output."""
    told = json.load(sys.stdin.buffer)
    asked = Ask.model_validate(told["ask"])
    try:
        about = (told["state"], told["hub"], asked, bytes.fromhex(told.get("ticket_key", "")))
        value = answer(asked.question, lambda question: _Repository(*about).answer(question))
        said = Answer(value=value)
    except HighballError as error:
        said = Answer(error=spell_error(error))
    sys.stdout.write(said.model_dump_json(exclude_none=True))


class _Repository:
    """The repository that a question is about."""

    def __init__(self, state: str, hub: str, ask: Ask, ticket_key: bytes) -> None:
        from highball.agent.host_policy import load_policy  # noqa: PLC0415 - only where a repository is opened
        from highball.agent.state_dir import Workplace  # noqa: PLC0415
        from highball.secret import SecretValue  # noqa: PLC0415

        sealed = {place: SecretValue(value) for place, value in ask.secrets.items()}
        self._hub = hub
        self._ticket = ask.ticket
        self._ticket_key = ticket_key
        self._policy = load_policy(Path(state))
        self._workplace = Workplace(Path(state), self._policy, sealed, self._policy)

    def answer(self, question: OfRepository) -> Any:
        """The answer as plain data; raises HighballError."""
        from highball.agent.query.repository_queries import RepositoryQueries  # noqa: PLC0415

        veto.demand(self._policy, question)
        self._workplace = replace(self._workplace, place=open_place(question.place))
        if isinstance(question, TestRepository):
            return self._test(question).model_dump(mode="json")
        asked = RepositoryQueries(
            self._workplace, question.key, question.repository, question.identity, known=question.known
        )
        match question:
            case ListSnapshots():
                hosts = () if question.host is None else (question.host, *question.former_hosts)
                found = asked.list_snapshots(hosts=hosts, tags=question.tags)
                value: Any = TypeAdapter(list[Snapshot]).dump_python(found, mode="json", exclude_none=True)
            case ListLocks():
                value = [self._with_life(lock).model_dump(mode="json") for lock in asked.list_locks()]
            case ListKeys():
                value = [key.model_dump(mode="json") for key in asked.list_keys()]
            case RehearseForget():
                asked.compare_identity()
                hosts = (question.host, *question.former_hosts)
                value = sorted(asked.plan_forget(hosts, question.tags, question.retention))
            case ListFolder():
                nodes = asked.list_folder(question.snapshot, question.path)
                value = [node.model_dump(mode="json", exclude_none=True) for node in nodes]
            case CompareSnapshots():
                value = [one.model_dump(mode="json") for one in asked.compare(question.old, question.new)]
            case SampleNames():
                value = asked.sample_names(question.snapshot).model_dump(mode="json")
            case PlanRestore():
                value = self._plan(asked, question).model_dump(mode="json")
            case ListNodes() | Dump() if self._ticket is not None:
                self._flow(asked, question, self._ticket)
                value = None
            case _:
                raise Failed("this agent does not know that question", code="unsupported")
        return value

    def _with_life(self, lock: Lock) -> Lock:
        """The lock with whether its process lives, if that would be one of its place."""
        place = self._workplace.place
        alive = place.is_alive(lock.pid) if lock.hostname == place.hostname else None
        return lock if alive is None else lock.model_copy(update={"alive": alive})

    def _plan(self, asked: RepositoryQueries, question: PlanRestore) -> RestorePlan:
        about = (question.snapshot, question.paths, question.target, question.overwrite)
        plan = asked.plan_restore(*about, counts=question.counts)
        # all of them, perhaps, which are known only now
        veto.demand(self._policy, question.model_copy(update={"paths": plan.paths}))
        return plan

    def _flow(self, asked: RepositoryQueries, question: Flowing, ticket: str) -> None:
        from highball.agent.query.upload import AnswerUpload  # noqa: PLC0415

        flow = AnswerUpload(self._hub, ticket, self._ticket_key)
        if isinstance(question, Dump):
            asked.dump(question.snapshot, question.path, flow.add)
        else:
            asked.each_node(question.snapshot, question.path, lambda node: flow.add(_as_line(node)))
        flow.end()

    def _test(self, question: TestRepository) -> RepositoryTest:
        from highball.agent.query.repository_queries import RepositoryQueries  # noqa: PLC0415

        begun = time.monotonic()
        folder = question.repository.local_folder
        with self._workplace.place.files() as files:
            storage = look_at_storage(files, folder) if folder else None

        def told(state: str, message: str, **more: Any) -> RepositoryTest:
            took = round((time.monotonic() - begun) * 1000)
            found = {"milliseconds": took, "engine": question.repository.engine, "storage": storage}
            return RepositoryTest(state=state, message=message, **found | more)

        try:
            about = (question.key, question.repository, question.identity)
            asked = RepositoryQueries(self._workplace, *about, others=question.others)
            asked.compare_identity()
            snapshots = asked.list_snapshots()
            locks = [lock for lock in asked.list_locks() if lock.exclusive]
        except HighballError as error:
            state, action = _STATES.get(error.code, ("unreachable", "retry"))
            if error.code == "repository_missing" and question.identity is None:
                return told("uninitialised", error.message, hint=_TO_MAKE_ONE, action="init")
            return told(state, error.message, hint=error.hint, action=action)
        version = asked.opened.version
        if locks:
            lock = locks[0]
            message = f"is locked by {lock.username or 'somebody'} on {lock.hostname} (process {lock.pid})"
            return told("locked", message, action="unlock", snapshots=len(snapshots), version=version)
        if not snapshots:
            return told("empty", "can be used, and holds no snapshots yet", snapshots=0, version=version)
        newest = max(snapshot.time for snapshot in snapshots)
        message = f"can be used, and holds {counted(len(snapshots), 'snapshot')}"
        return told("existing", message, snapshots=len(snapshots), newest_at=newest, version=version)


def _as_line(node: Node) -> bytes:
    return node.model_dump_json(exclude_none=True).encode() + b"\n"


_TO_MAKE_ONE = "is its disk mounted? if it is, create a new repository by the task init, or by its page"

_STATES: dict[str, tuple[str, str | None]] = {
    "wrong_password": ("wrong_password", "retry"),
    "repository_locked": ("locked", "unlock"),
    "repository_changed": ("changed", None),
    "repository_gone": ("gone", "retry"),
    "repository_twice": ("twice", None),
}


if __name__ == "__main__":  # so it is started by an agent that was begun before an update, and lives on
    main()
