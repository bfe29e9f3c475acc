"""What is declared on one machine, written out, and held against another file."""

from pathlib import Path

from journeys.station import Station


def test_what_is_exported_is_a_configuration_that_says_the_same(station: Station) -> None:
    station.defaults["exclude"] = ["*.tmp"]
    station.write()
    exported = station.call("export")
    assert exported.status == 0
    copy = station.folder / "copy.yaml"
    copy.write_text(exported.text)
    assert station.call("-c", str(copy), "validate").status == 0
    assert station.ask("export").json["defaults"] == {"exclude": ["*.tmp"]}
    assert station.call("-c", str(copy), "export").text == exported.text
    assert station.ask("diff", "-f", str(copy)).json == []


def test_a_file_is_held_against_what_is_declared_and_changes_nothing(station: Station) -> None:
    station.write()
    before = station.call("export").text
    other = station.folder / "other.yaml"
    other.write_text(before.replace("jobs:\n  docs:\n", "jobs:\n  docs:\n    schedule: weekly\n"))
    shown = station.call("diff", "-f", str(other))
    assert "changed  jobs.docs" in shown.text
    assert 'schedule: nothing → "weekly"' in shown.text
    told = station.ask("diff", "-f", str(other)).json
    assert [(one["key"], one["what"]) for one in told] == [("docs", "changed")]
    assert station.call("export").text == before
    assert station.call("diff").status == 2
    Path(other).write_text("jobs: [")
    assert station.ask("diff", "-f", str(other), status=2).error["code"] == "configuration_invalid"


def test_a_sample_is_written_once_and_is_right(station: Station) -> None:
    path = station.folder / "sample.toml"
    assert station.call("init-config", str(path)).status == 0
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert station.call("init-config").text == text
    again = station.call("--json", "init-config", str(path))
    assert (again.status, again.error["code"]) == (5, "file_exists")
    assert path.read_text() == text
    assert "timezone = " in text
