"""The landing page: is everything protected, what needs somebody, what runs, what is next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from markupsafe import Markup

from highball import humanize
from highball.actions import words_of
from highball.hub.runs.scheduler import Upcoming
from highball.hub.status.overview import (
    JobFilter,
    JobOverview,
    Overview,
    OverviewCounts,
    ProblemKind,
    StandingProblem,
    UnderWay,
    look_over,
)
from highball.model.run import RunState
from highball.model.standing import HoldCause
from highball.web.authorize import Sees
from highball.web.dependencies import TheHub, ThePages
from highball.web.ui import status_looks
from highball.web.ui.addresses import job_page, repository_page
from highball.web.ui.status_looks import Look
from highball.web.ui.templating import Pages
from highball.web.ui.titles import Names

MOST_PROBLEMS = 20
MOST_NAMED = 5
UNPROVED = f"/jobs?state={JobFilter.UNPROVED}"

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Glance:
    """How everything stands: the answer, what needs somebody, the jobs, what runs and what is next."""

    verdict: OverviewCounts
    sentence: Sentence
    problems: Sequence[ProblemLine]
    more_problems: int
    jobs: Sequence[JobRow]
    running: Sequence[UnderWay]
    next: Sequence[Upcoming]


@router.get("/")
def show(hub: TheHub, pages: ThePages, request: Request, _: Sees) -> Response:
    survey = pages.survey()
    found = look_over(hub, survey)
    told, left = tell_all(found.problems, survey.at, Names(survey.document))
    shown = Glance(
        verdict=found.verdict,
        sentence=_sentence(found.verdict, pages),
        problems=told,
        more_problems=left,
        jobs=list_rows(found),
        running=found.running,
        next=found.next,
    )
    return pages.answer(request, "overview", {"page": shown}, overview=found)


@router.get("/rail")
def show_rail(
    pages: ThePages, request: Request, _: Sees, at: Annotated[str, Query(max_length=40)] = ""
) -> Response:
    return pages.rail(request, at)


# --- the verdict ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sentence:
    """The answer in one sentence, and how good it is."""

    verdict: str
    tone: str
    as_of: str


def _sentence(verdict: OverviewCounts, pages: Pages) -> Sentence:
    here = verdict.as_of.astimezone(pages.zone())
    return Sentence(say(verdict, pages.zone()), tone_of(verdict), f"{here:%A} {here.day} {here:%B, %H:%M}")


def say(verdict: OverviewCounts, zone: tzinfo = UTC) -> str:
    """How many need somebody, then what is fine, then what is paused and what was never tested."""
    if not verdict.jobs:
        return "Nothing is protected yet."
    rest = verdict.jobs - verdict.need
    if not verdict.need:
        whole = "The only job is" if rest == 1 else f"All {rest} jobs are"
        if not verdict.unproved:
            return f"{whole} protected and passed a restore test{_paused(verdict, zone)}."
        return f"{whole} protected{_paused(verdict, zone)}, but {_unproved(verdict)} never restore-tested."
    verb = "needs" if verdict.need == 1 else "need"
    first = f"{verdict.need} of {humanize.counted(verdict.jobs, 'job')} {verb} attention"
    if not rest:
        first = first if verdict.jobs > 1 else "The only job needs attention"
        return f"{first}{_paused(verdict, zone)}."
    other = "The other one is" if rest == 1 else f"The other {rest} are"
    but = f", but {_unproved(verdict)} never restore-tested" if verdict.unproved else ""
    return f"{first}{_paused(verdict, zone)}. {other} protected{but}."


def _paused(verdict: OverviewCounts, zone: tzinfo) -> str:
    """That jobs do not run by themselves, behind what else is said of them."""
    if not verdict.paused:
        return ""
    until = (
        f" until {humanize.moment(verdict.paused_until, verdict.as_of, zone)}" if verdict.paused_until else ""
    )
    if verdict.jobs == 1:
        return f", and {'' if not verdict.need else 'is '}paused{until or ' until resumed'}"
    if verdict.paused == verdict.jobs:
        return f", and all are paused{until}"
    return f", and {'one is' if verdict.paused == 1 else f'{verdict.paused} are'} paused{until}"


def _unproved(verdict: OverviewCounts) -> str:
    if verdict.jobs == verdict.unproved == 1:
        return "was"
    return "one was" if verdict.unproved == 1 else f"{verdict.unproved} were"


def tone_of(verdict: OverviewCounts) -> str:
    """How high the signal's ball is."""
    if not verdict.jobs:
        return "idle"
    found = set(verdict.problems)
    if found & {
        ProblemKind.UNWRITABLE,
        ProblemKind.INVALID,
        ProblemKind.FAILURE,
        ProblemKind.OVERDUE,
        ProblemKind.MISSED,
        ProblemKind.OFFLINE,
        ProblemKind.TWIN,
        ProblemKind.UNTESTED,
    }:
        return "bad"
    if found:
        return "warn"
    return "idle" if verdict.paused else "ok"


