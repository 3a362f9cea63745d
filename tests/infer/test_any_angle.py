"""The same study turned by any angle gives the same answer, within 2 % of LV mass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import affine_transform

from scarseg_infer import Segmenter, read_study
from scarseg_infer.demo import DEMO_STUDY
from scarseg_infer.result import ScarResult
from scarseg_infer.study.stack import LgeStack

POINTS = 2.0
"""Of LV mass by which answers may differ."""


def turned(stack: LgeStack, degrees: float) -> LgeStack:
    """The stack on a grid turned clockwise about the middle of its image: pixels and axes, so that
    everything stays where it is in the patient."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    row_mm, column_mm = stack.pixel_spacing_mm
    middle = (np.array(stack.pixels.shape[1:]) - 1) / 2
    # New axes in the old ones, along (rows, columns) in mm, then in pixels.
    axes = np.array([[c, -s], [s, c]])
    matrix = np.diag([1 / row_mm, 1 / column_mm]) @ axes @ np.diag([row_mm, column_mm])
    pixels = np.stack(
        [
            affine_transform(plane, matrix, middle - matrix @ middle, order=1, cval=plane.min())
            for plane in stack.pixels
        ]
    ).astype(np.float32)
    right = c * stack.row_direction - s * stack.column_direction
    down = s * stack.row_direction + c * stack.column_direction
    corner = middle * stack.pixel_spacing_mm
    origins = (
        stack.origins_mm
        + corner[0] * stack.column_direction + corner[1] * stack.row_direction
        - corner[0] * down - corner[1] * right
    )  # fmt: skip
    return replace(
        stack, pixels=pixels, row_direction=right, column_direction=down, origins_mm=origins
    )


def scar_percent(result: ScarResult) -> float:
    percent = result.quantities.scar_percent_of_lv_mass
    assert percent is not None
    return percent


@pytest.mark.parametrize("degrees", [30.0, 44.0, 46.0, 90.0, 137.0, -100.0])
def test_demo_at_any_angle(segmenter: Segmenter, degrees: float) -> None:
    stack = read_study(DEMO_STUDY)
    plain, other = (segmenter.run(s) for s in (stack, turned(stack, degrees)))
    assert scar_percent(other) == pytest.approx(scar_percent(plain), abs=POINTS)
    burdens = [np.array([s.burden or 0.0 for s in r.quantities.segments]) for r in (plain, other)]
    # AHA segments stay on their walls: burdens rise and fall together, not a wall further on.
    assert np.corrcoef(*burdens)[0, 1] > 0.9


def test_real_studies_at_any_angle(segmenter: Segmenter, shared_data: Path) -> None:
    found = []
    for path in sorted((shared_data / "lge-validation").glob("*_image.nii.gz"))[:4]:
        stack = read_study(path)
        results = [segmenter.run(turned(stack, degrees)) for degrees in (0.0, 44.0, 90.0)]
        found.append(float(np.ptp([scar_percent(result) for result in results])))
    assert len(found) == 4
    assert max(found) < POINTS, found
