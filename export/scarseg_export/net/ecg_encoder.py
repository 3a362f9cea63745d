"""From a mean beat to a belief about scar in each AHA segment."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scarseg_runtime.contract import SEGMENT_COUNT

SIZE_MEAN_MM, SIZE_SPREAD_MM = (34.0, 9.5), (4.5, 2.0)
"""Epicardial radius and wall thickness of a usual heart, and how far hearts differ."""


class EcgEncoder(nn.Module):
    """Convolutions along time within each lead, then across leads.

    Input [N, 12, 512] in mV, R-aligned at 500 Hz. Outputs: [N, 17] logits of scar burden, and
    [N, 2] the size of the heart as voltage and QRS duration suggest it (see :func:`size_units`),
    which tells whether ECG and image can be of the same patient.
    """

    def __init__(self, per_lead: int = 12, across: int = 64) -> None:
        super().__init__()
        self.lead = nn.Sequential(
            nn.Conv2d(1, per_lead, (1, 9), stride=(1, 2), padding=(0, 4), bias=False),
            nn.BatchNorm2d(per_lead),
            nn.ReLU(inplace=True),
            nn.Conv2d(per_lead, per_lead, (1, 7), stride=(1, 4), padding=(0, 3), bias=False),
            nn.BatchNorm2d(per_lead),
            nn.ReLU(inplace=True),
        )
        self.across = nn.Sequential(
            nn.Conv1d(12 * per_lead, across, 3, padding=1, bias=False),
            nn.BatchNorm1d(across),
            nn.ReLU(inplace=True),
            nn.Conv1d(across, across, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm1d(across),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(across * 32, 96), nn.ReLU(inplace=True), nn.Dropout(0.2)
        )
        self.segments = nn.Linear(96, SEGMENT_COUNT)
        self.size = nn.Linear(96, 2)

    def forward(self, beat: Tensor) -> tuple[Tensor, Tensor]:
        # NaN must not reach the weights: an invalid ECG is weighted 0 downstream.
        beat = beat[:, None]
        leads = self.lead(torch.where(torch.isnan(beat), 0.0, beat).clamp(-5.0, 5.0))
        hidden = self.head(self.across(leads.permute(0, 2, 1, 3).flatten(1, 2)))
        return self.segments(hidden), self.size(hidden)


def size_units(size_mm: Tensor) -> Tensor:
    """Epicardial radius and wall thickness [..., 2] about a usual heart, of about unit spread."""
    return (size_mm - size_mm.new_tensor(SIZE_MEAN_MM)) / size_mm.new_tensor(SIZE_SPREAD_MM)
