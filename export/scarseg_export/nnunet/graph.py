"""nnU-Net's 2-D inference as one graph: raw pixels in, labels out, on the grid of the image.

crop       the box of non-zero pixels, by masks: statistics inside it, background outside
normalise  z-score of the whole stack, as the plan says
resample   cubic splines to the plan's in-plane spacing, straight onto the tiles
tiles      windows of the plan's patch size, half overlapping, blended by a Gaussian
back       linear resampling of the blended logits onto the input grid

Sizes after resampling depend on the pixel spacing, which is data, not shape. So no image is ever
made in the plan's spacing: each tile samples the input where its pixels lie, and each input pixel
looks up the tiles. Only the number of tiles depends on data, which TensorRT does not take: for it
the number is fixed (``TiledNet.tiles``), and tiles that an image does not need are empty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from scarseg_export.net.aha_map import locate, sectors_of, segment_map
from scarseg_export.net.fusion import segment_evidence
from scarseg_export.net.sampling import PixelGrid, offsets_mm
from scarseg_export.nnunet.axis import REACH, Axis, spline_prefilter
from scarseg_runtime.contract import SEGMENT_COUNT, Label

VIEW_SIZE, VIEW_SPACING_MM = 128, 3.0
"""Coarse view on which centre, RV direction and long axis are measured."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One 2-D configuration of nnU-Net's plan."""

    patch: tuple[int, int]
    """Rows and columns of a tile."""
    spacing_mm: tuple[float, float]
    """Between rows, between columns."""
    zscore: bool
    """Otherwise pixels are taken as they are."""
    only_nonzero: bool
    """Statistics of non-zero pixels only, the others left at zero."""


