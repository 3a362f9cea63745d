"""Where a program broke, in words that may be shown: what it broke on may quote a header."""

from __future__ import annotations

import traceback
from pathlib import Path


def crash_place(error: BaseException) -> str:
    """Type and place of an error, as ``KeyError at read.py:12``; nothing of its message."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"
