"""A repository as the document holds it: the engine's own fields, and how it is kept in order.

The engine knows how to reach a repository; how long snapshots stay and how often the data is read again are
declared beside that, here, because engines know nothing of retention.
"""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    PlainSerializer,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    create_model,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from highball.config.object_keys import Key
from highball.config.problems import all_wrong
from highball.config.references import Spec
from highball.engine.base import DeclaredRepository
from highball.engine.kinds import engine_in
from highball.errors import NotAllowed
from highball.retention import Retention
from highball.schedule import Schedule

SPREAD = timedelta(hours=1)
"""Maintenance at a time that nobody typed begins up to so much later, each repository's at its own time: not all at
once, and not together with every backup of the night."""

DISCARD = Schedule(cron="0 3 * * *", jitter=SPREAD)
"""When snapshots are discarded where nobody says: every day at 03:00."""

CHECK = Schedule(cron="0 2 * * 0", jitter=SPREAD)
"""When data is checked where nobody says: on Sundays at 02:00."""

MOST_SLICES = 256
"""So many parts any engine cuts a repository's data into: restic from 0.14 to 0.19 no more."""


def _share_from_value(value: object) -> float:
    """A share in per cent from `5%`, or a number that means per cent."""
    number = _number(value)
    if number is None:
        raise ValueError('a share is text like "5%", or a number of per cent')
    if number and not 100 / MOST_SLICES <= number <= 100:
        raise ValueError("a share is between 0.4% and 100%, or 0")
    return number


def _number(value: object) -> float | None:
    if isinstance(value, str):
        try:
            return float(value.strip().removesuffix("%"))
        except ValueError:
            return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


Share = Annotated[
    float,
    BeforeValidator(_share_from_value),
    PlainSerializer(lambda share: f"{share:g}%", return_type=str),
    WithJsonSchema({"anyOf": [{"type": "string", "examples": ["5%"]}, {"type": "number"}]}),
]
"""A part of the whole, in per cent."""


AFTER_BACKUP = "after-backup"
"""In place of a schedule: retention of a job is applied after each backup of it."""

SCHEDULES = ("discard_schedule", "prune_schedule", "verify_schedule", "check_schedule")
"""The fields that say when a repository is kept in order."""


def _as_list(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


def _check_discarding(times: tuple[str | Schedule, ...]) -> tuple[str | Schedule, ...]:
    schedules = [one for one in times if isinstance(one, Schedule)]
    if not times or len(schedules) > 1 or len(times) - len(schedules) > 1:
        raise ValueError('names one schedule, "after-backup", or a list of both')
    return times


def _kind_of(value: object) -> str:
    return "after" if isinstance(value, str) and value.strip().lower() == AFTER_BACKUP else "schedule"


Discarding = Annotated[
    tuple[
        Annotated[
            Annotated[
                Literal["after-backup"], BeforeValidator(lambda text: text.strip().lower()), Tag("after")
            ]
            | Annotated[Schedule, Tag("schedule")],
            Discriminator(_kind_of),
        ],
        ...,
    ],
    BeforeValidator(_as_list),
    AfterValidator(_check_discarding),
    PlainSerializer(lambda times: times[0] if len(times) == 1 else times),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "examples": ["daily", AFTER_BACKUP]},
                {"type": "object"},
                {"type": "array", "minItems": 1, "maxItems": 2},
            ]
        }
    ),
]
"""When retention is applied: by a schedule, after each backup, or both."""


