"""What a job's form holds: read from a declared job, read from what was sent, and written back into the job.

Each field stands for a part of the spec. A part whose fields were sent as they were shown is left as it is, spelled
as somebody spelled it. The rarer fields are those of `job_options`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from starlette.datastructures import FormData

from highball.config.merge import (
    Level,
    Merged,
    merge,
    profiles_of,
    table_of,
)
from highball.config.references import Spec
from highball.errors import Problem
from highball.model.text import path_from_text, path_to_text
from highball.retention import BUILT_IN
from highball.schedule import Schedule, with_times
from highball.web.forms import job_options
from highball.web.forms.environment_lines import read_variables, spell_variable
from highball.web.forms.job_options import OPTIONS, Texts

COUNTS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
INHERITED = "inherited"
RHYTHMS = {
    "hourly": "Hourly",
    "daily": "Daily",
    "weekly": "Weekly",
    "monthly": "Monthly",
    "cron": "Cron",
    "manual": "Manual",
}
SUGGESTED = {
    "caches": ("Caches", "recreated by the programs that use them", (".cache", "Caches", "__pycache__")),
    "packages": (
        "Dependencies (node_modules, .venv)",
        "Node and Python packages, reinstalled by one command",
        ("node_modules", ".venv"),
    ),
    "temporary": ("Temporary files", "half-written and swap files", ("*.tmp", "*.temp", "*.swp", "*~")),
    "trash": ("Trash", "deleted files", (".Trash", ".Trash-*", "**/share/Trash", "$RECYCLE.BIN")),
    "machines": (
        "Virtual machine disks",
        "large and always changing",
        ("*.vmdk", "*.vdi", "*.qcow2", "*.vhdx"),
    ),
    "images": ("Disc images", "can be downloaded again", ("*.iso",)),
}
"""What many leave out: its name, why, and the patterns that say so."""

SPARE_HOOKS = 1
"""So many blank rows are offered for hooks that are not there yet."""


# --- paths ---------------------------------------------------------------------------------------


def spell_path(path: bytes) -> str:
    """A path as a form can send it back unchanged: as it is, or as JSON where a browser would alter it."""
    told = path_to_text(path)
    if isinstance(told, str) and told.isprintable() and told.strip() == told:
        return told
    return json.dumps({"b64": base64.b64encode(path).decode()})


def read_path(text: str) -> bytes:
    """The path that a field's value stands for."""
    try:
        return path_from_text(json.loads(text) if text.startswith("{") else text)
    except ValueError:
        return text.encode("utf-8", "surrogateescape")


def _path_of_row(row: Any) -> bytes:
    return path_from_text(row["path"] if isinstance(row, dict) and "path" in row else row)


