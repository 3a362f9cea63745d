"""Layers of the wall that a scar takes: its myocardial distribution."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.contract import Label

Distribution = Literal["subendocardial", "mid-wall", "epicardial", "transmural"]

LAYERS: Final = 3
"""Inner, middle and outer third of the wall."""
INVOLVED: Final = 0.5
"""Share of a layer's voxels, along the scar, from which the layer counts as scarred (design
choice: half, as 50 % transmurality parts viable from not viable)."""
TRANSMURAL: Final = 0.75
"""Share of the whole wall, along the scar, from which it is transmural, if the middle layer is
scarred too: the last of the four classes of extent (PMC5676975)."""
SECTORS: Final = 60
"""Directions from the LV centre, 6° each, in which the layers of the wall are compared."""


class Layers:
    """Thirds of the wall that the scar takes, direction by direction.

    Only directions in which there is scar count: a small transmural scar is transmural, however
    large its segment. A layer is scarred where half of its voxels in these directions are.
    """

    def __init__(
        self,
        labels: NDArray[np.uint8],
        depth: NDArray[np.float64],
        pixel_spacing_mm: tuple[float, float],
    ) -> None:
        self._wall = np.isfinite(depth)
        where = np.nonzero(self._wall)
        self._scar = labels[where] == Label.SCAR
        self._layer = np.minimum(depth[where] * LAYERS, LAYERS - 1).astype(np.intp)
        count = np.maximum(np.bincount(where[0], minlength=len(labels)), 1)
        y, x = (
            (place - (np.bincount(where[0], place, len(labels)) / count)[where[0]]) * step
            for place, step in zip(where[1:], pixel_spacing_mm, strict=True)
        )
        turn = np.arctan2(y, x) / (2 * np.pi) % 1.0
        sector = np.minimum((turn * SECTORS).astype(np.intp), SECTORS - 1)
        self._direction = where[0] * SECTORS + sector
        self._slices = len(labels)
        self._empty = ~self._hit_by(np.ones_like(self._scar))

    def distribution(self, area: NDArray[np.bool_]) -> Distribution | None:
        """Of the scar within ``area`` [S, H, W]; None where there is none."""
        inside = area[self._wall]
        scar = self._scar & inside
        along = inside & self._hit(scar)[self._direction]
        whole = np.bincount(self._layer[along], minlength=LAYERS)
        share = np.bincount(self._layer[scar & along], minlength=LAYERS) / np.maximum(whole, 1)
        if not share.any():
            return None
        inner, middle, outer = share >= INVOLVED
        there = whole > 0  # a wall of one or two pixels has not all of the layers
        if (middle or not there[1]) and share[there].mean() >= TRANSMURAL:
            return "transmural"
        if inner or outer:
            return "subendocardial" if inner and share[0] >= share[2] else "epicardial"
        if middle:
            return "mid-wall"
        # A thin scar takes half of no third: it is where most of it lies.
        names: tuple[Distribution, ...] = ("subendocardial", "mid-wall", "epicardial")
        return names[int(share.argmax())]

    def _hit(self, scar: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Directions with scar in them and in both neighbours, since those at the edge of a scar
        are half beside it; all with scar where it is narrower than that. Near the centre of a small
        ring most neighbours hold no wall at all and say nothing."""
        hit = self._hit_by(scar)
        beside = hit | self._empty
        within = hit & np.roll(beside, 1, 1) & np.roll(beside, -1, 1)
        found: NDArray[np.bool_] = (within if within.any() else hit).reshape(-1)
        return found

    def _hit_by(self, voxels: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """[S, SECTORS] directions that hold some of these voxels of the wall."""
        count = np.bincount(self._direction[voxels], minlength=self._slices * SECTORS)
        return (count > 0).reshape(self._slices, SECTORS)
