"""Stack that every study reader yields: one LGE short-axis stack with its geometry."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom import Dataset

ImageKind = Literal["PSIR", "magnitude", "phase", "unknown type"]
"""Reconstruction of an LGE image."""


@dataclass(frozen=True, slots=True, eq=False)
class LgeStack:
    """One LGE short-axis stack on its source grid, slices ordered along the stack normal.

    The frame is the patient's (LPS, mm: x to the patient's left, y to posterior, z to
    superior). Voxel ``[s, r, c]`` has its centre at
    ``origins_mm[s] + c * pixel_spacing_mm[1] * row_direction + r * pixel_spacing_mm[0] *
    column_direction``. Origins are kept per slice since real stacks drift in plane.

    Arrays are not copied; :func:`scarseg_infer.stack_from_arrays` makes a stack that shares nothing
    with its host. A stack is checked when it is run.

    Attributes:
        pixels: [S, H, W] after rescale, any scale; rows and columns as stored in the source.
        pixel_spacing_mm: distance between rows, then between columns (as DICOM PixelSpacing).
        origins_mm: [S, 3] centre of the first voxel of each slice.
        row_direction: [3] unit vector along which the column index grows (first triplet of
            DICOM's).
        column_direction: [3] unit vector along which the row index grows (second triplet of
            DICOM's).
        slice_thickness_mm: height of a slice where there is only one; None where unknown. Heights
            of others follow from their positions.
        source: format of the files; ``array`` where a host made it.
        orientation_known: False where the geometry is not that of a patient's short axis (bare
            NIfTI files).
        acquired: when the image was taken, on the local clock; a time zone is used
            where the ECG has one too. None where the source does not say.
        date_only: True where the source gives a date but no time of day.
        image_kind: ``PSIR``, ``magnitude``, ``phase`` or ``unknown type``: it shifts intensity
            thresholds.
        datasets: source headers, one a slice in slice order, with pixel data unless the slice is a
            frame of an enhanced object; empty unless DICOM.
        frame_numbers: for each of ``datasets``, which frame of its enhanced (multi-frame) object it
            is, from 1; None where the slice is an image of its own.
        warnings: sentences about what was odd in the source; the result repeats them.
    """

    pixels: NDArray[np.float32]
    pixel_spacing_mm: tuple[float, float]
    origins_mm: NDArray[np.float64]
    row_direction: NDArray[np.float64]
    column_direction: NDArray[np.float64]
    slice_thickness_mm: float | None
    source: Literal["dicom", "nifti", "array"]
    orientation_known: bool = True
    acquired: datetime | None = None
    date_only: bool = False
    image_kind: ImageKind = "unknown type"
    datasets: tuple[Dataset, ...] = field(default=(), repr=False)
    frame_numbers: tuple[int | None, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def normal(self) -> NDArray[np.float64]:
        """[3] unit vector normal to the slices (row direction × column direction)."""
        return np.cross(self.row_direction, self.column_direction)

    @property
    def slice_positions_mm(self) -> NDArray[np.float64]:
        """[S] position of each slice along :attr:`normal`, strictly increasing."""
        return np.asarray(self.origins_mm @ self.normal, dtype=np.float64)
