"""What was deleted and is restored is as it was, its pause included; what is removed for good leaves none."""

from __future__ import annotations

from pathlib import Path

from api.whole import ANNA, NOW, whole_hub
from highball.hub.runs.subjects import planned_of
from highball.hub.storage.schema import pauses


def test_a_restored_job_keeps_its_pause_and_a_purged_one_leaves_none(tmp_path: Path) -> None:
    with whole_hub(tmp_path, tmp_path / "highball.db") as whole:
        hub, client = whole.hub, whole.client()
        hub.documents.create(
            "job",
            "own",
            {"sources": ["/a"], "repositories": ["nas"], "schedule": "daily"},
            now=NOW,
            actor=ANNA,
        )

        def follow() -> None:
            hub.scheduler.reconcile(planned_of(hub.document(), hub.host), NOW)

        def paused() -> list[str]:
            return [one["subject"] for one in client.get("/api/v1/pauses").json()]

        follow()
        assert client.post("/api/v1/jobs/own/pause", json={}).is_success
        assert client.delete("/api/v1/jobs/own", headers={"If-Match": '"1"'}).is_success
        follow()
        assert paused() == []
        assert client.post("/api/v1/jobs/own/restore").is_success
        follow()
        assert paused() == ["backup:own"]
        assert client.delete("/api/v1/jobs/own", headers={"If-Match": '"3"'}).is_success
        assert client.post("/api/v1/jobs/own/purge").is_success
        with hub.database.read() as connection:
            assert connection.execute(pauses.select()).all() == []


def test_maintenance_of_a_restored_repository_keeps_its_pause_and_that_of_a_purged_one_leaves_none(
    tmp_path: Path,
) -> None:
    with whole_hub(tmp_path, tmp_path / "highball.db") as whole:
        hub, client = whole.hub, whole.client()
        spec = {"url": "/mnt/own", "password": {"env": "X"}}
        hub.documents.create("repository", "own", spec, now=NOW, actor=ANNA)

        def paused() -> list[str]:
            hub.scheduler.reconcile(planned_of(hub.document(), hub.host), NOW)
            return [one["subject"] for one in client.get("/api/v1/pauses").json()]

        assert paused() == []
        hub.scheduler.pause("check:own", None, ANNA, NOW)
        assert paused() == ["check:own"]
        assert client.delete("/api/v1/repositories/own", headers={"If-Match": '"1"'}).is_success
        assert paused() == []
        assert client.post("/api/v1/repositories/own/restore").is_success
        assert paused() == ["check:own"]
        assert client.delete("/api/v1/repositories/own", headers={"If-Match": '"3"'}).is_success
        assert client.post("/api/v1/repositories/own/purge").is_success
        with hub.database.read() as connection:
            assert connection.execute(pauses.select()).all() == []
