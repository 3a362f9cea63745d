"""The AHA segments as a table for spreadsheets and statistics."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scarseg_runtime.quantify.quantities import MYOCARDIUM_G_PER_ML

if TYPE_CHECKING:
    from scarseg_infer.result import ScarResult

COLUMNS: Final = (
    "segment",
    "name",
    "territory",
    "myocardium_ml",
    "myocardium_g",
    "scar_ml",
    "scar_g",
    "burden_percent",
    "transmurality_percent",
    "transmurality_class_percent",
    "image_only_scar_ml",
    "image_only_burden_percent",
    "ecg_belief",
    "distribution",
)
"""Names of the columns, with their units; new ones will only ever be added at the end."""
_DIGITS: Final = 6


def write_csv(result: ScarResult, path: Path) -> None:
    """Write ``path``: a head and one row for each of the 17 segments, in order.

    UTF-8, comma, point as decimal mark, lines end in CR LF (RFC 4180). Myocardium includes scar;
    ``ecg_belief`` is what the ECG alone believes, 0–1. A cell is empty where there is no value:
    shares of a segment that was not imaged, belief without an ECG, distribution without scar.

    Raises:
        OSError: ``path`` cannot be written.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(_rows(result))


def _rows(result: ScarResult) -> Iterator[tuple[str, ...]]:
    belief = result.ecg.segment_belief
    layers = result.characteristics.segment_distribution
    pairs = zip(result.quantities.segments, result.image_only_quantities.segments, strict=True)
    for segment, alone in pairs:
        yield (
            str(segment.number),
            segment.name,
            segment.territory,
            _cell(segment.myocardium_ml),
            _cell(segment.myocardium_ml * MYOCARDIUM_G_PER_ML),
            _cell(segment.scar_ml),
            _cell(segment.scar_ml * MYOCARDIUM_G_PER_ML),
            _cell(segment.burden, 100.0),
            _cell(segment.transmurality, 100.0),
            # Spreadsheets take "1-25" for a day in January.
            (segment.transmurality_class or "").replace("-", " to "),
            _cell(alone.scar_ml),
            _cell(alone.burden, 100.0),
            _cell(None if belief is None else float(belief[segment.number - 1])),
            layers[segment.number - 1] or "",
        )


def _cell(value: float | None, factor: float = 1.0) -> str:
    return "" if value is None else f"{factor * value:.{_DIGITS}f}"
