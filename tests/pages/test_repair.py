"""A repository that a check found damaged is repaired by what its page says, word for word."""

from __future__ import annotations

import html
import re
import stat
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import expect

from api.whole import NOW, Whole
from highball.config.repository import Repository
from highball.engine.restic.engine import RESTIC
from highball.hub.storage.schema import agents
from highball.model.role import Role
from hub.served import Corner, Served
from pages.looking import Looker


def damage(corner: Corner) -> str:
    """Flip a byte in the middle of the largest pack; its id."""
    packs = [path for path in (corner.repository / "data").rglob("*") if path.is_file()]
    largest = max(packs, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    largest.chmod(stat.S_IRUSR | stat.S_IWUSR)
    largest.write_bytes(content)
    return largest.name


def test_a_damaged_repository_is_repaired_by_what_its_page_says(
    anna: Looker, served: Served, tmp_path: Path
) -> None:
    corner = served.give_corner(tmp_path / "corner", {"check_share": "100%"})
    corner.back_up()
    pack = damage(corner)
    failed = corner.end_of(corner.order("check"))
    assert failed["outcome"] == "failure"

    page = anna.go(f"/runs/{failed['id']}")
    page.get_by_role("link", name="Repair").first.click()
    expect(page.locator("h1")).to_contain_text("Repair")
    expect(page.get_by_text("Retention is on hold")).to_be_visible()
    assert anna.complaints(f"/repositories/{corner.nas}/repair") == []
    for address in ("/", f"/repositories/{corner.nas}"):
        assert f'href="/repositories/{corner.nas}/repair"' in corner.http.get(served.url + address).text, (
            address
        )

    told = corner.http.get(f"{served.url}/repositories/{corner.nas}/repair").text
    typed = [html.unescape(one) for one in re.findall(r"<pre[^>]*>(.*?)</pre>", told, re.S)]
    shell = f'restic() {{ "{served.restic.path}" "$@"; }}\n' + "\n".join(typed).replace(
        "packs ID", f"packs {pack}"
    )
    done = subprocess.run(
        ["bash", "-c", shell],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "RESTIC_CACHE_DIR": str(tmp_path / "cache")},
        cwd=tmp_path,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no errors were found" in done.stdout
    assert sorted(one.name for one in (tmp_path / f"repair-of-{corner.nas}").iterdir()) == [
        "index",
        "snapshots",
    ]

    page = anna.go(f"/repositories/{corner.nas}/repair")
    page.get_by_role("button", name="Check now").click()
    page.wait_for_url("**/runs/*")
    assert corner.end_of(page.url.rpartition("/")[2])["outcome"] == "success"
    expect(
        anna.go(f"/repositories/{corner.nas}/repair").get_by_text("retention is not on hold")
    ).to_be_visible()


@pytest.mark.parametrize(("restic", "is_old"), [("0.14.0", True), ("0.16.0", False), ("1.0.0", False)])
def test_a_restic_that_is_too_old_is_said_to_be_before_anything_is_typed(
    whole: Whole, restic: str, is_old: bool
) -> None:
    with whole.hub.database.write() as connection:
        connection.execute(agents.delete())
        told = {"host": "here", "public_key": "00", "enrolled_at": NOW, "facts": {"restic": restic}}
        connection.execute(agents.insert().values(**told))
    page = whole.client(Role.VIEWER).get("/repositories/nas/repair").text
    assert (f"is {restic}:" in page and "Install 0.16 or newer there" in page) is is_old
    assert ("restic rebuild-index" in page, "restic repair index" in page) == (is_old, not is_old)


def test_no_command_holds_a_secret_and_what_is_sealed_is_told_by_the_kit() -> None:
    def way(**fields: object) -> list[str] | None:
        return RESTIC.repair.way_in(Repository.model_validate(fields))

    assert way(url="/mnt/my backups", password={"file": "/etc/the key"}) == [
        "export RESTIC_REPOSITORY='/mnt/my backups'",
        "export RESTIC_PASSWORD_FILE='/etc/the key'",
    ]
    environment = {"B2_ACCOUNT_KEY": {"env": "MY_KEY"}, "B2_ACCOUNT_ID": "a b"}
    assert way(url="b2:bucket:x", password={"command": ["pass", "a b"]}, environment=environment) == [
        "export RESTIC_REPOSITORY=b2:bucket:x",
        "export RESTIC_PASSWORD_COMMAND='pass '\"'\"'a b'\"'\"''",
        'export B2_ACCOUNT_KEY="${MY_KEY:?}"',
        "export B2_ACCOUNT_ID='a b'",
    ]
    assert way(url="/mnt/x", password={"env": "P"}, admin={"password": {"file": "/k"}}) == [
        "export RESTIC_REPOSITORY=/mnt/x",
        "export RESTIC_PASSWORD_FILE=/k",
    ]
    assert way(url="/mnt/x", password={"sealed": True}) is None
    far = Repository.model_validate({"url": "b2:bucket:x", "password": {"env": "P"}})
    assert "copy them with the tools of the storage" in RESTIC.repair.steps(far, "far", "0.19.1")[1].text
