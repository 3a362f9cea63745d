"""Numbers from times."""

from __future__ import annotations

from typing import Any

import numpy as np

from scarseg_bench.measure import Row


def summary(row: Row) -> dict[str, Any]:
    """Percentiles in ms, throughput in studies a second, and what else the row knows."""
    facts: dict[str, Any] = {
        "scope": row.scope, "name": row.name, "error": row.error, "runs": len(row.times_s),
        "load_ms": _ms(row.load_s), "first_ms": _ms(row.first_s), "peak_rss_mb": row.peak_rss_mb,
        "device_mb": row.device_mb,
        "label_agreement": row.label_agreement,
        "max_abs_probability_difference": row.max_abs_probability_difference, "right": row.right,
    }  # fmt: skip
    if row.times_s:
        p5, p50, p95, p99 = np.percentile(np.array(row.times_s) * 1000.0, (5, 50, 95, 99))
        facts |= {"p5_ms": p5, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99}
        facts["per_s"] = 1000.0 / p50
    return facts


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000.0


def with_ratios(rows: list[dict[str, Any]], reference: str) -> list[dict[str, Any]]:
    """Adds ``times_faster``: median of the reference of the same scope over the row's."""
    base = {r["scope"]: r["p50_ms"] for r in rows if r["name"] == reference and "p50_ms" in r}
    return [
        row | {"times_faster": base[row["scope"]] / row["p50_ms"]}
        if "p50_ms" in row and row["scope"] in base
        else row
        for row in rows
    ]


def slope_mb_per_100(seen: list[list[float]]) -> float:
    """Growth of memory per 100 studies over the second half, when everything is warm."""
    half = np.array(seen[len(seen) // 2 :])
    if len(half) < 2:
        return float("nan")
    return float(np.polyfit(half[:, 0], half[:, 1], 1)[0] * 100.0)
