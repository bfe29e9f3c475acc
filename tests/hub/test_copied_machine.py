"""A machine that was copied with its agent's key: two agents, one identity."""

import shutil
from pathlib import Path

from hub.served import Elsewhere, Served
from journeys.station import until


def test_a_copy_of_a_machine_is_kept_out_told_of_and_let_in_once_the_other_has_gone(
    served: Served, tmp_path: Path
) -> None:
    served.post("hosts?key=laptop", {})
    told = served.post("hosts/laptop/invitation", {})
    with Elsewhere(tmp_path / "laptop", served, "laptop") as laptop:
        laptop.start("--join", served.url, told=told["token"])
        until(lambda: laptop.is_there, otherwise=laptop.said)
        laptop.stop()
        with Elsewhere(tmp_path / "copy", served, "laptop") as copy:
            shutil.copytree(laptop.state / "agent", copy.state / "agent")
            laptop.start()
            until(lambda: laptop.is_there, otherwise=laptop.said)
            copy.start()
            until(lambda: "same key" in copy.said, otherwise=copy.said)
            problems = served.get("overview")["problems"]
            [twin] = [one for one in problems if one["kind"] == "twin"]
            assert twin["host"] == "laptop" and "highball agent --join" in twin["reason"]["message"]
            assert laptop.is_there
            laptop.stop()
            until(lambda: copy.said.count("linked to") == 1, otherwise=copy.said)
            assert not [one for one in served.get("overview")["problems"] if one["kind"] == "twin"]
