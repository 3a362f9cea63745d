"""Parity gates: which providers and precisions a model file may be run on without being asked to.

``scarseg-export verify`` compares a model on a provider with PyTorch FP32 and writes the table into
the file's metadata. The limits are this project's own (see MODEL_CARD.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MIN_LABEL_AGREEMENT: Final = 0.999
"""Share of equal voxel labels, worst study."""
MAX_DICE_DIFFERENCE: Final = 0.005
"""Of scar Dice with the truth, worst study."""
MAX_BURDEN_DIFFERENCE: Final = 0.5
"""Points of LV mass, worst study."""


def passes(row: Mapping[str, Any]) -> bool:
    """True where the worst study of a table row keeps every limit."""
    return bool(
        row["finite"]
        and row["label_agreement"] >= MIN_LABEL_AGREEMENT
        and row["max_scar_dice_difference"] <= MAX_DICE_DIFFERENCE
        and row["max_burden_difference"] <= MAX_BURDEN_DIFFERENCE
    )


def gate_reason(
    verification: Mapping[str, Any], graph_sha256: str, provider: str, precision: str
) -> str | None:
    """Reason why ``provider`` may not run the model in ``precision`` by itself; None if it may.

    Args:
        verification: the model file's table.
        graph_sha256: of the graph in the file: a table measured on another graph counts nothing.
    """
    row = verification.get("rows", {}).get(f"{provider} {precision}")
    if row is None:
        return f"not verified: scarseg-export verify MODEL --provider {provider}"
    if verification.get("graph_sha256") != graph_sha256:
        return "verified with other weights: run scarseg-export verify again"
    try:
        passed = passes(row)
    except (KeyError, TypeError):
        return "the verification table is damaged: run scarseg-export verify again"
    return None if passed else f"failed verification (worst study: {row.get('worst_study', '?')})"
