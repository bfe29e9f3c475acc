"""Every kind of engine, a line each; and which of them a declared repository is of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializationInfo,
    TypeAdapter,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
)
from pydantic_core import PydanticCustomError

from highball.engine.base import DeclaredRepository, Engine
from highball.engine.restic.engine import RESTIC

ENGINES: tuple[Engine, ...] = (RESTIC,)

USUAL = RESTIC
"""Where a repository names none."""


def _check_whole(path: Path) -> Path:
    if not path.is_absolute() or "\0" in str(path):
        told = {"message": "is not an absolute path", "hint": "it starts with /"}
        raise PydanticCustomError("wrong", "{message}", told)
    return path


class Programs(BaseModel):
    """The programs of engines that a machine's own file names, each in a field that is called as its engine is."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def of(self, engine: str) -> Path | None:
        """The program of this engine, where one is named."""
        return getattr(self, engine) if engine in Programs.model_fields else None


if not TYPE_CHECKING:  # which fields there are is known to the engines alone
    _Program = Annotated[Path, AfterValidator(_check_whole)] | None
    Programs = create_model(
        "Programs",
        __base__=Programs,
        __doc__=Programs.__doc__,
        __module__=__name__,
        **{
            one.words.name: (_Program, Field(None, description=one.program)) for one in ENGINES if one.program
        },
    )


def engine_named(name: object) -> Engine:
    """The engine of this name, the usual one of None; raises PydanticCustomError, with those that there are."""
    wanted = USUAL.words.name if name is None else name
    found = next((engine for engine in ENGINES if engine.words.name == wanted), None)
    if found is None:
        message = "is not a known engine"
        wrong = {"under": "engine", "message": message, "hint": f"one of {', '.join(_names())}"}
        raise PydanticCustomError("wrong", "{message}", {"message": f"engine {message}", "all": [wrong]})
    return found


def engine_of(repository: DeclaredRepository) -> Engine:
    """The engine of a declared repository."""
    return engine_named(repository.engine)


def engine_in(written: object) -> Engine:
    """The engine that a repository names as people wrote it."""
    return engine_named(written.get("engine") if isinstance(written, Mapping) else None)


def engines_beyond(repositories: Iterable[DeclaredRepository]) -> list[str]:
    """The engines of these besides the usual one, which every agent has."""
    return sorted({one.engine for one in repositories} - {USUAL.words.name})


def _names() -> list[str]:
    return [engine.words.name for engine in ENGINES]


# --- on the wire ---------------------------------------------------------------------------------


def _read(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> DeclaredRepository:
    if isinstance(value, DeclaredRepository):
        return value
    return engine_in(value).declared.model_validate(value, context=info.context)


def _write(value: DeclaredRepository, info: SerializationInfo) -> dict[str, Any]:
    """What the engine needs of it: how it is kept in order is the hub's affair."""
    declared: TypeAdapter[DeclaredRepository] = TypeAdapter(engine_of(value).declared)
    told: dict[str, Any] = declared.dump_python(
        value,
        mode="json" if info.mode_is_json() else "python",
        context=info.context,
        by_alias=bool(info.by_alias),
        exclude_unset=info.exclude_unset,
        exclude_defaults=info.exclude_defaults,
        exclude_none=info.exclude_none,
    )
    return told


AnyRepository = Annotated[DeclaredRepository, WrapValidator(_read), PlainSerializer(_write)]
"""A repository of whichever engine, by its flat fields; the usual engine where it names none."""
