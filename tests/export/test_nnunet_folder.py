"""Answers to a wrong folder or TOML: where the right one lies, with its path."""

from __future__ import annotations

import json
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scarseg_export.cli import main
from scarseg_export.nnunet.folder import read_folder
from scarseg_export.nnunet.trained import checkpoint_path
from scarseg_export.nnunet.weights import load_fold
from scarseg_runtime.errors import ModelError

TRAINED = "nnUNetTrainer__nnUNetPlans__2d"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=3), inside),
    max_leaves=4,
)


def refusal(folder: Path, description: Path) -> str:
    with pytest.raises(ModelError) as raised:
        read_folder(folder, description)
    return str(raised.value)


def test_the_folder_of_the_data_set_leads_to_the_model_in_it(tmp_path: Path) -> None:
    (tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres").mkdir()
    assert "__3d_fullres: train nnU-Net's 2d" in refusal(tmp_path, tmp_path / "classes.toml")
    (tmp_path / TRAINED).mkdir()
    assert str(tmp_path / TRAINED) in refusal(tmp_path, tmp_path / "classes.toml")


@pytest.mark.parametrize("name", ["none", ""])
def test_a_folder_of_something_else(tmp_path: Path, name: str) -> None:
    said = refusal(tmp_path / name, tmp_path / "classes.toml")
    assert str(tmp_path / name) in said
    assert "ends in __2d" in said


def test_a_toml_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / TRAINED
    folder.mkdir()
    for name in ("plans.json", "dataset.json"):
        (folder / name).write_text("{}")
    toml = tmp_path / "classes.toml"
    assert f"{toml}, cannot be read (No such file" in refusal(folder, toml)
    toml.write_text("name = ")
    said = refusal(folder, toml)
    assert f"{toml} is not TOML" in said
    command = ["nnunet", str(tmp_path), "-o", str(tmp_path / "m.onnx"), "--classes", str(toml)]
    assert main(command) == 5
    assert TRAINED in capsys.readouterr().err


PLAN = {
    "patch_size": [64, 64], "spacing": [1.5, 1.5], "normalization_schemes": ["ZScoreNormalization"],
    "use_mask_for_norm": [False], "resampling_fn_data": "resample_data_or_seg_to_shape",
    "resampling_fn_data_kwargs": {"is_seg": False, "order": 3},
    "architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "_kw_requires_import": ["conv_op", "norm_op"],
        "arch_kwargs": {
            "n_stages": 2, "features_per_stage": [4, 8], "conv_op": "torch.nn.modules.conv.Conv2d",
            "kernel_sizes": [[3, 3], [3, 3]], "strides": [[1, 1], [2, 2]],
            "n_conv_per_stage": [1, 1], "n_conv_per_stage_decoder": [1], "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
        },
    },
}  # fmt: skip
TOML = """name = "nn"
version = "1"
training_data = "Nothing."
licence = "MIT"
[classes]
background = "background"
muscle = "myocardium"
infarct = "scar"
"""


