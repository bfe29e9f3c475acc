"""A restore into a new directory: everything comes back as it was, whatever it is called."""

import os
from pathlib import Path

import pytest

from highball.agent.run.restore_attempt import MOST_NAMED, Attempt
from highball.model.run import Caution, Outcome
from highball.protocol.tasks import Overwrite
from restore.bench import Bench, came_back, no_leftovers
from testbed.trees import ODD_NAMES, mixed_tree, same_tree


@pytest.fixture
def tree(tmp_path: Path) -> bytes:
    """A tree with everything that is odd and allowed."""
    path = os.fsencode(tmp_path / "source")
    mixed_tree(path, files=12, deep_path_bytes=2500)
    return path


def differences(bench: Bench, a: bytes, b: bytes) -> list[str]:
    """What differs, less what restic before 0.16 lost when it saved: link targets that are not UTF-8."""
    found = same_tree(a, b)
    return [d for d in found if "not-utf-8" not in d] if bench.binary.version < (0, 16, 0) else found


def test_everything_comes_back(bench: Bench, tree: bytes, tmp_path: Path) -> None:
    bench.back_up(tree)
    target = os.fsencode(tmp_path / "new" / "place")
    plan = bench.plan([tree], target)
    assert plan.new.entries > 50
    assert plan.target == target
    assert not plan.in_place
    assert not os.path.exists(target)
    done = bench.restore([tree], target)
    assert came_back(bench, done), (done.reason, bench.log())
    assert differences(bench, tree, target + tree) == []
    assert done.facts == {
        "files_restored": plan.new.files,
        "bytes_restored": plan.new.size_bytes,
        "target": target,
    }
    assert no_leftovers(target, bench.place.scratch)


def test_made_parents_get_what_the_snapshot_lists(bench: Bench, tmp_path: Path) -> None:
    above = tmp_path / "above" / "middle"
    (above / "inner").mkdir(parents=True)
    (above / "inner" / "file").write_text("x")
    os.chmod(above, 0o711)
    os.chown(above.parent, 1234, 4321) if os.geteuid() == 0 else None
    os.utime(above, ns=(1, 1_000_000_000_123_456_789))
    bench.back_up(os.fsencode(above))
    target = tmp_path / "new"
    target.mkdir(mode=0o750)
    os.utime(target, ns=(5, 5_000_000_005))
    before = os.stat(target)
    done = bench.restore([os.fsencode(above / "inner" / "file")], os.fsencode(target))
    assert done.outcome is Outcome.SUCCESS, done.reason
    for made in (above, above.parent):
        was, now = os.stat(made), os.stat(f"{target}{made}")
        assert (was.st_mode, was.st_uid, was.st_mtime_ns) == (now.st_mode, now.st_uid, now.st_mtime_ns)
    after = os.stat(target)
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


def test_odd_names_one_by_one_share_a_process(bench: Bench, tree: bytes, tmp_path: Path) -> None:
    bench.back_up(tree)
    folder = tree + b"/odd-files"
    names = [name for name in ODD_NAMES if name in os.listdir(folder)]
    one = os.fsencode(tmp_path / "one")
    for name in names[::5] if bench.binary.version < (0, 18, 0) else names[1::5]:
        target = one + b"/" + name.hex().encode()[:40]
        done = bench.restore([folder + b"/" + name], target)
        assert done.outcome is Outcome.SUCCESS, (name, done.reason, bench.log())
        assert os.listdir(target + folder) == [name]
    together = os.fsencode(tmp_path / "together")
    done = bench.restore([folder + b"/" + name for name in names], together)
    assert done.outcome is Outcome.SUCCESS, done.reason
    assert done.facts["files_restored"] == len(names)
    assert same_tree(folder, together + folder) == []
    assert bench.log().count(" restore ") == 1


