"""Everything that can be asked of a hub or ordered of it; the API and the pages are thin over this.

What asks an agent is awaited in the loop; the rest reads or writes the database, and is not to be called in the loop's
own thread. Each subject has a file of its own here, and all of them are one port.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from highball.hub.operations.holdings import RepositoryOperations
from highball.hub.operations.machines import HostOperations
from highball.hub.operations.objects import ObjectOperations
from highball.hub.operations.outlook import StatusOperations
from highball.hub.operations.repository_keys import KeyOperations
from highball.hub.operations.retaining import RetentionOperations
from highball.hub.operations.timing import ScheduleOperations
from highball.hub.operations.trials import TrialOperations
from highball.hub.parts import HubParts
from highball.hub.runs.record import utc_now


class HubOperations(
    KeyOperations,
    ObjectOperations,
    StatusOperations,
    ScheduleOperations,
    RetentionOperations,
    RepositoryOperations,
    TrialOperations,
    HostOperations,
):
    """What people and programs may ask for; who acts is told to whatever changes something."""

    def __init__(self, hub: HubParts, clock: Callable[[], datetime] = utc_now) -> None:
        self._hub = hub
        self._now = clock
