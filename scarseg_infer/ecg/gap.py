"""Time between MRI and ECG, and how it is known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scarseg_infer.ecg.record import EcgRecord
from scarseg_infer.result import GapSource

MOST_YEARS: Final = 40
"""Between an LGE image and an ECG in a file: there were hardly any before (design choice)."""
AGREEMENT_DAYS: Final = 1.0
"""A given gap may differ from the dates by this much (rounding to whole days) unremarked."""

_SECONDS_PER_DAY: Final = 86400.0
_DAYS_PER_YEAR: Final = 365.25
_PLACEHOLDERS: Final = (
    "MRI and ECG bear the same 1 January, as anonymisers write it in place of dates: these do not "
    "count for the time gap."
)
_ONE_MOMENT: Final = (
    "MRI and ECG bear the very same date and time, which no two recordings have: these do not "
    "count for the time gap."
)
_AGES_APART: Final = (
    "The dates of MRI and ECG lie {:.0f} years apart: one of them is hardly a real one (the clock "
    "of a device, another calendar, an anonymiser)."
)
_YEAR_ALONE: Final = (
    "The {} bears 1 January, as anonymisers write it in place of a date: check the time gap, or "
    "give it (gap_days, --gap-days) and leave the date out."
)


@dataclass(frozen=True, slots=True)
class Gap:
    """Time between ECG and MRI."""

    days: float | None
    """Absolute difference where it comes from dates; as given, however odd, where it was given
    (the gap policy of the runtime turns a negative or non-finite gap into weight 0); None
    where unknown."""
    source: GapSource
    warnings: tuple[str, ...] = ()
    ecg_after_mri: bool = False
    """True where both dates are known and the ECG is the later one."""


def gap_between(
    mri: datetime | None,
    ecg: EcgRecord | None,
    given_days: float | None,
    *,
    mri_date_only: bool = False,
) -> Gap:
    """The gap from both dates when both are known, else the given one, else unknown.

    Where both have a time zone, instants are compared. Else clocks are compared as they stand: WFDB
    has no time zone, and both devices usually stand in one hospital; a warning says so where only
    one of the two has one. Where either has no time of day whole calendar days are counted. One 1
    January in both is no date: anonymisers put it in place of every date, and a gap of zero would
    give a foreign or old ECG its full weight. In one of the two it may be a date, and is warned of.
    So it is with one moment, to the second, in both.

    Args:
        mri: when the image was taken; ``mri_date_only`` where its time of day is not known.
        ecg: the ECG, or None without one.
        given_days: what the caller says; loses, with a warning, against dates that differ from
            it by more than ``AGREEMENT_DAYS``.
    """
    if mri is None or ecg is None or ecg.recorded is None:
        return Gap(given_days, "unknown" if given_days is None else "given")
    image = mri.replace(tzinfo=None)
    recorded = ecg.recorded.replace(tzinfo=None)
    date_only = ecg.date_only or mri_date_only
    placeholders = image.date() == recorded.date() and (image.month, image.day) == (1, 1)
    if placeholders or (image == recorded and not date_only):
        known: GapSource = "unknown" if given_days is None else "given"
        return Gap(given_days, known, (_PLACEHOLDERS if placeholders else _ONE_MOMENT,))
    source: GapSource = "dates" if date_only else "timestamps"
    if date_only:
        signed_days = float((image.date() - recorded.date()).days)
    else:
        if mri.utcoffset() is not None and ecg.recorded.utcoffset() is not None:
            apart = mri - ecg.recorded
        else:
            apart = image - recorded
        signed_days = apart.total_seconds() / _SECONDS_PER_DAY
    days = abs(signed_days)
    bearers = [
        who for who, day in (("MRI", image), ("ECG", recorded)) if (day.month, day.day) == (1, 1)
    ]
    warnings: tuple[str, ...] = tuple(_YEAR_ALONE.format(who) for who in bearers)
    if days > MOST_YEARS * _DAYS_PER_YEAR:
        warnings += (_AGES_APART.format(days / _DAYS_PER_YEAR),)
    if (mri.tzinfo is None) != (ecg.recorded.tzinfo is None):
        warnings += (
            "Only one of the times of MRI and ECG has a time zone. Both were taken for clocks of "
            "one place: the time gap may be wrong by some hours.",
        )
    if given_days is not None and not abs(days - given_days) <= AGREEMENT_DAYS:
        warnings += (
            f"The given gap of {given_days:g} days contradicts the dates of MRI and ECG, which "
            f"lie {days:.1f} days apart: the dates are used.",
        )
    return Gap(days, source, warnings, ecg_after_mri=signed_days < 0.0)
