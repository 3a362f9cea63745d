"""Importing pydicom without what it would download its own test files with.

pydicom 3 imports ``requests`` and ``tqdm`` where they are installed, which takes a third of its own
import. It falls back to Python's ``urllib``; this program downloads none of these files at all.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

_DOWNLOADERS: Final = ("requests", "tqdm")


def import_pydicom() -> None:
    """Import pydicom with a view to reading. Only for a program of our own: for a moment no thread
    of the process can import these packages anew."""
    if "pydicom" in sys.modules:
        return
    hidden = [name for name in _DOWNLOADERS if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # makes its import fail
    try:
        import_module("pydicom")
    finally:
        for name in hidden:
            del sys.modules[name]
