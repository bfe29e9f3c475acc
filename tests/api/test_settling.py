"""A rotated password is taken over once, also where two notice at the same time that its run has ended."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import UUID

from api.whole import ANNA, CANARY, NOW, Whole
from highball.hub.audit import AuditFilter
from highball.hub.runs.queue import RunOrder
from highball.hub.secrets.vault import COMING, FORMER
from highball.protocol.tasks import KeyTask
from highball.secret import SecretReference, SecretValue
from record.stories import Story

AT_ONCE = 8


def test_the_end_of_a_rotation_is_settled_once_however_many_see_it(whole: Whole) -> None:
    hub = whole.hub
    for number in range(50, 60):
        story = Story(number, KeyTask(repository="far", act="rotate"), job=None)
        coming = hub.vault.find_place("far", f"{COMING}{UUID(story.run).hex}")
        hub.vault.seal(coming, SecretValue(b"new %d" % number), ANNA, NOW)
        told = {"task": "key-rotate", "repository": "far", "new": SecretReference(sealed=coming)}
        hub.operations.place(RunOrder.model_validate(told), ANNA, id=story.run)
        hub.record.absorb(story.run, story.end().events)

        ready = Barrier(AT_ONCE)

        def settle(ready: Barrier = ready) -> None:
            ready.wait()
            hub.key_rotations.settle()

        with ThreadPoolExecutor(AT_ONCE) as several:
            for done in [several.submit(settle) for _ in range(AT_ONCE)]:
                done.result()
        assert hub.vault.find(coming) is None
    place = hub.vault.find_place("far", "password")
    assert hub.vault.open(place).reveal() == b"new 59"
    assert hub.vault.open(place + FORMER).reveal() == b"new 58"
    rotated = hub.access.list_audit(AuditFilter(action="rotated", key="far"))
    assert len(rotated) == 10
    assert CANARY not in repr(rotated)
