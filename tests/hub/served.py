"""A hub as its user has it: `highball serve` in a process of its own, reached over HTTP, with a real restic.

Served starts the program on a port of its own, uses the set-up link it prints, and speaks to the API with a
token. Everything it started, agent and runs too, is ended at the end. A Corner is one test's own part of a hub
that serves others too.
"""

import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx

from highball.agent.run_directory import RunDirectory, list_run_directories
from journeys import warm
from journeys.station import HIGHBALL, HOST, until
from testbed import serving
from testbed.parts import SEARCH_PATH
from testbed.photograph import Photograph
from testbed.restic import ResticBinary
from testbed.written import WrittenRepository

PASSWORD: Final = "open sesame"
SLOW: Final = 400
"""KiB a second: what makes a backup slow where there is much to save."""

Table = dict[str, Any]


class Corner:
    """A source, a repository and a job, and whoever asks a hub about them: all over its API."""

    def __init__(self, folder: Path, state: Path, http: httpx.Client, job: str, nas: str) -> None:
        self.folder = folder
        self.state = state
        self.http = http
        self.job = job
        self.nas = nas
        self.source = folder / "source"
        self.repository = folder / "repository"
        self.source.mkdir(parents=True)
        (self.source / "letter").write_text("dear reader")
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o600)
        WrittenRepository(self.repository, PASSWORD, seed=hash(str(self.repository)))  # its key opens at once
        self._photographs: dict[str, tuple[Photograph, list[bytes]]] = {}
        """What lay around the target of each restore that was ordered, and what was asked for."""

    @property
    def repository_spec(self) -> Table:
        """Its repository, as it is declared."""
        return {"url": str(self.repository), "password": {"file": str(self.folder / "password")}}

    @property
    def job_spec(self) -> Table:
        """Its job, as it is declared."""
        return {"schedule": "manual", "repositories": [self.nas], "sources": [str(self.source)]}

    def make_large(self, megabytes: int = 3) -> None:
        """Put so much into the source that a backup with a limit takes some seconds."""
        (self.source / "large").write_bytes(os.urandom(megabytes << 20))

    def get(self, address: str, *, expect: tuple[int, ...] = (200,), **parameters: Any) -> Any:
        """The JSON that an address answers with."""
        return _read(self.http.get(address, params=parameters), expect)

    def post(
        self,
        path: str,
        body: Any = None,
        *,
        expect: tuple[int, ...] = (200, 201, 202),
        headers: dict[str, str] | None = None,
    ) -> Any:
        """The same after sending something."""
        return _read(self.http.post(path, json=body, headers=headers), expect)

    @property
    def agent(self) -> Table:
        """What the hub knows of its own agent; others may be known from other tests."""
        known: list[Table] = self.get("agents")
        return next((one for one in known if one["key"] == HOST), known[0])

    def order(self, task: str = "backup", **more: Any) -> str:
        """Queue a run of the job (or of the repository), and return its id."""
        about = {"job": self.job} if task == "backup" else {"repository": self.nas}
        before = self._photograph() if task == "restore" else None
        id = str(self.post("runs", {"task": task, **about, **more})["id"])
        if before is not None:
            self._photographs[id] = before, _asked(more)
        return id

    def run(self, id: str) -> Table:
        """A run as it is now."""
        found: Table = self.get(f"runs/{id}")
        return found

    def end_of(self, id: str, within: float = 240) -> Table:
        """A run, once it has ended; what lies around the target of a restore has to be what it was."""
        until(lambda: self.run(id)["state"] == "done", within, otherwise=f"{self.run(id)}\n{self.said}")
        if id in self._photographs:
            before, asked = self._photographs.pop(id)
            found = before.differences(self._photograph(), asked)
            assert found == [], "\n".join(found)
        return self.run(id)

    def _photograph(self) -> Photograph:
        """Everything in its folder, less what a hub and its agent write themselves."""
        own = [self.repository, self.state, self.log, self.folder / "home", self.folder / "highball.yaml"]
        return Photograph.take([os.fsencode(self.folder)], {os.fsencode(path) for path in own})

    def back_up(self, **more: Any) -> Table:
        """A whole backup, and that it succeeded."""
        done = self.end_of(self.order(**more))
        assert done["outcome"] == "success", (done, self.said)
        return done

    def events(self, id: str) -> list[Table]:
        """All events of a run."""
        text = self.http.get(f"runs/{id}/events").text
        return [json.loads(line) for line in text.splitlines()]

    def seal(self, value: str, slot: str = "password", **params: str) -> httpx.Response:
        """Send a value of its repository to be sealed."""
        address = f"repositories/{self.nas}/secrets/{slot}"
        return self.http.put(address, json={"value": value}, params=params)

    @property
    def repository_state(self) -> str:
        """How its repository is found."""
        return str(self.post(f"repositories/{self.nas}/test")["state"])

    def run_directories(self) -> list[RunDirectory]:
        """The run directories that are there."""
        return list_run_directories(self.state / "runs")

    @property
    def log(self) -> Path:
        """What the hub says."""
        return self.state.with_name("serve.log")

    @property
    def said(self) -> str:
        """What the hub and its agent said."""
        told = [path.read_text() for path in (self.log, self.state / "agent.log") if path.exists()]
        return "\n--- agent\n".join(told)


