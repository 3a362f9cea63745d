"""A host's arrays → the LGE stack that readers give: numpy in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scarseg_infer.host.plain_numbers import as_plain
from scarseg_infer.study.check import CHECK, check_stack, float_pixels
from scarseg_infer.study.geometry.orientation import (
    SHORT_AXIS_TRUST_DEG,
    counted_from,
    short_axis_tilt_deg,
)
from scarseg_infer.study.geometry.slice_plane import step_warnings, unit_axes
from scarseg_infer.study.geometry.straight_grid import beside_warnings
from scarseg_infer.study.stack import ImageKind, LgeStack
from scarseg_runtime.errors import StudyError


def stack_from_arrays(
    pixels: ArrayLike,
    pixel_spacing_mm: ArrayLike,
    image_positions_mm: ArrayLike,
    image_orientation: ArrayLike,
    *,
    slice_thickness_mm: float | None = None,
    acquired: datetime | None = None,
    image_kind: ImageKind = "unknown type",
) -> LgeStack:
    """A stack that lies in a host's memory, with geometry as in DICOM. Nothing is kept of the
    host's arrays. Such a stack has no patient identifier that could be compared with the ECG's.

    Args:
        pixels: [S, H, W] of any type of real numbers (not bool), without a mask, after rescale.
        pixel_spacing_mm: PixelSpacing: between rows, then between columns.
        image_positions_mm: [S, 3] ImagePositionPatient of each slice.
        image_orientation: [6] ImageOrientationPatient, the same for all slices.
        slice_thickness_mm: the height of a slice where there is only one.
        acquired: when the image was taken, on the local clock, as the ECG's time: a time zone is
            not used, and a warning says so where only one of the two has one.
        image_kind: ``PSIR``, ``magnitude`` or ``phase``, else ``unknown type``.

    Raises:
        StudyError: shapes do not fit, a value is not a number, not finite or not plausible, the
            kind of image is none of these, it is no short axis, or the slices are not in order
            along row × column direction.
    """
    values = float_pixels(_numbers(pixels, "pixels are"))
    spacing = _numbers(pixel_spacing_mm, "pixel spacing is").astype(np.float64)
    row, column = _axes(_numbers(image_orientation, "orientation is").astype(np.float64))
    if spacing.shape != (2,):
        raise StudyError("the pixel spacing is not two plausible distances in mm", CHECK)
    stack = LgeStack(
        pixels=values,
        pixel_spacing_mm=(float(spacing[0]), float(spacing[1])),
        origins_mm=_numbers(image_positions_mm, "positions are").astype(np.float64),
        row_direction=row,
        column_direction=column,
        slice_thickness_mm=slice_thickness_mm,
        source="array",
        acquired=acquired,
        image_kind=image_kind,
    )
    check_stack(stack)
    return replace(stack, warnings=tuple(_stack_warnings(stack)))


def _numbers(given: ArrayLike, what: str) -> NDArray[Any]:
    """It as an array of its own type. Raises StudyError for anything but plain numbers."""
    values = as_plain(given)
    if values is None:
        raise StudyError(
            f"the {what} not an array of numbers",
            "Give real numbers without a mask, in a list or an array of numpy",
        )
    return values


def _axes(orientation: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    axes = unit_axes(orientation[:3], orientation[3:]) if orientation.shape == (6,) else None
    if axes is None:
        raise StudyError("the orientation is not two orthogonal unit vectors", CHECK)
    return axes


def _stack_warnings(stack: LgeStack) -> Iterator[str]:
    """Warn of what is odd about the stack's geometry."""
    tilt = short_axis_tilt_deg(stack.normal)
    if tilt > SHORT_AXIS_TRUST_DEG:
        yield (
            f"The slices are tilted by {tilt:.0f}° against a usual short-axis view: "
            "check the view, and base, apex and walls in the pictures."
        )
    counted = counted_from(stack.normal)
    yield from step_warnings(stack.slice_positions_mm, counted)
    axes = stack.row_direction, stack.column_direction
    yield from beside_warnings(np.asarray(stack.origins_mm), axes, counted)
