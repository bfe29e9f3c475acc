"""A sealed password is rotated: added, proved, stored, and the old one kept until its key is gone."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from hub.served import PASSWORD, Corner, Served, Table
from journeys.station import until
from testbed.restic import Location, ResticBinary


def keys_of(corner: Corner) -> dict[str, str]:
    """What each key is for, by its id."""
    return {one["id"]: one["use"] for one in corner.get(f"repositories/{corner.nas}/keys")}


def rotate(corner: Corner, **body: str) -> Table:
    """The ended run of a rotation, once the hub has done what it leaves to do."""
    run = corner.end_of(corner.post(f"repositories/{corner.nas}/keys/rotate", body)["id"])
    until(lambda: not any(one.startswith("coming.") for one in secrets_of(corner)), otherwise=corner.said)
    return run


def secrets_of(corner: Corner) -> list[str]:
    """Which secrets are sealed."""
    return [one["secret"] for one in corner.get(f"repositories/{corner.nas}/secrets")]


def test_the_new_password_takes_the_place_of_the_old_one_whose_key_is_removed_last(sealed: Corner) -> None:
    [old] = keys_of(sealed)
    run = rotate(sealed)
    assert run["outcome"] == "success", run
    new = run["steps"][0]["key"]
    assert keys_of(sealed) == {old: "former", new: "everyday"}
    assert secrets_of(sealed) == ["password", "password.former"]
    sealed.back_up()
    in_use = sealed.end_of(sealed.post(f"repositories/{sealed.nas}/keys/{new}/remove")["id"])
    assert in_use["reason"]["code"] == "key_in_use"
    gone = sealed.end_of(sealed.post(f"repositories/{sealed.nas}/keys/{old}/remove")["id"])
    assert gone["outcome"] == "success", gone
    assert keys_of(sealed) == {new: "everyday"}
    until(lambda: secrets_of(sealed) == ["password"])
    told = sealed.get("audit", key=sealed.nas)["items"]
    assert "rotated" in {one["action"] for one in told}
    log = sealed.http.get(f"runs/{run['id']}/log").text
    assert PASSWORD not in log and "key add" in log


def test_a_rotation_is_undone_as_long_as_the_old_key_is_there(sealed: Corner) -> None:
    [old] = keys_of(sealed)
    new = rotate(sealed, password="one that I chose")["steps"][0]["key"]
    sealed.post(f"repositories/{sealed.nas}/secrets/password/bring-back")
    assert keys_of(sealed) == {old: "everyday", new: "added"}
    assert secrets_of(sealed) == ["password"]
    gone = sealed.end_of(sealed.post(f"repositories/{sealed.nas}/keys/{new}/remove")["id"])
    assert gone["outcome"] == "success"
    sealed.back_up()


def test_what_was_not_added_changes_nothing(sealed: Corner) -> None:
    failed = rotate(sealed, password=PASSWORD)
    assert failed["outcome"] == "failure"
    assert failed["reason"]["code"] == "password_not_new"
    assert secrets_of(sealed) == ["password"]
    assert sealed.repository_state == "existing"


def test_a_password_that_lay_in_a_file_is_sealed_from_then_on(corner: Corner) -> None:
    corner.back_up()
    assert rotate(corner)["outcome"] == "success"
    until(lambda: corner.get(f"repositories/{corner.nas}")["spec"]["password"] == {"sealed": True})
    corner.back_up()


def test_what_a_file_declares_is_rotated_into_another_file(served: Served, tmp_path: Path) -> None:
    refused = served.post("repositories/nas/keys/rotate", {}, expect=(403,))
    assert refused["code"] == "managed_by_file"
    new = tmp_path / "new"
    new.write_text("the next one")
    stolen = {"reference": {"sealed": "repository:00000000-0000-0000-0000-000000000000:password"}}
    served.post("repositories/nas/keys/rotate", stolen, expect=(422,))
    begun = served.post("repositories/nas/keys/rotate", {"reference": {"file": str(new)}})
    assert served.end_of(begun["id"])["outcome"] == "success"
    assert len(served.get("repositories/nas/keys")) == 2


def test_keys_are_changed_by_admins_at_their_own_address(corner: Corner) -> None:
    order = {"task": "key-remove", "repository": corner.nas, "key_id": "0" * 64}
    assert corner.post("runs", order, expect=(400, 422))["code"] == "order_elsewhere"


def test_the_page_of_keys_rotates_removes_and_says_that_the_kit_is_out_of_date(
    sealed: Corner, plain: httpx.Client
) -> None:
    place = f"/repositories/{sealed.nas}"
    plain.post(f"{place}/kit", data={"download": "yes"})
    [old] = keys_of(sealed)
    assert "re-encrypted" in plain.get(f"{place}/keys/rotate").text
    begun = plain.post(f"{place}/keys/rotate", data={"how": "generate"})
    assert begun.status_code == 303, begun.text
    sealed.end_of(begun.headers["location"].rpartition("/")[2])
    until(lambda: secrets_of(sealed) == ["password", "password.former"], otherwise=sealed.said)
    page = plain.get(f"{place}/keys").text
    assert "The recovery kit is out of date" in page and "Undo" in page
    assert "Out of date" in plain.get(place).text
    listed = plain.get(f"{place}/keys/listed").text
    assert "Replaced" in listed and "In use" in listed
    asked = plain.get(f"{place}/keys/remove", params={"id": old}).text
    assert "nothing is re-encrypted" in asked
    removed = plain.post(f"{place}/keys/remove", data={"id": old})
    assert sealed.end_of(removed.headers["location"].rpartition("/")[2])["outcome"] == "success"
    assert "Replaced" not in plain.get(f"{place}/keys/listed").text


@pytest.mark.parametrize("way", ["API", "page"])
def test_a_key_is_added_that_opens_it_besides_and_the_hub_does_not_keep_it(
    sealed: Corner, plain: httpx.Client, newest_restic: ResticBinary, way: str
) -> None:
    [old] = keys_of(sealed)
    value = "another one, on paper"
    address = f"repositories/{sealed.nas}/keys"
    if way == "API":
        id = sealed.post(address, {"password": value, "name": "paper"})["id"]
    else:
        begun = plain.post(f"/{address}/add", data={"name": "paper", "how": "enter", "password": value})
        assert begun.status_code == 303, begun.text
        id = begun.headers["location"].rpartition("/")[2]
    run = sealed.end_of(id)
    assert run["outcome"] == "success", run
    assert keys_of(sealed) == {old: "everyday", run["steps"][0]["key"]: "added"}
    assert secrets_of(sealed) == ["password"]
    on_paper = sealed.folder / "paper"
    on_paper.write_text(value)
    at = Location("local", str(sealed.repository))
    assert len(newest_restic.json("snapshots", at=at, password_file=on_paper)) == 1
    if way == "page":
        assert "Added here" in plain.get(f"/{address}/listed").text


@pytest.mark.parametrize("fields", [{"how": "enter"}, {"how": "file", "file": "relative"}])
def test_what_is_wrong_in_the_form_is_said_and_nothing_begun(
    corner: Corner, plain: httpx.Client, fields: dict[str, str]
) -> None:
    answer = plain.post(f"/repositories/{corner.nas}/keys/rotate", data=fields)
    assert answer.status_code in (400, 422)
    assert "Nothing was changed" in answer.text
    assert corner.get("runs", repository=corner.nas)["items"] == []
