"""Scar by signal thresholds inside a given myocardium: the rules a reader knows.

Reported beside the network's scar as a cross-check, never instead of it: a rule cannot reject
blood that was caught in the mask. Definitions as compared in JCMR 2010;12(S1):O41: n-SD calls
signal above mean + n · SD of remote myocardium, n = 5 or 6 being usual (2 SD reads up to twice
as high); FWHM calls signal above half of the maximum of the enhanced region. On PSIR n-SD reads
lower than on magnitude images (PMC4855857), so the image type belongs beside the numbers.

One threshold for the whole study. Pixel values may have any scale and offset.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.quantify.components import connected_components

Mask = NDArray[np.bool_]
Pixels = NDArray[np.float32]

SECTORS = 24
"""Sectors of a slice, 15° each; the darkest half ring of them is remote."""
TOP_PERCENTILE = 99.5
"""Stands for the maximum of the wall, so that one hot pixel does not decide."""
HISTOGRAM_BINS = 256


def n_sd(pixels: Pixels, wall: Mask, n: float, remote: tuple[float, float] | None = None) -> Mask:
    """Scar [S, H, W] by signal above remote mean + n · SD.

    Args:
        pixels: [S, H, W] in any unit.
        wall: [S, H, W] myocardium, scar included.
        remote: :func:`remote_statistics`, where they are known already.
    """
    if not wall.any():
        return np.zeros_like(wall)
    mean, sd = remote or remote_statistics(pixels, wall)
    return with_dark_cores(wall & (pixels > mean + n * sd), wall)


def fwhm(
    pixels: Pixels, wall: Mask, share: float = 0.5, remote: tuple[float, float] | None = None
) -> Mask:
    """Scar by signal above half way (``share``) from remote to the brightest of the wall.

    This is the min–max form: half of the plain maximum means nothing on PSIR, whose zero is
    arbitrary. On a wall without scar the rule still calls the brighter half of the noise: it
    presumes that there is scar.
    """
    if not wall.any():
        return np.zeros_like(wall)
    mean, _ = remote or remote_statistics(pixels, wall)
    top = float(np.percentile(pixels[wall], TOP_PERCENTILE))
    return with_dark_cores(wall & (pixels > mean + share * (top - mean)), wall)


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


def remote_statistics(pixels: Pixels, wall: Mask) -> tuple[float, float]:
    """Mean and SD of remote myocardium, as of a region that a reader would draw."""
    values = pixels[remote_region(pixels, wall)].astype(np.float64)
    return float(values.mean()), float(values.std())


def remote_region(pixels: Pixels, wall: Mask) -> Mask:
    """Remote myocardium [S, H, W] without a reader: the darkest half ring of every slice.

    A coronary territory seldom takes more than half a ring, so what lies opposite is remote.
    Whole sectors and not the darkest pixels, which would be the darker half of the noise.
    """
    remote = np.zeros_like(wall)
    for index in range(len(wall)):
        rows, columns = np.nonzero(wall[index])
        if not rows.size:
            continue
        turn = np.arctan2(rows - rows.mean(), columns - columns.mean()) / (2 * np.pi) % 1.0
        sector = (turn * SECTORS).astype(np.intp) % SECTORS
        sums = np.bincount(sector, pixels[index, rows, columns].astype(np.float64), SECTORS)
        counts = np.bincount(sector, minlength=SECTORS)
        half = (np.arange(SECTORS)[:, None] + np.arange(SECTORS // 2)) % SECTORS
        with np.errstate(invalid="ignore"):
            means = sums[half].sum(axis=1) / counts[half].sum(axis=1)  # NaN without any wall
        kept = np.isin(sector, half[int(np.nanargmin(means))])
        remote[index, rows[kept], columns[kept]] = True
    return remote


def with_dark_cores(scar: Mask, wall: Mask) -> Mask:
    """Scar with what it encloses inside the wall of a slice: microvascular obstruction is
    dark and counts as infarct. A core that reaches cavity or fat is not enclosed."""
    dark = wall & ~scar
    rim = np.zeros_like(wall)
    rim[:, 1:] |= ~wall[:, :-1]
    rim[:, :-1] |= ~wall[:, 1:]
    rim[:, :, 1:] |= ~wall[:, :, :-1]
    rim[:, :, :-1] |= ~wall[:, :, 1:]
    # Empty slices in between keep the components of each slice apart.
    apart = np.zeros((2, 2 * len(wall), *wall.shape[1:]), np.bool_)
    apart[:, ::2] = dark, dark & rim
    parts = connected_components(apart[0])
    open_runs = np.searchsorted(parts.starts, np.flatnonzero(apart[1]), side="right") - 1
    enclosed = np.ones(parts.sizes.size, np.bool_)
    enclosed[parts.component[open_runs]] = False
    cores: Mask = parts.mask(enclosed)[::2]
    return scar | cores
