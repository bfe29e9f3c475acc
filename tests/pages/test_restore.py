"""A restore, from the question to the files: the snapshot, its folders, where to, and what came back."""

from __future__ import annotations

import os
import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from api.whole import SNAPSHOT, Whole
from highball.web.pages.restore import Pick, outermost, read_pick
from hub.served import Corner, Served
from pages.looking import Looker
from pages.reading import read_page
from testbed.restic import Location

ODD = b"caf\xe9 <b>'\"&\n"
"""No text, and no good to a page."""


@pytest.fixture(scope="module")
def corner(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Corner:
    """A job whose source holds a folder with an odd name, backed up once."""
    corner = served.give_corner(tmp_path_factory.mktemp("restore"))
    odd = os.fsencode(corner.source) + b"/" + ODD
    os.mkdir(odd)
    Path(os.fsdecode(odd + b"/x\xff")).write_text("found again")
    Path(os.fsdecode(odd + b"/other")).write_text("not wanted")
    corner.back_up()
    return corner


def whole_path(target: Path, source: Path) -> Path:
    return target / source.relative_to("/")


def test_a_chosen_file_comes_back_whatever_its_name(anna: Looker, corner: Corner) -> None:
    page = anna.go("/restore")
    page.get_by_label("Restore from").select_option(f"{corner.job}/{corner.nas}")
    page.get_by_role("button", name="Show snapshots").click()
    page.locator("#snapshots .list").get_by_role("link", name="Choose").click()
    page.get_by_text("Selected files and folders").click()
    page.locator("#files summary", has_text="source").click()
    page.locator("#files summary", has_text=r"caf\xe9 <b>").click()
    page.get_by_label(r"x\xff").check()
    above = page.get_by_label(f"Restore {corner.source}", exact=True)
    assert above.evaluate("box => box.indeterminate"), "chosen in part"
    expect(page.locator(".savebar")).to_contain_text("Restore 1 file")
    target = corner.folder / "chosen"
    page.get_by_label("New folder").fill(str(target))
    page.get_by_role("button", name="Restore 1 file").click()
    page.wait_for_url("**/runs/*")
    expect(page.locator("#head .badge")).to_have_text("Success")
    odd = os.fsencode(whole_path(target, corner.source)) + b"/" + ODD
    assert os.listdir(odd) == [b"x\xff"]
    assert Path(os.fsdecode(odd + b"/x\xff")).read_text() == "found again"


def newest(corner: Corner) -> str:
    found = corner.get(f"repositories/{corner.nas}/snapshots")
    return next(str(one["id"]) for one in found if one["job"] == corner.job)


def test_everything_comes_back_without_script(served: Served, corner: Corner) -> None:
    http, url = corner.http, f"{served.url}/restore"
    listed = http.get(url, params={"job": corner.job, "list": "1"}).text
    assert f"snapshot={newest(corner)}" in listed
    form = {"job": corner.job, "repository": corner.nas, "snapshot": newest(corner), "what": "all"}
    target = corner.folder / "everything"
    answer = http.post(url, data={**form, "target": str(target), "do": "restore", "key": "once"})
    again = http.post(url, data={**form, "target": str(target), "do": "restore", "key": "once"})
    assert answer.status_code == again.status_code == 303
    assert answer.headers["location"] == again.headers["location"]
    done = corner.end_of(answer.headers["location"].removeprefix("/runs/"))
    assert done["outcome"] == "success", done
    assert (whole_path(target, corner.source) / "letter").read_text() == "dear reader"


def test_who_may_not_restore_in_place_is_told_why_and_whom_to_ask(served: Served, corner: Corner) -> None:
    form = {"job": corner.job, "repository": corner.nas, "snapshot": newest(corner)}
    told = corner.http.get(f"{served.url}/restore", params=form).text
    assert f"highball restore {corner.job} --snapshot {newest(corner)[:8]} --in-place" in told
    made = corner.post("tokens", {"key": f"otto-{corner.job}", "role": "operator"})
    as_otto = {"Authorization": f"Bearer {made['value']}"}
    told = httpx.get(f"{served.url}/restore", params=form, headers=as_otto, timeout=240).text
    assert "May restore in place" in told and "An admin grants it under Settings, Users" in told
    assert "--in-place" not in told
    order = {**form, "what": "all", "do": "restore", "target": str(corner.folder / "by-otto")}
    ordered = httpx.post(f"{served.url}/restore", data=order, headers=as_otto, timeout=240)
    assert ordered.status_code == 303, ordered.text
    done = corner.end_of(ordered.headers["location"].removeprefix("/runs/"))
    assert done["outcome"] == "success", done


def test_what_is_ticked_stays_ticked_in_other_folders(served: Served, corner: Corner) -> None:
    form = {"job": corner.job, "repository": corner.nas, "snapshot": newest(corner), "what": "some"}
    letter = f"f11:{corner.source}/letter"
    told = {**form, "pick": [letter], "open": str(corner.source.parent)}
    text = corner.http.post(f"{served.url}/restore", data=told).text
    assert re.search(rf'value="{letter}" checked', text)
    assert "Selected in other folders" in text
    text = corner.http.post(
        f"{served.url}/restore", data={**told, "pick": [f"d:{corner.source}"], "open": str(corner.source)}
    ).text
    assert "This whole folder is already selected" in text


def test_what_is_missing_is_said_and_the_rest_is_kept(served: Served, corner: Corner) -> None:
    form = {"job": corner.job, "repository": corner.nas, "snapshot": newest(corner), "do": "restore"}
    answer = corner.http.post(f"{served.url}/restore", data={**form, "what": "some", "target": "elsewhere"})
    assert answer.status_code == 422
    assert "Nothing selected: " in answer.text
    assert "elsewhere is not a full path" in answer.text
    assert 'value="elsewhere"' in answer.text
    answer = corner.http.post(f"{served.url}/restore", data={**form, "target": "/"})
    assert answer.status_code == 422
    assert not corner.get("runs", job=corner.job, state="queued")["items"]


def test_the_pages_of_a_restore_have_nothing_against_them(anna: Looker, corner: Corner) -> None:
    wizard = (
        f"/restore?job={corner.job}&repository={corner.nas}&snapshot={newest(corner)}&open={corner.source}"
    )
    for address in ("/restore", wizard, f"/repositories/{corner.nas}/snapshots?list=1"):
        assert anna.complaints(address) == []


def test_a_list_of_snapshots_is_shown_again_until_something_changes_it_or_it_is_asked_for_again(
    anna: Looker, served: Served, tmp_path: Path
) -> None:
    corner = served.give_corner(tmp_path)
    corner.back_up()
    address = f"/repositories/{corner.nas}/snapshots"
    page = anna.go(address)
    rows = page.locator("#snapshots tbody tr")
    expect(rows).to_have_count(1)
    save_by_hand(served, corner)
    drawn = anna.context.request.get(anna.url + address).text()
    assert "Loading snapshots" not in drawn and drawn.count("Restore<span") == 1, "nobody was asked again"
    wizard = anna.context.request.get(f"{anna.url}/restore?repository={corner.nas}").text()
    assert "1 snapshot, loaded" in wizard
    anna.go(address).get_by_role("link", name="Reload").click()
    expect(rows).to_have_count(2)
    corner.back_up()
    anna.go(address)
    expect(rows).to_have_count(3)


def save_by_hand(served: Served, corner: Corner) -> None:
    """A snapshot that another program makes."""
    foreign = corner.folder / "foreign"
    foreign.mkdir()
    argv = ["backup", "--tag", "<b>by hand</b>", "--host", "laptop", str(foreign)]
    served.restic.run(
        *argv, at=Location("local", str(corner.repository)), password_file=corner.folder / "password"
    )


def test_a_repository_tells_what_it_holds_and_who_made_it(
    anna: Looker, served: Served, corner: Corner
) -> None:
    save_by_hand(served, corner)
    page = anna.go(f"/repositories/{corner.nas}/snapshots?list=anew")
    expect(page.locator("tbody tr")).to_have_count(2)
    theirs, ours = page.locator("tbody tr").all()
    expect(theirs).to_contain_text("foreign")
    expect(theirs).to_contain_text("<b>by hand</b>")
    expect(ours).to_contain_text(corner.job)
    ours.get_by_role("link", name="view run").click()
    expect(page.locator("h1")).to_contain_text(corner.job)


def test_a_restore_that_nobody_can_look_into_now_keeps_every_answer(whole: Whole) -> None:
    chosen = [("pick", "f11:/a%20b"), ("pick", "d:/caf%E9"), ("what", "some"), ("target", "/srv/<b>")]
    wish = [("job", "docs"), ("repository", "nas"), ("snapshot", SNAPSHOT), *chosen]
    for more in ({"do": "restore"}, {"open": "/docs"}):
        answer = whole.client().post("/restore", data=_as_lists([*wish, *more.items()]))
        assert answer.status_code == 502
        assert "offline" in answer.text or "not connected" in answer.text
        again = next(form for form in read_page(answer.text).forms if form.id == "wish")
        assert set(wish) <= set(again.fields)


def _as_lists(fields: list[tuple[str, str]]) -> dict[str, list[str]]:
    return {name: [value for other, value in fields if other == name] for name, _ in fields}


def test_the_plan_counts_what_lies_in_chosen_folders(served: Served, corner: Corner) -> None:
    form = {"job": corner.job, "repository": corner.nas, "snapshot": newest(corner), "what": "some"}
    form |= {"pick": f"d:{corner.source}", "target": str(corner.folder / "counted")}
    shown = corner.http.post(f"{served.url}/restore", data=form).text
    assert "Restore 1 folder" in shown
    assert "and their contents" in shown
    counted = corner.http.post(f"{served.url}/restore", data=form | {"do": "count"}).text
    assert "Restore 3 files" in counted
    there = whole_path(corner.folder / "counted", corner.source)
    there.mkdir(parents=True)
    (there / "letter").write_text("another letter")
    counted = corner.http.post(f"{served.url}/restore", data=form | {"do": "count"}).text
    assert "Restore 2 files" in counted
    assert "Already there" in counted
    assert (there / "letter").read_text() == "another letter"


def test_a_repository_that_cannot_be_asked_is_said_in_its_place(whole: Whole) -> None:
    text = whole.client().get("/repositories/nas/snapshots?list=1").text
    assert "here is offline" in text or "is not connected" in text
    assert "Try again" in text


@pytest.mark.parametrize(
    "address",
    (
        "/restore?repository=gone",
        f"/restore?job=docs&repository=nas&snapshot={SNAPSHOT}&list=anew",
        "/repositories/nas/snapshots?list=1",
        f"/repositories/nas/compare?old={SNAPSHOT}&new={SNAPSHOT}",
        "/repositories/nas/foreign",
    ),
)
def test_what_cannot_be_shown_there_is_not_said_to_stop_the_whole_hub(whole: Whole, address: str) -> None:
    page = whole.client().get(address).text
    assert "nothing can be ordered or changed here" not in page


@pytest.mark.parametrize("text", ["", "d:", "d:relative", "x:/etc", "f1:/\u00fc", "f-1:/etc", "d:/a b"])
def test_what_no_page_of_ours_sends_is_no_choice(text: str) -> None:
    assert read_pick(text) is None


def test_a_choice_survives_its_form() -> None:
    for pick in (Pick(b"/\xff \n%", is_folder=True), Pick(b"/a+b&c=d", is_folder=False, size=12)):
        assert read_pick(pick.spelled) == pick


def test_what_lies_in_a_chosen_folder_is_not_restored_twice() -> None:
    above, below, beside = Pick(b"/a", True), Pick(b"/a/b/c", False), Pick(b"/ab", False)
    assert outermost([below, above, beside, above]) == [above, beside]
