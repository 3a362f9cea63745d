"""Stacks that are not straight or even: what is said of them, and what is written as NIfTI."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import pytest

from scarseg_infer.result import ScarResult
from scarseg_infer.study.from_arrays import stack_from_arrays
from scarseg_infer.study.geometry.orientation import LATERAL_WALL
from scarseg_infer.study.geometry.straight_grid import grid_warnings, straight_grid
from scarseg_infer.study.read import read_study
from scarseg_infer.study.stack import LgeStack
from scarseg_infer.write.nifti import write_nifti
from scarseg_runtime.contract import Label


@pytest.fixture
def drifting(make_stack: Callable[..., LgeStack]) -> LgeStack:
    """In-plane origins that wander by 24 mm over the stack, as seen on real PSIR."""
    stack = make_stack(7)
    lean = np.linspace(0, 24, 7)[:, None] + np.array([0, 1, -1, 2, 0, -2, 0])[:, None]
    return replace(stack, origins_mm=stack.origins_mm + lean * stack.row_direction)


def centres_ras(stack: LgeStack) -> np.ndarray:
    """[S, 3] centre of each slice by the definition of LgeStack, in RAS."""
    rows, columns = (n - 1 for n in stack.pixels.shape[1:])
    offset = (
        columns / 2 * stack.pixel_spacing_mm[1] * stack.row_direction
        + rows / 2 * stack.pixel_spacing_mm[0] * stack.column_direction
    )
    return (stack.origins_mm + offset) * [-1, -1, 1]


def places_ras(stack: LgeStack, label: np.ndarray) -> dict[int, np.ndarray]:
    """Centre of a label in each slice, in RAS, from the geometry of the stack."""
    found = {}
    for index, image in enumerate(label):
        rows, columns = (axis.mean() for axis in np.nonzero(image))
        found[index] = (
            stack.origins_mm[index]
            + columns * stack.pixel_spacing_mm[1] * stack.row_direction
            + rows * stack.pixel_spacing_mm[0] * stack.column_direction
        ) * [-1, -1, 1]
    return found


def places_in(path: Path, form: str, label: int) -> list[np.ndarray]:
    """The same from a NIfTI file by one of its affines, slice by slice, without our code."""
    image = nibabel.load(path)
    affine = image.get_sform() if form == "sform" else image.get_qform()
    volume = np.asarray(image.dataobj) == label
    found = []
    for k in range(volume.shape[2]):
        if volume[:, :, k].any():
            i, j = (axis.mean() for axis in np.nonzero(volume[:, :, k]))
            found.append((affine @ [i, j, k, 1])[:3])
    return found


def check(result: ScarResult, path: Path, most_mm: float) -> None:
    """Both affines put the cavity of every slice where it is, and no voxel is lost."""
    write_nifti(result, path)
    truth = places_ras(result.stack, result.labels == Label.LV_CAVITY)
    left = straight_grid(result.stack).left_mm
    for form in ("sform", "qform"):
        found = places_in(path, form, Label.LV_CAVITY)
        assert len(found) == len(truth)
        off = np.linalg.norm(np.array(found) - np.array(list(truth.values())), axis=1)
        assert off.max() < most_mm
        np.testing.assert_allclose(off, left, atol=2e-3)
    image = nibabel.load(path)
    np.testing.assert_allclose(image.get_sform(), image.get_qform(), atol=1e-3)
    stored = np.asarray(image.dataobj)
    for value in np.unique(result.labels):
        if value:
            assert (stored == value).sum() == (result.labels == value).sum()


def test_drifting_stack(
    drifting: LgeStack, make_result: Callable[..., ScarResult], tmp_path: Path
) -> None:
    check(make_result(drifting), tmp_path / "scar.nii.gz", 0.5 * np.hypot(1.0, 0.9) + 0.01)
    (warning,) = grid_warnings(drifting)
    assert "slices are moved in plane" in warning
    assert " mm from their place" in warning


def test_one_slice_far_off(
    make_stack: Callable[..., LgeStack], make_result: Callable[..., ScarResult], tmp_path: Path
) -> None:
    stack = make_stack(7)
    origins = stack.origins_mm.copy()
    origins[2] += 12.6 * stack.row_direction - 7.0 * stack.column_direction  # whole pixels
    stack = replace(stack, origins_mm=origins)
    check(make_result(stack), tmp_path / "scar.nii.gz", 0.01)
    assert straight_grid(stack).off_pixels == 1


@pytest.mark.parametrize("missing", [[3], [2, 3], [1, 4, 5]])
def test_missing_slices_are_empty(
    make_stack: Callable[..., LgeStack],
    make_result: Callable[..., ScarResult],
    tmp_path: Path,
    missing: list[int],
) -> None:
    stack = make_stack(8)
    kept = [index for index in range(8) if index not in missing]
    stack = replace(stack, pixels=stack.pixels[kept], origins_mm=stack.origins_mm[kept])
    result = make_result(stack)
    check(result, tmp_path / "scar.nii.gz", 0.01)
    stored = np.asarray(nibabel.load(tmp_path / "scar.nii.gz").dataobj)
    assert stored.shape[2] == 8
    assert not stored[:, :, missing].any()
    (warning,) = grid_warnings(stack)
    assert "up to 0.0 mm from their place" in warning
    assert "less volume than result.json" in warning


def test_uneven_steps_say_what_is_left(
    make_stack: Callable[..., LgeStack], make_result: Callable[..., ScarResult], tmp_path: Path
) -> None:
    stack = make_stack(6)
    steps = np.array([0.0, 8.0, 17.0, 24.0, 34.5, 41.0])[:, None]
    stack = replace(stack, origins_mm=stack.origins_mm[0] + steps * stack.normal)
    check(make_result(stack), tmp_path / "scar.nii.gz", 2.0)
    left = straight_grid(stack).left_mm.max()
    assert f"up to {left:.1f} mm from their place" in grid_warnings(stack)[0]
    header = nibabel.load(tmp_path / "scar.nii.gz").header
    assert f"up to {left:.1f} mm off" in bytes(header["descrip"]).decode()


def test_even_stack_is_exact(
    make_stack: Callable[..., LgeStack], make_result: Callable[..., ScarResult], tmp_path: Path
) -> None:
    stack = make_stack(5)
    result = make_result(stack)
    check(result, tmp_path / "scar.nii.gz", 1e-3)
    stored = np.asarray(nibabel.load(tmp_path / "scar.nii.gz").dataobj)
    np.testing.assert_array_equal(stored.transpose(2, 1, 0), result.labels)
    assert grid_warnings(stack) == ()


def test_a_wild_gap_takes_no_memory(make_stack: Callable[..., LgeStack]) -> None:
    stack = make_stack(5)
    origins = stack.origins_mm.copy()
    origins[3:] += 5000.0 * stack.normal + 4000.0 * stack.row_direction
    grid = straight_grid(replace(stack, origins_mm=origins))
    assert grid.shape[0] < 20
    assert grid.shape[2] < 2 * stack.pixels.shape[2]
    assert grid.left_mm.max() > 100


# --- slices beside the line of the others ---------------------------------------------------


@pytest.mark.parametrize(("index", "off_mm"), [(0, 20.0), (3, 20.0), (3, 3.0), (8, -20.0)])
@pytest.mark.parametrize("lean", [0.0, 3.0])
def test_a_slice_beside_the_others_is_named(
    make_stack: Callable[..., LgeStack], index: int, off_mm: float, lean: float
) -> None:
    stack = make_stack(9)
    origins = stack.origins_mm + lean * np.arange(9)[:, None] * stack.column_direction
    origins[index] += off_mm * stack.row_direction
    (warning,) = stack_from_arrays(
        stack.pixels, stack.pixel_spacing_mm, origins,
        [*stack.row_direction, *stack.column_direction],
    ).warnings  # fmt: skip
    assert f"Slice {index + 1} lies up to {abs(off_mm):.0f} mm in plane beside" in warning


def test_a_slice_beside_the_others_in_dicom(tmp_path: Path, dicom_factory: ModuleType) -> None:
    drift = np.zeros((6, 3))
    drift[[1, 4]] = 20.0 * LATERAL_WALL
    dicom_factory.write(tmp_path, dicom_factory.series(drift_mm=drift))
    assert any(
        "Slices 2 and 5 lie up to 20 mm in plane beside" in warning
        for warning in read_study(tmp_path).warnings
    )


def test_a_pixel_of_unrest_is_no_news(tmp_path: Path, dicom_factory: ModuleType) -> None:
    drift = np.array([0, 1, -1, 1, 0, -1])[:, None] * LATERAL_WALL
    dicom_factory.write(tmp_path, dicom_factory.series(drift_mm=drift))
    assert not any("beside" in warning for warning in read_study(tmp_path).warnings)
