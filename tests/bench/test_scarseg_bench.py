"""The benchmark's own arithmetic, and one real run of it at the smallest size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from scarseg_bench.cli import main
from scarseg_bench.measure import COLD, NETWORK, REFERENCE, STUDY, Row, all_rows
from scarseg_bench.numbers import slope_mb_per_100, summary, with_ratios
from scarseg_bench.report import compare, table, write


def row(name: str, times: list[float], agreement: float = 1.0) -> Row:
    return Row(NETWORK, name, "fp32", times_s=times, label_agreement=agreement, first_s=0.5)


def test_percentiles_are_those_of_the_times() -> None:
    times = np.random.default_rng(0).gamma(2, 0.1, 200)
    facts = summary(row("cpu", times.tolist()))
    assert facts["p50_ms"] == pytest.approx(np.median(times) * 1000)
    assert facts["p5_ms"] < facts["p50_ms"] < facts["p95_ms"] < facts["p99_ms"]
    assert facts["per_s"] == pytest.approx(1 / np.median(times))
    assert facts["first_ms"] == 500.0


def test_ratios_stay_within_a_scope() -> None:
    rows = [summary(row(REFERENCE, [0.4])), summary(row("cpu", [0.1]))]
    rows.append(summary(Row(STUDY, "cpu", "fp32", times_s=[0.1])))
    ratios = [found.get("times_faster") for found in with_ratios(rows, rows[0]["name"])]
    assert ratios == [1.0, pytest.approx(4.0), None]


def test_a_fast_wrong_row_is_marked_and_a_missing_one_explained() -> None:
    rows = [summary(row("cpu", [0.1], 0.99)), summary(Row(COLD, "cuda", "fp32", error="no GPU"))]
    text = table(rows)
    assert "**wrong labels:** cpu fp32" in text
    assert "| cuda fp32 | no GPU |" in text


def test_two_runs_differ_only_beyond_their_noise() -> None:
    old = {"rows": [summary(row("cpu", [0.10, 0.11, 0.12])), summary(row("cuda", [0.1, 0.1]))]}
    new = {"rows": [summary(row("cpu", [0.11])), summary(row("cuda", [0.2]))]}
    lines = compare(old, new).splitlines()
    assert lines[2].endswith("| 1.00 | noise |")
    assert lines[3].endswith("| 2.00 | slower |")


def test_growth_is_told_from_a_warm_start() -> None:
    flat = [[n, 400.0 if n > 5 else 300.0] for n in range(1, 50)]
    leaking = [[n, 300.0 + 0.5 * n] for n in range(1, 50)]
    assert slope_mb_per_100(flat) == pytest.approx(0.0, abs=1e-6)
    assert slope_mb_per_100(leaking) == pytest.approx(50.0)


def test_every_provider_has_a_row_in_every_scope() -> None:
    names = {(found.scope, found.way) for found in all_rows()}
    for way in ("tensorrt", "tensorrt-rtx", "cuda", "openvino", "cpu"):
        assert {(NETWORK, way), (STUDY, way)} <= names
    assert (COLD, REFERENCE) in names


@pytest.mark.serial
def test_a_run_writes_table_json_and_plot(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """PyTorch eager and ONNX Runtime, for real, in processes of their own."""
    command = ["--quick", "--runs", "2", "--studies", "2", "--only", "fp32", "--out", str(tmp_path)]
    assert main([*command, "--scope", "warm study"]) == 0
    document = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    ran = {found["name"]: found for found in document["rows"] if found.get("p50_ms")}
    assert {REFERENCE, "cpu fp32"} <= ran.keys()
    assert ran["cpu fp32"]["label_agreement"] >= 0.999
    assert ran["cpu fp32"]["peak_rss_mb"] > 50
    assert (tmp_path / "bench.png").stat().st_size > 5000
    assert "| cpu fp32 |" in (tmp_path / "bench.md").read_text(encoding="utf-8")
    bench = str(tmp_path / "bench.json")
    assert main(["--compare", bench, bench]) == 0
    assert "| 1.00 | noise |" in capsys.readouterr().out


def test_memory_alone_needs_no_plot(tmp_path: Path) -> None:
    write(tmp_path, {"rows": [], "memory": {"studies": 500}}, "Memory")
    assert {path.name for path in tmp_path.iterdir()} == {"bench.json", "bench.md"}
