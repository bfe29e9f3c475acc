"""hub backup, restore-backup, rebuild, reset-password: looking after the database of the hub, or of this machine.

These open no machine: they have to work where the database is damaged, and change nothing that is declared.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from highball.agent.query.repository_queries import RepositoryQueries
from highball.agent.run_directory import list_run_directories
from highball.agent.state_dir import Workplace
from highball.cli import formatting
from highball.cli.console import Output, safe
from highball.cli.context import Session
from highball.cli.options import Yes
from highball.cli.own_places import (
    find_configuration,
    find_database,
    find_key_folder,
    find_state,
)
from highball.config.document import (
    Document,
    build,
    load,
)
from highball.engine.kinds import Programs
from highball.errors import (
    ConfigurationInvalid,
    Conflict,
    HighballError,
    Misuse,
    StateUnusable,
    Unknown,
)
from highball.hub.audit import COMMAND
from highball.hub.disaster import rebuild as rebuilding
from highball.hub.document.store import Documents
from highball.hub.runs.record import utc_now
from highball.hub.secrets.vault import find_key_file, open_vault
from highball.hub.storage.database import open_database
from highball.hub.storage.dialects import BACKUPS
from highball.hub.storage.leader_lock import (
    END_FIRST,
    lease_on,
    refuse_if_served,
)
from highball.model.snapshot import Node, Snapshot
from highball.model.text import time_to_text
from highball.secret import SecretValue

if TYPE_CHECKING:
    from highball.hub.disaster.self_backup import Manifest


@dataclass(frozen=True)
class HubInstallation:
    """Where state and database lie; a hub without a file has all that it declares in its database."""

    configuration: Path | None
    document: Document
    state: Path
    programs: Programs = Programs()  # noqa: RUF009 - it is frozen
    """The programs of engines that a file of this machine names."""
    sealed: Mapping[str, SecretValue] = field(default_factory=dict)

    @property
    def database(self) -> Path | str:
        """The database: a file, or an address."""
        return find_database(self.state)


def find_place(session: Session) -> HubInstallation:
    """The place of this call's configuration, or of a hub that has none; raises ConfigurationInvalid."""
    try:
        path = find_configuration(session.config)
    except ConfigurationInvalid as error:
        place = HubInstallation(None, Document(), find_state(None, Document()))
        if error.code != "configuration_missing" or not _is_there(place):
            raise
        return place
    document = load(path)
    return HubInstallation(path, document, find_state(path, document), document.settings)


def _is_there(place: HubInstallation) -> bool:
    """Whether a hub without a file was at work here, or somebody says that this is its state."""
    named = os.environ.get("HIGHBALL_STATE") or os.environ.get("HIGHBALL_DATABASE")
    return bool(named) or (place.state / "highball.db").exists() or (place.state / BACKUPS).exists()


def read_declared(place: HubInstallation) -> HubInstallation:
    """The same place with what is declared: by its file, else in its database, with the values sealed there."""
    where = place.database
    if place.configuration is not None or (isinstance(where, Path) and not where.exists()):
        return place
    database = open_database(where)
    try:
        document = Documents(database).document()
        key_file = find_key_file(find_key_folder(None), os.environ)
        if not key_file.exists():
            return replace(place, document=document)
        vault = open_vault(database, key_file)
        placed = {key: vault.place(key, one) for key, one in document.repositories.items()}
        sealed: dict[str, SecretValue] = {}
        for one in placed.values():
            with contextlib.suppress(Unknown):
                sealed |= vault.open_named(one, admin=False)
        return replace(place, document=document.model_copy(update={"repositories": placed}), sealed=sealed)
    finally:
        database.close()


# --- backups of the hub --------------------------------------------------------------------------


def back_up(context: typer.Context) -> None:
    """Make a hub backup: copy its database and sealed vault into its state directory; the last 7 copies are kept."""
    from highball.hub.disaster import self_backup

    session: Session = context.obj
    place = find_place(session)
    _make_folder(place.state)
    database = open_database(place.database)
    path = self_backup.back_up(database, place.state, utc_now())
    database.close()
    size = path.stat().st_size
    if session.output.for_people:
        session.output.line(f"✓ {path} ({formatting.size(size)})", "green")
    else:
        session.output.document({"backup": str(path), "size_bytes": size})


def _make_folder(state: Path) -> None:
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StateUnusable(f"the state directory {state} cannot be used: {error.strerror}") from None


