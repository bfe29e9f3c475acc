"""The form of a job: a new one, a clone, an edit; tested before it is saved, with every problem beside its field."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError
from starlette.datastructures import FormData

from highball import humanize
from highball.config.document import Document, effective_job, effective_retention
from highball.config.job import HOOK_VARIABLES
from highball.config.object_keys import key_from
from highball.config.references import Spec
from highball.errors import ConfigurationInvalid, Conflict, HighballError, Misuse, Problem, Stale, Unknown
from highball.hub.audit import Actor
from highball.hub.document.diff import Declared
from highball.hub.hub import Hub
from highball.hub.runs.ingest import SetOf
from highball.hub.runs.record import utc_now
from highball.model.snapshot import FILES_SET
from highball.protocol.queries import (
    Amount,
    Measure,
    Measured,
)
from highball.retention import BUILT_IN, Retention
from highball.schedule import Schedule, next_times
from highball.web.authorize import Admin
from highball.web.dependencies import TheHub, ThePages
from highball.web.error_responses import problems_of_request
from highball.web.forms import job_options
from highball.web.forms.fields import InQuery, Sent, file_of
from highball.web.forms.job_fields import (
    COUNTS,
    DAYS,
    INHERITED,
    RHYTHMS,
    SPARE_HOOKS,
    SUGGESTED,
    CommandRow,
    HookRow,
    JobFields,
    When,
    field_of,
    fresh_spec,
    inherited_by,
    label_of,
    options_sent,
    read_path,
    shown_of,
)
from highball.web.ui.addresses import job_page
from highball.web.ui.templating import (
    Pages,
    Said,
    go,
)

_KEEP_BUILT_IN = "Leave all empty for the defaults shown. Once one is filled, an empty field keeps none."
_KEEP_INHERITED = "An empty field is inherited."
_KEEP_OWN = "An empty field keeps none."

router = APIRouter(include_in_schema=False)


@router.get("/jobs/new")
def show_new(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    _: Admin,
    origin: Annotated[str, Query(alias="from", max_length=63)] = "",
) -> Response:
    document = hub.document()
    spec = (
        hub.operations.get_object("job", origin).spec
        if origin
        else fresh_spec(document.tables, [*document.repositories])
    )
    return _show(hub, pages, request, _NewJob(hub, spec, origin), {"key": ""})


@router.post("/jobs/new")
async def make(hub: TheHub, pages: ThePages, request: Request, actor: Admin, form: Sent) -> Response:
    origin, document = str(form.get("origin") or ""), hub.document()
    spec = (
        hub.operations.get_object("job", origin).spec
        if origin
        else fresh_spec(document.tables, [*document.repositories])
    )
    return await _answer(hub, pages, request, _NewJob(hub, spec, origin), form, actor)


@router.get("/jobs/{key}/edit")
def show(hub: TheHub, pages: ThePages, request: Request, key: str, _: Admin) -> Response:
    return _show(hub, pages, request, _Edit(hub, hub.operations.get_object("job", key)), {})


@router.post("/jobs/{key}/edit")
async def change(
    hub: TheHub, pages: ThePages, request: Request, key: str, actor: Admin, form: Sent
) -> Response:
    declared = await asyncio.to_thread(hub.operations.get_object, "job", key)
    return await _answer(hub, pages, request, _Edit(hub, declared), form, actor)


# --- what is filled in ---------------------------------------------------------------------------


class _NewJob:
    """A job that is not declared yet, perhaps after another one."""

    def __init__(self, hub: Hub, spec: Spec, origin: str) -> None:
        self.hub, self.key, self.revision, self.file, self.origin = hub, "", 0, None, origin
        self.spec = {name: value for name, value in spec.items() if not (origin and name == "title")}

    def save(self, key: str, spec: Spec, form: FormData, actor: Actor) -> Response:
        """Declare it; where its key cannot be, what else is wrong is told as well."""
        try:
            self.hub.operations.create_object("job", key, spec, actor)
        except (ConfigurationInvalid, Conflict) as error:
            if not error.code.startswith("key_"):
                raise
            raise self._with_all_else(error, spec) from None
        return go(job_page(key), said=Said(f"{key} is created."))

    def _with_all_else(self, error: HighballError, spec: Spec) -> HighballError:
        of_key = [Problem("key", error.message, error.hint)]
        other = f"job-{secrets.token_hex(4)}"
        found = self.hub.operations.preview_object("job", other, spec).problems
        else_wrong = [replace(one, at=one.at.removeprefix(f"jobs.{other}").lstrip(".")) for one in found]
        return ConfigurationInvalid(error.message, code=error.code, problems=[*of_key, *else_wrong])


class _Edit:
    """A declared job."""

    def __init__(self, hub: Hub, declared: Declared) -> None:
        self.hub, self.key, self.spec, self.revision = hub, declared.key, declared.spec, declared.revision
        self.origin = ""
        self.file = file_of(hub, declared)

    def save(self, key: str, spec: Spec, form: FormData, actor: Actor) -> Response:
        """Let it say this from now on, if it still is what was shown."""
        expected = (
            int(str(form.get("revision") or "0")) if str(form.get("revision") or "0").isdecimal() else 0
        )
        if spec == self.spec and expected == self.revision:
            return go(job_page(key), said=Said(f"Nothing was changed in {key}."))
        self.hub.operations.change_object("job", key, spec, actor, expected=expected)
        return go(job_page(key), said=Said(f"{key} is saved.", undo=f"/history/job/{key}"))


_Filled = _NewJob | _Edit


async def _answer(
    hub: Hub, pages: Pages, request: Request, filled: _Filled, form: FormData, actor: Actor
) -> Response:
    """Save it, test it, or show it again: with what was typed, and with all that is wrong."""
    shown = shown_of(filled.spec, hub.document().tables, hub.host)
    sent = JobFields.sent(form).leaving_out(str(form.get("add") or ""))
    key = filled.key or str(form.get("key") or "").strip() or key_from(sent.title) or ""
    spec = sent.written(shown, filled.spec)
    told: dict[str, Any] = {"key": key, "fields": sent, "spec": spec, "act": form.get("act")}
    try:
        if form.get("act") == "measure":
            told["measured"] = await _measure(hub, sent, spec)
            return await asyncio.to_thread(_show, hub, pages, request, filled, told)
        if problem := sent.schedule.problem():
            raise ConfigurationInvalid(problem.message, problems=[problem])
        if form.get("act") == "test":
            document = await asyncio.to_thread(hub.documents.rehearse, "job", key, spec)
            told["tested"] = await hub.operations.test_job(effective_job(document, key), filled.key)
        elif form.get("act") == "save":
            return await asyncio.to_thread(filled.save, key, spec, form, actor)
    except Stale as error:
        told |= {"stale": error, "revision": error.revision}
    except HighballError as error:
        told["error"] = error
    return await asyncio.to_thread(_show, hub, pages, request, filled, told)


@dataclass(frozen=True)
class LeftOut:
    """What a pattern leaves out of the sources."""

    pattern: str
    amount: Amount
    inherited: bool


@dataclass(frozen=True)
class Measurement:
    """What the sources hold, and what each pattern leaves out of them; or why nobody knows."""

    host: str
    found: Measured | None = None
    left_out: tuple[LeftOut, ...] = ()
    error: HighballError | None = None

    @property
    def kept(self) -> Amount:
        """What would be backed up."""
        sources = self.found.sources if self.found else ()
        return Amount(
            files=sum(one.kept.files for one in sources),
            size_bytes=sum(one.kept.size_bytes for one in sources),
        )


async def _measure(hub: Hub, sent: JobFields, spec: Spec) -> Measurement:
    """Have the host look what the patterns, its own and those that it inherits, leave out of the sources."""
    document = await asyncio.to_thread(hub.document)
    inherited = [str(one) for one in inherited_by(spec, document.tables).table.get("exclude") or ()]
    patterns = list(dict.fromkeys((*sent.exclude, *inherited)))
    sources = [one for one in spec.get("sources") or () if not (isinstance(one, dict) and "run" in one)]
    host = sent.host or hub.host
    if not sources:
        return Measurement(host, error=Misuse("no source is selected", hint="select a folder first"))
    try:
        wish = Measure.model_validate({"sources": sources, "exclude": patterns})
        found = await hub.operations.measure(host, wish)
    except ValidationError as error:
        first = problems_of_request(error)[0]
        return Measurement(host, error=Misuse(first.message, hint=first.hint))
    except HighballError as error:
        return Measurement(host, error=error)
    left_out = tuple(
        LeftOut(pattern, amount, pattern not in sent.exclude)
        for pattern, amount in zip(patterns, found.left_out, strict=True)
    )
    return Measurement(host, found, left_out)


def _show(hub: Hub, pages: Pages, request: Request, filled: _Filled, told: Mapping[str, Any]) -> Response:
    document = hub.document()
    spec: Spec = told.get("spec", filled.spec)
    fields: JobFields = told.get("fields") or shown_of(spec, document.tables, hub.host)
    inherited = inherited_by(spec, document.tables).table
    error: HighballError | None = told.get("stale") or told.get("error")
    key = told.get("key", filled.key)
    context: dict[str, Any] = {
        "new": filled.key == "",
        "key": key,
        "was": filled.key,
        "origin": filled.origin,
        "revision": told.get("revision", filled.revision),
        "file": filled.file,
        "fields": fields,
        "zone_name": _zone(spec, document.settings.timezone),
        "measured": told.get("measured"),
        "opened": _opened(fields, error, key),
        "times": _times(hub, fields.schedule, spec),
        "keeps": _keeps(hub, filled.key, fields, spec),
        "stale": told.get("stale"),
        "error": told.get("error"),
        "tested": told.get("tested"),
        "wrong": _wrong(error, key),
        "problems": _problems(error, key),
        "label_of": label_of,
    }
    context |= _what(filled, fields, inherited) | _whereabouts(hub.host, document, fields)
    context |= _retention(fields, inherited) | _options(document, inherited)
    return pages.answer(request, "job-form", context, status=error.http_status if error else 200)


def _what(filled: _Filled, fields: JobFields, inherited: Spec) -> dict[str, Any]:
    """What is backed up, what is left out, and what is done before and after."""
    excluded = inherited.get("exclude") or []
    left_out = {*fields.exclude, *excluded}
    return {
        "commands": (*fields.commands, *(CommandRow(),) * (0 if filled.file else 1)),
        "chosen": [(one, read_path(one.path)) for one in fields.sources],
        "suggested": [
            (kind, name, why, set(patterns) <= left_out) for kind, (name, why, patterns) in SUGGESTED.items()
        ],
        "inherited_excludes": excluded,
        "hooks": {
            when: (*getattr(fields, when), *(HookRow(),) * (0 if filled.file else SPARE_HOOKS))
            for when in ("before", "after")
        },
        "hook_variables": HOOK_VARIABLES,
    }


def _whereabouts(host: str, document: Document, fields: JobFields) -> dict[str, Any]:
    """From which host it may come, where to, and what it may inherit from."""
    return {
        "hosts": sorted({host, *document.hosts, fields.host}),
        "repositories": sorted(document.repositories.items()),
        "lies": {name: one.address for name, one in document.repositories.items()},
        "profiles": sorted({*document.profiles, *filter(None, [fields.profile])}),
    }


def _retention(fields: JobFields, inherited: Spec) -> dict[str, Any]:
    """How many snapshots are kept, beside what an empty field comes to."""
    kept = inherited.get("retention") or {}
    unsaid = not kept and not any(fields.retention)
    if unsaid:
        kept = BUILT_IN.model_dump(exclude_none=True)
    return {
        "counts": [
            (name, text, str(kept.get(name, "")) if isinstance(kept, dict) else "")
            for name, text in zip(COUNTS, fields.retention, strict=True)
        ],
        "keep_hint": _KEEP_BUILT_IN if unsaid else _KEEP_INHERITED if kept else _KEEP_OWN,
    }


def _options(document: Document, inherited: Spec) -> dict[str, Any]:
    """Everything else that can be said of a job, and what holds where nothing is said."""
    usual = {path: text for path, text in job_options.usual_of(inherited).items() if text}
    return {
        "rhythms": ({INHERITED: "Inherited"} if "schedule" in inherited else {}) | RHYTHMS,
        "days": DAYS,
        "caches": job_options.CACHES,
        "zone_option": job_options.ZONE,
        "within": job_options.WITHIN,
        "advanced": job_options.GROUPS,
        "usual": {job_options.ZONE.path: document.settings.timezone} | usual,
        "from_elsewhere": inherited,
    }


def _opened(fields: JobFields, error: HighballError | None, key: str) -> dict[str, bool]:
    """Which folded parts are shown open: those that say something, and those with something wrong in them."""
    wrong = set(_wrong(error, key))
    parts = {
        "within": job_options.WITHIN,
        "advanced": [one for _, some in job_options.GROUPS for one in some],
    }
    return {
        name: any(fields.options.get(one.path) or one.name in wrong for one in options)
        for name, options in parts.items()
    }


def _problems(error: HighballError | None, key: str) -> list[tuple[str | None, str]]:
    """Everything that is wrong, each with the field that it is about."""
    if error is None or isinstance(error, Stale):
        return []
    found = error.problems
    if isinstance(error, Conflict) or not found:
        at = "key" if error.code.startswith("key_") else ""
        found = (Problem(at, error.message, error.hint),)
    return [(field_of(one, key), _said(one, key)) for one in found]


def _said(problem: Problem, key: str) -> str:
    """What is wrong, then the way out."""
    place = problem.at.removeprefix(f"jobs.{key}").lstrip(".")
    if place.startswith("exclude["):
        message = f"line {int(place.removeprefix('exclude[').partition(']')[0]) + 1}: {problem.message}"
    else:
        message = problem.message if field_of(problem, key) else f"{place} {problem.message}".strip()
    return f"{message}: {problem.hint}" if problem.hint else message


def _wrong(error: HighballError | None, key: str) -> dict[str, str]:
    wrong: dict[str, str] = {}
    for name, told in _problems(error, key):
        if name is not None:
            wrong[name] = f"{wrong[name]}; {told}" if name in wrong else told
    return wrong


# --- the parts that answer while it is filled in -------------------------------------------------


@router.get("/jobs/new/times")
def show_times(hub: TheHub, pages: ThePages, request: Request, _: Admin, zone: InQuery = "") -> Response:
    when = When.sent(FormData(request.query_params))
    zone = str(request.query_params.get(job_options.ZONE.name) or zone)
    spec: Spec = {"schedule": {"timezone": zone}} if zone else {}
    return pages.answer(request, "job-times", {"times": _times(hub, when, spec)}, block="times")


@router.get("/jobs/new/kept")
def show_kept(hub: TheHub, pages: ThePages, request: Request, _: Admin, was: InQuery = "") -> Response:
    spec = hub.operations.get_object("job", was).spec if was else {}
    shown = shown_of(spec, hub.document().tables, hub.host)
    form = FormData(request.query_params)
    counts = tuple(str(form.get(f"keep-{name}") or "").strip() for name in COUNTS)
    options = {**shown.options, **options_sent(form)}
    asked = JobFields(**{**vars(shown), "retention": counts, "options": options})
    told = {"keeps": _keeps(hub, was, asked, asked.written(shown, spec))}
    return pages.answer(request, "job-kept", told, block="kept")


def _zone(spec: Spec, otherwise: str) -> str:
    schedule = spec.get("schedule")
    return str(schedule.get("timezone") or otherwise) if isinstance(schedule, dict) else otherwise


def _times(hub: Hub, when: When, spec: Spec) -> dict[str, Any]:
    """The schedule in words with its next five times, or what is wrong with it."""
    document = hub.document()
    zone = _zone(spec, document.settings.timezone)
    try:
        if problem := when.problem():
            return {"error": f"{problem.message}: {problem.hint}"}
        if when.rhythm == INHERITED:
            told = inherited_by(spec, document.tables).table.get("schedule", "manual")
            schedule = Schedule.model_validate(told)
        else:
            schedule = Schedule.model_validate({"cron": when.expression(), "jitter": when.jitter or 0})
        times = next_times(schedule, utc_now(), zone, 5)
    except (ValidationError, ValueError):
        return {
            "error": "No preview: fix the fields above. A schedule has five cron fields, a delay is written like 10m"
        }
    late = schedule.jitter if schedule.jitter else timedelta(0)
    return {
        "error": None,
        "rhythm": humanize.rhythm(schedule.expression),
        "times": times,
        "late": late,
        "zone": zone,
    }


@dataclass(frozen=True)
class Foreseen:
    """What a retention would do to the snapshots of a job in a repository, as far as the record knows them."""

    repository: str
    stream: str | None = None
    """The set, where it is that of what a command prints."""
    stay: int = 0
    go: int = 0
    held: str | None = None


@dataclass(frozen=True)
class Keeping:
    """What the form's retention would do everywhere, or what is wrong with it."""

    found: tuple[Foreseen, ...] = ()
    error: str | None = None