class Repository(DeclaredRepository):
    """A repository as people declare it: the fields of its engine, and its maintenance.

    What is read as one becomes an object of a class with both (`class_of`), so that the form is flat.
    """

    host: Key | None = Field(None, description="the host that a local path belongs to")
    maintained_by: Key | None = Field(None, description="the host whose agent lists, checks and prunes it")
    maintenance: Literal["auto", "user", "off"] = Field(
        "auto",
        description="auto: recommended settings; user: as set in these fields; off: nothing is ever removed",
    )
    accept_growth: bool = Field(
        False,
        strict=True,
        description="required by maintenance = off, because the repository grows without limit",
    )
    retention: Retention | None = Field(None, description="which snapshots of its jobs are kept")
    discard_schedule: Discarding | None = Field(
        None,
        description='when retention is applied: a schedule, "after-backup" (of that job), or a list of both; '
        "without one, daily at 03:00, or up to an hour later",
    )
    prune_schedule: Schedule | None = Field(
        None,
        description="when data that no snapshot needs is removed; without one, whenever retention is applied by "
        "schedule",
    )
    verify_schedule: Schedule | None = Field(
        None, description="when restore tests of its jobs run; without one, only when started manually"
    )
    check_schedule: Schedule | None = Field(
        None, description="with maintenance = user: when data is checked; without one, Sundays at 02:00"
    )
    check_share: Share = Field(
        5.0,
        description="how much of the data a check reads, like 5%; the next check reads the next part",
        json_schema_extra={"default": "5%"},
    )

    @model_validator(mode="wrap")
    @classmethod
    def _is_of_its_engine(
        cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        if cls is not Repository or isinstance(value, Repository):
            return handler(value)
        return cast(Self, class_of(value).model_validate(value, context=info.context))

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        if cls is not Repository:
            return handler(core)
        usual = class_of({})
        usual.model_rebuild()
        return handler.resolve_ref_schema(handler(usual.__pydantic_core_schema__))

    @model_validator(mode="after")
    def _growth_is_accepted(self) -> Self:
        if self.maintenance == "off" and not self.accept_growth:
            hint = "if that is intended, set accept_growth = true"
            raise all_wrong([("maintenance", "is off, so the repository would grow without limit", hint)])
        return self

    @model_validator(mode="after")
    def _cadences_count(self) -> Self:
        only_user = ("check_schedule",) if self.maintenance == "auto" else SCHEDULES
        given = [name for name in only_user if getattr(self, name) is not None]
        if given and self.maintenance != "user":
            hint = 'set maintenance = "user", or omit it'
            raise all_wrong(
                (name, f"has no effect while maintenance is {self.maintenance}", hint) for name in given
            )
        return self

    def maintainer(self, hub: str) -> str:
        """The host whose agent lists, checks and prunes it: the hub's own where it names none."""
        return self.maintained_by or self.host or hub

    @property
    def discards_after_backup(self) -> bool:
        """Whether retention of a job is applied after each of its backups."""
        return AFTER_BACKUP in (self.discard_schedule or ())

    @property
    def discards_at(self) -> Schedule | None:
        """The schedule by which retention is applied, where one is named."""
        return next((one for one in self.discard_schedule or () if isinstance(one, Schedule)), None)

    @property
    def check_slices(self) -> int | None:
        """Into how many parts checks cut the data, reading one each time; None where they read no data."""
        return parts_of(self.check_share)


def class_of(written: object) -> type[Repository]:
    """The class of a repository as people wrote it, by the engine that it names. Raises PydanticCustomError."""
    return _joined(engine_in(written).declared)


@functools.cache
def _joined(declared: type[DeclaredRepository]) -> type[Repository]:
    engine: Any = declared.model_fields["engine"]  # of both bases it would be the one that knows no name
    bases = cast(tuple[type[Repository], ...], (Repository, declared))
    return create_model(
        "Repository",
        __base__=bases,
        __doc__=Repository.__doc__,
        engine=(engine.annotation, engine),
    )


def is_reached_otherwise(before: Spec, after: Spec) -> bool:
    """Whether two declarations differ in how a repository is reached and opened: then it is tested before it counts."""
    return any(before.get(name) != after.get(name) for name in (*before, *after) if name not in _ASIDE)


_ASIDE = frozenset({*Repository.model_fields} - {"engine", "host", "maintained_by"})
"""The fields that say nothing of how a repository is reached."""


def parts_of(share: float) -> int | None:
    """Into how many parts data is cut, each of this share in per cent; None where the share is nothing."""
    return min(max(1, round(100 / share)), MOST_SLICES) if share else None


def demand_right_to_delete(key: str, repository: Repository) -> None:
    """Raise NotAllowed where a repository is declared append-only and no admin access is named."""
    if repository.append_only and not repository.has_admin:
        raise NotAllowed(
            f"the repository {key} is append-only, and has no admin credentials",
            code="admin_creds_required",
            hint=f"set them under [repositories.{key}.admin], or run this on a machine that has them",
        )


def demand_maintained(key: str, repository: Repository) -> None:
    """Raise NotAllowed where no snapshot may be removed."""
    if repository.maintenance == "off":
        hint = "set maintenance = auto, or user, first"
        message = f"maintenance of {key} is off: nothing is ever removed there"
        raise NotAllowed(message, code="maintenance_off", hint=hint)
    demand_right_to_delete(key, repository)