def restore_backup(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The copy to restore; by default the newest.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Restore the hub's database from a copy; the present database is moved aside."""
    from highball.hub.disaster import self_backup

    session: Session = context.obj
    place = find_place(session)
    _make_folder(place.state)
    path = (file or self_backup.get_newest_backup(place.state)).absolute()
    manifest = self_backup.examine(path)
    _demand_nothing_runs(place.state)
    if not _agreed(session.output, path, manifest, yes):
        session.output.note("Nothing was changed.")
        return
    restored = self_backup.restore_backup(path, place.database, utc_now())
    if not session.output.for_people:
        rows = restored.manifest.rows
        made = time_to_text(manifest.made_at)
        session.output.document(
            {"restored": str(path), "made_at": made, "rows": rows, "aside": restored.aside}
        )
        return
    session.output.line(f"✓ restored the database of {formatting.moment(manifest.made_at)}", "green")
    if restored.aside:
        session.output.line(f"  the former database was moved to {restored.aside}")


def _agreed(output: Output, path: Path, manifest: Manifest, yes: bool) -> bool:
    runs = formatting.counted(manifest.rows.get("runs", 0), "run")
    output.note(
        f"{path.name}: created {formatting.moment(manifest.made_at)} by Highball {manifest.program}, {runs}."
    )
    output.note("Everything recorded since then will be missing.")
    if yes:
        return True
    if not output.interactive:
        raise Misuse(
            "restoring the database needs --yes when nobody can be asked",
            code="confirmation_required",
        )
    return output.confirm("Move the present database aside and restore this one?")


def _demand_nothing_runs(state: Path) -> None:
    """Raise Conflict while a run goes on, which would write its end into the database moved aside."""
    for directory in list_run_directories(state / "runs"):
        if not directory.take_if_free():
            raise Conflict(
                f"run {directory.path.name} is still running",
                code="run_going_on",
                hint="wait until it has ended, or cancel it",
            )
        directory.release()


# --- who forgot a password -----------------------------------------------------------------------


def reset_password(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")],
) -> None:
    """Create a link with which a user sets a new password, and remove their second factor.

    The link works once, and ends the user's sessions when it is used.
    """
    from highball.hub.auth.sessions import Access

    session: Session = context.obj
    place = find_place(session)
    if isinstance(place.database, Path) and not place.database.exists():
        raise Unknown(f"no hub has ever used the state {place.state}", code="database_unknown")
    database = open_database(place.database)
    try:
        access = Access(database)
        link = access.make_link(name, COMMAND, utc_now())
        had_factor = access.authenticators.reset(name, COMMAND, utc_now())
    finally:
        database.close()
    lease = lease_on(place.database)
    holder = lease.find_holder()
    lease.release()
    path = f"/password#{link.token.reveal().decode()}"
    address = holder.address if holder is not None else None
    if not session.output.for_people:
        told = {"user": name, "link": f"{address or ''}{path}", "expires_at": time_to_text(link.expires_at)}
        session.output.document(told | {"second_factor_removed": had_factor})
        return
    if had_factor:
        session.output.line(
            f"The second factor of {name} is removed: the password alone is enough to log in."
        )
    session.output.line(
        f"{name} can set a new password with this link, once, until {formatting.moment(link.expires_at)}:"
    )
    session.output.line(f"  {address or 'http://ADDRESS-OF-THE-HUB'}{path}")
    if address is None:
        session.output.note("The hub is not running: start it with highball serve, and open that path there.")


# --- without a backup ----------------------------------------------------------------------------


def rebuild(
    context: typer.Context,
    repositories: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[REPOSITORY]...", help="The repositories to search; by default all that are declared."
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Search a repository that is not declared.")
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option("--password-file", metavar="FILE", help="With --url: the file with its password."),
    ] = None,
    called: Annotated[
        str, typer.Option("--as", metavar="ID", help="With --url: the ID to give it.")
    ] = "found",
    confirm: Annotated[
        list[str] | None,
        typer.Option(
            "--confirm",
            metavar="JOB",
            help="Confirm that this job's snapshots are its own: apply its retention to them again.",
        ),
    ] = None,
    without_backup: Annotated[
        bool,
        typer.Option("--without-backup", help="Reconstruct the jobs even if a hub backup was found."),
    ] = False,
) -> None:
    """Rebuild the hub from the repositories: fetch its newest hub backup, else reconstruct the jobs, disabled.

    No retention applies, and nothing is removed, until a job is confirmed.
    """
    session: Session = context.obj
    place = _place_to_rebuild(session, url, password_file, called)
    chosen = [called] if url is not None else _choose(place.document, repositories or [])
    unknown = [job for job in confirm or [] if job not in place.document.jobs]
    if unknown:
        raise Unknown(
            f"there is no job {unknown[0]}",
            code="job_unknown",
            hint="add it to the configuration first, as shown by `highball hub rebuild`",
        )
    refuse_if_served(place.database, END_FIRST)
    listing = _list_all(session.output, place, chosen)
    if confirm:
        _confirm(session.output, place, listing, confirm)
        return
    copy = rebuilding.find_copy(listing)
    if copy is not None and not without_backup:
        _fetch(session.output, place, copy)
        return
    added = {} if url is None else {called: place.document.tables["repositories"][called]}
    _make_jobs(session.output, place, listing, added)


