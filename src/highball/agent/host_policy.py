"""What this host allows whoever orders: its own veto, which no hub can override, and which allows by list.

It lies in `agent/policy.toml` of the agent's state, written by the host's own administrator. Without one nothing
that a hub declares may run a command here. `veto` asks it about each field of what comes over the wire. On the
hub's own machine `agent/machine.json` stands beside it: what the hub's own configuration file says of it.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    PrivateAttr,
    ValidationError,
)

from highball.agent.private_file import write_privately
from highball.engine.kinds import Programs
from highball.errors import StateUnusable
from highball.model.paths import is_below
from highball.model.text import PathText
from highball.place.base import Files, Place, is_there
from highball.place.local import LOCAL
from highball.source.spelling import check_path, lies_inside

WRITTEN_AT_FIRST = """\
# What this host allows whoever orders. The hub cannot change this file.
# commands: hooks, secrets by command, rclone, free options of restic, variables that could name a program.
#   "never"   none at all
#   "file"    only those that a configuration file on the hub's machine declares, none that a page or a program made
#   "always"  all
commands = "{commands}"

read = ["/"]            # what may be backed up, looked into, and compared with what was saved
repositories = ["/"]    # where repositories of this machine may lie
secrets = ["/"]         # where files that hold secrets, keys and certificates may lie; "env:NAME" is a variable
# restore = ["/srv"]    # where may be restored to; without this in place, and where nothing is replaced
# restore_from = []     # hosts whose snapshots may be restored here, besides those that this agent made
# replaces = []         # hosts that this machine took the place of: their snapshots count as its own
# restic = "/usr/local/bin/restic"    # the restic to use here; without this the first on the PATH
"""

POLICY = Path("agent", "policy.toml")
MACHINE = Path("agent", "machine.json")

ROOT = b"/"
VARIABLE = "env:"
"""What a variable is named by, among the places of secrets."""


class Commands(StrEnum):
    """Whose commands may run here."""

    NEVER = "never"
    FILE = "file"
    ALWAYS = "always"


def _check_variable(value: object) -> object:
    if isinstance(value, str) and value.startswith(VARIABLE):
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value.removeprefix(VARIABLE), re.ASCII):
            raise ValueError(f"{VARIABLE} must be followed by the name of a variable")
        return value.encode()
    return value


def _check_place(place: bytes) -> bytes:
    return place if place.startswith(VARIABLE.encode()) else check_path(place)


_Path = Annotated[PathText, AfterValidator(check_path)]
_Place = Annotated[PathText, AfterValidator(_check_place), BeforeValidator(_check_variable)]


class OwnMachine(Programs):
    """What the hub's own configuration file says of the machine that the hub and this agent share."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    own: tuple[Path, ...] = ()
    """The hub's key and configuration."""


