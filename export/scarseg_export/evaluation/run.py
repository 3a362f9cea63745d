"""All test patients through all arms, on all cores; what was measured is not measured again."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from scarseg_export.evaluation.arms import run_arms
from scarseg_export.evaluation.digest import file_digest, source_digest
from scarseg_export.evaluation.metrics import score
from scarseg_export.evaluation.testset import SetName, set_digest, stored_case
from scarseg_export.train.checkpoint import Checkpoint, load_checkpoint
from scarseg_export.train.workers import worker_pool
from scarseg_runtime.whole import whole_file

Row = dict[str, Any]
"""One patient: gap, truth, beliefs, disagreement, and scores by arm."""
MEASURING_CODE = (
    "evaluation/arms.py", "evaluation/metrics.py", "evaluation/run.py", "net/network.py",
    "net/config.py", "net/localiser.py",
    "net/fusion.py", "net/time_weight.py", "net/aha_map.py", "net/sampling.py", "net/normalise.py",
    "net/ecg_encoder.py", "net/unet.py", "scarseg_runtime/quantify/threshold_rules.py",
    "scarseg_runtime/quantify/components.py",
)  # fmt: skip


def measure(
    checkpoint: Path, name: SetName, cases: int, min_scar_ml: float, folder: Path
) -> list[Row]:
    """Rows of one checkpoint on one test set, from ``folder`` where they are known there.

    Known means: of the same checkpoint by content, patients, clean-up and measuring code.
    """
    code = source_digest(*MEASURING_CODE)
    key = f"{file_digest(checkpoint)}-{set_digest()}-{code}-{min_scar_ml:g}"
    known = folder / "rows" / f"{name}-{cases}-{key}.json"
    if known.exists():
        rows: list[Row] = json.loads(known.read_text(encoding="utf-8"))
        return rows
    work = partial(_row, checkpoint, name, min_scar_ml, folder / "patients")
    with worker_pool() as pool:
        done = pool.map(work, range(cases), chunksize=2)
        desc = f"evaluate {checkpoint.parent.name} {name}"
        rows = list(tqdm(done, total=cases, desc=desc, mininterval=10))
    with whole_file(known) as part:
        part.write_text(json.dumps(rows, allow_nan=False), encoding="utf-8")
    return rows


def _row(checkpoint: Path, name: SetName, min_scar_ml: float, patients: Path, index: int) -> Row:
    case = stored_case(patients, name, index)
    results = run_arms(_load(checkpoint), case)
    scores = {
        arm: asdict(score(labels, case.stack, results.segments, min_scar_ml))
        for arm, labels in results.labels.items()
    }
    return {
        "gap_days": case.gap_days,
        "stale": case.stale,
        "silent": case.silent,
        "weight": results.weight,
        "burden": case.burden.tolist(),
        "belief_fresh": results.belief_fresh.tolist(),
        "belief_stale": results.belief_stale.tolist(),
        "disagreement_right": results.disagreement_right,
        "disagreement_stale": results.disagreement_stale,
        "disagreement_swapped": results.disagreement_swapped,
        "no_ecg_is_image_only": results.no_ecg_is_image_only,
        "arms": {
            arm: {key: value if math.isfinite(value) else None for key, value in parts.items()}
            for arm, parts in scores.items()
        },
    }


@cache
def _load(checkpoint: Path) -> Checkpoint:
    torch.set_num_threads(1)
    return load_checkpoint(checkpoint)
