"""A host's restic that answers oddly once, or is of another version: what is there is found, and all stays right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.served import Corner, Served, serve
from testbed.restic import ResticBinary


class Changing:
    """A hub whose restic is a script, which calls whichever restic is meant."""

    def __init__(self, served: Served, program: Path) -> None:
        self.served = served
        self.program = program

    def be(self, restic: ResticBinary, listing: str = "") -> None:
        """From now on it is this one; with `listing` it answers so where it is asked what a repository holds."""
        odd = f'case " $* " in *" snapshots "*) {listing};; esac\n' if listing else ""
        new = self.program.with_name("new")
        new.write_text(f'#!/bin/sh\n{odd}exec "{restic.path}" "$@"\n')
        new.chmod(0o755)
        new.replace(self.program)


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory, newest_restic: ResticBinary) -> Iterator[Changing]:
    """A hub of this module's own."""
    folder = tmp_path_factory.mktemp("changing")
    with serve(folder, newest_restic) as served:
        found = Changing(served, folder / "restic")
        found.be(newest_restic)
        served.tables["settings"]["restic"] = str(found.program)
        served.serve()
        yield found


def ids(corner: Corner) -> list[str]:
    """Its snapshots, as the hub lists them, the newest first; all are the job's."""
    found = corner.get(f"repositories/{corner.nas}/snapshots")
    assert {(one["job"], one["governed"]) for one in found} <= {(corner.job, True)}, found
    return [one["id"] for one in found]


def known(corner: Corner) -> int:
    """How many snapshots the record knows."""
    [standing] = [one for one in corner.get("status") if one["job"] == corner.job]
    return int(standing["snapshots"])


EMPTY, REFUSED = "echo '[]'; exit 0", "echo 'connection refused' >&2; exit 1"


@pytest.mark.parametrize(
    ("answer", "way"),
    [(EMPTY, "listed"), (EMPTY, "verified"), (REFUSED, "backed up"), (REFUSED, "discarded")],
    ids=["empty, listed", "empty, verified", "refused, backed up", "refused, discarded"],
)
def test_a_snapshot_whose_listing_was_odd_is_known_after_the_next_good_one(
    changing: Changing, newest_restic: ResticBinary, tmp_path: Path, answer: str, way: str
) -> None:
    corner = changing.served.give_corner(tmp_path)
    corner.back_up()
    changing.be(newest_restic, answer)
    failed = corner.end_of(corner.order())
    changing.be(newest_restic)
    assert (failed["outcome"], failed["steps"][0]["reason"]["code"]) == ("failure", "no_proof")
    if way == "listed":
        assert len(ids(corner)) == 2
    elif way == "backed up":
        corner.back_up()
    elif way == "verified":
        done = corner.end_of(corner.order("verify", job=corner.job))
        assert done["steps"][0]["snapshot_id"] == ids(corner)[0]
    else:
        assert corner.end_of(corner.order("discard"))["outcome"] == "success"
    assert known(corner) == (3 if way == "backed up" else 2)
    assert len(ids(corner)) == known(corner)


def test_a_job_goes_on_with_a_restic_of_another_version_and_back(
    changing: Changing, newest_restic: ResticBinary, oldest_restic: ResticBinary, tmp_path: Path
) -> None:
    corner = changing.served.give_corner(tmp_path / "corner", retention={"last": 2})
    saved = []
    for number, restic in enumerate((oldest_restic, newest_restic, oldest_restic)):
        changing.be(restic)
        (corner.source / "letter").write_text(f"letter {number}")
        [step] = corner.back_up()["steps"]
        assert (step["files_changed"], step["files_new"]) == ((1, 0) if number else (0, 1)), step
        saved.append(step["snapshot_id"])
    removed = corner.end_of(corner.order("discard"))
    assert removed["steps"][0]["snapshots_removed"] == saved[:1], removed
    assert ids(corner) == saved[:0:-1]
    changing.be(newest_restic)
    assert corner.end_of(corner.order("check"))["outcome"] == "success"
    target, paths = tmp_path / "back", [str(corner.source)]
    back = corner.end_of(corner.order("restore", snapshot=saved[-1], paths=paths, target=str(target)))
    assert back["outcome"] == "success", back
    assert (target / str(corner.source)[1:] / "letter").read_text() == "letter 2"