@dataclass(frozen=True)
class SourceRow:
    """A source as the form shows it, with what it says besides its path."""

    path: str
    exclude: tuple[str, ...] = ()
    allow_empty: bool = False
    follow: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it says nothing besides its path."""
        return self == SourceRow(self.path)

    def written(self, before: Any) -> Any:
        """The source as a spec says it; as before where nothing of it was changed."""
        if before is not None and self == _source_row(before):
            return before
        path = path_to_text(read_path(self.path))
        told = {"exclude": list(self.exclude), "allow_empty": self.allow_empty, "follow": self.follow}
        said = {name: value for name, value in told.items() if value}
        return {"path": path, **said} if said else path


def _source_row(row: Any) -> SourceRow:
    said = row if isinstance(row, dict) and "path" in row else {}
    return SourceRow(
        spell_path(_path_of_row(row)),
        tuple(str(one) for one in said.get("exclude") or ()),
        said.get("allow_empty") is True,
        said.get("follow") is True,
    )


@dataclass(frozen=True)
class CommandRow:
    """A command whose output is backed up; `was` is its number among the sources that were shown, if it was."""

    run: str = ""
    name: str = ""
    was: str = ""
    environment: str = ""
    """Its variables, one a line."""

    def written(self, before: Sequence[Any]) -> Spec:
        """The source as a spec says it, with what it says besides as before."""
        known = before[int(self.was)] if self.was.isdecimal() and int(self.was) < len(before) else {}
        besides = dict(known) if isinstance(known, dict) else {}
        variables = dict(read_variables(self.environment))
        if not variables:
            besides.pop("environment", None)
        said = {"environment": variables} if variables else {}
        return {**besides, "run": _command(self.run), "name": self.name, **said}


def _is_command(row: Any) -> bool:
    return isinstance(row, dict) and "run" in row


def _command_rows(sources: Any) -> tuple[CommandRow, ...]:
    return tuple(
        CommandRow(_as_text(row["run"]), str(row.get("name", "")), str(number), _spell_environment(row))
        for number, row in enumerate(sources or ())
        if _is_command(row)
    )


def _spell_environment(row: Spec) -> str:
    variables = row.get("environment")
    pairs = variables.items() if isinstance(variables, dict) else ()
    return "\n".join(spell_variable(name, value) for name, value in pairs)


def _commands_sent(form: FormData) -> tuple[CommandRow, ...]:
    columns = (form.getlist(f"source-{name}") for name in ("run", "name", "was", "environment"))
    rows = [
        CommandRow(*("\n".join(_lines(str(cell))) for cell in row)) for row in zip(*columns, strict=False)
    ]
    return tuple(row for row in rows if row.run or row.name)


def _sources_sent(form: FormData) -> tuple[SourceRow, ...]:
    """Those that are ticked, with what stands below them, and those that were typed."""
    paths = [*(str(one) for one in form.getlist("source")), *_lines(_text(form, "more"))]
    patterns = dict(
        zip(map(str, form.getlist("option-of")), map(str, form.getlist("source-exclude")), strict=False)
    )
    empty, follow = form.getlist("source-allow_empty"), form.getlist("source-follow")
    return tuple(
        SourceRow(path, tuple(_lines(patterns.get(path, ""))), path in empty, path in follow)
        for path in dict.fromkeys(filter(None, paths))
    )


# --- when ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class When:
    """A schedule taken apart; `rhythm` says which of the other fields count."""

    rhythm: str = "daily"
    minute: str = "0"
    at: str = "03:00"
    days: tuple[str, ...] = ("Sun",)
    day: str = "1"
    cron: str = ""
    jitter: str = ""

    @classmethod
    def of(cls, schedule: Schedule, jitter: str) -> When:
        """The fields that a schedule is shown in."""
        told = cls(jitter=jitter, cron=schedule.expression or "")
        if schedule.expression is None:
            return replace(told, rhythm="manual")
        minute, hour, day, month, weekday = schedule.expression.split()
        if month == "*" and minute.isdecimal():
            if (hour, day, weekday) == ("*", "*", "*"):
                return replace(told, rhythm="hourly", minute=minute)
            if hour.isdecimal():
                told = replace(told, at=f"{int(hour):02}:{int(minute):02}")
                days = _days(weekday)
                if day == "*" and (days or weekday == "*"):
                    return (
                        replace(told, rhythm="weekly", days=days) if days else replace(told, rhythm="daily")
                    )
                if weekday == "*" and day.isdecimal():
                    return replace(told, rhythm="monthly", day=day)
        return replace(told, rhythm="cron")

    @classmethod
    def sent(cls, form: FormData) -> When:
        """The fields as they were sent."""
        return cls(
            rhythm=_text(form, "rhythm") or "manual",
            minute=_text(form, "minute"),
            at=_text(form, "at"),
            days=tuple(day for day in DAYS if day in form.getlist("days")),
            day=_text(form, "day"),
            cron=_text(form, "cron"),
            jitter=_text(form, "jitter"),
        )

    def expression(self) -> str:
        """The cron fields or the name; what makes no sense is left for the schedule's own rules to refuse."""
        found = re.fullmatch(r"(\d{1,2}):(\d\d)", self.at)
        at = f"{int(found[2])} {int(found[1])}" if found else f"{self.at or '?'} *"
        weekdays = ",".join(str((DAYS.index(day) + 1) % 7) for day in self.days)
        return {
            "hourly": f"{self.minute or 0} * * * *",
            "daily": f"{at} * * *",
            "weekly": f"{at} * * {weekdays or '?'}",
            "monthly": f"{at} {self.day or '?'} * *",
            "cron": self.cron,
        }.get(self.rhythm, "manual")

    def problem(self) -> Problem | None:
        """What is wrong with a field that cron's own words would tell badly."""
        if self.rhythm in ("daily", "weekly", "monthly"):
            found = re.fullmatch(r"(\d{1,2}):(\d\d)", self.at)
            if found is None or int(found[1]) > 23 or int(found[2]) > 59:
                return Problem("schedule", f'"{self.at[:20]}" is not a time of day', "write it like 03:30")
        if self.rhythm == "weekly" and not self.days:
            return Problem("schedule", "no day of the week is selected", "select at least one")
        return None

    def written(self, before: Any) -> Any:
        """The schedule as a spec says it; the time zone of before stays."""
        table = dict(before) if isinstance(before, dict) else {}
        table["cron"] = self.expression()
        table.pop("jitter", None)
        if self.jitter:
            table["jitter"] = self.jitter
        return table["cron"] if set(table) == {"cron"} else table


