"""Places of voxels: any oblique stack, drifting, reversed, uneven, in any order of files.

The expected places come from the equation of PS3.3 C.7.6.2.1.1, applied to what was written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from scarseg_infer.study.geometry.orientation import (
    ANTERIOR_WALL,
    BASE_TO_APEX,
    LATERAL_WALL,
    display_transform,
)
from scarseg_infer.study.geometry.slice_plane import gap_warnings
from scarseg_infer.study.read import read_study
from scarseg_infer.study.stack import LgeStack

COUNT, ROWS, COLUMNS = 6, 5, 4


@dataclass(frozen=True)
class Geometry:
    """A stack as a scanner may write it."""

    tilt_deg: float
    about_deg: float
    in_plane_deg: float
    mirrored: bool
    downwards: bool
    steps_mm: tuple[float, ...]
    drift_mm: tuple[float, ...]
    order: tuple[int, ...]
    enhanced: bool


geometries = st.builds(
    Geometry,
    tilt_deg=st.floats(0, 55),
    about_deg=st.floats(0, 360),
    in_plane_deg=st.floats(0, 360),
    mirrored=st.booleans(),
    downwards=st.booleans(),
    steps_mm=st.tuples(*[st.sampled_from([8.0, 8.1, 10.0, 16.0, 25.0])] * (COUNT - 1)),
    drift_mm=st.tuples(*[st.floats(-12, 12)] * COUNT),
    order=st.permutations(range(COUNT)).map(tuple),
    enhanced=st.booleans(),
)


def turned(vector: np.ndarray, axis: np.ndarray, degrees: float) -> np.ndarray:
    """A vector turned around a unit axis (Rodrigues)."""
    angle = math.radians(degrees)
    along = axis * (axis @ vector)
    return along + (vector - along) * math.cos(angle) + np.cross(axis, vector) * math.sin(angle)


def directions(geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Row and column direction."""
    tilt_axis = turned(LATERAL_WALL, BASE_TO_APEX, geometry.about_deg)
    normal = turned(BASE_TO_APEX, tilt_axis, geometry.tilt_deg)
    row = turned(turned(LATERAL_WALL, tilt_axis, geometry.tilt_deg), normal, geometry.in_plane_deg)
    column = np.cross(normal, row)
    return row, -column if geometry.mirrored else column


def write_stack(
    folder: Path, dicom_factory: ModuleType, enhanced_factory: ModuleType, geometry: Geometry
) -> list[Dataset]:
    """Write a stack; returns its slices as classic images."""
    row, column = directions(geometry)
    normal = np.cross(row, column) * (-1 if geometry.downwards else 1)
    along = np.concatenate([[0.0], np.cumsum(geometry.steps_mm)])
    drift = np.array(geometry.drift_mm)[:, None] * row + along[:, None] * normal
    datasets: list[Dataset] = dicom_factory.series(
        dicom_factory.noise(COUNT, ROWS, COLUMNS),
        row_direction=row,
        column_direction=column,
        step_mm=np.zeros(3),
        drift_mm=drift,
    )
    mixed = [datasets[i] for i in geometry.order]
    dicom_factory.write(folder, [enhanced_factory.enhanced(mixed)] if geometry.enhanced else mixed)
    return datasets


def written_places(datasets: list[Dataset]) -> dict[tuple[int, ...], float]:
    """Every voxel value by its place in the patient, to a hundredth of a millimetre."""
    found = {}
    for image in datasets:
        origin = np.array(image.ImagePositionPatient, float)
        x, y = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
        row_mm, column_mm = map(float, image.PixelSpacing)
        for (i, j), value in np.ndenumerate(image.pixel_array):
            place = origin + x * column_mm * j + y * row_mm * i
            found[tuple(np.round(place * 100).astype(int).tolist())] = float(value)
    return found


def read_places(stack: LgeStack) -> dict[tuple[int, ...], float]:
    """The same of what was read."""
    found = {}
    for (s, r, c), value in np.ndenumerate(stack.pixels):
        place = (
            stack.origins_mm[s]
            + c * stack.pixel_spacing_mm[1] * stack.row_direction
            + r * stack.pixel_spacing_mm[0] * stack.column_direction
        )
        found[tuple(np.round(place * 100).astype(int).tolist())] = float(value)
    return found


