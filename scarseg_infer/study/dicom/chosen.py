"""Facts about the stack that was chosen, before its pixels are read."""

from __future__ import annotations

import numpy as np

from scarseg_infer.study.dicom.rank import Candidate
from scarseg_infer.study.dicom.series import ADVICE, MIN_STACK_SLICES, SliceGroup, plane_of
from scarseg_infer.study.geometry.orientation import SHORT_AXIS_TRUST_DEG, counted_from
from scarseg_infer.study.geometry.slice_plane import (
    MAX_SLICE_HEIGHT_MM,
    MIN_SLICE_HEIGHT_MM,
    step_warnings,
)
from scarseg_infer.study.geometry.slight_tilt import tilt_warnings
from scarseg_infer.study.geometry.straight_grid import beside_warnings
from scarseg_runtime.errors import StudyError


def thickness_mm(group: SliceGroup) -> float | None:
    """Slice thickness of a stack where it is plausible, else None.

    Raises:
        StudyError: it is not, and the stack is a single slice.
    """
    thickness = group.slices[0].slice_thickness_mm
    low, high = MIN_SLICE_HEIGHT_MM, MAX_SLICE_HEIGHT_MM
    if thickness is not None and low <= thickness <= high:
        return thickness
    if group.position_count == 1:
        raise StudyError(
            "the only slice of the study has no usable SliceThickness (missing, implausible, or no "
            "number, such as one with a decimal comma)", ADVICE,
        )  # fmt: skip
    return None


def stack_warnings(chosen: Candidate) -> list[str]:
    """Warnings about what is odd in a stack: its name, view, number of slices and steps."""
    group = chosen.group
    plane = group.plane
    found = []
    if not chosen.lge_marked:
        found.append("Nothing in the study marks it as LGE: check that it is.")
    if group.image_kind == "phase":
        found.append(
            "These are phase images, whose signal does not say how much is enhanced: what is found "
            "in them means nothing; read PSIR or magnitude images."
        )
    if group.tilt_deg > SHORT_AXIS_TRUST_DEG:
        found.append(
            f"The slices are tilted by {group.tilt_deg:.0f}° against a usual short-axis view: "
            "check the view, and base, apex and walls in the pictures."
        )
    series = len({header.series_uid for header in group.slices})
    if 1 < series < group.position_count:
        found.append(
            f"{series} series of one name complement each other and were read as one stack: check "
            "in the pictures that they fit."
        )
    if group.position_count == 1:
        found.append("The study has a single slice: its height is the slice thickness.")
    elif group.position_count < MIN_STACK_SLICES:
        found.append(f"The study has only {group.position_count} slices.")
    origins = group.origins_mm
    axes = np.array(plane.row_direction), np.array(plane.column_direction)
    counted = counted_from(plane.normal)
    found += step_warnings(origins @ plane.normal, counted)
    found += tilt_warnings([plane_of(header) for header in group.slices], plane, counted)
    return [*found, *beside_warnings(origins, axes, counted)]
