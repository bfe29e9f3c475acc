"""A repository's form: read from a declared repository, read from what was sent, and written back into it.

A form is text. Which fields it has the engine says; fields that it does not show stay as they were, and values that
are to be sealed go beside the spec, never in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from highball.config.references import Spec
from highball.engine.base import Engine
from highball.engine.form import FormField, RepositoryFields
from highball.engine.kinds import USUAL, engine_in, engine_named
from highball.web.forms.environment_lines import read_variables, spell_variable

TEXTS = ("title", "maintained_by", "answer_within")
"""What is said of any repository in a line of its own."""

KEPT = "(sealed)"
"""How a variable is shown whose value is sealed."""

_ELSEWHERE = ("file", "env", "command")


def _check_engine(name: str) -> str:
    return engine_named(name).words.name


class RepositoryForm(BaseModel):
    """What stands in the form, blank where it is not said; whatever else was sent are the fields of its engine."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str] = Field(init=False)

    act: Literal["save", "test", "read"] = "save"
    anyway: str = ""
    revision: int = 0
    to: str = Field("", max_length=200)
    init: str = ""
    order_key: str = ""
    pasted: str = ""
    engine: Annotated[str, AfterValidator(_check_engine)] = USUAL.words.name
    key: str = Field("", max_length=200)
    title: str = ""
    kind: str = ""
    append_only: str = ""
    admin: str = ""
    maintained_by: str = ""
    answer_within: str = ""
    when_back: Literal["", "yes", "no"] = ""

    # --- from what is declared ---

    @classmethod
    def of(cls, key: str, spec: Spec, revision: int) -> Self:
        """The form as it is filled with what holds now; an address of a kind that has fields is shown by these."""
        engine = engine_in(spec)
        located = _taken_apart(engine, spec)
        kind = engine.form.kind_of(located).name
        told: dict[str, Any] = {"key": key, "revision": revision, "engine": engine.words.name, "kind": kind}
        told |= {name: str(spec[name]) for name in TEXTS if spec.get(name)}
        if spec.get("when_back") is not None:
            told["when_back"] = "yes" if spec["when_back"] else "no"
        told |= {"append_only": "yes" if spec.get("append_only") else ""}
        told |= {"admin": "yes" if spec.get("admin") is not None else ""}
        for field in engine.form.fields_for(kind):
            access = (located.get("admin") or {}) if field.of_admin else located
            told |= _shown(field, access.get(field.declared))
        return cls.model_validate(told)

    def with_address(self) -> Self:
        """The form with its fields as the pasted location says them; as it is where none is pasted."""
        if not self.pasted.strip():
            return self
        fields = engine_named(self.engine).read_address(self.pasted)
        kind = self.asked.kind_of(fields)
        blank = {field.name: "" for one in self.asked.kinds for field in self.asked.lines_of_place(one.name)}
        told = {name: str(value) for name, value in fields.items() if name not in kind.declares}
        return self.model_copy(update={**blank, **told, "kind": kind.name, "pasted": ""})

    # --- what stands in it ---

    @property
    def asked(self) -> RepositoryFields:
        """What people are asked for."""
        return engine_named(self.engine).form

    def said(self, name: str) -> str:
        """What was sent for a field of the engine, as it was sent."""
        return str((self.model_extra or {}).get(name, ""))

    def line(self, field: FormField) -> str:
        """What was typed into a line."""
        return self.said(field.name).strip()

    def how(self, field: FormField) -> str:
        """How a secret is said: `enter`, `keep`, where it lies, `generate` one that can be made, or `none` at all."""
        usual = "generate" if field.may_be_made else "none" if field.optional else "enter"
        return self.said(f"{field.name}_how") or usual

    @property
    def makes_password(self) -> bool:
        """Whether a password is to be made up."""
        return self.asked.password is not None and self.how(self.asked.password) == "generate"

    # --- to what it declares ---

    @property
    def location(self) -> dict[str, Any]:
        """The fields that say where it lies."""
        kind = self.asked.kind_called(self.kind)
        lines = {field: self.line(field) for field in self.asked.lines_of_place(kind.name)}
        return {
            **kind.declares,
            **{field.declared: _value(field, text) for field, text in lines.items() if text},
        }

    @property
    def address(self) -> str:
        """The location that these come to."""
        return engine_named(self.engine).spell_address(self.location)

    def applied_to(self, before: Spec) -> tuple[Spec, dict[str, str]]:
        """The spec that says so, and the values to seal for it; what the form does not show stays as it was."""
        sealed: dict[str, str] = {}
        spec = {name: value for name, value in before.items() if name not in self._names_shown()}
        if self.engine != USUAL.words.name:
            spec["engine"] = self.engine
        for name in TEXTS:
            if text := getattr(self, name).strip():
                spec[name] = text
        spec |= self._location_after(before)
        if self.when_back:
            spec["when_back"] = self.when_back == "yes"
        if self.append_only:
            spec["append_only"] = True
        placed = self.asked.lines_of_place(self.asked.kind_called(self.kind).name)
        self._fill(spec, [one for one in self._fields(of_admin=False) if one not in placed], before, sealed)
        if self.admin and self.asked.admin:
            spec["admin"] = self._admin_after(before.get("admin") or {}, sealed)
        return spec, sealed

    def _fields(self, *, of_admin: bool) -> list[FormField]:
        kind = self.asked.kind_called(self.kind).name
        return [field for field in self.asked.fields_for(kind) if field.of_admin is of_admin]

    def _names_shown(self) -> set[str]:
        """Everything that this form says of a repository."""
        own = {field.declared for field in self.asked.fields() if not field.of_admin}
        own |= {name for kind in self.asked.kinds for name in kind.declares}
        return {*own, *TEXTS, "when_back", "append_only", *(("admin",) if self.asked.admin else ())}

    def _location_after(self, before: Spec) -> Spec:
        """The fields that say where it lies; an address that says the same stays, and so do references."""
        told, kind = self.location, self.asked.kind_of(before)
        lines = {field.declared for field in self.asked.lines_of_place(kind.name)}
        address = {name: before[name] for name in lines if isinstance(before.get(name), str)}
        if address and not kind.declares:
            engine = engine_named(self.engine)
            was = engine.read_address(engine.spell_address(address))
            if {name: told.get(name) for name in was} == was:
                told = address | {name: told[name] for name in told if name not in was}
        held = [
            field.declared
            for field in self.asked.lines_of_place(self.asked.kind_called(self.kind).name)
            if isinstance(before.get(field.declared), dict) and not self.line(field)
        ]
        return told | {name: before[name] for name in held}

    def _admin_after(self, before: Spec, sealed: dict[str, str]) -> Spec:
        shown = {field.declared for field in self.asked.fields() if field.of_admin}
        spec = {name: value for name, value in before.items() if name not in shown}
        self._fill(spec, self._fields(of_admin=True), before, sealed)
        return spec

    def _fill(self, spec: Spec, fields: list[FormField], before: Spec, sealed: dict[str, str]) -> None:
        """Say these fields of an access in its spec, those first that a secret may stand beside."""
        for field in sorted(fields, key=lambda one: one.shape == "secret"):
            value = self._declared(field, spec, before.get(field.declared), sealed)
            if value is not None:
                spec[field.declared] = value

    def _declared(self, field: FormField, spec: Spec, before: Any, sealed: dict[str, str]) -> Any:
        """What a field declares, beside what the spec says already; None of nothing."""
        if field.shape == "variables":
            return self._variables(field, before or {}, sealed) or None
        if field.shape == "secret":
            is_asked = field.beside is None or field.beside in spec
            return self._reference(field, sealed) if is_asked and self.how(field) != "none" else None
        if text := self.line(field):
            return _value(field, text)
        return before if isinstance(before, dict) else None

    def _reference(self, field: FormField, sealed: dict[str, str]) -> Spec:
        """A reference to a secret; what is typed in goes beside, to be sealed."""
        how = self.how(field)
        if how in _ELSEWHERE:
            return {how: self.said(f"{field.name}_at").strip()}
        if how == "generate":
            sealed[field.slot] = ""
        elif how == "enter":
            sealed[field.slot] = self.said(field.name)
        return {"sealed": True}

    def _variables(self, field: FormField, before: Spec, sealed: dict[str, str]) -> Mapping[str, Any]:
        """The variables, one a line; one that is a secret is sealed."""
        found: dict[str, Any] = {}
        for name, value in read_variables(self.said(field.name)):
            if value == KEPT:
                found[name] = before.get(name, {"sealed": True})
            elif isinstance(value, str) and name.upper().endswith(
                ("_KEY", "_TOKEN", "_PASSWORD", "_SECRET", "_SAS")
            ):
                found[name] = {"sealed": True}
                sealed[f"{field.slot}.{name}"] = value
            else:
                found[name] = value
        return found


