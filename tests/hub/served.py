"""A hub as its user has it: `highball serve` in a process of its own, reached over HTTP, with a real restic.

Served starts the program on a port of its own, uses the set-up link it prints, and speaks to the API with a
token. Everything it started, agent and runs too, is ended at the end.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx

from highball.agent.rundir import RunDirectory, list_run_directories
from journeys.station import until
from testbed import serving
from testbed.parts import SEARCH_PATH
from testbed.restic import ResticBinary

HIGHBALL: Final = Path(sys.executable).with_name("highball")
PASSWORD: Final = "open sesame"

Table = dict[str, Any]


class Served:
    """A machine with a configuration file, a state, and a hub that serves both."""

    def __init__(self, folder: Path, restic: ResticBinary) -> None:
        self.folder = folder
        self.restic = restic
        self.state = folder / "state"
        self.source = folder / "source"
        self.repository = folder / "repository"
        self.port = serving.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=f"{self.url}/api/v1", timeout=60, trust_env=False)
        self.environment: dict[str, str] = {}
        """What is set for the program besides the usual."""
        self._hub: subprocess.Popen[bytes] | None = None
        self.source.mkdir(parents=True)
        (folder / "home").mkdir()
        (self.source / "letter").write_text("dear reader")
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o600)
        self.tables: Table = {
            "settings": {"host": "station", "restic": str(restic.path)},
            "repositories": {
                "nas": {"url": str(self.repository), "password": {"file": str(folder / "password")}}
            },
            "jobs": {"docs": {"schedule": "manual", "repositories": ["nas"], "sources": [str(self.source)]}},
        }

    # --- the program ---

    @property
    def configuration(self) -> Path:
        """Its configuration file."""
        return self.folder / "highball.yaml"

    def command(self, *words: str) -> "subprocess.CompletedProcess[bytes]":
        """A command on the machine itself."""
        self.configuration.write_text(json.dumps(self.tables))
        argv: list[str | Path] = [HIGHBALL, "-c", self.configuration, *words]
        return subprocess.run(argv, env=self._environment(), capture_output=True, timeout=60, check=False)

    def serve(self) -> None:
        """Start the hub, and wait until it answers and its agent is there."""
        self.configuration.write_text(json.dumps(self.tables))
        argv: list[str | Path] = [
            HIGHBALL,
            "-c",
            self.configuration,
            "serve",
            "--listen",
            f"127.0.0.1:{self.port}",
        ]
        with self.log.open("ab") as log:
            self._hub = subprocess.Popen(argv, env=self._environment(), stdout=log, stderr=log)
        until(lambda: self._answers() or self._hub.poll() is not None)  # type: ignore[union-attr]
        assert self._hub.poll() is None, self.log.read_text()
        if "authorization" not in self.http.headers:
            self._set_up()
        until(lambda: self.agent["connected"], otherwise=self.said)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def _set_up(self) -> None:
        found = until(lambda: re.search(r"/setup#(\S+)", self.log.read_text()), otherwise=self.said)
        account = {"token": found[1], "name": "anna", "password": "correct horse battery"}
        self.post("setup", account, expect=(200, 201))
        made = self.post("tokens", {"key": "tests", "role": "admin"}, headers={"origin": self.url})
        self.http.cookies.clear()
        self.http.headers["authorization"] = f"Bearer {made['value']}"

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": SEARCH_PATH,
            "HOME": str(self.folder / "home"),
            "HIGHBALL_STATE": str(self.state),
            "LANG": "C.UTF-8",
            **self.environment,
        }

    @property
    def log(self) -> Path:
        """What the hub says."""
        return self.folder / "serve.log"

    @property
    def said(self) -> str:
        """What the hub and its agent said."""
        told = [path.read_text() for path in (self.log, self.state / "agent.log") if path.exists()]
        return "\n--- agent\n".join(told)

    def kill_hub(self) -> None:
        """SIGKILL; the agent lives on."""
        assert self._hub is not None
        self._hub.kill()
        self._hub.wait()

    def end_hub(self) -> int:
        """SIGTERM, and the exit status."""
        assert self._hub is not None
        self._hub.terminate()
        return self._hub.wait(20)

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
                if not directory.take_if_free():
                    os.kill(directory.lock.holder() or 0, signal.SIGKILL)
        self.http.close()

    # --- the API ---

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
        """What the hub knows of its agent."""
        found: Table = self.get("agents")[0]
        return found

    def order(self, task: str = "backup", **more: Any) -> str:
        """Queue a run of the job (or of the repository), and return its id."""
        about = {"job": "docs"} if task == "backup" else {"repository": "nas"}
        return str(self.post("runs", {"task": task, **about, **more})["id"])

    def run(self, id: str) -> Table:
        """A run as it is now."""
        found: Table = self.get(f"runs/{id}")
        return found

    def end_of(self, id: str, within: float = 60) -> Table:
        """A run, once it has ended."""
        until(lambda: self.run(id)["state"] == "done", within, otherwise=f"{self.run(id)}\n{self.said}")
        return self.run(id)

    def back_up(self, **more: Any) -> Table:
        """A whole backup, and that it succeeded."""
        done = self.end_of(self.order(**more))
        assert done["outcome"] == "success", (done, self.said)
        return done

    def events(self, id: str) -> list[Table]:
        """All events of a run."""
        text = self.http.get(f"runs/{id}/events").text
        return [json.loads(line) for line in text.splitlines()]

    # --- what lies on disk ---

    def make_repository(self) -> None:
        """An empty repository, met."""
        assert self.command("setup", "--schedule", "none").returncode == 0

    def run_directories(self) -> list[RunDirectory]:
        """The run directories that are there."""
        return list_run_directories(self.state / "runs")

    def slow_down(self, megabytes: int = 3) -> None:
        """A backup that takes some seconds: much to read, and little a second."""
        (self.source / "large").write_bytes(os.urandom(megabytes << 20))
        self.tables["jobs"]["docs"]["limit_upload"] = 400


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
