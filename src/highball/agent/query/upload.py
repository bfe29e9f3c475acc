"""What is told piece by piece: posted to the hub by a one-use ticket, as it comes.

The hub takes it no faster than somebody there reads it, so whoever makes it is held back. What ends without its end
was cut short, and is known to be.
"""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

from highball.errors import Failed
from highball.protocol.handshake import Packer

AT_ONCE = 64 * 1024


class AnswerUpload:
    """One answer on its way; nothing is posted before there is something to tell."""

    def __init__(self, hub: str, ticket: str, key: bytes) -> None:
        self._hub = urlsplit(hub)
        self._ticket = ticket
        self._packer = Packer(key)
        self._line: http.client.HTTPConnection | None = None
        self._waiting = bytearray()

    def add(self, data: bytes) -> None:
        """Some more of it; raises Failed where nobody takes it any more."""
        self._waiting += data
        if len(self._waiting) >= AT_ONCE:
            self._send()

    def end(self) -> None:
        """That was all of it."""
        if self._waiting or self._line is None:
            self._send()
        line = self._line
        assert line is not None
        try:
            line.send(b"0\r\n\r\n")
            taken = line.getresponse().status == http.client.NO_CONTENT
        except (OSError, http.client.HTTPException):
            taken = False
        finally:
            line.close()
        if not taken:
            raise _nobody_takes_it()

    def _send(self) -> None:
        try:
            if self._line is None:
                self._line = self._begin()
            if self._waiting:
                packed = self._packer.pack(bytes(self._waiting))
                self._line.send(b"%x\r\n%b\r\n" % (len(packed), packed))
                self._waiting.clear()
        except OSError:
            raise _nobody_takes_it() from None

    def _begin(self) -> http.client.HTTPConnection:
        secure = self._hub.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        line = kind(self._hub.hostname or "", self._hub.port)
        line.putrequest("POST", f"{self._hub.path.rstrip('/')}/agent/v1/bulk/{self._ticket}")
        line.putheader("Transfer-Encoding", "chunked")
        line.putheader("Content-Type", "application/octet-stream")
        line.endheaders()
        return line


def _nobody_takes_it() -> Failed:
    return Failed("the hub has stopped reading it", code="flow_cut_short")
