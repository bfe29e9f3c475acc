"""keys: which passwords open a repository, another one more, a new one in the place of the old; here and over a hub."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from highball.cli import render, run_all
from highball.cli.context import Session
from highball.cli.lookup import choose_repositories
from highball.cli.options import (
    RepositoryArgument,
    Wait,
    Yes,
    read_wait,
)
from highball.errors import Cancelled, Conflict, Misuse, Unknown
from highball.model.run import Outcome, Run
from highball.model.snapshot import KeyTold

if TYPE_CHECKING:
    from highball.cli.operations import Operations

Adds = Annotated[
    str | None,
    typer.Option("--add", metavar="NAME", help="Add a key with this name: a further password."),
]
Rotates = Annotated[bool, typer.Option("--rotate", help="Replace the password in use by a new one.")]
Removes = Annotated[
    str | None,
    typer.Option(
        "--remove",
        metavar="ID",
        help="Remove the key with this ID: its password no longer opens the repository.",
    ),
]
NewPasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--new-password-file",
        metavar="FILE",
        help="The file with the new password; over a hub one is generated without it.",
    ),
]
OfAdmin = Annotated[
    bool, typer.Option("--admin", help="With --rotate: replace the password of the admin credentials.")
]


def keys(
    context: typer.Context,
    repository: RepositoryArgument,
    add: Adds = None,
    rotate: Rotates = False,
    remove: Removes = None,
    new_password_file: NewPasswordFile = None,
    admin: OfAdmin = False,
    yes: Yes = False,
    wait: Wait = None,
) -> None:
    """List the keys (passwords) of a repository; add or remove one, or rotate the password in use."""
    session: Session = context.obj
    if sum(map(bool, (add, rotate, remove))) > 1:
        raise Misuse("--add, --rotate and --remove exclude each other")
    patience = read_wait(wait)
    place = session.place()
    [key] = choose_repositories(place.document, [repository])
    changes = bool(add or rotate or remove)
    place.make_ready([key], begins_run=changes)
    if not changes:
        render.show_keys(session.output, place.list_keys(key))
    elif remove:
        one = _find(place.list_keys(key), remove, key)
        _agree(session, one, key, yes=yes)
        _carry_out(session, place, key, place.order_key(key, "key-remove", patience, key_id=one.id))
    else:
        act = "key-rotate" if rotate else "key-add"
        more: dict[str, Any] = {"of_admin": True} if admin else {}
        if add:
            more["key_name"] = add
        _add(session, place, key, act, new_password_file, patience, more)


def _add(
    session: Session,
    place: Operations,
    key: str,
    act: str,
    file: Path | None,
    wait: timedelta | None,
    more: dict[str, Any],
) -> None:
    order = place.order_key(key, act, wait, file=file, **more)
    [run] = _carry_out(session, place, key, order)
    if act != "key-rotate" or run.outcome is not Outcome.SUCCESS:
        return
    note = session.output.note
    for line in place.tell_rotated(key, file, of_admin=bool(more)):
        note(line)
    former = next((step.former_key for step in run.steps if step.former_key), None)
    if former:
        note(
            f"The old password remains valid until its key is removed: highball keys {key} --remove "
            f"{former[:8]}"
        )
    note(
        "The data is not encrypted again: anybody with an earlier copy of a key and its password "
        "can still read it."
    )


def _carry_out(session: Session, place: Operations, key: str, order: Any) -> list[Run]:
    return run_all.carry_out(session, place, [(key, lambda: order)])


def _find(found: list[KeyTold], id: str, repository: str) -> KeyTold:
    """The key whose id begins so; raises Unknown, and Conflict where Highball opens the repository by it."""
    matching = [one for one in found if one.id.startswith(id.lower())]
    if len(matching) != 1:
        raise Unknown(
            f"{'no key' if not matching else 'more than one key'} of {repository} starts with {id[:64]}",
            code="key_unknown",
            hint=f"see them with: highball keys {repository}",
        )
    if not matching[0].removable:
        raise Conflict(
            f"the key {matching[0].id[:8]} of {repository} is in use by Highball, and cannot be removed",
            code="key_in_use",
            hint=f"replace it by a new password first: highball keys {repository} --rotate",
        )
    return matching[0]


def _agree(session: Session, one: KeyTold, repository: str, *, yes: bool) -> None:
    if yes:
        return
    if not session.output.interactive:
        raise Misuse("removing a key needs --yes when nobody can be asked", code="confirmation_required")
    called = f"{one.user}@{one.host}"
    if not session.output.confirm(
        f"Remove the key {one.id[:8]} ({called})? Its password will no longer open {repository}."
    ):
        raise Cancelled("nothing was changed")
