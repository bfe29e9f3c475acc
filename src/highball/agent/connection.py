"""The agent's line to its hub: dial, prove, report what is here, carry out what comes, forward what happens.

The line may break at any time: runs go on without it, and after each greeting everything that the hub has not
acknowledged is told again. Only what is on disk counts; nothing that matters lives in this process alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import random
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedOK, InvalidHandshake, WebSocketException

from highball import __version__
from highball.agent import veto
from highball.agent.host_policy import load_policy
from highball.agent.identity import Identity, Invitation, Membership
from highball.agent.query import responder
from highball.agent.run_archive import RunArchive
from highball.agent.supervisor import (
    MOST_STARTS,
    Carrier,
    Carriers,
)
from highball.engine.base import Engine
from highball.engine.kinds import ENGINES
from highball.errors import HighballError, NotAllowed, ProgramMissing, StateUnusable
from highball.place.local import LOCAL
from highball.protocol.handshake import (
    AuthenticatedLine,
    Conversation,
    Exchange,
    Packer,
)
from highball.protocol.queries import (
    Browse,
    Measure,
    Question,
    TestSources,
)
from highball.protocol.wire import (
    HEARTBEAT,
    LARGEST_FRAME,
    VERSIONS,
    Acknowledged,
    Answer,
    Ask,
    Assign,
    Body,
    CancelRun,
    Challenge,
    Declined,
    Enrol,
    Enrolled,
    Envelope,
    Events,
    Heartbeat,
    Hello,
    Inventory,
    Misunderstood,
    ProgressSeen,
    Refusal,
    RunHeld,
    RunsWanted,
    Secrets,
    SecretsWanted,
    StopAsking,
    Taken,
    Unsupported,
    Welcome,
    proof_text,
    read,
    spell,
)

LOOK_SECONDS = 0.2
"""How often run directories are looked at for something new."""

GREETING_SECONDS = 15
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
PING_SECONDS = 20.0
"""How often the line is tried, and how long an answer is waited for: its other end may be gone unheard."""
CAPABILITIES = (
    *(engine.words.name for engine in ENGINES),
    "hooks",
    "prune-after-forget",
    "sealed-secrets",
    "hub-copy",
    "differences",
    "restore-plans",
    "flows",
    "measures",
    "names",
    "keys",
    "places",
    "retention-rules",
    "streams",
    "command-variables",
)
PROCESS = secrets.token_hex(8)
"""Tells this process from another that uses a copy of the same key."""

LARGEST_ANSWER = LARGEST_FRAME * 3 // 4


class Link:
    """One agent's line to its hub."""

    def __init__(self, state: Path, tell: Callable[[str], None] = lambda words: None):
        self._state = state
        self._tell = tell
        self._identity = Identity(state / "agent")
        self._kept = RunArchive(state / "kept")
        self._carriers = Carriers(state, self._kept)
        self._asks: dict[str, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[None]] = set()
        self._line: AuthenticatedLine | None = None

    async def keep(self) -> None:
        """Stay linked for as long as this process lives."""
        pause = FIRST_PAUSE
        while True:
            begun = time.monotonic()
            try:
                await self._be_linked()
            except NotAllowed as error:
                what_to_do = f" ({error.hint})" if error.hint else ""
                self._tell(f"the hub refuses this agent: {error.message}{what_to_do}")
            except (HighballError, OSError, WebSocketException, InvalidHandshake, ValueError) as error:
                self._tell(f"not linked: {error or type(error).__name__}")
            if time.monotonic() - begun > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            await asyncio.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311 - no secret
            pause = min(pause * 2, LONGEST_PAUSE)

    # --- greeting ---

    async def _be_linked(self) -> None:
        membership, invitation = self._identity.membership, self._identity.invitation
        if invitation is None and membership is None:
            raise NotAllowed("it has not joined a hub, and has no invitation", code="not_enrolled")
        hub = (invitation or membership).hub  # type: ignore[union-attr]
        async with _dial(hub) as socket:
            try:
                async with asyncio.timeout(GREETING_SECONDS):
                    membership, conversation = await self._greet(socket, membership, invitation)
            except NotAllowed as error:
                if membership is not None and error.code == "invitation_invalid":
                    self._identity.drop_invitation()  # and dial as whom it is
                raise
            line = self._line = AuthenticatedLine(_HubSocket(socket), conversation)
            self._tell(f"linked to {membership.hub} as {membership.host}")
            try:
                await self._work(line)
            finally:
                self._line = None
                for task in [*self._asks.values(), *self._others]:
                    task.cancel()

    async def _greet(
        self, socket: ClientConnection, membership: Membership | None, invitation: Invitation | None
    ) -> tuple[Membership, Conversation]:
        challenge = _demand(_read_greeting(await socket.recv()), Challenge)
        if invitation is not None:
            enrol = Enrol(token=invitation.token, public_key=self._identity.public_key)
            await socket.send(spell(enrol))
            enrolled = _demand(read(await socket.recv()), Enrolled)
            membership = Membership(hub=invitation.hub, host=enrolled.host, hub_key=enrolled.hub_key)
            self._identity.join(membership)
        assert membership is not None
        nonce, exchange = secrets.token_bytes(32), Exchange()
        hello = Hello(
            host=membership.host,
            nonce=nonce,
            share=exchange.share,
            proof=self._identity.prove(membership.host, challenge, nonce, exchange.share),
            program=__version__,
            versions=VERSIONS,
            capabilities=CAPABILITIES,
            facts=await asyncio.to_thread(_facts, self._state),
        )
        await socket.send(spell(hello))
        welcome = _demand(read(await socket.recv()), Welcome)
        self._identity.demand_hub(membership, welcome.proof, challenge, nonce, exchange.share)
        keys = exchange.agree(
            challenge.share, proof_text("agent", membership.host, challenge, nonce, exchange.share)
        )
        return membership, Conversation.of_agent(keys)

    # --- while linked ---

    async def _work(self, line: AuthenticatedLine) -> None:
        self._kept.sweep()
        for carrier in self._carriers:
            carrier.hold_back()
            carrier.wanting = False
            await self._tell_of(carrier)
        await self._tell_what_is_here()
        loops = [asyncio.create_task(loop) for loop in (self._listen(line), self._forward(), self._beat())]
        try:
            ended, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            await next(iter(ended))
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def _tell_of(self, carrier: Carrier) -> None:
        await self._say(RunHeld(assignment=carrier.directory.assignment, last_seq=carrier.last_seq))

    async def _tell_what_is_here(self) -> None:
        here = tuple(carrier.run for carrier in self._carriers)
        await self._say(Inventory(runs=here, kept=self._kept.last_seqs()))

    async def _say(self, body: Body, re: str | None = None) -> None:
        if self._line is not None:
            await self._line.send(spell(body, re=re))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT.total_seconds())
            await self._say(Heartbeat())

    async def _listen(self, line: AuthenticatedLine) -> None:
        while True:
            text = await line.receive()
            try:
                message = read(text)
            except Misunderstood as error:
                await self._refuse(error)
                continue
            if message.body is None:
                await self._say(Unsupported(name=message.type), re=message.id)
            else:
                await self._answer(message)

    async def _refuse(self, error: Misunderstood) -> None:
        """Answer what is not understood, so that nobody waits for it and nothing else suffers."""
        words = (
            f"this agent ({__version__}) does not understand what the hub sent: update the older of the two"
        )
        if error.type == Ask.type:
            told = {"code": "unsupported", "message": words, "hint": None}
            await self._say(Answer(error=told), re=error.id)
        elif error.type == Assign.type and error.run is not None:
            await self._say(Declined(run=error.run, code="unsupported", message=words))
        else:
            await self._say(Unsupported(name=error.type), re=error.id)

    async def _answer(self, message: Envelope) -> None:
        match message.body:
            case Assign() as assign:
                await self._take(assign)
            case CancelRun(run=run):
                if (carrier := self._carriers.find(run)) is not None:
                    carrier.directory.request_cancel()
            case Acknowledged(run=run, seq=seq):
                self._note_acknowledged(run, seq)
            case RunsWanted(runs=runs):
                await self._tell_again(runs)
            case Secrets(run=run, secrets=values):
                if (carrier := self._carriers.find(run)) is not None:
                    await asyncio.to_thread(carrier.start, values)
            case Ask() as ask:
                task = asyncio.create_task(self._reply(message.id, ask))
                self._asks[message.id] = task
                task.add_done_callback(lambda _, id=message.id: self._asks.pop(id, None))  # type: ignore[misc]
            case StopAsking() if message.re in self._asks:
                self._asks[message.re].cancel()

    # --- runs ---

    async def _take(self, assign: Assign) -> None:
        run = assign.assignment.run
        missing = sorted(set(assign.needs) - set(CAPABILITIES))
        if missing:
            words = f"this agent ({__version__}) cannot do {', '.join(missing)}: update it"
            await self._say(Declined(run=run, code="unsupported", message=words))
            return
        try:
            carrier = self._carriers.take(assign.assignment)
            if carrier.directory.ended:  # the hub lost what it knew of it
                await self._tell_of(carrier)
            else:
                await asyncio.to_thread(carrier.start, assign.secrets)
        except HighballError as error:
            await self._say(Declined(run=run, code=error.code, message=error.message))
        except OSError as error:
            await self._say(Declined(run=run, code="not_started", message=f"cannot be started: {error}"))
        else:
            await self._say(Taken(run=run))

    async def _tell_again(self, runs: Mapping[str, int]) -> None:
        """Runs that the hub had and lost, from where it knows them; then what is here, as after a greeting."""
        for run, known in runs.items():
            carrier = self._carriers.bring_back(run)
            if carrier is not None:
                await self._tell_of(carrier)
                carrier.note_acknowledged(known)
                await self._forward_from(carrier)
        await self._tell_what_is_here()

    def _note_acknowledged(self, run: str, seq: int) -> None:
        carrier = self._carriers.find(run)
        if carrier is not None:
            carrier.note_acknowledged(seq)

    async def _forward(self) -> None:
        while True:
            for carrier in self._carriers:
                await self._forward_from(carrier)
            await asyncio.sleep(LOOK_SECONDS)

    async def _forward_from(self, carrier: Carrier) -> None:
        if not carrier.ready:
            return
        while events := carrier.read_on():
            await self._say(Events(run=carrier.run, events=tuple(events)))
        if (progress := carrier.read_progress()) is not None:
            await self._say(ProgressSeen(run=carrier.run, progress=progress))
        if carrier.alive:
            return
        if carrier.finished:
            self._carriers.put_by(carrier)
        elif not carrier.directory.ended and not carrier.wanting:
            await self._start_anew(carrier)

    async def _start_anew(self, carrier: Carrier) -> None:
        """A run's process vanished, or never began: the next one settles the run, or begins."""
        if not carrier.directory.has_room:  # each would die of that, and the run's true end not be told
            if carrier.last_seq == 0 and self._carriers.drop(carrier):
                message = f"the disk of {self._state} is full: not started"
                await self._say(Declined(run=carrier.run, code="state_full", message=message))
            return
        if carrier.starts < MOST_STARTS:
            carrier.wanting = True
            await self._say(SecretsWanted(run=carrier.run))
        else:
            carrier.give_up()

    # --- asks ---

    async def _reply(self, id: str, ask: Ask) -> None:
        try:
            async with asyncio.timeout(ask.seconds):
                answer = await self._find_answer(ask)
        except TimeoutError:
            message = f"no answer within {ask.seconds:.0f} s"
            answer = Answer(error={"code": "timeout", "message": message, "hint": None})
        text = spell(answer, re=id)
        if len(text) > LARGEST_ANSWER and ask.ticket is not None:
            if self._line is not None:
                await asyncio.to_thread(self._post, ask.ticket, self._line.key_of(ask.ticket), text)
        elif self._line is not None:
            await self._line.send(text)

    async def _find_answer(self, ask: Ask) -> Answer:
        try:
            if isinstance(ask.question, Browse | TestSources):
                return Answer(value=await asyncio.to_thread(self._look, ask.question))
            if isinstance(ask.question, Measure):  # long, and to be given up when nobody waits
                await asyncio.to_thread(self._demand, ask.question)
            return await self._ask_beside(ask)
        except HighballError as error:
            return Answer(error=responder.spell_error(error))

    def _look(self, question: Browse | TestSources) -> Any:
        self._demand(question)
        return responder.answer(question)

    def _demand(self, question: Question) -> None:
        veto.demand(load_policy(self._state), question)

    async def _ask_beside(self, ask: Ask) -> Answer:
        """Put the question to a process of its own; it ends with us, and when nobody waits any more."""
        membership = self._identity.membership
        assert membership is not None
        told = {"state": os.fspath(self._state), "hub": membership.hub, "ask": ask.model_dump(mode="json")}
        if ask.ticket is not None and self._line is not None:
            told["ticket_key"] = self._line.key_of(ask.ticket).hex()
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "highball.agent.query"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, errors = await child.communicate(json.dumps(told).encode())
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            raise
        try:
            return Answer.model_validate_json(out)
        except ValueError:
            last = errors.decode(errors="replace").strip().splitlines()[-1:]
            message = f"the agent failed to answer: {''.join(last)[:300]}"
            return Answer(error={"code": "internal_error", "message": message, "hint": None})

    def _post(self, ticket: str, key: bytes, text: str) -> None:
        """Hand over what is larger than a frame, by the one-use ticket."""
        import urllib.request  # noqa: PLC0415 - an idle agent does without
        import zlib  # noqa: PLC0415

        membership = self._identity.membership
        assert membership is not None
        request = urllib.request.Request(  # noqa: S310 - the hub's own address
            f"{membership.hub}/agent/v1/bulk/{ticket}",
            Packer(key).pack(zlib.compress(text.encode())),
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=60):  # noqa: S310
            pass


