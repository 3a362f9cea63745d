"""The localiser's two looks: what the second one says of the heart is so in the image."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from scarseg_export.net.config import NetworkConfig
from scarseg_export.net.localiser import UNIT_MM, Localiser
from scarseg_export.net.sampling import PixelGrid, Place
from scarseg_export.train.buffers import StackBuffer
from scarseg_export.train.localiser import rv_told
from scarseg_export.train.losses import UNKNOWN_OUTSIDE
from scarseg_runtime.contract import Label

SPACING_MM = (1.4, 1.2)
LV_MM = np.array([[14.0, -9.0], [16.0, -8.0], [18.0, -7.0], [20.0, -6.0]])
"""Columns and rows of the LV of four slices of a tilted heart."""
RV_AWAY_MM = 45.0


class ByBrightness(nn.Module):
    """In place of the trained U-Nets: LV is what is brightest, RV what is next."""

    def forward(self, views: Tensor) -> Tensor:
        middle = views[:, views.shape[1] // 2]
        share = (middle - middle.median()) / (middle.max() - middle.median())
        left, right = share > 0.8, (share > 0.28) & (share < 0.8)
        return 40.0 * torch.stack([left, right], 1).float() - 20.0


@pytest.fixture(scope="module")
def localiser() -> Localiser:
    made = Localiser(NetworkConfig(localiser_widths=(4, 8))).eval()
    made.far, made.close = ByBrightness(), ByBrightness()  # type: ignore[assignment]
    return made


def heart_at(degrees: float, size: int = 220) -> tuple[Tensor, PixelGrid]:
    """Discs of LV and RV; the RV lies ``degrees`` from the columns towards the rows."""
    grid = PixelGrid.of(torch.zeros(4, size, size), torch.tensor(SPACING_MM))
    columns, rows = grid.positions_mm()
    towards = np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])
    image = torch.zeros(4, size, size)
    image += 1.0 + 0.4 * torch.sin(columns / 3.0) * torch.cos(rows[:, None] / 3.0)
    for number, lv in enumerate(LV_MM):
        for (x, y), radius, bright in ((lv, 24.0, 9.0), (lv + RV_AWAY_MM * towards, 14.0, 2.6)):
            disc = (columns - x) ** 2 + (rows[:, None] - y) ** 2 < radius**2
            image[number] = torch.where(disc, bright, image[number])
    return image, grid


def degrees_off(turn: Tensor, rv_at: float) -> float:
    """Of the direction "left" of crops so turned, from that in which the RV lies."""
    found = math.degrees(math.atan2(-float(turn[1]), -float(turn[0])))
    return abs((found - rv_at + 180.0) % 360.0 - 180.0)


@settings(max_examples=25)
@given(rv_at=st.floats(-180, 180), wrong_deg=st.floats(-40, 40), wrong_mm=st.floats(-12, 12))
def test_the_second_look_finds_the_place_though_the_first_was_wrong(
    localiser: Localiser, rv_at: float, wrong_deg: float, wrong_mm: float
) -> None:
    image, grid = heart_at(rv_at)
    about = math.radians(rv_at + 180.0 + wrong_deg)
    wrong = Place.at(
        torch.from_numpy(LV_MM.mean(0) + np.array([wrong_mm, -wrong_mm])).float()[None],
        torch.tensor([math.cos(about), math.sin(about)]),
        grid.half_mm,
        UNIT_MM,
    )
    found = localiser.look_close(image, wrong)
    # A slice leans on the stack's centre by about a quarter, and half of 7 mm is the tilt.
    assert np.abs(found.centres_mm.numpy() - LV_MM).max() < 2.5
    assert np.abs(found.centres_mm.numpy().mean(0) - LV_MM.mean(0)).max() < 0.7
    assert float(found.turn.square().sum()) == pytest.approx(1.0, abs=1e-5)
    assert degrees_off(found.turn, rv_at) < 2.5


@pytest.mark.parametrize("slices", [1, 2, 4])
def test_both_looks_together_find_a_heart_of_few_slices(localiser: Localiser, slices: int) -> None:
    image, grid = heart_at(160.0)
    found = localiser(image[:slices], grid)
    assert found.centres_mm.shape == (slices, 2)
    assert np.abs(found.centres_mm.numpy() - LV_MM[:slices]).max() < 3.0
    assert degrees_off(found.turn, 160.0) < 3.0


class BrightestIsRv(nn.Module):
    """In place of the trained coarse look."""

    def forward(self, views: Tensor) -> Tensor:
        right = views[:, 0] > 0.8 * views.max()
        return 40.0 * torch.stack([torch.zeros_like(right), right], 1).float() - 20.0


def test_an_rv_that_nobody_drew_is_told_only_where_it_is_unknown(tmp_path: Path) -> None:
    localiser = Localiser(NetworkConfig(localiser_widths=(4, 8))).eval()
    localiser.far = BrightestIsRv()  # type: ignore[assignment]
    columns, rows = np.meshgrid(np.arange(160), np.arange(160))
    rv = (columns - 60) ** 2 + (rows - 95) ** 2 < 12**2
    pixels = np.where(rv, 3000, 400 + (columns + 3 * rows) % 97).astype(np.uint16)
    labels = np.full((1, 2, 160, 160), UNKNOWN_OUTSIDE, np.uint8)
    labels[..., :70, 70:100] = Label.LV_CAVITY
    labels[..., 100:, :] = Label.BACKGROUND
    buffer = StackBuffer(
        np.stack([pixels, pixels])[None], labels,
        np.zeros((1, 2, 2), np.float32), np.array([1.5], np.float32),
    )  # fmt: skip
    told = rv_told(localiser, buffer, tmp_path / "rv.npy").labels
    drawn = labels != UNKNOWN_OUTSIDE
    assert np.array_equal(told[drawn], labels[drawn])
    assert (told[~drawn & rv] == Label.RV_CAVITY).mean() > 0.85
    assert (told[~drawn & ~rv] == Label.RV_CAVITY).mean() < 0.005
    assert (told[~drawn & ~rv] == Label.BACKGROUND).mean() > 0.98
    assert np.array_equal(rv_told(localiser, buffer, tmp_path / "rv.npy").labels, told)
    whole = replace(buffer, labels=told.clip(max=Label.RV_CAVITY))
    assert rv_told(localiser, whole, tmp_path / "none.npy") is whole
    assert not (tmp_path / "none.npy").exists()
