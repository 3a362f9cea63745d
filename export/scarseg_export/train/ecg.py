"""Stage 1: the ECG encoder learns segment burden, from simulated patients without images first,
then from simulated and real ECGs together, so that it neither forgets the one nor the other."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor
from tqdm import tqdm

from scarseg_export.net.ecg_encoder import EcgEncoder, size_units
from scarseg_export.train.buffers import ECG, patient_seed
from scarseg_export.train.ecg_calibration import belief_logits, calibrate, reliability_of
from scarseg_export.train.ecg_distort import distort
from scarseg_export.train.loop import Rate, run_steps
from scarseg_export.train.real_ecgs import TEST_FOLD, RealEcgs, real_ecgs
from scarseg_export.train.recipe import Recipe
from scarseg_export.train.workers import worker_pool
from scarseg_export.twin.cohort import Case, beats_of, sample_case
from scarseg_runtime.atlas import segment_at
from scarseg_runtime.contract import SEGMENT_COUNT
from scarseg_runtime.errors import UsageError

CHUNK = 50
BATCH = 128
SIZE_SHARE = 0.05
"""Weight of the heart's size in the loss: a by-product that must not cost belief."""
MIXED_TWIN = 64
MIXED_REAL = 21
"""Records of a mixed batch: simulated ones, and real ones of each kind."""
MIXED_DECAY = 1e-2
KINDS = ("infarct", "normal", "other")

_LEVEL = np.linspace(0.01, 0.99, 40, dtype=np.float32)[:, None, None]
_ANGLE = np.arange(0, 360, 7.5, dtype=np.float32)[None, :, None]
_DEPTH = np.array([0.1, 0.3, 0.5, 0.7, 0.9], dtype=np.float32)[None, None, :]
_SEGMENT = np.broadcast_to(segment_at(_ANGLE, _LEVEL), (40, 48, 5)) - 1


def segment_burden_of(case: Case) -> NDArray[np.float32]:
    """[17] scar fraction of the wall per segment, from the scar function itself."""
    inside = case.scar.margin(*np.broadcast_arrays(_ANGLE, _LEVEL, _DEPTH)) > 0
    total = np.bincount(_SEGMENT.ravel(), minlength=SEGMENT_COUNT)
    return (np.bincount(_SEGMENT.ravel(), inside.ravel(), SEGMENT_COUNT) / total).astype(np.float32)


