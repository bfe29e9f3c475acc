"""All commands on one machine, by group; one visible line each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from highball.cli import (
    adopting,
    agent,
    backup,
    changing_keys,
    configuration,
    history,
    holdings,
    hub,
    kits,
    pausing,
    recovery,
    rekeying,
    serve,
    upkeep,
)

COMMANDS: dict[str, Callable[..., Any]] = {
    "serve": serve.serve,
    "agent": agent.agent,
    "init-config": configuration.init_config,
    "validate": configuration.validate,
    "list": configuration.list_jobs,
    "export": configuration.export,
    "apply": configuration.apply,
    "rekey": rekeying.rekey,
    "setup": configuration.setup,
    "run": backup.run,
    "backup": backup.run,
    "accept": upkeep.accept,
    "cancel": backup.cancel,
    "status": history.status,
    "runs": history.runs,
    "logs": history.logs,
    "snapshots": holdings.snapshots,
    "ls": holdings.list_nodes,
    "diff": holdings.diff,
    "dump": holdings.dump,
    "verify": upkeep.verify,
    "restore": recovery.restore,
    "recovery-kit": kits.recovery_kit,
    "forget": upkeep.forget,
    "prune": upkeep.prune,
    "check": upkeep.check,
    "unlock": upkeep.unlock,
    "stats": upkeep.stats,
    "adopt": adopting.adopt,
    "keys": changing_keys.keys,
    "pause": pausing.pause,
    "resume": pausing.resume,
}

GROUPS: dict[str, dict[str, Callable[..., Any]]] = {
    "hub": {
        "backup": hub.back_up,
        "restore-backup": hub.restore_backup,
        "recovery-kit": kits.hub_recovery_kit,
        "rebuild": hub.rebuild,
        "reset-password": hub.reset_password,
    },
}
"""Commands of two words, like `highball hub backup`."""

TITLES = {
    "hub": "Look after the hub itself: its backups, its recovery kit, its way back, a forgotten password."
}
