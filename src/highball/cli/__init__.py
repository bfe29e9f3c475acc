"""The command line: `highball`. Commands say what is wanted; hub and agent do it."""

from __future__ import annotations

import gc
import os
import signal
import sys


def main() -> None:
    """The program; `--version` answers before anything else is imported."""
    _open_what_is_closed()
    if sys.argv[1:] in (["--version"], ["-V"]):
        from highball import __version__

        print(f"highball {__version__}")  # noqa: T201
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C waits for who can answer it
    gc.disable()  # nothing of what is imported is garbage: looking for it takes a tenth of the start
    from highball.cli.app import names_hub, needs_record, run_command
    from highball.cli.commands import table  # noqa: F401 - all that a command needs, here or over a hub

    if names_hub(sys.argv[1:]):
        from highball.cli import hub_client  # noqa: F401
    elif needs_record(sys.argv[1:]):
        from highball.cli import single_machine  # noqa: F401

    gc.freeze()
    gc.enable()
    sys.exit(run_command(sys.argv[1:]))


def _open_what_is_closed() -> None:
    """Where a caller closed a standard stream, the next file opened would take its number, and our output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
