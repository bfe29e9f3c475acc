"""The tags that lie in repositories for ever."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter

import highball
from highball.engine import tags
from highball.protocol.bounded_fields import TagList


def test_tags_are_spelled_as_in_every_repository_so_far() -> None:
    assert tags.backup_tags("docs", "files", "7f") == ("hb:job=docs", "hb:set=files", "hb:run=7f")
    assert tags.set_tag_list("docs", "files") == "hb:job=docs,hb:set=files"
    read = TypeAdapter(TagList).validate_python
    assert read("hb:job=docs,hb:set=files") == "hb:job=docs,hb:set=files"
    with pytest.raises(ValueError, match="pattern"):
        read("hb:job=docs,theirs")


def test_what_was_written_is_read() -> None:
    written = ("theirs", *tags.backup_tags("docs", "files", "7f"))
    assert (tags.read_job(written), tags.read_set(written), tags.read_run(written)) == ("docs", "files", "7f")
    assert tags.names_job(written, "docs")
    assert not tags.names_job(written, "doc")
    assert tags.without_run(written) == ("theirs", "hb:job=docs", "hb:set=files")
    assert [tag for tag in written if not tags.is_ours(tag)] == ["theirs"]
    assert tags.read_job(("theirs",)) is None


def test_no_other_module_spells_them() -> None:
    root = Path(highball.__file__).parent
    spelling = re.compile(r"""hb:|["'](job|set|run)=["']""")
    found = [path for path in root.rglob("*.py") if spelling.search(path.read_text())]
    assert found == [root / "engine" / "tags.py"]
