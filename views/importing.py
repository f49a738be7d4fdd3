"""First imports of large libraries, one thread at a time.

Two threads that first import libraries which import parts of one another can each meet a module of
the other's that is only half there: Python breaks a deadlock of its import locks that way.
"""

from __future__ import annotations

import importlib
import sys
from threading import RLock

#: Held by whoever imports a large library for the first time, or runs code that does.
LOCK = RLock()


def load(*names: str) -> None:
    """Import modules by name, each whole before any other thread of ours imports one."""
    for name in names:
        if not _whole(name):
            with LOCK:
                importlib.import_module(name)


def _whole(name: str) -> bool:
    module = sys.modules.get(name)
    return module is not None and not getattr(module.__spec__, "_initializing", False)
