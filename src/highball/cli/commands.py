"""All commands, by group; one visible line each."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import typer

from highball.cli import backup, configuration, history, holdings, recovery, serve, upkeep

COMMANDS: dict[str, Callable[..., Any]] = {
    "serve": serve.serve,
    "init-config": configuration.init_config,
    "validate": configuration.validate,
    "list": configuration.list_jobs,
    "export": configuration.export,
    "setup": configuration.setup,
    "run": backup.run,
    "backup": backup.run,
    "accept": backup.accept,
    "cancel": backup.cancel,
    "status": history.status,
    "runs": history.runs,
    "logs": history.logs,
    "snapshots": holdings.snapshots,
    "ls": holdings.list_nodes,
    "diff": holdings.diff,
    "dump": holdings.dump,
    "verify": recovery.verify,
    "restore": recovery.restore,
    "forget": upkeep.forget,
    "prune": upkeep.prune,
    "check": upkeep.check,
    "unlock": upkeep.unlock,
    "stats": upkeep.stats,
}

HIDDEN = {"backup"}
"""Another name of `run`."""


def register(app: typer.Typer, named: str | None = None) -> None:
    """Put the named command on the program, or all of them: reading all their signatures takes its time."""
    app.registered_commands.clear()
    for name in [named] if named in COMMANDS else COMMANDS:
        app.command(name, hidden=name in HIDDEN, short_help=_in_short(COMMANDS[name]))(COMMANDS[name])


def _in_short(command: Callable[..., Any]) -> str:
    """The main clause of a command's first sentence, for the list of commands."""
    return re.split(r"[:;.,](?:\s|$)", command.__doc__ or "", maxsplit=1)[0]
