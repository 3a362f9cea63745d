"""Real ECGs for training, calibration and test, as mean beats with what they teach."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from scarseg_export.train.infarct_codes import Territory, territories_of
from scarseg_export.train.ptbxl import Heard, content_digest, listen, read_entries
from scarseg_export.train.workers import worker_pool
from scarseg_runtime.errors import UsageError
from scarseg_runtime.whole import whole_file

TRAINING_FOLDS: Final = tuple(range(1, 9))
CALIBRATION_FOLD: Final = 9
TEST_FOLD: Final = 10
_VERSION: Final = "1"
"""Of what a cache holds; part of its name."""


@dataclass(frozen=True, eq=False)
class RealEcgs:
    """N records that the product would listen to."""

    beats: NDArray[np.float32]
    """[N, 12, 512] mean beats in mV."""
    target: NDArray[np.float32]
    """[N, 17] scar burden by the codes: :func:`scarseg_export.train.infarct_codes.target_of`."""
    mask: NDArray[np.bool_]
    """[N, 17] segments of which the codes say anything; the others stay out of a loss."""
    kind: NDArray[np.str_]
    """[N] ``infarct``, ``normal`` or ``other``."""
    codes: NDArray[np.str_]
    """[N] infarct codes, separated by blanks; empty without an infarct."""
    fold: NDArray[np.int64]
    device: NDArray[np.str_]
    ecg_id: NDArray[np.int64]
    patient_id: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.beats)

    def select(self, where: NDArray[Any]) -> RealEcgs:
        """The records that a mask or indices pick."""
        return RealEcgs(**{field.name: getattr(self, field.name)[where] for field in fields(self)})

    @property
    def training(self) -> RealEcgs:
        """Folds 1 to 8: the only ones whose gradient may move a weight."""
        return self.select(np.isin(self.fold, TRAINING_FOLDS))

    @property
    def calibration(self) -> RealEcgs:
        """Fold 9."""
        return self.select(self.fold == CALIBRATION_FOLD)

    @property
    def test(self) -> RealEcgs:
        """Fold 10."""
        return self.select(self.fold == TEST_FOLD)

    def of_kind(self, kind: str) -> RealEcgs:
        """Only ``infarct``, ``normal`` or ``other``."""
        return self.select(self.kind == kind)

    def territories(self, index: int) -> tuple[Territory, ...]:
        """Coronary territories of one record's infarct, in the twin's names; none without one."""
        return territories_of(tuple(str(self.codes[index]).split()))


def real_ecgs(folder: Path, cache: Path) -> RealEcgs:
    """Records of a PTB-XL folder, prepared by all cores and kept in ``cache`` by their content.

    Raises:
        UsageError: the folder is no PTB-XL, or nothing in it can be used.
    """
    entries = read_entries(folder)
    known = cache / f"real-{_VERSION}-{content_digest(entries)[:16]}.npz"
    if not known.exists():
        with worker_pool() as pool:
            work = pool.map(listen, entries, chunksize=32)
            heard = [one for one in tqdm(work, total=len(entries), desc="real ECGs") if one]
        if not heard:
            raise UsageError("no ECG of the folder can be used", "Give the whole folder of PTB-XL")
        cache.mkdir(parents=True, exist_ok=True)
        save_real_ecgs(known, stacked(heard))
    return load_real_ecgs(known)


def stacked(heard: list[Heard]) -> RealEcgs:
    """One table of single records."""
    entries = [one.entry for one in heard]
    return RealEcgs(
        beats=np.stack([one.beat_mv for one in heard]),
        target=np.stack([one.target for one in heard]),
        mask=np.stack([one.told for one in heard]),
        kind=np.array([entry.kind for entry in entries]),
        codes=np.array([" ".join(one.infarct) for one in heard]),
        fold=np.array([entry.fold for entry in entries]),
        device=np.array([entry.device for entry in entries]),
        ecg_id=np.array([entry.ecg_id for entry in entries]),
        patient_id=np.array([entry.patient_id for entry in entries]),
    )


def save_real_ecgs(path: Path, ecgs: RealEcgs) -> None:
    """Write a table whole or not at all."""
    with whole_file(path) as part, part.open("wb") as file:  # numpy would add .npz to a name
        np.savez(file, **{field.name: getattr(ecgs, field.name) for field in fields(ecgs)})


def load_real_ecgs(path: Path) -> RealEcgs:
    """Read what :func:`save_real_ecgs` wrote."""
    with np.load(path, allow_pickle=False) as values:
        return RealEcgs(**{field.name: values[field.name] for field in fields(RealEcgs)})
