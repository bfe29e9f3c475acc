"""A file is read as what it is, and a trap is refused early, quickly and in words."""

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from highball.config.document import (
    Document,
    build,
    load,
    parse,
)
from highball.config.load import LARGEST_BYTES, read
from highball.errors import ConfigurationInvalid

from .declared import problems_in, problems_in_text, tables

TOML = b"""
[repositories.nas]
url = "/mnt/nas"
password = { env = "NAS" }
[jobs.j]
schedule = "daily"
repositories = ["nas"]
sources = ["/srv"]
"""
YAML = b"""
repositories:
  nas: {url: /mnt/nas, password: {env: NAS}}
jobs:
  j:
    schedule: daily
    repositories: [nas]
    sources: [/srv]
"""


def test_toml_and_yaml_are_the_same_model(tmp_path: Path) -> None:
    for name, text in (("a.toml", TOML), ("b.yaml", YAML), ("c.YML", YAML), ("d.conf", TOML)):
        (tmp_path / name).write_bytes(text)
    loaded = [load(tmp_path / name) for name in ("a.toml", "b.yaml", "c.YML", "d.conf")]
    assert all(one.model_dump() == loaded[0].model_dump() for one in loaded)
    assert loaded[0].jobs["j"].schedule.cron == "daily"


@pytest.mark.parametrize(
    ("text", "kind"), [(b"", "toml"), (b"", "yaml"), (b"# nothing\n", "yaml"), (b"\xef\xbb\xbf", "toml")]
)
def test_nothing_declared_is_right(text: bytes, kind: Any) -> None:
    assert parse(text, kind).model_dump(exclude_unset=True) == {}


def test_line_ends_of_windows() -> None:
    assert parse(TOML.replace(b"\n", b"\r\n"), "toml").jobs.keys() == {"j"}
    assert parse(YAML.replace(b"\n", b"\r\n"), "yaml").jobs.keys() == {"j"}


def test_blank_sections_of_yaml() -> None:
    assert parse(b"jobs:\nsettings:\ndefaults:\n", "yaml").model_dump(exclude_defaults=True) == {}


# --- what is no configuration at all -------------------------------------------------------------


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "no.toml", f"{tmp_path}/no.toml does not exist"),
        (tmp_path, f"{tmp_path} is a folder, not a file (perhaps {tmp_path}/highball.toml)"),
        (tmp_path / ("x" * 300), f"{tmp_path}/{'x' * 300} cannot be read: File name too long"),
        (Path("/a\0b"), r"/a\x00b cannot be read: that is not a valid file name"),
    ):
        with pytest.raises(ConfigurationInvalid) as caught:
            load(path)
        assert [str(problem) for problem in caught.value.problems] == [words]


@pytest.mark.parametrize("kind", ["toml", "yaml"])
def test_a_huge_file_is_refused_unread(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    with path.open("wb") as file:
        file.truncate(2 * 2**40)
    with pytest.raises(ConfigurationInvalid) as caught:
        load(path)
    assert str(caught.value.problems[0]) == "is larger than 4 MiB, so it is not a configuration"


def test_endless_files_are_refused() -> None:
    with pytest.raises(ConfigurationInvalid):
        load(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\nb = = 2\n", "line 2, column 5: is not TOML: Invalid value"),
        ("[jobs.a]\n[jobs.a]\n", "line 2, column 8: the table [jobs.a] is declared twice"),
        ("a = 1\na = 2\n", "line 2, column 6: this field is set twice"),
        ("[jobs\n", "line 1, column 6: is not TOML: Expected ']' at the end of a table declaration"),
        ('a = """\n', "line 1: is not TOML: Unterminated string; the file ends too early"),
        ("a = " + "9" * 5000, "holds a number or date that cannot be read"),
        ("a = " + "[" * 5000, "is nested more than 32 levels deep"),
        ("a" + ".a" * 600 + " = 1", "line 1: holds more than 500 dots"),
        ("x" + ".a" * 40 + " = 1", "x" + ".a" * 32 + ": is nested more than 32 levels deep"),
        (b"a = '\xff'", "line 1: is not UTF-8 (save the file with that encoding)"),
        (b"\n\na = '\xfc'", "line 3: is not UTF-8 (save the file with that encoding)"),
    ],
)
def test_toml_that_is_none(text: str | bytes, said: str) -> None:
    assert [one[: len(said)] for one in problems_in_text(text)] == [said]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2\n", 'line 2, column 1: the field "a" is set twice'),
        ("jobs:\n  a: {b: 1, b: 2}\n", 'line 2, column 13: the field "b" is set twice'),
        ("a: [\n", "line 2, column 1: is not YAML: expected the node content, but found '<stream end>'"),
        ("a: b: c\n", "line 1, column 5: is not YAML: mapping values are not allowed here"),
        ("a: *x\n", "line 1, column 4: is not YAML: found undefined alias 'x'"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1: is not YAML: but found another document"),
        (
            "a: !!python/object:os.system x",
            "line 1, column 4: the tag python/object:os.system is not read here",
        ),
        ("a: !!set {x}", "line 1, column 4: the tag set is not read here"),
        ("a: !mine x", "line 1, column 4: the tag !mine is not read here"),
        ("a: &x [*x]", "line 1, column 4: an alias refers to something that contains itself"),
        ("a: 2026-13-45", "holds a number or date that cannot be read"),
        ("a: " + "9" * 5000, "holds a number or date that cannot be read"),
        ("[" * 5000, "is nested more than 32 levels deep"),
        ("x: " + "[" * 40 + "]" * 40, "x" + "[0]" * 32 + ": is nested more than 32 levels deep"),
        ("a: \x01", "line 1: holds a character that YAML does not allow"),
        ("\na: \ufffe", "line 2: holds a character that YAML does not allow"),
        ("<<: 3", "line 1, column 5: is not YAML: expected a mapping or list of mappings for merging"),
        ("- a\n- b\n", "a configuration is a table of settings, jobs and so on, not a list"),
        ("just text", "a configuration is a table of settings, jobs and so on, not text"),
    ],
)
def test_yaml_that_is_none(text: str, said: str) -> None:
    assert [one[: len(said)] for one in problems_in_text(text, "yaml")] == [said]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1: x", 'the key 1 is not text (put it in quotes: "…")'),
        ("jobs: {true: {}, x: {}}", 'jobs: the key True is not text (put it in quotes: "…")'),
        ("? [a, b]\n: x", "line 1, column 3: a key is not text, but a list or table"),
        (
            'settings: {timezone: "\\ud800"}',
            "settings.timezone: contains half a character, which is not valid text",
        ),
    ],
)
def test_yaml_that_holds_what_no_configuration_does(text: str, said: str) -> None:
    assert problems_in_text(text, "yaml") == [said]


