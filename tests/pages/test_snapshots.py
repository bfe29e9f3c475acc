"""What is done to snapshots on the pages: pinned, compared, one removed, those of others adopted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import expect

from hub.served import PASSWORD, Corner, Served
from pages.looking import Looker


@pytest.fixture
def corner(served: Served, tmp_path: Path) -> Corner:
    """A repository and a job of this test's own."""
    return served.give_corner(tmp_path / "corner")


def ids(corner: Corner) -> list[str]:
    """The snapshots in the repository, newest first."""
    found = corner.get(f"repositories/{corner.nas}/snapshots")
    return [one["id"] for one in sorted(found, key=lambda one: str(one["time"]), reverse=True)]


def test_a_snapshot_is_pinned_compared_and_removed(anna: Looker, corner: Corner) -> None:
    (corner.source / "early").write_text("early")
    corner.back_up()
    (corner.source / "late").write_text("late")
    corner.back_up()
    new, old = ids(corner)
    address = f"/repositories/{corner.nas}/snapshots?list=1"

    page = anna.go(address)
    row = page.locator("tr", has_text=old[:8])
    row.locator("summary").click()
    row.get_by_role("button", name="Pin").click()
    expect(page.locator("tr", has_text=old[:8])).to_contain_text("pinned by anna")
    one = {"task": "forget", "repository": corner.nas, "snapshot": old}
    assert corner.post("runs", one, expect=(403,))["code"] == "snapshot_pinned"
    for typed, told in (
        ("f" * 64, "No snapshot of a job of this hub"),
        ("latest", "not valid"),
        (old, "is pinned"),
    ):
        refused = anna.go(f"/repositories/{corner.nas}/snapshots/{typed}/remove")
        expect(refused.locator("main")).to_contain_text(told)

    page = anna.go(address)
    row = page.locator("tr", has_text=new[:8])
    row.locator("summary").click()
    expect(row.get_by_text("Remove")).to_have_count(0)
    row.get_by_text("Compare").click()
    expect(page.locator("tr", has_text="late")).to_contain_text("added")

    page = anna.go(address)
    row = page.locator("tr", has_text=old[:8])
    row.locator("summary").click()
    row.get_by_role("button", name="Unpin").click()
    row = page.locator("tr", has_text=old[:8])
    row.locator("summary").click()
    row.get_by_text("Remove").click()
    page.get_by_role("button", name="Remove snapshot").click()
    page.wait_for_url("**/runs/*")
    assert corner.end_of(page.url.rpartition("/")[2])["outcome"] == "success"
    assert ids(corner) == [new]


def test_snapshots_of_others_are_adopted_and_released(anna: Looker, served: Served, corner: Corner) -> None:
    corner.back_up()
    argv = [
        str(served.restic.path),
        "-r",
        str(corner.repository),
        "backup",
        "--host",
        "old-box",
        str(corner.source),
    ]
    told = {"RESTIC_PASSWORD": PASSWORD, "PATH": os.defpath, "RESTIC_CACHE_DIR": str(corner.folder / "cache")}
    subprocess.run(argv, env=told, check=True, capture_output=True, timeout=240)

    page = anna.go(f"/repositories/{corner.nas}/snapshots?list=anew")
    page.get_by_role("link", name="View or adopt").click()
    row = page.locator("tr", has_text="old-box")
    row.get_by_label("Job").select_option(corner.job)
    row.get_by_role("button", name="Adopt").click()
    expect(page.get_by_text("Adopting removes nothing")).to_be_visible()
    page.get_by_role("button", name="Adopt", exact=True).click()
    expect(page.locator("tr", has_text="old-box")).to_contain_text("adopted by anna")
    page.get_by_role("button", name="Release").click()
    expect(page.locator("tr", has_text="old-box")).to_contain_text("not adopted")
