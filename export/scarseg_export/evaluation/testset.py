"""Fixed test sets: the twin with Δt as in a clinic and with Δt spread evenly over its magnitude,
and semi-real patients, whose ECGs are the real ones of the test fold."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scarseg_export.evaluation.digest import source_digest
from scarseg_export.train.buffers import TEST, patient_seed
from scarseg_export.train.ecg import segment_burden_of
from scarseg_export.train.real_ecgs import RealEcgs, load_real_ecgs, save_real_ecgs
from scarseg_export.train.semi_real import EcgClasses, pair
from scarseg_export.twin.cohort import beats_of, is_stale, sample_case, sample_gaps
from scarseg_export.twin.image import ImageStack
from scarseg_runtime.whole import whole_file

SetName = Literal["clinical", "spread", "semi-real"]
SETS: tuple[SetName, ...] = ("clinical", "spread")
SEMI_REAL: SetName = "semi-real"
"""Only made where real ECGs are at hand."""

SIZE, SPACING_MM, WANDER_MM = 176, 1.6, 30.0
SET_OFFSET = {"clinical": 0, "spread": 1_000_000, "semi-real": 2_000_000}
OTHER_OFFSET = 500_000
"""Patients whose ECG is offered with a test patient's image by mistake: never the patient's
own, and the same ones however many patients a set has."""
SPREAD_DAYS = (0.1, 1000.0)
ECGS_FILE = "test-ecgs.npz"


@dataclass(frozen=True)
class UnseenPatient:
    """One test patient, as the deployed model and the truth see it."""

    index: int
    stack: ImageStack
    gap_days: float
    stale: bool
    """True where the ECG of that gap shows another scar state than the image."""
    fresh_beat: NDArray[np.float32]
    """[12, 512] the ECG of the MRI's own day."""
    stale_beat: NDArray[np.float32]
    """An ECG of another scar state of the same heart."""
    other_beat: NDArray[np.float32]
    """The ECG of somebody else."""
    burden: NDArray[np.float32]
    """[17] true scar fraction per segment at MRI time."""
    silent: bool = False
    """The heart has an infarct that even its fresh ECG does not show; never so in the twin."""

    @property
    def beat(self) -> NDArray[np.float32]:
        """The ECG recorded ``gap_days`` from the MRI."""
        return self.stale_beat if self.stale else self.fresh_beat


def gap_of(name: SetName, index: int) -> tuple[float, bool]:
    """Days between ECG and MRI of one patient, and whether the ECG is stale.

    Each patient has a generator of its own, so that a smaller set is the start of a larger one.
    """
    rng = np.random.default_rng([TEST, SET_OFFSET[name] + index])
    gap = sample_gaps(rng, 1)
    if name == "spread":
        low, high = np.log(SPREAD_DAYS)
        gap = np.exp(rng.uniform(low, high, 1))
    return float(gap[0]), bool(is_stale(rng, gap)[0])


def load_case(name: SetName, index: int, ecgs: RealEcgs | None = None) -> UnseenPatient:
    """Simulate one test patient; a semi-real one with ``ecgs`` of the test fold."""
    if name == SEMI_REAL:
        assert ecgs is not None
        return _semi_real(index, ecgs)
    case = sample_case(patient_seed(0, TEST, SET_OFFSET[name] + index))
    other = sample_case(patient_seed(0, TEST, SET_OFFSET[name] + OTHER_OFFSET + index))
    gap, stale = gap_of(name, index)
    fresh, old, foreign = beats_of([case, case, other], np.array([False, True, False]))
    stack = case.image(SIZE, SPACING_MM, WANDER_MM)
    return UnseenPatient(index, stack, gap, stale, fresh, old, foreign, segment_burden_of(case))


def _semi_real(index: int, ecgs: RealEcgs) -> UnseenPatient:
    pairing = pair(EcgClasses.of(ecgs), patient_seed(0, TEST, SET_OFFSET[SEMI_REAL] + index))
    gap, stale = gap_of(SEMI_REAL, index)
    fresh, old, foreign = ecgs.beats[[pairing.own, pairing.stale, pairing.foreign]]
    stack = pairing.case.image(SIZE, SPACING_MM, WANDER_MM)
    burden = segment_burden_of(pairing.case)
    return UnseenPatient(index, stack, gap, stale, fresh, old, foreign, burden, pairing.silent)


def store_ecgs(folder: Path, ecgs: RealEcgs) -> None:
    """Keep the ECGs of semi-real patients where :func:`stored_case` finds them."""
    folder.mkdir(parents=True, exist_ok=True)
    save_real_ecgs(folder / ECGS_FILE, ecgs)
    _stored_ecgs.cache_clear()


@cache
def _stored_ecgs(folder: Path) -> RealEcgs:
    return load_real_ecgs(folder / ECGS_FILE)


def stored_case(folder: Path, name: SetName, index: int) -> UnseenPatient:
    """One test patient, from ``folder`` where it is there already, else simulated into it."""
    path = folder / set_digest() / f"{name}-{index:05d}.npz"
    if path.exists():
        return _read(path, index)
    case = load_case(name, index, _stored_ecgs(folder) if name == SEMI_REAL else None)
    arrays = {key: np.asarray(value) for key, value in asdict(case.stack).items()}
    for key in ("gap_days", "stale", "fresh_beat", "stale_beat", "other_beat", "burden", "silent"):
        arrays[key] = np.asarray(getattr(case, key))
    with whole_file(path) as part, part.open("wb") as file:  # numpy would add .npz to a name
        np.savez(file, allow_pickle=False, **arrays)
    return case


def _read(path: Path, index: int) -> UnseenPatient:
    with np.load(path) as held:
        values = dict(held)
    stack = ImageStack(
        values["pixels"], values["labels"], values["segments"], values["mimic"],
        float(values["spacing_mm"]), values["heights_mm"], values["centres_mm"],
    )  # fmt: skip
    return UnseenPatient(
        index, stack, float(values["gap_days"]), bool(values["stale"]), values["fresh_beat"],
        values["stale_beat"], values["other_beat"], values["burden"], bool(values["silent"]),
    )  # fmt: skip


@cache
def set_digest() -> str:
    """Names the state of the simulator: patients of another one are not taken for these."""
    return source_digest(
        "twin", "evaluation/testset.py", "train/buffers.py", "train/ecg.py", "train/semi_real.py"
    )
