"""The benchmark's own arithmetic, and one real run of it at the smallest size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scarseg_bench.cli import as_text, main
from scarseg_bench.cold_start import ColdStart
from scarseg_bench.machine import GPU_FACTS, gpu_facts
from scarseg_bench.numbers import slope_mb_per_100, summary
from scarseg_bench.pairing import Round, Run
from scarseg_bench.peers import AUTOCAST
from scarseg_bench.report import compare, short_table, table, write
from scarseg_bench.rows import COLD, GPU, GPU_REFERENCE, NETWORK, REFERENCE, STUDY, Row, all_rows

MACHINE = {"date": "2026-11-30", "cpu": "a CPU", "instructions": ["avx2"], "cores": 2,
           "gpu": None, "versions": {"torch": "2.13"}}  # fmt: skip


def runs(seconds: list[float]) -> list[Run]:
    return [Run(one) for one in seconds]


def row(name: str, times: list[float], agreement: float = 1.0, base: float = 0.4) -> Row:
    rounds = [Round([Run(base)], [Run(one)], 0.0) for one in times]
    return Row(NETWORK, name, "fp32", rounds=rounds, label_agreement=agreement, first_s=0.5)


def test_percentiles_are_those_of_the_times() -> None:
    times = np.random.default_rng(0).gamma(2, 0.1, 200)
    facts = summary(row("cpu", times.tolist()))
    assert facts["p50_ms"] == pytest.approx(np.median(times) * 1000)
    assert facts["p5_ms"] < facts["p50_ms"] < facts["p95_ms"] < facts["p99_ms"]
    assert facts["per_s"] == pytest.approx(1 / np.median(times))
    assert facts["first_ms"] == 500.0


def test_a_ratio_is_of_what_was_measured_side_by_side() -> None:
    """The machine slows down by half between two rounds: that changes no ratio."""
    rounds = [
        Round(runs([0.4, 0.4, 9.0]), runs([0.1, 0.1, 0.1]), 0.0),
        Round(runs([0.8, 0.8, 0.8]), runs([0.2, 0.2, 5.0]), 0.0),
        Round(runs([0.8, 0.8, 0.8]), runs([0.25, 0.25, 0.25]), 0.0),
    ]
    facts = summary(Row(NETWORK, "cpu", "fp32", rounds=rounds))
    assert facts["times_faster"] == pytest.approx(4.0)
    assert facts["times_faster_low"] == pytest.approx(3.2)
    assert facts["times_faster_high"] == pytest.approx(4.0)
    assert "| cpu fp32 | 4.00 (3.20–4.00) |" in table([facts])


def test_the_reference_is_compared_with_itself_alone() -> None:
    assert summary(row(REFERENCE, [0.4]))["times_faster"] == 1.0
    gpu = Row(GPU, GPU_REFERENCE, "", rounds=[Round([], [Run(0.01)], None)])
    assert summary(gpu)["times_faster"] == 1.0


def test_a_row_that_was_disturbed_has_a_reason_in_place_of_a_ratio() -> None:
    disturbed, quiet = row("cpu", [0.1]), row("openvino", [0.1])
    disturbed.no_ratio = "other processes took up to 40 % of the cores"
    facts = [summary(disturbed), summary(quiet)]
    assert "times_faster" not in facts[0]
    text = table(facts)
    assert "| cpu fp32 | – | 100 |" in text
    assert "No ratio for cpu fp32: other processes took up to 40 %" in text
    quiet.no_ratio = disturbed.no_ratio
    everything = table([summary(disturbed), summary(quiet)])
    assert "Nothing is compared: other processes" in everything
    assert "4.00" not in everything


def test_a_fast_wrong_row_is_marked_and_a_missing_one_explained() -> None:
    rows = [summary(row("cpu", [0.1], 0.99)), summary(Row(COLD, "cuda", "fp32", error="no GPU"))]
    text = table(rows)
    assert "**wrong labels:** cpu fp32" in text
    assert "| cuda fp32 | no GPU |" in text


def test_rows_on_a_gpu_show_the_parts_of_a_run() -> None:
    phases = {"enqueue": 0.001, "h2d": 0.0002, "device": 0.003, "d2h": 0.0004}
    found = [Round([Run(0.014)], [Run(0.0044, phases)], 0.0)]
    told = Row(GPU, "pytorch cuda CUDA graph fp32", "", rounds=found, device_mb=310.0)
    silent = Row(GPU, "cuda", "fp32", rounds=[Round([Run(0.014)], [Run(0.007)], 0.0)])
    text = table([summary(told), summary(silent)])
    assert "| 4.40 | 4.40 | 4.40 |" in text
    assert "| 310 | 1.00 | 0.20 | 3.00 | 0.40 |" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1


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


def test_every_provider_has_a_row_where_it_belongs() -> None:
    names = {(found.scope, found.way) for found in all_rows()}
    for way in ("openvino", "cpu"):
        assert {(NETWORK, way), (STUDY, way)} <= names
    for way in ("tensorrt", "tensorrt-rtx", "cuda"):
        assert {(GPU, way), (STUDY, way)} <= names
    assert {(COLD, REFERENCE), (GPU, GPU_REFERENCE)} <= names


def test_bf16_is_not_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch computes BF16 on any CPU; without instructions for it that takes minutes."""
    for able in (True, False):
        monkeypatch.setattr("scarseg_bench.rows.computes_bf16", lambda able=able: able)
        found = [one for one in all_rows() if one.name == f"pytorch {AUTOCAST}"]
        assert {one.scope for one in found} == {NETWORK, STUDY}
        assert [one.error is None for one in found] == [able] * 2
    text = table([summary(one) for one in found])
    assert f"| pytorch {AUTOCAST} | this CPU has neither AMX nor AVX512-BF16 |" in text


