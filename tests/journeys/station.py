"""One machine that uses Highball: a configuration file, a state directory, an empty home, and the program itself.

A Station writes the configuration, runs `highball` with a clean environment, and hands back what its user sees:
the exit status, both outputs, the JSON document. What is called and waited for is a warm fork (see `warm`), unless
the test is about the process itself; what is started is always a process of its own.
"""

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final

from journeys import warm
from journeys.around import Around
from testbed.parts import SEARCH_PATH
from testbed.restic import Argument, Location, ResticBinary
from testbed.s3 import S3Server
from testbed.written import WrittenRepository, _Keys

HIGHBALL: Final = Path(sys.executable).with_name("highball")
PASSWORD: Final = "open sesame"
HOST: Final = "station"

Table = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What one call of `highball` left behind."""

    argv: tuple[Argument, ...]
    status: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.stdout.decode("utf-8", "surrogateescape")

    @cached_property
    def json(self) -> Any:
        """The one JSON document on standard output; AssertionError where there is none, or anything else."""
        try:
            return json.loads(self.stdout)
        except ValueError as error:
            raise AssertionError(f"not one JSON document: {error}\n{self}") from None

    @property
    def error(self) -> Table:
        """The error of a JSON answer, its shape checked."""
        assert set(self.json) == {"error"}, self
        found: Table = self.json["error"]
        assert set(found) >= {"code", "message", "hint", "problems"}, self
        assert all(set(problem) >= {"at", "message"} for problem in found["problems"]), self
        assert self.status != 0, self
        return found

    @property
    def events(self) -> list[Table]:
        """The lines of `--events`."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def step(self) -> Table:
        """The only step of the only run of a run document."""
        [run] = self.json["runs"]
        [step] = run["steps"]
        found: Table = step
        return found

    def step_in(self, repository: str) -> Table:
        """The step of a run document that worked on this repository."""
        [found] = [s for run in self.json["runs"] for s in run["steps"] if s["repository"] == repository]
        result: Table = found
        return result

    def __str__(self) -> str:
        said = f"{self.text[-6000:]}\n--- stderr\n{self.stderr[-6000:]}"
        return f"{self.argv!r} ended with {self.status}\n--- stdout\n{said}"


class Going:
    """A `highball` that still runs."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path) -> None:
        self.process = process
        self._folder = folder

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def stderr(self) -> str:
        """What it has said so far."""
        return (self._folder / "stderr").read_text(errors="replace")

    @property
    def stdout(self) -> bytes:
        """What it has answered so far."""
        return (self._folder / "stdout").read_bytes()

    def send(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self.process.kill()
        self.process.wait(120)

    def end(self, timeout: float = 240) -> Answer:
        """Wait for its end."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not end within {timeout} s:\n{self.stdout!r}\n{self.stderr}") from None
        return Answer(tuple(self.process.args), status, self.stdout, self.stderr)  # type: ignore[arg-type]


