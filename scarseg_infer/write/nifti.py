"""Labels as NIfTI, on the grid of the source where NIfTI can hold that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.study.geometry.straight_grid import StraightGrid, straight_grid

if TYPE_CHECKING:
    from scarseg_infer.result import ScarResult

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT


def write_nifti(result: ScarResult, path: Path) -> None:
    """Write the labels (values of contract.Label) as ``path`` (.nii.gz), array axes x, y, z.

    NIfTI knows one constant step from slice to slice. Slices of a stack that drifts are moved by
    whole pixels onto one straight grid, and gaps are filled with empty slices, so that both of its
    affines, of which readers take either, say the same; the DICOM outputs keep every slice's own
    position.
    """
    import nibabel

    grid = straight_grid(result.stack)
    image = nibabel.Nifti1Image(grid.place(result.labels).transpose(2, 1, 0), ras_affine(grid))
    image.header.set_xyzt_units("mm")
    image.set_sform(image.affine, _SCANNER)
    image.set_qform(image.affine, _SCANNER)
    off = f"; up to {grid.left_mm.max():.1f} mm off" if grid.left_mm.max() >= 0.05 else ""
    image.header["descrip"] = f"scarseg-infer labels; research use only{off}".encode()
    nibabel.save(image, path)


def ras_affine(grid: StraightGrid) -> NDArray[np.float64]:
    """[4, 4] voxel (column, row, slice) → RAS mm."""
    return np.asarray(_LPS_TO_RAS @ grid.affine_lps)
