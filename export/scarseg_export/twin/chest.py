"""Everything around the heart: organs with random signal inside a body outline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scarseg_export.twin.grid import SliceGrid
from scarseg_export.twin.scanner import Look, smooth

FloatArray = NDArray[np.float32]


def chest(rng: np.random.Generator, grid: SliceGrid, look: Look) -> FloatArray:
    """Everything around the heart: random organs with random signal inside a body outline."""
    shape = (1, grid.rows, grid.columns)
    organs = np.zeros(shape, np.float32)
    for size in (30.0, 45.0, 70.0):
        blobs = smooth(rng, shape, grid.spacing_mm, size)
        palette = rng.uniform(-0.4, 1.5, 3).astype(np.float32)
        cuts = np.sort(rng.normal(0.0, 0.7, 2))
        chosen = palette[np.digitize(blobs, cuts)]
        organs = np.where(smooth(rng, shape, grid.spacing_mm, 60.0) > 0, chosen, organs)
    organs = organs + rng.uniform(0.0, 0.15) * smooth(rng, shape, grid.spacing_mm, 6.0)
    columns = (np.arange(grid.columns) + 0.5 - grid.columns / 2) * grid.spacing_mm
    rows = (np.arange(grid.rows) + 0.5 - grid.rows / 2) * grid.spacing_mm
    heart = grid.centres_mm.mean(axis=0)
    body = np.hypot(
        (columns[None, :] - heart[0] + rng.uniform(-50, 60)) / rng.uniform(110, 190),
        (rows[:, None] - heart[1] - rng.uniform(-30, 30)) / rng.uniform(95, 140),
    )[None]
    rim = rng.uniform(0.04, 0.2)
    air = rng.uniform(-0.5, 0.0)
    organs = np.where(body > 1.0 - rim, np.float32(look.fat), organs)
    organs = np.where(body > 1.0, np.float32(air), organs)
    slices = len(grid.heights_mm)
    change = 1 + 0.15 * rng.normal(size=(slices, 1, 1)).astype(np.float32)
    return (np.broadcast_to(organs, (slices, *shape[1:])) * change).astype(np.float32)
