"""The stages on a handful of hearts in memory: what they change, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scarseg_export.net.network import ScarNet
from scarseg_export.patients.load import OwnPatient
from scarseg_export.score.arms import ATLAS, FUSED, IMAGE, UNPLACED, UNTIMED
from scarseg_export.score.case import score_case
from scarseg_export.score.folds import FoldModel, _predictions
from scarseg_export.train.checkpoint import Checkpoint
from scarseg_export.train.fusion import Ablations
from scarseg_export.train.recipe import recipe_of
from scarseg_export.tune import fusion_stage, image_stage
from scarseg_export.tune.cache import _load, _save
from scarseg_export.tune.folds import folds_of
from scarseg_export.tune.fusion_stage import tune_fusion
from scarseg_export.tune.image_stage import Parts, tune_image
from scarseg_export.tune.run import statements, table_digest
from scarseg_export.tune.settings import TuneSettings
from scarseg_export.tune.start import unplaced_head
from scarseg_export.twin.cohort import beats_of, sample_case
from scarseg_runtime.contract import Label

RECIPE = recipe_of({
    "cine_share": 0.0, "ecg_real_steps": 0,
    "network": {"fine_widths": [8, 8, 12, 12, 16], "localiser_widths": [4, 8, 8, 8, 8]},
})  # fmt: skip
SETTINGS = TuneSettings(
    twin_share=0.0, image_steps=2, scratch_steps=2, image_batch=4, check_every=1, fusion_steps=2,
    recipe=RECIPE,
)  # fmt: skip
CPU = torch.device("cpu")


def heart(row: int, *, ecg: bool = True) -> OwnPatient:
    case = sample_case(row)
    stack = case.image(64, 3.0, 5.0, 4)
    labels = stack.labels.copy()
    if row % 2:
        wall = np.argwhere(labels == Label.VIABLE_MYOCARDIUM)
        labels[tuple(wall[: len(wall) // 4].T)] = Label.SCAR
    else:
        labels[labels == Label.SCAR] = Label.VIABLE_MYOCARDIUM
    beat = beats_of([case], np.array([False]))[0] if ecg else None
    return OwnPatient(
        str(row), row, f"row {row}", "", 1.0, stack.pixels, labels, (3.0, 3.0), stack.heights_mm,
        np.full(4, 8.0), True, True, True, True, beat, 10.0 * row if ecg else None, ecg, "",
    )  # fmt: skip


@pytest.fixture(scope="module")
def hearts() -> list[OwnPatient]:
    return [heart(row) for row in range(1, 5)]


@pytest.fixture
def net() -> ScarNet:
    torch.manual_seed(0)
    return ScarNet(RECIPE.network).eval()


def weights(module: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def changed(before: list[torch.Tensor], module: torch.nn.Module) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_the_image_network_is_trained_and_nothing_else(
    net: ScarNet, hearts: list[OwnPatient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_stage, "FEWEST", 1)
    image, others = weights(net.image), weights(net.localiser) + weights(net.fusion)
    said = tune_image(
        net, Parts(hearts[:3], hearts[3:]), SETTINGS, tmp_path, tmp_path / "twin", CPU,
        scratch=True, name="toy",
    )  # fmt: skip
    assert said["trained"] == changed(image, net.image)
    assert said["trained"]  # at the rate of a training from nothing two steps are better
    after = weights(net.localiser) + weights(net.fusion)
    assert all(torch.equal(a, b) for a, b in zip(others, after, strict=True))
    assert said["validation_loss"][said["best_step"]] == min(said["validation_loss"])


def test_too_few_patients_leave_the_image_network_alone(
    net: ScarNet, hearts: list[OwnPatient], tmp_path: Path
) -> None:
    before = weights(net.image)
    parts = Parts(hearts[:3], hearts[3:])
    twin = tmp_path / "twin"
    said = tune_image(net, parts, SETTINGS, tmp_path, twin, CPU, scratch=False, name="toy")
    assert not said["trained"]
    assert "3 patients" in said["why"]
    assert not changed(before, net.image)


def test_too_few_pairs_leave_fusion_agreement_and_tau_alone(
    net: ScarNet, hearts: list[OwnPatient], tmp_path: Path
) -> None:
    before = weights(net)
    heads = Ablations(net), unplaced_head(net)
    patients = [*hearts, heart(6, ecg=False)]
    said = tune_fusion(
        net, *heads, patients, SETTINGS, tmp_path / "f", tmp_path / "t", scratch=False
    )
    assert said["pairs"] == 4
    assert not said["fusion"]["trained"]
    assert not said["agreement"]["trained"]
    assert not said["tau"]["adopted"]
    assert "4 pairs" in said["fusion"]["why"]
    assert not changed(before, net)
    lines = statements(said | {"image": {"trained": True}})
    assert len(lines) == 4
    assert "kept as it was (4 pairs" in lines[1]


def test_enough_pairs_train_the_fusion_and_its_heads(
    net: ScarNet, hearts: list[OwnPatient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("FEWEST_FUSION", 4), ("EACH", 1), ("FEWEST_AGREEMENT", 4)):
        monkeypatch.setattr(fusion_stage, name, value)
    heads = Ablations(net), unplaced_head(net)
    before = {part: weights(part) for part in (net.fusion, net.agreement, *heads)}
    frozen = weights(net.image) + weights(net.ecg)
    said = tune_fusion(net, *heads, hearts, SETTINGS, tmp_path / "f", tmp_path / "t", scratch=False)
    assert said["fusion"]["trained"]
    assert said["agreement"]["trained"]
    assert all(changed(was, part) for part, was in before.items())
    after = weights(net.image) + weights(net.ecg)
    assert all(torch.equal(a, b) for a, b in zip(frozen, after, strict=True))


def test_a_fold_says_what_each_part_adds(net: ScarNet, hearts: list[OwnPatient]) -> None:
    trained = Checkpoint(net, Ablations(net).eval(), {}, 0.5)
    with_heads = FoldModel(trained, unplaced_head(net).eval(), heads=True)
    found = _predictions(with_heads, hearts[0], 1.0)
    assert set(found) == {IMAGE, FUSED, UNTIMED, ATLAS, UNPLACED}
    for prediction in found.values():
        assert prediction.labels.shape == hearts[0].pixels.shape
        score_case(hearts[0], prediction)
    without = _predictions(FoldModel(trained, unplaced_head(net), heads=False), hearts[0], 1.0)
    assert set(without) == {IMAGE, FUSED, UNTIMED}
    alone = _predictions(with_heads, heart(3, ecg=False), 1.0)
    assert np.array_equal(alone[FUSED].labels, alone[IMAGE].labels)


def test_a_patient_survives_the_cache(tmp_path: Path, hearts: list[OwnPatient]) -> None:
    from scarseg_export.patients.table import Row

    row = Row(9, "new", tmp_path, tmp_path, None, None, "g", "test", 2.0, None)
    for patient in (hearts[0], heart(3, ecg=False)):
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