# --- problems ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProblemLine:
    """A problem in words, with the way to its fix."""

    look: Look
    title: Markup
    detail: str
    address: str
    fix: str


def tell_all(
    problems: Sequence[StandingProblem], now: datetime, names: Names
) -> tuple[list[ProblemLine], int]:
    """The most pressing problems in words, and how many are left; a proof that many jobs lack is told once."""
    unproved = [one for one in problems if one.kind is ProblemKind.UNPROVED]
    at_once = len(unproved) > 1
    each = [one for one in problems if not at_once or one.kind is not ProblemKind.UNPROVED]
    told = [tell(one, now, names) for one in each[:MOST_PROBLEMS]]
    if at_once:
        told.append(_tell_unproved(unproved, names))
    return told, max(0, len(each) - MOST_PROBLEMS)


def tell(problem: StandingProblem, now: datetime, names: Names) -> ProblemLine:
    """Subject, state, cause; then since when, and what is still safe; then the fix."""
    look = status_looks.PROBLEMS[problem.kind]
    run = f"/runs/{problem.run}" if problem.run else None
    subject = job_page(problem.job or "")
    if problem.job is None and problem.repositories:
        subject = repository_page(problem.repositories[0])
    elif problem.job is None:
        subject = "/configuration" if problem.kind is ProblemKind.INVALID else "/hosts"
    fixes = {
        ProblemKind.INVALID: ("/configuration", "Open configuration"),
        ProblemKind.FAILURE: _out_of_failure(problem, run or subject),
        ProblemKind.WARNING: (run or subject, "Show warnings"),
        ProblemKind.OFFLINE: ("/hosts", "Show host"),
        ProblemKind.TWIN: ("/hosts", "Show host"),
        ProblemKind.UNWRITABLE: ("/hosts", "Show host"),
        ProblemKind.UNTESTED: (subject, "Test connection"),
        ProblemKind.HELD: _out_of_hold(problem, subject),
        ProblemKind.UNPROVED: (f"{subject}#proof", "Run restore test"),
        ProblemKind.NEVER: (subject, "Show job"),
    }
    address, fix = fixes.get(problem.kind, (subject, "Show job"))
    title = _title(problem, look, subject, _name(problem, names), now)
    return ProblemLine(look, title, _detail(problem, now), address, fix)


def _tell_unproved(unproved: Sequence[StandingProblem], names: Names) -> ProblemLine:
    look = status_looks.PROBLEMS[ProblemKind.UNPROVED]
    link = Markup('<a class="primary" href="{}">{}</a>').format(
        UNPROVED, humanize.counted(len(unproved), "job")
    )
    title = Markup('{} have <span class="word">{}</span>').format(link, look.word)
    named = [f"{names.job(one.job or '')} in {', '.join(one.repositories)}" for one in unproved[:MOST_NAMED]]
    if len(unproved) > MOST_NAMED:
        named.append(f"{len(unproved) - MOST_NAMED} more")
    told = f"No file was ever restored and compared: {', '.join(named[:-1])} and {named[-1]}."
    return ProblemLine(look, title, told, UNPROVED, "Show jobs")


def _name(problem: StandingProblem, names: Names) -> str:
    """What it is about, as its own page calls it."""
    if problem.job is not None:
        return names.job(problem.job)
    if problem.kind is ProblemKind.INVALID:
        return "Part of the configuration"
    if problem.kind is ProblemKind.UNWRITABLE:
        return "The hub"
    if problem.repositories:
        return names.repository(problem.repositories[0])
    return names.host(problem.host or "the hub")


def _out_of_failure(problem: StandingProblem, address: str) -> tuple[str, str]:
    if problem.reason and problem.reason.code == "repository_damaged" and problem.repositories:
        return f"{repository_page(problem.repositories[0])}/repair", "Repair"
    return address, "Show run"


def _out_of_hold(problem: StandingProblem, subject: str) -> tuple[str, str]:
    if problem.reason and problem.reason.code == HoldCause.CHECK_FAILED.value and problem.repositories:
        return f"{repository_page(problem.repositories[0])}/repair", "Repair"
    return f"{subject}#held", "Show reason"


