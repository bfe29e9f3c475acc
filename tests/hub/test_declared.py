"""What is declared over the API is what runs: a job made, changed, given another key, taken back."""

import subprocess
from pathlib import Path

from hub.served import Corner, Elsewhere, Served
from journeys.station import HIGHBALL, until
from testbed.parts import SEARCH_PATH


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


def test_a_host_with_another_key_keeps_its_agent_its_snapshots_and_its_history(
    hub: Served, corner: Corner, tmp_path: Path
) -> None:
    old, new = f"laptop-{corner.job}", f"travel-{corner.job}"
    corner.post(f"hosts?key={old}", {})
    spec = corner.job_spec | {"host": old, "retention": {"last": 1}}
    revision = corner.http.get(f"jobs/{corner.job}").headers["etag"]
    assert corner.http.put(f"jobs/{corner.job}", json=spec, headers={"if-match": revision}).is_success
    with Elsewhere(tmp_path / "laptop", hub, old) as laptop:
        laptop.join()
        first = corner.back_up()
        revision = corner.http.get(f"hosts/{old}").headers["etag"]
        moved = corner.http.post(f"hosts/{old}/rekey", json={"key": new}, headers={"if-match": revision})
        assert moved.json()["former_keys"] == [old], moved.text
        laptop.host = new
        until(lambda: laptop.is_there, otherwise=laptop.said)
        assert corner.back_up()["host"] == new, "by the connection that was there"
        laptop.stop()
        until(lambda: not laptop.is_there)
        laptop.start()
        until(lambda: laptop.is_there, otherwise=laptop.said)
        last = corner.back_up()
        assert [run["host"] for run in corner.get("runs", job=corner.job)["items"]] == [new] * 3
        [standing] = corner.get("status", job=corner.job)
        assert (standing["snapshots"], standing["state"]) == (3, "healthy")
        shown = corner.get(f"repositories/{corner.nas}/snapshots")
        assert {one["host"] for one in shown} == {old, new}
        assert all((one["job"], one["governed"]) == (corner.job, True) for one in shown)
        [plan] = corner.get(f"repositories/{corner.nas}/retention", job=corner.job)
        assert (plan["host"], plan["held"], plan["unknown"]) == (new, None, [])
        assert [one["id"] for one in plan["keep"]] == [last["steps"][0]["snapshot_id"]]
        assert first["steps"][0]["snapshot_id"] in [one["id"] for one in plan["remove"]]
    done = corner.end_of(corner.order("forget", job=corner.job))
    assert (done["host"], done["outcome"]) == ("station", "success"), (
        "what may delete goes to the maintainer alone"
    )
    assert len(done["steps"][0]["snapshots_removed"]) == 2
    assert corner.get("status", job=corner.job)[0]["snapshots"] == 1


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


def test_a_host_elsewhere_is_invited_by_one_line_that_counts_once(served: Served, tmp_path: Path) -> None:
    served.post("hosts?key=laptop", {})
    told = served.post("hosts/laptop/invitation", {})
    assert told["line"] == f"printf %s {told['token']} | highball agent --join {served.url}"
    own = served.http.post("hosts/station/invitation")
    assert (own.status_code, own.json()["code"]) == (400, "own_host")
    assert served.http.post("hosts/nobody/invitation").json()["code"] == "host_unknown"

    with Elsewhere(tmp_path / "laptop", served, "laptop") as laptop:
        laptop.start("--join", served.url, told=told["token"])
        until(lambda: laptop.is_there, otherwise=laptop.said)
        laptop.stop()
        assert not (laptop.state / "agent" / "invitation.json").exists(), "it is used up"
        until(lambda: not laptop.is_there)
        laptop.start()
        until(lambda: laptop.is_there, otherwise=laptop.said)
    nobody = {"PATH": SEARCH_PATH, "HOME": str(tmp_path), "HIGHBALL_STATE": str(tmp_path / "other")}
    refused = subprocess.run([HIGHBALL, "agent"], env=nobody, capture_output=True, text=True, check=False)
    assert (refused.returncode, "has not joined a hub" in refused.stderr) == (2, True)


def test_another_key_is_shown_agreed_to_and_given(served: Served, tmp_path: Path) -> None:
    served.post("profiles?key=often", {"schedule": "hourly"})
    served.post(
        "jobs?key=letters", {"repositories": ["nas"], "sources": [str(served.source)], "profile": "often"}
    )
    token = served.http.headers["authorization"].removeprefix("Bearer ")
    environment = {"PATH": SEARCH_PATH, "HOME": str(tmp_path), "HIGHBALL_TOKEN": token}

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        asked = [str(HIGHBALL), "--hub", served.url, *words]
        return subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)

    shown = call("rekey", "profile", "often", "hourly", "--dry-run")
    assert (shown.returncode, "jobs.letters" in shown.stdout) == (0, True), shown.stderr
    assert call("rekey", "profile", "often", "hourly").returncode == 2, "nobody can be asked"
    assert served.get("profiles/often")["key"] == "often"
    done = call("rekey", "profile", "often", "hourly", "--yes")
    assert (done.returncode, "✓ the ID of often is now hourly" in done.stdout) == (0, True), done.stderr
    assert served.get("jobs/letters")["spec"]["profile"] == "hourly"
    back = call("change-id", "profile", "hourly", "often", "--yes")
    assert (back.returncode, "✓ the ID of hourly is now often" in back.stdout) == (0, True), back.stderr
    assert served.get("jobs/letters")["spec"]["profile"] == "often"
    assert call("rekey", "job", "nothing", "other", "--yes").returncode == 4
    of_file = call("rekey", "job", "docs", "papers", "--yes")
    assert (of_file.returncode, str(served.configuration) in of_file.stderr) == (6, True)
