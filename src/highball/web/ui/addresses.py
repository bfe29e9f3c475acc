"""Where the pages of things are."""

from __future__ import annotations

from urllib.parse import quote


def job_page(key: str) -> str:
    """A job's own page."""
    return f"/jobs/{quote(key, safe='')}"


def repository_page(key: str) -> str:
    """A repository's own page."""
    return f"/repositories/{quote(key, safe='')}"
