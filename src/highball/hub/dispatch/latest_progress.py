"""How far runs are, as their agents last told this hub: kept nowhere, for it is told again in a second."""

from __future__ import annotations

from highball.model.run import Progress


class LatestProgress:
    """The last word on each run that goes on."""

    def __init__(self) -> None:
        self._of: dict[str, Progress] = {}

    def __len__(self) -> int:
        return len(self._of)

    def find(self, run: str) -> Progress | None:
        """How far a run is; None where nobody told, or it is over."""
        return self._of.get(run)

    def note(self, run: str, progress: Progress) -> None:
        """Its agent told this."""
        self._of[run] = progress

    def forget(self, run: str) -> None:
        """What was told says nothing of it any more."""
        self._of.pop(run, None)
