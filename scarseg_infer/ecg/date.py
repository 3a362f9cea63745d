"""Dates that people and devices write into ECG files, read only where they mean one day.

Every part must be there in full: two digits of day and month, four of the year. A parser that fills
in what is missing makes a day of ``202312``, which is a month.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Final, Literal

FIRST_REAL_YEAR: Final = 1901
"""1 January 1900 and earlier are what de-identification puts in place of a date."""

NO_DATE: Final = "The ECG's date is not a date: the time gap is unknown."
NO_CLOCK: Final = "The ECG's time of day is not a time: only its date is used."

Moment = tuple[datetime | None, bool, tuple[str, ...]]
"""Time at which an ECG was recorded, whether that is a date only, and warnings."""
Order = Literal["day first", "month first", "either"]
"""Meaning of 01/10/1990 where a text comes from."""

_UNKNOWN: Final = "when it was recorded is unknown"
_HOLDS_NONE: Final = (
    f"The comment in the ECG header that should hold its date holds none: {_UNKNOWN}."
)
AMBIGUOUS: Final = "day and month could be either way round"
# "# ECG date: 01/10/1990", but not "# Infarction date (acute): ..." or "# Date of birth: ...".
_DATE_COMMENT: Final = re.compile(
    r"#[#\s]*(?:(?:ecg|ekg|record(?:ing)?|acquisition|measurement|start|test|exam(?:ination)?)[\s_-]*)?"
    r"date(?:[\s_/-]*time)?(?:\s+of\s+(?:the\s+)?(?:ecg|ekg|recording|acquisition|measurement|test))?"
    r"\s*[:=]\s*(\S.*)",
    re.I,
)
_MONTHS: Final = [
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
]
_MONTH: Final = (
    "(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_START, _END = r"(?:^|(?<=\s))", r"(?=$|[\sT,]|Z$)"
_ISO: Final = re.compile(_START + r"(\d{4})([-/.]?)(\d{2})\2(\d{2})" + _END, re.ASCII)
_NUMBERS: Final = re.compile(_START + r"(\d{2})([-/.])(\d{2})\2(\d{4})" + _END, re.ASCII)
# A month by its name cannot be taken for a day: one digit of the day is enough.
_DAY_NAME: Final = re.compile(
    _START + rf"(\d{{1,2}})[-/.\s]?{_MONTH}[-/.,\s]{{0,2}}(\d{{4}})" + _END, re.ASCII | re.I
)
_NAME_DAY: Final = re.compile(
    _START + rf"{_MONTH}[-/.\s]?(\d{{1,2}})(?:,\s?|[-/.\s])(\d{{4}})" + _END, re.ASCII | re.I
)
_ZONE: Final = r"(Z|[+-]\d{2}:?\d{2})?"
_CLOCK: Final = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{0,9}))?)?\s?" + _ZONE, re.ASCII)


def comment_date(lines: Iterable[str]) -> Moment:
    """Recording time from the comments of a header.

    A date counts in ISO order (1990-10-29), with the month as a word (29-Oct-1990), or where only
    one order of day and month makes sense (29/10/1990, 10/29/1990) or both are the same
    (10/10/1990). 01/10/1990 is 1 October to most of the world and 10 January to the United States:
    unknown, and a warning says why.

    Args:
        lines: lines of the header; those that are not comments with a date are passed over.
    """
    found: list[Moment] = []
    for line in lines:
        match = _DATE_COMMENT.fullmatch(line.strip())
        if match is None or not re.search(r"\d", match[1]):  # "n/a", "unknown"
            continue
        read = day_and_rest(match[1], "either")
        if read is None:
            return None, False, (_HOLDS_NONE,)
        if read == "ambiguous":
            doubt = f"The ECG's date stands only in a comment of its header, and {AMBIGUOUS}"
            return None, False, (f"{doubt}: {_UNKNOWN}.",)
        found.append(with_clock(*read))
    if not found:
        return None, False, ()
    if len({moment for moment, _, _ in found}) > 1:
        doubt = f"The comments in the ECG header give several dates: {_UNKNOWN}."
        return None, False, (doubt,)
    return found[0]


def day_and_rest(text: str, order: Order) -> tuple[date, str] | Literal["ambiguous"] | None:
    """The day that a text names and what else stands there; None where it holds no day.

    Args:
        order: of day and month where both are numbers before the year.
    """
    for pattern, read in _READ:
        match = pattern.search(text)
        if match is None:
            continue
        days = read(match, order)
        if len(days) > 1:
            return "ambiguous"
        if not days:
            return None
        rest = " ".join(f"{text[: match.start()]} {text[match.end() :]}".split()).strip(" ,T")
        (day,) = days
        return None if _names_another(rest, day, order) else (day, rest)
    return None


def _names_another(rest: str, day: date, order: Order) -> bool:
    """True for what is left of "2024-05-06 to 2024-06-07": which of them is meant nobody knows."""
    for pattern, read in _READ:
        match = pattern.search(rest)
        if match is not None and read(match, order) - {day}:
            return True
    return False


def with_clock(day: date, text: str) -> Moment:
    """A day with its time of day, which may be none; one that is no time leaves the day.

    Midnight stands for no time: that is how files are de-identified, and some formats have no other
    way to give a date alone. The zone is kept where there is one.
    """
    if not text.strip():
        return datetime.combine(day, time()), True, ()
    match = _CLOCK.fullmatch(text.strip())
    try:
        if match is None:
            raise ValueError
        clock = time(
            int(match[1]),
            int(match[2]),
            int(match[3] or 0),
            int((match[4] or "")[:6].ljust(6, "0")),
        )
    except ValueError:
        return datetime.combine(day, time()), True, (NO_CLOCK,)
    return datetime.combine(day, clock, zone(match[5] or "")), clock == time(), ()


def zone(text: str) -> timezone | None:
    """The time zone of ``+0100``, ``+01:00`` or ``Z``; None where it is none."""
    if text == "Z":
        return UTC
    match = re.fullmatch(r"([+-])(\d{2}):?(\d{2})", text, re.ASCII)
    if match is None or int(match[2]) > 14 or int(match[3]) > 59:
        return None
    minutes = 60 * int(match[2]) + int(match[3])
    return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))


def real_day(year: int, month: int, day: int) -> date | None:
    """The day of these numbers; None where there is none, or one before any real recording."""
    try:
        return date(year, month, day) if year >= FIRST_REAL_YEAR else None
    except ValueError:
        return None


def _iso(match: re.Match[str], _: Order) -> set[date]:
    return _existing(real_day(int(match[1]), int(match[3]), int(match[4])))


def _numbers(match: re.Match[str], order: Order) -> set[date]:
    first, second, year = int(match[1]), int(match[3]), int(match[4])
    days = set()
    if order != "month first":
        days |= _existing(real_day(year, second, first))
    if order != "day first":
        days |= _existing(real_day(year, first, second))
    return days


def _day_name(match: re.Match[str], _: Order) -> set[date]:
    return _existing(real_day(int(match[3]), _month(match[2]), int(match[1])))


def _name_day(match: re.Match[str], _: Order) -> set[date]:
    return _existing(real_day(int(match[3]), _month(match[1]), int(match[2])))


def _month(name: str) -> int:
    return _MONTHS.index(name[:3].lower()) + 1


def _existing(day: date | None) -> set[date]:
    return set() if day is None else {day}


_READ: Final = (
    (_ISO, _iso), (_NUMBERS, _numbers), (_DAY_NAME, _day_name), (_NAME_DAY, _name_day),
)  # fmt: skip
