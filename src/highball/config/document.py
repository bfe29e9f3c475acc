"""The document: everything that is declared, read from a file, checked as a whole, merged for each job.

Reading reports every problem at once and changes nothing. A Document that was read keeps the tables as they
were written: what is merged is what people wrote, not what a class made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SerializeAsAny, ValidationError
from pydantic_core import PydanticCustomError

from highball.config.host import Host
from highball.config.job import (
    Job,
    JobSettings,
    Profile,
)
from highball.config.load import (
    Kind,
    Tables,
    find_unplain,
    kind_of_file,
    read,
    read_file,
    refused,
)
from highball.config.merge import (
    BUILT_IN,
    levels_of,
    merge,
    settled,
    table_of,
)
from highball.config.object_keys import Key, check_key
from highball.config.pin import Pin
from highball.config.problems import (
    find_nearest,
    kind_of,
    listed,
    problem,
    problems_of,
    step,
)
from highball.config.references import (
    ALONE,
    TABLE_OF,
    TABLES,
)
from highball.config.repository import (
    CHECK,
    DISCARD,
    SPREAD,
    Repository,
    class_of,
)
from highball.config.roles import Token, User
from highball.config.settings import Settings
from highball.config.validate import Checks
from highball.errors import ConfigurationInvalid, Problem, Unknown
from highball.retention import Retention, effective
from highball.schedule import Schedule, with_times
from highball.secret import SecretReference, find_obstacle

__all__ = [
    "Cadences",
    "Document",
    "build",
    "effective_cadences",
    "effective_job",
    "effective_retention",
    "find_nearest",
    "find_obstacles",
    "find_obstacles_of_sources",
    "load",
    "origins",
    "parse",
]

UPGRADES: tuple[Callable[[Tables], Tables], ...] = ()
"""Each makes tables of one format into tables of the next; the first begins at format 1."""

FORMAT = 1

HUB_JOB = "hub"
"""No job has this key: snapshots that carry it hold copies of a hub's database."""

MODEL_OF: Mapping[str, type[BaseModel]] = {
    "settings": Settings,
    "defaults": JobSettings,
    "host": Host,
    "profile": Profile,
    "repository": Repository,
    "job": Job,
    "pin": Pin,
    "user": User,
    "token": Token,
}
"""Every kind of declared thing, and its class."""


def model_for(kind: str, written: object) -> type[BaseModel]:
    """The class of an object as people wrote it: of a repository that of its engine, where that is known."""
    if kind == "repository":
        with suppress(PydanticCustomError):
            return class_of(written)
    return MODEL_OF[kind]


