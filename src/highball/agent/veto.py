"""What the policy of a host has to say about everything that comes over the wire, field by field.

One table says of each field of each class of the protocol what it can do here: nothing, or what the policy is asked
about it. A field that stands in no row is refused, so a new one does nothing until somebody has decided. Nothing
here reads what a field is for: that is the matter of whoever carries out what was allowed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from highball.agent.host_policy import POLICY, Policy
from highball.config.job import (
    Hook,
    Job,
    Retry,
)
from highball.engine.base import DeclaredRepository, Uses
from highball.errors import NotAllowed, Problem
from highball.model.run import Printed
from highball.model.text import path_for_people
from highball.place.base import DeclaredPlace
from highball.place.kinds import open_place
from highball.protocol import queries, tasks, wire
from highball.retention import Retention
from highball.secret import SecretReference
from highball.source.base import Source
from highball.source.kinds import KINDS


@dataclass(frozen=True)
class Case:
    """What is asked about: by whose word, and what it is called in messages."""

    policy: Policy
    from_file: bool = False
    about: str = ""

    def named(self, name: str) -> Case:
        """The same, about a part of it."""
        return replace(self, about=f"{self.about}'s {name}" if self.about else name)


Rule = Callable[[Case, Any], Iterator[Problem]]
"""Told the object that a field belongs to; a rule of several fields is asked once for them."""


def demand(policy: Policy, message: BaseModel) -> None:
    """Raise NotAllowed, with everything about this order or question that is not allowed here."""
    case = Case(policy, _is_from_file(message))
    place: DeclaredPlace | None = getattr(message, "place", None)
    if place is not None:
        _refuse(goes_elsewhere(case, message))  # before anything of that place is looked at
        case = replace(case, policy=policy.at(open_place(place)))
    _refuse(walk(case, message))


def _refuse(problems: Iterable[Problem]) -> None:
    found = list(dict.fromkeys(problems))
    if found:
        raise refusal(found)


def refusal(problems: list[Problem]) -> NotAllowed:
    """The error that says that this host does not allow it, and what its administrator may do."""
    first = problems[0]
    return NotAllowed(
        f"this host does not allow it: {first.message}",
        code="refused_by_host",
        hint=f"its administrator may allow it by {first.hint} in {POLICY} of its state"
        if first.hint
        else f"its administrator may allow it in {POLICY} of its state",
        problems=problems,
    )


def walk(case: Case, found: object) -> Iterator[Problem]:
    """Ask the policy about an object, and about all that lies in it."""
    if isinstance(found, BaseModel):
        yield from _ask_about(case, found)
    elif isinstance(found, Mapping):
        for key, value in found.items():
            yield from walk(replace(case, about=str(key)), value)
    elif isinstance(found, tuple | list):
        for value in found:
            yield from walk(case, value)


def _ask_about(case: Case, found: BaseModel) -> Iterator[Problem]:
    rules = rules_of(type(found))
    asked: list[Rule] = []
    for name in type(found).model_fields:
        rule = rules.get(name)
        if rule is None:
            yield _undecided(name)
        elif rule is within:
            yield from walk(_about(case, found, name), getattr(found, name))
        elif rule not in asked:
            asked.append(rule)
            yield from rule(case, found)


def _about(case: Case, found: BaseModel, name: str) -> Case:
    """What a part is called: that of a repository by its key, that of anything else as what it belongs to."""
    if isinstance(found, queries.OfRepository):
        return replace(case, about=found.key)
    if isinstance(found, tasks.Assignment):
        return replace(case, about=found.job or "")
    if isinstance(found, tasks.KeyTask):
        return replace(case, about=found.repository).named("new password")
    return case


def _is_from_file(message: BaseModel) -> bool:
    return bool(getattr(message, "from_file", False))


# --- what a field can do -------------------------------------------------------------------------


def harmless(case: Case, found: BaseModel) -> Iterator[Problem]:
    """Its type leaves nothing that could name a program, a variable, a path of this host or a secret."""
    yield from ()


def recorded(case: Case, found: BaseModel) -> Iterator[Problem]:
    """It is only written down or said again: nothing is done by it."""
    yield from ()


def unused(case: Case, found: BaseModel) -> Iterator[Problem]:
    """No agent reads it."""
    yield from ()


def looked_up(case: Case, found: BaseModel) -> Iterator[Problem]:
    """It only names something else in the same message, which is asked about where it stands."""
    yield from ()


def compared(case: Case, found: BaseModel) -> Iterator[Problem]:
    """It is only held against the names of what a snapshot holds."""
    yield from ()


def in_snapshot(case: Case, found: BaseModel) -> Iterator[Problem]:
    """A path in a snapshot, which says nothing of this host; no engine takes it for an option."""
    yield from ()


def option_value(case: Case, found: BaseModel) -> Iterator[Problem]:
    """It says what is not saved, or what a key is called; no engine takes it for more than that."""
    yield from ()


def sent_back(case: Case, found: BaseModel) -> Iterator[Problem]:
    """It goes back to the hub, and to nobody else."""
    yield from ()


def handed_over(case: Case, found: BaseModel) -> Iterator[Problem]:
    """Values of secrets: what they are for is asked about where they are referred to."""
    yield from ()


def asked_with_the_whole(case: Case, found: BaseModel) -> Iterator[Problem]:
    """Of a part that says little by itself: whoever holds it is asked for both."""
    yield from ()


def within(case: Case, found: BaseModel) -> Iterator[Problem]:
    """It holds objects with rows of their own."""
    yield from ()


# --- what the policy is asked --------------------------------------------------------------------


def is_source(case: Case, found: Source) -> Iterator[Problem]:
    """What a job saves: all that its kind says it reads of this host. The rest of it only says what is not saved."""
    reads = found.reads()
    if reads.command is not None:
        yield from _command(case, reads.command)
    for name, reference in reads.secrets.items():
        yield from walk(case.named(name), reference)
    for path in reads.paths:
        if not case.policy.may_read(path):
            yield _outside(path, "read", "backed up")


def looks_into(case: Case, found: queries.Browse) -> Iterator[Problem]:
    """A folder of this host that is listed."""
    if not case.policy.may_read(found.path):
        yield _outside(found.path, "read", "looked into")


def restores(case: Case, found: tasks.RestoreTask | queries.PlanRestore) -> Iterator[Problem]:
    """Paths of this host that are written to: the target, or in place what the paths say.

    Whose snapshot it is, and what of it would lie among Highball's own files, is looked at where it is read.
    """
    if found.target is None:
        refused = [path for path in found.paths if not case.policy.may_restore_in_place(path)]
    else:
        replaces = found.overwrite not in (None, tasks.Overwrite.NEVER)
        refused = [] if case.policy.may_restore_to(found.target, replaces=replaces) else [found.target]
        if case.policy.is_own(found.target):
            yield Problem("restore", f"{path_for_people(found.target)} is Highball's own")
    for path in refused:
        if case.policy.restore is None:
            words = f"{path_for_people(path)} is not empty, and nothing in it may be replaced"
            yield Problem("restore", words, f'naming "{path_for_people(path)}" under restore')
        else:
            yield _outside(path, "restore", "restored to")


def goes_elsewhere(case: Case, found: Any) -> Iterator[Problem]:
    """Another place than this machine, which is reached by a program."""
    if found.place is not None:
        yield from _command(case, "another place")


def runs_hooks(case: Case, found: Job) -> Iterator[Problem]:
    """Commands that a job declares."""
    if found.before or found.after:
        yield from _command(case, "hooks")


def runs(case: Case, found: SecretReference) -> Iterator[Problem]:
    """A program that prints a secret."""
    if found.command is not None:
        _, _, what = case.about.partition("'s ")
        yield from _command(case, f"a command for {what}")


def reads_secret(case: Case, found: SecretReference) -> Iterator[Problem]:
    """A file that holds a secret."""
    if found.file is not None:
        yield from _secret_file(case, found.file)


def takes_variable(case: Case, found: SecretReference) -> Iterator[Problem]:
    """A variable of this agent that is handed over as a secret."""
    if found.env is not None and not case.policy.may_be_secret(found.env):
        place = f"env:{found.env}"
        yield Problem("secrets", f"{case.about} may not be {place} here", f'naming "{place}" under secrets')


def is_used(case: Case, found: DeclaredRepository) -> Iterator[Problem]:
    """What a repository uses of this host, as its engine says of each field that it adds."""
    told = found.uses()
    for name in type(found).model_fields:
        if name in told:
            yield from _use(case, told[name])
        elif name not in _OF_ANY_REPOSITORY:
            yield _undecided(name)


def _use(case: Case, found: Uses) -> Iterator[Problem]:
    for place in found.places:
        if not case.policy.may_hold_repository(os.fsencode(place)):
            yield _outside(os.fsencode(place), "repositories", "a repository's place")
    for words in found.commands:
        yield from _command(case, words)
    for slot, path in found.files.items():
        yield from _secret_file(case.named(_slot_in_words(slot)), path)
    for slot, reference in found.secrets.items():
        yield from walk(case.named(_slot_in_words(slot)), reference)


def _slot_in_words(slot: str) -> str:
    return slot.replace("admin.", "admin's ", 1) if slot.startswith("admin.") else slot


def _undecided(name: str) -> Problem:
    return Problem(name, f"there is no rule for {name} here")


def _command(case: Case, what: str) -> Iterator[Problem]:
    if not case.policy.runs_commands(from_file=case.from_file):
        who = case.about.partition("'s ")[0]
        allowing = 'commands = "file" or "always"' if case.from_file else 'commands = "always"'
        uses = f"{who} uses {what}" if who else f"it uses {what}"
        yield Problem("commands", f"{uses}, and commands may not run here", allowing)


def _secret_file(case: Case, path: Path) -> Iterator[Problem]:
    if not case.policy.may_hold_secret(os.fsencode(path)):
        yield _outside(os.fsencode(path), "secrets", f"where {case.about} is read from")


def _outside(path: bytes, at: str, what: str) -> Problem:
    shown = path_for_people(path)
    return Problem(at, f"{shown} may not be {what} here", f'naming "{shown}" under {at}')


# --- what was decided ----------------------------------------------------------------------------

_OF_ANY_REPOSITORY: dict[str, Rule] = {
    **dict.fromkeys(("engine", "answer_within", "when_back", "append_only"), harmless),
    **dict.fromkeys(("title", "host", "maintained_by"), unused),
}
"""What a repository declares whatever its engine."""

_OF_REPOSITORY: dict[str, Rule] = {
    "asks": harmless,
    "key": harmless,
    "repository": within,
    "identity": harmless,
    "known": harmless,
    "others": harmless,
    "place": goes_elsewhere,
    "timezone": harmless,
    "from_file": harmless,
}

_SET: dict[str, Rule] = dict.fromkeys(("host", "former_hosts", "tags"), harmless)

_OF_JOB: dict[str, Rule] = {
    "sources": within,
    "exclude": option_value,
    "exclude_if_present": option_value,
    "exclude_larger_than": harmless,
    "exclude_caches": harmless,
    "one_file_system": harmless,
    "compression": harmless,
    "read_concurrency": harmless,
    "limit_upload": harmless,
    "limit_download": harmless,
    "shrink_limit": harmless,
    "retry": within,
    "wait": harmless,
    "repositories": looked_up,
    "before": runs_hooks,
    "after": runs_hooks,
    "windows": unused,
    "missed": unused,
    "schedule": unused,
    "retention": unused,
    "host": unused,
    "profile": unused,
    "title": unused,
    "tags": unused,
    "enabled": unused,
}

_OF_RUN: dict[str, Rule] = {"run": harmless}

DECIDED: Mapping[type[BaseModel], Mapping[str, Rule]] = {
    # what a run is
    tasks.Assignment: {
        "run": harmless,
        "kind": harmless,
        "subject": recorded,
        "nominal_at": harmless,
        "job": harmless,
        "host": harmless,
        "place": goes_elsewhere,
        "timezone": harmless,
        "done_before": recorded,
        "task": within,
        "repositories": within,
        "identities": harmless,
        "others": harmless,
        "wait": harmless,
        "former_jobs": harmless,
        "former_hosts": harmless,
        "from_file": harmless,
        "warrant": harmless,
        "created_at": harmless,
    },
    tasks.BackupTask: {
        "type": harmless,
        "job": within,
        "set": harmless,
        "expected": within,
        "streams": within,
        "dry_run": harmless,
    },
    tasks.Expectation: dict.fromkeys(("snapshot_ids", "parent", "sizes"), harmless),
    tasks.ForgetTask: {
        "type": harmless,
        "repository": harmless,
        "removals": within,
        "held": within,
        "prune": harmless,
    },
    tasks.Removal: _SET | dict.fromkeys(("job", "set", "remove", "stay", "unknown", "adopted"), harmless),
    tasks.HeldRemoval: {"job": harmless, "set": harmless, "code": recorded, "message": recorded},
    tasks.PlainTask: dict.fromkeys(("type", "repository"), harmless),
    tasks.CheckTask: dict.fromkeys(("type", "repository", "slice"), harmless),
    tasks.VerifyTask: {
        **dict.fromkeys(("type", "repository", "snapshot_id", "all_data", "unconfirmed", "stream"), harmless),
        **dict.fromkeys(("sample_files", "sample_bytes"), harmless),
        "printed": within,
        "markers": compared,
    },
    Printed: dict.fromkeys(("size_bytes", "sha256"), harmless),
    tasks.UnlockTask: dict.fromkeys(("type", "repository", "remove_all"), harmless),
    tasks.KeyTask: {
        **dict.fromkeys(("type", "repository", "act", "id", "of_admin"), harmless),
        "name": option_value,
        "new": within,
    },
    tasks.RestoreTask: {
        **dict.fromkeys(("type", "repository", "snapshot_id", "overwrite"), harmless),
        **dict.fromkeys(("paths", "target"), restores),
    },
    # what is declared
    Job: _OF_JOB,
    Hook: dict.fromkeys(("name", "run", "dir", "timeout", "on_error"), asked_with_the_whole),
    Retry: dict.fromkeys(("max", "backoff"), harmless),
    Retention: dict.fromkeys(
        (
            *("last", "hourly", "daily", "weekly", "monthly", "yearly"),
            *("within", "within_hourly", "within_daily", "within_weekly", "within_monthly", "within_yearly"),
        ),
        harmless,
    ),
    **{kind: dict.fromkeys(kind.model_fields, is_source) for kind in KINDS},
    SecretReference: {
        "file": reads_secret,
        "env": takes_variable,
        "command": runs,
        "sealed": looked_up,
    },
    # what is asked
    queries.Browse: {"asks": harmless, "place": goes_elsewhere, "path": looks_into},
    queries.Measure: {
        "asks": harmless,
        "place": goes_elsewhere,
        "sources": within,
        "exclude": option_value,
        "seconds": harmless,
    },
    queries.TestSources: {"asks": harmless, "place": goes_elsewhere, "job": within},
    queries.TestRepository: _OF_REPOSITORY,
    queries.ListSnapshots: _OF_REPOSITORY | _SET,
    queries.ListLocks: _OF_REPOSITORY,
    queries.ListKeys: _OF_REPOSITORY,
    queries.RehearseForget: _OF_REPOSITORY | _SET | {"retention": within},
    queries.ListFolder: _OF_REPOSITORY | {"snapshot": harmless, "path": in_snapshot},
    queries.CompareSnapshots: _OF_REPOSITORY | {"old": harmless, "new": harmless},
    queries.PlanRestore: _OF_REPOSITORY
    | dict.fromkeys(("snapshot", "overwrite", "counts"), harmless)
    | dict.fromkeys(("paths", "target"), restores),
    queries.SampleNames: _OF_REPOSITORY | {"snapshot": harmless},
    queries.ListNodes: _OF_REPOSITORY | {"snapshot": harmless, "path": in_snapshot},
    queries.Dump: _OF_REPOSITORY | {"snapshot": harmless, "path": in_snapshot},
    # how both come
    wire.Assign: {"assignment": within, "needs": recorded, "secrets": handed_over},
    wire.Ask: {"question": within, "seconds": harmless, "ticket": sent_back, "secrets": handed_over},
    wire.Secrets: _OF_RUN | {"secrets": handed_over},
    wire.CancelRun: _OF_RUN,
    wire.Acknowledged: _OF_RUN | {"seq": harmless},
    wire.RunsWanted: {"runs": harmless},
    wire.StopAsking: {},
}
"""What each field of each class can do here that an agent takes from a hub once both have proved who they are."""


def rules_of(model: type[BaseModel]) -> Mapping[str, Rule]:
    """What was decided of each field of a class; of one that an engine adds the engine itself says what it uses."""
    if issubclass(model, DeclaredRepository):
        return dict.fromkeys(model.model_fields, is_used) | _OF_ANY_REPOSITORY
    return DECIDED.get(model, {})
