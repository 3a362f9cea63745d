"""Every mistake that a table of patients can hold is found by ``data check``, with its row."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from scarseg_export.cli import main
from scarseg_export.patients.reader import PatientReader

Rows = Callable[[Path], list[dict[str, str]]]
Write = Callable[..., Path]


def check(table: Path, *options: str) -> tuple[int, dict]:
    """Exit code and report of ``data check``."""
    report = table.parent / "report.json"
    code = main(["data", "check", str(table), "--report", str(report), *options])
    return code, json.loads(report.read_text(encoding="utf-8"))


def errors(report: dict) -> dict[int, str]:
    return {p["row"]: p["what"] for p in report["problems"] if p["error"]}


def mask_of(folder: Path, number: int) -> Path:
    return sorted(folder.glob("twin-*"))[number - 1] / "labels.nii.gz"


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change a volume's voxels and leave its geometry alone."""
    image = nibabel.load(path)
    values = change(np.asarray(image.dataobj))
    nibabel.save(nibabel.Nifti1Image(values, image.affine, image.header), path)


def test_a_sound_table_has_no_errors(cohort: Path, tmp_path: Path) -> None:
    code, report = check(cohort / "table.csv")
    assert errors(report) == {}
    assert code == 0
    assert report["readable"] == 6
    assert 0 < report["with_scar"] < 6


def test_the_same_table_in_windows_encoding_with_semicolons(
    copied: Path, rows_of: Rows, write_rows: Write
) -> None:
    rows = rows_of(copied / "table.csv")
    rows[0]["id"] = "Größe 1"
    table = write_rows(copied / "t.csv", rows, encoding="cp1252", separator=";")
    code, report = check(table, "--files-only")
    assert (code, errors(report), report["readable"]) == (0, {}, 6)


def test_a_flipped_mask(copied: Path) -> None:
    rewrite(mask_of(copied, 2), lambda values: values[:, :, ::-1])
    code, report = check(copied / "table.csv")
    assert code == 2
    assert list(errors(report)) == [2]
    assert "flipped" in errors(report)[2]


