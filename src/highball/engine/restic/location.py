"""A restic repository as people declare it, and the access to it that a run needs.

Declared are an address, a password and whatever the backend asks for; secrets are references, which `access`
resolves at the moment of use. Nothing here starts a program or touches the repository.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import quote, unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from highball.engine.base import DeclaredRepository, Line, is_shown_to_storage
from highball.engine.restic import ssh
from highball.engine.restic.ssh import Ssh
from highball.engine.restic.variables import refuse_variable
from highball.errors import Failed, SecretUnavailable
from highball.secret import Secret, SecretReference, SecretValue, resolve

# --- what is declared ----------------------------------------------------------------------------


def _wrong(message: str, hint: str | None = None) -> PydanticCustomError:
    return PydanticCustomError("wrong", "{message}", {"message": message, "hint": hint})


def _check_file(path: Path) -> Path:
    if not path.is_absolute() or not str(path).isprintable():
        raise _wrong("is not a whole path", "it begins with /")
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


def _as_text(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


def _text_or_reference(value: object) -> str:
    return "text" if isinstance(value, str) else "reference"


_Url = Annotated[Line, AfterValidator(lambda url: check_url(url))]  # noqa: PLW0108 - that stands below
_File = Annotated[Path, AfterValidator(_check_file)]
_SshFile = Annotated[Path, AfterValidator(_check_ssh_file)]
_Server = Annotated[Line, AfterValidator(_check_server)]
_User = Annotated[Line, AfterValidator(_check_user)]

TextOrSecret = Annotated[
    Annotated[Line, Tag("text")] | Annotated[SecretReference, Tag("reference")],
    Discriminator(_text_or_reference),
    BeforeValidator(_as_text),
]
"""Text where it is no secret, or a reference where it is."""


class Location(BaseModel):
    """Where a restic repository lies and what the way there needs: one `url`, or a `kind` and its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    url: _Url | None = Field(
        None, description="any restic location: a path, sftp:…, s3:…, rest:…, b2:…, rclone:…"
    )
    kind: Literal["local", "sftp", "s3", "rest"] | None = Field(
        None, description="in place of url: which backend the fields are for"
    )
    path: Line | None = Field(None, description="local, sftp, rest: the folder of the repository")
    server: _Server | None = Field(None, description="sftp: the server's name or address")
    port: int | None = Field(
        None, ge=1, le=65535, strict=True, description="sftp: the server's port, where it is not ssh's own"
    )
    user: _User | None = Field(None, description="sftp: the user on the server")
    identity_file: _SshFile | None = Field(None, description="sftp: the private key to prove oneself with")
    known_hosts: _SshFile | None = Field(None, description="sftp: a file that holds the server's own key")
    endpoint: Line | None = Field(
        None, description="s3, rest: the server's address, as https://backup.example.org:8000"
    )
    bucket: Line | None = Field(None, description="s3: the bucket")
    prefix: Line | None = Field(None, description="s3: the folder within the bucket")
    region: Line | None = Field(None, description="s3: the region")
    access_key_id: TextOrSecret | None = Field(None, description="s3: the access key's id")
    secret_access_key: Secret | None = Field(None, description="s3: the access key's secret")
    rest_username: Line | None = Field(None, description="rest: the user on the server")
    rest_password: Secret | None = Field(None, description="rest: that user's password")
    environment: dict[str, TextOrSecret] = Field(
        {}, description="variables that other backends ask for, like B2_ACCOUNT_ID"
    )
    options: dict[str, Annotated[str, BeforeValidator(_as_text)]] = Field(
        {}, description="restic's extended options, like s3.connections = 10"
    )
    certificate: _File | None = Field(
        None, description="a file of certificates to trust besides the system's"
    )

    @field_validator("environment")
    @classmethod
    def _check_environment(
        cls, variables: dict[str, str | SecretReference]
    ) -> dict[str, str | SecretReference]:
        found = [(name, *why) for name, value in variables.items() if (why := refuse_variable(name, value))]
        if found:
            raise _together(found)
        return variables

    @field_validator("options")
    @classmethod
    def _check_options(cls, options: dict[str, str]) -> dict[str, str]:
        odd = [
            (name, "is not an option of restic, or its value cannot be", "they are like s3.connections = 10")
            for name, value in options.items()
            if not re.fullmatch(r"[a-z0-9]+\.[a-z0-9-]+", name) or not value.isprintable()
        ]
        if odd:
            raise _together(odd)
        return options


