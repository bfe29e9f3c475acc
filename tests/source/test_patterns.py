"""Excludes leave out exactly what was meant: asked of every real restic."""

import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from highball.place.local import LOCAL
from highball.source.base import Omissions
from highball.source.path import PathSource
from highball.source.patterns import Patterns, anchored, leaves_out
from testbed.restic import Location, ResticBinary
from testbed.written import WrittenRepository

ODD = "[a]*?\\b"


def patterns(path: bytes, *exclude: str) -> list[bytes]:
    return anchored(path, PathSource(path=path, exclude=exclude).exclude)


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        (b"/etc", "ssl/private", b"/etc/ssl/private"),
        (b"/etc", "/ssl", b"/etc/ssl"),
        (b"/etc", "*.tmp", b"/etc/**/*.tmp"),
        (b"/", "*.tmp", b"/**/*.tmp"),
        (b"/", "/proc", b"/proc"),
        (b"/x/[a]*?\\b", "c", rb"/x/\[a\]\*\?\\b/**/c"),
        (b"/\xff", "\u00fc", b"/\xff/**/\xc3\xbc"),
    ],
)
def test_anchored_to_the_source(path: bytes, pattern: str, expected: bytes) -> None:
    assert patterns(path, pattern) == [expected]


def test_the_jobs_come_first_and_each_once(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    declared = PathSource(path=os.fsencode(tmp_path), exclude=("b", "a"))
    of_job = Omissions(exclude=("a",))
    top = os.fsencode(tmp_path)
    given = declared.prepare(declared.examine(of_job, LOCAL), of_job, LOCAL)
    assert given.excludes == [top + b"/**/a", top + b"/**/b"]


def test_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").touch()
    (tmp_path / "link").symlink_to("real")
    declared = PathSource(path=os.fsencode(tmp_path / "link"), exclude=("a",), follow=True)
    given = declared.prepare(declared.examine(Omissions(), LOCAL), Omissions(), LOCAL)
    assert given.excludes == [os.fsencode(tmp_path / "real") + b"/**/a"]


FILES = {
    "keep",
    "x.tmp",
    "sub/y.tmp",
    "sub/deep/z.tmp",
    "sub/keep.txt",
    "ssl/private/key",
    "ssl/public/key",
    "sub/ssl/private/key",
    "cache/a",
    "sub/cache/a",
    "!odd",
    "a,b",
    'quo"te',
    "$HOME",
    " blank ",
    "[x]",
    "x",
    "back\\slash",
    "-dash",
}


FOLDERS: tuple[str | bytes, ...] = ("plain", ODD, "**", " blank ", "ü", "$HOME", "a,b", b"\xff\xfe")

EXCLUDES: dict[str, Callable[[str], bool]] = {
    "*.tmp": lambda name: name.endswith(".tmp"),
    "ssl/private": lambda name: name.startswith("ssl/private"),
    "/cache": lambda name: name.startswith("cache/"),
    r"\!odd": lambda name: name == "!odd",
    "a,b": lambda name: name == "a,b",
    'quo"te': lambda name: name == 'quo"te',
    "$HOME": lambda name: name == "$HOME",
    " blank ": lambda name: name == " blank ",
    r"\[x\]": lambda name: name == "[x]",
    r"back\\slash": lambda name: name == "back\\slash",
    "-dash": lambda name: name == "-dash",
}


def test_what_is_left_out_is_exactly_what_was_meant(
    restic: ResticBinary, local_location: Location, password_file: Path, tmp_path: Path
) -> None:
    tops = [os.path.join(os.fsencode(tmp_path), os.fsencode(folder)) for folder in FOLDERS]
    other = os.fsencode(tmp_path / "aab")  # what the odd name would match, were it a pattern
    for tree in (*tops, other):
        _plant(tree)
    given = [word for top in tops for one in patterns(top, *EXCLUDES) for word in ("--exclude", one)]
    WrittenRepository(Path(local_location.repository), password_file.read_text().strip())
    restic.run("backup", *given, "--", *tops, other, at=local_location, password_file=password_file)
    restored = tmp_path / "restored"
    restic.run("restore", "latest", "--target", restored, at=local_location, password_file=password_file)
    expected = {name for name in FILES if not any(meant(name) for meant in EXCLUDES.values())}
    found = {top: _files(os.fsencode(restored) + top) for top in tops}
    assert found == dict.fromkeys(tops, expected)
    assert _files(os.fsencode(restored) + other) == FILES


NAMES = ("a", "b", "ab", "*", "ü", "-", "]", "a.b")
PIECES = (
    "a",
    "b",
    "*",
    "?",
    r"\*",
    "ü",
    "[ab]",
    "[^a]",
    "[a-b]",
    "[b-a]",
    "[^b-a]",
    r"[\]\-]",
    "[ -~]",
    "]",
    "a.",
)


def test_we_know_what_restic_leaves_out(
    restic: ResticBinary, local_location: Location, password_file: Path, tmp_path: Path
) -> None:
    below = [name for one in NAMES for name in (one, f"{one}/a", f"{one}/b", f"{one}/ab/b")]
    tops = {tmp_path / str(number): pattern for number, pattern in enumerate(_some_patterns(60))}
    for top in tops:
        for name in below:
            (top / name).mkdir(parents=True, exist_ok=True)
    given = [
        word
        for top, pattern in tops.items()
        for one in patterns(os.fsencode(top), pattern)
        for word in ("--exclude", one)
    ]
    WrittenRepository(Path(local_location.repository), password_file.read_text().strip())
    restic.run("backup", *given, "--", *tops, at=local_location, password_file=password_file)
    listed = restic.run("ls", "latest", at=local_location, password_file=password_file).stdout
    saved = set(listed.decode().splitlines())
    for top, pattern in tops.items():
        kept = {name for name in below if not leaves_out([pattern], os.fsencode(name))}
        assert {name for name in below if str(top / name) in saved} == kept, pattern


def test_a_walk_meets_what_is_left_out_where_it_begins() -> None:
    paths = [name.split("/") for one in NAMES for name in (one, f"{one}/a", f"{one}/ab/b", f"{one}/b/a/ü")]
    for pattern in [*_some_patterns(300), *EXCLUDES, "**", "**/**", "a/**/**"]:
        walk = Patterns(["never like this", pattern])
        for names in paths:
            met = {walk.find(names[:end]) for end in range(1, len(names) + 1)} - {None}
            assert met == ({1} if leaves_out([pattern], os.fsencode("/".join(names))) else set()), pattern


def _some_patterns(count: int) -> list[str]:
    chance = random.Random(count)

    def part() -> str:
        return chance.choice(["**", "".join(chance.choices(PIECES, k=chance.choice([1, 1, 2, 3])))])

    def pattern() -> str:
        return chance.choice(["", "/"]) + "/".join(part() for _ in range(chance.choice([1, 2, 2, 3])))

    found = (pattern() for _ in iter(int, 1))
    return [next(found) for _ in range(count)]


def test_what_we_refuse_restic_refuses(
    restic: ResticBinary, local_location: Location, password_file: Path, tmp_path: Path
) -> None:
    WrittenRepository(Path(local_location.repository), password_file.read_text().strip())
    for pattern in ("[a", "[]", "[^]", "[a-]", "x\\"):
        given = ("backup", "--exclude", pattern, tmp_path)
        done = restic.run(*given, at=local_location, password_file=password_file, check=False)
        assert b"invalid pattern" in done.stderr, pattern
        with pytest.raises(ValueError, match="is not a pattern"):
            patterns(b"/etc", pattern)


def _plant(top: bytes) -> None:
    for name in FILES:
        path = top + b"/" + os.fsencode(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(name.encode())


def _files(top: bytes) -> set[str]:
    return {
        os.fsdecode(os.path.relpath(os.path.join(folder, name), top))
        for folder, _, names in os.walk(top)
        for name in names
    }


CATASTROPHES = [
    "*a" * 12 + "*b",
    "[a-z]*" * 7 + "b",
    "*" * 60 + "b",
    "**/" * 12 + "b",
    "?*" * 40 + "[b]",
    "*aaaaaaaa*" * 6 + "b",
]


@pytest.mark.parametrize("pattern", CATASTROPHES)
def test_no_pattern_takes_long_whatever_the_names(pattern: str) -> None:
    deep = ["a" * 200] * 60
    assert Patterns([pattern]).find(deep) is None
    assert Patterns([pattern]).find([*deep, "b"]) in (None, 0)


_PARTS = st.lists(st.sampled_from(["*", "?", "a", "b", "[ab]", "[^a]"]), min_size=1, max_size=6).map("".join)


@given(part=_PARTS, name=st.text("abc", min_size=1, max_size=8))
def test_a_name_is_what_a_pattern_says_as_plain_backtracking_finds_it(part: str, name: str) -> None:
    expected = re.fullmatch(part.replace("*", ".*").replace("?", "."), name) is not None
    assert (Patterns([f"/{part}"]).find([name]) == 0) == expected


def _plainly(names: list[str], parts: list[str]) -> bool:
    """Every way to fill each `**`, one after the other, as restic does."""
    if "**" in parts:
        at = parts.index("**")
        spans = range(len(names) - len(parts) + 2)
        return any(_plainly(names, [*parts[:at], *["*"] * span, *parts[at + 1 :]]) for span in spans)
    return len(parts) <= len(names) and all(
        part in ("*", name) for name, part in zip(names, parts, strict=False)
    )


@given(
    names=st.lists(st.sampled_from("ab"), min_size=1, max_size=5),
    parts=st.lists(st.sampled_from(["**", "*", "a", "b"]), min_size=2, max_size=5),
)
def test_folders_are_skipped_as_every_way_to_skip_them_finds_it(names: list[str], parts: list[str]) -> None:
    expected = _plainly(names, parts)
    patterns = Patterns(["/" + "/".join(parts)])
    on_the_way = [
        names[:depth] for depth in range(1, len(names) + 1)
    ]  # a walk asks of a folder before what is in it
    assert any(patterns.find(entry) == 0 for entry in on_the_way) == expected
