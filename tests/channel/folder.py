"""A kind of channel for tests: each message is a file in a folder. One file, and one line where it is registered."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from highball.channel.base import Channel, DeclaredChannel, Delivery, Fate, Message, Resolve
from highball.model.run import Reason


class Folder(DeclaredChannel):
    """A folder in which messages come to lie."""

    name: ClassVar[str] = "folder"

    path: Path

    def open(self, resolve: Resolve) -> Channel:
        """The folder; it has no secrets."""
        return _Open(self.path)


@dataclass(frozen=True)
class _Open:
    path: Path

    def send(self, message: Message) -> Delivery:
        """Write one file, whole or not at all; a folder that is away may come back, a file in its place does not."""
        number = len(list(self.path.glob("*.json"))) if self.path.is_dir() else 0
        coming = self.path / f"{number}.coming"
        try:
            coming.write_text(message.model_dump_json())
            os.replace(coming, coming.with_suffix(".json"))
        except NotADirectoryError as error:
            return Delivery(
                Fate.NEVER, Reason(code="channel_refused", message=f"{error.strerror}: {self.path.name}")
            )
        except OSError as error:
            return Delivery(
                Fate.LATER, Reason(code="channel_away", message=f"{error.strerror}: {self.path.name}")
            )
        return Delivery(Fate.DELIVERED)
