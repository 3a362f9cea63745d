"""Items that SCMR asks for beside the amount of scar, and rules that readers compare it with.

SCMR 2021 (s12968-021-00827-z, table 2): location, myocardial distribution and extent. Core and grey
zone by the usual signal thresholds stand beside the network's scar as a cross-check.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.contract import MYOCARDIUM, SEGMENT_COUNT, Label
from scarseg_runtime.quantify.components import heart_box, with_dark_cores
from scarseg_runtime.quantify.layers import Distribution, Layers
from scarseg_runtime.quantify.quantities import MYOCARDIUM_G_PER_ML
from scarseg_runtime.quantify.remote import region_statistics, remote_region
from scarseg_runtime.quantify.threshold_rules import fwhm, fwhm_level, n_sd
from scarseg_runtime.quantify.wall_depth import wall_depth

MIN_SHARE: Final = 0.01
"""A segment with less scar than this share of its wall is given no distribution."""
SD_RULES: Final = (2, 3, 5, 6)
GREY_SD: Final = (2, 3)
"""Grey zone between 2 and 3 SD above remote myocardium, core above 3 SD (Yan et al., Circulation
2006;114:32)."""
FWHM_GREY: Final = 0.35
"""Grey zone of FWHM from this share of the way from remote to the maximum of the scar up to half of
it. Roes et al. (Circ Cardiovasc Imaging 2009;2:183) take 35 % to 50 % of the plain maximum, as
Flett et al. (JACC Cardiovasc Imaging 2011;4:150) take its half for the core: on PSIR, whose zero is
arbitrary, that means nothing."""
FWHM_LEAST_SD: Final = 3.0
"""Half way to the maximum must lie so far above remote, or the rule calls noise (design choice)."""
FWHM_SMALL_SHARE: Final = 0.05
FWHM_MOST: Final = 3.0
"""Most by which the core of FWHM may exceed the scar where that is a smaller share of the wall than
FWHM_SMALL_SHARE. Beyond it the rule calls something other than the scar that it presumes (design
choices)."""
DARK_CORE_SD: Final = 5.0
"""A scar whose brighter quarter lies lower than that above remote has many pixels below 2 SD by
noise alone: no dark core can be told in it (design choice; with 4, a phantom without a dark core
had one of 4 % of its scar)."""
MUCH_DARK: Final = 0.2
"""Share of a scar that is dark without being a dark core, from which on that is said: in real
stacks it is 0.07 at most."""


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
            the loosest rule, 2 SD above remote myocardium (design choice). None in a scar too faint
            to tell a dark core from noise.
        fwhm: core from half of the way from remote myocardium to the brightest of the scar (Flett
            2011 takes half of the plain maximum, which means nothing on PSIR), grey zone from 35 %
            (Roes 2009, likewise); None where the labels show no scar too, since the rule presumes
            that there is some, and where that scar is too faint or too small for it.
        sd: core above 3 SD, grey zone between 2 and 3 SD above remote myocardium.
        n_sd: scar by 2, 3, 5 and 6 SD above remote myocardium, keys ``2`` … ``6``.
        schmidt: core as that of ``fwhm``, grey zone between it and the brightest remote myocardium
            (Schmidt et al., Circulation 2007;115:2006; brightest: mean + 3 SD, without outliers).

    All that is measured against remote myocardium is None where no remote wall is found.
    """

    location: tuple[str, ...]
    distribution: Distribution | None
    segment_distribution: tuple[Distribution | None, ...]
    microvascular_obstruction_ml: float | None
    fwhm: Zones | None
    sd: Zones | None
    n_sd: dict[str, Amount] | None
    schmidt: Zones | None


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
        return Characteristics((), None, (None,) * SEGMENT_COUNT, None, None, None, None, None)
    voxel_ml = np.asarray(heights_mm) * pixel_spacing_mm[0] * pixel_spacing_mm[1] / 1000.0
    measure = _Measure(wall, voxel_ml)
    counts = np.bincount(segments[wall], minlength=SEGMENT_COUNT + 1)[1:]
    scarred = np.bincount(segments[scar], minlength=SEGMENT_COUNT + 1)[1:]
    burden = scarred / np.maximum(counts, 1)
    order = [k for k in np.argsort(-burden, kind="stable") if burden[k] > 0]
    found = Layers(labels, wall_depth(labels, pixel_spacing_mm), pixel_spacing_mm)
    each = tuple(
        found.distribution(segments == number) if burden[number - 1] >= MIN_SHARE else None
        for number in range(1, SEGMENT_COUNT + 1)
    )
    rules = _Rules(pixels, labels, measure)
    return Characteristics(
        location=tuple(names[k] for k in order),
        distribution=_commonest(each, scarred) or found.distribution(wall),
        segment_distribution=each,
        microvascular_obstruction_ml=rules.obstruction_ml(),
        fwhm=rules.fwhm(),
        sd=rules.sd(),
        n_sd=rules.n_sd(),
        schmidt=rules.schmidt(),
    )


