"""Quantities of shapes whose volume is known on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scarseg_runtime.contract import Label
from scarseg_runtime.errors import StudyError
from scarseg_runtime.quantify.quantities import quantify, slice_heights_mm, transmurality_class

SPACING = (0.8, 0.5)
INNER_MM, OUTER_MM = 20.0, 30.0


def ring(slices: int, scar_deg: tuple[float, float], scar_depth: float) -> tuple:
    """Labels and segments of a cylinder; scar from the endocardium to a share of the wall."""
    rows, columns = np.meshgrid(np.arange(120), np.arange(180), indexing="ij")
    y, x = (rows - 60.3) * SPACING[0], (columns - 88.7) * SPACING[1]
    radius, angle = np.hypot(x, y), np.degrees(np.arctan2(-y, x)) % 360
    labels = np.zeros(radius.shape, np.uint8)
    labels[radius < OUTER_MM] = Label.VIABLE_MYOCARDIUM
    inside = (angle >= scar_deg[0]) & (angle < scar_deg[1])
    depth = (radius - INNER_MM) / (OUTER_MM - INNER_MM)
    labels[(radius < OUTER_MM) & inside & (depth < scar_depth)] = Label.SCAR
    labels[radius < INNER_MM] = Label.LV_CAVITY
    wall = np.isin(labels, (Label.VIABLE_MYOCARDIUM, Label.SCAR))
    segments = np.where(wall, angle // 60 + 1, 0).astype(np.uint8)
    return np.stack([labels] * slices), np.stack([segments] * slices)


def test_volumes_and_masses_of_a_cylinder() -> None:
    labels, segments = ring(4, (0, 60), 2.0)
    found = quantify(labels, segments, SPACING, np.full(4, 9.0))
    wall_ml = math.pi * (OUTER_MM**2 - INNER_MM**2) * 36 / 1000
    assert found.myocardium_ml == pytest.approx(wall_ml, rel=0.01)
    assert found.myocardium_g == pytest.approx(1.05 * found.myocardium_ml)
    assert found.lv_cavity_ml == pytest.approx(math.pi * INNER_MM**2 * 36 / 1000, rel=0.01)
    assert found.scar_ml == pytest.approx(wall_ml / 6, rel=0.02)
    assert found.scar_percent_of_lv_mass == pytest.approx(100 / 6, rel=0.02)
    assert found.segments[0].burden == pytest.approx(1.0)
    assert found.segments[1].burden == 0.0
    assert found.segments[6].burden is None
    assert sum(s.scar_ml for s in found.segments) == pytest.approx(found.scar_ml)


@pytest.mark.parametrize("depth", [0.2, 0.4, 0.6, 0.9])
def test_transmurality_is_the_share_of_the_depth_not_of_the_area(depth: float) -> None:
    labels, segments = ring(3, (65, 115), depth)
    segment = quantify(labels, segments, SPACING, np.full(3, 8.0)).segments[1]
    assert segment.transmurality == pytest.approx(depth, abs=0.04)
    assert segment.transmurality_class == transmurality_class(depth)
    area = ((INNER_MM + 10 * depth) ** 2 - INNER_MM**2) / (OUTER_MM**2 - INNER_MM**2)
    assert segment.burden == pytest.approx(area * 50 / 60, abs=0.02)


@pytest.mark.parametrize(
    ("share", "name"),
    [(0.0, "0"), (1e-9, "1-25"), (0.25, "1-25"), (0.2501, "26-50"), (0.5, "26-50"),
     (0.75, "51-75"), (0.76, "76-100"), (1.0, "76-100"), (1.0000001, "76-100")],
)  # fmt: skip
def test_class_edges(share: float, name: str) -> None:
    assert transmurality_class(share) == name


def test_an_empty_study_has_no_percentages() -> None:
    empty = np.zeros((2, 8, 8), np.uint8)
    found = quantify(empty, empty, SPACING, np.full(2, 8.0))
    assert found.myocardium_ml == 0 and found.scar_percent_of_lv_mass is None
    assert {s.burden for s in found.segments} == {None}


def test_a_missing_slice_is_shared_by_its_neighbours() -> None:
    heights = slice_heights_mm([0, 10, 20, 40, 50])
    assert heights.tolist() == [10, 10, 15, 15, 10]
    assert heights.sum() == 60  # the same volume as if the slice were there


@given(
    st.lists(st.floats(1, 30), min_size=1, max_size=20),
    st.floats(-500, 500),
)
def test_heights_do_not_depend_on_origin_or_direction(steps: list[float], start: float) -> None:
    positions = start + np.concatenate([[0.0], np.cumsum(steps)])
    heights = slice_heights_mm(positions)
    assert np.allclose(slice_heights_mm(-positions[::-1]), heights[::-1])
    assert np.isclose(heights.sum(), np.sum(steps) + np.median(steps))


def test_a_single_slice_needs_its_thickness() -> None:
    assert slice_heights_mm([3.0], 8.0).tolist() == [8.0]
    for thickness in (None, 0.0, -1.0, math.nan):
        with pytest.raises(StudyError, match="one slice"):
            slice_heights_mm([3.0], thickness)
