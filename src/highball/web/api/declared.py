"""The addresses of what people declare: each object, its history, and the whole configuration as one text.

A body is the declared thing itself, as a file would write it; its class describes it, and the hub judges it as
part of the whole. Every change names the revision that it changes (`If-Match`), and answers with the new one
(`ETag`).
"""

# No postponed annotations here: those of the handlers are read, and those of their bodies replaced, for each kind.

import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import signature
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
from highball.errors import Misuse, RevisionMissing
from highball.hub.document.diff import (
    Change,
    Declared,
    Preview,
    Revision,
)
from highball.hub.operations.port import HubOperations
from highball.model.standing import Standing
from highball.model.text import UtcTime
from highball.web.authorize import Admin, Sees
from highball.web.dependencies import TheOperations
from highball.web.error_responses import REFUSALS

KINDS = ("host", "repository", "job", "profile", "pin")
"""The kinds whose addresses are here; users and tokens have theirs where passwords and values are made."""

YAML = "application/yaml"

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


class _OfItsKind:
    """Stands where a handler takes what an object of its kind says."""


SpecOfKind = Annotated[dict[str, Any], _OfItsKind(), Body()]


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


# --- objects of any kind ---------------------------------------------------------------------------


def list_them(
    kind: str,
    operations: TheOperations,
    _: Sees,
    after: str = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> ListAnswer:
    """List them by key."""
    found = [one for one in operations.list_objects(kind) if one.key > after]
    some = [_shown(one) for one in found[:limit]]
    return ListAnswer(
        items=_standing(operations, kind, some), next=some[-1].key if len(found) > limit else None
    )


def show(kind: str, operations: TheOperations, key: str, _: Sees, response: Response) -> ObjectAnswer:
    """Show one."""
    return _standing(operations, kind, [_shown(operations.get_object(kind, key), response)])[0]


def show_history(kind: str, operations: TheOperations, key: str, _: Sees) -> list[Revision]:
    """Show all its revisions, the newest first."""
    return operations.list_revisions(kind, key)


def create(
    kind: str, operations: TheOperations, actor: Admin, key: str, spec: SpecOfKind, response: Response
) -> ObjectAnswer:
    """Declare a new one."""
    made = _shown(operations.create_object(kind, key, spec, actor), response)
    response.headers["Location"] = f"{TABLE_OF[kind]}/{made.key}"
    return made


def change(
    kind: str,
    operations: TheOperations,
    key: str,
    actor: Admin,
    spec: SpecOfKind,
    response: Response,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> ObjectAnswer:
    """Let it say this from now on; with `If-None-Match: *`, declare a new one."""
    if if_none_match is not None and if_match is None:
        response.status_code = 201
        return create(kind, operations, actor, key, spec, response)
    expected = revision_of(if_match)
    changed = operations.change_object(kind, key, spec, actor, expected=expected)
    return _shown(changed, response)


def patch(
    kind: str,
    operations: TheOperations,
    key: str,
    actor: Admin,
    fields: Annotated[dict[str, Any], Body()],
    response: Response,
    if_match: IfMatch = None,
) -> ObjectAnswer:
    """Set some fields anew: tables merge, null removes (RFC 7396)."""
    expected = revision_of(if_match)
    changed = operations.patch_object(kind, key, fields, actor, expected=expected)
    return _shown(changed, response)


def rename(
    kind: str,
    operations: TheOperations,
    key: str,
    actor: Admin,
    body: Rename,
    response: Response,
    if_match: IfMatch = None,
) -> ObjectAnswer:
    """Give it another name for people."""
    expected = revision_of(if_match)
    changed = operations.rename_object(kind, key, body.title, actor, expected=expected)
    return _shown(changed, response)


def rekey(
    kind: str,
    operations: TheOperations,
    key: str,
    actor: Admin,
    body: Rekey,
    response: Response,
    if_match: IfMatch = None,
) -> ObjectAnswer:
    """Give it another key, everywhere."""
    expected = revision_of(if_match)
    changed = operations.rekey_object(kind, key, body.key, actor, expected=expected)
    return _shown(changed, response)


def undo(
    kind: str,
    operations: TheOperations,
    key: str,
    actor: Admin,
    body: Undo,
    response: Response,
    if_match: IfMatch = None,
) -> ObjectAnswer:
    """Make a new revision that says what an earlier one said."""
    expected = revision_of(if_match)
    changed, left = operations.undo_object(kind, key, body.to, actor, expected=expected)
    return _shown(changed, response).model_copy(update={"note": left})


def copy(
    kind: str, operations: TheOperations, key: str, actor: Admin, body: Rekey, response: Response
) -> ObjectAnswer:
    """Declare a new one that says the same."""
    return _shown(operations.copy_object(kind, key, body.key, actor), response)


def delete(
    kind: str,
    operations: TheOperations,
    key: str,
    actor: Admin,
    response: Response,
    if_match: IfMatch = None,
) -> ObjectAnswer:
    """Put it among the deleted, from where it can be restored."""
    expected = revision_of(if_match)
    return _shown(operations.delete_object(kind, key, actor, expected=expected), response)


def restore(
    kind: str,
    operations: TheOperations,
    key: str,
    actor: Admin,
    response: Response,
    body: Restore | None = None,
) -> ObjectAnswer:
    """Bring a deleted one back."""
    spec = body.spec if body else None
    return _shown(operations.restore_object(kind, key, actor, spec), response)


def purge(kind: str, operations: TheOperations, key: str, actor: Admin) -> None:
    """Remove a deleted one and its history for good."""
    operations.purge_object(kind, key, actor)


def _standing(operations: HubOperations, kind: str, shown: list[ObjectAnswer]) -> list[ObjectAnswer]:
    if kind != "job":
        return shown
    by_job: dict[str, list[Standing]] = {one.key: [] for one in shown}
    for standing in operations.list_standings(list(by_job)):
        by_job[standing.job].append(standing)
    return [one.model_copy(update={"standings": by_job[one.key]}) for one in shown]


# --- what there is one of --------------------------------------------------------------------------


def show_it(kind: str, operations: TheOperations, _: Sees, response: Response) -> ObjectAnswer:
    """Show them."""
    return _shown(operations.get_object(kind, kind), response)


def change_it(
    kind: str,
    operations: TheOperations,
    actor: Admin,
    spec: SpecOfKind,
    response: Response,
    if_match: IfMatch = None,
) -> ObjectAnswer:
    """Let them say this from now on."""
    expected = revision_of(if_match)
    return _shown(operations.change_object(kind, kind, spec, actor, expected=expected), response)


def show_its_history(kind: str, operations: TheOperations, _: Sees) -> list[Revision]:
    """Show all their revisions, the newest first."""
    return operations.list_revisions(kind, kind)


# --- the whole -------------------------------------------------------------------------------------

_TEXT = {"requestBody": {"required": True, "content": {YAML: {"schema": {"type": "string"}}}}}

whole = APIRouter(tags=["configuration"])


@whole.get("/configuration", response_class=Response, responses={200: {"content": {YAML: {}}}})
def show_configuration(operations: TheOperations, _: Admin) -> Response:
    """The whole configuration as YAML, to read, to keep, to change and send back."""
    token = operations.whole_token()
    headers = {"ETag": f'"{token}"', "Content-Disposition": 'attachment; filename="highball.yaml"'}
    return Response(operations.read_whole(), media_type=YAML, headers=headers)


@whole.post("/configuration/preview", openapi_extra=_TEXT)
def preview(operations: TheOperations, _: Admin, text: Text, response: Response) -> Preview:
    """What sending this back would change, and all that speaks against it."""
    found = operations.preview_whole(text)
    response.headers["ETag"] = f'"{found.token}"'
    return found


@whole.put("/configuration", openapi_extra=_TEXT)
def write_back(
    operations: TheOperations, actor: Admin, text: Text, response: Response, if_match: IfMatch = None
) -> list[Change]:
    """Let this be the whole configuration; what it does not name is deleted."""
    expected = revision_of(if_match)
    made = operations.write_whole(text, actor, expected=expected)
    response.headers["ETag"] = f'"{operations.whole_token()}"'
    return made


@whole.post("/apply", openapi_extra=_TEXT)
def apply(
    operations: TheOperations,
    actor: Admin,
    text: Text,
    file: Annotated[str, Query(min_length=1, max_length=500, description="the name it has here")],
    content_type: Annotated[str, Header()] = YAML,
    dry_run: bool = False,
) -> list[Change]:
    """Make what this file declares equal it; TOML where the content type says so, else YAML."""
    document = parse(text, "toml" if "toml" in content_type else "yaml")
    if dry_run:
        return operations.preview_file(document, file)
    return operations.apply_file(document, file, actor)


# --- all addresses ---------------------------------------------------------------------------------

Handler = Callable[..., Any]
Address = tuple[str, str, Handler, Mapping[str, Any]]

OF_EACH: tuple[Address, ...] = (
    ("GET", "", list_them, {}),
    ("GET", "/{key}", show, {}),
    ("GET", "/{key}/history", show_history, {}),
    ("POST", "", create, {"status_code": 201}),
    ("PUT", "/{key}", change, {"responses": {201: {"model": ObjectAnswer}}}),
    ("PATCH", "/{key}", patch, {}),
    ("POST", "/{key}/rename", rename, {}),
    ("POST", "/{key}/rekey", rekey, {}),
    ("POST", "/{key}/undo", undo, {}),
    ("POST", "/{key}/copy", copy, {"status_code": 201}),
    ("DELETE", "/{key}", delete, {}),
    ("POST", "/{key}/restore", restore, {}),
    ("POST", "/{key}/purge", purge, {"status_code": 204}),
)
"""The addresses of every kind, below its table."""

OF_ONE: tuple[Address, ...] = (
    ("GET", "", show_it, {"name": "show"}),
    ("PUT", "", change_it, {"name": "change"}),
    ("GET", "/history", show_its_history, {"name": "show_history"}),
)
"""Those of a kind of which there is one."""


def _addresses_of(kind: str, table: str, tag: str, addresses: Sequence[Address]) -> APIRouter:
    """The addresses of a kind; clients are made from the names of their operations, as `jobs_list_them`."""

    def named(route: Any) -> str:
        return f"{table}_{route.name}"

    router = APIRouter(prefix=f"/{table}", tags=[tag], generate_unique_id_function=named)
    for method, path, handler, more in addresses:
        told = {"name": handler.__name__, **more}
        router.add_api_route(path, _of_kind(handler, kind), methods=[method], **told)
    return router


def _of_kind(handler: Handler, kind: str) -> Handler:
    """A handler that was told its kind, and takes what objects of it say."""

    @wraps(handler)
    def of_kind(**asked: Any) -> Any:
        return handler(kind, **asked)

    spec = Annotated[dict[str, Any], _Written(MODEL_OF[kind]), Body()]
    taken = signature(handler)
    parameters = [
        one.replace(annotation=spec) if one.annotation == SpecOfKind else one
        for name, one in taken.parameters.items()
        if name != "kind"
    ]
    of_kind.__signature__ = taken.replace(parameters=parameters)  # type: ignore[attr-defined]
    return of_kind


router = APIRouter(prefix="/api/v1", responses=REFUSALS)
for kind in KINDS:
    router.include_router(_addresses_of(kind, TABLE_OF[kind], TABLE_OF[kind], OF_EACH))
for alone in ALONE:
    router.include_router(_addresses_of(alone, alone, "configuration", OF_ONE))
router.include_router(whole)


@router.get("/jobs/{key}/effective", tags=["jobs"])
def show_effective(operations: TheOperations, key: str, _: Sees) -> EffectiveAnswer:
    """Show a job with everything it inherits, and where each value comes from."""
    document = operations.document()
    job = effective_job(document, key)
    kept = {name: effective_retention(document, key, name) for name in job.repositories}
    return EffectiveAnswer(
        job=job.model_dump(mode="json"),
        origins=origins(document, key),
        retention={name: one.model_dump(mode="json") for name, one in kept.items()},
    )


@router.get("/deleted", tags=["configuration"])
def list_deleted(operations: TheOperations, _: Admin) -> list[ObjectAnswer]:
    """List what was deleted and can be restored, the latest first."""
    return [_shown(one) for one in operations.list_deleted()]
