"""What forms of pages have in common: texts that were sent, what is wrong beside which field, and questions that
are asked before something is destroyed.

A question has an address: without script the link to it leads there. With script the link (`data-asks`) shows what
stands there in a dialog, so it is asked as things are at that moment, and drawn in one place only.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, tzinfo
from typing import Annotated

from fastapi import Depends, Form, Query, Request, Response
from starlette.datastructures import FormData

from highball.actions import ACTIONS
from highball.errors import ConfigurationInvalid, HighballError, Problem, Stale
from highball.hub.document.diff import Declared, is_of_file
from highball.hub.hub import Hub
from highball.secret import SecretValue
from highball.web.ui.addresses import repository_page
from highball.web.ui.templating import Pages, link

Text = Annotated[str, Form(max_length=4096)]
"""A field of a form."""

InQuery = Annotated[str, Query(max_length=200)]
"""A word of a page's address."""

LongText = Annotated[str, Form(max_length=4 * 1024 * 1024)]
"""A field that holds a whole document."""

Number = Annotated[int, Form(ge=0, le=10**9)]
"""A revision, or another small number that the page itself wrote into its form."""


async def _read_form(request: Request) -> FormData:
    return await request.form()


Sent = Annotated[FormData, Depends(_read_form)]
"""All fields of a form, whatever their names."""


@dataclass(frozen=True)
class Offer:
    """A box that may be ticked with the answer: the field that is sent then, what it says, and what that costs."""

    field: str
    text: str
    cost: str


@dataclass(frozen=True)
class Question:
    """What is asked before something is destroyed."""

    title: str
    text: str
    action: str
    verb: str
    back: str
    hidden: tuple[tuple[str, str], ...] = ()
    destroys: bool = True
    details: tuple[str, ...] = ()
    offer: Offer | None = None
    why: str | None = None
    """What the answer may say beside (sent as `why`), as its field is called."""
    leave: str = "Cancel"
    links: tuple[tuple[str, str], ...] = ()
    """Where to go first: what it says, and the address. Without a verb nothing else can be done."""


def ask(pages: Pages, request: Request, question: Question) -> Response:
    """The question, on a page of its own or for the dialog of the page that shows."""
    return pages.answer(request, "question", {"question": question})


def new_order_key() -> str:
    """What makes the orders of a page as it was drawn begin one run each, however often they are sent."""
    return secrets.token_urlsafe(12)


def file_of(hub: Hub, declared: Declared | None) -> str | None:
    """The file that alone changes an object; None where people may."""
    if declared is None or not is_of_file(declared):
        return None
    return declared.file or hub.documents.file() or "its configuration file"


def plan_address(repository: str, job: str | None = None) -> str:
    """The page that shows what retention would remove, from which alone people let it."""
    return link(f"{repository_page(repository)}/retention", {"job": job or ""})


def faults_of(error: HighballError | None, place: str = "") -> dict[str, str]:
    """What to say beside which field; `place` is where the object stands in the document."""
    if error is None:
        return {}
    found: dict[str, str] = {}
    for one in error.problems:
        field = one.at.removeprefix(place).removeprefix(".")
        hint = f": {one.hint}" if one.hint else ""
        found.setdefault(field, f"{one.message}{hint}")
    return found


def status_of(error: HighballError | None) -> int:
    """The status of a page whose form is shown again; of one that is shown at first."""
    return 200 if error is None else error.http_status


def revision_that_holds(error: HighballError | None, sent: int) -> int:
    """What a form that is shown again changes next time: who was told what differs may go on from there."""
    return error.revision if isinstance(error, Stale) else sent


def any_or(anything: str, among: Iterable[str]) -> list[tuple[str, str]]:
    """The choices of a filter: anything, or one of these, each called as it is."""
    return [("", anything), *((one, one) for one in among)]


def begin_of(day: str, zone: tzinfo, field: str) -> datetime:
    """When a day begins, where the pages' clocks are. Raises ConfigurationInvalid."""
    try:
        return datetime.combine(date.fromisoformat(day), time(), zone)
    except ValueError:
        found = Problem(field, "must be a date", "write it like 2030-01-31")
        raise ConfigurationInvalid(
            f'"{field.capitalize()}" must be a date', hint="write it like 2030-01-31", problems=[found]
        ) from None


def secret(text: str) -> SecretValue:
    """What was typed, as a secret."""
    return SecretValue(text.encode("utf-8", "replace"))


def needs_no_look(kind: str, task: str) -> str:
    """A verb that one click orders on an object of this kind. Raises ValueError."""
    verb = ACTIONS.get(task)
    if verb is None or not verb.is_plain_on(kind):
        raise ValueError("one click does not start that")
    return task
