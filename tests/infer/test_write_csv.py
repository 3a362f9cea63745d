"""segments.csv: read back by another reader it is the result again."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scarseg_infer.result import ScarResult
from scarseg_infer.write.csv import COLUMNS, write_csv
from scarseg_runtime.quantify.quantities import MYOCARDIUM_G_PER_ML


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def number(cell: str) -> float | None:
    return float(cell) if cell else None


def test_columns_stay_as_they_are() -> None:
    """Others' scripts read these names in this order: add at the end, never change."""
    assert COLUMNS == (
        "segment", "name", "territory", "myocardium_ml", "myocardium_g", "scar_ml", "scar_g",
        "burden_percent", "transmurality_percent", "transmurality_class_percent",
        "image_only_scar_ml", "image_only_burden_percent", "ecg_belief",
        "distribution",
    )  # fmt: skip


def test_round_trip(
    make_result: Callable[..., ScarResult], make_stack: Callable, tmp_path: Path
) -> None:
    result = make_result(make_stack())
    write_csv(result, tmp_path / "segments.csv")
    rows = read(tmp_path / "segments.csv")
    assert tuple(rows[0]) == COLUMNS
    alone = result.image_only_quantities.segments
    for row, fused, image in zip(rows, result.quantities.segments, alone, strict=True):
        assert (int(row["segment"]), row["name"]) == (fused.number, fused.name)
        assert row["territory"] == fused.territory
        ends = row["transmurality_class_percent"].split(" to ")
        assert "-".join(ends) == fused.transmurality_class
        expected = {
            "myocardium_ml": fused.myocardium_ml,
            "myocardium_g": fused.myocardium_ml * MYOCARDIUM_G_PER_ML,
            "scar_ml": fused.scar_ml,
            "scar_g": fused.scar_ml * MYOCARDIUM_G_PER_ML,
            "burden_percent": 100 * fused.burden,
            "transmurality_percent": 100 * fused.transmurality,
            "image_only_scar_ml": image.scar_ml,
            "image_only_burden_percent": 100 * image.burden,
            "ecg_belief": float(result.ecg.segment_belief[fused.number - 1]),
        }
        for name, value in expected.items():
            assert number(row[name]) == pytest.approx(value, abs=1e-6), name
    # What is asked of a table most: that its columns add up to the whole.
    total = sum(float(row["scar_g"]) for row in rows)
    assert total == pytest.approx(result.quantities.scar_g, abs=1e-4)
    assert total > 0


def test_no_value_is_an_empty_cell(
    make_result: Callable[..., ScarResult], make_stack: Callable, tmp_path: Path
) -> None:
    write_csv(make_result(make_stack(), lv=False, ecg=False), tmp_path / "segments.csv")
    rows = read(tmp_path / "segments.csv")
    assert len(rows) == 17
    for row in rows:
        assert float(row["myocardium_ml"]) == 0.0
        for name in ("burden_percent", "transmurality_percent", "transmurality_class_percent",
                     "image_only_burden_percent", "ecg_belief"):  # fmt: skip
            assert row[name] == ""


def test_large_and_small_numbers_are_plain(
    make_result: Callable[..., ScarResult], make_stack: Callable, tmp_path: Path
) -> None:
    """No exponents, which some spreadsheets take for text."""
    result = make_result(make_stack())
    belief = np.full(17, 1e-9, np.float32)
    write_csv(replace(result, ecg=replace(result.ecg, segment_belief=belief)), tmp_path / "s.csv")
    assert {row["ecg_belief"] for row in read(tmp_path / "s.csv")} == {"0.000000"}


def test_bytes(
    make_result: Callable[..., ScarResult], make_stack: Callable, tmp_path: Path
) -> None:
    write_csv(make_result(make_stack()), tmp_path / "segments.csv")
    content = (tmp_path / "segments.csv").read_bytes()
    assert content.count(b"\r\n") == 18 and content.count(b"\n") == 18
    assert content.decode("ascii")
