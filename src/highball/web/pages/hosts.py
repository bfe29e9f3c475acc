"""Hosts: which machines are protected, whether their agents are there, and what they say of themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from highball import __version__
from highball.config.document import effective_job
from highball.engine import kinds
from highball.hub.agents.fleet import Twin
from highball.hub.agents.refusals import HostRefusals
from highball.hub.hub import Hub
from highball.hub.runs.record import utc_now
from highball.hub.status.overview import Overview, ProblemKind
from highball.humanize import counted
from highball.model.standing import Health
from highball.retention import LARGEST_SKEW
from highball.web.authorize import Admin, Sees
from highball.web.dependencies import TheHub, ThePages
from highball.web.forms.fields import Question, ask
from highball.web.ui import status_looks
from highball.web.ui.status_looks import Look
from highball.web.ui.templating import (
    Said,
    go,
)

HOSTS = "/hosts"

ONLINE = Look("ok", "circle-check", "Online")
OFFLINE = Look("bad", "unplug", "Offline")
ASLEEP = Look("idle", "moon", "Asleep")

router = APIRouter(include_in_schema=False)


@router.get(HOSTS)
def list_them(hub: TheHub, pages: ThePages, request: Request, _: Sees) -> Response:
    found = pages.in_short()
    rows = _rows(hub, found)
    context = {"rows": rows, "engines": _engines(), "sentence": _sentence(rows)}
    return pages.answer(request, "hosts", context, overview=found)


@router.get("/hosts/{key}/shut-out")
def ask_about_agent(pages: ThePages, key: str, request: Request, _: Admin) -> Response:
    return ask(pages, request, _about_agent(key))


@router.post("/hosts/{key}/shut-out")
async def shut_out(hub: TheHub, key: str, actor: Admin) -> Response:
    await hub.operations.shut_out(key, actor, utc_now())
    return go(
        HOSTS, said=Said(f"The agent of {key} is shut out. To connect another agent, invite the host again.")
    )


@dataclass(frozen=True)
class HostRow:
    """A host as a row of the list shows it."""

    key: str
    title: str | None
    tags: tuple[str, ...]
    look: Look
    system: str
    program: str | None
    versions: Mapping[str, str]
    """The version of each engine that works there."""
    jobs: int
    stand: Look
    stand_word: str
    seen_at: datetime | None
    skew: timedelta | None
    always_on: bool
    declared: bool
    twin: Twin | None
    """A second agent that dials as this host."""
    has_agent: bool = False
    """Whether an agent elsewhere is known by its key."""
    refused: HostRefusals | None = None
    """What of its agent's messages was not believed."""

    @property
    def is_old(self) -> bool:
        """Whether its agent is of another version than the hub."""
        return self.program is not None and self.program != __version__

    @property
    def is_skewed(self) -> bool:
        """Whether its clock is so far from the hub's that nothing is removed there."""
        return self.skew is not None and abs(self.skew) > LARGEST_SKEW

    @property
    def skew_in_words(self) -> str:
        """How far its clock is from the hub's."""
        if self.skew is None:
            return "–"
        seconds = round(self.skew.total_seconds(), 1)
        return f"{'−' if seconds < 0 else '+'}{abs(seconds):.1f} s"


def _rows(hub: Hub, found: Overview) -> list[HostRow]:
    document, seen = hub.document(), hub.fleet.list_seen()
    pressing: dict[str, ProblemKind] = {}
    for one in found.problems:  # the most pressing of a job comes first
        if one.job is not None and one.kind is not ProblemKind.UNPROVED:
            pressing.setdefault(one.job, one.kind)
    jobs: dict[str, list[ProblemKind | None]] = {}
    for key in document.jobs:
        jobs.setdefault(effective_job(document, key).host or hub.host, []).append(pressing.get(key))
    keys = sorted({hub.host, *document.hosts, *seen, *jobs})
    refused = hub.fleet.refusals.list_them()
    return [
        replace(
            _row(hub, key, seen.get(key), jobs.get(key, [])),
            has_agent=key in seen and key != hub.host,
            refused=refused.get(key),
        )
        for key in keys
    ]


def _row(hub: Hub, key: str, seen_at: datetime | None, jobs: Sequence[ProblemKind | None]) -> HostRow:
    declared, connection = hub.document().hosts.get(key), hub.fleet.find(key)
    facts: Mapping[str, Any] = connection.hello.facts if connection else {}
    always_on = declared is None or declared.always_on
    stand, word = _stand(jobs)
    return HostRow(
        key=key,
        title=declared.title if declared else None,
        tags=tuple(declared.tags) if declared else (),
        look=ONLINE if connection else OFFLINE if always_on else ASLEEP,
        system=_system(facts),
        program=connection.hello.program if connection else None,
        versions={name: str(facts[name]) for name in _engines() if facts.get(name)},
        jobs=len(jobs),
        stand=stand,
        stand_word=word,
        seen_at=utc_now() if connection else seen_at,
        skew=connection.skew if connection else None,
        always_on=always_on,
        declared=declared is not None,
        twin=hub.fleet.list_twins(utc_now()).get(key),
    )


def _engines() -> list[str]:
    return [engine.words.name for engine in kinds.ENGINES]


def _about_agent(key: str) -> Question:
    return Question(
        title=f"Shut out the agent of {key}?",
        text="Its connection is closed, and its key and invitations become invalid. A current run may continue "
        "on that machine; no further run is started there and no secret is sent to it until an agent joins with "
        "a new invitation. The machine still knows what it was given before, such as repository passwords: "
        "change those.",
        action=f"/hosts/{quote(key, safe='')}/shut-out",
        verb="Shut out",
        back=HOSTS,
    )


def _system(facts: Mapping[str, Any]) -> str:
    """`Linux 6.1, x86_64`; nothing where its agent never said."""
    name, release = str(facts.get("os", "")).capitalize(), str(facts.get("release", ""))
    told = " ".join(
        part for part in (name, ".".join(release.split("-", maxsplit=1)[0].split(".")[:2])) if part
    )
    return ", ".join(part for part in (told, str(facts.get("machine", ""))) if part)


def _stand(jobs: Sequence[ProblemKind | None]) -> tuple[Look, str]:
    """How the jobs of a host stand: how many have the most pressing problem of them, or that all are protected."""
    if not jobs:
        return Look("idle", "circle-dashed", "No job"), "no job"
    counts = Counter(jobs)
    for kind in ProblemKind:
        if counts[kind]:
            word = "without backup" if kind is ProblemKind.NEVER else status_looks.PROBLEMS[kind].word
            return status_looks.PROBLEMS[kind], f"{counts[kind]} {word}"
    return status_looks.HEALTHS[Health.HEALTHY], f"{len(jobs)} protected"


def _sentence(rows: Sequence[HostRow]) -> str:
    there = sum(row.look is ONLINE for row in rows)
    asleep = sum(row.look is ASLEEP for row in rows)
    parts = [counted(len(rows), "host"), f"{there} online"]
    if asleep:
        parts.append(f"{asleep} asleep")
    if len(rows) - there - asleep:
        parts.append(f"{len(rows) - there - asleep} offline")
    skewed = [row.key for row in rows if row.is_skewed]
    clocks = (
        f" No snapshots of {', '.join(skewed)} are removed until the clock there is right." if skewed else ""
    )
    return f"{', '.join(parts)}.{clocks}"
