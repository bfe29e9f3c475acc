"""The commands that concern this machine, whatever hub the environment names, by name; one visible line each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from highball.cli.commands import agent, hub, init_config, recovery_kit, serve

COMMANDS: dict[str, Callable[..., Any]] = {
    "serve": serve.serve,
    "agent": agent.agent,
    "init-config": init_config.init_config,
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
