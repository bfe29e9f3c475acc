"""Pictures of every page, light, dark and as a phone shows them, of an office that this makes (see `scene`).

Run as: .venv/bin/python demo/pictures.py [FOLDER]. The office lives in FOLDER (/srv/office) as long as this runs, and
its addresses are seen on the pictures; they go into docs/pages/.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from urllib.parse import urljoin

from playwright.sync_api import BrowserContext, Page, sync_playwright

from scene import ACCOUNT, PASSWORD, Scene

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pages"
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


def main(folder: Path) -> None:
    """Make the office, look at every page of it, and clear it away."""
    FOLDER.mkdir(exist_ok=True)
    scene = Scene(folder)
    try:
        with scene.serve() as hub:
            scene.declare(hub)
            scene.work(hub)
            _look_everywhere(hub.url)
    finally:
        shutil.rmtree(folder)


def _look_everywhere(url: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-background-networking"]
        )
        context = browser.new_context(base_url=url)
        page = context.new_page()
        page.goto("/login")
        page.get_by_label("Name").fill(ACCOUNT)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(lambda now: "/login" not in now)
        known = _what_there_is(page)
        for place, address in PLACES.items():
            for theme, width in LOOKS:
                _look(context, page, place, address.format(**known), theme, width)
        browser.close()


def _what_there_is(page: Page) -> dict[str, str]:
    newest = page.request.get("/api/v1/runs?job=documents&kind=backup&limit=1").json()["items"][0]
    return {"job": "documents", "repository": "vault", "run": newest["id"]}


def _look(context: BrowserContext, page: Page, place: str, address: str, theme: str, width: int) -> None:
    context.add_cookies([{"name": "theme", "value": theme, "url": urljoin(page.url, "/")}])
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(address)
    asked = page.locator("[hx-trigger=load]")  # what agents are asked for; it is replaced by their answer
    asked.first.wait_for(state="detached")
    page.wait_for_timeout(500)
    height: int = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": width, "height": height})  # or the rail would end where the window does
    name = f"{place}-phone" if width < 700 else f"{place}-{theme}"
    page.screenshot(path=FOLDER / f"{name}.jpg", type="jpeg", quality=70)


if __name__ == "__main__":
    main(Path(*sys.argv[1:] or ["/srv/office"]))
