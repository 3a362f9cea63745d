"""Worth of the ECG encoder's belief on real ECGs: tables of PTB-XL's test fold.

The score of a record is its **highest** belief over the segments (fixed before any measurement);
the mean over the segments stands beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarseg_export.net.ecg_encoder import EcgEncoder
from scarseg_export.train.ecg import segment_auroc
from scarseg_export.train.ecg_calibration import belief_logits, reliability_of
from scarseg_export.train.real_ecgs import RealEcgs

BELIEVED = 0.5
"""A segment counts as believed scarred from this belief on."""
MIN_PER_CLASS = 5
"""Fewer infarcts or normals of one recorder give no figure for it."""
BOOTSTRAPS = 1000
ANTERIOR = (7, 8, 13, 14)
INFERIOR = (4, 10, 15)


def tables_of(encoder: EcgEncoder, ecgs: RealEcgs) -> dict[str, Any]:
    """Tables of fold 10, and the reliability of folds 9 and 10."""
    return {
        "test": score_table(encoder, ecgs.test),
        "reliability_calibration": reliability_of(encoder, ecgs.calibration),
        "reliability_test": reliability_of(encoder, ecgs.test),
    }


def score_table(encoder: EcgEncoder, ecgs: RealEcgs) -> dict[str, Any]:
    """AUROC of infarct against normal records with its 95 % interval, within recorder models,
    inferior against anterior, and the shares believed scarred."""
    belief = 1.0 / (1.0 + np.exp(-belief_logits(encoder, ecgs.beats).numpy().astype(np.float64)))
    highest, mean = belief.max(1), belief.mean(1)
    infarct, normal, other = (ecgs.kind == kind for kind in ("infarct", "normal", "other"))
    told = infarct | normal
    low, high = _interval(highest[told], infarct[told])
    return {
        "infarcts": int(infarct.sum()),
        "normals": int(normal.sum()),
        "others": int(other.sum()),
        "auroc": auroc(highest[told], infarct[told]),
        "auroc_low": low,
        "auroc_high": high,
        "auroc_mean_belief": auroc(mean[told], infarct[told]),
        "auroc_against_all": auroc(highest, infarct),
        "auroc_one_recorder": _within_recorders(ecgs.device[told], highest[told], infarct[told]),
        "auroc_inferior_anterior": _inferior_anterior(ecgs, belief),
        "normals_believed_scarred": _share(highest[normal] > BELIEVED),
        "others_believed_scarred": _share(highest[other] > BELIEVED),
        "infarcts_believed_scarred": _share(highest[infarct] > BELIEVED),
    }


def auroc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve; NaN where only one class occurs."""
    return float(segment_auroc(scores[:, None], positive[:, None])[0])


def _within_recorders(
    device: NDArray[np.str_], score: NDArray[np.float64], infarct: NDArray[np.bool_]
) -> dict[str, Any]:
    """Mean over recorder models, weighted by pairs, so that no recorder's share of infarcts
    helps; and the single ones."""
    single: dict[str, dict[str, Any]] = {}
    for name in np.unique(device):
        own = device == name
        infarcts, normals = int(infarct[own].sum()), int((~infarct[own]).sum())
        if min(infarcts, normals) >= MIN_PER_CLASS:
            value = auroc(score[own], infarct[own])
            single[str(name)] = {"auroc": value, "infarcts": infarcts, "normals": normals}
    pairs = [row["infarcts"] * row["normals"] for row in single.values()]
    values = [row["auroc"] for row in single.values()]
    mean = float(np.average(values, weights=pairs)) if pairs else float("nan")
    return {"mean": mean, "models": single}


def _inferior_anterior(ecgs: RealEcgs, belief: NDArray[np.float64]) -> float:
    """AUROC of inferior against anterior infarcts by the difference of mean beliefs there."""
    territory = np.array([" ".join(ecgs.territories(index)) for index in range(len(ecgs))])
    kept = np.isin(territory, ("RCA", "LAD"))
    inferior, anterior = (
        belief[:, np.array(segments) - 1].mean(1) for segments in (INFERIOR, ANTERIOR)
    )
    return auroc((inferior - anterior)[kept], territory[kept] == "RCA")


def _interval(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[float, float]:
    """95 % of bootstrap samples, drawn within each class."""
    if positive.all() or not positive.any():
        return float("nan"), float("nan")
    rng = np.random.default_rng(0)
    classes = [np.flatnonzero(positive), np.flatnonzero(~positive)]
    values = []
    for _ in range(BOOTSTRAPS):
        picked = np.concatenate([rng.choice(own, len(own)) for own in classes])
        values.append(auroc(scores[picked], positive[picked]))
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def _share(hit: NDArray[np.bool_]) -> float:
    return float(hit.mean()) if hit.size else float("nan")
