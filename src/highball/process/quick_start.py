"""How a process begins that lives as long as one run or one question: reading its modules is most of what it does."""

from __future__ import annotations

import gc
from importlib import import_module
from types import ModuleType


def read_module(name: str) -> ModuleType:
    """A module with all that it needs. Nothing of it is garbage: looking for that takes a third of the start."""
    gc.disable()
    module = import_module(name)
    gc.freeze()
    gc.enable()
    return module
