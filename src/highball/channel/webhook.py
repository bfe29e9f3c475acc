"""webhook: the message as JSON, posted to an address; what other programs build upon."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, Field

from highball.channel.base import (
    LONGEST_PAUSE,
    Channel,
    DeclaredChannel,
    Delivery,
    Fate,
    Message,
    Resolve,
)
from highball.errors import SecretUnavailable
from highball.model.run import Reason
from highball.secret import SecretReference, SecretValue

TIMEOUT = httpx.Timeout(20.0, connect=5.0)
LONGEST_ANSWER = 300
"""So many bytes of a refusal are told."""

_TOKEN = re.compile(rb"[\x21-\x7e]{1,4096}")
_MAY_PASS = frozenset({408, 425, 429})


def _check_address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is no address that begins with https:// or http://")
    if parts.username or parts.password:
        raise ValueError("holds a user or a password: name the file of a token with token = { file = … }")
    return url


class Webhook(DeclaredChannel):
    """A program that takes messages by HTTP."""

    name: ClassVar[str] = "webhook"

    url: Annotated[str, AfterValidator(_check_address)] = Field(max_length=2000)
    token: SecretReference | None = Field(None, description="sent as Authorization: Bearer …")

    def open(self, resolve: Resolve) -> Channel:
        """The webhook with its token; raises SecretUnavailable."""
        token = resolve(self.token) if self.token else None
        if token is not None and not _TOKEN.fullmatch(token.reveal()):
            raise SecretUnavailable("the token of the webhook is not one word of plain letters and signs")
        return _OpenWebhook(self.url, token)


@dataclass(frozen=True)
class _OpenWebhook:
    url: str
    token: SecretValue | None

    def send(self, message: Message) -> Delivery:
        """Post it once; a redirect is not followed, and of the answer no more is read than is told."""
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token.reveal().decode()}"}
        try:
            with httpx.stream(
                "POST", self.url, json=message.model_dump(mode="json"), headers=headers, timeout=TIMEOUT
            ) as answer:
                return self._judge(answer)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return _failed(Fate.LATER, f"{_server_of(self.url)} did not take it: {self._masked(str(error))}")

    def _judge(self, answer: httpx.Response) -> Delivery:
        if answer.is_success:
            return Delivery(Fate.DELIVERED)
        words = self._masked(_first_line(answer))
        told = f"{_server_of(self.url)} answered {answer.status_code}" + (f": {words}" if words else "")
        if answer.status_code in _MAY_PASS or answer.is_server_error:
            return _failed(Fate.LATER, told, _read_pause(answer.headers.get("retry-after", "")))
        return _failed(Fate.NEVER, told)

    def _masked(self, text: str) -> str:
        return text.replace(self.token.reveal().decode(), "***") if self.token else text


def _failed(fate: Fate, message: str, after: timedelta | None = None) -> Delivery:
    code = "channel_refused" if fate is Fate.NEVER else "channel_away"
    return Delivery(fate, Reason(code=code, message=message), after)


def _server_of(url: str) -> str:
    """The server alone: what comes after it is often a secret."""
    return urlsplit(url).netloc


def _first_line(answer: httpx.Response) -> str:
    """The beginning of what was answered; none where that does not come."""
    try:
        first = next(answer.iter_bytes(LONGEST_ANSWER), b"")
    except httpx.HTTPError:
        return ""
    lines = first[:LONGEST_ANSWER].decode(errors="replace").splitlines()
    return "".join(character for character in lines[0] if character.isprintable()) if lines else ""


def _read_pause(text: str) -> timedelta | None:
    """`Retry-After` in seconds; a date, or nonsense, says nothing."""
    seconds = int(text) if re.fullmatch(r"\d{1,9}", text.strip()) else None
    return None if seconds is None else min(timedelta(seconds=seconds), LONGEST_PAUSE)
