"""Recovery kits: whoever types what the page says gets the files back, without Highball."""

import base64
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from highball.engine.base import Kept
from highball.engine.restic.declaration import ResticRepository
from highball.engine.restic.repository_kit import reach_of, repository_kit
from journeys.places import declare_elsewhere, quicken_elsewhere
from journeys.station import PASSWORD, Station
from testbed.restic import ResticBinary
from testbed.trees import same_tree

NOW = datetime(2026, 3, 1, 2, tzinfo=UTC)


def blocks(page: str) -> list[str]:
    """What is to be typed."""
    return re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def type_in(page: str, restic: ResticBinary, place: Path) -> Path:
    """Type everything that the page says, on a machine that has restic and nothing of Highball; the kit's folder."""
    place.mkdir()
    (place / "bin").mkdir()
    shutil.copy(restic.path, place / "bin" / "restic")
    (place / "home").mkdir()
    environment = {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "HOME": str(place / "home")}
    argv = ["sh", "-eu", "-c", "\n".join(blocks(page))]
    done = subprocess.run(argv, cwd=place, env=environment, capture_output=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return place / "highball-recovery"


def make_kit(station: Station, key: str = "nas") -> str:
    """The page that the command writes."""
    file = station.folder / f"kit-{key}.md"
    station.ask("recovery-kit", key, "--out", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    return file.read_text()


def demand_back(station: Station, found: Path) -> None:
    """All files are there, and the first source alone once more."""
    source = os.fsencode(station.source)
    for folder in ("restored-docs", "restored-part"):
        assert same_tree(source, os.fsencode(found / folder) + source) == []


def test_what_a_kit_says_brings_everything_back_with_each_restic(
    every_station: Station, tmp_path: Path
) -> None:
    every_station.back_up()
    page = make_kit(every_station)
    demand_back(every_station, type_in(page, every_station.restic, tmp_path / "elsewhere"))


@pytest.mark.parametrize("kind", ["sftp", "rest", "s3"])
def test_what_a_kit_says_reaches_every_kind_of_place(
    kind: str, each_station: Station, request: pytest.FixtureRequest, repository_name: str, tmp_path: Path
) -> None:
    declare_elsewhere(each_station, kind, request, repository_name)
    declared = each_station.repositories[kind]
    own = [each_station.folder / name for name in ("identity_file", "known_hosts") if name in declared]
    for file in own:
        shutil.copy(declared[file.name], file)
        declared[file.name] = str(file)
    each_station.add_job(repositories=[kind])
    each_station.ask("setup")
    quicken_elsewhere(kind, request, repository_name)
    each_station.back_up()
    page = make_kit(each_station, kind)
    for file in own:  # the machine is lost, and all of its files
        file.unlink()
    demand_back(each_station, type_in(page, each_station.restic, tmp_path / "elsewhere"))


def test_two_jobs_each_have_their_own_newest(station: Station, tmp_path: Path) -> None:
    other = station.folder / "it's [odd] *"
    station.fill(folder=other)
    station.add_job("odd", sources=[{"path": {"b64": base64.b64encode(os.fsencode(other)).decode()}}])
    station.jobs = {key: station.jobs[key] for key in ("odd", "docs")}
    station.back_up()
    (station.source / "more").write_text("more")
    station.back_up("docs")
    found = type_in(make_kit(station), station.restic, tmp_path / "elsewhere")
    for folder, source in (("odd", other), ("docs", station.source)):
        copy = os.fsencode(found / f"restored-{folder}") + os.fsencode(source)
        assert same_tree(os.fsencode(source), copy) == []
    part = os.fsencode(found / "restored-part") + os.fsencode(other)
    assert same_tree(os.fsencode(other), part) == []


@pytest.mark.parametrize(
    "password",
    [
        b'it\'s "quoted" $HOME `id` \\n %s',
        b"\xff\xfe\x01 bytes",
        "schön \U0001f9ea".encode(),
        b"two\nlines",
        b"-n",
    ],
)
def test_a_password_of_any_characters_opens_the_repository(
    password: bytes, newest_restic: ResticBinary, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_bytes(password)
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("content")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "RESTIC_PASSWORD_FILE": str(file)}
    for command in (["init"], ["backup", "--tag", "hb:job=docs,hb:set=files", str(source)]):
        argv = [str(newest_restic.path), "-r", str(tmp_path / "repository"), *command]
        subprocess.run(argv, env=environment, check=True, capture_output=True)
    declared = {"url": str(tmp_path / "repository"), "password": {"file": str(file)}}
    repository = ResticRepository.model_validate(declared)
    kept = [Kept("docs", os.fsencode(source), "files")]
    page = repository_kit("nas", repository, reach_of(repository), kept, NOW)
    found = type_in(page, newest_restic, tmp_path / "elsewhere")
    assert (found / "restored-docs" / str(source)[1:] / "file").read_text() == "content"


def test_a_page_says_what_a_person_needs(station: Station) -> None:
    station.repositories["nas"]["title"] = "the one in the cellar"
    page = make_kit(station)
    assert "# Recovery kit: the repository nas (the one in the cellar)" in page
    assert f"- Address: `{station.path_of()}`" in page
    assert f"- Password: `{PASSWORD}`" in page
    assert "mount its disk first" in page
    assert max(len(line) for line in blocks(page)[0].splitlines()) < 200


def test_a_repository_without_jobs_has_a_kit(station: Station, tmp_path: Path) -> None:
    station.back_up()
    station.jobs.clear()
    station.add_repository("other")
    station.add_job(repositories=["other"])
    found = type_in(make_kit(station), station.restic, tmp_path / "elsewhere")
    copy = os.fsencode(found / "restored") + os.fsencode(station.source)
    assert same_tree(os.fsencode(station.source), copy) == []


# --- where it goes -------------------------------------------------------------------------------


def test_secrets_are_shown_only_where_that_was_said(station: Station) -> None:
    refused = station.ask("recovery-kit", "nas", status=2)
    assert refused.error["code"] == "confirmation_required"
    assert PASSWORD not in refused.text + refused.stderr
    shown = station.call("recovery-kit", "nas", "--show")
    assert f"- Password: `{PASSWORD}`" in shown.text
    assert shown.text == station.ask("recovery-kit", "nas", "--show").json["kit"]


def test_a_file_that_is_there_is_never_overwritten(station: Station) -> None:
    mine = station.folder / "mine"
    mine.write_text("mine")
    refused = station.ask("recovery-kit", "nas", "--out", str(mine), status=5)
    assert refused.error["code"] == "file_exists"
    assert mine.read_text() == "mine"
    lost = station.ask("recovery-kit", "nas", "--out", str(station.folder / "no" / "kit"), status=1)
    assert lost.error["code"] == "file_unwritten"


def test_what_cannot_be_made_is_said(station: Station) -> None:
    unknown = station.ask("recovery-kit", "nass", "--show", status=4)
    assert unknown.error["code"] == "repository_unknown"
    assert "nas" in unknown.error["hint"]
    station.password_file.unlink()
    lost = station.ask("recovery-kit", "nas", "--show", status=1)
    assert lost.error["code"] == "secret_unavailable"


def test_a_kit_is_made_while_a_hub_serves_and_changes_nothing(station: Station) -> None:
    make_kit(station)
    assert not station.state.exists()


# --- the hub's -----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [b"c2VjcmV0LWtleQ==\n", bytes(range(256))])
def test_the_hubs_kit_puts_its_key_back_as_it_was(
    key: bytes, station: Station, newest_restic: ResticBinary, tmp_path: Path
) -> None:
    file = station.folder / "hub.key"
    file.write_bytes(key)
    station.ask("hub", "backup")
    out = tmp_path / "hub.md"
    station.ask("hub", "recovery-kit", "--out", str(out))
    page = out.read_text()
    file.unlink()
    write, restore, rebuild = blocks(page)
    subprocess.run(["sh", "-eu", "-c", write], check=True, timeout=20)
    assert file.read_bytes() == key
    assert file.stat().st_mode & 0o777 == 0o600
    [newest] = (station.state / "backups").iterdir()
    assert restore.strip() == f"highball -c {station.config} hub restore-backup {newest}"
    assert rebuild.strip() == f"highball -c {station.config} hub rebuild"
    assert f"- nas: `{station.path_of()}`" in page
    answer = station.ask(*restore.split()[3:], "--yes")
    assert answer.json["restored"] == str(newest)


def test_a_hub_without_a_key_or_a_backup_says_so(station: Station) -> None:
    page = station.ask("hub", "recovery-kit", "--show").json["kit"]
    assert "no key yet" in page
    assert "none yet" in page
    address = "postgresql://highball:canary@db.example/highball"
    served = station.ask("hub", "recovery-kit", "--show", HIGHBALL_DATABASE=address).json["kit"]
    assert "the database highball at db.example" in served
    assert "canary" not in served


def test_the_key_may_lie_elsewhere(station: Station, tmp_path: Path) -> None:
    (tmp_path / "hub.key").write_text("from systemd")
    told = station.ask("hub", "recovery-kit", "--show", CREDENTIALS_DIRECTORY=str(tmp_path)).json["kit"]
    assert "from systemd" in told
    (tmp_path / "own").write_text("an own place")
    told = station.ask("hub", "recovery-kit", "--show", HIGHBALL_KEY_FILE=str(tmp_path / "own")).json["kit"]
    assert "an own place" in told
