"""The command line: `highball`. Commands say what is wanted; hub and agent do it."""

from __future__ import annotations

import sys


def main() -> None:
    """The program; `--version` answers before anything else is imported."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from highball import __version__

        print(f"highball {__version__}")  # noqa: T201
        return
    from highball.cli.app import run_command

    sys.exit(run_command(sys.argv[1:]))
