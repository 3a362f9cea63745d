"""When the images were taken, from whichever DICOM dates are dates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Final

from pydicom import Dataset

from scarseg_infer.study.dicom.parse import text

# Nearest to the acquisition first. ContentDate is left out: it may be that of a later
# computation (PS3.3 C.7.6.1.1).
_DATE_AND_TIME: Final = (
    ("AcquisitionDate", "AcquisitionTime"),
    ("SeriesDate", "SeriesTime"),
    ("StudyDate", "StudyTime"),
)
_FIRST_REAL_YEAR: Final = 1901
"""1 January 1900 and earlier are what de-identification puts in place of a date."""

# DA and TM of PS3.5 6.2, with the dots and colons of ACR-NEMA; a TM may stop after any part.
_DATE: Final = re.compile(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})")
_TIME: Final = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?)?")
# DT: date, time, offset from UTC. The offset is dropped: ECG files carry local clocks too.
_DATE_TIME: Final = re.compile(r"(\d{8})(\d{2,6}(?:\.\d{1,6})?)?(?:[+-]\d{4})?")


def acquisition_time(
    datasets: Sequence[Dataset],
) -> tuple[datetime | None, bool, tuple[str, ...]]:
    """Local time of the earliest slice, whether it is only a date, and warnings.

    A date without a time of day gives 0:00 of that day and a warning, and is used only when no
    slice has both. None with a warning when nothing of what stands there is a date; None
    without one when no date stands there at all.
    """
    full: list[datetime] = []
    days: list[datetime] = []
    something_written = False
    for dataset in datasets:
        moments, dates, written = _read(dataset)
        something_written = something_written or written
        full.extend(moments[:1])
        days.extend(dates[:1])
    if full:
        return min(full), False, ()
    if days:
        return (
            min(days),
            True,
            (
                "The MRI has a date but no time of day: the days between ECG and MRI may be wrong "
                "by up to one.",
            ),
        )
    if something_written:
        return None, False, ("The dates in the MRI are not dates: when it was taken is unknown.",)
    return None, False, ()


def moment_of(dataset: Dataset) -> datetime | None:
    """When an image was taken, with the time of day; None where that is not known."""
    moments, _, _ = _read(dataset)
    return moments[0] if moments else None


def _read(dataset: Dataset) -> tuple[list[datetime], list[datetime], bool]:
    """Moments with a time of day, mere days, and whether anything was written at all."""
    moments: list[datetime] = []
    days: list[datetime] = []
    combined = text(dataset, "AcquisitionDateTime")
    written = [combined]
    pairs = []
    if match := _DATE_TIME.fullmatch(combined):
        pairs.append((match[1], match[2] or ""))
    for date_keyword, time_keyword in _DATE_AND_TIME:
        pairs.append((text(dataset, date_keyword), text(dataset, time_keyword)))
        written.append(pairs[-1][0])
    for date_text, time_text in pairs:
        day = _parse_date(date_text)
        if day is None:
            continue
        clock = _parse_time(time_text)
        if clock is None:
            days.append(datetime.combine(day, time()))
        else:
            moments.append(datetime.combine(day, time()) + clock)
    return moments, days, any(written)


def _parse_date(value: str) -> date | None:
    match = _DATE.fullmatch(value)
    if match is None:
        return None
    try:
        day = date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:  # such as 20120000
        return None
    return day if day.year >= _FIRST_REAL_YEAR and day.year < date.max.year else None


def _parse_time(value: str) -> timedelta | None:
    match = _TIME.fullmatch(value)
    if match is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in match.groups()[:3])
    if hours > 23 or minutes > 59 or seconds > 60:  # 60: a leap second
        return None
    fraction = float(f"0.{match[4]}") if match[4] else 0.0
    return timedelta(hours=hours, minutes=minutes, seconds=seconds + fraction)
