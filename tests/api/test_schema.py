"""Whatever a program sends, the hub answers as its own description says, and never fails.

`HIGHBALL_TESTS_EXAMPLES=100` tries more of each address than there is time for every day.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.test_roles import OUTSIDE, TABLE
from api.whole import Whole
from highball.model.role import Role

EXAMPLES = int(os.environ.get("HIGHBALL_TESTS_EXAMPLES", "2"))
CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]


@pytest.fixture(scope="module")
def described(whole: Whole) -> Any:
    """The API as it describes itself."""
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", whole.app)


ADDRESSES = [
    (method, path)
    for method, path in TABLE
    if (method, path) not in OUTSIDE and not path.endswith("/stream")  # which never ends
]


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
def test_no_answer_is_outside_the_description(whole: Whole, described: Any, method: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {whole.tokens[Role.ADMIN]}"}

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=described[path][method].as_strategy())
    def ask(case: Any) -> None:
        answer = case.call(headers=headers)
        if answer.status_code >= 500:
            assert answer.status_code == 502 and answer.json()["code"] == "host_offline", answer.text
        case.validate_response(answer, checks=CHECKS)

    ask()