class Served(Corner):
    """A machine with a configuration file, a state, and a hub that serves both; its Python reads what lies in `knows`,
    too."""

    def __init__(self, folder: Path, restic: ResticBinary, knows: Path | None = None) -> None:
        self.restic = restic
        self._knows = knows
        self.port = serving.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        http = httpx.Client(base_url=f"{self.url}/api/v1", timeout=240, trust_env=False)
        super().__init__(folder, folder / "state", http, "docs", "nas")
        self.environment: dict[str, str] = {}
        """What is set for the program besides the usual."""
        self._hub: subprocess.Popen[bytes] | warm.Serving | None = None
        (folder / "home").mkdir()
        self.tables: Table = {
            "settings": {"host": HOST, "restic": str(restic.path)},
            "repositories": {"nas": self.repository_spec},
            "jobs": {"docs": self.job_spec},
        }

    def give_corner(self, folder: Path, repository: Table | None = None, **job: Any) -> Corner:
        """A corner with a repository and a job of its own, which say this besides."""
        name = uuid.uuid4().hex[:12]
        corner = Corner(folder, self.state, self.http, f"docs-{name}", f"nas-{name}")
        self.post(f"repositories?key={corner.nas}", corner.repository_spec | (repository or {}))
        self.post(f"jobs?key={corner.job}", corner.job_spec | job)
        return corner

    def give_slow_corner(self, folder: Path) -> Corner:
        """A corner whose backup takes some seconds."""
        corner = self.give_corner(folder, limit_upload=SLOW)
        corner.make_large()
        return corner

    # --- the program ---

    @property
    def configuration(self) -> Path:
        """Its configuration file."""
        return self.folder / "highball.yaml"

    def command(self, *words: str) -> "subprocess.CompletedProcess[bytes]":
        """A command on the machine itself."""
        self.configuration.write_text(json.dumps(self.tables))
        argv = [str(HIGHBALL), "-c", str(self.configuration), *words]
        if self._knows is not None:
            environment = self._environment() | {"PYTHONPATH": str(self._knows)}
            return subprocess.run(argv, env=environment, capture_output=True, check=False, timeout=240)
        return warm.run(argv, env=self._environment(), cwd=self.folder, timeout=240)

    def serve(self) -> None:
        """Start the hub, and wait until it answers and its agent is there."""
        self.configuration.write_text(json.dumps(self.tables))
        self.serve_file_as_it_is()
        if "authorization" not in self.http.headers:
            self._set_up()
        until(
            lambda: self.agent["connected"], within=240, otherwise=lambda: self.said
        )  # it dials ever more rarely

    def serve_file_as_it_is(self) -> None:
        """Start the hub with whatever its file holds, and wait until it answers."""
        argv, environment = self._argv("-c", self.configuration), self._environment()
        if self._knows is not None:
            self._launch(argv, PYTHONPATH=str(self._knows))
        else:
            with self.log.open("ab") as log:
                self._hub = warm.serve(argv, env=environment, cwd=self.folder, log=log.fileno())
        self._await_answer()

    def serve_to_nobody(self) -> None:
        """Start a hub with no file and no account, with the restic that lies on the path."""
        programs = self.folder / "bin"
        programs.mkdir()
        (programs / "restic").symlink_to(self.restic.path)
        self._launch(self._argv(), PATH=f"{programs}:{SEARCH_PATH}")
        self._await_answer()

    def _argv(self, *words: str | Path) -> list[str | Path]:
        return [HIGHBALL, *words, "serve", "--listen", f"127.0.0.1:{self.port}"]

    def _await_answer(self) -> None:
        hub = self._hub
        assert hub is not None
        until(lambda: self._answers() or hub.poll() is not None)
        assert hub.poll() is None, self.log.read_text()

    def begin(self) -> "subprocess.Popen[bytes]":
        """Start the hub as a process of its own, and wait for nothing."""
        self.configuration.write_text(json.dumps(self.tables))
        return self.begin_with_file_as_it_is()

    def begin_with_file_as_it_is(self) -> "subprocess.Popen[bytes]":
        """Start the hub with whatever its file holds, as a process of its own, and wait for nothing."""
        return self._launch(self._argv("-c", self.configuration))

    def _launch(self, argv: list[str | Path], **environment: str) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            hub = subprocess.Popen(argv, env=self._environment() | environment, stdout=log, stderr=log)
        self._hub = hub
        return hub

    def _answers(self) -> bool:
        try:
            return self.http.get(f"{self.url}/healthz").is_success
        except httpx.TransportError:
            return False

    def _set_up(self) -> None:
        found = until(lambda: re.search(r"/setup#(\S+)", self.log.read_text()), otherwise=self.said)
        account = {"token": found[1], "name": "anna", "password": "correct horse battery"}
        self.post("setup", account, expect=(200, 201))
        made = self.post(
            "tokens", {"key": "tests", "role": "admin", "may_grant": True}, headers={"origin": self.url}
        )
        self.http.cookies.clear()
        self.http.headers["authorization"] = f"Bearer {made['value']}"

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": SEARCH_PATH,
            "HOME": str(self.folder / "home"),
            "HIGHBALL_STATE": str(self.state),
        }

    def kill_hub(self) -> None:
        """SIGKILL; the agent lives on."""
        assert self._hub is not None
        self._hub.kill()
        self._hub.wait()

    def end_hub(self) -> int:
        """SIGTERM, and the exit status."""
        assert self._hub is not None
        self._hub.terminate()
        return self._hub.wait(120)

    @property
    def agent_pid(self) -> int:
        """The process id of the agent."""
        return int((self.state / "agent.lock").read_text())

    def kill_agent(self) -> None:
        """SIGKILL; runs go on."""
        os.kill(self.agent_pid, signal.SIGKILL)

    def end_everything(self) -> None:
        """Whatever still lives."""
        if self._hub is not None:
            self._hub.kill()
            self._hub.wait()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            self.kill_agent()
        for directory in self.run_directories():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
                if not directory.take_if_free() and (holder := directory.lock.holder()):
                    os.kill(holder, signal.SIGKILL)
        self.http.close()

    # --- what lies on disk ---

    def make_repository(self) -> None:
        """Have the repository met."""
        assert self.command("setup", "--schedule", "none").returncode == 0

    def slow_down(self, megabytes: int = 3) -> None:
        """A backup that takes some seconds: much to read, and little a second."""
        self.make_large(megabytes)
        self.tables["jobs"]["docs"]["limit_upload"] = SLOW


