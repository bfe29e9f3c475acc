"""The form of a repository: where it lies, by what it is opened, and who looks after it; tested before it is saved.

A form is text. What it declares is put together here: fields that it does not show stay as they were, and values
that are to be sealed go beside the spec, never in it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request, Response
from pydantic import BaseModel, Field

from highball.config.keys import key_from
from highball.config.references import Spec
from highball.config.repository import is_reached_otherwise
from highball.errors import ConfigurationInvalid, Conflict, HighballError, Problem, Stale
from highball.hub.audit import Actor
from highball.hub.document.store import FROM_FILE
from highball.hub.hub import Hub
from highball.hub.operations.trials import OPENS, RepositoryTestAnswer
from highball.hub.runs.record import utc_now
from highball.hub.status.repositories import read_address, spell_address
from highball.secret import SecretValue
from highball.web.api.connection_tests import UNSAVED
from highball.web.authorize import Admin
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms.variables import read_variables, spell_variable
from highball.web.ui import status_looks
from highball.web.ui.render import (
    Pages,
    Said,
    go,
    link,
    own,
)

FIELDS = {
    "local": ("path",),
    "sftp": ("server", "port", "user", "path", "identity_file", "known_hosts"),
    "s3": ("endpoint", "bucket", "prefix", "region", "access_key_id"),
    "rest": ("endpoint", "path", "rest_username"),
    "url": ("url",),
}
"""What says where a repository of each kind lies, and who asks there."""

SECRETS = {"s3": "secret_access_key", "rest": "rest_password"}
"""The secret by which one proves oneself there."""

ADMIN_FIELDS = {"sftp": ("identity_file",), "s3": ("access_key_id",), "rest": ("rest_username",)}
"""What the access that may delete says otherwise."""

OWN = {"url", "kind", *(name for names in FIELDS.values() for name in names), *SECRETS.values()}
"""What this form declares, besides the few that every repository has."""

TEXTS = ("title", "certificate", "maintained_by", "answer_within")
"""What is said in a line of its own, whatever the kind."""

SHOWN = {*OWN, *TEXTS, "when_back", "append_only", "password", "environment", "admin"}
"""Everything that this form says of a repository."""

KEPT = "(sealed)"
"""How a variable is shown whose value is sealed."""

KINDS = (
    ("local", "Folder", "On a disk or share of the host"),
    ("sftp", "SFTP", "A machine that one logs in to over SSH"),
    ("s3", "S3", "A bucket at Amazon, MinIO, Wasabi and others"),
    ("rest", "REST server", "restic's own server, also append-only"),
    ("url", "Other", "Any other location of restic"),
)

How = Literal["generate", "enter", "keep", "file", "env", "command", "none"]


class RepositoryForm(BaseModel):
    """What stands in the form; blank is not said."""

    act: Literal["save", "test", "read"] = "save"
    anyway: str = ""
    revision: int = 0
    to: str = Field("", max_length=200)
    init: str = ""
    order_key: str = ""
    pasted: str = ""
    key: str = Field("", max_length=200)
    title: str = ""
    kind: Literal["local", "sftp", "s3", "rest", "url"] = "local"
    path: str = ""
    server: str = ""
    port: str = ""
    user: str = ""
    identity_file: str = ""
    known_hosts: str = ""
    endpoint: str = ""
    bucket: str = ""
    prefix: str = ""
    region: str = ""
    access_key_id: str = ""
    rest_username: str = ""
    url: str = ""
    certificate: str = ""
    environment: str = ""
    password_how: How = "generate"  # noqa: S105 - a choice, no password
    password: str = ""
    password_at: str = ""
    proof_how: How = "enter"
    proof: str = ""
    proof_at: str = ""
    append_only: str = ""
    admin: str = ""
    admin_url: str = ""
    admin_identity_file: str = ""
    admin_access_key_id: str = ""
    admin_rest_username: str = ""
    admin_proof_how: How = "enter"
    admin_proof: str = ""
    admin_proof_at: str = ""
    admin_password_how: How = "none"  # noqa: S105 - a choice, no password
    admin_password: str = ""
    admin_password_at: str = ""
    maintained_by: str = ""
    answer_within: str = ""
    when_back: Literal["", "yes", "no"] = ""

    # --- from what is declared ---

    @classmethod
    def of(cls, key: str, spec: Spec, revision: int) -> Self:
        """The form as it is filled with what holds now; a url whose kind has fields is shown by these."""
        told: dict[str, Any] = {"key": key, "revision": revision}
        location = {name: spec[name] for name in ("kind", *OWN) if name in spec}
        if "url" in spec:
            location |= read_address(str(spec["url"]))
            if "kind" in location:
                location.pop("url", None)
        kind = str(location.get("kind", "url"))
        told |= {"kind": kind}
        told |= {
            name: str(location[name]) for name in FIELDS[kind] if isinstance(location.get(name), str | int)
        }
        told |= {name: str(spec[name]) for name in TEXTS if spec.get(name)}
        if spec.get("when_back") is not None:
            told["when_back"] = "yes" if spec["when_back"] else "no"
        told |= {"append_only": "yes" if spec.get("append_only") else ""}
        told |= _how("password", spec.get("password"))
        told |= _how("proof", spec.get(SECRETS.get(kind, "")))
        told["environment"] = "\n".join(_variable(*one) for one in (spec.get("environment") or {}).items())
        admin = spec.get("admin")
        if admin is not None:
            told |= {"admin": "yes", "admin_url": str(admin.get("url", ""))}
            for name in ADMIN_FIELDS.get(kind, ()):
                told[f"admin_{name}"] = admin[name] if isinstance(admin.get(name), str) else ""
            told |= _how("admin_proof", admin.get(SECRETS.get(kind, "")))
            told |= _how("admin_password", admin.get("password"), missing="none")
        return cls.model_validate(told)

    def with_address(self) -> Self:
        """The form with its fields as the pasted location says them; as it is where none is pasted."""
        if not self.pasted.strip():
            return self
        fields = read_address(self.pasted)
        blank = dict.fromkeys(("url", *(name for names in FIELDS.values() for name in names)), "")
        told = {name: str(value) for name, value in fields.items()}
        return self.model_copy(update={**blank, "kind": "url", **told, "pasted": ""})

    # --- to what it declares ---

    @property
    def location(self) -> dict[str, Any]:
        """The fields that say where it lies."""
        told: dict[str, Any] = {} if self.kind == "url" else {"kind": self.kind}
        for name in FIELDS[self.kind]:
            text = getattr(self, name).strip()
            if text:
                told[name] = int(text) if name == "port" and text.isdigit() else text
        return told

    @property
    def address(self) -> str:
        """The location that these come to."""
        return spell_address(self.location)

    def applied_to(self, before: Spec) -> tuple[Spec, dict[str, str]]:
        """The spec that says so, and the values to seal for it; what the form does not show stays as it was."""
        sealed: dict[str, str] = {}
        spec = {name: value for name, value in before.items() if name not in SHOWN}
        for name in TEXTS:
            if text := getattr(self, name).strip():
                spec[name] = text
        spec |= self._location_after(before)
        if self.when_back:
            spec["when_back"] = self.when_back == "yes"
        if self.append_only:
            spec["append_only"] = True
        spec["password"] = self._reference("password", "password", sealed)
        proof = SECRETS.get(self.kind)
        if proof and ("access_key_id" in spec or "rest_username" in spec):
            spec[proof] = self._reference("proof", proof, sealed)
        variables = dict(self._variables(before.get("environment") or {}, sealed))
        if variables:
            spec["environment"] = variables
        if self.admin:
            spec["admin"] = self._admin(before.get("admin") or {}, sealed)
        return spec, sealed

    def _location_after(self, before: Spec) -> Spec:
        """The fields that say where it lies; a url that says the same stays, and so do references."""
        told = self.location
        was = read_address(str(before["url"])) if "url" in before else None
        if was and {name: told.get(name) for name in was} == was:
            told = {"url": before["url"], **{name: told[name] for name in told if name not in was}}
        held = {
            name: before[name]
            for name in FIELDS[self.kind]
            if isinstance(before.get(name), dict) and not getattr(self, name).strip()
        }
        return told | held

    def _admin(self, before: Spec, sealed: dict[str, str]) -> Spec:
        shown = {
            "url",
            "password",
            *SECRETS.values(),
            *(name for names in ADMIN_FIELDS.values() for name in names),
        }
        spec = {name: value for name, value in before.items() if name not in shown}
        if self.admin_url.strip():
            spec["url"] = self.admin_url.strip()
        for name in ADMIN_FIELDS.get(self.kind, ()):
            if text := getattr(self, f"admin_{name}").strip():
                spec[name] = text
            elif isinstance(before.get(name), dict):
                spec[name] = before[name]
        proof = SECRETS.get(self.kind)
        if proof and ("access_key_id" in spec or "rest_username" in spec):
            spec[proof] = self._reference("admin_proof", f"admin.{proof}", sealed)
        if self.admin_password_how != "none":  # noqa: S105 - a choice, no password
            spec["password"] = self._reference("admin_password", "admin.password", sealed)
        return spec

    def _reference(self, name: str, slot: str, sealed: dict[str, str]) -> Spec:
        """A reference to a secret; what is typed in goes beside, to be sealed."""
        how, value, at = (getattr(self, f"{name}{part}") for part in ("_how", "", "_at"))
        if how in ("file", "env", "command"):
            return {how: at.strip()}
        if how == "generate":
            sealed[slot] = ""
        elif how == "enter":
            sealed[slot] = value
        return {"sealed": True}

    def _variables(self, before: Spec, sealed: dict[str, str]) -> Mapping[str, Any]:
        """The variables, one a line; one that is a secret is sealed."""
        found: dict[str, Any] = {}
        for name, value in read_variables(self.environment):
            if value == KEPT:
                found[name] = before.get(name, {"sealed": True})
            elif isinstance(value, str) and name.upper().endswith(
                ("_KEY", "_TOKEN", "_PASSWORD", "_SECRET", "_SAS")
            ):
                found[name] = {"sealed": True}
                sealed[f"environment.{name}"] = value
            else:
                found[name] = value
        return found


def _how(name: str, reference: Any, missing: str = "enter") -> dict[str, str]:
    """How a secret is kept now."""
    if not isinstance(reference, dict):
        return {f"{name}_how": missing}
    for how in ("file", "env", "command"):
        if how in reference:
            at = reference[how]
            return {f"{name}_how": how, f"{name}_at": at if isinstance(at, str) else " ".join(at)}
    return {f"{name}_how": "keep"}


def _variable(name: str, value: Any) -> str:
    is_sealed = isinstance(value, dict) and "sealed" in value
    return spell_variable(name, KEPT if is_sealed else value)


# --- the pages -----------------------------------------------------------------------------------

Sent = Annotated[RepositoryForm, Form()]

router = APIRouter(include_in_schema=False)


@router.get("/repositories/new")
def show_new(
    hub: TheHub, pages: ThePages, request: Request, _: Admin, to: Annotated[str, Query(max_length=200)] = ""
) -> Response:
    return _drawn(hub, pages, request, None, RepositoryForm(to=to, order_key=secrets.token_urlsafe(12)))


@router.post("/repositories/new")
async def make(hub: TheHub, pages: ThePages, request: Request, actor: Admin, sent: Sent) -> Response:
    return await _take(hub, pages, request, actor, None, sent)


@router.get("/repositories/{key}/edit")
def show_edit(hub: TheHub, pages: ThePages, request: Request, key: str, _: Admin) -> Response:
    declared = hub.operations.get_object("repository", key)
    return _drawn(hub, pages, request, key, RepositoryForm.of(key, declared.spec, declared.revision))


@router.post("/repositories/{key}/edit")
async def change(
    hub: TheHub, pages: ThePages, request: Request, key: str, actor: Admin, sent: Sent
) -> Response:
    return await _take(hub, pages, request, actor, key, sent)


@router.post("/repositories/address")
def spell(hub: TheHub, pages: ThePages, request: Request, _: Admin, sent: Sent) -> Response:
    return _drawn(hub, pages, request, None, sent)


async def _take(
    hub: Hub, pages: Pages, request: Request, actor: Actor, key: str | None, sent: RepositoryForm
) -> Response:
    if sent.act == "read":
        return await asyncio.to_thread(_drawn, hub, pages, request, key, sent.with_address())
    found: RepositoryTestAnswer | None = None
    reaches = False
    try:
        if sent.act == "test":
            found = await _test(hub, key, sent, actor)
        elif reaches := await asyncio.to_thread(_reaches_otherwise, hub, key, sent):
            found = await _test_to_save(hub, key, sent, actor)
    except HighballError as error:
        return await asyncio.to_thread(_drawn, hub, pages, request, key, sent, error=error)
    if sent.act == "test" or (found is not None and _is_held_back(found, sent)):
        status = 200 if sent.act == "test" else 409
        return await asyncio.to_thread(_drawn, hub, pages, request, key, sent, found=found, status=status)
    untested = _why_untested(found) if reaches else None
    return await asyncio.to_thread(_save, hub, pages, request, actor, key, sent, reaches, untested)


def _why_untested(found: RepositoryTestAnswer | None) -> str | None:
    """Why no test of what is saved succeeded; None where one has."""
    if found is None:
        return "its agent was away when it was saved, so it was never tested"
    bad = [one for one in (found, found.admin) if one and one.state not in (*OPENS, "uninitialised")]
    return bad[0].message if bad else None


def _reaches_otherwise(hub: Hub, key: str | None, sent: RepositoryForm) -> bool:
    """Whether it would be reached or opened otherwise than now; what is refused anyway is not tried."""
    before = _before(hub, key)
    spec, sealed = sent.applied_to(before)
    if hub.operations.preview_object("repository", _key_of(key, sent), spec, entered=sealed).problems:
        return False
    return key is None or bool(sealed) or is_reached_otherwise(before, spec)


def _key_of(key: str | None, sent: RepositoryForm) -> str:
    return key or sent.key.strip() or key_from(sent.title or "repository")


async def _test_to_save(
    hub: Hub, key: str | None, sent: RepositoryForm, actor: Actor
) -> RepositoryTestAnswer | None:
    """How it is found before it is saved so; None where its agent is away, and nothing can be lost by that.

    Raises ConfigurationInvalid where a password is to be made up for a repository that is there, and Conflict where
    nobody can say whether a password opens what another opens now.
    """
    known = None if key is None else await asyncio.to_thread(hub.record.find_identity, key)
    if known and sent.password_how == "generate":  # noqa: S105 - a choice, no password
        raise _cannot_make_up(key or UNSAVED)
    try:
        return await _test(hub, key, sent, actor)
    except ConfigurationInvalid:
        return None  # saving says the same, and what else is wrong
    except HighballError as error:
        spec, sealed = sent.applied_to(await asyncio.to_thread(_before, hub, key))
        replaces = key is not None and spec["password"] == {"sealed": True} and "password" in sealed
        if sent.anyway or (error.code == "host_offline" and not (replaces and known)):
            return None
        raise


def _is_held_back(found: RepositoryTestAnswer, sent: RepositoryForm) -> bool:
    """Whether what was found stands against saving: a wrong password always, the rest until one insists."""
    states = _states(found)
    if "wrong_password" in states:
        return True
    fine = (*OPENS, "uninitialised") if sent.init else OPENS
    return not sent.anyway and not all(state in fine for state in states)


def _states(found: RepositoryTestAnswer) -> list[str]:
    return [one.state for one in (found, found.admin) if one is not None]


def _cannot_make_up(key: str) -> ConfigurationInvalid:
    told = "cannot be made up for a repository that is there", "rotate it on the page of its keys"
    problem = Problem(f"repositories.{key}.password", *told)
    return ConfigurationInvalid(str(problem), problems=[problem])


async def _test(hub: Hub, key: str | None, sent: RepositoryForm, actor: Actor) -> RepositoryTestAnswer:
    """How the repository is found that the form declares; one whose password is yet to be made has some other."""
    spec, sealed = sent.applied_to(_before(hub, key))
    _demand_values(sealed, sent, key or UNSAVED)
    values = {slot: value or secrets.token_urlsafe(24) for slot, value in sealed.items()}
    return await hub.operations.test_unsaved(key or UNSAVED, spec, values, actor)


def _before(hub: Hub, key: str | None) -> Spec:
    return {} if key is None else hub.operations.get_object("repository", key).spec


def _save(
    hub: Hub,
    pages: Pages,
    request: Request,
    actor: Actor,
    key: str | None,
    sent: RepositoryForm,
    reaches: bool,
    untested: str | None,
) -> Response:
    spec, sealed = sent.applied_to(_before(hub, key))
    made = _key_of(key, sent)
    try:
        _demand_values(sealed, sent, made)
        if key is None:
            hub.operations.create_object("repository", made, spec, actor)
        else:
            hub.operations.change_object(
                "repository", key, spec, actor, expected=sent.revision, entered=sealed
            )
    except (ConfigurationInvalid, Conflict) as error:
        again = sent.model_copy(update={"revision": error.revision}) if isinstance(error, Stale) else sent
        return _drawn(hub, pages, request, key, again, error=error)
    for slot, value in sealed.items():
        place = hub.vault.find_place(made, "admin" if slot == "admin.password" else slot)
        fresh = SecretValue((value or secrets.token_urlsafe(24)).encode())
        hub.vault.seal(place, fresh, actor, utc_now(), keep_former=untested is not None)
    if reaches:
        hub.record.note_test(made, untested, utc_now())
        hub.bus.news.publish("object", made)
    if sent.init:
        hub.operations.order("init", made, actor=actor, key=f"{sent.order_key}:init")
    address = f"/repositories/{quote(made, safe='')}"
    if "password" in sealed:
        return go(link(f"{address}/kit", {"made": "yes", "to": sent.to or ""}))
    return go(sent.to or address, said=Said(f"{made} is saved."))


def _demand_values(sealed: Mapping[str, str], sent: RepositoryForm, key: str) -> None:
    """Raise ConfigurationInvalid where a value is to be sealed and none was typed in."""
    made = sent.password_how == "generate"  # noqa: S105 - a choice, no password
    blank = [slot for slot, value in sealed.items() if not value and not (made and slot == "password")]
    if blank:
        problems = [Problem(f"repositories.{key}.{slot}", "is missing", "type it in") for slot in blank]
        raise ConfigurationInvalid(str(problems[0]), problems=problems)


def _drawn(
    hub: Hub,
    pages: Pages,
    request: Request,
    key: str | None,
    sent: RepositoryForm,
    *,
    error: HighballError | None = None,
    found: RepositoryTestAnswer | None = None,
    status: int = 200,
) -> Response:
    declared = hub.operations.get_object("repository", key) if key else None
    file = hub.documents.file() if declared and declared.origin == FROM_FILE else None
    context = {
        "key": key,
        "sent": sent,
        "error": error,
        "differences": error.differences if isinstance(error, Stale) else (),
        "problems": _problems(error),
        "found": found,
        "known": key is not None and hub.record.find_identity(key) is not None,
        "wrong_password": found is not None and "wrong_password" in _states(found),
        "file": file,
        "kinds": KINDS,
        "proof": SECRETS.get(sent.kind),
        "hosts": sorted({hub.host, *hub.document().hosts}),
        "own_host": hub.host,
        "back": own(sent.to)
        if sent.to
        else f"/repositories/{quote(key, safe='')}"
        if key
        else "/repositories",
    }
    return pages.answer(request, "repository-form", context, status=error.http_status if error else status)


def _problems(error: HighballError | None) -> dict[str, str]:
    """What is wrong with each field of the form, by its name; under the blank name what belongs to none."""
    found: dict[str, str] = {}
    if isinstance(error, Conflict) and not isinstance(error, Stale):
        return {
            "key": status_looks.sentence(f"{error.message}; {error.hint}" if error.hint else error.message)
        }
    for one in error.problems if error else ():
        place = (
            one.at.split(".", 2)[2]
            if one.at.startswith("repositories.") and one.at.count(".") > 1
            else one.at
        )
        words = status_looks.sentence(f"{one.message}; {one.hint}" if one.hint else one.message)
        found.setdefault(_field_of(place.removeprefix("secrets.")), words)
    if error and not found and not isinstance(error, Stale):
        found[""] = status_looks.sentence(f"{error.message}; {error.hint}" if error.hint else error.message)
    return found


def _field_of(place: str) -> str:
    """The form's field for a place in the spec: `admin.password.file` is `admin_password`."""
    parts = place.split(".")
    admin = "admin_" if parts[0] == "admin" and len(parts) > 1 else ""
    name = parts[1] if admin else parts[0]
    if name in SECRETS.values():
        name = "proof"
    field = f"{admin}{name}"
    return field if field in RepositoryForm.model_fields else ""
