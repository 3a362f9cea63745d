"""Connected components without scipy, and the clean-up of labels that builds on them.

Components are found on runs of voxels along the last axis instead of on voxels: a study has a
few thousand runs where it has half a million voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scarseg_runtime.contract import LEFT_VENTRICLE, MYOCARDIUM, Label

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Components:
    """Runs of a mask [S, H, W] and the component that each belongs to."""

    shape: tuple[int, ...]
    starts: Indices
    """[runs] flat index of each run's first voxel."""
    lengths: Indices
    """[runs] voxels in each run."""
    component: Indices
    """[runs] component number, 0 … count − 1."""

    @property
    def sizes(self) -> Indices:
        """[count] voxels of each component."""
        return np.bincount(self.component, self.lengths).astype(np.intp)

    def volumes(self, voxel_volumes: NDArray[np.float64]) -> NDArray[np.float64]:
        """[count] volume of each component, from that of a voxel in each slice [S]."""
        slices = self.starts // (self.shape[1] * self.shape[2])
        volumes = np.bincount(self.component, self.lengths * voxel_volumes[slices])
        return volumes.astype(np.float64)

    def mask(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Voxels of the components for which ``chosen`` [count] is True."""
        edges = np.zeros(int(np.prod(self.shape)) + 1, np.int8)
        kept = chosen[self.component]
        edges[self.starts[kept]] += 1
        edges[self.starts[kept] + self.lengths[kept]] -= 1
        return np.cumsum(edges[:-1], dtype=np.int8).astype(bool).reshape(self.shape)


def connected_components(mask: NDArray[np.bool_]) -> Components:
    """Components of a mask [S, H, W]; voxels connect through faces (6 neighbours)."""
    slices, rows, columns = mask.shape
    # A column of False ends every run with its row.
    wide = np.zeros((slices * rows, columns + 1), np.int8)
    wide[:, :columns] = mask.reshape(-1, columns)
    change = np.diff(wide.ravel(), prepend=np.int8(0))
    first, after = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    row = first // (columns + 1)
    pairs = [_overlaps(first, after, row, 1, columns + 1, row % rows != 0)]
    pairs.append(_overlaps(first, after, row, rows, columns + 1, row >= rows))
    component = _merge(first.size, np.concatenate(pairs, axis=1))
    return Components(mask.shape, first - row, after - first, component)


def clean_labels(
    labels: NDArray[np.uint8], min_scar_ml: float, voxel_ml: ArrayLike
) -> NDArray[np.uint8]:
    """Labels [S, H, W] with one left ventricle without holes, and without scar specks.

    The largest connected LV (cavity and myocardium) stays, other islands of it become
    background. What the LV encloses within a slice takes the label that surrounds it, and what
    scar encloses within the wall of a slice is scar: a dark core counts as scar, whether the
    network called it background or viable. Scar islands below ``min_scar_ml`` become viable
    myocardium.

    Args:
        voxel_ml: of one voxel, or [S] of one in each slice: slices need not be of one height.
    """
    whole = labels.copy()
    cleaned = whole[heart_box(labels)]
    ventricle = np.isin(cleaned, LEFT_VENTRICLE)
    parts = connected_components(ventricle)
    if parts.sizes.size > 1:
        largest = np.arange(parts.sizes.size) == np.argmax(parts.sizes)
        cleaned[ventricle & ~parts.mask(largest)] = Label.BACKGROUND
    _fill_holes(cleaned)
    wall = np.isin(cleaned, MYOCARDIUM)
    scar = clean_scar(cleaned == Label.SCAR, wall, min_scar_ml, voxel_ml)
    cleaned[wall] = np.where(scar, Label.SCAR, Label.VIABLE_MYOCARDIUM)[wall]
    return whole


def clean_scar(
    scar: NDArray[np.bool_], wall: NDArray[np.bool_], min_scar_ml: float, voxel_ml: ArrayLike
) -> NDArray[np.bool_]:
    """Scar [S, H, W] with the dark cores that it encloses in the wall, without islands below
    ``min_scar_ml``; see :func:`clean_labels`."""
    scar = with_dark_cores(scar, wall)
    islands = connected_components(scar)
    if islands.sizes.size:
        small = islands.volumes(np.broadcast_to(voxel_ml, len(scar))) < min_scar_ml
        scar &= ~islands.mask(small)
    return scar


def with_dark_cores(
    scar: NDArray[np.bool_], wall: NDArray[np.bool_], healthy: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Scar with what it encloses inside the wall of a slice: microvascular obstruction is
    dark and counts as infarct. A core that reaches cavity or fat is not enclosed.

    Args:
        healthy: what is known to be healthy; where half of what seems enclosed is, it is no core:
            bright borders of a generous outline enclose all healthy wall between them.
    """
    dark = wall & ~scar
    rim = np.zeros_like(wall)
    rim[:, 1:] |= ~wall[:, :-1]
    rim[:, :-1] |= ~wall[:, 1:]
    rim[:, :, 1:] |= ~wall[:, :, :-1]
    rim[:, :, :-1] |= ~wall[:, :, 1:]
    # Empty slices in between keep the components of each slice apart.
    apart = np.zeros((2, 2 * len(wall), *wall.shape[1:]), np.bool_)
    apart[:, ::2] = dark, dark & rim
    parts = connected_components(apart[0])
    open_runs = np.searchsorted(parts.starts, np.flatnonzero(apart[1]), side="right") - 1
    enclosed = np.ones(parts.sizes.size, np.bool_)
    enclosed[parts.component[open_runs]] = False
    if healthy is not None and enclosed.any():
        apart[1, ::2] = dark & healthy
        runs = np.searchsorted(parts.starts, np.flatnonzero(apart[1]), side="right") - 1
        known = np.bincount(parts.component[runs], minlength=parts.sizes.size)
        enclosed &= 2 * known < parts.sizes
    cores: NDArray[np.bool_] = parts.mask(enclosed)[::2]
    return scar | cores


def heart_box(labels: NDArray[np.uint8]) -> tuple[slice, slice, slice]:
    """Rows and columns with labels and a rim of background, of all slices: the rest of the image
    is most of it, and says nothing."""
    shown = (labels != Label.BACKGROUND).any(0)
    box = [slice(None)]
    for lines in (shown.any(1), shown.any(0)):
        found = np.flatnonzero(lines)
        first, last = (found[0], found[-1]) if found.size else (0, 0)
        box.append(slice(max(int(first) - 1, 0), int(last) + 2))
    return box[0], box[1], box[2]


def _fill_holes(labels: NDArray[np.uint8]) -> None:
    """Fill, in place, what the LV encloses within a slice, with its commonest neighbour label."""
    outside = ~np.isin(labels, LEFT_VENTRICLE)
    # Empty slices in between keep the components of each slice apart.
    apart = np.zeros((2 * len(labels), *labels.shape[1:]), np.bool_)
    apart[::2] = outside
    parts = connected_components(apart)
    open_ends = apart.copy()
    open_ends[:, 1:-1, 1:-1] = False
    flat = np.searchsorted(parts.starts, np.flatnonzero(open_ends), side="right") - 1
    enclosed = np.ones(parts.sizes.size, np.bool_)
    enclosed[parts.component[flat]] = False
    for hole in np.flatnonzero(enclosed):
        mask = parts.mask(np.arange(parts.sizes.size) == hole)[::2]
        rim = np.zeros_like(mask)
        rim[:, 1:] |= mask[:, :-1]
        rim[:, :-1] |= mask[:, 1:]
        rim[:, :, 1:] |= mask[:, :, :-1]
        rim[:, :, :-1] |= mask[:, :, 1:]
        labels[mask] = np.argmax(np.bincount(labels[rim & ~mask]))


def _overlaps(
    first: Indices, after: Indices, row: Indices, back: int, width: int, has: NDArray[np.bool_]
) -> Indices:
    """[2, pairs] runs that share a column with a run ``back`` rows earlier."""
    runs = np.flatnonzero(has)
    low = np.searchsorted(after, first[runs] - back * width, side="right")
    high = np.searchsorted(first, after[runs] - back * width, side="left")
    count = np.maximum(high - low, 0)
    begin = np.repeat(low - np.cumsum(count) + count, count)
    return np.stack([np.repeat(runs, count), begin + np.arange(count.sum())])


def _merge(count: int, pairs: Indices) -> Indices:
    """Component number of each of ``count`` runs, given which pairs touch."""
    lowest = np.arange(count)
    while True:
        least = np.minimum(lowest[pairs[0]], lowest[pairs[1]])
        merged = lowest.copy()
        for side in pairs:
            np.minimum.at(merged, lowest[side], least)
            np.minimum.at(merged, side, least)
        merged = merged[merged]
        if np.array_equal(merged, lowest):
            return np.unique(lowest, return_inverse=True)[1].astype(np.intp)
        lowest = merged
