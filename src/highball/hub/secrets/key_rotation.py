"""Keys of repositories: another password is added, proved, and only then takes the place of the one before.

The new value lies sealed under the run that adds it until that has ended: if the repository was opened by it, it
becomes the password, and the one before is kept until its key is removed. What a crash leaves, `settle` finishes.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

from highball.config.repository import demand_right_to_delete
from highball.errors import HighballError, Misuse, NotAllowed, Unknown
from highball.hub.audit import Actor, write_down
from highball.hub.auth.users import demand_present
from highball.hub.hub import Hub
from highball.hub.runs.queue import RunOrder
from highball.hub.runs.record import (
    Record,
    RunFilter,
    utc_now,
)
from highball.hub.secrets.vault import (
    COMING,
    FORMER,
    Sealed,
)
from highball.hub.storage.database import new_run_id
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
from highball.secret import SecretReference, SecretValue

UNCLAIMED = timedelta(minutes=10)
"""After so long a value belongs to no run that anybody will still order."""

MOST_RUNS = 200

_SETTLING = threading.Lock()
"""The end of a run and the housekeeping both settle: whoever comes second must find what the first one left."""


# --- looking -------------------------------------------------------------------------------------


async def list_told(hub: Hub, key: str) -> list[KeyTold]:
    """The keys of a repository as its agent lists them, with what they are for; raises HighballError."""
    declared = await asyncio.to_thread(hub.dispatcher.find_repository, key)
    asked = await asyncio.to_thread(hub.dispatcher.asked, key)
    found = await asked.list_keys()
    by_admin: list[RepositoryKey] = []
    if declared.admin is not None and declared.admin.password is not None:
        deleting = await asyncio.to_thread(partial(hub.dispatcher.asked, key, admin=True))
        by_admin = await deleting.list_keys()
    return await asyncio.to_thread(tell_keys, hub.record, key, found, by_admin)


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


# --- changing ------------------------------------------------------------------------------------


def rotate(
    hub: Hub,
    key: str,
    actor: Actor,
    *,
    value: SecretValue | None = None,
    reference: SecretReference | None = None,
    of_admin: bool = False,
    name: str = "highball",
    order_key: str | None = None,
) -> Run:
    """Begin to let another password open a repository in the place of the one that does.

    A value that is given, or made up where there is neither, is sealed; a `reference` names another place, and
    whoever declares the repository lets it say so afterwards. Who chooses it proves anew who they are: it opens
    all of the repository. Raises ConfirmationNeeded, NotAllowed, Unknown and Misuse.
    """
    if value is not None:
        demand_present(actor)
    declared = hub.documents.get("repository", key)
    if reference is None and declared.origin == "file":
        raise NotAllowed(
            f"{key} is declared by a file, so its password cannot be sealed here",
            code="managed_by_file",
            hint="name the file with the new password: highball keys REPOSITORY --rotate --new-password-file FILE",
        )
    repository = hub.dispatcher.find_repository(key)
    if of_admin and (repository.admin is None or repository.admin.password is None):
        raise Misuse(f"{key} has no password of its own for deleting", code="admin_password_unset")
    made = value or SecretValue(secrets.token_urlsafe(30).encode())
    return _add(
        hub, key, "key-rotate", actor, None if reference else made, reference, of_admin, name, order_key
    )


def add(
    hub: Hub,
    key: str,
    actor: Actor,
    *,
    name: str,
    value: SecretValue | None = None,
    reference: SecretReference | None = None,
    order_key: str | None = None,
) -> Run:
    """Begin to let another password open a repository, besides the one that does; nothing of it is kept.

    Raises ConfirmationNeeded, as that lets somebody in, NotAllowed, Unknown and Misuse.
    """
    demand_present(actor)
    if (value is None) == (reference is None):
        raise Misuse("a key wants one password", code="password_missing", hint="send it, or name its file")
    return _add(hub, key, "key-add", actor, value, reference, False, name, order_key)


def remove(hub: Hub, key: str, id: str, actor: Actor, *, order_key: str | None = None) -> Run:
    """Begin to remove a key; raises NotAllowed where nothing can be removed there."""
    demand_right_to_delete(key, hub.dispatcher.find_repository(key))
    run, _ = hub.order(RunOrder(task="key-remove", repository=key, key_id=id), actor, key=order_key)
    return run


def _add(
    hub: Hub,
    key: str,
    task: str,
    actor: Actor,
    value: SecretValue | None,
    reference: SecretReference | None,
    of_admin: bool,
    name: str,
    order_key: str | None,
) -> Run:
    run_id = new_run_id(utc_now(), secrets.randbits(74))
    if value is not None:
        place = hub.vault.find_place(key, f"{COMING}{UUID(run_id).hex}")
        hub.vault.seal(place, value, actor, utc_now())
        reference = SecretReference(sealed=place)
    told = {"task": task, "repository": key, "new": reference, "key_name": name, "of_admin": of_admin}
    run, fresh = hub.order(RunOrder.model_validate(told), actor, key=order_key, id=run_id)
    if not fresh and value is not None:
        hub.vault.remove(place, actor, utc_now())
    return run


# --- what an ended run leaves to do --------------------------------------------------------------


def settle(hub: Hub) -> None:
    """Let what ended runs added be the password, or be forgotten; and keep no former one whose key is gone."""
    with _SETTLING:
        for sealed in hub.vault.list_places():
            if sealed.slot.startswith(COMING):
                _settle(hub, sealed)


def _settle(hub: Hub, sealed: Sealed) -> None:
    now = utc_now()
    try:
        run = hub.record.find_run(str(UUID(hex=sealed.slot.removeprefix(COMING))))
    except (Unknown, ValueError):
        if now - sealed.set_at > UNCLAIMED:
            hub.vault.remove(sealed.place, Actor("hub"), now)
        return
    if run.state is RunState.DONE:
        _take_over(hub, sealed.place, run)


def _take_over(hub: Hub, coming: str, run: Run) -> None:
    order, now = hub.backlog.find_order(run.id), utc_now()
    actor = Actor(run.actor or "hub")
    if order is not None and order.task == "key-rotate" and run.outcome is Outcome.SUCCESS:
        place = coming.rpartition(":")[0] + (":admin" if order.of_admin else ":password")
        hub.vault.take_over(coming, place, actor, now)
        _declare_sealed(hub, run.repository or "", order.of_admin, actor)
        with hub.database.write() as connection:
            after = {"run": run.id}
            write_down(connection, actor, "rotated", now, kind="repository", key=run.repository, after=after)
        hub.newsroom.publish("object")
    hub.vault.remove(coming, actor, now)  # last, so that what a crash leaves undone is done once more


def _declare_sealed(hub: Hub, key: str, of_admin: bool, actor: Actor) -> None:
    """Let a repository say that its password is sealed, where it named another place."""
    try:
        declared = hub.documents.get("repository", key)
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
    hub.documents.change(
        "repository", key, spec, expected=declared.revision, now=utc_now(), actor=actor, what="rotated"
    )


def forget_former(hub: Hub, run: Run) -> None:
    """After a key was removed: the former password is kept no more where it was the removed key's."""
    gone = {step.key for step in run.steps if step.action is Action.KEY}
    _, former = _added(hub.record, run.repository or "")
    if run.outcome is Outcome.SUCCESS and gone & former:
        hub.vault.drop_former(hub.vault.find_place(run.repository or "", "password"))


def has_former(hub: Hub, key: str) -> bool:
    """Whether the password before is still kept, so that a rotation can be undone."""
    try:
        return hub.vault.find(hub.vault.find_place(key, "password") + FORMER) is not None
    except HighballError:
        return False
