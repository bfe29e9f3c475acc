"""Another repository lies where one of the hub's lay: nothing goes into it, and what it lacks is no news of ours."""

import shutil

from hub.served import PASSWORD, Corner
from testbed.written import WrittenRepository


def test_another_repository_in_its_place_is_told_by_everything_and_believed_by_nothing(
    corner: Corner,
) -> None:
    [step] = corner.back_up()["steps"]
    shutil.move(corner.repository, corner.folder / "ours")
    foreign = WrittenRepository(corner.repository, PASSWORD, seed=4711)
    before = {path for path in foreign.path.rglob("*") if path.is_file()}
    for task in ("backup", "check", "verify", "prune", "discard", "stats", "unlock", "init"):
        done = corner.end_of(corner.order(task))
        assert (done["outcome"], done["reason"]["code"]) == ("failure", "repository_changed"), (task, done)
    known = step["snapshot_id"]
    for question in (
        "snapshots",
        "retention",
        "locks",
        "keys",
        f"snapshots/{known}/folder",
        f"differences?old={known}&new={known}",
    ):
        told = corner.http.get(f"repositories/{corner.nas}/{question}")
        assert (told.status_code, told.json()["code"]) == (502, "repository_changed"), (question, told.json())
    assert {path for path in foreign.path.rglob("*") if path.is_file()} == before
    [standing] = corner.get("status", job=corner.job)
    assert (standing["snapshots"], standing["holds"]) == (1, [])

    shutil.rmtree(corner.repository)
    shutil.move(corner.folder / "ours", corner.repository)
    corner.back_up()
    assert corner.end_of(corner.order("discard"))["outcome"] == "success"
