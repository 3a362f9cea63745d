"""Hearts that a network was not trained on, as it sees them, and what they say of its parts.

Of a fold these are its validation part. For the run on everybody they are the tested parts of the
folds, each seen by the fold that did not train on it; the folds leave what they say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scarseg_export.evaluation.metrics import dice
from scarseg_export.net.fusion import moved
from scarseg_export.net.network import ScarNet, wall_of
from scarseg_export.net.time_weight import mix
from scarseg_export.patients.arguments import MIN_SCAR_ML
from scarseg_export.patients.load import OwnPatient, wall_of_truth
from scarseg_export.train.fusion import change_of, disagreement_of, ecg_of
from scarseg_export.train.paired import OWN, VARIANTS, Patient, cropped, flattened
from scarseg_export.tune.pairs import tensors_of, usable_pairs
from scarseg_runtime.contract import BEAT_SAMPLES, LEADS
from scarseg_runtime.quantify.components import clean_scar

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

SHIFTS = np.linspace(-0.5, 0.5, 21).round(2)
"""Of the scar logit, that are compared: with a whole one a fold whose five hearts told a bias lost
scar, and overshot it."""
RECORD = "held-out.json"
IMAGE, SHIPPED, TRAINED = "image alone", "as it came", "trained"
"""Ways to fuse, that are compared."""


@dataclass(frozen=True)
class Heart:
    """A held-out patient as a network sees him."""

    patient: Patient
    """With every pixel of the wall that was found."""
    gap_days: float | None
    """None where no ECG may be used."""
    wall_dice: float | None
    """None where nobody drew the wall."""
    place: NDArray[np.bool_]
    """[S, h, w] pixels of the crops that ``patient`` has, in this order."""
    pixel_ml: NDArray[np.float64]
    """[S] volume of a pixel."""


@dataclass(frozen=True, slots=True)
class ImageEvidence:
    """Answer of the image network on one heart, in pixels of its crops, cleaned as it is served."""

    scar: float
    """Drawn."""
    hit: list[float]
    """Found, of what was drawn, with each of ``SHIFTS``; ``called`` likewise, right or wrong."""
    called: list[float]
    wall: float
    """Found, scar or not."""
    wall_dice: float | None
    before: tuple[float, float, float | None] | None
    """``hit``, ``called`` and ``wall_dice`` of the network that was begun with; None where it was
    an untrained one."""


@dataclass(frozen=True, slots=True)
class PairEvidence:
    """Answers of the ways to fuse on one pair, means over distorted copies of its ECG."""

    scar: float
    """Drawn, in pixels."""
    dice: dict[str, float]
    """Of scar; in a heart without any 1 where none is called, else 0."""
    right: dict[str, float]
    """1 where scar is found in a heart that has it, or none is called in one that has not; else 0.
    """


@dataclass(frozen=True, slots=True)
class HeldOut:
    """All that held-out hearts say."""

    image: list[ImageEvidence]
    pairs: list[PairEvidence]
    disagreement: list[list[float]]
    """Of each pair, once a distorted copy of its ECG."""


@torch.no_grad()
def look(net: ScarNet, patients: Iterable[OwnPatient], seed: int) -> list[Heart]:
    """Those of the patients in whom somebody looked for scar."""
    return [_look(net, patient, seed) for patient in patients if patient.scar]


def _look(net: ScarNet, patient: OwnPatient, seed: int) -> Heart:
    torch.manual_seed(seed * 100_003 + patient.row)
    image, is_scar, known = tensors_of(patient)
    seen = net.see(*image)
    heard = bool(usable_pairs([patient]))
    beat = np.zeros((len(LEADS), BEAT_SAMPLES)) if not heard else np.asarray(patient.beat_mv)
    beats = torch.from_numpy(beat.astype(np.float32)).expand(2, -1, -1)
    flat = flattened(net, seen, is_scar, beats, 1.0, known)
    told = cropped(net, seen, known)
    found = (wall_of(seen.anatomy).view_as(told) & told).numpy()
    overlap = None
    if patient.anatomy:
        drawn = torch.from_numpy(wall_of_truth(patient.labels).astype(np.float32))
        overlap = dice(found, (cropped(net, seen, drawn) & told).numpy())
    pixel_ml = net.config.crop_spacing_mm**2 * patient.heights_mm / 1000.0
    return Heart(flat, patient.gap_days if heard else None, overlap, found, pixel_ml)


def image_evidence(hearts: Sequence[Heart], before: Sequence[Heart] | None) -> list[ImageEvidence]:
    """Count what the image alone calls.

    Args:
        before: the same hearts as seen by the network that was begun with.
    """
    found = []
    for number, heart in enumerate(hearts):
        hit, called = _counts(heart, _called(heart.patient, SHIFTS))
        old = None
        if before is not None:
            was = before[number]
            old_hit, old_called = _counts(was, _called(was.patient, np.zeros(1)))
            old = float(old_hit[0]), float(old_called[0]), was.wall_dice
        found.append(ImageEvidence(
            _drawn(heart.patient), hit.tolist(), called.tolist(), float(len(heart.patient.scar)),
            heart.wall_dice, old,
        ))  # fmt: skip
    return found


def _drawn(patient: Patient) -> float:
    return float(patient.is_scar.sum()) + patient.missed


def _called(patient: Patient, shifts: FloatArray) -> BoolArray:
    """[shifts, pixels] of the wall that are called with each shift of the logit."""
    return np.asarray(patient.scar.numpy()[None] > -shifts[:, None])


def _counts(heart: Heart, called: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Pixels found of what was drawn, and called at all, by each row of ``called``."""
    served = np.stack([_as_served(heart, one) for one in called])
    truth = heart.patient.is_scar.numpy() > 0
    return (served & truth).sum(1).astype(float), served.sum(1).astype(float)