def test_a_stack_that_runs_from_apex_to_base(copied: Path) -> None:
    """Study and mask agree, and both claim a geometry that turns the heart upside down."""
    rows = sorted(copied.glob("twin-*"))
    image = nibabel.load(rows[2] / "labels.nii.gz")
    affine = image.affine.copy()
    last = image.shape[2] - 1
    affine[:3, 3] += affine[:3, 2] * last
    affine[:3, 2] *= -1
    affine[:3, 0] *= -1  # right-handed again, so that only the order is wrong
    pixels = _pixels_of(rows[2] / "study", image.shape)
    nibabel.save(nibabel.Nifti1Image(pixels, affine), rows[2] / "lge.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), rows[2] / "labels.nii.gz")
    text = (copied / "table.csv").read_text().replace("twin-000002/study", "twin-000002/lge.nii.gz")
    (copied / "table.csv").write_text(text)
    code, report = check(copied / "table.csv", "--files-only")
    assert code == 2
    assert list(errors(report)) == [3]
    assert "flipped" in errors(report)[3]


def _pixels_of(study: Path, shape: tuple[int, ...]) -> np.ndarray:
    from pydicom import dcmread

    slices = sorted((dcmread(path) for path in study.iterdir()), key=lambda d: d.InstanceNumber)
    pixels = np.stack([d.pixel_array for d in slices]).transpose(2, 1, 0).astype(np.float32)
    assert pixels.shape == shape
    return pixels


@pytest.mark.parametrize("column", ["mask", "study"])
def test_exchanged_patients(copied: Path, rows_of: Rows, write_rows: Write, column: str) -> None:
    """Masks, or studies, of two rows are exchanged: both are named."""
    rows = rows_of(copied / "table.csv")
    rows[0][column], rows[1][column] = rows[1][column], rows[0][column]
    if column == "study":
        for row in rows:
            row["ecg"] = ""  # whose date and gap would tell as well
    code, report = check(write_rows(copied / "t.csv", rows))
    assert code == 2
    assert set(errors(report)) == {1, 2}


def test_an_ecg_of_another_patient_by_identifier(
    copied: Path, rows_of: Rows, write_rows: Write
) -> None:
    rows = rows_of(copied / "table.csv")
    rows[3]["ecg"] = rows[0]["ecg"].replace("twin.hea", "twin.dcm")
    code, report = check(write_rows(copied / "t.csv", rows), "--files-only")
    assert code == 2
    assert list(errors(report)) == [4]
    assert "patient" in errors(report)[4]


def test_files_that_were_pseudonymised_differently_may_be_allowed(
    copied: Path, rows_of: Rows, write_rows: Write
) -> None:
    """The table says which files belong together, and the user that it is right."""
    rows = rows_of(copied / "table.csv")[:2]
    rows[0]["ecg"] = rows[0]["ecg"].replace("twin.hea", "twin.dcm")
    (copied / "other.dcm").write_bytes((copied / rows[0]["ecg"]).read_bytes())
    rename_patient(copied / "other.dcm")
    rows[0]["ecg"] = "other.dcm"
    table = write_rows(copied / "t.csv", rows)
    assert check(table, "--files-only")[0] == 2
    code, report = check(table, "--files-only", "--allow-identity-mismatch")
    assert (code, report["readable"]) == (0, 2)
    assert [p["row"] for p in report["problems"] if "identifiers" in p["what"]] == [1]


def test_score_and_training_may_be_allowed_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from scarseg_export.score import command
    from scarseg_export.tune import run

    allowed = []

    def taken(*_: object, reader: PatientReader, **__: object) -> tuple[str, list[object]]:
        allowed.append(reader.allow_identity_mismatch)
        return "", []

    monkeypatch.setattr(command, "score_table", taken)
    monkeypatch.setattr(run, "tune", taken)
    for words in (["score", "t.csv", "-o", "out"], ["train", "--data", "t.csv", "--out", "run"]):
        assert main(words) == 0
        assert main([*words, "--allow-identity-mismatch"]) == 0
    assert allowed == [False, True, False, True]


def rename_patient(path: Path) -> None:
    from pydicom import dcmread

    dataset = dcmread(path)
    dataset.PatientID = "OTHER"
    dataset.save_as(path)


def test_what_the_product_says_of_a_study_is_said(
    copied: Path, rows_of: Rows, write_rows: Write
) -> None:
    rows = rows_of(copied / "table.csv")
    study = copied / rows[0]["study"]
    (study / "thumbs.db").write_bytes(b"x" * 600)
    code, report = check(write_rows(copied / "t.csv", rows), "--files-only")
    said = [p["what"] for p in report["problems"] if p["row"] == 1 and not p["error"]]
    assert code == 0
    assert any("not DICOM" in what for what in said)


def test_a_mask_cut_to_what_is_drawn_is_on_the_study_s_grid(copied: Path) -> None:
    """As 3D Slicer exports segmentations."""
    path = mask_of(copied, 1)
    image = nibabel.load(path)
    values = np.asarray(image.dataobj)
    drawn = np.argwhere(values > 0)
    low, high = drawn.min(0), drawn.max(0) + 1
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    cut = values[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    assert cut.size < values.size / 2
    nibabel.save(nibabel.Nifti1Image(cut, affine), path)
    code, report = check(copied / "table.csv", "--files-only")
    assert (code, errors(report)) == (0, {})
    assert not any("another grid" in p["what"] for p in report["problems"])


@pytest.mark.parametrize("factor", [2, 3])
def test_a_finer_mask_is_on_another_grid(copied: Path, factor: int) -> None:
    """With three times the resolution every voxel of the study has its centre in one of it."""
    path = mask_of(copied, 1)
    image = nibabel.load(path)
    fine = np.asarray(image.dataobj).repeat(factor, 0).repeat(factor, 1)
    affine = image.affine.copy()
    affine[:3, :2] /= factor
    affine[:3, 3] -= (affine[:3, 0] + affine[:3, 1]) * (factor - 1) / 2
    nibabel.save(nibabel.Nifti1Image(fine, affine), path)
    code, report = check(copied / "table.csv", "--files-only")
    (said,) = (p["what"] for p in report["problems"] if "another grid" in p["what"])
    assert code == 0
    assert "Dice after the way back 1.000" in said


def test_a_mask_of_a_class_a_volume_is_named_as_the_mask(copied: Path) -> None:
    path = mask_of(copied, 1)
    image = nibabel.load(path)
    values = np.asarray(image.dataobj)
    stacked = np.stack([values == 1, values == 3], -1).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(stacked, image.affine), path)
    code, report = check(copied / "table.csv", "--files-only")
    assert code == 2
    assert "mask" in errors(report)[1]
    assert "one volume" in errors(report)[1]


def test_an_ecg_of_another_patient_by_its_date(
    copied: Path, rows_of: Rows, write_rows: Write
) -> None:
    rows = rows_of(copied / "table.csv")
    for row, days in zip(rows, ("4.4", "554.4", "10.2", "9.8", "1.4", "6.4"), strict=True):
        row["gap_days"] = days
    rows[1]["ecg"], rows[2]["ecg"] = rows[2]["ecg"], rows[1]["ecg"]
    code, report = check(write_rows(copied / "t.csv", rows), "--files-only")
    assert code == 2
    assert list(errors(report)) == [2, 3]
    assert "days apart" in errors(report)[2]


def test_one_ecg_for_two_patients(copied: Path, rows_of: Rows, write_rows: Write) -> None:
    rows = rows_of(copied / "table.csv")
    shutil.copytree(copied / "twin-000000/ecg", copied / "again")
    rows[4]["ecg"] = "again/twin.hea"
    code, report = check(write_rows(copied / "t.csv", rows), "--files-only")
    assert code == 2
    assert "very ECG of row 1" in errors(report)[5]


def test_an_empty_mask(copied: Path) -> None:
    rewrite(mask_of(copied, 5), np.zeros_like)
    code, report = check(copied / "table.csv", "--files-only")
    assert (code, errors(report)) == (2, {5: "the mask is empty"})


def test_a_mask_that_is_unlabelled_throughout(copied: Path) -> None:
    with (copied / "classes.toml").open("a", encoding="utf-8") as file:
        file.write('9 = "unlabelled"\n')
    rewrite(mask_of(copied, 4), lambda values: np.full_like(values, 9))
    code, report = check(copied / "table.csv", "--files-only")
    assert (code, errors(report)) == (2, {4: "the mask is unlabelled throughout"})


@pytest.mark.parametrize(
    ("left", "missing"), [((4,), "cavity"), ((2, 3, 4), "cavity"), ((1, 3), "myocardium")]
)
def test_a_mask_without_what_the_toml_names(
    copied: Path, left: tuple[int, ...], missing: str
) -> None:
    rewrite(mask_of(copied, 2), lambda values: np.where(np.isin(values, left), values, 0))
    code, report = check(copied / "table.csv", "--files-only")
    assert (code, errors(report)) == (2, {2: f"the mask holds no {missing}"})


def test_masks_turned_by_a_quarter_exchanged_in_plane_or_moved(copied: Path) -> None:
    """All of them keep their geometry: only the image tells."""
    rewrite(mask_of(copied, 1), lambda values: np.rot90(values, 1, (0, 1)))
    rewrite(mask_of(copied, 3), lambda values: values.transpose(1, 0, 2))
    rewrite(mask_of(copied, 5), lambda values: np.roll(values, 15, 0))
    code, report = check(copied / "table.csv")
    assert code == 2
    assert set(errors(report)) == {1, 3, 5}
    assert "quarter" in errors(report)[1]
    assert "rows and columns exchanged" in errors(report)[3]
    assert "beside the heart" in errors(report)[5]


def test_a_value_that_the_toml_does_not_name(copied: Path) -> None:
    rewrite(mask_of(copied, 6), lambda values: np.where(values == 3, 9, values) + 7 * (values == 1))
    code, report = check(copied / "table.csv", "--files-only")
    assert code == 2
    assert "(8" in errors(report)[6]


def test_a_mask_on_another_grid_is_resampled_with_its_loss(copied: Path) -> None:
    """Half the resolution in plane."""
    path = mask_of(copied, 1)
    image = nibabel.load(path)
    coarse = np.asarray(image.dataobj)[1::2, 1::2]
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, 0] + affine[:3, 1]
    affine[:3, :2] *= 2
    nibabel.save(nibabel.Nifti1Image(coarse, affine), path)
    code, report = check(copied / "table.csv")
    assert (code, errors(report)) == (0, {})
    said = [p["what"] for p in report["problems"] if p["row"] == 1]
    assert any("another grid" in what and "LV volume" in what for what in said)


