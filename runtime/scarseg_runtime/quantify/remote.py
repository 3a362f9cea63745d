"""Remote myocardium without a reader: where the wall is healthy, and its signal.

No half ring is taken on trust: an apical slice may be scarred all round, and every ring over
half. The darkest short arcs of the stack say how bright healthy wall is; then every sector of every
slice that is about as dark belongs to it. Pixels at the borders of the wall hold blood, fat or air
as well and are left out, as is what is known to be scar and what touches it. Where healthy and
scarred wall share every sector (an inner layer all round, patches), the darker of two clearly
different kinds of pixels is the healthy one.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Pixels = NDArray[np.float32]

SECTORS: Final = 24
"""Sectors of a slice, 15° each."""
ARC: Final = 3
"""Sectors of the arc that must be healthy in a slice if it has remote wall at all: 45°."""
MIN_ARC_PIXELS: Final = 6
MIN_INTERIOR: Final = 0.1
"""Share of the wall that lies inside its borders; of a thinner wall all pixels are taken."""
REFERENCE_PERCENTILE: Final = 25.0
"""Of the darkest arcs of all slices: three quarters of the slices may be scarred all round, and a
single slice that is too dark does not decide."""
UNEVEN: Final = 0.2
"""Share of the range of the wall by which healthy wall differs from place to place: coils are not
alike everywhere."""
SLICE_SD: Final = 3.0
"""A slice has remote wall if its darkest arc is no more than this many SD, or ``UNEVEN``, above the
reference."""
SECTOR_SD: Final = 1.5
"""A sector is remote if its mean lies no more than so many SD, or ``UNEVEN``, above the darkest arc
of its slice."""
OUTLIER_SD: Final = 4.0
"""Pixels further from the median (in robust SD) than noise goes: a little scar in a sector."""
MIN_PIXELS: Final = 12
TWO_KINDS: Final = 0.85
"""Share of the variance that lies between the two halves of the best cut, from which on there are
two kinds of pixels: 0.64 in noise, 0.75 where every signal is as common, 1 in two sharp ones."""
_MAD_TO_SD: Final = 1.4826
_ROUNDING: Final = 1e-6


def remote_statistics(
    pixels: Pixels, wall: Mask, scar: Mask | None = None
) -> tuple[float, float] | None:
    """Mean and SD of remote myocardium, as of a region that a reader would draw.

    Args:
        pixels: [S, H, W] in any unit.
        wall: [S, H, W] myocardium, scar included.
        scar: [S, H, W] what is known to be scar, as in :func:`remote_region`.

    Returns:
        None where no remote wall is found.
    """
    return region_statistics(pixels, wall, remote_region(pixels, wall, scar))


def region_statistics(pixels: Pixels, wall: Mask, region: Mask) -> tuple[float, float] | None:
    """Mean and SD of a :func:`remote_region` of ``wall``; None where it is too small."""
    values = pixels[region].astype(np.float64)
    if values.size < min(MIN_PIXELS, int(wall.sum())) or not values.size:
        return None
    return float(values.mean()), float(values.std())


def remote_region(pixels: Pixels, wall: Mask, scar: Mask | None = None) -> Mask:
    """Remote myocardium [S, H, W]: whole sectors and not the darkest pixels, which would be the
    darker half of the noise. Empty where none is found.

    Args:
        scar: [S, H, W] what is known to be scar. It is left out with what touches it, as long as
            wall is left then; else there is no remote wall if the darkest lies in scar.
    """
    inner = interior(wall)
    free = inner if scar is None else inner & ~_with_neighbours(scar)
    bright = float(np.percentile(pixels[inner], 99.0)) if inner.any() else 0.0
    if free.sum() >= MIN_PIXELS:
        return _darkest(pixels, wall, free, bright)
    found = _darkest(pixels, wall, inner, bright)
    if scar is not None and 2 * int((found & scar).sum()) > int(found.sum()):
        return np.zeros_like(wall)
    return found


def _darkest(pixels: Pixels, wall: Mask, inner: Mask, bright: float) -> Mask:
    """Sectors of ``inner`` that are as dark as the darkest arcs of the stack; ``bright`` is the
    upper end of what the wall holds, scar included."""
    remote = np.zeros_like(wall)
    where = np.nonzero(inner)
    if not where[0].size:
        return remote
    values = pixels[where].astype(np.float64)
    key = where[0] * SECTORS + _sector(wall, where)
    count, total, squares = (
        np.bincount(key, weights, len(wall) * SECTORS).astype(np.float64).reshape(-1, SECTORS)
        for weights in (None, values, values**2)
    )
    level, spread = _darkest_arcs(count, total, squares)
    seen = np.isfinite(level)
    if not seen.any():
        return remote
    reference = float(np.percentile(level[seen], REFERENCE_PERCENTILE, method="lower"))
    sd = float(np.median(spread[seen & (level <= np.median(level[seen]))]))
    uneven = UNEVEN * max(bright - reference, 0.0)
    rounding = _ROUNDING * (abs(reference) + float(np.ptp(values)))
    healthy = level <= reference + max(SLICE_SD * sd, uneven) + rounding
    with np.errstate(invalid="ignore", divide="ignore"):
        means = total / count
    limit = level[:, None] + max(SECTOR_SD * sd, uneven) + rounding
    kept = healthy[:, None] & (means <= limit)
    chosen = kept.reshape(-1)[key]
    beyond = values - level[where[0]]  # slices may be of unlike brightness
    chosen &= beyond <= _end_of_darker_kind(beyond[chosen], uneven)
    middle, robust = _robust_spread(values[chosen])
    if robust > 0.0:
        chosen &= np.abs(values - middle) <= OUTLIER_SD * robust
    remote[tuple(axis[chosen] for axis in where)] = True
    return remote


def _robust_spread(values: NDArray[np.float64]) -> tuple[float, float]:
    """Median, and SD by the median distance from it; 0 where most are alike.

    Pixels at the lowest value are left out of the distances: of nulled wall that is cut off at
    zero half of them are, and what remains of the noise would be taken for outliers.
    """
    middle = float(np.median(values))
    above = values[values > values.min()]
    return middle, _MAD_TO_SD * float(np.median(np.abs(above - middle))) if above.size else 0.0


def _end_of_darker_kind(values: NDArray[np.float64], least: float) -> float:
    """Find where the darker of two kinds of pixels ends; infinity where they are of one kind, or no
    more than ``least`` apart."""
    order = np.sort(values)
    count = np.arange(1, order.size)
    sums, total = np.cumsum(order)[:-1], float(order.sum())
    apart = sums / count - (total - sums) / (order.size - count)
    between = count * (order.size - count) * apart**2 / order.size**2
    if not between.size or between.max() <= TWO_KINDS * order.var():
        return np.inf
    cut = int(between.argmax())
    return float(order[cut]) if -apart[cut] > least else np.inf


def _with_neighbours(area: Mask) -> Mask:
    """An area and the pixels beside it, within each slice: they hold a part of it."""
    grown = area.copy()
    grown[:, 1:] |= area[:, :-1]
    grown[:, :-1] |= area[:, 1:]
    grown[:, :, 1:] |= area[:, :, :-1]
    grown[:, :, :-1] |= area[:, :, 1:]
    return grown


def interior(wall: Mask) -> Mask:
    """The wall without the pixels at its borders, within each slice; all of a wall so thin that
    nearly nothing would be left."""
    inner = wall.copy()
    inner[:, 1:] &= wall[:, :-1]
    inner[:, :-1] &= wall[:, 1:]
    columns = inner.copy()  # then across: what touches the outside with a corner goes too
    inner[:, :, 1:] &= columns[:, :, :-1]
    inner[:, :, :-1] &= columns[:, :, 1:]
    return inner if inner.sum() >= MIN_INTERIOR * wall.sum() else wall


def _sector(wall: Mask, where: tuple[NDArray[np.intp], ...]) -> NDArray[np.intp]:
    """Sector of each pixel about the middle of the wall of its slice."""
    slices, rows, columns = np.nonzero(wall)
    count = np.maximum(np.bincount(slices, minlength=len(wall)), 1)
    row, column = (np.bincount(slices, at, len(wall)) / count for at in (rows, columns))
    turn = np.arctan2(where[1] - row[where[0]], where[2] - column[where[0]]) / (2 * np.pi) % 1.0
    return (turn * SECTORS).astype(np.intp) % SECTORS


def _darkest_arcs(
    count: NDArray[np.float64], total: NDArray[np.float64], squares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[S] mean and SD of the darkest arc of each slice; NaN in a slice without wall."""
    arc = (np.arange(SECTORS)[:, None] + np.arange(ARC)) % SECTORS
    pixels, sums, sums_of_squares = (x[:, arc].sum(2) for x in (count, total, squares))
    least = np.minimum(MIN_ARC_PIXELS, count.sum(1))[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where((pixels >= least) & (pixels > 0), sums / pixels, np.inf)
        at = (np.arange(len(count)), means.argmin(1))
        level = means[at]
        spread = np.sqrt(np.maximum(sums_of_squares[at] / pixels[at] - level**2, 0.0))
    return np.where(np.isfinite(level), level, np.nan), spread