def _as_served(heart: Heart, called: BoolArray) -> BoolArray:
    """[pixels] after the clean-up of the product: dark cores are scar, and small islands none."""
    scar = np.zeros(heart.place.shape, bool)
    scar[heart.place] = called
    return clean_scar(scar, heart.place, MIN_SCAR_ML, heart.pixel_ml)[heart.place]


@torch.no_grad()
def pair_evidence(hearts: Iterable[Heart], ways: Mapping[str, ScarNet]) -> list[PairEvidence]:
    """Judge what image and ECG together call, of hearts with an ECG.

    Args:
        ways: networks that fuse in different ways and share the image network that saw the hearts.
    """
    found = []
    for heart in with_ecg(hearts):
        calls = {name: _copies(net, heart) for name, net in ways.items()}
        calls[IMAGE] = _called(heart.patient, np.zeros(1))
        judged = {way: _judged(heart, one) for way, one in calls.items()}
        dices, rights = ({way: one[i] for way, one in judged.items()} for i in range(2))
        found.append(PairEvidence(_drawn(heart.patient), dices, rights))
    return found


def _judged(heart: Heart, calls: BoolArray) -> tuple[float, float]:
    """Means over the rows of ``calls`` of ``PairEvidence.dice`` and ``.right``."""
    scar = _drawn(heart.patient)
    hit, called = _counts(heart, calls)
    right = hit > 0 if scar > 0 else called == 0
    dice = [dice_of(*one, scar) for one in zip(hit, called, strict=True)]
    return float(np.mean(dice)), float(right.mean())


def dice_of(hit: float, called: float, scar: float) -> float:
    """Dice of pixel counts; 1 where there is nothing and nothing is called."""
    return 2.0 * hit / (called + scar) if called + scar else 1.0


def _copies(net: ScarNet, heart: Heart) -> BoolArray:
    """[copies, pixels] that are called with each distorted copy of the ECG."""
    return np.stack([_fused(net, heart, variant) for variant in range(VARIANTS)])


def with_ecg(hearts: Iterable[Heart]) -> list[Heart]:
    """Those whose ECG may be used."""
    return [heart for heart in hearts if heart.gap_days is not None]


def _fused(net: ScarNet, heart: Heart, variant: int) -> BoolArray:
    """[pixels] that are called with a copy of the ECG."""
    patient, ecg = heart.patient, ecg_of(heart.patient, OWN, variant)
    image = net.ceiling(patient.scar)
    odd = torch.sigmoid(disagreement_of(net, patient, ecg))
    fused = moved(image, change_of(net.fusion, patient, ecg.belief), odd, net.config)
    weight = net.taff(torch.tensor([heart.gap_days], dtype=torch.float32), torch.ones(1))
    return np.asarray(mix(weight, torch.sigmoid(fused), torch.sigmoid(image)).numpy() > 0.5)


def keep(folder: Path, held_out: HeldOut) -> None:
    """Leave to the run on everybody what a fold's tested part says."""
    (folder / RECORD).write_text(json.dumps(asdict(held_out)), encoding="utf-8")


def kept(folders: Iterable[Path]) -> HeldOut:
    """Evidence that all folds left."""
    found = HeldOut([], [], [])
    for folder in folders:
        said = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        found.image.extend(ImageEvidence(**one) for one in said["image"])
        found.pairs.extend(PairEvidence(**one) for one in said["pairs"])
        found.disagreement.extend(said["disagreement"])
    return found
