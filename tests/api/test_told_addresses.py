"""What messages and documents name as an address is one: of a page, or of the API."""

from __future__ import annotations

import re
from pathlib import Path

from fastapi.routing import iter_route_contexts

from api.whole import Whole

ROOT = Path(__file__).parent.parent.parent
METHODS = "GET|POST|PUT|PATCH|DELETE"
IN_DOCUMENTS = re.compile(rf"\$hub(/[\w/.-]+)|`(?:(?:{METHODS}) )?(/[a-z][\w/.{{}}-]*)[`?]")
IN_MESSAGES = re.compile(rf'(?:{METHODS}) (/api/v1/[\w/.-]+)|(?:on|under|at|see) (/[a-z][\w/-]*)["\']')
NOT_OURS = (
    *("/bin/", "/etc/", "/dev/", "/mnt/", "/media", "/run/", "/proc"),
    *("/var/", "/home", "/tmp", "/srv", "/usr", "/root"),
)


def named() -> set[str]:
    """Every address that a document or a message names."""
    found = set()
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        found |= {one or other for one, other in IN_DOCUMENTS.findall(path.read_text())}
    for path in (ROOT / "src").rglob("*.py"):
        found |= {one or other for one, other in IN_MESSAGES.findall(path.read_text())}
    return {one.rstrip(".") for one in found if not f"{one}/".startswith(NOT_OURS)}


def test_every_address_that_people_are_told_is_there(whole: Whole) -> None:
    patterns = {str(route.path) for route in iter_route_contexts(whole.app.routes) if route.path}
    known = [
        re.compile("(/api/v1)?" + re.sub(r"\{[^}]*\}", "[^/]+", path.removeprefix("/api/v1")))
        for path in patterns
    ]
    told = named()
    assert {"/jobs/documents/test", "/api/v1/restores/preview"} <= told
    assert not {one for one in told if not any(pattern.fullmatch(one) for pattern in known)}
