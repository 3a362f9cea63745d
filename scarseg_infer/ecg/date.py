"""Dates that people write into ECG files, read only where they can be read in one way."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime, time
from typing import Final

FIRST_REAL_YEAR: Final = 1901
"""1 January 1900 and earlier are what de-identification puts in place of a date."""

_UNKNOWN: Final = "when it was recorded is unknown"
# "# ECG date: 01/10/1990", but not "# Infarction date (acute): ..." or "# Date of birth: ...".
_DATE_COMMENT: Final = re.compile(
    r"#[#\s]*(?:(?:ecg|recording|acquisition|measurement)[\s_-]*)?date(?:[\s_/-]*time)?"
    r"\s*[:=]\s*(\S.*)",
    re.I,
)
_CLOCK: Final = r"(?:[T\s,]+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d*)?)?)?\s*"
_ISO: Final = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})" + _CLOCK)
_NUMBERS: Final = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})" + _CLOCK)


def comment_date(lines: Iterable[str]) -> tuple[datetime | None, bool, tuple[str, ...]]:
    """Recording time, whether it is a date only, and warnings, from the comments of a header.

    A date counts in ISO order (1990-10-29), or where only one order of day and month makes
    sense (29/10/1990, 10/29/1990) or both are the same (10/10/1990). 01/10/1990 is 1 October to
    most of the world and 10 January to the United States: unknown, and a warning says why.

    Args:
        lines: lines of the header; those that are not comments with a date are passed over.
    """
    found: list[tuple[datetime, bool]] = []
    for line in lines:
        match = _DATE_COMMENT.fullmatch(line.strip())
        if match is None or not re.search(r"\d", match[1]):  # "n/a", "unknown"
            continue
        read = _read(match[1])
        if isinstance(read, str):
            return None, False, (read,)
        found.append(read)
    if not found:
        return None, False, ()
    if len({moment for moment, _ in found}) > 1:
        doubt = f"The comments in the ECG header give several dates: {_UNKNOWN}."
        return None, False, (doubt,)
    return *found[0], ()


def _read(text: str) -> tuple[datetime, bool] | str:
    """Moment and whether it is a date only; or a warning why there is none."""
    doubt = f"The comment in the ECG header that should hold its date holds none: {_UNKNOWN}."
    match = _ISO.fullmatch(text)
    if match is not None:
        orders = [(match[1], match[2], match[3])]
    else:
        match = _NUMBERS.fullmatch(text)
        if match is None:
            return doubt
        orders = [(match[3], match[2], match[1]), (match[3], match[1], match[2])]
    days = {day for order in orders if (day := _day(*map(int, order))) is not None}
    if not days:
        return doubt
    if len(days) > 1:
        return (
            "The ECG's date stands only in a comment of its header, and day and month could be "
            f"either way round: {_UNKNOWN}."
        )
    clock = _clock(match[4], match[5], match[6])
    return datetime.combine(days.pop(), clock), clock == time()


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day) if year >= FIRST_REAL_YEAR else None
    except ValueError:
        return None


def _clock(hour: str | None, minute: str | None, second: str | None) -> time:
    """0:00, which stands for no time, where there is none or it is no time."""
    try:
        return time(int(hour or 0), int(minute or 0), int(second or 0))
    except ValueError:
        return time()
