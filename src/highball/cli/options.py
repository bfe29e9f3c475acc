"""What verbs are called with: the same on one machine and over a hub.

Each argument and option that more than one verb or place knows has its name, its help and its reading here, and
nothing here knows where the work is done.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from highball.errors import Misuse
from highball.protocol.tasks import Overwrite
from highball.schedule import duration_from_value

Jobs = Annotated[
    list[str] | None, typer.Argument(metavar="[JOB]...", help="Which jobs; none named means all.")
]
Repositories = Annotated[
    list[str] | None,
    typer.Argument(metavar="[REPOSITORY]...", help="Which repositories; none named means all."),
]
Cancellable = Annotated[
    str, typer.Argument(metavar="RUN|JOB", help="The run (or the start of its id), or the job that it is of.")
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run, or the start of its id.")]
Acceptable = Annotated[
    str,
    typer.Argument(
        metavar="RUN|REPOSITORY",
        help="The run that showed it (or the start of its id), or all of a repository.",
    ),
]
Why = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why that is right.")]
OnlyRunsOf = Annotated[str | None, typer.Argument(metavar="[JOB]", help="Only runs of this job.")]
OnlySnapshotsOf = Annotated[str | None, typer.Argument(metavar="[JOB]", help="Only snapshots of this job.")]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Whose data.")]
SnapshotArgument = Annotated[
    str, typer.Argument(metavar="SNAPSHOT", help="A snapshot's id, or the start of it.")
]
FolderArgument = Annotated[
    str | None, typer.Argument(metavar="[PATH]", help="Only what lies in this folder.")
]
ContentArgument = Annotated[
    str, typer.Argument(metavar="PATH", help="A file, or a folder (as a tar archive).")
]
Earlier = Annotated[str | None, typer.Argument(metavar="A", help="The earlier snapshot.")]
Later = Annotated[str | None, typer.Argument(metavar="B", help="The later snapshot.")]

RepositoryArgument = Annotated[str, typer.Argument(metavar="REPOSITORY", help="Which repository.")]
GroupArgument = Annotated[
    str | None, typer.Argument(metavar="[GROUP]", help="Which group of snapshots; none named shows them all.")
]

Limit = Annotated[int, typer.Option("--limit", "-n", help="How many, newest first.", min=1)]
InRepository = Annotated[
    str | None, typer.Option("--repository", "-r", metavar="KEY", help="Look only in this repository.")
]
Wait = Annotated[
    str | None,
    typer.Option(
        "--wait",
        metavar="DURATION",
        help="How long to wait for a busy repository (default 1h; 0s: not at all).",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
Rehearses = Annotated[bool, typer.Option("--dry-run", help="Read everything, save nothing, record nothing.")]
OnlyShows = Annotated[
    bool, typer.Option("--dry-run", help="Only show what would go, and why each snapshot stays.")
]
Approves = Annotated[
    str | None,
    typer.Option("--approve", metavar="PLAN", help="Carry out this plan, which waited for a person."),
]
OneSnapshot = Annotated[
    str | None,
    typer.Option(
        "--snapshot",
        metavar="SNAPSHOT",
        help="Remove this one alone, whatever retention says: its id, or eight characters of it or more.",
    ),
]
OfJob = Annotated[
    str | None, typer.Option("--job", metavar="JOB", help="Whose retention governs them from then on.")
]
PlansAdoption = Annotated[
    bool, typer.Option("--dry-run", help="Only show what the job's retention would do then.")
]
Releases = Annotated[
    bool, typer.Option("--release", help="Let nobody govern the group any more: the way back.")
]
RemovesAll = Annotated[
    bool, typer.Option("--remove-all", help="Remove every lock, also of what may still be running.")
]
ReadsAll = Annotated[
    bool, typer.Option("--read-data", help="Restore and compare the whole snapshot, not only a sample.")
]
WhichSnapshot = Annotated[
    str | None,
    typer.Option(
        "--snapshot",
        "-s",
        metavar="ID|latest|DATE",
        help="Which snapshot; a date means the newest until then.",
    ),
]
OnlyPaths = Annotated[
    list[str] | None,
    typer.Option(
        "--path",
        "-p",
        metavar="P",
        help="Only this file or folder, as a literal absolute path; may be repeated.",
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        "--target", "-t", metavar="DIR", help="Where to; by default a new directory below this one."
    ),
]
InPlace = Annotated[bool, typer.Option("--in-place", help="Back to where it came from.")]
PlanOnly = Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")]
OverwriteRule = Annotated[
    Overwrite | None, typer.Option("--overwrite", help="What to do with files that are there already.")
]
ComparedFile = Annotated[
    Path | None,
    typer.Option("-f", "--file", metavar="FILE", help="In place of snapshots: what this file would change."),
]
AppliedFile = Annotated[
    Path, typer.Option("-f", "--file", metavar="FILE", help="The configuration: TOML or YAML.")
]
KnownAs = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="NAME",
        help="The name by which the hub knows the file; without, this machine's and its path.",
    ),
]
PlansChanges = Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")]


TellsByExit = Annotated[
    bool,
    typer.Option(
        "--exit-code",
        help="Exit with 1 where a job is not protected, with 3 where one is late, lacks something, or goes to a "
        "repository that was saved without a good test.",
    ),
]


Schedules = Annotated[
    str, typer.Option("--schedule", help="Where to enter schedules; `none` is all there is yet.")
]
Anew = Annotated[
    str | None,
    typer.Option(
        "--anew", metavar="NAME", help="Give this repository up, which is lost for good, and begin a new one."
    ),
]
ShowsSetup = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]


def check_schedules(where: str) -> None:
    """Raise Misuse for a place of schedules that is not known."""
    if where != "none":
        raise Misuse(
            "--schedule: only none is possible yet", hint="run `highball run` from cron or a systemd timer"
        )


def read_wait(text: str | None) -> timedelta | None:
    """A duration from the command line; raises Misuse."""
    if text is None:
        return None
    try:
        return duration_from_value(text)
    except ValueError as error:
        raise Misuse(f"--wait: {text} is not a duration like 30s, 10m or 1h30m", hint=None) from error


def whole_path(what: str, text: str) -> bytes:
    """A literal absolute path from the command line, byte for byte; raises Misuse."""
    path = os.fsencode(text)
    if not path.startswith(b"/"):
        raise Misuse(
            f"{what}: {text} is not an absolute path", hint="write it as the snapshot lists it: highball ls"
        )
    return path.rstrip(b"/") or b"/"
