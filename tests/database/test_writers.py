"""The schema says which modules write a table: the source is read, and it is so."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import highball.hub
from highball.hub.storage import schema

HUB = Path(highball.hub.__file__).parent
TABLES = frozenset({*schema.metadata.tables, "schema_version"})
WRITING = ("insert", "update", "delete")

Written = dict[str, set[str]]


def said() -> Written:
    """The modules by table, as the docstring of the schema has them."""
    lines = re.findall(r"^    ([a-z_, ]+): ([a-z_., ]+)$", schema.__doc__ or "", re.MULTILINE)
    return {table: set(modules.split(", ")) for tables, modules in lines for table in tables.split(", ")}


def done() -> Written:
    """The modules by table, as their source has them."""
    found: Written = defaultdict(set)
    for path in HUB.rglob("*.py"):
        module = ".".join(path.relative_to(HUB).with_suffix("").parts)
        if "migrations" not in path.parts:
            for table in written_by(ast.parse(path.read_text()), module):
                found[table].add(module)
    return dict(found)


def written_by(tree: ast.Module, module: str) -> Iterator[str]:
    """The tables that statements of a module insert into, update or delete from, by whatever name it calls them."""
    names = names_of_tables(tree)
    if module == "storage.schema":
        names |= {table: {table} for table in TABLES}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and is_writing(node.func):
            about = [node.func.value] if isinstance(node.func, ast.Attribute) else []
            for one in [*about, *node.args]:
                if isinstance(one, ast.Name):
                    yield from names.get(one.id, ())


def is_writing(called: ast.expr) -> bool:
    """Whether what is called is named like `runs.insert`, `sa.update`, or a function that does it for a table."""
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name.lstrip("_") in WRITING


def names_of_tables(tree: ast.Module) -> Written:
    """What a module calls the tables that it imports; a loop over some of them has a name for each."""
    names: Written = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == schema.__name__:
            names |= {one.asname or one.name: {one.name} for one in node.names if one.name in TABLES}
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.comprehension):
            over = {one.id for one in ast.walk(node.iter) if isinstance(one, ast.Name)} & names.keys()
            for one in ast.walk(node.target):
                if isinstance(one, ast.Name) and over:
                    names[one.id] = names.get(one.id, set()) | {t for name in over for t in names[name]}
    return names


def test_each_table_is_written_by_the_modules_that_the_schema_names_and_by_no_other() -> None:
    assert done() == said()


def test_the_schema_names_the_writers_of_every_table() -> None:
    assert said().keys() == TABLES


@pytest.mark.parametrize(
    "statement",
    [
        "connection.execute(runs.insert().values(id=1))",
        "connection.execute(sa.update(runs).values(id=1))",
        "_insert(connection, runs, rows)",
        "for table in (runs, steps):\n    connection.execute(table.delete())",
    ],
)
def test_a_statement_that_writes_is_found_however_it_is_spelled(statement: str) -> None:
    tree = ast.parse(f"from {schema.__name__} import runs, steps\n{statement}")
    assert "runs" in set(written_by(tree, "somewhere"))
    assert not set(written_by(ast.parse("connection.execute(sa.select(runs))"), "somewhere"))
