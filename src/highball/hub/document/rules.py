"""What may be: which changes of the Document are refused, and which a whole configuration asks for.

Pure: it judges what is stored as it was handed over, and reads neither the database nor a clock.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NoReturn

from pydantic_core import PydanticCustomError

from highball.config.object_keys import check_key
from highball.config.problems import find_nearest
from highball.config.references import (
    ALONE,
    Place,
    Spec,
    place_of,
)
from highball.config.roles import User
from highball.engine.kinds import Programs
from highball.errors import ConfigurationInvalid, Conflict, Misuse, NotAllowed, Problem, Unknown
from highball.hub.document.diff import (
    APPLIED,
    BY_HAND,
    FROM_FILE,
    Declared,
    Edit,
    Stored,
    is_of_file,
    problem_of_file,
    references_to,
)
from highball.hub.storage.database import new_run_id
from highball.model.role import Role

OWN_PROGRAM = (
    "name it under [settings] in the file that the hub is served with, "
    "and for another host in agent/policy.toml of its state"
)
"""Where a machine says which program of an engine it uses."""

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""When what was never set was changed."""


def get_object(stored: Stored, kind: str, key: str) -> Declared:
    found = stored.get((kind, key))
    if kind in ALONE and key == kind and (found is None or not found.lives):
        revision = 0 if found is None else found.revision
        return Declared(kind, key, found.id if found else "", {}, revision, BY_HAND, (), NEVER)
    if found is not None and found.lives:
        return found
    if found is not None:
        raise Unknown(f"the {kind} {key} was deleted", code=f"{kind}_deleted", hint="restore it, or purge it")
    raise Unknown(f"there is no {kind} {key[:80]}", code=f"{kind}_unknown", hint=_hint(stored, kind, key))


def _hint(stored: Stored, kind: str, key: str) -> str | None:
    alive = [one for one in stored.values() if one.kind == kind and one.lives]
    now = next((one.key for one in alive if key in one.former_keys), None)
    return f"it is called {now} now" if now else find_nearest(key, [one.key for one in alive])


def get_deleted(stored: Stored, kind: str, key: str) -> Declared:
    found = stored.get((kind, key))
    if found is None:
        raise Unknown(f"there is no deleted {kind} {key[:80]}", code=f"{kind}_unknown")
    if found.lives:
        raise Conflict(f"the {kind} {key} is not deleted", code="not_deleted", hint="delete it first")
    return found


def demand_key(kind: str, key: str) -> None:
    if kind in ALONE:
        raise Misuse(f"there is but one {kind}", hint=f"change the {kind} that there are")
    try:
        check_key(key)
    except PydanticCustomError as error:
        context = error.context or {}
        found = Problem("key", str(context["message"]), context["hint"])
        raise ConfigurationInvalid(
            found.message, code="key_invalid", hint=found.hint, problems=[found]
        ) from None


def demand_free(stored: Stored, kind: str, key: str, of: Declared | None = None) -> None:
    """Raise Conflict where the key is another's, or was: its snapshots are still known by it."""
    found = stored.get((kind, key))
    if found is not None and found.lives:
        raise Conflict(f"there is already a {kind} {key}", code="key_taken", hint="choose another ID")
    if found is not None:
        hint = f"restore {key}, or purge it to free its key"
        raise Conflict(f"the ID {key} is that of a deleted {kind}", code="key_deleted", hint=hint)
    for one in stored.values():
        if one.kind == kind and key in one.former_keys and (of is None or one.place != of.place):
            hint = "choose another key: its snapshots are still known by this one"
            raise Conflict(f"{key} is a former ID of {one.key}", code="key_former", hint=hint)


def demand_unreferenced(stored: Stored, one: Declared) -> None:
    found = references_to(stored, one.place)
    if found:
        problems = [
            Problem(f"{place_of(*reference.of)}.{reference.field}", f"names it: {one.kind} {one.key}")
            for reference in found
        ]
        number = "one place names" if len(found) == 1 else f"{len(found)} places name"
        raise Conflict(
            f"{one.key} cannot be deleted: {number} it",
            code="still_referenced",
            hint="remove it there first",
            problems=problems,
        )


def has_admin(stored: Stored) -> bool:
    users = (User.model_validate(one.spec) for one in stored.values() if one.kind == "user" and one.lives)
    return any(user.enabled and user.role is Role.ADMIN for user in users)


