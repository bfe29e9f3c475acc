"""What an entry has besides its content: mode, owner, time, extended attributes. Given by handles, never by paths."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass

from highball.place.local_files import Ground, way_to


@dataclass(frozen=True)
class Traits:
    """Mode, owner and time."""

    mode: int
    uid: int
    gid: int
    modified_ns: int

    @classmethod
    def of(cls, seen: os.stat_result) -> Traits:
        """Those of an entry that is there."""
        return cls(stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid, seen.st_mtime_ns)

    @property
    def locks_us(self) -> bool:
        """Whether a folder with them lets nothing be put into it by us."""
        return os.geteuid() != 0 and self.mode & 0o300 != 0o300


def give_traits(held: int, traits: Traits) -> None:
    """Set owner, mode and time of what a handle holds, a link itself included; raises OSError.

    An owner that only root may give is passed over where we are not root, as `cp -p` does.
    """
    seen, way = os.fstat(held), way_to(held)
    if (seen.st_uid, seen.st_gid) != (traits.uid, traits.gid):
        try:
            os.chown(way, traits.uid, traits.gid)
        except PermissionError:
            if os.geteuid() == 0:
                raise
    if not stat.S_ISLNK(seen.st_mode):
        os.chmod(way, traits.mode)  # after the owner: changing that clears set-id bits
    os.utime(way, ns=(seen.st_atime_ns, traits.modified_ns))


def give_attributes(source: Ground, staged: bytes, held: int) -> None:
    """Set the extended attributes and ACLs of a staged entry on what a handle holds, as far as we may."""
    with contextlib.suppress(OSError), source.hold(staged) as model:
        for name in os.listxattr(way_to(model)):
            with contextlib.suppress(OSError):
                os.setxattr(way_to(held), name, os.getxattr(way_to(model), name))