def trained(folder: Path, **plan: Any) -> Path:
    """A trained-model folder whose plan differs from an ordinary one by ``plan``."""
    folder.mkdir(parents=True)
    flat = {**PLAN, **plan}
    deep = {**PLAN, "patch_size": [8, 64, 64], "spacing": [8.0, 1.5, 1.5]}
    small = {"inherits_from": "2d", "batch_size": 2}
    configurations = {"2d": flat, "2d_small": small, "3d_fullres": deep}
    (folder / "plans.json").write_text(json.dumps({"configurations": configurations}))
    labels = {"background": 0, "muscle": 1, "infarct": 2}
    dataset = {"channel_names": {"0": "LGE"}, "labels": labels}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    (folder / "classes.toml").write_text(TOML)
    return folder


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_plan_that_is_damaged_is_refused_in_words(tmp_path: Path, data: st.DataObject) -> None:
    """Any value of the plan or its labels, exchanged for anything that JSON can hold."""
    folder = tmp_path / TRAINED
    if not folder.exists():
        trained(folder)
    plan = json.loads(json.dumps(PLAN))
    dataset = {"channel_names": {"0": "LGE"}, "labels": {"background": 0, "infarct": 2}}
    where: Any = data.draw(st.sampled_from([plan, plan["architecture"], dataset,
                                            plan["architecture"]["arch_kwargs"]]))  # fmt: skip
    where[data.draw(st.sampled_from(sorted(where)))] = data.draw(JSON)
    text = json.dumps({"configurations": {"2d": plan}})
    (folder / "plans.json").write_text(text[: data.draw(st.sampled_from([None, len(text) // 2]))])
    (folder / "dataset.json").write_text(json.dumps(dataset))
    with suppress(ModelError):
        read_folder(folder, folder / "classes.toml")


@pytest.mark.parametrize(
    ("name", "configuration"), [(TRAINED, "2d"), ("model", "2d"), (f"{TRAINED}_small", "2d_small")]
)
def test_the_folders_name_says_which_2d_configuration(
    tmp_path: Path, name: str, configuration: str
) -> None:
    folder = trained(tmp_path / name)
    found = read_folder(folder, folder / "classes.toml")
    assert found.configuration == configuration
    assert found.plan.patch == (64, 64)


def test_a_folder_of_a_3d_configuration_is_named_before_its_weights_are_read(
    tmp_path: Path,
) -> None:
    folder = trained(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres")
    said = refusal(folder, folder / "classes.toml")
    assert "configuration 3d_fullres, whose weights are 3-D" in said


@pytest.mark.parametrize(
    "name",
    ["ensemble___nnUNetTrainer__nnUNetPlans__2d___nnUNetTrainer__nnUNetPlans__3d_fullres___0_1",
     "ensembles"],
)  # fmt: skip
def test_an_ensemble_is_named(tmp_path: Path, name: str) -> None:
    folder = trained(tmp_path / name)
    assert "is an ensemble of nnU-Net" in refusal(folder, folder / "classes.toml")


def test_a_model_of_version_1_is_named(tmp_path: Path) -> None:
    (tmp_path / "plans.pkl").write_bytes(b"")
    assert "a model of nnU-Net v1" in refusal(tmp_path, tmp_path / "classes.toml")


@pytest.mark.parametrize("below", ["fold_0", "fold_0/checkpoint_final.pth"])
def test_what_lies_in_a_trained_model_leads_to_it(tmp_path: Path, below: str) -> None:
    folder = trained(tmp_path / TRAINED)
    (folder / "fold_0").mkdir()
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(b"")
    said = refusal(folder / below, folder / "classes.toml")
    assert f"Pass the folder it lies in: {folder}" in said


def test_folds_and_checkpoints_that_are_there_are_named(tmp_path: Path) -> None:
    for fold in ("fold_1", "fold_all"):
        (tmp_path / fold).mkdir()
    (tmp_path / "fold_1" / "checkpoint_best.pth").write_bytes(b"")
    for fold, words in (("0", "--fold 1 all"), ("1", "checkpoint_best.pth"), ("all", "training")):
        with pytest.raises(ModelError, match=words):
            checkpoint_path(tmp_path, fold, "checkpoint_final.pth")
    assert checkpoint_path(tmp_path, "1", "checkpoint_best.pth").is_file()


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"patch_size": [1, 2, 3]}, "whose weights are 3-D"),
        ({"normalization_schemes": []}, "not as nnU-Net v2 writes them"),
        ({"inherits_from": "2d"}, "inherits from one that is not there"),
        ({"inherits_from": "none"}, "inherits from one that is not there"),
        ({"architecture": None}, "not as nnU-Net v2 writes them"),
        ({"preprocessor_name": "MyPreprocessor"}, "preprocessor_name is MyPreprocessor"),
        ({"resampling_fn_data": "no_resampling"}, "resampling_fn_data is no_resampling"),
        ({"resampling_fn_data_kwargs": {"order": 1}}, "by cubic splines"),
    ],
)
def test_plans_that_cannot_be_exported(tmp_path: Path, plan: dict[str, Any], words: str) -> None:
    folder = trained(tmp_path / "m", **plan)
    assert words in refusal(folder, folder / "classes.toml")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"0": "background", "1": "muscle", "2": "infarct"}, "as nnU-Net v1 did"),
        ({"background": 0, "muscle": 1, "infarct": "2"}, "infarct is no whole number"),
        ({"background": 0, "muscle": 1, "infarct": 3}, "without a gap"),
        (["background"], "not as nnU-Net v2 writes them"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, labels: Any, words: str) -> None:
    folder = trained(tmp_path / "m")
    content = {"channel_names": {"0": "LGE"}, "labels": labels}
    (folder / "dataset.json").write_text(json.dumps(content))
    assert words in refusal(folder, folder / "classes.toml")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[classes]", 'min_scar_ml = "0,3"\n[classes]', "min_scar_ml in the TOML is no number"),
        ("[classes]", "min_scar_ml = nan\n[classes]", "min_scar_ml in the TOML is not 0 or more"),
        ('"scar"', "3", "no table of names"),
        ('"scar"', '"myocardium"', "no label means scar"),
        ('"Nothing."', '"Würzburg"', "line 3 is not UTF-8 text; save it as UTF-8"),
    ],
)
def test_tomls_that_do_not_fit(tmp_path: Path, old: str, new: str, words: str) -> None:
    folder = trained(tmp_path / "m")
    (folder / "classes.toml").write_bytes(TOML.replace(old, new).encode("cp1252"))
    assert words in refusal(folder, folder / "classes.toml")


