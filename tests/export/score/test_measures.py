"""Measures and statistics against what can be worked out, and against other code."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scarseg_export.patients.load import OwnPatient
from scarseg_export.score import statistics
from scarseg_export.score.arms import Arm
from scarseg_export.score.case import Prediction, score_case
from scarseg_export.score.distances import surface_distance
from scarseg_export.score.score import NO_ECG, bin_of, score_patients, summarise
from scarseg_export.train.losses import UNLABELLED_PIXEL, WALL
from scarseg_runtime.contract import Label


def a_heart(scar: bool = True) -> np.ndarray:
    """[3, 40, 40] rings of wall about a cavity, one third of the wall scar."""
    y, x = np.mgrid[:40, :40] - 19.5
    r, angle = np.hypot(x, y), np.arctan2(y, x)
    labels = np.zeros((3, 40, 40), np.uint8)
    labels[:, r < 14] = Label.VIABLE_MYOCARDIUM
    labels[:, (r < 14) & (angle > np.pi / 3)] = Label.SCAR if scar else Label.VIABLE_MYOCARDIUM
    labels[:, r < 8] = Label.LV_CAVITY
    return labels


def a_patient(labels: np.ndarray, **changes: object) -> OwnPatient:
    values = {
        "id": "a", "row": 1, "group": "a", "split": "", "weight": 1.0,
        "pixels": np.where(labels == Label.SCAR, 900, 100).astype(np.float32) + labels,
        "labels": labels, "spacing_mm": (2.0, 1.0), "positions_mm": np.arange(3) * 8.0,
        "heights_mm": np.full(3, 8.0), "anatomy": True, "scar": True, "rv": False,
        "order_known": True, "beat_mv": None, "gap_days": None, "ecg_valid": False,
        "ecg_reason": "",
    }  # fmt: skip
    return OwnPatient(**(values | changes))


def a_prediction(labels: np.ndarray) -> Prediction:
    wall = np.isin(labels, (2, 3))
    segments = np.where(wall, 7 + (np.arange(40) // 20)[None, :, None], 0).astype(np.uint8)
    return Prediction(labels, segments, np.where(labels == 3, 0.8, 0.1).astype(np.float32), 0.0)


def test_the_truth_scores_perfectly() -> None:
    labels = a_heart()
    score = score_case(a_patient(labels), a_prediction(labels)).score
    assert (score.scar_dice, score.precision, score.sensitivity) == (1.0, 1.0, 1.0)
    assert (score.wall_dice, score.cavity_dice, score.endo_hd95_mm, score.scar_mean_mm) == (
        1,
        1,
        0,
        0,
    )
    assert score.burden_percent == score.true_burden_percent
    assert score.true_scar_ml == pytest.approx((labels == 3).sum() * 2 * 8 / 1000)
    assert np.isnan(score.false_alarm)


def test_scar_where_none_is_is_a_false_alarm_and_has_no_dice() -> None:
    score = score_case(a_patient(a_heart(scar=False)), a_prediction(a_heart())).score
    assert score.false_alarm == 1.0
    assert np.isnan(score.scar_dice)
    quiet = score_case(a_patient(a_heart(scar=False)), a_prediction(a_heart(scar=False))).score
    assert quiet.false_alarm == 0.0


def test_what_was_not_drawn_is_not_scored() -> None:
    labels = a_heart()
    half = labels.copy()
    half[2] = UNLABELLED_PIXEL
    score = score_case(a_patient(half), a_prediction(labels)).score
    assert score.scar_dice == 1.0  # the third slice does not count
    blind = np.where(labels == Label.SCAR, WALL, labels).astype(np.uint8)
    score = score_case(a_patient(blind, scar=False), a_prediction(labels)).score
    assert np.isnan(score.scar_dice)
    assert np.isnan(score.false_alarm)
    assert score.wall_dice == 1.0
    scar_only = score_case(a_patient(labels, anatomy=False), a_prediction(labels)).score
    assert scar_only.scar_dice == 1.0
    assert np.isnan(scar_only.wall_dice)


@given(st.integers(1, 6), st.integers(1, 4), st.floats(0.5, 3.0))
@settings(max_examples=20)
def test_a_shifted_box_is_as_far_as_it_was_shifted(step: int, slices: int, size: float) -> None:
    first = np.zeros((slices, 30, 30), bool)
    first[:, 5:15, 10:20] = True
    second = np.roll(first, step, axis=1)
    found = surface_distance(first, second, (9.0, size, 1.0))
    assert found.hd95_mm == pytest.approx(step * size)
    assert 0 < found.mean_mm <= step * size
    assert surface_distance(first, first, (9.0, size, 1.0)) == (0.0, 0.0)


def test_distance_to_nothing_is_not_a_number() -> None:
    empty = np.zeros((1, 4, 4), bool)
    assert all(np.isnan(surface_distance(empty, ~empty, (1.0, 1.0, 1.0))))


def test_hausdorff_equals_that_of_simpleitk() -> None:
    """The 100 % distance of our surfaces is the Hausdorff distance of the masks of one slice."""
    sitk = importlib.import_module("SimpleITK")
    rng = np.random.default_rng(3)
    for _ in range(3):
        first, second = (
            np.pad(rng.random((1, 12, 12)) < 0.2, ((0, 0), (3, 3), (3, 3))) for _ in range(2)
        )
        filtered = sitk.HausdorffDistanceImageFilter()
        images = [sitk.GetImageFromArray(m[0].astype(np.uint8)) for m in (first, second)]
        for image in images:
            image.SetSpacing((1.5, 2.0))
        filtered.Execute(*images)
        found = surface_distance(first, second, (8.0, 2.0, 1.5))
        assert found.hd95_mm <= filtered.GetHausdorffDistance() + 1e-6


def test_kappa_and_icc_equal_what_others_compute() -> None:
    metrics = importlib.import_module("sklearn.metrics")
    rng = np.random.default_rng(0)
    first = rng.random(200) < 0.3
    second = np.where(rng.random(200) < 0.8, first, ~first)
    assert statistics.kappa(first, second) == pytest.approx(
        metrics.cohen_kappa_score(first, second)
    )
    # Table 2 of Shrout and Fleiss 1979: ICC(2,1) is .29.
    ratings = np.array(
        [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    )
    assert statistics.icc(ratings.astype(float)) == pytest.approx(0.29, abs=0.005)


def test_a_paired_difference_is_found_where_there_is_one() -> None:
    rng = np.random.default_rng(1)
    base = rng.random(40)
    better = statistics.paired_difference(base, base + 0.1 + 0.02 * rng.normal(size=40))
    same = statistics.paired_difference(base, base + 0.02 * rng.normal(size=40))
    assert better["low"] > 0.08
    assert better["p_wilcoxon"] < 1e-4
    assert same["low"] < 0 < same["high"]
    assert statistics.paired_difference(base, np.full(40, np.nan)) is None


def test_calibration_of_what_is_right_and_of_what_is_not() -> None:
    right = np.array([[100.0, 100.0], [10.0, 90.0], [10.0, 90.0]])
    wrong = np.array([[100.0, 100.0], [10.0, 90.0], [60.0, 40.0]])
    assert statistics.calibration(right)["expected_error"] == 0.0
    assert statistics.calibration(wrong)["expected_error"] == pytest.approx(0.5)


def test_patients_fall_into_bins_by_the_age_of_their_ecg() -> None:
    labels = a_heart()
    names = [
        bin_of(a_patient(labels, ecg_valid=days is not None, gap_days=days))
        for days in (0.0, 7.0, 7.1, 365.0, None)
    ]
    assert names[0] == names[1]
    assert len(set(names)) == 4
    assert names[-1] == NO_ECG


def test_an_arm_that_says_nothing_of_a_patient_leaves_a_gap() -> None:
    labels = a_heart()
    patients = [a_patient(labels, id=str(n), row=n) for n in (1, 2, 3, 4)]
    predictors = [
        ("one", lambda p: {"image alone": a_prediction(p.labels)}),
        ("two", lambda p: {"image alone": a_prediction(p.labels)} if p.row % 2 else {}),
    ]
    table = score_patients(patients, predictors)
    summary = summarise(table)
    assert [case is None for case in table.cases[Arm("two", "image alone")]] == [0, 1, 0, 1]
    assert summary["arms"]["two: image alone"]["scar_dice"]["patients"] == 2
    assert summary["arms"]["one: image alone"]["segments"]["kappa"] == 1.0
    assert summary["arms"]["one: image alone"]["segments"]["by_segment"][6:8] == [None, None]
    assert any(arm.startswith("rules: expert wall, FWHM") for arm in summary["arms"])
    assert summary["arms"]["rules: expert wall, FWHM"]["scar_dice"]["mean"] > 0.95


def test_arms_are_compared_within_their_model_and_with_the_first() -> None:
    def predict(patient: OwnPatient) -> dict[str, Prediction]:
        return dict.fromkeys(("image alone", "fused"), a_prediction(patient.labels))

    patients = [a_patient(a_heart(), id=str(n), row=n) for n in (1, 2, 3)]
    said = summarise(score_patients(patients, [("own", predict), ("old", predict)]))
    pairs = {(one["to"], one["from"]) for one in said["differences"]}
    assert {pair for pair in pairs if not pair[0].startswith("rules")} == {
        ("own: fused", "own: image alone"), ("old: fused", "old: image alone"),
        ("old: image alone", "own: image alone"), ("old: fused", "own: fused"),
    }  # fmt: skip
    assert {old for new, old in pairs if new.startswith("rules")} == {"own: image alone"}
