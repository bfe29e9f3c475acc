"""From tables to text: a document as YAML that people read, keep, compare, and write back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from functools import lru_cache
from typing import Any

from highball.config.document import FORMAT, model_for
from highball.config.references import (
    ALONE,
    TABLE_OF,
    Spec,
)
from highball.model.text import time_to_text


def as_yaml(tables: Mapping[str, Any]) -> str:
    """A document's tables as YAML, fields in the order in which their classes name them."""
    return "".join(_parts(as_json(tables)))


def spec_as_yaml(kind: str, spec: Spec) -> str:
    """One object as YAML, as it would stand below its key; what says nothing is no text."""
    return _written(_in_order(kind, as_json(spec))) if spec else ""


def _written(tables: Mapping[str, Any]) -> str:
    from io import StringIO  # noqa: PLC0415 - only who writes YAML should pay for it

    from ruamel.yaml import YAML  # noqa: PLC0415

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.width = 10_000
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    text = StringIO()
    yaml.dump(tables, text)
    return text.getvalue()


def _parts(tables: Mapping[str, Any]) -> Iterator[str]:
    yield _written({"format": FORMAT})
    for name in ALONE:
        if tables.get(name):
            yield _written({name: _in_order(name, tables[name])})
    for kind, table in TABLE_OF.items():
        if kind not in ALONE and tables.get(table):
            yield f"{table}:\n"
            for key, spec in sorted(tables[table].items()):
                yield _below_its_table(key, json.dumps(_in_order(kind, spec or {})))


@lru_cache(maxsize=20_000)
def _below_its_table(key: str, spec: str) -> str:
    """One object's lines. Writing YAML is slow (5 ms for a job), and of many objects few have changed."""
    return _written({"table": {key: json.loads(spec)}}).partition("\n")[2]


def _in_order(kind: str, spec: Spec) -> Spec:
    return {name: spec[name] for name in model_for(kind, spec).model_fields if name in spec}


def as_json(value: Any) -> Any:
    """The value as JSON can hold it: dates and times become text."""
    if isinstance(value, dict):
        return {name: as_json(one) for name, one in value.items()}
    if isinstance(value, list):
        return [as_json(one) for one in value]
    if isinstance(value, datetime) and value.tzinfo is not None:
        return time_to_text(value)
    return value.isoformat() if isinstance(value, date | time) else value
