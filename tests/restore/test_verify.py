"""The proof of restore finds what is wrong, and nothing else."""

import hashlib
import os
import shutil
from pathlib import Path
from random import Random

import pytest

from highball.agent.restore.entries import EntryVerdict, SnapshotEntry
from highball.agent.run.verify import Reservoir
from highball.model.run import Outcome, Printed
from highball.model.snapshot import NodeKind
from highball.place.local_files import LocalFiles
from restore.bench import Bench, no_leftovers
from restore.test_new_directory import damage_data
from testbed.trees import mixed_tree


@pytest.fixture
def tree(tmp_path: Path) -> bytes:
    """A tree with everything that is odd and allowed."""
    path = os.fsencode(tmp_path / "source")
    mixed_tree(path, files=8, deep_path_bytes=1000)
    return path


def regular_files(tree: bytes) -> list[bytes]:
    """The paths of all regular files, with content or without."""
    found = [folder + b"/" + name for folder, _, names in os.walk(tree) for name in names]
    return [path for path in found if os.path.isfile(path) and not os.path.islink(path)]


def test_all_of_it(bench: Bench, tree: bytes) -> None:
    bench.back_up(tree)
    done = bench.verify(all_data=True)
    files = regular_files(tree)
    assert done.outcome is Outcome.SUCCESS, (done.reason, done.warnings)
    assert done.facts == {
        "files_compared": len(files),
        "bytes_compared": sum(os.path.getsize(path) for path in files),
        "files_held": len(files),
    }
    assert done.reason is not None
    assert "sources changed" not in done.reason.message
    assert no_leftovers(bench.place.scratch)


def test_a_sample_with_odd_names(bench: Bench, tree: bytes) -> None:
    bench.back_up(tree)
    done = bench.verify(files=40)
    assert done.outcome is Outcome.SUCCESS, (done.reason, done.warnings)
    assert done.facts["files_compared"] == 40
    assert done.reason is not None
    assert f"a sample of 40 of {len(regular_files(tree))} files" in done.reason.message
    assert "seed" in bench.log()
    assert bench.log().count(" restore ") == 1


def test_the_sample_keeps_within_its_bytes(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(6):
        (source / f"{number}").write_bytes(os.urandom(1000))
    (source / "huge").write_bytes(os.urandom(100_000))
    bench.back_up(os.fsencode(source))
    done = bench.verify(size=2500)
    assert done.outcome is Outcome.SUCCESS, done.reason
    assert done.facts == {"files_compared": 2, "bytes_compared": 2000, "files_held": 7}
    done = bench.verify(size=10)
    assert done.outcome is Outcome.WARNING


def test_a_flipped_byte_is_found(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(3):
        (source / f"{number}").write_bytes(os.urandom(200_000))
    bench.back_up(os.fsencode(source))
    damage_data(bench)
    for all_data in (True, False):
        done = bench.verify(all_data=all_data)
        assert done.outcome is Outcome.FAILURE, bench.log()
        assert done.reason is not None
        assert done.reason.code == "proof_failed"
        assert no_leftovers(bench.place.scratch)


def test_what_a_command_printed_is_known_again_by_what_was_counted_of_it(
    bench: Bench, tmp_path: Path
) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "app.sql").write_bytes(content)
    bench.back_up(os.fsencode(tmp_path / "app.sql"))
    printed = Printed(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    other = printed.model_copy(update={"sha256": hashlib.sha256(content[1:]).hexdigest()})

    done = bench.verify(stream=True, printed=printed)
    assert (done.outcome, done.facts["bytes_compared"]) == (Outcome.SUCCESS, len(content))
    assert done.reason is not None
    assert "1 file restored, identical to the output of the command" in done.reason.message

    done = bench.verify(stream=True, printed=other)
    assert done.outcome is Outcome.FAILURE
    assert "the content differs from the output of its command" in done.warnings[0].message

    done = bench.verify(stream=True)
    assert done.outcome is Outcome.SUCCESS
    assert done.reason is not None
    assert "not compared, as the output of the command is not known any more" in done.reason.message


def test_a_changed_source_is_no_alarm(bench: Bench, tree: bytes) -> None:
    bench.back_up(tree)
    with open(tree + b"/links/target", "ab") as file:
        file.write(b"more")
    os.unlink(tree + b"/special/sparse")
    os.utime(tree + b"/odd-metadata/mode-0600")
    done = bench.verify(all_data=True)
    assert done.outcome is Outcome.SUCCESS, (done.reason, done.warnings)
    assert done.reason is not None
    assert "the sources of 3 have changed or are gone" in done.reason.message


def test_a_source_that_differs_under_the_same_time_is_found(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "source" / "file"
    path.parent.mkdir()
    path.write_text("saved")
    seen = os.stat(path)
    bench.back_up(os.fsencode(path.parent))
    path.write_text("other")
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    done = bench.verify()
    assert done.outcome is Outcome.FAILURE
    assert done.warnings[0].path == os.fsencode(path)


def test_no_files_at_all(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "source" / "empty").mkdir(parents=True)
    bench.back_up(os.fsencode(tmp_path / "source"))
    for all_data in (True, False):
        done = bench.verify(all_data=all_data)
        assert done.outcome is Outcome.WARNING
        assert done.reason is not None
        assert done.reason.code == "nothing_to_compare"


def test_the_source_is_gone(bench: Bench, tree: bytes) -> None:
    bench.back_up(tree)
    held = len(regular_files(tree))
    shutil.rmtree(tree)
    done = bench.verify()
    assert done.outcome is Outcome.SUCCESS, done.reason
    assert done.reason is not None
    came = f"a sample of 20 of {held} files restored, 0 of them identical to their sources"
    assert done.reason.message.startswith(came)


def test_it_does_not_fit(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("x")
    bench.back_up(os.fsencode(tmp_path / "source"))
    monkeypatch.setattr(LocalFiles, "free_bytes", lambda files, path: 1000)
    done = bench.verify(all_data=True)
    assert done.outcome is Outcome.FAILURE
    assert done.reason is not None
    assert done.reason.code == "no_space"
    assert "0.98 KiB are free" in done.reason.message


def test_cancelled(bench: Bench, tree: bytes) -> None:
    bench.back_up(tree)
    bench.on_start = lambda pid: bench.stop.request() if bench.started == 2 else None
    done = bench.verify(all_data=True)
    assert done.outcome is Outcome.CANCELLED
    assert no_leftovers(bench.place.scratch)


def test_a_reservoir_is_fair() -> None:
    entries = [
        SnapshotEntry(0, EntryVerdict.NEW, NodeKind.FILE, 1, 0, 0, 0, 0, b"/%d" % n) for n in range(50)
    ]
    hits = dict.fromkeys((entry.path for entry in entries), 0)
    for seed in range(2000):
        reservoir = Reservoir(5, Random(seed))
        for entry in entries:
            reservoir.offer(entry)
        for entry in reservoir.within(100):
            hits[entry.path] += 1
    assert min(hits.values()) > 140  # 200 are to be expected of each
    assert max(hits.values()) < 265
