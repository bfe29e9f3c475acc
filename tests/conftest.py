"""Fixtures that hand the real parts of `testbed` to the tests.

Servers start once per session (per worker), when the first test asks for one; every test gets a repository
location of its own on them. A test that stops or reconfigures a server makes its own from the classes.
"""

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from highball.hub.storage.database import Database, open_database
from testbed import parts, serving
from testbed.postgres import PostgresServer
from testbed.rest import RestServer
from testbed.restic import Location, ResticBinary
from testbed.s3 import S3Server
from testbed.sftp import SftpServer
from testbed.trees import mixed_tree
from testbed.unprivileged import Unprivileged

# Hypothesis without a clock: on a busy machine a slow example is no finding. Every run has examples of its own, so
# that few each day are many in a week; only CI has the same ones each time, for there a change is judged by them.
UNHURRIED = settings(
    max_examples=50,
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("every day", UNHURRIED)
settings.register_profile("all", UNHURRIED, max_examples=200)
settings.load_profile("every day")

# Whoever starts the tests in the background, or under nohup, has made them deaf to Ctrl-C and to a hang-up, and all
# that they start with them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

LOCATION_KINDS = ("local", "sftp", "rest", "s3")

SHARING = ("access", "api", "hub", "pages")
"""Folders whose modules have something in common that takes long to start."""

FIRST = ("pages", "hub", "journeys", "api", "hostile")
"""Folders of tests that take long, in this order; those of the pages one after the other, with one Chromium."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Two workers for each core: half the time a test waits for what it started to do something."""
    cores = os.cpu_count()
    return None if cores is None or "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else cores * 2


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make test-all`: what is too much for every day."""
    parser.addoption("--all", action="store_true", help="every restic, the long tests too, more examples")


def pytest_configure(config: pytest.Config) -> None:
    """More examples where everything is tried."""
    if config.getoption("--all"):
        settings.load_profile("all")


class ModulesTogether(LoadScopeScheduling):  # type: ignore[misc]
    """Who gets which test: a module that shares a hub or a browser goes to one worker, other tests one by one."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return module if Path(module).parent.name in SHARING else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ModulesTogether:
    """Hand out the tests in the order that they are sorted in below."""
    config.option.loadscopereorder = False
    return ModulesTogether(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave what is too much for every day to `--all`, except where a test is named; the longest come first."""
    if not config.getoption("--all") and not any("::" in named for named in config.args):
        left = [item for item in items if is_too_much(item)]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
    items.sort(key=_begins)


def _begins(item: pytest.Item) -> int:
    """When a test begins: those that take long soon, so that no worker is left with them at the end."""
    if item.get_closest_marker("dear"):
        return -1
    folder = item.path.parent.name
    return FIRST.index(folder) if folder in FIRST else len(FIRST)


def is_too_much(item: pytest.Item) -> bool:
    """Whether a test is left to `--all`: long ones, and those with a restic between the oldest and the newest.

    What was true of the oldest and of the newest was never yet false between them, but for what they print:
    `@pytest.mark.each_restic` is for tests of that.
    """
    if item.get_closest_marker("long"):
        return True
    if item.get_closest_marker("each_restic"):
        return False
    given = getattr(item, "callspec", None)
    return given is not None and any(one in parts.RESTIC_VERSIONS[1:-1] for one in given.params.values())


def pytest_runtest_setup(item: pytest.Item) -> None:
    """`@pytest.mark.needs("sshd")` on a test that starts a part by itself."""
    for mark in item.iter_markers("needs"):
        for part in mark.args:
            parts.need(part)


# ------------------------------------------------------------------------------------------- programs


@pytest.fixture(params=parts.RESTIC_VERSIONS)
def restic(request: pytest.FixtureRequest) -> ResticBinary:
    """The oldest restic and the newest in turn; those between too with `--all`, and where `each_restic` is marked."""
    return parts.get_restic(request.param)


@pytest.fixture(scope="session")
def oldest_restic() -> ResticBinary:
    """The oldest restic that Highball supports."""
    return parts.get_restic(parts.RESTIC_VERSIONS[0])


@pytest.fixture(scope="session")
def newest_restic() -> ResticBinary:
    """The newest restic that Highball is tested with."""
    return parts.get_restic(parts.RESTIC_VERSIONS[-1])


@pytest.fixture
def free_port() -> int:
    """A loopback port nobody listens on."""
    return serving.free_port()


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    """A file with a repository password, readable for its owner only, in a folder of its own."""
    path = tmp_path / "secret" / "repository-password"
    path.parent.mkdir(mode=0o700)
    path.write_text("correct horse battery staple\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def unprivileged() -> Iterator[Unprivileged]:
    """The user nobody, with a directory of their own. Skips where the tests do not run as root."""
    with Unprivileged() as user:
        yield user


@pytest.fixture
def source_tree(tmp_path: Path) -> bytes:
    """The path of a small tree with everything that is odd and allowed; read it, and change it at will."""
    path = os.fsencode(tmp_path / "source")
    mixed_tree(path, files=12)
    return path


# -------------------------------------------------------------------------------------------- servers


@pytest.fixture(scope="session")
def sftp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    """An sshd of this session, for SFTP and for commands."""
    with SftpServer(tmp_path_factory.mktemp("sftp")) as server:
        yield server


@pytest.fixture(scope="session")
def rest_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestServer]:
    """The REST server as a backup host reaches it: append-only, private repositories, a password."""
    data = tmp_path_factory.mktemp("rest") / "data"
    with RestServer(
        data, append_only=True, private_repos=True, user="keeper", password="p:a@ss/w ord"
    ) as server:
        yield server


@pytest.fixture(scope="session")
def rest_admin(rest_server: RestServer) -> Iterator[RestServer]:
    """The same user's same repositories through a server that also deletes."""
    with rest_server.admin() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 service with one bucket."""
    parts.need("moto")
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL of this session."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> str:
    """The name of a database with our tables in it, of which every test gets a copy: quicker than making them."""
    name = postgres_server.create()
    open_database(postgres_server.address(name)).close()
    return name


@pytest.fixture
def postgres(postgres_server: PostgresServer, postgres_template: str) -> Iterator[str]:
    """The address of a PostgreSQL database of this test's own, our tables in it and nothing in them."""
    name = postgres_server.create(postgres_template)
    yield postgres_server.address(name)
    postgres_server.drop(name)


@pytest.fixture
def empty_postgres(postgres_server: PostgresServer) -> Iterator[str]:
    """The address of a PostgreSQL database of this test's own with nothing in it."""
    name = postgres_server.create()
    yield postgres_server.address(name)
    postgres_server.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a database may be, on each of the two in turn, for `open_database`: a path, or an address."""
    if request.param == "sqlite":
        return tmp_path / "highball.db"
    address: str = request.getfixturevalue("postgres")
    return address


@pytest.fixture
def database(database_place: Path | str) -> Iterator[Database]:
    """An opened database, new, on each of the two in turn."""
    opened = open_database(database_place)
    yield opened
    opened.close()


# ------------------------------------------------------------------------------------------ locations


@pytest.fixture
def repository_name() -> str:
    """A name that no other test uses: a folder on SFTP, a path on REST, a prefix on S3."""
    return f"repository-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def local_location(tmp_path: Path) -> Location:
    """A repository in a directory, not yet initialised."""
    return Location("local", str(tmp_path / "repository"))


@pytest.fixture
def sftp_location(sftp_server: SftpServer, repository_name: str) -> Location:
    """A repository over SFTP, not yet initialised."""
    return sftp_server.location(repository_name)


@pytest.fixture
def rest_location(rest_server: RestServer, repository_name: str) -> Location:
    """A repository on the append-only REST server, not yet initialised."""
    return rest_server.location(repository_name)


@pytest.fixture
def rest_admin_location(rest_admin: RestServer, repository_name: str) -> Location:
    """The same repository as `rest_location`, as its administrator reaches it."""
    return rest_admin.location(repository_name)


@pytest.fixture
def s3_location(s3_server: S3Server, repository_name: str) -> Location:
    """A repository on S3, not yet initialised."""
    return s3_server.location(repository_name)


@pytest.fixture(params=LOCATION_KINDS)
def location(request: pytest.FixtureRequest) -> Location:
    """Each kind of location in turn, all with the right to delete: the test runs once over every backend."""
    name = {"rest": "rest_admin_location"}.get(request.param, f"{request.param}_location")
    found = request.getfixturevalue(name)
    assert isinstance(found, Location)
    return found