@dataclass
class Station:
    """A machine with a source, a configuration and a state of its own, all below `folder`."""

    folder: Path
    restic: ResticBinary
    settings: Table = field(default_factory=dict)
    defaults: Table = field(default_factory=dict)
    profiles: Table = field(default_factory=dict)
    pins: Table = field(default_factory=dict)
    repositories: Table = field(default_factory=dict)
    jobs: Table = field(default_factory=dict)
    hosts: Table = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    database: ClassVar[str | None] = None
    """The address of a database for the record; without one it lies in the state directory."""
    prefix: tuple[str, ...] = ()
    """A program that starts `highball`, like setpriv."""
    own_process: bool = False
    """Start a process for what is called, too: where a test is about the process, not about its answer."""
    _calls: int = 0
    _going: list[Going] = field(default_factory=list)
    _seeds: int = 0

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True)
        self.source.mkdir()
        self.password_file.write_text(PASSWORD)
        self.password_file.chmod(0o600)
        self.settings |= {"state": str(self.state), "restic": str(self.restic.path), "host": HOST}

    # --- places ---

    @property
    def home(self) -> Path:
        """HOME, empty."""
        return self.folder / "home"

    @property
    def source(self) -> Path:
        """The source of the usual job."""
        return self.folder / "source"

    @property
    def nowhere(self) -> Path:
        """A path where nothing is, whatever else this machine has."""
        return self.folder / "nowhere"

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.folder / "state"

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "highball.toml"

    @property
    def password_file(self) -> Path:
        """The file with the repositories' password."""
        return self.folder / "password"

    @property
    def secret(self) -> Table:
        """The reference to the repositories' password."""
        return {"file": str(self.password_file)}

    def path_of(self, key: str = "nas") -> Path:
        """Where a local repository lies."""
        return Path(self.repositories[key]["url"])

    def at(self, key: str = "nas") -> Location:
        """A local repository, for a restic of the test's own."""
        return Location("local", str(self.path_of(key)))

    # --- what is declared ---

    def add_repository(self, key: str = "nas", *, made: bool = True, **fields: Any) -> Path:
        """Declare a local repository; one that is `made` is there already, with a key that opens at once."""
        path = self.folder / f"repository-{key}"
        if made:
            self._seeds += 1
            WrittenRepository(path, PASSWORD, seed=hash((str(path), self._seeds)))
        self.repositories[key] = {"url": str(path), "password": self.secret, **fields}
        return path

    def add_job(self, key: str = "docs", repositories: Sequence[str] = ("nas",), **fields: Any) -> None:
        """Declare a job on the usual source."""
        usual = {"sources": [str(self.source)], "repositories": list(repositories)}
        self.jobs[key] = {**usual, **fields}

    def fill(self, files: int = 3, size: int = 1000, folder: Path | None = None) -> None:
        """Put files into the source: random ones, so that nothing is deduplicated."""
        folder = folder or self.source
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(files):
            (folder / f"file-{number:04}").write_bytes(os.urandom(size))

    def write(self) -> None:
        """Write the configuration file."""
        lines = [*_section("settings", self.settings), *_section("defaults", self.defaults)]
        for name in ("hosts", "profiles", "repositories", "jobs", "pins"):
            for key, table in getattr(self, name).items():
                lines += _section(f"{name}.{key}", table)
        self.config.write_text("\n".join(lines) + "\n")

    # --- calling ---

    def argv(self, *arguments: Argument) -> list[Argument]:
        """The command line of a call."""
        return [*self.prefix, str(HIGHBALL), "-c", str(self.config), *arguments]

    def clean_environment(self, **more: str) -> dict[str, str]:
        """What a call finds in its environment."""
        record = {"HIGHBALL_DATABASE": self.database} if self.database else {}
        return {"PATH": SEARCH_PATH, "HOME": str(self.home)} | record | self.environment | more

    def start(
        self,
        *arguments: Argument,
        environment: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
    ) -> Going:
        """Start a process of `highball`, with the configuration as it is declared now."""
        return self._start(self._prepare(), arguments, environment or {}, before)

    def _start(
        self,
        folder: Path,
        arguments: Sequence[Argument],
        environment: Mapping[str, str],
        before: Callable[[], None] | None = None,
    ) -> Going:
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            process = subprocess.Popen(
                self.argv(*arguments),
                env=self.clean_environment(**environment),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=before,  # noqa: PLW1509 - nothing but signals is set there
            )
        going = Going(process, folder)
        self._going.append(going)
        return going

    def call(self, *arguments: Argument, timeout: float = 240, **environment: str) -> Answer:
        """Call `highball` and wait for its end; what lies around the target of a restore has to stay as it is."""
        folder = self._prepare()
        around = Around(self, arguments) if Around.is_restore(arguments) else None
        answer = self._call(folder, arguments, timeout, environment)
        if around is not None:
            around.demand_unchanged()
        return answer

    def _call(
        self, folder: Path, arguments: Sequence[Argument], timeout: float, environment: Mapping[str, str]
    ) -> Answer:
        if self.own_process or self.prefix:
            return self._start(folder, arguments, environment).end(timeout)
        argv = self.argv(*arguments)
        out, err = folder / "stdout", folder / "stderr"
        with open(os.devnull) as nothing, out.open("wb") as to_out, err.open("wb") as to_err:
            streams = [stream.fileno() for stream in (nothing, to_out, to_err)]
            found = self.clean_environment(**environment)
            try:
                status = warm.call(argv, env=found, cwd=self.folder, streams=streams, timeout=timeout)
            except subprocess.TimeoutExpired:
                said = f"{out.read_bytes()!r}\n{err.read_text(errors='replace')}"
                raise AssertionError(f"did not end within {timeout} s:\n{said}") from None
        return Answer(tuple(argv), status, out.read_bytes(), err.read_text(errors="replace"))

    def _prepare(self) -> Path:
        """Write the configuration, and make a folder for what the next call prints."""
        self.write()
        folder = self.folder / f"call-{self._calls}"
        folder.mkdir()
        self._calls += 1
        return folder

    def ask(self, *arguments: Argument, status: int = 0, timeout: float = 240, **environment: str) -> Answer:
        """Call `highball … --json`; the exit status has to be this one, and the answer one JSON document."""
        answer = self.call("--json", *arguments, timeout=timeout, **environment)
        assert answer.status == status, answer
        assert answer.json is not None, answer
        return answer

    def back_up(self, *jobs: str, status: int = 0, **environment: str) -> Answer:
        """`highball run --json`, which has to end with this exit status."""
        return self.ask("run", *jobs, status=status, **environment)  # type: ignore[arg-type]

    def bare(self, *arguments: Argument, key: str = "nas", check: bool = True) -> bytes:
        """restic itself, on a local repository: what another tool or a person would do."""
        done = self.restic.run(*arguments, at=self.at(key), password_file=self.password_file, check=check)
        return done.stdout

    def start_bare(self, *arguments: str, key: str = "nas") -> "subprocess.Popen[bytes]":
        """Start restic itself on a local repository, its input a pipe."""
        environment = self.clean_environment(RESTIC_PASSWORD_FILE=str(self.password_file))
        return subprocess.Popen(
            [str(self.restic.path), "-r", str(self.path_of(key)), *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def snapshots(self, key: str = "nas") -> list[Table]:
        """What restic itself lists, oldest first."""
        found = self.restic.json("snapshots", at=self.at(key), password_file=self.password_file) or []
        return sorted(found, key=lambda snapshot: str(snapshot["time"]))

    def locks(self, key: str = "nas") -> list[Path]:
        """The lock files in a local repository."""
        folder = self.path_of(key) / "locks"
        found = folder.iterdir() if folder.is_dir() else ()
        return sorted(path for path in found if "-tmp-" not in path.name)

    def close(self) -> None:
        """End what was started and did not end."""
        for going in self._going:
            if going.process.poll() is None:
                going.kill()
        for pid in restics_of(self.folder):
            os.kill(pid, signal.SIGKILL)


# --- TOML ----------------------------------------------------------------------------------------


def _section(name: str, table: Table) -> Iterator[str]:
    if table:
        yield f"[{name}]"
        yield from (f"{json.dumps(key)} = {as_toml(value)}" for key, value in table.items())


def as_toml(value: object) -> str:
    """A value as TOML; paths that are bytes in their text form."""
    if isinstance(value, bytes):
        return f'{{ b64 = "{base64.b64encode(value).decode()}" }}'
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {as_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, Path):
        return as_toml(str(value))
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


# --- repositories ---------------------------------------------------------------------------------


def quicken(repository: Path, password: str = PASSWORD) -> None:
    """Replace the key that restic made by one that opens at once: half a second less for each restic.

    The repository lies on this disk; its master key stays the same.
    """
    [old] = (repository / "keys").iterdir()
    name, content = weaken(old.read_bytes(), password)
    (repository / "keys" / name).write_bytes(content)
    old.unlink()


def quicken_on_s3(server: S3Server, prefix: str, password: str = PASSWORD) -> None:
    """The same for a repository in the server's bucket."""
    [old] = server.list_objects(f"{prefix}/keys/")
    name, content = weaken(server.get_object(old), password)
    server.put_object(f"{prefix}/keys/{name}", content)
    server.delete_object(old)


def weaken(strong: bytes, password: str) -> tuple[str, bytes]:
    """The name and content of a key file that opens at once, to the same master key as this one."""
    key = json.loads(strong)
    sealed = base64.b64decode(key["data"])
    plain = _derived(key, password).seal(sealed[16:-16], sealed[:16])[16:-16]  # a stream cipher undoes itself
    key |= {"N": 2, "r": 8, "p": 1}
    key["data"] = base64.b64encode(_derived(key, password).seal(plain, os.urandom(16))).decode()
    content = json.dumps(key).encode()
    return hashlib.sha256(content).hexdigest(), content


def _derived(key: Table, password: str) -> _Keys:
    """What the password and a key file make: the keys that seal the master key."""
    cost = {"n": key["N"], "r": key["r"], "p": key["p"]}
    salt = base64.b64decode(key["salt"])
    made = hashlib.scrypt(password.encode(), salt=salt, **cost, maxmem=2**30, dklen=64)
    return _Keys(made[:32], made[32:48], made[48:])


# --- processes -----------------------------------------------------------------------------------


def pids() -> list[int]:
    """All processes of this machine."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def of_process(pid: int, name: str) -> bytes:
    """A file of /proc/PID; empty where the process is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    state = of_process(pid, "stat").rpartition(b")")[2].split()[:1]
    return state not in ([], [b"Z"])


_OTHERS: Final = frozenset(pids())
"""What ran before any test began."""


def restics_of(folder: Path) -> list[int]:
    """The restics at work for the station in this folder: they have its cache in their environment."""
    needle = b"RESTIC_CACHE_DIR=" + os.fsencode(folder / "state")
    younger = set(pids()) - _OTHERS
    found = [pid for pid in sorted(younger) if needle in of_process(pid, "environ")]
    return [pid for pid in found if is_alive(pid) and b"restic" in of_process(pid, "cmdline")]


def commands_of(pids: Sequence[int]) -> list[bytes]:
    """Their command lines, for messages."""
    return [of_process(pid, "cmdline").replace(b"\0", b" ") for pid in pids]


def until(
    fact: Callable[[], Any], within: float = 120.0, otherwise: str | Callable[[], str] = "it never came to it"
) -> Any:
    """Wait for a fact and return it; AssertionError where it does not come.

    Asked fifty times a second where that costs nothing, so that what passes is not missed. Where it costs something,
    as a question to a hub does, a tenth of the time goes into asking: more would slow what is waited for.
    """
    deadline, pause = time.monotonic() + within, 0.005
    while True:
        begun = time.monotonic()
        if found := fact():
            return found
        now = time.monotonic()
        assert now < deadline, otherwise() if callable(otherwise) else otherwise
        time.sleep(max(pause, min(0.25, 9 * (now - begun))))
        pause = min(0.02, pause * 1.3)


def holds_for(fact: Callable[[], bool], seconds: float) -> bool:
    """Whether something holds the whole time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not fact():
            return False
        time.sleep(0.02)
    return True