def checkpoint(folder: Path, **content: Any) -> Path:
    """A checkpoint of the plan's network, as nnU-Net writes it but for ``content``."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    source = read_folder(folder, folder / "classes.toml")
    arguments = source.architecture["arguments"]
    net = PlainConvUNet(input_channels=1, num_classes=3, deep_supervision=False, **arguments)
    path = folder / "c.pth"
    whole = {
        "network_weights": net.state_dict(), "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "2d"}, "_best_ema": np.float64(0.5),
    }  # fmt: skip
    torch.save(whole | content, path)
    return path


@pytest.mark.parametrize("release", ["numpy.core", "numpy._core"])
def test_checkpoints_of_every_numpy(tmp_path: Path, release: str) -> None:
    """Numpy moved what its numbers are unpickled by, with its second release."""
    folder = trained(tmp_path / "m")
    path = checkpoint(folder, logging={"lr": [np.float32(1)], "all": np.zeros(3), "n": np.int64(3)})
    with zipfile.ZipFile(path) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            moved = data.replace(b"cnumpy._core", f"c{release}".encode())
            archive.writestr(name, moved if name.endswith(".pkl") else data)
    source = read_folder(folder, folder / "classes.toml")
    assert len(load_fold(source, path, 3).state_dict()) > 4


def test_a_trainer_that_builds_another_network_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = trained(tmp_path / "m")
    source = read_folder(folder, folder / "classes.toml")
    for name, told in (("nnUNetTrainer_250epochs", False), ("nnUNetTrainerMine", True)):
        caplog.clear()
        load_fold(source, checkpoint(folder, trainer_name=name), 3)
        assert (name in caplog.text) is told
    other = {"trainer_name": "nnUNetTrainerUMambaBot", "network_weights": {"a": torch.zeros(1)}}
    with pytest.raises(ModelError, match="its trainer nnUNetTrainerUMambaBot may build another"):
        load_fold(source, checkpoint(folder, **other), 3)
    with pytest.raises(ModelError, match="trained as configuration 2d_x, not 2d"):
        load_fold(source, checkpoint(folder, init_args={"configuration": "2d_x"}), 3)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            {"dataset_json": {"labels": {"background": 0, "infarct": 1, "muscle": 2}}},
            "other labels",
        ),
        ({"plans": {"configurations": {"2d": {"spacing": [1.0, 1.0]}}}}, "another spacing"),
        ({"plans": {"configurations": {"2d": {"patch_size": (64, 32)}}}}, "another patch_size"),
        (
            {"plans": {"configurations": {"2d": {"normalization_schemes": ["NoNormalization"]}}}},
            "another normalization_schemes",
        ),
    ],
)
def test_a_checkpoint_of_another_data_set_is_refused(
    tmp_path: Path, told: dict[str, Any], words: str
) -> None:
    """Its tensors fit as well, and its classes were called by the names of others."""
    folder = trained(tmp_path / "m")
    source = read_folder(folder, folder / "classes.toml")
    own: dict[str, Any] = {
        "dataset_json": {"labels": {"background": 0, "muscle": 1, "infarct": 2}},
        "plans": {"configurations": {"2d": {**PLAN, "patch_size": (64, 64)}, "2d_small": {}}},
    }
    arguments = {"configuration": "2d"} | own
    assert load_fold(source, checkpoint(folder, init_args=arguments), 3)
    with pytest.raises(ModelError, match=words):
        load_fold(source, checkpoint(folder, init_args=arguments | told), 3)


def test_a_model_of_pictures_without_millimetres_is_refused(tmp_path: Path) -> None:
    folder = trained(tmp_path / "m")
    plans = json.loads((folder / "plans.json").read_text())
    for reader, refused in (("SimpleITKIO", False), ("NaturalImage2DIO", True)):
        (folder / "plans.json").write_text(json.dumps(plans | {"image_reader_writer": reader}))
        if refused:
            assert "no size in mm" in refusal(folder, folder / "classes.toml")
        else:
            read_folder(folder, folder / "classes.toml")