@settings(max_examples=60)
@given(geometry=geometries)
def test_every_voxel_keeps_its_place(
    dicom_factory: ModuleType,
    enhanced_factory: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
    geometry: Geometry,
) -> None:
    folder = tmp_path_factory.mktemp("stack")
    datasets = write_stack(folder, dicom_factory, enhanced_factory, geometry)
    stack = read_study(folder)
    written, read = written_places(datasets), read_places(stack)
    # Rounding may put a place on either side of a hundredth.
    places, values = np.array(sorted(written)), [written[place] for place in sorted(written)]
    found = np.array(sorted(read))
    assert np.abs(places - found).max() <= 1
    if np.array_equal(places, found):
        assert values == [read[place] for place in sorted(read)]
    steps = np.diff(stack.slice_positions_mm)
    assert sorted(steps) == pytest.approx(sorted(geometry.steps_mm), abs=1e-5)
    assert (steps > 0).all()
    usual = sorted(geometry.steps_mm)[(COUNT - 2) // 2]
    gaps = sum(step >= 1.5 * usual for step in geometry.steps_mm)
    assert sum("seem" in warning for warning in stack.warnings) == gaps
    # Whatever the storage, the display begins at the base.
    shown = stack.slice_positions_mm[:: -1 if display_transform(stack).reverse_slices else 1]
    towards_apex = (shown[-1] - shown[0]) * (stack.normal @ BASE_TO_APEX)
    assert towards_apex > 0


@pytest.mark.parametrize("offset_mm", [0.0, 0.3])
def test_same_position_twice_is_no_new_slice(
    tmp_path: Path, dicom_factory: ModuleType, offset_mm: float
) -> None:
    """Table jitter below half a millimetre is not a slice pitch."""
    first = dicom_factory.series(SeriesInstanceUID="1.2.3")
    second = dicom_factory.series(
        dicom_factory.noise(seed=3),
        SeriesInstanceUID="1.2.3",
        AcquisitionTime="110000",
        first_mm=np.array([-40.0, 30.0, 12.5]) + offset_mm * BASE_TO_APEX,
    )
    dicom_factory.write(tmp_path, [*first, second[2]])
    stack = read_study(tmp_path)
    assert len(stack.pixels) == 6
    np.testing.assert_array_equal(stack.pixels[2], second[2].pixel_array)


def test_slices_closer_than_usual_are_reported(tmp_path: Path, dicom_factory: ModuleType) -> None:
    along = np.array([0.0, 10.0, 20.0, 24.0, 34.0, 44.0])
    drift = -along[:, None] * BASE_TO_APEX
    dicom_factory.write(tmp_path, dicom_factory.series(step_mm=np.zeros(3), drift_mm=drift))
    (warning,) = read_study(tmp_path).warnings
    assert "Slices 3 and 4 (counted from the apex) are only 4.0 mm apart" in warning


def test_anterior_wall_stays_up(tmp_path: Path, dicom_factory: ModuleType) -> None:
    """The row of voxels nearest to the anterior wall is the first one on display."""
    turns = [
        (LATERAL_WALL, -ANTERIOR_WALL),
        (ANTERIOR_WALL, LATERAL_WALL),
        (-LATERAL_WALL, ANTERIOR_WALL),
    ]
    for number, (row, column) in enumerate(turns):
        folder = tmp_path / f"{number}"
        pixels = np.zeros((6, 8, 8), np.int16)
        index = np.arange(8)
        rows, columns = np.meshgrid(index, index, indexing="ij")
        height = rows * (column @ ANTERIOR_WALL) + columns * (row @ ANTERIOR_WALL)
        pixels[:] = np.round(100 * (height - height.min()))
        dicom_factory.write(
            folder, dicom_factory.series(pixels, row_direction=row, column_direction=column)
        )
        stack = read_study(folder)
        shown = display_transform(stack).to_display(stack.pixels)
        assert (np.diff(shown.mean(axis=2), axis=1) < 0).all()


@pytest.mark.parametrize(
    ("step_mm", "thickness_mm", "says"),
    [
        (10.0, 8.0, ""),
        (16.0, 8.0, ""),
        (17.0, 8.0, "17 mm apart and 8 mm thick"),
        (30.0, 8.0, "30 mm apart and 8 mm thick"),
        (17.6, None, ""),
        (25.0, None, "25 mm apart:"),
        (25.0, 25.0, "25 mm apart:"),
    ],
)
def test_wide_gaps_that_count_as_imaged_are_said(
    step_mm: float, thickness_mm: float | None, says: str
) -> None:
    """Three slices 60 mm apart made a heart of 180 mm without a word."""
    warnings = gap_warnings(np.arange(3) * step_mm, thickness_mm)
    assert [says in warning for warning in warnings] == ([True] if says else [])
    assert gap_warnings(np.zeros(1), thickness_mm) == ()