def _title(problem: StandingProblem, look: Look, subject: str, name: str, now: datetime) -> Markup:
    if problem.kind is ProblemKind.HELD:
        name = f"Retention of {name}"
    elif problem.action is not None and problem.job is None:
        name = f"{words_of(problem.action).noun} of {name}"
    link = Markup('<a class="primary" href="{}">{}</a>').format(subject, name)
    word = Markup('<span class="word">{}</span>').format(look.word)
    why = f": {problem.reason.message}" if problem.reason else ""
    sentences = {
        ProblemKind.UNWRITABLE: Markup("{} {}{}"),
        ProblemKind.INVALID: Markup("{} {}{}"),
        ProblemKind.FAILURE: Markup("{} {}{}"),
        ProblemKind.OVERDUE: Markup("{} is {}{}"),
        ProblemKind.NEVER: Markup("{} has {}{}"),
        ProblemKind.MISSED: Markup("{} {} its scheduled time{}"),
        ProblemKind.OFFLINE: Markup("{} is {}{}"),
        ProblemKind.TWIN: Markup("{} has {}{}"),
        ProblemKind.UNTESTED: Markup("{} was {}{}"),
        ProblemKind.HELD: Markup("{} is {}{}"),
        ProblemKind.WARNING: Markup("{} finished with a {}{}"),
        ProblemKind.UNPROVED: Markup("{} has {}{}"),
    }
    if problem.kind is ProblemKind.OVERDUE and problem.since and problem.since < now:
        why = f" by {humanize.about(now - problem.since)}"
    return sentences[problem.kind].format(link, word, why)


def _detail(problem: StandingProblem, now: datetime) -> str:
    parts = []
    if problem.repositories and problem.job is not None:
        parts.append(f"In {', '.join(problem.repositories)}")
    if problem.since is not None and problem.kind is not ProblemKind.OVERDUE:
        parts.append(
            f"since {humanize.age(problem.since, now)}"
            if parts
            else f"Since {humanize.age(problem.since, now)}"
        )
    if problem.failures is not None and problem.failures > 1:
        parts.append(f"{problem.failures} times in a row")
    told = f"{', '.join(parts)}." if parts else ""
    if problem.kind is ProblemKind.HELD:
        return f"{told} Nothing is removed there until this is resolved."
    if problem.kind is ProblemKind.UNPROVED:
        return f"{told} No file was ever restored from there and compared."
    if problem.hold is not None and problem.job is None:
        return f"{told} Nothing is removed there until this is resolved."
    if problem.last_good_at is not None:
        where = f" in {problem.last_good_in}" if problem.last_good_in else ""
        return f"{told} The last good backup is from {humanize.age(problem.last_good_at, now)}{where}."
    if problem.kind is ProblemKind.INVALID:
        return "It is ignored until it is fixed; everything else keeps working."
    if problem.kind is ProblemKind.UNWRITABLE:
        return (
            "Current runs continue and are recorded later. "
            "Until then, nothing can be started, changed or removed here."
        )
    if problem.job is not None:
        return f"{told} There is no good backup yet."
    return told


# --- the rows of jobs ----------------------------------------------------------------------------


@dataclass(frozen=True)
class JobRow:
    """A job as a row of a table shows it."""

    job: JobOverview
    look: Look
    word: str
    schedule: str
    last_good: datetime | None
    size: int | None
    proved: datetime | None
    proof: Look


def list_rows(found: Overview) -> list[JobRow]:
    """The jobs with what runs of them now."""
    backups = [one for one in found.running if one.run.kind == "backup" and not one.run.dry_run]
    going = {one.run.job: one for one in backups if one.run.job}
    return [_row(job, going.get(job.key), found.verdict.as_of) for job in found.jobs]


def _row(job: JobOverview, going: UnderWay | None, now: datetime) -> JobRow:
    look = status_looks.look_of_run(going.run) if going else status_looks.look_of_job(job)
    word = look.word
    if (
        going
        and going.run.state is RunState.RUNNING
        and going.progress
        and going.progress.percent is not None
    ):
        word = f"{word} {going.progress.percent:.0f} %"
    good = [one.last_success_at for one in job.standings]
    proofs = [one.last_restore_proof_at for one in job.standings]
    proved = min((at for at in proofs if at), default=None) if all(proofs) else None
    sizes = [one.size_bytes for one in job.standings if one.size_bytes is not None]
    return JobRow(
        job=job,
        look=look,
        word=word,
        schedule=humanize.rhythm(job.schedule.expression),
        last_good=max((at for at in good if at), default=None),
        size=max(sizes, default=None),
        proved=proved,
        proof=status_looks.look_of_proof(proved, now),
    )
