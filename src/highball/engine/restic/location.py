"""Where a restic repository lies as people declare it, what would be refused later, and the address that it comes to.

Secrets are references. Nothing here starts a program or touches the repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
)
from pydantic_core import PydanticCustomError

from highball.engine.restic import ssh
from highball.engine.restic.url import SFTP, check_url, split_url, wrong
from highball.engine.restic.variables import refuse_variable
from highball.model.text import Line, spelled_out
from highball.secret import Secret, SecretReference, TextOrSecret

# --- what is declared ----------------------------------------------------------------------------


def _check_file(path: Path) -> Path:
    if not path.is_absolute() or not str(path).isprintable():
        raise wrong("is not an absolute path", "it starts with /")
    return path


def _check_ssh_file(path: Path) -> Path:
    if set(str(path)) & set("\"'\\%"):
        raise ValueError("is a file whose name ssh would misread: it holds one of \" ' \\ %")
    return _check_file(path)


def _check_server(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*", name):
        raise ValueError("is not the name or address of a server")
    return name


def _check_user(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]*", name):
        raise ValueError("is not the name of a user")
    return name


_Url = Annotated[Line, AfterValidator(check_url)]
_File = Annotated[Path, AfterValidator(_check_file)]
_SshFile = Annotated[Path, AfterValidator(_check_ssh_file)]
_Server = Annotated[Line, AfterValidator(_check_server)]
_User = Annotated[Line, AfterValidator(_check_user)]


class Location(BaseModel):
    """Where a restic repository lies and what the way there needs: one `url`, or a `kind` and its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    url: _Url | None = Field(
        None, description="any restic repository URL: a path, sftp:…, s3:…, rest:…, b2:…, rclone:…"
    )
    kind: Literal["local", "sftp", "s3", "rest"] | None = Field(
        None, description="instead of url: the backend of these fields"
    )
    path: Line | None = Field(None, description="local, sftp, rest: the folder of the repository")
    server: _Server | None = Field(None, description="sftp: the server's name or address")
    port: int | None = Field(
        None, ge=1, le=65535, strict=True, description="sftp: the server's port, if not ssh's default"
    )
    user: _User | None = Field(None, description="sftp: the user on the server")
    identity_file: _SshFile | None = Field(None, description="sftp: the private key to log in with")
    known_hosts: _SshFile | None = Field(None, description="sftp: a known_hosts file with the server's key")
    endpoint: Line | None = Field(
        None, description="s3, rest: the server's address, as https://backup.example.org:8000"
    )
    bucket: Line | None = Field(None, description="s3: the bucket")
    prefix: Line | None = Field(None, description="s3: the folder in the bucket")
    region: Line | None = Field(None, description="s3: the region")
    access_key_id: TextOrSecret | None = Field(None, description="s3: the access key ID")
    secret_access_key: Secret | None = Field(None, description="s3: the secret access key")
    rest_username: Line | None = Field(None, description="rest: the user on the server")
    rest_password: Secret | None = Field(None, description="rest: that user's password")
    environment: dict[str, TextOrSecret] = Field(
        {}, description="environment variables that other backends need, like B2_ACCOUNT_ID"
    )
    options: dict[str, Annotated[str, BeforeValidator(spelled_out)]] = Field(
        {}, description="restic's extended options, like s3.connections = 10"
    )
    certificate: _File | None = Field(
        None, description="a file of certificates to trust in addition to the system's"
    )

    @field_validator("environment")
    @classmethod
    def _check_environment(
        cls, variables: dict[str, str | SecretReference]
    ) -> dict[str, str | SecretReference]:
        found = [(name, *why) for name, value in variables.items() if (why := refuse_variable(name, value))]
        if found:
            raise together(found)
        return variables

    @field_validator("options")
    @classmethod
    def _check_options(cls, options: dict[str, str]) -> dict[str, str]:
        odd = [
            (name, "is not an option of restic, or has an invalid value", "write it like s3.connections = 10")
            for name, value in options.items()
            if not re.fullmatch(r"[a-z0-9]+\.[a-z0-9-]+", name) or not value.isprintable()
        ]
        if odd:
            raise together(odd)
        return options


# --- what would be refused later -----------------------------------------------------------------

_ADDRESS_OF = {
    "local": ("path",),
    "sftp": ("server", "port", "user", "path"),
    "s3": ("endpoint", "bucket", "prefix"),
    "rest": ("endpoint", "path"),
}
CREDENTIALS_OF = {
    "sftp": ("identity_file", "known_hosts"),
    "s3": ("region", "access_key_id", "secret_access_key"),
    "rest": ("rest_username", "rest_password"),
}
_NEEDED_BY = {
    "local": ("path",),
    "sftp": ("server", "path"),
    "s3": ("endpoint", "bucket"),
    "rest": ("endpoint",),
}
_PAIRS = (("access_key_id", "secret_access_key"), ("rest_username", "rest_password"))
ADDRESS = tuple(dict.fromkeys(name for names in _ADDRESS_OF.values() for name in names))
CREDENTIALS = tuple(name for names in CREDENTIALS_OF.values() for name in names)


