"""Change the keys of a repository: another password opens it, too, or one no more.

A new key is added by the password that opens the repository now, and is good only once the repository was opened by
the new one alone. Nothing that opens it for us is ever removed; whether a key is gone only a new listing tells.
"""

from __future__ import annotations

from highball.agent.run.steps import StepResult, Steps
from highball.agent.state_dir import meet
from highball.engine.base import Keys, OpenRepository
from highball.errors import RepositoryError
from highball.model.run import Action, Outcome, Reason
from highball.model.snapshot import RepositoryKey
from highball.protocol.tasks import KeyTask
from highball.secret import SecretValue


def change_keys(steps: Steps, task: KeyTask) -> None:
    """Carry out the task in one step."""
    body = {"add": _add, "rotate": _add, "remove": _remove}[task.act]
    title = {"add": "key added", "rotate": "password rotated", "remove": "key removed"}[task.act]
    steps.step(Action.KEY, task.repository, lambda: body(steps, task), title=title)


def _keys_of(opened: OpenRepository) -> Keys:
    """Raise RepositoryError where a repository of this kind has no keys."""
    if opened.keys is None:
        raise RepositoryError(f"{opened.words.name} has no keys that could be changed", code="no_keys")
    return opened.keys


def _add(steps: Steps, task: KeyTask) -> StepResult:
    assert task.new is not None
    value = steps.resolve(task.new)

    def body(opened: OpenRepository) -> StepResult:
        keys = _keys_of(opened)
        _demand_new(keys, value, task.repository)
        before = keys.list_keys()
        former = next((one.id for one in before if one.current), None)
        steps.finish(lambda: keys.add_key(value, task.name, steps.assignment.host)).demand()
        added = _demand_added(opened, keys.list_keys(), before)
        try:
            _open_with(keys.opened_by(value), added, steps.assignment.identities.get(task.repository))
        except RepositoryError as error:
            steps.log("highball", f"the key {added.id[:8]} stays in the repository, and nothing uses it")
            raise error
        facts = {"key": added.id, "former_key": former if task.act == "rotate" else None}
        steps.log("highball", f"the key {added.id[:8]} was added, and opens the repository by itself")
        return StepResult(facts=facts)

    # adding needs no right to delete, so the everyday access does it unless the admin's own password changes
    return steps.with_identity(task.repository, body, admin=task.of_admin)


def _demand_new(keys: Keys, value: SecretValue, repository: str) -> None:
    """Raise RepositoryError where the password opens the repository already, as after a rotation that was killed."""
    anew = keys.opened_by(value)
    try:
        anew.read_identity()
    except RepositoryError as error:
        if error.code != "wrong_password":
            raise
        return
    raise RepositoryError(
        "this password already opens the repository",
        code="password_not_new",
        hint=_out(keys, _keys_of(anew), repository),
    )


def _out(keys: Keys, anew: Keys, repository: str) -> str:
    """What to do where a password opens a repository already: it is the one in use, or a key that is left of before."""
    used, found = (next((one for one in by.list_keys() if one.current), None) for by in (keys, anew))
    if found is None or used is None or found.id == used.id:
        return "it is the one in use: choose another"
    return (
        f"by the key {found.id[:8]}, which a rotation that was ended may have left: choose another password, or remove "
        f"that key first: highball keys {repository} --remove {found.id[:8]}"
    )


def _demand_added(
    opened: OpenRepository, after: list[RepositoryKey], before: list[RepositoryKey]
) -> RepositoryKey:
    known = {one.id for one in before}
    fresh = [one for one in after if one.id not in known]
    if not fresh:
        raise RepositoryError(
            f"{opened.words.name} said that it added a key, and the repository lists none that is new",
            code="key_not_added",
        )
    return fresh[-1]


def _open_with(anew: OpenRepository, added: RepositoryKey, known: str | None) -> None:
    """Raise RepositoryError where the new password alone does not open this very repository by the new key."""
    meet(anew, known)
    current = next((one.id for one in _keys_of(anew).list_keys() if one.current), None)
    if current != added.id:
        raise RepositoryError(
            "the new password does not open the repository by the key that was added for it",
            code="key_not_proved",
            hint="the present password remains in use; see its keys",
        )


def _remove(steps: Steps, task: KeyTask) -> StepResult:
    assert task.id is not None
    gone = task.id
    everyday = steps.open(task.repository)
    known = steps.assignment.identities.get(task.repository)
    meet(everyday, known)
    in_use = {one.id for one in _keys_of(everyday).list_keys() if one.current}

    def body(opened: OpenRepository) -> StepResult:
        keys = _keys_of(opened)
        before = keys.list_keys()
        used = in_use | {one.id for one in before if one.current}
        if gone in used:
            raise RepositoryError(
                f"the key {gone[:8]} is used by Highball and cannot be removed",
                code="key_in_use",
                hint="rotate the password first",
            )
        if gone not in {one.id for one in before}:
            raise RepositoryError(f"the repository has no key {gone[:8]}", code="key_unknown")
        finished = steps.finish(lambda: keys.remove_key(gone))
        if gone not in {one.id for one in keys.list_keys()}:
            return StepResult(facts={"key": gone})
        why = finished.reason or finished.last_words or Reason(code=opened.words.failed, message="it stays")
        message = f"the key {gone[:8]} is still there: {why.message}"
        return StepResult(Outcome.FAILURE, why.model_copy(update={"message": message}))

    return steps.with_identity(task.repository, body, admin=True)
