"""Who has no account holds nothing: no memory, no connection for long, no log; and who has one goes on meanwhile."""

import asyncio
import contextlib
import logging
import os
import resource
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from highball.hub.hub import Hub
from highball.web import connections, server, uvicorn_protocols
from hostile.pings import PINGS, ping_and_read_nothing, watch_talks
from hostile.slow_fleet import PATIENCE, asking, declared, make_hub, served, until

SHORT = 0.3
"""The deadline for headers in these tests: what has to be closed is closed soon, and nothing is measured."""

Story = Callable[[Hub, str, int], Coroutine[Any, Any, None]]


def tell(folder: Path, story: Story) -> None:
    """What happens to a hub that serves at this address and port."""

    async def whole() -> None:
        hub = make_hub(folder, declared(1))
        async with served(hub) as url:
            await story(hub, url, int(url.rpartition(":")[2]))

    asyncio.run(whole())


class Stranger:
    """A connection of somebody who says what they like."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def say(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._writer.write(text.encode())

    async def hear_all(self) -> str:
        """Everything until the hub hangs up."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                return (await self._reader.read()).decode(errors="replace")
        return ""

    async def hear(self) -> str:
        """The next that the hub says."""
        async with asyncio.timeout(PATIENCE):
            return (await self._reader.read(65536)).decode(errors="replace")

    @property
    def is_hung_up_on(self) -> bool:
        return self._reader.at_eof() or self._writer.is_closing()

    def leave(self) -> None:
        self._writer.close()


