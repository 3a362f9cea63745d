"""A shifted twin: patients of another hospital, whom a model trained on the twin has not seen.

Other scanner, other mix of territories, other speed at which scar states change. Stands in for
"your own patients" where the truth must be known (bench/own_patients.py, tests).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scarseg_export.twin.cohort import Case, sample_case
from scarseg_export.twin.scanner import Look, sample_look
from scarseg_export.twin.scar import ScarMap, ischaemic_scar, no_scar, non_ischaemic_scar

SHIFTED_TAU_DAYS = 30.0
"""Of the twin it is 120."""
SEED_BASE = 900_000_000_000
"""Seeds of shifted patients: none is a patient of a recipe (train/buffers.py)."""
CENTRES = ((0.0, 0.60), (130.0, 0.35), (235.0, 0.38))
"""LAD, RCA, LCx as in scar.py, but drawn with the shares of the next line."""
SHARES = (0.15, 0.25, 0.60)
SCAR_FREE = 0.25


def shifted_case(seed: int) -> Case:
    """Draw the patient that belongs to ``seed``; the heart is that of the twin's same seed."""
    rng = np.random.default_rng([seed, 40])
    case = sample_case(seed)
    return replace(case, scar=_scar(rng), other_scar=_scar(rng), look_of=shifted_look)


def shifted_look(rng: np.random.Generator) -> Look:
    """A scanner of low contrast: dim, patchy scar with wide borders, bright fat, strong coil bias,
    blurred, magnitude images throughout."""
    return replace(
        sample_look(rng),
        scar=rng.uniform(0.4, 0.75),
        scar_patches=rng.uniform(0.3, 0.6),
        scar_border_mm=rng.uniform(2.0, 6.0),
        fat=rng.uniform(1.3, 1.8),
        noise=rng.uniform(0.08, 0.22),
        blood_streaks=rng.uniform(0.1, 0.35),
        bias=rng.uniform(0.25, 0.4),
        blur_mm=rng.uniform(1.8, 2.8),
        magnitude_offset=rng.uniform(0.15, 0.4),
    )


def _scar(rng: np.random.Generator) -> ScarMap:
    draw = rng.random()
    if draw < SCAR_FREE:
        return no_scar()
    if draw < SCAR_FREE + 0.15:
        return non_ischaemic_scar(rng)
    return ischaemic_scar(rng, CENTRES[int(rng.choice(3, p=SHARES))])
