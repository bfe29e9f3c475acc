"""What a command prints, by a hub: only where the host lets commands run; a set of its own from backup to restore."""

from __future__ import annotations

from pathlib import Path

from hub.served import Served


def test_what_a_command_prints_is_saved_by_a_hub_where_its_host_lets_it(
    machine: Served, tmp_path: Path
) -> None:
    machine.serve()
    ran = machine.folder / "ran"
    dump = {"run": f"touch {ran}; echo dump of $HIGHBALL_JOB", "name": "app.sql"}
    spec = {"repositories": ["nas"], "sources": [str(machine.source), dump], "retention": {"last": 1}}
    machine.post("jobs?key=app", spec)

    def back_up() -> dict[str, str]:
        done = machine.end_of(machine.post("runs", {"task": "backup", "job": "app"})["id"])
        told = {step["set"]: step["outcome"] for step in done["steps"]}
        return told | {"run": done["outcome"], "why": (done["reason"] or {}).get("code", "")}

    assert back_up() == {"run": "failure", "why": "refused_by_host"}
    assert not ran.exists()
    (machine.state / "agent" / "policy.toml").write_text('commands = "always"')
    for _ in range(2):
        assert back_up() == {"files": "success", "app.sql": "success", "run": "success", "why": ""}
    [standing] = [one for one in machine.get("status") if one["job"] == "app"]
    assert (standing["state"], standing["snapshots"]) == ("healthy", 4)

    done = machine.end_of(machine.post("runs", {"task": "forget", "repository": "nas", "job": "app"})["id"])
    assert done["outcome"] == "success", done
    assert sorted((step["set"], len(step["snapshots_removed"])) for step in done["steps"]) == [
        ("app.sql", 1),
        ("files", 1),
    ]
    held = [one for one in machine.get("repositories/nas/snapshots") if one["job"] == "app"]
    [newest] = [one["id"] for one in held if one["set"] == "app.sql"]
    target = tmp_path / "back"
    (machine.state / "agent" / "policy.toml").write_text(f'commands = "always"\nrestore = ["{tmp_path}"]')
    about = {"repository": "nas", "snapshot": newest, "paths": ["/app.sql"], "target": str(target)}
    done = machine.end_of(machine.post("runs", {"task": "restore", "job": "app", **about})["id"])
    assert done["outcome"] == "success", done
    assert [path.read_text() for path in target.rglob("app.sql")] == ["dump of app\n"]
    page = machine.http.get(f"{machine.url}/jobs/app", headers={"accept": "text/html"})
    assert page.status_code == 200
    assert "app.sql" in page.text
