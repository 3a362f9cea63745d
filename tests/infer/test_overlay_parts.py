"""Contours are computed in the part of a tile that holds them: nothing of them may be lost."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from scarseg_infer.write.report.overlay import Frame, _Area

SIDE = 120
CROSS = ndimage.generate_binary_structure(2, 1)


def drawn(area: _Area | None, what: str) -> NDArray[np.bool_]:
    """The area, or its edge, on a whole tile."""
    tile = np.zeros((SIDE, SIDE), bool)
    if area is not None:
        tile[area.part] = area.inside if what == "inside" else area.edge()
    return tile


@pytest.mark.parametrize("seed", range(30))
def test_a_part_of_a_tile_holds_all_of_a_mask(seed: int) -> None:
    """Also of masks that reach beyond the tile, or lie outside of it."""
    random = np.random.default_rng(seed)
    mask = np.zeros((50, 40), bool)
    row, column = random.integers(0, 35), random.integers(0, 30)
    mask[row : row + random.integers(1, 25), column : column + random.integers(1, 25)] = True
    mask &= random.random(mask.shape) < random.choice([0.7, 1.0])
    centre = (random.uniform(5, 45), random.uniform(5, 35))
    spacing = (random.uniform(0.8, 2.1), random.uniform(0.8, 2.1))
    frame = Frame(centre, random.uniform(15, 90), spacing, random.uniform(-180, 180))
    area = _Area.of(mask, frame, SIDE)
    whole = frame.enlarged(mask, SIDE) > 0.5
    assert np.array_equal(drawn(area, "inside"), whole)
    core = ndimage.binary_erosion(whole, CROSS, iterations=3, border_value=1)
    assert np.array_equal(drawn(area, "edge"), whole & ~core)


def test_what_is_not_there_takes_no_time() -> None:
    frame = Frame((25.0, 20.0), 40.0, (1.0, 1.0), 10.0)
    assert frame.part_of(np.zeros((50, 40), bool), SIDE) is None
    small = np.zeros((50, 40), bool)
    small[24:26, 19:21] = True
    part = frame.part_of(small, SIDE)
    assert part is not None
    assert all(0 < side.stop - side.start < SIDE // 2 for side in part)
