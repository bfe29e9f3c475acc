"""The hub's recovery kit: a page to print, with the key that opens its vault and the way back to its database.

It is made of secrets: whoever makes one decides where it goes, and it is never recorded. Those of repositories are
their engines' affair; who may make one here is decided below.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from highball.config.job import Job
from highball.engine.base import DeclaredRepository, Kept
from highball.engine.printed import as_text, block, preamble, word
from highball.engine.tags import job_tag
from highball.errors import NotAllowed
from highball.hub.retention.adoption import HUB as HUB_JOB


def list_kept(jobs: Mapping[str, Job], repository: str) -> list[Kept]:
    """What these jobs keep in a repository: all their paths as one, each stream by itself."""
    return [
        Kept(key, next(source.path_within for source in job.sources if source.set == set), set)
        for key, job in jobs.items()
        if repository in job.repositories
        for set in job.sets
    ]


def demand_makeable(key: str, repository: DeclaredRepository, *, from_file: bool) -> None:
    """Raise NotAllowed where a hub may not make this page: it would read what whoever asks could point it at.

    What a configuration file of this machine declares may name files and variables here; what was declared over
    the hub only what is sealed in it. Commands run on agents, never in the hub.
    """
    references = [reference for _, reference in repository.secrets()]
    sealed = all(reference.sealed for reference in references)
    if any(reference.command for reference in references) or not (
        from_file or (sealed and not repository.files)
    ):
        raise NotAllowed(
            f"the page for {key} can only be made on the machine that its secrets lie on",
            code="kit_not_here",
            hint=f"there: highball recovery-kit {key} --out FILE",
        )


def hub_kit(
    *,
    key: bytes | None,
    key_file: Path,
    configuration: Path | None,
    state: Path,
    database: str,
    newest_backup: Path | None,
    repositories: Mapping[str, str],
    now: datetime,
) -> str:
    """The page for the hub; `repositories` are keys with their addresses. Without a file its state names it."""
    here = ["highball", "-c", str(configuration)]
    if configuration is None:
        here = ["env", f"HIGHBALL_STATE={state}", "highball"]
    restore = [*here, "hub", "restore-backup", *([str(newest_backup)] if newest_backup else [])]
    where = f"Configuration: `{configuration}`" if configuration else f"State: `{state}` (there is no file)"
    parts = [
        "# Recovery kit: the hub",
        preamble(now, "Whoever has this page and a backup of the hub can open every secret in it."),
        f"- {where}\n- Database: {database}\n"
        f"- Its newest backup when this was made: {f'`{newest_backup}`' if newest_backup else 'none yet'}",
        "## 1. Install Highball" + (", and put the configuration where it was" if configuration else ""),
        *_key_parts(key, key_file),
        "## 3. Bring the database back",
        "From the newest file you still have: it lies beside the database, and where the settings name a"
        f" repository, as its newest snapshot with the tag `{job_tag(HUB_JOB)}`.",
        block([" ".join(map(word, restore))]),
        "Without any backup, begin from the repositories; nothing is deleted until you confirm what was found:",
        block([" ".join(map(word, [*here, "hub", "rebuild"]))]),
        "## The repositories",
        "Each has a recovery kit of its own, by which data comes back without the hub:\n\n"
        + ("\n".join(f"- {name}: `{shown}`" for name, shown in repositories.items()) or "- none yet"),
    ]
    return "\n\n".join(parts) + "\n"


def _key_parts(key: bytes | None, key_file: Path) -> list[str]:
    if key is None:
        return [
            "## 2. The key",
            "The vault has no key yet: nothing is sealed in it. Make this page anew later.",
        ]
    path = word(str(key_file))
    text = as_text(key, newlines=True)
    if text is not None:
        write = f"printf '%s' {shlex.quote(text)} > {path}"
    else:
        write = f"printf '%s' {base64.b64encode(key).decode()} | base64 -d > {path}"
    folder = word(str(key_file.parent))
    return [
        "## 2. Put the key back",
        block(["umask 077", f"mkdir -p {folder}", write]),
    ]
