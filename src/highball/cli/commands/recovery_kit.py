"""recovery-kit: pages to print, by which data comes back without Highball. They are made of secrets."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from highball.cli.console import safe
from highball.cli.context import Session
from highball.config.document import effective_job, find_nearest
from highball.errors import Conflict, Failed, Misuse, Unknown

OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE", help="Write it to this new file, readable only by you."),
]
ShowOption = Annotated[
    bool, typer.Option("--show", help="Print it to standard output, including the secrets.")
]


def recovery_kit(
    context: typer.Context,
    repository: Annotated[str, typer.Argument(metavar="REPOSITORY", help="The repository's ID.")],
    out: OutOption = None,
    show: ShowOption = False,
) -> None:
    """Create a repository's recovery kit: a page to print with address, password and the commands to restore."""
    session: Session = context.obj
    _demand_a_place(out, show)
    _hand_out(session, _make_kit(session, repository), out, {"repository": repository})


def _make_kit(session: Session, repository: str) -> str:
    if session.hub is not None:
        return session.reach().make_kit(repository)
    from highball.cli.commands.hub import find_place, read_declared
    from highball.engine.kinds import engine_of
    from highball.hub.disaster.hub_kit import list_kept
    from highball.hub.runs.record import utc_now

    place = read_declared(find_place(session))
    document = place.document
    if repository not in document.repositories:
        raise Unknown(
            f"there is no repository {repository}",
            code="repository_unknown",
            hint=find_nearest(repository, list(document.repositories)) or "see them with: highball list",
        )
    jobs = {key: effective_job(document, key) for key in document.jobs}
    kept = list_kept(jobs, repository)
    declared = document.repositories[repository]
    return engine_of(declared).recovery_page(repository, declared, kept, utc_now(), sealed=place.sealed)


def hub_recovery_kit(context: typer.Context, out: OutOption = None, show: ShowOption = False) -> None:
    """Create the hub's recovery kit: a page to print with its vault's key and the steps to restore its database."""
    from highball.cli.commands.hub import find_place, read_declared
    from highball.cli.own_places import find_key_folder
    from highball.hub.disaster.hub_kit import hub_kit
    from highball.hub.runs.record import utc_now
    from highball.hub.secrets.vault import find_key_file
    from highball.hub.storage.dialects import (
        find_newest_backup,
        name_of,
        open_engine,
    )

    session: Session = context.obj
    _demand_a_place(out, show)
    place = read_declared(find_place(session))
    key_file = find_key_file(find_key_folder(place.configuration), os.environ)
    page = hub_kit(
        key=_read_key(key_file),
        key_file=key_file,
        configuration=place.configuration.absolute() if place.configuration else None,
        state=place.state,
        database=name_of(open_engine(place.database)),
        newest_backup=find_newest_backup(place.state),
        repositories={key: one.address for key, one in place.document.repositories.items()},
        now=utc_now(),
    )
    _hand_out(session, page, out, {"hub": str(place.state)})


def _read_key(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failed(f"the key {path} cannot be read: {error.strerror}", code="key_unreadable") from None


# --- where it goes -------------------------------------------------------------------------------


def _demand_a_place(out: Path | None, show: bool) -> None:
    if out is None and not show:
        raise Misuse(
            "a recovery kit contains secrets: choose where to write it",
            code="confirmation_required",
            hint="--out FILE writes a file that only you can read, --show prints it here",
        )


def _hand_out(session: Session, page: str, out: Path | None, about: dict[str, str]) -> None:
    if out is not None:
        _write(out, page)
    if not session.output.for_people:
        shown = {"kit": page} if out is None else {"file": str(out.absolute())}
        session.output.document(about | shown)
    elif out is not None:
        session.output.line(f"✓ {out}: print it, keep it in a safe place, and remove the file", "green")
    else:
        sys.stdout.write("".join(f"{safe(line)}\n" for line in page.splitlines()))  # never broken at an edge


def _write(out: Path, page: str) -> None:
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise Conflict(
            f"{out} exists already", code="file_exists", hint="remove it, or choose another name"
        ) from None
    except OSError as error:
        raise Failed(f"{out} cannot be written: {error.strerror}", code="file_unwritten") from None
    try:
        with open(descriptor, "wb") as opened:
            opened.write(page.encode())
            opened.flush()
            os.fsync(opened.fileno())
    except OSError as error:
        out.unlink(missing_ok=True)
        raise Failed(f"{out} cannot be written: {error.strerror}", code="file_unwritten") from None
