"""What of a run's account could not be taken in: noted with its step, so that the run never ends as good.

The event itself stands in the run's log, as a warning that keeps what was said (`eventlines`). Every function
works within the transaction of whoever takes the event in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from highball.hub.storage.schema import runs, steps
from highball.model.event import RunEnded, WarningSeen
from highball.model.event_lines import CODE
from highball.model.fact import storable
from highball.model.run import (
    Action,
    Caution,
    Outcome,
    Reason,
    Step,
)

MOST_TOLD = 10
"""So many of a step's events that were set aside are told one by one."""


def read_account(told: Mapping[str, Any]) -> Step:
    """A step as its row accounts for it; without what no program should have written there."""
    try:
        return Step.model_validate(told)
    except ValidationError as error:
        wrong = {one["loc"][0] for one in error.errors(include_url=False)}
        return Step.model_validate({name: value for name, value in told.items() if name not in wrong})


def spell_account(step: Step) -> dict[str, Any]:
    """The same for its row: no text in it that a database cannot look into."""
    spelled = _storable(step.model_dump(mode="json", exclude_none=True))
    assert isinstance(spelled, dict)
    return spelled


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {name: _storable(held) for name, held in value.items()}
    return [_storable(held) for held in value] if isinstance(value, list | tuple) else value


def step_set_aside(connection: sa.Connection, event: WarningSeen) -> Step:
    """The step that an event was about which could not be taken in, with that warning; failed where it was its end."""
    here = steps.c.run == event.run
    if event.step is not None:
        here &= steps.c.number == event.step
    found = connection.execute(sa.select(steps.c.account).where(here).order_by(steps.c.number.desc())).first()
    step = read_account(found.account) if found else _unheard_of(connection, event)
    told: dict[str, Any] = {"warnings": _with_one_more(step.warnings, event.warning)}
    if event.set_aside is not None and event.set_aside.type == "step.ended":
        reason = Reason(code=CODE, message=f"how it ended is not known: {event.warning.message}")
        told |= {"outcome": Outcome.FAILURE, "reason": reason, "ended_at": event.at}
    return step.model_copy(update=told)


def _with_one_more(warnings: Sequence[Caution], aside: Caution) -> tuple[Caution, ...]:
    """A few are told one by one; the last of them stands for all others."""
    if len(_asides_of(warnings)) < MOST_TOLD:
        return (*warnings, aside)
    last = max(place for place, warning in enumerate(warnings) if warning.code == CODE)
    more = warnings[last].model_copy(update={"count": warnings[last].count + 1})
    return (*warnings[:last], more, *warnings[last + 1 :])


def _unheard_of(connection: sa.Connection, event: WarningSeen) -> Step:
    asked = sa.select(runs.c.action, runs.c.repository, runs.c.job).where(runs.c.id == event.run)
    run = connection.execute(asked).one()
    return Step(number=event.step or 1, action=Action(run.action), repository=run.repository, job=run.job)


def with_asides(connection: sa.Connection, run: str, step: Step) -> Step:
    """An ended step, with the warnings of what was set aside meanwhile."""
    here = (steps.c.run == run) & (steps.c.number == step.number)
    found = connection.execute(sa.select(steps.c.account).where(here)).scalar()
    asides = _asides_of(read_account(found).warnings) if found else ()
    if not asides:
        return step
    told: dict[str, Any] = {"warnings": (*step.warnings, *asides)}
    if step.outcome is Outcome.SUCCESS:
        told |= {"outcome": Outcome.WARNING, "reason": Reason(code=CODE, message=asides[0].message)}
    return step.model_copy(update=told)


def ending_with_asides(connection: sa.Connection, event: RunEnded) -> tuple[Outcome, Reason | None]:
    """How a run ended: as it says, unless what it told before had to be set aside."""
    found = connection.execute(sa.select(steps.c.account).where(steps.c.run == event.run)).scalars()
    accounts = [step for step in map(read_account, found) if _asides_of(step.warnings)]
    if not accounts or event.outcome not in (Outcome.SUCCESS, Outcome.WARNING):
        return event.outcome, event.reason
    failed = next((step for step in accounts if step.reason and step.outcome is Outcome.FAILURE), None)
    if failed is not None:
        return Outcome.FAILURE, failed.reason
    message = _asides_of(accounts[0].warnings)[0].message
    return Outcome.WARNING, event.reason or Reason(code=CODE, message=message)


def _asides_of(warnings: Sequence[Caution]) -> tuple[Caution, ...]:
    return tuple(warning for warning in warnings if warning.code == CODE)
