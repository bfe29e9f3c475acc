"""Every kind of place, a line each; and reading one that is declared."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import PlainSerializer, WrapValidator
from pydantic_core import PydanticCustomError

from highball.place.base import DeclaredPlace, Place
from highball.place.local import LOCAL, LocalMachine

KINDS: tuple[type[DeclaredPlace], ...] = (LocalMachine,)


def open_place(declared: DeclaredPlace | None) -> Place:
    """The place that is declared, this machine where none is; raises HighballError."""
    return LOCAL if declared is None else declared.open()


def _read(value: Any, _: object) -> DeclaredPlace:
    if isinstance(value, DeclaredPlace):
        return value
    fields = dict(value) if isinstance(value, dict) else {}
    wanted = fields.pop("kind", None)
    kind = next((kind for kind in KINDS if kind.name == wanted), None)
    if kind is None:
        raise PydanticCustomError("wrong", "is no kind of place that is known")
    return kind.model_validate(fields)


def _write(value: DeclaredPlace) -> dict[str, Any]:
    return {"kind": value.name, **value.model_dump(mode="json")}


AnyPlace = Annotated[DeclaredPlace, WrapValidator(_read), PlainSerializer(_write)]
"""A place of whichever kind, by its flat fields and its `kind`."""
