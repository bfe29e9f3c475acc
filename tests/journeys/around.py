"""Each restore of a journey is photographed: what lies around its target is afterwards what it was."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.photograph import Photograph
from testbed.restic import Argument

if TYPE_CHECKING:
    from journeys.station import Station


class Around:
    """The folder of a station before one call of `restore`, less what the call itself writes there."""

    def __init__(self, station: Station, arguments: Sequence[Argument]) -> None:
        self._station = station
        self._words = [os.fsencode(argument) for argument in arguments]
        self._before = self._look()

    @staticmethod
    def is_restore(arguments: Sequence[Argument]) -> bool:
        """Whether a call may write files back."""
        return "restore" in arguments[:3] and "--dry-run" not in arguments

    def demand_unchanged(self) -> None:
        """Raise AssertionError where anything is not what it was, or is new, that was not asked for."""
        found = self._before.differences(self._look(), self._asked())
        assert found == [], "\n".join(found)

    def _look(self) -> Photograph:
        station = self._station
        ours = [station.state, station.home, station.config, *station.folder.glob("call-*")]
        ours += [Path(fields["url"]) for fields in station.repositories.values() if "url" in fields]
        return Photograph.take([os.fsencode(station.folder)], {os.fsencode(path) for path in ours})

    def _asked(self) -> list[bytes]:
        named = self._values(b"-p", b"--path") or [
            path for job in self._station.jobs.values() for path in _paths_of(job["sources"])
        ]
        named = [path.rstrip(b"/") for path in named]
        if b"--in-place" in self._words:
            return named
        targets = self._values(b"-t", b"--target")
        targets = targets or [os.fsencode(path) for path in self._station.folder.glob("restore-*")]
        return [os.path.realpath(target) + path for target in targets for path in named]

    def _values(self, *options: bytes) -> list[bytes]:
        pairs = zip(self._words, self._words[1:], strict=False)
        joined = (word.partition(b"=") for word in self._words)
        return [
            *(value for option, value in pairs if option in options),
            *(value for option, sign, value in joined if sign and option in options),
        ]


def _paths_of(sources: Sequence[Any]) -> list[bytes]:
    """What a restore of a job brings back: its files, or what its commands printed where it has none."""
    streams = [source for source in sources if isinstance(source, dict) and "run" in source]
    paths = [_path_of(source) for source in sources if source not in streams]
    return paths or [os.fsencode(f"/{stream['name']}") for stream in streams]


def _path_of(source: Any) -> bytes:
    """The path of a source, however it is declared."""
    path = source["path"] if isinstance(source, dict) and "path" in source else source
    return base64.b64decode(path["b64"]) if isinstance(path, dict) else os.fsencode(path)
