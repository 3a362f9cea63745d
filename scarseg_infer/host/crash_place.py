"""Place where a program broke, in words that may be shown: what it broke on may quote a header."""

from __future__ import annotations

import traceback


def crash_place(error: BaseException) -> str:
    """Type and place of an error, as ``KeyError at scarseg_infer.study.dicom.read:12``; nothing of
    its message, and no folder of the machine."""
    where = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        where = f" at {frame.f_globals.get('__name__', 'unknown')}:{line}"
    return f"{type(error).__name__}{where}"
