"""One call of the program: what was asked for globally, and the exit status that its runs lead to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from highball.cli.console import Output
from highball.cli.urls import is_exposed
from highball.model.run import (
    Outcome,
    Run,
    worst,
)
from highball.model.standing import Health, Standing

if TYPE_CHECKING:
    from highball.cli.hub_client import HubClient
    from highball.cli.operations import Declarations, Operations
    from highball.cli.single_machine import Machine

EXIT_OF = {
    Outcome.SUCCESS: 0,
    Outcome.SKIPPED: 0,
    Outcome.WARNING: 3,
    Outcome.FAILURE: 1,
    Outcome.MISSED: 1,
    Outcome.CANCELLED: 130,
}


@dataclass
class Session:
    """One call of the program: what was asked for globally, and how it will exit."""

    config: Path | None = None
    hub: str | None = None
    """The hub that this call speaks to, where it is not this machine's own."""
    output: Output = field(default_factory=Output)
    exit_status: int = 0
    _reached: HubClient | None = None

    def place(self, *, looks: bool = False) -> Operations:
        """Where this call's work is done: at the hub that it names, else on this machine."""
        return self.open(looks=looks) if self.hub is None else self.reach()

    def declared(self) -> Declarations:
        """What the hub that this call names declares, else this machine's file; raises ConfigurationInvalid."""
        if self.hub is not None:
            return self.reach()
        from highball.cli.file_here import FileHere

        return FileHere(self.config)

    def open(self, *, looks: bool = False) -> Machine:
        """The machine of this call's configuration; who only `looks` (or restores) needs no state to write to."""
        from highball.cli.single_machine import open_machine

        machine = open_machine(self.config, looks=looks)
        if machine.real_state is not None:
            self.output.note(
                (
                    f"{machine.real_state} cannot be written (is its disk full, or read-only?): this uses a "
                    "copy of the record, and nothing is recorded now. Free space there soon."
                ),
                "yellow",
            )
        return machine

    def reach(self) -> HubClient:
        """The hub of this call; raises LoginNeeded and SecretUnavailable where its token cannot be had."""
        from highball.cli.hub_client import HubClient, find_token

        assert self.hub is not None
        if self._reached is None:
            hub = self._reached = HubClient(self.hub, find_token(os.environ))
            if is_exposed(hub.url):
                self.output.note(
                    f"The token is sent unencrypted to {hub.url}: use https for that hub.", "yellow"
                )
        return self._reached


def exit_status_of(runs: Sequence[Run], *, refused: bool = False) -> int:
    """The worst run decides; a job that was refused beside others that ran is a warning."""
    status = EXIT_OF[_worst_of(runs)]
    return 3 if refused and status == 0 else status


def exit_status_of_standings(standings: Iterable[Standing]) -> int:
    """What a monitor wants to know: whether every job is protected in every of its repositories."""
    found = list(standings)
    if any(standing.state not in (Health.HEALTHY, Health.LATE) for standing in found):
        return 1
    odd = (
        one.state is Health.LATE or one.last_outcome is Outcome.WARNING or one.untested is not None
        for one in found
    )
    return 3 if any(odd) else 0


def outcome_of(exit_status: int, runs: Sequence[Run]) -> Outcome:
    """The outcome of several runs: the worst, unless what was refused or not begun beside them is worse."""
    outcome = _worst_of(runs)
    if EXIT_OF[outcome] == exit_status:
        return outcome
    fitting = [one for one, status in EXIT_OF.items() if status == exit_status]
    return worst(fitting) if fitting else outcome


def _worst_of(runs: Sequence[Run]) -> Outcome:
    return worst(run.outcome for run in runs if run.outcome is not None)
