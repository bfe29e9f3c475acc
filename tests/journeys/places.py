"""Repositories of a station that lie elsewhere: what is declared for a server of the tests."""

import pytest

from journeys.station import Station, quicken, quicken_on_s3
from testbed.rest import RestServer
from testbed.s3 import S3Server
from testbed.sftp import SftpServer


def declare_elsewhere(station: Station, kind: str, request: pytest.FixtureRequest, name: str) -> None:
    """Declare a repository of this kind (sftp, s3, rest) and name; the kind is its key."""
    table = {"sftp": _sftp, "s3": _s3, "rest": _rest}[kind](station, request, name)
    station.repositories[kind] = {"password": station.secret, **table}


def quicken_elsewhere(kind: str, request: pytest.FixtureRequest, name: str) -> None:
    """Have such a repository, once it is made, open at once."""
    if kind == "s3":
        quicken_on_s3(request.getfixturevalue("s3_server"), name)
    if kind == "sftp":
        quicken(request.getfixturevalue("sftp_server").directory / name)
    if kind == "rest":
        server: RestServer = request.getfixturevalue("rest_server")
        quicken(server.data / server.path(name))


def _sftp(station: Station, request: pytest.FixtureRequest, name: str) -> dict[str, object]:
    server: SftpServer = request.getfixturevalue("sftp_server")
    return {
        "kind": "sftp",
        "server": server.host,
        "port": server.port,
        "user": server.user,
        "path": str(server.directory / name),
        "identity_file": str(server.identity_file),
        "known_hosts": str(server.known_hosts),
    }


def _s3(station: Station, request: pytest.FixtureRequest, name: str) -> dict[str, object]:
    server: S3Server = request.getfixturevalue("s3_server")
    secret = station.folder / "s3-secret"
    secret.write_text(server.secret_access_key)
    return {
        "kind": "s3",
        "endpoint": server.endpoint,
        "bucket": server.bucket,
        "prefix": name,
        "access_key_id": server.access_key_id,
        "secret_access_key": {"file": str(secret)},
    }


def _rest(station: Station, request: pytest.FixtureRequest, name: str) -> dict[str, object]:
    server: RestServer = request.getfixturevalue("rest_server")
    admin: RestServer = request.getfixturevalue("rest_admin")
    secret = station.folder / "rest-secret"
    secret.write_text(server.password)
    return {
        "kind": "rest",
        "endpoint": server.address,
        "path": server.path(name),
        "rest_username": server.user,
        "rest_password": {"file": str(secret)},
        "append_only": True,
        "admin": {
            "endpoint": admin.address,
            "path": admin.path(name),
            "rest_username": admin.user,
            "rest_password": {"file": str(secret)},
        },
    }
