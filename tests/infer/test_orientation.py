"""Standard display: what is shown must be the same however the scanner stored it."""

from __future__ import annotations

import warnings
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pydicom
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
    short_axis_tilt_deg,
)
from scarseg_infer.study.read import read_study
from scarseg_infer.study.stack import LgeStack

ALL_TRANSFORMS = [DisplayTransform(*flags) for flags in product((False, True), repeat=4)]
SPACING_MM = (1.5, 1.25)
SHAPE = (4, 6, 5)


def rotated(axis: NDArray[np.float64], angle_deg: float) -> NDArray[np.float64]:
    """[3, 3] rotation about a unit axis (Rodrigues)."""
    x, y, z = axis
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(angle_deg)
    return np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew


def stored(transform: DisplayTransform, turn: NDArray[np.float64]) -> LgeStack:
    """A stack whose standard display is given, stored so that ``transform`` would undo it.

    Its pixels are numbered in display order. ``reverse_slices`` is ignored: slices of a stack
    always lie in increasing order along row × column direction.
    """
    down, right = turn @ -ANTERIOR_WALL, turn @ LATERAL_WALL
    step = 10.0 * (turn @ BASE_TO_APEX)
    slices, rows, columns = np.indices(SHAPE)
    places = (
        slices[..., None] * step
        + rows[..., None] * SPACING_MM[0] * down
        + columns[..., None] * SPACING_MM[1] * right
    )
    values = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    inverse = DisplayTransform(False, transform.transpose, transform.flip_rows,
                               transform.flip_columns)  # fmt: skip
    values = inverse.to_source(values)
    places = np.stack([inverse.to_source(places[..., axis]) for axis in range(3)], axis=-1)
    spacing = inverse.display_spacing(SPACING_MM)  # its own inverse
    row_direction = (places[0, 0, 1] - places[0, 0, 0]) / spacing[1]
    column_direction = (places[0, 1, 0] - places[0, 0, 0]) / spacing[0]
    if np.cross(row_direction, column_direction) @ step < 0:
        values, places = values[::-1], places[::-1]
    return LgeStack(
        pixels=np.ascontiguousarray(values),
        pixel_spacing_mm=spacing,
        origins_mm=places[:, 0, 0].copy(),
        row_direction=row_direction,
        column_direction=column_direction,
        slice_thickness_mm=None,
        source="array",
    )


def places_mm(stack: LgeStack) -> NDArray[np.float64]:
    """[S, H, W, 3] centre of each voxel."""
    slices, rows, columns = np.indices(stack.pixels.shape)
    return (
        stack.origins_mm[slices]
        + columns[..., None] * stack.pixel_spacing_mm[1] * stack.row_direction
        + rows[..., None] * stack.pixel_spacing_mm[0] * stack.column_direction
    )


@pytest.mark.parametrize("transform", ALL_TRANSFORMS)
def test_round_trip(transform: DisplayTransform) -> None:
    volume = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    shown = transform.to_display(volume)
    np.testing.assert_array_equal(transform.to_source(shown), volume)
    assert shown.flags.c_contiguous
    assert shown.shape == (SHAPE if not transform.transpose else (4, 5, 6))


def test_all_transforms_differ() -> None:
    volume = np.arange(27).reshape(3, 3, 3)
    assert len({transform.to_display(volume).tobytes() for transform in ALL_TRANSFORMS}) == 16


def test_axes_are_those_of_the_heart() -> None:
    axes = np.stack([BASE_TO_APEX, ANTERIOR_WALL, LATERAL_WALL])
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    left, posterior, superior = np.eye(3)
    assert BASE_TO_APEX @ left > 0
    assert BASE_TO_APEX @ posterior < 0
    assert BASE_TO_APEX @ superior < 0
    assert ANTERIOR_WALL @ superior > 0.8
    assert LATERAL_WALL @ left > 0
    assert LATERAL_WALL @ posterior > 0  # the septum lies to the right and in front


@pytest.mark.parametrize("storage", ALL_TRANSFORMS[:8])
@given(
    angle=st.floats(-35, 35),
    axis=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1),
)
def test_display_does_not_depend_on_storage(
    storage: DisplayTransform, angle: float, axis: tuple[float, float, float]
) -> None:
    """Any heart within 35° of the usual one is shown the same way, however it was stored."""
    turn = rotated(np.array(axis) / np.linalg.norm(axis), angle)
    stack = stored(storage, turn)
    assert (np.diff(stack.slice_positions_mm) > 0).all()
    transform = display_transform(stack)
    np.testing.assert_array_equal(
        transform.to_display(stack.pixels), np.arange(np.prod(SHAPE)).reshape(SHAPE)
    )
    assert transform.display_spacing(stack.pixel_spacing_mm) == SPACING_MM


