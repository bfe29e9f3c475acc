"""Somebody before the pages: what they see, do and read aloud, and what must hold of every page.

A looker notes every error that the browser tells of: none may be left at the end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, expect

PATIENCE: Final = 120_000
"""So many milliseconds a fact is waited for: who is slow is not wrong."""

expect.set_options(timeout=PATIENCE)

ARGUMENTS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

WIDTHS: Final = (390, 1280)

PUT_ON: Final = "theme => document.documentElement.classList.toggle('dark', theme === 'dark')"
"""What the server does by a cookie, without loading the page again."""

ASK_AXE: Final = """options => axe.run({resultTypes: ["violations"], ...options}).then(
    found => found.violations.map(one => `${one.help} ${one.nodes[0].html.slice(0, 200)}`))"""

LOOKED_AT: Final = {"light": {}, "dark": {"runOnly": ["color-contrast", "link-in-text-block"]}}
"""What axe looks at in each theme: in the dark the colours are others, and nothing else is."""


class Looker:
    """A person with a browser of their own."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        context.set_default_timeout(PATIENCE)
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.page.on("console", lambda told: self._note(told.type, told.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", self.agree)
        self.page.on("request", lambda asked: self._demand_own(asked.url))

    def agree(self, dialog: Dialog) -> None:
        """A form that was changed is left all the same."""
        dialog.accept()

    def _note(self, kind: str, text: str) -> None:
        # A page that answers with an error status is what some tests ask for.
        if kind == "error" and "Failed to load resource" not in text:
            self.errors.append(text)

    def _demand_own(self, asked: str) -> None:
        if not asked.startswith((self.url, "data:", "blob:")):
            self.errors.append(f"asked elsewhere: {asked}")

    def go(self, address: str) -> Page:
        """Open a page."""
        self.page.goto(self.url + address)
        return self.page

    def log_in(self, name: str, password: str) -> None:
        """Prove who one is, by what the form of the login sends: its page has tests of its own."""
        told: dict[str, str | float | bool] = {"name": name, "password": password}
        answer = self.context.request.post(f"{self.url}/login", form=told, max_redirects=0)
        assert answer.status == 303, answer.text()

    def complaints(self, address: str) -> list[str]:
        """What axe, and a phone's width, have against a page, in every theme and at every width."""
        found: list[str] = []
        page = self.go(address)
        page.evaluate(Axe().axe_script)
        for theme, options in LOOKED_AT.items():
            page.evaluate(PUT_ON, theme)
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                told: list[str] = page.evaluate(ASK_AXE, options)
                if page.evaluate("document.documentElement.scrollWidth") > width:
                    told.append("scrolls sideways")
                found += [f"{address} {theme} {width}: {one}" for one in told]
        return found


@contextlib.contextmanager
def look_as(
    browser: Browser, url: str, name: str | None = None, password: str = "", zone: str | None = None
) -> Iterator[Looker]:
    """A person, logged in where a name is given; fails where the browser told of an error."""
    # without motion, or colours are looked at half-way between light and dark
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, reduced_motion="reduce", timezone_id=zone
    )
    looker = Looker(context, url)
    try:
        if name is not None:
            looker.log_in(name, password)
        yield looker
        assert looker.errors == [], looker.errors
    finally:
        context.close()
