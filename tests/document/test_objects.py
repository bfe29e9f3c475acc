"""Declared objects: made, changed, deleted, brought back, renamed, each with its history and its audit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from document.conftest import ANNA, DOCS, NAS, NOW, Desk
from highball.config.document import build
from highball.errors import ConfigurationInvalid, Conflict, Misuse, NotAllowed, Stale, Unknown
from highball.hub.document.diff import FieldDifference
from highball.hub.document.store import read_host
from highball.hub.storage.schema import (
    agents,
    audit,
    fires,
    marks,
    objects,
    revisions,
    runs,
    snapshots,
    vault,
)


def rows(desk: Desk, table: sa.Table) -> list[Any]:
    with desk.database.read() as connection:
        return list(connection.execute(sa.select(table)))


def whole(desk: Desk) -> list[Any]:
    """Everything that a refused change must leave as it was."""
    return [sorted(map(tuple, rows(desk, table)), key=str) for table in (objects, revisions, audit)]


# --- a life ---------------------------------------------------------------------------------------


def test_an_object_lives_through_all_that_can_happen_to_it(desk: Desk) -> None:
    made = desk.start().documents.get("job", "docs")
    assert (made.revision, made.origin, made.spec, made.former_keys) == (1, "hand", DOCS, ())
    desk.change("job", "docs", schedule={"cron": "weekly"}, enabled=False)
    desk.documents.rename("job", "docs", "Documents", expected=2, **desk.told)
    desk.documents.undo("job", "docs", 1, expected=3, **desk.told)
    desk.delete("job", "docs")
    with pytest.raises(Unknown) as gone:
        desk.documents.get("job", "docs")
    assert gone.value.code == "job_deleted"
    back = desk.documents.restore("job", "docs", **desk.told)
    assert (back.spec, back.revision, back.id) == (DOCS, 6, made.id)

    told = [(one.revision, one.what) for one in desk.documents.history("job", "docs")]
    assert told == [
        (6, "restored"),
        (5, "deleted"),
        (4, "undone to 1"),
        (3, "renamed"),
        (2, "changed"),
        (1, "created"),
    ]
    second = desk.documents.history("job", "docs")[4]
    assert (second.actor, second.at) == ("anna", NOW)
    assert second.differences == (
        FieldDifference("schedule", "daily", {"cron": "weekly"}),
        FieldDifference("enabled", None, False),
    )
    third = desk.documents.history("job", "docs")[3]
    assert third.differences == (FieldDifference("title", None, "Documents"),)
    written = [(one.action, one.actor, one.address) for one in rows(desk, audit) if one.key == "docs"]
    assert sorted(written) == sorted((what, "anna", "192.0.2.1") for _, what in told)


def test_a_title_is_kept_beside_for_lists(desk: Desk) -> None:
    desk.start()
    desk.documents.rename("job", "docs", "Documents", expected=1, **desk.told)
    assert {one.key: one.title for one in rows(desk, objects)} == {"docs": "Documents", "nas": None}
    assert desk.documents.rename("job", "docs", None, expected=2, **desk.told).spec == DOCS


def test_settings_and_defaults_are_there_from_the_beginning(desk: Desk) -> None:
    blank = desk.documents.get("settings", "settings")
    assert (blank.revision, blank.spec) == (0, {})
    desk.documents.change("settings", "settings", {"timezone": "Europe/Vienna"}, expected=0, **desk.told)
    assert desk.documents.document().settings.timezone == "Europe/Vienna"
    with pytest.raises(Stale):
        desk.documents.change("settings", "settings", {}, expected=0, **desk.told)
    desk.documents.change("settings", "settings", {}, expected=1, **desk.told)
    assert desk.revision("settings", "settings") == 2
    for refused in (
        lambda: desk.documents.delete("settings", "settings", expected=2, **desk.told),
        lambda: desk.create("settings", "other", {}),
        lambda: desk.rekey("settings", "settings", "other"),
    ):
        with pytest.raises(Misuse):
            refused()


def test_a_copy_says_the_same_and_is_another(desk: Desk) -> None:
    desk.start()
    copy = desk.documents.copy("job", "docs", "more", **desk.told)
    assert copy.spec == DOCS
    assert copy.id != desk.documents.get("job", "docs").id
    assert [one.key for one in desk.documents.list_objects("job")] == ["docs", "more"]


# --- what is refused ------------------------------------------------------------------------------


def test_whoever_is_late_is_told_what_differs_and_changes_nothing(desk: Desk) -> None:
    desk.start().change("job", "docs", title="Mine")
    before = whole(desk)
    attempts: tuple[Callable[[], Any], ...] = (
        lambda: desk.documents.change("job", "docs", DOCS, expected=1, **desk.told),
        lambda: desk.documents.patch("job", "docs", {"title": "Yours"}, expected=1, **desk.told),
        lambda: desk.documents.delete("job", "docs", expected=1, **desk.told),
        lambda: desk.documents.rekey("job", "docs", "more", expected=1, **desk.told),
        lambda: desk.documents.undo("job", "docs", 1, expected=1, **desk.told),
    )
    for late in attempts:
        with pytest.raises(Stale) as refused:
            late()
        assert refused.value.code == "revision_conflict"
        assert refused.value.revision == 2
        assert refused.value.differences == (FieldDifference("title", None, "Mine"),)
    assert whole(desk) == before


def test_a_change_is_judged_as_the_whole_and_told_all_at_once(desk: Desk) -> None:
    desk.start()
    before = whole(desk)
    with pytest.raises(ConfigurationInvalid) as refused:
        desk.change("job", "docs", schedule="61 * * * *", repositories=["nas", "far"], sources=["relative"])
    assert {problem.at for problem in refused.value.problems} == {
        "jobs.docs.schedule",
        "jobs.docs.repositories[1]",
        "jobs.docs.sources[0]",
    }
    with pytest.raises(ConfigurationInvalid):
        desk.create("pin", "p", {"repository": "far", "snapshot": "0123abcd", "reason": "x"})
    assert whole(desk) == before


def test_what_others_name_is_not_deleted_and_all_of_them_are_told(desk: Desk) -> None:
    desk.start()
    desk.create("pin", "audit", {"repository": "nas", "snapshot": "0123abcd", "reason": "x"})
    desk.create("profile", "p", {"repositories": ["nas"]})
    with pytest.raises(Conflict) as refused:
        desk.delete("repository", "nas")
    assert refused.value.code == "still_referenced"
    assert {problem.at for problem in refused.value.problems} == {
        "jobs.docs.repositories[0]",
        "pins.audit.repository",
        "profiles.p.repositories[0]",
    }
    for kind, key in (("job", "docs"), ("pin", "audit"), ("profile", "p"), ("repository", "nas")):
        desk.delete(kind, key)
    assert desk.specs() == {}
    with pytest.raises(ConfigurationInvalid, match="problem"):
        desk.documents.restore("job", "docs", **desk.told)
    assert len(desk.documents.list_deleted()) == 4


def test_a_key_is_free_only_once_its_deleted_object_is_purged(desk: Desk) -> None:
    made = desk.start().documents.get("repository", "nas")
    with desk.database.write() as connection:
        told = {"content": b"x", "changed_at": NOW, "actor": "anna"}
        connection.execute(vault.insert().values(place=f"repository:{made.id}:password", **told))
        connection.execute(vault.insert().values(place="repository:other:password", **told))
    with pytest.raises(Conflict) as taken:
        desk.create("job", "docs", DOCS)
    assert taken.value.code == "key_taken"
    with pytest.raises(Conflict) as alive:
        desk.documents.purge("job", "docs", **desk.told)
    assert alive.value.code == "not_deleted"
    desk.delete("job", "docs")
    with pytest.raises(Conflict) as deleted:
        desk.create("job", "docs", DOCS)
    assert deleted.value.code == "key_deleted"
    assert "purge" in str(deleted.value.hint)
    desk.documents.purge("job", "docs", **desk.told)
    with pytest.raises(Unknown):
        desk.documents.history("job", "docs")
    assert desk.create("job", "docs", DOCS).revision == 1
    assert len(desk.documents.history("job", "docs")) == 1

    desk.delete("job", "docs")
    desk.documents.purge("job", "docs", **desk.told)
    desk.delete("repository", "nas")
    desk.documents.purge("repository", "nas", **desk.told)
    assert [one.place for one in rows(desk, vault)] == ["repository:other:password"]


def test_what_cannot_come_back_as_it_was_comes_back_saying_something_else(desk: Desk) -> None:
    desk.start()
    for kind, key in (("job", "docs"), ("repository", "nas")):
        desk.delete(kind, key)
    desk.documents.purge("repository", "nas", **desk.told)
    desk.create("repository", "far", NAS)
    back = desk.documents.restore("job", "docs", spec={**DOCS, "repositories": ["far"]}, **desk.told)
    assert (back.revision, back.spec["repositories"]) == (3, ["far"])


def test_names_that_are_not_known_are_told_with_the_nearest(desk: Desk) -> None:
    desk.start()
    with pytest.raises(Unknown) as unknown:
        desk.documents.get("job", "dosc")
    assert (unknown.value.code, unknown.value.hint) == ("job_unknown", 'perhaps "docs"')
    with pytest.raises(ConfigurationInvalid) as odd:
        desk.create("job", "My Documents", DOCS)
    assert odd.value.code == "key_invalid"
    assert "my-documents" in str(odd.value.hint)
    with pytest.raises(Unknown) as earlier:
        desk.documents.undo("job", "docs", 7, expected=1, **desk.told)
    assert earlier.value.code == "revision_unknown"


def test_a_deletion_is_not_undone_to(desk: Desk) -> None:
    desk.start().delete("job", "docs")
    desk.documents.restore("job", "docs", **desk.told)
    with pytest.raises(Misuse):
        desk.documents.undo("job", "docs", 2, expected=3, **desk.told)


def test_what_is_no_longer_allowed_is_not_undone_to(desk: Desk) -> None:
    desk.start().change("job", "docs", enabled=False)
    first = (revisions.c.kind == "job") & (revisions.c.revision == 1)
    with desk.database.write() as connection:  # as a hub stored it that allowed it
        connection.execute(revisions.update().where(first).values(spec={**DOCS, "exclude": ["~/.cache"]}))
    before = whole(desk)
    with pytest.raises(ConfigurationInvalid) as refused:
        desk.documents.undo("job", "docs", 1, expected=2, **desk.told)
    assert [one.at for one in refused.value.problems] == ["jobs.docs.exclude[0]"]
    assert whole(desk) == before


def test_the_last_admin_stays(desk: Desk) -> None:
    desk.create("user", "bob", {"role": "viewer"})
    desk.create("user", "anna", {"role": "admin"})
    for refused in (
        lambda: desk.delete("user", "anna"),
        lambda: desk.change("user", "anna", enabled=False),
        lambda: desk.change("user", "anna", role="operator"),
        lambda: desk.documents.write_back("users: {bob: {}}", expected=desk.documents.token(), **desk.told),
    ):
        with pytest.raises(NotAllowed) as raised:
            refused()
        assert raised.value.code == "last_admin"
    desk.change("user", "bob", role="admin")
    desk.delete("user", "anna")


# --- another key ----------------------------------------------------------------------------------


def test_another_key_is_taken_on_by_all_that_name_it_and_by_the_record(desk: Desk) -> None:
    desk.start()
    desk.create("pin", "audit", {"repository": "nas", "snapshot": "0123abcd", "reason": "x"})
    desk.create("job", "old", DOCS)
    desk.delete("job", "old")
    run = {
        "id": "r",
        "kind": "maintenance",
        "action": "check",
        "repository": "nas",
        "host": "h",
        "state": "done",
    }
    with desk.database.write() as connection:
        connection.execute(runs.insert().values(**run, subject="check:nas", created_at=NOW, last_seq=0))
        shot = {"id": "s", "host": "h", "set": "files", "time": NOW, "shrank": False}
        connection.execute(snapshots.insert().values(repository="nas", job="docs", **shot))
        due = {"action": "check", "host": "h", "schedule": "x"}
        connection.execute(fires.insert().values(subject="check:nas", **due))

    moved = desk.rekey("repository", "nas", "attic")
    assert (moved.key, moved.former_keys, moved.revision) == ("attic", ("nas",), 2)
    assert desk.specs()["job", "docs"]["repositories"] == ["attic"]
    assert desk.specs()["pin", "audit"]["repository"] == "attic"
    assert rows(desk, runs)[0].repository == "attic"
    assert rows(desk, runs)[0].subject == rows(desk, fires)[0].subject == "check:attic"
    assert rows(desk, snapshots)[0].repository == "attic"
    assert desk.documents.restore("job", "old", **desk.told).spec["repositories"] == ["attic"]
    history = desk.documents.history("repository", "attic")
    assert [one.what for one in history] == ["rekeyed", "created"]
    assert history[0].differences == (FieldDifference("key", "nas", "attic"),)
    assert desk.documents.history("job", "docs")[0].differences == (
        FieldDifference("repositories[0]", "nas", "attic"),
    )

    with pytest.raises(Unknown) as unknown:
        desk.documents.get("repository", "nas")
    assert unknown.value.hint == "it is called attic now"
    with pytest.raises(Conflict) as former:
        desk.create("repository", "nas", NAS)
    assert former.value.code == "key_former"
    back = desk.rekey("repository", "attic", "nas")
    assert back.former_keys == ("nas", "attic")
    keys = [one.differences[0] for one in desk.documents.history("repository", "nas")[:2]]
    assert keys == [FieldDifference("key", "attic", "nas"), FieldDifference("key", "nas", "attic")]


def test_a_hosts_key_changes_wherever_the_record_names_it(desk: Desk) -> None:
    desk.create("host", "attic", {})
    span = {"schedule": "x", "after": "2026-05-01T00:00:00Z", "until": "2026-05-01T01:00:00Z"}
    owed = [span | {"host": "attic"}, span | {"host": "cellar"}]
    shot = {"repository": "nas", "job": "docs", "set": "files", "time": NOW, "shrank": False}
    agent = {"public_key": "00", "enrolled_at": NOW, "facts": {}}
    with desk.database.write() as connection:
        connection.execute(snapshots.insert().values(id="s", host="attic", **shot))
        connection.execute(snapshots.insert().values(id="t", host="cellar", **shot))
        connection.execute(agents.insert().values(host="attic", **agent))
        connection.execute(marks.insert().values(name="host", value="attic"))
        due = {"action": "check", "host": "attic", "schedule": "x", "owed": owed}
        connection.execute(fires.insert().values(subject="check:nas", **due))

    assert desk.documents.former_keys().now("host", "attic") == "attic"
    desk.rekey("host", "attic", "loft")
    desk.rekey("host", "loft", "roof")
    former = desk.documents.former_keys()
    assert former.of("host", "roof") == ("attic", "loft")
    assert [former.now("host", key) for key in ("attic", "loft", "roof", "cellar")] == [
        *("roof",) * 3,
        "cellar",
    ]
    assert former.now("job", "attic") == "attic"
    assert {row.id: row.host for row in rows(desk, snapshots)} == {"s": "roof", "t": "cellar"}
    assert (rows(desk, agents)[0].host, rows(desk, fires)[0].host) == ("roof", "roof")
    assert [one["host"] for one in rows(desk, fires)[0].owed] == ["roof", "cellar"]
    assert read_host(desk.database, desk.documents.document()) == "roof", "this machine has another key"


def test_a_key_does_not_change_under_a_run(desk: Desk) -> None:
    desk.start()
    run = {"id": "r", "kind": "backup", "action": "backup", "job": "docs", "host": "h", "state": "running"}
    with desk.database.write() as connection:
        connection.execute(runs.insert().values(**run, created_at=NOW, last_seq=0))
    before = whole(desk)
    for kind, key in (("job", "docs"), ("repository", "nas")):
        with pytest.raises(Conflict) as refused:
            desk.rekey(kind, key, "newer")
        assert refused.value.code == "in_use"
    assert whole(desk) == before
    with desk.database.write() as connection:
        connection.execute(runs.update().values(state="done"))
    desk.rekey("job", "docs", "papers")
    assert rows(desk, runs)[0].job == "papers"


def test_a_key_that_is_taken_stays_whose_it_is(desk: Desk) -> None:
    desk.start().documents.copy("job", "docs", "more", **desk.told)
    for key in ("more", "docs"):
        with pytest.raises(Conflict):
            desk.rekey("job", "docs", key)


# --- from a file ----------------------------------------------------------------------------------


def test_what_a_file_declares_is_changed_there_and_nowhere_else(desk: Desk) -> None:
    written = build({"repositories": {"nas": NAS}, "jobs": {"docs": DOCS}})
    applied = desk.documents.load(written, now=NOW, actor=ANNA, file="/etc/highball/highball.toml")
    assert {(one.kind, one.what) for one in applied} == {("repository", "created"), ("job", "created")}
    assert desk.documents.file() == "/etc/highball/highball.toml"
    before = whole(desk)
    text = desk.documents.as_yaml()
    for refused in (
        lambda: desk.change("job", "docs", title="x"),
        lambda: desk.delete("job", "docs"),
        lambda: desk.rekey("job", "docs", "x"),
        lambda: desk.rekey("repository", "nas", "x"),
        lambda: desk.documents.write_back("{}", expected=desk.documents.token(), **desk.told),
    ):
        with pytest.raises(NotAllowed) as raised:
            refused()
        assert raised.value.code == "managed_by_file"
        assert "/etc/highball/highball.toml" in str(raised.value.hint)
    assert whole(desk) == before
    told = desk.documents.preview("{}")
    assert {problem.at for problem in told.problems} == {"jobs.docs", "repositories.nas"}
    assert desk.documents.write_back(text, expected=desk.documents.token(), **desk.told) == []

    desk.create("job", "mine", DOCS)
    assert desk.documents.load(written, now=NOW, actor=ANNA) == []
    with pytest.raises(ConfigurationInvalid, match="problem"):
        desk.documents.load(build({}), now=NOW, actor=ANNA)  # mine still names nas
    assert [one.what for one in desk.documents.plan(build({"repositories": {"nas": NAS}}))] == ["deleted"]
    desk.documents.load(build({"repositories": {"nas": NAS}}), now=NOW, actor=ANNA)
    assert [one.key for one in desk.documents.list_objects("job")] == ["mine"]

    taken = desk.documents.load(
        build({"repositories": {"nas": NAS}, "jobs": {"mine": DOCS}}), now=NOW, actor=ANNA
    )
    assert [(one.key, one.what) for one in taken] == [("mine", "taken over")]
    assert desk.documents.get("job", "mine").origin == "file"
    back = desk.documents.restore("job", "docs", **desk.told)
    assert back.origin == "hand", "whoever brings it back has it from then on"
    assert desk.change("job", "docs", title="x").revision == 4


def test_an_applied_file_owns_what_it_names_and_nothing_else(desk: Desk) -> None:
    own, fleet = "/etc/highball/highball.toml", "laptop:/work/fleet.toml"
    written = build({"repositories": {"nas": NAS}, "jobs": {"docs": DOCS}})
    desk.documents.load(written, **desk.told, file=own)
    desk.create("job", "mine", DOCS)
    more = build({"repositories": {"nas": NAS}, "jobs": {"more": DOCS, "mine": DOCS}})
    planned = desk.documents.plan_to_apply(more, file=fleet)
    made = desk.documents.apply(more, **desk.told, file=fleet)
    assert [(one.key, one.what) for one in made] == [("more", "created"), ("mine", "taken over")]
    assert made == planned
    owners = {key: desk.documents.get("job", key) for key in ("docs", "mine", "more")}
    assert {key: (one.origin, one.file) for key, one in owners.items()} == {
        "docs": ("file", None),
        "mine": ("applied", fleet),
        "more": ("applied", fleet),
    }
    assert desk.documents.get("repository", "nas").origin == "file", "it says the same, and stays whose it is"
    assert desk.documents.file() == own

    with pytest.raises(NotAllowed) as refused:
        desk.change("job", "more", title="x")
    assert (refused.value.code, fleet in str(refused.value.hint)) == ("managed_by_file", True)

    assert desk.documents.load(written, **desk.told, file=own) == [], "the next start undoes nothing of it"
    other = build({"repositories": {"nas": NAS}, "jobs": {"more": DOCS | {"title": "theirs"}}})
    taken = desk.documents.apply(other, **desk.told, file="other")
    assert [(one.key, one.what) for one in taken] == [("more", "changed")]
    gone = desk.documents.apply(build({}), **desk.told, file=fleet)
    assert [(one.key, one.what) for one in gone] == [("mine", "deleted")], "more is the other's by now"


def test_what_contradicts_the_hubs_own_file_is_refused_whole_and_says_where_to_change_it(desk: Desk) -> None:
    own = "/etc/highball/highball.toml"
    written = build(
        {"settings": {"timezone": "Europe/Vienna"}, "repositories": {"nas": NAS}, "jobs": {"docs": DOCS}}
    )
    desk.documents.load(written, **desk.told, file=own)
    before = whole(desk)
    jobs = {"docs": DOCS | {"title": "x"}, "newer": DOCS}
    against = build({"settings": {"timezone": "UTC"}, "repositories": {"nas": NAS}, "jobs": jobs})
    for only_planned in (True, False):
        with pytest.raises(NotAllowed) as refused:
            if only_planned:
                desk.documents.plan_to_apply(against, file="fleet")
            desk.documents.apply(against, **desk.told, file="fleet")
        assert refused.value.code == "managed_by_file"
        assert {problem.at for problem in refused.value.problems} == {"settings", "jobs.docs"}
        assert refused.value.hint == f"change it there: {own}"
    assert whole(desk) == before


def test_the_hubs_own_file_has_the_last_word(desk: Desk) -> None:
    desk.documents.apply(build({"repositories": {"nas": NAS}, "jobs": {"docs": DOCS}}), **desk.told, file="f")
    other = build({"repositories": {"nas": NAS}, "jobs": {"docs": DOCS | {"title": "own"}}})
    taken = desk.documents.load(other, **desk.told, file="/etc/own.toml")
    assert {(one.key, one.what) for one in taken} == {("nas", "taken over"), ("docs", "changed")}
    assert desk.documents.apply(build({}), **desk.told, file="f") == []
    assert desk.documents.get("job", "docs").origin == "file"


def test_an_applied_file_makes_and_changes_accounts_and_holds_none(desk: Desk) -> None:
    desk.create("token", "ci", {"role": "viewer"})
    desk.create("user", "vera", {"role": "viewer"})
    accounts = {"users": {"vera": {"role": "viewer"}, "max": {}}, "tokens": {"ci": {"role": "operator"}}}
    made = desk.documents.apply(build(accounts), **desk.told, file="f")
    assert [(one.key, one.what) for one in made] == [("max", "created"), ("ci", "changed")]
    assert desk.documents.apply(build({}), **desk.told, file="f") == []
    desk.delete("token", "ci")
    assert desk.documents.get("user", "max").origin == "hand"


def test_a_token_with_a_date_of_toml_is_stored_as_text(desk: Desk) -> None:
    from highball.config.document import parse

    written = parse(b"[tokens.ci]\nexpires_at = 2030-01-01T00:00:00Z\n[hosts.web]\n", "toml")
    desk.documents.load(written, now=NOW, actor=ANNA)
    assert desk.specs()["token", "ci"] == {"expires_at": "2030-01-01T00:00:00Z"}
    assert desk.documents.load(written, now=NOW, actor=ANNA) == []
    assert desk.documents.document().tokens["ci"].expires_at is not None


# --- what is misread ------------------------------------------------------------------------------


def test_what_a_shell_would_read_otherwise_is_refused_where_it_is_declared(desk: Desk) -> None:
    desk.start()
    before = whole(desk)
    for fields in ({"exclude": ["~/.cache"]}, {"sources": ["/home/*/docs"]}, {"sources": ["/home/${USER}"]}):
        with pytest.raises(ConfigurationInvalid) as refused:
            desk.change("job", "docs", **fields)
        assert refused.value.problems[0].hint
        [problem] = desk.documents.preview_change("job", "docs", DOCS | fields).problems
        assert problem == refused.value.problems[0]
    with pytest.raises(ConfigurationInvalid):
        desk.change("defaults", "defaults", exclude=["$HOME/.cache"])
    assert whole(desk) == before


def test_what_an_earlier_program_took_in_so_goes_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.start()
    with monkeypatch.context() as earlier:
        earlier.setattr("highball.hub.document.store.find_misread", lambda tables: ())
        desk.change("job", "docs", exclude=["~/.cache"])
    assert desk.documents.document().jobs["docs"].exclude == ("~/.cache",)
    desk.change("job", "docs", enabled=False)
    desk.rekey("job", "docs", "papers")
    desk.delete("job", "papers")
    assert desk.documents.restore("job", "papers", **desk.told).spec["exclude"] == ["~/.cache"]
    with pytest.raises(ConfigurationInvalid):
        desk.change("job", "papers", exclude=["~/.cache", "~/.config"])
    desk.change("job", "papers", exclude=[".cache"])
