"""What a wrong folder or TOML is answered with: where the right one lies, with its path."""

from __future__ import annotations

from pathlib import Path

import pytest

from scarseg_export.cli import main
from scarseg_export.nnunet.folder import read_folder
from scarseg_runtime.errors import ModelError

TRAINED = "nnUNetTrainer__nnUNetPlans__2d"


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
