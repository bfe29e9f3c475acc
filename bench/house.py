"""Figures of the source itself: how long rooms and functions are, what stands twice, in how many files a word stands.

Run as: .venv/bin/python bench/house.py

Counted is what lies under `src/highball` now, whatever it is called; nothing is judged.

- A room is a file or folder there; those named in OPENED are told one level deeper, too. Its lines are all lines of
  its `.py` files, and apart from them those of its templates (every `.html`).
- A function is as long as `ast` says, from its `def` to its last line, without decorators. One within another
  counts by itself and as a part of the other. Percentiles are values that occur (nearest rank).
- A class name stands more than once where `class` gives it in several places, at any depth; a module's base name,
  where several `.py` files have it, `__init__` and `__main__` aside.
- An import cycle is a largest set of modules each of which reaches every other by imports. Imports for types only
  are left out; those within functions count in the second figure alone. That a module's packages are imported
  before it does not count.
- A file spells a word where one of its names is exactly that, or one of its literal strings, in capitals or small.
  A name is anything that Python calls one: variables, attributes, arguments, functions, classes, each part of an
  imported module. In a template it is a name or string between Jinja's marks, or the whole value of an attribute.
  A word within a longer name or text, a comment or prose counts nowhere.
"""

from __future__ import annotations

import ast
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment

from measuring import CHECKOUT, Result

SOURCE = CHECKOUT / "src" / "highball"
OPENED = ("agent", "cli", "hub", "web")
LONGEST = 10
WORDS = {
    "action": ("unlock", "forget", "verify"),
    "kind of source": ("path",),
    "engine": ("restic",),
    "kind of channel": ("webhook", "email", "ntfy"),
}
"""What each word is one of; one that Highball has not is found in no file."""

_ATTRIBUTE_VALUE = re.compile(r"""=\s*(?:"([^"]*)"|'([^']*)')""")

_NAMES_OF_A_NODE = ("id", "attr", "arg", "name", "names", "asname", "module", "rest", "kwd_attrs")
"""Where `ast` keeps what is a name."""


def main() -> None:
    """Count and write down."""
    modules = [Module.read(path) for path in sorted(SOURCE.rglob("*.py"))]
    templates = sorted(SOURCE.rglob("*.html"))
    result = Result("house", "The source, counted")
    _add_rooms(result, modules, templates)
    _add_functions(result, modules)
    _add_doubles(result, modules)
    _add_cycles(result, modules)
    _add_words(result, modules, templates)
    result.notes.append("What exactly is counted is said at the head of `bench/house.py`.")
    result.write(None)


@dataclass(frozen=True)
class Module:
    """One `.py` file; `name` is the one that it is imported by."""

    path: Path
    name: str
    tree: ast.Module

    @classmethod
    def read(cls, path: Path) -> Module:
        """Read and parse a file."""
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        return cls(path, name, ast.parse(path.read_text()))

    def place(self, node: ast.stmt) -> str:
        """Where something stands, for people."""
        return f"{_short(self.path)}:{node.lineno}"


def _short(path: Path) -> str:
    return str(path.relative_to(SOURCE))


# --- rooms ---------------------------------------------------------------------------------------


def _add_rooms(result: Result, modules: list[Module], templates: list[Path]) -> None:
    python, pages = _lines_by_room([m.path for m in modules]), _lines_by_room(templates)
    for room in sorted(python | pages):
        code, page = python.get(room, []), pages.get(room, [])
        figure = f"{_count(sum(code), 'line')} in {_count(len(code), 'file')}" if code else ""
        more = f"{_count(sum(page), 'line')} in {_count(len(page), 'template')}" if page else ""
        result.add(
            f"room: {room}",
            " and ".join(filter(None, (figure, more))),
            lines=sum(code),
            files=len(code),
            template_lines=sum(page),
            templates=len(page),
        )


