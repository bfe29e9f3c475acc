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

Jobs = Annotated[list[str] | None, typer.Argument(metavar="[JOB]...", help="Jobs by ID; without any, all.")]
Repositories = Annotated[
    list[str] | None,
    typer.Argument(metavar="[REPOSITORY]...", help="Repositories by ID; without any, all."),
]
Cancellable = Annotated[
    str,
    typer.Argument(
        metavar="RUN|JOB", help="A run by its ID or the first characters of it, or a job: its current run."
    ),
]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="The run's ID, or the first characters of it.")
]
Acceptable = Annotated[
    str,
    typer.Argument(
        metavar="RUN|REPOSITORY",
        help="The run that reported it, by its ID or the first characters of it, or a repository: all its holds.",
    ),
]
Why = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="The reason, for the audit log.")]
OnlyRunsOf = Annotated[str | None, typer.Argument(metavar="[JOB]", help="Only runs of this job.")]
OnlySnapshotsOf = Annotated[str | None, typer.Argument(metavar="[JOB]", help="Only snapshots of this job.")]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="The job whose data to restore.")]
SnapshotArgument = Annotated[
    str, typer.Argument(metavar="SNAPSHOT", help="The snapshot's ID, or the first characters of it.")
]
FolderArgument = Annotated[
    str | None, typer.Argument(metavar="[PATH]", help="Only the contents of this folder.")
]
ContentArgument = Annotated[
    str, typer.Argument(metavar="PATH", help="A file, or a folder (as a tar archive).")
]
Earlier = Annotated[str | None, typer.Argument(metavar="A", help="The earlier snapshot.")]
Later = Annotated[str | None, typer.Argument(metavar="B", help="The later snapshot.")]

RepositoryArgument = Annotated[str, typer.Argument(metavar="REPOSITORY", help="The repository's ID.")]
GroupArgument = Annotated[
    str | None,
    typer.Argument(metavar="[GROUP]", help="The group of snapshots; without one, all groups are listed."),
]

Limit = Annotated[int, typer.Option("--limit", "-n", help="How many to show, newest first.", min=1)]
InRepository = Annotated[
    str | None, typer.Option("--repository", "-r", metavar="ID", help="Only this repository.")
]
Wait = Annotated[
    str | None,
    typer.Option(
        "--wait",
        metavar="DURATION",
        help="How long to wait for a busy repository (default 1h; 0s: do not wait).",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Rehearses = Annotated[bool, typer.Option("--dry-run", help="Read everything, but save and record nothing.")]
OnlyShows = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Only show which snapshots would be removed, and which rules keep the others."
    ),
]
Approves = Annotated[
    str | None,
    typer.Option(
        "--approve", metavar="PLAN", help="Approve this plan, which waits for confirmation, and carry it out."
    ),
]
OneSnapshot = Annotated[
    str | None,
    typer.Option(
        "--snapshot",
        metavar="SNAPSHOT",
        help=(
            "Remove only this snapshot, regardless of retention: its ID, or at least the first eight "
            "characters of it."
        ),
    ),
]
OfJob = Annotated[
    str | None,
    typer.Option("--job", metavar="JOB", help="The job whose retention applies to the group from now on."),
]
PlansAdoption = Annotated[
    bool, typer.Option("--dry-run", help="Only show what the job's retention would do.")
]
Releases = Annotated[
    bool,
    typer.Option("--release", help="Undo the adoption: no job's retention applies to the group any more."),
]
RemovesAll = Annotated[
    bool,
    typer.Option(
        "--remove-all", help="Remove every lock, including those of programs that may still be running."
    ),
]
ReadsAll = Annotated[
    bool, typer.Option("--read-data", help="Restore and compare the whole snapshot instead of a sample.")
]
WhichSnapshot = Annotated[
    str | None,
    typer.Option(
        "--snapshot",
        "-s",
        metavar="ID|latest|DATE",
        help="The snapshot to restore; with a date, the newest up to then.",
    ),
]
OnlyPaths = Annotated[
    list[str] | None,
    typer.Option(
        "--path",
        "-p",
        metavar="P",
        help="Only this file or folder, by its absolute path, taken literally; may be repeated.",
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        "--target", "-t", metavar="DIR", help="The target folder; by default a new one in the current folder."
    ),
]
InPlace = Annotated[bool, typer.Option("--in-place", help="Restore to the original location.")]
PlanOnly = Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")]
OverwriteRule = Annotated[
    Overwrite | None, typer.Option("--overwrite", help="What to do with existing files.")
]
ComparedFile = Annotated[
    Path | None,
    typer.Option(
        "-f",
        "--file",
        metavar="FILE",
        help="Instead of comparing snapshots, show what this configuration file would change.",
    ),
]
AppliedFile = Annotated[
    Path, typer.Option("-f", "--file", metavar="FILE", help="The configuration file: TOML or YAML.")
]
KnownAs = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="NAME",
        help="The name of the file at the hub; by default the name of this machine and the file's path.",
    ),
]
PlansChanges = Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")]


TellsByExit = Annotated[
    bool,
    typer.Option(
        "--exit-code",
        help=(
            "Exit with 1 if a job is not protected, with 3 if one is late, has a warning, or uses a "
            "repository that was saved without a successful connection test."
        ),
    ),
]


Schedules = Annotated[
    str, typer.Option("--schedule", help="Where to install schedules; so far only `none` is supported.")
]
Anew = Annotated[
    str | None,
    typer.Option(
        "--anew",
        metavar="NAME",
        help="Give up this repository, which is lost for good, and create a new one in its place.",
    ),
]
ShowsSetup = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]


def check_schedules(where: str) -> None:
    """Raise Misuse for a place of schedules that is not known."""
    if where != "none":
        raise Misuse(
            "--schedule: so far only none is supported",
            hint="run `highball run` from cron or a systemd timer",
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