class Document(BaseModel):
    """Everything that people declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    format: Literal[1] = Field(1, description="the version of this format")
    settings: Settings = Field(Settings(), description="settings of the whole installation")
    defaults: JobSettings = Field(JobSettings(), description="defaults that every job inherits")
    hosts: dict[Key, Host] = Field({}, description="the machines whose data is protected")
    profiles: dict[Key, Profile] = Field({}, description="named sets of defaults that jobs inherit")
    repositories: dict[Key, SerializeAsAny[Repository]] = Field({}, description="repositories for backups")
    jobs: dict[Key, Job] = Field({}, description="backup jobs")
    pins: dict[Key, Pin] = Field({}, description="snapshots that are never removed")
    users: dict[Key, User] = Field({}, description="people with an account")
    tokens: dict[Key, Token] = Field({}, description="tokens of programs")

    _tables: Tables | None = PrivateAttr(None)
    _effective: dict[str, Job] = PrivateAttr(default_factory=dict)

    @property
    def tables(self) -> Tables:
        """What was written, as plain tables: this is what `build` makes the same Document from."""
        if self._tables is None:
            self._tables = self.model_dump(mode="json", exclude_unset=True)
        return self._tables


# --- reading -------------------------------------------------------------------------------------


def load(path: Path) -> Document:
    """The document in a file, TOML or YAML by its name. Raises ConfigurationInvalid with all problems."""
    return parse(read_file(path), kind_of_file(path))


def parse(text: bytes, kind: Kind) -> Document:
    """The document that a text spells. Raises ConfigurationInvalid with all problems."""
    return build(read(text, kind))


def build(tables: Tables) -> Document:
    """The document in plain tables. Raises ConfigurationInvalid with all problems."""
    problems = list(find_unplain(tables))
    if problems:
        raise refused(*problems)
    tables = _upgraded(tables)
    reader = _Reader(tables)
    found = reader.read()
    problems = [*reader.problems, *Checks(tables, found).find()]
    if problems:
        raise refused(*dict.fromkeys(problems))
    document = Document.model_construct(**found)
    document._tables = tables
    return document


def build_what_is_sound(tables: Tables) -> tuple[Document, list[Problem]]:
    """The document without the objects that are wrong, or that name one which is; and all that is wrong.

    For what was right when it was stored: a newer program may refuse more, and a time zone may be gone from the
    system. One such object must not stop the others. Of settings and defaults only the wrong field is left out.
    """
    found: list[Problem] = []
    while True:
        try:
            return build(tables), found
        except ConfigurationInvalid as error:
            less = _without(tables, error.problems)
            if less == tables:
                raise
            found += [one for one in error.problems if one not in found]
            tables = less


def _without(tables: Tables, problems: Iterable[Problem]) -> Tables:
    """The tables without the objects that these problems are about."""
    found, less = list(problems), dict(tables)
    for name, table in tables.items():
        if isinstance(table, dict) and (name in TABLES or name in ALONE):
            wrong = {key for key in table if any(is_about(one, [f"{name}{step(key)}"]) for one in found)}
            less[name] = {key: value for key, value in table.items() if key not in wrong}
    return less


def is_about(found: Problem, places: Iterable[str]) -> bool:
    """Whether a problem lies in one of these places, like `jobs.docs`."""
    return any(found.at == place or found.at.startswith((f"{place}.", f"{place}[")) for place in places)


def place_of(kind: str, key: str) -> str:
    """Where an object stands in the document, as problems name it."""
    return kind if kind in ALONE else f"{TABLE_OF[kind]}{step(key)}"


def _upgraded(tables: Tables) -> Tables:
    written = tables.get("format", 1)
    if not isinstance(written, int) or isinstance(written, bool) or written < 1:
        raise refused(problem("format", f"must be a whole number from 1 on, not {kind_of(written)}"))
    if written > FORMAT:
        raise refused(
            problem(
                "format",
                f"this is format {written}, and this Highball knows formats up to {FORMAT}",
                "it was written for a newer Highball: use that one",
            )
        )
    for upgrade in UPGRADES[written - 1 :]:
        tables = upgrade(tables)
    return tables


_Model = TypeVar("_Model", bound=BaseModel)


class _Reader:
    """Each table by itself: what it spells, and what is wrong with it."""

    def __init__(self, tables: Tables) -> None:
        self.problems: list[Problem] = []
        self._tables = tables

    def read(self) -> dict[str, Any]:
        """The document's fields as far as they are right."""
        for name in self._tables:
            if name not in Document.model_fields:
                known = [*Document.model_fields]
                self._refuse(
                    step(name)[1:],
                    "is not known here",
                    find_nearest(name, known) or f"known are {', '.join(known)}",
                )
        found: dict[str, Any] = {
            name: self._one(MODEL_OF[name], self._tables.get(name), name) for name in ALONE
        }
        found |= {table: self._many(MODEL_OF[kind], table) for table, kind in TABLES.items()}
        return {name: value for name, value in found.items() if value is not None and name in self._tables}

    def _refuse(self, at: str, message: str, hint: str | None = None) -> None:
        self.problems.append(problem(at, message, hint))

    def _one(self, model: type[_Model], table: object, at: str) -> _Model | None:
        written = {} if table is None else table
        if issubclass(model, Repository):
            with suppress(PydanticCustomError):
                model = class_of(written)  # type: ignore[assignment]
        try:
            return model.model_validate(_readable(model, written) if isinstance(written, dict) else written)
        except ValidationError as error:
            self.problems += problems_of(error, model, written, at)
            broken = {detail["loc"][:2] for detail in error.errors(include_url=False) if detail["loc"]}
        if isinstance(written, dict):
            self._look_further(model, written, broken, at)
        return None

    def _look_further(
        self, model: type[BaseModel], table: Mapping[str, Any], broken: set[tuple[int | str, ...]], at: str
    ) -> None:
        """What the sound parts of a table say together, where other parts of it are wrong."""
        mended = _mended(model, table, broken)
        told = {at, *(at + step(where[0]) for where in broken)}
        try:
            model.model_validate(mended)
        except ValidationError as error:
            self.problems += [
                found for found in problems_of(error, model, mended, at) if found.at not in told
            ]

    def _many(self, model: type[_Model], section: str) -> dict[str, _Model]:
        tables = self._tables.get(section) or {}
        if not isinstance(tables, dict):
            hint = f"write [{section}.ID] with single brackets" if isinstance(tables, list) else None
            self._refuse(section, f"must be a table with an ID for each, not {kind_of(tables)}", hint)
            return {}
        found = {}
        for key, table in tables.items():
            self._check_key(section, key)
            read = self._one(model, table, section + step(key))
            if read is not None:
                found[key] = read
        return found

    def _check_key(self, section: str, key: str) -> None:
        try:
            check_key(key)
        except PydanticCustomError as error:
            context = error.context or {}
            self._refuse(section, context["message"], context["hint"])
        if section == "jobs" and key == HUB_JOB:
            self._refuse("jobs", f"{HUB_JOB} is reserved for hub backups", "choose another ID")


