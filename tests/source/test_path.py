"""What a path source may say, and what an examination finds."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from highball.place.local import LOCAL
from highball.source import contents
from highball.source.contents import Finding
from highball.source.path import PathSource
from highball.source.spelling import lies_inside, misplaced
from testbed.unprivileged import Unprivileged


def source(path: bytes | str | Path, **more: object) -> PathSource:
    return PathSource.model_validate({"path": path if isinstance(path, bytes) else str(path), **more})


def examine(one: PathSource) -> Finding:
    return contents.examine(LOCAL.files(), one.path, follow=one.follow, allow_empty=one.allow_empty)


def complaint(declared: object) -> str:
    with pytest.raises(ValidationError) as caught:
        PathSource.model_validate(declared)
    return caught.value.errors()[0]["msg"].removeprefix("Value error, ")


# --- what is declared ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("/etc", b"/etc"),
        ("/etc/", b"/etc"),
        ("//srv///data/./x/", b"/srv/data/x"),
        ("/", b"/"),
        ("/ü", "/ü".encode()),
        ({"b64": "L//+"}, b"/\xff\xfe"),
        ({"path": {"b64": "L//+"}}, b"/\xff\xfe"),
        ({"path": "/etc"}, b"/etc"),
        (b"/etc", b"/etc"),
    ],
)
def test_a_path_has_one_spelling(written: object, path: bytes) -> None:
    assert PathSource.model_validate(written).path == path


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("etc", '"etc" is not an absolute path'),
        ("~/documents", '"~/documents" is not an absolute path'),
        ("", '"" is not an absolute path'),
        ("/etc/../root", "a path cannot hold .."),
        ("/a\0b", "a path cannot hold the character NUL"),
    ],
)
def test_paths_that_are_refused(written: str, words: str) -> None:
    assert complaint(written) == words


@pytest.mark.parametrize(
    ("written", "pattern"),
    [
        ("*.tmp", "*.tmp"),
        ("ssl/private/", "ssl/private"),
        ("./ssl//private", "ssl/private"),
        ("/cache", "/cache"),
        ("cache/", "cache"),
        (r"\!important", r"\!important"),
        ("[a-z]?[^0-9]*", "[a-z]?[^0-9]*"),
        (r"[\]\-]", r"[\]\-]"),
    ],
)
def test_a_pattern_has_one_spelling(written: str, pattern: str) -> None:
    assert source("/etc", exclude=[written]).exclude == (pattern,)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("!keep", "a pattern cannot take back another with !"),
        ("", '"" would exclude the whole source'),
        ("/", '"/" would exclude the whole source'),
        ("../x", "a pattern cannot hold .."),
        ("a\0b", "a pattern cannot hold the character NUL"),
        *((bad, f'"{bad}" is not a pattern') for bad in ("[a", "[]", "[^]", "[a-]", "[-a]", "x\\", "a/[/b")),
    ],
)
def test_patterns_that_are_refused(written: str, words: str) -> None:
    assert complaint({"path": "/etc", "exclude": [written]}) == words


def test_a_pattern_that_repeats_its_source_is_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        source("/etc", exclude=["x", "/etc/ssl", "/etc"])
    assert caught.value.errors()[0]["ctx"]["all"] == [
        {
            "under": "exclude[1]",
            "message": '"/etc/ssl" repeats the path of its source, to which it is relative',
            "hint": 'write "ssl"',
        },
        {
            "under": "exclude[2]",
            "message": '"/etc" repeats the path of its source, to which it is relative',
            "hint": "remove that source",
        },
    ]


def test_below_the_root_whole_paths_are_relative_ones() -> None:
    assert misplaced(["/etc/ssl", "etc"], b"/") == []
    assert source("/", exclude=["/proc"]).exclude == ("/proc",)


@pytest.mark.parametrize(
    ("path", "folder", "inside"),
    [
        (b"/home/me", b"/home", True),
        (b"/home", b"/home", False),
        (b"/homework", b"/home", False),
        (b"/home", b"/home/me", False),
        (b"/etc", b"/", True),
        (b"/", b"/", False),
    ],
)
def test_lies_inside(path: bytes, folder: bytes, inside: bool) -> None:
    assert lies_inside(path, folder) is inside


def test_schema_of_editors() -> None:
    text, table = PathSource.model_json_schema()["anyOf"]
    assert text["type"] == "string"
    assert set(table["properties"]) == {"path", "exclude", "allow_empty", "follow"}


# --- what an examination finds -------------------------------------------------------------------


def code(finding: Finding) -> str | None:
    assert finding.sound is (finding.caution is None)
    return finding.caution.code if finding.caution else None


def test_a_folder_with_something_in_it_is_sound(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    assert examine(source(tmp_path)) == Finding(os.fsencode(tmp_path))


def test_a_file_is_sound_even_when_empty(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    assert examine(source(tmp_path / "x")).sound


def test_an_empty_folder(tmp_path: Path) -> None:
    assert code(examine(source(tmp_path))) == "source_empty"
    assert examine(source(tmp_path, allow_empty=True)).sound


def test_what_holds_no_data(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    for found in (
        source(tmp_path / "pipe"),
        source(tmp_path / "link", follow=True),
        source(Path("/dev/null")),
    ):
        assert code(examine(found)) == "source_special"


def test_missing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert code(examine(source(tmp_path / "x"))) == "source_missing"
    assert code(examine(source(tmp_path / "file" / "x"))) == "source_missing"


def test_a_link_is_named_and_followed_only_when_told(tmp_path: Path) -> None:
    real = tmp_path / "real"
    (real / "x").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to("real")
    finding = examine(source(link))
    assert code(finding) == "source_is_link"
    assert finding.caution is not None
    assert finding.caution.message == f"{link} is a symbolic link to real, which is not followed"
    assert examine(source(link, follow=True)) == Finding(os.fsencode(real))
    assert examine(source(link / "x", follow=True, allow_empty=True)) == Finding(os.fsencode(link / "x"))


def test_a_followed_link_is_examined_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "to-empty").symlink_to("empty")
    (tmp_path / "to-nothing").symlink_to("nothing")
    (tmp_path / "circle").symlink_to("circle")
    assert code(examine(source(tmp_path / "to-empty", follow=True))) == "source_empty"
    assert code(examine(source(tmp_path / "to-nothing", follow=True))) == "source_missing"
    assert code(examine(source(tmp_path / "circle", follow=True))) == "source_unreadable"


def test_bytes_that_are_no_text_are_named_readably(tmp_path: Path) -> None:
    finding = examine(source(os.fsencode(tmp_path) + b"/\xff\n"))
    assert finding.caution is not None
    assert finding.caution.message == f"{tmp_path}/\\xff\\n is missing"


def test_unreadable(unprivileged: Unprivileged) -> None:
    folder = unprivileged.directory / "closed"
    folder.mkdir(mode=0o700)
    (folder / "x").touch()
    file = unprivileged.directory / "file"
    file.touch(mode=0o600)
    os.seteuid(unprivileged.uid)
    try:
        found = [examine(source(path)) for path in (folder, folder / "x", file)]
    finally:
        os.seteuid(0)
    assert [code(finding) for finding in found] == ["source_unreadable"] * 3
    assert found[2].caution is not None
    assert found[2].caution.message == f"{file} cannot be read: Permission denied"
