"""The 12-lead mean beat and the TAFF weight curve as SVG; colours come from the style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from scarseg_runtime.contract import BEAT_R_INDEX, BEAT_SAMPLES, ECG_RATE_HZ, LEADS
from scarseg_runtime.taff import weight

PAPER_MM_PER_S: Final = 25.0
PAPER_MM_PER_MV: Final = 10.0
"""Usual speed and gain of clinical ECG paper."""
_COLUMNS: Final = (LEADS[0:3], LEADS[3:6], LEADS[6:9], LEADS[9:12])
_COLUMN_MM: Final = 30.0
_PULSE_MM: Final = 10.0
_LABEL_MM: Final = 9.0
"""Room above a baseline for the name of the lead."""
_CLEAR_MM: Final = 2.0
_LEAST_MM: Final = 15.0
_WORDS_WIDTH: Final = 120
"""Of the words at the study's point on the TAFF curve, in units of its drawing."""


def ecg_svg(beat_mv: NDArray[np.float32], derived_leads: Sequence[str] = ()) -> str:
    """The mean beat on millimetre paper, in three rows of four leads.

    Args:
        beat_mv: [12, 512] mV at 500 Hz, leads in the order of ``contract.LEADS``, R aligned.
        derived_leads: leads that were computed from others; their names are marked.

    Raises:
        ValueError: another shape, or values that are not finite.
    """
    beat = np.asarray(beat_mv, dtype=np.float64)
    if beat.shape != (len(LEADS), BEAT_SAMPLES) or not np.isfinite(beat).all():
        raise ValueError(f"a mean beat is {len(LEADS)} × {BEAT_SAMPLES} finite values in mV")
    rows = [[LEADS.index(column[row]) for column in _COLUMNS] for row in range(3)]
    baselines, height = _baselines(beat, rows)
    width = _PULSE_MM + _COLUMN_MM * len(_COLUMNS)
    parts = [_grid(width, height)]
    for row, baseline in zip(rows, baselines, strict=True):
        # The calibration pulse: 1 mV for 0.2 s.
        parts.append(f'<path class="trace" d="M1 {baseline:g}h2v-10h5v10h1.6"/>')
        for column, lead in enumerate(row):
            left = _PULSE_MM + column * _COLUMN_MM
            mark = "*" if LEADS[lead] in derived_leads else ""
            parts.append(f'<path class="trace" d="{_trace(beat[lead], left, baseline)}"/>')
            place = f'x="{left + 1:g}" y="{baseline - 5:g}"'
            parts.append(f"<text {place}>{LEADS[lead]}{mark}</text>")
    r_ms = 1000 * BEAT_R_INDEX / ECG_RATE_HZ
    label = f"Mean beat of the 12 leads, 25 mm/s and 10 mm/mV, R peak {r_ms:.0f} ms after the start"
    return (
        f'<svg class="ecg" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}" '
        f'style="--print-width:{width:g}mm">{"".join(parts)}</svg>'
    )


