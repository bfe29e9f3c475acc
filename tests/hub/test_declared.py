"""What is declared over the API is what runs: a job made, changed, given another key, taken back."""

from hub.served import Corner
from journeys.station import until


def test_a_job_with_another_key_keeps_its_snapshots_and_its_history(corner: Corner) -> None:
    spec = {"repositories": [corner.nas], "sources": [str(corner.source)], "retention": {"last": 1}}
    corner.post("jobs?key=letters", spec)

    def back_up(key: str) -> dict[str, object]:
        done = corner.end_of(corner.post("runs", {"task": "backup", "job": key})["id"])
        assert done["outcome"] == "success", done
        return done

    first = back_up("letters")
    revision = corner.http.get("jobs/letters").headers["etag"]
    changed = corner.http.post("jobs/letters/rekey", json={"key": "mail"}, headers={"if-match": revision})
    assert changed.status_code == 200, changed.text
    back_up("mail")
    assert [run["job"] for run in corner.get("runs", job="mail")["items"]] == ["mail", "mail"]
    [standing] = corner.get("status", job="mail")
    assert standing["snapshots"] == 2
    [plan] = corner.get(f"repositories/{corner.nas}/retention", job="mail")
    assert [verdict["id"] for verdict in plan["remove"]] == [first["steps"][0]["snapshot_id"]]  # type: ignore[index]
    [begun] = corner.post(
        "settings/retention/run", {"job_id": "mail", "repository_id": corner.nas, "confirmed": True}
    )["runs"]
    done = corner.end_of(begun["id"])
    assert done["outcome"] == "success", done
    assert corner.get("status", job="mail")[0]["snapshots"] == 1


def test_a_sealed_password_lies_nowhere_and_opens_the_repository(corner: Corner) -> None:
    canary = "canary-in-the-vault"
    spec = {"url": str(corner.folder / "sealed"), "password": {"sealed": True}}
    corner.post("repositories?key=sealed", spec)
    secret = {"value": canary}
    assert corner.http.put("repositories/sealed/secrets/password", json=secret).status_code == 200
    corner.post("jobs?key=papers", {"repositories": ["sealed"], "sources": [str(corner.source)]})
    for order in ({"task": "init", "repository": "sealed"}, {"task": "backup", "job": "papers"}):
        done = corner.end_of(corner.post("runs", order)["id"])
        assert done["outcome"] == "success", done
    assert corner.post("repositories/sealed/test")["state"] == "existing"
    assert canary in corner.http.get("repositories/sealed/recovery-kit").text
    of_the_file = corner.http.get("repositories/nas/recovery-kit")
    assert of_the_file.status_code == 200, "its password's file is this machine's own"
    pointed = {"url": "/nowhere", "password": {"file": "/etc/shadow"}}
    corner.post("repositories?key=pointed", pointed)
    assert corner.get("repositories/pointed/recovery-kit", expect=(403,))["code"] == "kit_not_here"
    told = [corner.http.get(f"runs/{run['id']}/events").text for run in corner.get("runs")["items"]]
    told += [corner.http.get(address).text for address in ("configuration", "audit", "repositories/sealed")]
    until(lambda: corner.run_directories() == [])
    files = [path.read_bytes() for path in corner.state.rglob("*") if path.is_file()]
    assert not any(canary in text for text in told)
    assert not any(canary.encode() in content for content in files)
