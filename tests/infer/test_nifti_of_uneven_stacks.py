"""NIfTI has one step for all slices; what is written where the real stack has several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from scarseg_infer.result import ScarResult
from scarseg_infer.study.stack import LgeStack
from scarseg_infer.write.nifti import write_nifti


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


def through(affine: np.ndarray, stack: LgeStack) -> np.ndarray:
    slices, rows, columns = stack.pixels.shape
    index = np.array([[(columns - 1) / 2, (rows - 1) / 2, s, 1] for s in range(slices)])
    return (index @ affine.T)[:, :3]


def test_drifting_stack(
    drifting: LgeStack, make_result: Callable[..., ScarResult], tmp_path: Path
) -> None:
    write_nifti(make_result(drifting), tmp_path / "scar.nii.gz")
    image = nibabel.load(tmp_path / "scar.nii.gz")
    truth, sform = centres_ras(drifting), through(image.get_sform(), drifting)
    # Only what is not straight about the drift is left, 2 mm by construction.
    assert np.linalg.norm(sform - truth, axis=1).max() < 3.0
    # The qform cannot lean: it keeps in-plane axes and the middle slice instead.
    qform = image.get_qform()
    assert qform[:3, :2] == pytest.approx(image.get_sform()[:3, :2], abs=1e-5)
    assert through(qform, drifting)[3] == pytest.approx(sform[3], abs=1e-3)
    along = [-1, -1, 1] * drifting.normal
    assert through(qform, drifting) @ along == pytest.approx(truth @ along, abs=1e-3)


def test_missing_slice_spoils_no_slice_by_more_than_its_gap(
    make_stack: Callable[..., LgeStack], make_result: Callable[..., ScarResult], tmp_path: Path
) -> None:
    stack = make_stack(8)
    kept = [0, 1, 2, 4, 5, 6, 7]
    stack = replace(stack, pixels=stack.pixels[kept], origins_mm=stack.origins_mm[kept])
    write_nifti(make_result(stack), tmp_path / "scar.nii.gz")
    affine = nibabel.load(tmp_path / "scar.nii.gz").affine
    error = np.linalg.norm(through(affine, stack) - centres_ras(stack), axis=1)
    assert 0.5 < error.max() < 8.0 / 2  # the pitch is 8 mm


def test_even_stack_is_exact(
    make_stack: Callable[..., LgeStack], make_result: Callable[..., ScarResult], tmp_path: Path
) -> None:
    stack = make_stack(5)
    write_nifti(make_result(stack), tmp_path / "scar.nii.gz")
    image = nibabel.load(tmp_path / "scar.nii.gz")
    for affine in (image.get_sform(), image.get_qform()):
        assert through(affine, stack) == pytest.approx(centres_ras(stack), abs=1e-3)
