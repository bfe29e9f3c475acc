"""A hub among strangers: fifty agents that take a minute for each answer, and outsiders who hold what they can.

What is measured is whether the others notice: how late a schedule of every minute comes, how long an agent waits
until it is heard, how long /healthz takes, and how much memory, log and time outsiders cost.
Run as: .venv/bin/python bench/waiting.py [--restic PATH] [--agents N] [--minutes N]
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import statistics
import time
import urllib.request
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.client import ClientConnection, connect

from highball.protocol.handshake import Conversation, Exchange
from highball.protocol.wire import (
    Answer,
    Ask,
    Challenge,
    Enrol,
    Heartbeat,
    Hello,
    Inventory,
    Unsupported,
    Welcome,
    proof_text,
    read,
    spell,
)
from measuring import Result, options, scratch
from serving import Served, await_fact

ANSWER_SECONDS = 60.0
LATE_SECONDS, HEARD_SECONDS, HEALTH_MS = 2.0, 1.0, 100.0
BESIEGED_HEALTH_MS, OUTSIDERS_MIB, LOG_KIB, STREAMS_MIB = 1000.0, 20.0, 64.0, 32.0
HALF_OPEN, ENDLESS, STREAMS = 1100, 8, 1000


def main() -> None:
    """Measure and write down."""
    chosen = options(
        __doc__ or "",
        ("agents", 50, "how many agents are connected"),
        ("minutes", 3, "for how long they are asked"),
        ("streams", STREAMS, "how many listen to what changes"),
    )
    result = Result("waiting", "A hub that waits for strangers")
    with scratch() as folder:
        (folder / "source").mkdir()
        (folder / "source" / "letter").write_text("dear reader")
        served = Served(folder / "hub", folder / "source", chosen.restic, _job_of_every_minute(folder))
        with served.serving():
            asyncio.run(_measure_slow_agents(result, served, chosen.agents, chosen.minutes))
        with served.serving():
            asyncio.run(_measure_outsiders(result, served))
        with served.serving():
            asyncio.run(_measure_streams(result, served, chosen.streams))
    result.write(chosen.restic)


def _job_of_every_minute(folder: Path) -> str:
    return f'[jobs.often]\nschedule = "* * * * *"\nrepositories = ["repo"]\nsources = ["{folder}/source"]\n'


def _declare(served: Served, number: int) -> str:
    """A host with a repository and a job of its own; the token by which its agent joins."""
    served.call(f"hosts?key=h{number}", {})
    spec = {"url": "/nowhere", "password": {"file": "/nowhere"}, "maintained_by": f"h{number}"}
    served.call(f"repositories?key=r{number}", spec)
    job = {"repositories": [f"r{number}"], "sources": ["/home"], "host": f"h{number}"}
    served.call(f"jobs?key=j{number}", {**job, "schedule": "manual"})
    return str(served.call(f"hosts/h{number}/invitation", {})["token"])


# --- agents that take their time -----------------------------------------------------------------


class SlowAgent:
    """It hears at once, and answers a minute later."""

    def __init__(self, url: str, host: str) -> None:
        self._url = url
        self.host = host
        self.asked = 0
        self._socket: ClientConnection | None = None
        self._conversation: Conversation | None = None
        self._answers: set[asyncio.Task[None]] = set()
        self._heard = asyncio.Event()

    async def serve(self, token: str, joined: asyncio.Event) -> None:
        """Join, and listen for as long as it lasts."""
        key = Ed25519PrivateKey.generate()
        address = f"ws{self._url.removeprefix('http')}/agent/v1/link"
        async with connect(address, compression=None, proxy=None, max_size=1 << 20) as socket:
            self._socket = socket
            challenge = read(await socket.recv()).body
            assert isinstance(challenge, Challenge)
            await self._say(Enrol(token=token, public_key=key.public_key().public_bytes_raw()))
            await socket.recv()
            nonce, exchange = secrets.token_bytes(32), Exchange()
            signed = proof_text("agent", self.host, challenge, nonce, exchange.share)
            told = {"host": self.host, "nonce": nonce, "share": exchange.share, "proof": key.sign(signed)}
            await self._say(Hello.model_validate({**told, "program": "bench"}))
            assert isinstance(read(await socket.recv()).body, Welcome)
            keys = exchange.agree(challenge.share, signed)
            self._conversation = Conversation.of_agent(keys)
            await self._say(Inventory(runs=()))
            joined.set()
            async for text in socket:
                self._hear(str(text))

    def _hear(self, text: str) -> None:
        assert self._conversation is not None
        message = read(self._conversation.open(text))
        if isinstance(message.body, Ask):
            self.asked += 1
            task = asyncio.create_task(self._answer(message.id))
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)
        elif isinstance(message.body, Unsupported):
            self._heard.set()

    async def _answer(self, id: str) -> None:
        await asyncio.sleep(ANSWER_SECONDS)
        await self._send(spell(Answer(value=[]), re=id))

    async def _say(self, body: Any) -> None:
        await self._send(spell(body))

    async def _send(self, text: str) -> None:
        assert self._socket is not None
        await self._socket.send(text if self._conversation is None else self._conversation.seal(text))

    async def beat(self) -> float:
        """Say that it is there, and something that nobody understands; seconds until that is answered."""
        self._heard.clear()
        begun = time.monotonic()
        await self._say(Heartbeat())
        await self._send('{"type":"dance","id":"1","at":"2026-01-01T00:00:00Z","body":{}}')
        async with asyncio.timeout(60):
            await self._heard.wait()
        return time.monotonic() - begun


async def _measure_slow_agents(result: Result, served: Served, count: int, minutes: int) -> None:
    agents = [SlowAgent(served.url, f"h{number}") for number in range(count)]
    joined = [asyncio.Event() for _ in agents]
    serving = []
    for position, (agent, event) in enumerate(zip(agents, joined, strict=True)):
        token = await asyncio.to_thread(_declare, served, position)
        serving.append(asyncio.create_task(agent.serve(token, event)))
    for event in joined:
        await event.wait()
    begun = datetime.now(UTC)
    for agent in agents:
        number = agent.host.removeprefix("h")
        await asyncio.to_thread(served.call, "runs", {"task": "discard", "repository": f"r{number}"})
    listing = [asyncio.create_task(_list(served, agent.host.removeprefix("h"))) for agent in agents]
    heard: list[float] = []
    health: list[float] = []
    ends = time.monotonic() + minutes * 60
    while time.monotonic() < ends:
        health.append(await _health(served))
        heard.append(await agents[len(heard) % count].beat())
        await asyncio.sleep(0.2)
    late = await asyncio.to_thread(_lateness, served, begun)
    asked = sum(agent.asked for agent in agents)
    for task in (*serving, *listing):
        task.cancel()
    await asyncio.gather(*serving, *listing, return_exceptions=True)
    what = f"{count} agents that answer after {ANSWER_SECONDS:.0f} s, asked {asked} times:"
    result.add(
        f"{what} a schedule of every minute",
        f"{max(late):.2f} s late at most ({len(late)} times)",
        f"≤ {LATE_SECONDS:.0f} s, each minute",
        max(late) <= LATE_SECONDS and len(late) >= minutes - 1,
        seconds=[round(value, 2) for value in late],
    )
    result.add(
        "until an agent is heard meanwhile",
        f"{max(heard):.3f} s at most (median {statistics.median(heard):.3f})",
        f"≤ {HEARD_SECONDS:.0f} s",
        max(heard) <= HEARD_SECONDS,
    )
    _add_health(result, "/healthz meanwhile", health, HEALTH_MS)


async def _list(served: Served, number: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    head = f"GET /api/v1/repositories/r{number}/snapshots HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    writer.write(f"{head}Authorization: {served.authorization}\r\n\r\n".encode())
    await reader.read()


def _lateness(served: Served, since: datetime) -> list[float]:
    """How much later than its time each run of the job of every minute was queued."""
    found = []
    for run in served.call("runs?job=often&limit=100")["items"]:
        if run["nominal_at"] is not None and datetime.fromisoformat(run["nominal_at"]) > since:
            created, nominal = (datetime.fromisoformat(run[name]) for name in ("created_at", "nominal_at"))
            found.append((created - nominal).total_seconds())
    return found


# --- outsiders -----------------------------------------------------------------------------------


async def _measure_outsiders(result: Result, served: Served) -> None:
    log = served.folder / "serve.log"
    await _use(served)
    before, logged = _resident(served.hub_pid), log.stat().st_size
    health: list[float] = []
    async with contextlib.AsyncExitStack() as outside:
        for number in range(HALF_OPEN):
            await outside.enter_async_context(_half_open(served.port, number))
        pouring = [asyncio.create_task(_pour(served.port, number)) for number in range(ENDLESS)]
        most = 0.0
        for _ in range(60):
            health.append(await _health(served))
            most = max(most, _resident(served.hub_pid) - before)
            await asyncio.sleep(0.5)
        for task in pouring:
            task.cancel()
        await asyncio.gather(*pouring, return_exceptions=True)
    what = f"{HALF_OPEN:,} half headers and {ENDLESS} endless bodies:"
    slowest = max(health)
    result.add(
        f"{what} /healthz",
        f"{slowest:.0f} ms at most (median {statistics.median(health):.0f})",
        f"≤ {BESIEGED_HEALTH_MS:.0f} ms",
        slowest <= BESIEGED_HEALTH_MS,
    )
    result.add("memory meanwhile", f"+{most:.1f} MiB", f"≤ +{OUTSIDERS_MIB:.0f} MiB", most <= OUTSIDERS_MIB)
    grown = (log.stat().st_size - logged) / 1024
    result.add("the log meanwhile", f"+{grown:.1f} KiB", f"≤ {LOG_KIB:.0f} KiB", grown <= LOG_KIB)


@contextlib.asynccontextmanager
async def _half_open(port: int, number: int) -> AsyncIterator[None]:
    """A connection with half a header, from one of ten addresses."""
    source = (f"127.0.0.{2 + number % 10}", 0)
    _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source)
    with contextlib.suppress(OSError):
        writer.write(b"GET /healthz HTTP/1.1\r\nX-Half: ")
    try:
        yield
    finally:
        writer.close()


async def _use(served: Served) -> None:
    """Have everything done once that is measured beside strangers: what a hub needs for that, it keeps."""
    for path in ("/login", "/api/v1/runs", "/agent/v1/bulk/nosuchticket", "/setup"):
        await _refused(served.port, path)
    run = await asyncio.to_thread(served.call, "runs", {"task": "backup", "job": "often"})
    await asyncio.to_thread(await_fact, lambda: served.call(f"runs/{run['id']}")["state"] == "done", 600, 0.2)
    async with _stream(served):
        await _health(served)


async def _refused(port: int, path: str) -> None:
    """A request that is refused for its size."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999\r\n\r\n".encode())
    await reader.read()
    writer.close()


