"""How many requests of strangers are answered: so many a second of each address, and more at once after a quiet time.

Who has proved who they are is not counted here, and a browser in which somebody had logged in before is counted apart:
whoever asks without end from the same address does not keep it out.
"""

from __future__ import annotations

from highball.hub.auth.rate_limit import for_address, for_browser
from highball.hub.bus.base import Rate, RateLimits

EACH_SECOND = 20.0
AT_ONCE = 300
"""A browser asks for a page's ten parts, and behind a proxy that is not trusted many browsers are one address."""


class Rates:
    """Counts requests, at all processes of the hub together."""

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits

    async def admit(self, address: str) -> bool:
        """Count a request; false where its address made too many."""
        [subject] = for_address(address)
        return await self._take(subject)

    async def admit_browser(self, id: str) -> bool:
        """The same of a browser in which somebody had logged in before, wherever it is."""
        return await self._take(for_browser(id))

    async def _take(self, subject: str) -> bool:
        return await self._limits.admit(f"request:{subject}", Rate(EACH_SECOND, AT_ONCE))
