"""The second factor of one's own account: setting it up with a QR code, its recovery codes, and taking it away."""

from __future__ import annotations

from typing import Any

import segno
from fastapi import APIRouter, Request, Response
from markupsafe import Markup

from highball.errors import HighballError
from highball.hub.auth.authenticators import Offered, spell_code
from highball.hub.hub import Hub
from highball.hub.runs.record import utc_now
from highball.secret import SecretValue
from highball.web.authorize import Sees, known, own_user
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms.fields import (
    Text,
    secret,
    status_of,
)
from highball.web.pages.people import ACCOUNT, NO_ACCOUNT
from highball.web.ui.templating import (
    Pages,
    Said,
    go,
)

PAGE = "/settings/second-factor"

router = APIRouter(include_in_schema=False)


def _show_offered(
    pages: Pages, request: Request, offered: Offered, error: HighballError | None = None
) -> Response:
    context = {
        "qr": _draw(offered.address),
        "secret": _in_groups(offered.secret),
        "error": error,
        "faults": faults_of_proofs(error),
    }
    return pages.answer(request, "second-factor-setup", context, status=status_of(error))


@router.post(PAGE)
def offer(hub: TheHub, pages: ThePages, request: Request, actor: Sees, password: Text = "") -> Response:
    me = known(request)
    if me.session is None:
        return go(ACCOUNT, said=NO_ACCOUNT)
    try:
        offered = hub.access.authenticators.offer(own_user(me), secret(password), actor, utc_now())
    except HighballError as error:
        return _answer(hub, pages, request, own_user(me), error)
    return _show_offered(pages, request, offered)


@router.post(f"{PAGE}/confirm")
def confirm(hub: TheHub, pages: ThePages, request: Request, actor: Sees, code: Text = "") -> Response:
    me = known(request)
    if me.session is None:
        return go(ACCOUNT, said=NO_ACCOUNT)
    user = own_user(me)
    try:
        codes = hub.access.authenticators.confirm(user, secret(code), actor, utc_now())
    except HighballError as error:
        if error.code not in ("code_wrong", "throttled"):
            return _answer(hub, pages, request, user, error)
        return _show_offered(pages, request, hub.access.authenticators.find_offered(user, utc_now()), error)
    return _show_codes(pages, request, codes, fresh=True)


@router.get(PAGE)
def show(hub: TheHub, pages: ThePages, request: Request, _: Sees) -> Response:
    me = known(request)
    if me.session is None:
        return go(ACCOUNT, said=NO_ACCOUNT)
    return _answer(hub, pages, request, own_user(me))


@router.post(f"{PAGE}/recovery-codes")
def renew_codes(
    hub: TheHub, pages: ThePages, request: Request, actor: Sees, password: Text = "", code: Text = ""
) -> Response:
    me = known(request)
    if me.session is None:
        return go(ACCOUNT, said=NO_ACCOUNT)
    try:
        codes = hub.access.authenticators.renew_codes(
            own_user(me), secret(password), secret(code), actor, utc_now()
        )
    except HighballError as error:
        return _answer(hub, pages, request, own_user(me), error, form="codes")
    return _show_codes(pages, request, codes, fresh=False)


@router.post(f"{PAGE}/remove")
def remove(
    hub: TheHub, pages: ThePages, request: Request, actor: Sees, password: Text = "", code: Text = ""
) -> Response:
    me = known(request)
    if me.session is None:
        return go(ACCOUNT, said=NO_ACCOUNT)
    try:
        hub.access.authenticators.remove(own_user(me), secret(password), secret(code), actor, utc_now())
    except HighballError as error:
        return _answer(hub, pages, request, own_user(me), error, form="remove")
    return go(ACCOUNT, said=Said("The second factor is removed. Your password is enough to log in."))


def _answer(
    hub: Hub,
    pages: Pages,
    request: Request,
    user: str,
    error: HighballError | None = None,
    form: str = "offer",
) -> Response:
    context: dict[str, Any] = {
        "factor": hub.access.authenticators.find(user),
        "account": hub.access.get_user(user),
        "error": error,
        "faults": {"offer": {}, "codes": {}, "remove": {}} | {form: faults_of_proofs(error)},
    }
    return pages.answer(request, "second-factor", context, status=status_of(error))


def _show_codes(pages: Pages, request: Request, codes: list[SecretValue], *, fresh: bool) -> Response:
    context = {"codes": [spell_code(one) for one in codes], "fresh": fresh}
    return pages.answer(request, "recovery-codes", context)


def faults_of_proofs(error: HighballError | None) -> dict[str, str]:
    """What to say beside which field of a password and a code."""
    if error is None:
        return {}
    told = {
        "password_wrong": {"password": "The password is wrong."},
        "code_wrong": {"code": "This code is wrong or was already used."},
    }
    return told.get(error.code, {})


def _draw(address: SecretValue) -> Markup:
    """The QR code as SVG: black on white in the dark, too, as cameras expect it."""
    code = segno.make(address.reveal().decode(), error="m", micro=False)
    # all of it is segno's own: modules of the code, and nothing of what it says
    drawn = code.svg_inline(scale=1, border=4, dark="#000", light="#fff", omitsize=True, svgclass="qr")
    return Markup(drawn)  # noqa: S704


def _in_groups(value: SecretValue) -> str:
    text = value.reveal().decode()
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))
