"""The commands, put together; and the one place where errors become exit statuses.

`-c`, `--json` and `--events` may stand anywhere before `--`: people write them where they think of them.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from highball import __version__
from highball.cli import commands
from highball.cli.output import Form, Output
from highball.cli.session import Session
from highball.errors import Cancelled, Failed, HighballError, Misuse

GLOBAL_FLAGS = ("--json", "--events")
GLOBAL_OPTIONS = ("-c", "--config")


app = typer.Typer(
    name="highball",
    help="Back up with restic, prove it, keep it, restore it.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"highball {__version__}\n")
        raise typer.Exit


@app.callback()
def highball(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="The configuration: TOML or YAML.", metavar="FILE")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Answer with one JSON document.")] = False,
    events: Annotated[bool, typer.Option("--events", help="Stream events as JSON lines.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "-V", "--version", help="Say which version this is.", is_eager=True, callback=_tell_version
        ),
    ] = False,
) -> None:
    """Back up with restic, prove it, keep it, restore it."""
    session: Session = context.obj
    session.config = config
    if json and events:
        raise Misuse("--json and --events exclude each other")


def run_command(arguments: Sequence[str]) -> int:
    """Carry out one command line; returns the exit status."""
    first, rest = _globals_first(arguments)
    commands.register(app, rest[0] if rest else None)
    session = Session(output=Output(_form_of(arguments)))
    if not arguments:
        rest, session.exit_status = ["--help"], Misuse.exit_code
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # from here on it is answered
        status = app([*first, *rest], standalone_mode=False, obj=session, prog_name="highball")
        sys.stdout.flush()
    except HighballError as error:
        return _fail(session, error)
    except TyperException as error:
        return _fail(session, _as_misuse(error))
    except KeyboardInterrupt:
        return _fail(session, Cancelled("cancelled"))
    except BrokenPipeError:
        _abandon_output()
        return session.exit_status or 1
    except OSError as error:
        return _fail(session, Failed(f"{error.strerror or error}", code="system_error"))
    except Exception as error:  # the outermost loop of a request
        return _fail(session, _as_our_fault(error))
    return session.exit_status or (status if isinstance(status, int) else 0)


def _form_of(arguments: Sequence[str]) -> Form:
    before = list(arguments)[: arguments.index("--")] if "--" in arguments else arguments
    if "--json" in before:
        return Form.JSON
    return Form.EVENTS if "--events" in before else Form.PEOPLE


def _globals_first(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The same arguments: the global ones, and the others, of which the first is the command."""
    first: list[str] = []
    rest: list[str] = []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        if argument == "--":
            rest += [argument, *left]
            break
        if argument in GLOBAL_FLAGS or (argument.startswith(("--config=", "-c")) and argument != "-c"):
            first.append(argument)
        elif argument in GLOBAL_OPTIONS and not left:
            return [argument], []  # which is told: the file is missing, not the command
        elif argument in GLOBAL_OPTIONS:
            first += [argument, *left[:1]]
            left = left[1:]
        else:
            rest.append(argument)
    return first, rest


def _as_misuse(error: TyperException) -> HighballError:
    describe = getattr(error, "format_message", None)
    text = describe() if describe else str(error)
    message = (text or "this call makes no sense").strip().rstrip(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "highball"
    return Misuse(message, hint=f"see: {command} --help")


def _as_our_fault(error: Exception) -> HighballError:
    import os
    import traceback

    if os.environ.get("HIGHBALL_DEBUG"):
        traceback.print_exception(error)
    return Failed(
        f"Highball itself failed: {type(error).__name__}: {error}",
        code="internal_error",
        hint="this is a fault of Highball; HIGHBALL_DEBUG=1 shows where",
    )


def _fail(session: Session, error: HighballError) -> int:
    try:
        session.output.error(error)
        sys.stdout.flush()
    except OSError:  # whoever reads is gone, or the disk behind it is full
        _abandon_output()
    return error.exit_code


def _abandon_output() -> None:
    """Nobody reads any more: keep the interpreter from complaining at its end."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
