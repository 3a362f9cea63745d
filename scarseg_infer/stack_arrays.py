"""A host's arrays → the LGE stack that readers give: numpy in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scarseg_infer.orientation import (
    SHORT_AXIS_LIMIT_DEG,
    SHORT_AXIS_TRUST_DEG,
    counted_from,
    short_axis_tilt_deg,
)
from scarseg_infer.slice_plane import (
    MAX_COORDINATE_MM,
    MAX_SLICE_HEIGHT_MM,
    SAME_POSITION_MM,
    plausible_spacing,
    step_warnings,
    unit_axes,
)
from scarseg_infer.stack import LgeStack
from scarseg_runtime.errors import StudyError

_CHECK: Final = "Give geometry as DICOM does, in mm"


def stack_from_arrays(
    pixels: NDArray[Any],
    pixel_spacing_mm: Sequence[float],
    image_positions_mm: ArrayLike,
    image_orientation: Sequence[float],
    *,
    slice_thickness_mm: float | None = None,
    acquired: datetime | None = None,
    image_kind: str = "unknown type",
) -> LgeStack:
    """A stack that lies in a host's memory, with geometry as in DICOM. Nothing is kept of the
    host's arrays.

    Args:
        pixels: [S, H, W] of any number type, after rescale.
        pixel_spacing_mm: PixelSpacing: between rows, then between columns.
        image_positions_mm: [S, 3] ImagePositionPatient of each slice.
        image_orientation: [6] ImageOrientationPatient, the same for all slices.
        slice_thickness_mm: the height of a slice where there is only one.
        acquired: when the image was taken, on the local clock.
        image_kind: ``PSIR``, ``magnitude`` or ``phase`` where known.

    Raises:
        StudyError: shapes do not fit, a value is not finite or not plausible, it is no short
            axis, or the slices are not in order along row × column direction.
    """
    values, origins = np.array(pixels, np.float32, order="C"), np.array(image_positions_mm, float)
    axes = _checked_axes(values, pixel_spacing_mm, origins, image_orientation)
    plausible = slice_thickness_mm is not None and 0 < slice_thickness_mm <= MAX_SLICE_HEIGHT_MM
    if not plausible and (slice_thickness_mm is not None or len(values) == 1):
        raise StudyError("the slice thickness is missing or not plausible in mm", _CHECK)
    stack = LgeStack(
        pixels=values,
        pixel_spacing_mm=(float(pixel_spacing_mm[0]), float(pixel_spacing_mm[1])),
        origins_mm=origins,
        row_direction=axes[0],
        column_direction=axes[1],
        slice_thickness_mm=slice_thickness_mm,
        source="array",
        acquired=acquired,
        image_kind=image_kind,
    )
    return replace(stack, warnings=tuple(_stack_warnings(stack)))


def _checked_axes(
    pixels: NDArray[np.float32],
    spacing_mm: Sequence[float],
    origins_mm: NDArray[np.float64],
    orientation: Sequence[float],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Row and column direction of arrays that describe a stack. Raises StudyError."""
    if pixels.ndim != 3 or min(pixels.shape) < 1 or not np.isfinite(pixels).all():
        raise StudyError("the pixels are not a finite array [slices, rows, columns]", _CHECK)
    near = np.abs(origins_mm) <= MAX_COORDINATE_MM  # also False for NaN
    if origins_mm.shape != (len(pixels), 3) or not near.all():
        raise StudyError("the positions are not one place [x, y, z] in mm for each slice", _CHECK)
    if len(spacing_mm) != 2 or not plausible_spacing(spacing_mm):
        raise StudyError("the pixel spacing is not two plausible distances in mm", _CHECK)
    axes = unit_axes(orientation[:3], orientation[3:]) if len(orientation) == 6 else None
    if axes is None:
        raise StudyError("the orientation is not two orthogonal unit vectors", _CHECK)
    return axes


def _stack_warnings(stack: LgeStack) -> Iterator[str]:
    """What is odd about the stack's geometry. Raises StudyError where it cannot be a stack."""
    tilt = short_axis_tilt_deg(stack.normal)
    if tilt > SHORT_AXIS_LIMIT_DEG:
        raise StudyError(
            f"the slices are tilted by {tilt:.0f}° against a usual short-axis view", _CHECK
        )
    if tilt > SHORT_AXIS_TRUST_DEG:
        yield (
            f"The slices are tilted by {tilt:.0f}° against a usual short-axis view: "
            "check the view, and base, apex and walls in the pictures."
        )
    positions = stack.slice_positions_mm
    steps = np.diff(positions)
    if not ((steps > SAME_POSITION_MM) & (steps <= MAX_SLICE_HEIGHT_MM)).all():
        raise StudyError(
            "the slices do not follow each other along row × column direction",
            "Reverse their order, or check the positions",
        )
    yield from step_warnings(positions, counted_from(stack.normal))
