"""Twelve clean leads from what a recorder wrote: names, derivation, checks, filter.

Everything here works on whole records, before any beat is known; beats are found and averaged
in :mod:`scarseg_runtime.preprocess`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scarseg_runtime.contract import ECG_RATE_HZ, LEADS
from scarseg_runtime.errors import EcgError

BAND_HZ: Final = (0.5, 40.0)
"""Half-amplitude (-6 dB) corners of the zero-phase band-pass.

0.5 Hz without phase shift leaves the ST level alone (a one-way filter would need 0.05 Hz);
40 Hz is the usual monitor limit, below mains hum and most muscle noise (design choice).
"""

BAND_ORDERS: Final = (2, 4)
"""Orders of the Butterworth high- and low-pass whose squared magnitude is the gain.

This is what a forward-backward pass of those filters gives. Higher orders would ring visibly
around the QRS complex.
"""

_PAD_S: Final = 4.0
"""Mirrored padding at either end: nine time constants of the high-pass."""

MIN_RATE_HZ: Final = 100.0
"""Lowest sampling rate accepted: the slowest in common use, and it still carries the band."""
MIN_DURATION_S: Final = 5.0
"""Shortest record accepted: it holds three whole beats down to about 50/min."""
MAX_STILL_S: Final = 2.0
"""A lead may repeat one value this long; a lead that was off, or a strip of another format
(2.5 s a lead, zeros elsewhere), repeats it longer. Asystole aside, no heart does."""
MIN_SPAN_MV: Final = 0.05
"""Least peak-to-peak of a filtered lead: half a millimetre on paper, below any living lead."""
MAX_SPAN_MV: Final = 40.0
"""Largest peak-to-peak of a filtered lead; beyond it the unit must be wrong."""

RAIL_MS: Final = 10.0
"""A lead that stays this long at its very extreme, and leaves it steeply, has been clipped."""
RAIL_STEP: Final = 0.10
"""Steep: this fraction of the lead's range within ``RAIL_MS``. A round T wave moves by half
of that beside its peak, a clipped QRS by several times as much."""
MAX_RAIL_VISITS: Final = 2
"""Clipped moments tolerated: a movement spoils a beat or two, which averaging leaves out."""

LIMB_WARN: Final = 0.05
LIMB_REFUSE: Final = 0.15
"""RMS of what Einthoven's and Goldberger's laws leave unexplained, relative to the RMS of the
limb leads. Real records reach 0.0005 (PTB) and 0.0035 (PTB-XL, 100 Hz); any exchange or
inversion among their six limb leads gives 0.24 or more."""

_LIMB: Final = np.array([[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]])
"""Each limb lead (rows: I, II, III, aVR, aVL, aVF) as a sum of I and II (columns)."""


def pick_leads(
    signals_mv: NDArray[np.float64], lead_names: Sequence[str]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Those of the twelve leads that are there, in the order of ``contract.LEADS``.

    Names match whatever their case; other leads (Frank, rhythm strips) are left out.

    Args:
        signals_mv: [n, k].
        lead_names: k names.

    Raises:
        EcgError: fewer than two limb leads, a chest lead missing, or a lead given twice.
    """
    column: dict[str, int] = {}
    standard = {lead.casefold(): lead for lead in LEADS}
    for index, name in enumerate(lead_names):
        lead = standard.get(name.strip().casefold())
        if lead in column:
            raise EcgError(f"the ECG has two leads named {lead}", "Export the ECG again")
        if lead is not None:
            column[lead] = index
    present = tuple(lead for lead in LEADS if lead in column)
    limb = [lead for lead in LEADS[:6] if lead in column]
    missing = [lead for lead in LEADS[6:] if lead not in column]
    if len(limb) < 2:
        missing = [lead for lead in LEADS[:6] if lead not in column] + missing
    if missing:
        raise EcgError(
            f"the ECG lacks {', '.join(missing)}: it has {len(present)} of the 12 leads",
            "Use a 12-lead ECG; two limb leads and V1 to V6 are enough",
        )
    return signals_mv[:, [column[lead] for lead in present]], present


