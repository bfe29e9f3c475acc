"""A Chromium, and a hub with something to look at, for a module's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from api.whole import Whole, whole_hub
from hub.served import Served, serve
from pages.looking import ARGUMENTS, Looker, look_as
from testbed import parts
from testbed.restic import ResticBinary


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The system's Chromium, without a window; not for longer, as Playwright keeps an event loop of its own running."""
    with sync_playwright() as playwright:
        path = str(parts.get_program("chromium"))
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, newest_restic: ResticBinary) -> Iterator[Served]:
    """A hub that serves, with a job whose first backup is done; a module's tests share it."""
    with serve(tmp_path_factory.mktemp("served"), newest_restic) as machine:
        machine.serve()
        machine.back_up()
        yield machine


@pytest.fixture
def anna(chromium: Browser, served: Served) -> Iterator[Looker]:
    """An admin before the hub's pages, logged in."""
    with look_as(chromium, served.url, "anna", "correct horse battery") as looker:
        yield looker


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """A hub with one of everything and no agent, for questions that need no browser."""
    folder = tmp_path_factory.mktemp("whole")
    with whole_hub(folder, folder / "highball.db") as hub:
        yield hub
