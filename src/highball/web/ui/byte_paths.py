"""Paths in addresses: bytes, as file systems have them."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Query, Request


def _read_path(request: Request, path: Annotated[str | None, Query(max_length=4096)] = None) -> bytes | None:
    """The path of this request, byte for byte as it was percent-encoded: names are not always UTF-8."""
    if path is None:
        return None
    query = request.scope["query_string"].decode("utf-8", "surrogateescape")
    given: dict[str, str] = dict(parse_qsl(query, keep_blank_values=True, errors="surrogateescape"))
    return given["path"].encode("utf-8", "surrogateescape")


ByPath = Annotated[bytes | None, Depends(_read_path)]
