"""Scar by signal thresholds inside a given myocardium: the rules a reader knows.

Reported beside the network's scar as a cross-check, never instead of it: a rule cannot reject
blood that was caught in the mask. Definitions as compared in JCMR 2010;12(S1):O41: n-SD calls
signal above mean + n · SD of remote myocardium, n = 5 or 6 being usual (2 SD reads up to twice
as high); FWHM calls signal above half of the maximum of the enhanced region. On PSIR n-SD reads
lower than on magnitude images (PMC4855857), so the image type belongs beside the numbers.

One threshold for the whole study. Pixel values may have any scale and offset. FWHM differs here
from Flett et al., JACC Cardiovasc Imaging 2011;4:150, who take half of the plain maximum of the
scar: the zero of PSIR is arbitrary, so half is counted from remote myocardium up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.quantify.components import with_dark_cores
from scarseg_runtime.quantify.remote import interior, remote_region, remote_statistics

Mask = NDArray[np.bool_]
Pixels = NDArray[np.float32]

TOP_PERCENTILE = 99.5
"""Stands for the maximum of the wall, so that one hot pixel does not decide."""
LEAST_INSIDE = 0.1
"""Share of the scar that must lie inside the borders of the wall to stand for all of it."""
HISTOGRAM_BINS = 256


def n_sd(
    pixels: Pixels,
    wall: Mask,
    n: float,
    remote: tuple[float, float] | None = None,
    healthy: Mask | None = None,
) -> Mask:
    """Scar [S, H, W] by signal above remote mean + n · SD; none where there is no remote wall.

    Args:
        pixels: [S, H, W] in any unit.
        wall: [S, H, W] myocardium, scar included.
        remote: :func:`remote_statistics`, where they are known already.
        healthy: :func:`remote_region`, likewise: it is never taken for a dark core.
    """
    found = remote or remote_statistics(pixels, wall)
    if found is None:
        return np.zeros_like(wall)
    return _with_cores(wall & (pixels > found[0] + n * found[1]), pixels, wall, healthy)


def fwhm(
    pixels: Pixels,
    wall: Mask,
    share: float = 0.5,
    remote: tuple[float, float] | None = None,
    scar: Mask | None = None,
    healthy: Mask | None = None,
) -> Mask:
    """Scar by signal above half way (``share``) from remote to the brightest of the scar.

    This is the min–max form: half of the plain maximum means nothing on PSIR, whose zero is
    arbitrary. On a wall without scar the rule still calls the brighter half of the noise: it
    presumes that there is scar.

    Args:
        scar: where the enhanced region lies, whose brightest counts; without it that of the wall,
            which is no scar at all where the scar is tiny.
    """
    found = remote or remote_statistics(pixels, wall)
    if found is None:
        return np.zeros_like(wall)
    bright = wall & (pixels > fwhm_level(pixels, wall, share, found[0], scar))
    return _with_cores(bright, pixels, wall, healthy)


def fwhm_level(
    pixels: Pixels, wall: Mask, share: float, remote_mean: float, scar: Mask | None = None
) -> float:
    """Signal at ``share`` of the way from remote to the brightest of the scar, or of the wall.

    Pixels of the scar at the borders of the wall are left out where others are left: half of them
    is blood or fat, which may be brighter than the scar.
    """
    region = wall
    if scar is not None:
        inside = scar & interior(wall)
        region = inside if inside.sum() >= LEAST_INSIDE * scar.sum() else scar
    top = float(np.percentile(pixels[region], TOP_PERCENTILE))
    return remote_mean + share * (top - remote_mean)


def _with_cores(bright: Mask, pixels: Pixels, wall: Mask, healthy: Mask | None) -> Mask:
    return with_dark_cores(
        bright, wall, remote_region(pixels, wall) if healthy is None else healthy
    )


def otsu(pixels: Pixels, wall: Mask) -> Mask:
    """Scar by the threshold that parts the wall's histogram best (Otsu 1979).

    Like FWHM it presumes scar: it always parts the wall in two.
    """
    if not wall.any() or np.ptp(pixels[wall]) == 0:
        return np.zeros_like(wall)
    return with_dark_cores(wall & (pixels > otsu_threshold(pixels[wall])), wall)


def otsu_threshold(values: Pixels) -> float:
    """Edge of the histogram's bins with the largest variance between both sides of it."""
    counts, edges = np.histogram(values.astype(np.float64), HISTOGRAM_BINS)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts).astype(np.float64)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = sums / below - (sums[-1] - sums) / above
    between = np.nan_to_num(below * above * gap**2)
    return float(edges[int(between.argmax()) + 1])
