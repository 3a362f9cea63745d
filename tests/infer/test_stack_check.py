"""Stacks that a host makes are looked at before anything is computed on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest

from scarseg_infer import LgeStack, Segmenter, StudyError, read_study, stack_from_arrays
from scarseg_infer.demo import DEMO_STUDY

NAN = float("nan")
ODD: dict[str, tuple[Callable[[LgeStack], dict[str, Any]], str]] = {
    "slices reversed": (
        lambda s: {"pixels": s.pixels[::-1], "origins_mm": s.origins_mm[::-1]},
        "Reverse their order",
    ),
    "one origin less": (lambda s: {"origins_mm": s.origins_mm[:-1]}, "one place"),
    "origins as a list": (lambda s: {"origins_mm": s.origins_mm.tolist()}, "one place"),
    "far away": (lambda s: {"origins_mm": s.origins_mm + 1e6}, "one place"),
    "origin not a number": (lambda s: {"origins_mm": s.origins_mm * NAN}, "one place"),
    "no spacing": (lambda s: {"pixel_spacing_mm": (0.0, 0.0)}, "pixel spacing"),
    "negative spacing": (lambda s: {"pixel_spacing_mm": (-1.6, 1.6)}, "pixel spacing"),
    "spacing not a number": (lambda s: {"pixel_spacing_mm": (1.6, NAN)}, "pixel spacing"),
    "one spacing": (lambda s: {"pixel_spacing_mm": 1.6}, "pixel spacing"),
    "axis not a number": (lambda s: {"row_direction": s.row_direction * NAN}, "orthogonal"),
    "axes the same": (lambda s: {"row_direction": s.column_direction}, "orthogonal"),
    "axis too long": (lambda s: {"row_direction": s.row_direction * 2}, "orthogonal"),
    "axial": (lambda s: {"row_direction": np.eye(3)[0], "column_direction": np.eye(3)[1]}, "tilt"),
    "no height": (lambda s: {"slice_thickness_mm": 0.0}, "thickness"),
    "height as text": (lambda s: {"slice_thickness_mm": "8"}, "thickness"),
    "flat": (lambda s: {"pixels": s.pixels[0]}, "finite array"),
    "pixels not numbers": (lambda s: {"pixels": s.pixels * NAN}, "finite array"),
    "pixels too large": (
        lambda s: {"pixels": s.pixels.astype(float) * 1e300},
        "not those of an MR",
    ),
    "pixels of no image": (lambda s: {"pixels": s.pixels * np.float32(1e10)}, "not those of an MR"),
    "pixels too flat": (lambda s: {"pixels": s.pixels * np.float32(1e-15)}, "not those of an MR"),
    "pixels far from zero": (
        lambda s: {"pixels": s.pixels.astype(float) + 9e8},
        "not those of an MR",
    ),
    "pixels masked": (lambda s: {"pixels": np.ma.masked_less(s.pixels, 1.0)}, "finite array"),
    "a date without time": (lambda s: {"acquired": date(2024, 5, 1)}, "datetime"),
    "pixels true or false": (lambda s: {"pixels": s.pixels > 100}, "finite array"),
    "a kind in small letters": (lambda s: {"image_kind": "psir"}, "Known: PSIR, magnitude"),
    "a kind that is no text": (lambda s: {"image_kind": np.array(["PSIR"])}, "kind of image"),
    "a source without headers": (lambda s: {"source": "dicom"}, "header"),
}


@pytest.fixture(scope="module")
def stack() -> LgeStack:
    """The demo as a host would build it by hand."""
    return replace(read_study(DEMO_STUDY), source="array", datasets=(), frame_numbers=())


@pytest.mark.parametrize("odd", ODD)
def test_a_stack_built_by_hand_is_checked(segmenter: Segmenter, stack: LgeStack, odd: str) -> None:
    change, message = ODD[odd]
    with pytest.raises(StudyError, match=message):
        segmenter.run(replace(stack, **change(stack)))


def test_a_good_stack_is_segmented_whatever_its_number_type(
    segmenter: Segmenter, stack: LgeStack
) -> None:
    whole = segmenter.run(stack)
    again = segmenter.run(replace(stack, pixels=stack.pixels.astype(np.float64)))
    assert whole.quantities.scar_ml > 1 and np.array_equal(whole.labels, again.labels)


def given(stack: LgeStack, slices: int) -> dict[str, Any]:
    return {
        "pixels": stack.pixels[:slices],
        "pixel_spacing_mm": stack.pixel_spacing_mm,
        "image_positions_mm": stack.origins_mm[:slices],
        "image_orientation": [*stack.row_direction, *stack.column_direction],
        "slice_thickness_mm": 8.0,
    }


@pytest.mark.parametrize("slices", [1, 5])
@pytest.mark.parametrize("wrong", [range(6), range(3), range(3, 6), [0], [5]])
def test_an_orientation_must_be_finite(stack: LgeStack, slices: int, wrong: range) -> None:
    arrays = given(stack, slices)
    for index in wrong:
        arrays["image_orientation"][index] = NAN
    with pytest.raises(StudyError, match="orientation"):
        stack_from_arrays(**arrays)


@pytest.mark.parametrize("offset", [1e9, -1e9, 9e8, 1e7])
@pytest.mark.parametrize("kind", [np.float64, np.longdouble])
def test_pixels_that_float32_cannot_tell_apart(stack: LgeStack, offset: float, kind: Any) -> None:
    arrays = given(stack, 5)
    arrays["pixels"] = arrays["pixels"].astype(kind) / 3 + offset
    with pytest.raises(StudyError, match="not those of an MR image"):
        stack_from_arrays(**arrays)


@pytest.mark.parametrize("kind", [np.int32, np.uint16, np.float32, np.float64])
def test_pixels_of_any_type_are_taken_as_they_are(stack: LgeStack, kind: Any) -> None:
    arrays = given(stack, 5)
    arrays["pixels"] = np.round(arrays["pixels"]).astype(kind)
    found = stack_from_arrays(**arrays).pixels
    assert found.dtype == np.float32 and np.array_equal(found, arrays["pixels"])
    assert found.flags.c_contiguous and not np.shares_memory(found, arrays["pixels"])


NO_NUMBERS: dict[str, Any] = {
    "ragged": [[1.0, 2.0], [3.0]],
    "text": "abc",
    "objects": np.array([[[{}]]], object),
    "complex": np.ones((5, 9, 9), complex),
    "masked": np.ma.masked_equal(np.eye(3), 0.0),
    "nothing": None,
}


@pytest.mark.parametrize("kind", NO_NUMBERS)
@pytest.mark.parametrize(
    "name", ["pixels", "pixel_spacing_mm", "image_positions_mm", "image_orientation"]
)
def test_only_plain_numbers_are_taken(stack: LgeStack, name: str, kind: str) -> None:
    with pytest.raises(StudyError, match="not an array of numbers"):
        stack_from_arrays(**{**given(stack, 5), name: NO_NUMBERS[kind]})


@pytest.mark.parametrize("spacing", [1.6, [[1.6, 1.6]], [1.6], [1.6, NAN]])
def test_spacing_is_two_distances(stack: LgeStack, spacing: Any) -> None:
    with pytest.raises(StudyError, match="two plausible distances"):
        stack_from_arrays(**{**given(stack, 5), "pixel_spacing_mm": spacing})