class _HubSocket:
    """A WebSocket to the hub, as a line wants it."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, text: str) -> None:
        """Send one message; raises WebSocketException when the connection is gone."""
        await self._socket.send(text)

    async def receive(self) -> str:
        """The next message; raises OSError where the hub ended it, and WebSocketException where it broke."""
        try:
            text = await self._socket.recv()
        except ConnectionClosedOK:
            raise OSError("the hub closed the connection") from None
        return text if isinstance(text, str) else text.decode()

    async def close(self) -> None:
        """End it."""
        await self._socket.close()


@contextlib.asynccontextmanager
async def _dial(hub: str) -> AsyncIterator[ClientConnection]:
    address = "ws" + hub.removeprefix("http") + "/agent/v1/link"
    async with connect(
        address,
        max_size=4 * LARGEST_FRAME,
        ping_interval=PING_SECONDS,
        ping_timeout=PING_SECONDS,
        open_timeout=10,
        close_timeout=1,
        compression=None,
        proxy=None,
    ) as socket:
        yield socket


def _read_greeting(text: str | bytes) -> Envelope:
    try:
        return read(text)
    except Misunderstood:
        raise NotAllowed(
            f"this agent ({__version__}) does not understand how the hub greets it: update the older of the two",
            code="protocol_unknown",
        ) from None


def _demand(message: Envelope, kind: type[Any]) -> Any:
    """The body, if it is of this kind; raises NotAllowed with the hub's own words where it refuses."""
    if isinstance(message.body, Refusal):
        raise NotAllowed(message.body.message, code=message.body.code, hint=message.body.hint)
    if not isinstance(message.body, kind):
        raise ValueError(f"the hub said {message.type}, where {kind.type} was expected")
    return message.body


def _facts(state: Path) -> dict[str, Any]:
    return {
        **_find_programs(state),
        "os": platform.system().lower(),
        "machine": platform.machine(),
        "release": platform.release(),
        "hostname": platform.node(),
        "python": platform.python_version(),
        "pid": os.getpid(),
        "process": PROCESS,
        "boot_at": _read_boot_time(),
    }


def _find_programs(state: Path) -> dict[str, str | None]:
    """The version of each engine as it works here; None of one whose program is lacking, or too old."""
    return {engine.words.name: _find_program(engine, state) for engine in ENGINES}


def _find_program(engine: Engine, state: Path) -> str | None:
    try:
        return engine.demand_program(load_policy(state).of(engine.words.name), state / "cache", LOCAL)
    except (ProgramMissing, StateUnusable):
        return None


def _read_boot_time() -> float | None:
    try:
        line = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
        return float(line.split()[1])
    except (OSError, StopIteration, ValueError):
        return None
