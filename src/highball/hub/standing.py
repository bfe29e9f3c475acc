"""How each job stands in each of its repositories: computed from the schedule and the record, never from silence."""

from __future__ import annotations

from datetime import datetime

from highball.facts import Action, Outcome, Standing
from highball.hub.runs import Ending, Record, SetOf
from highball.protocol import FILES_SET
from highball.spec.document import Document, effective_job
from highball.timing import health


def list_standings(
    document: Document, record: Record, host: str, now: datetime, jobs: list[str]
) -> list[Standing]:
    """How these jobs stand, one line per repository."""
    return [
        _standing(document, record, SetOf(repository, host, job, FILES_SET), now)
        for job in jobs
        for repository in effective_job(document, job).repositories
    ]


def _standing(document: Document, record: Record, of: SetOf, now: datetime) -> Standing:
    job = effective_job(document, of.job)
    good = (Outcome.SUCCESS,)
    last = record.find_last(Action.BACKUP, of.repository, job=of.job)
    success = record.find_last(Action.BACKUP, of.repository, job=of.job, outcomes=good)
    check = record.find_last(Action.CHECK, of.repository, outcomes=good)
    proof = record.find_last(Action.VERIFY, of.repository, job=of.job, outcomes=good)
    governed = record.list_governed(of)
    age = None if success is None else max(0, int((now - success.ended_at).total_seconds()))
    return Standing(
        job=of.job,
        repository=of.repository,
        state=health(
            success.ended_at if success else None,
            last is not None and _failed(last),
            job.schedule,
            now,
            document.settings.timezone,
        ),
        last_success_at=success.ended_at if success else None,
        age_seconds=age,
        snapshots=len(governed),
        last_outcome=last.outcome if last else None,
        last_reason=last.account.reason if last else None,
        last_run=last.run if last else None,
        last_check_at=check.ended_at if check else None,
        last_restore_proof_at=proof.ended_at if proof else None,
        size_bytes=governed[0].size_bytes if governed else None,
        repository_bytes=record.find_size(of.repository),
    )


def _failed(last: Ending) -> bool:
    """A backup that a failing hook kept from beginning has failed as well; one that a hook skipped has not."""
    reason = last.account.reason
    return last.outcome is Outcome.FAILURE or (reason is not None and reason.code == "hook_failed")