def _place_to_rebuild(
    session: Session, url: str | None, password_file: Path | None, called: str
) -> HubInstallation:
    """The place of the configuration, with the repository that was named; with one, no configuration is needed."""
    if url is None and password_file is None:
        return read_declared(find_place(session))
    if url is None or password_file is None:
        raise Misuse("--url and --password-file need each other")
    try:
        place = find_place(session)
    except ConfigurationInvalid as error:
        if error.code != "configuration_missing":
            raise
        path = Path("highball.toml").absolute()
        place = HubInstallation(path, Document(), find_state(path, Document()))
    tables = {**place.document.tables}
    if called in tables.get("repositories", {}):
        raise Conflict(
            f"there is a repository {called} already", code="key_taken", hint="choose another ID with --as"
        )
    password = {"file": str(password_file.absolute())}
    tables["repositories"] = {**tables.get("repositories", {}), called: {"url": url, "password": password}}
    return replace(place, document=build(tables))


def _choose(document: Document, named: list[str]) -> list[str]:
    for key in named:
        if key not in document.repositories:
            raise Unknown(
                f"there is no repository {key}",
                code="repository_unknown",
                hint="see them with: highball list",
            )
    chosen = named or list(document.repositories)
    if not chosen:
        raise Misuse("no repository is declared", hint="name one with --url and --password-file")
    return chosen


def _list_all(output: Output, place: HubInstallation, chosen: list[str]) -> list[Snapshot]:
    found: list[Snapshot] = []
    failures: list[HighballError] = []
    for key in chosen:
        try:
            found += _ask(place, key).list_snapshots()
        except HighballError as error:
            failures.append(error)
            output.note(f"✗ {key}: {error.message}", "red")
    if len(failures) == len(chosen):
        raise failures[0]
    return found


def _ask(place: HubInstallation, key: str) -> RepositoryQueries:
    _make_folder(place.state)
    workplace = Workplace(place.state, place.programs, place.sealed)
    workplace.prepare()
    return RepositoryQueries(workplace, key, place.document.repositories[key], None)


def _fetch(output: Output, place: HubInstallation, copy: Snapshot) -> None:
    """Bring the newest backup of the hub from its repository into the state directory."""
    from highball.hub.disaster import self_backup

    asked = _ask(place, copy.repository)
    nodes: list[Node] = []
    asked.opened.each_node(copy.id, nodes.append)
    path = rebuilding.find_copy_within(nodes)
    if path is None:
        raise Unknown(
            f"the snapshot {copy.id[:8]} in {copy.repository} contains no hub backup",
            code="backup_unknown",
            hint="reconstruct the jobs with --without-backup",
        )
    target = place.state / BACKUPS / os.fsdecode(path.rpartition(b"/")[2])
    target.parent.mkdir(mode=0o700, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as opened:

        def write(data: bytes) -> None:
            opened.write(data)

        asked.dump(copy.id, path, write)
    manifest = self_backup.examine(unfinished)
    unfinished.replace(target)
    way = f"highball hub restore-backup {target}"
    if output.for_people:
        output.line(
            f"✓ fetched the hub backup of {formatting.moment(manifest.made_at)} from {copy.repository}",
            "green",
        )
        output.line(f"  restore it with: {way}")
    else:
        made = time_to_text(manifest.made_at)
        output.document({"backup": str(target), "made_at": made, "repository": copy.repository})


def _make_jobs(
    output: Output, place: HubInstallation, listing: list[Snapshot], added: dict[str, dict[str, Any]]
) -> None:
    found = rebuilding.find_skeletons(listing, place.document.jobs)
    database = open_database(place.database)
    rebuilding.store_skeletons(database, found, utc_now(), COMMAND, added)
    database.close()
    text = rebuilding.as_toml(found, added)
    if not output.for_people:
        rows = [{**one.spec, "job": one.key, "host": one.host, "snapshots": one.snapshots} for one in found]
        output.document({"jobs": rows, "toml": text})
        return
    if not found:
        output.line("No snapshot names a job that is not declared already.")
        return
    output.note(
        "These jobs were found. They are disabled, and none of their snapshots are removed, until you add"
    )
    output.note("them to the configuration, complete them, and run: highball hub rebuild --confirm JOB")
    sys.stdout.write("".join(f"{safe(line)}\n" for line in text.splitlines()))  # never broken at an edge


def _confirm(output: Output, place: HubInstallation, listing: list[Snapshot], jobs: list[str]) -> None:
    database = open_database(place.database)
    counts = rebuilding.adopt(database, listing, jobs, utc_now(), COMMAND)
    database.close()
    if not output.for_people:
        output.document({"adopted": counts})
        return
    for job, count in counts.items():
        output.line(
            f"✓ {job}: {formatting.counted(count, 'snapshot')} confirmed; its retention applies again",
            "green",
        )
