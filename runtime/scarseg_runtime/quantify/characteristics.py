"""What SCMR asks a reader to report beside the amount of scar, and what readers compare it with.

SCMR 2021 (s12968-021-00827-z, table 2): location, myocardial distribution and extent. Core and grey
zone by the usual signal thresholds stand beside the network's scar as a cross-check.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.contract import MYOCARDIUM, SEGMENT_COUNT, Label
from scarseg_runtime.quantify.components import heart_box
from scarseg_runtime.quantify.quantities import MYOCARDIUM_G_PER_ML
from scarseg_runtime.quantify.threshold_rules import fwhm, n_sd, remote_statistics, with_dark_cores
from scarseg_runtime.quantify.wall_depth import wall_depth

Distribution = Literal["subendocardial", "mid-wall", "epicardial", "transmural"]

LAYERS: Final = 3
"""Inner, middle and outer third of the wall."""
INVOLVED: Final = 0.5
"""Share of a layer's voxels, along the scar, from which the layer counts as scarred (design
choice: half, as 50 % transmurality parts viable from not viable)."""
MIN_SHARE: Final = 0.01
"""A segment with less scar than this share of its wall is given no distribution."""
SD_RULES: Final = (2, 3, 5, 6)
GREY_SD: Final = (2, 3)
"""Grey zone between 2 and 3 SD above remote myocardium, core above 3 SD (Yan et al., Circulation
2006;114:32)."""
FWHM_GREY: Final = 0.35
"""Grey zone of FWHM from this share of the way from remote to maximum up to half of it
(35 % to 50 % of maximum: Roes et al., Circ Cardiovasc Imaging 2009;2:183)."""
SECTORS: Final = 60
"""Directions from the LV centre, 6° each, in which the layers of the wall are compared."""


@dataclass(frozen=True, slots=True)
class Amount:
    """A part of the myocardium.

    Attributes:
        ml: volume in mL.
        g: mass in g.
        percent_of_lv_mass: share of the myocardium, scar included, in %.
    """

    ml: float
    g: float
    percent_of_lv_mass: float


@dataclass(frozen=True, slots=True)
class Zones:
    """Scar by a signal rule: core, and the grey zone around it.

    Attributes:
        core: of the scar.
        grey_zone: around the core, not part of it.
    """

    core: Amount
    grey_zone: Amount


@dataclass(frozen=True, slots=True)
class Characteristics:
    """Reported items beside the quantities; None where there is no scar or no myocardium.

    Attributes:
        location: names of the AHA segments with scar, most burdened first.
        distribution: that of the whole scar, which is the one of the segments that holds most scar.
        segment_distribution: [17] of each AHA segment; None where it has no scar.
        microvascular_obstruction_ml: dark core inside the scar, counted as scar: not enhanced by
            the loosest rule, 2 SD above remote myocardium (design choice).
        fwhm: core from half of the maximum, grey zone from 35 %; None where the labels show no scar
            too: the rule presumes that there is some.
        sd: core above 3 SD, grey zone between 2 and 3 SD above remote myocardium; None without
            myocardium.
        n_sd: scar by 2, 3, 5 and 6 SD above remote myocardium, keys ``2`` … ``6``.
    """

    location: tuple[str, ...]
    distribution: Distribution | None
    segment_distribution: tuple[Distribution | None, ...]
    microvascular_obstruction_ml: float | None
    fwhm: Zones | None
    sd: Zones | None
    n_sd: dict[str, Amount] | None


def characterise(
    pixels: NDArray[np.float32],
    labels: NDArray[np.uint8],
    segments: NDArray[np.uint8],
    pixel_spacing_mm: tuple[float, float],
    heights_mm: NDArray[np.float64],
    names: tuple[str, ...],
) -> Characteristics:
    """Characteristics of one labelled stack.

    Args:
        pixels: [S, H, W] signal in any unit, on the grid of ``labels``.
        labels: [S, H, W] values of :class:`~scarseg_runtime.contract.Label`.
        segments: [S, H, W] AHA segment 1–17 of myocardial voxels, else 0.
        pixel_spacing_mm: between rows, between columns.
        heights_mm: [S] what each slice stands for.
        names: [17] of the AHA segments.
    """
    box = heart_box(labels)
    pixels, labels, segments = pixels[box], labels[box], segments[box]
    wall, scar = np.isin(labels, MYOCARDIUM), labels == Label.SCAR
    if not wall.any():
        return Characteristics((), None, (None,) * SEGMENT_COUNT, None, None, None, None)
    voxel_ml = np.asarray(heights_mm) * pixel_spacing_mm[0] * pixel_spacing_mm[1] / 1000.0
    measure = _Measure(wall, voxel_ml)
    counts = np.bincount(segments[wall], minlength=SEGMENT_COUNT + 1)[1:]
    scarred = np.bincount(segments[scar], minlength=SEGMENT_COUNT + 1)[1:]
    burden = scarred / np.maximum(counts, 1)
    order = [k for k in np.argsort(-burden, kind="stable") if burden[k] > 0]
    found = _Layers(labels, wall_depth(labels, pixel_spacing_mm), pixel_spacing_mm)
    each = tuple(
        found.distribution(segments == number) if burden[number - 1] >= MIN_SHARE else None
        for number in range(1, SEGMENT_COUNT + 1)
    )
    remote = remote_statistics(pixels, wall)
    rules = {n: n_sd(pixels, wall, n, remote) for n in SD_RULES}
    half, lower = (fwhm(pixels, wall, share, remote) for share in (0.5, FWHM_GREY))
    dark = pixels <= remote[0] + SD_RULES[0] * remote[1]
    obstruction = _obstruction(dark, scar, wall, labels == Label.LV_CAVITY)
    return Characteristics(
        location=tuple(names[k] for k in order),
        distribution=_commonest(each, scarred) or found.distribution(wall),
        segment_distribution=each,
        microvascular_obstruction_ml=measure.amount(obstruction).ml if scar.any() else None,
        fwhm=measure.zones(half, lower) if scar.any() else None,
        sd=measure.zones(rules[GREY_SD[1]], rules[GREY_SD[0]]),
        n_sd={str(n): measure.amount(mask) for n, mask in rules.items()},
    )


def _commonest(
    each: tuple[Distribution | None, ...], scarred: NDArray[np.intp]
) -> Distribution | None:
    """The distribution that holds most of the ``scarred`` voxels of the segments."""
    held: dict[Distribution, int] = {}
    for name, voxels in zip(each, scarred.tolist(), strict=True):
        if name is not None:
            held[name] = held.get(name, 0) + voxels
    return max(held.items(), key=lambda item: item[1])[0] if held else None


def _obstruction(
    dark: NDArray[np.bool_],
    scar: NDArray[np.bool_],
    wall: NDArray[np.bool_],
    cavity: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Dark voxels in scar that touch neither viable wall nor the outside: those that do are more
    likely the ragged edge of its outline. The cavity may be touched: obstruction lies beneath the
    endocardium, and blood is bright."""
    bright = (scar & ~dark) | cavity
    found: NDArray[np.bool_] = with_dark_cores(bright, scar | cavity) & scar & dark
    return found


