"""Findings of the network in one study, on its way from the pixels to the answer."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from scarseg_export.net.aha_map import HeartFrame, Sectors
from scarseg_export.net.sampling import PixelGrid, Place


@dataclass(frozen=True)
class Seen:
    """Outputs from the image alone for one study; S slices, crops of P = h · w pixels."""

    grid: PixelGrid
    place: Place
    """Place of the crops in the image, and how they are turned."""
    frame: HeartFrame
    sectors: Sectors
    """Both in the axes of the crops."""
    anatomy: Tensor
    """[S, 4, h, w] probability of background, cavity, wall, RV."""
    features: Tensor
    """[S, C, h, h] scar features."""
    scar: Tensor
    """[S, 1, 1, P] scar logit."""
    segments: Tensor
    """[S, 1, 1, P] AHA segment of every pixel, also outside the wall."""
    member: Tensor
    """[S, 1, 17, P] 1 where a pixel is of a segment."""
    wall: Tensor
    """[S, 1, 1, P] True where myocardium is the likeliest."""
    area: Tensor
    """[17, 1] pixels of the wall in each segment, 1 at least."""
    evidence_row: Tensor
    """[1, 17] mean scar probability of the wall in each segment."""
    size_row: Tensor
    """[1, 2] of the heart, in size units."""

    @property
    def evidence(self) -> Tensor:
        """[17] mean scar probability of the wall in each segment."""
        return self.evidence_row[0]

    @property
    def size(self) -> Tensor:
        """[2] of the heart, in size units."""
        return self.size_row[0]


@dataclass(frozen=True)
class Fused:
    """Outputs from image and ECG together."""

    scar: Tensor
    """[S, 1, 1, P] scar probability."""
    belief: Tensor
    """[17] scar belief of the ECG, 0–1."""
    weight: Tensor
    """[1] TAFF weight."""
    disagreement: Tensor
    """[1] probability that ECG and image are of different patients."""
