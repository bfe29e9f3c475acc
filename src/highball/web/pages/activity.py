"""Activity: who did what, when and from where, with what differs since; filtered, paged, and as CSV."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta, tzinfo
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response

from highball.hub.audit import AuditFilter, Entry
from highball.hub.document.diff import FieldDifference, differences
from highball.hub.hub import Hub
from highball.model.text import time_to_text
from highball.web.authorize import Admin
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms.fields import begin_of
from highball.web.pages.history import NAMES, history_of
from highball.web.ui.templating import link

Filter = Annotated[str, Query(max_length=200)]

AT_ONCE = 50

WORDS = {
    "created": "created",
    "changed": "changed",
    "renamed": "renamed",
    "rekeyed": "changed the ID of",
    "deleted": "deleted",
    "restored": "restored",
    "purged": "permanently deleted",
    "taken over": "moved into the file",
    "ordered": "started",
    "cancelled": "cancelled",
    "paused": "paused",
    "resumed": "resumed",
    "logged_in": "logged in",
    "logged_out": "logged out",
    "login_failed": "could not log in",
    "set_up": "set up this hub",
    "password_set": "set the password of",
    "password_change_failed": "entered a wrong password for",
    "confirmation_failed": "entered a wrong password for",
    "code_wrong": "entered a wrong code for",
    "linked": "logged in through the provider for the first time as",
    "second_factor_set": "set up the second factor of",
    "second_factor_removed": "removed the second factor of",
    "second_factor_reset": "reset the second factor of",
    "recovery_codes_made": "created new recovery codes for",
    "recovery_code_used": "used a recovery code of",
    "session_ended": "ended a session of",
    "sessions_ended": "ended the sessions of",
    "link_made": "created a link for",
    "renewed": "created a new value for",
    "sealed": "stored a secret of",
    "took_kit": "opened the recovery kit of",
    "invited": "invited",
    "enrolled": "enrolled",
    "shut_out": "shut out the agent of",
    "adopted": "adopted snapshots of",
}
"""What the audit calls it, and how a sentence says it. What is not here is said as it is called."""

_OF_ONESELF = frozenset({"logged_in", "logged_out", "login_failed", "set_up"})

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class AuditSentence:
    """An entry as a sentence, with the way to what it is about."""

    entry: Entry
    verb: str
    about: str | None
    address: str | None
    differences: tuple[FieldDifference, ...]


@router.get("/activity")
def show(
    hub: TheHub,
    pages: ThePages,
    request: Request,
    _: Admin,
    who: Filter = "",
    action: Filter = "",
    kind: Filter = "",
    key: Filter = "",
    since: Filter = "",
    until: Filter = "",
    before: Annotated[str, Query(max_length=36)] = "",
) -> Response:
    asked = {"who": who, "action": action, "kind": kind, "key": key, "since": since, "until": until}
    asked = {name: text.strip() for name, text in asked.items()}
    wanted = _wanted(asked, pages.zone())
    found = hub.access.list_audit(wanted, before=before or None, limit=AT_ONCE + 1)
    some = found[:AT_ONCE]
    context = {
        "entries": _tell_all(hub, some),
        "asked": asked,
        "filtered": any(asked.values()),
        "first": not before,
        "newest": link("/activity", asked),
        "older": link("/activity", asked | {"before": some[-1].id}) if len(found) > AT_ONCE else None,
        "csv": link("/api/v1/audit", _for_api(wanted)),
        "actions": [("", "Anything"), *((word, word.replace("_", " ").capitalize()) for word in WORDS)],
        "kinds": [
            ("", "Anything"),
            *((name, word.capitalize()) for name, word in NAMES.items()),
            ("run", "Run"),
            ("schedule", "Schedule"),
        ],
    }
    return pages.answer(request, "activity", context)


def _tell_all(hub: Hub, entries: Sequence[Entry]) -> list[AuditSentence]:
    """What happened, each entry with the way to what it is about, where that is still known."""
    runs = hub.record.list_known([one.key for one in entries if one.kind == "run" and one.key])
    return [_tell(one, _address_of(hub, one, runs)) for one in entries]


def _tell(one: Entry, address: str | None) -> AuditSentence:
    verb = WORDS.get(one.action, one.action.replace("_", " "))
    differ = tuple(differences(_table(one.before), _table(one.after)))
    if one.action in _OF_ONESELF or one.kind is None:
        return AuditSentence(one, verb, None, None, differ)
    if one.kind == "run":
        return AuditSentence(one, verb, "a run", address, differ)
    kind = NAMES.get(one.kind, one.kind)
    if (one.kind, one.key) == ("hub", "identity"):
        return AuditSentence(one, verb, "the hub’s identity", address, differ)
    alone = one.key is None or one.key == one.kind
    about = f"the {kind}" if alone else f"the {kind} {one.key}"
    return AuditSentence(one, verb, about, address, differ)


def _address_of(hub: Hub, one: Entry, runs: Collection[str]) -> str | None:
    if one.key is None or one.kind is None:
        return None
    if one.kind == "run":
        return f"/runs/{quote(one.key, safe='')}" if one.key in runs else None
    if one.kind not in NAMES:
        return None
    now = hub.documents.find_key(one.kind, one.key)
    if now is not None:
        return history_of(one.kind, now)
    return "/hosts" if one.kind == "host" else None


def _table(spec: object) -> dict[str, object] | None:
    """What an entry says of before or after; what is no table stands for itself."""
    return spec if spec is None or isinstance(spec, dict) else {"": spec}


def _wanted(asked: dict[str, str], zone: tzinfo) -> AuditFilter:
    since = begin_of(asked["since"], zone, "since") if asked["since"] else None
    until = begin_of(asked["until"], zone, "until") if asked["until"] else None
    return AuditFilter(
        actor=asked["who"] or None,
        kind=asked["kind"] or None,
        key=asked["key"] or None,
        action=asked["action"] or None,
        since=since,
        until=until + timedelta(days=1) if until and until.year < 9999 else None,
    )


def _for_api(wanted: AuditFilter) -> dict[str, str]:
    """The same filters, as the API takes them."""
    told = {"format": "csv", "actor": wanted.actor, "kind": wanted.kind, "key": wanted.key}
    told |= {"action": wanted.action}
    for name, at in (("from", wanted.since), ("to", wanted.until)):
        told[name] = time_to_text(at) if at else None
    return {name: text for name, text in told.items() if text}
