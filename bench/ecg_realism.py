"""Distance of the twin's normal beats from real ones, and what an encoder makes of real ECGs.

    python bench/ecg_realism.py PTBXL_FOLDER [--cache FOLDER] [--count 600]
        [--encoder ecg.pt]   state dict of an encoder, such as RUN/ecg.pt: AUROC on real ECGs

Simulated hearts without scar or bundle-branch block against records of folds 1 to 8 whose only
diagnosis is "normal": median and spread (10 to 90 %) of what a cardiologist would measure, and how
well a linear classifier tells the two (AUROC, 5-fold cross-validation; 0.5: not at all).
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from scarseg_export.evaluation.ecg import auroc, score_table
from scarseg_export.net.ecg_encoder import EcgEncoder
from scarseg_export.train.real_ecgs import real_ecgs
from scarseg_export.twin.anatomy import sample_anatomy
from scarseg_export.twin.conduction import Conduction
from scarseg_export.twin.ecg import sample_conduction, simulate_beats
from scarseg_export.twin.scar import no_scar
from scarseg_runtime.contract import BEAT_R_INDEX, LEADS
from scarseg_runtime.ecg.conduction import qrs_extent

STEP_MS = 2.0
INDEPENDENT = (0, 1, 6, 7, 8, 9, 10, 11)
COMPONENTS = 80
FOLDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("bench-result/ecgs"))
    parser.add_argument("--count", type=int, default=600, help="simulated hearts (%(default)s)")
    parser.add_argument("--encoder", type=Path, help="state dict of an ECG encoder")
    options = parser.parse_args()
    ecgs = real_ecgs(options.folder, options.cache)
    real = ecgs.training.of_kind("normal").beats
    start = time.process_time()
    simulated = simulated_normals(options.count)
    seconds = time.process_time() - start
    print(f"{len(real)} real and {len(simulated)} simulated normal beats "
          f"({len(simulated) / seconds:.0f} a second and core)\n")  # fmt: skip
    print_table(measures(real), measures(simulated))
    told, parts = told_apart(real, simulated)
    print(f"\nlinear classifier, simulated against real: AUROC {told:.3f}; "
          + ", ".join(f"{name} {value:.3f}" for name, value in parts.items()))  # fmt: skip
    if options.encoder:
        encoder = EcgEncoder()
        encoder.load_state_dict(torch.load(options.encoder, weights_only=True))
        for name, part in (("folds 1-8", ecgs.training), ("fold 10", ecgs.test)):
            table = score_table(encoder, part)
            print(f"{name}: infarct against normal, AUROC {table['auroc']:.3f} "
                  f"({table['auroc_low']:.3f}-{table['auroc_high']:.3f}), normals believed "
                  f"scarred {table['normals_believed_scarred']:.1%}")  # fmt: skip


def simulated_normals(count: int) -> np.ndarray:
    """[count, 12, 512] beats of hearts without scar and without bundle-branch block."""
    rng = np.random.default_rng(5)
    beats: list[np.ndarray] = []
    while len(beats) * 50 < count:
        traits: list[Conduction] = []
        while len(traits) < 50:
            trait = sample_conduction(rng)
            if trait.bundle == "normal":
                traits.append(trait)
        anatomies = [sample_anatomy(rng) for _ in traits]
        beats.append(simulate_beats(anatomies, [no_scar()] * len(traits), traits))
    return np.concatenate(beats)[:count]


def measures(beats: np.ndarray) -> dict[str, np.ndarray]:
    """Measure what a cardiologist would, [N] each."""
    found: dict[str, np.ndarray] = {}
    qrs, late = beats[:, :, _span(-60, 60)], beats[:, :, _span(140, 420)]
    early = beats[:, :, _span(-60, 0)]
    for index, lead in enumerate(LEADS):
        found[f"{lead} R mV"] = qrs[:, index].max(1)
        found[f"{lead} S or Q mV"] = -qrs[:, index].min(1)
        found[f"{lead} Q mV"] = -_before_r(early[:, index])
        found[f"{lead} ST mV"] = beats[:, index, _span(76, 84)].mean(1)
        strongest = np.abs(late[:, index]).argmax(1)
        found[f"{lead} T mV"] = late[np.arange(len(beats)), index, strongest]
    area = beats[:, :, _span(-60, 60)].sum(2)
    found["QRS axis °"] = np.degrees(np.arctan2(2 / np.sqrt(3) * area[:, 5], area[:, 0]))
    extents = [qrs_extent(beat) for beat in beats]
    found["QRS ms"] = np.array([e.duration_ms if e else np.nan for e in extents])
    onset = np.array([e.onset if e else np.nan for e in extents])
    found["QT ms"] = (_t_end(beats) - onset) * STEP_MS
    return found


def _before_r(early: np.ndarray) -> np.ndarray:
    """Least value before the highest one."""
    peak = early.argmax(1)
    return np.array([row[: at + 1].min() for row, at in zip(early, peak, strict=True)])


def _t_end(beats: np.ndarray) -> np.ndarray:
    """Sample after which the RMS over the leads stays below a tenth of its maximum in T."""
    first = BEAT_R_INDEX + round(140 / STEP_MS)
    power = np.sqrt((beats[:, :, first:] ** 2).mean(1))
    above = power > 0.15 * power[:, :140].max(1, keepdims=True)
    return first + above.shape[1] - above[:, ::-1].argmax(1)


def print_table(real: dict[str, np.ndarray], simulated: dict[str, np.ndarray]) -> None:
    print("| measure | real median | 10-90 % | twin median | 10-90 % |")
    print("|---|---|---|---|---|")
    for name, values in real.items():
        cells = []
        for one in (values, simulated[name]):
            low, middle, high = np.nanquantile(one, (0.1, 0.5, 0.9))
            digits = 2 if name.endswith("mV") else 0
            cells.append(f"{middle:.{digits}f} | {low:.{digits}f} … {high:.{digits}f}")
        print(f"| {name} | {' | '.join(cells)} |")


def told_apart(real: np.ndarray, simulated: np.ndarray) -> tuple[float, dict[str, float]]:
    """AUROC of a logistic regression on principal components: all of QRS and T, then each."""
    spans = {"P": _span(-220, -80), "QRS": _span(-70, 70), "ST-T": _span(70, 440)}
    parts = {name: _told(real, simulated, span) for name, span in spans.items()}
    return _told(real, simulated, _span(-70, 440)), parts


def _told(real: np.ndarray, simulated: np.ndarray, span: slice) -> float:
    x = np.concatenate([real, simulated])[:, INDEPENDENT, span]
    x = x[..., : x.shape[-1] // 3 * 3].reshape(*x.shape[:2], -1, 3).mean(-1).reshape(len(x), -1)
    truth = np.arange(len(x)) >= len(real)
    fold = np.random.default_rng(0).permutation(len(x)) % FOLDS
    scores = np.empty(len(x))
    for index in range(FOLDS):
        known, own = fold != index, fold == index
        mean = x[known].mean(0)
        _, scale, axes = np.linalg.svd(x[known] - mean, full_matrices=False)
        kept = min(COMPONENTS, len(scale))
        spread = scale[:kept] / np.sqrt(known.sum())
        features = (x - mean) @ axes[:kept].T / spread
        scores[own] = features[own] @ _logistic(features[known], truth[known])
    return auroc(scores, truth)


def _logistic(features: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Weights [k + 1] of an L2-regularised logistic regression; classes count alike."""
    x, y = torch.from_numpy(features), torch.from_numpy(truth.astype(np.float64))
    share = y.mean()
    weights = torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")
    balance = torch.where(y > 0, 0.5 / share, 0.5 / (1 - share))

    def loss_of() -> torch.Tensor:
        optimiser.zero_grad()
        logits = x @ weights[:-1] + weights[-1]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, weight=balance)
        loss = loss + 1e-3 * (weights[:-1] ** 2).sum()
        torch.autograd.backward(loss)
        return loss

    optimiser.step(loss_of)
    return weights.detach().numpy()[:-1]


def _span(first_ms: float, last_ms: float) -> slice:
    return slice(*(BEAT_R_INDEX + round(ms / STEP_MS) for ms in (first_ms, last_ms)))


if __name__ == "__main__":
    main()
