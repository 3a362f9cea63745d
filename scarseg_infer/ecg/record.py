"""Record that every ECG reader yields: named leads in millivolts, and when they were recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from numbers import Real
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.ecg.calibration import without_calibration
from scarseg_infer.ecg.lead_names import standard_leads
from scarseg_infer.host.plain_numbers import as_plain
from scarseg_runtime.contract import LEADS
from scarseg_runtime.errors import EcgError

MAX_ECG_BYTES: Final = 10 << 20
"""More than ten minutes of twelve leads at 500 Hz: not a resting ECG any more."""

MAX_RATE_HZ: Final = 100_000.0
"""Far beyond what resting ECGs are sampled at (design choice)."""
MAX_MV: Final = 1000.0
"""Electrodes drift by some 300 mV at most, and no amplifier of an ECG follows beyond a volt."""
MAX_DURATION_S: Final = 3600.0
"""A recording over hours is not a resting ECG."""
MAX_ANALYSED_S: Final = 300.0
"""Most that is filtered and resampled at once, which takes 3 s; more beats make no better mean."""

MAX_ENDS_S: Final = 2.0
"""Most at either end that is left out where not all leads have samples there."""

MV_PER_UNIT: Final = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "nv": 1e-6}
"""Factor to millivolts by unit in lower case; whatever is not here is no voltage."""

EcgSource = Literal[
    "array", "wfdb", "dicom", "philips-xml", "muse-xml", "hl7-aecg", "scp-ecg", "edf"
]


@dataclass(frozen=True, slots=True, eq=False)
class EcgRecord:
    """A resting ECG as it stands in its file: nothing filtered, derived or reordered.

    An array given is kept as it is, not copied: leave it alone while a run uses it.

    Attributes:
        signals_mv: [samples, leads] in mV, of any real type; NaN where the file marks a sample as
            invalid.
        rate_hz: samples a second, of all leads.
        lead_names: [leads] as the file calls them, whatever the case; extra (Frank) leads included.
            Readers of formats with coded leads give the standard name of each code.
        recorded: when the recording began, on the local clock, as the image's time. A time zone is
            used where both have one; a warning says so where only one has. None where the source
            does not say.
        date_only: True where the source gives a date but no time of day.
        source: format of the file; ``array`` where a host made it.
        warnings: sentences about what was odd in the source; the result repeats them.
        patient_id: the patient identifier in the file, for
            :func:`scarseg_infer.ecg.evidence.check_identity` alone: never shown, logged or written.
            None where the format or the file has none.
    """

    signals_mv: NDArray[np.floating[Any]]
    rate_hz: float
    lead_names: Sequence[str]
    recorded: datetime | None = None
    date_only: bool = False
    source: EcgSource = "array"
    warnings: tuple[str, ...] = ()
    patient_id: str | None = field(default=None, repr=False)


def checked(record: EcgRecord) -> EcgRecord:
    """A record that a reader or a host made, if its numbers can be those of an ECG; without the
    calibration pulse that some devices append.

    Raises:
        EcgError: no samples, a sampling rate or length beyond any resting ECG, a scale that
            makes samples of the twelve leads larger than ``MAX_MV`` or any infinite, or what are no
            numbers, names and time at all. Other channels, such as a trigger of 5 V, may be as
            large as they are.
    """
    signals = _described(record)
    record = replace(record, lead_names=standard_leads(record.lead_names))
    if not signals.size:
        raise EcgError("the ECG has no samples", "Export the ECG again")
    check_timing(len(signals), record.rate_hz)
    known = {lead.casefold() for lead in LEADS}
    named = [i for i, name in enumerate(record.lead_names) if name.strip().casefold() in known]
    used = signals[:, [i for i in named if i < signals.shape[1]]]
    # abs would fail on -32768 in int16
    if (used > MAX_MV).any() or (used < -MAX_MV).any() or np.isinf(signals).any():
        raise EcgError(
            f"the ECG's scale is not that of an ECG: it goes beyond {MAX_MV:g} mV",
            "Check the unit of the samples, or export the ECG again",
        )
    signals, doubts = without_calibration(signals, record.rate_hz, record.lead_names)
    return replace(record, signals_mv=signals, warnings=(*record.warnings, *doubts))


def check_timing(samples: int, rate_hz: float) -> None:
    """Refuse a rate or a length beyond any resting ECG, for readers before they decode."""
    if not 0.0 < rate_hz <= MAX_RATE_HZ:
        raise EcgError("the ECG's sampling rate is not that of an ECG", "Export the ECG again")
    if samples > MAX_DURATION_S * rate_hz:
        raise EcgError(
            f"the ECG is longer than {MAX_DURATION_S / 60:g} minutes",
            "Give a resting ECG: cut 10 s to some minutes out of a long recording",
        )


def _described(record: Any) -> NDArray[Any]:
    """The samples as an array. Raises EcgError where a host has put something else in a record."""
    signals = as_plain(record.signals_mv)
    if signals is None or signals.ndim != 2:
        raise EcgError("the ECG is not an array of numbers [samples, leads]", "Pass it in mV")
    if not isinstance(record.rate_hz, Real):
        raise EcgError("the ECG's sampling rate is not a number", "Pass it in Hz")
    if not all(isinstance(name, str) for name in record.lead_names):
        raise EcgError("the names of the ECG's leads are not texts", 'Pass them as "I", "V1"')
    if record.recorded is not None and not isinstance(record.recorded, datetime):
        raise EcgError("the time of the ECG is not a datetime", "Leave it out if unknown")
    return signals


def analysed(record: EcgRecord) -> EcgRecord:
    """The part of a record that is looked at, with a warning where it is not all of it."""
    record = _where_all_leads_are(record)
    count = int(MAX_ANALYSED_S * record.rate_hz)
    if len(record.signals_mv) <= count:
        return record
    warning = f"Only the first {MAX_ANALYSED_S / 60:g} minutes of the ECG were looked at."
    return replace(
        record, signals_mv=record.signals_mv[:count], warnings=(*record.warnings, warning)
    )


def _where_all_leads_are(record: EcgRecord) -> EcgRecord:
    """The record without its ends where one of the twelve leads has no samples: it began later or
    ended earlier than the others (WFDB's skew), or the file pads there."""
    known = {lead.casefold() for lead in LEADS}
    used = [i for i, name in enumerate(record.lead_names) if name.strip().casefold() in known]
    used = [i for i in used if i < record.signals_mv.shape[1]]
    whole = np.flatnonzero(np.isfinite(record.signals_mv[:, used]).all(axis=1))
    if not used or not whole.size:
        return record
    first, end, count = int(whole[0]), int(whole[-1]) + 1, len(record.signals_mv)
    if not 0 < max(first, count - end) <= MAX_ENDS_S * record.rate_hz:
        return record
    warning = "At an end of the ECG not all leads have samples: that part was not looked at."
    return replace(
        record, signals_mv=record.signals_mv[first:end], warnings=(*record.warnings, warning)
    )
