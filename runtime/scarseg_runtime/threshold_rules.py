"""Scar by signal thresholds inside a given myocardium: the rules a reader knows.

Reported beside the network's scar as a cross-check, never instead of it: a rule cannot reject
blood that was caught in the mask. n-SD, FWHM (full width at half maximum) and Otsu as compared
in JCMR 2010 12-S1-O41 and usual in the field. All work on one study at once; pixel values may
have any scale and offset.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Pixels = NDArray[np.float32]

TOP_PERCENTILE = 99.5
"""Stands for the maximum of the wall, so that one hot pixel does not decide."""
HISTOGRAM_BINS = 256


def remote_statistics(pixels: Pixels, wall: Mask) -> tuple[float, float]:
    """Mean and SD of remote myocardium, without a reader who draws it.

    Remote is taken to be the most common signal of the wall (half-sample mode), its SD that of
    the darker side mirrored: enhanced pixels lie on the brighter side only. Needs scar in less
    than half of the wall.
    """
    values = np.sort(pixels[wall].astype(np.float64))
    mode = _half_sample_mode(values)
    darker = values[values <= mode]
    return mode, float(np.sqrt(np.mean((darker - mode) ** 2)))


def n_sd(pixels: Pixels, wall: Mask, n: float) -> Mask:
    """Signal above remote mean + n · SD; n = 5 or 6 is usual."""
    if not wall.any():
        return np.zeros_like(wall)
    mean, sd = remote_statistics(pixels, wall)
    return np.logical_and(wall, pixels > mean + n * sd)


def fwhm(pixels: Pixels, wall: Mask) -> Mask:
    """Signal above half way from remote myocardium to the brightest of the wall.

    Half of the plain maximum means nothing on PSIR, whose zero is arbitrary. On a wall without
    scar the rule still finds the brightest half of the noise: it presumes scar.
    """
    if not wall.any():
        return np.zeros_like(wall)
    mean, _ = remote_statistics(pixels, wall)
    top = float(np.percentile(pixels[wall], TOP_PERCENTILE))
    return np.logical_and(wall, pixels > mean + 0.5 * (top - mean))


def otsu(pixels: Pixels, wall: Mask) -> Mask:
    """Signal above the threshold that separates the wall's histogram best (Otsu 1979)."""
    if not wall.any() or np.ptp(pixels[wall]) == 0:
        return np.zeros_like(wall)
    counts, edges = np.histogram(pixels[wall], HISTOGRAM_BINS)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts).astype(np.float64)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = sums / below - (sums[-1] - sums) / above
    between = np.nan_to_num(below * above * gap**2)
    return np.logical_and(wall, pixels > edges[int(between.argmax()) + 1])


def _half_sample_mode(values: NDArray[np.float64]) -> float:
    """Mode of sorted values: again and again the densest half, until two are left."""
    while len(values) > 2:
        half = (len(values) + 1) // 2
        widths = values[half - 1 :] - values[: len(values) - half + 1]
        start = int(widths.argmin())
        values = values[start : start + half]
    return float(values.mean())
