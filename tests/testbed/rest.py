"""restic's REST server, as a backup host sees it (append-only) and as its administrator does.

Append-only is a property of the server process, not of the data: the administrator's access is a second
server on the same data without `--append-only`, with the same user and the same paths.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from testbed.certificates import Certified
from testbed.parts import get_program
from testbed.restic import Location
from testbed.serving import Server


class RestServer(Server):
    """rest-server on `data`; without a user it asks for no password.

    With `private_repos` a user's repositories lie below `/<user>/` and nowhere else.
    """

    name = "rest-server"

    def __init__(
        self,
        data: Path,
        *,
        append_only: bool = False,
        private_repos: bool = False,
        user: str | None = None,
        password: str = "",
        log: Path | None = None,
        certified: Certified | None = None,
    ) -> None:
        super().__init__(log or data.with_name(f"{data.name}.log"))
        assert user or not private_repos, "private repositories need a user"
        self.data = data
        self.append_only = append_only
        self.private_repos = private_repos
        self.user = user
        self.password = password
        self.certified = certified
        self._rest_server = get_program("rest-server")
        data.mkdir(parents=True, exist_ok=True)

    def argv(self, port: int) -> Sequence[str | Path]:
        argv: list[str | Path] = [self._rest_server, "--path", self.data, "--listen", f"{self.host}:{port}"]
        if self.certified:
            argv += ["--tls", "--tls-cert", self.certified.certificate, "--tls-key", self.certified.key]
        if self.append_only:
            argv.append("--append-only")
        if self.private_repos:
            argv.append("--private-repos")
        if self.user is None:
            return [*argv, "--no-auth"]
        return [*argv, "--htpasswd-file", self._write_htpasswd(self.user)]

    def admin(self) -> "RestServer":
        """A server, not yet started, on the same data for the same user that also deletes."""
        return RestServer(
            self.data,
            private_repos=self.private_repos,
            user=self.user,
            password=self.password,
            log=self.log.with_name(f"{self.data.name}-admin.log"),
        )

    @property
    def address(self) -> str:
        """Where it answers, without credentials: `http://127.0.0.1:PORT/`, with a certificate https."""
        return f"{'https' if self.certified else 'http'}://{self.host}:{self.port}/"

    def path(self, name: str) -> str:
        """The path of a repository of this name: below the user's own where these are private."""
        return f"{self.user}/{name}/" if self.private_repos else f"{name}/"

    def location(self, name: str) -> Location:
        """A repository of this name; credentials are in its address, as restic 0.14 knows no other way."""
        credentials = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@" if self.user else ""
        return Location("rest", f"rest:http://{credentials}{self.host}:{self.port}/{self.path(name)}")

    def _write_htpasswd(self, user: str) -> Path:
        path = self.data.with_name(f"{self.data.name}.htpasswd")
        digest = base64.b64encode(
            hashlib.sha1(self.password.encode(), usedforsecurity=False).digest()
        ).decode()
        path.write_text(f"{user}:{{SHA}}{digest}\n")
        return path
