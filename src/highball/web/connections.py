"""Connections before anybody has proved anything: how many there may be.

What is asked, and by whom, is the guard's affair, and how long one may take to ask, the protocols'; here an address
holds so many connections, and there are always files left for the hub's own work.
"""

from __future__ import annotations

import resource
from collections import Counter
from functools import lru_cache
from typing import Final

from highball.hub.auth.rate_limit import for_address

MOST_WITHOUT_REQUEST = 128
"""So many connections of an address may be waiting for their header."""

MOST_UNPROVED = 512
"""So many WebSockets of an address may be there without proof of an agent's key: a fleet comes back at once."""

PROVED: Final = "highball.proved"
"""The extension of a WebSocket's scope that is called once whoever is there has proved a key."""

MOST_OF_ADDRESS = 4096
"""So many connections may an address have: all of a proxy's people and agents come from one."""

MOST_FILES = 65_536

OWN_FILES = 192
"""Open files that the hub needs for itself: its database, its threads, its programs."""


def raise_file_limit() -> int:
    """Let this process open as many files as it may and could need, and tell how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


class Connections:
    """All connections of a hub, counted by their address."""

    def __init__(self, files: int) -> None:
        """`files` are how many files may be open."""
        self._most = max(files - OWN_FILES, files // 2)
        self._most_of_address = max(self._most // 2, 1)
        self._of = _Counted()
        self._waiting = _Counted()
        self._unproved = _Counted()
        self._all = 0

    def count(self, address: str) -> int:
        """How many an address has."""
        return self._of.count(address)

    def enter(self, address: str) -> bool:
        """Count another one; false where there are enough already."""
        most = min(MOST_OF_ADDRESS, self._most_of_address)
        if self._all >= self._most or self._of.count(address) >= most:
            return False
        self.keep(address)
        return True

    def keep(self, address: str) -> None:
        """Count one that is there in any case."""
        self._all += 1
        self._of.add(address)

    def leave(self, address: str) -> None:
        """One that was counted has ended."""
        self._all -= 1
        self._of.take_off(address)

    def wait(self, address: str) -> bool:
        """Another one waits for a header; false where too many do."""
        return self._waiting.add(address) <= MOST_WITHOUT_REQUEST

    def wait_no_more(self, address: str) -> None:
        """One that waited has its header, or has ended."""
        self._waiting.take_off(address)

    def await_proof(self, address: str) -> bool:
        """Another WebSocket has to prove a key; false where too many have to."""
        return self._unproved.add(address) <= MOST_UNPROVED

    def await_proof_no_more(self, address: str) -> None:
        """One has proved its key, or has ended."""
        self._unproved.take_off(address)


class _Counted:
    """How many there are of each address; whoever has an IPv6 network of 64 bits counts once for all of it."""

    def __init__(self) -> None:
        self._counter: Counter[str] = Counter()

    def count(self, address: str) -> int:
        return self._counter[_subject(address)]

    def add(self, address: str) -> int:
        self._counter[_subject(address)] += 1
        return self.count(address)

    def take_off(self, address: str) -> None:
        subject = _subject(address)
        self._counter[subject] -= 1
        if not self._counter[subject]:
            del self._counter[subject]


@lru_cache(MOST_OF_ADDRESS)
def _subject(address: str) -> str:
    return for_address(address)[0]
