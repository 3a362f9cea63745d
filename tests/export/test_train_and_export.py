"""Training from nothing to a model file that the runtime accepts, at toy size."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from scarseg_export.cli import main
from scarseg_export.deploy.onnx_export import export_onnx, record_scores
from scarseg_export.net.config import NetworkConfig
from scarseg_export.net.network import ScarNet
from scarseg_export.train.checkpoint import load_checkpoint
from scarseg_export.train.recipe import Recipe, load_recipe
from scarseg_export.train.run import train
from scarseg_runtime.contract import BEAT_SAMPLES
from scarseg_runtime.errors import ModelError, UsageError
from scarseg_runtime.model import Model
from scarseg_runtime.taff import decide

TOY = {
    "ecg_patients": 300, "ecg_steps": 3, "localiser_stacks": 2, "localiser_steps": 2,
    "close_steps": 2, "close_batch": 4,
    "image_stacks": 3, "image_steps": [2, 1], "image_batch": 4,
    "fusion_cases": 4, "fusion_steps": 2, "validation_cases": 3,
    "network": {"fine_widths": [8, 8, 12, 12, 16], "localiser_widths": [4, 8, 8, 8, 8]},
}  # fmt: skip


SIMULATION = {"cine_share": 0.0, "ecg_real_steps": 0, "semi_real_share": 0.0}
"""Options that the command line sets without real data."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    recipe = folder / "toy.json"
    recipe.write_text(json.dumps(TOY), encoding="utf-8")
    assert main(["train", "--out", str(folder / "run"), "--recipe", str(recipe)]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def model(run: Path, tell_no_rv: Callable[[Path], None]) -> Path:
    tell_no_rv(run)
    return export_onnx(run / "model.pt", run / "model.onnx", min_scar_ml=0.2, cases=2)


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again(run: Path) -> None:
    stages = [run / f"{name}.pt" for name in ("ecg", "localiser", "image")]
    before = [stage.stat().st_mtime_ns for stage in stages]
    train(run, replace(load_recipe(run.parent / "toy.json"), **SIMULATION))
    assert [stage.stat().st_mtime_ns for stage in stages] == before


@pytest.mark.slow
def test_a_run_folder_belongs_to_one_recipe(run: Path) -> None:
    with pytest.raises(UsageError, match="another recipe"):
        train(run, replace(Recipe(), **SIMULATION))


@pytest.mark.parametrize("text", ["{", "[]", '{"sead": 3}', '{"network": {"depth": 3}}'])
def test_a_recipe_that_makes_no_sense_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(UsageError, match="recipe"):
        load_recipe(tmp_path / "recipe.json")


def test_a_checkpoint_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"nothing")
    torch.save({"recipe": Recipe().to_dict(), "state": {}}, tmp_path / "empty.pt")
    for name in ("model.pt", "empty.pt", "nowhere.pt"):
        with pytest.raises(ModelError, match="checkpoint"):
            load_checkpoint(tmp_path / name)


@pytest.mark.slow
def test_the_file_describes_itself(model: Path) -> None:
    session = Model.load(model)
    metadata = session.metadata
    assert metadata.recipe["ecg_patients"] == TOY["ecg_patients"]
    assert metadata.min_scar_ml == 0.2
    assert "Digital twin only" in metadata.training_data
    assert "Not a medical device" in metadata.intended_use
    assert metadata.verification["rows"]["cpu fp32"]["passed"]


@pytest.mark.slow
def test_batch_norm_is_folded_and_inputs_are_named(model: Path) -> None:
    graph = onnx.load(model).graph
    assert not [node for node in graph.node if node.op_type == "BatchNormalization"]
    shape = [axis.dim_param for axis in graph.input[0].type.tensor_type.shape.dim]
    assert shape == ["S", "H", "W"]


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 96, 128), (5, 131, 97), (12, 256, 216), (30, 64, 64)])
def test_the_graph_equals_pytorch_at_any_size(run: Path, model: Path, shape: tuple) -> None:
    rng = np.random.default_rng(1)
    net = load_checkpoint(run / "model.pt").net
    levels = np.linspace(0, 1, shape[0], dtype=np.float32)
    lge = rng.gamma(2.0, 200.0, shape).astype(np.float32)
    beat = rng.normal(0, 0.3, (12, BEAT_SAMPLES)).astype(np.float32)
    ours = Model.load(model).run(lge, (1.5, 1.3), levels, beat, decide(20.0, ecg_given=True))
    with torch.no_grad():
        theirs = net(
            torch.from_numpy(lge), torch.tensor([1.5, 1.3]), torch.from_numpy(levels),
            torch.from_numpy(beat), torch.tensor([20.0]), torch.tensor([1.0]),
        )  # fmt: skip
    # After these few steps the localiser sees an RV everywhere in noise: how the crop is turned
    # hangs on rounding. What is shipped is held to its gates by verification.
    assert (ours.labels == theirs[0].numpy()).mean() >= 0.995
    assert np.abs(ours.scar_probability - theirs[1].numpy()).max() < 5e-2
    assert (ours.segments == theirs[3].numpy()).mean() >= 0.99
    assert ours.ecg_weight == pytest.approx(float(theirs[6]), abs=1e-6)


@pytest.mark.slow
def test_scores_are_recorded_in_the_file(model: Path) -> None:
    record_scores(model, cases=2)
    scores = Model.load(model).metadata.twin_scores
    assert scores["cases"] == 2
    assert "scarseg-export onnx" in scores["command"]
    assert {"image_only", "fused", "fused_fresh", "fused_old"} <= scores.keys()


def test_time_constant_starts_off_the_truth() -> None:
    assert NetworkConfig().initial_tau_days == 480.0
    assert ScarNet().taff.tau_days == pytest.approx(480.0, rel=1e-5)
