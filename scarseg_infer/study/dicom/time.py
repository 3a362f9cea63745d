"""Time at which the images were taken, from whichever DICOM dates are dates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta, timezone
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
_NIGHT: Final = timedelta(days=1)
"""A study may end on the next day."""
SEVERAL_DAYS: Final = (
    "The headers give several dates for one acquisition: when it was taken is unknown."
)
_FIRST_REAL_YEAR: Final = 1901
"""1 January 1900 and earlier are what de-identification puts in place of a date."""

# DA and TM of PS3.5 6.2, with the dots and colons of ACR-NEMA; a TM may stop after any part.
_DATE: Final = re.compile(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})")
_TIME: Final = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?)?")
# DT: date, time, offset from UTC. What follows a whole day may be no time, but the day is one.
# Converters write it as ISO 8601.
_DATE_TIME: Final = re.compile(r"(\d{8}|\d{4}-\d{2}-\d{2})(?:[T ](?=\d))?(.*?)([+-]\d{2}:?\d{2})?")
_OFFSET: Final = re.compile(r"([+-])(\d{2}):?(\d{2})")


def acquisition_time(
    datasets: Sequence[Dataset],
) -> tuple[datetime | None, bool, tuple[str, ...]]:
    """Local time of the earliest slice, whether it is only a date, and warnings.

    A date without a time of day gives 0:00 of that day and a warning, and is used only when no
    slice has both. None with a warning when nothing of what stands there is a date; None
    without one when no date stands there at all.
    """
    found: list[tuple[datetime, bool]] = []
    something_written = False
    for dataset in datasets:
        moment, date_only, written = _read(dataset)
        something_written = something_written or written
        if moment is not None:
            found.append((moment, date_only))
    if not found:
        doubt = "The dates in the MRI are not dates: when it was taken is unknown."
        return None, False, (doubt,) if something_written else ()
    days = {moment.date() for moment, _ in found}
    days |= {day for dataset in datasets for day in _acquisition_days(dataset)}
    if max(days) - min(days) > _NIGHT:
        return None, False, (SEVERAL_DAYS,)
    first_day = min(moment.date() for moment, _ in found)
    doubts = _elsewhere(datasets, days)
    full = [moment for moment, date_only in found if not date_only and moment.date() == first_day]
    if full:
        return min(full, key=lambda moment: moment.replace(tzinfo=None)), False, doubts
    doubt = (
        "The MRI has a date but no time of day: the days between ECG and MRI may be wrong by up to "
        "one."
    )
    return datetime.combine(first_day, time()), True, (doubt, *doubts)


def _acquisition_days(dataset: Dataset) -> set[date]:
    """Every day that the header gives for the acquisition itself."""
    match = _DATE_TIME.fullmatch(text(dataset, "AcquisitionDateTime"))
    days = {_parse_date(match[1])} if match else set()
    return {day for day in (*days, _parse_date(text(dataset, "AcquisitionDate"))) if day}


def _elsewhere(datasets: Sequence[Dataset], acquired: set[date]) -> tuple[str, ...]:
    """A warning where the study bears another date than its images: one of them was changed."""
    days = {_parse_date(text(dataset, "StudyDate")) for dataset in datasets} - {None}
    apart = max((abs(day - one) for day in days for one in acquired if day), default=_NIGHT)
    if apart <= _NIGHT:
        return ()
    return (
        f"StudyDate and AcquisitionDate of the MRI lie {apart.days} days apart: the date of "
        "acquisition is used. Check it if the time between ECG and MRI matters.",
    )


def has_bad_clock(dataset: Dataset) -> bool:
    """True where something stands for the time of day of the acquisition that is none."""
    match = _DATE_TIME.fullmatch(text(dataset, "AcquisitionDateTime"))
    clocks = (match[2] if match else "", text(dataset, "AcquisitionTime"))
    return any(clock and _parse_time(clock) is None for clock in clocks)


def newest_last(day: str, clock: str) -> datetime:
    """Key by which answers of an archive are sorted; what is no date comes before all others."""
    date_ = _parse_date(day)
    if date_ is None:
        return datetime.min
    return datetime.combine(date_, time()) + (_parse_time(clock) or timedelta())


def moment_of(dataset: Dataset) -> datetime | None:
    """Time of an image by the local clock; None where the time of day is not known."""
    moment, date_only, _ = _read(dataset)
    return None if moment is None or date_only else moment.replace(tzinfo=None)


def _read(dataset: Dataset) -> tuple[datetime | None, bool, bool]:
    """Local time, whether it is only a date, and whether anything was written at all.

    The date nearest to the acquisition counts. Where it has no time of day of its own, one that
    stands with another attribute counts if its date is the same.
    """
    combined = text(dataset, "AcquisitionDateTime")
    written = [combined]
    pairs = []
    offset = text(dataset, "TimezoneOffsetFromUTC")
    if match := _DATE_TIME.fullmatch(combined):
        pairs.append((match[1], match[2], match[3] or offset))
    for date_keyword, time_keyword in _DATE_AND_TIME:
        pairs.append((text(dataset, date_keyword), text(dataset, time_keyword), offset))
        written.append(pairs[-1][0])
    days = [(_parse_date(day), clock, zone) for day, clock, zone in pairs]
    first = next((day for day, _, _ in days if day is not None), None)
    if first is None:
        return None, False, any(written)
    for day, clock_text, zone in days:
        clock = _parse_time(clock_text) if day == first else None
        if clock is not None:
            moment = datetime.combine(first, time()) + clock
            return moment.replace(tzinfo=_parse_offset(zone)), False, True
    return datetime.combine(first, time()), True, True


def _parse_offset(value: str) -> timezone | None:
    match = _OFFSET.fullmatch(value)
    if match is None or int(match[2]) > 14 or int(match[3]) > 59:
        return None
    minutes = 60 * int(match[2]) + int(match[3])
    return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))


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
