"""What is written as a shell reads it is refused where it is declared, and what was declared before goes on."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from highball.config.document import build
from highball.config.misread import find_misread


def found(job: dict[str, Any], **more: Any) -> list[tuple[str, str, str | None]]:
    """What is misread in a document with this job."""
    repository = {"url": "/mnt/nas", "password": {"env": "X"}}
    tables = {"repositories": {"nas": repository}, "jobs": {"docs": {"repositories": ["nas"], **job}}, **more}
    build(tables)  # it is right by itself
    return [(one.at, one.message, one.hint) for one in find_misread(tables)]


@pytest.mark.parametrize(
    ("pattern", "says", "instead"),
    [
        ("~/.cache", "~ is not expanded", '".cache"'),
        ("$HOME/.cache", "$HOME is not expanded", '".cache"'),
        ("${XDG_CACHE_HOME}", "${XDG_CACHE_HOME} is not expanded", "write out its value"),
        ("{{ .Hostname }}/x", "{{ .Hostname }} is not expanded", '"x"'),
        ("*.{tmp,bak}", "{tmp,bak} is not expanded", "a pattern for each"),
        ("/home/*/.cache", "repeats /home/me", 'write "/.cache"'),
        ("/home/**/.cache", "repeats /home/me", 'write "/**/.cache"'),
    ],
)
@pytest.mark.parametrize("level", ["job", "defaults", "profile"])
def test_a_pattern_that_can_never_match(pattern: str, says: str, instead: str, level: str) -> None:
    job: dict[str, Any] = {"sources": ["/home/me"]}
    match level:
        case "job":
            told = found(job | {"exclude": ["*.o", pattern]})
        case "defaults":
            told = found(job, defaults={"exclude": ["*.o", pattern]})
        case _:
            told = found(job | {"profile": "p"}, profiles={"p": {"exclude": ["*.o", pattern]}})
    [(at, message, hint)] = told
    assert at.startswith({"job": "jobs.docs", "defaults": "defaults", "profile": "profiles.p"}[level])
    assert says in message
    assert instead in (hint or "")


def test_a_sources_own_pattern_too() -> None:
    [(at, _, _)] = found({"sources": [{"path": "/home/me", "exclude": ["~/x"]}]})
    assert at == "jobs.docs.sources[0].exclude[0]"


@pytest.mark.parametrize(
    "pattern",
    [
        "$RECYCLE.BIN",
        "$Recycle.Bin",
        "~$*",
        "~",
        "*~",
        r"\$HOME",
        r"\~/x",
        "a{b",
        "/*/*/cache",
        "/cache",
        "**/x",
        "/me/x",
    ],
)
def test_names_that_only_look_so_are_patterns(pattern: str) -> None:
    assert found({"sources": ["/home/me"], "exclude": [pattern]}) == []


@pytest.mark.parametrize(
    ("path", "says", "instead"),
    [
        ("/home/*/docs", "not a pattern", 'back up "/home"'),
        ("/srv/data?", "not a pattern", 'back up "/srv"'),
        ("/home/${USER}/docs", "${USER} is not expanded", "write out its value"),
        ("/home/$USER/docs", "$USER is not expanded", "write out its value"),
        ("/srv/{{ .Hostname }}", "{{ .Hostname }} is not expanded", "write out its value"),
    ],
)
def test_a_source_that_is_no_path(path: str, says: str, instead: str) -> None:
    for source in (path, {"path": path}):
        [(at, message, hint)] = found({"sources": ["/etc", source]})
        assert at == "jobs.docs.sources[1]"
        assert says in message
        assert hint is not None
        assert instead in hint
        assert base64.b64encode(path.encode()).decode() in hint
    exact = {"b64": base64.b64encode(path.encode()).decode()}
    assert found({"sources": [exact]}) == found({"sources": [{"path": exact}]}) == []


def test_other_characters_are_part_of_names() -> None:
    assert found({"sources": ["/srv/media [old]", "/mnt/c/$Recycle.Bin", "/srv/{x}", "/srv/~me"]}) == []
