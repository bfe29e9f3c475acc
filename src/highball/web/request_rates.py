"""How many requests of strangers are answered: so many a second of each address, and more at once after a quiet time.

Who has proved who they are is not counted here, and a browser in which somebody had logged in before is counted apart:
whoever asks without end from the same address does not keep it out.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from highball.hub.auth.rate_limit import for_address, for_browser

EACH_SECOND = 20.0
AT_ONCE = 300
"""A browser asks for a page's ten parts, and behind a proxy that is not trusted many browsers are one address."""

MOST_ADDRESSES = 10_000


class Rates:
    """For each address, how many requests it may make now and when that was."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._left)

    def admit(self, address: str) -> bool:
        """Count a request; false where its address made too many."""
        [subject] = for_address(address)
        return self._take(subject)

    def admit_browser(self, id: str) -> bool:
        """The same of a browser in which somebody had logged in before, wherever it is."""
        return self._take(for_browser(id))

    def _take(self, subject: str) -> bool:
        now = self._clock()
        left, at = self._left.pop(subject, (float(AT_ONCE), now))
        left = min(float(AT_ONCE), left + (now - at) * EACH_SECOND)
        admitted = left >= 1
        self._left[subject] = (left - admitted, now)
        if len(self._left) > MOST_ADDRESSES:
            self._left.popitem(last=False)  # the one that asked longest ago
        return admitted
