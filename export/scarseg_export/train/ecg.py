"""Stage 1: the ECG encoder learns segment burden from simulated patients without images."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor
from tqdm import tqdm

from scarseg_export.net.ecg_encoder import EcgEncoder, size_units
from scarseg_export.train.buffers import ECG, patient_seed
from scarseg_export.train.loop import Rate, run_steps
from scarseg_export.train.recipe import Recipe
from scarseg_export.train.workers import worker_pool
from scarseg_export.twin.cohort import Case, beats_of, sample_case
from scarseg_runtime.atlas import segment_at
from scarseg_runtime.contract import SEGMENT_COUNT

CHUNK = 50
BATCH = 128
SIZE_SHARE = 0.05
"""Weight of the heart's size in the loss: a by-product that must not cost belief."""

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


def train_ecg(folder: Path, recipe: Recipe) -> EcgEncoder:
    """Train the encoder; the last 10 % of the patients only report."""
    beats, burdens, sizes = ecg_set(folder, recipe)
    known = len(beats) - len(beats) // 10
    torch.manual_seed(recipe.seed)
    encoder = EcgEncoder()

    def loss_of(step: int) -> tuple[Tensor, dict[str, str]]:
        pick = torch.randint(known, (BATCH,))
        belief, size = encoder(distort(beats[pick]))
        likelihood = F.binary_cross_entropy_with_logits(belief, burdens[pick])
        truth = size_units(sizes[pick, 0], sizes[pick, 1])
        loss = likelihood + SIZE_SHARE * F.mse_loss(size, truth)
        return loss, {"entropy": f"{likelihood.item():.4f}"}

    rates = [Rate(encoder, recipe.ecg_rate)]
    run_steps("ecg", rates, recipe.ecg_steps, recipe.seed, loss_of, folder / "resume.pt")
    score = held_out_score(encoder, beats[known:], burdens[known:])
    tqdm.write(f"ecg: AUROC of segment scar on held-out simulated patients {score:.3f}")
    return encoder


def distort(beats: Tensor) -> Tensor:
    """What real recorders add: gain, noise, drift of the baseline, a few ms of misalignment."""
    count = len(beats)
    moved = torch.roll(beats, int(torch.randint(-4, 5, ())), dims=-1)
    gain = torch.exp(0.15 * torch.randn(count, 1, 1))
    drift = 0.03 * torch.randn(count, 12, 1) * torch.linspace(-1, 1, beats.shape[-1])
    return moved * gain + drift + 0.015 * torch.randn_like(beats)


@torch.no_grad()
def held_out_score(encoder: EcgEncoder, beats: Tensor, burdens: Tensor) -> float:
    """Mean over segments of the AUROC for a burden above 10 %."""
    logits = torch.cat([encoder(part)[0] for part in beats.split(256)]).numpy()
    return float(np.nanmean(segment_auroc(logits, burdens.numpy() > 0.1)))


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
