"""Scores, arms and report of the evaluation."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra import numpy as hnp

from scarseg_export.checkpoint import Checkpoint, save_checkpoint
from scarseg_export.cli import main
from scarseg_export.evaluation import arms
from scarseg_export.evaluation.arms import run_arms
from scarseg_export.evaluation.metrics import dice, score
from scarseg_export.evaluation.summary import arm_summary, disagreement, interval, summarise
from scarseg_export.evaluation.testset import gaps_of, load_case
from scarseg_export.network import NetworkConfig, ScarNet
from scarseg_export.recipe import Recipe
from scarseg_export.train_fusion import Ablations
from scarseg_export.twin.image import ImageStack
from scarseg_runtime.contract import Label
from scarseg_runtime.errors import ModelError

MASKS = hnp.arrays(bool, (4, 4, 4))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    config = NetworkConfig(fine_widths=(8, 8, 8), localiser_widths=(4, 8, 8))
    net = ScarNet(config).eval()
    with torch.no_grad():  # an untrained network that calls wall and scar somewhere
        net.image.anatomy.bias[2] += 1.0
        net.image.scar_head.bias.fill_(0.0)
    recipe = Recipe(network=config).to_dict()
    path = tmp_path_factory.mktemp("run") / "model.pt"
    save_checkpoint(path, Checkpoint(net, Ablations(net), recipe, 0.5))
    return path


def stack(truth: np.ndarray) -> ImageStack:
    """Voxels of 2 × 2 × 10 mm = 0.04 mL."""
    empty = np.zeros(truth.shape, np.uint8)
    return ImageStack(
        empty.astype(np.float32), truth, empty, empty.astype(bool), 2.0,
        10.0 * np.arange(len(truth)), np.zeros((len(truth), 2)),
    )  # fmt: skip


def ring(scar: slice | None = None) -> np.ndarray:
    """Two slices of a square wall of 20 × 20 pixels around a cavity of 10 × 10."""
    labels = np.zeros((2, 32, 32), np.uint8)
    labels[:, 6:26, 6:26] = Label.VIABLE_MYOCARDIUM
    if scar is not None:
        labels[:, 6:11, scar] = Label.SCAR
    labels[:, 11:21, 11:21] = Label.LV_CAVITY
    return labels


def test_scores_by_hand() -> None:
    truth, found = ring(slice(6, 16)), ring(slice(11, 26))  # 100 and 150 voxels, 50 in common
    result = score(found, stack(truth), np.zeros(truth.shape, np.uint8), 0.0)
    assert result.dice == pytest.approx(2 * 50 / 250)
    assert result.precision == pytest.approx(50 / 150)
    assert result.sensitivity == pytest.approx(50 / 100)
    assert (result.hit_ml, result.scar_ml, result.true_scar_ml) == pytest.approx((2.0, 6.0, 4.0))
    assert result.burden_error == pytest.approx((150 - 100) / 600)
    assert result.cavity_dice == result.wall_dice == 1.0
    assert np.isnan(result.false_alarm)


def test_a_heart_without_scar_has_no_dice_but_may_have_a_false_alarm() -> None:
    for found, alarm in ((ring(), 0.0), (ring(slice(6, 20)), 1.0)):
        result = score(found, stack(ring()), np.zeros((2, 32, 32), np.uint8), 0.0)
        assert np.isnan(result.dice) and result.false_alarm == alarm
    cleaned = score(ring(slice(6, 7)), stack(ring()), np.zeros((2, 32, 32), np.uint8), 1.0)
    assert cleaned.scar_ml == 0.0


@given(MASKS, MASKS)
def test_dice_is_symmetric_and_bounded(a: np.ndarray, b: np.ndarray) -> None:
    if not (a.any() or b.any()):
        assert np.isnan(dice(a, b))
        return
    assert dice(a, b) == dice(b, a)
    assert 0.0 <= dice(a, b) <= 1.0
    assert not a.any() or dice(a, a) == 1.0


def test_intervals_hold_the_mean_and_leave_out_what_is_undefined() -> None:
    values = np.array([0.2, 0.4, np.nan, 0.9, 0.5])
    result = interval(values)
    assert result["n"] == 4 and result["mean"] == pytest.approx(0.5)
    assert result["low"] < 0.5 < result["high"]
    assert interval(np.array([np.nan])) is None


def test_intervals_cover_as_they_say() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        result = interval(rng.normal(1.0, 1.0, 60))
        hits += result["low"] <= 1.0 <= result["high"]
    assert 0.88 < hits / 200 <= 1.0


def fake_row(days: float, image: float, fused: float, odd: tuple[float, float]) -> dict:
    base = asdict(score(ring(slice(6, 16)), stack(ring(slice(6, 16))), np.zeros((2, 32, 32)), 0.0))
    return {
        "gap_days": days, "burden": [0.5 * (days < 1)] * 17, "belief_fresh": [0.9 - days] * 17,
        "belief_stale": [0.5] * 17, "disagreement_right": odd[0], "disagreement_swapped": odd[1],
        "arms": {arms.IMAGE: base | {"dice": image}, arms.TAFF: base | {"dice": fused},
                 arms.SWAPPED: base | {"dice": image - 0.3}},
    }  # fmt: skip


def test_summary_pairs_patients_and_sorts_them_by_gap() -> None:
    rows = [fake_row(0.0, 0.5, 0.7, (0.1, 0.9)), fake_row(3.0, 0.6, 0.7, (0.2, 0.8)),
            fake_row(400.0, 0.4, 0.4, (0.3, 0.1))]  # fmt: skip
    result = summarise(rows)
    assert result["bins"]["≤ 7 d"]["patients"] == 2
    assert result["bins"]["> 365 d"]["patients"] == result["bins"]["> 120 d"]["patients"] == 1
    assert result["bins"]["≤ 7 d"]["arms"][arms.TAFF]["dice_gain"]["mean"] == pytest.approx(0.15)
    assert arm_summary(rows, arms.TAFF)["pooled_dice"] == pytest.approx(1.0)
    assert result["belief_auroc_fresh"][0] == 1.0
    flags = disagreement(rows)
    assert flags["caught"] == pytest.approx(2 / 3) and flags["harmful_swaps"] == 1.0


def test_test_sets_are_fixed_and_a_small_one_starts_a_large_one() -> None:
    for name in ("clinical", "spread"):
        small, large = gaps_of(name, 5), gaps_of(name, 20)
        assert np.array_equal(small[0], large[0][:5]) and np.array_equal(small[1], large[1][:5])
    gaps, _ = gaps_of("spread", 400)
    assert gaps.min() >= 0.1 and gaps.max() <= 1000.0
    assert np.median(gaps) == pytest.approx(10.0, rel=0.5)


def test_arms_agree_with_the_deployed_graph(checkpoint: Path) -> None:
    from scarseg_export.checkpoint import load_checkpoint

    trained = load_checkpoint(checkpoint)
    case = load_case("clinical", 1)
    results = run_arms(trained, case)
    spacing = torch.full((2,), case.stack.spacing_mm)
    levels = torch.linspace(0, 1, len(case.stack.pixels))
    with torch.no_grad():
        deployed = trained.net(
            torch.from_numpy(case.stack.pixels), spacing, levels, torch.from_numpy(case.beat),
            torch.tensor([case.gap_days]), torch.ones(1),
        )  # fmt: skip
    assert np.array_equal(results.labels[arms.TAFF], deployed[0].numpy())
    assert np.array_equal(results.labels[arms.IMAGE], deployed[2].numpy())
    assert np.array_equal(results.labels[arms.NO_ECG], results.labels[arms.IMAGE])
    assert np.array_equal(results.segments, deployed[3].numpy())
    assert results.weight == pytest.approx(float(deployed[6]))
    expert = np.isin(case.stack.labels, (Label.VIABLE_MYOCARDIUM, Label.SCAR))
    for arm in (arms.EXPERT_TAFF, "Otsu, expert wall"):
        found = np.isin(results.labels[arm], (Label.VIABLE_MYOCARDIUM, Label.SCAR))
        assert np.array_equal(found, expert)


def test_evaluate_writes_tables_and_pictures(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    assert main(["evaluate", str(checkpoint), "--out", str(out), "--cases", "3"]) == 0
    results = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert results["tau_days"][0] == pytest.approx(480.0, rel=1e-4)
    text = (out / "evaluation.md").read_text(encoding="utf-8")
    assert "| TAFF |" in text and "AHA-17 voxel accuracy" in text
    assert len(list(out.glob("*.png"))) == 6
    rows = sorted((out / "rows").iterdir())
    before = [row.stat().st_mtime_ns for row in rows]
    assert main(["evaluate", str(checkpoint), "--out", str(out), "--cases", "3"]) == 0
    assert [row.stat().st_mtime_ns for row in rows] == before  # known rows are not measured again


def test_a_checkpoint_that_is_none_is_refused(tmp_path: Path) -> None:
    from scarseg_export.evaluation.report import evaluate

    (tmp_path / "model.pt").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="checkpoint"):
        evaluate([tmp_path / "model.pt"], tmp_path / "out", 2, 0.3)
