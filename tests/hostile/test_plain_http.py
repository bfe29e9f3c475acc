"""Passwords and secrets go to other machines in the clear only where somebody said so in as many words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from highball.cli.app import run_command


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIGHBALL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("HIGHBALL_KEY_FILE", str(tmp_path / "hub.key"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def configured(folder: Path, **web: object) -> str:
    path = folder / "highball.json.yaml"
    path.write_text(json.dumps({"settings": {"web": web}}))
    return str(path)


@pytest.mark.parametrize("listen", ["0.0.0.0:18765", "[::]:18765", "192.0.2.7:18765", "hub.example:18765"])
def test_a_hub_answers_no_other_machine_in_the_clear_unless_it_is_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], listen: str
) -> None:
    assert run_command(["-c", configured(tmp_path), "serve", "--listen", listen]) == 6
    said = capsys.readouterr().err
    assert "plain http" in said
    assert "plain_http = true" in said and "[settings.web]" in said


@pytest.mark.parametrize("told", ["setting", "flag"])
def test_whoever_says_so_may(tmp_path: Path, capsys: pytest.CaptureFixture[str], told: str) -> None:
    words = ["--plain-http"] if told == "flag" else []
    path = configured(tmp_path, plain_http=told == "setting")
    # An address of nobody's: it goes on until there is no such socket to be had.
    assert run_command(["-c", path, "serve", "--listen", "192.0.2.7:18765", *words]) == 1
    assert "192.0.2.7:18765 cannot be used" in capsys.readouterr().err


def test_an_agent_joins_no_hub_elsewhere_in_the_clear_unless_it_is_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["agent", "--join", "http://hub.example:8765"]) == 6
    assert "--plain-http" in capsys.readouterr().err
    assert not (tmp_path / "state" / "agent" / "invitation.json").exists()