def _readable(model: type[BaseModel], table: Mapping[str, Any]) -> dict[str, Any]:
    """The table as it can be validated by itself: without what it takes back or leaves blank."""
    told = settled(table) if issubclass(model, JobSettings) else table
    return {
        name: value for name, value in told.items() if value is not None or name not in model.model_fields
    }


def _mended(
    model: type[BaseModel], table: Mapping[str, Any], broken: set[tuple[int | str, ...]]
) -> dict[str, Any]:
    """The table without the fields, and of sources the rows, that are wrong."""
    names = {where[0] for where in broken}
    whole = {name: value for name, value in _readable(model, table).items() if name not in names}
    if isinstance(rows := table.get("sources"), list):
        whole["sources"] = [None if ("sources", n) in broken else row for n, row in enumerate(rows)]
    if issubclass(model, Repository) and "password" in names:
        whole["password"] = {"env": "-"}
    return whole


# --- what holds ----------------------------------------------------------------------------------


def effective_job(document: Document, key: str) -> Job:
    """The job with all it inherits. Raises Unknown."""
    known = document._effective
    if key not in known:
        known[key] = _inherited(document, key)
    return known[key]


def _inherited(document: Document, key: str) -> Job:
    if key not in document.jobs:
        raise _unknown("job", key, document.jobs)
    own = table_of(table_of(document.tables, "jobs"), key)
    alone = {name: value for name, value in own.items() if name not in JobSettings.model_fields}
    merged = merge(levels_of(document.tables, key)).table
    job = Job.model_validate(_readable(Job, alone | merged))
    return job.model_copy(update={"schedule": with_times(job.schedule, document.settings.times)})


@dataclass(frozen=True)
class Cadences:
    """When a repository is kept in order by itself; a manual schedule is never."""

    discard: Schedule
    check: Schedule
    prune: Schedule | None
    """None: whenever snapshots are discarded."""
    verify: Schedule
    after_backup: bool
    """Whether retention of a job is applied after each of its backups, too."""


