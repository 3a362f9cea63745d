"""Time at which a WFDB record was made, from the last fields of its record line and from
comments."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import Final

from scarseg_infer.ecg.date import (
    AMBIGUOUS,
    NO_CLOCK,
    Moment,
    comment_date,
    day_and_rest,
    with_clock,
)

_CLOCK: Final = re.compile(r"(\d{1,2}:){0,2}\d{1,2}(\.\d*)?", re.ASCII)
"""[[HH:]MM:]SS[.fff]"""
_NIGHT: Final = timedelta(days=1)
_TWO_DATES: Final = (
    "The ECG header and a comment in it give different dates: the time gap is unknown."
)


def recorded_at(fields: list[str], lines: list[str]) -> Moment:
    """Recording time, whether it is a date only, and warnings.

    From the base time and base date of the record line; without a base date, from a comment. The
    standard's date is DD/MM/YYYY, and its clock may lack hours; what else people write there counts
    where it means one day.
    """
    text = " ".join(fields)
    comment = comment_date(lines)
    if not text or _CLOCK.fullmatch(text):
        return comment
    base = _base_time(text)
    days = [moment.date() for moment in (base[0], comment[0]) if moment is not None]
    if len(days) > 1 and abs(days[0] - days[1]) > _NIGHT:
        return None, False, (_TWO_DATES,)
    return base


def _base_time(text: str) -> Moment:
    """Read the fields of base time and base date."""
    found = day_and_rest(text, "day first" if "/" in text else "either")
    if found is None:
        return None, False, ("The ECG header's date is not a date: the time gap is unknown.",)
    if found == "ambiguous":
        doubt = f"In the date of the ECG header {AMBIGUOUS}: the time gap is unknown."
        return None, False, (doubt,)
    day, clock = found
    if "/" not in text or not _CLOCK.fullmatch(clock):
        return with_clock(day, clock)
    try:
        moment = datetime.combine(day, _clock(clock))
    except ValueError:
        return datetime.combine(day, time()), True, (NO_CLOCK,)
    return moment, moment.time() == time(), ()


def _clock(text: str) -> time:
    """[[HH:]MM:]SS[.fff]; raises ValueError."""
    parts = text.split(":")
    seconds = float(parts[-1])
    hours, minutes = ([0, 0] + [int(part) for part in parts[:-1]])[-2:]
    return time(hours, minutes, int(seconds), int(1e6 * (seconds % 1.0)))