def test_the_rate_of_bf16_is_told_where_there_is_one() -> None:
    document = {"machine": MACHINE, "stack": [12, 256, 216], "threads": 2, "rows": [],
                "roofline": {"network_gflop": 12.0, "fp32_gflops": 187.0, "bf16_gflops": None,
                             "fraction_of_peak": {}}}  # fmt: skip
    assert "187 GFLOP/s in FP32. Reached" in as_text(document)
    document["roofline"] |= {"bf16_gflops": 417.0}
    assert "187 GFLOP/s in FP32, 417 in BF16. Reached" in as_text(document)


def test_what_does_less_work_is_not_compared() -> None:
    """One file against eight; its command line is the one that the table shows."""
    (found,) = (one for one in all_rows() if one.other_work)
    assert found.scope == COLD and "--only json" in found.name
    command = ColdStart(found)._module("folder")
    assert command[-4:] == ["--only", "json", "--provider", "auto"]


def test_gpu_facts_are_those_of_the_first_card() -> None:
    text = "NVIDIA H200, 580.159.03, 1980, 1980, 3201, 118.25, 36\nanother, 1, 2, 3, 4, 5, 6\n"
    facts: Any = gpu_facts(text)
    assert list(facts) == list(GPU_FACTS)
    assert (facts["name"], facts["driver_version"]) == ("NVIDIA H200", "580.159.03")
    assert gpu_facts("No devices were found") is None


def test_the_table_for_a_readme_names_the_machine() -> None:
    wrong = row("openvino", [0.1])
    wrong.no_ratio = "disturbed"
    document = {"machine": MACHINE, "stack": [12, 256, 216], "threads": 2,
                "rows": [summary(row("cpu", [0.1])), summary(wrong)]}  # fmt: skip
    lines = short_table(document).splitlines()
    assert lines[0].startswith("2026-11-30: a CPU, avx2, 2 cores, 2 threads, stack of 12 × 256")
    assert lines[-2] == "| network: cpu fp32 | 4.00 (4.00–4.00) | 100 | 100.000 % |"
    assert lines[-1].startswith("| network: openvino fp32 | – |")


@pytest.mark.serial
def test_a_run_writes_tables_json_and_plot(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """PyTorch eager and ONNX Runtime, for real, in processes of their own."""
    command = ["--rounds", "1", "--studies", "2", "--only", "fp32", "--out", str(tmp_path)]
    assert main([*command, "--scope", "warm study"]) == 0
    document = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    ran = {found["name"]: found for found in document["rows"] if found.get("p50_ms")}
    assert {REFERENCE, "cpu fp32"} <= ran.keys()
    assert ran["cpu fp32"]["label_agreement"] >= 0.999
    assert ran["cpu fp32"]["peak_rss_mb"] > 50
    assert ("no_ratio" in ran["cpu fp32"]) != ("times_faster" in ran["cpu fp32"])
    assert (tmp_path / "bench.png").stat().st_size > 5000
    for name in ("bench.md", "readme.md"):
        assert "cpu fp32 |" in (tmp_path / name).read_text(encoding="utf-8")
    bench = str(tmp_path / "bench.json")
    assert main(["--compare", bench, bench]) == 0
    assert "| 1.00 | noise |" in capsys.readouterr().out


def test_memory_alone_needs_no_plot(tmp_path: Path) -> None:
    write(tmp_path, {"rows": [], "memory": {"studies": 500}}, "Memory")
    assert {path.name for path in tmp_path.iterdir()} == {"bench.json", "bench.md"}


def test_needs_are_listed_without_measuring(capsys: pytest.CaptureFixture) -> None:
    assert main(["--needs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("torch ") and "missing" not in line for line in lines)
    assert any(line.startswith("NVIDIA driver") for line in lines)
