"""The addresses of what people declare: each object, its history, and the whole configuration as one text.

A body is the declared thing itself, as a file would write it; its class describes it, and the hub judges it as
part of the whole. Every change names the revision that it changes (`If-Match`), and answers with the new one
(`ETag`).
"""

# No postponed annotations here: the handlers are made per kind, and FastAPI reads what they were made with.

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from highball.config.document import (
    MODEL_OF,
    effective_job,
    effective_retention,
    origins,
    parse,
)
from highball.config.references import (
    ALONE,
    TABLE_OF,
    Spec,
)
from highball.config.roles import Role
from highball.errors import Misuse, RevisionMissing
from highball.hub.audit import Actor
from highball.hub.document.diff import (
    Change,
    Declared,
    Preview,
    Revision,
)
from highball.hub.document.store import Documents
from highball.hub.runs.record import utc_now
from highball.model.standing import Standing
from highball.model.text import UtcTime
from highball.web.authorize import demand
from highball.web.error_responses import REFUSALS

KINDS = ("host", "repository", "job", "profile", "pin")
"""The kinds whose addresses are here; users and tokens have theirs where passwords and values are made."""

YAML = "application/yaml"

Clock = Callable[[], datetime]
Standings = Callable[[Sequence[str]], Sequence[Standing]]
Leaves = Callable[[str, int], str | None]
"""What an undo of a repository to a revision could not bring back."""

Viewer = Annotated[Actor, Depends(demand(Role.VIEWER))]
Admin = Annotated[Actor, Depends(demand(Role.ADMIN))]
IfMatch = Annotated[str | None, Header(description='the revision to change, as its ETag said: "3"')]
IfNoneMatch = Annotated[str | None, Header(description="* makes a new object, and never changes one")]


async def _read_body(request: Request) -> bytes:
    return await request.body()


Text = Annotated[bytes, Depends(_read_body)]


# --- answers ---------------------------------------------------------------------------------------


class ObjectAnswer(BaseModel):
    """A declared object: what was set, and nothing of what is inherited."""

    kind: str
    key: str
    title: str | None
    revision: int
    origin: str
    """hand, file (the hub's own, read at every start), or applied."""
    file: str | None
    """Of what was applied: the file that declares it."""
    former_keys: tuple[str, ...]
    changed_at: UtcTime | None
    deleted_at: UtcTime | None
    spec: Spec
    standings: list[Standing] | None = None
    """How a job stands in each of its repositories."""
    note: str | None = None
    """Of an undo: what it could not bring back."""


class ListAnswer(BaseModel):
    """Some objects of a kind by key; `next` is what to ask for `after` to get those that follow."""

    items: list[ObjectAnswer]
    next: str | None = None


