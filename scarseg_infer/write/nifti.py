"""Labels as NIfTI on the grid of the source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.study.stack import LgeStack

if TYPE_CHECKING:
    from scarseg_infer.result import ScarResult

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT


def write_nifti(result: ScarResult, path: Path) -> None:
    """Write the labels (values of contract.Label) as ``path`` (.nii.gz), array axes x, y, z."""
    import nibabel

    image = nibabel.Nifti1Image(result.labels.transpose(2, 1, 0), ras_affine(result.stack))
    image.header.set_xyzt_units("mm")
    image.set_sform(image.affine, _SCANNER)
    image.set_qform(_straight(result.stack, image.affine), _SCANNER)
    image.header["descrip"] = b"scarseg-infer labels; research use only"
    nibabel.save(image, path)


def ras_affine(stack: LgeStack) -> NDArray[np.float64]:
    """[4, 4] voxel (column, row, slice) → RAS mm.

    NIfTI knows one constant step from slice to slice. Where origins drift or a slice is
    missing it is that of the straight line that fits best; the DICOM outputs keep every slice's
    own position.
    """
    first, step = stack.origins_mm[0], stack.normal * (stack.slice_thickness_mm or 1.0)
    if len(stack.origins_mm) > 1:
        step, first = np.polyfit(np.arange(len(stack.origins_mm)), stack.origins_mm, 1)
    affine = np.eye(4)
    affine[:3, 0] = stack.row_direction * stack.pixel_spacing_mm[1]
    affine[:3, 1] = stack.column_direction * stack.pixel_spacing_mm[0]
    affine[:3, 2] = step
    affine[:3, 3] = first
    return _LPS_TO_RAS @ affine


def _straight(stack: LgeStack, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """``affine`` without lean, for readers that know rotations only (a qform cannot shear).

    In-plane axes stay exact and the middle of the stack stays in place.
    """
    normal = _LPS_TO_RAS[:3, :3] @ stack.normal
    step = (affine[:3, 2] @ normal) * normal
    straight = affine.copy()
    straight[:3, 3] += (affine[:3, 2] - step) * (len(stack.pixels) - 1) / 2
    straight[:3, 2] = step
    return straight
