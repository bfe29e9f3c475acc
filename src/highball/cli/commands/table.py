"""All commands on one machine, by group; one visible line each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from highball.cli.commands import (
    adopt,
    agent,
    backup,
    configuration,
    history,
    hub,
    keys,
    maintenance,
    pause,
    recovery_kit,
    rekey,
    restore,
    serve,
    snapshots,
)

COMMANDS: dict[str, Callable[..., Any]] = {
    "serve": serve.serve,
    "agent": agent.agent,
    "init-config": configuration.init_config,
    "validate": configuration.validate,
    "list": configuration.list_jobs,
    "export": configuration.export,
    "apply": configuration.apply,
    "rekey": rekey.rekey,
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
    "prune": maintenance.prune,
    "check": maintenance.check,
    "unlock": maintenance.unlock,
    "stats": maintenance.stats,
    "adopt": adopt.adopt,
    "keys": keys.keys,
    "pause": pause.pause,
    "resume": pause.resume,
}

GROUPS: dict[str, dict[str, Callable[..., Any]]] = {
    "hub": {
        "backup": hub.back_up,
        "restore-backup": hub.restore_backup,
        "recovery-kit": recovery_kit.hub_recovery_kit,
        "rebuild": hub.rebuild,
        "reset-password": hub.reset_password,
    },
}
"""Commands of two words, like `highball hub backup`."""

TITLES = {
    "hub": "Look after the hub itself: its backups, its recovery kit, its way back, a forgotten password."
}
