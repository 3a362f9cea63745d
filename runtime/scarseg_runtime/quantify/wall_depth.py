"""Depth of a voxel in the wall: 0 at the endocardium, 1 at the epicardium."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.contract import LEFT_VENTRICLE, MYOCARDIUM, Label

Depth = NDArray[np.float64]
"""[S, H, W] in [0, 1]; NaN outside the wall."""


def wall_depth(labels: NDArray[np.uint8], pixel_spacing_mm: tuple[float, float]) -> Depth:
    """Depth of every myocardial voxel, from its distances to both borders of its slice.

    Distance to the cavity over the sum of the distances to cavity and to the outside of the
    ventricle, measured between pixel centres and less half a pixel, so that a voxel at a border is
    nearly at 0 or 1. Where a slice has no cavity (apical cap) its depth counts from the centre of
    the ventricle. What touches the ventricle from outside without being myocardium, such as the RV,
    is outside.

    Args:
        labels: [S, H, W] values of :class:`~scarseg_runtime.contract.Label`; cropping them to the
            heart makes this fast.
        pixel_spacing_mm: between rows, between columns.
    """
    depth = np.full(labels.shape, np.nan)
    half = 0.5 * min(pixel_spacing_mm)
    for index, plane in enumerate(labels):
        wall = np.isin(plane, MYOCARDIUM)
        if not wall.any():
            continue
        cavity = plane == Label.LV_CAVITY
        inner, outer = _rim(cavity, wall), _rim(~np.isin(plane, LEFT_VENTRICLE), wall)
        if not inner.any():
            inner = np.zeros_like(wall)
            centre = np.argwhere(wall).mean(0).round().astype(np.intp)
            inner[tuple(centre)] = True
        at = np.argwhere(wall) * np.asarray(pixel_spacing_mm)
        near, far = (_distance(at, border, pixel_spacing_mm) - half for border in (inner, outer))
        near, far = np.maximum(near, 0.0), np.maximum(far, 0.0)
        total = near + far
        depth[index][wall] = np.divide(near, total, out=np.full_like(near, 0.5), where=total > 0)
    return depth


def _rim(area: NDArray[np.bool_], wall: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of ``area`` that touch the wall; beyond the picture is outside, but not seen."""
    beside = np.zeros_like(wall)
    beside[1:] |= wall[:-1]
    beside[:-1] |= wall[1:]
    beside[:, 1:] |= wall[:, :-1]
    beside[:, :-1] |= wall[:, 1:]
    rim: NDArray[np.bool_] = area & beside
    return rim


def _distance(
    at: Depth, border: NDArray[np.bool_], pixel_spacing_mm: tuple[float, float]
) -> NDArray[np.float64]:
    """[n] mm from points [n, 2] to the nearest pixel of a border; a border is a few hundred pixels
    long, so all pairs are cheaper than a distance transform."""
    pixels = np.argwhere(border) * np.asarray(pixel_spacing_mm)
    if not len(pixels):
        return np.full(len(at), np.inf)
    squares = (at[:, None, 0] - pixels[None, :, 0]) ** 2
    squares += (at[:, None, 1] - pixels[None, :, 1]) ** 2
    return np.asarray(np.sqrt(squares.min(1)))
