"""A repository's password: one that does not open it never takes the place of the one that does."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest

from hub.served import PASSWORD, Corner, Served

WRONG = "not the one"


def edit(plain: httpx.Client, corner: Corner, **fields: str) -> httpx.Response:
    """Send the form of the repository, as it is drawn but for these fields."""
    revision = corner.get(f"repositories/{corner.nas}")["revision"]
    usual = {"kind": "local", "path": str(corner.repository), "password_how": "keep"}
    return plain.post(f"/repositories/{corner.nas}/edit", data={**usual, "revision": str(revision), **fields})


def test_a_password_that_opens_nothing_is_not_sealed(sealed: Corner) -> None:
    for params in ({}, {"anyway": "true"}):
        answer = sealed.seal(WRONG, **params)
        assert (answer.status_code, answer.json()["code"]) == (409, "password_refused")
    assert sealed.repository_state == "existing"
    assert sealed.seal(PASSWORD).status_code == 200


def test_the_first_password_of_a_repository_has_to_open_it_too(hub: Served, tmp_path: Path) -> None:
    corner = hub.give_corner(tmp_path, {"password": {"sealed": True}})
    assert corner.seal(WRONG).json()["code"] == "password_refused"
    assert corner.get(f"repositories/{corner.nas}/secrets") == []
    shutil.rmtree(corner.repository)
    assert corner.seal(WRONG).status_code == 200, "there is none yet: this will be its password"


def test_the_admin_access_is_tried_with_its_own_password(sealed: Corner) -> None:
    spec = {**sealed.repository_spec, "password": {"sealed": True}, "admin": {"password": {"sealed": True}}}
    sealed.http.put(f"repositories/{sealed.nas}", json=spec, headers={"If-Match": '"1"'}).raise_for_status()
    assert sealed.seal(WRONG, "admin").json()["code"] == "password_refused"
    assert sealed.seal(PASSWORD, "admin").status_code == 200


def test_one_that_nobody_can_try_replaces_none_unless_somebody_insists_and_the_former_comes_back(
    sealed: Corner,
) -> None:
    away = sealed.folder / "away"
    shutil.move(sealed.repository, away)
    untried = sealed.seal(WRONG)
    assert (untried.status_code, untried.json()["code"]) == (409, "password_untried")
    assert sealed.seal(WRONG, anyway="true").status_code == 200
    assert sealed.seal("again another", anyway="true").status_code == 200
    shutil.move(away, sealed.repository)
    assert sealed.repository_state == "wrong_password"
    kept = [one["secret"] for one in sealed.get(f"repositories/{sealed.nas}/secrets")]
    assert kept == ["password", "password.former"]
    sealed.post(f"repositories/{sealed.nas}/secrets/password/bring-back")
    assert sealed.repository_state == "existing"
    kept = [one["secret"] for one in sealed.get(f"repositories/{sealed.nas}/secrets")]
    assert kept == ["password"]
    again = sealed.post(f"repositories/{sealed.nas}/secrets/password/bring-back", expect=(404,))
    assert again["code"] == "secret_unset"


@pytest.mark.parametrize("anyway", [{}, {"anyway": "yes"}])
def test_the_form_refuses_a_password_that_opens_nothing(
    sealed: Corner, plain: httpx.Client, anyway: dict[str, str]
) -> None:
    wrong = edit(plain, sealed, password_how="enter", password=WRONG, **anyway)
    assert wrong.status_code == 409
    assert "Not saved" in wrong.text and "Save anyway" not in wrong.text
    made_up = edit(plain, sealed, password_how="generate", **anyway)
    assert made_up.status_code == 422
    assert "Cannot be generated for a repository that exists" in made_up.text
    assert sealed.repository_state == "existing"
    assert sealed.get(f"repositories/{sealed.nas}")["revision"] == 1


def test_a_password_is_never_made_up_for_a_repository_that_is_there_already(
    corner: Corner, plain: httpx.Client
) -> None:
    sent = {"kind": "local", "path": str(corner.repository), "key": f"new-{corner.nas}"}
    answer = plain.post("/repositories/new", data={**sent, "password_how": "generate", "anyway": "yes"})
    assert answer.status_code == 409 and "choose <em>Enter</em>" in answer.text
    corner.get(f"repositories/new-{corner.nas}", expect=(404,))


def test_undo_says_what_it_cannot_bring_back(sealed: Corner, plain: httpx.Client) -> None:
    renamed = edit(plain, sealed, title="Anew", password_how="enter", password=PASSWORD)
    assert renamed.status_code == 303, renamed.text
    address = f"/history/repository/{sealed.nas}/undo"
    asked = plain.get(address, params={"to": 1}).text
    assert "Its password was replaced" in asked and "never a sealed value" in asked
    done = plain.post(address, data={"to": 1, "revision": 2}, follow_redirects=True)
    assert "never a sealed value" in done.text
    told = sealed.post(f"repositories/{sealed.nas}/undo", {"to": 1}, headers={"If-Match": '"3"'})
    assert "never a sealed value" in told["note"]
    assert sealed.repository_state == "existing"


def test_a_lost_repository_is_given_up_by_its_id_and_another_begun(sealed: Corner) -> None:
    place = f"repositories/{sealed.nas}"
    assert sealed.get(f"{place}/loss", expect=(409,))["code"] == "repository_there"
    shutil.rmtree(sealed.repository)
    loss = sealed.get(f"{place}/loss")
    assert loss["snapshots"] == 1 and loss["identity"]
    sealed.post(f"{place}/give-up", {"identity": "another"}, expect=(409,))
    sealed.post(f"{place}/give-up", {"identity": loss["identity"]}, expect=(204,))
    assert sealed.end_of(sealed.order("init"))["outcome"] == "success"
    [standing] = sealed.get("status", job=sealed.job)
    assert (standing["snapshots"], standing["last_success_at"]) == (0, None)
    sealed.back_up()


def test_a_failed_test_holds_back_saving_and_what_is_saved_anyway_is_a_problem_until_one_succeeds(
    sealed: Corner, plain: httpx.Client
) -> None:
    def problems() -> list[str]:
        found = sealed.get("overview")["problems"]
        return [
            one["reason"]["message"]
            for one in found
            if one["kind"] == "untested" and one["repositories"] == [sealed.nas]
        ]

    nowhere = str(sealed.folder / "nowhere")
    held = edit(plain, sealed, path=nowhere)
    assert held.status_code == 409 and "Save anyway" in held.text
    assert sealed.get(f"repositories/{sealed.nas}")["revision"] == 1
    assert edit(plain, sealed, path=nowhere, anyway="yes").status_code == 303
    assert "gone" in problems()[0]
    assert "saved without a successful test" in plain.get("/").text
    assert edit(plain, sealed).status_code == 303
    assert problems() == []
    fields = {"path": f"{sealed.repository}/"}
    at = {"If-Match": f'"{sealed.get(f"repositories/{sealed.nas}")["revision"]}"'}
    sealed.http.patch(f"repositories/{sealed.nas}", json=fields, headers=at).raise_for_status()
    assert "no test of it succeeded since" in problems()[0]
    assert sealed.get("status", job=sealed.job)[0]["untested"]["code"] == "untested"
    assert sealed.repository_state == "existing"
    assert problems() == []


def test_a_password_that_opened_a_new_repository_is_a_test_of_it(hub: Served, tmp_path: Path) -> None:
    corner = hub.give_corner(tmp_path, {"password": {"sealed": True}})
    assert corner.get("status", job=corner.job)[0]["untested"] is not None
    assert corner.seal(PASSWORD).status_code == 200
    assert corner.get("status", job=corner.job)[0]["untested"] is None
