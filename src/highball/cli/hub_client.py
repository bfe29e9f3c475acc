"""A hub, asked over HTTP: its answers as facts, its problems as the errors that they were.

The token comes from the environment or from a file of its owner's alone, never from the command line. Everything
that a command asks for (`operations`) is here, and how a run is followed in `follow`. No
room of the hub itself is imported: whoever asks a hub needs none of them.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_from_bytes
from uuid import uuid4

import httpx
from pydantic import ConfigDict, TypeAdapter, ValidationError

from highball import __version__
from highball.actions import ACTIONS
from highball.cli.follow import Stopping, follow
from highball.cli.operations import Titled
from highball.cli.options import whole_path
from highball.cli.progress import Narrator
from highball.cli.snapshot_choice import SnapshotKeys
from highball.cli.urls import check_url
from highball.config.document import (
    Document,
    build,
    effective_job,
)
from highball.config.load import kind_of_file, read, read_file
from highball.config.references import ALONE, TABLE_OF, changes_of_key
from highball.errors import (
    ConfigurationInvalid,
    Conflict,
    Failed,
    HighballError,
    LoginNeeded,
    Misuse,
    NotAllowed,
    Problem,
    RevisionMissing,
    SecretUnavailable,
    Unknown,
)
from highball.model.event import Event
from highball.model.run import Outcome, Run
from highball.model.snapshot import (
    Difference,
    ForeignGroup,
    KeyTold,
    Lock,
    Loss,
    Node,
    Snapshot,
)
from highball.model.standing import Hold, Standing
from highball.model.text import path_to_text
from highball.protocol.queries import RestorePlan
from highball.protocol.tasks import Overwrite
from highball.retention import Plan
from highball.secret import SecretValue

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
PATIENT = httpx.Timeout(16 * 60.0, connect=CONNECT_SECONDS)
"""For what the hub asks an agent, who asks a repository: a little longer than the hub itself waits."""

SENT_AGAIN = 3
PAGE = 500

AT = "address"
"""In an order: where it is sent to, if not to all runs."""

UNREACHABLE = "hub_unreachable"
DECLARED = ("hosts", "repositories", "profiles", "jobs", "pins")
"""The tables of the document that a hub shows to everybody who may look."""

_EVENT: TypeAdapter[Event] = TypeAdapter(Event, config=ConfigDict(defer_build=True))
_KIND_OF: Mapping[int, type[HighballError]] = {
    400: Misuse,
    401: LoginNeeded,
    403: NotAllowed,
    404: Unknown,
    409: Conflict,
    412: Conflict,
    422: ConfigurationInvalid,
    428: RevisionMissing,
    429: NotAllowed,
}
_REFUSALS = ("maintenance_off", "admin_creds_required")
"""Codes by which a hub refuses a run before it begins, as one machine does."""


class HubClient:
    """A hub, reached for one command."""

    def __init__(self, url: str, token: SecretValue) -> None:
        self.url = check_url(url)
        self.stop = Stopping()
        self.http = httpx.Client(
            base_url=f"{self.url}/api/v1/",
            headers={
                "Authorization": f"Bearer {token.reveal().decode()}",
                "User-Agent": f"highball/{__version__}",
            },
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            verify=ssl.create_default_context(),
            trust_env=False,
        )

    # --- what is declared ---

    @cached_property
    def document(self) -> Document:
        """Everything that is declared, but for who may do what: that is not for everybody's eyes."""
        tables = {name: self._get(name)["spec"] for name in ALONE}
        for table in DECLARED:
            tables[table] = {one["key"]: one["spec"] for one in self._pages(table, "after", limit=1000)}
        return build({name: spec for name, spec in tables.items() if spec})

    @property
    def name(self) -> str:
        """Its address."""
        return self.url

    @property
    def about(self) -> Mapping[str, Any]:
        """No file of this machine."""
        return {"file": None, "hub": self.url}

    def find_problems(self) -> list[Problem]:
        """A hub takes in nothing that is wrong."""
        return []

    def read_tables(self) -> Mapping[str, Any]:
        """The whole configuration as plain tables."""
        return read(self.read_yaml(), "yaml")

    def read_yaml(self) -> bytes:
        """The whole configuration as YAML."""
        return self._ask("GET", "configuration").content

    def make_kit(self, repository: str) -> str:
        """The page to print for a repository; who took it stands in the hub's audit."""
        return self._ask("GET", f"repositories/{quote(repository, safe='')}/recovery-kit").text

    def plan_setup(self) -> tuple[str, str]:
        """Nothing but repositories."""
        return "hub", self.url

    def apply(self, file: Path, *, dry_run: bool = False, name: str | None = None) -> list[dict[str, Any]]:
        """Let the hub say what this file says; what that changed, or would change. `name` is whose file it is there."""
        toml = kind_of_file(file) == "toml"
        answer = self._ask(
            "POST",
            "apply",
            content=read_file(file),
            headers={"Content-Type": "application/toml" if toml else "application/yaml"},
            params={"file": name or f"{socket.gethostname()}:{file.absolute()}", "dry_run": dry_run},
        )
        return list(_read_json(answer))

    def plan_changes(self, file: Path) -> list[dict[str, Any]]:
        """What this file would change of what is declared now; nothing is applied."""
        return self.apply(file, dry_run=True)

    def rekey(
        self, kind: str, old: str, new: str, agree: Callable[[list[dict[str, Any]]], None], *, dry_run: bool
    ) -> list[dict[str, Any]]:
        """Give an object another key, everywhere; as it was when it was looked at."""
        address = f"{TABLE_OF[kind]}/{quote(old, safe='')}"
        revision = self._get(address)["revision"]
        changes = changes_of_key(self.document.tables, kind, old, new)
        agree(changes)
        self._ask("POST", f"{address}/rekey", json={"key": new}, headers={"If-Match": f'"{revision}"'})
        return changes

    # --- how things stand ---

    def list_standings(self, jobs: Sequence[str] | None = None) -> list[Standing]:
        """How these jobs, or all, stand in each of their repositories."""
        found = [Standing.model_validate(one) for one in self._get("status")]
        if jobs is None:
            return found
        return sorted((one for one in found if one.job in jobs), key=lambda one: jobs.index(one.job))

    def list_runs(self, *, job: str | None, limit: int) -> list[Run]:
        """The latest runs, newest first."""
        about = {"job": job} if job else {}
        found: list[Run] = []
        for one in self._pages("runs", "cursor", limit=min(limit, PAGE), **about):
            found.append(Run.model_validate(one))
            if len(found) == limit:
                break
        return found

    def find_run(self, id_or_start: str) -> Run:
        """The run with this id, or the only one whose id begins so; raises Unknown."""
        return Run.model_validate(self._get(_address_of(id_or_start)))

    def read_events(self, run: str, *, after: int = 0) -> Iterator[Event]:
        """The events of a run behind a number; those of a kind that only a newer program knows are passed over."""
        for line in self._ask("GET", f"{_address_of(run)}/events", params={"after": after}).text.split("\n"):
            try:
                yield _EVENT.validate_json(line)
            except ValidationError:
                continue

    def accept(self, target: str, reason: str | None) -> list[Hold]:
        """A person says that what a run showed, or all that holds retention in a repository, is right."""
        known = target in self.document.repositories
        address = f"repositories/{target}" if known else _address_of(target)
        told = self._post(f"{address}/accept", {"reason": reason})
        return [Hold.model_validate(one) for one in told["holds"]]

    def cancel(self, run: str) -> None:
        """Ask a run to end; raises Unknown, and Conflict where it has ended."""
        self._post(f"{_address_of(run)}/cancel")

    def tell_set_up(self) -> dict[str, Any]:
        """Which hub it was."""
        return {"hub": self.url}

    def look_from_hosts(self) -> list[dict[str, Any]]:
        """How each repository is found from each host whose jobs use it, where that does not look after it itself."""
        found: dict[tuple[str | None, str], dict[str, Any]] = {}
        for key in self.document.jobs:
            job = effective_job(self.document, key)
            used = {name for name in job.repositories if not self._looks_after(job.host, name)}
            if used <= {name for host, name in found if host == job.host}:
                continue
            try:
                told = self._post(f"jobs/{key}/test?content=false", timeout=PATIENT)
                found |= {
                    (job.host, name): {"host": told["host"], **told["repositories"][name]} for name in used
                }
            except Failed as error:
                unknown = {"host": job.host, "state": error.code, "message": error.message}
                found |= {(job.host, name): unknown for name in used}
        return [{"repository": name, **told} for (_, name), told in found.items()]

    def _looks_after(self, host: str | None, repository: str) -> bool:
        own = self.document.settings.host or ""
        return self.document.repositories[repository].maintainer(own) == (host or own)

    # --- what rests ---

    def list_pauses(self) -> list[dict[str, Any]]:
        """What does not run by itself now, until when, and who said so."""
        return list(self._get("pauses"))

    def pause_all(self, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Let no job run by itself for a while; what rests then."""
        return list(self._post("pauses", dict(wanted)))

    def resume_all(self) -> list[dict[str, Any]]:
        """Let everything run by itself again; what rests then."""
        return list(_read_json(self._ask("DELETE", "pauses")))

    def pause(self, job: str, wanted: Mapping[str, Any]) -> None:
        """Let a job not run by itself for a while."""
        self._post(f"jobs/{job}/pause", dict(wanted))

    def resume(self, job: str) -> None:
        """Let it run by itself again."""
        self._post(f"jobs/{job}/resume")

    # --- what repositories hold ---

    def list_snapshots(self, repository: str) -> list[Snapshot]:
        """What a repository holds."""
        found = self._get(f"repositories/{repository}/snapshots", timeout=PATIENT)
        return [Snapshot.model_validate(one) for one in found]

    def find_keys(self, job: str) -> SnapshotKeys:
        """By which tags and hosts the snapshots of a job are found."""
        host = effective_job(self.document, job).host or self.document.settings.host
        return SnapshotKeys((job,), None if host is None else (host,))

    def list_locks(self, repository: str) -> list[Lock]:
        """The locks in a repository."""
        found = self._get(f"repositories/{repository}/locks", timeout=PATIENT)
        return [Lock.model_validate(one) for one in found]

    def make_ready(
        self, repositories: Sequence[str], *, begins_run: bool = False, starts_engine: bool = False
    ) -> None:
        """A hub is ready for all that may be asked."""

    def list_repositories_of(self, job: str) -> list[str]:
        """The repositories of a job."""
        return list(effective_job(self.document, job).repositories)

    def each_node(self, of: Snapshot, folder: bytes | None, on_node: Callable[[Node], None]) -> None:
        """Hand everything that a snapshot, or a folder of it, holds to `on_node`, as it comes."""
        rest = b""
        for piece in self._flow(_address_in(of, "nodes", folder)):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                on_node(Node.model_validate_json(line))

    def compare(self, old: Snapshot, new: Snapshot) -> list[Difference]:
        """What differs between two snapshots of a repository."""
        address, about = f"repositories/{old.repository}/differences", {"old": old.id, "new": new.id}
        return [Difference.model_validate(one) for one in self._get(address, about, timeout=PATIENT)]

    def dump(self, of: Snapshot, path: bytes, on_data: Callable[[bytes], None]) -> None:
        """The content of a file, or a folder as a tar archive, as it comes."""
        for piece in self._flow(_address_in(of, "content", path)):
            on_data(piece)

    # --- restores ---

    def find_target(self, named: str | None, job: str, of: Snapshot) -> bytes:
        """Where to, if not in place: a folder of that machine has to be named. Raises Misuse."""
        if named is None:
            raise Misuse(
                "over a hub, restore needs a target",
                code="target_missing",
                hint="name a folder on the job's host with --target DIR, or use --in-place",
            )
        return whole_path("--target", named)

    def plan_restore(
        self,
        of: Snapshot,
        job: str,
        paths: Sequence[bytes],
        target: bytes | None,
        overwrite: Overwrite | None,
        *,
        counts: bool,
    ) -> RestorePlan:
        """What a restore would do; without `counts` only where something is in use already."""
        wish = {
            "repository": of.repository,
            "snapshot": of.id,
            "job": job,
            "paths": [path_to_text(path) for path in paths or _exact_paths(of)],
            "target": None if target is None else path_to_text(target),
            "overwrite": overwrite,
            "counts": counts,
        }
        return RestorePlan.model_validate(self._post("restores/preview", wish, timeout=PATIENT))

    def order_restore(
        self, of: Snapshot, job: str, plan: RestorePlan, target: bytes | None, wait: timedelta | None
    ) -> dict[str, Any]:
        """The restore that was planned; into a folder where nothing lies, with the rule that replaces nothing."""
        replaces = plan.in_place or plan.in_use
        return self.order(
            "restore",
            of.repository,
            wait,
            job=job,
            snapshot=of.id,
            paths=[path_to_text(path) for path in plan.paths],
            target=None if target is None else path_to_text(target),
            overwrite=plan.overwrite.value if replaces else Overwrite.NEVER.value,
        )

    # --- maintenance ---

    def order(
        self, action: str, subject: str, wait: timedelta | None = None, **fields: Any
    ) -> dict[str, Any]:
        """A run of a verb on a job or a repository, as its row in the table of actions says."""
        needs = ACTIONS[action].needs
        about = {"job": subject} if "job" in needs else {"repository": subject} if needs else {}
        order = {"task": action, **about, **fields}
        return order if wait is None else order | {"wait_seconds": wait.total_seconds()}

    def each_backup(self, jobs: Sequence[str], wait: timedelta | None, *, dry_run: bool) -> Iterator[Titled]:
        """A backup of each job; what is to follow it the hub orders by itself."""
        rehearsal = {"dry_run": True} if dry_run else {}
        for job in jobs:
            yield job, partial(self.order, "backup", job, wait, **rehearsal)

    def order_forget(
        self, repository: str, job: str, plans: Sequence[Plan], approve: str | None, wait: timedelta | None
    ) -> dict[str, Any]:
        """Carry out these plans if they hold by then, or only the one that was approved."""
        shown = None if approve else [plan.id for plan in plans]
        return self.order("forget", repository, wait, job=job, plan=approve, shown=shown)

    def order_forget_one(self, repository: str, snapshot: str, wait: timedelta | None) -> dict[str, Any]:
        """Remove this snapshot alone."""
        return self.order("forget", repository, wait, snapshot=snapshot)

    def list_plans(self, repository: str, job: str, approve: str | None) -> list[Plan]:
        """What retention would do for a job in a repository."""
        about = {"job": job} | ({"approve": approve} if approve else {})
        found = self._get(f"repositories/{repository}/retention", about, timeout=PATIENT)
        return [Plan.model_validate(one) for one in found]

    # --- a repository that is lost ---

    def tell_loss(self, repository: str) -> Loss:
        """What would be given up; raises Conflict where the repository that was met is there."""
        return Loss.model_validate(self._get(f"repositories/{repository}/loss", timeout=PATIENT))

    def give_up(self, repository: str, loss: Loss) -> None:
        """Hold it for gone, with all that was in it."""
        self._post(f"repositories/{repository}/give-up", {"identity": loss.identity}, timeout=PATIENT)

    # --- keys ---

    def list_keys(self, repository: str) -> list[KeyTold]:
        """The keys of a repository, and what each is for."""
        return [
            KeyTold.model_validate(one)
            for one in self._get(f"repositories/{repository}/keys", timeout=PATIENT)
        ]

    def order_key(
        self, repository: str, task: str, wait: timedelta | None, *, file: Path | None = None, **more: Any
    ) -> dict[str, Any]:
        """A change of its keys; the hub makes up the password of a rotation for which no file is named."""
        at = f"repositories/{repository}/keys"
        if task == "key-remove":
            return {AT: f"{at}/{more['key_id']}/remove"}
        told = {name: more[of] for name, of in (("name", "key_name"), ("of_admin", "of_admin")) if of in more}
        if file is not None:
            told["password"] = _read_privately(file).strip("\r\n")
        return {AT: at if task == "key-add" else f"{at}/rotate", **told}

    def tell_rotated(self, repository: str, file: Path | None, *, of_admin: bool) -> list[str]:
        """What is left to do by hand once a new password opens a repository."""
        return [
            (
                f"The new password is sealed in the hub. The previous recovery kit of {repository} is out "
                "of date: create a new one."
            )
        ]

    # --- whose snapshots are ---

    def list_foreign(self, repository: str) -> list[ForeignGroup]:
        """The snapshots that no known run made, alike ones together."""
        found = self._get(f"repositories/{repository}/foreign", timeout=PATIENT)
        return [ForeignGroup.model_validate(one) for one in found]

    def preview_adoption(self, repository: str, group: str, job: str) -> list[Plan]:
        """What the job's retention would do once it governs this group."""
        address = f"repositories/{repository}/foreign/{group}/retention"
        return [Plan.model_validate(one) for one in self._get(address, {"job": job}, timeout=PATIENT)]

    def adopt(self, repository: str, group: str, job: str) -> ForeignGroup:
        """Let the job's retention govern a group."""
        address = f"repositories/{repository}/foreign/{group}/adopt"
        return ForeignGroup.model_validate(self._post(address, {"job": job}, timeout=PATIENT))

    def release(self, repository: str, group: str) -> ForeignGroup:
        """Let nobody govern a group any more."""
        address = f"repositories/{repository}/foreign/{group}/release"
        return ForeignGroup.model_validate(self._post(address, timeout=PATIENT))

    # --- runs ---

    def carry_out(self, order: Mapping[str, Any], narrator: Narrator) -> Run:
        """Order a run and follow it to its end; raises HighballError where the hub refuses to begin it."""
        key = {"Idempotency-Key": uuid4().hex}
        told = {**order}
        own = told.pop(AT, None)  # an address of its own, which is sent to once
        answer = self._post(own, told) if own else self._send_surely("runs", order, key)
        run = Run.model_validate(answer)
        narrator.announce(run.id, run.action.value, run.job or run.repository or "")
        is_ours = not answer.get("already_waiting", False)
        if not is_ours:
            narrator.remark(f"  … {answer['message']}; following that run")
        ended = follow(self, run, narrator, is_ours=is_ours)
        _raise_refusal(ended)
        return ended

    rehearse = carry_out
    """An order says itself that it is a dry run."""

    def _send_surely(self, path: str, body: Any, headers: Mapping[str, str]) -> Any:
        """Sent again where no answer came: by its key the hub knows what it had already."""
        for _ in range(SENT_AGAIN - 1):
            try:
                return self._post(path, body, headers)
            except Failed as error:
                if error.code != UNREACHABLE:
                    raise
                time.sleep(1)
        return self._post(path, body, headers)

    # --- asking ---

    def _get(self, path: str, params: Mapping[str, Any] | None = None, **more: Any) -> Any:
        return _read_json(self._ask("GET", path, params=params, **more))

    def _post(
        self, path: str, body: Any = None, headers: Mapping[str, str] | None = None, **more: Any
    ) -> Any:
        return _read_json(self._ask("POST", path, json=body, headers=headers, **more))

    def _pages(self, path: str, cursor: str, **params: Any) -> Iterator[dict[str, Any]]:
        """All items of an address that answers in pages."""
        while True:
            page = self._get(path, params)
            yield from page["items"]
            if page["next"] is None:
                return
            params[cursor] = page["next"]

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            answer = self.http.request(method, path, **more)
        except httpx.HTTPError as error:
            raise self._not_reached(error) from None
        if not answer.is_success:
            raise _as_error(self.url, answer)
        return answer

    def _flow(self, path: str) -> Iterator[bytes]:
        """An answer as it comes; raises Failed where it is cut short."""
        begun = False
        try:
            with self.http.stream("GET", path, timeout=PATIENT) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _as_error(self.url, answer)
                for piece in answer.iter_raw():
                    begun = True
                    yield piece
        except httpx.HTTPError as error:
            if not begun:
                raise self._not_reached(error) from None
            raise Failed(
                "the answer was cut short: the output is incomplete",
                code="flow_cut_short",
                hint="try again; the hub's log may show the reason",
            ) from None

    def _not_reached(self, error: httpx.HTTPError) -> Failed:
        why = "it does not answer in time" if isinstance(error, httpx.TimeoutException) else str(error)
        return Failed(
            f"the hub at {self.url} cannot be reached: {why or type(error).__name__}",
            code=UNREACHABLE,
            hint="is it running (highball serve), and is the address right?",
        )


def _address_of(run: str) -> str:
    """Where a run is; raises Unknown for what cannot be the start of an id."""
    if not re.fullmatch(r"[0-9a-f-]+", run.lower(), re.A):
        raise Unknown(f"no run begins with {run}", code="run_unknown", hint="see them with: highball runs")
    return f"runs/{run.lower()}"


def _exact_paths(of: Snapshot) -> Sequence[bytes]:
    """All that a snapshot holds, where its listing names it exactly; nothing where only its repository can tell."""
    inexact = any("\N{REPLACEMENT CHARACTER}".encode() in path for path in of.paths)
    return () if inexact else of.paths


def _address_in(of: Snapshot, what: str, path: bytes | None) -> str:
    """Where something of a snapshot is; its path byte for byte."""
    address = f"repositories/{of.repository}/snapshots/{of.id}/{what}"
    return address if path is None else f"{address}?path={quote_from_bytes(path)}"


def _read_json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise _no_hub(f"{answer.url.scheme}://{answer.url.netloc.decode()}", answer) from None


def _as_error(url: str, answer: httpx.Response) -> HighballError:
    """The error that an answer tells of."""
    try:
        told = answer.json()
        if told["code"] == "not_found":  # the address itself, not what was named by it
            return _no_hub(url, answer)
        kind = _KIND_OF.get(answer.status_code, Failed)
        return kind(
            told["detail"],
            code=told["code"],
            hint=told.get("hint"),
            problems=[Problem(p["at"], p["message"], p.get("hint")) for p in told.get("problems", ())],
        )
    except (ValueError, TypeError, KeyError):
        return _no_hub(url, answer)


def _no_hub(url: str, answer: httpx.Response) -> Failed:
    return Failed(
        f"{url} does not answer like a hub: {answer.status_code} {answer.reason_phrase}".rstrip(),
        code=UNREACHABLE,
        hint="is this the address of a hub, and does its proxy pass everything on?",
    )


def _raise_refusal(run: Run) -> None:
    """A run that never began because a rule forbids it, or what it is about is not there, is refused as at home."""
    if run.started_at is not None or run.outcome is not Outcome.FAILURE or run.reason is None:
        return
    code, message = run.reason.code, run.reason.message
    if code in _REFUSALS:
        raise NotAllowed(message, code=code)
    if code.endswith("_unknown"):
        raise Unknown(message, code=code)


# --- where it is, and who asks -------------------------------------------------------------------


def find_token(environment: Mapping[str, str]) -> SecretValue:
    """The token by which a hub knows who asks: HIGHBALL_TOKEN, or the only line of HIGHBALL_TOKEN_FILE.

    Raises LoginNeeded and SecretUnavailable.
    """
    value = environment.get("HIGHBALL_TOKEN", "")
    source = "HIGHBALL_TOKEN"
    if not value and environment.get("HIGHBALL_TOKEN_FILE"):
        source = environment["HIGHBALL_TOKEN_FILE"]
        value = _read_privately(Path(source))
    value = value.strip()
    if not value:
        raise LoginNeeded(
            "the hub needs a token, and none is set",
            code="token_missing",
            hint="name its file with HIGHBALL_TOKEN_FILE, or set HIGHBALL_TOKEN; create a token in the hub",
        )
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise SecretUnavailable(
            f"{source} contains no token", hint="a token is one word, as the hub showed it once"
        )
    return SecretValue(value.encode())


def _read_privately(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as opened:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise SecretUnavailable(f"the token file {path} is not a regular file")
            if mode & 0o077:
                raise SecretUnavailable(
                    f"the token file {path} is accessible to others",
                    code="token_exposed",
                    hint=f"chmod 600 {path}",
                )
            return opened.read(4096).decode("ascii", "replace")
    except OSError as error:
        raise SecretUnavailable(
            f"the token file {path} cannot be read: {error.strerror}",
            hint="create it with the token as its only line and chmod 600",
        ) from None
