"""Semi-real patients: hearts of the twin with real ECGs, paired by what both show.

No public data hold LGE, ECG and scar of one patient. Here a real ECG that was read as an infarct
goes with a simulated heart whose scar is painted where that infarct lies, and a real ECG without
one with a heart without scar; mimics occur in both. A stale ECG is the record of somebody else.
Not every infarct shows in an ECG: some hearts with scar have a normal one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from scarseg_export.train.infarct_codes import CORE_FLANK
from scarseg_export.train.real_ecgs import RealEcgs
from scarseg_export.twin.cohort import Case, sample_case
from scarseg_export.twin.scar import ischaemic_scar, no_scar
from scarseg_runtime.atlas import segment_at

SCAR_FREE = 0.4
"""Share of hearts without scar, as in the twin."""
SILENT = 0.25
"""Share of infarcts whose ECG shows none: of infarcts seen by LGE, ECGs miss far more than a
few, and a network that never saw one would take every normal ECG for proof (our choice)."""
OTHER_FINDINGS = 0.3
"""Share of hearts without scar whose ECG is not normal, but shows no infarct either."""

_ANGLE = np.arange(2.5, 360.0, 5.0)[None, :]
_LEVEL = np.linspace(0.02, 0.98, 25)[:, None]
_SEGMENT = segment_at(*np.broadcast_arrays(_ANGLE, _LEVEL))


@dataclass(frozen=True)
class EcgClasses:
    """Facts of N real records that pairing needs; small, so that it travels between processes."""

    kind: NDArray[np.str_]
    """``infarct``, ``normal`` or ``other``."""
    codes: NDArray[np.str_]
    """Infarct codes, separated by blanks."""

    @classmethod
    def of(cls, ecgs: RealEcgs) -> EcgClasses:
        """Those of a table of records."""
        return cls(ecgs.kind, ecgs.codes)


@dataclass(frozen=True)
class Pairing:
    """A heart and the records, by their row, that are offered with it."""

    case: Case
    own: int
    """Shows the scar of the heart, as far as an ECG can."""
    stale: int
    """Of another scar state."""
    foreign: int
    """Of another patient, whatever it shows."""
    silent: bool
    """The heart has an infarct that its own record does not show."""


def pair(classes: EcgClasses, seed: int) -> Pairing:
    """Draw the semi-real patient that belongs to ``seed``."""
    rng = np.random.default_rng([seed, 11])
    own, stale, foreign = (_draw_ecg(rng, classes) for _ in range(3))
    silent = False
    if classes.kind[own] == "infarct":
        code = rng.choice(str(classes.codes[own]).split())
        scar = ischaemic_scar(rng, centre_of(CORE_FLANK[str(code)][0]))
        silent = bool(rng.random() < SILENT)
        if silent:
            own = _one(rng, classes, "normal")
    else:
        scar = no_scar()
    return Pairing(replace(sample_case(seed), scar=scar), own, stale, foreign, silent)


def semi_real_case(classes: EcgClasses, seed: int) -> Case:
    """The heart of :func:`pair`, for those who only render it."""
    return pair(classes, seed).case


def case_maker(ecgs: RealEcgs) -> partial[Case]:
    """Function from seed to heart that can be sent to other processes."""
    return partial(semi_real_case, EcgClasses.of(ecgs))


def centre_of(core: tuple[int, ...]) -> tuple[float, float]:
    """Angle from the anterior RV insertion and level of the middle of AHA segments 1–17."""
    inside = np.isin(_SEGMENT, core)
    turns = np.deg2rad(np.broadcast_to(_ANGLE, inside.shape)[inside])
    angle = np.degrees(np.arctan2(np.sin(turns).mean(), np.cos(turns).mean())) % 360.0
    return float(angle), float(np.broadcast_to(_LEVEL, inside.shape)[inside].mean())


def _draw_ecg(rng: np.random.Generator, classes: EcgClasses) -> int:
    """A record of an infarct, or of none in the share of hearts without scar."""
    if rng.random() >= SCAR_FREE:
        return _one(rng, classes, "infarct")
    return _one(rng, classes, "other" if rng.random() < OTHER_FINDINGS else "normal")


def _one(rng: np.random.Generator, classes: EcgClasses, kind: str) -> int:
    found = np.flatnonzero(classes.kind == kind)
    if not found.size:
        found = np.flatnonzero(classes.kind != "infarct")
    return int(rng.choice(found))
