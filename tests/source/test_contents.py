"""Whether anything of a source would be saved, as restic itself would save it."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from highball.place.local import LOCAL
from highball.source.base import Content, Examined, Omissions
from highball.source.contents import MOST_ENTRIES, list_idle
from highball.source.path import PathSource
from testbed.restic import Location, ResticBinary
from testbed.unprivileged import Unprivileged
from testbed.written import WrittenRepository

SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55\n# a cache\n"


def look(path: Path, source: dict[str, Any] | None = None, **omissions: Any) -> Examined:
    """A source of this path, examined with all that is left out of it."""
    declared = PathSource.model_validate({"path": str(path), **(source or {})})
    return declared.examine(Omissions(**omissions), LOCAL)


def make(top: Path, *names: str) -> Path:
    """A folder with these files in it; a name with a slash at its end is a folder."""
    for name in names:
        path = top / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(SIGNATURE if path.name == "CACHEDIR.TAG" else b"data")
    return top


HOLLOW: list[tuple[str, tuple[str, ...], dict[str, Any], str | None]] = [
    ("files", ("a/b/file",), {}, None),
    ("only folders", ("a/b/", "c/"), {}, "source_hollow"),
    ("all excluded", ("a/b", "c"), {"exclude": ["*"]}, "source_left_out"),
    ("all but one excluded", ("a.tmp", "b/c.tmp", "d/e/f"), {"exclude": ["*.tmp"]}, None),
    ("all excluded by path", ("a/b", "a/c"), {"exclude": ["/a"]}, "source_left_out"),
    ("an excluded folder beside an empty one", ("a/b", "c/"), {"exclude": ["a"]}, "source_left_out"),
    ("all too large", ("a", "b/c"), {"exclude_larger_than": 3}, "source_left_out"),
    ("none too large", ("a",), {"exclude_larger_than": 4}, None),
    ("marked", (".nobackup", "a", "b/c"), {"exclude_if_present": [".nobackup"]}, "source_left_out"),
    ("a marker that is none here", (".nobackup", "a"), {}, None),
    ("marked below", ("a/.nobackup", "a/b"), {"exclude_if_present": [".nobackup"]}, "source_left_out"),
    ("marked below, and more", ("a/.nobackup", "b/c"), {"exclude_if_present": [".nobackup"]}, None),
    ("a cache", ("CACHEDIR.TAG", "a"), {"exclude_caches": True}, "source_left_out"),
    ("a cache that is wanted", ("CACHEDIR.TAG", "a"), {}, None),
]


@pytest.mark.parametrize(
    ("names", "omissions", "code"), [one[1:] for one in HOLLOW], ids=[o[0] for o in HOLLOW]
)
def test_a_source_of_which_nothing_is_saved_is_told(
    tmp_path: Path, names: tuple[str, ...], omissions: dict[str, Any], code: str | None
) -> None:
    found = look(make(tmp_path / "source", *names), **omissions)
    assert found.usable
    assert (found.caution.code if found.caution else None) == code
    assert (found.holds is Content.NOTHING) == (code is not None)


def test_it_is_what_restic_saves(tmp_path: Path, newest_restic: ResticBinary) -> None:
    WrittenRepository(tmp_path / "repository")
    at, key = Location("local", str(tmp_path / "repository")), tmp_path / "password"
    key.write_text("open sesame")
    for number, (name, names, omissions, code) in enumerate(HOLLOW):
        top = make(tmp_path / f"source-{number}", *names)
        told = [
            f"--exclude={top}{'' if '/' in one else '/**'}/{one.lstrip('/')}"
            for one in omissions.get("exclude", ())
        ]
        told += [f"--exclude-if-present={one}" for one in omissions.get("exclude_if_present", ())]
        told += ["--exclude-caches"] if omissions.get("exclude_caches") else []
        told += [f"--exclude-larger-than={n}" for n in [omissions.get("exclude_larger_than")] if n]
        said = newest_restic.run("backup", "--json", str(top), *told, at=at, password_file=key).stdout
        listed = newest_restic.run("ls", "--json", "latest", at=at, password_file=key).stdout
        assert b'"summary"' in said
        files = {line for line in listed.splitlines() if b'"type":"file"' in line}
        data = {line for line in files if b".nobackup" not in line and b"CACHEDIR.TAG" not in line}
        assert bool(data) == (code is None or name == "a cache that is wanted"), name


def test_the_sentence_says_what_leaves_it_out(tmp_path: Path) -> None:
    top = make(tmp_path / "source", ".nobackup", "a")
    for found, words in (
        (look(top, exclude_if_present=[".nobackup"]), "its own .nobackup"),
        (look(top, exclude=["*"]), "by exclude"),
        (look(top, exclude_larger_than=1, exclude=[".*"]), "by exclude, by exclude_larger_than"),
    ):
        assert found.caution is not None
        assert words in found.caution.message
        assert found.caution.path == os.fsencode(top)


def test_a_source_that_may_be_empty_is_fine(tmp_path: Path) -> None:
    top = make(tmp_path / "source", "a/b/")
    assert look(top, {"allow_empty": True}).caution is None
    found = look(top)
    assert found.caution is not None
    assert "allow_empty" in found.caution.message


def test_links_are_data_that_restic_does_not_count(tmp_path: Path) -> None:
    top = make(tmp_path / "source", "a/")
    (top / "a" / "link").symlink_to("elsewhere")
    assert look(top).holds is Content.NO_FILES


def test_sockets_are_never_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = make(tmp_path / "source", "a/")
    monkeypatch.chdir(top)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
    found = look(top)
    assert found.holds is Content.NOTHING
    assert found.caution is not None and "sockets, which are never saved" in found.caution.message


def test_what_may_be_listed_and_not_looked_at_is_not_called_hollow(unprivileged: Unprivileged) -> None:
    top = make(unprivileged.directory / "listed", "file", "folder/")
    top.chmod(0o744)
    beside = make(unprivileged.directory / "beside", "listed/file")
    (beside / "link").symlink_to("listed")
    (beside / "listed").chmod(0o744)
    os.seteuid(unprivileged.uid)
    try:
        found = [look(top), look(beside, {"exclude": ["/link"]})]
    finally:
        os.seteuid(0)
    assert [(one.holds, one.caution) for one in found] == [(Content.UNKNOWN, None)] * 2


def test_a_mark_of_a_cache_that_is_a_link_marks_it_for_restic_too(tmp_path: Path) -> None:
    top = make(tmp_path / "top", "file", "marked/CACHEDIR.TAG")
    (top / "CACHEDIR.TAG").symlink_to("marked/CACHEDIR.TAG")
    found = look(top, exclude_caches=True)
    assert found.caution is not None
    assert found.caution.code == "source_left_out"


def test_a_source_below_the_root_of_another_mount_namespace_is_what_lies_there(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs the right to mount")
    script = (
        f"mount -t tmpfs none {tmp_path} && mkdir {tmp_path}/d && touch {tmp_path}/d/file && echo && read x"
    )
    argv = ["unshare", "--mount", "sh", "-c", script]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdout is not None
        keeper.stdout.readline()
        host = tmp_path.parent / f"{tmp_path.name}-host"
        host.symlink_to(f"/proc/{keeper.pid}/root")
        for root in (Path(f"/proc/{keeper.pid}/root"), host):
            found = look(Path(f"{root}{tmp_path}/d"))
            assert (found.caution, found.holds) == (None, Content.FILES)
            assert look(Path(f"{root}{tmp_path}/d/file")).holds is Content.FILES
            missing = look(Path(f"{root}{tmp_path}/none"))
            assert missing.caution is not None
            assert missing.caution.code == "source_missing"
        keeper.communicate()


def test_a_file_is_what_it_is(tmp_path: Path) -> None:
    assert look(make(tmp_path, "file") / "file", exclude=["*"]).holds is Content.FILES


def test_a_cache_that_only_seems_one_is_saved(tmp_path: Path) -> None:
    top = make(tmp_path / "source", "a")
    (top / "CACHEDIR.TAG").write_text("nothing of the kind")
    assert look(top, exclude_caches=True).holds is Content.FILES


def test_what_is_wrong_with_a_source_itself_comes_first(tmp_path: Path) -> None:
    found = look(tmp_path / "gone")
    assert found.caution is not None
    assert (found.caution.code, found.usable) == ("source_missing", False)


def test_a_look_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("highball.source.contents.MOST_ENTRIES", 3)
    assert MOST_ENTRIES > 3
    assert look(make(tmp_path / "source", *(f"{name}/" for name in "abcdef"))).holds is Content.UNKNOWN


def test_patterns_whose_first_folder_is_nowhere_are_idle(tmp_path: Path) -> None:
    sources = [os.fsencode(make(tmp_path / "a", "x/y")), os.fsencode(make(tmp_path / "b", "z"))]
    patterns = ["/x/y", "/z", "/gone", "/gone/x", "gone/x", "/*/x", "/**/x", "*.tmp"]
    assert list_idle(LOCAL.files(), patterns, sources) == ["/gone/x"]