class TiledNet(nn.Module):
    """Our outputs for [S, H, W] pixels, [2] spacing and [S] slice levels.

    Args:
        nets: one network a fold, [N, 1, h, w] → logits [N, C, h, w]; logits are averaged.
        labels: our :class:`Label` of each of the C classes.
        tiles: along rows and columns; None: as many as the image needs.
    """

    labels: Tensor
    importance: Tensor
    prefilter: Tensor

    def __init__(
        self,
        nets: list[nn.Module],
        plan: Plan,
        labels: list[Label],
        tiles: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.tiles = tiles
        self.nets = nn.ModuleList(nets)
        self.plan = plan
        self.register_buffer("labels", torch.tensor([int(label) for label in labels]))
        self.register_buffer("importance", importance_map(plan.patch))
        self.register_buffer("prefilter", spline_prefilter())

    def forward(
        self, lge: Tensor, pixel_spacing: Tensor, slice_level: Tensor
    ) -> tuple[Tensor, ...]:
        box, inside = nonzero_box(lge)
        pixels = self.normalised(lge, inside)
        axes = [
            Axis.of(
                box[k + 1], pixel_spacing[k], self.plan.spacing_mm[k], self.plan.patch[k],
                self.tiles[k] if self.tiles else None,
            )
            for k in (0, 1)
        ]  # fmt: skip
        logits = self.blended(pixels, axes)
        probability = torch.softmax(logits, 1) * inside[:, None]
        winner = torch.where(inside > 0, self.labels[logits.argmax(1)], int(Label.BACKGROUND))
        shares = self.by_label(probability)
        segments, wall = self.segments(lge, pixel_spacing, slice_level, shares, winner)
        scar = (winner == int(Label.SCAR)).to(lge.dtype)
        burden = segment_evidence(segments, wall, scar)
        none = lge.new_zeros(1)
        labels = winner.to(torch.uint8)
        return (
            labels, shares[:, 3], labels.clone(), segments.to(torch.uint8), burden,
            lge.new_zeros(SEGMENT_COUNT), none, none.clone(),
        )  # fmt: skip

    def normalised(self, lge: Tensor, inside: Tensor) -> Tensor:
        """Z-score of the stack [S, H, W]; ``inside`` is 1 in the box that statistics are of."""
        if not self.plan.zscore:
            return lge
        counted = inside * (lge != 0).to(lge.dtype) if self.plan.only_nonzero else inside
        count = counted.sum().clamp_min(1.0)
        mean = (lge * counted).sum() / count
        sd = torch.sqrt(((lge - mean) ** 2 * counted).sum() / count).clamp_min(1e-8)
        scaled = (lge - mean) / sd
        return torch.where(counted > 0, scaled, lge) if self.plan.only_nonzero else scaled

    def blended(self, pixels: Tensor, axes: list[Axis]) -> Tensor:
        """Logits [S, C, H, W] on the grid of ``pixels`` [S, H, W]."""
        rows, columns = axes
        tiles = self.sampled(pixels, rows, columns)
        height, width = self.plan.patch
        down, across = rows.offsets.shape[0], columns.offsets.shape[0]
        count = pixels.shape[0]
        tiles = tiles.reshape(count, down, height, across, width).permute(0, 1, 3, 2, 4)
        batch = tiles.reshape(count * down * across, 1, height, width)
        logits = torch.stack([net(batch) for net in self.nets]).mean(0)
        weighted = torch.cat(
            [logits * self.importance, self.importance.expand(logits.shape[0], 1, -1, -1)], 1
        )
        classes = weighted.shape[1]
        sheet = weighted.reshape(count, down, across, classes, height, width)
        sheet = sheet.permute(0, 3, 1, 4, 2, 5)
        sheet = sheet.reshape(count, classes, down * height, across * width)
        return looked_up(sheet, rows, columns, pixels.shape[1], pixels.shape[2])

    def sampled(self, pixels: Tensor, rows: Axis, columns: Axis) -> Tensor:
        """Cubic spline samples [S, tile rows, tile columns] of ``pixels`` [S, H, W], 0 where a
        tile reaches beyond the image. Clipped to each slice's range, as nnU-Net does."""
        high, wide = pixels.shape[1], pixels.shape[2]
        boxed = pixels[:, rows.clamped(high)][:, :, columns.clamped(wide)]
        kernel = self.prefilter[None, None, :]
        size = (pixels.shape[0], 1, high + 4 * REACH, wide + 4 * REACH)
        down = F.conv2d(boxed.reshape(size), kernel[..., None])
        knots = F.conv2d(down, kernel[:, :, None, :])[:, 0]
        found = rows.spline_weights(high) @ knots @ columns.spline_weights(wide).T
        found = torch.minimum(found, boxed.amax((1, 2), keepdim=True))
        found = torch.maximum(found, boxed.amin((1, 2), keepdim=True))
        return found * rows.within[None, :, None] * columns.within[None, None, :]

    def by_label(self, probability: Tensor) -> Tensor:
        """[S, 5, H, W] probability of each of our labels."""
        known = [torch.eq(self.labels, int(label)).to(probability.dtype) for label in Label]
        shares = [(probability * mine[None, :, None, None]).sum(1) for mine in known]
        return torch.stack(shares, 1)

    def segments(
        self, lge: Tensor, spacing: Tensor, level: Tensor, shares: Tensor, winner: Tensor
    ) -> tuple[Tensor, Tensor]:
        """AHA segment [S, H, W] inside the myocardium, else 0, and where the myocardium is."""
        pixels = PixelGrid.of(lge, spacing)
        half_mm = pixels.half_mm
        axis = offsets_mm(VIEW_SIZE, VIEW_SPACING_MM, lge.device)
        across = (axis / half_mm[0])[None, None, :].expand(lge.shape[0], VIEW_SIZE, -1)
        down = (axis / half_mm[1])[None, :, None].expand(lge.shape[0], -1, VIEW_SIZE)
        grid = torch.stack([across, down], -1)
        wall = shares[:, int(Label.VIABLE_MYOCARDIUM)] + shares[:, int(Label.SCAR)]
        parts = [
            shares[:, 0],
            shares[:, int(Label.LV_CAVITY)],
            wall,
            shares[:, int(Label.RV_CAVITY)],
        ]
        coarse = F.grid_sample(
            torch.stack(parts, 1), grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
        frame = locate(coarse.flatten(2), VIEW_SPACING_MM, level)
        columns, rows = pixels.positions_mm()
        muscle = (winner == int(Label.VIABLE_MYOCARDIUM)) | (winner == int(Label.SCAR))
        segments = segment_map(columns, rows, sectors_of(frame))
        return torch.where(muscle, segments, 0.0), muscle.to(lge.dtype)


def looked_up(sheet: Tensor, rows: Axis, columns: Axis, high: int, wide: int) -> Tensor:
    """Logits [S, C, H, W] from tiles laid side by side [S, C + 1, tile rows, tile columns],
    weighted by importance, which is the last channel."""
    total = None
    for down, row_weight in rows.neighbours(high):
        lines = down @ sheet
        for across, column_weight in columns.neighbours(wide):
            found = lines @ across.T
            logits = found[:, :-1] / found[:, -1:].clamp_min(1e-12)
            part = logits * row_weight[:, None] * column_weight[None, :]
            total = part if total is None else total + part
    assert total is not None
    return total


def nonzero_box(lge: Tensor) -> tuple[Tensor, Tensor]:
    """First and last non-zero slice, row and column [3, 2], and the box they span [S, H, W]."""
    filled = lge != 0
    box, spans = [], []
    for axis, others in enumerate(((1, 2), (0, 2), (0, 1))):
        used = filled.any(others[1]).any(others[0])
        number = torch.arange(lge.shape[axis], device=lge.device)
        top = number.max()
        first = torch.where(used, number, top).amin(0)
        last = torch.where(used, number, 0).amax(0)
        last = torch.maximum(first, last)
        box.append(torch.stack([first, last]))
        spans.append(((number >= first) & (number <= last)).to(lge.dtype))
    inside = spans[0][:, None, None] * spans[1][None, :, None] * spans[2][None, None, :]
    return torch.stack(box), inside


def importance_map(patch: tuple[int, int]) -> Tensor:
    """[h, w] Gaussian of an eighth of the patch about its centre, 10 at most, nowhere zero; in
    steps of FP16, as nnU-Net keeps it."""
    spike = np.zeros(patch)
    spike[patch[0] // 2, patch[1] // 2] = 1.0
    smooth = gaussian_filter(spike, [size / 8 for size in patch], mode="constant")
    rounded = (10.0 * smooth / smooth.max()).astype(np.float16).astype(np.float32)
    rounded[rounded == 0] = rounded[rounded > 0].min()
    return torch.from_numpy(rounded)