@dataclass(frozen=True)
class Owner:
    """Who says how things are to be: people by hand, the hub's own file, or a file that somebody applies."""

    origin: str
    file: str | None = None

    def marks(self, kind: str) -> dict[str, Any]:
        """What it leaves on what it declares."""
        # An applied file does not hold accounts: whoever must revoke a token shall not have to look for a file first.
        if self.origin == APPLIED and kind in ("user", "token"):
            return {"origin": BY_HAND, "file": None}
        return {"origin": self.origin, "file": self.file}

    def takes_over(self, one: Declared) -> bool:
        """Whether what says the same already becomes its own; what the hub's own file says stays that one's."""
        if self.origin == BY_HAND or (self.origin == APPLIED and one.origin == FROM_FILE):
            return False
        marks = self.marks(one.kind)
        return marks["origin"] != BY_HAND and marks != {"origin": one.origin, "file": one.file}

    def gives_up(self, one: Declared) -> bool:
        """Whether what is not named any more is deleted: by hand all, a file what it has declared itself."""
        return self.origin == BY_HAND or (self.origin, self.file) == (one.origin, one.file)


THE_PEOPLE = Owner(BY_HAND)
OWN_FILE = Owner(FROM_FILE)


def compare(wanted: Mapping[Place, Spec], stored: Stored, now: datetime, owner: Owner) -> Iterator[Edit]:
    """The edits that make what is stored equal what its owner wants."""
    for place, spec in wanted.items():
        one, marks = stored.get(place), owner.marks(place[0])
        if one is None:
            demand_free(stored, *place)
            yield Edit(None, replace(fresh(*place, spec, now), **marks), "created")
        elif not one.lives:
            yield Edit(one, one.revised(now, spec=spec, deleted_at=None, **marks), "restored")
        elif one.spec != spec:
            yield Edit(one, one.revised(now, spec=spec, **marks), "changed")
        elif owner.takes_over(one):
            yield Edit(one, one.revised(now, **marks), "taken over")
    for place, one in stored.items():
        if place not in wanted and one.lives and owner.gives_up(one) and _says_anything(one):
            yield Edit(one, one.revised(now, deleted_at=now), "deleted")


def _says_anything(one: Declared) -> bool:
    return one.kind not in ALONE or bool(one.spec)


def fresh(kind: str, key: str, spec: Spec, now: datetime) -> Declared:
    """A new object, declared by hand, at its first revision."""
    return Declared(kind, key, new_run_id(now, secrets.randbits(74)), spec, 1, BY_HAND, (), now)


def demand_right(edits: Iterable[Edit], owner: Owner, own: str | None) -> None:
    """Raise NotAllowed `managed_by_file` where only a file (`own` is the hub's) may change what is edited.

    And `restic_not_here` (or the like) where anybody but the hub's own file names a program to run on its machine.
    """
    edits = list(edits)
    if owner.origin != FROM_FILE:
        _refuse_programs(edits)
    if owner.origin != FROM_FILE and any(_names_secret_here(edit) for edit in edits):
        _refuse_secret_here()
    touched = [edit.before for edit in edits if edit.before is not None and is_of_file(edit.before)]
    if owner.origin == APPLIED:
        touched = [one for one in touched if one.origin == FROM_FILE]
    elif owner.origin == FROM_FILE:
        touched = []
    problems = [problem_of_file(one, own) for one in touched]
    if problems:
        raise NotAllowed(
            f"{problems[0].at} {problems[0].message}, and only changed there",
            code="managed_by_file",
            hint=problems[0].hint,
            problems=problems,
        )


def _refuse_programs(edits: Iterable[Edit]) -> None:
    message = "says which program runs on a machine: only a file of that machine may"
    for engine in Programs.model_fields:
        if any(_names_program(edit, engine) for edit in edits):
            found = Problem(f"settings.{engine}", message, OWN_PROGRAM)
            code = f"{engine}_not_here"
            raise NotAllowed(f"{found.at} {found.message}", code=code, hint=found.hint, problems=[found])


def _names_program(edit: Edit, engine: str) -> bool:
    named = None if edit.after is None else edit.after.spec.get(engine)
    before = None if edit.before is None else edit.before.spec.get(engine)
    return edit.place[0] == "settings" and named is not None and named != before


def _refuse_secret_here() -> NoReturn:
    message = (
        "names a file, a variable or a program of the hub’s machine: only the file it is served with may"
    )
    hint = "declare { sealed = true }, and send the value to settings/oidc/secret"
    found = Problem("settings.oidc.client_secret", message, hint)
    raise NotAllowed(f"{found.at} {found.message}", code="secret_not_here", hint=found.hint, problems=[found])


def _names_secret_here(edit: Edit) -> bool:
    def named(one: Declared | None) -> object:
        provider = None if one is None else one.spec.get("oidc")
        secret = provider.get("client_secret") if isinstance(provider, Mapping) else None
        return None if isinstance(secret, Mapping) and secret.get("sealed") is not None else secret

    told = named(edit.after)
    return edit.place[0] == "settings" and told is not None and told != named(edit.before)


def demand_admin(before: Stored, after: Stored) -> None:
    """Raise NotAllowed where there was an enabled admin and would be none any more."""
    if has_admin(before) and not has_admin(after):
        raise NotAllowed(
            "this is the last admin: nobody could change anything any more",
            code="last_admin",
            hint="make somebody else an admin first",
        )