def effective_cadences(document: Document, key: str) -> Cadences:
    """When snapshots of a repository are discarded and its data is checked. Raises Unknown."""
    if key not in document.repositories:
        raise _unknown("repository", key, document.repositories)
    repository = document.repositories[key]
    times = document.settings.times
    check = with_times(_spread(repository.check_schedule or CHECK), times)
    if repository.maintenance == "off":
        return Cadences(Schedule(), check, None, Schedule(), after_backup=False)
    after, discard, prune = (
        repository.discards_after_backup,
        repository.discards_at,
        repository.prune_schedule,
    )
    if after and discard is None:
        discard, prune = Schedule(), prune or DISCARD
    return Cadences(
        discard=with_times(_spread(discard or DISCARD), times),
        check=check,
        prune=with_times(_spread(prune), times) if prune else None,
        verify=with_times(_spread(repository.verify_schedule or Schedule()), times),
        after_backup=after,
    )


def _spread(schedule: Schedule) -> Schedule:
    """The schedule with a delay of its own, where it names no time of the day and says nothing of a delay."""
    is_typed = schedule.cron not in ("daily", "weekly", "monthly") or "jitter" in schedule.model_fields_set
    return schedule if is_typed else schedule.model_copy(update={"jitter": SPREAD})


def origins(document: Document, key: str, repository: str | None = None) -> dict[str, str]:
    """For each value of a job, as `retention.daily` or `exclude[1]`, the table it comes from, or "built-in".

    With a repository, what that one says about retention has its say too. Raises Unknown.
    """
    if key not in document.jobs:
        raise _unknown("job", key, document.jobs)
    named = merge(levels_of(document.tables, key, repository)).origins
    told = {name.partition(".")[0].partition("[")[0] for name in named}
    own = dict.fromkeys(document.jobs[key].model_fields_set - set(JobSettings.model_fields), f"jobs.{key}")
    rest = {name: BUILT_IN for name in Job.model_fields if name not in told and name not in own}
    return rest | own | named


def effective_retention(document: Document, job_key: str, repository_key: str) -> Retention:
    """Which snapshots of the job are kept there: the built-in policy where no level names any field.

    Raises Unknown.
    """
    if job_key not in document.jobs:
        raise _unknown("job", job_key, document.jobs)
    if repository_key not in document.repositories:
        raise _unknown("repository", repository_key, document.repositories)
    merged = merge(levels_of(document.tables, job_key, repository_key), ("retention",))
    return effective(Retention.model_validate(merged.table.get("retention", {})))


def find_obstacles(
    document: Document,
    keys_of_repositories: Iterable[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> list[Problem]:
    """Secrets of these repositories, or of all, that cannot be had here as far as shows. Raises Unknown."""
    chosen = document.repositories if keys_of_repositories is None else list(keys_of_repositories)
    found = []
    for key in chosen:
        if key not in document.repositories:
            raise _unknown("repository", key, document.repositories)
        for place, reference in document.repositories[key].secrets():
            obstacle = find_obstacle(reference, environment)
            if obstacle is not None:
                hint = _hint_for(reference)
                found.append(problem(f"repositories.{key}.{place}", obstacle, hint))
    return found


def find_obstacles_of_sources(document: Document) -> list[Problem]:
    """Secrets that sources of jobs of no other host need and that cannot be had here, as far as shows."""
    return [
        problem(f"jobs.{key}.sources[{number}].{place}", obstacle, _hint_for(reference))
        for key, job in document.jobs.items()
        if effective_job(document, key).host is None
        for number, source in enumerate(job.sources)
        for place, reference in source.reads().secrets.items()
        if (obstacle := find_obstacle(reference)) is not None
    ]


def _hint_for(reference: SecretReference) -> str | None:
    if reference.file is not None:
        return "it must contain the secret as its only line; chmod 600"
    if reference.sealed is not None:
        return "sealed secrets live in a hub; here write { file = … }, { env = … } or { command = … }"
    return None


def _unknown(kind: str, key: str, known: Iterable[str]) -> Unknown:
    names = list(known)
    hint = find_nearest(key, names) or listed(f"{kind}s", names)
    return Unknown(f'there is no {kind} "{key}"', code=f"{kind}_unknown", hint=hint)
