"""A folder or file as a source.

Excludes belong to their own source. Nothing here reads a file's content or starts a program.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError

from highball.model.snapshot import FILES_SET
from highball.model.text import PathText, path_for_people
from highball.place.base import Place
from highball.source.base import Examined, Omissions, Path, Reads
from highball.source.contents import examine_whole
from highball.source.patterns import anchored
from highball.source.spelling import Pattern, check_path, misplaced


class PathSource(BaseModel):
    """A folder or a file that a job backs up."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    kind: ClassVar[str] = "path"

    path: Annotated[PathText, AfterValidator(check_path)] = Field(
        description="the absolute path of a folder or file"
    )
    exclude: tuple[Pattern, ...] = Field((), description="patterns to exclude, relative to this path")
    allow_empty: bool = Field(False, strict=True, description="do not warn if the folder is empty")
    follow: bool = Field(False, strict=True, description="if the path is a symbolic link, back up its target")

    @model_validator(mode="before")
    @classmethod
    def _text_is_its_path(cls, value: object) -> object:
        bare = isinstance(value, str | bytes) or (isinstance(value, dict) and set(value) == {"b64"})
        return {"path": value} if bare else value

    @model_validator(mode="after")
    def _excludes_are_relative(self) -> Self:
        if found := misplaced(self.exclude, self.path):
            each = [
                {"under": f"exclude[{n}]", "message": message, "hint": hint} for n, message, hint in found
            ]
            raise PydanticCustomError("wrong", "{message}", {"message": found[0][1], "all": each})
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "examples": ["/home/me/documents"]}, handler(core)]}

    @classmethod
    def claims(cls, declared: object) -> bool:
        """A path by itself, or a table that says where."""
        return isinstance(declared, str | bytes) or (
            isinstance(declared, dict) and bool({"path", "b64"} & declared.keys())
        )

    @property
    def set(self) -> str:
        """All paths of a job are saved together."""
        return FILES_SET

    @property
    def title(self) -> str:
        """Its path."""
        return path_for_people(self.path)

    @property
    def path_within(self) -> bytes:
        """As it lies here."""
        return self.path

    def reads(self) -> Reads:
        """Its path, and all that lies below."""
        return Reads(paths=(self.path,))

    def examine(self, omissions: Omissions, place: Place) -> Examined:
        """Missing, empty, unreadable, a link, a device, or nothing in it that would be saved is a caution."""
        with place.files() as files:
            return examine_whole(
                files,
                self.path,
                omissions,
                exclude=self.exclude,
                follow=self.follow,
                allow_empty=self.allow_empty,
            )

    def prepare(self, found: Examined, omissions: Omissions, place: Place) -> Path:
        """Nothing has to be done: a path is there, and where it was followed it is where it leads."""
        return Path(found.path, anchored(found.path, [*omissions.exclude, *self.exclude]))

    def release(self, place: Place) -> None:
        """Nothing was taken."""
