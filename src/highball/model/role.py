"""What somebody may do, whoever they are."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What somebody may do; each includes the one before."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Whether this role may do what the other may."""
        order = list(Role)
        return order.index(self) >= order.index(other)
