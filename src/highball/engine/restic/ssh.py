"""The ssh that restic starts to reach a server: its command, and where it writes what it has to say.

restic passes on what ssh prints only as long as restic itself lives: as often as not it ends before it has read
why ssh ended. So ssh writes its own words into a file, which is read when restic is over.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from highball.errors import Failed

SAID = "subprocess ssh: "
"""Before each line of ssh's, as restic puts it before those that it passes on."""

CONNECT_SECONDS = 30
"""As long as restic itself waits for a server that it reaches without ssh."""

_MOST_BYTES = 64 * 1024


@dataclass(frozen=True)
class Ssh:
    """restic's option (`sftp.command`, or `sftp.args` for what is added to its own) that says how ssh is started."""

    option: str
    words: str

    def writing_to(self, log: Path) -> str:
        """The option and its value, with ssh's own words going into a file."""
        file = _shell_word(str(log))
        if self.option == "sftp.args":
            return f"{self.option}=-E {file} {self.words}"
        program, _, rest = self.words.strip().partition(" ")
        return f"{self.option}={program} -E {file} {rest}"


def command(
    server: str, port: str | None, user: str | None, identity_file: Path | None, known_hosts: Path | None
) -> str:
    """How restic starts ssh: it never asks, and with a key or servers declared it trusts none that it does not know."""
    words = ["ssh", *(("-p", port) if port else ()), "-o", "BatchMode=yes"]
    words += ["-o", f"ConnectTimeout={CONNECT_SECONDS}"]
    if identity_file or known_hosts:
        words += ["-o", "StrictHostKeyChecking=yes"]
    if known_hosts:
        words += ["-o", f'UserKnownHostsFile="{known_hosts}"']
    if identity_file:
        words += ["-i", str(identity_file), "-o", "IdentitiesOnly=yes"]
    words += [f"{user}@{server}" if user else server, "-s", "sftp"]
    return " ".join(_shell_word(word) for word in words)


def as_declared(options: Mapping[str, str], otherwise: str) -> Ssh | None:
    """How ssh is started: as restic's own options say, where they do; None where they name another program."""
    words = options.get("sftp.command")
    if words is None and "sftp.args" in options:
        return Ssh("sftp.args", options["sftp.args"])
    is_ssh = re.match(r"(?:[^\s'\"]*/)?ssh\s", (words or otherwise).strip())
    return Ssh("sftp.command", words or otherwise) if is_ssh else None


def _shell_word(word: str) -> str:
    """One word as restic splits commands: quotes stand around a whole word, nothing is escaped in them."""
    return f"'{word}'" if re.search(r'[\s"]', word) else word


def check_identity(path: Path) -> None:
    """Raise Failed, code `identity_unusable`, where ssh could not read the key it is to prove itself with."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise Failed(
            f"the private key {path} cannot be read: {error.strerror}",
            code="identity_unusable",
            hint="it lies on the machine that does the work, and belongs to the user who does it",
        ) from None


class SshOutput:
    """What one ssh wrote, in a file that is there as long as restic runs; without a file it is silent."""

    def __init__(self, log: Path | None) -> None:
        self.log = log

    def read(self) -> list[str]:
        """Its lines, as restic would have passed them on."""
        if self.log is None:
            return []
        with suppress(OSError), self.log.open("rb") as opened:
            opened.seek(max(0, os.fstat(opened.fileno()).st_size - _MOST_BYTES))
            lines = opened.read(_MOST_BYTES).decode("utf-8", "replace").splitlines()
            return [SAID + line.rstrip() for line in lines if line.strip()]
        return []


@contextmanager
def listening(ssh: Ssh | None, folder: Path) -> Iterator[SshOutput]:
    """A place for what ssh says; without one where the disk takes no file, or its name would be misread."""
    log = None
    if ssh is not None and not set(str(folder)) & set("\"'\\%"):
        with suppress(OSError):
            descriptor, name = tempfile.mkstemp(prefix="ssh-", dir=folder)
            os.close(descriptor)
            log = Path(name)
    try:
        yield SshOutput(log)
    finally:
        if log is not None:
            log.unlink(missing_ok=True)
