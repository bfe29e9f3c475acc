"""The port of operations: what a command may ask for and order, on one machine and over a hub alike.

A command is written once, for this port. `single_machine.Machine` carries out in its own process what
`hub_client.HubClient` lets a hub's agents do; both say the same words for the same errors. What is written below holds
for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from highball.cli.snapshot_choice import SnapshotKeys
from highball.config.document import Document
from highball.errors import Problem
from highball.model.event import Event
from highball.model.run import Run
from highball.model.snapshot import Difference, ForeignGroup, KeyTold, Lock, Loss, Node, Snapshot
from highball.model.standing import Hold, Standing
from highball.protocol.queries import RestorePlan
from highball.protocol.tasks import Overwrite
from highball.retention import Plan

if TYPE_CHECKING:
    from highball.cli.progress import Narrator
    from highball.process.child import Stop

Order = Any
"""A run that is to be carried out, as its place knows it: whoever got it hands it to `carry_out`."""

Titled = tuple[str, Callable[[], Order]]
"""What a run is about, and its order, which is made when its turn comes: it depends on the runs before."""


class Declarations(Protocol):
    """What is declared, read and changed without a look at any repository."""

    @property
    def name(self) -> str:
        """Where it is declared, for people."""

    @property
    def about(self) -> Mapping[str, Any]:
        """Where it is declared, for a program."""

    @property
    def document(self) -> Document:
        """Everything that is declared; raises ConfigurationInvalid. A hub keeps back who may do what."""

    def find_problems(self) -> list[Problem]:
        """What keeps it from being used, besides what keeps it from being read."""

    def read_tables(self) -> Mapping[str, Any]:
        """All of it as plain tables, as it was written."""

    def read_yaml(self) -> bytes:
        """The same as one YAML document."""

    def plan_setup(self) -> tuple[str, str]:
        """What a set-up makes besides repositories: what that is, and where."""

    def apply(self, file: Path, *, dry_run: bool = False, name: str | None = None) -> list[dict[str, Any]]:
        """Let it say what this file says; what that changed, or would change. Raises Misuse where a file is it."""

    def rekey(
        self, kind: str, old: str, new: str, agree: Callable[[list[dict[str, Any]]], None], *, dry_run: bool
    ) -> list[dict[str, Any]]:
        """Give an object another key, everywhere, once `agree` was shown what that changes and did not raise."""


class Operations(Protocol):
    """Everything else: questions to the record and to repositories, and runs."""

    @property
    def document(self) -> Document:
        """Everything that is declared."""

    @property
    def stop(self) -> Stop:
        """How a run is asked to end."""

    def make_ready(
        self, repositories: Sequence[str], *, begins_run: bool = False, starts_engine: bool = False
    ) -> None:
        """Let these be asked, and the record be right; before the first order and the first question.

        Raises ConfigurationInvalid where a secret cannot be had, and RepositoryError where an engine finds no program.
        """

    # --- runs ---

    def order(self, action: str, subject: str, wait: timedelta | None = None, **fields: Any) -> Order:
        """A run of any verb of the table of actions on a job or a repository; the fields are those of its row."""

    def each_backup(self, jobs: Sequence[str], wait: timedelta | None, *, dry_run: bool) -> Iterator[Titled]:
        """A backup of each job, and behind it what is to follow from here."""

    def carry_out(self, order: Order, narrator: Narrator, /) -> Run:
        """Carry out a run to its end and return its account; raises HighballError where it cannot begin."""

    def rehearse(self, order: Order, narrator: Narrator, /) -> Run:
        """Carry out a dry run: nothing of it is held for a backup."""

    def cancel(self, run: str) -> None:
        """Ask a run to end politely; raises Unknown, and Conflict where it has ended."""

    def find_run(self, id_or_start: str) -> Run:
        """The run with this id, or the only one whose id begins so; raises Unknown."""

    def list_runs(self, *, job: str | None, limit: int) -> list[Run]:
        """The latest runs, newest first."""

    def read_events(self, run: str, *, after: int = 0) -> Iterator[Event]:
        """What happened in a run behind a number; while it goes on, what has happened so far."""

    def list_standings(self, jobs: Sequence[str] | None = None) -> list[Standing]:
        """How jobs stand in each of their repositories, in the order in which they were named; None is all."""

    # --- what repositories hold ---

    def list_repositories_of(self, job: str) -> list[str]:
        """The repositories of a job, and those where it left snapshots as far as is known here."""

    def list_snapshots(self, repository: str) -> list[Snapshot]:
        """A repository's snapshots, other tools' among them, with what the record knows of them."""

    def find_keys(self, job: str) -> SnapshotKeys:
        """By which tags and hosts the snapshots of a job are found."""

    def each_node(self, of: Snapshot, folder: bytes | None, on_node: Callable[[Node], None]) -> None:
        """Hand everything that a snapshot, or a folder of it, holds to `on_node`, as it comes."""

    def compare(self, old: Snapshot, new: Snapshot) -> list[Difference]:
        """What differs between two snapshots of a repository."""

    def dump(self, of: Snapshot, path: bytes, on_data: Callable[[bytes], None]) -> None:
        """The content of a file, or a folder as a tar archive; raises Failed where it is cut short."""

    def list_locks(self, repository: str) -> list[Lock]:
        """The locks in a repository."""

    def plan_changes(self, file: Path) -> list[dict[str, Any]]:
        """What this file would change of what is declared now; nothing is applied."""

    # --- restores ---

    def find_target(self, named: str | None, job: str, of: Snapshot) -> bytes:
        """Where to, if not in place; raises Misuse."""

    def plan_restore(
        self,
        of: Snapshot,
        job: str,
        paths: Sequence[bytes],
        target: bytes | None,
        overwrite: Overwrite | None,
        *,
        counts: bool,
    ) -> RestorePlan:
        """What a restore would do; without `counts` only where something is in use already."""

    def order_restore(
        self, of: Snapshot, job: str, plan: RestorePlan, target: bytes | None, wait: timedelta | None
    ) -> Order:
        """The restore that was planned."""

    # --- retention ---

    def list_plans(self, repository: str, job: str, approve: str | None) -> list[Plan]:
        """What retention would do for a job in a repository."""

    def order_forget(
        self, repository: str, job: str, plans: Sequence[Plan], approve: str | None, wait: timedelta | None
    ) -> Order:
        """Carry out these plans if they hold by then, or only the one that was approved."""

    def order_forget_one(self, repository: str, snapshot: str, wait: timedelta | None) -> Order:
        """Remove this snapshot alone; raises NotAllowed where a guard keeps it."""

    def accept(self, target: str, reason: str | None) -> list[Hold]:
        """A person says that what a run showed, or all that holds retention in a repository, is right."""

    def list_foreign(self, repository: str) -> list[ForeignGroup]:
        """The snapshots that no known run made, alike ones together."""

    def preview_adoption(self, repository: str, group: str, job: str) -> list[Plan]:
        """What the job's retention would do once it governs this group."""

    def adopt(self, repository: str, group: str, job: str) -> ForeignGroup:
        """Let the job's retention govern a group."""

    def release(self, repository: str, group: str) -> ForeignGroup:
        """Let nobody govern a group any more."""

    # --- a repository itself ---

    def tell_set_up(self) -> dict[str, Any]:
        """What else a program is told of a set-up."""

    def look_from_hosts(self) -> list[dict[str, Any]] | None:
        """How repositories are found from hosts that use them and do not look after them; None where all is one."""

    def tell_loss(self, repository: str) -> Loss:
        """What would be given up; raises Conflict where the repository that was met is there."""

    def give_up(self, repository: str, loss: Loss) -> None:
        """Hold it for gone, with all that was in it."""

    def list_keys(self, repository: str) -> list[KeyTold]:
        """The keys of a repository, and what each is for."""

    def order_key(
        self, repository: str, task: str, wait: timedelta | None, *, file: Path | None = None, **more: Any
    ) -> Order:
        """A change of its keys; raises Misuse where a new password is needed and not named."""

    def tell_rotated(self, repository: str, file: Path | None, *, of_admin: bool) -> list[str]:
        """What is left to do by hand once a new password opens a repository."""
