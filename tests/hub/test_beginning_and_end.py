"""A hub that begins and ends: asked to end before it serves, with pages open, and where another program is already."""

import contextlib
import os
import shutil
import signal
import socket
import threading
from pathlib import Path

from hub.served import Served
from journeys.station import until


def has_open(pid: int, path: Path) -> bool:
    """Whether a process holds this file open."""
    with contextlib.suppress(OSError):
        return any(os.readlink(held) == str(path) for held in Path(f"/proc/{pid}/fd").iterdir())
    return False


def end_as_it_begins(machine: Served, number: signal.Signals) -> None:
    hub = machine.begin()
    until(lambda: has_open(hub.pid, machine.state / "highball.db"))
    hub.send_signal(number)
    assert hub.wait(120) == 0, machine.said


def test_asked_to_end_while_it_begins_it_does_so_without_a_word_too_many(machine: Served) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        end_as_it_begins(machine, number)
        assert "Traceback" not in machine.said
        assert machine.log.read_text().splitlines()[-1].startswith("The hub has stopped")


def test_an_address_that_is_taken_is_said(machine: Served) -> None:
    with socket.create_server(("127.0.0.1", machine.port)):
        refused = machine.command("--json", "serve", "--listen", f"127.0.0.1:{machine.port}")
    assert (refused.returncode, b"address_in_use" in refused.stdout) == (1, True), refused


def test_a_hub_whose_file_is_malformed_goes_on_with_what_it_declared_before(machine: Served) -> None:
    machine.serve()
    machine.end_hub()
    machine.configuration.write_text("[jobs.docs\nschedule = daily")
    machine.serve_file_as_it_is()
    until(lambda: machine.agent["connected"], within=240, otherwise=lambda: machine.said)
    assert machine.back_up()["outcome"] == "success"
    [problem] = [one for one in machine.get("overview")["problems"] if one["kind"] == "invalid"]
    assert str(machine.configuration) in problem["reason"]["message"]


def test_a_new_hub_with_a_malformed_file_does_not_begin(machine: Served) -> None:
    shutil.rmtree(machine.state)
    machine.configuration.write_text("[jobs.docs\nschedule = daily")
    hub = machine.begin_with_file_as_it_is()
    assert hub.wait(120) == 2, machine.said
    assert not (machine.state / "highball.db").exists()


def test_an_open_page_does_not_keep_a_hub_from_ending(served: Served) -> None:
    ended = threading.Event()

    def look_on() -> None:
        with served.http.stream("GET", "stream") as answer:
            heard.set()
            for _ in answer.iter_raw():
                pass
        ended.set()  # nothing was raised: the answer came to its end

    heard = threading.Event()
    page = threading.Thread(target=look_on)
    page.start()
    assert heard.wait(120)
    assert served.end_hub() == 0
    page.join(120)
    assert ended.is_set()
    assert "exceeded" not in served.log.read_text(), "nothing had to be cut short"
