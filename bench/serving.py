"""What a hub costs: its memory and its agent's, and backups through it beside bare restic.

Memory is the proportional set size (what belongs to a process alone, and its share of the rest).
Run as: .venv/bin/python bench/serving.py [--restic PATH] [--pairs N]
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from measuring import (
    HIGHBALL,
    HOST,
    JOB,
    REPOSITORY,
    Bare,
    Result,
    clean_environment,
    make_large_files,
    make_small_files,
    options,
    scratch,
    take,
)

SHORT_SECONDS, LONG_RATIO, AGENT_MIB = 1.5, 1.02, 35


def main() -> None:
    """Measure and write down."""
    chosen = options(
        __doc__ or "",
        ("pairs", 7, "how often the short backup is measured"),
        ("long-pairs", 2, "how often a backup of a minute is measured; 0 leaves it out"),
        ("long-gib", 8, "how much a backup of a minute saves"),
    )
    result = Result("serving", "A hub that serves")
    with scratch() as folder:
        make_small_files(folder / "source", 10)
        served = Served(folder / "hub", folder / "source", chosen.restic)
        with served.serving():
            time.sleep(5)  # what starting needed is given back
            result.add("the hub, idle", mib(served.hub_pid))
            agent = _pss(served.agent_pid)
            result.add("its agent, idle", f"{agent:.1f} MiB", f"≤ {AGENT_MIB} MiB", agent <= AGENT_MIB)
            _measure_short(result, folder, served, chosen.restic, chosen.pairs)
            _measure_a_run(result, served)
        if chosen.long_pairs:
            _measure_long(result, folder / "long", chosen.restic, chosen.long_gib, chosen.long_pairs)
    result.write(chosen.restic)


class Served:
    """A hub on a folder of its own."""

    def __init__(self, folder: Path, source: Path, restic: Path, more: str = "", **environment: str) -> None:
        """`more` is configuration besides one repository and one job."""
        folder.mkdir()
        self.folder = folder
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._token: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "password").write_text("measured")
        (folder / "password").chmod(0o600)
        (folder / "highball.toml").write_text(
            f'[settings]\nhost = "{HOST}"\nstate = "{folder}/state"\nrestic = "{restic}"\n'
            f'[repositories.{REPOSITORY}]\nurl = "{folder}/repository"\n'
            f'password = {{ file = "{folder}/password" }}\n'
            f'[jobs.{JOB}]\nschedule = "manual"\nrepositories = ["{REPOSITORY}"]\nsources = ["{source}"]\n'
            + more
        )
        self.environment = clean_environment(HIGHBALL_CONFIG=str(folder / "highball.toml"), **environment)
        take([HIGHBALL, "setup", "--schedule", "none"], self.environment)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """While this lasts, it serves."""
        log = self.folder / "serve.log"
        argv = [HIGHBALL, "serve", "--listen", f"127.0.0.1:{self.port}"]
        with log.open("ab") as output:
            self._process = subprocess.Popen(argv, env=self.environment, stdout=output, stderr=output)
        try:
            await_fact(lambda: self._token is not None or b"/setup#" in log.read_bytes())
            if self._token is None:
                self._set_up(log)
            await_fact(self._is_there)
            yield
        finally:
            self._process.terminate()
            self._process.wait(30)

    def _set_up(self, log: Path) -> None:
        found = re.search(r"/setup#(\S+)", log.read_text())
        assert found is not None
        account = {"token": found[1], "name": "bench", "password": "correct horse battery"}
        answer = urllib.request.urlopen(self._request("setup", account), timeout=30)
        cookie = answer.headers["set-cookie"].partition(";")[0]
        request = self._request("tokens", {"key": "bench", "role": "admin"})
        request.add_header("cookie", cookie)
        request.add_header("origin", self.url)
        self._token = json.load(urllib.request.urlopen(request, timeout=30))["value"]

    def _request(self, address: str, body: Any = None) -> urllib.request.Request:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/v1/{address}", content)
        request.add_header("content-type", "application/json")
        if self._token is not None:
            request.add_header("authorization", f"Bearer {self._token}")
        return request

    @property
    def authorization(self) -> str:
        """The header by which a program proves itself."""
        return f"Bearer {self._token}"

    def page(self, address: str) -> urllib.request.Request:
        """A request for a page."""
        return urllib.request.Request(f"{self.url}{address}", headers={"authorization": self.authorization})

    def call(self, address: str, body: Any = None) -> Any:
        """What an address answers."""
        return json.load(urllib.request.urlopen(self._request(address, body), timeout=60))

    def _is_there(self) -> bool:
        try:
            return bool(self.call("agents")[0]["connected"])
        except OSError:
            return False

    @property
    def hub_pid(self) -> int:
        """The hub's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def agent_pid(self) -> int:
        """The agent's process."""
        return int((self.folder / "state" / "agent.lock").read_text().split()[0])

    def back_up(self) -> float:
        """Seconds from the order to the end, as whoever waits for it sees them."""
        begun = time.monotonic()
        self._end_of(self.call("runs", {"task": "backup", "job": JOB})["id"], every=0.01)
        return time.monotonic() - begun

    def back_up_unwatched(self) -> float:
        """Seconds from the order to the end, as the record has it: who asks a hundred times a second slows it."""
        begun = datetime.now(UTC)
        run = self._end_of(self.call("runs", {"task": "backup", "job": JOB})["id"], every=1.0)
        return (datetime.fromisoformat(run["ended_at"]) - begun).total_seconds()

    def _end_of(self, run: str, every: float) -> Any:
        await_fact(lambda: self.call(f"runs/{run}")["state"] == "done", 600, every)
        ended = self.call(f"runs/{run}")
        assert ended["outcome"] == "success"
        return ended