async def _pour(port: int, number: int) -> None:
    """A body that does not end, again and again."""
    path = ("/agent/v1/bulk/nosuchticket", "/login", "/api/v1/runs", "/setup")[number % 4]
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            writer.write(head.encode())
            while not writer.is_closing():
                writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                await writer.drain()
        await asyncio.sleep(0.1)


# --- listeners -----------------------------------------------------------------------------------


async def _measure_streams(result: Result, served: Served, count: int) -> None:
    await _use(served)
    before = _resident(served.hub_pid)
    async with contextlib.AsyncExitStack() as listening:
        for _ in range(count):
            await listening.enter_async_context(_stream(served))
        await asyncio.sleep(5)
        health = [await _health(served) for _ in range(40)]
        more = _resident(served.hub_pid) - before
    result.add(
        f"{count:,} streams of what changes",
        f"+{more:.1f} MiB",
        f"≤ +{STREAMS_MIB:.0f} MiB",
        more <= STREAMS_MIB,
    )
    _add_health(result, "/healthz meanwhile", health, HEALTH_MS)


@contextlib.asynccontextmanager
async def _stream(served: Served) -> AsyncIterator[None]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    head = f"GET /api/v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {served.authorization}\r\n\r\n"
    writer.write(head.encode())
    assert b"200" in await reader.readline()
    try:
        yield
    finally:
        writer.close()


# --- looking -------------------------------------------------------------------------------------


async def _health(served: Served) -> float:
    """Milliseconds that /healthz takes."""
    begun = time.monotonic()
    await asyncio.to_thread(_get, f"{served.url}/healthz")
    return (time.monotonic() - begun) * 1000


def _get(url: str) -> None:
    with urllib.request.urlopen(url, timeout=60) as answer:
        json.load(answer)


def _add_health(result: Result, what: str, found: list[float], most: float) -> None:
    p95 = statistics.quantiles(found, n=20)[-1]
    told = f"p95 {p95:.0f} ms (median {statistics.median(found):.0f}, {len(found)} times)"
    result.add(what, told, f"p95 ≤ {most:.0f} ms", p95 <= most)


def _resident(pid: int) -> float:
    told = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in told.splitlines() if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    main()
