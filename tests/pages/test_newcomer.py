"""The newcomer's way: from the printed link to a first finished backup, in a browser, without reading anything."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from api.whole import Whole
from hub.served import Served
from pages.looking import Looker, look_as
from testbed.restic import ResticBinary


@pytest.fixture
def bare(tmp_path: Path, newest_restic: ResticBinary) -> Iterator[Served]:
    """A machine that has nothing but Highball: no file, no account."""
    machine = Served(tmp_path, newest_restic)
    machine.serve_to_nobody()
    yield machine
    machine.end_everything()


@pytest.fixture
def newcomer(chromium: Browser, bare: Served) -> Iterator[Looker]:
    with look_as(chromium, bare.url) as looker:
        yield looker


def test_from_the_printed_link_to_protected(newcomer: Looker, bare: Served) -> None:
    page = newcomer.page
    link = re.search(r"http://\S+/setup#\S+", bare.log.read_text())
    assert link is not None
    page.goto(link[0])
    expect(page.get_by_label("Set-up token")).to_be_hidden()
    assert "#" not in page.url, "the token does not stay in the address"
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Make account").click()

    folder = bare.folder / "kept"
    page.get_by_label("A folder of").fill(str(folder))
    page.get_by_role("button", name="Test").click()
    expect(page.get_by_text("no repository is there yet")).to_be_visible()
    page.get_by_role("button", name="Create repository").click()

    key = page.locator("#key").inner_text(timeout=30_000)
    assert len(key) >= 32
    with page.expect_download() as download:
        page.get_by_role("link", name="Download kit").click()
    assert key in Path(download.value.path()).read_text()
    page.get_by_label("I have kept it").check()
    page.get_by_role("button", name="Go on").click()

    page.get_by_label("Other folders").fill(str(bare.source))
    page.get_by_role("button", name="Back up now").click()
    expect(page.get_by_text("Protected")).to_be_visible(timeout=30_000)
    page.get_by_role("link", name="To the overview").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("The only job is protected")
    restic = [str(bare.restic.path), "-r", str(folder), "snapshots", "--json"]
    env = {"RESTIC_PASSWORD": key, "HOME": str(bare.folder), "PATH": os.defpath}
    assert bare.restic.path.exists() and _count(restic, env) == 1, "the key that was shown opens it"


def _count(argv: list[str], env: dict[str, str]) -> int:
    return len(json.loads(subprocess.run(argv, env=env, capture_output=True, check=True).stdout))


def test_what_cannot_be_is_said_where_it_is_typed_and_leaves_nothing(newcomer: Looker, bare: Served) -> None:
    page = newcomer.page
    link = re.search(r"http://\S+/setup#\S+", bare.log.read_text())
    assert link is not None
    page.goto(link[0])
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill("short")
    page.locator("form").evaluate("form => form.noValidate = true")
    page.get_by_role("button", name="Make account").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Name")).to_have_value("anna")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Make account").click()

    for folder in ("not/whole", "/proc/nowhere"):
        page.get_by_label("A folder of").fill(folder)
        page.get_by_role("button", name="Create repository").click()
        expect(page.get_by_role("alert")).to_be_visible(timeout=30_000)
        expect(page.get_by_label("A folder of")).to_have_value(folder)
    assert newcomer.complaints("/start") == []


@pytest.mark.parametrize(
    ("address", "sent"),
    [
        ("/start/repository", {"folder": "not/whole"}),
        ("/start/repository", {"folder": "/up/../and/down", "act": "test"}),
        ("/start/repository", {"folder": "/two\nlines"}),
        ("/start/job", {}),
        ("/start/job", {"more": "photos"}),
        ("/start/job", {"source": "/fine", "more": "/up/../and/down"}),
    ],
)
def test_what_is_no_path_is_refused_and_never_breaks_the_page(
    whole: Whole, address: str, sent: dict[str, str]
) -> None:
    answer = whole.client().post(address, data=sent)
    assert answer.status_code in (400, 422), answer.text
