"""How each verb answers: tables and sentences for people, one document for programs.

What is shown came from this machine's record or from a hub; nothing here knows which, and nothing here asks.
"""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import typer
from pydantic import TypeAdapter

from highball.cli import formatting
from highball.cli.console import Cell, Column, Form, Output, state, to_json
from highball.cli.progress import describe_step
from highball.config.document import Document, effective_job
from highball.config.merge import replaced_hooks
from highball.config.references import place_of
from highball.errors import HighballError, Misuse
from highball.model.event import (
    Event,
    LogLine,
    RunEnded,
    RunStarted,
    StepEnded,
    StepStarted,
    Waiting,
    WarningSeen,
)
from highball.model.run import (
    Outcome,
    Reason,
    Run,
    RunState,
)
from highball.model.snapshot import (
    Difference,
    ForeignGroup,
    KeyTold,
    Node,
    NodeKind,
    Snapshot,
)
from highball.model.standing import (
    Health,
    Hold,
    HoldCause,
    Standing,
)
from highball.model.text import (
    path_for_people,
    path_to_text,
    time_to_text,
)
from highball.retention import Plan
from highball.schedule import next_times
from highball.source.kinds import AnySource

TYPE_BITS = {NodeKind.FILE: stat.S_IFREG, NodeKind.DIRECTORY: stat.S_IFDIR, NodeKind.SYMLINK: stat.S_IFLNK}


# --- how jobs stand ------------------------------------------------------------------------------


def show_standings(output: Output, found: list[Standing]) -> None:
    """Each job in each of its repositories, and the one sentence about all of them."""
    if not output.for_people:
        output.document(found)
        return
    columns = (
        "JOB",
        "REPOSITORY",
        "STATE",
        "LAST GOOD",
        "LAST RUN",
        "SNAPSHOTS",
        "SIZE",
        "CLEANED UP",
        "CHECKED",
        "RESTORE TEST",
    )
    output.table(
        [
            Column(
                t, right=t in {"SNAPSHOTS", "SIZE"}, spare=t in {"SNAPSHOTS", "SIZE", "CLEANED UP", "CHECKED"}
            )
            for t in columns
        ],
        [_standing_row(standing) for standing in found],
        "No jobs are declared yet; add one as [jobs.ID] to the configuration.",
    )
    _tell_verdict(output, found)


def _standing_row(standing: Standing) -> list[str | Cell]:
    now = datetime.now(UTC)

    def ago(at: object) -> str:
        return formatting.age(int((now - at).total_seconds())) if at else "never"  # type: ignore[operator]

    return [
        standing.job,
        standing.repository,
        state(Outcome.WARNING if _warns(standing) else standing.state),
        formatting.age(standing.age_seconds) if standing.last_success_at else "never",
        state(standing.last_outcome, "none yet"),
        formatting.number(standing.snapshots),
        formatting.size(standing.size_bytes),
        ago(standing.last_retention_at),
        ago(standing.last_check_at),
        ago(standing.last_restore_proof_at),
    ]


def _warns(standing: Standing) -> bool:
    """Whether the newest backup is there but lacks something, beside a good one that is not old."""
    return standing.state is Health.HEALTHY and standing.last_outcome is Outcome.WARNING


_VERDICTS = {
    Health.NEVER: "has never been backed up without a warning",
    Health.OVERDUE: "is overdue",
    Health.FAILED: "failed in its last run",
    Health.LATE: "is late",
}


def _tell_verdict(output: Output, found: list[Standing]) -> None:
    """The one sentence: is everything protected, and could it be restored?"""
    if not found:
        return
    bad = [standing for standing in found if standing.state is not Health.HEALTHY]
    unproved = [standing for standing in found if standing.last_restore_proof_at is None]
    output.line()
    warned = [standing for standing in found if _warns(standing)]
    for standing in bad:
        _tell_bad(output, standing)
    for standing in warned:
        why = f": {standing.last_reason.message}" if standing.last_reason else ""
        told = f"{standing.job} in {standing.repository}: its newest backup has a warning{why}"
        output.line(told, "yellow")
        output.line(f"  → highball logs {standing.last_run}", "dim")
    untested = {one.repository: one.untested for one in found if one.untested}
    for repository, reason in untested.items():
        output.line(f"{repository} was saved without a successful connection test: {reason.message}", "red")
        output.line("  → highball setup", "dim")
    still = {hold.id: hold for standing in found for hold in standing.holds}
    for hold in still.values():
        _tell_hold(output, hold)
    kept = [one for one in found if one.snapshots > 1 and one.last_retention_at is None and not one.holds]
    if kept:
        names = ", ".join(f"{one.job} in {one.repository}" for one in kept)
        output.line(
            f"Retention was never applied, so all snapshots are kept: {names} → highball forget", "yellow"
        )
    if bad or warned or untested:
        return
    if not unproved:
        tone = "yellow" if still else "green"
        output.line("Everything is protected and restore-tested.", tone)
    else:
        names = ", ".join(dict.fromkeys(standing.job for standing in unproved))
        output.line(f"Everything is protected; never restore-tested: {names} → highball verify", "yellow")