def _days(weekday: str) -> tuple[str, ...]:
    numbers: set[int] = set()
    for part in weekday.split(","):
        first, _, last = part.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            return ()
        numbers |= {number % 7 for number in range(int(first), int(last or first) + 1)}
    return tuple(day for place, day in enumerate(DAYS) if (place + 1) % 7 in numbers)


# --- hooks ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HookRow:
    """A hook as a row of the form; `was` is its number in the job that was shown, blank for a new one."""

    run: str = ""
    timeout: str = ""
    on_error: str = "fail"
    was: str = ""
    name: str = ""
    dir: str = ""

    def written(self, before: Sequence[Any]) -> Spec:
        """The hook as a spec says it."""
        known = before[int(self.was)] if self.was.isdecimal() and int(self.was) < len(before) else {}
        hook = dict(known) if isinstance(known, dict) else {}
        hook["run"] = _command(self.run)
        folder = path_to_text(read_path(self.dir)) if self.dir else ""
        for name, value, unsaid in (
            ("name", self.name, ""),
            ("dir", folder, ""),
            ("timeout", self.timeout, ""),
            ("on_error", self.on_error, "fail"),
        ):
            if value == unsaid and name not in hook:
                continue
            if value:
                hook[name] = value
            else:
                hook.pop(name, None)
        return hook


def _command(text: str) -> Any:
    """A command for the shell, or the list that somebody wrote as one."""
    if text.startswith("["):
        try:
            words = json.loads(text)
        except ValueError:
            return text
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return words
    return text


def _as_text(run: Any) -> str:
    return run if isinstance(run, str) else json.dumps(run, ensure_ascii=False)


def _hook_rows(hooks: Any) -> tuple[HookRow, ...]:
    rows = []
    for number, hook in enumerate(hooks if isinstance(hooks, list) else ()):
        run = hook.get("run", "")
        command = _as_text(run)
        folder = hook.get("dir")
        rows.append(
            HookRow(
                command,
                str(hook.get("timeout", "")),
                str(hook.get("on_error", "fail")),
                str(number),
                str(hook.get("name") or ""),
                spell_path(path_from_text(folder)) if folder else "",
            )
        )
    return tuple(rows)


def _hooks_sent(form: FormData, when: str) -> tuple[HookRow, ...]:
    columns = (
        form.getlist(f"{when}-{name}") for name in ("run", "timeout", "on_error", "was", "name", "dir")
    )
    rows = [HookRow(*(str(cell).strip() for cell in row)) for row in zip(*columns, strict=False)]
    return tuple(row for row in rows if row.run)


# --- the whole form ------------------------------------------------------------------------------