class EffectiveAnswer(BaseModel):
    """A job as it takes effect: everything merged, and for each value the table that it comes from."""

    job: Spec
    origins: dict[str, str]
    retention: dict[str, Spec]
    """By repository: which snapshots are kept there."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Rename(_Strict):
    """Another name for people."""

    title: str | None


class Rekey(_Strict):
    """Another key."""

    key: str


class Undo(_Strict):
    """The revision whose spec to return to."""

    to: int


class Restore(_Strict):
    """What a deleted object is to say once it is back; without, what it said."""

    spec: Spec | None = None


class _Written:
    """A table as people write it, described in the API by the class that it will be read as."""

    def __init__(self, model: type[BaseModel]) -> None:
        model.model_rebuild()
        self._model = model

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler(source)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(self._model.__pydantic_core_schema__)


def _shown(one: Declared, response: Response | None = None) -> ObjectAnswer:
    if response is not None:
        response.headers["ETag"] = f'"{one.revision}"'
    told = {name: getattr(one, name) for name in ObjectAnswer.model_fields if hasattr(one, name)}
    return ObjectAnswer(**told | {"changed_at": one.changed_at if one.revision else None})


def revision_of(if_match: str | None) -> int:
    """The revision that a request means; raises RevisionMissing and Misuse."""
    if if_match is None:
        raise RevisionMissing(
            "a change must say which revision it changes",
            hint="get it first, and send its ETag back as If-Match",
        )
    found = re.fullmatch(r'(?:W/)?"?(\d{1,9})"?', if_match.strip(), re.A)
    if found is None:
        raise Misuse(
            "If-Match is not a revision", code="revision_invalid", hint='write it like If-Match: "3"'
        )
    return int(found[1])


# --- all addresses ---------------------------------------------------------------------------------


def make_router(
    documents: Documents,
    *,
    clock: Clock = utc_now,
    standings: Standings | None = None,
    leaves: Leaves = lambda key, to: None,
) -> APIRouter:
    """The addresses of everything declared; `standings` tells how jobs stand, where that is known."""
    router = APIRouter(responses=REFUSALS)
    for kind in KINDS:
        of_job = standings if kind == "job" else None
        router.include_router(_addresses_of(documents, kind, clock, of_job, leaves))
    for name in ALONE:
        router.include_router(_addresses_of_one(documents, name, clock))
    router.include_router(_whole(documents, clock))

    @router.get("/jobs/{key}/effective", tags=["jobs"])
    def show_effective(key: str, _: Viewer) -> EffectiveAnswer:
        """Show a job with everything it inherits, and where each value comes from."""
        document = documents.document()
        job = effective_job(document, key)
        kept = {name: effective_retention(document, key, name) for name in job.repositories}
        return EffectiveAnswer(
            job=job.model_dump(mode="json"),
            origins=origins(document, key),
            retention={name: one.model_dump(mode="json") for name, one in kept.items()},
        )

    @router.get("/deleted", tags=["configuration"])
    def list_deleted(_: Admin) -> list[ObjectAnswer]:
        """List what was deleted and can be restored, the latest first."""
        return [_shown(one) for one in documents.list_deleted()]

    return router


def _addresses_of(
    documents: Documents, kind: str, clock: Clock, standings: Standings | None, leaves: Leaves
) -> APIRouter:
    table = TABLE_OF[kind]
    router = APIRouter(prefix=f"/{table}", tags=[table], generate_unique_id_function=_named(table))
    _add_looking(router, documents, kind, standings)
    _add_writing(router, documents, kind, clock)
    _add_acts(router, documents, kind, clock, leaves)
    _add_ends(router, documents, kind, clock)
    return router


def _add_looking(router: APIRouter, documents: Documents, kind: str, standings: Standings | None) -> None:
    @router.get("")
    def list_them(
        _: Viewer, after: str = "", limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> ListAnswer:
        """List them by key."""
        found = [one for one in documents.list_objects(kind) if one.key > after]
        some = [_shown(one) for one in found[:limit]]
        return ListAnswer(items=_standing(some, standings), next=some[-1].key if len(found) > limit else None)

    @router.get("/{key}")
    def show(key: str, _: Viewer, response: Response) -> ObjectAnswer:
        """Show one."""
        return _standing([_shown(documents.get(kind, key), response)], standings)[0]

    @router.get("/{key}/history")
    def show_history(key: str, _: Viewer) -> list[Revision]:
        """Show all its revisions, the newest first."""
        return documents.history(kind, key)


def _add_writing(router: APIRouter, documents: Documents, kind: str, clock: Clock) -> None:
    table = TABLE_OF[kind]
    spec_type = Annotated[dict[str, Any], _Written(MODEL_OF[kind]), Body()]

    def told(actor: Actor) -> dict[str, Any]:
        return {"now": clock(), "actor": actor}

    @router.post("", status_code=201)
    def create(actor: Admin, key: str, spec: spec_type, response: Response) -> ObjectAnswer:
        """Declare a new one."""
        made = _shown(documents.create(kind, key, spec, **told(actor)), response)
        response.headers["Location"] = f"{table}/{made.key}"
        return made

    @router.put("/{key}", responses={201: {"model": ObjectAnswer}})
    def change(
        key: str,
        actor: Admin,
        spec: spec_type,
        response: Response,
        if_match: IfMatch = None,
        if_none_match: IfNoneMatch = None,
    ) -> ObjectAnswer:
        """Let it say this from now on; with `If-None-Match: *`, declare a new one."""
        if if_none_match is not None and if_match is None:
            response.status_code = 201
            return create(actor, key, spec, response)
        expected = revision_of(if_match)
        return _shown(documents.change(kind, key, spec, expected=expected, **told(actor)), response)

    @router.patch("/{key}")
    def patch(
        key: str,
        actor: Admin,
        fields: Annotated[dict[str, Any], Body()],
        response: Response,
        if_match: IfMatch = None,
    ) -> ObjectAnswer:
        """Set some fields anew: tables merge, null removes (RFC 7396)."""
        expected = revision_of(if_match)
        return _shown(documents.patch(kind, key, fields, expected=expected, **told(actor)), response)


def _add_acts(router: APIRouter, documents: Documents, kind: str, clock: Clock, leaves: Leaves) -> None:
    def told(actor: Actor) -> dict[str, Any]:
        return {"now": clock(), "actor": actor}

    @router.post("/{key}/rename")
    def rename(
        key: str, actor: Admin, body: Rename, response: Response, if_match: IfMatch = None
    ) -> ObjectAnswer:
        """Give it another name for people."""
        expected = revision_of(if_match)
        return _shown(documents.rename(kind, key, body.title, expected=expected, **told(actor)), response)

    @router.post("/{key}/rekey")
    def rekey(
        key: str, actor: Admin, body: Rekey, response: Response, if_match: IfMatch = None
    ) -> ObjectAnswer:
        """Give it another key, everywhere."""
        expected = revision_of(if_match)
        return _shown(documents.rekey(kind, key, body.key, expected=expected, **told(actor)), response)

    @router.post("/{key}/undo")
    def undo(
        key: str, actor: Admin, body: Undo, response: Response, if_match: IfMatch = None
    ) -> ObjectAnswer:
        """Make a new revision that says what an earlier one said."""
        expected = revision_of(if_match)
        documents.get(kind, key)
        note = leaves(key, body.to) if kind == "repository" else None
        done = _shown(documents.undo(kind, key, body.to, expected=expected, **told(actor)), response)
        return done.model_copy(update={"note": note})

    @router.post("/{key}/copy", status_code=201)
    def copy(key: str, actor: Admin, body: Rekey, response: Response) -> ObjectAnswer:
        """Declare a new one that says the same."""
        return _shown(documents.copy(kind, key, body.key, **told(actor)), response)


def _add_ends(router: APIRouter, documents: Documents, kind: str, clock: Clock) -> None:
    def told(actor: Actor) -> dict[str, Any]:
        return {"now": clock(), "actor": actor}

    @router.delete("/{key}")
    def delete(key: str, actor: Admin, response: Response, if_match: IfMatch = None) -> ObjectAnswer:
        """Put it among the deleted, from where it can be restored."""
        expected = revision_of(if_match)
        return _shown(documents.delete(kind, key, expected=expected, **told(actor)), response)

    @router.post("/{key}/restore")
    def restore(key: str, actor: Admin, response: Response, body: Restore | None = None) -> ObjectAnswer:
        """Bring a deleted one back."""
        spec = body.spec if body else None
        return _shown(documents.restore(kind, key, spec=spec, **told(actor)), response)

    @router.post("/{key}/purge", status_code=204)
    def purge(key: str, actor: Admin) -> None:
        """Remove a deleted one and its history for good."""
        documents.purge(kind, key, **told(actor))


def _named(table: str) -> Callable[[Any], str]:
    """Names of operations that clients are made from: `jobs_list_them`."""
    return lambda route: f"{table}_{route.name}"


def _standing(shown: list[ObjectAnswer], standings: Standings | None) -> list[ObjectAnswer]:
    if standings is None:
        return shown
    by_job: dict[str, list[Standing]] = {one.key: [] for one in shown}
    for standing in standings(list(by_job)):
        by_job[standing.job].append(standing)
    return [one.model_copy(update={"standings": by_job[one.key]}) for one in shown]


def _addresses_of_one(documents: Documents, name: str, clock: Clock) -> APIRouter:
    router = APIRouter(prefix=f"/{name}", tags=["configuration"], generate_unique_id_function=_named(name))
    spec_type = Annotated[dict[str, Any], _Written(MODEL_OF[name]), Body()]

    @router.get("")
    def show(_: Viewer, response: Response) -> ObjectAnswer:
        """Show them."""
        return _shown(documents.get(name, name), response)

    @router.put("")
    def change(actor: Admin, spec: spec_type, response: Response, if_match: IfMatch = None) -> ObjectAnswer:
        """Let them say this from now on."""
        told: Mapping[str, Any] = {"expected": revision_of(if_match), "now": clock(), "actor": actor}
        return _shown(documents.change(name, name, spec, **told), response)

    @router.get("/history")
    def show_history(_: Viewer) -> list[Revision]:
        """Show all their revisions, the newest first."""
        return documents.history(name, name)

    return router


# --- the whole -------------------------------------------------------------------------------------

_TEXT = {"requestBody": {"required": True, "content": {YAML: {"schema": {"type": "string"}}}}}


def _whole(documents: Documents, clock: Clock) -> APIRouter:
    router = APIRouter(tags=["configuration"])

    @router.get("/configuration", response_class=Response, responses={200: {"content": {YAML: {}}}})
    def show_configuration(_: Admin) -> Response:
        """The whole configuration as YAML, to read, to keep, to change and send back."""
        token = documents.token()
        headers = {"ETag": f'"{token}"', "Content-Disposition": 'attachment; filename="highball.yaml"'}
        return Response(documents.as_yaml(), media_type=YAML, headers=headers)

    @router.post("/configuration/preview", openapi_extra=_TEXT)
    def preview(_: Admin, text: Text, response: Response) -> Preview:
        """What sending this back would change, and all that speaks against it."""
        found = documents.preview(text)
        response.headers["ETag"] = f'"{found.token}"'
        return found

    @router.put("/configuration", openapi_extra=_TEXT)
    def write_back(actor: Admin, text: Text, response: Response, if_match: IfMatch = None) -> list[Change]:
        """Let this be the whole configuration; what it does not name is deleted."""
        expected = revision_of(if_match)
        made = documents.write_back(text, expected=expected, now=clock(), actor=actor)
        response.headers["ETag"] = f'"{documents.token()}"'
        return made

    @router.post("/apply", openapi_extra=_TEXT)
    def apply(
        actor: Admin,
        text: Text,
        file: Annotated[str, Query(min_length=1, max_length=500, description="the name it has here")],
        content_type: Annotated[str, Header()] = YAML,
        dry_run: bool = False,
    ) -> list[Change]:
        """Make what this file declares equal it; TOML where the content type says so, else YAML."""
        document = parse(text, "toml" if "toml" in content_type else "yaml")
        if dry_run:
            return documents.plan_to_apply(document, file=file)
        return documents.apply(document, now=clock(), actor=actor, file=file)

    return router