def test_a_mask_elsewhere_in_the_body(copied: Path) -> None:
    path = mask_of(copied, 1)
    image = nibabel.load(path)
    affine = image.affine.copy()
    affine[:3, 3] += 900.0
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), path)
    code, report = check(copied / "table.csv", "--files-only")
    assert code == 2
    assert "elsewhere" in errors(report)[1]


def test_no_scar_in_any_mask(copied: Path) -> None:
    for number in range(1, 7):
        rewrite(mask_of(copied, number), lambda values: np.where(values == 3, 2, values))
    code, report = check(copied / "table.csv", "--files-only")
    assert (code, errors(report)) == (2, {0: "no mask holds scar"})


def test_scar_may_stand_in_a_row_that_makes_no_sense(
    copied: Path, rows_of: Rows, write_rows: Write
) -> None:
    rows = rows_of(copied / "table.csv")[:2]
    rewrite(mask_of(copied, 1), lambda values: np.where(values == 3, 2, values))
    rows[1]["gap_days"] = "soon"
    code, report = check(write_rows(copied / "t.csv", rows), "--files-only")
    assert (code, set(errors(report))) == (2, {2})
    assert (report["rows"], report["readable"]) == (2, 1)


def test_one_patient_in_two_groups(copied: Path, rows_of: Rows, write_rows: Write) -> None:
    """A second visit: the same identifier, another image."""
    from pydicom import dcmread

    for path in (copied / "twin-000002/study").iterdir():
        dataset = dcmread(path)
        dataset.PatientID = "TWIN-1"
        dataset.save_as(path)
    code, report = check(copied / "table.csv", "--files-only")
    assert code == 2
    assert list(errors(report)) == [3]
    assert "row 2" in errors(report)[3]
    rows = rows_of(copied / "table.csv")
    rows[1]["group"] = rows[2]["group"] = "one"
    assert check(write_rows(copied / "t.csv", rows), "--files-only")[0] == 0
    rows[1]["split"] = "train"
    rows[2]["split"] = "test"
    assert check(write_rows(copied / "t.csv", rows), "--files-only")[0] == 2