def _tell_bad(output: Output, standing: Standing) -> None:
    if standing.last_run is None:
        _tell_never(output, standing)
        return
    why = f": {standing.last_reason.message}" if standing.last_reason else ""
    verdict = _VERDICTS[standing.state]
    if standing.failures > 1:
        verdict += f" and has failed {standing.failures} times in a row"
    output.line(f"{standing.job} in {standing.repository} {verdict}{why}", "red")
    output.line(f"  → highball logs {standing.last_run}", "dim")


def _tell_never(output: Output, standing: Standing) -> None:
    """No run of it is known: none was made yet, or the record of those that were is lost."""
    job, repository, there = standing.job, standing.repository, standing.unknown_snapshots
    ways = [f"highball run {job}"]
    if there == 0 or standing.snapshots:
        output.line(f"{job} in {repository} has never been backed up", "red")
    elif there is None:
        output.line(
            f"{job} in {repository}: no backup is known, and {repository} has not been listed yet", "red"
        )
        ways.append(f"if the record was lost: highball snapshots {job}")
    else:
        snapshots = formatting.counted(there, "snapshot")
        told = f"no backup is known, but {repository} contains {snapshots} of unknown runs"
        output.line(f"{job} in {repository}: {told}", "red")
        ways.append(
            f"if they are its own: highball hub rebuild --confirm {job}, or highball adopt {repository}"
        )
    for way in ways:
        output.line(f"  → {way}", "dim")


def _tell_hold(output: Output, hold: Hold) -> None:
    """Why nothing is removed there, since when, and what to do about it."""
    where = f"{hold.job} in {hold.repository}" if hold.job else hold.repository
    since = formatting.moment(hold.since)
    output.line(
        (
            f"Retention of {where} has been on hold since {since}: {hold.message}. It continues when "
            f"{hold.lifts}."
        ),
        "yellow",
    )
    if hold.acceptable:
        target = hold.run if hold.cause is HoldCause.NEWEST_SHRANK and hold.run else hold.repository
        output.line(f"  → highball accept {target}", "dim")


# --- runs ----------------------------------------------------------------------------------------


def show_runs(output: Output, found: Sequence[Run]) -> None:
    """What ran, newest first."""
    if not output.for_people:
        output.document(found)
        return
    output.table(
        [
            Column("RUN"),
            Column("STARTED"),
            Column("ACTION"),
            Column("OUTCOME"),
            Column("DURATION", right=True),
            Column("REASON", wraps=True),
        ],
        [_run_row(run) for run in found],
        "Nothing has run yet; start with: highball run",
    )


def _run_row(run: Run) -> list[str | Cell]:
    took = (run.ended_at - run.started_at).total_seconds() if run.ended_at and run.started_at else None
    action = f"dry run of {run.action.value}" if run.dry_run else run.action.value
    what = " ".join(part for part in (action, run.job, run.repository) if part)
    return [
        run.id[:13],  # the time in milliseconds: as good as the whole
        formatting.moment(run.started_at or run.created_at),
        what,
        state(run.outcome, run.state.value),
        formatting.length(took),
        run.reason.message if run.reason else "",
    ]


def show_events(output: Output, run: Run, events: Sequence[Event]) -> None:
    """Everything that happened in a run."""
    if not output.for_people:
        output.document([event.model_dump(mode="json", exclude_none=True) for event in events])
        return
    if run.steps and run.outcome is not None and not events:
        output.note("The log of this run was removed with old history; its result:")
        show_runs(output, [run])
    for event in events:
        for text, tone in _describe_event(event):
            output.line(f"{formatting.moment(event.at)}  {text}", tone)


