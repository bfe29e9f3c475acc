"""What a command prints, by a hub: only where the host lets commands run; a set of its own from backup to restore."""

from __future__ import annotations

from pathlib import Path

from hub.served import Served
from testbed.postgres import PASSWORD, PostgresServer
from testbed.shop import open_shop


def test_what_a_command_prints_is_saved_by_a_hub_where_its_host_lets_it(
    machine: Served, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    machine.serve()
    ran = machine.folder / "ran"
    shop = open_shop(postgres_server, tmp_path)
    rows = shop.read()
    dump = {**shop.source, "run": f"touch {ran}; exec pg_dump"}
    spec = {"repositories": ["nas"], "sources": [str(machine.source), dump], "retention": {"last": 1}}
    machine.post("jobs?key=app", spec)

    def back_up() -> dict[str, str]:
        done = machine.end_of(machine.post("runs", {"task": "backup", "job": "app"})["id"])
        told = {step["set"]: step["outcome"] for step in done["steps"]}
        return told | {"run": done["outcome"], "why": (done["reason"] or {}).get("code", "")}

    assert back_up() == {"run": "failure", "why": "refused_by_host"}
    assert not ran.exists()
    policy = machine.state / "agent" / "policy.toml"
    secrets = f'secrets = ["{machine.folder}/password"'
    policy.write_text(f'commands = "always"\n{secrets}]')
    assert back_up() == {"run": "failure", "why": "refused_by_host"}, (
        "the secret of its command lies elsewhere"
    )
    policy.write_text(f'commands = "always"\n{secrets}, "{shop.password_file}"]')
    for _ in range(2):
        assert back_up() == {"files": "success", "shop.sql": "success", "run": "success", "why": ""}
    [standing] = [one for one in machine.get("status") if one["job"] == "app"]
    assert (standing["state"], standing["snapshots"]) == ("healthy", 4)

    done = machine.end_of(machine.post("runs", {"task": "forget", "repository": "nas", "job": "app"})["id"])
    assert done["outcome"] == "success", done
    assert sorted((step["set"], len(step["snapshots_removed"])) for step in done["steps"]) == [
        ("files", 1),
        ("shop.sql", 1),
    ]
    held = [one for one in machine.get("repositories/nas/snapshots") if one["job"] == "app"]
    [newest] = [one["id"] for one in held if one["set"] == "shop.sql"]
    asked = {"task": "verify", "repository": "nas", "snapshot": newest}
    done = machine.end_of(machine.post("runs", asked)["id"])
    assert "identical to the output of the command" in done["steps"][0]["reason"]["message"]
    target = tmp_path / "back"
    policy.write_text(f'restore = ["{tmp_path}"]\n{secrets}]')
    about = {"repository": "nas", "snapshot": newest, "paths": ["/shop.sql"], "target": str(target)}
    done = machine.end_of(machine.post("runs", {"task": "restore", "job": "app", **about})["id"])
    assert done["outcome"] == "success", done
    shop.lose()
    [restored] = target.rglob("shop.sql")
    shop.psql("--file", str(restored))
    assert shop.read() == rows
    shop.lose()
    content = machine.http.get(f"repositories/nas/snapshots/{newest}/content", params={"path": "/shop.sql"})
    shop.psql(script=content.content)
    assert shop.read() == rows
    page = machine.http.get(f"{machine.url}/jobs/app", headers={"accept": "text/html"})
    assert page.status_code == 200
    assert "shop.sql" in page.text
    files = [path for path in machine.state.rglob("*") if path.is_file()]
    assert [path for path in files if PASSWORD.encode() in path.read_bytes()] == []