class _Measure:
    """Masks of the wall → amounts."""

    def __init__(self, wall: NDArray[np.bool_], voxel_ml: NDArray[np.float64]) -> None:
        self._voxel_ml = voxel_ml
        self._whole_ml = float(wall.sum((1, 2)) @ voxel_ml)

    def amount(self, mask: NDArray[np.bool_]) -> Amount:
        ml = float(mask.sum((1, 2)) @ self._voxel_ml)
        return Amount(ml, ml * MYOCARDIUM_G_PER_ML, 100.0 * ml / self._whole_ml)

    def zones(self, core: NDArray[np.bool_], lower: NDArray[np.bool_]) -> Zones:
        return Zones(self.amount(core), self.amount(lower & ~core))


class _Layers:
    """Which thirds of the wall the scar takes, direction by direction.

    Only directions in which there is scar count: a small transmural scar is transmural, however
    large its segment. A layer is scarred where half of its voxels in these directions are.
    """

    def __init__(
        self,
        labels: NDArray[np.uint8],
        depth: NDArray[np.float64],
        pixel_spacing_mm: tuple[float, float],
    ) -> None:
        self._wall = np.isfinite(depth)
        where = np.nonzero(self._wall)
        self._scar = labels[where] == Label.SCAR
        self._layer = np.minimum(depth[where] * LAYERS, LAYERS - 1).astype(np.intp)
        count = np.maximum(np.bincount(where[0], minlength=len(labels)), 1)
        y, x = (
            (place - (np.bincount(where[0], place, len(labels)) / count)[where[0]]) * step
            for place, step in zip(where[1:], pixel_spacing_mm, strict=True)
        )
        turn = np.arctan2(y, x) / (2 * np.pi) % 1.0
        sector = np.minimum((turn * SECTORS).astype(np.intp), SECTORS - 1)
        self._direction = where[0] * SECTORS + sector
        self._directions = len(labels) * SECTORS

    def distribution(self, area: NDArray[np.bool_]) -> Distribution | None:
        """Of the scar within ``area`` [S, H, W]; None where there is none."""
        inside = area[self._wall]
        scar = self._scar & inside
        hit = np.bincount(self._direction[scar], minlength=self._directions) > 0
        along = inside & hit[self._direction]
        whole = np.bincount(self._layer[along], minlength=LAYERS)
        share = np.bincount(self._layer[scar], minlength=LAYERS) / np.maximum(whole, 1)
        if not share.any():
            return None
        inner, middle, outer = share >= INVOLVED
        if inner and outer:
            return "transmural"
        if inner or outer:
            return "subendocardial" if inner else "epicardial"
        if middle:
            return "mid-wall"
        # A thin scar takes half of no third: it is where most of it lies.
        names: tuple[Distribution, ...] = ("subendocardial", "mid-wall", "epicardial")
        return names[int(share.argmax())]
