"""Finding the heart beats of twelve clean leads, aligning them, and telling the typical ones.

All signals here are 500 Hz and band-passed (:func:`scarseg_runtime.ecg.signal.bandpass_resample`),
with all twelve leads, so that nothing depends on which of them the recorder wrote.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.contract import BEAT_R_INDEX, BEAT_SAMPLES, ECG_RATE_HZ

MIN_CORRELATION: Final = 0.90
"""Beats that correlate less with the typical beat, over QRS and T of all leads, are left out.
Conducted beats of real records correlate at 0.99 and more (PTB, PTB-XL; the bar is our choice)."""

_QRS_BAND_HZ: Final = (8.0, 25.0)  # most of a QRS complex, little of P, T and muscle
_ENVELOPE_MS: Final = 100.0  # one bump for a QRS complex, however notched
_WINDOW_S: Final = 2  # holds a beat down to 30/min
_THRESHOLD: Final = 0.35  # of the highest envelope in a typical window
_REFRACTORY_MS: Final = 240.0  # 250/min
_T_WAVE_MS: Final = 360.0  # so soon after R, a bump of less than half its height is its T wave
_T_WAVE_RATIO: Final = 0.5  # (both from Pan and Tompkins 1985)
_CENTRE_MS: Final = 70.0  # half-width of the window whose centre of energy is R
_COMPARED_MS: Final = (-80.0, 300.0)  # QRS and T, relative to R
_QRS_MS: Final = (-80.0, 80.0)
_JITTER_MS: Final = 20.0  # how far cross-correlation may move a beat
_MARGIN: Final = 40  # samples kept either side of the window, so that shifts bring real signal


def find_qrs(signals_mv: NDArray[np.float64]) -> NDArray[np.intp]:
    """Samples of the QRS complexes in [n, 12], in order of time, each at its centre of energy.

    Peaks of the smoothed QRS-band energy over all leads: blind to polarity, to slow waves and
    to which lead is tall.
    """
    width = samples(_ENVELOPE_MS)
    kernel = np.hanning(width + 2)[1:-1]
    energy = _qrs_energy(signals_mv)
    envelope = np.sqrt(np.convolve(energy, kernel / kernel.sum(), mode="same"))
    window = int(_WINDOW_S * ECG_RATE_HZ)
    starts = range(0, max(envelope.size - window, 0) + 1, window // 4)
    typical = np.median([envelope[start : start + window].max() for start in starts])
    inner = envelope[1:-1]
    peaks = 1 + np.flatnonzero((inner >= envelope[:-2]) & (inner > envelope[2:]))
    peaks = peaks[envelope[peaks] > _THRESHOLD * typical]
    kept: list[int] = []
    for peak in peaks[np.argsort(-envelope[peaks], kind="stable")]:  # highest first
        lags = peak - np.array(kept, dtype=np.intp)
        low = envelope[peak] < _T_WAVE_RATIO * envelope[kept]
        is_t_wave = low & (lags > 0) & (lags < samples(_T_WAVE_MS))
        if not np.any(is_t_wave | (np.abs(lags) < samples(_REFRACTORY_MS))):
            kept.append(int(peak))
    return np.array([round(_centre(energy, peak)) for peak in sorted(kept)], dtype=np.intp)


def qrs_centre(signals_mv: NDArray[np.float64], near: float) -> float:
    """Place of R as a fractional sample: the centre of QRS energy of all leads.

    Does not depend on which lead is tallest nor on its sign. The window of ``_CENTRE_MS``
    either side moves until it is centred on the energy that it holds.

    Args:
        signals_mv: [n, 12].
        near: sample within about 50 ms of the QRS complex.
    """
    return _centre(_qrs_energy(signals_mv), near)


def lies_inside(peaks: NDArray[np.intp], count: int) -> NDArray[np.bool_]:
    """True for beats whose window, as :func:`aligned_beats` cuts it, lies in ``count`` samples."""
    starts = peaks - BEAT_R_INDEX - _MARGIN
    return (starts >= 0) & (starts + BEAT_SAMPLES + 2 * _MARGIN <= count)


def aligned_beats(
    signals_mv: NDArray[np.float64], peaks: NDArray[np.intp], early: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The beats aligned on their QRS, and which of them are typical.

    Typical is the largest set of beats that look alike, where early beats do not count: so a
    bigeminus yields the beat that the sinus node began, not the extrasystole and no mixture.

    Args:
        signals_mv: [n, 12].
        peaks: [b] samples of QRS complexes that lie inside, at least one.
        early: [b] which of them came before their time.

    Returns:
        [b, 12, 512 + margins] and [b].
    """
    length = BEAT_SAMPLES + 2 * _MARGIN
    beats = np.stack(
        [signals_mv[start : start + length].T for start in peaks - BEAT_R_INDEX - _MARGIN]
    )
    shape = _unit(beats, _COMPARED_MS)
    # Not by matrix product here and below: for so little work BLAS threads only wait.
    alike = np.einsum("bi,ci->bc", shape, shape)
    # The beat with most companions; among equals the one that resembles them best. Their mean
    # is a template with less noise than any single beat.
    companions = (alike > MIN_CORRELATION) @ (~early).astype(np.float64)
    typical = int(np.argmax(companions + alike.mean(axis=1) / 2))
    template = beats[alike[typical] > MIN_CORRELATION].mean(axis=0, keepdims=True)
    jitter = samples(_JITTER_MS)
    qrs = _unit(template, _QRS_MS)[0]
    match = [
        np.einsum("bi,i->b", _unit(beats, _QRS_MS, lag), qrs) for lag in range(-jitter, jitter + 1)
    ]
    inner = length - 2 * jitter
    moved = np.stack(
        [beat[:, i : i + inner] for beat, i in zip(beats, np.argmax(match, axis=0), strict=True)]
    )
    correlation = np.einsum("bi,i->b", _unit(moved, _COMPARED_MS), _unit(template, _COMPARED_MS)[0])
    return moved, correlation > MIN_CORRELATION


