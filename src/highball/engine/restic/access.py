"""The access to a restic repository that a run needs: every secret resolved, at the moment of use."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import quote

from highball.engine.restic import ssh
from highball.engine.restic.declaration import ResticRepository, deleting_location
from highball.engine.restic.location import Location, address, own_options, ssh_command
from highball.engine.restic.ssh import Ssh
from highball.engine.restic.url import split_url
from highball.errors import Failed, SecretUnavailable
from highball.secret import SecretReference, SecretValue, resolve


@dataclass(frozen=True)
class RepositoryAccess:
    """All that a restic process needs to reach a repository, with every secret resolved.

    `location` and `password` are for RESTIC_REPOSITORY_FILE and RESTIC_PASSWORD_FILE; `files` tells which
    environment variables name a file with which content; `options` are values for `-o`, one each, already
    spelled as restic reads them; `shown` is the address for people, without secrets.
    """

    location: SecretValue
    shown: str
    password: SecretValue
    files: Mapping[str, SecretValue] = field(default_factory=dict)
    environment: Mapping[str, SecretValue | str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    ssh: Ssh | None = None
    """For SFTP: the ssh that restic is to start, whether an option says so or not."""
    identity_file: Path | None = None
    certificate: Path | None = None
    parts: tuple[SecretValue, ...] = ()
    """The secrets within `location` and `files`, each in every spelling in which it could show."""

    @property
    def secrets(self) -> tuple[SecretValue, ...]:
        """Every secret value in here, for masking."""
        variables = (value for value in self.environment.values() if isinstance(value, SecretValue))
        return (self.password, *self.parts, *self.files.values(), *variables)


_Resolve = Callable[[SecretReference], SecretValue]


def access(
    repository: ResticRepository,
    *,
    admin: bool = False,
    environment: Mapping[str, str] | None = None,
    sealed: Mapping[str, SecretValue] | None = None,
) -> RepositoryAccess:
    """Resolve the everyday access, or with `admin` the one that may delete; the same where none is declared.

    `environment` is where references to environment variables are looked up, `sealed` holds the values that a
    hub handed over. Raises SecretUnavailable.
    """
    opened = partial(resolve, environment=environment, sealed=sealed)
    location = deleting_location(repository) if admin else repository
    password = repository.password
    if admin and repository.admin is not None:
        password = repository.admin.password or password
    full, parts = _full_address(location, opened)
    files, more = _credential_files(location, opened)
    own = [f"{name}={value}" for name, value in own_options(location).items()]
    return RepositoryAccess(
        location=full,
        shown=address(location),
        password=opened(password),
        files=files,
        environment={name: _resolved(value, opened) for name, value in location.environment.items()},
        options=tuple(
            as_csv(option) for option in (*own, *(f"{n}={v}" for n, v in location.options.items()))
        ),
        ssh=_ssh_of(location),
        identity_file=location.identity_file,
        certificate=location.certificate,
        parts=(*parts, *more),
    )


def check_certificate(path: Path) -> None:
    """Raise Failed, code `certificate_unusable`, where restic would stumble over a file of certificates."""
    import ssl  # noqa: PLC0415 - few repositories need it

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        why = "holds no certificate in PEM form"
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
    else:
        return
    raise Failed(
        f"the file of certificates {path} {why}",
        code="certificate_unusable",
        hint="it holds what begins with -----BEGIN CERTIFICATE-----, and lies on the machine that does the work",
    )


def _resolved(value: str | SecretReference, opened: _Resolve) -> SecretValue | str:
    return value if isinstance(value, str) else opened(value)


def _full_address(location: Location, opened: _Resolve) -> tuple[SecretValue, tuple[SecretValue, ...]]:
    """The location with the rest server's credentials in it, and what is secret about it."""
    shown = address(location)
    if location.rest_username is None or location.rest_password is None:
        return SecretValue(shown.encode()), ()
    password = opened(location.rest_password)
    encoded = quote(password.reveal(), safe="")
    scheme, _, rest = shown.partition("://")
    full = f"{scheme}://{quote(location.rest_username, safe='')}:{encoded}@{rest}"
    return SecretValue(full.encode()), (password, SecretValue(encoded.encode()))


def _credential_files(
    location: Location, opened: _Resolve
) -> tuple[dict[str, SecretValue], tuple[SecretValue, ...]]:
    """The file of S3 credentials, and what is secret in it; raises SecretUnavailable for what would be more than that.

    Whoever reads such a file starts the program that it names (`credential_process`): so a value is one line of it.
    """
    if location.access_key_id is None or location.secret_access_key is None:
        return {}, ()
    key_id = _resolved(location.access_key_id, opened)
    secret = opened(location.secret_access_key)
    shown_id = key_id.encode() if isinstance(key_id, str) else key_id.reveal()
    for name, value in (("access_key_id", shown_id), ("secret_access_key", secret.reveal())):
        _demand_one_line(name, value)
    content = b"[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n" % (shown_id, secret.reveal())
    hidden = (secret,) if isinstance(key_id, str) else (secret, key_id)
    return {"AWS_SHARED_CREDENTIALS_FILE": SecretValue(content)}, hidden


def _demand_one_line(name: str, value: bytes) -> None:
    if any(byte < 0x20 or byte == 0x7F for byte in value):
        raise SecretUnavailable(
            f"{name} holds a character that no key of S3 has",
            code="secret_malformed",
            hint="the secret is the key alone, on one line",
        )


def _ssh_of(location: Location) -> Ssh | None:
    if split_url(address(location))[0] != "sftp":
        return None
    return ssh.as_declared(location.options, ssh_command(location))


def as_csv(option: str) -> str:
    """restic reads each `-o` as a line of comma-separated values (0.14, 0.18 and 0.19 alike)."""
    return '"' + option.replace('"', '""') + '"' if re.search(r'[,"]', option) else option
