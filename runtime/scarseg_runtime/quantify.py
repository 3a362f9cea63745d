"""From labels to the quantities a report needs: volumes, mass, burden, transmurality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class SegmentQuantities:
    """One AHA segment. Volumes in mL; fractions 0–1, None where the segment has no voxel."""

    number: int
    name: str
    territory: str
    myocardium_ml: float
    scar_ml: float
    burden: float | None
    transmurality_class: Literal["0", "1-25", "26-50", "51-75", "76-100"] | None


@dataclass(frozen=True, slots=True)
class Quantities:
    """Whole left ventricle and its 17 segments."""

    myocardium_ml: float
    myocardium_g: float
    scar_ml: float
    scar_g: float
    scar_percent_of_lv_mass: float | None
    lv_cavity_ml: float
    segments: tuple[SegmentQuantities, ...]
