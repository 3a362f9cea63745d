"""Rules for every study that a reader accepts or refuses, whatever the bytes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable

import numpy as np

from scarseg_infer.study.stack import LgeStack
from scarseg_runtime.errors import StudyError

SECRETS = ("Secretname", "SECRET-ID", "/tmp", "scarseg-fuzz")


def check_read(read: Callable[[], LgeStack]) -> None:
    """Read in silence, and check the stack or the refusal."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            stack = read()
        check_stack(stack)
    except StudyError as error:
        check_words(str(error))
        raise
    finally:
        assert not said.getvalue(), said.getvalue()


def check_stack(stack: LgeStack) -> None:
    """Pixels, geometry and warnings are such as everything behind the readers relies on."""
    slices = len(stack.origins_mm)
    assert stack.pixels.dtype == np.float32 and stack.pixels.ndim == 3
    assert len(stack.pixels) == slices >= 1 and min(stack.pixels.shape) >= 1
    assert np.isfinite(stack.pixels).all()
    assert stack.origins_mm.shape == (slices, 3) and np.isfinite(stack.origins_mm).all()
    assert all(0 < spacing < 100 for spacing in stack.pixel_spacing_mm)
    axes = np.array([stack.row_direction, stack.column_direction])
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-6)
    assert (np.diff(stack.slice_positions_mm) > 0).all()
    thickness_mm = stack.slice_thickness_mm
    assert thickness_mm is None or 0 < thickness_mm < 1000
    assert slices > 1 or thickness_mm is not None
    assert not stack.date_only or stack.acquired is not None
    assert (
        len(stack.datasets)
        == len(stack.frame_numbers)
        == (slices if stack.source == "dicom" else 0)
    )
    for words in stack.warnings:
        check_words(words)
    assert not any(secret in repr(stack) for secret in SECRETS[:2])


def check_words(words: str) -> None:
    """A message is one printable line and names neither patient nor file."""
    assert words and len(words) < 600 and words.isprintable(), repr(words)
    assert not any(secret in words for secret in SECRETS), words