def _describe_event(event: Event) -> Iterable[tuple[str, str | None]]:
    match event:
        case RunStarted():
            yield f"run {event.run} started (process {event.pid})", "bold"
        case StepStarted():
            running = event.running
            again = f", attempt {event.attempt}" if event.attempt > 1 else ""
            subject = f"{running.action.value} {running.repository or running.title or ''}".rstrip()
            yield subject + again, "bold"
        case LogLine():
            yield from ((f"  {line}", "dim") for line in event.text.splitlines() or [""])
        case Waiting():
            yield f"  {event.reason.message}", "yellow"
        case WarningSeen():
            yield f"  ! {event.warning.message}", "yellow"
        case StepEnded():
            outcome = event.done.outcome or Outcome.FAILURE
            yield f"  {state(outcome).text}: {describe_step(event.done)}", state(outcome).tone
            for warning in event.done.warnings:
                where = f"{path_for_people(warning.path)}: " if warning.path else ""
                yield f"    ! {where}{warning.message}", "yellow"
        case RunEnded():
            why = f": {event.reason.message}" if event.reason else ""
            yield f"{state(event.outcome).text}{why}", state(event.outcome).tone
        case _:
            return


def show_ending(output: Output, ended: Run) -> None:
    """How a run that was asked to end did so."""
    if not output.for_people:
        output.document({"run": ended.id, "state": ended.state.value, "outcome": ended.outcome})
    elif ended.state is RunState.DONE:
        output.line(f"run {ended.id}: {state(ended.outcome).text}")
    else:
        output.line(f"run {ended.id} has not ended yet; see: highball runs")


def show_accepted(output: Output, target: str, lifted: Sequence[Hold]) -> None:
    """What goes on from now on; raises Misuse where nothing stood still."""
    if not lifted:
        raise Misuse(
            f"{target} puts no retention on hold now",
            code="nothing_to_accept",
            hint="see the holds with: highball status",
        )
    if not output.for_people:
        output.document({"accepted": len(lifted), "holds": list(lifted)})
    for hold in lifted if output.for_people else ():
        where = f"{hold.job} in {hold.repository}" if hold.job else hold.repository
        output.line(f"✓ accepted: {hold.message}; retention of {where} continues", "green")


def show_pauses(output: Output, found: Sequence[Mapping[str, Any]]) -> None:
    """What does not run by itself now."""
    if not output.for_people:
        output.document(list(found))
        return

    def until(one: Mapping[str, Any]) -> str:
        return (
            formatting.moment(datetime.fromisoformat(one["until"])) if one["until"] else "until it is resumed"
        )

    output.table(
        [Column("PAUSED"), Column("UNTIL"), Column("BY"), Column("REASON", wraps=True)],
        [
            [one["subject"].replace(":", " ", 1), until(one), one["actor"], one["reason"] or ""]
            for one in found
        ],
        "Nothing is paused.",
    )


# --- what repositories hold ----------------------------------------------------------------------


def show_snapshots(output: Output, found: list[Snapshot]) -> None:
    """Snapshots, oldest first."""
    found.sort(key=lambda snapshot: snapshot.time)
    if not output.for_people:
        output.document(found)
        return
    titles = ("SNAPSHOT", "TIME", "JOB", "HOST", "REPOSITORY", "SIZE", "PATHS")
    output.table(
        [Column(t, right=t == "SIZE", wraps=t == "PATHS", spare=t in {"HOST", "SIZE"}) for t in titles],
        [_snapshot_row(snapshot) for snapshot in found],
        "There are no snapshots yet; create one with: highball run",
    )


def _snapshot_row(snapshot: Snapshot) -> list[str]:
    return [
        snapshot.id[:8],
        formatting.moment(snapshot.time),
        snapshot.job or "–",
        snapshot.host,
        snapshot.repository,
        formatting.size(snapshot.size_bytes),
        ", ".join(path_for_people(path) for path in snapshot.paths),
    ]


def show_groups(output: Output, found: list[ForeignGroup]) -> None:
    """Snapshots that no known run made, alike ones together, and whose they are."""
    if not output.for_people:
        output.document(found)
        return
    titles = ("GROUP", "HOST", "TAGS", "SNAPSHOTS", "OLDEST", "NEWEST", "GOVERNED BY", "PATHS")
    output.table(
        [
            Column(t, right=t == "SNAPSHOTS", wraps=t in {"TAGS", "PATHS"}, spare=t in {"TAGS", "OLDEST"})
            for t in titles
        ],
        [_group_row(group) for group in found],
        "There are no foreign snapshots here: every snapshot is from a known run.",
    )


def _group_row(group: ForeignGroup) -> list[str]:
    return [
        group.id,
        group.host,
        ", ".join(group.tags),
        formatting.number(group.snapshots),
        formatting.moment(group.oldest_at),
        formatting.moment(group.newest_at),
        f"{group.job} (adopted by {group.adopted_by})" if group.job else "–",
        ", ".join(path_for_people(path) for path in group.paths),
    ]


