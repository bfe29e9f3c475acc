"""Servers that speak TLS by an authority of one's own: trusted where it is named, and refused in a clear sentence."""

from datetime import timedelta
from pathlib import Path

import pytest

from journeys.station import PASSWORD, Station
from testbed.certificates import certify
from testbed.rest import RestServer
from testbed.s3 import S3Server
from testbed.written import WrittenRepository


def on_rest(station: Station, server: RestServer, **fields: object) -> None:
    """Keep the job's snapshots on this server."""
    station.repositories["nas"] = {
        "kind": "rest",
        "endpoint": server.address,
        "path": "docs",
        "password": station.secret,
        **fields,
    }


def test_a_rest_server_of_ones_own_authority(each_station: Station, tmp_path: Path) -> None:
    station = each_station
    certified, other = certify(tmp_path / "own"), certify(tmp_path / "other")
    with RestServer(tmp_path / "rest", certified=certified) as server:
        WrittenRepository(server.data / "docs", PASSWORD, seed=1)
        on_rest(station, server, certificate=str(certified.authority))
        assert station.back_up().step["outcome"] == "success"
        on_rest(station, server, certificate=str(other.authority))
        reason = station.back_up(status=1).step["reason"]  # 0.19 would try for a quarter of an hour
        assert reason["code"] == "certificate_refused"
        assert "unknown authority" in reason["message"]
        assert "certificate = " in reason["message"]
        on_rest(station, server)
        assert station.ask("snapshots", status=1).error["code"] == "certificate_refused"
        for wrong in (tmp_path / "missing", station.config):
            on_rest(station, server, certificate=str(wrong))
            reason = station.back_up(status=1).step["reason"]
            assert reason["code"] == "certificate_unusable"
            assert str(wrong) in reason["message"]


@pytest.mark.parametrize(
    ("how", "why"),
    [({"host": "10.9.8.7"}, "10.9.8.7, not 127.0.0.1"), ({"ends_in": timedelta(-3)}, "expired")],
)
def test_a_certificate_for_another_name_or_one_that_is_too_old(
    station: Station, tmp_path: Path, how: dict[str, object], why: str
) -> None:
    certified = certify(tmp_path / "own", **how)  # type: ignore[arg-type]
    with RestServer(tmp_path / "rest", certified=certified) as server:
        on_rest(station, server, certificate=str(certified.authority))
        error = station.ask("snapshots", status=1).error
    assert error["code"] == "certificate_refused"
    assert why in error["message"]


def test_an_address_that_says_https_of_a_server_without_and_the_other_way_round(
    station: Station, tmp_path: Path
) -> None:
    with RestServer(tmp_path / "plain") as server:
        on_rest(station, server, endpoint=server.address.replace("http", "https"))
        assert station.ask("snapshots", status=1).error["code"] == "wrong_scheme"
    with RestServer(tmp_path / "rest", certified=certify(tmp_path / "own")) as server:
        on_rest(station, server, endpoint=server.address.replace("https", "http"))
        assert station.ask("snapshots", status=1).error["code"] == "wrong_scheme"


@pytest.mark.needs("moto")
def test_s3_of_ones_own_authority(each_station: Station, tmp_path: Path) -> None:
    station = each_station
    certified, other = certify(tmp_path / "own"), certify(tmp_path / "other")
    (station.folder / "key").write_text(S3Server.secret_access_key)
    with S3Server(tmp_path / "s3", certified=certified) as server:
        station.repositories["nas"] = {
            "kind": "s3",
            "endpoint": server.endpoint,
            "bucket": server.bucket,
            "access_key_id": server.access_key_id,
            "secret_access_key": {"file": str(station.folder / "key")},
            "password": station.secret,
            "certificate": str(certified.authority),
        }
        station.ask("setup", "--schedule", "none")
        assert station.back_up().step["outcome"] == "success"
        station.repositories["nas"]["certificate"] = str(other.authority)
        assert station.ask("snapshots", status=1).error["code"] == "certificate_refused"
