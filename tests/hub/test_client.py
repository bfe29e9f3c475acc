"""The command line over a hub: the same verbs, answers and exit statuses as on one machine, from another one."""

from __future__ import annotations

import base64
import contextlib
import inspect
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from highball.cli.console import Output
from highball.cli.file_here import FileHere
from highball.cli.follow import follow
from highball.cli.hub_client import HubClient
from highball.cli.operations import Declarations, Operations
from highball.cli.progress import Narrator
from highball.cli.single_machine import Machine
from highball.cli.urls import check_url, is_exposed
from highball.errors import Cancelled, Failed, HighballError, Misuse, Problem, Unknown
from highball.model.run import Run
from highball.secret import SecretValue
from hub.served import Elsewhere, Served, serve
from journeys import warm
from journeys.station import HIGHBALL, is_alive, of_process, pids, until
from testbed.parts import SEARCH_PATH
from testbed.restic import ResticBinary

Answer = subprocess.CompletedProcess[str]

SAME_AT_HOME = [
    ("run", "docs"),
    ("run", "--dry-run"),
    ("check",),
    ("verify",),
    ("forget", "--dry-run"),
    ("forget",),
    ("prune",),
    ("stats",),
    ("unlock",),
    ("snapshots", "docs"),
    ("list",),
    ("runs",),
    ("status",),
]
"""Verbs whose answers are alike here and there, in an order in which they can be called."""


class Away:
    """Somebody's own machine, with a token for a hub elsewhere."""

    def __init__(self, folder: Path, served: Served) -> None:
        self.served = served
        self.token = folder / "token"
        self.token.write_text(served.http.headers["authorization"].removeprefix("Bearer ") + "\n")
        self.token.chmod(0o600)
        self.home = folder / "home"
        self.home.mkdir()
        self.environment = {
            "PATH": SEARCH_PATH,
            "HOME": str(self.home),
            "HIGHBALL_TOKEN_FILE": str(self.token),
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A command over the hub, left to itself."""
        argv = [str(HIGHBALL), *words, "--hub", self.served.url]
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, env=self.environment, stdout=pipe, stderr=pipe, text=True)

    def command(self, *words: str, **environment: str) -> Answer:
        """A command over the hub."""
        return self.plain("--hub", self.served.url, *words, **environment)

    def plain(self, *words: str, **environment: str) -> Answer:
        """A command that says itself where."""
        env = self.environment | environment
        done = warm.run([str(HIGHBALL), *words], env=env, cwd=self.home, timeout=240)
        return Answer(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def written(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """A command over the hub whose answer is no text."""
        argv = [str(HIGHBALL), "--hub", self.served.url, *words]
        return subprocess.run(argv, env=self.environment, capture_output=True, timeout=240, check=False)

    def ask(self, *words: str, expect: int = 0) -> Any:
        """What it answers to a program."""
        done = self.command("--json", *words)
        assert done.returncode == expect, (words, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def error(self, *words: str, expect: int, **environment: str) -> dict[str, Any]:
        """The error that it answers with."""
        done = self.command("--json", *words, **environment)
        assert done.returncode == expect, (words, done.stdout, done.stderr)
        found: dict[str, Any] = json.loads(done.stdout)["error"]
        return found


def answering_processes(served: Served) -> list[int]:
    """The processes in which this hub's agent looks into repositories."""
    agent = str(served.agent_pid).encode()
    return [
        pid
        for pid in pids()
        if b"highball.agent.query" in of_process(pid, "cmdline")
        and of_process(pid, "stat").rpartition(b")")[2].split()[1:2] == [agent]
        and is_alive(pid)
    ]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, newest_restic: ResticBinary) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("served"), newest_restic) as served:
        served.tables["jobs"]["docs"]["shrink_limit"] = 0.0  # what is large in one test is gone in the next
        yield served


@pytest.fixture(scope="module")
def at_home(machine: Served) -> dict[tuple[str, ...], tuple[int, Any]]:
    """What the machine itself answers, before a hub serves it."""
    answers = {}
    for words in SAME_AT_HOME:
        done = machine.command("--json", *words)
        answers[words] = (done.returncode, json.loads(done.stdout))
    machine.serve()
    return answers


