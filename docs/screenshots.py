"""Pictures of every page, light, dark and as a phone shows them, of a hub that serves what `make demo` left.

Run as: .venv/bin/python docs/screenshots.py URL NAME PASSWORD (the demo's last lines say them); writes docs/pages/.
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, sync_playwright

FOLDER = Path(__file__).with_name("pages")
LOOKS = (("light", 1280), ("dark", 1280), ("light", 390))
PLACES = {
    "overview": "/",
    "jobs": "/jobs",
    "job": "/jobs/{job}",
    "job-form": "/jobs/{job}/edit",
    "runs": "/runs",
    "run": "/runs/{run}",
    "restore": "/restore?job={job}",
    "repositories": "/repositories",
    "repository": "/repositories/{repository}",
    "hosts": "/hosts",
    "maintenance": "/maintenance",
    "activity": "/activity",
    "history": "/history/job/{job}",
    "deleted": "/deleted",
    "configuration": "/configuration",
    "profiles": "/profiles",
    "settings": "/settings",
}


def main(url: str, name: str, password: str) -> None:
    """Log in, go everywhere, look."""
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-background-networking"]
        )
        context = browser.new_context(base_url=url)
        page = context.new_page()
        page.goto("/login")
        page.get_by_label("Name").fill(name)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(lambda now: "/login" not in now)
        known = _what_there_is(page)
        for place, address in PLACES.items():
            for theme, width in LOOKS:
                _look(context, page, place, address.format(**known), theme, width)
        browser.close()


def _what_there_is(page: Page) -> dict[str, str]:
    def ask(address: str) -> list[dict[str, str]]:
        items: list[dict[str, str]] = page.request.get(f"/api/v1/{address}").json()["items"]
        return items

    return {
        "job": ask("jobs")[0]["key"],
        "repository": ask("repositories")[0]["key"],
        "run": ask("runs?kind=backup&limit=1")[0]["id"],
    }


def _look(context: BrowserContext, page: Page, place: str, address: str, theme: str, width: int) -> None:
    context.add_cookies([{"name": "theme", "value": theme, "url": page.url}])
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(address)
    page.wait_for_timeout(1500)  # what is loaded after the page, as a person would wait for it
    name = f"{place}-phone" if width < 700 else f"{place}-{theme}"
    page.screenshot(path=FOLDER / f"{name}.jpg", full_page=True, type="jpeg", quality=70)


if __name__ == "__main__":
    main(*sys.argv[1:])
