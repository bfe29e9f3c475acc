"""The whole configuration as one text: seen, previewed, written back, and never half done."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from document.conftest import ANNA, DOCS, NAS, NOW, Desk
from highball.config.document import build, parse
from highball.config.dump import as_yaml
from highball.errors import ConfigurationInvalid, Conflict, HighballError, Stale, Unknown
from highball.hub.document.diff import (
    FieldDifference,
    applied,
    differences,
    merge_patch,
    objects_of,
    tables_of,
)
from highball.hub.document.rules import OWN_FILE, compare
from highball.hub.document.store import Documents
from highball.hub.storage.database import Database, open_database

# --- as text --------------------------------------------------------------------------------------


def test_the_text_holds_everything_in_an_order_of_its_own(desk: Desk) -> None:
    desk.start()
    desk.documents.change("settings", "settings", {"timezone": "Europe/Vienna"}, expected=0, **desk.told)
    desk.create(
        "job", "archive", {"sources": [{"path": "/ärchive", "exclude": ["*.tmp"]}], "repositories": ["nas"]}
    )
    assert desk.documents.as_yaml() == (
        "format: 1\n"
        "settings:\n  timezone: Europe/Vienna\n"
        "repositories:\n  nas:\n    url: /mnt/nas\n    password:\n      env: X\n"
        "jobs:\n"
        "  archive:\n"
        "    repositories:\n    - nas\n"
        "    sources:\n    - path: /ärchive\n      exclude:\n      - '*.tmp'\n"
        "  docs:\n"
        "    schedule: daily\n    repositories:\n    - nas\n    sources:\n    - /docs\n"
    )


def test_what_was_written_is_what_is_read_back(desk: Desk) -> None:
    desk.start()
    text = desk.documents.as_yaml()
    before = desk.documents.token()
    assert desk.documents.write_back(text, expected=before, **desk.told) == []
    assert desk.documents.token() == before
    assert desk.documents.preview(text).changes == ()


def test_a_change_is_shown_before_it_is_made_and_made_as_shown(desk: Desk) -> None:
    desk.start()
    desk.create("job", "old", DOCS)
    desk.create("job", "gone", DOCS)
    desk.delete("job", "gone")
    text = desk.documents.as_yaml().replace("  old:", "  newer:").replace("daily", "weekly", 1)
    text += "  gone:\n    sources: [/gone]\n    repositories: [nas]\n"
    shown = desk.documents.preview(text)
    assert shown.problems == ()
    assert {(one.key, one.what) for one in shown.changes} == {
        ("docs", "changed"),
        ("newer", "created"),
        ("old", "deleted"),
        ("gone", "restored"),
    }
    changed = next(one for one in shown.changes if one.key == "docs")
    assert changed.differences == (FieldDifference("schedule", "daily", "weekly"),)
    assert desk.specs()["job", "docs"]["schedule"] == "daily", "a preview changes nothing"
    made = desk.documents.write_back(text, expected=shown.token, **desk.told)
    assert made == list(shown.changes)
    assert desk.specs()["job", "docs"]["schedule"] == "weekly"
    assert {one.key for one in desk.documents.list_deleted()} == {"old"}


@pytest.mark.parametrize(
    "text",
    [
        "jobs: [",
        "jobs: {docs: {sources: [relative], repositories: [nowhere]}}",
        "- a list",
        "jobs: {x: !!python/object:os.system {}}",
        "\ud800",
        b"\xff",
    ],
)
def test_a_text_that_is_wrong_is_told_and_nothing_of_it_is_done(desk: Desk, text: str | bytes) -> None:
    desk.start()
    before, token = desk.specs(), desk.documents.token()
    assert desk.documents.preview(text).problems
    with pytest.raises(ConfigurationInvalid) as refused:
        desk.documents.write_back(text, expected=token, **desk.told)
    assert refused.value.problems
    assert (desk.specs(), desk.documents.token()) == (before, token)


def test_a_text_that_others_overtook_is_refused(desk: Desk) -> None:
    desk.start()
    text, token = desk.documents.as_yaml(), desk.documents.token()
    desk.change("job", "docs", title="Mine")
    with pytest.raises(Stale):
        desk.documents.write_back(text.replace("daily", "weekly"), expected=token, **desk.told)
    assert desk.specs()["job", "docs"]["title"] == "Mine"


# --- read once ------------------------------------------------------------------------------------


def test_the_document_is_read_anew_only_when_it_changed(desk: Desk) -> None:
    first = desk.start().documents.document()
    assert desk.documents.document() is first
    desk.change("job", "docs", title="x")
    changed = desk.documents.document()
    assert changed is not first
    Documents(desk.database).patch("job", "docs", {"title": "y"}, expected=2, **desk.told)
    assert desk.documents.document().jobs["docs"].title == "y", "another process changed it"


# --- at the same time -----------------------------------------------------------------------------


def at_once(number: int, do: Any) -> list[Any]:
    """What each of several threads came to, all begun together."""
    barrier = threading.Barrier(number)
    found: list[Any] = []

    def work(which: int) -> None:
        barrier.wait(120)
        try:
            found.append(do(which))
        except HighballError as error:
            found.append(error)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_of_many_who_change_the_same_one_wins_and_the_others_know(desk: Desk) -> None:
    desk.start()

    def change(which: int) -> Any:
        own = Documents(desk.database)
        return own.patch("job", "docs", {"title": f"by {which}"}, expected=1, **desk.told)

    found = at_once(6, change)
    winners = [one for one in found if not isinstance(one, HighballError)]
    assert len(winners) == 1
    assert all(isinstance(one, Stale) for one in found if one is not winners[0])
    assert desk.documents.get("job", "docs").title == winners[0].title
    assert len(desk.documents.history("job", "docs")) == 2


def test_many_who_change_different_things_all_succeed(desk: Desk) -> None:
    desk.start()
    found = at_once(6, lambda which: Documents(desk.database).create("job", f"j{which}", DOCS, **desk.told))
    assert not [one for one in found if isinstance(one, HighballError)]
    assert len(desk.documents.list_objects("job")) == 7
    assert desk.documents.token() == 8


def test_nobody_deletes_what_another_begins_to_name(desk: Desk) -> None:
    for number in range(5):
        key = f"r{number}"
        desk.create("repository", key, NAS)

        def work(which: int, key: str = key) -> Any:
            own = Documents(desk.database)
            if which:
                return own.create("job", f"of-{key}", {**DOCS, "repositories": [key]}, **desk.told)
            return own.delete("repository", key, expected=1, **desk.told)

        found = at_once(2, work)
        assert len([one for one in found if isinstance(one, HighballError)]) == 1
        assert Documents(desk.database).document()


# --- whatever happens -----------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)
SPECS = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)


@given(before=SPECS, after=SPECS)
def test_there_is_a_difference_where_two_specs_differ(before: dict[str, Any], after: dict[str, Any]) -> None:
    same = repr(before) == repr(after) or before == after
    assert bool(list(differences(before, after))) is not same


def rfc7396(target: Any, patch: Any) -> Any:
    """The algorithm as its standard prints it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = rfc7396(result.get(name), value)
    return result


