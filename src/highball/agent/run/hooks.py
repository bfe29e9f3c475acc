"""Run a hook: the one place where something that a person typed reaches a shell.

A hook gets a small, known environment without any secret. On a timeout its whole process group is killed; a
child that it leaves behind, or one that became another user (by sudo) and cannot be killed, cannot hang the run;
of its output only the first part is kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from highball.agent.run.steps import StepResult
from highball.config.job import Hook
from highball.errors import Cancelled, Failed, ProgramMissing
from highball.model.run import Outcome, Reason
from highball.place.base import Place
from highball.process.child import (
    HOOK_MANNERS,
    MARKER,
    Command,
    Ended,
    Stop,
    by_lines,
)
from highball.schedule import duration_to_text
from highball.source.command import in_one_line

LONGEST_OUTPUT_BYTES = 256 * 1024

KEPT = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "TZ",
    "SSH_AUTH_SOCK",
    "XDG_RUNTIME_DIR",
    "TMPDIR",
)


def surroundings(place: Place, facts: Mapping[str, str], marker: str) -> dict[str, str]:
    """The environment of a command that a person typed: small and known, without any secret."""
    there = place.environment()
    kept = {name: there[name] for name in KEPT if name in there}
    return {"PATH": os.defpath, **kept, **facts, MARKER: marker}


def title_of(hook: Hook) -> str:
    """What messages call the hook: its name, else the beginning of its command."""
    return hook.name or in_one_line(hook.run)


def run_hook(
    hook: Hook,
    facts: Mapping[str, str],
    marker: str,
    stop: Stop,
    log: Callable[[str, str], None],
    place: Place,
) -> StepResult:
    """Run the hook to its end and say how it ended; `on_error` decides what a failure means."""
    argv = ("/bin/sh", "-c", hook.run) if isinstance(hook.run, str) else tuple(hook.run)
    command = Command(
        argv=argv,
        environment=surroundings(place, facts, marker),
        directory=Path(os.fsdecode(hook.dir)) if hook.dir else None,
    )
    # a line that is longer is not kept at all: one that is cut may end in half a secret
    on_data, finish = by_lines(_capped(log), LONGEST_OUTPUT_BYTES + 1)
    try:
        ended = place.run(command, on_data, stop=stop, timeout=hook.timeout, manners=HOOK_MANNERS)
    except (ProgramMissing, Failed) as error:
        return _failed(hook, error.message)
    finish()
    if ended.stopped:
        raise Cancelled(f"cancelled, but {_left(ended)}" if ended.left else "cancelled")
    if ended.timed_out:
        late = f"did not end within {duration_to_text(hook.timeout)}"
        fate = (
            f"but {_left(ended)}"
            if ended.left
            else "so it was killed, with all that it did not start in a session of its own"
        )
        return _failed(hook, f"{late}, {fate}")
    if ended.exit_status != 0:
        return _failed(hook, f"ended with exit status {ended.exit_status}")
    return StepResult()


def _left(ended: Ended) -> str:
    """Who of a hook lives on, and why."""
    named = ", ".join(map(str, ended.left))
    if len(ended.left) == 1:
        return f"process {named} lives on: it became another user, whose processes Highball may not end"
    return f"processes {named} live on: they became another user, whose processes Highball may not end"


def _failed(hook: Hook, what: str) -> StepResult:
    outcome = {"fail": Outcome.FAILURE, "warn": Outcome.WARNING, "skip": Outcome.SKIPPED}[hook.on_error]
    return StepResult(outcome, Reason(code="hook_failed", message=what))


def _capped(log: Callable[[str, str], None]) -> Callable[[str, bytes], None]:
    kept = 0

    def on_line(stream: str, line: bytes) -> None:
        nonlocal kept
        if kept > LONGEST_OUTPUT_BYTES:
            return
        kept += len(line) + 1
        if kept > LONGEST_OUTPUT_BYTES:
            log(
                "highball",
                f"(the hook prints more than {LONGEST_OUTPUT_BYTES >> 10} KiB; the rest is not kept)",
            )
        else:
            log(stream, line.decode("utf-8", "replace"))

    return on_line