@contextlib.asynccontextmanager
async def stranger(port: int, *, source: str = "127.0.0.1") -> AsyncIterator[Stranger]:
    """Somebody, from this address."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    found = Stranger(reader, writer)
    try:
        yield found
    finally:
        found.leave()


def test_an_answer_by_an_unknown_ticket_is_refused_before_its_first_byte(tmp_path: Path) -> None:
    async def story(hub: Hub, url: str, port: int) -> None:
        async with stranger(port) as one:
            one.say(
                "POST /agent/v1/bulk/nosuchticket HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            assert "404" in (await one.hear_all()).splitlines()[0]

    tell(tmp_path, story)


@pytest.mark.parametrize("path", ["/login", "/api/v1/runs", "/agent/v1/bulk/nosuchticket"])
def test_a_body_without_end_is_hung_up_on(tmp_path: Path, path: str) -> None:
    async def story(hub: Hub, url: str, port: int) -> None:
        async with stranger(port) as one:
            one.say(f"POST {path} HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n")
            endless = asyncio.create_task(_pour(one))
            told = await one.hear_all()
            endless.cancel()
            assert told == "" or told.split()[1].startswith("4"), told

    tell(tmp_path, story)


async def _pour(one: Stranger) -> None:
    while not one.is_hung_up_on:
        one.say(f"{4096:x}\r\n{'x' * 4096}\r\n")
        await asyncio.sleep(0.001)


def test_a_header_that_never_ends_is_hung_up_on_and_who_listens_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn_protocols, "SECONDS_FOR_HEADER", SHORT)

    async def story(hub: Hub, url: str, port: int) -> None:
        async with (
            asking(hub, url, "viewer") as viewer,
            viewer.stream("GET", "/api/v1/stream") as stream,
            stranger(port) as silent,
            stranger(port) as half,
            stranger(port) as dripping,
            stranger(port) as second,
        ):
            half.say("GET /healthz HTTP/1.1\r\nHost: hub\r\n")
            second.say("GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n")
            assert "200" in await second.hear()
            second.say("GET /healthz HTTP/1.1\r\nX-And-Again")
            drops = asyncio.create_task(_drip(dripping))
            for one in (silent, half, dripping, second):
                await one.hear_all()
            drops.cancel()
            hub.bus.news.publish("object", "still")
            async with asyncio.timeout(PATIENCE):
                told = ""
                async for text in stream.aiter_text():
                    told += text
                    if "still" in told:
                        break

    tell(tmp_path, story)


def test_who_takes_in_no_answer_is_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn_protocols, "SECONDS_TO_TAKE_IN", SHORT)
    held: list[connections.Connections] = []

    def watched(of: connections.Connections) -> Any:
        held.append(of)
        return uvicorn_protocols.make_protocols(of)

    monkeypatch.setattr(server, "make_protocols", watched)

    async def story(hub: Hub, url: str, port: int) -> None:
        with socket.socket() as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await asyncio.to_thread(caller.connect, ("127.0.0.1", port))
            caller.send(b"GET /static/app.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 60)
            await until(lambda: held[0].count("127.0.0.1") == 1)
            await until(lambda: held[0].count("127.0.0.1") == 0)

    tell(tmp_path, story)


async def _drip(one: Stranger) -> None:
    one.say("GET /healthz HTTP/1.1\r\nX-Slow: ")
    while not one.is_hung_up_on:
        one.say("x")
        await asyncio.sleep(0.01)


def test_one_address_has_so_many_unfinished_requests_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_WITHOUT_REQUEST", 5)

    async def story(hub: Hub, url: str, port: int) -> None:
        async with contextlib.AsyncExitStack() as all_of_them:
            strangers = [await all_of_them.enter_async_context(stranger(port)) for _ in range(8)]
            for one in strangers:
                one.say("GET /healthz HTTP/1.1\r\n")
            for one in strangers[5:]:
                assert await one.hear_all() == ""
            other = await all_of_them.enter_async_context(stranger(port, source="127.0.0.2"))
            other.say("GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n")
            assert "200" in await other.hear(), "another address is answered"
            strangers[0].say("Host: hub\r\n\r\n")
            assert "200" in await strangers[0].hear(), "and so is who ends what they began"

    tell(tmp_path, story)


def test_one_address_has_so_many_connections_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_OF_ADDRESS", 6)

    async def story(hub: Hub, url: str, port: int) -> None:
        async with asking(hub, url, "viewer") as viewer, contextlib.AsyncExitStack() as all_of_them:
            for _ in range(6):
                await all_of_them.enter_async_context(viewer.stream("GET", "/api/v1/stream"))
            late = await all_of_them.enter_async_context(stranger(port))
            late.say("GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n")
            assert await late.hear_all() == ""
            other = await all_of_them.enter_async_context(stranger(port, source="127.0.0.2"))
            other.say("GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n")
            assert "200" in await other.hear()
        async with asyncio.timeout(PATIENCE):
            while not await _is_answered(port):  # what ended is counted no more
                await asyncio.sleep(0.01)

    tell(tmp_path, story)


async def _is_answered(port: int) -> bool:
    async with stranger(port) as one:
        one.say("GET /healthz HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")
        return "200" in await one.hear_all()


def test_that_files_are_used_up_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story(hub: Hub, url: str, port: int) -> None:
        callers = [socket.socket() for _ in range(50)]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
        try:
            with contextlib.ExitStack() as files:
                with contextlib.suppress(OSError):
                    while True:
                        files.enter_context(open(os.devnull))
                for caller in callers:
                    caller.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        caller.connect(("127.0.0.1", port))
                await until(
                    lambda: any("out of system resource" in one.getMessage() for one in caplog.records)
                )
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for caller in callers:
                caller.close()
        async with asking(hub, url, "viewer") as viewer:
            assert (await viewer.get("/healthz")).status_code == 200
        told = [one for one in caplog.records if "out of system resource" in one.getMessage()]
        assert len(told) == 1

    with caplog.at_level(logging.ERROR):
        tell(tmp_path, story)


def test_much_before_a_greeting_is_not_read(tmp_path: Path) -> None:
    async def story(hub: Hub, url: str, port: int) -> None:
        address = f"ws://127.0.0.1:{port}/agent/v1/link"
        async with connect(address, compression=None, proxy=None) as line, asyncio.timeout(PATIENCE):
            await line.recv()
            await line.send('{"type": "hello", "id": "' + "x" * 20_000)
            with pytest.raises(ConnectionClosed):
                await line.recv()

    tell(tmp_path, story)


def test_of_a_large_message_before_a_greeting_nothing_is_received(tmp_path: Path) -> None:
    async def story(hub: Hub, url: str, port: int) -> None:
        address = f"ws://127.0.0.1:{port}/agent/v1/link"
        async with connect(address, compression=None, proxy=None) as line, asyncio.timeout(PATIENCE):
            await line.recv()
            announced = b"\x81\xff" + (300_000).to_bytes(8) + bytes(4)  # a frame's head, and none of it
            line.transport.write(announced)
            with pytest.raises(ConnectionClosed) as closed:
                await line.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009

    tell(tmp_path, story)


def test_who_reads_no_answer_to_a_ping_is_held_nothing_for_and_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talks = watch_talks(monkeypatch)

    async def story(hub: Hub, url: str, port: int) -> None:
        address = f"ws://127.0.0.1:{port}/agent/v1/link"
        async with connect(address, compression=None, proxy=None) as line:
            await line.recv()
            await ping_and_read_nothing(line, talks[0])
            line.transport.write(PINGS + b"\x81\x80" + bytes(4))  # which is no greeting
            await until(lambda: talks[0].disconnected)
            assert talks[0].most_held < len(PINGS) // 4
            line.transport.abort()

    tell(tmp_path, story)


def test_so_many_that_have_proved_no_key_wait_at_an_agents_door_and_no_more() -> None:
    held = connections.Connections(4096)
    assert [held.await_proof("192.0.2.1") for _ in range(connections.MOST_UNPROVED + 1)][-2:] == [True, False]
    assert held.await_proof("192.0.2.2"), "others are counted apart"
    for _ in range(2):
        held.await_proof_no_more("192.0.2.1")
    assert held.await_proof("192.0.2.1")


def test_all_addresses_of_one_ipv6_network_hold_as_many_connections_as_one() -> None:
    held = connections.Connections(1024)
    of_network = [held.enter(f"2001:db8::{number:x}") for number in range(600)]
    assert of_network.count(True) == 416, "half of what the hub can have"
    assert held.enter("2001:db8:0:1::1"), "others are let in"
    waiting = [held.wait(f"2001:db8::{n:x}") for n in range(connections.MOST_WITHOUT_REQUEST + 1)]
    assert waiting[-2:] == [True, False]
    unproved = [held.await_proof(f"2001:db8::{n:x}") for n in range(connections.MOST_UNPROVED + 1)]
    assert unproved[-2:] == [True, False]
    for number in range(416):
        held.leave(f"2001:db8::{number:x}")
    assert held.enter("2001:db8::ffff")


def test_as_many_files_as_may_be_are_open() -> None:
    program = (
        "import resource\n"
        "from highball.web.connections import raise_file_limit\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 2048))\n"
        "raise_file_limit()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "(2048, 2048)"
