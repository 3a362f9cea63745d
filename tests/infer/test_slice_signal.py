"""Slices that were filled, scaled otherwise or inverted: a third of the scar went unsaid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from scarseg_infer import LgeStack, Segmenter
from scarseg_infer.demo import DEMO_STUDY
from scarseg_infer.study.read import read_study
from scarseg_infer.study.slice_signal import signal_warnings

Change = Callable[[np.ndarray], np.ndarray]
CHANGES: dict[str, tuple[Change, str]] = {
    "filled": (np.zeros_like, "of one value throughout"),
    "eight times": (lambda image: image * 8, "of another scale"),
    "an eighth": (lambda image: image / 8, "of another scale"),
    "inverted": (lambda image: image.max() + image.min() - image, "of another scale"),
    "moved": (lambda image: image + 2 * np.ptp(image), "of another scale"),
}


@pytest.fixture(scope="module")
def demo_stack() -> LgeStack:
    return read_study(DEMO_STUDY)


def changed(stack: LgeStack, change: Change, which: tuple[int, ...]) -> LgeStack:
    pixels = stack.pixels.copy()
    for number in which:
        pixels[number] = change(pixels[number])
    return replace(stack, pixels=pixels)


@pytest.mark.parametrize("name", sorted(CHANGES))
@pytest.mark.parametrize("which", [(4,), (0, 9), (2, 3, 7)])
def test_slices_that_do_not_fit_are_named(
    demo_stack: LgeStack, name: str, which: tuple[int, ...]
) -> None:
    change, says = CHANGES[name]
    (warning,) = signal_warnings(changed(demo_stack, change, which))
    assert says in warning
    numbers = [str(number + 1) for number in which]
    expected = numbers[0] if len(numbers) == 1 else f"{', '.join(numbers[:-1])} and {numbers[-1]}"
    assert warning.startswith(f"Slice{'s' * (len(which) > 1)} {expected} (counted from the apex) ")


def test_half_of_a_stack_on_another_scale_is_named(demo_stack: LgeStack) -> None:
    (warning,) = signal_warnings(changed(demo_stack, lambda image: image / 4, (0, 1, 2, 3, 4)))
    assert "of another scale" in warning


def test_the_run_says_it(demo_stack: LgeStack) -> None:
    result = Segmenter.from_model().run(changed(demo_stack, np.zeros_like, (4,)))
    assert "of one value throughout" in result.warnings[0]


def test_stacks_as_they_are_give_no_warning(demo_stack: LgeStack, shared_data: Path) -> None:
    assert signal_warnings(demo_stack) == ()
    assert signal_warnings(replace(demo_stack, pixels=np.zeros_like(demo_stack.pixels))) == ()
    one = slice(0, 1)
    single = replace(
        demo_stack, pixels=demo_stack.pixels[one], origins_mm=demo_stack.origins_mm[one]
    )
    assert signal_warnings(single) == ()
    images = sorted(shared_data.glob("lge-*/*_image.nii.gz"))
    assert images
    for path in images:
        pixels = np.asarray(nibabel.load(path).dataobj, np.float32).transpose(2, 1, 0)
        assert signal_warnings(replace(demo_stack, pixels=pixels)) == (), path.name
