"""The end of a change of keys: a password that opens a repository takes the place of the one before.

The new value lies sealed under the run that adds it until that has ended: if the repository was opened by it, it
becomes the password, and the one before is kept until its key is removed. What a crash leaves, `settle` finishes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from highball.errors import Unknown
from highball.hub.audit import HUB, Actor, write_down
from highball.hub.bus.base import Newsroom
from highball.hub.document.store import Documents
from highball.hub.runs.queue import Backlog
from highball.hub.runs.record import Record, utc_now
from highball.hub.runs.recorded import RunFilter
from highball.hub.secrets.vault import (
    COMING,
    Sealed,
    Vault,
)
from highball.hub.storage.database import Database
from highball.model.run import (
    Action,
    Outcome,
    Run,
    RunKind,
    RunState,
)
from highball.model.snapshot import (
    KeyTold,
    RepositoryKey,
    Use,
)

UNCLAIMED = timedelta(minutes=10)
"""After so long a value belongs to no run that anybody will still order."""

MOST_RUNS = 200


def tell_keys(
    record: Record, repository: str, found: Sequence[RepositoryKey], by_admin: Sequence[RepositoryKey]
) -> list[KeyTold]:
    """What keys are for; `by_admin` are the same, as the access that may delete lists them by its own password."""
    admin = {one.id for one in by_admin if one.current}
    added, former = _added(record, repository)

    def use_of(one: RepositoryKey) -> Use:
        if one.current:
            return "everyday"
        if one.id in admin:
            return "admin"
        return "former" if one.id in former else "added" if one.id in added else "unknown"

    return [
        KeyTold(
            id=one.id,
            user=one.user,
            host=one.host,
            created_at=one.created_at,
            use=use_of(one),
            run=added.get(one.id),
        )
        for one in found
    ]


def _added(record: Record, repository: str) -> tuple[dict[str, str], set[str]]:
    """The keys that runs added, with the run; and those whose place another took."""
    added: dict[str, str] = {}
    former: set[str] = set()
    chosen = RunFilter(repository=repository, kind=RunKind.MAINTENANCE)
    for run in record.list_runs(chosen, limit=MOST_RUNS):
        for step in run.steps:
            if step.action is Action.KEY and step.key is not None and step.outcome is Outcome.SUCCESS:
                added.setdefault(step.key, run.id)
                former |= {step.former_key} if step.former_key else set()
    return added, former


class KeyRotations:
    """What an ended change of keys leaves to do."""

    def __init__(self, database: Database, documents: Documents, vault: Vault, newsroom: Newsroom) -> None:
        self._database = database
        self._documents = documents
        self._vault = vault
        self._newsroom = newsroom
        self._record = Record(database)
        self._backlog = Backlog(database)
        self._settling = threading.Lock()
        """The end of a run and the housekeeping both settle: whoever comes second must find what the first one left."""

    def end(self, run: Run) -> None:
        """Do what is left to do once this change of keys has ended; raises HighballError."""
        self.settle()
        self._forget_former(run)

    def settle(self) -> None:
        """Let what ended runs added be the password, or be forgotten; and keep no former one whose key is gone."""
        with self._settling:
            for sealed in self._vault.list_places():
                if sealed.slot.startswith(COMING):
                    self._settle(sealed)

    def _settle(self, sealed: Sealed) -> None:
        now = utc_now()
        try:
            run = self._record.find_run(str(UUID(hex=sealed.slot.removeprefix(COMING))))
        except (Unknown, ValueError):
            if now - sealed.set_at > UNCLAIMED:
                self._vault.remove(sealed.place, HUB, now)
            return
        if run.state is RunState.DONE:
            self._take_over(sealed.place, run)

    def _take_over(self, coming: str, run: Run) -> None:
        order, now = self._backlog.find_order(run.id), utc_now()
        actor = Actor(run.actor or "hub")
        if order is not None and order.task == "key-rotate" and run.outcome is Outcome.SUCCESS:
            place = coming.rpartition(":")[0] + (":admin" if order.of_admin else ":password")
            self._vault.take_over(coming, place, actor, now)
            self._declare_sealed(run.repository or "", order.of_admin, actor)
            with self._database.write() as connection:
                after = {"run": run.id}
                write_down(
                    connection, actor, "rotated", now, kind="repository", key=run.repository, after=after
                )
            self._newsroom.publish("object")
        self._vault.remove(coming, actor, now)  # last, so that what a crash leaves undone is done once more

    def _declare_sealed(self, key: str, of_admin: bool, actor: Actor) -> None:
        """Let a repository say that its password is sealed, where it named another place."""
        try:
            declared = self._documents.get("repository", key)
        except Unknown:
            return
        sealed = {"sealed": True}
        table = (declared.spec.get("admin") or {}) if of_admin else declared.spec
        if table.get("password") == sealed:
            return
        spec = {**declared.spec}
        if of_admin:
            spec["admin"] = {**table, "password": sealed}
        else:
            spec["password"] = sealed
        self._documents.change(
            "repository", key, spec, expected=declared.revision, now=utc_now(), actor=actor, what="rotated"
        )

    def _forget_former(self, run: Run) -> None:
        """After a key was removed: the former password is kept no more where it was the removed key's."""
        gone = {step.key for step in run.steps if step.action is Action.KEY}
        _, former = _added(self._record, run.repository or "")
        if run.outcome is Outcome.SUCCESS and gone & former:
            self._vault.drop_former(self._vault.find_place(run.repository or "", "password"))