def _keeps(hub: Hub, key: str, fields: JobFields, spec: Spec) -> Keeping:
    """By the record, with every guard and hold: what would stay and go if this were the retention."""
    if not key:
        return Keeping()
    typed = ("retention", "profile")  # the rest may be wrong as it stands in the form, and is no matter here
    declared = {
        name: value for name, value in hub.operations.get_object("job", key).spec.items() if name not in typed
    }
    try:
        told = declared | {name: spec[name] for name in typed if name in spec}
        document = hub.documents.rehearse("job", key, told)
        policies = {name: effective_retention(document, key, name) for name in fields.repositories}
    except Unknown:
        return Keeping()
    except ConfigurationInvalid as error:
        about = [one for one in error.problems if ".retention" in one.at] or list(error.problems)
        return Keeping(error="; ".join(_of_rule(one) for one in about) or error.message)
    return Keeping(
        tuple(
            _foresee(hub, SetOf(name, fields.host, key, set), one)
            for name, one in policies.items()
            for set in document.jobs[key].sets
        )
    )


def _foresee(hub: Hub, of: SetOf, policy: Retention) -> Foreseen:
    plan = hub.plans.retainer.foresee(of, policy, utc_now())
    return Foreseen(
        of.repository,
        None if of.set == FILES_SET else of.set,
        len(plan.keep),
        len(plan.remove),
        plan.held.message if plan.held and plan.remove else None,
    )


def _of_rule(problem: Problem) -> str:
    """What is wrong with a rule of retention, by its name."""
    _, found, rule = problem.at.rpartition("retention.")
    name = f"{rule.replace('_', ' ')} " if found else ""
    hint = f": {problem.hint}" if problem.hint else ""
    return f"{name}{problem.message}{hint}"
