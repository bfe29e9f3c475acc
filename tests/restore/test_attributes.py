"""Extended attributes: they come back with what is new, and what is there and unchanged keeps its own."""

import errno
import os
from pathlib import Path

import pytest

from highball.model.run import Outcome
from highball.protocol.tasks import Overwrite
from restore.bench import Bench

NAME = "user.highball.test"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A chosen folder, a folder and a file in it, and the folder above: each with an attribute that names it."""
    source = tmp_path / "above" / "chosen"
    (source / "folder").mkdir(parents=True)
    (source / "folder" / "file").write_text("x")
    try:
        for path in (source.parent, *everything(source)):
            os.setxattr(path, NAME, path.name.encode())
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EPERM):
            raise
        pytest.skip("the file system here has no extended attributes")
    return source


def everything(source: Path) -> list[Path]:
    """What was chosen, and what lies below."""
    return [source, source / "folder", source / "folder" / "file"]


def told(path: Path) -> bytes | None:
    """The attribute that it has."""
    return os.getxattr(path, NAME) if NAME in os.listxattr(path) else None


def test_attributes_come_back_into_a_new_folder(bench: Bench, source: Path, tmp_path: Path) -> None:
    bench.back_up(os.fsencode(source))
    for chosen, target in ((source, tmp_path / "new"), (source / "folder" / "file", tmp_path / "one")):
        done = bench.restore([os.fsencode(chosen)], os.fsencode(target))
        assert done.outcome is Outcome.SUCCESS, (done.reason, bench.log())
        for path in everything(source):
            if path.is_relative_to(chosen):
                assert told(Path(f"{target}{path}")) == path.name.encode(), path
        assert told(Path(f"{target}{chosen.parent}")) is None, "a folder above is made without"


def test_what_was_lost_comes_back_with_them_and_the_folders_on_the_way_too(
    bench: Bench, source: Path
) -> None:
    beside = source / "beside"
    beside.touch()
    os.setxattr(beside, NAME, b"beside")
    bench.back_up(os.fsencode(source))
    for path in (beside, *everything(source)):
        os.setxattr(path, NAME, b"mine")
    (source / "folder" / "file").unlink()
    assert restore(bench, source, Overwrite.IF_CHANGED) == [b"chosen", b"folder", b"file"]
    assert told(beside) == b"mine", "what is there unchanged keeps its own"


def test_what_is_there_keeps_its_own_unless_the_rule_is_always(bench: Bench, source: Path) -> None:
    bench.back_up(os.fsencode(source))
    for path in everything(source):
        os.setxattr(path, NAME, b"mine")
    for rule in (Overwrite.NEVER, Overwrite.IF_NEWER, Overwrite.IF_CHANGED):
        assert restore(bench, source, rule) == [b"mine"] * 3, rule
    (source / "folder" / "file").unlink()
    assert restore(bench, source, Overwrite.NEVER) == [b"mine", b"mine", b"file"]
    os.setxattr(source / "folder" / "file", NAME, b"mine")
    assert restore(bench, source, Overwrite.ALWAYS) == [b"chosen", b"folder", b"file"]


def restore(bench: Bench, source: Path, rule: Overwrite) -> list[bytes | None]:
    """The attributes after a restore in place, which said before whether all of them come back."""
    plan = bench.plan([os.fsencode(source)], None, rule)
    said = any("extended attributes" in sentence for sentence in plan.cannot_promise)
    assert said == (rule is Overwrite.IF_CHANGED)
    done = bench.restore([os.fsencode(source)], None, rule)
    assert done.outcome is Outcome.SUCCESS, (done.reason, bench.log())
    return [told(path) for path in everything(source)]
