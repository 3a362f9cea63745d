"""AHA-17 numbering against a definition written down independently."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scarseg_runtime.atlas import (
    RING_ENDS,
    SEGMENT_NAMES,
    TERRITORIES,
    segment_at,
    segments_on,
)

# Centre of each wall region as a display angle (anticlockwise from image right) in a heart whose
# anterior RV insertion lies at 120 degrees: anterior on top, septum left (Cerqueira 2002).
SIX = {"anterior": 90, "anteroseptal": 150, "inferoseptal": 210, "inferior": 270,
       "inferolateral": 330, "anterolateral": 30}  # fmt: skip
FOUR = {"anterior": 90, "septal": 180, "inferior": 270, "lateral": 0}
RINGS = {"basal": 0.1, "mid": 0.5, "apical": 0.7}


@pytest.mark.parametrize("number", range(1, 17))
def test_each_segment_lies_where_its_name_says(number: int) -> None:
    ring, region = SEGMENT_NAMES[number - 1].split()
    display = (FOUR if ring == "apical" else SIX)[region]
    assert int(segment_at(display - 120.0, RINGS[ring])) == number


def test_the_apex_is_segment_17_at_any_angle() -> None:
    assert set(segment_at(np.arange(0, 360, 7), 0.95).tolist()) == {17}


def test_the_anterior_insertion_parts_segments_1_and_2() -> None:
    assert segment_at([-0.1, 0.1], 0.1).tolist() == [1, 2]
    assert segment_at([119.9, 120.1], 0.1).tolist() == [3, 4]


def test_territories_partition_the_segments() -> None:
    numbers = [number for territory in TERRITORIES.values() for number in territory]
    assert sorted(numbers) == list(range(1, 18))


@given(st.floats(-1000, 1000), st.floats(0, 1))
def test_angles_repeat_after_a_turn(angle: float, level: float) -> None:
    if abs(angle / 15 - round(angle / 15)) < 1e-6:
        return  # on a boundary rounding decides
    assert segment_at(angle, level) == segment_at(angle + 360.0, level)


def test_rings_are_in_order_and_share_the_wall_as_in_the_template() -> None:
    assert np.allclose(np.diff([0.0, *RING_ENDS, 1.0]), [0.32, 0.30, 0.30, 0.08])


def test_a_filled_hole_joins_the_segment_around_it() -> None:
    wall = np.zeros((2, 12, 12), bool)
    wall[0, 2:9, 2:9] = True
    segments = np.where(wall, 5, 0).astype(np.uint8)
    segments[0, 4:7, 4:7] = 0  # a hole that the clean-up filled
    segments[0, 10, 10] = 9  # wall that the clean-up removed
    assert np.array_equal(segments_on(wall, segments), np.where(wall, 5, 0))


def test_wall_without_any_segment_stays_without() -> None:
    wall = np.zeros((1, 5, 5), bool)
    wall[0, 0, 0] = True
    assert not segments_on(wall, np.zeros((1, 5, 5), np.uint8)).any()
