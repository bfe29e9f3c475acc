"""A reference to a secret, and how it is resolved on the machine that needs it.

What people declare is where the secret lies, never the secret. A value exists only as `SecretValue` between
its resolution and the pipe of the child that reads it; it prints as `***` everywhere else. A sealed secret lies
in a hub's vault: it is declared as `{ sealed = true }`, an assignment names its place there, and the hub hands
the values over beside the assignment.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import stat
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from highball.errors import SecretUnavailable
from highball.model.text import Line, spelled_out

LARGEST_BYTES = 60 * 1024
"""A secret has to fit into a pipe's buffer (64 KiB on Linux), so that writing it never blocks."""

COMMAND_SECONDS = 30

LONGEST_COMPLAINT = 300
"""So many bytes of what a secret's command said when it failed are told."""

PLACE = r"repository:[0-9a-f-]{36}:[A-Za-z0-9_.]{1,120}"
"""A repository's place in the vault: `repository:<id of the object>:<which of its secrets>`."""


class SecretValue:
    """The bytes of a secret; shows itself as `***` to everything that prints."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The secret itself, for the pipe or environment of the child that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretValue) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def _refuse_plain_text(value: object) -> object:
    if isinstance(value, str):
        raise ValueError(
            'a secret is a reference: { file = "…" }, { env = "…" } or { command = "…" }, not the secret itself'
        )
    return value


_QUOTED = re.compile(r"'[^']*'|\"(?:\\.|[^\"\\])*\"|\\.")
_FOR_A_SHELL = re.compile(r"[|;<>&`]|\$[A-Za-z_{(]|(?<![^\s=:])~(?=[/\s]|$)")


def _split_command(value: object) -> object:
    if not isinstance(value, str):
        return value
    meant = _FOR_A_SHELL.search(_QUOTED.sub(lambda quoted: "x" * len(quoted[0]), value))
    if meant is not None:
        raise ValueError(
            f"no shell reads the command of a secret, so its {meant[0][0]} would do nothing: write whole paths, quote "
            "what is meant as it stands, or let a shell read it: sh -c '…'"
        )
    return shlex.split(value)


def _check_sealed(value: object) -> object:
    if value is None or value is True or (isinstance(value, str) and re.fullmatch(PLACE, value)):
        return value
    raise ValueError("sealed must be true: the hub knows the value")


class SecretReference(BaseModel):
    """Where a secret lies: exactly one of a file, an environment variable, a program's output or a hub's vault."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path | None = Field(
        None, description="a file whose content is the secret; line breaks at its end are ignored"
    )
    env: str | None = Field(
        None, description="an environment variable of the process that does the work", min_length=1
    )
    command: Annotated[tuple[str, ...] | None, BeforeValidator(_split_command)] = Field(
        None, description="a program and its arguments that print the secret; no shell reads it"
    )
    sealed: Annotated[Literal[True] | str | None, BeforeValidator(_check_sealed)] = Field(
        None,
        description="true: it is sealed in the hub",
        json_schema_extra={"anyOf": [{"const": True}, {"type": "null"}]},
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("a secret names exactly one of file, env, command, sealed")
        if self.file is not None and not self.file.is_absolute():
            raise ValueError("the file of a secret is an absolute path")
        if self.command is not None and not self.command:
            raise ValueError("the command of a secret is empty")
        if any("\0" in word for word in (str(self.file), *(self.command or ()))):
            raise ValueError("the place of a secret cannot hold the character NUL")
        if self.env is not None and set(self.env) & {"=", "\0"}:
            raise ValueError("env must be the name of a variable")
        return self


Secret = Annotated[SecretReference, BeforeValidator(_refuse_plain_text)]
"""A secret as people declare it."""


def _text_or_reference(value: object) -> str:
    return "text" if isinstance(value, str) else "reference"


TextOrSecret = Annotated[
    Annotated[Line, Tag("text")] | Annotated[SecretReference, Tag("reference")],
    Discriminator(_text_or_reference),
    BeforeValidator(spelled_out),
]
"""Text where it is no secret, or a reference where it is."""


_NAMES = re.compile(r"PASSWORD|PASSWD|_PASS$|SECRET|TOKEN|_SAS$|_KEY$")


def is_named_like_a_secret(variable: str) -> bool:
    """Whether a variable of this name holds a secret, rather than says where one lies."""
    upper = variable.upper()
    return _NAMES.search(upper) is not None and not upper.endswith(("_FILE", "_PATH"))


def resolve(
    secret: SecretReference,
    environment: Mapping[str, str] | None = None,
    sealed: Mapping[str, SecretValue] | None = None,
) -> SecretValue:
    """The secret's value, without the line ends at its end.

    `environment` is where variables are looked up (None: this process's own), `sealed` the values that a hub
    handed over, by their places. Raises SecretUnavailable, whose message names the place and never a value.
    """
    if secret.sealed is not None:
        return _find_handed_over(secret.sealed, sealed or {})
    if secret.file is not None:
        value = _read_file(secret.file)
    elif secret.env is not None:
        value = _read_environment(secret.env, os.environ if environment is None else environment)
    else:
        value = _read_command(secret.command or ())
    value = value.rstrip(b"\r\n")
    if not value:
        raise SecretUnavailable(f"{describe(secret)} is empty")
    if len(value) > LARGEST_BYTES:
        raise SecretUnavailable(
            f"{describe(secret)} is larger than {LARGEST_BYTES // 1024} KiB, so it is not a secret"
        )
    return SecretValue(value)


def describe(secret: SecretReference) -> str:
    """The reference as words, for messages."""
    if secret.file is not None:
        return f"the secret file {secret.file}"
    if secret.env is not None:
        return f"the secret's environment variable {secret.env}"
    if secret.sealed is not None:
        return "the secret that is sealed in the hub"
    return f"the secret's command {(secret.command or ('',))[0]}"


def find_obstacle(secret: SecretReference, environment: Mapping[str, str] | None = None) -> str | None:
    """Why the secret cannot be had, as far as that shows without running a command; None where nothing shows."""
    if secret.command is not None:
        return None
    try:
        resolve(secret, environment)
    except SecretUnavailable as error:
        return error.message
    return None


def mask(text: str, values: Iterable[SecretValue], longest: int | None = None) -> str:
    """The text with every secret in it replaced by `***`: the one rule for logs and messages.

    What is too long is cut here and only afterwards, so that half a secret never shows at an edge.
    """
    for value in sorted(values, key=lambda v: -len(v.reveal())):
        for line in value.reveal().splitlines():
            shown = line.decode("utf-8", "replace").strip()
            if len(shown) >= 4:
                text = text.replace(shown, "***")
    return text[:longest]


def _find_handed_over(place: str | Literal[True], sealed: Mapping[str, SecretValue]) -> SecretValue:
    value = None if place is True else sealed.get(place)
    if value is None:
        raise SecretUnavailable(
            "the secret is sealed in a hub, and was not handed over here",
            code="secret_sealed_elsewhere",
            hint="on one machine without a hub write { file = … }, { env = … } or { command = … } in its place",
        )
    return value


def _read_file(path: Path) -> bytes:
    try:
        with _open_file(path) as opened:
            return opened.read(LARGEST_BYTES + 8)
    except OSError as error:
        raise SecretUnavailable(
            f"the secret file {path} cannot be read: {error.strerror}",
            hint="create it with the secret as its only line and chmod 600",
        ) from None


_HANDED_OVER = ("/dev/fd/", "/proc/self/fd/", "/dev/stdin")
"""The beginnings of names for files that our caller opened for us: these may be pipes."""


def _open_file(path: Path) -> BinaryIO:
    if str(path).startswith(_HANDED_OVER):
        return path.open("rb")
    # in the usual way, opening a named pipe waits until somebody writes
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SecretUnavailable(
            f"the secret file {path} is not a regular file",
            hint='name a file that contains the secret, or print it: { command = "…" }',
        )
    return open(descriptor, "rb")


def _read_environment(name: str, environment: Mapping[str, str]) -> bytes:
    if name not in environment:
        raise SecretUnavailable(f"the secret's environment variable {name} is not set")
    return os.fsencode(environment[name])


def _read_command(argv: tuple[str, ...]) -> bytes:
    # Memory files and not pipes: what the program leaves behind (an agent for keys) may keep them open.
    output, complaints = os.memfd_create("highball-secret"), os.memfd_create("highball-complaints")
    try:
        status = _wait_for(argv, output, complaints)
        content = os.pread(output, LARGEST_BYTES + 8, 0)
        said = os.pread(
            complaints, LONGEST_COMPLAINT, max(0, os.fstat(complaints).st_size - LONGEST_COMPLAINT)
        )
    except OSError as error:
        raise SecretUnavailable(
            f"the secret's command {argv[0]} could not be started: {error.strerror}",
            hint="it is a program on the machine that does the work, by its whole path or found on PATH",
        ) from None
    except subprocess.TimeoutExpired:
        raise SecretUnavailable(
            f"the secret's command {argv[0]} did not answer within {COMMAND_SECONDS} s",
            hint="it is asked where nobody can type anything: let it ask for nothing",
        ) from None
    finally:
        os.close(output)
        os.close(complaints)
    if status != 0 and len(content) <= LARGEST_BYTES:
        because = _complaint(said, content)
        raise SecretUnavailable(f"the secret's command {argv[0]} ended with exit status {status}{because}")
    return content


def _complaint(said: bytes, printed: bytes) -> str:
    """What a program said when it failed, on one line, without what it may have printed of the secret."""
    lines = " ".join(said.decode("utf-8", "replace").split())
    text = "".join(c for c in mask(lines, [SecretValue(printed)]) if c.isprintable())
    return f": {text}" if text else ""


def _wait_for(argv: tuple[str, ...], output: int, complaints: int) -> int:
    """The program's exit status; it is killed after a while, or when it prints more than any secret."""
    deadline = time.monotonic() + COMMAND_SECONDS
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=complaints) as child:
        try:
            while time.monotonic() < deadline:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return child.wait(0.05)
                if max(os.fstat(each).st_size for each in (output, complaints)) > LARGEST_BYTES + 8:
                    break
            else:
                raise subprocess.TimeoutExpired(argv[0], COMMAND_SECONDS)
        finally:
            child.kill()
        return child.wait()
