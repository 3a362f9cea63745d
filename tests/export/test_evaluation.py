"""Scores, arms and report of the evaluation."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scarseg_export.cli import MIN_SCAR_ML, main
from scarseg_export.evaluation import arms
from scarseg_export.evaluation.arms import run_arms
from scarseg_export.evaluation.estimates import auroc, draw_patients, mean, ratio
from scarseg_export.evaluation.metrics import dice, score
from scarseg_export.evaluation.report import evaluate
from scarseg_export.evaluation.run import measure
from scarseg_export.evaluation.summary import CHANGED, SAME, SHOWN, SHOWN_SOON, SILENT, summarise
from scarseg_export.evaluation.testset import UnseenPatient, gap_of, load_case, stored_case
from scarseg_export.net.config import NetworkConfig
from scarseg_export.net.network import ScarNet
from scarseg_export.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from scarseg_export.train.fusion import Ablations
from scarseg_export.train.recipe import Recipe
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


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("patients")


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
    assert result.burden_error == pytest.approx(100 * (150 - 100) / 600)
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


def test_means_leave_out_what_is_undefined_and_average_seeds() -> None:
    values = np.array([[0.2, 0.4, np.nan, 0.9, 0.5], [0.4, 0.6, np.nan, 1.0, 0.8]])
    result = mean(values, draw_patients(5)).to_dict()
    assert result["by_seed"] == pytest.approx([0.5, 0.7])
    assert result["mean"] == pytest.approx(0.6) and result["patients"] == 4
    assert result["sd_over_seeds"] == pytest.approx(0.2 / np.sqrt(2))
    assert result["low"] < 0.6 < result["high"]
    assert mean(np.array([[np.nan]]), draw_patients(1)).to_dict() is None


def test_intervals_cover_as_they_say() -> None:
    rng = np.random.default_rng(0)
    draws = draw_patients(60)
    hits = 0
    for _ in range(300):
        result = mean(rng.normal(1.0, 1.0, (1, 60)), draws).to_dict()
        hits += result["low"] <= 1.0 <= result["high"]
    assert 0.90 < hits / 300 < 0.98


def test_pooled_dice_sums_volumes_over_patients() -> None:
    hit, called, true = (np.array([v]) for v in ([1.0, 3.0, 0.0], [2.0, 3.0, 1.0], [2.0, 5.0, 0.0]))
    result = ratio(2 * hit, called + true, draw_patients(3))
    assert result.by_seed == pytest.approx([2 * 4.0 / 13.0])
    assert (result - result).to_dict()["high"] == 0.0


def test_differences_are_taken_patient_by_patient() -> None:
    """All patients gain the same: the interval of the difference has no width, though
    patients differ."""
    base = np.random.default_rng(1).random((2, 30))
    draws = draw_patients(30)
    gain = mean(base + 0.1 - base, draws).to_dict()
    assert (gain["low"], gain["high"]) == pytest.approx((0.1, 0.1))
    level = mean(base, draws).to_dict()
    assert level["high"] - level["low"] > 0.1


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8),
       st.lists(st.integers(0, 5), min_size=1, max_size=8))  # fmt: skip
def test_auroc_counts_pairs_and_ties_half(high: list[int], low: list[int]) -> None:
    draws = np.ones((1, len(high))), np.ones((1, len(low)))
    ours = auroc(np.array([high], float), np.array([low], float), draws)
    wins = sum((h > k) + 0.5 * (h == k) for h in high for k in low)
    assert ours.by_seed[0] == pytest.approx(wins / len(high) / len(low))
    assert ours.draws[0] == pytest.approx(ours.by_seed[0])


def test_auroc_of_some_positives_and_of_none() -> None:
    draws = np.ones((1, 2)), np.ones((1, 1))
    among = np.array([[True, False]])
    assert auroc(np.array([[3.0, 0.0]]), np.array([[1.0]]), draws, among).by_seed == [1.0]
    assert auroc(np.array([[3.0, 0.0]]), np.array([[1.0]]), draws, ~among).by_seed == [0.0]
    assert auroc(np.array([[3.0, 0.0]]), np.array([[1.0]]), draws, among & ~among).to_dict() is None


def fake_row(days: float, image: float, fused: float, odd: tuple[float, float]) -> dict:
    base = asdict(score(ring(slice(6, 16)), stack(ring(slice(6, 16))), np.zeros((2, 32, 32)), 0.0))
    return {
        "gap_days": days, "stale": days > 100, "silent": False, "burden": [0.5 * (days < 1)] * 17,
        "belief_fresh": [0.9 - days] * 17, "belief_stale": [0.5] * 17,
        "disagreement_right": odd[0], "disagreement_stale": odd[0], "disagreement_swapped": odd[1],
        "no_ecg_is_image_only": True,
        "arms": {arms.IMAGE: base | {"dice": image, "false_alarm": None},
                 arms.TAFF: base | {"dice": fused, "false_alarm": None},
                 arms.SWAPPED: base | {"burden_error": 1.0, "false_alarm": None},
                 arms.UNGATED: base | {"burden_error": -3.0, "false_alarm": None}},
    }  # fmt: skip


def test_summary_pairs_patients_and_sorts_them_by_gap() -> None:
    rows = [fake_row(0.0, 0.5, 0.7, (0.1, 0.9)), fake_row(3.0, 0.6, 0.7, (0.2, 0.8)),
            fake_row(400.0, 0.4, 0.4, (0.3, 0.1))]  # fmt: skip
    result = summarise([rows, rows], [0.25, 0.05])
    bins = result["bins"]
    assert bins["≤ 7 d"]["patients"] == 2 and bins["≤ 7 d"]["with_scar"] == 2
    assert bins["> 365 d"]["patients"] == bins["> 120 d"]["patients"] == 1
    assert bins[CHANGED]["patients"] == 1 and bins[SAME]["patients"] == 2
    assert bins["≤ 7 d"]["arms"][arms.TAFF]["dice_gain"]["mean"] == pytest.approx(0.15)
    assert bins["all"]["arms"][arms.TAFF]["pooled_dice"]["mean"] == pytest.approx(1.0)
    assert bins["all"]["arms"][arms.IMAGE]["false_alarm"] is None
    assert result["belief_auroc_fresh"]["segments"][0]["mean"] == 1.0
    assert result["belief_auroc_stale"]["mean"]["mean"] == 0.5
    flags = result["disagreement"]
    assert flags["caught_as_deployed"]["by_seed"] == pytest.approx([2 / 3, 1.0])
    assert flags["false_flags_as_deployed"]["by_seed"] == pytest.approx([1 / 3, 1.0])
    assert flags["harmful_without_gate"]["mean"] == 1.0 and flags["harmful_with_gate"]["mean"] == 0


def test_infarcts_that_no_ecg_shows_are_told_apart() -> None:
    shown, late, silent = (fake_row(days, 0.5, 0.6, (0.1, 0.9)) for days in (2.0, 40.0, 3.0))
    bins = summarise([[shown, late, silent | {"silent": True}]], [0.25])["bins"]
    assert [bins[name]["patients"] for name in (SHOWN, SHOWN_SOON, SILENT)] == [2, 1, 1]
    assert SHOWN not in summarise([[shown, late]], [0.25])["bins"]  # the twin has no such ECGs


def test_test_sets_are_fixed_and_differ() -> None:
    assert gap_of("clinical", 3) == gap_of("clinical", 3) != gap_of("spread", 3)
    gaps = np.array([gap_of("spread", index)[0] for index in range(400)])
    assert gaps.min() >= 0.1 and gaps.max() <= 1000.0
    assert np.median(gaps) == pytest.approx(10.0, rel=0.5)
    stale = np.array([gap_of("clinical", index)[1] for index in range(400)])
    assert 0.1 < stale.mean() < 0.6


def test_a_stored_patient_is_the_simulated_one(patients: Path) -> None:
    first, again = (stored_case(patients, "spread", 2) for _ in range(2))
    simulated = load_case("spread", 2)
    for case in (first, again):
        assert (case.gap_days, case.stale) == (simulated.gap_days, simulated.stale)
        assert np.array_equal(case.stack.pixels, simulated.stack.pixels)
        assert np.array_equal(case.stack.labels, simulated.stack.labels)
        for beat in ("beat", "fresh_beat", "stale_beat", "other_beat"):
            assert np.array_equal(getattr(case, beat), getattr(simulated, beat))
    assert not np.array_equal(first.fresh_beat, first.other_beat)


def test_arms_agree_with_the_deployed_graph(checkpoint: Path, patients: Path) -> None:
    trained = load_checkpoint(checkpoint)
    case = stored_case(patients, "clinical", 1)
    results = run_arms(trained, case)
    deployed = run_graph(trained, case, case.beat, case.gap_days)
    assert np.array_equal(results.labels[arms.TAFF], deployed[0])
    assert np.array_equal(results.labels[arms.IMAGE], deployed[2])
    assert np.array_equal(results.segments, deployed[3])
    assert results.weight == pytest.approx(deployed[6][0])
    swapped = run_graph(trained, case, case.other_beat, 0.0)
    assert np.array_equal(results.labels[arms.SWAPPED], swapped[0])
    assert results.disagreement_swapped == pytest.approx(swapped[7][0], abs=1e-6)
    expert = np.isin(case.stack.labels, (Label.VIABLE_MYOCARDIUM, Label.SCAR))
    for arm in (arms.EXPERT_TAFF, f"Otsu, {arms.EXPERT}"):
        found = np.isin(results.labels[arm], (Label.VIABLE_MYOCARDIUM, Label.SCAR))
        assert np.array_equal(found, expert)


def test_without_an_ecg_or_with_a_very_old_one_the_image_decides(
    checkpoint: Path, patients: Path
) -> None:
    trained = load_checkpoint(checkpoint)
    case = stored_case(patients, "clinical", 1)
    results = run_arms(trained, case)
    image = results.labels[arms.IMAGE]
    assert results.no_ecg_is_image_only
    assert np.array_equal(results.labels[arms.NO_ECG], image)
    assert not np.array_equal(results.labels[arms.UNGATED], image)  # so an ECG can change it
    old = run_arms(trained, replace(case, gap_days=1e7))
    assert old.weight == 0.0
    for arm in (arms.TAFF, arms.SHUFFLED):
        assert np.array_equal(old.labels[arm], image)


def run_graph(
    trained: Checkpoint, case: UnseenPatient, beat: np.ndarray, gap_days: float
) -> list[np.ndarray]:
    """Outputs of the network as it is exported."""
    spacing = torch.full((2,), case.stack.spacing_mm)
    levels = torch.linspace(0, 1, len(case.stack.pixels))
    with torch.no_grad():
        outputs = trained.net(
            torch.from_numpy(case.stack.pixels), spacing, levels, torch.from_numpy(beat),
            torch.tensor([gap_days]), torch.ones(1),
        )  # fmt: skip
    return [output.numpy() for output in outputs]


def test_evaluate_writes_tables_and_pictures(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    command = ["evaluate", str(checkpoint), "--out", str(out), "--cases", "2"]
    assert main(command) == 0
    results = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert results["tau_days"][0] == pytest.approx(480.0, rel=1e-4)
    assert results["clinical"]["no_ecg_is_image_only"] == 2
    text = (out / "evaluation.md").read_text(encoding="utf-8")
    assert "| TAFF |" in text and "AHA-17 voxel accuracy" in text
    names = {path.name for path in out.glob("*.png")}
    expected = {
        "dice-spread.png",
        "weights.png",
        "belief.png",
        "rules.png",
        "failures-clinical.png",
    }
    assert expected <= names
    kept = [
        path for path in out.rglob("*") if path.suffix in (".npz", ".json") and path.parent != out
    ]
    assert len(kept) == 2 * 2 + 2
    before = [path.stat().st_mtime_ns for path in kept]
    again = measure(checkpoint, "clinical", 2, MIN_SCAR_ML, out)
    assert [row["gap_days"] for row in again] == [gap_of("clinical", k)[0] for k in range(2)]
    assert [path.stat().st_mtime_ns for path in kept] == before


def test_a_checkpoint_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="checkpoint"):
        evaluate([tmp_path / "model.pt"], tmp_path / "out", 2, 0.3)
    assert not (tmp_path / "out").exists()
