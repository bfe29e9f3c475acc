"""The hub as a process, and the agent of its own machine, until Ctrl-C; the agent's runs go on without either."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from highball.agent.host_policy import OwnMachine
from highball.agent.state_dir import Workplace
from highball.cli.context import Session
from highball.cli.own_places import (
    find_configuration,
    find_database,
    find_key_folder,
    find_state,
)
from highball.cli.urls import is_exposed
from highball.config.document import Document, load
from highball.errors import ConfigurationInvalid, Conflict, Failed, NotAllowed
from highball.hub.audit import COMMAND, HUB
from highball.hub.document.store import read_host
from highball.hub.runs.record import utc_now
from highball.hub.storage.database import open_database

if TYPE_CHECKING:
    import uvicorn

    from highball.cli.local_agent import LocalAgent
    from highball.config.web_settings import Web
    from highball.hub.hub import Hub
    from highball.hub.storage.leader_lock import Lease
    from highball.web.middleware import Rules


class HubProcess:
    """One life of the hub."""

    def __init__(self, session: Session, address: str, port: int, plain_http: bool) -> None:
        self._session = session
        self._plain_http = plain_http
        self._address, self._port = address, port
        shown = f"[{address}]" if ":" in address else address
        self._url = f"http://{shown}:{port}"
        self._end_asked = asyncio.Event()
        self._server: uvicorn.Server | None = None

    async def serve(self) -> None:
        """Until a signal ends it."""
        from highball.cli.local_agent import LocalAgent

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._ask_to_end)
        state, hub = await asyncio.to_thread(self._open)
        machine = OwnMachine.model_validate(hub.documents.own_programs() | {"own": self._list_own()})
        agent = LocalAgent(state, machine, lambda: hub.record.list_saved_on(hub.host))
        if not self._end_asked.is_set():
            await self._serve(hub, agent)
        self._say_goodbye(agent)

    def _ask_to_end(self) -> None:
        """Ctrl-C or SIGTERM: a second one does not wait for open connections."""
        if self._end_asked.is_set() and self._server is not None:
            self._server.force_exit = True
        self._end_asked.set()

    async def _serve(self, hub: Hub, agent: LocalAgent) -> None:
        server = self._server = self._make_server(hub)
        serving = asyncio.create_task(server.serve(self._bind()))
        hub.begin(asyncio.get_running_loop())
        try:
            while not (server.started or serving.done()):
                await asyncio.sleep(0.02)
            if not self._end_asked.is_set():
                self._begin_agent(hub, agent)
                self._welcome(hub)
            asked = asyncio.create_task(self._end_asked.wait())
            await asyncio.wait({asked, serving}, return_when=asyncio.FIRST_COMPLETED)
            server.should_exit = True  # not before it has started: it would leave its work lying about
            hub.bus.close()
            await serving
        finally:
            await hub.end()

    def _begin_agent(self, hub: Hub, agent: LocalAgent) -> None:
        agent.begin(
            self._url,
            is_known=lambda key: hub.fleet.knows(hub.host, key),
            invite=lambda: hub.fleet.invite(hub.host, HUB, utc_now()),
        )

    def _open(self) -> tuple[Path, Hub]:
        """The state, and the hub on it, with what the configuration file declares, if there is one."""
        from highball.hub.auth.users import kept_sound
        from highball.hub.document.store import Documents
        from highball.hub.hub import Hub
        from highball.hub.secrets.vault import find_key_file, open_vault

        path = self._find_file()
        document, fault = self._load(path)
        state = find_state(path, document)
        where = find_database(state)
        if fault is not None and isinstance(where, Path) and not where.exists():
            raise fault
        Workplace(state).prepare()
        database = open_database(where, serving=True)
        lease = self._take_lease(where)
        documents = Documents(database, kept_sound)
        if fault is not None and (path is None or documents.file() != os.fspath(path)):
            raise fault
        folder = find_key_folder(path)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        vault = open_vault(
            database, find_key_file(folder, os.environ)
        )  # binds old secrets to what holds until now
        if path is not None and fault is None:
            documents.load(document, now=utc_now(), actor=COMMAND, file=os.fspath(path))
        self._demand_closed(documents.document())
        host = read_host(database, documents.document())
        hub = Hub(database, documents, host, vault, state, lease)
        hub.file_fault = fault
        return state, hub

    def _list_own(self) -> tuple[Path, ...]:
        """The hub's key and configuration, which no restore that it orders may replace."""
        from highball.hub.secrets.vault import find_key_file

        path = self._find_file()
        key = find_key_file(find_key_folder(path), os.environ)
        return (key,) if path is None else (key, path)

    def _demand_closed(self, document: Document) -> None:
        """Raise NotAllowed where passwords would travel in the clear, and nobody said that they may."""
        if not is_exposed(self._url) or self._plain_http or document.settings.web.plain_http:
            return
        raise NotAllowed(
            f"{self._url} is plain http: anybody on the network could read passwords and secrets",
            code="plain_http_refused",
            hint="listen on 127.0.0.1 behind an https proxy; or set plain_http = true under [settings.web]",
        )

    def _load(self, path: Path | None) -> tuple[Document, ConfigurationInvalid | None]:
        """What the file declares; or nothing and why, where it is malformed: what it declared before may hold."""
        if path is None:
            return Document(), None
        try:
            return load(path), None
        except ConfigurationInvalid as error:
            return Document(), error

    def _take_lease(self, where: Path | str) -> Lease:
        from highball.hub.storage.leader_lock import lease_on

        lease = lease_on(where)
        if not lease.take(self._url):
            raise Conflict(
                f"another hub uses this database: {lease.find_holder()}",
                code="hub_is_serving",
                hint="stop that hub first, or name another state with HIGHBALL_STATE",
            )
        return lease

    def _find_file(self) -> Path | None:
        try:
            return find_configuration(self._session.config)
        except ConfigurationInvalid as error:
            if error.code == "configuration_missing":
                return None
            raise

    def _bind(self) -> list[socket.socket]:
        """The sockets to answer on; raises Failed where they cannot be had."""
        try:
            found = socket.getaddrinfo(
                self._address, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            places = dict.fromkeys((family, place[:2]) for family, _, _, _, place in found)
            return [socket.create_server(place, family=family) for family, place in places]
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Failed(
                    f"{self._url} cannot be used: another program listens there",
                    code="address_in_use",
                    hint="choose another with --listen 127.0.0.1:8766",
                ) from None
            raise Failed(
                f"{self._url} cannot be used: {error.strerror}",
                code="address_unusable",
                hint="--listen needs an address of this machine, and a port that this user may use",
            ) from None

    def _make_server(self, hub: Hub) -> uvicorn.Server:
        from highball.web.app import make_app
        from highball.web.server import make_server

        web = hub.document().settings.web
        return make_server(make_app(hub, self._rules(web), web.below))

    def _rules(self, web: Web) -> Rules:
        from highball.web.middleware import Rules, host_of

        own = socket.gethostname().lower()
        names = {own, own.partition(".")[0], f"{own.partition('.')[0]}.local", self._address.lower()}
        if web.url is not None:
            names.add(host_of(urlsplit(web.url).netloc.rpartition("@")[2]))
        return Rules(
            trusted_proxies=tuple(ip_network(one) for one in web.trusted_proxies),
            allowed_hosts=frozenset(names | set(web.allowed_hosts)),
            framed_by=web.frame_ancestors,
            url=web.url,
        )

    def _welcome(self, hub: Hub) -> None:
        output = self._session.output
        output.line(f"Highball serves at {self._url}", "bold")
        if is_exposed(self._url):
            output.line(
                (
                    "Passwords and tokens are sent unencrypted to that address: listen on 127.0.0.1 behind "
                    "an https proxy."
                ),
                "yellow",
            )
        if hub.file_fault is not None:
            output.error(hub.file_fault)
            output.line(
                "The file's previous declarations remain in effect: correct it, and restart the hub.",
                "yellow",
            )
        for fault in hub.documents.list_faults():
            output.line(f"{fault.at} {fault.message}: it is ignored until it is corrected.", "yellow")
        link = hub.access.make_setup_token(utc_now())
        if link is not None:
            token = link.token.reveal().decode()
            output.line(
                f"There is no account yet. Create the first one here, within a day: {self._url}/setup#{token}"
            )
        sys.stdout.flush()  # whoever reads a journal or a file waits for the link

    def _say_goodbye(self, agent: LocalAgent) -> None:
        going = agent.list_going()
        if not going:
            idle = ", and the agent, which was idle" if agent.end() else ""
            self._session.output.note(f"The hub has stopped{idle}.")
        for run in going:
            self._session.output.note(
                f"The hub has stopped; run {run} continues, and its agent waits for the hub."
            )
