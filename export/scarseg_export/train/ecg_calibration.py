"""Calibration of the ECG's belief on real records that no gradient has seen.

A belief is the share of a segment's wall that the ECG takes for scarred, so it is calibrated when
segments of which it believes 30 % hold 30 % on average of what their codes say.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from scarseg_export.net.ecg_encoder import EcgEncoder
from scarseg_export.train.real_ecgs import RealEcgs

BINS = 10


@dataclass(frozen=True, slots=True)
class ReliabilityRow:
    """Segments whose belief lies between two limits."""

    low: float
    high: float
    count: int
    belief: float
    """Mean of the belief."""
    truth: float
    """Mean of what the codes say."""


@torch.no_grad()
def belief_logits(encoder: EcgEncoder, beats: NDArray[np.float32] | Tensor) -> Tensor:
    """[N, 17] belief logits of beats [N, 12, 512], in evaluation mode."""
    encoder.eval()
    parts = torch.as_tensor(beats).split(256)
    return torch.cat([encoder(part)[0] for part in parts])


def calibrate(encoder: EcgEncoder, ecgs: RealEcgs) -> tuple[float, float]:
    """Scale and shift all belief logits so that they fit ``ecgs`` best, inside the last layer:
    the deployed graph stays as it is.

    Returns:
        Factor and offset of the logits.
    """
    logits = belief_logits(encoder, ecgs.beats).double()
    target, told = torch.from_numpy(ecgs.target).double(), torch.from_numpy(ecgs.mask)
    values = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([values], max_iter=100, line_search_fn="strong_wolfe")

    def loss_of() -> Tensor:
        optimiser.zero_grad()
        moved = logits * values[0] + values[1]
        loss = F.binary_cross_entropy_with_logits(moved[told], target[told])
        loss.backward()
        return loss

    optimiser.step(loss_of)
    factor, offset = (float(value) for value in values.detach())
    with torch.no_grad():
        encoder.segments.weight.mul_(factor)
        encoder.segments.bias.mul_(factor).add_(offset)
    return factor, offset


def reliability(
    belief: NDArray[np.float64], truth: NDArray[np.float64]
) -> tuple[list[ReliabilityRow], float]:
    """Table over bins of belief, and the expected calibration error: the mean over all [n] values
    of the distance between belief and truth of their bin."""
    edges = np.linspace(0.0, 1.0, BINS + 1)
    which = np.clip(np.digitize(belief, edges) - 1, 0, BINS - 1)
    rows, error = [], 0.0
    for index in np.unique(which):
        own = which == index
        row = ReliabilityRow(
            float(edges[index]), float(edges[index + 1]), int(own.sum()),
            float(belief[own].mean()), float(truth[own].mean()),
        )  # fmt: skip
        rows.append(row)
        error += row.count / len(belief) * abs(row.belief - row.truth)
    return rows, error


def reliability_of(encoder: EcgEncoder, ecgs: RealEcgs) -> dict[str, Any]:
    """Reliability of segment beliefs on real records, as plain values; ``ece`` over all segments
    that the codes tell, ``ece_infarct`` over those of infarct records only."""
    belief = torch.sigmoid(belief_logits(encoder, ecgs.beats)).numpy().astype(np.float64)
    rows, error = reliability(belief[ecgs.mask], ecgs.target[ecgs.mask].astype(np.float64))
    told = ecgs.mask & (ecgs.kind == "infarct")[:, None]
    _, of_infarcts = reliability(belief[told], ecgs.target[told].astype(np.float64))
    return {"bins": [asdict(row) for row in rows], "ece": error, "ece_infarct": of_infarcts}
