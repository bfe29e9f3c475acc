"""The commands that concern this machine, whatever hub the environment names, by name; one visible line each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from highball.cli.commands import agent, init_config, recovery_kit, serve

COMMANDS: dict[str, Callable[..., Any]] = {
    "serve": serve.serve,
    "agent": agent.agent,
    "init-config": init_config.init_config,
}


def _of_hub() -> dict[str, Callable[..., Any]]:
    from highball.cli.commands import hub

    return {
        "backup": hub.back_up,
        "restore-backup": hub.restore_backup,
        "recovery-kit": recovery_kit.hub_recovery_kit,
        "rebuild": hub.rebuild,
        "reset-password": hub.reset_password,
    }


GROUPS: dict[str, Callable[[], dict[str, Callable[..., Any]]]] = {"hub": _of_hub}
"""Commands of two words, like `highball hub backup`; read when one of them is called."""

TITLES = {"hub": "Maintain the hub itself: backups, recovery kit, restore, forgotten passwords."}
