"""Checks of a stack that a host gives: what our readers make sure of, hosts cannot."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.host.plain_numbers import is_plain
from scarseg_infer.study.geometry.orientation import SHORT_AXIS_LIMIT_DEG, short_axis_tilt_deg
from scarseg_infer.study.geometry.slice_plane import (
    MAX_COORDINATE_MM,
    MAX_SLICE_HEIGHT_MM,
    MIN_SLICE_HEIGHT_MM,
    SAME_POSITION_MM,
    plausible_spacing,
    unit_axes,
)
from scarseg_infer.study.label_map import check_no_label_map
from scarseg_infer.study.pixel_order import check_row_length
from scarseg_infer.study.rescale import rescaled
from scarseg_infer.study.size import check_size
from scarseg_infer.study.stack import ImageKind, LgeStack
from scarseg_runtime.errors import StudyError

CHECK: Final = "Give geometry as DICOM does, in mm"
_NOT_FINITE: Final = ("the pixels are not a finite array [slices, rows, columns]", CHECK)


def check_picture(pixels: NDArray[np.float32]) -> None:
    """Check that pixels [S, H, W], whoever gives them, are an image. Raises StudyError."""
    check_no_label_map(pixels)
    check_row_length(pixels)


def check_stack(stack: LgeStack) -> None:
    """Check that a stack can be segmented and its results be placed.

    Raises:
        StudyError: shapes do not fit, a value is not finite or not plausible, the kind of image
            is unheard of, the slices are not in order along row × column direction, or, of arrays,
            it is no short axis.
    """
    check_picture(float_pixels(stack.pixels))
    _check_geometry(stack)
    _check_order(stack)
    if stack.acquired is not None and not isinstance(stack.acquired, datetime):
        raise StudyError("the time of the image is not a datetime", "Leave it out if unknown")
    kinds = get_args(ImageKind)
    if not isinstance(stack.image_kind, str) or stack.image_kind not in kinds:
        raise StudyError("there is no such kind of image", f"Known: {', '.join(kinds)}")
    if len(stack.datasets) != (len(stack.pixels) if stack.source == "dicom" else 0):
        raise StudyError(
            "the stack does not have one DICOM header for each slice",
            "Read it with read_study, or give it the source 'array' and no headers",
        )


def float_pixels(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """A copy of a host's pixels as the network takes them.

    Raises:
        StudyError: they are no finite stack, too many, or no image: so large, so flat or so far
            from zero that float32 cannot tell them apart.
    """
    if not is_plain(pixels) or pixels.ndim != 3 or min(pixels.shape) < 1:
        raise StudyError(*_NOT_FINITE)
    slices, rows, columns = pixels.shape
    check_size(slices, rows, columns, "Give one short-axis LGE stack")
    try:
        found = rescaled(pixels, 1, 0)
    except StudyError as error:
        raise StudyError(
            "the pixel values are not those of an MR image",
            "Check their scale and offset; give what DICOM has after rescale",
        ) from error
    if found is None:
        raise StudyError(*_NOT_FINITE)
    return np.ascontiguousarray(found)


def _check_geometry(stack: LgeStack) -> None:
    """Raises StudyError unless spacing, positions, axes and thickness are plausible."""
    spacing_mm, origins_mm = np.asarray(stack.pixel_spacing_mm), stack.origins_mm
    if not is_plain(spacing_mm, (2,)) or not plausible_spacing(spacing_mm.tolist()):
        raise StudyError("the pixel spacing is not two plausible distances in mm", CHECK)
    # Not a number fails the comparison, too.
    places = is_plain(origins_mm, (len(stack.pixels), 3))
    if not places or not (np.abs(origins_mm) <= MAX_COORDINATE_MM).all():
        raise StudyError("the positions are not one place [x, y, z] in mm for each slice", CHECK)
    row, column = stack.row_direction, stack.column_direction
    plain = is_plain(row, (3,)) and is_plain(column, (3,))
    if not plain or unit_axes(row, column) is None:
        raise StudyError("the orientation is not two orthogonal unit vectors", CHECK)
    height = stack.slice_thickness_mm
    if height is None:
        plausible = len(stack.pixels) > 1
    else:
        plausible = is_plain(np.asarray(height), ()) and 0 < height <= MAX_SLICE_HEIGHT_MM
        if len(stack.pixels) == 1:  # the height of others follows from their positions
            plausible = plausible and height >= MIN_SLICE_HEIGHT_MM
    if not plausible:
        raise StudyError("the slice thickness is missing or not plausible in mm", CHECK)


def _check_order(stack: LgeStack) -> None:
    """Raises StudyError where the slices make no stack. Readers bear with what is odd in a file,
    and say so; arrays that are odd in that way are a mistake in a program."""
    tilt = short_axis_tilt_deg(stack.normal)
    given = stack.source == "array"
    if given and stack.orientation_known and tilt > SHORT_AXIS_LIMIT_DEG:
        raise StudyError(
            f"the slices are tilted by {tilt:.0f}° against a usual short-axis view", CHECK
        )
    least, most = (SAME_POSITION_MM, MAX_SLICE_HEIGHT_MM) if given else (0.0, np.inf)
    steps = np.diff(stack.slice_positions_mm)
    if not ((steps > 0.0) & (steps >= least) & (steps <= most)).all():
        raise StudyError(
            "the slices do not follow each other along row × column direction",
            "Reverse their order, or check the positions",
        )
