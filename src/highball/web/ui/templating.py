"""Pages put together: one template with named blocks each; a handler answers the whole, or the block asked for.

A page that changes while it is looked at names the blocks that do: the browser hears that something changed, asks
for the same address again, and gets just that block. So there is one way to draw everything, and every page works
without script.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode
from zoneinfo import ZoneInfo

from fastapi import Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from highball import __version__, humanize
from highball.actions import role_for, words_of
from highball.config.document import Document
from highball.engine.tags import is_ours
from highball.errors import ConfirmationNeeded, HighballError, LoginNeeded, StateUnusable
from highball.hub.audit import Actor
from highball.hub.hub import Hub
from highball.hub.runs.queue import Placing
from highball.hub.runs.record import utc_now
from highball.hub.status.overview import (
    Overview,
    Survey,
    grounds,
    look_over,
    survey,
)
from highball.model.role import Role
from highball.model.run import Run
from highball.web.middleware import find_known
from highball.web.seen_locks import SeenLocks
from highball.web.snapshot_cache import Listings
from highball.web.ui import run_summary, status_looks
from highball.web.ui.titles import Names

SURVEY_IS_FRESH: Final = timedelta(seconds=10)
"""While nothing changes, what is late or overdue is noticed so much later."""

_VARY: Final = {"vary": "HX-Target"}

STATIC: Final = Path(__file__).parent.with_name("static")
THEMES: Final = ("light", "dark", "system")
ACCENTS: Final = ("petrol", "moss", "plum", "slate")

KEPT: Final = "kept."
"""What the names of another form's fields begin with, while somebody logs in again."""


class Assets(StaticFiles):
    """What pages load. Their addresses carry a hash of the content, so a browser may keep them for good."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, with how long it may be kept."""
        response = await super().get_response(path, scope)
        hashed = b"v=" in scope.get("query_string", b"")
        response.headers["cache-control"] = "public, max-age=31536000, immutable" if hashed else "no-cache"
        return response