@pytest.fixture(scope="module")
def away(
    at_home: dict[tuple[str, ...], tuple[int, Any]],
    machine: Served,
    tmp_path_factory: pytest.TempPathFactory,
) -> Away:
    """One who asks the hub that serves now, with a backup in it."""
    return Away(tmp_path_factory.mktemp("away"), machine)


def shape(value: Any) -> Any:
    """An answer's keys, all the way down."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items() if isinstance(one, dict | list)} | {
            key: "…" for key, one in value.items() if not isinstance(one, dict | list)
        }
    return [shape(value[0])] if isinstance(value, list) and value else "…"


@pytest.mark.parametrize("words", SAME_AT_HOME, ids=" ".join)
def test_answered_as_at_home(
    away: Away, at_home: dict[tuple[str, ...], tuple[int, Any]], words: tuple[str, ...]
) -> None:
    status, document = at_home[words]
    told = away.ask(*words, expect=status)
    if isinstance(document, dict):
        assert told.keys() == document.keys()
        assert told["outcome"] == document["outcome"]
        told, document = told["runs"], document["runs"]
    assert {key for one in told for key in one} == {key for one in document for key in one}
    if words in (("list",), ("snapshots", "docs"), ("status",)):
        assert shape(told) == shape(document)


PORTS = [(Operations, Machine), (Operations, HubClient), (Declarations, FileHere), (Declarations, HubClient)]


@pytest.mark.parametrize(("port", "kind"), PORTS, ids=lambda one: one.__name__)
def test_every_question_and_order_there_is_has_one_form_here_and_over_a_hub(port: type, kind: type) -> None:
    asked = {name: one for name, one in vars(port).items() if inspect.isfunction(one) and name[0] != "_"}
    assert asked
    for name, one in asked.items():
        assert defaults_of(getattr(kind, name)) == defaults_of(one), name


def defaults_of(method: Any) -> list[Any]:
    """What a method takes, as far as callers may leave it away."""
    return [one.default for one in inspect.signature(method).parameters.values()]


def test_a_backup_told_as_it_goes(away: Away) -> None:
    done = away.command("run", "docs")
    assert done.returncode == 0, done.stderr
    assert "✓ backup docs: success" in done.stdout
    assert "backup docs  (run " in done.stderr
    assert "✓ backup nas" in done.stderr
    [run] = away.ask("runs", "--limit", "1")
    assert (run["job"], run["origin"], run["actor"]) == ("docs", "manual", "token:tests")
    logs = away.command("logs", run["id"][:24])
    assert "run.ended" not in logs.stdout
    assert "backup nas" in logs.stdout
    assert [event["type"] for event in away.ask("logs", run["id"])][-1] == "run.ended"


def test_a_run_that_waits_already_is_followed_and_left_to_whoever_ordered_it(
    away: Away, tmp_path: Path
) -> None:
    corner = away.served.give_slow_corner(tmp_path)
    first = corner.order()
    until(lambda: corner.run(first)["state"] == "running")
    waiting = corner.order()
    following = away.start("run", corner.job)
    assert following.stderr is not None
    told = ""
    while "waits in the queue already, ordered by token:tests at" not in told:
        told = following.stderr.readline()
        assert told
    following.send_signal(signal.SIGINT)
    _, rest = following.communicate(timeout=240)
    assert (following.returncode, f"run {waiting} continues" in rest) == (130, True), rest
    assert [corner.end_of(run)["outcome"] for run in (first, waiting)] == ["success", "success"]
    assert len(corner.get("runs", job=corner.job)["items"]) == 2
    http = away.served.http  # what is declared here is counted in others
    for address in (f"jobs/{corner.job}", f"repositories/{corner.nas}"):
        at = {"if-match": http.get(address).headers["etag"]}
        assert http.delete(address, headers=at).status_code in (200, 204)


def test_events_as_they_happen(away: Away) -> None:
    done = away.command("--events", "run", "docs")
    assert done.returncode == 0
    told = [json.loads(line) for line in done.stdout.splitlines()]
    numbers = [event["seq"] for event in told if event["type"] != "progress"]
    assert numbers == list(range(1, len(numbers) + 1))
    assert (told[0]["type"], told[-1]["type"]) == ("run.started", "run.ended")


def test_a_dry_run_is_no_backup(away: Away) -> None:
    before = away.ask("status")
    away.ask("run", "docs", "--dry-run")
    [after] = away.ask("status")
    assert after["last_success_at"] == before[0]["last_success_at"]


def test_what_a_snapshot_holds(away: Away) -> None:
    newest = away.ask("snapshots", "docs")[-1]
    assert newest["governed"] is True
    letters = away.ask("ls", newest["id"][:12], str(away.served.source))
    assert str(away.served.source / "letter") in [node["path"] for node in letters]
    assert "letter" in away.command("ls", newest["id"], str(away.served.source)).stdout
    assert away.error("ls", newest["id"], "/no/such", expect=1)["code"] == "path_unknown"
    assert away.error("ls", "fffff", expect=4)["code"] == "snapshot_unknown"


def test_restored_where_the_repository_is_looked_after(away: Away, tmp_path: Path) -> None:
    target = tmp_path / "restored"
    done = away.ask("restore", "docs", "--snapshot", "latest", "--target", str(target))
    assert done["target"] == str(target)
    letter = target / away.served.source.relative_to("/") / "letter"
    assert letter.read_text() == "dear reader"
    dated = tmp_path / "dated"
    path = str(away.served.source / "letter")
    away.ask("restore", "docs", "-s", "2199-01-01", "-p", path, "-t", str(dated))
    assert [found.name for found in dated.rglob("*") if found.is_file()] == ["letter"]
    assert away.error("restore", "docs", expect=2)["code"] == "target_missing"
    letter_here = away.served.source / "letter"
    letter_here.write_text("scribbled over")
    told = away.ask("restore", "docs", "--dry-run", "--in-place", "-p", path)
    assert (told["dry_run"], told["plan"]["replaced"]["examples"]) == (True, [path])
    unasked = away.command("restore", "docs", "--in-place", "-p", path)
    assert (unasked.returncode, "1 replaced" in unasked.stderr) == (2, True)
    assert letter_here.read_text() == "scribbled over"
    away.ask("restore", "docs", "--in-place", "--yes", "-p", path)
    assert letter_here.read_text() == "dear reader"


@pytest.mark.parametrize("may", [False, True])
def test_an_operator_s_token_replaces_files_only_by_the_right_to(
    away: Away, tmp_path: Path, may: bool
) -> None:
    told = {"key": f"otto-{may}".lower(), "role": "operator", "restore_in_place": may}
    value = away.served.post("tokens", told)["value"]
    token = tmp_path / "token"
    token.write_text(value)
    token.chmod(0o600)
    as_otto = {"HIGHBALL_TOKEN_FILE": str(token)}
    letter = away.served.source / "letter"
    path, target = str(letter), tmp_path / "restored"
    into_new = away.command("restore", "docs", "-p", path, "--target", str(target), **as_otto)
    assert into_new.returncode == 0, into_new.stderr
    assert (target / letter.relative_to("/")).read_text() == "dear reader"
    letter.write_text("scribbled over")
    shown = away.command("restore", "docs", "-p", path, "--in-place", "--dry-run", **as_otto)
    assert (shown.returncode, "1 replaced" in shown.stderr) == (0, True), shown.stderr
    done = away.command("restore", "docs", "-p", path, "--in-place", "--yes", **as_otto)
    refused = "not in place" in done.stderr and "an administrator gives that right" in done.stderr
    assert (done.returncode, refused) == ((0, False) if may else (6, True)), done.stderr
    assert letter.read_text() == ("dear reader" if may else "scribbled over")
    letter.write_text("dear reader")


def test_a_target_that_is_not_empty_is_kept_and_shown_first(away: Away, tmp_path: Path) -> None:
    below = tmp_path / away.served.source.relative_to("/")
    below.mkdir(parents=True)
    (below / "letter").write_text("my own words")
    done = away.command("restore", "docs", "-s", "latest", "--target", str(tmp_path))
    assert (done.returncode, "1 kept unchanged" in done.stderr) == (0, True), done.stderr
    assert f"in {tmp_path}" in done.stdout
    assert (below / "letter").read_text() == "my own words"
    assert away.error("restore", "docs", "-t", str(below / "letter"), expect=1)["code"] == "target_unusable"


def test_what_differs_between_two_snapshots(away: Away) -> None:
    away.ask("run", "docs")
    (away.served.source / "postcard").write_text("wish you were here")
    away.ask("run", "docs")
    (away.served.source / "postcard").unlink()
    old, new = (one["id"] for one in away.ask("snapshots", "docs")[-2:])
    found = {(one["modifier"], one["path"]) for one in away.ask("diff", old[:10], new[:10])}
    assert ("+", str(away.served.source / "postcard")) in found
    assert "postcard" in away.command("diff", old, new).stdout
    assert away.command("diff", new, new).stdout == "No differences.\n"
    assert away.error("diff", old, expect=2)["code"] == "usage"


def test_one_snapshot_is_removed_by_its_id(away: Away) -> None:
    for named, status, code in (("latest", 2, "snapshot_invalid"), ("f" * 64, 4, "snapshot_unknown")):
        assert away.error("forget", "--snapshot", named, "-y", expect=status)["code"] == code
    saved = [away.ask("run", "docs")["runs"][0]["steps"][0]["snapshot_id"] for _ in range(2)]
    assert away.error("forget", "--snapshot", saved[1], "-y", expect=6)["code"] == "snapshot_newest"
    [run] = away.ask("forget", "--snapshot", saved[0], "-y")["runs"]
    assert run["steps"][0]["snapshots_removed"] == [saved[0]]


def test_everything_or_a_job_is_paused_until_a_time_and_resumed(away: Away) -> None:
    def subjects(*words: str) -> dict[str, str | None]:
        return {one["subject"]: one["until"] for one in away.ask(*words)}

    later = "2032-05-01T06:00:00Z"
    assert (
        subjects("pause", "--until", later)["backup:docs"] == later
    )  # beside the jobs that other tests left
    everything = subjects("pause", "--maintenance", "--until", later, "--reason", "moving house")
    assert everything.keys() >= {"backup:docs", "check:nas", "discard:nas"}
    assert set(everything.values()) == {later}
    assert subjects("resume") == {}
    assert subjects("pause", "docs") == {"backup:docs": None}
    told = away.command("pause", "docs", "--until", "2h", "--reason", "moving house").stdout
    assert "backup docs" in told and "token:tests" in told and "moving house" in told
    assert away.error("pause", "--until", "soon", expect=2)["hint"]
    assert away.error("pause", "--until", "2001-01-01", expect=2)["code"] == "pause_over"
    assert away.error("pause", "nobody", expect=4)["code"]
    assert away.error("pause", "docs", "--maintenance", expect=2)["hint"]
    assert subjects("resume", "docs") == {}
    assert away.plain("pause").returncode == 2, "there is no clock on one machine"


def test_names_that_are_not_utf_8_arrive_exactly(away: Away, tmp_path: Path) -> None:
    odd = os.fsencode(away.served.source) + b"/odd-\xff\xe9"
    os.mkdir(odd)
    Path(os.fsdecode(odd + b"/file-\xfe")).write_bytes(b"inside")
    away.ask("run", "docs")
    shutil.rmtree(odd)
    newest = away.ask("snapshots", "docs")[-1]["id"]
    exact = [{"b64": base64.b64encode(path).decode()} for path in (odd, odd + b"/file-\xfe")]
    assert [one["path"] for one in away.ask("ls", newest, os.fsdecode(odd))] == exact
    everything = [one["path"] for one in away.ask("ls", newest)]
    assert all(path in everything for path in exact)
    done = away.written("dump", newest, os.fsdecode(odd + b"/file-\xfe"))
    assert (done.returncode, done.stdout) == (0, b"inside")


def test_content_flows_and_is_never_half_without_a_word(away: Away) -> None:
    content = os.urandom(5 << 20)
    (away.served.source / "large").write_bytes(content)
    (away.served.source / "nothing").touch()
    away.ask("run", "docs")
    for name in ("large", "nothing"):
        (away.served.source / name).unlink()
    newest = away.ask("snapshots", "docs")[-1]["id"]
    assert away.written("dump", newest, str(away.served.source / "large")).stdout == content
    assert away.written("dump", newest, str(away.served.source / "nothing")).stdout == b""
    folder = away.written("dump", newest, str(away.served.source)).stdout
    with tarfile.open(fileobj=io.BytesIO(folder)) as archive:
        assert any(name.endswith("letter") for name in archive.getnames())
    gone = away.written("dump", newest, "/no/such")
    assert (gone.returncode, gone.stdout) == (1, b"")
    assert b"not in the snapshot" in gone.stderr
    assert away.error("dump", newest, "/x", expect=2)["code"] == "usage"


@pytest.fixture(scope="module")
def much(away: Away) -> tuple[str, str]:
    """A snapshot with a file that no pipe holds, and its path."""
    path = away.served.source / "much"
    path.write_bytes(os.urandom(24 << 20))
    away.ask("run", "docs")
    path.unlink()
    return away.ask("snapshots", "docs")[-1]["id"], str(path)


def test_whoever_stops_reading_stops_the_sender(away: Away, much: tuple[str, str]) -> None:
    snapshot, path = much
    address = f"repositories/nas/snapshots/{snapshot}/content"
    with away.served.http.stream("GET", address, params={"path": path}) as answer:
        assert answer.is_success
        until(lambda: answering_processes(away.served))
    until(lambda: not answering_processes(away.served))


def test_content_that_is_cut_short_is_a_failure(away: Away, much: tuple[str, str]) -> None:
    argv = [str(HIGHBALL), "--hub", away.served.url, "dump", *much]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, env=away.environment, stdout=pipe, stderr=pipe) as going:
        assert going.stdout is not None
        assert going.stdout.read(1)
        [sender] = answering_processes(away.served)
        os.kill(sender, signal.SIGKILL)
        written, said = going.communicate(timeout=240)
    assert going.returncode == 1
    assert len(written) < 24 << 20
    assert b"the output is incomplete" in said


def test_repositories_are_made_and_met(away: Away, tmp_path: Path) -> None:
    done = away.ask("setup")
    assert [run["steps"][0]["reason"]["code"] for run in done["runs"]] == ["met"]
    shown = away.ask("setup", "--dry-run")
    assert [one["repository"] for one in shown["repositories"]] == ["nas"]


def test_setup_says_whether_each_host_of_a_job_reaches_its_repositories(away: Away, tmp_path: Path) -> None:
    served = away.served
    served.post("hosts?key=laptop", {})
    served.post("jobs?key=far", served.job_spec | {"host": "laptop"})
    served.post("jobs?key=farther", served.job_spec | {"host": "laptop"})
    try:
        with Elsewhere(tmp_path / "laptop", served, "laptop") as laptop:
            laptop.join()
            tested = served.post("jobs/far/test")
            assert (tested["host"], tested["repositories"]["nas"]["host"]) == ("laptop", "laptop")
            done = away.ask("setup")
            [reached] = done["reached"]
            assert (reached["repository"], reached["host"], done["outcome"]) == ("nas", "laptop", "success")
            assert reached["state"] in ("existing", "empty")
            restic = laptop.folder / "bin" / "restic"
            restic.unlink()
            restic.symlink_to("/bin/false")
            assert away.ask("setup", expect=3)["reached"][0]["state"] == "unreachable"
            assert "nas from laptop: " in away.command("setup").stdout
        until(lambda: not laptop.is_there)
        [unknown] = away.ask("setup", expect=3)["reached"]
        assert (unknown["host"], unknown["state"]) == ("laptop", "host_offline")
    finally:
        for address in ("jobs/far", "jobs/farther", "hosts/laptop"):
            revision = served.http.get(address).headers["etag"]
            served.http.delete(address, headers={"if-match": revision}).raise_for_status()


def test_what_is_declared(away: Away, tmp_path: Path) -> None:
    told = away.ask("validate")
    assert (told["valid"], told["jobs"], told["repositories"], told["hub"]) == (True, 1, 1, away.served.url)
    assert f"✓ {away.served.url} is valid: 1 job, 1 repository" in away.command("validate").stdout
    text = away.command("export").stdout
    assert away.ask("export")["jobs"]["docs"]["repositories"] == ["nas"]
    same = tmp_path / "same.yaml"
    same.write_text(text)
    assert away.ask("diff", "-f", str(same)) == [], "accounts stay people's, the rest the hub's own file's"
    tables = json.loads(json.dumps(away.served.tables))
    tables["jobs"]["more"] = tables["jobs"]["docs"] | {"enabled": False}
    file = tmp_path / "more.yaml"
    file.write_text(json.dumps(tables))
    [change] = away.ask("diff", "-f", str(file))
    assert (change["kind"], change["key"], change["what"]) == ("job", "more", "created")
    assert away.ask("apply", "-f", str(file), "--dry-run") == [change]
    assert "created  jobs.more" in away.command("apply", "-f", str(file)).stdout
    assert [job["job"] for job in away.ask("list")] == ["docs", "more"]
    file.write_text(json.dumps(away.served.tables))
    assert [change["what"] for change in away.ask("apply", "-f", str(file))] == ["deleted"]
    tables["jobs"]["docs"]["title"] = "Letters"
    file.write_text(json.dumps(tables))
    refused = away.error("apply", "-f", str(file), expect=6)
    own = str(away.served.configuration)
    assert (refused["code"], refused["hint"]) == ("managed_by_file", f"change it there: {own}")
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text("profiles: {often: {schedule: hourly}}")
    assert away.command("apply", "-f", str(elsewhere), "--as", "fleet").returncode == 0
    assert away.served.get("profiles/often")["file"] == "fleet"
    elsewhere.write_text("{}")
    assert [change["what"] for change in away.ask("apply", "-f", str(elsewhere), "--as", "fleet")] == [
        "deleted"
    ]
    file.write_text("jobs: {docs: {sauces: []}}")
    wrong = away.error("apply", "-f", str(file), expect=2)
    assert "jobs.docs.sauces" in [problem["at"] for problem in wrong["problems"]]


def test_the_hub_copies_itself_when_told_from_elsewhere(away: Away) -> None:
    [run] = away.ask("hub", "backup")["runs"]
    assert (run["action"], run["outcome"]) == ("backup", "success")
    assert away.served.get("hub/backups")


def test_a_recovery_kit_is_taken_from_elsewhere(away: Away, tmp_path: Path) -> None:
    there = away.ask("recovery-kit", "nas", "--show")
    assert there["repository"] == "nas"
    assert "restic" in there["kit"]
    assert away.error("recovery-kit", "nowhere", "--show", expect=4)["code"] == "repository_unknown"


def test_what_is_unknown_or_refused(away: Away) -> None:
    unknown = away.error("run", "dics", expect=4)
    assert (unknown["code"], unknown["hint"]) == ("job_unknown", "did you mean docs?")
    assert away.error("check", "nowhere", expect=4)["code"] == "repository_unknown"
    assert away.error("runs", "dics", expect=4)["code"] == "job_unknown"
    assert away.error("logs", "ffff", expect=4)["code"] == "run_unknown"
    assert away.error("forget", "--approve", "none", expect=4)["code"] == "plan_unknown"
    [last] = away.ask("runs", "--limit", "1")
    assert away.error("cancel", last["id"], expect=5)["code"] == "run_ended"
    assert away.error("accept", last["id"], expect=2)["code"] == "nothing_to_accept"
    for words in (("hub", "rebuild"), ("serve",), ("init-config",)):
        assert away.error(*words, expect=6)["code"] == "not_over_hub"
    assert away.error("unlock", "--remove-all", expect=2)["code"] == "confirmation_required"


def test_who_asks(away: Away, tmp_path: Path) -> None:
    wrong = away.error("status", expect=6, HIGHBALL_TOKEN="wrong")
    assert (wrong["code"], "wrong" in wrong["message"]) == ("token_invalid", False)
    assert away.error("status", expect=6, HIGHBALL_TOKEN_FILE="")["code"] == "token_missing"
    exposed = tmp_path / "exposed"
    exposed.write_text("secret")
    exposed.chmod(0o640)
    told = away.error("status", expect=1, HIGHBALL_TOKEN_FILE=str(exposed))
    assert (told["code"], told["hint"]) == ("token_exposed", f"chmod 600 {exposed}")
    gone = away.error("status", expect=1, HIGHBALL_TOKEN_FILE=str(tmp_path / "gone"))
    assert gone["code"] == "secret_unavailable"


def test_which_hub(away: Away) -> None:
    assert away.plain("status", HIGHBALL_HUB=away.served.url).returncode == 0
    both = away.plain("--json", "-c", "file.toml", "status", "--hub", away.served.url)
    assert (both.returncode, json.loads(both.stdout)["error"]["code"]) == (2, "usage")
    either = away.plain("-c", "file.toml", "status", HIGHBALL_HUB=away.served.url)
    assert (either.returncode, "exclude each other" in either.stderr) == (2, True)
    assert away.plain("init-config", HIGHBALL_HUB="http://127.0.0.1:1").returncode == 0
    assert away.plain("status", "--hub").returncode == 2
    nobody = away.plain("--json", "--hub", "http://127.0.0.1:1", "status")
    assert (nobody.returncode, json.loads(nobody.stdout)["error"]["code"]) == (1, "hub_unreachable")
    no_hub = away.plain("--json", "--hub", f"{away.served.url}/elsewhere", "status")
    assert (no_hub.returncode, json.loads(no_hub.stdout)["error"]["code"]) == (1, "hub_unreachable")
    assert away.plain("apply", "-f", "file.toml").returncode == 2


def test_nothing_of_the_hub_is_loaded_to_ask_one() -> None:
    code = (
        "import sys; from highball.cli import app, hub_client; from highball.cli.commands import table;"
        " print(*sys.modules)"
    )
    found = subprocess.run(
        [HIGHBALL.with_name("python"), "-c", code], capture_output=True, text=True, check=True
    )
    loaded = found.stdout.split()
    assert "httpx" in loaded
    assert [
        name for name in loaded if name.startswith(("sqlalchemy", "highball.hub", "highball.agent"))
    ] == []


@contextlib.contextmanager
def slowly(machine: Served, away: Away) -> Iterator[None]:
    """While there is a job `slow` that takes some seconds: much to read, and little a second."""
    source = machine.folder / "large"
    source.mkdir(exist_ok=True)
    (source / "noise").write_bytes(os.urandom(2 << 20))
    file = away.token.with_name("slow.yaml")
    docs = machine.tables["jobs"]["docs"]
    slow = docs | {"sources": [str(source)], "limit_upload": 400}
    # not among the hub's own tables: it may be started again meanwhile, and what its file declares stays
    file.write_text(json.dumps(machine.tables | {"jobs": {"docs": docs, "slow": slow}}))
    assert away.command("apply", "-f", str(file)).returncode == 0
    try:
        yield
    finally:
        file.write_text(json.dumps(machine.tables))
        assert away.command("apply", "-f", str(file)).returncode == 0


def begin(machine: Served, away: Away) -> tuple[subprocess.Popen[str], str]:
    """A backup that restic is at, and its run."""
    begun = away.start("run", "slow")
    run = until(lambda: next((run for run in machine.get("runs")["items"] if run["state"] != "done"), None))
    until(lambda: any(event["type"] == "process.started" for event in machine.events(run["id"])))
    return begun, run["id"]


def test_ctrl_c_ends_the_run_politely(machine: Served, away: Away) -> None:
    with slowly(machine, away):
        begun, run = begin(machine, away)
        begun.send_signal(signal.SIGINT)
        told, said = begun.communicate(timeout=240)
    assert begun.returncode == 130, (told, said)
    assert f"Cancelling run {run}" in said
    assert "cancelled" in told
    assert machine.run(run)["outcome"] == "cancelled"


def test_a_hub_that_goes_away_is_waited_for(machine: Served, away: Away) -> None:
    with slowly(machine, away):
        begun, run = begin(machine, away)
        machine.kill_hub()
        assert begun.stderr is not None
        assert any("the run continues" in line for line in begun.stderr)
        machine.serve()
        told, said = begun.communicate(timeout=240)
    assert begun.returncode == 0, (told, said)
    assert machine.run(run)["outcome"] == "success"


@pytest.mark.parametrize("by_job", [False, True])
def test_a_run_is_cancelled_by_its_id_or_by_its_job(machine: Served, away: Away, by_job: bool) -> None:
    with slowly(machine, away):
        begun, run = begin(machine, away)
        told = away.ask("cancel", "slow" if by_job else run)
        assert (told["run"], told["state"], told["outcome"]) == (run, "done", "cancelled")
        begun.communicate(timeout=240)
    assert begun.returncode == 130


# --- answers that no hub of ours gives ------------------------------------------------------------


def answering(status: int, **answer: Any) -> HubClient:
    """A hub that answers everything alike."""
    hub = HubClient("https://hub.example.org/", SecretValue(b"canary"))
    transport = httpx.MockTransport(lambda _: httpx.Response(status, **answer))
    hub.http = httpx.Client(transport=transport, base_url=hub.url)
    return hub


@pytest.mark.parametrize(
    ("status", "exit_code"),
    [
        (400, 2),
        (401, 6),
        (403, 6),
        (404, 4),
        (409, 5),
        (412, 5),
        (422, 2),
        (428, 2),
        (429, 6),
        (500, 1),
        (503, 1),
    ],
)
def test_a_problem_is_the_error_that_it_was(status: int, exit_code: int) -> None:
    one = {"at": "jobs.docs", "message": "is odd", "hint": None}
    told = {"code": "odd", "detail": "This is odd.", "hint": "look", "problems": [one], "more": 1}
    with pytest.raises(HighballError) as caught:
        answering(status, json=told).list_standings()
    error = caught.value
    assert (error.exit_code, error.code, error.message, error.hint) == (
        exit_code,
        "odd",
        "This is odd.",
        "look",
    )
    assert error.problems == (Problem("jobs.docs", "is odd"),)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (502, {"text": "<html>"}),
        (301, {"headers": {"location": "https://elsewhere"}}),
        (404, {"json": {"code": "not_found", "detail": "Not Found"}}),
        (403, {"json": ["no"]}),
        (403, {"json": {"error": "no"}}),
        (200, {"text": "<html>"}),
    ],
)
def test_what_is_no_hub_is_said_to_be_none(status: int, answer: dict[str, Any]) -> None:
    with pytest.raises(Failed) as caught:
        answering(status, **answer).list_standings()
    assert caught.value.code == "hub_unreachable"
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("run", ["", "nope", "a/b", "..", "é", "a?b"])
def test_what_is_no_run_is_not_asked_for(run: str) -> None:
    with pytest.raises(Unknown, match="no run begins with"):
        answering(500).find_run(run)


@pytest.mark.parametrize(
    "url", ["ftp://hub", "hub", "http://", "http://me:pass@hub", "http://hub:x", "http://hub?a", ""]
)
def test_what_is_no_address_of_a_hub(url: str) -> None:
    with pytest.raises(Misuse) as caught:
        check_url(url)
    assert "pass" not in str(caught.value)


def test_ctrl_c_twice_waits_no_longer() -> None:
    run = {
        "id": "f",
        "kind": "backup",
        "action": "backup",
        "state": "running",
        "created_at": "2026-05-04T12:00:00Z",
    }
    hub = answering(200, json=run)
    hub.stop.request()
    hub.stop.request()
    with pytest.raises(Cancelled) as caught:
        follow(hub, Run.model_validate(run), Narrator(Output()))
    assert caught.value.hint == "it is being cancelled; see: highball logs f"


@pytest.mark.parametrize(
    ("url", "exposed"),
    [
        ("https://hub.example", False),
        ("http://hub.example", True),
        ("http://192.0.2.7:8765", True),
        ("http://127.3.0.1:8765", False),
        ("http://[::1]:8765", False),
        ("http://localhost:8765", False),
        ("http://localhost.example", True),
        ("http://0.0.0.0:8765", True),
    ],
)
def test_a_token_on_its_way_in_the_clear_is_warned_of(url: str, exposed: bool) -> None:
    assert is_exposed(url) is exposed


def test_who_sends_a_token_in_the_clear_is_told_once(tmp_path: Path) -> None:
    asked: list[str | Path] = [HIGHBALL, "--hub", "http://hub.invalid", "status"]
    said = subprocess.run(
        asked,
        env={"HIGHBALL_TOKEN": "x", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.stderr.count("is sent unencrypted to http://hub.invalid") == 1
    assert "unencrypted" not in said.stdout