@given(spec=SPECS, patch=SPECS)
def test_a_patch_is_what_its_standard_says(spec: dict[str, Any], patch: dict[str, Any]) -> None:
    assert merge_patch(spec, patch) == rfc7396(spec, patch)


KEYS = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True)
TITLES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)
JOBS = st.fixed_dictionaries(
    {"sources": st.just(["/docs"]), "repositories": st.just(["nas"])},
    optional={
        "title": TITLES,
        "enabled": st.booleans(),
        "schedule": st.sampled_from(["daily", "30 4 * * 1-5", {"cron": "weekly", "jitter": "5m"}]),
        "exclude": st.lists(
            st.sampled_from(["*.tmp", "0x10", "null", "12:30:00", "yes", "~", "a: b", "- x"]), max_size=3
        ),
        "windows": st.lists(st.sampled_from(["22:00-06:00", "mon-fri 10:00-11:00"]), max_size=2),
        "retention": st.dictionaries(st.sampled_from(["last", "daily"]), st.integers(1, 9), min_size=1),
        "before": st.just([{"run": "echo 'a'\n\techo b", "on_error": "warn"}]),
    },
)


@given(jobs=st.dictionaries(KEYS, JOBS, max_size=4), title=TITLES)
def test_every_document_survives_being_written_and_read(jobs: dict[str, Any], title: str) -> None:
    tables = build({"repositories": {"nas": NAS}, "jobs": jobs, "hosts": {"h": {"title": title}}}).tables
    again = parse(as_yaml(tables).encode(), "yaml").tables
    assert dict(objects_of(again)) == dict(objects_of(tables))


