"""Patients as training stacks: one grid about each heart, to be drawn from like the twin's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from scarseg_export.net.config import NetworkConfig
from scarseg_export.net.localiser import Localiser
from scarseg_export.net.sampling import PixelGrid
from scarseg_export.patients.load import LEFT, OwnPatient
from scarseg_export.train.batches import Source, crop_framing, source_of
from scarseg_export.train.buffers import StackBuffer
from scarseg_export.train.localiser import stack_turns
from scarseg_export.train.losses import UNLABELLED_PIXEL
from scarseg_runtime.contract import Label

SIZE = 144
SPACING_MM = (1.25, 1.9)
"""Of the grid, as of the twin's stacks."""
BRIGHTEST = 2**14 - 1
"""Stored pixels are scaled up to this: the buffers hold them as signed 16 bits."""
SPIKES = 99.95
"""Percentile above which pixels are cut off."""


def own_source(
    patients: Sequence[OwnPatient],
    localiser: Localiser,
    config: NetworkConfig,
    share: float,
    device: torch.device,
) -> Source:
    """Patients as a source of batches; slices in which nothing is labelled are not drawn, and
    patients as often as their weight says.

    Args:
        localiser: says how each heart lies, and where, if nobody drew it.
        share: of every batch.
    """
    buffer, framing = own_buffer(patients, localiser), crop_framing(config)
    source = source_of(buffer, stack_turns(localiser, buffer), framing, share, device)
    drawn = np.zeros(buffer.labels.shape[:2])
    for row, patient in zip(drawn, patients, strict=True):
        told = (patient.labels != UNLABELLED_PIXEL).any((1, 2))
        scarred = (patient.labels == Label.SCAR).any((1, 2))
        row[: len(told)] = told * np.where(scarred, framing.scar_slices, 1.0) * patient.weight
    cumulative = np.cumsum(drawn)
    chances = torch.from_numpy((cumulative / cumulative[-1]).astype(np.float32)).to(device)
    return replace(source, slices=chances)


def own_buffer(patients: Sequence[OwnPatient], localiser: Localiser) -> StackBuffer:
    """Stacks [N, S, SIZE, SIZE] about each heart; S is that of the largest, the others repeat their
    last slice."""
    slices = max(len(patient.pixels) for patient in patients)
    parts = [_stack(patient, localiser, slices) for patient in patients]
    pixels, labels, centres, spacing = (np.stack(part) for part in zip(*parts, strict=True))
    return StackBuffer(pixels, labels, centres, spacing)


def _stack(
    patient: OwnPatient, localiser: Localiser, slices: int
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.float32], np.float32]:
    centres = heart_centres(patient, localiser)
    middle = centres.mean(0)
    spacing = float(np.clip(np.mean(patient.spacing_mm), *SPACING_MM))
    steps = np.array(patient.spacing_mm)
    shape = np.array(patient.pixels.shape[1:])
    matrix = spacing / steps
    # The new grid's first pixel in pixels of the old one; both about the heart, (row, column).
    offset = (middle[::-1] - 0.5 * (SIZE - 1) * spacing) / steps + 0.5 * (shape - 1)
    low, high = float(patient.pixels.min()), float(np.percentile(patient.pixels, SPIKES))
    scale = BRIGHTEST / max(high - low, 1e-6)
    pixels, labels = [], []
    for image, truth in zip(patient.pixels, patient.labels, strict=True):
        both = (matrix, offset, (SIZE, SIZE))
        shown = affine_transform(image.astype(np.float32), *both, order=1, mode="nearest")
        pixels.append(np.clip((shown - low) * scale, 0, BRIGHTEST).astype(np.uint16))
        labels.append(
            affine_transform(truth, *both, order=0, mode="constant", cval=UNLABELLED_PIXEL)
        )
    last = [len(pixels) - 1] * (slices - len(pixels))
    index = [*range(len(pixels)), *last]
    return (
        np.stack(pixels)[index], np.stack(labels)[index],
        (centres - middle)[index].astype(np.float32), np.float32(spacing),
    )  # fmt: skip


def heart_centres(patient: OwnPatient, localiser: Localiser) -> NDArray[np.float64]:
    """[S, 2] LV centre of every slice as (column, row) in mm from the image centre: of what was
    drawn, and where no LV was, of what the localiser finds."""
    lv = np.isin(patient.labels, LEFT)
    if not patient.anatomy or not lv.any():
        return found_centres(patient, localiser)
    row_mm, column_mm = patient.spacing_mm
    rows = (np.arange(lv.shape[1]) - 0.5 * (lv.shape[1] - 1)) * row_mm
    columns = (np.arange(lv.shape[2]) - 0.5 * (lv.shape[2] - 1)) * column_mm
    area = lv.sum((1, 2))
    sums = np.stack([lv.sum(1) @ columns, lv.sum(2) @ rows], 1)
    whole = sums.sum(0) / area.sum()
    return np.where(area[:, None] > 0, sums / np.maximum(area, 1)[:, None], whole)


@torch.no_grad()
def found_centres(patient: OwnPatient, localiser: Localiser) -> NDArray[np.float64]:
    """[S, 2] the same by the localiser alone."""
    image = torch.from_numpy(patient.pixels.astype(np.float32))
    grid = PixelGrid.of(image, torch.tensor(patient.spacing_mm, dtype=torch.float32))
    return localiser(image - image.amin(), grid).centres_mm.double().numpy()