class Admin(Location):
    """A second, complete access that may delete; what is blank is as in the everyday access."""

    password: Secret | None = Field(None, description="the repository's password for this access")


class ResticRepository(DeclaredRepository, Location):
    """A restic repository: its everyday access and, apart, the one that may delete."""

    engine: Literal["restic"] = Field("restic", description="what writes it")
    password: Secret = Field(description="the repository's own password, which encrypts it")
    admin: Admin | None = Field(None, description="a second access that may delete")

    @property
    def address(self) -> str:
        """The restic location, without any secret."""
        return address(self)

    @property
    def local_folder(self) -> Path | None:
        """The folder of its host, where it is a path."""
        return local_folder(self)

    def is_in_its_folder(self) -> bool:
        """Whether the folder holds restic's config."""
        folder = self.local_folder
        return folder is not None and (folder / "config").exists()

    @property
    def files(self) -> Mapping[str, Path]:
        """Keys and certificates."""
        named = {name: getattr(self, name) for name in ("identity_file", "known_hosts", "certificate")}
        return {name: path for name, path in named.items() if path is not None}

    def secrets(self) -> list[tuple[str, SecretReference]]:
        """Every reference to a secret, with its slot."""
        return secrets_of(self)

    def with_places(self, id: str) -> Self:
        """The same, each sealed secret with its place in the vault."""
        return with_places(self, id)

    @property
    def has_admin(self) -> bool:
        """Whether a second access is named."""
        return self.admin is not None

    def as_admin(self) -> Self:
        """The same by its second access."""
        return as_admin(self)

    def without_admin(self) -> Self:
        """The same without it."""
        return self.model_copy(update={"admin": None})

    def with_sealed(self, slot: str) -> Self | None:
        """The same, opened by what is sealed."""
        sealed = {"password": SecretReference(sealed=True)}
        if slot == "password":
            return self.model_copy(update=sealed)
        if self.admin is None:
            return None
        return self.model_copy(update={"admin": self.admin.model_copy(update=sealed)})

    def destinations(self, *, admin: bool) -> dict[str, frozenset[str]]:
        """The servers that each secret is shown to, by its slot."""
        return _destinations_of(self, admin=admin)

    def servers_for(self, slot: str) -> frozenset[str]:
        """The servers that a value of this slot is for."""
        found = self.destinations(admin=True).get(slot)
        if found is not None:
            return found
        location = deleting_location(self) if slot.startswith("admin.") else self
        return frozenset({endpoint_of(location)})

    def endpoints(self) -> frozenset[str]:
        """The servers that both accesses lead to."""
        return frozenset({endpoint_of(self), endpoint_of(deleting_location(self))})

    @model_validator(mode="after")
    def _check_both_ways(self) -> Self:
        found = list(_problems(self))
        if self.when_back and not found and local_folder(self) is None:
            found = [
                ("when_back", "counts for nothing where a repository lies on no disk of this host", None)
            ]
        if self.admin is not None and not found:
            merged = _admin_location(self, self.admin)
            found = [
                (f"admin.{name}".rstrip("."), message, hint) for name, message, hint in _problems(merged)
            ]
        if found:
            raise _together(found)
        return self


# --- what would be refused later -----------------------------------------------------------------