def _taken_apart(engine: Engine, spec: Spec) -> Spec:
    """What is declared, its address as the fields of the kind that it is of."""
    if engine.form.kind_of(spec).declares:
        return spec
    return spec | engine.read_address(engine.spell_address(spec))


def _value(field: FormField, text: str) -> str | int:
    return int(text) if field.shape == "number" and text.isdigit() else text


def _shown(field: FormField, value: Any) -> dict[str, str]:
    """How a declared value stands in the form; a reference in place of text leaves it blank."""
    if field.shape == "secret":
        return _how(field, value)
    if field.shape == "variables":
        return {field.name: "\n".join(_variable(*one) for one in (value or {}).items())}
    return {field.name: str(value)} if isinstance(value, str | int) else {}


def _how(field: FormField, reference: Any) -> dict[str, str]:
    """How a secret is kept now."""
    if not isinstance(reference, dict):
        return {f"{field.name}_how": "none" if field.optional else "enter"}
    for how in _ELSEWHERE:
        if how in reference:
            at = reference[how]
            told = at if isinstance(at, str) else " ".join(at)
            return {f"{field.name}_how": how, f"{field.name}_at": told}
    return {f"{field.name}_how": "keep"}


def _variable(name: str, value: Any) -> str:
    is_sealed = isinstance(value, dict) and "sealed" in value
    return spell_variable(name, KEPT if is_sealed else value)