def test_patterns_match_nothing_else(bench: Bench, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "source")
    os.makedirs(folder)
    names = [b"a*b", b"aXb", b"a?b", b"[ab]", b"a", b"b", b"x\\y", b"xy", b"**", b"back\\\\*"]
    for name in names:
        with open(folder + b"/" + name, "wb") as file:
            file.write(name)
    bench.back_up(folder)
    chosen = [b"a*b", b"a?b", b"[ab]", b"x\\y", b"**", b"back\\\\*"]
    target = os.fsencode(tmp_path / "new")
    done = bench.restore([folder + b"/" + name for name in chosen], target)
    assert done.outcome is Outcome.SUCCESS, done.reason
    assert sorted(os.listdir(target + folder)) == sorted(chosen)


def test_names_that_look_the_same_in_the_listing(bench: Bench, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "source")
    twins = [b"l\xe8", b"l\xe9"]
    for twin in twins:
        os.makedirs(folder + b"/" + twin)
        with open(folder + b"/" + twin + b"/f\xff", "wb") as file:
            file.write(twin)
    bench.back_up(folder)
    for twin in twins:
        target = os.fsencode(tmp_path / "new") + twin
        done = bench.restore([folder + b"/" + twin + b"/f\xff"], target)
        assert done.outcome is Outcome.SUCCESS, (done.reason, bench.log())
        with open(target + folder + b"/" + twin + b"/f\xff", "rb") as file:
            assert file.read() == twin
        assert os.listdir(target + folder) == [twin]


def test_several_folders_and_the_outer_one_wins(bench: Bench, tree: bytes, tmp_path: Path) -> None:
    bench.back_up(tree)
    target = os.fsencode(tmp_path / "new")
    inner = tree + b"/folder-0/file-0000.bin"
    done = bench.restore([inner, tree + b"/folder-0", tree + b"/links/", tree + b"/folder-0"], target)
    assert came_back(bench, done), done.reason
    assert sorted(os.listdir(target + tree)) == [b"folder-0", b"links"]
    assert differences(bench, tree + b"/links", target + tree + b"/links") == []


def test_a_single_link_and_an_empty_directory(bench: Bench, tree: bytes, tmp_path: Path) -> None:
    bench.back_up(tree)
    target = os.fsencode(tmp_path / "new")
    paths = [tree + b"/links/dangling", tree + b"/special/empty-folder", tree + b"/special/fifo"]
    done = bench.restore(paths, target)
    assert done.outcome is Outcome.SUCCESS, done.reason
    assert os.readlink(target + paths[0]) == b"nowhere/at all"
    assert os.lstat(target + paths[0]).st_mtime_ns == os.lstat(paths[0]).st_mtime_ns
    assert os.lstat(target + paths[1]).st_mtime_ns == os.lstat(paths[1]).st_mtime_ns


def test_the_whole_snapshot(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "folder").mkdir(parents=True)
    (source / "folder" / "file").write_text("x")
    bench.back_up(os.fsencode(source))
    target = os.fsencode(tmp_path / "new")
    done = bench.restore([b"/"], target)
    assert done.outcome is Outcome.SUCCESS, done.reason
    assert same_tree(os.fsencode(source), target + os.fsencode(source)) == []


def test_a_path_that_is_not_there(bench: Bench, tree: bytes, tmp_path: Path) -> None:
    bench.back_up(tree)
    target = os.fsencode(tmp_path / "new")
    for unknown in (tree + b"/nope", b"/nowhere", b"relative"):
        done = bench.restore([tree + b"/links", unknown], target)
        assert done.outcome is Outcome.FAILURE
        assert done.reason is not None
        assert done.reason.code == "path_unknown"
    assert not os.path.exists(target)


def test_nothing_chosen_is_a_failure(bench: Bench, tree: bytes, tmp_path: Path) -> None:
    bench.back_up(tree)
    done = bench.restore([], os.fsencode(tmp_path / "new"))
    assert done.outcome is Outcome.FAILURE
    assert done.reason is not None
    assert done.reason.code == "nothing_restored"