SCHEMES = ("local", "sftp", "s3", "rest", "b2", "azure", "gs", "swift", "rclone")
"""The backends that restic knows by the first word of a location; one that begins with / is local."""

_ADDRESS_OF = {
    "local": ("path",),
    "sftp": ("server", "port", "user", "path"),
    "s3": ("endpoint", "bucket", "prefix"),
    "rest": ("endpoint", "path"),
}
_CREDENTIALS_OF = {
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
_ADDRESS = tuple(dict.fromkeys(name for names in _ADDRESS_OF.values() for name in names))
_CREDENTIALS = tuple(name for names in _CREDENTIALS_OF.values() for name in names)

_INSTEAD = {
    "sftp": "use identity_file, which is a key that asks for no password",
    "s3": "use access_key_id and secret_access_key",
    "rest": "use rest_username and rest_password",
}
_CREDENTIAL_IN_QUERY = re.compile(
    r"[?&;,][^=?&;,]*(?:pass|secret|token|key|sig|cred)[^=?&;,]*=", re.IGNORECASE
)


def _split(url: str) -> tuple[str, str]:
    """The backend and what follows its colon."""
    if url.startswith("/"):
        return "local", url
    scheme, _, rest = url.partition(":")
    return scheme, rest


def check_url(url: str) -> str:
    """The location; ValueError where it is none of restic's, is not whole, or holds credentials."""
    scheme, rest = _split(url)
    if scheme not in SCHEMES:
        raise _wrong(
            "is no address that restic knows",
            f"a path that begins with /, or one of {', '.join(SCHEMES)} and :",
        )
    if _holds_credentials(scheme, rest):
        raise _wrong(
            "holds credentials", _INSTEAD.get(scheme, "use environment, with a reference to the secret")
        )
    if scheme == "local" and (not rest.startswith("/") or ".." in rest.split("/")):
        raise _wrong("is not a whole path", "it begins with / and holds no ..")
    if scheme == "rest" and not rest.startswith(("http://", "https://", "http+unix://")):
        raise _wrong(
            "is not the address of a rest server", "write it like rest:https://backup.example.org:8000/"
        )
    if scheme == "sftp" and (ported := _PORT_IN_PATH.fullmatch(rest)):
        raise _wrong(
            f"means the folder {ported['port']}{ported['path']}: restic reads no port there",
            f"write it like sftp://{ported['server']}:{ported['port']}/{ported['path']}, or kind = sftp and its fields",
        )
    if scheme == "sftp" and not _SFTP.fullmatch(rest):
        raise _wrong("is not an address for sftp", "write it like sftp:user@server:/folder")
    return url


def _holds_credentials(scheme: str, rest: str) -> bool:
    if _CREDENTIAL_IN_QUERY.search(rest):
        return True
    if scheme not in _INSTEAD:
        return False
    authority = re.sub(r"^(?:[a-z+]+:)?//", "", rest).partition("/")[0]
    user, at, _ = authority.rpartition("@")
    if scheme == "sftp":
        return ":" in user
    # A password with a slash in it looks like a host with an odd port.
    return bool(at) or ("@" in rest and re.search(r":\D", authority) is not None)


_SFTP_USER = "(?:(?P<user{0}>[A-Za-z0-9_][A-Za-z0-9._+-]*)@)?"
_SFTP_SERVER = r"(?P<server{0}>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_][A-Za-z0-9._-]*)"
_SFTP = re.compile(
    rf"//{_SFTP_USER.format(1)}{_SFTP_SERVER.format(1)}(?::(?P<port>\d{{1,5}}))?/.+"
    rf"|{_SFTP_USER.format(2)}{_SFTP_SERVER.format(2)}:[^:].*"
)


_PORT_IN_PATH = re.compile(r"(?P<server>[^/:]+|[^/:@]*@?\[[^]/]*\]):(?P<port>\d{1,5})(?P<path>/.*)")
"""What looks like a server's port in the short form, which has none."""


def _together(found: Sequence[tuple[str, str, str | None]]) -> PydanticCustomError:
    message = "; ".join(" ".join(filter(None, (place, text))) for place, text, _ in found)
    each = [{"under": place, "message": text, "hint": hint} for place, text, hint in found]
    return PydanticCustomError("wrong", "{message}", {"message": message, "all": each})


def _problems(location: Location) -> Iterator[tuple[str, str, str | None]]:
    """Field, what is wrong with it, hint."""
    if location.url and location.kind:
        yield "kind", "cannot stand beside url", "name one of them"
        return
    if not location.url and not location.kind:
        yield "", "says not where it lies", "name its url, or a kind and its fields"
        return
    backend = location.kind or _split(location.url or "")[0]
    allowed = {*(_ADDRESS_OF[location.kind] if location.kind else ()), *_CREDENTIALS_OF.get(backend, ())}
    beside = f"kind = {location.kind}" if location.kind else f"a url of {backend}"
    wrong = False
    for name in (*_ADDRESS, *_CREDENTIALS):
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
    for name in _own_options(location):
        if name in location.options:
            yield "options", f"cannot set {name}, which other fields here already do", None


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


def take_apart(url: str) -> dict[str, str | int]:
    """The kind and fields that stand for a location; its `url` alone where no kind has fields for it."""
    scheme, rest = _split(url.strip())
    found = _APART[scheme](rest) if scheme in _APART else None
    return {"url": url.strip()} if found is None else {"kind": scheme, **found}


def _sftp_apart(rest: str) -> dict[str, str | int] | None:
    match = _SFTP.fullmatch(rest)
    if match is None:
        return None
    told = match.groupdict()
    fields: dict[str, str | int] = {"server": (told["server1"] or told["server2"]).strip("[]")}
    if user := told["user1"] or told["user2"]:
        fields["user"] = user
    if told["port"]:
        fields["port"] = int(told["port"])
    if told["server1"]:
        fields["path"] = unquote(rest.removeprefix("//").partition("/")[2])
    else:
        fields["path"] = rest[match.end("server2") + 1 :]
    return fields


def _s3_apart(rest: str) -> dict[str, str | int] | None:
    match = re.fullmatch(r"(?:(https?://)|//)?([^/]+)/([^/]+)(?:/(.*))?", rest)
    if match is None:
        return None
    scheme, server, bucket, prefix = match.groups()
    fields: dict[str, str | int] = {"endpoint": f"{scheme or ''}{server}", "bucket": unquote(bucket)}
    folders = unquote((prefix or "").strip("/"))
    return {**fields, "prefix": folders} if folders else fields


def _rest_apart(rest: str) -> dict[str, str | int] | None:
    match = re.fullmatch(r"(https?://[^/]+)/?(.*)", rest)
    if match is None:
        return None
    folders = unquote(match[2].strip("/"))
    return {"endpoint": match[1], "path": folders} if folders else {"endpoint": match[1]}


_APART: dict[str, Callable[[str], dict[str, str | int] | None]] = {
    "local": lambda rest: {"path": rest},
    "sftp": _sftp_apart,
    "s3": _s3_apart,
    "rest": _rest_apart,
}


def local_folder(repository: Location) -> Path | None:
    """The folder on this machine that the repository lies in; None where it lies elsewhere."""
    scheme, rest = _split(address(repository))
    return Path(rest) if scheme == "local" else None


def local_path(location: Location) -> Path | None:
    """The path of this machine by which a repository is reached: its folder, or the socket of a server here."""
    scheme, rest = _split(address(location))
    if scheme == "rest" and rest.startswith(_SOCKET):
        return Path(rest.removeprefix(_SOCKET).partition(":")[0] or "/")
    return Path(rest) if scheme == "local" else None


_SOCKET = "http+unix://"

_Kept = TypeVar("_Kept", bound=ResticRepository)

# --- the access ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Access:
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
) -> Access:
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
    own = [f"{name}={value}" for name, value in _own_options(location).items()]
    return Access(
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


def as_admin(repository: _Kept) -> _Kept:
    """The repository with its admin access as the everyday one; itself where none is declared."""
    if repository.admin is None:
        return repository
    location = _admin_location(repository, repository.admin)
    told = {name: getattr(location, name) for name in Location.model_fields}
    password = repository.admin.password or repository.password
    return repository.model_copy(update={**told, "password": password, "admin": None})


def secrets_of(repository: ResticRepository) -> list[tuple[str, SecretReference]]:
    """Every reference to a secret with the path of its field, as `environment.B2_ACCOUNT_KEY`."""
    found = _references(repository)
    if repository.admin is not None:
        found += [(f"admin.{place}", reference) for place, reference in _references(repository.admin)]
    return found


def with_places(repository: _Kept, id: str) -> _Kept:
    """The repository with the place in the vault of each sealed secret, whatever place it named before.

    `id` is the stored object's: so no declaration can point at what belongs to another.
    """
    named = repository.model_copy(update=_placed(repository, f"repository:{id}:"))
    if repository.admin is None:
        return named
    admin = repository.admin.model_copy(update=_placed(repository.admin, f"repository:{id}:admin."))
    return named.model_copy(update={"admin": admin})


def _placed(location: ResticRepository | Admin, before: str) -> dict[str, object]:
    """The fields that hold sealed secrets, each secret with its place."""
    fields: dict[str, object] = {}
    variables = dict(location.environment)
    for name, reference in _references(location):
        if reference.sealed is None:
            continue
        # The admin password is the slot `admin`; every other secret is called as its field is.
        placed = SecretReference(sealed=f"{before}{name}".replace(":admin.password", ":admin"))
        if name.startswith("environment."):
            variables[name.removeprefix("environment.")] = placed
            fields["environment"] = variables
        else:
            fields[name] = placed
    return fields


def _references(location: ResticRepository | Admin) -> list[tuple[str, SecretReference]]:
    fields: dict[str, object] = {
        "password": location.password,
        "access_key_id": location.access_key_id,
        "secret_access_key": location.secret_access_key,
        "rest_password": location.rest_password,
        **{f"environment.{name}": value for name, value in location.environment.items()},
    }
    return [(place, value) for place, value in fields.items() if isinstance(value, SecretReference)]


def deleting_location(repository: ResticRepository) -> Location:
    """Where the access that may delete leads; the everyday one where no other is declared."""
    return _admin_location(repository, repository.admin) if repository.admin is not None else repository


def _admin_location(everyday: Location, admin: Location) -> Location:
    """The admin access, its blanks filled from the everyday one as far as these go with its backend."""
    named = {
        name: value for name in Location.model_fields if (value := getattr(admin, name)) not in (None, {})
    }
    elsewhere = "url" in named or named.get("kind", everyday.kind) != everyday.kind
    backend = named.get("kind") or _split(named.get("url") or everyday.url or f"{everyday.kind}:")[0]
    dropped = {*_CREDENTIALS} - {*_CREDENTIALS_OF.get(backend, ())}
    if elsewhere:
        dropped |= {"url", "kind", *_ADDRESS}
    blanks = {name: getattr(everyday, name) for name in Location.model_fields if name not in dropped}
    merged = blanks | named
    for table in ("environment", "options"):
        merged[table] = getattr(everyday, table) | getattr(admin, table)
    return Location.model_construct(**merged)


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


# --- restic's own options ------------------------------------------------------------------------


def _own_options(location: Location) -> dict[str, str]:
    """The extended options that stand for declared fields."""
    options = {}
    if location.region:
        options["s3.region"] = location.region
    if location.identity_file or location.known_hosts:
        options["sftp.command"] = _ssh_command(location)
    return options


def _ssh_command(location: Location) -> str:
    match = _SFTP.fullmatch(_split(address(location))[1])
    found = match.groupdict() if match else {}
    server = found.get("server1") or found.get("server2") or ""
    user = found.get("user1") or found.get("user2")
    return ssh.command(
        server.strip("[]"), found.get("port"), user, location.identity_file, location.known_hosts
    )


def _ssh_of(location: Location) -> Ssh | None:
    if _split(address(location))[0] != "sftp":
        return None
    return ssh.as_declared(location.options, _ssh_command(location))


def as_csv(option: str) -> str:
    """restic reads each `-o` as a line of comma-separated values (0.14, 0.18 and 0.19 alike)."""
    return '"' + option.replace('"', '""') + '"' if re.search(r'[,"]', option) else option


# --- where its secrets go ------------------------------------------------------------------------

_LEADS_ELSEWHERE = re.compile(r"URL|ENDPOINT|HOST|SUFFIX|PROXY|DOMAIN|SERVER|AUTH$")
"""What a variable is called that says to which server its neighbours are shown."""

_PORTS = {"http": 80, "https": 443}


def endpoint_of(location: Location) -> str:
    """The server that a location leads to, with its port and the user there, and all that could lead elsewhere."""
    where = address(location)
    scheme, _, rest = ("local", "", where) if where.startswith("/") else where.partition(":")
    told = _SERVER[scheme](rest) if scheme in _SERVER else ""
    user = location.rest_username or location.access_key_id
    parts = [f"{scheme}:{told}" if told else scheme]
    parts += [f"as {user}"] if isinstance(user, str) else []
    parts += [
        f"with {name}={value}"
        for name, value in sorted(location.environment.items())
        if isinstance(value, str) and _LEADS_ELSEWHERE.search(name.upper())
    ]
    return " ".join(parts)


def _destinations_of(repository: ResticRepository, *, admin: bool) -> dict[str, frozenset[str]]:
    """The servers that each secret of a repository is shown to, by the path of its field; the ones of the access that
    may delete only where `admin` asks for it.
    """
    found: dict[str, frozenset[str]] = {}
    for slot, endpoint in _shown(repository, admin):
        found[slot] = found.get(slot, frozenset()) | {endpoint}
    return found


def _shown(repository: ResticRepository, admin: bool) -> Iterator[tuple[str, str]]:
    everyday = endpoint_of(repository)
    for slot, _ in secrets_of(repository.model_copy(update={"admin": None})):
        if is_shown_to_storage(slot):
            yield slot, everyday
    if not admin or repository.admin is None:
        return
    own = {slot for slot, _ in secrets_of(repository) if slot.startswith("admin.")}
    merged = as_admin(repository)
    for slot, _ in secrets_of(merged):
        named = f"admin.{slot}" if f"admin.{slot}" in own else slot
        if is_shown_to_storage(named):
            yield named, endpoint_of(merged)


def _web_server(rest: str) -> str:
    """`https://host:port` of an address; of the socket of a server on this machine, all of it."""
    if "://" not in rest:
        rest = f"https://{rest.lstrip('/')}"
    if not rest.startswith(("http://", "https://")):
        return rest
    found = urlsplit(rest)
    try:
        port = found.port
    except ValueError:
        return rest
    return f"{found.scheme}://{(found.hostname or '').lower()}:{port or _PORTS[found.scheme]}"


def _ssh_server(rest: str) -> str:
    if rest.startswith("//"):
        found = rest.removeprefix("//").partition("/")[0]
        return found if re.search(r":\d+$", found) else f"{found}:22"
    return rest.rpartition(":")[0] if "/" not in rest.partition(":")[0] else rest


def _remote(rest: str) -> str:
    return rest.partition(":")[0]


_SERVER: Mapping[str, Callable[[str], str]] = {
    "rest": _web_server,
    "s3": _web_server,
    "sftp": _ssh_server,
    "rclone": _remote,
}
