"""A name of a class stands for one class in the whole program."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import highball

SOURCE = Path(highball.__file__).parent


def test_no_class_name_stands_twice() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(SOURCE)}:{node.lineno}")
    assert places, "no class was found"
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
