"""What people declare: each object, its history, and the whole of it as one text.

Every change is judged as the whole that it leads to; who made it stands in the audit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from highball.config.document import Document
from highball.config.references import Reference, Spec
from highball.errors import Unknown
from highball.hub.audit import Actor
from highball.hub.auth.single_sign_on import place_of_secret
from highball.hub.document.diff import Change, Declared, Preview, Revision
from highball.hub.parts import HubParts
from highball.hub.status.repository_status import tell_undo_leaves
from highball.secret import SecretValue


class ObjectOperations:
    """The objects of every kind, and every way to change them."""

    _hub: HubParts
    _now: Callable[[], datetime]

    def document(self) -> Document:
        """What is declared now; the same object for as long as nothing changes."""
        return self._hub.document()

    # --- looking ---

    def list_objects(self, kind: str) -> list[Declared]:
        """The objects of a kind, by key."""
        return self._hub.documents.list_objects(kind)

    def list_deleted(self) -> list[Declared]:
        """Everything that was deleted and not purged, the latest first."""
        return self._hub.documents.list_deleted()

    def get_object(self, kind: str, key: str) -> Declared:
        """An object; settings and defaults always are, blank at revision 0. Raises Unknown."""
        return self._hub.documents.get(kind, key)

    def list_revisions(self, kind: str, key: str) -> list[Revision]:
        """All revisions of an object, also of a deleted one, the newest first. Raises Unknown."""
        return self._hub.documents.history(kind, key)

    def list_references(self, kind: str, key: str) -> list[Reference]:
        """Every place that names this object."""
        return self._hub.documents.list_references(kind, key)

    def preview_object(self, kind: str, key: str, spec: Spec, *, entered: Collection[str] = ()) -> Preview:
        """What it would change if this object said this, or were declared so, and every problem with it.

        `entered` are the slots of secrets that are to be sealed anew with it.
        """
        return self._hub.documents.preview_change(kind, key, spec, entered=entered)

    # --- changing ---

    def create_object(self, kind: str, key: str, spec: Spec, actor: Actor) -> Declared:
        """Declare a new object. Raises ConfigurationInvalid, and Conflict where the key is not free."""
        return self._hub.documents.create(kind, key, spec, now=self._now(), actor=actor)

    def copy_object(self, kind: str, key: str, new: str, actor: Actor) -> Declared:
        """Declare a new object that says the same."""
        return self._hub.documents.copy(kind, key, new, now=self._now(), actor=actor)

    def change_object(
        self,
        kind: str,
        key: str,
        spec: Spec,
        actor: Actor,
        *,
        expected: int,
        entered: Collection[str] = (),
    ) -> Declared:
        """Let an object say this from now on. Raises ConfigurationInvalid, and Stale at another revision."""
        return self._hub.documents.change(
            kind, key, spec, expected=expected, now=self._now(), actor=actor, entered=entered
        )

    def patch_object(
        self, kind: str, key: str, fields: Mapping[str, Any], actor: Actor, *, expected: int
    ) -> Declared:
        """Set some fields anew (RFC 7396: tables merge, null removes). Raises as `change_object` does."""
        return self._hub.documents.patch(kind, key, fields, expected=expected, now=self._now(), actor=actor)

    def rename_object(
        self, kind: str, key: str, title: str | None, actor: Actor, *, expected: int
    ) -> Declared:
        """Give an object another name for people; its key stays. Raises Stale."""
        return self._hub.documents.rename(kind, key, title, expected=expected, now=self._now(), actor=actor)

    def rekey_object(self, kind: str, key: str, new: str, actor: Actor, *, expected: int) -> Declared:
        """Give an object another key, to all that name it and to the record as well. Raises Stale and Conflict."""
        return self._hub.documents.rekey(kind, key, new, expected=expected, now=self._now(), actor=actor)

    def undo_object(
        self, kind: str, key: str, to: int, actor: Actor, *, expected: int
    ) -> tuple[Declared, str | None]:
        """Let an object say again what an earlier revision said; and what that could not bring back, as a sentence.

        Raises Stale and Unknown.
        """
        self._hub.documents.get(kind, key)
        left = self.tell_undo_leaves(kind, key, to)
        done = self._hub.documents.undo(kind, key, to, expected=expected, now=self._now(), actor=actor)
        return done, left

    def tell_undo_leaves(self, kind: str, key: str, to: int) -> str | None:
        """What an undo to this revision cannot bring back, as a sentence."""
        return tell_undo_leaves(self._hub, key, to) if kind == "repository" else None

    def delete_object(self, kind: str, key: str, actor: Actor, *, expected: int) -> Declared:
        """Put an object among the deleted. Raises Stale, and Conflict `still_referenced` with all that name it."""
        return self._hub.documents.delete(kind, key, expected=expected, now=self._now(), actor=actor)

    def restore_object(self, kind: str, key: str, actor: Actor, spec: Spec | None = None) -> Declared:
        """Bring a deleted object back as it was, or saying something else. Raises Unknown, Conflict."""
        return self._hub.documents.restore(kind, key, now=self._now(), actor=actor, spec=spec)

    def purge_object(self, kind: str, key: str, actor: Actor) -> None:
        """Remove a deleted object, its revisions and its sealed secrets for good; the record of its runs stays."""
        self._hub.documents.purge(kind, key, now=self._now(), actor=actor)

    # --- the provider's secret ---

    def seal_provider_secret(self, value: SecretValue, actor: Actor) -> None:
        """Seal the secret of this hub at the provider that is declared now, and at no other. Raises Unknown."""
        self._hub.vault.seal(self._place_of_provider(), value, actor, self._now())

    def forget_provider_secret(self, actor: Actor) -> None:
        """Forget it. Raises Unknown."""
        self._hub.vault.remove(self._place_of_provider(), actor, self._now())

    def _place_of_provider(self) -> str:
        provider = self._hub.document().settings.oidc
        if provider is None:
            raise Unknown(
                "no provider is configured", code="provider_unset", hint="declare settings.oidc first"
            )
        return place_of_secret(provider.issuer)

    # --- the whole ---

    def whole_token(self) -> int:
        """A number that grows with every change of anything declared."""
        return self._hub.documents.token()

    def read_whole(self) -> str:
        """Everything that is declared, as one YAML text."""
        return self._hub.documents.as_yaml()

    def preview_whole(self, text: str | bytes) -> Preview:
        """What writing this text back would change, and every problem with it."""
        return self._hub.documents.preview(text)

    def write_whole(self, text: str | bytes, actor: Actor, *, expected: int) -> list[Change]:
        """Let this text be all that is declared; what it does not name is deleted.

        Raises Stale when anything changed since the expected token, ConfigurationInvalid and NotAllowed.
        """
        return self._hub.documents.write_back(text, expected=expected, now=self._now(), actor=actor)

    def preview_file(self, document: Document, file: str) -> list[Change]:
        """What applying a file would change. Raises NotAllowed as `apply_file` does."""
        return self._hub.documents.plan_to_apply(document, file=file)

    def apply_file(self, document: Document, file: str, actor: Actor) -> list[Change]:
        """Make what a file declares, known by its name, equal the document. Raises NotAllowed `managed_by_file`."""
        return self._hub.documents.apply(document, now=self._now(), actor=actor, file=file)
