"""Slices in grey with contours in colour, on the grid of the source."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.result import ScarResult
from scarseg_infer.write.report.drawing import ENDOCARDIUM, EPICARDIUM, SCAR
from scarseg_infer.write.report.overlay import grey_range
from scarseg_runtime.contract import LEFT_VENTRICLE, Label

_TINT: Final = 0.3
"""Share of colour within scar: the grey of the image stays visible."""


def overlay_slices(result: ScarResult) -> NDArray[np.uint16]:
    """[S, 3, H, W] red, green and blue of 0 to 255. Rows and columns are those of the source, not
    of the standard display, so that the images lie where their headers say."""
    low, high = grey_range(result.stack.pixels)
    scale = max(high - low, 1e-6)
    grey = 255.0 * np.clip((result.stack.pixels - low) / scale, 0.0, 1.0)
    canvas = np.repeat(grey[..., None], 3, axis=-1)
    scar = result.labels == Label.SCAR
    canvas[scar] = (1 - _TINT) * canvas[scar] + _TINT * np.array(SCAR, np.float32)
    for area, colour in (
        (np.isin(result.labels, LEFT_VENTRICLE), EPICARDIUM),
        (result.labels == Label.LV_CAVITY, ENDOCARDIUM),
        (scar, SCAR),
    ):
        canvas[_inner_edge(area)] = colour
    planes: NDArray[np.uint16] = np.moveaxis(np.rint(canvas), -1, 1).astype(np.uint16)
    return planes


def _inner_edge(area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of an area [S, H, W] that touch, within their slice, one that is not in it."""
    inner = area.copy()
    inner[:, 1:] &= area[:, :-1]
    inner[:, :-1] &= area[:, 1:]
    inner[:, :, 1:] &= area[:, :, :-1]
    inner[:, :, :-1] &= area[:, :, 1:]
    return area & ~inner