def complete_leads(
    signals_mv: NDArray[np.float64], present: Sequence[str]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """All twelve leads [n, 12], missing limb leads derived, and the names of those derived.

    Any two limb leads determine the rest (III = II - I, aVR = -(I + II)/2, aVL = I - II/2,
    aVF = II - I/2); with more than two, I and II are their least-squares fit. Leads that are
    there stay as they are.

    Args:
        signals_mv: [n, k] as returned by :func:`pick_leads`.
        present: k names, likewise.
    """
    limb = [LEADS.index(lead) for lead in present[:-6]]
    full = np.empty((signals_mv.shape[0], len(LEADS)))
    full[:, 6:] = signals_mv[:, -6:]
    full[:, :6] = signals_mv[:, :-6] @ (_LIMB @ np.linalg.pinv(_LIMB[limb])).T
    full[:, limb] = signals_mv[:, :-6]
    return full, tuple(lead for lead in LEADS[:6] if lead not in present)


def check_limb_leads(signals_mv: NDArray[np.float64], present: Sequence[str]) -> tuple[str, ...]:
    """Do the limb leads obey Einthoven's and Goldberger's laws? Returns warnings.

    What this cannot see: anything with two limb leads only, an exchange of I and III when no
    augmented lead is there, and exchanged *electrodes* (the laws hold for any placement).

    Args:
        signals_mv: [n, k] as returned by :func:`pick_leads`, band-passed, so that offsets of
            single amplifiers do not count.
        present: k names, likewise.

    Raises:
        EcgError: the violation is gross (``LIMB_REFUSE``): leads are exchanged or mislabelled.
    """
    limb = _LIMB[[LEADS.index(lead) for lead in present[:-6]]]
    values = signals_mv[:, :-6]
    unexplained = values - values @ (limb @ np.linalg.pinv(limb)).T
    ratio = float(np.sqrt(np.mean(unexplained**2) / np.mean(values**2)))
    if not ratio <= LIMB_REFUSE:
        raise EcgError(
            f"the limb leads of the ECG contradict each other (by {ratio:.0%}; Einthoven's law)",
            "Leads are exchanged or mislabelled: correct the export or record the ECG again",
        )
    if ratio > LIMB_WARN:
        return (f"The limb leads agree only within {ratio:.0%} (Einthoven's law).",)
    return ()


def check_recording(signals_mv: NDArray[np.float64], rate_hz: float, leads: Sequence[str]) -> None:
    """Refuse records that no filter can rescue, before filtering.

    Args:
        signals_mv: [n, k] as recorded.
        leads: k names for the message.

    Raises:
        EcgError: sampled too slowly, too short, invalid samples, constant or clipped leads.
    """
    if not (np.isfinite(rate_hz) and rate_hz >= MIN_RATE_HZ):
        raise EcgError(
            f"the ECG is sampled at {rate_hz:g} Hz", f"At least {MIN_RATE_HZ:g} Hz are needed"
        )
    duration_s = signals_mv.shape[0] / rate_hz
    if duration_s < MIN_DURATION_S:
        raise EcgError(
            f"the ECG is only {duration_s:.1f} s long",
            f"At least {MIN_DURATION_S:g} s are needed, 10 s are usual",
        )
    for lead, values in zip(leads, signals_mv.T, strict=True):
        invalid = int(np.count_nonzero(~np.isfinite(values)))
        if invalid:
            raise EcgError(f"lead {lead} of the ECG has {invalid} invalid samples", _AGAIN)
        still_s = longest_still(values) / rate_hz
        if still_s > MAX_STILL_S:
            raise EcgError(f"lead {lead} of the ECG is flat for {still_s:.1f} s", _AGAIN)
        visits = clipped_places(values, rate_hz)
        if visits > MAX_RAIL_VISITS:
            raise EcgError(f"lead {lead} of the ECG is clipped in {visits} places", _AGAIN)


def check_amplitude(filtered_mv: NDArray[np.float64], leads: Sequence[str]) -> None:
    """Refuse leads [n, k] whose band-passed amplitude is not that of an ECG. Raises EcgError."""
    for lead, span_mv in zip(leads, np.ptp(filtered_mv, axis=0), strict=True):
        if span_mv < MIN_SPAN_MV:
            raise EcgError(
                f"lead {lead} of the ECG is flat ({1000 * span_mv:.0f} µV peak to peak)", _AGAIN
            )
        if not span_mv <= MAX_SPAN_MV:  # so that no number, too, is refused
            raise EcgError(
                f"lead {lead} of the ECG spans {span_mv:.4g} mV",
                "Check the unit of the samples, and the recording for artefacts",
            )


_AGAIN: Final = "Export the ECG again, or record it again with good contact on that electrode"


def _runs(values: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Start and length of every run of equal values in [n]."""
    starts = np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1]))[: values.size])
    return starts, np.diff(np.append(starts, values.size))


def longest_still(values: NDArray[np.float64]) -> int:
    """Samples of the longest run of one value in [n]; invalid samples end a run."""
    return int(_runs(values)[1].max(initial=0))


def clipped_places(values: NDArray[np.float64], rate_hz: float) -> int:
    """Count how often [n] stays at its maximum or minimum for ``RAIL_MS`` and leaves it steeply."""
    if not values.size:
        return 0
    starts, lengths = _runs(values)
    stride = int(np.ceil(RAIL_MS / 1000.0 * rate_hz))
    low, high = values.min(), values.max()
    at_rail = (values[starts] == low) | (values[starts] == high)
    long = at_rail & (lengths >= max(3, stride))
    before = values[np.maximum(starts[long] - stride, 0)]
    after = values[np.minimum(starts[long] + lengths[long] - 1 + stride, values.size - 1)]
    step = np.maximum(np.abs(before - values[starts[long]]), np.abs(after - values[starts[long]]))
    return int(np.count_nonzero(step > RAIL_STEP * (high - low)))


def bandpass_resample(signals: ArrayLike, rate_hz: float) -> NDArray[np.float64]:
    """Band-pass to :data:`BAND_HZ` without phase shift, and resample to 500 Hz.

    Both happen in the frequency domain on the signal mirrored at its ends, so the result does
    not depend on the sampling rate of the source as long as that rate carries the band.

    Args:
        signals: [n, k] or [n], finite, any unit; axis 0 is time.
        rate_hz: sampling rate of ``signals``.

    Returns:
        [m, k] (or [m]) at 500 Hz in the same unit; sample j lies at j/500 s, the first sample
        of the source at 0 s, and no sample lies beyond the last one of the source.
    """
    values = np.asarray(signals, dtype=np.float64)
    count = values.shape[0]
    before = int(np.ceil(_PAD_S * rate_hz))
    length, resampled = _commensurate_lengths(count + 2 * before, rate_hz)
    pad = [(before, length - count - before)] + [(0, 0)] * (values.ndim - 1)
    spectrum = np.fft.rfft(np.pad(values, pad, mode="reflect"), axis=0)
    spectrum = spectrum[: resampled // 2 + 1]
    cycles = np.arange(spectrum.shape[0]) / length
    # The phase brings the first source sample back to index 0, which need not be a whole
    # number of 500 Hz samples away.
    gain = band_gain(cycles * rate_hz) * np.exp(2j * np.pi * cycles * before)
    spectrum *= gain.reshape(-1, *[1] * (values.ndim - 1))
    scale = resampled / length
    filtered = np.fft.irfft(spectrum, n=resampled, axis=0) * scale
    return np.asarray(filtered[: int((count - 1) * scale + 1e-6) + 1])


def band_gain(frequency_hz: ArrayLike) -> NDArray[np.float64]:
    """Gain of the band-pass at each frequency: 0 at 0 Hz, 0.5 at either corner."""
    f = np.asarray(frequency_hz, dtype=np.float64)
    high = f ** (2 * BAND_ORDERS[0])
    high = high / (high + BAND_HZ[0] ** (2 * BAND_ORDERS[0]))
    return np.asarray(high / (1.0 + (f / BAND_HZ[1]) ** (2 * BAND_ORDERS[1])))


def _commensurate_lengths(least: int, rate_hz: float) -> tuple[int, int]:
    """Padded length (at least ``least``) and its length at 500 Hz that agree in duration.

    Whole-numbered rates have an exact pair within one second; for others the mismatch left
    is a small fraction of a sample over the whole record.
    """
    lengths = np.arange(least, least + int(np.ceil(rate_hz)) + 1)
    exact = lengths * (ECG_RATE_HZ / rate_hz)
    mismatch = np.round(np.abs(exact - np.round(exact)), 6)
    best = int(np.argmin(mismatch))
    return int(lengths[best]), round(float(exact[best]))
