"""How hub and agent agree on keys when they greet, and know each other's messages by them afterwards.

Each makes a key pair for one connection (X25519) and signs both shares and both nonces with the key by which the
other knows it (`protocol.proof_text`). What comes of it is a key for each direction. Every later message carries a code
under its direction's key over its number and its text, so whoever only passes bytes on can neither add, change, leave
out, repeat nor reorder one. It hides nothing: that is what TLS is for.
"""

from __future__ import annotations

import asyncio
import hmac
import struct
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

CODE_BYTES = 32
"""The length of a code (HMAC with SHA-256)."""


LONGEST_RECORD = 64 * 1024
"""So much of what is posted by a ticket bears one code."""


class Tampered(ValueError):
    """A message does not come from the other side, or not in its turn."""


@dataclass(frozen=True)
class SessionKeys:
    """The keys of one connection, one for what each side says."""

    of_hub: bytes
    of_agent: bytes


class Exchange:
    """One side's part of the key exchange of one connection."""

    def __init__(self) -> None:
        self._key = X25519PrivateKey.generate()

    @property
    def share(self) -> bytes:
        """What the other side is told, 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    def agree(self, theirs: bytes, signed: bytes) -> SessionKeys:
        """The keys that come of both shares, bound to what was signed; raises ValueError for what is no share."""
        secret = self._key.exchange(X25519PublicKey.from_public_bytes(theirs))
        both = HKDF(SHA256(), 2 * CODE_BYTES, salt=signed, info=b"highball link 2").derive(secret)
        return SessionKeys(of_hub=both[:CODE_BYTES], of_agent=both[CODE_BYTES:])


class Codes:
    """The codes of what one side says, in the order in which it says it."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._number = 0

    def of(self, said: bytes) -> bytes:
        """The code of what is said next."""
        number = self._number.to_bytes(8, "big")
        self._number += 1
        return hmac.digest(self._key, number + said, "sha256")

    def check(self, code: bytes, said: bytes) -> None:
        """Raise Tampered unless this is what is said next."""
        if not hmac.compare_digest(code, self.of(said)):
            raise Tampered("a message is not of the other side, or not in its turn")


class Conversation:
    """The messages of both sides of a connection: what we say is given a code, what they say is held against theirs."""

    def __init__(self, ours: bytes, theirs: bytes, of_agent: bytes) -> None:
        self._ours = Codes(ours)
        self._theirs = Codes(theirs)
        self._of_agent = of_agent

    @classmethod
    def of_hub(cls, keys: SessionKeys) -> Conversation:
        """As the hub has it."""
        return cls(keys.of_hub, keys.of_agent, keys.of_agent)

    @classmethod
    def of_agent(cls, keys: SessionKeys) -> Conversation:
        """As the agent has it."""
        return cls(keys.of_agent, keys.of_hub, keys.of_agent)

    def seal(self, text: str) -> str:
        """A message with its code before it."""
        return self._ours.of(text.encode()).hex() + text

    def open(self, sealed: str) -> str:
        """What the other side said; raises Tampered."""
        code, text = sealed[: 2 * CODE_BYTES], sealed[2 * CODE_BYTES :]
        try:
            told = bytes.fromhex(code)
        except ValueError:
            raise Tampered("a message bears no code") from None
        self._theirs.check(told, text.encode())
        return text

    def key_of(self, ticket: str) -> bytes:
        """The key of what the agent posts by a ticket."""
        return hmac.digest(self._of_agent, b"bulk " + ticket.encode(), "sha256")


class Socket(Protocol):
    """A connection that carries texts whole and in their order, whoever made it."""

    async def send(self, text: str) -> None:
        """Send one message; raises OSError when the connection is gone."""

    async def receive(self) -> str:
        """The next message; raises OSError when the connection is gone."""

    async def close(self) -> None:
        """End it."""


class AuthenticatedLine:
    """A connection after the greeting: every message bears a code of whoever said it."""

    def __init__(self, socket: Socket, conversation: Conversation) -> None:
        self._socket = socket
        self._conversation = conversation
        self._turn = asyncio.Lock()

    async def send(self, text: str) -> None:
        """Say something; raises OSError."""
        await asyncio.shield(self._send(text))  # who leaves takes no number away, or the next is not believed

    async def _send(self, text: str) -> None:
        async with self._turn:  # they are sent in the order of their numbers
            await self._socket.send(self._conversation.seal(text))

    async def receive(self) -> str:
        """What the other side says; raises OSError, and Tampered where it is not theirs, or not in its turn."""
        return self._conversation.open(await self._socket.receive())

    async def close(self) -> None:
        """End it."""
        await self._socket.close()

    def key_of(self, ticket: str) -> bytes:
        """The key of what the agent posts by a ticket."""
        return self._conversation.key_of(ticket)

    def unpacker(self, ticket: str) -> Unpacker:
        """What reads that which the agent posts by a ticket."""
        return Unpacker(self._conversation.key_of(ticket))


# --- what is posted by a ticket ------------------------------------------------------------------

_HEAD = struct.Struct(f"!I{CODE_BYTES}s")


class Packer:
    """Makes records, each with its code, of what is posted piece by piece."""

    def __init__(self, key: bytes) -> None:
        self._codes = Codes(key)

    def pack(self, data: bytes) -> bytes:
        """One record for each LONGEST_RECORD bytes."""
        pieces = [data[at : at + LONGEST_RECORD] for at in range(0, len(data), LONGEST_RECORD)]
        return b"".join(_HEAD.pack(len(piece), self._codes.of(piece)) + piece for piece in pieces)


class Unpacker:
    """Reads records again, however they are cut on their way; nothing is passed on before its code was right."""

    def __init__(self, key: bytes) -> None:
        self._codes = Codes(key)
        self._waiting = bytearray()

    def feed(self, piece: bytes) -> bytes:
        """What is whole by now; raises Tampered."""
        self._waiting += piece
        whole = bytearray()
        while len(self._waiting) >= _HEAD.size:
            length, code = _HEAD.unpack_from(self._waiting)
            if length > LONGEST_RECORD:
                raise Tampered("a record is too long")
            end = _HEAD.size + length
            if len(self._waiting) < end:
                break
            data = bytes(self._waiting[_HEAD.size : end])
            self._codes.check(code, data)
            whole += data
            del self._waiting[:end]
        return bytes(whole)
