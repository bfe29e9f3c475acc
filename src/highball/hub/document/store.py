"""The Document in the database: one row per declared object, one revision per change.

Every change, whether of one field or of a whole file, is judged as the whole Document that it leads to, and then
made in one transaction together with its revisions and its audit. Judging takes no lock: when another change
came first, it is judged again on what holds now. A file that was loaded or applied owns what it names: what it
names no longer is soft-deleted, and a key that comes back is restored.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from highball.config.document import (
    Document,
    build,
    build_what_is_sound,
    is_about,
    place_of,
)
from highball.config.dump import as_yaml
from highball.config.load import read, refused
from highball.config.misread import find_misread
from highball.config.object_keys import key_from
from highball.config.references import (
    ALONE,
    Place,
    Reference,
    Spec,
)
from highball.engine.kinds import Programs
from highball.errors import ConfigurationInvalid, Conflict, Misuse, NotAllowed, Problem, Stale, Unknown
from highball.hub.audit import COMMAND, Actor
from highball.hub.document.diff import (
    APPLIED,
    BY_HAND,
    FROM_FILE,
    Change,
    Declared,
    Edit,
    FieldDifference,
    Preview,
    Revision,
    Stored,
    applied,
    differences,
    merge_patch,
    objects_of,
    references_to,
    tables_of,
    take_on_new_key,
)
from highball.hub.document.endpoint_bindings import find_moved
from highball.hub.document.rename import HOST, FormerKeys
from highball.hub.document.rows import (
    FILE,
    TOKEN,
    read_marks,
    read_objects,
    revisions_of,
    store,
    take_lock,
    tell_history,
    write_mark,
)
from highball.hub.document.rules import (
    NEVER,
    OWN_FILE,
    THE_PEOPLE,
    Owner,
    compare,
    demand_admin,
    demand_free,
    demand_key,
    demand_right,
    demand_unreferenced,
    fresh,
    get_deleted,
    get_object,
)
from highball.hub.storage.database import Database
from highball.hub.storage.schema import marks, revisions

__all__ = [
    "BY_HAND",
    "FROM_FILE",
    "Change",
    "Declared",
    "Documents",
    "Preview",
    "load_document",
    "read_host",
]

SAY_WHAT_IS_SAVED = frozenset({"defaults", "profile", "job"})
"""The kinds that name sources, or what is left out of them."""

Edits = Callable[[Stored], list[Edit]]
Around = Callable[[sa.Connection, Actor, datetime], AbstractContextManager[None]]


def _nothing_around(connection: sa.Connection, actor: Actor, now: datetime) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass
class _Known:
    """What was read at one state of the Document; `text` once somebody asked for it."""

    token: int
    file: str | None
    stored: dict[Place, Declared]
    text: str | None = None
    former: FormerKeys | None = None

    @cached_property
    def sound(self) -> tuple[Document, list[Problem]]:
        """The document without what is wrong in the database by now, and what that is."""
        return build_what_is_sound(tables_of(self.stored))

    def become(self, edits: Sequence[Edit]) -> _Known:
        """What is known once these edits are made; raises ConfigurationInvalid with all that is wrong with them.

        What was wrong before and is not touched does not stand in their way.
        """
        after = _Known(self.token + 1, self.file, applied(self.stored, edits))
        if any(edit.place[0] in SAY_WHAT_IS_SAVED for edit in edits):
            misread = {one.message for one in find_misread(tables_of(_with_deleted(self.stored)))}
            found = [one for one in find_misread(tables_of(after.stored)) if one.message not in misread]
            if found:
                raise refused(*found)
        if not after.sound[1]:
            return after
        touched = [place_of(*edit.place) for edit in edits]
        before = set(self.sound[1])
        found = [one for one in after.sound[1] if one not in before or is_about(one, touched)]
        if found:
            raise refused(*found)
        return after


def _with_deleted(stored: Stored) -> Stored:
    """All that was ever taken in, so that what was deleted comes back as it was."""
    return {place: replace(one, deleted_at=None) for place, one in stored.items()}


class Documents:
    """The Document of this database: its objects, their history, and every way to change them."""

    def __init__(self, database: Database, around: Around = _nothing_around) -> None:
        """`around` stands around each change in its transaction: a hub's `access.kept_sound`."""
        self._database = database
        self._around = around
        self._last: _Known | None = None

    # --- looking ---

    def list_objects(self, kind: str) -> list[Declared]:
        """The objects of a kind, by key."""
        found = (one for one in self._know().stored.values() if one.kind == kind and one.lives)
        return sorted(found, key=lambda one: one.key)

    def list_deleted(self) -> list[Declared]:
        """Everything that was deleted and not purged, the latest first."""
        found = (one for one in self._know().stored.values() if not one.lives)
        return sorted(found, key=lambda one: (one.deleted_at or NEVER, one.place), reverse=True)

    def get(self, kind: str, key: str) -> Declared:
        """An object; settings and defaults always are, blank at revision 0. Raises Unknown."""
        return get_object(self._know().stored, kind, key)

    def is_from_file(self, kind: str, key: str) -> bool:
        """Whether a configuration file declares the object of this kind and key."""
        try:
            return self.get(kind, key).origin == FROM_FILE
        except Unknown:
            return False

    def history(self, kind: str, key: str) -> list[Revision]:
        """All revisions of an object, also of a deleted one, the newest first. Raises Unknown."""
        known = self._know().stored.get((kind, key))
        if known is None:
            get_object(self._know().stored, kind, key)  # which says what is unknown
            return []
        with self._database.read() as connection:
            rows = connection.execute(revisions_of(kind, key).order_by(revisions.c.revision)).all()
        return list(tell_history(rows, (*known.former_keys, key)))[::-1]

    def token(self) -> int:
        """A number that grows with every change of the Document."""
        with self._database.read() as connection:
            return read_marks(connection)[0]

    def document(self) -> Document:
        """The whole, read and checked; the same object as long as nothing changes.

        What is stored and wrong by now is left out: `list_faults` tells.
        """
        return self._know().sound[0]

    def list_faults(self) -> list[Problem]:
        """What is wrong with stored objects, which the document leaves out for that."""
        return self._know().sound[1]

    def former_keys(self) -> FormerKeys:
        """The keys that objects had before, deleted ones among them."""
        known = self._know()
        if known.former is None:
            had = {place: one.former_keys for place, one in known.stored.items() if one.former_keys}
            known.former = FormerKeys(had)
        return known.former

    def find_key(self, kind: str, key: str) -> str | None:
        """The key under which an object is known now, by any that it has or had; None of one that was never declared.

        What was deleted is known, too, until it is purged.
        """
        now = self.former_keys().now(kind, key)
        return now if kind in ALONE or (kind, now) in self._know().stored else None

    def file(self) -> str | None:
        """The hub's own file: the one that it was last begun with."""
        return self._know().file

    def own_programs(self) -> dict[str, Path | None]:
        """The program of each engine that the hub's own file names for its machine; what others named is nothing."""
        is_own = self.get("settings", "settings").origin == FROM_FILE
        named = self.document().settings if is_own else Programs()
        return {engine: named.of(engine) for engine in Programs.model_fields}

    def rehearse(self, kind: str, key: str, spec: Spec) -> Document:
        """The whole as it would be if this object said this; changes nothing. Raises ConfigurationInvalid."""
        demand_key(kind, key)
        known = self._know()
        one = known.stored.get((kind, key))
        after = fresh(kind, key, spec, NEVER)
        return known.become([Edit(one, after, "rehearsed")]).sound[0]

    def list_references(self, kind: str, key: str) -> list[Reference]:
        """Every place that names this object."""
        return references_to(self._know().stored, (kind, key))

    # --- one object ---

    def preview_change(self, kind: str, key: str, spec: Spec, *, entered: Collection[str] = ()) -> Preview:
        """What it would change if this object said this, or were declared so, and every problem with it.

        `entered` are the slots of secrets that are to be sealed anew with it.
        """
        known = self._know()
        one = known.stored.get((kind, key))
        problems: list[Problem] = []
        edit = Edit(None, fresh(kind, key, spec, NEVER), "created")
        try:
            if one is None or not one.lives:
                demand_key(kind, key)
                demand_free(known.stored, kind, key)
            else:
                edit = Edit(one, one.revised(NEVER, spec=spec), "changed")
            after = known.become([edit])
            demand_right([edit], THE_PEOPLE, known.file)
            demand_admin(known.stored, after.stored)
            self._demand_bound([edit], entered)
        except (ConfigurationInvalid, Conflict, NotAllowed) as error:
            problems += error.problems or [Problem("", error.message, error.hint)]
        return Preview((edit.change,), tuple(problems), known.token)

    def create(self, kind: str, key: str, spec: Spec, *, now: datetime, actor: Actor) -> Declared:
        """Declare a new object. Raises Conflict `key_taken`, or `key_deleted` while a deleted one has the key."""
        demand_key(kind, key)

        def edits(stored: Stored) -> list[Edit]:
            demand_free(stored, kind, key)
            return [Edit(None, fresh(kind, key, spec, now), "created")]

        return self._change_one(edits, now, actor)

    def copy(self, kind: str, key: str, new: str, *, now: datetime, actor: Actor) -> Declared:
        """Declare a new object that says the same."""
        return self.create(kind, new, self.get(kind, key).spec, now=now, actor=actor)

    def change(
        self,
        kind: str,
        key: str,
        spec: Spec,
        *,
        expected: int,
        now: datetime,
        actor: Actor,
        what: str = "changed",
        entered: Collection[str] = (),
    ) -> Declared:
        """Let an object say this from now on. Raises Stale when it is not at the expected revision any more.

        `entered` are the slots of secrets that are sealed anew with it: the others have to count where it leads.
        """

        def edits(stored: Stored) -> list[Edit]:
            one = self._get_to_change(stored, kind, key, expected)
            if one.revision == 0:
                return [Edit(None, fresh(kind, key, spec, now), "created")]
            marks = THE_PEOPLE.marks(kind)
            return [Edit(one, one.revised(now, spec=spec, deleted_at=None, **marks), what)]

        return self._change_one(edits, now, actor, entered=entered)

    def patch(
        self,
        kind: str,
        key: str,
        fields: Mapping[str, Any],
        *,
        expected: int,
        now: datetime,
        actor: Actor,
        what: str = "changed",
    ) -> Declared:
        """Set some fields anew (RFC 7396: tables merge, null removes). Raises Stale."""
        one = self.get(kind, key)
        spec = merge_patch(one.spec, fields)
        return self.change(kind, key, spec, expected=expected, now=now, actor=actor, what=what)

    def rename(
        self, kind: str, key: str, title: str | None, *, expected: int, now: datetime, actor: Actor
    ) -> Declared:
        """Give an object another name for people; its key stays. Raises Stale."""
        fields = {"title": title}
        return self.patch(kind, key, fields, expected=expected, now=now, actor=actor, what="renamed")

    def undo(self, kind: str, key: str, to: int, *, expected: int, now: datetime, actor: Actor) -> Declared:
        """Make a new revision that says what an earlier one said. Raises Stale, Unknown."""
        spec = self._spec_at(kind, key, to)
        what = f"undone to {to}"
        return self.change(kind, key, spec, expected=expected, now=now, actor=actor, what=what)

    def delete(self, kind: str, key: str, *, expected: int, now: datetime, actor: Actor) -> Declared:
        """Put an object among the deleted. Raises Stale, and Conflict `still_referenced` with all that name it."""

        def edits(stored: Stored) -> list[Edit]:
            one = self._get_to_change(stored, kind, key, expected)
            if kind in ALONE:
                raise Misuse(f"the {kind} cannot be deleted", hint="take away what they say instead")
            demand_unreferenced(stored, one)
            return [Edit(one, one.revised(now, deleted_at=now), "deleted")]

        return self._change_one(edits, now, actor)

    def restore(
        self, kind: str, key: str, *, now: datetime, actor: Actor, spec: Spec | None = None
    ) -> Declared:
        """Bring a deleted object back as it was, or saying something else. Raises Unknown, Conflict."""

        def edits(stored: Stored) -> list[Edit]:
            one = get_deleted(stored, kind, key)
            told = one.spec if spec is None else spec
            marks = THE_PEOPLE.marks(kind)
            return [Edit(one, one.revised(now, spec=told, deleted_at=None, **marks), "restored")]

        return self._change_one(edits, now, actor)

    def purge(self, kind: str, key: str, *, now: datetime, actor: Actor) -> None:
        """Remove a deleted object, its revisions and its sealed secrets for good; the record of its runs stays."""
        self._change(lambda stored: [Edit(get_deleted(stored, kind, key), None, "purged")], now, actor)

    def rekey(
        self,
        kind: str,
        key: str,
        new: str,
        *,
        expected: int,
        now: datetime,
        actor: Actor,
        owner: Owner = THE_PEOPLE,
    ) -> Declared:
        """Give an object another key, to all that name it and to the record as well; the old one is not free.

        Raises Stale, and Conflict while the new key is not free or a run of the object is not over.
        """
        demand_key(kind, new)

        def edits(stored: Stored) -> list[Edit]:
            one = self._get_to_change(stored, kind, key, expected)
            demand_free(stored, kind, new, of=one)
            after = one.revised(now, key=new, former_keys=(*one.former_keys, key))
            others = list(take_on_new_key(stored, one.place, new, now))
            return [Edit(one, after, "rekeyed"), *others]

        return self._change_one(edits, now, actor, owner)

    # --- the whole ---

    def as_yaml(self) -> str:
        """Everything that is declared, as one text; the same whenever the same is declared."""
        known = self._know()
        if known.text is None:
            known.text = as_yaml(tables_of(known.stored))
        return known.text

    def preview(self, text: str | bytes) -> Preview:
        """What writing this text back would change, and every problem with it; changes nothing."""
        known = self._know()
        try:
            tables = _read(text)
        except ConfigurationInvalid as error:
            return Preview((), error.problems, known.token)
        edits: list[Edit] = []
        problems: list[Problem] = []
        try:
            build(tables)
            edits = list(compare(dict(objects_of(tables)), known.stored, NEVER, THE_PEOPLE))
            demand_right(edits, THE_PEOPLE, known.file)
            demand_admin(known.stored, known.become(edits).stored)
            self._demand_bound(edits)
        except (ConfigurationInvalid, Conflict, NotAllowed) as error:
            problems += error.problems or [Problem("", error.message, error.hint)]
        return Preview(tuple(edit.change for edit in edits), tuple(problems), known.token)

    def write_back(self, text: str | bytes, *, expected: int, now: datetime, actor: Actor) -> list[Change]:
        """Let this text be all that is declared; what it does not name is deleted.

        Raises Stale when anything changed since the expected token, ConfigurationInvalid with all problems, and
        NotAllowed where it would change what a file declares.
        """
        tables = _read(text)
        document = build(tables)

        def edits(stored: Stored) -> list[Edit]:
            token = self._know().token
            if token != expected:
                hint = "read it again, and make the change there"
                raise Stale("the configuration was changed in the meantime", revision=token, hint=hint)
            return list(compare(dict(objects_of(document.tables)), stored, now, THE_PEOPLE))

        return self._change(edits, now, actor)

    def plan(self, document: Document) -> list[Change]:
        """What loading this as the hub's own file would change."""
        stored = self._know().stored
        wanted = dict(objects_of(document.tables))
        return [edit.change for edit in compare(wanted, stored, NEVER, OWN_FILE)]

    def load(
        self, document: Document, *, now: datetime, actor: Actor, file: str | None = None
    ) -> list[Change]:
        """Make what the hub's own file declares equal the document; what others declared stays, unless it names it.

        From then on only the file changes these objects. All or nothing, and only what differs.
        """
        changes = self._own(document, OWN_FILE, now, actor)
        if file is not None and file != self._know().file:
            with self._database.write() as connection:
                write_mark(connection, FILE, file)
            self._last = None
        return changes

    def plan_to_apply(self, document: Document, *, file: str) -> list[Change]:
        """What applying a file would change. Raises NotAllowed as `apply` does."""
        known, owner = self._know(), Owner(APPLIED, file)
        edits = list(compare(dict(objects_of(document.tables)), known.stored, NEVER, owner))
        demand_right(edits, owner, known.file)
        self._demand_bound(edits)
        return [edit.change for edit in edits]

    def apply(self, document: Document, *, now: datetime, actor: Actor, file: str) -> list[Change]:
        """Make what a file declares, known by its name, equal the document; it owns what it names and has named.

        Raises NotAllowed `managed_by_file` where it contradicts the hub's own file, which would undo it at the
        next start. Users and tokens become what it says, and stay people's to change.
        """
        return self._own(document, Owner(APPLIED, file), now, actor)

    def _own(self, document: Document, owner: Owner, now: datetime, actor: Actor) -> list[Change]:
        wanted = dict(objects_of(document.tables))

        def edits(stored: Stored) -> list[Edit]:
            return list(compare(wanted, stored, now, owner))

        return self._change(edits, now, actor, owner)

    # --- how a change is made ---

    def _demand_bound(self, edits: Sequence[Edit], entered: Collection[str] = ()) -> None:
        """Raise ConfigurationInvalid where a repository would lead elsewhere than its sealed secrets count for."""
        with self._database.read() as connection:
            found = find_moved(connection, edits, entered)
        if found:
            raise refused(*found)

    def _change_one(
        self,
        edits: Edits,
        now: datetime,
        actor: Actor,
        owner: Owner = THE_PEOPLE,
        entered: Collection[str] = (),
    ) -> Declared:
        made: list[Edit] = []

        def gather(stored: Stored) -> list[Edit]:
            made[:] = edits(stored)
            return made

        self._change(gather, now, actor, owner, entered)
        assert made[0].after is not None
        return made[0].after

    def _change(
        self,
        edits: Edits,
        now: datetime,
        actor: Actor,
        owner: Owner = THE_PEOPLE,
        entered: Collection[str] = (),
    ) -> list[Change]:
        """Judge these edits and make them; again from the start when another change came first."""
        while True:
            known = self._know()
            made = edits(known.stored)
            if not made:
                return []
            demand_right(made, owner, known.file)
            after = known.become(made)
            demand_admin(known.stored, after.stored)
            if (
                owner != OWN_FILE
            ):  # at its next start the file would say the same: what cannot be used then says so
                self._demand_bound(made, entered)
            with self._database.write() as connection:
                take_lock(connection)
                if read_marks(connection)[0] != known.token:
                    continue
                with self._around(connection, actor, now):
                    store(connection, made, now, actor)
                write_mark(connection, TOKEN, str(after.token))
            self._last = after
            return [edit.change for edit in made]

    def _know(self) -> _Known:
        """What holds now; read again only if it changed."""
        last = self._last
        with self._database.read() as connection:
            token, file = read_marks(connection)
            if last is not None and (last.token, last.file) == (token, file):
                return last
            found = _Known(token, file, read_objects(connection))
        self._last = found
        return found

    def _get_to_change(self, stored: Stored, kind: str, key: str, expected: int) -> Declared:
        one = get_object(stored, kind, key)
        if one.revision != expected:
            raise Stale(
                f"{key} was changed in the meantime: it is at revision {one.revision}, not {expected}",
                revision=one.revision,
                differences=self._differences_since(one, expected),
                hint="check the differences, and change it again",
            )
        return one

    def _differences_since(self, one: Declared, revision: int) -> list[FieldDifference]:
        with self._database.read() as connection:
            asked = revisions_of(one.kind, one.key).where(revisions.c.revision == revision)
            row = connection.execute(asked).one_or_none()
        return list(differences(row.spec if row else None, one.spec))

    def _spec_at(self, kind: str, key: str, revision: int) -> Spec:
        found = next((one for one in self.history(kind, key) if one.revision == revision), None)
        if found is None:
            raise Unknown(f"{key} has no revision {revision}", code="revision_unknown")
        if found.spec is None:
            raise Misuse(f"revision {revision} of {key} is its deletion", hint="delete it instead")
        return found.spec


# --- as the single machine does it ---------------------------------------------------------------


def load_document(
    database: Database, document: Document, *, now: datetime, actor: str = COMMAND.name
) -> list[Change]:
    """Make the stored objects equal the document; all in one transaction, and only what differs."""
    return Documents(database).load(document, now=now, actor=Actor(actor))


def read_host(database: Database, document: Document) -> str:
    """This machine's key: the one the settings name, else its name made a key at first use and recorded."""
    if document.settings.host is not None:
        return document.settings.host
    with database.read() as connection:
        known = connection.execute(sa.select(marks.c.value).where(marks.c.name == HOST)).scalar()
    if known is not None:
        return str(known)
    host = key_from(platform.node().split(".")[0]) or "this-machine"
    with database.write() as connection:
        first = connection.execute(sa.select(marks.c.value).where(marks.c.name == HOST)).scalar()
        if first is not None:  # another process was quicker
            return str(first)
        connection.execute(marks.insert().values(name=HOST, value=host))
    return host


def _read(text: str | bytes) -> dict[str, Any]:
    return read(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text, "yaml")
