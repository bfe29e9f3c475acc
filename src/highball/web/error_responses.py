"""What goes wrong, as an answer: every error is a `application/problem+json` of one shape.

The status comes from the error's class in `errors`. What a person sent is never repeated in an answer, because
it may be a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, Headers
from starlette.exceptions import HTTPException
from starlette.types import Scope

from highball.config.problems import problem, step
from highball.errors import (
    Busy,
    ConfirmationNeeded,
    HighballError,
    LoginNeeded,
    Misuse,
    Problem,
    Stale,
    Throttled,
    Unknown,
)

MEDIA_TYPE = "application/problem+json"

LONGEST_WORDS = 1000
"""A sentence that is longer repeats what somebody sent."""


class OneProblem(BaseModel):
    """One thing that is wrong, and its place."""

    at: str
    message: str
    hint: str | None = None


class ProblemAnswer(BaseModel):
    """What every answer looks like that is no success (RFC 9457, with what Highball adds)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str | None = None
    problems: list[OneProblem] = []


REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ProblemAnswer, "description": "It is refused, and the answer says why"},
    503: {"model": ProblemAnswer, "description": "The hub's own database cannot be used now"},
}
"""What every address may answer that is no success."""

ASKED_IN_VAIN: dict[int | str, dict[str, Any]] = {
    502: {"model": ProblemAnswer, "description": "The agent is not there, or could not do what it was asked"},
    503: {
        "model": ProblemAnswer,
        "description": "The host is asked enough already: Retry-After tells when to ask",
    },
}
"""What an address may answer besides where an agent is asked."""


def register(app: FastAPI) -> None:
    """Let this app answer every error as a problem, and say so where it describes itself."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        told = describe()
        for operations in told.get("paths", {}).values():
            for operation in operations.values():
                _name_media_type(operation["responses"])
        return told

    app.openapi = openapi  # type: ignore[method-assign]
    app.add_exception_handler(HighballError, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_request)
    app.add_exception_handler(HTTPException, _answer_status)


PROGRAMS = ("/api/", "/agent/", "/healthz", "/static/")
"""Addresses that programs ask: they get problems as JSON, people get pages."""

AnswerOnPage = Callable[[Request, HighballError, int | None], Response]
AskToLogIn = Callable[[Request, FormData], Response]
AskToConfirm = Callable[[Request, FormData | None], Response]


def wants_page(scope: Scope) -> bool:
    """Whether a person asks this, before a browser."""
    return not scope["path"].startswith(PROGRAMS) and "text/html" in Headers(scope=scope).get("accept", "")


def show_on_pages(
    app: FastAPI, answer_on_page: AnswerOnPage, ask_to_log_in: AskToLogIn, ask_to_confirm: AskToConfirm
) -> None:
    """Let people see on a page what went wrong; call it after `register`.

    Who is not logged in is asked to, and who has to type the password again as well: both get the form that was
    sent, and what it holds is not lost.
    """

    async def show(request: Request, error: Exception) -> Response:
        assert isinstance(error, HighballError)
        if _is_program(request):
            return answer_error(error)
        if isinstance(error, LoginNeeded) and request.method == "POST":
            return await run_in_threadpool(ask_to_log_in, request, await _read_form(request))
        if isinstance(error, ConfirmationNeeded):
            sent = await _read_form(request) if request.method == "POST" else None
            return await run_in_threadpool(ask_to_confirm, request, sent)
        return await run_in_threadpool(answer_on_page, request, error, None)

    def show_request(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        if _is_program(request):
            return _answer_request(request, error)
        found = problems_of_request(error)
        told = Misuse("the address or form contains something that is not valid", problems=found)
        return answer_on_page(request, told, None)

    def show_status(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if _is_program(request):
            return _answer_status(request, error)
        if error.status_code == HTTPStatus.NOT_FOUND:
            hint = "it may have been renamed or deleted, or never existed"
            told = Unknown(f"there is no page at {request.url.path[:200]}", hint=hint)
            return answer_on_page(request, told, None)
        phrase = HTTPStatus(error.status_code).phrase
        return answer_on_page(request, Misuse(f"{phrase}: {request.url.path[:200]}"), error.status_code)

    app.add_exception_handler(HighballError, show)
    app.add_exception_handler(RequestValidationError, show_request)
    app.add_exception_handler(HTTPException, show_status)


def _is_program(request: Request) -> bool:
    return request.url.path.startswith(PROGRAMS)


async def _read_form(request: Request) -> FormData:
    is_form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    return await request.form() if is_form else FormData()


def _name_media_type(responses: dict[str, Any]) -> None:
    for status, told in responses.items():
        if status[0] in "45" and "application/json" in told.get("content", {}):
            told["content"] = {MEDIA_TYPE: told["content"].pop("application/json")}


def answer(
    status: int,
    code: str,
    detail: str,
    *,
    hint: str | None = None,
    problems: Sequence[Problem] = (),
    headers: dict[str, str] | None = None,
    **more: Any,
) -> JSONResponse:
    """A problem as an answer; `more` are members of its own beside the usual ones."""
    content = {
        "type": f"urn:highball:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": _short(detail),
        "code": code,
        "hint": hint,
        "problems": [
            {"at": _short(one.at), "message": _short(one.message), "hint": one.hint} for one in problems
        ],
    }
    return JSONResponse(content | more, status, headers, MEDIA_TYPE)


def _short(words: str) -> str:
    return words if len(words) <= LONGEST_WORDS else f"{words[:LONGEST_WORDS]} …"


def answer_error(
    error: HighballError, status: int | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An error of ours as an answer; with its own status unless another is named."""
    sent = dict(headers or {})
    told: dict[str, Any] = {"hint": error.hint, "problems": error.problems}
    if isinstance(error, Stale):
        sent["ETag"] = f'"{error.revision}"'
        told["revision"] = error.revision
        told["differences"] = [asdict(one) for one in error.differences]
    if isinstance(error, Throttled | Busy):
        sent["Retry-After"] = f"{error.wait_for.total_seconds():.0f}"
    if error.http_status == HTTPStatus.UNAUTHORIZED:
        sent["WWW-Authenticate"] = "Bearer"
    return answer(status or error.http_status, error.code, error.message, headers=sent, **told)


def problems_of_request(error: RequestValidationError | ValidationError) -> list[Problem]:
    """What is wrong with a request, each with its place: `body.key`, `query.limit`."""
    return [
        problem("".join(step(part) for part in one["loc"]).lstrip("."), _message(one))
        for one in error.errors()
    ]


def _message(found: Any) -> str:
    if found["type"] == "json_invalid":
        return "is not JSON"
    if found["type"] == "missing":
        return "is missing"
    return str(found["msg"])


def _answer_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HighballError)
    return answer_error(error)


def _answer_request(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = problems_of_request(error)
    number = "a problem" if len(found) == 1 else f"{len(found)} problems"
    return answer(422, "request_invalid", f"the request has {number}", problems=found)


def _answer_status(_: Request, error: Exception) -> JSONResponse:
    """What the framework itself refuses: an address that is not there, a method that it does not know."""
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    code = phrase.lower().replace(" ", "_").replace("-", "_")
    headers = dict(error.headers) if error.headers else None
    return answer(error.status_code, code, str(error.detail or phrase), headers=headers)
