"""What holds for every kind of channel; a new kind is one more bench here."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from channel.folder import Folder
from highball.channel.base import Channel, DeclaredChannel, Fate, Message, Severity
from highball.channel.kinds import KINDS, read_channel
from highball.channel.webhook import Webhook
from highball.errors import ConfigurationInvalid, SecretUnavailable
from highball.secret import SecretReference, SecretValue
from testbed.serving import free_port

CANARY = "canary-of-a-channel"
MESSAGE = Message(
    thread="repository:nas",
    at=datetime(2026, 5, 3, 10, tzinfo=UTC),
    severity=Severity.CRITICAL,
    subject="The backup of Dokumente failed — ünï ✗",
    text="nas: the repository is away\n\n<b>not bold</b>",
    link="https://hub.example/jobs/docs",
)
ALL: tuple[type[DeclaredChannel], ...] = (*KINDS, Folder)


def resolve(reference: SecretReference) -> SecretValue:
    """Every secret is the same here."""
    return SecretValue(CANARY.encode())


class Bench(ABC):
    """The other side of a kind of channel, which can be made to behave."""

    @abstractmethod
    def open(self) -> Channel:
        """A channel to it."""

    @abstractmethod
    def received(self) -> list[dict[str, Any]]:
        """What came, each message as JSON."""

    @abstractmethod
    def go_away(self) -> None:
        """Be away for a while."""

    @abstractmethod
    def refuse(self) -> None:
        """Take nothing more, ever."""


class FolderBench(Bench):
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "messages"
        self.path.mkdir()

    def open(self) -> Channel:
        return Folder(path=self.path).open(resolve)

    def received(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(self.path.glob("*.json"))]

    def go_away(self) -> None:
        self.path.rmdir()

    def refuse(self) -> None:
        self.path.rmdir()
        self.path.write_text("")


class WebhookBench(Bench):
    """A server that takes what is posted, and answers as it is told."""

    def __init__(self, folder: Path) -> None:
        bench = self
        self.status, self.headers, self.words = 204, dict[str, str](), f"said with {CANARY}"
        self.got: list[dict[str, Any]] = []
        self.asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bench.asked.append(self.headers.get("authorization", ""))
                body = self.rfile.read(int(self.headers["content-length"]))
                if bench.status < 300:
                    bench.got.append(json.loads(body))
                self.send_response(bench.status)
                for name, value in bench.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if bench.status not in (204, 304):
                    self.wfile.write(bench.words.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def open(self) -> Channel:
        token = SecretReference(env="TOKEN")
        return Webhook(url=f"http://127.0.0.1:{self.port}/in/{CANARY}", token=token).open(resolve)

    def received(self) -> list[dict[str, Any]]:
        return self.got

    def go_away(self) -> None:
        self.port = free_port()

    def refuse(self) -> None:
        self.status = 410

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()


BENCHES: dict[type[DeclaredChannel], type[Bench]] = {Folder: FolderBench, Webhook: WebhookBench}


@pytest.fixture(params=ALL, ids=lambda kind: kind.name)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """The other side of each kind; a kind without one fails here."""
    made: Any = BENCHES[request.param](tmp_path)  # type: ignore[call-arg]
    yield made
    if isinstance(made, WebhookBench):
        made.close()


def test_a_message_arrives_whole_and_once(bench: Bench) -> None:
    channel = bench.open()
    assert channel.send(MESSAGE).fate is Fate.DELIVERED
    assert [Message.model_validate(one) for one in bench.received()] == [MESSAGE]
    assert channel.send(MESSAGE).fate is Fate.DELIVERED
    assert len(bench.received()) == 2, "whoever sends twice is not second-guessed"


def test_what_is_away_may_be_tried_later(bench: Bench) -> None:
    bench.go_away()
    told = bench.open().send(MESSAGE)
    assert told.fate is Fate.LATER
    assert told.reason is not None and told.reason.code == "channel_away"


def test_what_refuses_is_not_tried_again(bench: Bench) -> None:
    bench.refuse()
    told = bench.open().send(MESSAGE)
    assert told.fate is Fate.NEVER
    assert told.reason is not None and told.reason.code == "channel_refused"
    assert CANARY not in told.reason.message


def test_no_secret_shows_in_what_is_told_or_printed(bench: Bench) -> None:
    channel = bench.open()
    bench.go_away()
    assert CANARY not in repr(bench.open().send(MESSAGE))
    assert CANARY not in repr(getattr(channel, "token", ""))


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_every_kind_is_declared_by_its_name_and_says_what_is_wrong(kind: type[DeclaredChannel]) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        read_channel({"kind": kind.name, "colour": "red"}, ALL)
    assert any(problem.at == "colour" for problem in caught.value.problems)
    with pytest.raises(ConfigurationInvalid) as caught:
        read_channel({"kind": "pigeon"}, ALL)
    assert kind.name in (caught.value.problems[0].hint or "")
    assert kind.__doc__


# --- webhook alone ---


@pytest.fixture
def webhook(tmp_path: Path) -> Iterator[WebhookBench]:
    bench = WebhookBench(tmp_path)
    yield bench
    bench.close()


class TestWebhook:
    """What a webhook does besides."""

    token: ClassVar[str] = f"Bearer {CANARY}"

    @pytest.mark.parametrize(
        ("status", "said", "fate", "after"),
        [
            (200, {}, Fate.DELIVERED, None),
            (429, {"retry-after": "30"}, Fate.LATER, timedelta(seconds=30)),
            (503, {"retry-after": "9999999999"}, Fate.LATER, None),
            (503, {"retry-after": "999999999"}, Fate.LATER, timedelta(days=1)),
            (408, {"retry-after": "soon"}, Fate.LATER, None),
            (500, {}, Fate.LATER, None),
            (302, {"location": "http://127.0.0.1:9/"}, Fate.NEVER, None),
            (401, {}, Fate.NEVER, None),
            (404, {}, Fate.NEVER, None),
        ],
    )
    def test_each_answer_has_its_meaning(
        self, webhook: WebhookBench, status: int, said: dict[str, str], fate: Fate, after: timedelta | None
    ) -> None:
        webhook.status, webhook.headers = status, said
        told = webhook.open().send(MESSAGE)
        assert (told.fate, told.after) == (fate, after)
        assert webhook.asked == [self.token]
        assert told.reason is None or CANARY not in told.reason.message

    def test_what_is_no_http_is_away(self, webhook: WebhookBench) -> None:
        webhook.words = "x" * 100_000
        webhook.status = 500
        told = webhook.open().send(MESSAGE)
        assert told.reason is not None and len(told.reason.message) < 400

    def test_a_token_of_two_lines_is_refused_and_not_told(self) -> None:
        declared = Webhook(url="https://hook.example/in", token=SecretReference(env="TOKEN"))
        with pytest.raises(SecretUnavailable) as caught:
            declared.open(lambda _: SecretValue(f"{CANARY}\r\nX-Evil: 1".encode()))
        assert CANARY not in str(caught.value)

    @pytest.mark.parametrize(
        "url", ["ftp://hook.example", "https://", "hook.example", "https://a:b@hook.example/"]
    )
    def test_an_address_is_one_of_http_without_credentials(self, url: str) -> None:
        with pytest.raises(ConfigurationInvalid) as caught:
            read_channel({"kind": "webhook", "url": url})
        assert [problem.at for problem in caught.value.problems] == ["url"]
