"""The demo: its own eyes see every kind of difference, and a small run of all of it holds."""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from comparison import compare
from journeys.station import HIGHBALL, until
from made_tree import MadeTree
from testbed.parts import CHECKOUT, get_restic
from testbed.serving import free_port

SMALL = ("--files", "60", "--megabytes", "4")

# Opening a repository takes restic half a second of hard work, by intention. This stands before the real
# restic and only makes repositories whose key is weak, so that a run of forty processes takes seconds.
QUICK_RESTIC = """\
#!{python}
import os, sys
if "init" in sys.argv:
    sys.path.insert(0, {tests!r})
    from testbed.written import WrittenRepository
    from pathlib import Path
    where = os.environ.get("RESTIC_REPOSITORY") or open(os.environ["RESTIC_REPOSITORY_FILE"]).read()
    password = open(os.environ["RESTIC_PASSWORD_FILE"]).read().strip()
    WrittenRepository(Path(where), password, seed=len(where))
else:
    os.execv({restic!r}, sys.argv)
"""


@pytest.fixture
def trees(tmp_path: Path) -> tuple[bytes, bytes]:
    """A tree and an exact copy."""
    source, copy = os.fsencode(tmp_path / "source"), os.fsencode(tmp_path / "copy")
    MadeTree(source, files=20, megabytes=1).make(CHECKOUT / "demo")
    subprocess.run(["cp", "-a", "--", source, copy], check=True)
    return source, copy


def test_an_exact_copy_differs_in_nothing(trees: tuple[bytes, bytes]) -> None:
    found = compare(*trees)
    assert found.differences == []
    assert found.entries > 100
    assert found.bytes_compared > 1 << 20


def _flip_a_byte(path: bytes) -> None:
    seen = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(seen.st_size // 2)
        byte = file.read(1)[0]
        file.seek(seen.st_size // 2)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def _change_the_mode(path: bytes) -> None:
    os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) ^ stat.S_IXOTH)


def _change_the_time(path: bytes) -> None:
    seen = os.stat(path)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns + 1))


def _cut(path: bytes) -> None:
    seen = os.stat(path)
    os.truncate(path, seen.st_size - 1)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


@pytest.mark.parametrize(
    ("name", "damage", "complaint"),
    [
        (b"large/disk.img", _flip_a_byte, "its content differs from byte 131072 on"),
        (b"large/disk.img", _cut, "its content differs from byte 262143 on"),
        (b"large/dump.sql", _change_the_mode, "mode 0644 came back as 0645"),
        (b"odd names", _change_the_mode, "mode 0755 came back as 0754"),
        (b"large/dump.sql", _change_the_time, "its time is +1 ns off"),
        (b"odd names", _change_the_time, "its time is +1 ns off"),
    ],
)
def test_damage_is_seen(
    trees: tuple[bytes, bytes], name: bytes, damage: Callable[[bytes], None], complaint: str
) -> None:
    damage(os.path.join(trees[1], name))
    assert compare(*trees).differences == [f"{name.decode()}: {complaint}"]


def test_links_and_missing_entries_are_seen(trees: tuple[bytes, bytes]) -> None:
    links = os.path.join(trees[1], b"links")
    times = {name: os.lstat(os.path.join(links, name)).st_mtime_ns for name in (b"relative", b"hard-2")}
    for name in times:
        os.remove(os.path.join(links, name))
    os.symlink(b"elsewhere", os.path.join(links, b"relative"))
    with open(os.path.join(links, b"hard-2"), "wb") as file:
        file.write(b"one file with three names")
    for name, moment in times.items():
        os.utime(os.path.join(links, name), ns=(moment, moment), follow_symlinks=False)
    os.remove(os.path.join(trees[1], b"special", b"fifo"))
    found = "\n".join(compare(*trees).differences)
    assert "special/fifo was not restored" in found
    assert "links/relative: it points to elsewhere, not to target" in found
    assert "links/hard-1, links/hard-2, links/hard-3: one file here, several there" in found


@pytest.mark.dear
def test_a_small_run_of_the_whole_demo_holds_and_leaves_a_hub_that_works(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    restic = get_restic("0.18.0")
    quick = tmp_path / "bin" / "restic"
    quick.parent.mkdir()
    tests = str(CHECKOUT / "tests")
    quick.write_text(QUICK_RESTIC.format(python=sys.executable, tests=tests, restic=str(restic.path)))
    quick.chmod(0o755)
    scratch, home = tmp_path / "scratch", tmp_path / "home"
    scratch.mkdir()
    home.mkdir()
    environment = {"PATH": f"{quick.parent}:{os.defpath}", "HOME": str(home), "TMPDIR": str(scratch)}
    done = subprocess.run(
        [sys.executable, CHECKOUT / "demo" / "first_light.py", *SMALL, "--keep", str(kept)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All of it held" in done.stdout
    assert "\x1b" not in done.stdout
    assert list(home.iterdir()) == []
    assert list(scratch.iterdir()) == []
    assert {path.name for path in kept.iterdir()} == {
        "highball.toml",
        "hub",
        "hub.key",
        "password",
        "repository",
        "source",
    }
    [password] = re.findall(r"log in as demo with the password (\S+),", done.stdout.replace("\n", " "))
    _go_on(
        kept,
        environment | {"HIGHBALL_STATE": str(kept / "hub"), "HIGHBALL_KEY_FILE": str(kept / "hub.key")},
        password,
    )


def _go_on(kept: Path, environment: dict[str, str], password: str) -> None:
    """Serve what the demo left as `make serve` does, log in, and have its job go on."""
    url = f"http://127.0.0.1:{free_port()}"
    log = kept / "serve.log"
    with log.open("wb") as said:
        argv = [str(HIGHBALL), "serve", "--listen", url.removeprefix("http://")]
        hub = subprocess.Popen(argv, env=environment, cwd=kept, stdout=said, stderr=said)
    try:
        until(lambda: _answers(url), otherwise=log.read_text())
        with httpx.Client(base_url=f"{url}/api/v1", headers={"origin": url}, trust_env=False) as http:
            assert http.post("login", json={"name": "demo", "password": password}).is_success
            until(lambda: http.get("agents").json()[0]["connected"])
            run = http.post("runs", json={"task": "backup", "job": "home"}).json()["id"]
            done = until(lambda: (run_now := http.get(f"runs/{run}").json())["state"] == "done" and run_now)
            assert done["outcome"] == "success", done
            assert len(http.get("runs").json()["items"]) > 5, "the demo's history"
    finally:
        hub.terminate()
        hub.wait(120)
    refused = subprocess.run(
        [sys.executable, CHECKOUT / "demo" / "first_light.py", "--keep", str(kept.parent)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert "holds what no demo has made" in refused.stdout


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).is_success
    except httpx.TransportError:
        return False
