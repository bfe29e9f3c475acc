"""The keys of a repository on one machine: listed, added, rotated and removed, and never the one in use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from journeys.conftest import ready
from journeys.places import declare_elsewhere
from journeys.station import PASSWORD, Station
from testbed import parts

NEW = "quite another password"


@pytest.fixture
def new_password(tmp_path: Path) -> Path:
    """A file with the password that is to come."""
    path = tmp_path / "new-password"
    path.write_text(f"{NEW}\n")
    path.chmod(0o600)
    return path


def uses(station: Station, key: str = "nas") -> dict[str, str]:
    """What each key is for, by its id."""
    return {one["id"]: one["use"] for one in station.ask("keys", key).json}


def test_a_password_is_rotated_and_the_old_key_removed(each_station: Station, new_password: Path) -> None:
    station = each_station
    station.back_up()
    [old] = uses(station)
    assert uses(station) == {old: "everyday"} and len(old) == 64
    step = station.ask("keys", "nas", "--rotate", "--new-password-file", str(new_password)).step
    assert step["former_key"] == old
    new = step["key"]
    assert uses(station) == {old: "everyday", new: "added"}, "until the file names it, the old one is used"
    log = station.call("logs", station.ask("runs").json[0]["id"]).text
    assert "key add" in log and NEW not in log
    refused = station.ask("keys", "nas", "--remove", old[:8], "--yes", status=5).error
    assert refused["code"] == "key_in_use"
    station.repositories["nas"]["password"] = {"file": str(new_password)}
    assert uses(station) == {old: "former", new: "everyday"}
    station.back_up()
    assert station.ask("keys", "nas", "--remove", old[:8], "--yes").step["key"] == old
    assert uses(station) == {new: "everyday"}
    assert len(station.ask("snapshots").json) == 2
    station.repositories["nas"]["password"] = station.secret
    assert station.ask("run", status=1).json["runs"][0]["reason"]["code"] == "wrong_password"


def test_what_is_left_to_do_is_told(station: Station, new_password: Path) -> None:
    told = station.call("keys", "nas", "--rotate", "--new-password-file", str(new_password)).stderr
    told = " ".join(told.split())
    assert str(new_password) in told and "[repositories.nas]" in told
    assert "recovery-kit nas" in told and "not encrypted again" in told and "keys nas --remove" in told


def test_a_new_key_is_one_that_opened_nothing_before(station: Station, new_password: Path) -> None:
    same = station.ask("keys", "nas", "--rotate", "--new-password-file", str(station.password_file), status=1)
    assert same.step["reason"]["code"] == "password_not_new"
    assert len(uses(station)) == 1
    missing = station.ask("keys", "nas", "--add", "spare", status=2).error
    assert missing["code"] == "password_missing"
    added = station.ask("keys", "nas", "--add", "spare, on paper", "--new-password-file", str(new_password))
    found = {one["id"]: one for one in station.ask("keys", "nas").json}[added.step["key"]]
    assert (found["user"], found["use"]) == ("spare, on paper", "added")
    unknown = station.ask("keys", "nas", "--remove", "ffffffff", "--yes", status=4).error
    assert unknown["code"] == "key_unknown"


def test_after_a_rotation_that_was_ended_the_refusal_leads_to_the_next(
    each_station: Station, new_password: Path
) -> None:
    station = each_station
    station.ask("setup")
    station.bare("key", "add", "--new-password-file", str(new_password))  # as far as it had come
    rotate = ("keys", "nas", "--rotate", "--new-password-file", str(new_password))
    reason = station.ask(*rotate, status=1).step["reason"]
    [left] = [id for id, use in uses(station).items() if use != "everyday"]
    assert reason["code"] == "password_not_new"
    command = f"highball keys nas --remove {left[:8]}"
    assert command in reason["message"]
    station.ask("keys", "nas", "--remove", left[:8], "--yes")
    station.ask(*rotate)


def test_a_wrong_password_adds_nothing(station: Station, new_password: Path) -> None:
    station.ask("setup")
    station.password_file.write_text("wrong")
    failed = station.ask("keys", "nas", "--rotate", "--new-password-file", str(new_password), status=1)
    assert failed.step["reason"]["code"] == "wrong_password"
    station.password_file.write_text(PASSWORD)
    assert len(uses(station)) == 1


@pytest.fixture(params=[parts.RESTIC_VERSIONS[0], parts.RESTIC_VERSIONS[-1]])
def append_only(request: pytest.FixtureRequest, tmp_path: Path, repository_name: str) -> Iterator[Station]:
    """A station whose repository lies on a server that lets the everyday access delete nothing."""
    station = ready(tmp_path, parts.get_restic(request.param))
    declare_elsewhere(station, "rest", request, repository_name)
    station.ask("setup")
    yield station
    station.close()


def test_where_nothing_can_be_deleted_the_old_key_goes_by_the_admin_access_or_stays(
    append_only: Station, new_password: Path
) -> None:
    station = append_only
    [key] = [one for one in station.repositories if one != "nas"] or ["nas"]
    admin = station.repositories[key].pop("admin")
    [old] = uses(station, key)
    step = station.ask("keys", key, "--rotate", "--new-password-file", str(new_password)).step
    station.repositories[key]["password"] = {"file": str(new_password)}
    refused = station.ask("keys", key, "--remove", old, "--yes", status=6).error
    assert refused["code"] == "admin_creds_required"
    assert uses(station, key) == {old: "former", step["key"]: "everyday"}
    station.repositories[key]["admin"] = admin
    station.ask("keys", key, "--remove", old, "--yes")
    assert uses(station, key) == {step["key"]: "everyday"}


def test_the_key_of_the_admin_access_is_in_use_too(station: Station, new_password: Path) -> None:
    added = station.ask("keys", "nas", "--add", "for deleting", "--new-password-file", str(new_password))
    station.repositories["nas"]["admin"] = {"password": {"file": str(new_password)}}
    assert uses(station)[added.step["key"]] == "admin"
    refused = station.ask("keys", "nas", "--remove", added.step["key"], "--yes", status=5).error
    assert refused["code"] == "key_in_use"