def test_tables_from_elsewhere_hold_plain_values_only() -> None:
    assert problems_in({"settings": {"timezone": b"UTC"}}) == [
        "settings.timezone: is of a type that a configuration cannot contain"
    ]


# --- bombs ---------------------------------------------------------------------------------------

LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20)
)
MERGES = "a0: &a0 {k: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 20)
)


@pytest.mark.parametrize("text", [LAUGHS, MERGES], ids=["aliases", "merges"])
def test_a_bomb_is_refused_in_little_memory(text: str) -> None:
    read(b"a: 1", "yaml")  # what is imported is not counted
    tracemalloc.start()
    try:
        assert problems_in_text(text, "yaml") == ["its aliases unfold to more than 10000 values"]
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_honest_aliases_and_merges_are_read() -> None:
    text = b"""
defaults: &usual {exclude: [a]}
profiles:
  x: *usual
  y: {<<: *usual, one_file_system: true}
"""
    assert read(text, "yaml")["profiles"] == {
        "x": {"exclude": ["a"]},
        "y": {"exclude": ["a"], "one_file_system": True},
    }


def test_yaml_is_of_version_1_2() -> None:
    assert read(b"a: on\nb: no\nc: off\nd: 0o17\ne: 010\nf: true\ng: ~\nh: 1_0:30", "yaml") == {
        "a": "on",
        "b": "no",
        "c": "off",
        "d": 15,
        "e": 10,
        "f": True,
        "g": None,
        "h": "1_0:30",
    }
    assert parse(YAML.replace(b"url:", b"maintenance: off, accept_growth: true, url:"), "yaml")


# --- anything ------------------------------------------------------------------------------------

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["none", "nas", "/srv", "daily", "a", "sftp", "5%", "1G"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=8,
)
FIELDS = sorted(
    {name for model in Document.model_json_schema()["$defs"].values() for name in model.get("properties", {})}
)
NAMED = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), PLAIN, max_size=5)
KEYED = st.dictionaries(st.sampled_from(["a", "nas", "j", "A b", ""]), NAMED | PLAIN, max_size=3)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "format": PLAIN,
        "settings": NAMED | PLAIN,
        "defaults": NAMED | PLAIN,
        "profiles": KEYED | PLAIN,
        "repositories": KEYED | PLAIN,
        "jobs": KEYED | PLAIN,
    },
)


@given(DOCUMENTS)
@settings(max_examples=100, deadline=None)
def test_any_tables_are_read_or_refused(declared: dict[str, Any]) -> None:
    _read_or_refused(lambda: build(declared))


@given(st.dictionaries(st.sampled_from(FIELDS), PLAIN, max_size=2))
@settings(max_examples=100, deadline=None)
def test_a_right_document_with_any_two_fields_of_a_job_is_read_or_refused(fields: dict[str, Any]) -> None:
    _read_or_refused(lambda: build(tables(fields, profiles={"a": fields}, defaults=fields)))


@given(st.dictionaries(st.sampled_from(FIELDS), PLAIN, max_size=3))
@settings(max_examples=100, deadline=None)
def test_a_repository_of_any_fields_is_read_or_refused(fields: dict[str, Any]) -> None:
    _read_or_refused(lambda: build({"repositories": {"x": {"password": {"env": "X"}, **fields}}}))


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), st.sampled_from(["toml", "yaml"]))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_read_or_refused(text: bytes, kind: Any) -> None:
    _read_or_refused(lambda: parse(text, kind))


SCRAPS = st.lists(
    st.sampled_from(
        [": ", "\n", "  ", "- ", "[", "]", "{", "}", ",", "<<", "? ", "---", "...", "%YAML 1.1\n"]
    )
    | st.sampled_from(
        ["a", "&x ", "*x", "#", "1", "0x", "~", "\t", "=", ".", "'", '"', "|", ">", ".inf", "2026-01-01"]
    )
    | st.sampled_from(
        ["!!", "!!int ", "!!float ", "!!timestamp ", "!!bool ", "!!map ", "!!seq ", "!!str ", "!!null "]
    ),
    max_size=25,
).map("".join)


@given(SCRAPS, st.sampled_from(["toml", "yaml"]))
@settings(max_examples=200, deadline=None)
def test_any_scraps_of_syntax_are_read_or_refused(text: str, kind: Any) -> None:
    _read_or_refused(lambda: parse(text.encode(), kind))


def _read_or_refused(do: Any) -> None:
    try:
        assert isinstance(do(), Document)
    except ConfigurationInvalid as error:
        assert error.problems
        for problem in error.problems:
            assert str(problem).isprintable()


def test_the_limit_itself_is_read() -> None:
    assert parse(b"#" * LARGEST_BYTES, "toml").jobs == {}