def test_a_target_that_is_no_directory(bench: Bench, tree: bytes, tmp_path: Path) -> None:
    bench.back_up(tree)
    (tmp_path / "file").write_text("mine")
    for target in (os.fsencode(tmp_path / "file"), b"/", b"//", b"/.."):
        done = bench.restore([tree], target)
        assert done.outcome is Outcome.FAILURE
        assert done.reason is not None
        assert done.reason.code == "target_unusable"
    assert (tmp_path / "file").read_text() == "mine"


def test_an_unknown_snapshot(bench: Bench, tree: bytes, tmp_path: Path) -> None:
    bench.back_up(tree)
    bench.snapshot = "0123abcd" * 8
    done = bench.restore([tree], os.fsencode(tmp_path / "new"))
    assert done.outcome is Outcome.FAILURE
    assert not os.path.exists(tmp_path / "new")


def test_a_damaged_file_is_not_counted(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(os.urandom(300_000))
    bench.back_up(os.fsencode(source))
    damage_data(bench)
    target = tmp_path / "new"
    done = bench.restore([os.fsencode(source)], os.fsencode(target))
    assert done.outcome is Outcome.FAILURE, bench.log()
    assert done.facts["files_restored"] == 0
    assert no_leftovers(target)


def test_complaints_without_number_are_counted_and_the_first_ones_named(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(150):
        (source / f"{number}").write_bytes(os.urandom(1000))
    bench.back_up(os.fsencode(source))
    for pack in (Path(bench.location.repository) / "data").rglob("*"):
        if pack.is_file() and pack.stat().st_size > 100_000:
            pack.unlink()
    done = bench.restore([os.fsencode(source)], os.fsencode(tmp_path / "new"))
    assert done.outcome is Outcome.FAILURE, bench.log()
    of_restic = [one for one in done.warnings if one.code == "not_restored"]
    assert 1 < len(of_restic) <= MOST_NAMED + 1
    counted = sum(one.count for one in of_restic)
    assert counted >= 150 and of_restic[-1].message == f"and {counted - MOST_NAMED} more of these"


def test_what_a_restore_remembers_of_complaints_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("highball.agent.run.restore_attempt.MOST_BAD_BYTES", 1000)
    found = Attempt()
    for number in range(1000):
        found.note(Caution(code="not_restored", message="no space left on device", path=b"/%0100d" % number))
        found.note_lost(b"/%0100d" % number)
    assert (len(found.cautions), found.unlisted, found.full) == (MOST_NAMED, 1000 - MOST_NAMED, True)
    assert len(found.bad) < 20 and found.unclear, "what is not remembered is not taken for good"
    more = Attempt()
    more.take_up(found)
    assert (len(more.cautions), more.unlisted, more.bad) == (MOST_NAMED, 1000 - MOST_NAMED, found.bad)


def test_damage_never_replaces_a_good_file(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(os.urandom(300_000))
    bench.back_up(os.fsencode(source))
    damage_data(bench)
    (source / "a").write_text("newer and good")
    done = bench.restore([os.fsencode(source)], None, Overwrite.ALWAYS)
    assert done.outcome is Outcome.FAILURE
    assert (source / "a").read_text() == "newer and good"


def damage_data(bench: Bench) -> None:
    """Flip a byte in the middle of the largest pack."""
    packs = [path for path in (Path(bench.location.repository) / "data").rglob("*") if path.is_file()]
    largest = max(packs, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    largest.chmod(0o600)
    largest.write_bytes(content)


def test_kinds_are_told(bench: Bench, tree: bytes, tmp_path: Path) -> None:
    bench.back_up(tree)
    plan = bench.plan([tree], os.fsencode(tmp_path / "new"))
    assert plan.new.entries > plan.new.files
    assert len(plan.new.examples) == 20
    assert any("sparse" in sentence for sentence in plan.cannot_promise)
    assert any("sockets" in sentence for sentence in plan.cannot_promise)
    assert not any("staged" in sentence for sentence in plan.cannot_promise)
    assert any("folders made above" in sentence for sentence in plan.cannot_promise)
    os.unlink(tree + b"/folder-0/file-0000.bin")
    plan = bench.plan([tree], None)
    assert any("staged" in sentence for sentence in plan.cannot_promise)
