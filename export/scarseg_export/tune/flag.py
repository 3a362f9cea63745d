"""The threshold of the disagreement flag, set on pairs that the network was not trained on.

On pairs of its own training a network finds less to object to than on others: a threshold from
them flags more right pairs than it promises. So it comes from pairs that were held out: of a fold
its validation part; of the run on everybody the tested parts of the folds, each scored by the fold
that did not see it. Where those are too few, from simulated patients that no stage trains on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scarseg_export.net.network import ScarNet
from scarseg_export.train.buffers import VALIDATION
from scarseg_export.train.fusion import FALSE_FLAGS, disagreement_of, ecg_of
from scarseg_export.train.paired import OWN, VARIANTS, Patient, load_patients
from scarseg_export.tune.settings import TuneSettings

FEWEST = math.ceil(1.0 / FALSE_FLAGS) - 1
"""Held-out pairs below which not even the highest of them bounds the false flags."""
Scores = list[list[float]]


def threshold_of(scores: Sequence[Sequence[float]]) -> float | None:
    """Disagreement that a new right pair exceeds with a chance of at most ``FALSE_FLAGS``; None
    where the pairs are too few to say so.

    The split-conformal quantile (Papadopoulos et al., ECML 2002), taken over all distorted copies
    with as many pairs as there are patients, since copies of one tell little new.

    Args:
        scores: of each held-out pair, one a distorted copy of its ECG.
    """
    if len(scores) < FEWEST:
        return None
    level = math.ceil((len(scores) + 1) * (1.0 - FALSE_FLAGS)) / len(scores)
    return float(np.quantile(np.concatenate(scores), min(level, 1.0), method="inverted_cdf"))


@torch.no_grad()
def pair_scores(net: ScarNet, patients: Iterable[Patient]) -> Scores:
    """Disagreement of each patient's own ECG, once a distorted copy."""
    return [
        [float(torch.sigmoid(disagreement_of(net, patient, ecg_of(patient, OWN, variant))))
         for variant in range(VARIANTS)]
        for patient in patients
    ]  # fmt: skip


def flag_threshold(
    net: ScarNet, held_out: Scores, settings: TuneSettings, folder: Path, twin: Path | None
) -> dict[str, Any]:
    """Statement on the threshold for ``net``: ``threshold`` (None: leave it as it came), what it
    was ``set_on``, and on how many ``pairs``.

    Args:
        folder: for what is kept of simulated patients, who are taken where held-out pairs are too
            few.
        twin: where their stacks are kept; None where none are to be taken.
    """
    found = threshold_of(held_out)
    if found is not None:
        return {"threshold": found, "set_on": "held-out pairs", "pairs": len(held_out)}
    why = f"{len(held_out)} held-out pairs; {FEWEST} are needed"
    count = max(settings.twin_pairs // 3, FEWEST)
    if twin is None:
        return {"threshold": None, "set_on": "nothing", "pairs": 0, "why": why}
    folder.mkdir(parents=True, exist_ok=True)
    simulated = load_patients(
        net, settings.recipe, folder, VALIDATION, count, rendered=twin
    )  # fmt: skip
    return {
        "threshold": threshold_of(pair_scores(net, simulated)),
        "set_on": "simulated pairs", "pairs": count, "why": why,
    }  # fmt: skip
