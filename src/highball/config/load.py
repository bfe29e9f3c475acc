"""From a file's bytes to plain tables: TOML or YAML, refused early where it is too large or a trap.

Nothing here knows what the tables mean. What comes out holds text keys and plain values only, nested no
deeper than a configuration ever is.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import date, time
from functools import cache
from pathlib import Path
from typing import Any, Literal

from highball.config.problems import (
    kind_of,
    problem,
    step,
)
from highball.errors import ConfigurationInvalid, Problem

LARGEST_BYTES = 4 * 1024 * 1024
DEEPEST = 32
MOST_UNFOLDED = 10_000
MOST_VALUES = 150_000
"""So many values, keys among them, are more than the largest fleet declares; each costs time wherever it is read."""
MOST_DOTS = 500

_OUT_OF_BOUNDS = "holds a number or date that cannot be read"

Kind = Literal["toml", "yaml"]
Tables = dict[str, Any]


def read_file(path: Path) -> bytes:
    """The bytes of a configuration file. Raises ConfigurationInvalid."""
    try:
        if path.is_dir():
            raise refused(problem("", f"{path} is a folder, not a file", f"perhaps {path / 'highball.toml'}"))
        with path.open("rb") as opened:
            return opened.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise refused(problem("", f"{path} does not exist")) from None
    except (OSError, ValueError) as error:  # ValueError: NUL in the name
        words = error.strerror if isinstance(error, OSError) else "that is not a valid file name"
        raise refused(problem("", f"{path} cannot be read: {words}")) from None


def kind_of_file(path: Path) -> Kind:
    """YAML by its name, TOML otherwise."""
    return "yaml" if path.suffix.lower() in (".yaml", ".yml") else "toml"


def read(text: bytes, kind: Kind) -> Tables:
    """The tables that the text spells. Raises ConfigurationInvalid."""
    if len(text) > LARGEST_BYTES:
        raise refused(
            problem("", f"is larger than {LARGEST_BYTES // 1024**2} MiB, so it is not a configuration")
        )
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise refused(problem(f"line {line}", "is not UTF-8", "save the file with that encoding")) from None
    tables = _read_toml(decoded) if kind == "toml" else _read_yaml(decoded)
    if tables is None:
        return {}
    if not isinstance(tables, dict):
        raise refused(
            problem("", f"a configuration is a table of settings, jobs and so on, not {kind_of(tables)}")
        )
    return tables


def refused(*problems: Problem) -> ConfigurationInvalid:
    """The error that carries these problems."""
    number = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
    return ConfigurationInvalid(f"the configuration has {number}", problems=problems)


def find_unplain(tables: Tables) -> Iterator[Problem]:
    """What no file should hold, wherever it came from: keys that are not text, values of no plain kind.

    Raises ConfigurationInvalid where tables are nested so deeply that looking further is unwise.
    """
    left: list[tuple[str, int, Any]] = [("", 0, tables)]
    seen = 0
    while left:
        place, depth, value = left.pop()
        seen += 1 + (len(value) if isinstance(value, dict) else 0)
        if seen > MOST_VALUES:
            raise refused(_too_many())
        if depth > DEEPEST:
            raise refused(_too_deep(place.lstrip(".")))
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    yield problem(
                        place.lstrip("."), f"the key {key!r:.60} is not text", 'put it in quotes: "…"'
                    )
            left += [
                (place + step(key), depth + 1, below) for key, below in value.items() if isinstance(key, str)
            ]
        elif isinstance(value, list):
            left += [(f"{place}[{n}]", depth + 1, below) for n, below in enumerate(value)]
        elif isinstance(value, str):
            if not _is_whole(value):
                yield problem(place.lstrip("."), "contains half a character, which is not valid text")
        elif not isinstance(value, bool | int | float | date | time | None):
            yield problem(place.lstrip("."), "is of a type that a configuration cannot contain")


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _too_deep(at: str) -> Problem:
    return problem(at[:100], f"is nested more than {DEEPEST} levels deep")


def _too_many() -> Problem:
    return problem("", f"contains more than {MOST_VALUES} values, so it is not a configuration")


# --- TOML ----------------------------------------------------------------------------------------


def _read_toml(text: str) -> Tables:
    if text.count(",") + text.count("=") > 3 * MOST_VALUES:  # some stand in texts and comments
        raise refused(_too_many())
    for number, line in enumerate(text.splitlines(), start=1):
        if line.count(".") > MOST_DOTS:  # a key of that many parts keeps tomllib busy for hours
            raise refused(problem(f"line {number}", f"holds more than {MOST_DOTS} dots"))
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise refused(_toml_problem(str(error), text)) from None
    except RecursionError:
        raise refused(_too_deep("")) from None
    except ValueError:  # a number of more digits, or a date of more days, than Python reads
        raise refused(problem("", _OUT_OF_BOUNDS)) from None


def _toml_problem(words: str, text: str) -> Problem:
    message, _, where = words.partition(" (at ")
    place = where.rstrip(")")
    if place == "end of document":
        place = f"line {text.rstrip().count(chr(10)) + 1}"
        message = f"{message}; the file ends too early"
    table = re.fullmatch(r"Cannot declare \((.*)\) twice", message)
    if table:
        name = ".".join(re.findall(r"'([^']*)'", table[1]))
        return problem(place, f"the table [{name}] is declared twice")
    if message == "Cannot overwrite a value":
        return problem(place, "this field is set twice")
    return problem(place, f"is not TOML: {message}")


# --- YAML ----------------------------------------------------------------------------------------

_READ_TAGS = {"str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge", "value"}


def _read_yaml(text: str) -> Any:
    from ruamel.yaml import YAML  # noqa: PLC0415 - only a YAML file should cost the time to import it
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    if text.count(",") + text.count("\n") > 3 * MOST_VALUES:  # some stand in texts and comments
        raise refused(_too_many())
    yaml = YAML(typ="safe", pure=True)
    yaml.Parser = _bounded_parser()
    yaml.composer.warn_double_anchors = False  # to name an anchor twice is allowed
    try:
        root = yaml.compose(text)
        if root is None:
            return None
        _Unfolding().check(root)
        return yaml.constructor.construct_document(root)
    except YAMLError as error:
        raise refused(_yaml_problem(error, text)) from None
    except RecursionError:
        raise refused(_too_deep("")) from None
    except (ValueError, LookupError):  # a number of more digits, or a date of more days, than Python reads
        raise refused(problem("", _OUT_OF_BOUNDS)) from None


@cache
def _bounded_parser() -> Any:
    """A parser of YAML that stops where there is too much, or too deep, before anything is built of it."""
    from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent  # noqa: PLC0415
    from ruamel.yaml.parser import Parser  # noqa: PLC0415

    class Bounded(Parser):
        """It counts what it hands on."""

        def __init__(self, loader: Any) -> None:
            super().__init__(loader)
            self.values = self.depth = 0

        def get_event(self) -> Any:
            event = super().get_event()
            if isinstance(event, ScalarEvent | AliasEvent | CollectionStartEvent):
                self.values += 1
                if self.values > MOST_VALUES:
                    raise refused(_too_many())
            if isinstance(event, CollectionStartEvent):
                self.depth += 1
                if self.depth > 2 * DEEPEST:  # what is less deep is told with its place, once it is built
                    raise refused(_too_deep(""))
            elif isinstance(event, CollectionEndEvent):
                self.depth -= 1
            return event

    return Bounded


class _Unfolding:
    """How much a tree of YAML nodes comes to once every alias (`*name`) is replaced by what it stands for."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()

    def check(self, root: Any) -> None:
        """Raises ConfigurationInvalid for a bomb, a circle, or a tag."""
        if self._size(root) > len(self._sizes) + MOST_UNFOLDED:
            raise refused(problem("", f"its aliases unfold to more than {MOST_UNFOLDED} values"))

    def _size(self, node: Any) -> int:
        key = id(node)
        if key in self._sizes:
            return self._sizes[key]
        if key in self._open:
            raise refused(
                problem(_place(node.start_mark), "an alias refers to something that contains itself")
            )
        tag = str(node.tag).removeprefix("tag:yaml.org,2002:")
        if tag not in _READ_TAGS:
            raise refused(problem(_place(node.start_mark), f"the tag {tag} is not read here", "omit it"))
        self._open.add(key)
        self._sizes[key] = size = 1 + sum(self._size(below) for below in _below(node))
        self._open.discard(key)
        return size


def _below(node: Any) -> Iterator[Any]:
    """The nodes in a list or table; ConfigurationInvalid where a key of a table is not of one piece."""
    for child in node.value if isinstance(node.value, list) else ():
        if not isinstance(child, tuple):
            yield child
            continue
        if isinstance(child[0].value, list):
            raise refused(problem(_place(child[0].start_mark), "a key is not text, but a list or table"))
        yield from child


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _yaml_problem(error: Any, text: str) -> Problem:
    """A problem from ruamel's own account of it; that may quote values, so of a key that stands twice it does not."""
    position = getattr(error, "position", None)
    if position is not None:
        line = text.count("\n", 0, position) + 1
        return problem(f"line {line}", "holds a character that YAML does not allow")
    words = str(error.problem or error.context)
    twice = re.match(r'found duplicate (?:merge )?key "([^"]*)"', words)
    said = f'the field "{twice[1]}" is set twice' if twice else f"is not YAML: {words}"
    return problem(_place(error.problem_mark or error.context_mark), said)
