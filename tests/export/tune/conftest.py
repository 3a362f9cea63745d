"""Hearts and a network small enough to be trained in a test."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scarseg_export.net.network import ScarNet
from scarseg_export.patients.load import OwnPatient
from scarseg_export.train.recipe import recipe_of
from scarseg_export.tune.settings import TuneSettings
from scarseg_export.twin.cohort import beats_of, sample_case
from scarseg_runtime.contract import Label

SMALL = recipe_of({
    "cine_share": 0.0, "ecg_real_steps": 0,
    "network": {"fine_widths": [8, 8, 12, 12, 16], "localiser_widths": [4, 8, 8, 8, 8]},
})  # fmt: skip


def heart(row: int, *, ecg: bool = True) -> OwnPatient:
    """A simulated patient; those of odd rows have scar."""
    case = sample_case(row)
    stack = case.image(64, 3.0, 5.0, 4)
    labels = stack.labels.copy()
    if row % 2:
        wall = np.argwhere(labels == Label.VIABLE_MYOCARDIUM)
        labels[tuple(wall[: len(wall) // 4].T)] = Label.SCAR
    else:
        labels[labels == Label.SCAR] = Label.VIABLE_MYOCARDIUM
    beat = beats_of([case], np.array([False]))[0] if ecg else None
    return OwnPatient(
        str(row), row, f"row {row}", "", 1.0, stack.pixels, labels, (3.0, 3.0), stack.heights_mm,
        np.full(4, 8.0), True, True, True, True, beat, 10.0 * row if ecg else None, ecg, "",
    )  # fmt: skip


@pytest.fixture(scope="session")
def settings() -> TuneSettings:
    """Two steps of everything, without the twin."""
    return TuneSettings(
        twin_share=0.0, image_steps=2, scratch_steps=2, image_batch=4, check_every=1,
        fusion_steps=2, recipe=SMALL,
    )  # fmt: skip


@pytest.fixture(scope="session")
def hearts() -> list[OwnPatient]:
    """Rows 1 to 5, and row 6 without an ECG."""
    return [*(heart(row) for row in range(1, 6)), heart(6, ecg=False)]


@pytest.fixture
def net() -> ScarNet:
    torch.manual_seed(0)
    net = ScarNet(SMALL.network).eval()
    with torch.no_grad():
        net.image.anatomy.bias[2] += 0.5  # all that it sees is wall
    return net
