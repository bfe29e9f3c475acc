"""What this host allows whoever orders: its own veto, which no hub can override.

It lies in `agent/policy.toml` of the agent's state, written by the host's own administrator. Without one
nothing that a hub declares may run a command here; paths may be read and restored to wherever this user may.
On the hub's own machine `agent/machine.json` stands beside it: what the hub's own configuration file says of it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from highball.engine.restic.repository import ResticRepository, address, secrets_of
from highball.errors import NotAllowed, Problem, StateUnusable
from highball.facts import PathText, path_for_people
from highball.protocol import Assignment, BackupTask, KeyTask, RestoreTask
from highball.secret import SecretReference
from highball.source.path import check_path, lies_inside

HARMLESS = ("AWS_", "B2_", "AZURE_", "GOOGLE_", "OS_", "ST_", "RESTIC_REST_", "GOMAXPROCS", "TZ")
"""Beginnings of environment variables that only say how storage is reached."""

WRITTEN_AT_FIRST = """\
# What this host allows whoever orders. The hub cannot change this file.
# commands: hooks, secrets by command, rclone, free options of restic.
#   "never"   none at all
#   "file"    only those that a configuration file on the hub's machine declares, none that a page or a program made
#   "always"  all
commands = "{commands}"

read = ["/"]       # what may be backed up, and looked into
restore = ["/"]    # where may be restored to
secrets = ["/"]    # where files that hold secrets may lie
# restic = "/usr/local/bin/restic"    # the restic to use here; without this the first on the PATH
"""

MACHINE = Path("agent", "machine.json")


class Commands(StrEnum):
    """Whose commands may run here."""

    NEVER = "never"
    FILE = "file"
    ALWAYS = "always"


def _check_program(path: Path) -> Path:
    check_path(os.fsencode(path))
    return path


_Path = Annotated[PathText, AfterValidator(check_path)]


class OwnMachine(BaseModel):
    """What the hub's own configuration file says of the machine that the hub and this agent share."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    restic: Path | None = None


class Policy(BaseModel):
    """What is allowed here, and which restic is this host's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    commands: Commands = Commands.NEVER
    read: tuple[_Path, ...] = (b"/",)
    restore: tuple[_Path, ...] = (b"/",)
    secrets: tuple[_Path, ...] = (b"/",)
    restic: Annotated[Path, AfterValidator(_check_program)] | None = None
    """The restic to use; None is the one of the hub's own machine, or the first on the PATH."""

    def demand(self, assignment: Assignment) -> None:
        """Raise NotAllowed, with everything about this assignment that is not allowed here."""
        self._refuse([*self._problems_of_task(assignment), *self._problems_of_repositories(assignment)])

    def demand_path(self, path: bytes) -> None:
        """Raise NotAllowed where this folder may not be looked into."""
        self._refuse([] if _is_below(path, self.read) else [_outside(path, "read", "looked into")])

    def demand_target(self, paths: Iterable[bytes]) -> None:
        """Raise NotAllowed where something may not be restored to one of these."""
        self._refuse([*self._problems_of_target(paths)])

    def demand_repository(self, key: str, repository: ResticRepository, *, from_file: bool) -> None:
        """Raise NotAllowed where what this repository needs is not allowed here."""
        self._refuse([*self._problems_of(key, repository, from_file=from_file)])

    @staticmethod
    def _refuse(problems: list[Problem]) -> None:
        if problems:
            raise NotAllowed(
                f"this host does not allow it: {problems[0].message}",
                code="refused_by_host",
                hint="its administrator may allow it in agent/policy.toml of its state",
                problems=problems,
            )

    def _runs(self, *, from_file: bool) -> bool:
        return self.commands is Commands.ALWAYS or (self.commands is Commands.FILE and from_file)

    def _problems_of_task(self, assignment: Assignment) -> Iterator[Problem]:
        task = assignment.task
        if isinstance(task, BackupTask):
            for source in task.job.sources:
                if not _is_below(source.path, self.read):
                    yield _outside(source.path, "read", "backed up")
            hooks = (*task.job.before, *task.job.after)
            if hooks and not self._runs(from_file=assignment.from_file):
                yield Problem("commands", f"{assignment.job} has hooks, and commands may not run here")
        if isinstance(task, KeyTask) and task.new is not None:
            yield from self._problems_of_secret(
                task.repository, "new password", task.new, from_file=assignment.from_file
            )
        if isinstance(task, RestoreTask):
            yield from self._problems_of_target(task.paths if task.target is None else (task.target,))

    def _problems_of_secret(
        self, key: str, name: str, reference: SecretReference, *, from_file: bool
    ) -> Iterator[Problem]:
        if reference.command is not None and not self._runs(from_file=from_file):
            yield Problem("commands", f"{key} uses a command for {name}, and commands may not run here")
        if reference.file is not None and not _is_below(os.fsencode(reference.file), self.secrets):
            yield _outside(os.fsencode(reference.file), "secrets", f"where {key}'s {name} is read from")

    def _problems_of_target(self, paths: Iterable[bytes]) -> Iterator[Problem]:
        for path in paths:
            if not _is_below(path, self.restore):
                yield _outside(path, "restore", "restored to")

    def _problems_of_repositories(self, assignment: Assignment) -> Iterator[Problem]:
        for key, repository in assignment.repositories.items():
            yield from self._problems_of(key, repository, from_file=assignment.from_file)

    def _problems_of(self, key: str, repository: ResticRepository, *, from_file: bool) -> Iterator[Problem]:
        found = sorted(set(_commands_of(repository)))
        if found and not self._runs(from_file=from_file):
            yield Problem("commands", f"{key} uses {', '.join(found)}, and commands may not run here")
        for name, reference in secrets_of(repository):
            if reference.file is not None and not _is_below(os.fsencode(reference.file), self.secrets):
                yield _outside(os.fsencode(reference.file), "secrets", f"where {key}'s {name} is read from")


def load_policy(state: Path) -> Policy:
    """The policy of the agent on this state; raises StateUnusable where the file is not understood."""
    path = state / "agent" / "policy.toml"
    try:
        told = tomllib.loads(path.read_text()) if path.exists() else {}
        machine = _read_machine(state / MACHINE)
        return Policy.model_validate({"restic": machine.restic} | told)
    except (OSError, ValueError, ValidationError) as error:
        words = str(error).splitlines()[0]
        raise StateUnusable(
            f"{path} is not understood, so nothing is allowed: {words}", code="policy_invalid"
        ) from None


def _read_machine(path: Path) -> OwnMachine:
    try:
        return OwnMachine.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return OwnMachine()


def _commands_of(repository: ResticRepository) -> Iterator[str]:
    for name, reference in secrets_of(repository):
        if reference.command is not None:
            yield f"a command for {name}"
    for location in (repository, repository.admin):
        if location is None:
            continue
        if location.options:
            yield "options of restic"
        for variable in location.environment:
            if not variable.startswith(HARMLESS):
                yield f"the variable {variable}"
        if location.url is not None and str(location.url).startswith("rclone:"):
            yield "rclone"
    if address(repository).startswith("rclone:"):
        yield "rclone"


def _is_below(path: bytes, folders: Iterable[bytes]) -> bool:
    """Whether a path lies in one of these folders, links in it followed as whoever reads it would."""
    real = os.path.realpath(path)
    return any(folder in (real, b"/") or lies_inside(real, folder) for folder in folders)


def _outside(path: bytes, at: str, what: str) -> Problem:
    return Problem(at, f"{path_for_people(path)} may not be {what} here")
