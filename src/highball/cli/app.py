"""The commands, put together; and the one place where errors become exit statuses.

`--hub`, `-c`, `--json`, `--events` and `-v` may stand anywhere before `--`: people write them where they think of them.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from highball import __version__
from highball.cli.console import Form, Output
from highball.cli.context import Session
from highball.errors import Cancelled, Failed, HighballError, Misuse, NotAllowed

GLOBAL_FLAGS = ("--json", "--events", "--verbose", "-v")
GLOBAL_OPTIONS = ("-c", "--config", "--hub")

HOME = ("serve", "agent", "init-config", "recovery-kit", "hub")
"""What concerns this machine whatever hub the environment names."""

OF_THE_FILE = ("validate", "list", "export", "init-config")
"""What needs no more of this machine than its configuration file, if that."""

OVER_HUB_ALONE = {"apply", "pause", "resume"}
"""What there is over a hub alone."""

HIDDEN = {"backup"}
"""Another name of `run`."""


app = typer.Typer(
    name="highball",
    help="Back up with restic: run backups, test restores, apply retention, restore files.",
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
        Path | None,
        typer.Option("-c", "--config", help="The configuration file: TOML or YAML.", metavar="FILE"),
    ] = None,
    hub: Annotated[
        str | None,
        typer.Option("--hub", help="Use this hub instead of this machine.", metavar="URL"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    events: Annotated[bool, typer.Option("--events", help="Stream events as JSON lines.")] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "-v", "--verbose", help="Show on standard error every program that is started and its output."
        ),
    ] = False,
    version: Annotated[
        bool,
        typer.Option("-V", "--version", help="Show the version.", is_eager=True, callback=_tell_version),
    ] = False,
) -> None:
    """Back up with restic: run backups, test restores, apply retention, restore files."""
    session: Session = context.obj
    session.config = config
    if verbose:
        session.output.verbose = True
        tell_everything()
    if hub is not None and config is not None:
        raise Misuse("--hub and -c exclude each other: use a hub or this machine")
    if session.hub is not None and config is not None:
        raise Misuse(
            "-c and HIGHBALL_HUB exclude each other: use a hub or this machine", hint="unset HIGHBALL_HUB"
        )
    if json and events:
        raise Misuse("--json and --events exclude each other")


def tell_everything() -> None:
    """Let every part of the program say on standard error what it does."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("highball").setLevel(logging.DEBUG)


def run_command(arguments: Sequence[str]) -> int:
    """Carry out one command line; returns the exit status."""
    first, rest = _globals_first(arguments)
    session = Session(output=Output(_form_of(arguments)))
    if not arguments:
        rest, session.exit_status = ["--help"], Misuse.exit_code
    try:
        session.hub = _find_hub(first, rest[0] if rest else None)
        register(*rest[:2], over_hub=session.hub is not None)
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
        return _fail(session, _as_our_fault(error, traced=session.output.verbose))
    return session.exit_status or (status if isinstance(status, int) else 0)


def register(named: str | None = None, then: str = "", *_: str, over_hub: bool = False) -> None:
    """Put the named command on the program, or all of them: reading all their signatures takes its time. What a group
    holds is read where that or nothing is named.

    `then` is what is named after it: of some groups not every command is there over a hub.
    """
    app.registered_commands.clear()
    app.registered_groups.clear()
    verbs, groups, titles = _tables(over_hub)
    if over_hub and named in HOME:
        _demand_over_hub(named, then, verbs, groups)
    for name in [named] if named in verbs or named in groups else [*verbs, *groups]:
        if name in groups:
            title, verbs_of = titles[name], groups[name]() if named in (None, name) else {}
            app.add_typer(_as_group(verbs_of), name=name, help=title, short_help=_main_clause(title))
        else:
            hidden = name in HIDDEN or (name in OVER_HUB_ALONE and not over_hub)
            short = _alias(name) or _in_short(verbs[name])
            app.command(name, hidden=hidden, short_help=short, epilog=_who_may(name))(verbs[name])