def _lines_by_room(paths: Iterable[Path]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for path in paths:
        lines = len(path.read_text().splitlines())
        for room in _rooms_of(path):
            found[room].append(lines)
    return dict(found)


def _rooms_of(path: Path) -> Iterator[str]:
    """All of it, the room a file lies in, and where that is opened, the one within."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    yield "(all)"
    yield parts[0]
    if parts[0] in OPENED and len(parts) > 1:
        yield "/".join(parts[:2])


# --- functions -----------------------------------------------------------------------------------


def _add_functions(result: Result, modules: list[Module]) -> None:
    found = sorted(
        (
            ((node.end_lineno or node.lineno) - node.lineno + 1, f"{node.name} ({module.place(node)})")
            for module in modules
            for node in ast.walk(module.tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ),
        reverse=True,
    )
    lengths = sorted(length for length, _ in found)
    result.add("functions", f"{len(lengths):,}", count=len(lengths))
    for what, part in (("median", 0.5), ("p90", 0.9), ("p99", 0.99)):
        value = lengths[math.ceil(part * len(lengths)) - 1]
        result.add(f"their length: {what}", _count(value, "line"), lines=value)
    for number, (length, what) in enumerate(found[:LONGEST], 1):
        result.add(f"their length: number {number}", f"{length} lines: {what}", lines=length)


# --- names that stand twice ----------------------------------------------------------------------


def _add_doubles(result: Result, modules: list[Module]) -> None:
    classes, files = defaultdict(list), defaultdict(list)
    for module in modules:
        if not module.path.stem.startswith("__"):
            files[module.path.stem].append(_short(module.path))
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                classes[node.name].append(module.place(node))
    _add_double(result, "classes", "class names that stand more than once", classes)
    _add_double(result, "modules", "module base names that stand more than once", files)


def _add_double(result: Result, kind: str, what: str, found: Mapping[str, list[str]]) -> None:
    twice = {name: places for name, places in sorted(found.items()) if len(places) > 1}
    told = ", ".join(f"{name} ×{len(places)}" for name, places in twice.items())
    total = sum(map(len, found.values()))
    result.add(
        what,
        f"{len(twice)} (of {total:,} {kind})" + (f": {told}" if told else ""),
        count=len(twice),
        places="; ".join(f"{name}: {', '.join(places)}" for name, places in twice.items()),
    )


# --- imports -------------------------------------------------------------------------------------


def _add_cycles(result: Result, modules: list[Module]) -> None:
    for what, late in (("when modules are loaded", False), ("with imports within functions", True)):
        cycles = sorted(sorted(one) for one in _cycles(_graph(modules, late=late)))
        told = "".join(f"; {', '.join(one)}" for one in cycles)
        count = len(cycles)
        result.add(
            f"import cycles, {what}",
            f"{count}{told}",
            count=count,
            modules="; ".join(", ".join(one) for one in cycles),
        )
    inside = sum(is_late for module in modules for _, is_late in _imports(module.tree))
    result.add("imports within functions", f"{inside:,}", count=inside)


def _graph(modules: list[Module], *, late: bool) -> dict[str, set[str]]:
    """Which modules each one imports."""
    names = {module.name for module in modules}
    return {
        module.name: {
            target
            for statement, is_late in _imports(module.tree)
            if late or not is_late
            for target in _targets(module, statement, names)
        }
        for module in modules
    }


def _imports(node: ast.AST, within: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Each import that is ever carried out, and whether that is when a function is called."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, within
        elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield from _imports(child, within or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def _targets(module: Module, statement: ast.Import | ast.ImportFrom, names: set[str]) -> Iterator[str]:
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names if alias.name in names)
        return
    origin = statement.module or ""
    if statement.level:
        is_package = module.path.stem == "__init__"
        package = [*module.name.split("."), ""] if is_package else module.name.split(".")
        above = package[: -statement.level]
        origin = ".".join([*above, *filter(None, [origin])])
    for alias in statement.names:
        yield from [one for one in (f"{origin}.{alias.name}", origin) if one in names][:1]


def _cycles(graph: Mapping[str, set[str]]) -> set[frozenset[str]]:
    reached = {name: _reached(graph, name) for name in graph}
    return {
        frozenset(other for other in reached[name] if name in reached[other])
        for name in graph
        if name in reached[name]
    }


def _reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    """What is imported from there on; the start itself only by way of others."""
    found: set[str] = set()
    ahead = [start]
    while ahead:
        new = graph[ahead.pop()] - found
        found |= new
        ahead += new
    return found


# --- words ---------------------------------------------------------------------------------------


def _add_words(result: Result, modules: list[Module], templates: list[Path]) -> None:
    spelled = {_short(module.path): _spelled(module.tree) for module in modules}
    spelled |= {_short(path): _spelled_in_template(path.read_text()) for path in templates}
    for kind, words in WORDS.items():
        for word in words:
            as_name = [file for file, (names, _) in spelled.items() if word in names]
            as_text = [file for file, (_, texts) in spelled.items() if word in texts]
            files = sorted({*as_name, *as_text})
            result.add(
                f"spell the {kind} `{word}`",
                f"{_count(len(files), 'file')} (as a name {len(as_name)}, as a string {len(as_text)})",
                count=len(files),
                as_name=len(as_name),
                as_string=len(as_text),
                files=", ".join(files),
            )


def _spelled(tree: ast.AST) -> tuple[set[str], set[str]]:
    """All names and all strings of a module, each whole and in small letters."""
    names: set[str] = set()
    texts: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            texts |= {node.value.lower()} if isinstance(node.value, str) else set()
            continue
        for name in _NAMES_OF_A_NODE:
            value = getattr(node, name, None)
            found = value if isinstance(value, list) else [value]
            names |= {part.lower() for one in found if isinstance(one, str) for part in one.split(".")}
    return names, texts


def _spelled_in_template(text: str) -> tuple[set[str], set[str]]:
    """The same of a template."""
    names: set[str] = set()
    texts: set[str] = set()
    for _, kind, value in Environment(autoescape=True).lex(text):
        if kind == "name":
            names.add(value.lower())
        elif kind == "string":
            texts.add(value[1:-1].lower())
        elif kind == "data":
            texts |= {part.lower() for pair in _ATTRIBUTE_VALUE.findall(value) for part in pair if part}
    return names, texts


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


if __name__ == "__main__":
    main()