_USES = {
    "everyday": Cell("in use", "green"),
    "admin": Cell("in use as admin password", "green"),
    "former": Cell("replaced, still valid", "yellow"),
    "added": Cell("added here"),
    "unknown": Cell("unknown: not created here", "yellow"),
}


def show_keys(output: Output, found: Sequence[KeyTold]) -> None:
    """The keys of a repository, and what each is for."""
    if not output.for_people:
        output.document(list(found))
        return
    output.table(
        [Column("KEY"), Column("NAME"), Column("CREATED", spare=True), Column("STATE")],
        [
            [one.id[:8], f"{one.user}@{one.host}", formatting.moment(one.created_at), _USES[one.use]]
            for one in found
        ],
        "The repository has no key.",
    )


class Listing:
    """Writes items as they come: lines for people, one JSON array for programs."""

    def __init__(self, output: Output, describe: Callable[[Node], str] | None = None) -> None:
        self._output = output
        self._describe = describe or describe_node
        self.count = 0

    def __enter__(self) -> Listing:
        return self

    def add(self, node: Node) -> None:
        if self._output.for_people:
            sys.stdout.write(self._describe(node) + "\n")
        else:
            sys.stdout.write(("[" if self.count == 0 else ",") + to_json(node))
        self.count += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if self._output.for_people:
            return
        if self.count:
            sys.stdout.write("]\n")
        elif error is None:
            sys.stdout.write("[]\n")
        if isinstance(error, HighballError) and self.count:
            # the document is closed already: the error can only be told beside it
            self._output.note(f"✗ {error.message}", "red")
            raise typer.Exit(error.exit_code)


def describe_node(node: Node) -> str:
    """`-rw-r--r--  1.2 KiB  2026-05-04 12:00:00  /etc/hosts`."""
    mode = stat.filemode(TYPE_BITS.get(node.kind, 0) | (node.mode or 0))
    size = formatting.size(node.size_bytes) if node.kind is NodeKind.FILE else ""
    doubt = "  (name not exact)" if node.inexact else ""
    return f"{mode}  {size:>10}  {formatting.moment(node.modified_at)}  {path_for_people(node.path)}{doubt}"


def show_differences(output: Output, found: list[Difference]) -> None:
    """What differs between two snapshots."""
    if not output.for_people:
        output.document(found)
        return
    tones = {"+": "green", "-": "red"}
    for difference in found:
        line = f"{difference.modifier:<2} {path_for_people(difference.path)}"
        output.line(line, tones.get(difference.modifier, "yellow"))
    if not found:
        output.line("No differences.", "dim")


# --- retention and sizes -------------------------------------------------------------------------


def show_plans(output: Output, plans: list[Plan]) -> None:
    """What would go, and why each snapshot stays."""
    if not output.for_people:
        output.document(plans)
        return
    for plan in plans:
        output.line(f"{plan.job} in {plan.repository}  (plan {plan.id})", "bold")
        verdicts = sorted([*plan.keep, *plan.remove], key=lambda verdict: verdict.time, reverse=True)
        rows: list[list[str | Cell]] = [
            [
                verdict.id[:8],
                formatting.moment(verdict.time),
                Cell("kept", "green") if verdict.keep else Cell("will be removed", "red"),
                _because(verdict.reasons),
            ]
            for verdict in verdicts
        ]
        columns = [Column("SNAPSHOT"), Column("TIME"), Column("RETENTION"), Column("KEPT BY", wraps=True)]
        output.table(columns, rows, "  There are no snapshots of this job.")
        if plan.unknown:
            output.line(
                f"  foreign (other tool), left unchanged: {', '.join(id[:8] for id in plan.unknown)}", "dim"
            )
        for reason in plan.messages:
            output.line(f"  on hold: {reason.message}", "yellow")
        output.line()


def _because(reasons: tuple[Reason, ...]) -> str:
    return ", ".join(reason.message for reason in reasons) or "no rule"


def show_sizes(output: Output, runs: Sequence[Run]) -> None:
    """What each repository was measured to store."""
    found = [(run, step) for run in runs for step in run.steps]
    if output.form is Form.EVENTS:
        return
    if not output.for_people:
        told = [
            {
                "repository": step.repository,
                "outcome": step.outcome,
                "reason": step.reason,
                "bytes_stored": step.bytes_stored,
                "snapshots": step.snapshots_kept,
                "run": run.id,
            }
            for run, step in found
        ]
        output.document(told)
        return
    output.table(
        [Column("REPOSITORY"), Column("STORED", right=True), Column("SNAPSHOTS", right=True)],
        [
            [
                step.repository or "",
                formatting.size(step.bytes_stored),
                formatting.number(step.snapshots_kept),
            ]
            for _, step in found
        ],
        "No repositories are declared yet; add one as [repositories.ID] to the configuration.",
    )


