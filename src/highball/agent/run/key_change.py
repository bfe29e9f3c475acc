"""Change the keys of a repository: another password opens it, too, or one no more.

A new key is added by the password that opens the repository now, and is good only once the repository was opened by
the new one alone. Nothing that opens it for us is ever removed; whether a key is gone only a new listing tells.
"""

from __future__ import annotations

from dataclasses import replace

from highball.agent.run.steps import Done, Steps
from highball.agent.state_dir import meet
from highball.engine.restic.commands import Restic
from highball.engine.restic.keyring import add_key, list_keys, remove_key
from highball.errors import RepositoryError
from highball.model.run import Action, Outcome
from highball.model.snapshot import RepositoryKey
from highball.protocol.tasks import KeyTask
from highball.secret import SecretValue


def change_keys(steps: Steps, task: KeyTask) -> None:
    """Carry out the task in one step."""
    body = {"add": _add, "rotate": _add, "remove": _remove}[task.act]
    title = {"add": "key added", "rotate": "password rotated", "remove": "key removed"}[task.act]
    steps.step(Action.KEY, task.repository, lambda: body(steps, task), title=title)


def _add(steps: Steps, task: KeyTask) -> Done:
    assert task.new is not None
    value = steps.resolve(task.new)

    def body(restic: Restic) -> Done:
        _demand_new(restic, value, task.repository)
        before = list_keys(restic)
        former = next((one.id for one in before if one.current), None)
        finished = steps.finish(restic, lambda: add_key(restic, value, task.name, steps.assignment.host))
        restic.require(finished)
        added = _demand_added(list_keys(restic), before)
        try:
            _open_with(restic, value, added, steps.assignment.identities.get(task.repository))
        except RepositoryError as error:
            steps.log("highball", f"the key {added.id[:8]} stays in the repository, and nothing uses it")
            raise error
        facts = {"key": added.id, "former_key": former if task.act == "rotate" else None}
        steps.log("highball", f"the key {added.id[:8]} was added, and opens the repository by itself")
        return Done(facts=facts)

    # adding needs no right to delete, so the everyday access does it unless the admin's own password changes
    return steps.with_identity(task.repository, body, admin=task.of_admin)


def _demand_new(restic: Restic, value: SecretValue, repository: str) -> None:
    """Raise RepositoryError where the password opens the repository already, as after a rotation that was killed."""
    anew = replace(restic, access=replace(restic.access, password=value))
    try:
        anew.read_identity()
    except RepositoryError as error:
        if error.code != "wrong_password":
            raise
        return
    raise RepositoryError(
        "this password opens the repository already",
        code="password_not_new",
        hint=_out(restic, anew, repository),
    )


def _out(restic: Restic, anew: Restic, repository: str) -> str:
    """What to do where a password opens a repository already: it is the one in use, or a key that is left of before."""
    used, found = (next((one for one in list_keys(by) if one.current), None) for by in (restic, anew))
    if found is None or used is None or found.id == used.id:
        return "it is the one in use: choose another"
    return (
        f"by the key {found.id[:8]}, which a rotation that was ended may have left: choose another password, or remove "
        f"that key first: highball keys {repository} --remove {found.id[:8]}"
    )


def _demand_added(after: list[RepositoryKey], before: list[RepositoryKey]) -> RepositoryKey:
    known = {one.id for one in before}
    fresh = [one for one in after if one.id not in known]
    if not fresh:
        raise RepositoryError(
            "restic said that it added a key, and the repository lists none that is new", code="key_not_added"
        )
    return fresh[-1]


def _open_with(restic: Restic, value: SecretValue, added: RepositoryKey, known: str | None) -> None:
    """Raise RepositoryError where the new password alone does not open this very repository by the new key."""
    anew = replace(restic, access=replace(restic.access, password=value))
    meet(anew, known)
    opened = next((one.id for one in list_keys(anew) if one.current), None)
    if opened != added.id:
        raise RepositoryError(
            "the new password does not open the repository by the key that was added for it",
            code="key_not_proved",
            hint="keep the password that it has; see its keys",
        )


def _remove(steps: Steps, task: KeyTask) -> Done:
    assert task.id is not None
    gone = task.id
    everyday = steps.open(task.repository)
    known = steps.assignment.identities.get(task.repository)
    meet(everyday, known)
    in_use = {one.id for one in list_keys(everyday) if one.current}

    def body(restic: Restic) -> Done:
        keys = list_keys(restic)
        used = in_use | {one.id for one in keys if one.current}
        if gone in used:
            raise RepositoryError(
                f"the key {gone[:8]} opens the repository for Highball: it is never removed",
                code="key_in_use",
                hint="rotate the password first",
            )
        if gone not in {one.id for one in keys}:
            raise RepositoryError(f"the repository has no key {gone[:8]}", code="key_unknown")
        finished = steps.finish(restic, lambda: remove_key(restic, gone))
        if gone not in {one.id for one in list_keys(restic)}:
            return Done(facts={"key": gone})
        why = restic.why(finished)
        message = f"the key {gone[:8]} is still there: {why.message}"
        return Done(Outcome.FAILURE, why.model_copy(update={"message": message}))

    return steps.with_identity(task.repository, body, admin=True)
