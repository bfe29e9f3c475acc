"""Writes restic's own repository format, fast: thousands of snapshots in a second, and no restic needed.

Only what `snapshots` and `forget --dry-run` read: config, one key (scrypt with N=2, so that it opens at once)
and snapshot files that point to a tree which is not there. The format is described in restic's design
document; everything is encrypted with AES-256-CTR and signed with Poly1305-AES, as restic itself does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

_POLYNOMIAL = "3da3358b4dc173"  # any irreducible polynomial of degree 53 will do


@dataclass(frozen=True, slots=True)
class _Keys:
    encrypt: bytes
    mac_k: bytes
    mac_r: bytes

    def seal(self, plain: bytes, nonce: bytes) -> bytes:
        """nonce ‖ ciphertext ‖ mac."""
        encryptor = Cipher(algorithms.AES(self.encrypt), modes.CTR(nonce)).encryptor()
        hidden = encryptor.update(plain) + encryptor.finalize()
        # ECB is Poly1305-AES's own definition: the nonce, one block, encrypted by itself.
        one_block = Cipher(algorithms.AES(self.mac_k), modes.ECB()).encryptor()
        return nonce + hidden + Poly1305.generate_tag(self.mac_r + one_block.update(nonce), hidden)


@dataclass(slots=True)
class WrittenRepository:
    """A repository on disk that every restic from 0.14 on opens with `password`."""

    path: Path
    password: str = "open sesame"
    seed: int = 0
    _random: random.Random = field(init=False)
    _keys: _Keys = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._keys = _Keys(*(self._random.randbytes(n) for n in (32, 16, 16)))
        for name in ("data", "index", "keys", "locks", "snapshots"):
            (self.path / name).mkdir(parents=True)
        self._write_key()
        config = {"version": 2, "id": self._random.randbytes(32).hex(), "chunker_polynomial": _POLYNOMIAL}
        (self.path / "config").write_bytes(self._seal(config))

    def add(
        self,
        at: datetime,
        *,
        host: str = "host",
        tags: Iterable[str] = (),
        paths: Iterable[str] = ("/data",),
    ) -> str:
        """Writes one snapshot with exactly this time and offset; its id."""
        snapshot = {
            "time": at.isoformat().replace("+00:00", "Z"),
            "tree": "0" * 64,
            "paths": list(paths),
            "hostname": host,
            "username": "somebody",
            "tags": list(tags),
        }
        sealed = self._seal(snapshot)
        snapshot_id = hashlib.sha256(sealed).hexdigest()
        (self.path / "snapshots" / snapshot_id).write_bytes(sealed)
        return snapshot_id

    def _seal(self, value: object) -> bytes:
        # Format 2 allows compression here and recognises plain JSON by its first character.
        return self._keys.seal(json.dumps(value).encode(), self._random.randbytes(16))

    def _write_key(self) -> None:
        salt = self._random.randbytes(64)
        derived = hashlib.scrypt(self.password.encode(), salt=salt, n=2, r=8, p=1, dklen=64)
        opened_by_password = _Keys(derived[:32], derived[32:48], derived[48:])
        master = {
            "mac": {"k": _base64(self._keys.mac_k), "r": _base64(self._keys.mac_r)},
            "encrypt": _base64(self._keys.encrypt),
        }
        sealed = opened_by_password.seal(json.dumps(master).encode(), self._random.randbytes(16))
        key = {
            "created": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
            "username": "somebody",
            "hostname": "host",
            "kdf": "scrypt",
            "N": 2,
            "r": 8,
            "p": 1,
            "salt": _base64(salt),
            "data": _base64(sealed),
        }
        content = json.dumps(key).encode()
        (self.path / "keys" / hashlib.sha256(content).hexdigest()).write_bytes(content)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
