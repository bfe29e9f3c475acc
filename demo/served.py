"""The hub of the demo: `highball serve` on the demo's own state, spoken to over HTTP as any program would."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from programs import Failure, Program

MOST_SECONDS = 60.0


class ServedHub:
    """While it is entered, the hub serves; at the end it is ended, and its agent with it."""

    def __init__(
        self, highball: Program, state: Path, account: str, password: str, *, role: str = "operator"
    ) -> None:
        """`role` is what the demo may do there."""
        self._highball = highball
        self._role = role
        self._key_file = state.with_name(f"{state.name}.key")
        self._account = account
        self._password = password
        self._log = highball.folder / "serve.log"
        self.url = f"http://127.0.0.1:{_free_port()}"
        self._token = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        argv = [*self._highball.argv, "serve", "--listen", self.url.removeprefix("http://")]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                argv,
                env={**self._highball.environment, "HIGHBALL_KEY_FILE": str(self._key_file)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._set_up(
                str(self._await(self._find_link, "the hub did not print a link for the first account"))
            )
            self._await(lambda: self.get("agents")[0]["connected"], "the hub's agent did not come")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)

    def _find_link(self) -> str | None:
        assert self._process is not None
        if self._process.poll() is not None:
            raise Failure(f"the hub ended: {self._log.read_text()}")
        found = re.search(r"/setup#(\S+)", self._log.read_text())
        return found[1] if found else None

    def _set_up(self, link: str) -> None:
        account = {"token": link, "name": self._account, "password": self._password}
        with self._send("setup", account) as answer:
            cookie = answer.headers["set-cookie"].partition(";")[0]
        token = {"key": "demo", "role": self._role}
        with self._send("tokens", token, cookie=cookie, origin=self.url) as answer:
            self._token = json.load(answer)["value"]

    # --- speaking to it ---

    def get(self, address: str) -> Any:
        """What an address answers."""
        with self._send(address) as answer:
            return json.load(answer)

    def send(self, address: str, body: Any, method: str = "POST", **headers: str) -> Any:
        """Ask for a change; what is answered."""
        with self._send(address, body, method=method, **headers) as answer:
            return json.load(answer)

    def carry_out(self, order: dict[str, Any], outcomes: Sequence[str] = ("success",)) -> dict[str, Any]:
        """Order a run, and wait for its end, which is to be one of these."""
        with self._send("runs", order) as answer:
            run = json.load(answer)["id"]
        self._await(lambda: self.get(f"runs/{run}")["state"] == "done", "a run of the hub did not end")
        done: dict[str, Any] = self.get(f"runs/{run}")
        if done["outcome"] not in outcomes:
            raise Failure(f"{order['task']} by the hub ended as {done['outcome']}: {done['reason']}")
        return done

    def _send(self, address: str, body: Any = None, method: str | None = None, **headers: str) -> Any:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/v1/{address}", content, headers, method=method)
        request.add_header("content-type", "application/json")
        if self._token:
            request.add_header("authorization", f"Bearer {self._token}")
        try:
            return urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError as error:
            told = error.read().decode(errors="replace")
            raise Failure(f"{address} answered {error.code}: {told}") from None

    @staticmethod
    def _await(fact: Callable[[], Any], otherwise: str) -> Any:
        deadline = time.monotonic() + MOST_SECONDS
        while not (found := fact()):
            if time.monotonic() > deadline:
                raise Failure(otherwise)
            time.sleep(0.02)
        return found


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