@dataclass(frozen=True)
class JobFields:
    """Everything that the form shows."""

    title: str = ""
    host: str = ""
    profile: str = ""
    tags: str = ""
    enabled: bool = True
    sources: tuple[SourceRow, ...] = ()
    commands: tuple[CommandRow, ...] = ()
    exclude: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    schedule: When = field(default_factory=When)
    windows: str = ""
    retention: tuple[str, ...] = ("",) * len(COUNTS)
    before: tuple[HookRow, ...] = ()
    after: tuple[HookRow, ...] = ()
    options: Texts = field(default_factory=dict)

    @classmethod
    def sent(cls, form: FormData) -> JobFields:
        """The fields as they were sent."""
        return cls(
            title=_text(form, "title"),
            host=_text(form, "host"),
            profile=_text(form, "profile"),
            tags=" ".join(_words(_text(form, "tags"))),
            enabled=bool(form.get("enabled")),
            sources=_sources_sent(form),
            commands=_commands_sent(form),
            exclude=tuple(_lines(_text(form, "exclude"))),
            repositories=tuple(str(one) for one in form.getlist("repositories")),
            schedule=When.sent(form),
            windows=", ".join(part.strip() for part in _text(form, "windows").split(",") if part.strip()),
            retention=tuple(_text(form, f"keep-{name}") for name in COUNTS),
            before=_hooks_sent(form, "before"),
            after=_hooks_sent(form, "after"),
            options=options_sent(form),
        )

    def leaving_out(self, kind: str) -> JobFields:
        """The same with what is suggested of this kind left out, too."""
        _, _, patterns = SUGGESTED.get(kind, ("", "", ()))
        return replace(self, exclude=tuple(dict.fromkeys((*self.exclude, *patterns))))

    def written(self, shown: JobFields, spec: Spec) -> Spec:
        """The spec with every part set anew whose fields differ from those that were shown of it."""
        made = dict(spec)
        for name in (one.name for one in fields(self) if one.name not in ("options", "commands")):
            if getattr(self, name) == getattr(shown, name) and not self._changes_commands(name, shown):
                continue
            value = _written(self, name, spec)
            if value in (None, "", [], {}) and name != "sources":
                made.pop(name, None)
            else:
                made[name] = value
        job_options.write(made, shown.options, self.options)
        return made

    def _changes_commands(self, name: str, shown: JobFields) -> bool:
        """They are sources as well, with rows of their own in the form."""
        return name == "sources" and self.commands != shown.commands


def options_sent(form: FormData) -> dict[str, str]:
    """The rarer fields as they were sent."""
    return {
        one.path: "\n".join(_lines(_text(form, one.name))) if one.kind == "lines" else _text(form, one.name)
        for one in OPTIONS
        if one.name in form
    }


def _written(sent: JobFields, name: str, spec: Spec) -> Any:
    match name:
        case "sources":
            before = spec.get("sources", [])
            known = {_path_of_row(row): row for row in before if not _is_command(row)}
            chosen = {read_path(row.path): row for row in sent.sources}
            paths = [row.written(known.get(path)) for path, row in chosen.items()]
            return [*paths, *(row.written(before) for row in sent.commands)]
        case "exclude" | "repositories":
            return list(getattr(sent, name))
        case "windows":
            return sent.windows.split(", ") if sent.windows else None
        case "tags":
            return sent.tags.split()
        case "schedule":
            return None if sent.schedule.rhythm == INHERITED else sent.schedule.written(spec.get("schedule"))
        case "retention":
            return _retention_written(sent.retention, spec.get("retention"))
        case "before" | "after":
            rows: tuple[HookRow, ...] = getattr(sent, name)
            return [row.written(spec.get(name) or []) for row in rows]
        case _:
            return getattr(sent, name)


def _retention_written(counts: Sequence[str], before: Any) -> Spec:
    table = dict(before) if isinstance(before, dict) else {}
    for name, text in zip(COUNTS, counts, strict=True):
        table.pop(name, None)
        if text:
            table[name] = int(text) if text.isdecimal() else text
    return table


