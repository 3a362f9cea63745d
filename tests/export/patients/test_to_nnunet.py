"""A table of patients as a raw data set of nnU-Net, in the orientation in which we serve it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from scarseg_export.cli import main
from scarseg_export.nnunet.folder import _classes, _labels, _read_toml
from scarseg_infer import Label, read_study
from scarseg_infer.study.geometry.orientation import display_transform
from scarseg_runtime.errors import OutputError, UsageError


@pytest.fixture(scope="session")
def data_set(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("raw") / "Dataset001_LGE"
    assert main(["data", "to-nnunet", str(cohort / "table.csv"), "-o", str(out)]) == 0
    return out


def test_pictures_lie_as_the_runtime_shows_them(cohort: Path, data_set: Path, rows_of: Any) -> None:
    for number, row in enumerate(rows_of(cohort / "table.csv"), start=1):
        stack = read_study(cohort / row["study"])
        display = display_transform(stack)
        image = nibabel.load(data_set / "imagesTr" / f"row_{number:04d}_0000.nii.gz")
        shown = np.asarray(image.dataobj).transpose(2, 1, 0)
        assert np.array_equal(shown, display.to_display(stack.pixels))
        rows_mm, columns_mm = display.display_spacing(stack.pixel_spacing_mm)
        pitch_mm = np.median(np.diff(stack.slice_positions_mm))
        assert np.allclose(image.header.get_zooms(), (columns_mm, rows_mm, pitch_mm), atol=1e-3)


def test_labels_lie_on_the_heart(cohort: Path, data_set: Path, rows_of: Any) -> None:
    """Cavity and wall of the twin have their own brightness, so turned labels would not fit."""
    for number, row in enumerate(rows_of(cohort / "table.csv"), start=1):
        drawn = np.asarray(nibabel.load(cohort / row["mask"]).dataobj)
        image, mask = (
            nibabel.load(data_set / folder / f"row_{number:04d}{ending}.nii.gz")
            for folder, ending in (("imagesTr", "_0000"), ("labelsTr", ""))
        )
        labels, pixels = np.asarray(mask.dataobj), np.asarray(image.dataobj)
        assert np.allclose(image.affine, mask.affine)
        assert np.array_equal(np.unique(labels), np.unique(drawn))
        assert [(labels == one).sum() for one in Label] == [(drawn == one).sum() for one in Label]
        blood, wall = pixels[labels == Label.LV_CAVITY], pixels[labels == Label.VIABLE_MYOCARDIUM]
        assert np.median(blood) > np.percentile(wall, 75)


def test_the_export_takes_what_is_written_beside(data_set: Path) -> None:
    dataset = json.loads((data_set / "dataset.json").read_text())
    assert dataset["numTraining"] == len(list((data_set / "imagesTr").iterdir()))
    entries = _read_toml(data_set / "classes.toml")
    assert _labels(dataset, _classes(entries)) == list(Label)
    assert entries["licence"] == "Apache-2.0"


def test_right_ventricle_that_only_some_have_is_no_label(
    copied: Path, tmp_path: Path, capsys: Any
) -> None:
    """Unlabelled pixels become nnU-Net's own label for what teaches nothing."""
    toml = copied / "classes.toml"
    toml.write_text(toml.read_text().replace('4 = "rv"', '4 = "unlabelled"'))
    out = tmp_path / "Dataset002_LGE"
    assert main(["data", "to-nnunet", str(copied / "table.csv"), "-o", str(out)]) == 0
    labels = json.loads((out / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, "cavity": 1, "myocardium": 2, "scar": 3, "ignore": 4}
    assert "rv" not in (out / "classes.toml").read_text()
    values = np.unique(np.asarray(nibabel.load(out / "labelsTr" / "row_0001.nii.gz").dataobj))
    assert values.max() == 4


def test_rows_that_cannot_be_used_are_named_and_left_out(
    copied: Path, tmp_path: Path, rows_of: Any, write_rows: Callable[..., Path], capsys: Any
) -> None:
    rows = rows_of(copied / "table.csv")[:2]
    rows[0]["mask"] = "nowhere.nii.gz"
    table = write_rows(copied / "short.csv", rows)
    out = tmp_path / "Dataset003_LGE"
    assert main(["data", "to-nnunet", str(table), "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert "row 1: error" in said and "1 cases" in said
    assert [path.name for path in (out / "labelsTr").iterdir()] == ["row_0002.nii.gz"]
    assert main(["data", "to-nnunet", str(table), "-o", str(out)]) == OutputError.exit_code


def test_nothing_is_written_where_no_row_can_be_used(
    copied: Path, tmp_path: Path, rows_of: Any, write_rows: Callable[..., Path], capsys: Any
) -> None:
    rows = rows_of(copied / "table.csv")[:1]
    rows[0]["mask"] = "nowhere.nii.gz"
    table = write_rows(copied / "short.csv", rows)
    code = main(["data", "to-nnunet", str(table), "-o", str(tmp_path / "out")])
    assert code == UsageError.exit_code
    assert "no row of the table can be used" in capsys.readouterr().err
    assert list(tmp_path.glob("out*")) == []
