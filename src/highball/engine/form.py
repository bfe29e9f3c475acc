"""How a repository is asked for on a page: what an engine has people fill in, in the rows and the order that they see.

An engine says this beside its declared fields. What draws and reads a form by it knows no engine; no value is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

ADMIN = "admin."
"""How the slot of a field begins that belongs to the access that may delete."""


@dataclass(frozen=True, kw_only=True)
class FormField:
    """A declared field as people are asked for it."""

    slot: str
    label: str
    shape: Literal["code", "text", "number", "secret", "variables"] = "code"
    help: str | None = None
    placeholder: str | None = None
    optional: bool = False
    beside: str | None = None
    """Of a secret: the field of the same access whose word it proves; without that there is none."""
    may_be_made: bool = False
    """Of a secret: whether one can be made up."""

    @property
    def name(self) -> str:
        """What it is called in the form."""
        return self.slot.replace(".", "_")

    @property
    def declared(self) -> str:
        """What it is called in its access."""
        return self.slot.removeprefix(ADMIN)

    @property
    def of_admin(self) -> bool:
        """Whether it belongs to the access that may delete."""
        return self.slot.startswith(ADMIN)

    @property
    def is_line(self) -> bool:
        """Whether it is declared as it is typed."""
        return self.shape in ("code", "text", "number")


@dataclass(frozen=True)
class FormRow:
    """Fields side by side; asked for only where the repository is of one of these kinds, where any are named."""

    fields: tuple[FormField, ...]
    kinds: tuple[str, ...] = ()

    def is_for(self, kind: str) -> bool:
        """Whether it is asked for in a repository of this kind."""
        return not self.kinds or kind in self.kinds


@dataclass(frozen=True)
class FormKind:
    """One way in which a repository of the engine can lie somewhere, as people choose it."""

    name: str
    title: str
    help: str
    declares: Mapping[str, str]
    """What the choice itself declares; of nothing, an address that is of another kind is shown as that."""
    on_disk: bool = False
    """Whether it may lie on a disk of its host."""


@dataclass(frozen=True)
class RepositoryFields:
    """All that people are asked for."""

    kinds: tuple[FormKind, ...]
    """Up to eight. The first is that of a new one; where it is the only one, nobody is asked."""
    where: tuple[FormRow, ...]
    """Where it lies, and who asks there."""
    password: FormField | None = None
    """What opens it, where something does."""
    besides: tuple[FormRow, ...] = ()
    example: str = ""
    """An address as people paste it."""
    admin: tuple[FormRow, ...] = ()
    """What the access that may delete says otherwise; where nothing can be said, there is no such access."""

    def kind_called(self, name: str) -> FormKind:
        """The kind of this name, or the first."""
        return next((kind for kind in self.kinds if kind.name == name), self.kinds[0])

    def kind_of(self, spec: Mapping[str, Any]) -> FormKind:
        """The kind of what is declared so: of those that fit it, the one that declares most."""
        fitting = [kind for kind in self.kinds if kind.declares.items() <= spec.items()]
        return max(fitting, key=lambda kind: len(kind.declares), default=self.kinds[0])

    def fields(self) -> Iterator[FormField]:
        """Every field, whatever the kind."""
        for row in (*self.where, *self.besides, *self.admin):
            yield from row.fields
        if self.password is not None:
            yield self.password

    def fields_for(self, kind: str) -> Iterator[FormField]:
        """Those that count in a repository of this kind; variables count in any."""
        asked = {field for row in self._rows() if row.is_for(kind) for field in row.fields}
        return (field for field in self.fields() if field in asked or field.shape == "variables")

    def lines_of_place(self, kind: str) -> list[FormField]:
        """Those lines that say where one of this kind lies."""
        rows = [row for row in self.where if row.is_for(kind)]
        return [field for row in rows for field in row.fields if field.is_line]

    def _rows(self) -> tuple[FormRow, ...]:
        opening = () if self.password is None else (FormRow((self.password,)),)
        return (*self.where, *self.besides, *self.admin, *opening)
