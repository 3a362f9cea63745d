"""The stages on a handful of hearts in memory: what they change, and what they leave alone."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scarseg_export.net.network import ScarNet
from scarseg_export.patients.load import OwnPatient
from scarseg_export.score.arms import ATLAS, FUSED, IMAGE, TRAINED_HERE, UNPLACED, UNTIMED
from scarseg_export.score.case import score_case
from scarseg_export.score.folds import FoldModel, _predictions
from scarseg_export.train.checkpoint import Checkpoint
from scarseg_export.train.fusion import Ablations
from scarseg_export.tune import fusion_stage, image_stage
from scarseg_export.tune.adopt import take
from scarseg_export.tune.cache import _load, _save
from scarseg_export.tune.folds import folds_of
from scarseg_export.tune.fusion_stage import tune_fusion
from scarseg_export.tune.image_stage import Parts, tune_image
from scarseg_export.tune.run import table_digest
from scarseg_export.tune.settings import TuneSettings
from scarseg_export.tune.start import unplaced_head
from scarseg_export.tune.statements import statements
from scarseg_runtime.contract import Label

CPU = torch.device("cpu")


def weights(module: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def changed(before: list[torch.Tensor], module: torch.nn.Module) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_the_image_network_is_trained_and_nothing_else(
    net: ScarNet,
    hearts: list[OwnPatient],
    settings: TuneSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image_stage, "FEWEST", 1)
    image, others = weights(net.image), weights(net.localiser) + weights(net.fusion)
    said = tune_image(
        net, Parts(hearts[:3], hearts[3:]), settings, tmp_path, tmp_path / "twin", CPU,
        scratch=True, name="toy",
    )  # fmt: skip
    assert said["trained"] == changed(image, net.image)
    assert said["trained"]  # at the rate of a training from nothing two steps are better
    after = weights(net.localiser) + weights(net.fusion)
    assert all(torch.equal(a, b) for a, b in zip(others, after, strict=True))
    assert said["validation_loss"][said["best_step"]] == min(said["validation_loss"])


def test_too_few_patients_leave_the_image_network_alone(
    net: ScarNet, hearts: list[OwnPatient], settings: TuneSettings, tmp_path: Path
) -> None:
    before = weights(net.image)
    parts = Parts(hearts[:3], hearts[3:])
    twin = tmp_path / "twin"
    said = tune_image(net, parts, settings, tmp_path, twin, CPU, scratch=False, name="toy")
    assert not said["trained"]
    assert "3 patients" in said["why"]
    assert not changed(before, net.image)


def test_too_few_pairs_leave_fusion_agreement_and_tau_alone(
    net: ScarNet, hearts: list[OwnPatient], settings: TuneSettings, tmp_path: Path
) -> None:
    before = weights(net)
    heads = Ablations(net), unplaced_head(net)
    said = tune_fusion(net, *heads, hearts, settings, tmp_path / "f", tmp_path / "t", scratch=False)
    assert said["pairs"] == 5
    assert not said["fusion"]["trained"]
    assert not said["agreement"]["trained"]
    assert not said["tau"]["adopted"]
    assert "5 pairs" in said["fusion"]["why"]
    assert not changed(before, net)
    fusion = said["fusion"] | {"used": "as it came", "why_used": "nothing else"}
    flag = {"threshold": None, "why": "nothing was trained"}
    image = {"trained": False, "why": "3 patients"}
    lines = statements(said | {"image": image, "fusion": fusion, "flag": flag})
    assert len(lines) == 5
    assert "kept as it was (5 pairs" in lines[1]


def test_enough_pairs_train_the_fusion_and_its_heads(
    net: ScarNet,
    hearts: list[OwnPatient],
    settings: TuneSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("FEWEST_FUSION", 4), ("EACH", 1), ("FEWEST_AGREEMENT", 4)):
        monkeypatch.setattr(fusion_stage, name, value)
    heads = Ablations(net), unplaced_head(net)
    before = {part: weights(part) for part in (net.fusion, net.agreement, *heads)}
    frozen = weights(net.image) + weights(net.ecg)
    said = tune_fusion(net, *heads, hearts, settings, tmp_path / "f", tmp_path / "t", scratch=False)
    assert said["fusion"]["trained"]
    assert said["agreement"]["trained"]
    assert all(changed(was, part) for part, was in before.items())
    after = weights(net.image) + weights(net.ecg)
    assert all(torch.equal(a, b) for a, b in zip(frozen, after, strict=True))


def test_a_fold_says_what_each_part_adds(net: ScarNet, hearts: list[OwnPatient]) -> None:
    trained = Checkpoint(net, Ablations(net).eval(), {}, 0.5)
    own = copy.deepcopy(net)
    take(net, "image alone", None)
    with_heads = FoldModel(trained, unplaced_head(net).eval(), own, heads=True)
    found = _predictions(with_heads, hearts[0], 1.0)
    assert set(found) == {IMAGE, FUSED, TRAINED_HERE, UNTIMED, ATLAS, UNPLACED}
    for map_ in ("labels", "scar_probability"):
        image, fused, trained_here = (
            getattr(found[arm], map_) for arm in (IMAGE, FUSED, TRAINED_HERE)
        )
        assert np.array_equal(image, fused)
    assert not np.array_equal(image, trained_here)
    for prediction in found.values():
        assert prediction.labels.shape == hearts[0].pixels.shape
        score_case(hearts[0], prediction)
    few = FoldModel(trained, unplaced_head(net), own, heads=False)
    without = _predictions(few, hearts[0], 1.0)
    assert set(without) == {IMAGE, FUSED, UNTIMED}
    alone = _predictions(with_heads, hearts[5], 1.0)
    assert np.array_equal(alone[FUSED].labels, alone[IMAGE].labels)


def test_a_patient_survives_the_cache(tmp_path: Path, hearts: list[OwnPatient]) -> None:
    from scarseg_export.patients.table import Row

    row = Row(9, "new", tmp_path, tmp_path, None, None, "g", "test", 2.0, None)
    for patient in (hearts[0], hearts[5]):
        _save(tmp_path / "p.npz", patient)
        again = _load(tmp_path / "p.npz", row)
        assert (again.id, again.row, again.group, again.split, again.weight) == (
            "new", 9, "g", "test", 2.0,
        )  # fmt: skip
        same = replace(
            again, id=patient.id, row=patient.row, group=patient.group, split="", weight=1.0
        )
        assert table_digest([same]) == table_digest([patient])
        assert again.spacing_mm == patient.spacing_mm
        assert np.array_equal(again.levels, patient.levels)


def test_another_table_has_another_digest(hearts: list[OwnPatient]) -> None:
    before = table_digest(hearts)
    moved = hearts[0].labels.copy()
    moved[0, 0, 0] = Label.SCAR
    assert table_digest([replace(hearts[0], labels=moved), *hearts[1:]]) != before
    assert table_digest([replace(hearts[0], group="x"), *hearts[1:]]) != before
    assert table_digest(hearts) == before
    assert len(folds_of(hearts, 2, 0.3, 0)) == 3
