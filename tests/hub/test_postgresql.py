"""A hub on PostgreSQL, the whole way: a run, its log, a copy of itself, and all of it there after a kill."""

from hub.served import Served
from testbed.postgres import PASSWORD, PASSWORD_IN_ADDRESS, PostgresServer


def test_the_whole_way_on_postgresql(machine: Served, postgres_server: PostgresServer) -> None:
    name = postgres_server.create()
    machine.environment["HIGHBALL_DATABASE"] = postgres_server.address(name)
    try:
        machine.serve()
        run = machine.back_up()["id"]
        copied = machine.end_of(machine.post("hub/backups")["id"])
        assert copied["outcome"] == "success", (copied, machine.said)
        events = machine.events(run)
        machine.kill_hub()
        machine.serve()
        assert machine.run(run)["outcome"] == "success"
        assert machine.events(run) == events
        assert machine.back_up()["outcome"] == "success"
        assert machine.get("status")[0]["snapshots"] == 2
        assert machine.end_hub() == 0
        for secret in (PASSWORD, PASSWORD_IN_ADDRESS):
            assert secret not in machine.said
    finally:
        postgres_server.drop(name)
