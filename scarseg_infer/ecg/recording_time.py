"""Date and time of recording in Philips, GE MUSE, aECG, SCP-ECG and EDF files.

Read here from what the file says, since ``ecgdatakit`` parses dates with ``strptime``, which takes
``202312`` for 2 January 2023, and drops a good day with a bad time of day.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from typing import Final
from xml.etree import ElementTree

from scarseg_infer.ecg.date import (
    AMBIGUOUS,
    NO_CLOCK,
    NO_DATE,
    Moment,
    day_and_rest,
    real_day,
    with_clock,
)
from scarseg_infer.ecg.guards.scp import first_section_tags

_TWO_DATES: Final = "The ECG file gives two different dates: the time gap is unknown."
# HL7 TS: YYYYMMDDHHMMSS.UUUU+ZZZZ, which may stop after any part.
_TS: Final = re.compile(
    r"(\d{4})(\d{2})(\d{2})(\d*)(?:\.(\d*))?([+-]\d{2}(?::?\d{2})?|Z)?", re.ASCII
)
_BAD_ZONE: Final = re.compile(
    rb"([\"'])(\s*\d{8,14}(?:\.\d*)?)(?:[+-]\d{2}(?::?\d{2})?|Z)(?=\s*\1)"
)
_EDF_DAY: Final = re.compile(r"(\d{2})\.(\d{2})\.(\d{2})", re.ASCII)
_EDF_CLOCK: Final = re.compile(r"(\d{2})\.(\d{2})\.(\d{2})", re.ASCII)
_EDF_START: Final = re.compile(r"Startdate (\S+)", re.I)
_EDF_UNKNOWN: Final = "01.01.85"
"""Stand-in of writers for an unknown date, the earliest that two digits of a year can give."""
_EDF_FIRST_YEAR: Final = 85
_EDF_LAST_YEAR: Final = 2084
_MOST_MINUTES: Final = 14 * 60
_NIGHT: Final = timedelta(days=1)
"""A recording may end on the next day, and zones differ."""


def recorded_at(kind: str, data: bytes) -> Moment:
    """Recording time on the local clock, whether it is a date only, and warnings.

    Args:
        kind: format of the file, as :data:`scarseg_infer.ecg.vendor.OtherFormat`.
        data: the file; XML as it was checked, in UTF-8.
    """
    return _READERS[kind](data)


def without_zones(xml: bytes) -> bytes:
    """An aECG without offsets from UTC: the library calls a file damaged for an impossible one."""
    return _BAD_ZONE.sub(rb"\1\2", xml)


def _unknown(*written: str) -> Moment:
    """Unknown, with a warning if something else than zeros stands there."""
    return None, False, (NO_DATE,) if re.search("[1-9]", "".join(written)) else ()


def _philips(data: bytes) -> Moment:
    found = ElementTree.fromstring(data).find(".//{*}dataacquisition")
    day, clock = ("", "") if found is None else (found.get("date", ""), found.get("time", ""))
    match = re.fullmatch(r"\s*(\d{4})-(\d{2})-(\d{2})(?:\s*|[T ](.*))", day, re.ASCII)
    real = real_day(*map(int, match.groups()[:3])) if match else None
    return with_clock(real, clock or (match[4] if match else "") or "") if real else _unknown(day)


def _muse(data: bytes) -> Moment:
    """Month first, as all of its XML is American, unless another date in it has the day first."""
    root = ElementTree.fromstring(data)
    found = root.find(".//{*}TestDemographics")
    day, clock = (
        "" if found is None else (found.findtext("{*}" + name) or "").strip()
        for name in ("AcquisitionDate", "AcquisitionTime")
    )
    read = day_and_rest(day, "month first")
    swapped = day_and_rest(day, "day first")
    if read is None:
        read = swapped  # 28-02-2024 is one day only
    elif swapped not in (None, read) and any(map(_is_day_first, _dates(root))):
        return None, False, (f"In the ECG's date {AMBIGUOUS}: the time gap is unknown.",)
    if not isinstance(read, tuple):
        return _unknown(day)
    return with_clock(read[0], clock or read[1])


def _dates(root: ElementTree.Element) -> list[str]:
    """Texts of elements such as AcquisitionDate, DateofBirth or EditDate."""
    return [element.text or "" for element in root.iter() if "date" in element.tag.lower()]


def _is_day_first(text: str) -> bool:
    return day_and_rest(text, "month first") is None and day_and_rest(text, "day first") is not None


def _aecg(data: bytes) -> Moment:
    """The first of effective times and start of the samples that names a day.

    One before it that is less precise must not contradict it.
    """
    root = ElementTree.fromstring(data)
    series = root.find("{*}component/{*}series")
    written = []
    for place in (root, series):
        for name in ("low", "center"):
            found = None if place is None else place.find("{*}effectiveTime/{*}" + name)
            written.append("" if found is None else found.get("value", "").strip())
    for sequence in () if series is None else series.iterfind(".//{*}sequence"):
        code, head = sequence.find("{*}code"), sequence.find("{*}value/{*}head")
        if code is not None and head is not None:
            if code.get("code", "").upper() == "TIME_ABSOLUTE":
                written.append(head.get("value", "").strip())
            break
    return _first_of([text for text in written if text])


def _first_of(written: list[str]) -> Moment:
    read = [(text, _timestamp(text)) for text in written]
    days = [(text, moment) for text, moment in read if moment[0] is not None]
    if not days:
        return _unknown(*written)
    # A time of day is worth more than a day alone, if both say the same day.
    text, best = next((item for item in days if not item[1][1]), days[0])
    first = days[0][1]
    for other, moment in read:
        if moment[0] is not None and abs(_day(moment) - _day(first)) > _NIGHT:
            return None, False, (_TWO_DATES,)
        if moment[0] is None and re.search("[1-9]", other) and not text.startswith(other):
            return None, False, (NO_DATE,)
    return best if _day(best) == _day(first) else first


def _day(moment: Moment) -> date:
    return moment[0].date() if moment[0] is not None else date.min


def _timestamp(text: str) -> Moment:
    match = _TS.fullmatch(text)
    if match is None:
        # What follows a whole day may be no time, but the day is one.
        match = re.match(r"(\d{4})(\d{2})(\d{2})", text, re.ASCII)
        day = real_day(*map(int, match.groups())) if match else None
        return (datetime.combine(day, time()), True, (NO_CLOCK,)) if day else _unknown(text)
    day = real_day(int(match[1]), int(match[2]), int(match[3]))
    if day is None:
        return _unknown(text)
    clock = match[4]
    if len(clock) <= 2:  # hours alone are no time of day to count with
        good = not clock or (len(clock) == 2 and int(clock) < 24)
        return datetime.combine(day, time()), True, () if good else (NO_CLOCK,)
    parts = ":".join(clock[i : i + 2] for i in range(0, len(clock), 2))
    offset = match[6] or ""
    offset += "00" if len(offset) == len("+01") else ""
    return with_clock(day, parts + (f".{match[5]}" if match[5] else "") + offset)


def _scp(data: bytes) -> Moment:
    tags = first_section_tags(data)
    day, clock = tags.get(25, b"")[:4], tags.get(26, b"")[:3]
    real = None
    if len(day) == 4:
        real = real_day(int.from_bytes(day[:2], "little"), day[2], day[3])
    if real is None:
        return None, False, (NO_DATE,) if any(day) else ()
    if not clock:
        return datetime.combine(real, time()), True, ()
    moment, date_only, doubts = with_clock(real, ":".join(f"{part:02d}" for part in clock))
    minutes = int.from_bytes(tags.get(34, b"\xff\x7f")[:2], "little", signed=True)
    if moment is not None and abs(minutes) <= _MOST_MINUTES:
        moment = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    return moment, date_only, doubts


def _edf(data: bytes) -> Moment:
    """Of the header, or of the recording field of EDF+, which has four digits of the year."""
    day, clock, recording = (
        data[start:end].decode("latin-1").strip("\0 ")
        for start, end in ((168, 176), (176, 184), (88, 168))
    )
    start = _EDF_START.match(recording)
    if (start is not None and start[1] == "X") or data[168:184] == b"01.01.8500.00.00":
        return None, False, ()
    headed, started = _edf_day(day), _edf_start(start[1]) if start else None
    if day == _EDF_UNKNOWN and start is not None:
        headed = None
    if headed and started and headed != started and started.year <= _EDF_LAST_YEAR:
        return None, False, (_TWO_DATES,)
    real = started or headed
    if real is None:
        return _unknown(day)
    if not clock:
        return datetime.combine(real, time()), True, ()
    match = _EDF_CLOCK.fullmatch(clock)
    return with_clock(real, ":".join(match.groups()) if match else clock)


def _edf_day(text: str) -> date | None:
    match = _EDF_DAY.fullmatch(text)
    if match is None:
        return None
    day, month, year = map(int, match.groups())
    return real_day(year + (1900 if year >= _EDF_FIRST_YEAR else 2000), month, day)


def _edf_start(text: str) -> date | None:
    if not re.fullmatch(r"\d{2}-[A-Za-z]{3}-\d{4}", text, re.ASCII):
        return None
    read = day_and_rest(text, "either")
    return read[0] if isinstance(read, tuple) else None


_READERS: Final[dict[str, Callable[[bytes], Moment]]] = {
    "philips-xml": _philips,
    "muse-xml": _muse,
    "hl7-aecg": _aecg,
    "scp-ecg": _scp,
    "edf": _edf,
}
