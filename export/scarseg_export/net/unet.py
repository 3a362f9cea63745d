"""A plain U-Net. BatchNorm folds into the convolutions, so nothing here overflows in FP16."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBlock(nn.Sequential):
    """Two 3 × 3 convolutions with BatchNorm and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    """[N, inputs, h, w] → features [N, widths[0], h, w]; h and w divisible by 2^(levels−1)."""

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            ConvBlock(before, width)
            for before, width in zip([inputs, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(
            ConvBlock(below + width, width) for width, below in pairwise(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for skip, block in zip(reversed(skips[:-1]), reversed(self.up), strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skip], 1))
        return x