def taff_svg(tau_days: float, gap_days: float | None, ecg_weight: float) -> str:
    """The curve w(Δt) = exp(−Δt / τ), and on it the weight that this study got.

    A study whose ECG was not used has its point at weight 0, or none where Δt is unknown.
    """
    known = gap_days is not None and math.isfinite(gap_days) and gap_days >= 0
    gap = float(gap_days) if known and gap_days is not None else None
    ticks = _ticks(max(3.0 * tau_days, 1.15 * (gap or 0.0)))
    last = ticks[-1]

    def place(days: float, w: float) -> tuple[float, float]:
        return 44 + 330 * days / last, 172 - 150 * w

    curve = "L".join(
        "{:.1f} {:.1f}".format(*place(days, weight(days, tau_days)))
        for days in np.linspace(0, last, 111)
    )
    parts = [f'<path class="curve" d="M{curve}"/>']
    for days in ticks:
        x, y = place(days, 0)
        parts.insert(0, f'<path class="rule" d="M{x:.1f} {y}V22"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{y + 16}">{days:g}</text>')
    for share in (0.0, 0.5, 1.0):
        x, y = place(0, share)
        parts.insert(0, f'<path class="rule" d="M{x} {y}H374"/>')
        parts.append(f'<text class="tick side" x="{x - 8}" y="{y + 4}">{share:g}</text>')
    x, y = place(tau_days, weight(tau_days, tau_days))
    parts.append(f'<path class="tau" d="M{x:.1f} {y:.1f}V172"/>')
    # Below the curve where there is room for the words, else beside it.
    spot = (
        f'note end" x="{x - 6:.1f}" y="165' if x > 140 else f'note" x="{x + 6:.1f}" y="{y - 4:.1f}'
    )
    parts.append(f'<text class="{spot}">τ = {tau_days:.0f} days</text>')
    parts.append('<text class="tick" x="209" y="206">days between ECG and MRI, Δt</text>')
    parts.append('<text class="tick" transform="translate(12 97) rotate(-90)">ECG weight</text>')
    words = f"Weight of the ECG by its age, time constant {tau_days:.0f} days"
    if gap is not None:
        x, y = place(gap, ecg_weight)
        # The curve falls: right above the point is room, on its left only above the curve.
        on_left = x > 250
        before = max(gap - _WORDS_WIDTH * last / 330, 0.0)
        height = place(0, weight(before if on_left else gap, tau_days))[1]
        text = f"{gap:.1f} days: {ecg_weight:.2f}"
        parts.append(
            f'<circle class="study" cx="{x:.1f}" cy="{y:.1f}" r="5.5"/>'
            f'<text class="study{" end" * on_left}" x="{x + (4 if on_left else 9):.1f}" '
            f'y="{max(min(height, y) - 9, 14):.1f}">{text}</text>'
        )
        words += f"; this study: {gap:.1f} days, weight {ecg_weight:.2f}"
    return (
        f'<svg class="taff" viewBox="0 0 390 212" role="img" aria-label="{words}">'
        f"{''.join(parts)}</svg>"
    )


def _ticks(least: float) -> list[float]:
    """Round numbers of days from 0 to at least ``least``, some five of them."""
    rough = max(least, 1e-3) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough)
    return [i * step for i in range(math.ceil(least / step - 1e-9) + 1)]


def _baselines(
    beat: NDArray[np.float64], rows: Sequence[Sequence[int]]
) -> tuple[list[float], float]:
    """Baseline of each row on whole millimetres, and the height of the paper.

    Rows stand as close as the traces above one another allow at each moment of the beat.
    """
    up, down = (_reach(sign * beat * PAPER_MM_PER_MV) for sign in (1.0, -1.0))
    up = np.maximum(up, _LABEL_MM)
    baselines = [math.ceil(_CLEAR_MM + max(PAPER_MM_PER_MV, float(up[list(rows[0])].max())))]
    for above, below in pairwise(rows):
        gap = float((down[list(above)] + up[list(below)]).max()) + _CLEAR_MM
        baselines.append(baselines[-1] + math.ceil(max(gap, _LEAST_MM)))
    lowest = max(b + float(down[list(r)].max()) for b, r in zip(baselines, rows, strict=True))
    return [float(b) for b in baselines], 5.0 * math.ceil((lowest + _CLEAR_MM) / 5)


def _reach(traces_mm: NDArray[np.float64], around: int = 24) -> NDArray[np.float64]:
    """[12, 512] highest point of each trace within so many samples."""
    padded = np.pad(traces_mm, ((0, 0), (around, around)), mode="edge")
    return np.asarray(sliding_window_view(padded, 2 * around + 1, axis=1).max(axis=2))


def _trace(lead_mv: NDArray[np.float64], left: float, baseline: float) -> str:
    x = left + np.arange(BEAT_SAMPLES) / ECG_RATE_HZ * PAPER_MM_PER_S
    y = baseline - PAPER_MM_PER_MV * lead_mv
    pairs: list[Any] = np.column_stack([x, y]).ravel().tolist()
    return ("M" + "L".join(["%.2f %.2f"] * BEAT_SAMPLES)) % tuple(pairs)


def _grid(width: float, height: float) -> str:
    thin = "".join(f"M{x} 0V{height:g}" for x in range(int(width) + 1) if x % 5)
    thin += "".join(f"M0 {y}H{width:g}" for y in range(int(height) + 1) if y % 5)
    thick = "".join(f"M{x} 0V{height:g}" for x in range(0, int(width) + 1, 5))
    thick += "".join(f"M0 {y}H{width:g}" for y in range(0, int(height) + 1, 5))
    return f'<path class="thin" d="{thin}"/><path class="thick" d="{thick}"/>'