def test_a_row_without_a_split_among_others(copied: Path, rows_of: Rows, write_rows: Write) -> None:
    rows = rows_of(copied / "table.csv")
    for number, row in enumerate(rows):
        row["split"] = "" if number == 3 else "validation" if number == 1 else "train"
    code, report = check(write_rows(copied / "t.csv", rows), "--files-only")
    assert (code, errors(report)) == (2, {4: "it has no split, others have one"})


def test_files_that_are_not_there(copied: Path, rows_of: Rows, write_rows: Write) -> None:
    rows = rows_of(copied / "table.csv")
    rows[0]["study"] = "nowhere"
    rows[1]["mask"] = "nowhere"
    rows[2]["ecg"] = "nowhere"
    rows[3]["mask"] = ""
    code, report = check(write_rows(copied / "t.csv", rows), "--files-only")
    assert code == 2
    assert set(errors(report)) == {1, 2, 3, 4}


def test_messages_name_rows_and_never_files(copied: Path, capsys: pytest.CaptureFixture) -> None:
    rewrite(mask_of(copied, 5), np.zeros_like)
    check(copied / "table.csv", "--files-only")
    said = "".join(capsys.readouterr())
    assert "row 5: error: the mask is empty." in said
    assert "twin-" not in said
    assert "TWIN" not in said