# --- what is declared ----------------------------------------------------------------------------


def show_valid(output: Output, document: Document, name: str, told: Mapping[str, Any]) -> None:
    """That a configuration is right, and how much it declares."""
    jobs, repositories = len(document.jobs), len(document.repositories)
    remarks = [remark for job in document.jobs for remark in replaced_hooks(document.tables, job)]
    if output.for_people:
        counted = f"{formatting.counted(jobs, 'job')}, {formatting.counted(repositories, 'repository', 'repositories')}"
        output.line(f"✓ {name} is valid: {counted}", "green")
        for remark in remarks:
            output.line(f"  ! {remark}", "yellow")
    else:
        counts = {"jobs": jobs, "repositories": repositories}
        output.document({"valid": True, **told, **counts, "remarks": remarks})


def show_jobs(output: Output, document: Document) -> None:
    """The jobs: what goes where, and when."""
    if not output.for_people:
        output.document([_describe_job(document, key) for key in document.jobs])
        return
    output.table(
        [
            Column("JOB"),
            Column("SOURCES", wraps=True),
            Column("REPOSITORIES", wraps=True),
            Column("SCHEDULE"),
            Column("NEXT"),
        ],
        [_job_row(document, key) for key in document.jobs],
        "No jobs are declared yet; add one as [jobs.ID] to the configuration.",
    )
    if document.jobs:
        here = f"{datetime.now().astimezone():%Z}"
        output.line(f"Times are shown in {here}; schedules use {document.settings.timezone}.", "dim")


def _describe_job(document: Document, key: str) -> dict[str, Any]:
    job = effective_job(document, key)
    upcoming = next_times(job.schedule, datetime.now(UTC), document.settings.timezone) if job.enabled else []
    return {
        "job": key,
        "title": job.title,
        "enabled": job.enabled,
        "profile": job.profile,
        "schedule": job.schedule.cron,
        "next_at": time_to_text(upcoming[0]) if upcoming else None,
        "sources": [_source(source) for source in job.sources],
        "repositories": [
            {"key": name, "address": document.repositories[name].address} for name in job.repositories
        ],
    }


def _source(source: AnySource) -> Any:
    """A path by itself, as ever; of another kind all that was declared of it."""
    if source.kind == "path":
        return path_to_text(source.path_within)
    return TypeAdapter[Any](AnySource).dump_python(source, mode="json", exclude_unset=True)


def _job_row(document: Document, key: str) -> list[str]:
    job = effective_job(document, key)
    upcoming = next_times(job.schedule, datetime.now(UTC), document.settings.timezone) if job.enabled else []
    return [
        key,
        ", ".join(source.title for source in job.sources),
        ", ".join(job.repositories),
        job.schedule.cron if job.enabled else "disabled",
        formatting.moment(upcoming[0] if upcoming else None),
    ]


def show_setup(output: Output, document: Document, what: str, where: str) -> None:
    """What `setup` would make: the repositories, and what a place of this kind needs besides."""
    addresses = {key: repository.address for key, repository in document.repositories.items()}
    if not output.for_people:
        plan = [
            {"repository": key, "address": shown, "would": "make it where there is none"}
            for key, shown in addresses.items()
        ]
        output.document({"dry_run": True, what: where, "repositories": plan})
        return
    output.line("Would create, unless they exist:")
    output.line(f"  state directory  {where}" if what == "state" else f"  at {where}")
    for key, shown in addresses.items():
        output.line(f"  repository {key}  {shown}")


def show_reached(output: Output, reached: Sequence[Mapping[str, Any]]) -> None:
    """How repositories are found from hosts that use them; a program has it in the answer."""
    if output.for_people:
        for one in reached:
            output.line(f"{one['repository']} from {one['host'] or 'the hub'}: {one['message']}")


def show_changes(output: Output, changes: Sequence[Mapping[str, Any]]) -> None:
    """What differs between two configurations, object by object."""
    if not output.for_people:
        output.document(list(changes))
        return
    for change in changes:
        tone = {"created": "green", "deleted": "red"}.get(change["what"], "yellow")
        what = "new ID" if change["what"] == "rekeyed" else change["what"]
        output.line(f"{what:<8} {place_of(change['kind'], change['key'])}", tone)
        for one in change["differences"] if change["what"] == "changed" else ():
            output.line(f"         {one['at']}: {_shown(one['before'])} → {_shown(one['after'])}")
    if not changes:
        output.line("No differences.", "dim")


def _shown(value: object) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)
