"""What is declared over the API is what runs: a job made, changed, given another key, taken back."""

from hub.served import Served


def test_a_job_with_another_key_keeps_its_snapshots_and_its_history(served: Served) -> None:
    spec = {"repositories": ["nas"], "sources": [str(served.source)], "retention": {"last": 1}}
    served.post("jobs?key=letters", spec)

    def back_up(key: str) -> dict[str, object]:
        done = served.end_of(served.post("runs", {"task": "backup", "job": key})["id"])
        assert done["outcome"] == "success", done
        return done

    first = back_up("letters")
    revision = served.http.get("jobs/letters").headers["etag"]
    changed = served.http.post("jobs/letters/rekey", json={"key": "mail"}, headers={"if-match": revision})
    assert changed.status_code == 200, changed.text
    back_up("mail")
    assert [run["job"] for run in served.get("runs", job="mail")["items"]] == ["mail", "mail"]
    [standing] = served.get("status", job="mail")
    assert standing["snapshots"] == 2
    [plan] = served.get("repositories/nas/retention", job="mail")
    assert [verdict["id"] for verdict in plan["remove"]] == [first["steps"][0]["snapshot_id"]]  # type: ignore[index]
    [begun] = served.post(
        "settings/retention/run", {"job_id": "mail", "repository_id": "nas", "confirmed": True}
    )["runs"]
    done = served.end_of(begun["id"])
    assert done["outcome"] == "success", done
    assert served.get("status", job="mail")[0]["snapshots"] == 1


def test_a_sealed_password_lies_nowhere_and_opens_the_repository(served: Served) -> None:
    canary = "canary-in-the-vault"
    spec = {"url": str(served.folder / "sealed"), "password": {"sealed": True}}
    served.post("repositories?key=sealed", spec)
    secret = {"value": canary}
    assert served.http.put("repositories/sealed/secrets/password", json=secret).status_code == 200
    served.post("jobs?key=papers", {"repositories": ["sealed"], "sources": [str(served.source)]})
    for order in ({"task": "init", "repository": "sealed"}, {"task": "backup", "job": "papers"}):
        done = served.end_of(served.post("runs", order)["id"])
        assert done["outcome"] == "success", done
    assert served.post("repositories/sealed/test")["state"] == "existing"
    assert canary in served.http.get("repositories/sealed/recovery-kit").text
    assert served.http.get("repositories/nas/recovery-kit").status_code == 200, (
        "its file is this machine's own"
    )
    pointed = {"url": "/nowhere", "password": {"file": "/etc/shadow"}}
    served.post("repositories?key=pointed", pointed)
    assert served.get("repositories/pointed/recovery-kit", expect=(403,))["code"] == "kit_not_here"
    told = [served.http.get(f"runs/{run['id']}/events").text for run in served.get("runs")["items"]]
    told += [served.http.get(address).text for address in ("configuration", "audit", "repositories/sealed")]
    files = [path.read_bytes() for path in served.state.rglob("*") if path.is_file()]
    assert not any(canary in text for text in told)
    assert not any(canary.encode() in content for content in files)
