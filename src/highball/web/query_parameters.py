"""What an address may be asked with: a parameter that it does not know is refused, never passed over.

A filter with a slip in its name would otherwise answer with everything, as if nothing had been narrowed.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute


def refuse_unknown_parameters(request: Request) -> None:
    """A dependency of every address for programs; raises RequestValidationError."""
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute):
        return
    known = set(_names(route.dependant))
    unknown = dict.fromkeys(name for name in request.query_params if name not in known)
    if unknown:
        raise RequestValidationError(
            [
                {"type": "extra_forbidden", "loc": ("query", name), "msg": "nothing here is called so"}
                for name in unknown
            ]
        )


def _names(dependant: Dependant) -> Iterator[str]:
    """Those that an address and all it depends on ask for."""
    yield from (field.alias for field in dependant.query_params)
    for needed in dependant.dependencies:
        yield from _names(needed)
