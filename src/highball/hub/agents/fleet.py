"""The agents: who may connect, who is connected, and what is said between hub and agent.

A run is never bound to a connection: what an agent reports goes into the record by its number, and is
acknowledged once it is there. Asks are answered or not; they leave no trace.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from highball.errors import Busy, Failed, HighballError, NotAllowed, StateUnusable, Unknown
from highball.hub.agents.connected import Connection, is_alive, not_connected, stop_asking
from highball.hub.agents.pending_queries import AGAIN_IN, Questions
from highball.hub.agents.refusals import (
    Refusals,
    is_told,
    quote,
)
from highball.hub.agents.transfers import Bulk, Flow, TooLarge, next_piece, unpack_answer
from highball.hub.audit import Actor, write_down
from highball.hub.bus.base import Bus, Present
from highball.hub.document.rename import FormerKeys
from highball.hub.runs.record import utc_now
from highball.hub.secrets.handouts import HandOuts
from highball.hub.storage.database import Database
from highball.hub.storage.schema import agents, enrolments
from highball.protocol.handshake import (
    AuthenticatedLine,
    Conversation,
    Exchange,
    Socket,
)
from highball.protocol.queries import Flowing, Question, needs_of
from highball.protocol.wire import (
    OFFLINE_AFTER,
    VERSIONS,
    Answer,
    Ask,
    Assign,
    CancelRun,
    Challenge,
    Enrol,
    Enrolled,
    Envelope,
    Heartbeat,
    Hello,
    Misunderstood,
    Refusal,
    StopAsking,
    Unsupported,
    Welcome,
    proof_text,
    read,
    spell,
)

GREETING_SECONDS = 15
ENROLMENT = timedelta(hours=1)
FLOW = timedelta(days=2)
"""So long a flow may take: as long as whoever reads it."""
LAST_WORDS_SECONDS = 5.0

FLOWS_AT_ONCE = 4
"""So many contents does a host send at a time."""

LARGEST_GREETING = 16 * 1024

_LOG = logging.getLogger(__name__)

TWIN_KNOWN_FOR = timedelta(minutes=5)
"""A second agent with the same key dials at least once a minute: one that did not for so long has gone."""


@dataclass(frozen=True)
class Twin:
    """A second agent that dials with the key of one that is here: its machine or its state was copied."""

    since: datetime
    seen_at: datetime
    hostname: str
    """What its machine calls itself."""


OnMessage = Callable[[Connection, Envelope], Awaitable[None]]
OnChange = Callable[[str], None]


class Fleet:
    """The agents of this hub."""

    def __init__(
        self,
        database: Database,
        key: Ed25519PrivateKey,
        former_keys: Callable[[], FormerKeys],
        bus: Bus,
        on_message: OnMessage,
        on_change: OnChange,
    ) -> None:
        self._database = database
        self._key = key
        self._former_keys = former_keys
        self._bus = bus
        self._on_message = on_message
        self._on_change = on_change
        self.handouts = HandOuts(database)
        self.offline_after = OFFLINE_AFTER
        """A connection on which nothing was said for so long is given up: its other end may be gone unheard."""
        self._connections: dict[str, Connection] = {}
        self._tickets: dict[str, Bulk] = {}
        self._seen: dict[str, datetime] = {}
        self.met: set[str] = set()
        """The hosts whose agents have been here since this hub began to serve."""
        self._twins: dict[str, Twin] = {}
        self._flows: dict[str, Flow] = {}
        self._strangers: Counter[str] = Counter()
        """How often somebody was not let in, by the codes of the errors."""
        self.refusals = Refusals(database)
        self._reading: set[Flow] = set()
        self._questions = Questions()
        self._unpacking = ThreadPoolExecutor(1, thread_name_prefix="answers")
        """Answers are unpacked one after the other: each may be large, and the database does not wait for it."""
        self._last_words: set[asyncio.Task[None]] = set()

    def sign(self, text: bytes) -> bytes:
        """The hub's signature."""
        return self._key.sign(text)

    def is_signed(self, text: bytes, signature: bytes) -> bool:
        """Whether the hub signed this."""
        return _is_signed_by(self._key.public_key(), text, signature)

    # --- who is there ---

    def find(self, host: str) -> Connection | None:
        """The connection of a host's agent, if it is there now."""
        return self._connections.get(host)

    def find_skew(self, host: str) -> timedelta | None:
        """How far the clock of a host's agent is from ours, where it is connected."""
        connection = self.find(host)
        return connection.skew if connection else None

    @property
    def here(self) -> frozenset[str]:
        """The hosts whose agents are connected, those too that have not told yet what they hold."""
        return frozenset(self._bus.presence.here)

    @property
    def connected(self) -> set[str]:
        """The hosts whose agents are connected and have told what they hold."""
        return {host for host, present in self._bus.presence.here.items() if present.has_reported}

    def list_twins(self, now: datetime) -> dict[str, Twin]:
        """The hosts as which a second agent dials, and what is known of that one."""
        return {host: twin for host, twin in self._twins.items() if now - twin.seen_at < TWIN_KNOWN_FOR}

    def list_enrolled(self) -> list[str]:
        """The hosts that have an agent."""
        with self._database.read() as connection:
            return list(connection.execute(sa.select(agents.c.host).order_by(agents.c.host)).scalars())

    def list_seen(self) -> dict[str, datetime | None]:
        """The hosts that have an agent, and when it was last there."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(agents.c.host, agents.c.seen_at))
            return {row.host: row.seen_at for row in rows}

    def find_facts(self, host: str) -> Mapping[str, Any]:
        """What the agent of a host told of it when it was last here."""
        with self._database.read() as connection:
            told = connection.execute(sa.select(agents.c.facts).where(agents.c.host == host)).scalar()
        return told or {}

    def invite(self, host: str, actor: Actor, now: datetime) -> str:
        """A one-time token by which an agent becomes this host's within ENROLMENT; a former one is replaced then."""
        token = secrets.token_urlsafe(32)
        with self._database.write() as connection:
            connection.execute(
                enrolments.insert().values(
                    token=_digest(token),
                    purpose="agent",
                    subject=host,
                    expires_at=now + ENROLMENT,
                    actor=actor.name,
                )
            )
            write_down(connection, actor, "invited", now, kind="host", key=host)
        return token

    async def shut_out(self, host: str, actor: Actor, now: datetime) -> None:
        """Let nobody be this host's agent until one joins by another invitation; raises Unknown where nobody is."""
        await asyncio.to_thread(self._strike, host, actor, now)
        connection = self._connections.get(host)
        if connection is not None:
            with contextlib.suppress(OSError):
                await connection.socket.close()
        self._twins.pop(host, None)
        self._on_change(host)

    def _strike(self, host: str, actor: Actor, now: datetime) -> None:
        former = self._former_keys()  # an invitation names its host by the key of when it was made
        with self._database.write() as connection:
            if not connection.execute(agents.delete().where(agents.c.host == host)).rowcount:
                raise Unknown(f"{host} has no agent", code="agent_unknown", hint="see them under Hosts")
            invitations = enrolments.c.purpose == "agent"
            invited = connection.execute(sa.select(enrolments.c.subject).where(invitations)).scalars().all()
            its = [subject for subject in invited if former.now("host", subject) == host]
            connection.execute(enrolments.delete().where(invitations, enrolments.c.subject.in_(its)))
            write_down(connection, actor, "shut_out", now, kind="host", key=host)

    # --- one connection ---

    async def serve(self, socket: Socket, proved: Callable[[], None] | None = None) -> None:
        """Greet an agent and listen to it until the connection ends; `proved` is called once it has proved its key."""
        try:
            async with asyncio.timeout(GREETING_SECONDS):
                connection = await self._greet(socket)
        except HighballError as error:
            self._log_stranger(error)
            with contextlib.suppress(OSError):
                await socket.send(spell(Refusal(code=error.code, message=error.message, hint=error.hint)))
            return
        except (TimeoutError, ValueError, OSError):
            return
        if proved is not None:
            proved()
        await self._replace(connection)
        if not await asyncio.to_thread(self.knows, connection.host, bytes.fromhex(connection.public_key)):
            self._forget(connection)  # it was shut out while it greeted
            return
        listening = asyncio.create_task(self._listen(connection))
        working = asyncio.create_task(self._work_off(connection))
        try:
            await asyncio.wait((listening, working), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():  # it has gone; what it said before that counts
                async with asyncio.timeout(LAST_WORDS_SECONDS):
                    await connection.mailbox.put(None)
                    await asyncio.wait((working,))
        except TimeoutError:
            pass
        finally:
            for task in (listening, working):
                task.cancel()
            for ended in await asyncio.gather(listening, working, return_exceptions=True):
                _tell_end(connection, ended)
            self._forget(connection)

    def _log_stranger(self, error: HighballError) -> None:
        """Say that somebody is not let in; not each time, for nobody may fill the log."""
        before = self._strangers[error.code]
        self._strangers[error.code] += 1
        if is_told(before, before + 1):
            # it chose some of the words
            _LOG.warning("an agent is refused (%s times by now): %s", before + 1, quote(error.message))

    async def _listen(self, connection: Connection) -> None:
        """Hear an agent until it has gone, whatever becomes of what it says."""
        while True:
            async with asyncio.timeout(self.offline_after.total_seconds()):
                text = await connection.socket.receive()
            connection.heard.set()
            try:
                message = read(text)
            except ValueError:
                with contextlib.suppress(StateUnusable):
                    why = "what it said is no message"
                    await asyncio.to_thread(self.refusals.add, connection.host, why, utc_now())
                raise
            await self._take(connection, message)

    async def _work_off(self, connection: Connection) -> None:
        """Take in what an agent tells, one after the other; no other agent waits for that."""
        while (message := await connection.mailbox.get()) is not None:
            if message.body is None:
                await connection.say(Unsupported(name=message.type), re=message.id)
            else:
                await self._hear(connection, message)

    async def _greet(self, socket: Socket) -> Connection:
        exchange = Exchange()
        challenge = Challenge(nonce=secrets.token_bytes(32), share=exchange.share)
        await socket.send(spell(challenge))
        message = _read_greeting(await socket.receive())
        if isinstance(message.body, Enrol):
            enrolled = await asyncio.to_thread(self._enrol, message.body, utc_now())
            await socket.send(spell(enrolled))
            message = _read_greeting(await socket.receive())
        hello = message.body
        if not isinstance(hello, Hello):
            raise NotAllowed("an agent says hello first", code="greeting_expected")
        now = utc_now()
        host, public_key = await asyncio.to_thread(self._demand_agent, hello, challenge)
        await self._demand_alone(host, hello, public_key)
        facts = {**hello.facts, "program": hello.program, "capabilities": list(hello.capabilities)}
        await asyncio.to_thread(self._note_seen, host, now, facts)
        said = (hello.host, challenge, hello.nonce, hello.share)
        keys = exchange.agree(hello.share, proof_text("agent", *said))
        await socket.send(spell(Welcome(proof=self._key.sign(proof_text("hub", *said)))))
        line = AuthenticatedLine(socket, Conversation.of_hub(keys))
        return Connection(host, line, hello, now, message.at - now, public_key=public_key)

    def _enrol(self, enrol: Enrol, now: datetime) -> Enrolled:
        """Let an agent be a host's. Whoever used the invitation is answered again: it may not have heard."""
        if len(enrol.public_key) != 32:
            raise NotAllowed("this is not an Ed25519 key", code="key_invalid")
        former, public_key = self._former_keys(), enrol.public_key.hex()
        with self._database.write() as connection:
            here = (enrolments.c.token == _digest(enrol.token)) & (enrolments.c.purpose == "agent")
            found = connection.execute(sa.select(enrolments).where(here)).first()
            host = "" if found is None else former.now("host", found.subject)
            if found is not None and found.used_at is None and found.expires_at >= now:
                connection.execute(enrolments.update().where(here).values(used_at=now))
                connection.execute(agents.delete().where(agents.c.host == host))
                told = {"host": host, "public_key": public_key}
                connection.execute(agents.insert().values(**told, enrolled_at=now, facts={}))
                write_down(connection, Actor(f"agent:{host}"), "enrolled", now, kind="host", key=host)
            elif found is None or found.used_at is None or not _is_agent(connection, host, public_key):
                raise NotAllowed(
                    "this invitation is unknown, used or too old",
                    code="invitation_invalid",
                    hint="make another in the hub, and use that one here: highball agent --join",
                )
        return Enrolled(host=host, hub_key=self._key.public_key().public_bytes_raw())

    def knows(self, host: str, public_key: bytes) -> bool:
        """Whether a host's agent is known by this key."""
        with self._database.read() as connection:
            return _is_agent(connection, host, public_key.hex())

    def _demand_agent(self, hello: Hello, challenge: Challenge) -> tuple[str, str]:
        """The host whose agent this is, and its public key; the agent names the host by the key of when it joined."""
        if hello.versions[0] > VERSIONS[1] or hello.versions[1] < VERSIONS[0]:
            raise NotAllowed(
                f"the agent speaks protocol {hello.versions[0]} to {hello.versions[1]}, and this hub"
                f" {VERSIONS[0]} to {VERSIONS[1]}: update the older of the two",
                code="protocol_unknown",
            )
        host = self._former_keys().now("host", hello.host)
        with self._database.read() as connection:
            known = connection.execute(sa.select(agents.c.public_key).where(agents.c.host == host)).scalar()
        if known is None or not _is_signed(hello, bytes.fromhex(known), challenge):
            raise NotAllowed(
                f"no agent of {hello.host} with this key is known here",
                code="agent_unknown",
                hint=f"invite {host} again in the hub, and use that invitation here: highball agent --join",
            )
        return host, str(known)

    async def _demand_alone(self, host: str, hello: Hello, public_key: str) -> None:
        """Refuse a second agent with the key of one that is here and answers: each would end the other's line,
        and what one of them runs the other knows nothing of. Where the first is gone, the newcomer takes its place."""
        former = self._connections.get(host)
        is_other = former is not None and former.public_key == public_key and _is_other(former.hello, hello)
        if former is None or not is_other or not await is_alive(former):
            if self._twins.pop(host, None) is not None:
                self._on_change(host)
            return
        now, here = utc_now(), _hostname(former.hello)
        known = self.list_twins(now).get(host)
        self._twins[host] = Twin(known.since if known else now, now, _hostname(hello))
        self._on_change(host)
        raise NotAllowed(
            f"another agent of {host} is here with the same key, on the machine that calls itself {here}",
            code="agent_twin",
            hint=f"this machine or its state was copied: if {host} is the other one, end this agent, remove the folder "
            "agent in its state, and let it join as a host of its own: highball agent --join",
        )

    def follow_keys(self, former: FormerKeys) -> None:
        """Know the agents that are here by the keys that their hosts have now."""
        self.met = {former.now("host", host) for host in self.met}
        self._twins = {former.now("host", host): twin for host, twin in self._twins.items()}
        for connection in self._connections.values():
            connection.host = former.now("host", connection.host)
        moved = {connection.host: connection for connection in self._connections.values()}
        for host in self._connections.keys() - moved.keys():
            self._bus.presence.leave(host)
        for host in moved.keys() - self._connections.keys():
            self._tell_presence(moved[host])
        self._connections = moved

    async def _replace(self, connection: Connection) -> None:
        former = self._connections.get(connection.host)
        self._connections[connection.host] = connection
        self._tell_presence(connection)
        self.met.add(connection.host)
        if former is not None:
            with contextlib.suppress(OSError):
                await former.socket.close()

    def _forget(self, connection: Connection) -> None:
        for future in connection.waiting.values():
            if not future.done():
                future.set_exception(not_connected(connection.host))
        if self._connections.get(connection.host) is connection:
            del self._connections[connection.host]
            self._bus.presence.leave(connection.host)
            self._on_change(connection.host)
        for ticket in [ticket for ticket, held in self._tickets.items() if held.connection is connection]:
            self._withdraw(ticket)

    def _tell_presence(self, connection: Connection) -> None:
        about = Present(connection.host, connection.since, has_reported=connection.reported)
        self._bus.presence.enter(about)

    def note_reported(self, connection: Connection) -> None:
        """An agent has told which runs it holds."""
        connection.reported = True
        if self._connections.get(connection.host) is connection:
            self._tell_presence(connection)

    async def _take(self, connection: Connection, message: Envelope) -> None:
        """Hand an answer to who waits for it; the rest comes in its turn, and answers and heartbeats pass it."""
        match message.body:
            case Answer() as answer:
                future = connection.waiting.get(message.re or "")
                if future is not None and not future.done():
                    future.set_result(answer)
            case Heartbeat():
                self._seen[connection.host] = utc_now()
            case _:
                await connection.mailbox.put(message)

    async def _hear(self, connection: Connection, message: Envelope) -> None:
        """Take in what an agent tells, unless something before it was lost: it would be told with a gap."""
        if connection.is_behind:
            return
        try:
            await self._on_message(connection, message)
        except (
            StateUnusable
        ) as error:  # what was not acknowledged is told again; questions are answered meanwhile
            connection.is_behind = True
            _LOG.error("what %s tells cannot be written down: %s", connection.host, error.message)

    async def catch_up(self) -> None:
        """Have everything told again that could not be written down, where something can be by now."""
        behind = [one for one in self._connections.values() if one.is_behind]
        if not behind:
            return
        has_room: bool = await asyncio.to_thread(self._note_seen, behind[0].host, utc_now())
        if has_room:
            for connection in behind:
                with contextlib.suppress(OSError):
                    await connection.socket.close()  # it dials again, and tells from where it was heard last

    def take_seen(self) -> Mapping[str, datetime]:
        """The hosts that were heard since this was asked last, and when; to be asked in the loop."""
        seen, self._seen = self._seen, {}
        return seen

    def note_seen(self, seen: Mapping[str, datetime]) -> None:
        """Write down when these hosts were heard last, all in one; not in the loop's own thread."""
        if not seen:
            return
        told = [{"of": host, "at": at} for host, at in seen.items()]
        change = agents.update().where(agents.c.host == sa.bindparam("of")).values(seen_at=sa.bindparam("at"))
        with contextlib.suppress(StateUnusable), self._database.write() as connection:
            connection.execute(change, told)

    def _note_seen(self, host: str, now: datetime, facts: dict[str, Any] | None = None) -> bool:
        """Whether it could be noted: where it could not, for a full disk, an agent is here all the same."""
        told = {"seen_at": now} if facts is None else {"seen_at": now, "facts": facts}
        try:
            with self._database.write() as connection:
                connection.execute(agents.update().where(agents.c.host == host).values(**told))
        except StateUnusable:
            return False
        return True

    # --- telling and asking ---

    async def assign(self, host: str, assign: Assign) -> None:
        """Hand a run to a host's agent; raises OSError and Unknown when it is not there."""
        connection = self._demand(host)
        await self.handouts.note(host, assign.secrets, assign.assignment.run)
        await connection.say(assign)

    async def cancel(self, host: str, run: str) -> None:
        """Ask a host's agent to end a run; raises OSError and Unknown when it is not there."""
        await self._demand(host).say(CancelRun(run=run))

    async def ask(
        self,
        host: str,
        question: Question,
        seconds: float = 30,
        values: dict[str, bytes] | None = None,
        *,
        patient: bool = False,
    ) -> Any:
        """The answer to a question; equal ones that are put at the same time share it.

        Raises what the agent raised, Failed when it is not there, and Busy where it is asked too much already: but who
        is patient waits for as long as it takes until it is asked. `seconds` begin then.
        """
        self._demand(host, question)
        what = _digest(f"{question.model_dump_json()} {seconds} {patient} {sorted((values or {}).items())}")
        return await self._questions.ask(
            host, what, lambda: self._put(host, question, seconds, values or {}), patient=patient
        )

    def begin_anew(self) -> None:
        """Agents told something: from now on nobody is answered by a look that began before."""
        self._questions.begin_anew()

    async def _put(self, host: str, question: Question, seconds: float, values: dict[str, bytes]) -> Any:
        connection = self._demand(host, question)
        await self.handouts.note(host, values or ())
        id, ticket = secrets.token_hex(16), secrets.token_urlsafe(24)
        future = connection.waiting[id] = asyncio.get_running_loop().create_future()
        self._tickets[ticket] = Bulk(connection, id, question.largest)
        try:
            async with asyncio.timeout(seconds + 5):
                await self._bus.tickets.issue(ticket)
                await connection.say(
                    Ask(question=question, seconds=seconds, ticket=ticket, secrets=values), id=id
                )
                answer: Answer = await future
        except TimeoutError:
            raise Failed(f"{host} did not answer within {seconds:.0f} s", code="timeout") from None
        except asyncio.CancelledError:
            with contextlib.suppress(OSError):
                await connection.say(StopAsking(), re=id)
            raise
        except OSError:
            raise not_connected(host) from None
        finally:
            connection.waiting.pop(id, None)
            self._withdraw(ticket)
        if answer.error is not None:
            raise _as_raised(answer.error)
        return answer.value

    async def read(
        self, host: str, question: Flowing, values: dict[str, bytes] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The answer to a question, piece by piece, no faster than it is read.

        Raises what the agent raised, before the first piece or where the answer is cut short.
        """
        connection = self._demand(host, question)
        if sum(flow.connection is connection for flow in self._reading) >= FLOWS_AT_ONCE:
            raise Busy(
                f"{host} sends {FLOWS_AT_ONCE} contents already",
                code="host_busy",
                hint="try again when one of them has come",
                wait_for=AGAIN_IN,
            )
        await self.handouts.note(host, values or ())
        id, ticket = secrets.token_hex(16), secrets.token_urlsafe(24)
        verdict = connection.waiting[id] = asyncio.get_running_loop().create_future()
        flow = self._flows[ticket] = Flow(connection)
        self._reading.add(flow)
        try:
            seconds = FLOW.total_seconds()
            ask = Ask(question=question, seconds=seconds, ticket=ticket, secrets=values or {})
            await self._bus.tickets.issue(ticket)
            await connection.say(ask, id=id)
            while (piece := await next_piece(flow, verdict)) is not None:
                yield piece
            answer: Answer = await verdict
        except OSError:
            raise not_connected(host) from None
        finally:
            connection.waiting.pop(id, None)
            self._withdraw(ticket)
            self._reading.discard(flow)
            flow.leave()
            if not verdict.done():  # whoever read it has gone, and nothing more may be waited for here
                task = asyncio.create_task(stop_asking(connection, id))
                self._last_words.add(task)
                task.add_done_callback(self._last_words.discard)
        if answer.error is not None:
            raise _as_raised(answer.error)

    async def redeem(self, ticket: str) -> Flow | Bulk | None:
        """What is awaited here from who has this ticket, once; None where nobody waits for that."""
        if await self._bus.tickets.redeem(ticket) != self._bus.name:
            return None
        return self._tickets.pop(ticket, None) or self._flows.pop(ticket, None)

    def _withdraw(self, ticket: str) -> None:
        self._bus.tickets.revoke(ticket)
        self._tickets.pop(ticket, None)
        self._flows.pop(ticket, None)

    async def take_bulk(self, bulk: Bulk, packed: bytes) -> None:
        """An answer that was larger than a frame; raises ValueError where it is larger than its question allows."""
        loop = asyncio.get_running_loop()
        try:
            message = await loop.run_in_executor(self._unpacking, unpack_answer, packed, bulk.largest)
        except TooLarge as error:
            bulk.refuse(str(error))
            raise
        await self._take(bulk.connection, message)

    def _demand(self, host: str, question: Question | None = None) -> Connection:
        connection = self._connections.get(host)
        if connection is None:
            raise not_connected(host)
        needed: frozenset[str] = frozenset() if question is None else needs_of(question)
        if not needed <= set(connection.hello.capabilities):
            raise Failed(
                f"the agent of {host} ({connection.hello.program}) does not know that question",
                code="unsupported",
                hint="update it",
            )
        return connection


def _tell_end(connection: Connection, ended: BaseException | None) -> None:
    """Say why a connection ended, where that is not just that its other end has gone."""
    if isinstance(ended, HighballError):
        _LOG.error("the connection to %s ends: %s", connection.host, ended.message)
    elif ended is not None and not isinstance(ended, asyncio.CancelledError | OSError | ValueError):
        _LOG.error("the connection to %s ends", connection.host, exc_info=ended)


def _as_raised(error: dict[str, Any]) -> HighballError:
    code, message = str(error.get("code", "failed")), str(error.get("message", "it failed"))
    kind = NotAllowed if code in ("path_unreadable", "not_allowed") else Failed
    return kind(message, code=code, hint=error.get("hint"))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _is_other(former: Hello, newer: Hello) -> bool:
    """Whether another process says hello; an older agent does not name its own, but its pid and its machine."""
    names = ("process",) if "process" in former.facts and "process" in newer.facts else ("hostname", "pid")
    return any(former.facts.get(name) != newer.facts.get(name) for name in names)


def _hostname(hello: Hello) -> str:
    """What an agent calls its machine, short enough for a sentence."""
    return ascii(str(hello.facts.get("hostname") or "unknown"))[1:-1][:64]


def _is_agent(connection: sa.Connection, host: str, public_key: str) -> bool:
    here = (agents.c.host == host) & (agents.c.public_key == public_key)
    return connection.execute(sa.select(agents.c.host).where(here)).first() is not None


def _read_greeting(text: str) -> Envelope:
    """What somebody says who has proved nothing; raises ValueError where that is more than a greeting needs."""
    if len(text) > LARGEST_GREETING:
        raise ValueError("too much is said before the greeting")
    try:
        return read(text)
    except Misunderstood:
        raise NotAllowed(
            "this hub does not understand how the agent greets it: update the older of the two",
            code="protocol_unknown",
        ) from None


def _is_signed(hello: Hello, public_key: bytes, challenge: Challenge) -> bool:
    text = proof_text("agent", hello.host, challenge, hello.nonce, hello.share)
    return _is_signed_by(Ed25519PublicKey.from_public_bytes(public_key), text, hello.proof)


def _is_signed_by(key: Ed25519PublicKey, text: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True
