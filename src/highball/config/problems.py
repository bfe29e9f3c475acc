"""What is wrong, in words that people use: from a validator's complaints to Problems with their places.

Nothing of the validating library's own language gets out, and no value of a field that may be a secret.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from datetime import date, time
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from highball.errors import Problem
from highball.source.kinds import KINDS, tag_of

# --- for validators ------------------------------------------------------------------------------


def wrong(message: str, hint: str | None = None) -> PydanticCustomError:
    """An error for a validator to raise, with a hint what to do."""
    return PydanticCustomError("wrong", "{message}", {"message": message, "hint": hint})


def all_wrong(found: Iterable[tuple[str, str, str | None]]) -> PydanticCustomError:
    """Several errors at once: the place below the validated value (`[2].on_error`), the message, the hint."""
    each = [{"under": place, "message": message, "hint": hint} for place, message, hint in found]
    together = "; ".join(str(one["message"]) for one in each)
    return PydanticCustomError("wrong", "{message}", {"message": together, "all": each})


# --- words ---------------------------------------------------------------------------------------


def problem(at: str, message: str, hint: str | None = None) -> Problem:
    """A Problem that can be printed: what people typed may hold anything."""
    return Problem(_printable(at), _printable(message), _printable(hint) if hint else None)


def _printable(text: str) -> str:
    if len(text) > 500:
        text = f"{text[:500]}…"
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


def step(part: object) -> str:
    """One step of a place: `.schedule`, `[1]`, or `."an odd key"`."""
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if re.fullmatch(r"[A-Za-z0-9._-]+", str(part)) else f'."{part}"'


def find_nearest(name: str, known: Iterable[str]) -> str | None:
    """A hint that names what was probably meant; None where nothing resembles it."""
    names = list(known)
    turned = [other for other in names if sorted(other.split("_")) == sorted(name.lower().split("_"))]
    nearest = turned or difflib.get_close_matches(name[:80], names, 1)
    return f'perhaps "{nearest[0]}"' if nearest else None


def listed(what: str, known: Iterable[str]) -> str:
    """A hint that names what is known."""
    names = sorted(known)
    return f"known are {', '.join(names[:8])}" if names else f"there are no {what} yet"


def kind_of(value: object) -> str:
    """What a value is, in words."""
    for kinds, words in _KINDS:
        if isinstance(value, kinds):
            return words
    return "nothing" if value is None else "something else"


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (str, "text"),
    (bool, "true or false"),
    ((int, float), "a number"),
    ((list, tuple), "a list"),
    (dict, "a table"),
    ((date, time), "a date or time"),
)


# --- from what pydantic found --------------------------------------------------------------------

_WANTED = {
    "string": "text",
    "path": "text",
    "datetime": "a date and time with its zone, like 2030-01-31T12:00:00Z",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "tuple": "a list",
    "dict": "a table",
    "model": "a table",
}


def problems_of(error: ValidationError, model: type[BaseModel], table: object, at: str) -> Iterator[Problem]:
    """The problems of one table that `model` refused; `at` is the place of the table."""
    for detail in error.errors(include_url=False):
        place = at + _place(detail, table)
        context = detail.get("ctx", {})
        for one in context.get("all", [{"under": "", "message": None, "hint": None}]):
            message, hint = one["message"], one["hint"]
            if message is None:
                message, hint = _words(detail, model, place)
            yield problem(place + _joined(one["under"]), message, hint)


def _joined(under: str) -> str:
    return f".{under}" if under and not under.startswith("[") else under


def _place(detail: ErrorDetails, table: object) -> str:
    """The place below the table, by what that really holds: a location also names unions and shorthands."""
    found = ""
    here: Any = table
    part: Any
    for part in detail["loc"]:
        if (isinstance(here, dict) and part in here) or (isinstance(here, list) and isinstance(part, int)):
            here = here[part]
        elif detail["type"] != "missing" or part != detail["loc"][-1]:
            continue
        found += step(part)
    return found


def _words(detail: ErrorDetails, model: type[BaseModel], place: str) -> tuple[str, str | None]:
    """The message and the hint for what is wrong."""
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "wrong":
        return context["message"], context["hint"]
    if kind == "value_error":
        return str(context["error"]), None
    if kind == "extra_forbidden":
        return _unknown_key(str(detail["loc"][-1]), _fields_at(model, detail["loc"][:-1]))
    if kind == "literal_error":
        return _none_of(value, context["expected"])
    if kind in _PLAIN:
        return _PLAIN[kind].format(*(f"{bound:.15g}" for bound in context.values())), None
    wanted = _WANTED.get(kind.partition("_")[0], "something else")
    return f"must be {wanted}, not {kind_of(value)}", _hint_for_kind(wanted, value, place)


_PLAIN = {
    "missing": "is missing",
    "greater_than_equal": "is less than {}",
    "less_than_equal": "is more than {}",
    "string_too_short": "is blank",
    "int_parsing_size": "is too large a number",
}


def _hint_for_kind(wanted: str, value: object, place: str) -> str | None:
    if place.rpartition(".")[2] == "schedule" and isinstance(value, list):
        return 'it is one: five cron fields may name several times, like "0 3,12 * * *"'
    if wanted == "a table" and isinstance(value, list):
        return f"write [{place}] with single brackets, or {{ … }}"
    if wanted == "a list" and isinstance(value, str):
        return f'write ["{value[:60]}"]'
    return None


def _none_of(value: object, expected: str) -> tuple[str, str | None]:
    choices = re.findall(r"'([^']*)'", expected)
    listed = ", ".join(f'"{choice}"' for choice in choices)
    if not isinstance(value, str):
        return f"must be one of {listed}, not {kind_of(value)}", None
    return f'"{value[:60]}" is none of {listed}', find_nearest(value, choices)


def _unknown_key(name: str, known: list[str]) -> tuple[str, str | None]:
    listed = f"known are {', '.join(known)}" if 0 < len(known) <= 8 else None
    return "is not known here", find_nearest(name, known) or listed


_SOURCES: dict[str, type[BaseModel]] = {tag_of(kind.kind): kind for kind in KINDS}


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The names that are known at a location below the model."""
    here, is_key = model, False
    for part in location:
        if is_key:
            is_key = False
        elif part in _SOURCES:
            here = _SOURCES[str(part)]
        elif part in here.model_fields:
            annotation = here.model_fields[str(part)].annotation
            here = _class_within(annotation) or here
            is_key = get_origin(annotation) is dict
    return list(here.model_fields)


def _class_within(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _class_within(part))), None)
