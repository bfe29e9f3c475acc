"""What a command prints as a source: a dump of a database, say. It is a set of its own, one file in each snapshot.

Nothing here starts a program; what is to be started, and that it has to end well, is said to whoever does.
"""

from __future__ import annotations

import re
import shlex
from datetime import timedelta
from operator import not_
from typing import Annotated, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
)
from pydantic_core import PydanticCustomError

from highball.model.run import Caution
from highball.model.snapshot import FILES_SET
from highball.model.text import PathText
from highball.place.base import Place
from highball.schedule import Duration
from highball.secret import SecretReference, TextOrSecret, find_obstacle, is_named_like_a_secret
from highball.source.base import Content, Examined, Omissions, Reads, Stream
from highball.source.spelling import check_path, wrong

# --- commands, as people write them --------------------------------------------------------------


def _text_or_list(value: object) -> str:
    return "text" if isinstance(value, str) else "list"


def _check_command(command: str | tuple[str, ...]) -> str | tuple[str, ...]:
    words = (command,) if isinstance(command, str) else command
    if not words or not words[0].strip():
        raise ValueError("is blank")
    if any("\0" in word for word in words):
        raise ValueError("a command cannot hold the character NUL")
    return command


def check_timeout(timeout: timedelta) -> timedelta:
    """ValueError where it leaves no time at all."""
    if not timeout:
        raise ValueError("must be more than zero")
    return timeout


CommandLine = Annotated[
    Annotated[str, Tag("text")] | Annotated[tuple[str, ...], Tag("list")],
    Discriminator(_text_or_list),
    AfterValidator(_check_command),
]
"""A command for the shell, or a list: a program and its arguments."""


def in_one_line(command: str | tuple[str, ...]) -> str:
    """The beginning of a command, as people see it called."""
    text = command if isinstance(command, str) else shlex.join(command)
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:59]}…"


_OF_ALL_PARTS = """\
for shell in /bin/sh bash; do
  "$shell" -o pipefail -c : 2>/dev/null && exec "$shell" -o pipefail -c "$0"
done
exec /bin/sh -c "$0"
"""
"""Runs a command so that all parts of a pipe have to end well, where the machine has a shell that knows how: by
`pg_dump app | gzip` nobody else would learn that the dump failed."""

# --- the source ----------------------------------------------------------------------------------

_NOT_IN_KEYS = re.compile(r"[^a-z0-9._-]+")
_LONGEST_NAME = 63


def _check_name(name: str) -> str:
    if "/" in name or name in ("", ".", "..") or not name.isprintable() or name != name.strip():
        raise wrong(f'"{name[:60]}" is not the name of a file', "write it like app.sql")
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"is longer than {_LONGEST_NAME} characters")
    if not key_of(name):
        raise ValueError("contains no letter or digit that an ID may have")
    if key_of(name) == FILES_SET:
        raise wrong(f'"{FILES_SET}" is the set of all folders and files of a job', "write it like files.sql")
    return name


def key_of(name: str) -> str:
    """The key of the set that a stream of this name is: `App Dump.sql` is `app-dump.sql`."""
    return _NOT_IN_KEYS.sub("-", name.lower()).strip("._-")


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def _find_wrong(name: str, value: str | SecretReference) -> tuple[str, str | None] | None:
    """What is wrong with a variable, if anything, and what to do."""
    if not _VARIABLE.fullmatch(name):
        return "is not the name of a variable", None
    if name.upper().startswith("HIGHBALL_"):
        return "cannot be set here", "Highball sets these itself"
    if isinstance(value, str):
        is_secret = is_named_like_a_secret(name) or name.upper().endswith("_PWD")
        return ("is a secret, not text", _REFERENCES) if is_secret else None
    return ("cannot be sealed", _REFERENCES) if value.sealed is not None else None


_REFERENCES = "write { file = … }, { env = … } or { command = … }"


class CommandSource(BaseModel):
    """A command whose output a job backs up, as one file."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    kind: ClassVar[str] = "command"

    run: CommandLine = Field(description="a command for the shell, or a list: a program and its arguments")
    name: Annotated[str, AfterValidator(_check_name)] = Field(
        description="the name of the file with its output in a snapshot, like app.sql; unique in its job"
    )
    dir: Annotated[PathText, AfterValidator(check_path)] | None = Field(
        None, description="the folder to run it in"
    )
    timeout: Annotated[Duration, AfterValidator(check_timeout)] | None = Field(
        None, description="time limit; then it is killed, and nothing is saved; without one there is no limit"
    )
    environment: dict[str, TextOrSecret] = Field(
        {},
        description=(
            "environment variables for this command only, like PGPASSWORD; a secret is a reference, "
            "as for a password"
        ),
        exclude_if=not_,  # an agent from before there were any refuses a field that it does not know
    )

    @field_validator("environment")
    @classmethod
    def _check_environment(
        cls, variables: dict[str, str | SecretReference]
    ) -> dict[str, str | SecretReference]:
        each = [
            {"under": "", "message": f"{name} {why[0]}", "hint": why[1]}
            for name, value in variables.items()
            if (why := _find_wrong(name, value))
        ]
        if each:
            together = "; ".join(str(one["message"]) for one in each)
            raise PydanticCustomError("wrong", "{message}", {"message": together, "all": each})
        return variables

    @classmethod
    def claims(cls, declared: object) -> bool:
        """A table that says what to run."""
        return isinstance(declared, dict) and "run" in declared and "path" not in declared

    @property
    def set(self) -> str:
        """A set of its own, by its name."""
        return key_of(self.name)

    @property
    def title(self) -> str:
        """The name of the file, and what prints it."""
        return f"{self.name} ({in_one_line(self.run)})"

    @property
    def path_within(self) -> bytes:
        """A file that lies in no folder."""
        return b"/" + self.name.encode()

    def reads(self) -> Reads:
        """Whatever the command reads: nobody can say, so it is allowed as a command or not at all."""
        return Reads(command="a command as a source", secrets=self._secrets)

    def examine(self, omissions: Omissions, place: Place) -> Examined:
        """Whether its program is there, where that can be told without the shell, and its secrets, where that can be
        told without a program; what it would print is not asked.
        """
        caution = self._find_missing(place)
        return Examined(self.path_within, caution, usable=caution is None, holds=Content.UNKNOWN)

    def _find_missing(self, place: Place) -> Caution | None:
        if not isinstance(self.run, str) and place.find_program(self.run[0]) is None:
            message = f"the program {self.run[0]} of {self.name} is not installed"
            return Caution(code="source_missing", message=message)
        obstacles = (find_obstacle(reference) for reference in self._secrets.values())
        obstacle = next(filter(None, obstacles), None)
        return None if obstacle is None else Caution(code="secret_unavailable", message=obstacle)

    @property
    def _secrets(self) -> dict[str, SecretReference]:
        variables = self.environment.items()
        return {
            f"environment.{name}": value for name, value in variables if isinstance(value, SecretReference)
        }

    def prepare(self, found: Examined, omissions: Omissions, place: Place) -> Stream:
        """Nothing has to be done: it is started for each repository, once that is ready to take it."""
        argv = ("/bin/sh", "-c", _OF_ALL_PARTS, self.run) if isinstance(self.run, str) else self.run
        return Stream(self.name, argv, self.dir, self.timeout, self.environment)

    def release(self, place: Place) -> None:
        """Nothing was taken."""
