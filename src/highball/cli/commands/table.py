"""The commands that speak to a hub as to one machine, by name; one visible line each.

No room of the hub or of the agent is needed for them over a hub: what one machine needs is loaded by `local`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from highball.actions import ACTIONS
from highball.cli.commands import (
    adopt,
    backup,
    configuration,
    history,
    keys,
    maintenance,
    pause,
    recovery_kit,
    rekey,
    restore,
    snapshots,
)
from highball.model.role import Role

COMMANDS: dict[str, Callable[..., Any]] = {
    "validate": configuration.validate,
    "list": configuration.list_jobs,
    "export": configuration.export,
    "apply": configuration.apply,
    "rekey": rekey.rekey,
    "change-id": rekey.rekey,
    "setup": configuration.setup,
    "run": backup.run,
    "backup": backup.run,
    "accept": maintenance.accept,
    "cancel": backup.cancel,
    "status": history.status,
    "runs": history.runs,
    "logs": history.logs,
    "snapshots": snapshots.snapshots,
    "ls": snapshots.list_nodes,
    "diff": snapshots.diff,
    "dump": snapshots.dump,
    "verify": maintenance.verify,
    "restore": restore.restore,
    "recovery-kit": recovery_kit.recovery_kit,
    "forget": maintenance.forget,
    "unlock": maintenance.unlock,
    "stats": maintenance.stats,
    "adopt": adopt.adopt,
    "keys": keys.keys,
    "pause": pause.pause,
    "resume": pause.resume,
}

OF_HUB: dict[str, Callable[..., Any]] = {"backup": backup.back_up_hub}
"""Those of `highball hub` that a hub carries out itself; the others need its machine."""


ALIASES = {"backup": "run", "change-id": "rekey"}
"""Other names of commands."""

ALSO_CALLED = {"run": "backup"}
"""The commands that are called otherwise than the verb that they order."""


def role_over_hub(command: str) -> Role | None:
    """The least role that a hub lets order what this command orders; None where that is no verb."""
    verb = ACTIONS.get(ALSO_CALLED.get(command, command))
    return None if verb is None else verb.role


def all_commands() -> dict[str, Callable[..., Any]]:
    """Those above, and one for each row of the table of actions that has none."""
    of_rows = {
        verb.name: maintenance.command_of(verb)
        for verb in ACTIONS.values()
        if verb.is_plain_on("repository") and verb.words.help and verb.name not in COMMANDS
    }
    return COMMANDS | of_rows
