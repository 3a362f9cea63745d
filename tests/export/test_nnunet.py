"""nnU-Net models of the nnunetv2 package itself: our file against its own predictor."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from scarseg_export.cli import main
from scarseg_export.deploy.half import CONVOLUTIONS
from scarseg_export.deploy.model_io import load_model
from scarseg_export.nnunet.folder import read_folder
from scarseg_export.nnunet.weights import load_fold
from scarseg_export.patients.load import OwnPatient
from scarseg_export.score.arms import IMAGE, of_model
from scarseg_export.score.case import score_case
from scarseg_export.twin.cohort import sample_case
from scarseg_infer import Segmenter
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_runtime.contract import BEAT_SAMPLES, LEADS, Label
from scarseg_runtime.errors import ModelError, StudyError
from scarseg_runtime.model import Model
from scarseg_runtime.model_file.read import read_model_file
from scarseg_runtime.providers.tensorrt.build import Profile, build_engine
from scarseg_runtime.taff import decide

TOML = """
name = "nn"
version = "1"
training_data = "Nothing."
licence = "MIT"
[classes]
background = "background"
pool = "cavity"
muscle = "myocardium"
infarct = "scar"
right = "rv"
"""
LABELS = {"background": 0, "pool": 1, "muscle": 2, "infarct": 3, "right": 4}
KINDS = ("PlainConvUNet", "ResidualEncoderUNet")
TILES = {"ResidualEncoderUNet": ("2", "3")}
RESIDUAL = pytest.param("ResidualEncoderUNet", marks=pytest.mark.slow)
"""Its export takes as long as that of the plain network, and shares all but blocks and tiles."""
TILED = pytest.mark.parametrize("exported", [RESIDUAL], indirect=True)
ANY_NUMBER = pytest.mark.parametrize("exported", ["PlainConvUNet"], indirect=True)
"""Fixed, as TensorRT wants them; 235 × 268 mm with the plan's patch of 112 × 96 at 1.4 mm."""
IMPORTED = ["conv_op", "norm_op", "dropout_op", "nonlin"]
DATASET = {
    "channel_names": {"0": "LGE"}, "labels": LABELS, "numTraining": 1, "file_ending": ".nii.gz",
}  # fmt: skip


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Plans of nnU-Net's own planners for a small data set, with few features a stage."""
    root = tmp_path_factory.mktemp("nnunet")
    for name in ("raw", "preprocessed", "results"):  # nnunetv2 reads them when it is imported
        os.environ[f"nnUNet_{name}"] = str(root / name)
    data, done = root / "raw" / "Dataset001_LGE", root / "preprocessed" / "Dataset001_LGE"
    statistics = {"max": 1, "mean": 1, "median": 1, "min": 0, "std": 1}
    fingerprint = {
        "spacings": [[8.0, 1.4, 1.4]], "shapes_after_crop": [[8, 112, 96]],
        "median_relative_size_after_cropping": 1.0,
        "foreground_intensity_properties_per_channel": {
            "0": statistics | {"percentile_00_5": 0, "percentile_99_5": 1}
        },
    }  # fmt: skip
    for folder in (data / "imagesTr", data / "labelsTr", done):
        folder.mkdir(parents=True)
    for folder in (data, done):
        (folder / "dataset.json").write_text(json.dumps(DATASET))
    (done / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    image = nib.Nifti1Image(np.ones((96, 112, 8), np.float32), np.diag([1.4, 1.4, 8.0, 1.0]))
    nib.save(image, data / "imagesTr" / "a_0000.nii.gz")
    nib.save(image, data / "labelsTr" / "a.nii.gz")
    return {kind: planned(kind) for kind in KINDS}


def planned(kind: str) -> dict[str, Any]:
    from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner
    from nnunetv2.experiment_planning.experiment_planners.residual_unets import (
        residual_encoder_unet_planners,
    )

    planner = {
        "PlainConvUNet": default_experiment_planner.ExperimentPlanner,
        "ResidualEncoderUNet": residual_encoder_unet_planners.ResEncUNetPlanner,
    }[kind](1)
    planner.UNet_base_num_features = 8
    planner.UNet_max_features_2d = planner.UNet_max_features_3d = 32
    return json.loads(json.dumps(planner.plan_experiment()))


def build(folder: Path, plans: dict[str, Any]) -> Path:
    """A trained-model folder with the network that nnunetv2 builds from the plan."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    described = plans["configurations"]["2d"]["architecture"]
    torch.manual_seed(0)
    net = get_network_from_plans(
        described["network_class_name"], described["arch_kwargs"], IMPORTED, 1, len(LABELS),
        deep_supervision=True,
    )  # fmt: skip
    fold = folder / "fold_0"
    fold.mkdir(parents=True)
    content = {
        "network_weights": net.state_dict(), "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "2d", "plans": plans, "dataset_json": DATASET, "fold": 0},
        "inference_allowed_mirroring_axes": (0, 1), "_best_ema": np.float64(0.5),
    }  # fmt: skip
    torch.save(content, fold / "checkpoint_final.pth")
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(DATASET))
    (folder / "classes.toml").write_text(TOML)
    return folder


@pytest.fixture(scope="module", params=["PlainConvUNet", RESIDUAL])
def exported(request: pytest.FixtureRequest, tmp_path_factory: Any, plans: Any) -> Path:
    folder = build(tmp_path_factory.mktemp("nn") / "model", plans[request.param])
    command = ["nnunet", str(folder), "-o", str(folder / "m.onnx"), "--cases", "1"]
    if request.param in TILES:
        command += ["--tiles", *TILES[request.param]]
    assert main([*command, "--classes", str(folder / "classes.toml")]) == 0
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any, plans: Any) -> Path:
    return build(tmp_path_factory.mktemp("nn") / "model", plans["PlainConvUNet"])


def predictor_of(folder: Path) -> Any:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_gaussian=True, use_mirroring=False, verbose=False,
        perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False,
    )  # fmt: skip
    predictor.initialize_from_trained_model_folder(str(folder), (0,), "checkpoint_final.pth")
    return predictor


@pytest.mark.parametrize(
    ("size", "spacing_mm"),
    [((160, 176), 1.4), ((64, 72), 1.4), ((128, 144), 1.8), ((190, 150), 1.1)],
    ids=["larger than the patch", "smaller", "coarser", "finer"],
)
def test_labels_are_those_of_nnunets_own_predictor(
    exported: Path, size: tuple[int, int], spacing_mm: float
) -> None:
    image = sample_case(5).image(max(size), spacing_mm, 20.0, 7)
    pixels = image.pixels[:, : size[0], : size[1]].copy()
    pixels[0], pixels[:, :3], pixels[:, :, -5:] = 0, 0, 0  # nnU-Net crops to what is not zero
    theirs = predictor_of(exported).predict_single_npy_array(
        pixels[None], {"spacing": [8.0, spacing_mm, spacing_mm]}
    )
    model = Model.load(exported / "m.onnx")
    levels = np.linspace(0, 1, 7, dtype=np.float32)
    nothing = decide(None, ecg_given=False)
    ours = model.run(pixels, (spacing_mm, spacing_mm), levels, None, nothing)
    assert len(np.unique(theirs)) >= 4
    assert (ours.labels == theirs).mean() >= 0.999
    assert (ours.labels[0] == Label.BACKGROUND).all()
    muscle = np.isin(ours.labels, (Label.VIABLE_MYOCARDIUM, Label.SCAR))
    assert np.array_equal(ours.segments > 0, muscle)


@ANY_NUMBER  # the demo study is larger than the tiles of the other
def test_an_image_only_model_runs_and_says_so(exported: Path) -> None:
    result = Segmenter.from_model(exported / "m.onnx").run(DEMO_STUDY, DEMO_ECG)
    assert result.ecg.weight == 0.0
    assert "image only" in result.ecg.reason
    assert np.array_equal(result.labels, result.image_only_labels)
    assert result.model.training_data == "Nothing."


@ANY_NUMBER
def test_it_is_scored_beside_others_by_its_image_alone(exported: Path) -> None:
    image = sample_case(5).image(72, 1.4, 5.0, 3)
    beat = np.zeros((len(LEADS), BEAT_SAMPLES), np.float32)
    patient = OwnPatient(
        "p", 1, "p", "", 1.0, image.pixels, image.labels, (1.4, 1.4), image.heights_mm,
        np.full(3, 8.0), True, True, True, True, beat, 3.0, True, "",
    )  # fmt: skip
    name, predict = of_model(Model.load(exported / "m.onnx"))
    assert name == "nn 1"
    (found,) = predict(patient).items()
    assert found[0] == IMAGE
    score_case(patient, found[1])


@TILED
def test_fixed_tiles_compile_for_tensorrt_in_fp16(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real TensorRT-RTX, which needs no GPU to compile."""
    pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx")
    assert main(["fp16", str(exported / "m.onnx"), "--cases", "0"]) == 0
    half = read_model_file(exported / "m.fp16.onnx")
    row = half.metadata.verification["rows"]["cpu fp16"]
    # Random weights: no label is sure, so the gate may refuse what FP16 makes of them.
    assert row["max_abs_probability_difference"] < 0.03
    assert row["label_agreement"] > 0.99
    kinds = [n.op_type for n in load_model(half.path).graph.node if n.op_type in CONVOLUTIONS]
    logits_and_splines = 3
    assert half.metadata.half_convolutions == len(kinds) - logits_and_splines
    small = Profile((1, 32, 32), (2, 64, 64), (4, 128, 128))
    engine, sidecar = build_engine(half, "tensorrt-rtx", small)
    assert sidecar["half_convolutions"] == half.metadata.half_convolutions
    assert len(engine) > 1e6


@ANY_NUMBER
def test_what_depends_on_the_spacing_is_refused_with_what_helps(exported: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx")
    with pytest.raises(ModelError, match=r"refuses operator Range.*--tiles"):
        build_engine(read_model_file(exported / "m.onnx"), "tensorrt-rtx")


@TILED
def test_a_field_beyond_the_tiles_is_refused_with_both_sizes(exported: Path) -> None:
    model = Model.load(exported / "m.onnx", "cpu")
    pixels, levels = np.ones((1, 160, 64), np.float32), np.zeros(1, np.float32)
    nothing = decide(None, ecg_given=False)
    assert model.run(pixels, (1.4, 1.4), levels, None, nothing).labels.shape == (1, 160, 64)
    with pytest.raises(StudyError, match="slices are 240 × 96 mm, the model covers 235 × 269 mm"):
        model.run(pixels, (1.5, 1.5), levels, None, nothing)
    model.warm_up(1, 512, 512)  # of a size that only a finer spacing can have


@pytest.mark.parametrize(
    ("exported", "work"),
    [
        ("PlainConvUNet", "GFLOP a tile; how many"),
        pytest.param(*RESIDUAL.values, "GFLOP for 12 × 256", marks=pytest.mark.slow),
    ],
    indirect=["exported"],
)
def test_inspection_knows_the_work_and_no_time_constant(
    exported: Path, work: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(exported / "m.onnx")]) == 0
    said = capsys.readouterr().out
    assert work in said and " 0.0 GFLOP" not in said
    assert "image only: an ECG gets no weight" in said
    assert "τ" not in said and "δ_max" not in said
    assert ("covers fields of view up to 235 × 269 mm" in said) == ("tile;" not in said)


def test_tiles_are_numbers_that_make_sense(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["nnunet", str(folder), "-o", str(tmp_path / "m.onnx"), "--tiles", "0", "2"]
    assert main([*command, "--classes", str(folder / "classes.toml")]) == 2
    assert "1 to 64 tiles" in capsys.readouterr().err


def change(folder: Path, name: str, edit: Any) -> None:
    content = json.loads((folder / name).read_text())
    edit(content)
    (folder / name).write_text(json.dumps(content))


def two_d(plans: dict[str, Any]) -> dict[str, Any]:
    return plans["configurations"]["2d"]


def arguments_of(plans: dict[str, Any]) -> dict[str, Any]:
    return two_d(plans)["architecture"]["arch_kwargs"]


@pytest.mark.parametrize(
    ("name", "edit", "words"),
    [
        ("plans.json", lambda p: p["configurations"].pop("2d"), "no 2-D configuration"),
        ("plans.json", lambda p: two_d(p).update(normalization_schemes=["CTNormalization"]),
         "CTNormalization is not supported"),
        ("plans.json", lambda p: two_d(p)["architecture"].update(network_class_name="os.system"),
         "architecture system is not supported"),
        ("plans.json", lambda p: arguments_of(p).update(conv_op="os.system"),
         "conv_op is not supported"),
        ("plans.json", lambda p: p.update(transpose_forward=[1, 0, 2]), "swaps axes"),
        ("plans.json", lambda p: two_d(p).pop("patch_size"), "lack something: 'patch_size'"),
        ("dataset.json", lambda d: d["channel_names"].update({"1": "T2"}), "several channels"),
        ("dataset.json", lambda d: d["labels"].update(muscle=[2, 3]), "muscle is a region"),
        ("dataset.json", lambda d: d["labels"].update(fat=5), "what label fat is"),
        ("dataset.json", lambda d: d["labels"].pop("infarct"), "no label infarct"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_named(
    tmp_path: Path, folder: Path, name: str, edit: Any, words: str
) -> None:
    for source in ("plans.json", "dataset.json", "classes.toml"):
        (tmp_path / source).write_text((folder / source).read_text())
    change(tmp_path, name, edit)
    with pytest.raises(ModelError, match=words):
        read_folder(tmp_path, tmp_path / "classes.toml")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_weights_of_a_3d_configuration_are_named(
    tmp_path: Path, folder: Path, encoding: str
) -> None:
    """Its plans hold the 2-D configuration too; texts may have a byte-order mark."""
    for source in ("plans.json", "dataset.json", "classes.toml"):
        (tmp_path / source).write_text((folder / source).read_text(), encoding=encoding)
    state = {"encoder.stages.0.0.convs.0.conv.weight": torch.zeros(8, 1, 3, 3, 3)}
    torch.save({"network_weights": state}, tmp_path / "checkpoint.pth")
    source = read_folder(tmp_path, tmp_path / "classes.toml")
    with pytest.raises(ModelError, match=r"3-D.*2d configuration"):
        load_fold(source, tmp_path / "checkpoint.pth", len(LABELS))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [('"scar"', '"tumour"', "infarct to an unknown class"), ('name = "nn"', "", "no text name"),
     ("[classes]", "[classes", "is not TOML"),
     ('"Nothing."', '" "', "training_data of the TOML is empty.*what the network was trained on")],
)  # fmt: skip
def test_a_toml_that_does_not_fit_is_refused(
    tmp_path: Path, folder: Path, old: str, new: str, words: str
) -> None:
    (tmp_path / "classes.toml").write_text(TOML.replace(old, new))
    with pytest.raises(ModelError, match=words):
        read_folder(folder, tmp_path / "classes.toml")


class Surprise:
    def __reduce__(self) -> tuple:
        return (print, ("this must never run",))


def test_checkpoints_hold_tensors_of_the_plan_and_nothing_else(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = read_folder(folder, folder / "classes.toml")
    good = torch.load(folder / "fold_0" / "checkpoint_final.pth", weights_only=False)
    path = tmp_path / "c.pth"
    torch.save({"network_weights": good["network_weights"], "extra": Surprise()}, path)
    with pytest.raises(ModelError, match="holds more than tensors"):
        load_fold(source, path, len(LABELS))
    assert "never" not in capsys.readouterr().out
    name = "decoder.seg_layers.0.weight"
    for weights in ({**good["network_weights"], name: torch.zeros(1)}, {}):
        torch.save({"network_weights": weights}, path)
        with pytest.raises(ModelError, match=r"tensor .* of the checkpoint is"):
            load_fold(source, path, len(LABELS))
    with pytest.raises(ModelError, match="missing"):
        load_fold(source, tmp_path / "nowhere.pth", len(LABELS))


def test_plans_of_older_releases_work(tmp_path: Path, folder: Path, plans: Any) -> None:
    for name in ("dataset.json", "classes.toml"):
        (tmp_path / name).write_text((folder / name).read_text())
    old = copy.deepcopy(plans["PlainConvUNet"])
    configuration = two_d(old)
    arguments = configuration.pop("architecture")["arch_kwargs"]
    configuration.update(
        UNet_class_name="PlainConvUNet", UNet_base_num_features=8, unet_max_num_features=24,
        n_conv_per_stage_encoder=[2, 2, 2], n_conv_per_stage_decoder=[2, 2],
        conv_kernel_sizes=arguments["kernel_sizes"][:3],
        pool_op_kernel_sizes=arguments["strides"][:3], num_pool_per_axis=[2, 2],
    )  # fmt: skip
    (tmp_path / "plans.json").write_text(json.dumps(old))
    source = read_folder(tmp_path, tmp_path / "classes.toml")
    assert source.architecture["arguments"]["features_per_stage"] == [8, 16, 24]
