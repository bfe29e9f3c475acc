"""restic's locations as text: which there are, what would be refused later, and the fields that stand for one."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

from pydantic_core import PydanticCustomError

SCHEMES = ("local", "sftp", "s3", "rest", "b2", "azure", "gs", "swift", "rclone")
"""The backends that restic knows by the first word of a location; one that begins with / is local."""

_INSTEAD = {
    "sftp": "use identity_file, which is a key that asks for no password",
    "s3": "use access_key_id and secret_access_key",
    "rest": "use rest_username and rest_password",
}
_CREDENTIAL_IN_QUERY = re.compile(
    r"[?&;,][^=?&;,]*(?:pass|secret|token|key|sig|cred)[^=?&;,]*=", re.IGNORECASE
)


def wrong(message: str, hint: str | None = None) -> PydanticCustomError:
    return PydanticCustomError("wrong", "{message}", {"message": message, "hint": hint})


def split_url(url: str) -> tuple[str, str]:
    """The backend and what follows its colon."""
    if url.startswith("/"):
        return "local", url
    scheme, _, rest = url.partition(":")
    return scheme, rest


def check_url(url: str) -> str:
    """The location; ValueError where it is none of restic's, is not whole, or holds credentials."""
    scheme, rest = split_url(url)
    if scheme not in SCHEMES:
        raise wrong(
            "is not an address that restic knows",
            f"a path that starts with /, or one of {', '.join(SCHEMES)} and :",
        )
    if _holds_credentials(scheme, rest):
        raise wrong(
            "contains credentials", _INSTEAD.get(scheme, "use environment, with a reference to the secret")
        )
    if scheme == "local" and (not rest.startswith("/") or ".." in rest.split("/")):
        raise wrong("is not an absolute path", "it starts with / and contains no ..")
    if scheme == "rest" and not rest.startswith(("http://", "https://", "http+unix://")):
        raise wrong(
            "is not the address of a rest server", "write it like rest:https://backup.example.org:8000/"
        )
    if scheme == "sftp" and (ported := _PORT_IN_PATH.fullmatch(rest)):
        raise wrong(
            f"means the folder {ported['port']}{ported['path']}: restic reads no port there",
            f"write it like sftp://{ported['server']}:{ported['port']}/{ported['path']}, or kind = sftp and its fields",
        )
    if scheme == "sftp" and not SFTP.fullmatch(rest):
        raise wrong("is not an address for sftp", "write it like sftp:user@server:/folder")
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
SFTP = re.compile(
    rf"//{_SFTP_USER.format(1)}{_SFTP_SERVER.format(1)}(?::(?P<port>\d{{1,5}}))?/.+"
    rf"|{_SFTP_USER.format(2)}{_SFTP_SERVER.format(2)}:[^:].*"
)


_PORT_IN_PATH = re.compile(r"(?P<server>[^/:]+|[^/:@]*@?\[[^]/]*\]):(?P<port>\d{1,5})(?P<path>/.*)")
"""What looks like a server's port in the short form, which has none."""


def take_apart(url: str) -> dict[str, str | int]:
    """The kind and fields that stand for a location; its `url` alone where no kind has fields for it."""
    scheme, rest = split_url(url.strip())
    found = _APART[scheme](rest) if scheme in _APART else None
    return {"url": url.strip()} if found is None else {"kind": scheme, **found}


def _sftp_apart(rest: str) -> dict[str, str | int] | None:
    match = SFTP.fullmatch(rest)
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
