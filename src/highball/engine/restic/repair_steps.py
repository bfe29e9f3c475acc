"""How a damaged repository is repaired: restic's own steps in restic's order, as commands that a person types."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from highball.engine.base import DeclaredRepository, RepairStep
from highball.engine.restic.declaration import ResticRepository, deleting_location
from highball.engine.restic.location import Location, address, local_folder
from highball.secret import SecretReference

_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})")


class ResticRepair:
    """restic's way to repair."""

    since = "0.16"
    before = "it can repair the index, but not packs and snapshots"

    def way_in(self, repository: DeclaredRepository) -> list[str] | None:
        """What opens it in a shell."""
        assert isinstance(repository, ResticRepository)
        return way_in(repository)

    def steps(self, repository: DeclaredRepository, key: str, version: str) -> list[RepairStep]:
        """The steps, as this version of restic knows them."""
        assert isinstance(repository, ResticRepository)
        return list(steps_of(repository, key, is_old=cannot_repair(version)))

    def is_too_old(self, version: str) -> bool:
        """Whether this restic knows no `repair`."""
        return cannot_repair(version)


def way_in(repository: ResticRepository) -> list[str] | None:
    """What opens the repository in a shell; None where only the recovery kit can tell."""
    location = deleting_location(repository)
    password = repository.password
    if repository.admin is not None:
        password = repository.admin.password or password
    variables = dict(location.environment)
    references = [value for value in variables.values() if isinstance(value, SecretReference)]
    if any(one.sealed is not None for one in (password, *references)) or _needs_more(location):
        return None
    lines = [f"export RESTIC_REPOSITORY={shlex.quote(address(location))}", _password(password)]
    for name, value in variables.items():
        told = _told_by(value) if isinstance(value, SecretReference) else shlex.quote(value)
        lines.append(f"export {name}={told}")
    return lines


def _needs_more(location: Location) -> bool:
    """Whether it is reached by more than its address, its password and variables."""
    more = (
        "access_key_id",
        "secret_access_key",
        "rest_username",
        "identity_file",
        "known_hosts",
        "certificate",
    )
    return any(getattr(location, name, None) is not None for name in more) or bool(location.options)


def _password(reference: SecretReference) -> str:
    if reference.file is not None:
        return f"export RESTIC_PASSWORD_FILE={shlex.quote(str(reference.file))}"
    if reference.command is not None:
        return f"export RESTIC_PASSWORD_COMMAND={shlex.quote(shlex.join(reference.command))}"
    return f"export RESTIC_PASSWORD={_told_by(reference)}"


def _told_by(reference: SecretReference) -> str:
    """The secret, as the shell reads it from where it lies."""
    if reference.file is not None:
        return f'"$(cat {shlex.quote(str(reference.file))})"'
    if reference.command is not None:
        return f'"$({shlex.join(reference.command)})"'
    return f'"${{{reference.env}:?}}"'


def cannot_repair(restic: str) -> bool:
    """Whether a restic of this version is too old for `repair`, which came with 0.16."""
    found = _VERSION.match(restic)
    return found is not None and (int(found[1]), int(found[2])) < (0, 16)


def steps_of(repository: ResticRepository, key: str, *, is_old: bool = False) -> Iterator[RepairStep]:
    """restic's steps, in restic's order; an old one knows a name of its own for the first."""
    yield RepairStep(
        "Find the damage",
        "Reads all data, which takes as long as downloading everything. Write down the errors and the ids of the "
        "damaged packs. Replace a failing disk or memory before you repair anything.",
        ("restic check --read-data",),
    )
    folder = local_folder(repository)
    copy = f"repair-of-{key}"
    yield RepairStep(
        "Back up the folders index and snapshots",
        "They are small, and let you go back if a repair makes things worse."
        if folder is not None
        else f"They are small, and let you go back if a repair makes things worse. They are in {address(repository)}: "
        "copy them with the tools of the storage.",
        ()
        if folder is None
        else (
            f'mkdir -m 700 "$HOME"/{shlex.quote(copy)}',
            f"cp -a {shlex.quote(str(folder / 'index'))} {shlex.quote(str(folder / 'snapshots'))} "
            f'"$HOME"/{shlex.quote(copy)}',
        ),
    )
    yield RepairStep(
        "Repair the index",
        "Rebuilds the index of which data is stored where. Often nothing else was wrong.",
        ("restic rebuild-index" if is_old else "restic repair index",),
    )
    yield RepairStep(
        "Repair damaged packs",
        "Only if the check reported damaged packs: replace ID with their ids. What can still be read is saved into "
        "new packs. Then run the backups of this repository again: they add missing data that the sources still have.",
        ("restic repair packs ID",),
    )
    yield RepairStep(
        "Repair the snapshots",
        "Removes files whose data is lost from the snapshots, and replaces the broken snapshots by the repaired ones. "
        "The first command only shows what it would do.",
        ("restic repair snapshots --dry-run", "restic repair snapshots --forget"),
    )
    yield RepairStep(
        "Check again",
        "Run it, then press Check now above: retention resumes after a successful check.",
        ("restic check --read-data",),
    )