class Work(RuleBasedStateMachine):
    """Any sequence of changes by hand, held against a plain model of what ought to be there."""

    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(open_database(None)).start()
        self.alive: dict[str, list[Any]] = {"docs": [DOCS]}
        self.deleted: dict[str, list[Any]] = {}
        self.former: dict[str, str] = {}
        """Keys that objects had before, and the key that each has now."""

    @rule(key=st.sampled_from("abc"), spec=JOBS)
    def create(self, key: str, spec: dict[str, Any]) -> None:
        if key in self.alive or key in self.deleted or key in self.former:
            with pytest.raises(Conflict):
                self.desk.create("job", key, spec)
        else:
            self.desk.create("job", key, spec)
            self.alive[key] = [spec]

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), spec=JOBS)
    def change(self, data: Any, spec: dict[str, Any]) -> None:
        key = data.draw(st.sampled_from(sorted(self.alive)))
        expected = self.desk.revision("job", key)
        self.desk.documents.change("job", key, spec, expected=expected, **self.desk.told)
        self.alive[key].append(spec)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def undo(self, data: Any) -> None:
        key = data.draw(st.sampled_from(sorted(self.alive)))
        told = self.alive[key]
        to = data.draw(st.sampled_from([n for n, spec in enumerate(told, 1) if spec is not None]))
        self.desk.documents.undo("job", key, to, expected=len(told), **self.desk.told)
        told.append(told[to - 1])

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def delete(self, data: Any) -> None:
        key = data.draw(st.sampled_from(sorted(self.alive)))
        self.desk.delete("job", key)
        self.deleted[key] = [*self.alive.pop(key), None]

    @precondition(lambda self: self.deleted)
    @rule(data=st.data(), purge=st.booleans())
    def restore_or_purge(self, data: Any, purge: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.deleted)))
        told = self.deleted.pop(key)
        if purge:
            self.desk.documents.purge("job", key, **self.desk.told)
            self.former = {old: now for old, now in self.former.items() if now != key}
        else:
            self.desk.documents.restore("job", key, **self.desk.told)
            self.alive[key] = [*told, told[-2]]

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), number=st.integers(0, 10**6))
    def rekey(self, data: Any, number: int) -> None:
        key = data.draw(st.sampled_from(sorted(self.alive)))
        new = f"new-{number}"
        if new in self.alive or new in self.deleted or new in self.former:
            return
        self.desk.rekey("job", key, new)
        told = self.alive.pop(key)
        self.alive[new] = [*told, told[-1]]
        self.former = {old: new if now == key else now for old, now in self.former.items()} | {key: new}

    @rule()
    def write_back(self) -> None:
        text, token = self.desk.documents.as_yaml(), self.desk.documents.token()
        assert self.desk.documents.write_back(text, expected=token, **self.desk.told) == []

    @invariant()
    def what_lives_is_what_ought_to(self) -> None:
        jobs = {key: spec for (kind, key), spec in self.desk.specs().items() if kind == "job"}
        assert jobs == {key: told[-1] for key, told in self.alive.items()}
        assert dict(objects_of(self.desk.documents.document().tables)) == self.desk.specs()

    @invariant()
    def history_replays_to_what_is(self) -> None:
        for key, told in (self.alive | self.deleted).items():
            history = self.desk.documents.history("job", key)[::-1]
            assert [one.revision for one in history] == list(range(1, len(told) + 1))
            assert [one.spec for one in history] == told


Work.TestCase.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestWork = Work.TestCase


@settings(max_examples=20)
@given(first=st.dictionaries(KEYS, JOBS, max_size=3), then=st.dictionaries(KEYS, JOBS, max_size=3))
def test_applying_a_file_makes_it_so_whatever_was_there(first: dict[str, Any], then: dict[str, Any]) -> None:
    documents = Documents(open_database(None))
    for jobs in (first, then):
        tables = build({"repositories": {"nas": NAS}, "jobs": jobs})
        planned = documents.plan(tables)
        assert documents.load(tables, now=NOW, actor=ANNA) == planned
        assert dict(objects_of(documents.document().tables)) == dict(objects_of(tables.tables))
        assert documents.load(tables, now=NOW, actor=ANNA) == []
    stored = {one.place: one for one in documents.list_objects("job") + documents.list_objects("repository")}
    assert applied(stored, compare(dict(objects_of(tables_of(stored))), stored, NOW, OWN_FILE)) == stored


def test_a_power_cut_in_the_middle_leaves_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(database).start()
    before, token = desk.specs(), desk.documents.token()

    def fail(*_: Any) -> None:
        raise ValueError("power cut")

    monkeypatch.setattr("highball.hub.document.store.write_mark", fail)
    with pytest.raises(ValueError, match="power cut"):
        desk.rekey("repository", "nas", "far")
    monkeypatch.undo()
    assert (desk.specs(), desk.documents.token()) == (before, token)
    with pytest.raises(Unknown):
        desk.documents.get("repository", "far")
    assert desk.change("job", "docs", title="x").revision == 2
