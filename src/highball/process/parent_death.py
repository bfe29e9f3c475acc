"""See to it that a child ends soon after we were killed, also where it does not heed its parent's death.

A process of its own watches over the child: a fork that holds nothing of ours but a pipe, by whose end it learns
that we are gone. It waits for as long as the child may tidy up, and then kills the child's group.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta


@contextmanager
def ended_after_us(child: int, grace: timedelta) -> Iterator[None]:
    """While this lasts our death ends the child, which leads a group of its own, within `grace`.

    Where a system has no such means, the child is left to itself.
    """
    reading, writing = os.pipe()
    try:
        watcher = _start_watcher(child, grace, reading, writing)
        try:
            yield
        finally:
            if watcher is not None:
                os.kill(watcher, signal.SIGKILL)
                os.waitpid(watcher, 0)
    finally:
        os.close(reading)
        os.close(writing)


def _start_watcher(child: int, grace: timedelta, reading: int, writing: int) -> int | None:
    try:
        handle = os.pidfd_open(child)  # as long as it is held, no other process can be mistaken for the child
    except (AttributeError, OSError):
        return None
    try:
        watcher = os.fork()
    except OSError:
        watcher = None
    if watcher == 0:
        try:
            _watch(child, handle, grace, reading)
        finally:
            os._exit(0)
    os.close(handle)
    return watcher


def _watch(child: int, handle: int, grace: timedelta, reading: int) -> None:
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # they mean our parent, who sees to the child
        signal.signal(number, signal.SIG_IGN)
    _close_all_but(handle, reading)  # locks and outputs must not outlive our parent
    looking = select.poll()
    looking.register(handle, select.POLLIN)
    looking.register(reading, select.POLLIN)
    if handle in dict(looking.poll()):
        return
    looking.unregister(reading)
    if not looking.poll(grace.total_seconds() * 1000):
        with contextlib.suppress(OSError):
            os.killpg(child, signal.SIGKILL)


def _close_all_but(*kept: int) -> None:
    start = 0
    for descriptor in (*sorted(kept), os.sysconf("SC_OPEN_MAX")):
        os.closerange(start, descriptor)
        start = descriptor + 1
