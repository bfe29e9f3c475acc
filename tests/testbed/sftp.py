"""An OpenSSH server of the tests, for SFTP repositories and for hosts reached over SSH.

It runs as the test's own user, with its own configuration, host key and one authorised client key, so it
neither reads nor changes the machine's SSH setup.
"""

import getpass
import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from testbed.parts import get_program
from testbed.restic import Location
from testbed.serving import HOST, Server


class SftpServer(Server):
    """sshd with internal-sftp and commands; keys are made once, in `directory`, and kept over restarts."""

    name = "sshd"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "sshd.log")
        self.directory = directory / "repositories"
        self.user = getpass.getuser() if os.geteuid() else "root"
        self.identity_file = directory / "client_key"
        self.known_hosts = directory / "known_hosts"
        self._host_key = directory / "host_key"
        self._config = directory / "sshd_config"
        self._sshd = get_program("sshd")
        self._keygen = get_program("ssh-keygen")
        self.directory.mkdir(parents=True, exist_ok=True)
        for key in (self._host_key, self.identity_file):
            self._make_key(key)

    def argv(self, port: int) -> Sequence[str | Path]:
        if os.geteuid() == 0:
            # The privilege separation directory, which Debian leaves to the service's unit to make.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self._config.write_text(self._configuration(port))
        host_key = self._host_key.with_suffix(".pub").read_text()
        self.known_hosts.write_text(f"[{HOST}]:{port} {host_key}")
        return [self._sshd, "-D", "-e", "-f", self._config]

    @property
    def ssh_argv(self) -> tuple[str, ...]:
        """How to reach it: append a command, or `-s sftp`. Raises AssertionError before the first start."""
        return (
            "ssh",
            *("-F", "none"),
            *("-p", str(self.port)),
            *("-i", str(self.identity_file)),
            *("-o", f"UserKnownHostsFile={self.known_hosts}"),
            *("-o", "StrictHostKeyChecking=yes"),
            *("-o", "BatchMode=yes"),
            *("-o", "IdentitiesOnly=yes"),
            f"{self.user}@{self.host}",
        )

    def location(self, name: str) -> Location:
        """A repository of this name in `directory`."""
        command = shlex.join([*self.ssh_argv, "-s", "sftp"])
        repository = f"sftp:{self.user}@{self.host}:{self.directory / name}"
        return Location("sftp", repository, ("-o", f"sftp.command={command}"))

    def _configuration(self, port: int) -> str:
        lines = [
            f"Port {port}",
            f"ListenAddress {HOST}",
            f"HostKey {self._host_key}",
            f"AuthorizedKeysFile {self.identity_file}.pub",
            "PidFile none",
            # Temporary directories lie below world-writable ones, which strict modes refuses.
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            f"AllowUsers {self.user}",
            # Tests with many connections at once are no attack.
            "MaxStartups 100",
            "Subsystem sftp internal-sftp",
        ]
        return "\n".join(lines) + "\n"

    def _make_key(self, path: Path) -> None:
        if not path.exists():
            argv: list[str | Path] = [
                self._keygen,
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                "highball tests",
                "-f",
                path,
            ]
            subprocess.run(argv, check=True, capture_output=True)