def _demand_over_hub(named: str, then: str, verbs: Verbs, groups: Groups) -> None:
    """Raise NotAllowed where a hub cannot do what concerns this machine."""
    is_of_group = named in groups and (then in groups[named]() or not then or then.startswith("-"))
    if named not in verbs and not is_of_group:
        words = f"{named} {then}" if named in groups else named
        raise NotAllowed(
            f"{words} works on this machine only, not over a hub", code="not_over_hub", hint="omit --hub"
        )


Verbs = dict[str, Callable[..., Any]]
Groups = dict[str, Callable[[], Verbs]]


def _tables(over_hub: bool) -> tuple[Verbs, Groups, dict[str, str]]:
    """The commands by name, the groups of commands, and their titles; a hub's need far less of the program."""
    from highball.cli.commands import table

    if over_hub:
        return (
            table.all_commands(),
            {"hub": lambda: table.OF_HUB},
            {"hub": "Maintain the hub itself: backups."},
        )
    from highball.cli.commands import this_machine

    return this_machine.COMMANDS | table.all_commands(), this_machine.GROUPS, this_machine.TITLES


def _as_group(verbs: Verbs) -> typer.Typer:
    group = typer.Typer(add_completion=False, rich_markup_mode=None)
    for verb, command in verbs.items():
        group.command(verb, short_help=_in_short(command))(command)
    return group


def _in_short(command: Callable[..., Any]) -> str:
    """The main clause of a command's first sentence, for the list of commands."""
    return _main_clause(command.__doc__ or "")


def _alias(command: str) -> str | None:
    """What the list of commands says of a command that is another name of one."""
    from highball.cli.commands.table import ALIASES

    return f"Alias of {ALIASES[command]}" if command in ALIASES else None


def _who_may(command: str) -> str | None:
    """Whom a hub lets order it, behind the help of a command that is a verb of the table of actions."""
    from highball.cli.commands.table import role_over_hub

    role = role_over_hub(command)
    return None if role is None else f"Over a hub it requires the role {role}."


def _main_clause(text: str) -> str:
    return re.split(r"[:;.](?:\s|$)", text, maxsplit=1)[0]


def names_hub(arguments: Sequence[str]) -> bool:
    """Whether this call is for a hub, as far as can be told without reading it."""
    first, rest = _globals_first(arguments)
    return _find_hub(first, rest[0] if rest else None) is not None


def needs_record(arguments: Sequence[str]) -> bool:
    """Whether this call is for the record of this machine: that takes half of a start to load."""
    _, rest = _globals_first(arguments)
    return bool(rest) and rest[0] not in OF_THE_FILE and not {"-h", "--help"} & set(rest)


def _find_hub(first: Sequence[str], command: str | None) -> str | None:
    """The hub that was named: with --hub, or by the environment where the command does not concern this machine."""
    for number, argument in enumerate(first):
        if argument == "--hub":
            return next(iter(first[number + 1 :]), None)
        if argument.startswith("--hub="):
            return argument.removeprefix("--hub=")
    if command is None or command in HOME:
        return None
    return os.environ.get("HIGHBALL_HUB") or None


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
        if argument in GLOBAL_FLAGS or (
            argument.startswith(("--config=", "--hub=", "-c")) and argument not in GLOBAL_OPTIONS
        ):
            first.append(argument)
        elif argument in GLOBAL_OPTIONS and not left:
            return [argument], []  # which is told: its value is missing, not the command
        elif argument in GLOBAL_OPTIONS:
            first += [argument, *left[:1]]
            left = left[1:]
        else:
            rest.append(argument)
    return first, rest


def _as_misuse(error: TyperException) -> HighballError:
    describe = getattr(error, "format_message", None)
    text = describe() if describe else str(error)
    message = (text or "this command line is not valid").strip().rstrip(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "highball"
    return Misuse(message, hint=f"see: {command} --help")


def _as_our_fault(error: Exception, *, traced: bool) -> HighballError:
    import traceback

    if traced or os.environ.get("HIGHBALL_DEBUG"):
        traceback.print_exception(error)
    return Failed(
        f"Highball itself failed: {type(error).__name__}: {error}",
        code="internal_error",
        hint="this is a bug in Highball; --verbose shows where",
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
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