@pytest.mark.parametrize("storage", ALL_TRANSFORMS[:8])
def test_values_stay_at_their_place_in_the_patient(storage: DisplayTransform) -> None:
    stack = stored(storage, rotated(LATERAL_WALL, 20.0))
    transform = display_transform(stack)
    places = places_mm(stack)
    shown = np.stack([transform.to_display(places[..., axis]) for axis in range(3)], axis=-1)
    down, right, deeper = (np.diff(shown, axis=axis).mean(axis=(0, 1, 2)) for axis in (1, 2, 0))
    assert down @ -ANTERIOR_WALL > 0.9 * SPACING_MM[0]
    assert right @ LATERAL_WALL > 0.9 * SPACING_MM[1]
    assert deeper @ BASE_TO_APEX > 0.9 * 10.0
    back = np.stack([transform.to_source(shown[..., axis]) for axis in range(3)], axis=-1)
    np.testing.assert_array_equal(back, places)


@pytest.mark.parametrize("angle", [46.0, 60.0])
@pytest.mark.parametrize("storage", ALL_TRANSFORMS[:8])
def test_a_heart_is_never_mirrored(storage: DisplayTransform, angle: float) -> None:
    stack = stored(storage, rotated(np.array([0.6, 0.8, 0.0]), angle))
    transform = display_transform(stack)
    places = places_mm(stack)
    shown = np.stack([transform.to_display(places[..., axis]) for axis in range(3)], axis=-1)
    down, right, deeper = (np.diff(shown, axis=axis).mean(axis=(0, 1, 2)) for axis in (1, 2, 0))
    assert np.cross(right, down) @ deeper < 0  # seen from the apex


def test_unknown_orientation_is_shown_as_stored() -> None:
    stack = stored(ALL_TRANSFORMS[5], np.eye(3))
    unknown = LgeStack(
        pixels=stack.pixels,
        pixel_spacing_mm=stack.pixel_spacing_mm,
        origins_mm=stack.origins_mm,
        row_direction=stack.row_direction,
        column_direction=stack.column_direction,
        slice_thickness_mm=None,
        source="nifti",
        orientation_known=False,
    )
    assert display_transform(unknown) == DisplayTransform(False, False, False, False)


@pytest.mark.parametrize(
    ("normal", "tilt_deg"),
    [(BASE_TO_APEX, 0.0), (-BASE_TO_APEX, 0.0), (ANTERIOR_WALL, 90.0), (LATERAL_WALL, 90.0)],
)
def test_tilt(normal: NDArray[np.float64], tilt_deg: float) -> None:
    assert short_axis_tilt_deg(normal) == pytest.approx(tilt_deg, abs=1e-5)


@pytest.mark.parametrize("axis", np.eye(3).tolist())
def test_planes_along_the_body_are_not_trusted(axis: list[float]) -> None:
    assert short_axis_tilt_deg(np.array(axis)) > 45.0


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("storage", ALL_TRANSFORMS[:8])
def test_dicom_series_in_any_storage_look_alike(
    tmp_path: Path, dicom_factory: ModuleType, storage: DisplayTransform, reverse: bool
) -> None:
    """The whole way from files: all 16 storages of one volume give one display volume."""
    stack = stored(storage, rotated(BASE_TO_APEX, 15.0))
    datasets = dicom_factory.series(
        stack.pixels.astype(np.int16),
        row_direction=stack.row_direction,
        column_direction=stack.column_direction,
        first_mm=stack.origins_mm[0],
        step_mm=stack.origins_mm[1] - stack.origins_mm[0],
        spacing_mm=stack.pixel_spacing_mm,
    )
    dicom_factory.write(tmp_path, datasets[::-1] if reverse else datasets)
    read = read_study(tmp_path)
    np.testing.assert_array_equal(
        display_transform(read).to_display(read.pixels), np.arange(np.prod(SHAPE)).reshape(SHAPE)
    )
    np.testing.assert_allclose(places_mm(read), places_mm(stack), atol=1e-6)


def test_real_short_axis_shows_the_lateral_wall_on_the_right(shared_data: Path) -> None:
    """In five real hearts the axes shown lie within the 45° beyond which another of the eight
    in-plane orientations would have been nearer."""
    for folder in sorted((shared_data / "sunnybrook-cc0").iterdir()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(next(iter(sorted(folder.glob("*.dcm")))))
            orientation = np.array([float(x) for x in dataset.ImageOrientationPatient])
        stack = LgeStack(
            pixels=np.zeros((2, 2, 2), np.float32),
            pixel_spacing_mm=(1.0, 1.0),
            origins_mm=np.stack([np.zeros(3), np.cross(orientation[:3], orientation[3:])]),
            row_direction=orientation[:3],
            column_direction=orientation[3:],
            slice_thickness_mm=None,
            source="array",
        )
        places = places_mm(stack)
        transform = display_transform(stack)
        shown = np.stack([transform.to_display(places[..., axis]) for axis in range(3)], axis=-1)
        assert (shown[0, 0, 1] - shown[0, 0, 0]) @ LATERAL_WALL > np.cos(np.radians(45))
        assert (shown[0, 0, 0] - shown[0, 1, 0]) @ ANTERIOR_WALL > np.cos(np.radians(45))
