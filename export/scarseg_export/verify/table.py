"""The verification table of a model file as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def table_lines(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line a provider and precision: the worst study of each measure."""
    lines = [f"{'':20}{'labels equal':>14}{'max |Δp|':>10}{'scar ΔDice':>13}{'burden':>9}"]
    for name, row in rows.items():
        if "error" in row:
            lines.append(f"{name:20}  {row['error']}")
            continue
        state = "passed" if row["passed"] else f"FAILED, worst study: {row['worst_study']}"
        lines.append(
            f"{name:20}{row['label_agreement'] * 100:>12.4f} %"
            f"{row['max_abs_probability_difference']:>10.1e}"
            f"{row['max_scar_dice_difference']:>13.5f}{row['max_burden_difference']:>7.3f} %"
            f"  {state}"
        )
    return lines if rows else []
