"""Keys of repositories: looked at, added, removed, and a password put in the place of another.

Another password is added, proved, and only then takes the place of the one before: `secrets.key_rotation` sees to that
once the run that adds it has ended.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from highball.actions import role_for
from highball.config.repository import demand_right_to_delete
from highball.engine.kinds import engine_of
from highball.errors import HighballError, Misuse, NotAllowed, Unknown
from highball.hub.audit import Actor
from highball.hub.auth.users import demand_present
from highball.hub.operations.orders import RunOperations
from highball.hub.runs.queue import RunOrder
from highball.hub.secrets.key_rotation import tell_keys
from highball.hub.secrets.vault import COMING, FORMER
from highball.hub.storage.database import new_run_id
from highball.model.run import Run
from highball.model.snapshot import KeyTold, RepositoryKey
from highball.secret import SecretReference, SecretValue


@dataclass(frozen=True)
class _NewPassword:
    """The password that is to open a repository: a value that is sealed, or where it lies."""

    task: str
    name: str
    value: SecretValue | None
    reference: SecretReference | None
    of_admin: bool = False


class KeyOperations(RunOperations):
    """Which passwords open a repository: listed, and changed by runs."""

    async def list_keys(self, key: str) -> list[KeyTold]:
        """The keys of a repository as its agent lists them, with what they are for; raises HighballError."""
        declared = await asyncio.to_thread(self._hub.repositories.get, key)
        asked = await asyncio.to_thread(self._hub.repositories.asked, key)
        found = await asked.list_keys()
        by_admin: list[RepositoryKey] = []
        if declared.has_admin_password:
            deleting = await asyncio.to_thread(partial(self._hub.repositories.asked, key, admin=True))
            by_admin = await deleting.list_keys()
        return await asyncio.to_thread(tell_keys, self._hub.record, key, found, by_admin)

    def demand_keys(self, key: str) -> None:
        """Raise Unknown, code `no_keys`, where the engine of a repository keeps none."""
        engine = engine_of(self._hub.repositories.get(key))
        if not engine.keeps_keys:
            raise Unknown(f"a repository of {engine.words.name} has no keys", code="no_keys")

    def rotate_key(
        self,
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
        declared = self._hub.documents.get("repository", key)
        if reference is None and declared.origin == "file":
            raise NotAllowed(
                f"{key} is managed by a file, so its password cannot be stored here",
                code="managed_by_file",
                hint="name the file with the new password: highball keys REPOSITORY --rotate --new-password-file FILE",
            )
        repository = self._hub.repositories.get(key)
        if of_admin and not repository.has_admin_password:
            raise Misuse(f"{key} has no password of its own for deleting", code="admin_password_unset")
        made = value or SecretValue(secrets.token_urlsafe(30).encode())
        new = _NewPassword("key-rotate", name, None if reference else made, reference, of_admin)
        return self._order_key(key, new, actor, order_key)

    def add_key(
        self,
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
            raise Misuse(
                "a key needs one password", code="password_missing", hint="send it, or the path of its file"
            )
        return self._order_key(key, _NewPassword("key-add", name, value, reference), actor, order_key)

    def remove_key(self, key: str, id: str, actor: Actor, *, order_key: str | None = None) -> Run:
        """Begin to remove a key; raises NotAllowed where nothing can be removed there."""
        self.demand_keys(key)
        demand_right_to_delete(key, self._hub.repositories.get(key))
        run, _ = self.place(RunOrder(task="key-remove", repository=key, key_id=id), actor, key=order_key)
        return run

    def _order_key(self, key: str, new: _NewPassword, actor: Actor, order_key: str | None) -> Run:
        actor.demand(role_for(new.task))  # before anything is sealed
        self.demand_keys(key)
        run_id = new_run_id(self._now(), secrets.randbits(74))
        place, reference = None, new.reference
        if new.value is not None:
            place = self._hub.vault.find_place(key, f"{COMING}{UUID(run_id).hex}")
            self._hub.vault.seal(place, new.value, actor, self._now())
            reference = SecretReference(sealed=place)
        told = {"new": reference, "key_name": new.name, "of_admin": new.of_admin}
        order = RunOrder.model_validate({"task": new.task, "repository": key, **told})
        run, fresh = self.place(order, actor, key=order_key, id=run_id)
        if not fresh and place is not None:
            self._hub.vault.remove(place, actor, self._now())
        return run

    def has_former_password(self, key: str) -> bool:
        """Whether the password before is still kept, so that a rotation can be undone."""
        try:
            return self._hub.vault.find(self._hub.vault.find_place(key, "password") + FORMER) is not None
        except HighballError:
            return False
