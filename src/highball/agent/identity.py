"""Who an agent is: the hub it belongs to, its host, its key; and how both sides prove themselves.

`agent.json` says to which hub and as which host, `agent.key` is the Ed25519 key, both for the owner's eyes only.
The hub's public key is pinned when the agent enrols; afterwards no other hub is believed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import ValidationError

from highball.agent.private_file import write_privately
from highball.errors import NotAllowed, StateUnusable
from highball.model.fact import Fact
from highball.protocol.bounded_fields import Octets
from highball.protocol.wire import Challenge, proof_text

_Fact = TypeVar("_Fact", bound=Fact)


class Membership(Fact):
    """To which hub an agent belongs, and as which host."""

    hub: str
    """Its address, like http://127.0.0.1:8765."""
    host: str
    hub_key: Octets


class Invitation(Fact):
    """What an agent needs to enrol once."""

    hub: str
    token: str


class Identity:
    """An agent's key and membership, in its folder of the state."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._key = self._load_or_make_key()

    @property
    def public_key(self) -> bytes:
        """What the hub pins."""
        return self._key.public_key().public_bytes_raw()

    @property
    def membership(self) -> Membership | None:
        """The hub that this agent belongs to, if any; raises StateUnusable where the file makes no sense."""
        return self._read("agent.json", Membership)

    @property
    def invitation(self) -> Invitation | None:
        """The invitation that waits to be used, if any."""
        return self._read("invitation.json", Invitation)

    def join(self, membership: Membership) -> None:
        """Belong to this hub from now on; the invitation is used up."""
        write_privately(self._folder / "agent.json", membership.model_dump_json().encode())
        self.drop_invitation()

    def drop_invitation(self) -> None:
        """It is of no use any more."""
        (self._folder / "invitation.json").unlink(missing_ok=True)

    def prove(self, host: str, challenge: Challenge, nonce: bytes, share: bytes) -> bytes:
        """The agent's signature over what both sides said."""
        return self._key.sign(proof_text("agent", host, challenge, nonce, share))

    def demand_hub(
        self, membership: Membership, proof: bytes, challenge: Challenge, nonce: bytes, share: bytes
    ) -> None:
        """Raise NotAllowed where the other side is not the hub that was pinned."""
        try:
            Ed25519PublicKey.from_public_bytes(membership.hub_key).verify(
                proof, proof_text("hub", membership.host, challenge, nonce, share)
            )
        except (InvalidSignature, ValueError):
            raise NotAllowed(
                f"{membership.hub} is not the hub that this agent has joined", code="hub_changed"
            ) from None

    def _load_or_make_key(self) -> Ed25519PrivateKey:
        path = self._folder / "agent.key"
        try:
            return Ed25519PrivateKey.from_private_bytes(path.read_bytes())
        except FileNotFoundError:
            key = Ed25519PrivateKey.generate()
            write_privately(path, key.private_bytes_raw())
            return key
        except ValueError:
            raise StateUnusable(f"{path} does not contain an agent's key", code="agent_key_damaged") from None

    def _read(self, name: str, model: type[_Fact]) -> _Fact | None:
        path = self._folder / name
        try:
            return model.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            raise StateUnusable(f"{path} is not valid", code="agent_state_damaged") from None