def centre_beat(beat_mv: NDArray[np.float64], near: float) -> NDArray[np.float64]:
    """The window [12, 512] of a beat [12, m] in which R lies exactly at ``BEAT_R_INDEX``.

    Args:
        beat_mv: [12, m], m > 512, with at least one window's length of it around R.
        near: sample within about 50 ms of R, at least ``BEAT_R_INDEX`` + 1 from the start.
    """
    shift = qrs_centre(beat_mv.T, near) - BEAT_R_INDEX
    whole = int(np.floor(shift))
    frequency = np.fft.rfftfreq(beat_mv.shape[1])
    phase = np.exp(2j * np.pi * frequency * (shift - whole))
    moved = np.fft.irfft(np.fft.rfft(beat_mv, axis=1) * phase, n=beat_mv.shape[1], axis=1)
    return np.asarray(moved[:, whole : whole + BEAT_SAMPLES])


def samples(milliseconds: float) -> int:
    """A duration in samples at 500 Hz."""
    return round(milliseconds * ECG_RATE_HZ / 1000.0)


def _qrs_energy(signals_mv: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n] energy in the QRS band, summed over the leads of [n, 12]."""
    count = signals_mv.shape[0]
    pad = int(ECG_RATE_HZ)
    length = -(-(count + 2 * pad) // pad) * pad  # a multiple of 500: quick to transform
    mirrored = np.pad(signals_mv.T, [(0, 0), (pad, length - count - pad)], mode="symmetric")
    frequency = np.fft.rfftfreq(length, d=1.0 / ECG_RATE_HZ)
    low, high = _QRS_BAND_HZ
    gain = frequency**4 / (frequency**4 + low**4) / (1.0 + (frequency / high) ** 4)
    banded = np.fft.irfft(np.fft.rfft(mirrored) * gain, n=length)[:, pad : pad + count]
    return np.asarray(np.einsum("ij,ij->j", banded, banded))


def _centre(energy: NDArray[np.float64], near: float) -> float:
    half = samples(_CENTRE_MS)
    for _ in range(20):  # settles within five
        first = max(int(near) - half - 1, 0)
        time = np.arange(first, min(first + 2 * half + 4, energy.size))
        # Fractional window edges keep the result a continuous function of the signal.
        weight = energy[time] * np.clip(half + 0.5 - np.abs(time - near), 0.0, 1.0)
        total = float(weight.sum())
        moved = float(weight @ time) / total if total > 0.0 else near
        if abs(moved - near) < 0.005:
            break
        near = moved
    return near


def _unit(
    beats: NDArray[np.float64], span_ms: tuple[float, float], lag: int = 0
) -> NDArray[np.float64]:
    """[b, -1] unit vectors of beats [b, 12, 512 + margins] over a span, without lead offsets.

    Every third sample will do: 167 Hz still carry the band twice over.
    """
    middle = BEAT_R_INDEX + (beats.shape[2] - BEAT_SAMPLES) // 2 + lag
    part = beats[:, :, middle + samples(span_ms[0]) : middle + samples(span_ms[1]) : 3]
    part = (part - part.mean(axis=2, keepdims=True)).reshape(beats.shape[0], -1)
    norm = np.linalg.norm(part, axis=1, keepdims=True)
    return np.asarray(part / np.maximum(norm, np.finfo(np.float64).tiny))
