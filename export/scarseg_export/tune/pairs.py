"""Own pairs of image and ECG, passed through the frozen parts of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scarseg_export.net.network import ScarNet
from scarseg_export.patients.load import OwnPatient
from scarseg_export.train.losses import UNLABELLED_PIXEL
from scarseg_export.train.paired import Patient, passed
from scarseg_runtime.contract import Label


@dataclass(frozen=True)
class OwnPair:
    """A patient whose ECG is of known age. Whether it shows the scar of the image nobody knows, so
    the patient's own and stale ECG are one and the same."""

    patient: Patient
    gap_days: float
    has_scar: bool
    weight: float
    """Of being drawn, relative to the others."""


def usable_pairs(patients: Sequence[OwnPatient]) -> list[OwnPatient]:
    """Those with scar drawn, or looked for, and an ECG that may be used."""
    return [p for p in patients if p.scar and p.ecg_valid and p.beat_mv is not None]


def pass_pairs(net: ScarNet, patients: Sequence[OwnPatient], seed: int) -> list[OwnPair]:
    """Pairs of the patients that :func:`usable_pairs` gives."""
    return [_pair(net, patient, seed) for patient in usable_pairs(patients)]


def _pair(net: ScarNet, patient: OwnPatient, seed: int) -> OwnPair:
    torch.manual_seed(seed * 100_003 + patient.row)
    assert patient.beat_mv is not None
    assert patient.gap_days is not None
    beat = torch.from_numpy(np.asarray(patient.beat_mv, np.float32))
    image, is_scar, known = tensors_of(patient)
    seen = passed(net, image, is_scar, torch.stack([beat, beat]), known=known)
    return OwnPair(seen, float(patient.gap_days), patient.has_scar, patient.weight)


def tensors_of(patient: OwnPatient) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor, Tensor]:
    """Pixels, spacing and levels as the network wants them; where scar was drawn, and where anybody
    said whether there is some [S, H, W]."""
    image = (
        torch.from_numpy(patient.pixels.astype(np.float32)),
        torch.tensor(patient.spacing_mm, dtype=torch.float32),
        torch.from_numpy(patient.levels),
    )
    is_scar = torch.from_numpy((patient.labels == Label.SCAR).astype(np.float32))
    known = torch.from_numpy((patient.labels != UNLABELLED_PIXEL).astype(np.float32))
    return image, is_scar, known
