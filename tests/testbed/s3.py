"""An S3 service of the tests: moto in a process of its own, its buckets in that process's memory."""

import re
import ssl
import sys
import urllib.request
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from urllib.parse import quote

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
        self._ask("PUT", name)
        return name

    def list_objects(self, prefix: str) -> list[str]:
        """The names of the objects below a prefix of the bucket."""
        listed = self._ask("GET", f"{self.bucket}?prefix={quote(prefix)}").decode()
        return [unescape(name) for name in re.findall(r"<Key>(.*?)</Key>", listed)]

    def get_object(self, name: str) -> bytes:
        """What an object of the bucket holds."""
        return self._ask("GET", f"{self.bucket}/{quote(name)}")

    def put_object(self, name: str, content: bytes) -> None:
        """Have an object in the bucket."""
        self._ask("PUT", f"{self.bucket}/{quote(name)}", content)

    def delete_object(self, name: str) -> None:
        """Have it no more."""
        self._ask("DELETE", f"{self.bucket}/{quote(name)}")

    def _ask(self, method: str, what: str, content: bytes | None = None) -> bytes:
        # moto looks for a signature, and not at it.
        scope = f"{self.access_key_id}/20260101/us-east-1/s3/aws4_request"
        signed = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"
        headers = {"Authorization": signed, "Content-Type": "application/octet-stream"}
        address = f"{self.endpoint}/{what}"
        request = urllib.request.Request(address, method=method, data=content, headers=headers)
        trusted = ssl.create_default_context(cafile=self.certified.authority) if self.certified else None
        with urllib.request.urlopen(request, timeout=120, context=trusted) as answer:
            found: bytes = answer.read()
            return found

    def location(self, name: str, *, bucket: str | None = None) -> Location:
        """A repository under the prefix `name` of a bucket."""
        repository = f"s3:{self.endpoint}/{bucket or self.bucket}/{name}"
        return Location("s3", repository, environment=self.environment_of_client)
