"""The table of actions: one row says all that is true of a verb, and everybody who orders it reads that row."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from highball.actions import ACTIONS, UPKEEP, VERBS, Need, Verb, verbs_about, words_of
from highball.hub.runs.queue import RunOrder, RunRequest
from highball.model.run import Action

of_each_verb = pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)


def order_of(verb: Verb, **more: Any) -> dict[str, Any]:
    """An order that names all that a verb needs."""
    known = {"snapshot": "f" * 64, "key_id": "e" * 64, "paths": ["/etc"], "new": {"file": "/key"}}
    return {"task": verb.name, **{name: known.get(name, "nas") for name in verb.needs}, **more}


@of_each_verb
def test_an_order_says_what_its_row_says(verb: Verb) -> None:
    order = RunRequest.model_validate(order_of(verb))
    assert (order.kind, order.action, order.opens_admin) == (verb.kind, verb.action, verb.deletes)
    assert order.subject == f"{verb.name}:{'nas' if verb.needs else 'hub'}"


@of_each_verb
def test_an_order_names_what_its_row_needs(verb: Verb) -> None:
    for name in verb.needs:
        lacking = {key: value for key, value in order_of(verb).items() if key != name}
        with pytest.raises(ValidationError, match=f"{verb.name} needs .*{name}"):
            RunRequest.model_validate(lacking)


@of_each_verb
def test_an_order_says_nothing_that_its_row_does_not_take(verb: Verb) -> None:
    if "remove_all" in verb.takes:
        assert RunRequest.model_validate(order_of(verb, remove_all=True)).remove_all
    else:
        with pytest.raises(ValidationError, match=f"{verb.name} has no remove_all"):
            RunRequest.model_validate(order_of(verb, remove_all=True))


@of_each_verb
def test_a_row_speaks_of_fields_that_an_order_has(verb: Verb) -> None:
    assert {*verb.needs, *verb.takes} <= set(RunOrder.model_fields)


def test_only_verbs_of_the_table_can_be_ordered() -> None:
    with pytest.raises(ValidationError, match=r"Input should be 'backup', .* or 'key-remove'"):
        RunRequest.model_validate({"task": "weigh", "repository": "nas"})


def test_every_name_stands_once() -> None:
    assert len(ACTIONS) == len(VERBS)


def test_what_keeps_a_repository_in_order_is_what_comes_there_by_itself() -> None:
    assert set(UPKEEP) == {Action.FORGET, Action.PRUNE, Action.CHECK, Action.VERIFY}


@pytest.mark.parametrize("action", Action)
def test_everything_that_a_step_does_has_words(action: Action) -> None:
    words = words_of(action)
    assert words.noun
    assert words.title.format("nas")


def test_what_deletes_waits_until_nobody_else_is_there() -> None:
    deletes = {verb.name for verb in VERBS if verb.deletes and verb.lock is not Need.EXCLUSIVE}
    assert deletes == {"unlock"}, "which has to run while locks are there"


def test_what_is_called_after_a_repository_follows_its_key() -> None:
    assert set(verbs_about("repository")) >= {"discard", "check", "prune", "verify", "unlock", "init"}
    assert list(verbs_about("job")) == ["backup"]
