"""All test patients through all arms, on all cores; what was measured is not measured again."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from scarseg_export.checkpoint import Checkpoint, load_checkpoint
from scarseg_export.evaluation.arms import run_arms
from scarseg_export.evaluation.metrics import score
from scarseg_export.evaluation.testset import SetName, load_case

Row = dict[str, Any]
"""One patient: gap, truth, beliefs, disagreement, and scores by arm."""


def measure(
    checkpoint: Path, name: SetName, cases: int, min_scar_ml: float, cache_folder: Path
) -> list[Row]:
    """Rows of one checkpoint on one test set, from ``cache_folder`` where they are known."""
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:16]
    known = cache_folder / f"{digest}-{name}-{cases}-{min_scar_ml:g}.json"
    if known.exists():
        rows: list[Row] = json.loads(known.read_text(encoding="utf-8"))
        return rows
    load_checkpoint(checkpoint)  # a damaged file is refused here, not in a worker
    work = partial(_row, checkpoint, name, min_scar_ml)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        done = pool.map(work, range(cases), chunksize=4)
        desc = f"evaluate {checkpoint.parent.name} {name}"
        rows = list(tqdm(done, total=cases, desc=desc, mininterval=10))
    cache_folder.mkdir(parents=True, exist_ok=True)
    known.write_text(json.dumps(rows), encoding="utf-8")
    return rows


def _row(checkpoint: Path, name: SetName, min_scar_ml: float, index: int) -> Row:
    case = load_case(name, index)
    results = run_arms(_load(checkpoint), case)
    return {
        "gap_days": case.gap_days,
        "stale": case.stale,
        "weight": results.weight,
        "burden": case.burden.tolist(),
        "belief_fresh": results.belief_fresh.tolist(),
        "belief_stale": results.belief_stale.tolist(),
        "disagreement_right": results.disagreement_right,
        "disagreement_swapped": results.disagreement_swapped,
        "arms": {
            arm: asdict(score(labels, case.stack, results.segments, min_scar_ml))
            for arm, labels in results.labels.items()
        },
    }


@cache
def _load(checkpoint: Path) -> Checkpoint:
    torch.set_num_threads(1)
    return load_checkpoint(checkpoint)