# --- figures -------------------------------------------------------------------------------------


def _measure_short(result: Result, folder: Path, served: Served, restic: Path, pairs: int) -> None:
    bare = Bare(folder / "bare", folder / "source", restic)
    bare.back_up()
    served.back_up()
    ours, theirs = [], []
    for _ in range(pairs):
        theirs.append(bare.back_up().wall)
        ours.append(served.back_up())
    more = statistics.median(a - b for a, b in zip(ours, theirs, strict=True))
    result.add(
        "10 files, none changed, by the hub: beyond bare restic",
        f"+{more:.2f} s ({statistics.median(ours):.2f} and {statistics.median(theirs):.2f} s)",
        f"≤ +{SHORT_SECONDS} s",
        more <= SHORT_SECONDS,
        ours=[round(value, 3) for value in ours],
        bare=[round(value, 3) for value in theirs],
    )


def _measure_long(result: Result, folder: Path, restic: Path, gib: int, pairs: int) -> None:
    """A first backup into a fresh repository, by the hub and by bare restic in turn."""
    folder.mkdir()
    make_large_files(folder / "source", gib)
    ours, theirs = [], []
    for _ in range(pairs):
        bare = Bare(folder / "one", folder / "source", restic)
        theirs.append(bare.back_up().wall)
        bare.remove()
        served = Served(folder / "one", folder / "source", restic)
        with served.serving():
            ours.append(served.back_up_unwatched())
        shutil.rmtree(folder / "one")
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    result.add(
        f"first backup of {gib} GiB, by the hub: beside bare restic",
        f"× {ratio:.3f} ({statistics.median(ours):.1f} and {statistics.median(theirs):.1f} s)",
        f"≤ × {LONG_RATIO}",
        ratio <= LONG_RATIO,
        ours=[round(value, 2) for value in ours],
        bare=[round(value, 2) for value in theirs],
    )


def _measure_a_run(result: Result, served: Served) -> None:
    """The most that a run's own process holds while its restic works."""
    large = Path(served.folder.parent / "source" / "large")
    large.write_bytes(os.urandom(512 << 20))
    run = served.call("runs", {"task": "backup", "job": JOB})["id"]
    lock = served.folder / "state" / "runs" / run / "lock"
    most = 0.0
    while served.call(f"runs/{run}")["state"] != "done":
        with suppress(OSError, IndexError, ValueError):
            most = max(most, _pss(int(lock.read_text().split()[0])))
        time.sleep(0.05)
    large.unlink()
    result.add("the process of a run", f"{most:.1f} MiB", f"≤ {AGENT_MIB} MiB", 0 < most <= AGENT_MIB)


# --- processes -----------------------------------------------------------------------------------


def mib(pid: int) -> str:
    return f"{_pss(pid):.1f} MiB"


def _pss(pid: int) -> float:
    told = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.findall(r"^Pss:\s+(\d+)", told, re.MULTILINE)[0]) / 1024


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def await_fact(fact: Any, seconds: float = 60, every: float = 0.01) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "it never came to it"
        time.sleep(every)


if __name__ == "__main__":
    main()