def together(found: Sequence[tuple[str, str, str | None]]) -> PydanticCustomError:
    message = "; ".join(" ".join(filter(None, (place, text))) for place, text, _ in found)
    each = [{"under": place, "message": text, "hint": hint} for place, text, hint in found]
    return PydanticCustomError("wrong", "{message}", {"message": message, "all": each})


def problems_of(location: Location) -> Iterator[tuple[str, str, str | None]]:
    """Field, what is wrong with it, hint."""
    if location.url and location.kind:
        yield "kind", "cannot be combined with url", "use one of them"
        return
    if not location.url and not location.kind:
        yield "", "has no location", "give its url, or a kind and its fields"
        return
    backend = location.kind or split_url(location.url or "")[0]
    allowed = {*(_ADDRESS_OF[location.kind] if location.kind else ()), *CREDENTIALS_OF.get(backend, ())}
    beside = f"kind = {location.kind}" if location.kind else f"a url of {backend}"
    wrong = False
    for name in (*ADDRESS, *CREDENTIALS):
        if getattr(location, name) is not None and name not in allowed:
            yield name, f"does not go with {beside}", None
    for name in _NEEDED_BY[location.kind] if location.kind else ():
        if getattr(location, name) is None:
            wrong = True
            yield name, f"is missing, and {beside} needs it", None
    for one, other in _PAIRS:
        if (getattr(location, one) is None) != (getattr(location, other) is None):
            given, lacking = (one, other) if getattr(location, other) is None else (other, one)
            yield lacking, f"is missing, and {given} needs it", None
    if not wrong:
        yield from _address_problems(location)


def _address_problems(location: Location) -> Iterator[tuple[str, str, str | None]]:
    if location.kind:
        try:
            check_url(address(location))
        except PydanticCustomError as error:
            yield _ADDRESS_OF[location.kind][0], error.message(), (error.context or {}).get("hint")
    for name in own_options(location):
        if name in location.options:
            yield "options", f"cannot set {name}, which other fields already set", None


# --- the address ---------------------------------------------------------------------------------


def address(repository: Location) -> str:
    """The restic location, without any secret."""
    if repository.kind is None:
        return repository.url or ""
    return _ADDRESS_BY_KIND[repository.kind](repository)


def _local_address(location: Location) -> str:
    return location.path or ""


def _sftp_address(location: Location) -> str:
    server = location.server or ""
    host = f"[{server}]" if ":" in server else server
    user = f"{location.user}@" if location.user else ""
    port = f":{location.port}" if location.port else ""
    # The slash after the server belongs to the url: a whole path makes it two.
    return f"sftp://{user}{host}{port}/{quote(location.path or '')}"


def _s3_address(location: Location) -> str:
    endpoint = (location.endpoint or "").rstrip("/")
    if "://" not in endpoint:
        endpoint = f"https://{endpoint}"
    folders = [part for part in (location.prefix or "").split("/") if part]
    return f"s3:{endpoint}/{'/'.join(quote(part) for part in (location.bucket or '', *folders))}"


def _rest_address(location: Location) -> str:
    endpoint = (location.endpoint or "").rstrip("/")
    folders = [part for part in (location.path or "").split("/") if part]
    return f"rest:{endpoint}/" + "".join(f"{quote(part)}/" for part in folders)


_ADDRESS_BY_KIND = {"local": _local_address, "sftp": _sftp_address, "s3": _s3_address, "rest": _rest_address}


def local_folder(repository: Location) -> Path | None:
    """The folder on this machine that the repository lies in; None where it lies elsewhere."""
    scheme, rest = split_url(address(repository))
    return Path(rest) if scheme == "local" else None


def local_path(location: Location) -> Path | None:
    """The path of this machine by which a repository is reached: its folder, or the socket of a server here."""
    scheme, rest = split_url(address(location))
    if scheme == "rest" and rest.startswith(_SOCKET):
        return Path(rest.removeprefix(_SOCKET).partition(":")[0] or "/")
    return Path(rest) if scheme == "local" else None


_SOCKET = "http+unix://"


# --- restic's own options ------------------------------------------------------------------------


def own_options(location: Location) -> dict[str, str]:
    """The extended options that stand for declared fields."""
    options = {}
    if location.region:
        options["s3.region"] = location.region
    if location.identity_file or location.known_hosts:
        options["sftp.command"] = ssh_command(location)
    return options


def ssh_command(location: Location) -> str:
    match = SFTP.fullmatch(split_url(address(location))[1])
    found = match.groupdict() if match else {}
    server = found.get("server1") or found.get("server2") or ""
    user = found.get("user1") or found.get("user2")
    return ssh.command(
        server.strip("[]"), found.get("port"), user, location.identity_file, location.known_hosts
    )
