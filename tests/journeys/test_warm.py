"""A warm fork and a process of its own are one program: same answers, same standing in the system, same ends."""

import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from journeys.station import HIGHBALL, Answer, Station, is_alive
from testbed.restic import Argument


def both(station: Station, *arguments: Argument, **environment: Any) -> Iterator[Answer]:
    """The same call twice: as a process of its own, and as a fork."""
    for own_process in (True, False):
        station.own_process = own_process
        yield station.call(*arguments, timeout=240, **environment)


def alike(station: Station, *arguments: Argument, **environment: str) -> Answer:
    """The same call in both ways, which has to have the same answer."""
    process, fork = both(station, *arguments, **environment)
    assert (fork.status, fork.stdout, fork.stderr) == (process.status, process.stdout, process.stderr)
    return fork


def test_what_is_answered(station: Station) -> None:
    station.back_up()
    assert alike(station, "runs").status == 0
    assert alike(station, "--json", "snapshots").json
    assert alike(station, "--help").status == 0
    for status, arguments in (
        (2, []),
        (2, ["run", "--nonsense"]),
        (4, [b"run", b"caf\xe9"]),
        (4, ["--json", "restore", "docs", "-s", "0000dead"]),
    ):
        assert alike(station, *arguments).status == status
    station.repositories["nas"]["password"] = "wrong kind"
    assert alike(station, "validate").status == 2


def test_environment_and_folder(station: Station) -> None:
    station.repositories["nas"]["password"] = {"env": "ITS_PASSWORD"}
    assert alike(station, "validate").status == 2
    assert alike(station, "validate", ITS_PASSWORD="open sesame").status == 0
    assert alike(station, "validate").status == 2, "what one call is given is gone with it"
    station.back_up(ITS_PASSWORD="open sesame")
    here, there = (alike(station, "runs", TZ=zone).text for zone in ("UTC", "Asia/Tokyo"))
    assert here != there
    assert alike(station, "-c", station.config.name, "list").status == 0, "its folder is the station's"
    assert alike(station, "-c", "elsewhere.toml", "list").status == 2


ASKED = """
grep -E '^(Umask|Sig[A-Z][a-z]+|Groups|NoNewPrivs|Seccomp|Threads|Cap.*|Speculation.*|Cpus_allowed):' /proc/$PPID/status
cat /proc/$PPID/limits /proc/$PPID/oom_score_adj /proc/$PPID/cgroup
readlink /proc/$PPID/cwd /proc/$PPID/root /proc/$PPID/exe /proc/$PPID/fd/*
awk '{print "nice", $19}' /proc/$PPID/stat
test "$(awk '{print $5, $6, $7}' /proc/$PPID/stat)" = "$PPID $PPID 0" && echo leads a session of its own
"""
"""What a hook asks about the process that it is called by."""


def test_how_it_stands_in_the_system(station: Station) -> None:
    asked = station.folder / "asked"
    station.add_job(before=[{"run": f"({ASKED}) > {asked} 2>&1; env | sort >> {asked}"}])
    told = []
    for answer in both(station, "--json", "run", SOME="thing", TZ="Asia/Tokyo"):
        run = answer.json["runs"][0]["id"]
        text = asked.read_text().replace(run, "RUN")
        lines = re.sub(r"call-\d+|(?<=pipe:)\S+|(?<=tmp/)\w+", "_", text).splitlines()
        told.append([line for line in lines if line.strip()])
    process, fork = told
    assert fork == process
    assert "leads a session of its own" in fork
    assert "TZ=Asia/Tokyo" in fork


def test_a_violent_end(station: Station) -> None:
    station.add_job(before=[{"run": "kill -9 $PPID"}])
    assert [answer.status for answer in both(station, "run")] == [-signal.SIGKILL] * 2
    station.add_job()
    assert station.back_up().status == 0, "the next call finds a server"


def test_a_fork_beyond_its_time_is_killed(station: Station) -> None:
    pid = station.folder / "pid"
    station.add_job(before=[{"run": f"echo $PPID > {pid}; sleep 60"}])
    with pytest.raises(AssertionError, match="did not end within 4 s"):
        station.call("run", timeout=4)
    assert not is_alive(int(pid.read_text()))
    assert station.call("list").status == 0


def test_what_needs_a_process_of_its_own_has_one(station: Station) -> None:
    seen = station.folder / "seen"
    station.add_job(before=[{"run": f"cat /proc/$PPID/cmdline > {seen}"}])

    def is_own_process() -> bool:
        return os.fsencode(HIGHBALL) in seen.read_bytes().split(b"\0")

    station.call("run")
    assert not is_own_process()
    station.start("run").end()
    assert is_own_process()
    station.prefix = ("env",)
    station.call("run")
    assert is_own_process()
    station.prefix, station.own_process = (), True
    station.call("run")
    assert is_own_process()


def test_variables_that_python_reads_at_its_start_are_refused(station: Station) -> None:
    station.write()
    with pytest.raises(AssertionError, match="a process of its own"):
        station.call("list", LANG="de_DE.UTF-8")
