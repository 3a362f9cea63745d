"""Pictures stand upright to the degree, whatever the angle of the scanner's grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from scarseg_infer.study.geometry.orientation import (
    ANTERIOR_WALL,
    BASE_TO_APEX,
    LATERAL_WALL,
    DisplayTransform,
    display_transform,
)
from scarseg_infer.study.geometry.upright import (
    turn_by_patient_axes,
    turn_by_right_ventricle,
    upright_turn,
)
from scarseg_infer.study.stack import LgeStack
from scarseg_infer.write.report.overlay import Frame
from scarseg_runtime.contract import Label

AS_STORED = DisplayTransform(False, False, False, False)


def heart(rv_deg: float, spacing_mm: tuple[float, float] = (1.5, 1.5)) -> NDArray[np.uint8]:
    """[3, 90, 80] labels of a round LV and of an RV ``rv_deg`` clockwise from the right of it."""
    rows, columns = np.indices((90, 80))
    y, x = (rows - 40) * spacing_mm[0], (columns - 42) * spacing_mm[1]
    radius, angle = np.hypot(x, y), np.deg2rad(rv_deg)
    labels = np.zeros((90, 80), np.uint8)
    labels[np.hypot(x - 32 * np.cos(angle), y - 32 * np.sin(angle)) < 14] = Label.RV_CAVITY
    labels[radius < 26] = Label.VIABLE_MYOCARDIUM
    labels[radius < 18] = Label.LV_CAVITY
    return np.stack([labels] * 3)


def tilted(degrees: float) -> LgeStack:
    """A short-axis stack whose grid is turned by an angle about the long axis."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    right, down = LATERAL_WALL, -ANTERIOR_WALL
    return LgeStack(
        pixels=np.zeros((3, 90, 80), np.float32),
        pixel_spacing_mm=(1.5, 1.5),
        origins_mm=np.arange(3)[:, None] * 8.0 * BASE_TO_APEX,
        row_direction=c * right + s * down,
        column_direction=c * down - s * right,
        slice_thickness_mm=None,
        source="array",
    )


def apart(first: float, second: float) -> float:
    return abs((first - second + 180.0) % 360.0 - 180.0)


@given(st.floats(-180, 180), st.sampled_from([(1.5, 1.5), (1.2, 1.9)]))
def test_the_found_ventricle_comes_to_the_left(
    degrees: float, spacing_mm: tuple[float, float]
) -> None:
    turn = turn_by_right_ventricle(heart(degrees, spacing_mm), spacing_mm)
    assert turn is not None and apart(degrees + turn, 180.0) < 1.5


@given(st.floats(-180, 180))
def test_patient_axes_tell_what_quarters_leave(degrees: float) -> None:
    stack = tilted(degrees)
    display = display_transform(stack)
    turn = turn_by_patient_axes(stack, display)
    assert turn is not None and abs(turn) <= 45.1
    # The anterior wall as the reordered picture has it, then turned.
    down, right = stack.column_direction, stack.row_direction
    if display.transpose:
        down, right = right, down
    down, right = (-1) ** display.flip_rows * down, (-1) ** display.flip_columns * right
    anterior = np.degrees(np.arctan2(down @ ANTERIOR_WALL, right @ ANTERIOR_WALL))
    assert apart(anterior + turn, -90.0) < 1e-3


def test_the_found_ventricle_decides_unless_it_cannot_be_one() -> None:
    stack = tilted(20.0)
    assert upright_turn(stack, AS_STORED, heart(170.0)) == (pytest.approx(10.0, abs=1.5), ())
    nothing = np.zeros((3, 90, 80), np.uint8)
    assert upright_turn(stack, AS_STORED, nothing) == (pytest.approx(20.0), ())
    turn, warnings = upright_turn(stack, AS_STORED, heart(40.0))
    assert turn == pytest.approx(20.0)
    assert len(warnings) == 1 and "120° from where the patient axes put it" in warnings[0]
    unknown = replace(stack, orientation_known=False)
    assert upright_turn(unknown, AS_STORED, heart(40.0)) == (pytest.approx(140.0, abs=1.5), ())
    assert upright_turn(unknown, AS_STORED, nothing) == (0.0, ())


def test_a_speck_is_no_ventricle() -> None:
    labels = heart(180.0)
    speck = np.where(labels == Label.RV_CAVITY, 0, labels).astype(np.uint8)
    speck[1, 40:46, 10:16] = Label.RV_CAVITY
    assert turn_by_right_ventricle(speck, (1.5, 1.5)) is None


@pytest.mark.parametrize("turn_deg", [0.0, 30.0, -90.0])
def test_an_enlarged_slice_is_turned_clockwise_about_the_middle(turn_deg: float) -> None:
    values = np.zeros((60, 50), np.float32)
    values[8:13, 33:38] = 1.0  # its middle: row 10.5, column 35.5
    frame = Frame.around((slice(0, 41), slice(5, 46)), values.shape, (1.0, 1.0), turn_deg)
    picture = frame.enlarged(values, 410)
    found = [float(n.mean()) + 0.5 for n in np.nonzero(picture > 0.5)]
    y, x = 10.5 - 20.5, 35.5 - 25.5
    c, s = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    expected = [205 + 10 * (s * x + c * y), 205 + 10 * (c * x - s * y)]
    assert found == pytest.approx(expected, abs=1.0)
    assert (picture > 0.5).sum() == pytest.approx(25 * 100, rel=0.08)


def test_pictures_of_one_heart_look_alike_at_any_angle() -> None:
    """The tiles of a heart stored at 0 and at 40 degrees, each turned upright."""
    tiles = []
    for degrees in (0.0, 40.0):
        labels = heart(180.0 + degrees)
        turn = turn_by_right_ventricle(labels, (1.5, 1.5))
        assert turn is not None
        frame = Frame((40.5, 42.5), 90.0, (1.5, 1.5), turn)
        tiles.append(frame.enlarged(labels[1] == Label.RV_CAVITY, 180) > 0.5)
    overlap = 2 * (tiles[0] & tiles[1]).sum() / (tiles[0].sum() + tiles[1].sum())
    assert overlap > 0.93