@lru_cache(maxsize=64)
def asset(name: str) -> str:
    """The address of a file that pages load."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


@dataclass(frozen=True)
class Section:
    """An entry of the rail, with how many there are of what it leads to."""

    name: str
    address: str
    icon: str
    count: int = 0
    told: str = ""
    tone: str | None = None


@dataclass(frozen=True)
class Said:
    """What was just done, told once above the next page."""

    text: str
    tone: str = "ok"
    undo: str | None = None


@cache
def _environment() -> Environment:
    """What templates are read by, and what all of them find: of no hub, so that a process compiles each only once."""
    made = Environment(
        loader=PackageLoader("highball.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals |= {
        "asset": asset,
        "icon": _icon,
        "version": __version__,
        "KEPT": KEPT,
        "showing": status_looks,
        "words_of": words_of,
    }
    made.filters |= {
        "size": humanize.size,
        "number": humanize.number,
        "counted": humanize.counted,
        "sample": humanize.sample,
        "lasting": humanize.length,
        "path": status_looks.path,
        "sentence": status_looks.sentence,
        "plain": status_looks.plain,
        "urlpart": lambda text: quote(str(text), safe=""),
        "urlbytes": lambda path: quote(path, safe="/"),
    }
    made.tests["hub_tag"] = lambda tag: is_ours(str(tag))
    made.globals["kit"] = made.get_template("kit.html").module
    return made


class Pages:
    """Draws pages with what every one of them shows: who looks, from which zone, and what is up in short."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.listings = Listings(hub)
        self.seen_locks = SeenLocks()
        self._surveyed: Survey | None = None
        self._in_short: tuple[Survey, Overview] | None = None
        self._environment = _environment()

    def answer(
        self,
        request: Request,
        template: str,
        context: Mapping[str, Any] | None = None,
        *,
        status: int = 200,
        overview: Overview | None = None,
        block: str | None = None,
    ) -> HTMLResponse:
        """The page, or the block of it that is named or that the browser asks for; `overview` where it is known."""
        if isinstance(error := (context or {}).get("error"), ConfirmationNeeded):
            raise error  # the password is asked for on a page of its own, and what was sent goes on then
        drawn = self._environment.get_template(f"{template}.html")
        block = block or block_wanted(request)
        there = block if block in drawn.blocks else None
        told = {**self._around(request), **(context or {}), "block": there, "refused": status >= 400}
        if there is not None:
            # What is wrong with a form stands in its block: drawing it worked, whatever its page would answer with.
            return HTMLResponse(_draw_block(drawn, there, told), headers=_VARY)
        if block is not None and status == HTTPStatus.OK:
            return HTMLResponse("", HTTPStatus.NO_CONTENT, _VARY)  # a page never takes the place of its part
        return self._answer_whole(drawn, told, status, overview)

    def _answer_whole(
        self, drawn: Template, told: dict[str, Any], status: int, overview: Overview | None = None
    ) -> HTMLResponse:
        if told["actor"] is not None:
            told |= self._rail(overview or self.in_short())
        response = HTMLResponse(drawn.render(told), status, headers=_VARY)
        if told["said"] is not None:
            response.delete_cookie("said", httponly=True, samesite="lax", path="/")
        return response

    async def note_news(self, request: Request) -> None:
        """Note where the news are before anything is looked up for a page: its stream goes on from there."""
        request.state.news = self._hub.bus.news.mark

    def answer_error(self, request: Request, error: HighballError, status: int | None = None) -> Response:
        """What went wrong, as a page; who is not logged in is sent to log in, and back again."""
        if isinstance(error, LoginNeeded) and _is_for_a_block(request):
            return Response(status_code=error.http_status)  # which replaces nothing
        if isinstance(error, LoginNeeded) and request.method == "GET":
            return go("/setup" if self._hub.access.needs_setup() else f"/login?to={quote(here(request))}")
        status = status or error.http_status
        title = _TITLES.get(status, "Something went wrong")
        told = {"title": title, "error": error, "problems": error.problems, "block": None, "refused": True}
        drawn = self._environment.get_template("error.html")
        try:
            return self._answer_whole(drawn, self._around(request) | told, status)
        except StateUnusable:  # how everything stands cannot be told now: what went wrong can
            return self._answer_whole(drawn, self._around(request) | told | {"actor": None}, status)

    def ask_to_log_in(self, request: Request, sent: FormData) -> Response:
        """The way in again for a form whose session has ended: what was typed into it goes along."""
        if _is_for_a_block(request):
            return Response(status_code=HTTPStatus.UNAUTHORIZED)  # which replaces nothing
        context = {"error": None, "name": "", "to": here(request), "again": True, "kept": as_fields(sent)}
        return self.answer(request, "login", context | {"confirms": False}, status=HTTPStatus.UNAUTHORIZED)

    def ask_to_confirm(self, request: Request, sent: FormData | None) -> Response:
        """The password once more, of who is logged in; the form that was sent, if one was, goes on after it."""
        if _is_for_a_block(request):
            return Response(status_code=HTTPStatus.FORBIDDEN)  # which replaces nothing
        known = find_known(request)
        context: dict[str, Any] = {"error": None, "name": known.user if known else "", "to": here(request)}
        context |= {"again": sent is not None, "kept": as_fields(sent or FormData()), "confirms": True}
        if known is not None and known.user is not None:
            context["elsewhere"] = self._hub.access.get_user(known.user).from_provider
        return self.answer(request, "login", context, status=HTTPStatus.FORBIDDEN)

    def _around(self, request: Request) -> dict[str, Any]:
        """What every page shows, or shows things by."""
        now, zone = utc_now(), self.zone()
        actor = getattr(request.state, "actor", None)
        return {
            "here": here(request),
            "stream": f"/api/v1/stream?since={getattr(request.state, 'news', self._hub.bus.news.mark)}",
            "actor": actor if isinstance(actor, Actor) else None,
            "can_run": isinstance(actor, Actor) and actor.role.includes(Role.OPERATOR),
            "may_order": lambda task: isinstance(actor, Actor) and actor.role.includes(role_for(task)),
            "can_replace": isinstance(actor, Actor) and actor.may_restore_in_place,
            "can_change": isinstance(actor, Actor) and actor.role.includes(Role.ADMIN),
            "theme": _chosen(request, "theme", THEMES),
            "accent": _chosen(request, "accent", ACCENTS),
            "said": _said(request),
            "provider": self._hub.sign_on.label,
            "hub_trouble": self._hub.database.trouble,
            "now": now,
            "names": self.names(),
            "zone": zone,
            "time": lambda at, form="moment": _time(at, now, zone, form),
            "clock": lambda at: f"{at.astimezone(zone):%H:%M:%S}",
            "age": lambda at: humanize.age(at, now),
        }

    def survey(self) -> Survey:
        """How everything stands: looked up again when something changed, and by the clock."""
        now, seen = utc_now(), self._surveyed
        if (
            seen is not None
            and timedelta() <= now - seen.at < SURVEY_IS_FRESH
            and seen.grounds == grounds(self._hub)
        ):
            return seen
        self._surveyed = survey(self._hub, now)
        return self._surveyed

    def to_run(self, run: Run, placing: Placing) -> Response:
        """On to the run that was ordered, and where it had been so before, that in words."""
        said = None
        if placing is Placing.WAITING:
            at = humanize.moment(run.created_at, utc_now(), self.zone())
            told = f"is already in the queue ({run_summary.origin_of(run)}, {at})"
            said = Said(f"{self.names().run(run)} {told}. No second run was queued.", "warn")
        return go(f"/runs/{run.id}", said=said)

    def in_short(self) -> Overview:
        """The overview without its jobs, kept as long as the survey that it tells of."""
        found = self.survey()
        if self._in_short is None or self._in_short[0] is not found:
            self._in_short = found, look_over(self._hub, found, limit=0)
        return self._in_short[1]

    def rail(self, request: Request, section: str) -> HTMLResponse:
        """The menu beside a page of this section, as it says now how things are."""
        return self.answer(request, "rail", dict(self._rail(self.in_short()), section=section), block="rail")

    def _rail(self, overview: Overview) -> dict[str, Any]:
        document, verdict = self._hub.document(), overview.verdict
        hosts, places = {self._hub.host, *document.hosts}, len(document.repositories)
        sections = (
            Section("Overview", "/", "gauge"),
            Section(
                "Jobs",
                "/jobs",
                "calendar-check-2",
                verdict.need,
                _noun(verdict.need, "needs attention", "need attention"),
                "bad",
            ),
            Section("Runs", "/runs", "activity", len(overview.running), "running or waiting", "run"),
            Section("Restore", "/restore", "archive-restore"),
            Section("Hosts", "/hosts", "server", len(hosts), _noun(len(hosts), "host", "hosts")),
            Section(
                "Repositories",
                "/repositories",
                "database",
                places,
                _noun(places, "repository", "repositories"),
            ),
            Section("Maintenance", "/maintenance", "wrench"),
            Section("Activity", "/activity", "scroll-text"),
            Section("Settings", "/settings", "settings"),
        )
        return {"sections": sections, "up": overview}

    def names(self) -> Names:
        """What things are called now."""
        return Names(self._declared())

    def zone(self) -> tzinfo:
        """Whose clocks the pages show: those of the settings."""
        name = self._declared().settings.timezone
        return ZoneInfo(name) if name else UTC

    def _declared(self) -> Document:
        """What is declared, as far as it can be read: what went wrong is told on a page too."""
        try:
            return self._hub.document()
        except StateUnusable:
            return Document()


