"""Transmurality of scars drawn at the resolution of real LGE, against their depth on paper."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from scarseg_runtime.contract import Label
from scarseg_runtime.quantify.quantities import quantify

INNER_MM, OUTER_MM = 22.0, 32.0
TOLERANCE = 0.06
"""Of the wall, mean of twelve turns of the heart: half a pixel of 1.4 mm in 10 mm of wall."""

DepthOf = Callable[[np.ndarray], np.ndarray]


def measured(depth_of: DepthOf, turn_deg: float, spacing_mm: tuple[float, float]) -> float:
    """Transmurality of a scar of ``depth_of(degrees)`` of the wall, rotated, in one segment."""
    size = [int(80 / spacing) for spacing in spacing_mm]
    rows, columns = np.meshgrid(*(np.arange(n) for n in size), indexing="ij")
    y, x = (rows - size[0] / 2 - 0.3) * spacing_mm[0], (columns - size[1] / 2) * spacing_mm[1]
    radius, angle = np.hypot(x, y), np.mod(np.degrees(np.arctan2(y, x)) - turn_deg, 360)
    labels = np.where(radius < OUTER_MM, Label.VIABLE_MYOCARDIUM, Label.BACKGROUND)
    reach = INNER_MM + depth_of(angle) * (OUTER_MM - INNER_MM)
    labels[(radius < OUTER_MM) & (radius < reach)] = Label.SCAR
    labels[radius < INNER_MM] = Label.LV_CAVITY
    volume = labels.astype(np.uint8)[None]
    segments = np.isin(volume, (Label.VIABLE_MYOCARDIUM, Label.SCAR)).astype(np.uint8)
    found = quantify(volume, segments, spacing_mm, np.array([10.0])).segments[0].transmurality
    assert found is not None
    return found


def sector(width_deg: float, depth: float) -> DepthOf:
    return lambda angle: np.where(angle < width_deg, depth, -1.0)


@pytest.mark.parametrize("spacing_mm", [(1.2, 1.2), (1.4, 1.4), (1.9, 1.5)])
@pytest.mark.parametrize(
    ("depth_of", "truth"),
    [
        (sector(50, 0.5), 0.5),
        (sector(50, 0.75), 0.75),
        (sector(120, 0.9), 0.9),
        (sector(360, 1.0), 1.0),
        # Uneven depth: what is deep must not outvote what is shallow.
        (lambda a: np.where(a < 30, 0.25, np.where(a < 60, 1.0, -1.0)), 0.625),
        (lambda a: np.where(a < 60, 0.2 + a / 75, -1.0), 0.6),
    ],
)
def test_mean_depth_of_drawn_scars(
    depth_of: DepthOf, truth: float, spacing_mm: tuple[float, float]
) -> None:
    turns = np.linspace(0, 330, 12)
    found = np.mean([measured(depth_of, turn, spacing_mm) for turn in turns])
    assert found == pytest.approx(truth, abs=TOLERANCE)


def test_scar_all_through_is_one_and_no_more() -> None:
    shares = [measured(sector(360, 1.0), turn, (1.37, 1.37)) for turn in range(0, 90, 5)]
    assert max(shares) <= 1.0
    assert min(shares) == pytest.approx(1.0)


def test_any_scar_at_all_has_a_class() -> None:
    labels = np.full((1, 41, 41), Label.VIABLE_MYOCARDIUM, np.uint8)
    labels[0, 10:31, 10:31] = Label.LV_CAVITY
    labels[0, 20, 40] = Label.SCAR
    segments = np.where(labels == Label.LV_CAVITY, 0, 5).astype(np.uint8)
    segment = quantify(labels, segments, (1.5, 1.5), np.array([8.0])).segments[4]
    assert segment.transmurality is not None and 0 < segment.transmurality <= 0.25
    assert segment.transmurality_class == "1-25"