class Policy(Programs):
    """What is allowed here, and which programs of engines are this host's: those of the hub's own machine where it
    names none, or the first on the PATH."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    commands: Commands = Commands.NEVER
    read: tuple[_Path, ...] = (ROOT,)
    restore: tuple[_Path, ...] | None = None
    """Where may be restored to; None is in place, and to any folder where nothing is replaced."""
    restore_from: tuple[str, ...] = ()
    """Hosts whose snapshots may be restored here, in place only where `restore` says so."""
    replaces: tuple[str, ...] = ()
    """Hosts that this machine took the place of: their snapshots are restored here like its own."""
    repositories: tuple[_Path, ...] | None = None
    """Where repositories of this machine may lie; None is where `restore` says, or anywhere."""
    secrets: tuple[_Place, ...] = (ROOT,)
    _own: tuple[bytes, ...] = PrivateAttr((b"/etc/highball",))
    """Where Highball keeps its state, keys and configuration here."""
    _place: Place = PrivateAttr(LOCAL)

    def at(self, place: Place) -> Policy:
        """The same, for paths of another place."""
        policy = self.model_copy()
        policy._place = place
        return policy

    def runs_commands(self, *, from_file: bool) -> bool:
        """Whether a command may run that is declared so."""
        return self.commands is Commands.ALWAYS or (self.commands is Commands.FILE and from_file)

    def may_read(self, path: bytes) -> bool:
        """Whether this may be backed up, looked into, and compared."""
        return self._is_in(path, self.read)

    def may_restore_to(self, path: bytes, *, replaces: bool) -> bool:
        """Whether something may be restored to this folder, and whether it would replace what lies there."""
        if self.restore is not None:
            return self._is_in(path, self.restore)
        if not replaces:
            return True
        with self._place.files() as files:
            return not is_there(files, path) or _is_empty_folder(files, path)

    def may_restore_in_place(self, path: bytes) -> bool:
        """Whether this may be restored to where it was."""
        return self.restore is None or self._is_in(path, self.restore)

    def believes(self, host: str, *, in_place: bool) -> bool:
        """Whether a snapshot that this agent did not make, and that names this host, may be restored here."""
        if host in self.replaces:
            return True
        return host in self.restore_from and not (in_place and self.restore is None)

    def _is_in(self, path: bytes, folders: Iterable[bytes]) -> bool:
        """Whether a path is one of these or lies below, links in it followed as whoever uses it would."""
        folders = tuple(folders)
        if ROOT in folders:
            return True
        real = self._real_path(path)
        return any(folder == real or lies_inside(real, folder) for folder in folders)

    def is_own(self, path: bytes) -> bool:
        """Whether a path is Highball's own or lies there, as it is spelled or behind the links in it."""
        spelled = {path, self._real_path(path)}
        return any(one == place or is_below(one, place) for place in self._own for one in spelled)

    def _real_path(self, path: bytes) -> bytes:
        with self._place.files() as files:
            return files.real_path(path)

    @property
    def own(self) -> tuple[bytes, ...]:
        """Where Highball keeps its state, keys and configuration: nothing that comes over the wire is put there."""
        return self._own

    def may_hold_repository(self, path: bytes) -> bool:
        """Whether a repository may lie there."""
        if self.repositories is None:
            return self.restore is None or self._is_in(path, self.restore)
        return self._is_in(path, self.repositories)

    def may_hold_secret(self, path: bytes) -> bool:
        """Whether a file with a secret, a key or a certificate may lie there."""
        return self._is_in(path, [place for place in self.secrets if place.startswith(ROOT)])

    def may_be_secret(self, variable: str) -> bool:
        """Whether a variable of this agent may be handed over as a secret: who may read all files reads it anyway."""
        return ROOT in self.secrets or (VARIABLE + variable).encode() in self.secrets


def _is_empty_folder(files: Files, path: bytes) -> bool:
    try:
        return next(files.list_folder(files.real_path(path)), None) is None
    except OSError:
        return False


def load_policy(state: Path) -> Policy:
    """The policy of the agent on this state; raises StateUnusable where the file is not understood."""
    path = state / POLICY
    try:
        told = tomllib.loads(path.read_text()) if path.exists() else {}
        machine = _read_machine(state / MACHINE)
        policy = Policy.model_validate(machine.model_dump(exclude={"own"}) | told)
    except (OSError, ValueError, ValidationError) as error:
        words = str(error).splitlines()[0]
        raise StateUnusable(
            f"{path} is not valid, so nothing is allowed: {words}", code="policy_invalid"
        ) from None
    policy._own += tuple(os.fsencode(os.path.realpath(own)) for own in (state, *machine.own))
    return policy


def ask_to_replace(state: Path, host: str) -> None:
    """Have the policy say that this machine took the place of a host; raises StateUnusable where it says otherwise."""
    path = state / POLICY
    if host in load_policy(state).replaces:
        return
    line = f'replaces = ["{host}"]'
    text = path.read_text() if path.exists() else WRITTEN_AT_FIRST.format(commands=Commands.NEVER.value)
    if re.search(r"(?m)^\s*replaces\b", text):
        raise StateUnusable(
            f"{path} names other hosts that this machine replaces",
            code="policy_invalid",
            hint=f"add {host} there",
        )
    write_privately(path, f"{line}\n{text}".encode())


def _read_machine(path: Path) -> OwnMachine:
    try:
        return OwnMachine.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return OwnMachine()
