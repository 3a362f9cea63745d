"""Benchmarks that train or fit: their smallest case still runs with the code as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(BENCH / script), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout


@pytest.mark.slow
def test_accuracy_by_work_of_one_small_network(tmp_path: Path) -> None:
    steps = ["--steps", "25", "--batch", "2", "--threads", "1"]
    small = [*steps, "--stacks", "2", "--held-out", "1", "--only"]
    row = json.loads(run("flop_curve.py", "--out", str(tmp_path), *small, "half width"))
    assert row["gflop_per_slice"] == pytest.approx(0.23, abs=0.01)
    assert 0 <= row["cavity_dice"] <= 1
    assert (tmp_path / "flops.png").stat().st_size > 5000
