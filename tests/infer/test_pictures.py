"""Pictures: right places, right colours, right orientation, whatever the number of slices."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from scarseg_infer.write.report.bullseye import bullseye_image, colour_of, segment_wedge
from scarseg_infer.write.report.drawing import ENDOCARDIUM, EPICARDIUM, SCAR
from scarseg_infer.write.report.overlay import TILE, overlay_image
from scarseg_runtime.atlas import segment_at


def share_of(image: np.ndarray, colour: tuple[int, int, int]) -> float:
    near = np.abs(image.astype(int) - colour).max(axis=2) < 40
    return float(near.mean())


@pytest.mark.parametrize("slices", [1, 7, 12, 30])
def test_the_montage_holds_every_slice_and_every_contour(
    make_result: Callable, make_stack: Callable, slices: int
) -> None:
    image = np.asarray(overlay_image(make_result(make_stack(slices))))
    body = image[66:-46]  # below the legend
    for colour in (ENDOCARDIUM, EPICARDIUM) + ((SCAR,) if slices > 1 else ()):
        assert share_of(body, colour) > 0.001
    tiles = (body.shape[0] // TILE) * (body.shape[1] // TILE)
    assert tiles >= slices


def test_the_lateral_scar_is_drawn_on_the_right(
    make_result: Callable, make_stack: Callable
) -> None:
    image = np.asarray(overlay_image(make_result(make_stack(6)))).astype(int)
    left = (image.shape[1] - 3 * (TILE + 6) + 6) // 2
    tile = image[66 : 66 + TILE, left + TILE + 6 : left + 2 * TILE + 6]  # the second slice
    yellow = np.abs(tile - SCAR).max(axis=2) < 40
    assert yellow.any()
    assert np.nonzero(yellow)[1].mean() > TILE * 0.6


def test_no_ventricle_still_gives_a_picture(make_result: Callable, make_stack: Callable) -> None:
    result = make_result(make_stack(), lv=False)
    assert overlay_image(result).size[0] > 0 and bullseye_image(result).size[0] > 0


@pytest.mark.parametrize("number", range(1, 18))
def test_wedges_lie_where_the_atlas_puts_them(number: int) -> None:
    inner, outer, start, end = segment_wedge(number)
    level = 1.0 - (inner + outer) / 2  # the rim of the map is the base
    level = {0.125: 0.1, 0.375: 0.5, 0.625: 0.7}.get(level, 0.95)
    for angle in (start + 1, (start + end) / 2, end - 1):
        assert int(segment_at(angle - 120.0, level)) == number


def test_the_map_is_coloured_by_burden(make_result: Callable, make_stack: Callable) -> None:
    result = make_result(make_stack(12))
    image = np.asarray(bullseye_image(result))
    for segment in result.quantities.segments[:16]:
        inner, outer, start, end = segment_wedge(segment.number)
        turn = math.radians(start + 0.2 * (end - start))  # beside the words
        reach = 210 * (inner + outer) / 2
        pixel = image[round(318 - reach * math.sin(turn)), round(285 + reach * math.cos(turn))]
        assert np.abs(pixel.astype(int) - colour_of(segment.burden)).max() < 30


def test_the_scale_falls_in_lightness() -> None:
    light = [sum(colour_of(share / 20)) for share in range(21)]
    assert all(a > b for a, b in pairwise(light))
    assert colour_of(None) != colour_of(0.0)
