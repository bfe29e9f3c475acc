"""Remove a tree of our own making, folders without write permission included; never follows a link."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from typing import Any


def remove_tree(path: bytes | str) -> OSError | None:
    """Remove a tree of ours, folders without write permission included; why something is left, or None."""
    problems: list[OSError] = []

    def retry(call: Callable[..., Any], at: Any, info: Any) -> None:
        try:
            for locked in {os.path.dirname(at), at}:
                if stat.S_ISDIR(os.lstat(locked).st_mode):
                    os.chmod(locked, 0o700)
            if os.path.isdir(at) and not os.path.islink(at):
                shutil.rmtree(at)
            else:
                os.unlink(at)
        except FileNotFoundError:
            pass
        except OSError as error:
            problems.append(error)

    shutil.rmtree(path, onerror=retry)
    return problems[0] if problems else None
