"""All commands, by group; one visible line each."""

from __future__ import annotations

import typer

from highball.cli import backup, configuration, history, holdings, recovery, upkeep


def register(app: typer.Typer) -> None:
    """Put every command on the program."""
    if app.registered_commands:
        return
    app.command("validate")(configuration.validate)
    app.command("list")(configuration.list_jobs)
    app.command("setup")(configuration.setup)
    app.command("run")(backup.run)
    app.command("backup", hidden=True)(backup.run)
    app.command("accept")(backup.accept)
    app.command("cancel")(backup.cancel)
    app.command("status")(history.status)
    app.command("runs")(history.runs)
    app.command("logs")(history.logs)
    app.command("snapshots")(holdings.snapshots)
    app.command("ls")(holdings.list_nodes)
    app.command("diff")(holdings.diff)
    app.command("dump")(holdings.dump)
    app.command("verify")(recovery.verify)
    app.command("restore")(recovery.restore)
    app.command("forget")(upkeep.forget)
    app.command("prune")(upkeep.prune)
    app.command("check")(upkeep.check)
    app.command("unlock")(upkeep.unlock)
    app.command("stats")(upkeep.stats)