_TITLES = {
    400: "Invalid request",
    401: "Log in first",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible at this address",
    408: "The request took too long",
    409: "Not possible now",
    412: "Changed in the meantime",
    413: "Too much data",
    414: "The address is too long",
    422: "Invalid request",
    429: "Too many requests",
    431: "The request headers are too large",
    502: "The host does not answer",
    503: "Not available now",
}


def _noun(count: int, one: str, many: str) -> str:
    return one if count == 1 else many


def as_fields(sent: FormData) -> list[tuple[str, str]]:
    """A form's fields as a page can hold them for another try: each by its name, in their order."""
    return [(name, value) for name, value in sent.multi_items() if isinstance(value, str)]


def here(request: Request) -> str:
    """The address of this page, as a link from inside it would say it."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def go(address: str, *, said: Said | None = None) -> Response:
    """On to another page of ours, after something was done; `said` is told there, once."""
    response = RedirectResponse(own(address), 303)
    if said is not None:
        told = quote(json.dumps([said.text, said.tone, said.undo]))
        response.set_cookie("said", told, max_age=60, httponly=True, samesite="lax", path="/")
    return response


def link(path: str, told: Mapping[str, str]) -> str:
    """The address of a page of ours with what it is told; blank is not told."""
    query = urlencode({name: text for name, text in told.items() if text})
    return f"{path}?{query}" if query else path


def own(address: str) -> str:
    """The address, if it is one of ours; else the overview. A link must not lead out through us."""
    return address if address.startswith("/") and not address.startswith(("//", "/\\")) else "/"


def _said(request: Request) -> Said | None:
    """What the page before did, if it left word. It is text that a browser sent: shown, and nothing else."""
    try:
        text, tone, undo = json.loads(unquote(request.cookies.get("said", "")))
        return Said(str(text)[:500], "ok" if tone == "ok" else "warn", own(str(undo)) if undo else None)
    except (ValueError, TypeError):
        return None


def _draw_block(drawn: Template, block: str, told: dict[str, Any]) -> str:
    """One block, with what its template sets and imports above it: the template is drawn up to its first piece."""
    context = drawn.new_context(told)
    next(drawn.root_render_func(context), None)
    return "".join(drawn.blocks[block](context))


def block_wanted(request: Request) -> str | None:
    """The name of the block that the browser will replace, as htmx says it: `div#running`; without a name, none."""
    return request.headers.get("hx-target", "").partition("#")[2] or None


def _is_for_a_block(request: Request) -> bool:
    return "hx-request" in request.headers


def _chosen(request: Request, name: str, among: tuple[str, ...]) -> str:
    value = request.cookies.get(name)
    return value if value in among else among[-1] if name == "theme" else among[0]


def _icon(name: str, *, label: str | None = None, turns: bool = False) -> Markup:
    told = f' role="img" aria-label="{escape(label)}"' if label else ' aria-hidden="true"'
    spins = " spin" if turns else ""
    return Markup(  # noqa: S704 - the label is escaped, the rest is ours
        f'<svg class="icon{spins}"{told}><use href="{asset("icons.svg")}#{escape(name)}"/></svg>'
    )


def _time(at: datetime | None, now: datetime, zone: tzinfo, form: str) -> Markup:
    if at is None:
        return Markup(humanize.NOT_YET)  # noqa: S704 - our own words
    shown = humanize.age(at, now) if form == "age" else humanize.moment(at, now, zone)
    if form in ("day", "Day") and at.astimezone(zone).date() == now.astimezone(zone).date():
        shown = f"{'Today' if form == 'Day' else 'today'} {shown}"
    if form == "clock":
        shown = f"{at.astimezone(zone):%H:%M}"
    if form == "appointment":
        shown = humanize.appointment(at, now, zone)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.isoformat(), humanize.full_moment(at, zone), shown
    )