def shown_of(spec: Spec, tables: Spec, host: str) -> JobFields:
    """What the form shows of a job: its own values, and those it inherits where it says nothing."""
    inherited = inherited_by(spec, tables)
    repositories = spec.get("repositories") or inherited.table.get("repositories") or ()
    retention = spec.get("retention") if isinstance(spec.get("retention"), dict) else {}
    return JobFields(
        title=str(spec.get("title") or ""),
        host=str(spec.get("host") or inherited.table.get("host") or host),
        profile=str(spec.get("profile") or ""),
        tags=" ".join(spec.get("tags") or ()),
        enabled=spec.get("enabled", True) is not False,
        sources=tuple(_source_row(row) for row in spec.get("sources") or () if not _is_command(row)),
        commands=_command_rows(spec.get("sources")),
        exclude=tuple(spec.get("exclude") or ()),
        repositories=tuple(repositories),
        schedule=_when(spec, inherited, tables),
        windows=", ".join(spec.get("windows") or ()),
        retention=tuple(str((retention or {}).get(name, "")) for name in COUNTS),
        before=_hook_rows(spec.get("before")),
        after=_hook_rows(spec.get("after")),
        options=job_options.texts_of(spec),
    )


def _when(spec: Spec, inherited: Merged, tables: Spec) -> When:
    own = spec.get("schedule")
    told = inherited.table.get("schedule") if own is None else own
    schedule = Schedule.model_validate(told) if told not in (None, "none") else Schedule()
    jitter = str(told.get("jitter", "")) if isinstance(told, dict) else ""
    when = When.of(with_times(schedule, table_of(table_of(tables, "settings"), "times")), jitter)
    return replace(when, rhythm=INHERITED) if own is None and "schedule" in inherited.table else when


def inherited_by(spec: Spec, tables: Spec) -> Merged:
    """What a job takes over from the defaults and its profiles."""
    levels = [Level("defaults", table_of(tables, "defaults"))]
    levels += [
        Level(f"profiles.{key}", table_of(table_of(tables, "profiles"), key))
        for key in profiles_of(tables, spec.get("profile"))
    ]
    return merge(levels)


def fresh_spec(tables: Spec, repositories: Sequence[str]) -> Spec:
    """What a new job says before anybody changes it: daily, into the only repository, kept by the built-in rules."""
    spec: Spec = {"schedule": "daily", "exclude_caches": True}
    if len(repositories) == 1:
        spec["repositories"] = list(repositories)
    if "retention" not in inherited_by(spec, tables).table:
        spec["retention"] = BUILT_IN.model_dump(exclude_none=True)
    return spec


# --- where problems belong -----------------------------------------------------------------------

_FIELDS = {
    "sources": "more",
    "schedule": "rhythm-daily",
    "repositories": "repositories",
    "enabled": "enabled",
}


def field_of(problem: Problem, key: str) -> str | None:
    """The field that a problem is about; None where the form has none for it."""
    at = problem.at.removeprefix(f"jobs.{key}").lstrip(".")
    if (option := job_options.BY_PATH.get(at.partition("[")[0])) is not None:
        return option.name
    if at == "schedule.jitter" or at.startswith("retention."):
        return {"schedule.jitter": "jitter"}.get(at) or f"keep-{at.removeprefix('retention.')}"
    name = re.split(r"[.\[]", at)[0]
    known = {one.name for one in fields(JobFields)} | {"key"}
    return _FIELDS.get(name, "keep-last" if name == "retention" else name) if name in known else None


_LABELS = {
    "key": "ID",
    "title": "Name",
    "host": "Host",
    "more": "Sources",
    "exclude": "Exclude",
    "repositories": "Repositories",
    "rhythm-daily": "Schedule",
    "jitter": "Random delay",
    "windows": "Backup window",
    "before": "Hooks before",
    "after": "Hooks after",
    "profile": "Profile",
    "tags": "Tags",
    "enabled": "Enabled",
    **{f"keep-{name}": f"Keep {name}" for name in COUNTS},
    **{option.name: option.label for option in job_options.OPTIONS},
}
"""How the form calls its fields."""


def label_of(field: str) -> str:
    """How the form calls a field."""
    return _LABELS.get(field, field.replace("-", " ").replace("_", " ").capitalize())


def _text(form: FormData, name: str) -> str:
    value = form.get(name, "")
    return value.strip() if isinstance(value, str) else ""


def _lines(text: str) -> Iterator[str]:
    return (line.strip() for line in text.splitlines() if line.strip())


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()
