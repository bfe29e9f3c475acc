"""All commands, by group; one visible line each."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import typer

from highball.cli import backup, configuration, history, holdings, hub, kits, recovery, serve, upkeep

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
    "recovery-kit": kits.recovery_kit,
    "forget": upkeep.forget,
    "prune": upkeep.prune,
    "check": upkeep.check,
    "unlock": upkeep.unlock,
    "stats": upkeep.stats,
}

GROUPS: dict[str, dict[str, Callable[..., Any]]] = {
    "hub": {
        "backup": hub.back_up,
        "restore-backup": hub.restore_backup,
        "recovery-kit": kits.hub_recovery_kit,
        "rebuild": hub.rebuild,
    },
}
"""Commands of two words, like `highball hub backup`."""

TITLES = {"hub": "Look after the hub itself: its backups, its recovery kit, its way back."}

HIDDEN = {"backup"}
"""Another name of `run`."""


def register(app: typer.Typer, named: str | None = None) -> None:
    """Put the named command on the program, or all of them: reading all their signatures takes its time."""
    app.registered_commands.clear()
    app.registered_groups.clear()
    chosen = [named] if named in COMMANDS or named in GROUPS else [*COMMANDS, *GROUPS]
    for name in chosen:
        if name in GROUPS:
            title = TITLES[name]
            app.add_typer(_as_group(name), name=name, help=title, short_help=_main_clause(title))
        else:
            app.command(name, hidden=name in HIDDEN, short_help=_in_short(COMMANDS[name]))(COMMANDS[name])


def _as_group(name: str) -> typer.Typer:
    group = typer.Typer(add_completion=False, rich_markup_mode=None)
    for verb, command in GROUPS[name].items():
        group.command(verb, short_help=_in_short(command))(command)
    return group


def _in_short(command: Callable[..., Any]) -> str:
    """The main clause of a command's first sentence, for the list of commands."""
    return _main_clause(command.__doc__ or "")


def _main_clause(text: str) -> str:
    return re.split(r"[:;.,](?:\s|$)", text, maxsplit=1)[0]