def threshold_doubts(
    pixels: NDArray[np.float32], labels: NDArray[np.uint8], voxel_ml: NDArray[np.float64]
) -> tuple[str, ...]:
    """Sentences on what :func:`characterise` cannot give of a stack with a ventricle, and why.

    Args:
        pixels: [S, H, W] signal in any unit, on the grid of ``labels``.
        labels: [S, H, W] values of :class:`~scarseg_runtime.contract.Label`.
        voxel_ml: [S] of a voxel in each slice.
    """
    box = heart_box(labels)
    pixels, labels = pixels[box], labels[box]
    wall = np.isin(labels, MYOCARDIUM)
    if not wall.any():
        return ()
    rules = _Rules(pixels, labels, _Measure(wall, voxel_ml))
    if rules.remote is None:
        return (
            "No remote (healthy) wall was found: scar and grey zone by signal thresholds and "
            "microvascular obstruction cannot be given.",
        )
    if not (labels == Label.SCAR).any():
        return ()
    return (*_missing(rules), *_dark_beside(rules))


def _missing(rules: _Rules) -> tuple[str, ...]:
    """A sentence on rules that mean nothing for a scar."""
    missing = [
        what
        for what, given in (
            ("scar by FWHM", rules.has_core()),
            ("microvascular obstruction", rules.has_dark_core()),
        )
        if not given
    ]
    if not missing:
        return ()
    return (
        "The scar is too small or too faint for its maximum, or a dark core in it, to mean "
        f"anything: {' and '.join(missing)} cannot be given.",
    )


def _dark_beside(rules: _Rules) -> tuple[str, ...]:
    """A sentence on a scar that is dark in more than an enclosed core."""
    share = rules.dark_beside()
    if share < MUCH_DARK:
        return ()
    return (
        f"{100 * share:.0f} % of the scar is no brighter than healthy wall and no core enclosed by "
        "scar: microvascular obstruction may be larger than given, or the scar smaller.",
    )


class _Rules:
    """Results of the signal thresholds for one labelled stack; None where they have none.

    Each mask is made once: with its dark cores filled it costs some ten times the rest.
    """

    def __init__(
        self, pixels: NDArray[np.float32], labels: NDArray[np.uint8], measure: _Measure
    ) -> None:
        self._pixels, self._measure = pixels, measure
        self._wall, self._scar = np.isin(labels, MYOCARDIUM), labels == Label.SCAR
        self._cavity = labels == Label.LV_CAVITY
        self._healthy = remote_region(pixels, self._wall, self._scar)
        self.remote = region_statistics(pixels, self._wall, self._healthy)
        self._above: dict[int, NDArray[np.bool_]] = {}

    def n_sd(self) -> dict[str, Amount] | None:
        if self.remote is None:
            return None
        return {str(n): self._measure.amount(self._above_sd(n)) for n in SD_RULES}

    def sd(self) -> Zones | None:
        if self.remote is None:
            return None
        return self._measure.zones(self._above_sd(GREY_SD[1]), self._above_sd(GREY_SD[0]))

    def fwhm(self) -> Zones | None:
        core = self._core
        if core is None:
            return None
        # A grey zone in the noise of the healthy wall would be none.
        lower = self._half(FWHM_GREY) & self._above_sd(GREY_SD[0])
        return self._measure.zones(core, lower)

    def schmidt(self) -> Zones | None:
        core = self._core
        return None if core is None else self._measure.zones(core, self._above_sd(GREY_SD[1]))

    def obstruction_ml(self) -> float | None:
        if self.remote is None or not self.has_dark_core():
            return None
        return self._measure.amount(self._dark_core).ml

    def dark_beside(self) -> float:
        """Share of the scar that is dark without being a dark core; 0 where that means nothing."""
        if self.remote is None or not self.has_dark_core():
            return 0.0
        dark = self._dark & self._scar
        if dark.sum() < MUCH_DARK * self._scar.sum():  # the core takes time to find
            return 0.0
        return float((dark & ~self._dark_core).sum() / self._scar.sum())

    @cached_property
    def _dark(self) -> NDArray[np.bool_]:
        mean, sd = self.remote or (0.0, 0.0)
        return self._pixels <= mean + SD_RULES[0] * sd

    @cached_property
    def _dark_core(self) -> NDArray[np.bool_]:
        return _obstruction(self._dark, self._scar, self._wall, self._cavity)

    def has_dark_core(self) -> bool:
        """True where the scar is bright enough for a dark core in it to mean something."""
        if self.remote is None or not self._scar.any():
            return False
        mean, sd = self.remote
        return bool(np.percentile(self._pixels[self._scar], 75.0) >= mean + DARK_CORE_SD * sd)

    def has_core(self) -> bool:
        """True where the core of FWHM means something."""
        if self.remote is None or not self._scar.any():
            return False
        mean, sd = self.remote
        level = fwhm_level(self._pixels, self._wall, 0.5, mean, self._scar)
        if level < mean + FWHM_LEAST_SD * sd or level <= mean:
            return False
        scar = self._measure.amount(self._scar)
        if scar.percent_of_lv_mass >= 100.0 * FWHM_SMALL_SHARE:
            return True
        return self._measure.amount(self._called).ml <= FWHM_MOST * scar.ml

    @property
    def _core(self) -> NDArray[np.bool_] | None:
        return self._called if self.has_core() else None

    @cached_property
    def _called(self) -> NDArray[np.bool_]:
        return self._half(0.5)

    def _half(self, share: float) -> NDArray[np.bool_]:
        return fwhm(self._pixels, self._wall, share, self.remote, self._scar, self._healthy)

    def _above_sd(self, n: int) -> NDArray[np.bool_]:
        if n not in self._above:
            self._above[n] = n_sd(self._pixels, self._wall, n, self.remote, self._healthy)
        return self._above[n]


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
