"""From tables to text: a document as YAML that people read, keep, compare, and write back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from highball.spec.document import FORMAT, MODEL_OF
from highball.spec.references import ALONE, TABLE_OF, Spec


def as_yaml(tables: Mapping[str, Any]) -> str:
    """A document's tables as YAML, fields in the order in which their classes name them."""
    from io import StringIO  # noqa: PLC0415 - only who writes YAML should pay for it

    from ruamel.yaml import YAML  # noqa: PLC0415

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.width = 10_000
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    text = StringIO()
    yaml.dump(dict(_ordered(tables)), text)
    return text.getvalue()


def _ordered(tables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "format", FORMAT
    for name in ALONE:
        if name in tables:
            yield name, _in_order(name, tables[name])
    for kind, table in TABLE_OF.items():
        if kind not in ALONE and table in tables:
            yield table, {key: _in_order(kind, spec) for key, spec in tables[table].items()}


def _in_order(kind: str, spec: Spec) -> Spec:
    return {name: spec[name] for name in MODEL_OF[kind].model_fields if name in spec}
