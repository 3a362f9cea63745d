"""The time gap: dates before what the caller says, and nothing invented."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scarseg_infer.ecg.gap import Gap, gap_between
from scarseg_infer.ecg.record import EcgRecord

MRI = datetime(2020, 3, 1, 12, 0)
BEFORE = MRI - timedelta(hours=1)


def ecg(recorded: datetime | None, date_only: bool = False) -> EcgRecord:
    return EcgRecord(np.zeros((2, 1)), 500.0, ("I",), recorded, date_only)


def test_time_stamps_give_fractions_of_days() -> None:
    gap = gap_between(MRI, ecg(datetime(2020, 2, 28, 18, 0)), None)  # over a leap day
    assert gap == Gap(1.75, "timestamps")


@pytest.mark.parametrize("who", ["MRI", "ECG"])
def test_one_date_that_may_stand_for_a_year_is_told(who: str) -> None:
    """An anonymiser has changed one of the two: the gap is the wrong one."""
    year = datetime(2020, 1, 1, 9, 30)
    mri, recorded = (year, MRI) if who == "MRI" else (MRI, year)
    gap = gap_between(mri, ecg(recorded), None)
    (warning,) = gap.warnings
    assert warning.startswith(f"The {who} bears 1 January")
    assert gap.days == pytest.approx(60, abs=1)


def test_an_ecg_after_the_mri_has_the_same_gap_and_is_marked() -> None:
    gap = gap_between(MRI, ecg(datetime(2020, 3, 4, 12, 0)), None)
    assert gap == Gap(3.0, "timestamps", ecg_after_mri=True)


@given(st.datetimes(datetime(1980, 1, 1), datetime(2040, 1, 1)), st.integers(-9999, 9999))
def test_a_date_without_time_counts_calendar_days(mri: datetime, days: int) -> None:
    assume(days or (mri.month, mri.day) != (1, 1))
    day = datetime.combine(mri.date() - timedelta(days), datetime.min.time())
    gap = gap_between(mri, ecg(day, date_only=True), None)
    assert (gap.days, gap.source) == (abs(days), "dates")
    assert gap.ecg_after_mri == (days < 0)


@pytest.mark.parametrize("mri", [None, MRI])
@pytest.mark.parametrize("record", [None, ecg(None), ecg(BEFORE)])
def test_without_both_dates_what_is_given_counts_else_nothing_does(
    mri: datetime | None, record: EcgRecord | None
) -> None:
    if mri is not None and record is not None and record.recorded is not None:
        assert gap_between(mri, record, None).source == "timestamps"
        return
    assert gap_between(mri, record, None) == Gap(None, "unknown")
    assert gap_between(mri, record, 3.0) == Gap(3.0, "given")


@pytest.mark.parametrize("given_days", [-1.0, math.nan, math.inf])
def test_an_odd_given_gap_passes_through_for_the_policy_to_judge(given_days: float) -> None:
    gap = gap_between(None, None, given_days)
    assert gap.source == "given"
    assert gap.days is given_days


@pytest.mark.parametrize(
    ("given_days", "warns"),
    [(10.0, False), (9.0, False), (11.0, False), (11.1, True), (-10.0, True), (math.nan, True)],
)
def test_dates_win_against_a_given_gap_and_a_contradiction_is_said(
    given_days: float, warns: bool
) -> None:
    gap = gap_between(MRI, ecg(MRI - timedelta(days=10)), given_days)
    assert (gap.days, gap.source) == (10.0, "timestamps")
    assert (len(gap.warnings) == 1) == warns


@pytest.mark.parametrize("date_only", [False, True])
def test_a_time_zone_on_one_side_is_dropped_and_said(date_only: bool) -> None:
    zoned = MRI.replace(tzinfo=timezone(timedelta(hours=2)))
    for mri, recorded in ((zoned, BEFORE), (MRI, zoned - timedelta(hours=1))):
        gap = gap_between(mri, ecg(recorded, date_only), 10.0)
        assert gap.days == pytest.approx(0.0 if date_only else 1 / 24)
        zone, contradiction = gap.warnings
        assert "has a time zone" in zone and "contradicts" in contradiction


def test_time_zones_on_both_sides_or_none_are_no_reason_to_warn() -> None:
    zoned = MRI.replace(tzinfo=timezone(timedelta(hours=2)))
    before = zoned - timedelta(hours=1)
    assert gap_between(zoned, ecg(before), None) == gap_between(MRI, ecg(BEFORE), None)
    assert gap_between(MRI, ecg(BEFORE), None).warnings == ()


@pytest.mark.parametrize("given_days", [None, 12.0])
def test_one_moment_in_both_is_no_gap_of_zero(given_days: float | None) -> None:
    """Anonymisers put one date and time in place of all: a foreign ECG had its full weight."""
    gap = gap_between(MRI, ecg(MRI), given_days)
    assert (gap.days, gap.source) == (given_days, "unknown" if given_days is None else "given")
    assert "the very same date and time" in gap.warnings[0]
    # One day is what a patient may well have; so is one minute.
    assert gap_between(MRI, ecg(MRI, date_only=True), None).source == "dates"
    assert gap_between(MRI, ecg(MRI - timedelta(seconds=1)), None).source == "timestamps"


@pytest.mark.parametrize(
    "recorded",
    [
        datetime(1970, 1, 2, 3, 4), datetime(1969, 12, 31, 23), datetime(2563, 2, 28, 12),
        datetime(2106, 2, 7, 6, 28),
    ],
)  # fmt: skip
def test_a_gap_that_no_two_recordings_have_is_told(recorded: datetime) -> None:
    """A dead clock, the end of one, the Buddhist calendar."""
    gap = gap_between(MRI, ecg(recorded), None)
    assert gap.days is not None and gap.days > 15_000
    assert "hardly a real one" in gap.warnings[0]
    assert not gap_between(MRI, ecg(MRI - timedelta(days=14_000)), None).warnings


def test_instants_are_compared_where_both_clocks_have_a_zone() -> None:
    """An ECG of 12:30 in Berlin was recorded before an MRI of 12:00 in London."""
    mri = MRI.replace(tzinfo=UTC)
    recorded = (MRI + timedelta(minutes=30)).replace(tzinfo=timezone(timedelta(hours=1)))
    gap = gap_between(mri, ecg(recorded), None)
    assert gap == Gap(1.0 / 48, "timestamps")


@pytest.mark.parametrize("year", [1970, 2000, 2024])
@pytest.mark.parametrize("given_days", [None, 12.0])
def test_one_first_of_january_in_both_is_no_gap_of_zero(
    year: int, given_days: float | None
) -> None:
    """Anonymisers put one date in place of all: an ECG of any age had its full weight."""
    new_year = datetime(year, 1, 1, 14, 30)
    gap = gap_between(new_year, ecg(datetime(year, 1, 1), date_only=True), given_days)
    assert (gap.days, gap.source) == (given_days, "unknown" if given_days is None else "given")
    assert "1 January" in gap.warnings[0]
    assert gap_between(new_year, ecg(datetime(year - 1, 12, 30), True), None).days == 2.0
