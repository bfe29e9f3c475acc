"""What this machine's configuration file declares, for who needs no more than that.

No room of the hub is loaded for it, but where the record has to follow the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from highball.cli.own_places import find_configuration, find_state
from highball.config.document import Document, find_obstacles, find_obstacles_of_sources, load
from highball.config.dump import as_yaml
from highball.config.misread import find_misread
from highball.config.references import TABLE_OF, changes_of_key, place_of
from highball.errors import HighballError, Misuse, Problem, Unknown

if TYPE_CHECKING:
    from highball.hub.document.store import Documents


class FileHere:
    """What this machine's configuration file declares; nothing is opened for it but the file."""

    def __init__(self, named: Path | None) -> None:
        self._named = named
        self.path = find_configuration(named)
        self.name = str(self.path)
        self.about = {"file": str(self.path)}

    @cached_property
    def document(self) -> Document:
        """All that it declares; raises ConfigurationInvalid."""
        return load(self.path)

    def find_problems(self) -> list[Problem]:
        """What a shell would read otherwise, and secrets that cannot be had here."""
        return [
            *find_misread(self.document.tables),
            *find_obstacles(self.document, list(self.document.repositories)),
            *find_obstacles_of_sources(self.document),
        ]

    def read_tables(self) -> Mapping[str, Any]:
        """All of it as plain tables."""
        return self.document.tables

    def read_yaml(self) -> bytes:
        """The same as YAML, whatever it was written in."""
        return as_yaml(self.document.tables).encode()

    def plan_setup(self) -> tuple[str, str]:
        """The state directory."""
        return "state", str(find_state(self.path, self.document))

    def apply(self, file: Path, *, dry_run: bool = False, name: str | None = None) -> list[dict[str, Any]]:
        """Never: the file that this machine reads is changed by whoever writes it."""
        raise Misuse(
            "apply needs a hub",
            hint="name it with --hub; on a single machine every command reads the file given with -c",
        )

    def rekey(
        self, kind: str, old: str, new: str, agree: Callable[[list[dict[str, Any]]], None], *, dry_run: bool
    ) -> list[dict[str, Any]]:
        """Let the record follow a file that says the new key already; before it is taken in as another object."""
        from highball.cli.single_machine import open_machine
        from highball.hub.audit import COMMAND
        from highball.hub.document.rules import OWN_FILE
        from highball.hub.runs.record import utc_now

        wanted = self.document.tables
        changed: list[dict[str, Any]] = []

        def give_key(documents: Documents) -> None:
            try:
                one = documents.get(kind, old)
            except Unknown as error:
                raise _too_late(error, kind, old, new) from None
            changed.extend(changes_of_key(documents.document().tables, kind, old, new))
            table = wanted.get(TABLE_OF[kind], {})
            if not dry_run and (old in table or new not in table):
                raise Misuse(
                    f"{self.path} does not declare {place_of(kind, new)} yet",
                    code="key_not_in_file",
                    hint=f"replace {old} by {new} in the file, and run this again before any other command",
                )
            agree(changed)
            told: dict[str, Any] = {"expected": one.revision, "now": utc_now(), "actor": COMMAND}
            documents.rekey(kind, old, new, owner=OWN_FILE, **told)

        open_machine(self._named, before=give_key)
        return changed


def _too_late(error: Unknown, kind: str, old: str, new: str) -> HighballError:
    """The file was read without the old key already: what is left to do."""
    if error.code != f"{kind}_deleted" or kind not in ("repository", "job"):
        return error
    repository = new if kind == "repository" else "REPOSITORY"
    job = new if kind == "job" else "JOB"
    return Misuse(
        f"the {kind} {old} is deleted: {new} was read from the file as a new one before the ID was changed",
        code="rekeyed_too_late",
        hint=(
            f"apply the retention of {job} to the existing snapshots: highball adopt {repository} "
            f"(then GROUP --job {job})"
        ),
    )
