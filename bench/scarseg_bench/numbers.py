"""Numbers from times."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np

from scarseg_bench.rows import Row, reference_of

PHASES = ("enqueue", "h2d", "device", "d2h")
"""Parts of a run on a GPU: until all is queued; copies up; the network; copies down."""


def summary(row: Row) -> dict[str, Any]:
    """Percentiles in ms, throughput in studies a second, the ratio with its spread or why there is
    none, and what else the row knows."""
    facts: dict[str, Any] = {
        "scope": row.scope, "name": row.name, "error": row.error, "runs": len(row.times_s),
        "load_ms": _ms(row.load_s), "first_ms": _ms(row.first_s), "peak_rss_mb": row.peak_rss_mb,
        "device_mb": row.device_mb,
        "label_agreement": row.label_agreement,
        "max_abs_probability_difference": row.max_abs_probability_difference, "right": row.right,
    }  # fmt: skip
    if not row.times_s:
        return facts
    p5, p50, p95, p99 = np.percentile(np.array(row.times_s) * 1000.0, (5, 50, 95, 99))
    facts |= {"p5_ms": p5, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "per_s": 1000.0 / p50}
    facts |= {f"{phase}_ms": _phase_ms(row, phase) for phase in PHASES}
    if row.no_ratio is not None:
        return facts | {"no_ratio": row.no_ratio}
    if row.name == reference_of(row.scope):
        return facts | {"times_faster": 1.0}
    ratios = [found.ratio for found in row.rounds]
    return facts | {
        "times_faster": median(ratios),
        "times_faster_low": min(ratios),
        "times_faster_high": max(ratios),
    }


def _phase_ms(row: Row, phase: str) -> float | None:
    """Median of a part of the runs, None where the way of running does not tell it."""
    runs = [run.phases_s for found in row.rounds for run in found.own]
    told = [phases[phase] for phases in runs if phase in phases]
    return 1000.0 * median(told) if told else None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000.0


def slope_mb_per_100(seen: list[list[float]]) -> float:
    """Growth of memory per 100 studies over the second half, when everything is warm."""
    half = np.array(seen[len(seen) // 2 :])
    if len(half) < 2:
        return float("nan")
    return float(np.polyfit(half[:, 0], half[:, 1], 1)[0] * 100.0)