def ecg_set(folder: Path, recipe: Recipe) -> tuple[Tensor, Tensor, Tensor]:
    """Beats [N, 12, 512], burdens [N, 17] and heart sizes [N, 2] of the recipe's ECG patients,
    cached on disk."""
    paths = folder / "beats.npy", folder / "burdens.npy", folder / "sizes.npy"
    if not all(path.exists() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        starts = range(0, recipe.ecg_patients, CHUNK)
        with worker_pool() as pool:
            parts = list(
                tqdm(pool.map(partial(_chunk, recipe.seed), starts), total=len(starts), desc="ecg")
            )
        for path, values in zip(paths, zip(*parts, strict=True), strict=True):
            np.save(path, np.concatenate(values))
    beats, burdens, sizes = (torch.from_numpy(np.load(path)) for path in paths)
    return beats, burdens, sizes


def _chunk(seed: int, start: int) -> tuple[NDArray[np.float32], ...]:
    cases = [sample_case(patient_seed(seed, ECG, start + k), scar_free=0.35) for k in range(CHUNK)]
    beats = beats_of(cases, np.zeros(CHUNK, bool))
    burdens = np.stack([segment_burden_of(case) for case in cases])
    sizes = [(case.anatomy.epi_radius_mm, case.anatomy.wall_mm) for case in cases]
    return beats, burdens, np.array(sizes, np.float32)


def train_ecg(folder: Path, recipe: Recipe, ecg: Path | None = None) -> EcgEncoder:
    """Train the encoder; the last 10 % of the simulated patients only report.

    Args:
        ecg: folder of PTB-XL. With it, ``recipe.ecg_real_steps`` mixed steps follow on its folds 1
            to 8, and belief is calibrated on fold 9.
    """
    twin = ecg_set(folder, recipe)
    known = len(twin[0]) - len(twin[0]) // 10
    torch.manual_seed(recipe.seed)
    encoder = EcgEncoder()
    rates = [Rate(encoder, recipe.ecg_rate)]

    def loss_of(step: int) -> tuple[Tensor, dict[str, str]]:
        likelihood, size = _twin_losses(encoder, twin, torch.randint(known, (BATCH,)))
        return likelihood + SIZE_SHARE * size, {"entropy": f"{likelihood.item():.4f}"}

    run_steps("ecg", rates, recipe.ecg_steps, recipe.seed, loss_of, folder / "resume.pt")
    if ecg is not None and recipe.ecg_real_steps:
        _learn_real(encoder, twin, known, real_ecgs(ecg, folder), recipe, folder / "mixed.pt")
    score = held_out_score(encoder, twin[0][known:], twin[1][known:])
    tqdm.write(f"ecg: AUROC of segment scar on held-out simulated patients {score:.3f}")
    return encoder


def _learn_real(
    encoder: EcgEncoder,
    twin: tuple[Tensor, Tensor, Tensor],
    known: int,
    ecgs: RealEcgs,
    recipe: Recipe,
    checkpoint: Path,
) -> None:
    """Mixed steps on folds 1 to 8, then calibration on fold 9."""
    mix_real(encoder, twin, known, ecgs.training, recipe, checkpoint)
    if len(ecgs.calibration):
        factor, offset = calibrate(encoder, ecgs.calibration)
        tqdm.write(f"ecg: belief calibrated on fold 9, logits × {factor:.2f} + {offset:.2f}")


def mix_real(
    encoder: EcgEncoder,
    twin: tuple[Tensor, Tensor, Tensor],
    known: int,
    real: RealEcgs,
    recipe: Recipe,
    checkpoint: Path,
) -> None:
    """Go on with simulated and real ECGs in one batch. Size is learned from simulated ones only;
    segments that a real record's codes do not tell stay out of the loss.

    Raises:
        UsageError: ``real`` lacks infarcts, normals or others.
    """
    beats, target = torch.from_numpy(real.beats), torch.from_numpy(real.target)
    told = torch.from_numpy(real.mask)
    pools = [torch.from_numpy(np.flatnonzero(real.kind == kind)) for kind in KINDS]
    if not all(len(pool) for pool in pools):
        raise UsageError(
            "the ECG folder lacks infarcts, normals or others in folds 1 to 8",
            "Give the whole folder of PTB-XL",
        )

    def loss_of(step: int) -> tuple[Tensor, dict[str, str]]:
        simulated = torch.randint(known, (MIXED_TWIN,))
        picked = torch.cat([pool[torch.randint(len(pool), (MIXED_REAL,))] for pool in pools])
        moved = distort(torch.cat([twin[0][simulated], beats[picked]]))
        belief, size = encoder(moved)
        truth = torch.cat([twin[1][simulated], target[picked]])
        weight = torch.cat([torch.ones(MIXED_TWIN, SEGMENT_COUNT), told[picked].float()])
        every = F.binary_cross_entropy_with_logits(belief, truth, reduction="none")
        likelihood = (every * weight).sum() / weight.sum()
        sizes = size_units(twin[2][simulated])
        size_error = F.mse_loss(size[:MIXED_TWIN], sizes)
        return likelihood + SIZE_SHARE * size_error, {"entropy": f"{likelihood.item():.4f}"}

    rates = [Rate(encoder, recipe.ecg_real_rate, MIXED_DECAY)]
    run_steps("real ecg", rates, recipe.ecg_real_steps, recipe.seed, loss_of, checkpoint)


def _twin_losses(
    encoder: EcgEncoder, twin: tuple[Tensor, Tensor, Tensor], pick: Tensor
) -> tuple[Tensor, Tensor]:
    beats, burdens, sizes = (values[pick] for values in twin)
    belief, size = encoder(distort(beats))
    likelihood = F.binary_cross_entropy_with_logits(belief, burdens)
    return likelihood, F.mse_loss(size, size_units(sizes))


def held_out_score(encoder: EcgEncoder, beats: Tensor, burdens: Tensor) -> float:
    """Mean over segments of the AUROC for a burden above 10 %."""
    logits = belief_logits(encoder, beats).numpy()
    return float(np.nanmean(segment_auroc(logits, burdens.numpy() > 0.1)))


def ecg_scores(encoder: EcgEncoder, ecgs: RealEcgs) -> dict[str, Any]:
    """Scores of the belief on real ECGs for a model file: the test fold's infarcts against its
    normals by the highest belief, and the calibration error over all segments that the codes
    tell. Empty where that fold lacks one of both."""
    test = ecgs.select(ecgs.fold == TEST_FOLD)
    infarct, normal = test.kind == "infarct", test.kind == "normal"
    told = infarct | normal
    if not infarct.any() or not normal.any():
        return {}
    highest = belief_logits(encoder, test.beats).numpy().max(1, keepdims=True)
    return {
        "data": "PTB-XL, test fold",
        "records": int(told.sum()),
        "auroc": round(float(segment_auroc(highest[told], infarct[told, None])[0]), 4),
        "calibration_error": round(reliability_of(encoder, test)["ece"], 4),
    }


def segment_auroc(scores: NDArray, truth: NDArray) -> NDArray[np.float64]:
    """[17] area under the ROC curve (rank statistic); NaN where only one class occurs."""
    values = np.full(truth.shape[1], np.nan)
    for segment in range(truth.shape[1]):
        positive = truth[:, segment]
        ranks = rankdata(scores[:, segment])
        n1, n0 = positive.sum(), (~positive).sum()
        if n1 and n0:
            values[segment] = (ranks[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * n0)
    return values