class Elsewhere:
    """Another machine, whose agent belongs to a hub once it was invited."""

    def __init__(self, folder: Path, hub: Served, host: str) -> None:
        programs = folder / "bin"
        programs.mkdir(parents=True)
        (programs / "restic").symlink_to(hub.restic.path)
        self.folder = folder
        self.state = folder / "state"
        self.log = folder / "log"
        self._hub = hub
        self.host = host
        self._agent: subprocess.Popen[bytes] | None = None

    @property
    def is_there(self) -> bool:
        """Whether its agent is connected, as the hub knows it."""
        return any(one["key"] == self.host and one["connected"] for one in self._hub.get("agents"))

    @property
    def said(self) -> str:
        """What its agent said."""
        return self.log.read_text() if self.log.exists() else ""

    def join(self, url: str | None = None) -> None:
        """Be invited, and use the invitation, at the hub's own address or another of it."""
        token: str = self._hub.post(f"hosts/{self.host}/invitation", {})["token"]
        self.start("--join", url or self._hub.url, told=token)
        until(lambda: self.is_there, otherwise=self.said)

    def start(self, *words: str, told: str = "") -> None:
        """Start its agent."""
        path = {"PATH": f"{self.folder / 'bin'}:{SEARCH_PATH}"}
        environment = {**path, "HOME": str(self.folder), "HIGHBALL_STATE": str(self.state)}
        argv: list[str | Path] = [HIGHBALL, "agent", *words]
        with self.log.open("ab") as log:
            self._agent = subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stderr=log)
        assert self._agent.stdin is not None
        self._agent.stdin.write(told.encode() + b"\n")
        self._agent.stdin.close()

    def stop(self) -> None:
        """Ctrl-C, if it runs."""
        if self._agent is not None:
            self._agent.send_signal(signal.SIGINT)
            self._agent.wait(120)
            self._agent = None

    def __enter__(self) -> "Elsewhere":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _asked(order: Table) -> list[bytes]:
    """Where the paths of a restore go."""
    paths = [
        base64.b64decode(path["b64"]) if isinstance(path, dict) else path.encode() for path in order["paths"]
    ]
    target = os.path.realpath(os.fsencode(order["target"])) if "target" in order else b""
    return [target + path for path in paths]


def _read(answer: httpx.Response, expect: tuple[int, ...]) -> Any:
    assert answer.status_code in expect, (answer.request.url, answer.status_code, answer.text[:2000])
    return answer.json() if answer.content else None


@contextlib.contextmanager
def serve(folder: Path, restic: ResticBinary) -> Iterator[Served]:
    """A machine with a repository, and a hub that can be started."""
    served = Served(folder, restic)
    try:
        served.make_repository()
        yield served
    finally:
        served.end_everything()
