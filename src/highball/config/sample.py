"""A commented sample of a configuration, made from the classes: every field with its meaning and a value.

What stands there without `#` is a whole configuration; every other line becomes part of it without its `#`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from highball.config.document import FORMAT, model_for
from highball.config.job import HOOK_VARIABLES, JobSettings
from highball.engine.base import DeclaredRepository
from highball.engine.kinds import USUAL, Programs

_SECTIONS = (
    ("settings", "settings", "Settings of the whole installation."),
    ("defaults", "defaults", "Defaults that every job inherits."),
    (
        "hosts.web-1",
        "host",
        "A host: a machine whose data is protected. A single machine need not be declared.",
    ),
    ("profiles.critical", "profile", "A profile: a named set of defaults that jobs inherit."),
    ("repositories.nas", "repository", "A repository for backups."),
    ("jobs.documents", "job", "A backup job."),
    ("pins.audit", "pin", "A pin: a snapshot that is never removed."),
)

_SET: dict[str, dict[str, Any]] = {
    "repository": dict(USUAL.sample.needed),
    "job": {"schedule": "daily", "repositories": ["nas"], "sources": ["/home/me/documents", "/etc"]},
}
"""What the sample says: all that a first backup needs."""

_OFF: dict[str, dict[str, Any]] = {
    "host": {},
    "profile": {"profile": "usual"},
    "pin": {"repository": "nas", "snapshot": "0123abcd", "reason": "the auditors want it"},
}
"""Sections that are comments as a whole, and values of their own."""

_EXAMPLES: dict[str, Any] = {
    **USUAL.sample.besides,
    **{name: f"/usr/bin/{name}" for name in Programs.model_fields},
    "after": [{"run": "rm /var/backups/app.sql", "on_error": "warn"}],
    "backup_repository": "nas",
    "before": [{"run": "pg_dump app > app.sql", "name": "dump app", "dir": "/var/backups", "timeout": "10m"}],
    "check_schedule": "0 2 * * 0",
    "discard_schedule": ["daily", "after-backup"],
    "prune_schedule": "weekly",
    "verify_schedule": "monthly",
    "exclude": ["*.tmp"],
    "exclude_if_present": [".nobackup"],
    "exclude_larger_than": "1G",
    "host": "web-1",
    "limit_download": "2M",
    "limit_upload": "2M",
    "maintained_by": "web-1",
    "profile": "critical",
    "read_concurrency": 2,
    "repositories": ["nas"],
    "retention": {"last": 7, "hourly": 6, "daily": 7, "weekly": 4, "monthly": 6},
    "oidc": {
        "issuer": "https://id.example.org",
        "client_id": "highball",
        "client_secret": {"file": "/etc/highball/oidc.secret"},
        "roles": {"backup-admins": "admin"},
    },
    "retry": {"max": 3, "backoff": "10m"},
    "state": "/var/lib/highball",
    "tags": ["linux"],
    "times": {"daily": "0 3 * * *"},
    "title": "A name to show",
    "when_back": True,
    "windows": ["22:00-06:00", "sat,sun 00:00-24:00"],
}
"""Values for fields whose default says little."""

_UNSHOWN = {*USUAL.declared.model_fields} - {
    *DeclaredRepository.model_fields,
    *USUAL.sample.needed,
    *USUAL.sample.besides,
}
"""Fields of the engine that its sample leaves out."""


_NOTES = {
    "before": (
        "# before and after get these environment variables:",
        *(f"#   {name}: {what}" for name, what in HOOK_VARIABLES.items()),
    )
}
"""What else is said of a field."""


def sample(timezone: str) -> str:
    """A commented configuration, as TOML, of a machine in that time zone."""
    lines = [
        "# Highball's configuration. Check it with `highball validate`; remove a # to set a value.",
        f"format = {FORMAT}",
        *(line for section, kind, words in _SECTIONS for line in _section(section, kind, words, timezone)),
    ]
    return "\n".join(lines) + "\n"


def _section(section: str, kind: str, words: str, timezone: str) -> Iterator[str]:
    told = {"timezone": timezone} if kind == "settings" else _SET.get(kind, {})
    off = "#" if kind in _OFF else ""
    yield from ("", f"# {words}", f"{off}[{section}]")
    inherited = set(JobSettings.model_fields) if kind in ("job", "profile") else set()
    for name, shown, value in _fields(kind):
        if name in told:
            yield f"# {shown}"
            yield f"{name} = {_toml(told[name])}"
        elif name not in inherited:
            yield f"# {shown}"
            yield from _NOTES.get(name, ())
            yield f"#{name} = {_toml(value)}"
    if inherited:
        yield "# … and any field of [defaults]"


def _fields(kind: str) -> Iterator[tuple[str, str, Any]]:
    """Each field's name, description and value; of those that the engine adds only what its sample shows."""
    model = model_for(kind, _SET.get(kind, {}))
    properties = model.model_json_schema()["properties"]
    for name, told in properties.items():
        if kind == "repository" and name in _UNSHOWN:
            continue
        value = _OFF.get(kind, {}).get(name, _EXAMPLES.get(name, told.get("default")))
        yield name, told["description"], value


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(one)}" for name, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
