"""The keys of a repository: who can open it, and how its password is rotated so that the right one is never lost."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from highball.errors import HighballError, Misuse
from highball.hub.audit import AuditFilter, Entry
from highball.hub.hub import Hub
from highball.hub.runs.record import utc_now
from highball.hub.runs.recorded import RunFilter
from highball.hub.secrets.key_rotation import MOST_RUNS
from highball.hub.status.repository_status import list_secrets
from highball.model.run import (
    Action,
    Run,
    RunKind,
    RunState,
)
from highball.model.snapshot import KeyTold
from highball.secret import SecretReference, SecretValue
from highball.web.authorize import AddsKey, Admin, RemovesKey, RotatesKey, Sees
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms.fields import Question, Text, ask, new_order_key
from highball.web.pages.start import KIT_KEPT
from highball.web.ui import status_looks
from highball.web.ui.addresses import repository_page
from highball.web.ui.templating import (
    Pages,
    Said,
    go,
)

KeyId = Annotated[str, Query(pattern="^[0-9a-f]{64}$")]

LOOKS = {
    "everyday": status_looks.Look("ok", "circle-check", "In use"),
    "admin": status_looks.Look("ok", "circle-check", "In use (admin)"),
    "former": status_looks.Look("run", "hourglass", "Replaced"),
    "added": status_looks.Look("idle", "key-round", "Added here"),
    "unknown": status_looks.Look("warn", "triangle-alert", "Unknown"),
}
USED_BY = {
    "everyday": "every backup, restore and check",
    "admin": "clean-ups only",
    "former": "not used any more; its old password still opens the repository",
    "added": "anyone who has its password",
    "unknown": "unknown, not created here",
}

router = APIRouter(include_in_schema=False, prefix="/repositories/{key}/keys")


@router.get("")
def show(hub: TheHub, pages: ThePages, request: Request, key: str, _: Sees) -> Response:
    return pages.answer(request, "repository-keys", _context(hub, key))


@router.get("/listed")
async def show_list(hub: TheHub, pages: ThePages, request: Request, key: str, _: Sees) -> Response:
    context: dict[str, Any] = {"error": None, "keys": [], "looks": LOOKS, "used_by": USED_BY}
    try:
        context["keys"] = await hub.operations.list_keys(key)
    except HighballError as error:
        context["error"] = error
    return await run_in_threadpool(
        lambda: pages.answer(request, "repository-key-list", _context(hub, key) | context)
    )


def _form(
    hub: Hub,
    pages: Pages,
    request: Request,
    key: str,
    act: str,
    sent: dict[str, str],
    error: HighballError | None = None,
) -> Response:
    context = _context(hub, key) | {"act": act, "sent": sent, "error": error}
    status = 200 if error is None else error.http_status
    return pages.answer(request, "repository-key-form", context, status=status)


@router.get("/rotate")
def ask_to_rotate(
    hub: TheHub, pages: ThePages, request: Request, key: str, _: RotatesKey, of: str = ""
) -> Response:
    return _form(hub, pages, request, key, "rotate", {"of_admin": "yes" if of == "admin" else ""})


@router.get("/add")
def ask_to_add(hub: TheHub, pages: ThePages, request: Request, key: str, _: AddsKey) -> Response:
    return _form(hub, pages, request, key, "add", {})


@router.post("/rotate")
def rotate(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    key: str,
    actor: RotatesKey,
    how: Text = "generate",
    password: Text = "",
    file: Text = "",
    of_admin: Text = "",
    order_key: Text = "",
) -> Response:
    try:
        given = _given(how, password, file)
        once = f"{order_key}:rotate" if order_key else None
        run = hub.operations.rotate_key(key, actor, **given, of_admin=bool(of_admin), order_key=once)
    except HighballError as error:
        return _form(
            hub, pages, request, key, "rotate", {"how": how, "file": file, "of_admin": of_admin}, error
        )
    return go(f"/runs/{run.id}")


@router.post("/add")
def add(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    key: str,
    actor: AddsKey,
    name: Text = "",
    how: Text = "enter",
    password: Text = "",
    file: Text = "",
    order_key: Text = "",
) -> Response:
    try:
        once = f"{order_key}:add" if order_key else None
        given = _given(how, password, file)
        run = hub.operations.add_key(key, actor, name=_name(name), **given, order_key=once)
    except HighballError as error:
        return _form(hub, pages, request, key, "add", {"how": how, "file": file, "name": name}, error)
    return go(f"/runs/{run.id}")


@router.post("/undo")
def undo(hub: TheHub, key: str, actor: Admin) -> Response:
    hub.vault.bring_back(hub.vault.find_place(key, "password"), actor, utc_now())
    hub.bus.news.publish("object", key)
    text = f"{key} uses its previous password again. The new key stays until it is removed."
    return go(_address(key), said=Said(text))


@router.get("/remove")
async def ask_to_remove(
    hub: TheHub, pages: ThePages, request: Request, key: str, _: RemovesKey, id: KeyId
) -> Response:
    try:
        found = next((one for one in await hub.operations.list_keys(key) if one.id == id), None)
    except HighballError as error:
        return go(_address(key), said=Said(status_looks.sentence(error.message), "warn"))
    if found is None or not found.removable:
        why = "has already been removed" if found is None else "is used by Highball and cannot be removed"
        return go(_address(key), said=Said(f"The key {id[:8]} {why}.", "warn"))
    return await run_in_threadpool(ask, pages, request, _about_removal(key, found))


@router.post("/remove")
def remove(
    hub: TheHub,
    key: str,
    actor: RemovesKey,
    id: Annotated[str, Form(pattern="^[0-9a-f]{64}$")],
    order_key: Text = "",
) -> Response:
    try:
        run = hub.operations.remove_key(
            key, id, actor, order_key=f"{order_key}:remove" if order_key else None
        )
    except HighballError as error:
        hint = f" {status_looks.sentence(error.hint)}" if error.hint else ""
        return go(_address(key), said=Said(f"{status_looks.sentence(error.message)}{hint}", "warn"))
    return go(f"/runs/{run.id}")


# --- small steps ---------------------------------------------------------------------------------


def _address(key: str) -> str:
    return f"{repository_page(key)}/keys"


def _given(how: str, password: str, file: str) -> dict[str, Any]:
    """The new password as it was given; nothing where one is to be made up. Raises Misuse."""
    if how == "enter":
        if not password:
            raise Misuse("the new password is missing", code="password_missing", hint="type it in")
        return {"value": SecretValue(password.encode("utf-8", "replace"))}
    if how == "file":
        if not file.strip().startswith("/"):
            raise Misuse(
                "the file needs a full path", code="path_relative", hint="for example /etc/highball/nas-2.key"
            )
        return {"reference": SecretReference.model_validate({"file": file.strip()})}
    return {}


def _name(name: str) -> str:
    if not name.strip():
        raise Misuse("the key needs a name", code="name_missing", hint="for example: recovery, on paper")
    return name.strip()


def _context(hub: Hub, key: str) -> dict[str, Any]:
    hub.operations.demand_keys(key)
    repository = hub.operations.get_repository(key)
    declared = hub.operations.get_object("repository", key)
    held = list_secrets(hub, key)
    password = next((one for one in held if one.name == "password"), None)
    last = _last_rotation(hub, key)
    kit = kit_taken(hub, key)
    return {
        "key": key,
        "place": repository_page(key),
        "address": _address(key),
        "title": repository.title or key,
        "engine": repository.engine,
        "host": repository.maintainer(hub.host),
        "append_only": repository.append_only,
        "can_remove": not repository.append_only or repository.has_admin,
        "has_admin": repository.has_admin,
        "admin_password": any(one.name == "admin.password" for one in held),
        "password": password,
        "file": hub.documents.file() if declared.origin == "file" else None,
        "former": hub.operations.has_former_password(key),
        "last": last,
        "taken": kit,
        "kit_outdated": is_outdated(hub, key, kit),
        "order_key": new_order_key(),
    }


def _last_rotation(hub: Hub, key: str) -> tuple[Run, str | None, str | None] | None:
    """The newest rotation that ended or goes on: its run, the key it added and the one whose place that took."""
    chosen = RunFilter(repository=key, kind=RunKind.MAINTENANCE)
    for run in hub.operations.list_runs(chosen, limit=MOST_RUNS):
        if run.action is not Action.KEY:
            continue
        step = next((one for one in run.steps if one.key and one.former_key), None)
        if step is not None:
            return run, step.key, step.former_key
        if run.state is not RunState.DONE:
            return run, None, None
    return None


def _about_removal(key: str, one: KeyTold) -> Question:
    return Question(
        title=f"Remove the key {one.id[:8]} of {key}?",
        text=f"Its password ({one.user}@{one.host}) will no longer open the repository. Snapshots are not touched "
        "and nothing is re-encrypted: whoever copied the repository and knew that password can still read the copy.",
        action=f"{_address(key)}/remove",
        verb="Remove key",
        back=_address(key),
        hidden=(("id", one.id), ("order_key", new_order_key())),
    )


def kit_taken(hub: Hub, key: str) -> Entry | None:
    """When the recovery kit was last taken or kept, and by whom."""
    found = [
        entry
        for action in (KIT_KEPT, "took_kit")
        for entry in hub.access.list_audit(AuditFilter(kind="repository", key=key, action=action), limit=1)
    ]
    return max(found, key=lambda entry: entry.at, default=None)


def is_outdated(hub: Hub, key: str, kit: Entry | None) -> bool:
    """Whether the password was replaced after the recovery kit was taken."""
    sealed = next((one for one in list_secrets(hub, key) if one.name == "password"), None)
    return (
        kit is not None and sealed is not None and sealed.sealed_at is not None and sealed.sealed_at > kit.at
    )
