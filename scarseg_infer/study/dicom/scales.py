"""Scales of slices against each other: a threshold of the whole stack means nothing where signals
of its slices do not compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from scarseg_infer.study.dicom.parse import PARSE_ERRORS, items, number, photometric, text
from scarseg_infer.study.geometry.slice_plane import slices_named

SAME_SCALE: Final = 0.01
"""Relative difference of factors that still are one."""
LESS_ALIKE: Final = 1.5
"""By this factor signals may spread further between slices with their slopes than without: anatomy
alone makes some of it (a design choice)."""
_PHILIPS: Final = (0x2005, "Philips MR Imaging DD 001", 0x0E)
"""Scale slope: a real value is (stored × RescaleSlope + RescaleIntercept) / (RescaleSlope × it)."""
_SHAPES: Final = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
_UNLIKE: Final = "signals may not compare between slices"


def scale_warnings(
    datasets: Sequence[Dataset], pixels: NDArray[np.float32], too_long: int, counted: str
) -> tuple[str, ...]:
    """Warnings about scales that differ between slices, or that attributes contradict.

    Args:
        datasets: headers of the slices.
        pixels: [S, H, W] after rescale.
        too_long: files that hold more pixels than Rows and Columns need.
        counted: from which end slices are numbered, as "counted from the base".
    """
    found = (
        *(_slopes(datasets, pixels) or _some_slopes(datasets, pixels, counted)),
        *_real_world(datasets), *_inverted(datasets),
    )  # fmt: skip
    if too_long:
        found += (
            f"PixelData of {too_long} of the files is longer than Rows and Columns say: its "
            "beginning was read; check in the pictures that the heart is where it should be.",
        )
    return found


def _slopes(datasets: Sequence[Dataset], pixels: NDArray[np.float32]) -> tuple[str, ...]:
    """A scale on some slices only, or slopes after which slices are less alike than before."""
    given = [number(dataset, "RescaleSlope") for dataset in datasets]
    known = [slope for slope in given if slope is not None]
    if known and len(known) < len(given):
        if all(slope == 1.0 for slope in known):
            return ()
        return (
            f"Only {len(known)} of {len(given)} slices have a RescaleSlope: the others are read as "
            f"they are stored, and {_UNLIKE}.",
        )
    slopes = np.abs(np.array(known, np.float64))
    if not _differ(slopes):
        return ()
    low, high = np.percentile(pixels.reshape(len(pixels), -1), (2.0, 98.0), axis=1)
    ranges = (high - low).astype(np.float64)
    if (ranges <= 0.0).any() or _spread(ranges) <= LESS_ALIKE * _spread(ranges / slopes):
        return ()
    return (
        "The slices have unlike values of RescaleSlope and are less alike with them than without: "
        f"{_UNLIKE}. Check the export.",
    )


def _some_slopes(
    datasets: Sequence[Dataset], pixels: NDArray[np.float32], counted: str
) -> tuple[str, ...]:
    """The few slices whose slope or intercept is not that of the others and does not bring them
    nearer to the slices beside them."""
    maps = [
        (number(dataset, "RescaleSlope") or 1.0, number(dataset, "RescaleIntercept") or 0.0)
        for dataset in datasets
    ]
    (usual, count), *_ = Counter(maps).most_common()
    if count == len(maps) or 2 * count <= len(maps):
        return ()
    places = [index for index, one in enumerate(maps) if one == usual]
    ends = np.percentile(pixels.reshape(len(pixels), -1), (2.0, 98.0), axis=1).T
    odd = []
    for index, (slope, intercept) in enumerate(maps):
        if (slope, intercept) == usual:
            continue
        below = [place for place in places if place < index][-1:]
        above = [place for place in places if place > index][:1]
        beside = ends[[*below, *above]].mean(axis=0)
        sign = -1.0 if photometric(datasets[index]) == "MONOCHROME1" else 1.0
        as_others = sign * ((sign * ends[index] - intercept) / slope * usual[0] + usual[1])
        apart, without = (
            float(np.abs(np.sort(one) - beside).sum()) for one in (ends[index], as_others)
        )
        if apart >= without:
            odd.append(index + 1)
    if not odd:
        return ()
    has = "has" if len(odd) == 1 else "have"
    return (
        f"{slices_named(odd)} ({counted}) {has} another RescaleSlope or RescaleIntercept than most "
        f"and {'is' if len(odd) == 1 else 'are'} no more like the others with it: {_UNLIKE}. Check "
        "the export.",
    )


def _real_world(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    """Other scales in the header that would change slices against each other."""
    found = []
    for name, factors in (
        ("RealWorldValueMappingSequence", [_real_world_factor(one) for one in datasets]),
        ("the scale slope of Philips (2005,100E)", [_philips_factor(one) for one in datasets]),
    ):
        known = [factor for factor in factors if factor is not None]
        if known and (len(known) < len(factors) or _differ(np.array(known))):
            found.append(
                f"By {name} the slices have unlike scales, which RescaleSlope does not say: only "
                f"that was used, and {_UNLIKE}. Numbers by thresholds (n-SD, FWHM) may be wrong."
            )
    return tuple(found)


def _real_world_factor(dataset: Dataset) -> float | None:
    """Real value by value after rescale, where the slice has one linear map."""
    try:
        maps = items(dataset, "RealWorldValueMappingSequence")
    except PARSE_ERRORS:
        return None
    slope = number(maps[0], "RealWorldValueSlope") if maps else None
    return None if not slope else abs(slope / (number(dataset, "RescaleSlope") or 1.0))


def _philips_factor(dataset: Dataset) -> float | None:
    group, creator, element = _PHILIPS
    try:
        raw = dataset.private_block(group, creator)[element].value
        scale = float(raw)
    except PARSE_ERRORS:
        return None
    slope = number(dataset, "RescaleSlope") or 1.0
    factor = abs(scale * slope)
    return 1.0 / factor if np.isfinite(factor) and factor > 0.0 else None


def _inverted(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    """PresentationLUTShape says the same as PhotometricInterpretation, or one of them is wrong."""
    if any(
        (number(one, "RescaleSlope") or 1.0) < 0.0 and photometric(one) != "MONOCHROME1"
        for one in datasets
    ):
        return (
            "RescaleSlope is negative, so that what is stored as bright is read as dark: check in "
            "the pictures that scar is bright.",
        )
    for dataset in datasets:
        usual = _SHAPES.get(photometric(dataset))
        shape = text(dataset, "PresentationLUTShape").upper()
        if usual and shape in _SHAPES.values() and shape != usual:
            return (
                f"PresentationLUTShape {shape} contradicts PhotometricInterpretation, which was "
                "used: check in the pictures that scar is bright.",
            )
    return ()


def _differ(factors: NDArray[np.float64]) -> bool:
    return bool(factors.size and factors.min() > 0.0) and bool(
        factors.max() > (1.0 + SAME_SCALE) * factors.min()
    )


def _spread(ranges: NDArray[np.float64]) -> float:
    """Factor between the widest and the narrowest."""
    return float(ranges.max() / ranges.min())
