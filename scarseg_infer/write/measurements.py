"""Quantities of a result with their codes and units: the same in every coded output."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from scarseg_infer.write.dicom import codes
from scarseg_infer.write.dicom.codes import AHA_SEGMENTS, Code

if TYPE_CHECKING:
    from scarseg_infer.result import ScarResult
    from scarseg_runtime.quantify.quantities import SegmentQuantities


class Measured(NamedTuple):
    """One finite number: concept, value and UCUM unit."""

    name: Code
    value: float
    unit: Code


def of_ventricle(result: ScarResult) -> list[Measured]:
    """Volumes in mL, masses in g, shares in %, weight of the ECG and its distance in days; those
    that have a value."""
    fused, alone, ecg = result.quantities, result.image_only_quantities, result.ecg
    return _known(
        (codes.VOLUME, fused.scar_ml, codes.MILLILITER),
        (codes.SCAR_MASS, fused.scar_g, codes.GRAM),
        (codes.SCAR_SHARE, fused.scar_percent_of_lv_mass, codes.PERCENT),
        (codes.LV_MASS, fused.myocardium_g, codes.GRAM),
        (codes.CAVITY_VOLUME, fused.lv_cavity_ml, codes.MILLILITER),
        (codes.IMAGE_SCAR_VOLUME, alone.scar_ml, codes.MILLILITER),
        (codes.IMAGE_SCAR_SHARE, alone.scar_percent_of_lv_mass, codes.PERCENT),
        (codes.ECG_WEIGHT, ecg.weight, codes.NO_UNITS),
        (codes.ECG_GAP, ecg.gap_days, codes.DAY),
    )


def imaged_segments(result: ScarResult) -> Iterable[SegmentQuantities]:
    """AHA segments that have any myocardium, in order."""
    return (one for one in result.quantities.segments if one.burden is not None)


def of_segment(segment: SegmentQuantities) -> list[Measured]:
    """Burden and transmurality in %, volume of scar in mL, of a segment that was imaged."""
    depth, burden = segment.transmurality, segment.burden
    return _known(
        (codes.SEGMENT_BURDEN, None if burden is None else 100 * burden, codes.PERCENT),
        (codes.TRANSMURALITY, None if depth is None else 100 * depth, codes.PERCENT),
        (codes.VOLUME, segment.scar_ml, codes.MILLILITER),
    )


def site_of(segment: SegmentQuantities) -> Code:
    """Code of a segment as a finding site."""
    return AHA_SEGMENTS[segment.number - 1]


def title_of(segment: SegmentQuantities) -> str:
    """Name of a segment for people, as ``AHA 7 mid anterior``."""
    return f"AHA {segment.number} {segment.name}"


def _known(*measured: tuple[Code, float | None, Code]) -> list[Measured]:
    return [
        Measured(name, value, unit)
        for name, value, unit in measured
        if value is not None and math.isfinite(value)
    ]
