"""Pictures show lengths as they are and do not claim what is not known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from scarseg_infer.result import ScarResult
from scarseg_infer.study.stack import LgeStack
from scarseg_infer.write.report.bullseye import bullseye_image
from scarseg_infer.write.report.drawing import EPICARDIUM, WARNING
from scarseg_infer.write.report.overlay import TILE, overlay_image

MakeResult = Callable[..., ScarResult]
MakeStack = Callable[..., LgeStack]


def near(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(image.astype(int) - colour).max(axis=2) < 40


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0), (1.0, 0.7), (0.6, 1.0)])
def test_round_ventricle_is_drawn_round(
    make_result: MakeResult, make_stack: MakeStack, spacing_mm: tuple[float, float]
) -> None:
    """The ventricle of ``make_result`` is a circle in millimetres, whatever the pixels are."""
    stack = replace(make_stack(1, (96, 96)), pixel_spacing_mm=spacing_mm)
    page = np.asarray(overlay_image(make_result(stack)))
    left = (page.shape[1] - TILE) // 2
    rows, columns = np.nonzero(near(page[66 : 66 + TILE, left : left + TILE], EPICARDIUM))
    assert np.ptp(rows) / np.ptp(columns) == pytest.approx(1.0, abs=0.06)


def test_one_slice_is_neither_base_nor_apex(make_result: MakeResult, make_stack: MakeStack) -> None:
    """The words beside the number would be bright over the dark margin; there are none."""
    stack = make_stack(1)
    dark = replace(stack, pixels=np.zeros_like(stack.pixels))
    page = np.asarray(overlay_image(make_result(dark, lv=False))).astype(int)
    left = (page.shape[1] - TILE) // 2
    header = page[66 + 4 : 66 + 24, left + 8 : left + TILE - 8]
    assert header[:, :16].max() > 200  # the number
    assert header[:, 24:].max() < 60  # nothing after it


@pytest.mark.parametrize("known", [True, False])
def test_assumed_walls_are_marked_as_assumed(
    make_result: MakeResult, make_stack: MakeStack, known: bool
) -> None:
    result = make_result(replace(make_stack(6), orientation_known=known))
    heading = np.asarray(bullseye_image(result))[:80]
    assert near(heading, WARNING).any() != known
