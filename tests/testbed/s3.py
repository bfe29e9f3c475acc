"""An S3 service of the tests: moto in a process of its own, its buckets in that process's memory."""

import ssl
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from testbed.certificates import Certified
from testbed.restic import Location
from testbed.serving import Server


class S3Server(Server):
    """moto's server with one bucket from the start, more by `create_bucket`. A restart forgets them all."""

    name = "moto"
    access_key_id = "testing-key-id"
    secret_access_key = "testing-secret-key"  # moto checks none

    def __init__(
        self, directory: Path, *, bucket: str = "backups", certified: Certified | None = None
    ) -> None:
        super().__init__(directory / "moto.log")
        self.bucket = bucket
        self.certified = certified
        directory.mkdir(parents=True, exist_ok=True)

    def argv(self, port: int) -> Sequence[str | Path]:
        argv: list[str | Path] = [sys.executable, "-m", "moto.server", "-H", self.host, "-p", str(port)]
        if self.certified:
            argv += ["--ssl-cert", self.certified.certificate, "--ssl-key", self.certified.key]
        return argv

    def start(self) -> None:
        super().start()
        self.create_bucket(self.bucket)

    @property
    def endpoint(self) -> str:
        return f"{'https' if self.certified else 'http'}://{self.host}:{self.port}"

    @property
    def environment_of_client(self) -> dict[str, str]:
        """The credentials as S3 clients look for them."""
        return {"AWS_ACCESS_KEY_ID": self.access_key_id, "AWS_SECRET_ACCESS_KEY": self.secret_access_key}

    def create_bucket(self, name: str) -> str:
        """Create a bucket and return its name."""
        # moto takes unsigned requests, and takes them for S3.
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        trusted = ssl.create_default_context(cafile=self.certified.authority) if self.certified else None
        with urllib.request.urlopen(request, timeout=120, context=trusted):
            return name

    def location(self, name: str, *, bucket: str | None = None) -> Location:
        """A repository under the prefix `name` of a bucket."""
        repository = f"s3:{self.endpoint}/{bucket or self.bucket}/{name}"
        return Location("s3", repository, environment=self.environment_of_client)
