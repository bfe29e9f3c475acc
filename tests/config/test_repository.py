"""A restic repository: every way to declare it leads there, and no secret shows on the way."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from highball.engine.restic.access import RepositoryAccess, access
from highball.engine.restic.declaration import ResticRepository, secrets_of, with_places
from highball.engine.restic.location import address, local_folder
from highball.errors import SecretUnavailable
from highball.secret import SecretReference, SecretValue, mask
from testbed.rest import RestServer
from testbed.restic import ResticBinary
from testbed.s3 import S3Server
from testbed.sftp import SftpServer

from .declared import problems_in

PASSWORD = {"env": "PASSWORD"}
SECRETS = {"PASSWORD": "geheim", "REST": "p:a@ss/w ord%", "KEY": "schlüssel", "OTHER": "anders"}


def repository(**fields: Any) -> ResticRepository:
    return ResticRepository.model_validate({"password": PASSWORD, **fields})


def problems(**fields: Any) -> list[str]:
    said = problems_in({"repositories": {"r": {"password": PASSWORD, **fields}}})
    return [one.removeprefix("repositories.r").removeprefix(".") for one in said]


# --- addresses -----------------------------------------------------------------------------------

BY_KIND: list[tuple[dict[str, Any], str]] = [
    ({"kind": "local", "path": "/mnt/nas/restic"}, "/mnt/nas/restic"),
    ({"kind": "sftp", "server": "nas", "path": "/srv/restic"}, "sftp://nas//srv/restic"),
    (
        {"kind": "sftp", "server": "nas", "user": "me", "port": 2222, "path": "a b"},
        "sftp://me@nas:2222/a%20b",
    ),
    ({"kind": "sftp", "server": "fe80::1", "path": "/r"}, "sftp://[fe80::1]//r"),
    ({"kind": "s3", "endpoint": "s3.example.org", "bucket": "b"}, "s3:https://s3.example.org/b"),
    (
        {"kind": "s3", "endpoint": "http://127.0.0.1:9000/", "bucket": "b", "prefix": "/a b//c/"},
        "s3:http://127.0.0.1:9000/b/a%20b/c",
    ),
    ({"kind": "rest", "endpoint": "https://nas:8000"}, "rest:https://nas:8000/"),
    ({"kind": "rest", "endpoint": "https://nas:8000/x/", "path": "/me/r/"}, "rest:https://nas:8000/x/me/r/"),
]


@pytest.mark.parametrize(("fields", "expected"), BY_KIND)
def test_the_address_of_fields(fields: dict[str, Any], expected: str) -> None:
    found = repository(**fields)
    assert address(found) == access(found, environment=SECRETS).shown == expected
    assert access(found, environment=SECRETS).location.reveal() == expected.encode()


@pytest.mark.parametrize(
    "url",
    [
        "/mnt/nas",
        "local:/mnt/nas",
        "sftp:me@nas:/srv/restic",
        "sftp:nas:restic",
        "sftp://me@nas:2222//srv/restic",
        "sftp://[::1]:22/x",
        "s3:https://s3.example.org/bucket/me@home",
        "s3:s3.example.org:9000/bucket",
        "rest:https://nas:8000/me@home/",
        "rest:http+unix:///run/rest.sock:/me/",
        "b2:bucket:path",
        "azure:container:/",
        "gs:bucket:/",
        "swift:container:/x",
        "rclone:remote:path",
    ],
)
def test_any_location_of_restic(url: str) -> None:
    assert address(repository(url=url)) == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mnt/nas", "is not an address that restic knows"),
        ("C:/backup", "is not an address that restic knows"),
        ("ftp://nas/x", "is not an address that restic knows"),
        ("local:nas", "is not an absolute path"),
        ("/mnt/../nas", "is not an absolute path"),
        ("sftp:nas", "is not an address for sftp"),
        ("sftp:me@nas:2222/x", "means the folder 2222/x: restic reads no port there"),
        ("sftp:[::1]:22/x", "means the folder 22/x: restic reads no port there"),
        ("sftp:-oProxyCommand=touch:/x", "is not an address for sftp"),
        ("sftp://-oProxyCommand=touch/x", "is not an address for sftp"),
        ("rest:nas:8000", "is not the address of a rest server"),
        ("  ", "is blank"),
        ("/a\nb", "holds a character that cannot be printed"),
    ],
)
def test_addresses_that_lead_nowhere(url: str, said: str) -> None:
    assert [one.partition(" (")[0] for one in problems(url=url)] == [f"url: {said}"]


@pytest.mark.parametrize(
    ("url", "instead"),
    [
        ("rest:https://me:geheim@nas:8000/", "use rest_username and rest_password"),
        ("rest:https://me:ge/heim@nas:8000/", "use rest_username and rest_password"),
        ("rest:https://me@nas:8000/", "use rest_username and rest_password"),
        ("rest:https://nas:8000/?password=geheim", "use rest_username and rest_password"),
        ("s3:https://AKIA:geheim@s3.example.org/b", "use access_key_id and secret_access_key"),
        ("s3:https://s3.example.org/b?X-Amz-Signature=geheim", "use access_key_id and secret_access_key"),
        ("sftp://me:geheim@nas/x", "use identity_file, which is a key that asks for no password"),
        ("sftp:me:geheim@nas:/x", "use identity_file, which is a key that asks for no password"),
        ("rclone::sftp,host=nas,pass=geheim:x", "use environment, with a reference to the secret"),
        ("azure:c:/?sig=geheim", "use environment, with a reference to the secret"),
    ],
)
def test_credentials_in_an_address_are_refused_and_not_repeated(url: str, instead: str) -> None:
    assert problems(url=url) == [f"url: contains credentials ({instead})"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, [": has no location (give its url, or a kind and its fields)"]),
        ({"url": "/x", "kind": "local"}, ["kind: cannot be combined with url (use one of them)"]),
        (
            {"kind": "local", "path": "nas"},
            ["path: is not an address that restic knows (a path that starts with /, or one"],
        ),
        ({"url": "/x", "server": "nas"}, ["server: does not go with a url of local"]),
        ({"url": "rest:http://x/", "region": "eu"}, ["region: does not go with a url of rest"]),
        ({"kind": "s3", "bucket": "b"}, ["endpoint: is missing, and kind = s3 needs it"]),
        (
            {"kind": "rest", "endpoint": "http://me:geheim@nas"},
            ["endpoint: contains credentials (use rest_username and rest_password)"],
        ),
        ({"kind": "rest", "endpoint": "nas"}, ["endpoint: is not the address of a rest server"]),
        (
            {"url": "s3:x/b", "access_key_id": "a"},
            ["secret_access_key: is missing, and access_key_id needs it"],
        ),
        (
            {"url": "s3:x/b", "secret_access_key": PASSWORD},
            ["access_key_id: is missing, and secret_access_key needs it"],
        ),
        ({"kind": "sftp", "server": "-oX", "path": "/x"}, ["server: is not the name or address of a server"]),
        ({"kind": "sftp", "server": "nas", "user": "-l", "path": "/x"}, ["user: is not the name of a user"]),
        (
            {"url": "sftp:nas:/x", "identity_file": "/a'b"},
            ["identity_file: is a file whose name ssh would misread"],
        ),
        (
            {"url": "sftp:nas:/x", "known_hosts": "x"},
            ["known_hosts: is not an absolute path (it starts with /)"],
        ),
        ({"url": "/x", "certificate": "x"}, ["certificate: is not an absolute path (it starts with /)"]),
        ({"url": "/x", "options": {"x": "1"}}, ["options.x: is not an option of restic"]),
        (
            {"url": "s3:x/b", "region": "eu", "options": {"s3.region": "us"}},
            ["options: cannot set s3.region, which other fields already set"],
        ),
        (
            {"url": "/x", "admin": {"kind": "sftp", "path": "/x"}},
            ["admin.server: is missing, and kind = sftp needs it"],
        ),
        ({"url": "/x", "host": "My Host"}, ['host: "My Host" is not an ID']),
        ({"url": "/x", "access_key_id": []}, ["access_key_id: must be a table, not a list"]),
    ],
)
def test_fields_that_do_not_go_together(fields: dict[str, Any], said: list[str]) -> None:
    assert [found[: len(one)] for found, one in zip(problems(**fields), said, strict=True)] == said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("RESTIC_PASSWORD", "cannot be set here (use password)"),
        ("RESTIC_REST_PASSWORD", "cannot be set here (use rest_password)"),
        ("restic_repository", "cannot be set here (use url)"),
        ("RESTIC_FEATURES", "cannot be set here (Highball sets what restic is told)"),
        ("HIGHBALL_STATE", "cannot be set here (Highball sets these itself)"),
        ("PATH", "cannot be set here (use restic, in the settings)"),
        ("LD_PRELOAD", "cannot be set here (it would change which code runs)"),
        (
            "AWS_SECRET_ACCESS_KEY",
            "is a secret, not text (write { file = … }, { env = … } or { command = … })",
        ),
        ("OS_PASSWORD", "is a secret, not text (write { file = … }, { env = … } or { command = … })"),
        ("A B", "is not the name of a variable"),
    ],
)
def test_variables_that_are_refused(name: str, said: str) -> None:
    assert problems(url="/x", environment={name: "geheim"}) == [f"environment.{name}: {said}"]


def test_variables_that_are_not() -> None:
    found = repository(
        url="b2:x",
        environment={
            "B2_ACCOUNT_ID": 12,
            "B2_ACCOUNT_KEY": {"env": "KEY"},
            "GOOGLE_APPLICATION_CREDENTIALS": "/x.json",
            "AWS_WEB_IDENTITY_TOKEN_FILE": "/x",
            "RCLONE_FAST_LIST": True,
        },
        options={"b2.connections": 10},
    )
    given = access(found, environment=SECRETS)
    assert given.environment == {
        "B2_ACCOUNT_ID": "12",
        "B2_ACCOUNT_KEY": SecretValue("schlüssel".encode()),
        "GOOGLE_APPLICATION_CREDENTIALS": "/x.json",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/x",
        "RCLONE_FAST_LIST": "true",
    }
    assert given.options == ("b2.connections=10",)


@pytest.mark.parametrize(
    ("fields", "command"),
    [
        ({"url": "sftp:nas:/x"}, None),
        ({"kind": "sftp", "server": "nas", "port": 2222, "path": "/x"}, None),
        (
            {"url": "sftp:nas:/x", "known_hosts": "/k"},
            '"sftp.command=ssh -o BatchMode=yes -o ConnectTimeout=30 -o StrictHostKeyChecking=yes'
            """ -o 'UserKnownHostsFile=""/k""' nas -s sftp\"""",
        ),
        (
            {"url": "sftp://me@[::1]:2222//x", "identity_file": "/k"},
            "sftp.command=ssh -p 2222 -o BatchMode=yes -o ConnectTimeout=30 -o StrictHostKeyChecking=yes"
            " -i /k -o IdentitiesOnly=yes me@::1 -s sftp",
        ),
        (
            {"url": "sftp:me@nas:x", "identity_file": "/a b,c"},
            '"sftp.command=ssh -o BatchMode=yes -o ConnectTimeout=30 -o StrictHostKeyChecking=yes'
            " -i '/a b,c' -o IdentitiesOnly=yes me@nas -s sftp\"",
        ),
    ],
)
def test_ssh_is_called_our_way_only_where_fields_ask_for_it(
    fields: dict[str, Any], command: str | None
) -> None:
    assert access(repository(**fields), environment=SECRETS).options == ((command,) if command else ())


def test_local_folders() -> None:
    assert (
        local_folder(repository(url="local:/x"))
        == local_folder(repository(kind="local", path="/x"))
        == Path("/x")
    )
    assert local_folder(repository(url="sftp:nas:/x")) is None


# --- secrets -------------------------------------------------------------------------------------

FULL: dict[str, Any] = {
    "kind": "rest",
    "endpoint": "https://nas:8000",
    "path": "me",
    "rest_username": "m@e",
    "rest_password": {"env": "REST"},
    "environment": {"X_TOKEN": {"env": "KEY"}},
    "certificate": "/ca.pem",
}


def test_secrets_are_in_the_location_and_nowhere_that_shows() -> None:
    given = access(repository(**FULL), environment=SECRETS)
    assert given.location.reveal() == b"rest:https://m%40e:p%3Aa%40ss%2Fw%20ord%25@nas:8000/me/"
    assert given.certificate == Path("/ca.pem")
    assert not any(secret in repr(given) for secret in SECRETS.values())
    said = f"{given.location.reveal().decode()} {' '.join(SECRETS[name] for name in ('PASSWORD', 'REST', 'KEY'))}"
    masked = mask(said, list(given.secrets))
    assert masked == "rest:https://m%40e:***@nas:8000/me/ *** *** ***"


def test_s3_keys_travel_in_a_file() -> None:
    found = repository(
        kind="s3",
        endpoint="x",
        bucket="b",
        region="eu",
        access_key_id={"env": "OTHER"},
        secret_access_key={"env": "KEY"},
    )
    given = access(found, environment=SECRETS)
    assert given.files["AWS_SHARED_CREDENTIALS_FILE"].reveal().decode() == (
        "[default]\naws_access_key_id = anders\naws_secret_access_key = schlüssel\n"
    )
    assert given.options == ("s3.region=eu",)
    assert mask("anders schlüssel", list(given.secrets)) == "*** ***"
    plain = access(found.model_copy(update={"access_key_id": "AKIA"}), environment=SECRETS)
    assert mask("AKIA schlüssel", list(plain.secrets)) == "AKIA ***"


def test_a_secret_that_cannot_be_had() -> None:
    with pytest.raises(SecretUnavailable):
        access(repository(**FULL), environment={})


def test_references_with_their_places() -> None:
    found = repository(
        url="s3:x/b",
        access_key_id={"env": "A"},
        secret_access_key={"env": "B"},
        environment={"X": {"env": "C"}, "Y": "plain"},
        admin={"password": {"env": "D"}, "access_key_id": "text", "secret_access_key": {"env": "E"}},
    )
    assert [(place, reference.env) for place, reference in secrets_of(found)] == [
        ("password", "PASSWORD"),
        ("access_key_id", "A"),
        ("secret_access_key", "B"),
        ("environment.X", "C"),
        ("admin.password", "D"),
        ("admin.secret_access_key", "E"),
    ]


# --- the access that may delete ------------------------------------------------------------------


def admin_of(everyday: dict[str, Any], admin: dict[str, Any] | None) -> RepositoryAccess:
    return access(repository(**everyday, admin=admin), admin=True, environment=SECRETS)


@pytest.mark.parametrize(
    ("everyday", "admin", "location"),
    [
        (FULL, None, "rest:https://m%40e:p%3Aa%40ss%2Fw%20ord%25@nas:8000/me/"),
        (FULL, {}, "rest:https://m%40e:p%3Aa%40ss%2Fw%20ord%25@nas:8000/me/"),
        (FULL, {"endpoint": "https://nas:8001"}, "rest:https://m%40e:p%3Aa%40ss%2Fw%20ord%25@nas:8001/me/"),
        (
            FULL,
            {"rest_username": "root", "rest_password": {"env": "OTHER"}},
            "rest:https://root:anders@nas:8000/me/",
        ),
        (FULL, {"url": "rest:https://x/"}, "rest:https://m%40e:p%3Aa%40ss%2Fw%20ord%25@x/"),
        (FULL, {"url": "/srv/data/me"}, "/srv/data/me"),
        (FULL, {"kind": "local", "path": "/srv/data/me"}, "/srv/data/me"),
        (FULL, {"kind": "rest", "path": "you"}, "rest:https://m%40e:p%3Aa%40ss%2Fw%20ord%25@nas:8000/you/"),
        ({"url": "/x"}, {"kind": "sftp", "server": "nas", "path": "/x"}, "sftp://nas//x"),
    ],
)
def test_blanks_are_the_everyday_ones(
    everyday: dict[str, Any], admin: dict[str, Any] | None, location: str
) -> None:
    assert admin_of(everyday, admin).location.reveal().decode() == location


def test_the_admin_access_has_a_password_and_variables_of_its_own() -> None:
    given = admin_of(
        FULL, {"password": {"env": "OTHER"}, "environment": {"Y": "1"}, "options": {"rest.connections": 2}}
    )
    assert given.password.reveal() == b"anders"
    assert given.environment == {"X_TOKEN": SecretValue("schlüssel".encode()), "Y": "1"}
    assert given.options == ("rest.connections=2",)
    everyday = access(repository(**FULL, admin={"password": {"env": "OTHER"}}), environment=SECRETS)
    assert everyday.password.reveal() == b"geheim"


# --- with the real ones --------------------------------------------------------------------------


def use(restic: ResticBinary, given: RepositoryAccess, password_file: Path) -> None:
    """Make the repository and ask it for its snapshots, as the access says."""
    files: Mapping[str, SecretValue] = {
        **given.files,
        "RESTIC_REPOSITORY_FILE": given.location,
        "RESTIC_PASSWORD_FILE": given.password,
    }
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(password_file.parent),
        "RESTIC_CACHE_DIR": str(password_file.parent / "c"),
    }
    for name, value in files.items():
        path = password_file.parent / name
        path.write_bytes(value.reveal())
        environment[name] = str(path)
    options = [word for option in given.options for word in ("-o", option)]
    for command in (("init", "--repository-version", "2"), ("snapshots",)):
        done = subprocess.run(
            [restic.path, *options, *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("by", ["kind", "url"])
def test_sftp_with_a_key_and_a_known_host(
    restic: ResticBinary,
    sftp_server: SftpServer,
    repository_name: str,
    password_file: Path,
    tmp_path: Path,
    by: str,
) -> None:
    odd = tmp_path / "a, b"
    odd.mkdir()
    for name in ("identity_file", "known_hosts"):
        (odd / name).write_bytes(getattr(sftp_server, name).read_bytes())
        (odd / name).chmod(0o600)
    path = str(sftp_server.directory / f"{repository_name} %,")
    if by == "kind":
        where = {
            "kind": "sftp",
            "server": sftp_server.host,
            "port": sftp_server.port,
            "user": sftp_server.user,
            "path": path,
        }
    else:
        where = {
            "url": f"sftp://{sftp_server.user}@{sftp_server.host}:{sftp_server.port}/{path.replace('%', '%25')}"
        }
    found = repository(
        **where, identity_file=str(odd / "identity_file"), known_hosts=str(odd / "known_hosts")
    )
    use(restic, access(found, environment=SECRETS), password_file)
    assert (sftp_server.directory / f"{repository_name} %,").is_dir()


def test_rest_with_an_odd_password(
    restic: ResticBinary, rest_server: RestServer, repository_name: str, password_file: Path
) -> None:
    found = repository(
        kind="rest",
        endpoint=f"http://{rest_server.host}:{rest_server.port}",
        path=f"keeper/{repository_name}",
        rest_username="keeper",
        rest_password={"env": "REST"},
    )
    use(restic, access(found, environment={**SECRETS, "REST": "p:a@ss/w ord"}), password_file)


def test_s3_with_keys_in_a_file(
    restic: ResticBinary, s3_server: S3Server, repository_name: str, password_file: Path
) -> None:
    there = re.fullmatch(r"s3:(http://[^/]+)/([^/]+)/(.*)", s3_server.location(repository_name).repository)
    assert there is not None
    found = repository(
        kind="s3",
        endpoint=there[1],
        bucket=there[2],
        prefix=f"a b/{repository_name}",
        region="us-east-1",
        access_key_id="someone",
        secret_access_key={"env": "KEY"},
        options={"s3.connections": 3},
    )
    use(restic, access(found, environment=SECRETS), password_file)


def test_local_through_its_admin_access(restic: ResticBinary, tmp_path: Path, password_file: Path) -> None:
    found = repository(url="rest:http://127.0.0.1:1/", admin={"url": str(tmp_path / "r")})
    use(restic, access(found, admin=True, environment=SECRETS), password_file)


def test_a_reference_is_no_text() -> None:
    reference = repository(url="s3:x/b", access_key_id={"env": "A"}, secret_access_key=PASSWORD).access_key_id
    assert isinstance(reference, SecretReference)


# --- sealed in a hub -----------------------------------------------------------------------------

SEALED = {"sealed": True}
OF_THIS = "repository:0197f0a2-0000-7000-8000-000000000001"
OF_ANOTHER = "repository:0197f0a2-0000-7000-8000-000000000002"


def test_every_sealed_secret_gets_a_place_of_this_repository_and_of_no_other() -> None:
    found = repository(
        url="s3:x/b",
        password=SEALED,
        access_key_id="A",
        secret_access_key={"sealed": f"{OF_ANOTHER}:secret_access_key"},
        environment={"X_TOKEN": SEALED, "Y_TOKEN": {"env": "OTHER"}},
        admin={"password": SEALED, "access_key_id": "B", "secret_access_key": SEALED},
    )
    placed = with_places(found, OF_THIS.partition(":")[2])
    assert {place: reference.sealed or reference.env for place, reference in secrets_of(placed)} == {
        "password": f"{OF_THIS}:password",
        "secret_access_key": f"{OF_THIS}:secret_access_key",
        "environment.X_TOKEN": f"{OF_THIS}:environment.X_TOKEN",
        "environment.Y_TOKEN": "OTHER",
        "admin.password": f"{OF_THIS}:admin",
        "admin.secret_access_key": f"{OF_THIS}:admin.secret_access_key",
    }
    assert type(placed).model_validate_json(placed.model_dump_json()) == placed


def test_the_values_a_hub_handed_over_make_the_access_and_the_admin_s_only_with_them() -> None:
    found = repository(url="/srv", password=SEALED, admin={"password": SEALED})
    placed = with_places(found, OF_THIS.partition(":")[2])
    everyday = {f"{OF_THIS}:password": SecretValue(b"geheim")}
    assert access(placed, sealed=everyday).password.reveal() == b"geheim"
    with pytest.raises(SecretUnavailable) as raised:
        access(placed, admin=True, sealed=everyday)
    assert raised.value.code == "secret_sealed_elsewhere"
    both = everyday | {f"{OF_THIS}:admin": SecretValue(b"anders")}
    assert access(placed, admin=True, sealed=both).password.reveal() == b"anders"
