"""Labels in NIfTI lie where the source voxels lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from scarseg_infer.study.nifti import read_nifti
from scarseg_infer.write.nifti import write_nifti


def test_every_voxel_keeps_its_patient_coordinate(
    make_result: Callable, make_stack: Callable, tmp_path: Path
) -> None:
    result = make_result(make_stack())
    write_nifti(result, tmp_path / "scar.nii.gz")
    image = nibabel.load(tmp_path / "scar.nii.gz")
    stack = result.stack
    for s, r, c in [(0, 0, 0), (5, 55, 63), (2, 10, 40)]:
        expected = (
            stack.origins_mm[s]
            + c * stack.pixel_spacing_mm[1] * stack.row_direction
            + r * stack.pixel_spacing_mm[0] * stack.column_direction
        )
        found = (image.affine @ [c, r, s, 1])[:3] * [-1, -1, 1]
        assert found == pytest.approx(expected, abs=1e-3)
        assert image.dataobj[c, r, s] == result.labels[s, r, c]
    assert image.get_data_dtype() == np.uint8
    assert image.header.get_xyzt_units()[0] == "mm"
    assert int(image.header["sform_code"]) == 1 and int(image.header["qform_code"]) == 1


def test_the_volume_goes_back_through_our_own_reader(
    make_result: Callable, make_stack: Callable, tmp_path: Path
) -> None:
    result = make_result(make_stack())
    write_nifti(result, tmp_path / "scar.nii.gz")
    again = read_nifti(tmp_path / "scar.nii.gz")
    assert np.array_equal(again.pixels.astype(np.uint8), result.labels)
    assert again.origins_mm == pytest.approx(result.stack.origins_mm, abs=1e-3)


def test_a_single_slice_has_its_thickness(
    make_result: Callable, make_stack: Callable, tmp_path: Path
) -> None:
    write_nifti(make_result(make_stack(slices=1)), tmp_path / "scar.nii.gz")
    assert nibabel.load(tmp_path / "scar.nii.gz").header.get_zooms()[2] == pytest.approx(8.0)
