"""Masks in every form, on the grid of their study or another."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from scarseg_export.cli import main
from scarseg_export.patients.classes import Classes, read_classes
from scarseg_export.patients.load import load_patient, training_labels
from scarseg_export.patients.masks import CODES, Mask, Placed
from scarseg_export.patients.nnunet_raw import meaning, write_nnunet_table
from scarseg_export.patients.reader import patient_reader
from scarseg_export.patients.resample import onto
from scarseg_export.patients.seg import read_seg
from scarseg_export.patients.table import Row
from scarseg_export.train.losses import (
    NOT_SCAR,
    UNKNOWN_OUTSIDE,
    UNLABELLED_PIXEL,
    WALL,
    anatomy_loss,
    scar_loss,
)
from scarseg_runtime.contract import Label
from scarseg_runtime.errors import StudyError, UsageError

SEGMENTS = {"LV wall": "myocardium", "Blood": "cavity", "LGE": "scar"}
CLASSES = Classes({}, {name.casefold(): meant for name, meant in SEGMENTS.items()}, {}, {})


def row_of(folder: Path, mask: Path) -> Row:
    return Row(1, "a", folder / "study", mask, None, None, "row 1", "", 1.0, None)


def labels_of(folder: Path) -> np.ndarray:
    """[S, H, W] as written, in the order of the study's files."""
    return np.asarray(nibabel.load(folder / "labels.nii.gz").dataobj).transpose(2, 1, 0)


def write_seg(
    folder: Path,
    target: Path,
    patient_id: str | None = None,
    *,
    only: str | None = None,
    labels: np.ndarray | None = None,
) -> None:
    """The labels as highdicom writes them: one segment a class, empty frames left out."""
    images = sorted((dcmread(p) for p in (folder / "study").iterdir()),
                    key=lambda d: d.InstanceNumber)  # fmt: skip
    labels = labels_of(folder) if labels is None else labels
    names = list(SEGMENTS) if only is None else [only]
    values = {"LV wall": (2, 3), "Blood": (1,), "LGE": (3,)}
    masks = np.stack([np.isin(labels, values[name]) for name in names], -1)
    if patient_id:
        for image in images:
            image.PatientID = patient_id
    segments = [
        highdicom.seg.SegmentDescription(
            number, name, codes.SCT.AnatomicalStructure, codes.SCT.Heart,
            highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, name in enumerate(names, start=1)
    ]  # fmt: skip
    seg = highdicom.seg.Segmentation(
        images, masks.astype(np.uint8), highdicom.seg.SegmentationTypeValues.BINARY, segments,
        series_instance_uid=generate_uid(), series_number=9, sop_instance_uid=generate_uid(),
        instance_number=1, manufacturer="x", manufacturer_model_name="x", software_versions="1",
        device_serial_number="1", omit_empty_frames=True,
    )  # fmt: skip
    seg.save_as(target)


@pytest.fixture(scope="module")
def scarred(cohort: Path) -> Path:
    for folder in sorted(cohort.glob("twin-*")):
        if (labels_of(folder) == Label.SCAR).sum() > 50:
            return folder
    raise AssertionError("no scar in the cohort")


def test_a_dicom_seg_of_another_writer_says_what_the_volume_says(
    scarred: Path, cohort: Path, tmp_path: Path
) -> None:
    write_seg(scarred, tmp_path / "mask.dcm")
    reader = patient_reader()
    by_seg = load_patient(row_of(scarred, tmp_path / "mask.dcm"), CLASSES, reader)
    volume = read_classes(cohort / "classes.toml")
    by_nifti = load_patient(row_of(scarred, scarred / "labels.nii.gz"), volume, reader)
    expected = by_nifti.patient.labels.copy()
    expected[expected == Label.RV_CAVITY] = UNKNOWN_OUTSIDE
    expected[expected == Label.BACKGROUND] = UNKNOWN_OUTSIDE
    assert np.array_equal(by_seg.patient.labels, expected)
    assert by_seg.mask.instance_uids >= set(by_seg.view.instance_uids)
    assert not by_seg.patient.rv
    assert by_nifti.patient.rv
    assert not by_nifti.loss.resampled


@pytest.mark.parametrize("degrees", [0.6, 1.5, 4.0])
def test_frames_that_lean_a_little_are_on_one_grid(
    scarred: Path, tmp_path: Path, degrees: float
) -> None:
    """As our own SEG keeps the place of every slice of a stack with slight tilts."""
    write_seg(scarred, tmp_path / "mask.dcm")
    expected = read_seg(tmp_path / "mask.dcm")
    seg = dcmread(tmp_path / "mask.dcm")
    shared = seg.SharedFunctionalGroupsSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    row_mm, _ = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    del shared.PlaneOrientationSequence
    first = seg.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    leaning = list(first.ImagePositionPatient)
    for frame in seg.PerFrameFunctionalGroupsSequence:
        position = frame.PlanePositionSequence[0]
        lean = np.radians(degrees if list(position.ImagePositionPatient) == leaning else 0.0)
        row, column = axes[:3], axes[3:]
        turned = np.cos(lean) * column + np.sin(lean) * np.cross(row, column)
        orientation = Dataset()
        orientation.ImageOrientationPatient = [f"{v:.12f}" for v in (*row, *turned)]
        frame.PlaneOrientationSequence = [orientation]
        half = row_mm * (seg.Rows - 1) / 2
        origin = np.array(position.ImagePositionPatient, float) + half * (column - turned)
        position.ImagePositionPatient = [f"{v:.9f}" for v in origin]
    seg.save_as(tmp_path / "leaning.dcm")
    if degrees > 2.0:
        with pytest.raises(StudyError, match="different grids"):
            read_seg(tmp_path / "leaning.dcm")
        return
    found = read_seg(tmp_path / "leaning.dcm")
    np.testing.assert_allclose(found.origins_mm, expected.origins_mm, atol=1e-3)
    np.testing.assert_allclose(found.rows_mm, expected.rows_mm, atol=1e-6)
    for (_, one), (_, two) in zip(found.segments, expected.segments, strict=True):
        assert np.array_equal(one, two)


def test_a_seg_of_another_study_is_found(
    cohort: Path, scarred: Path, tmp_path: Path, write_rows: Callable[..., Path]
) -> None:
    others = [folder for folder in sorted(cohort.glob("twin-*")) if folder != scarred]
    write_seg(scarred, tmp_path / "mask.dcm")
    write_seg(others[0], tmp_path / "other.dcm")
    text = "\n".join(f'"{name}" = "{meant}"' for name, meant in SEGMENTS.items())
    (tmp_path / "classes.toml").write_text(f"[segments]\n{text}\n")
    rows = [
        {"study": str(scarred / "study"), "mask": "mask.dcm"},
        {"study": str(others[1] / "study"), "mask": "other.dcm"},
    ]
    table, report = write_rows(tmp_path / "t.csv", rows), tmp_path / "r.json"
    code = main(["data", "check", str(table), "--files-only", "--report", str(report)])
    wrong = [p for p in json.loads(report.read_text())["problems"] if p["error"]]
    assert code == 2
    assert {p["row"] for p in wrong} == {2}
    assert "patient identifiers" in wrong[0]["what"]


def test_segments_that_the_toml_does_not_name(scarred: Path, tmp_path: Path) -> None:
    write_seg(scarred, tmp_path / "mask.dcm")
    classes = Classes({}, {"blood": "cavity", "lv wall": "myocardium"}, {}, {})
    with pytest.raises(StudyError, match="segment 3"):
        load_patient(row_of(scarred, tmp_path / "mask.dcm"), classes, patient_reader())


def test_a_folder_of_files_of_one_class_each(scarred: Path, tmp_path: Path) -> None:
    image = nibabel.load(scarred / "labels.nii.gz")
    labels = np.asarray(image.dataobj)
    for name, values in (("wall", (2, 3)), ("lge", (3,)), ("blood", (1,))):
        mask = np.isin(labels, values).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(mask, image.affine), tmp_path / f"{name}.nii.gz")
    classes = Classes({}, {}, {"wall": "myocardium", "lge": "scar", "blood": "cavity"}, {})
    patient = load_patient(row_of(scarred, tmp_path), classes, patient_reader()).patient
    assert ((patient.labels == Label.SCAR).sum(), (patient.labels == Label.LV_CAVITY).sum()) == (
        (labels == 3).sum(), (labels == 1).sum(),
    )  # fmt: skip


def test_several_objects_of_one_study_are_one_mask(scarred: Path, tmp_path: Path) -> None:
    """The wall comes last by name, includes the scar, and has more planes than it."""
    folder = tmp_path / "parts"
    folder.mkdir()
    for file, name in (("1", "LGE"), ("2", "Blood"), ("3", "LV wall")):
        write_seg(scarred, folder / f"{file}.dcm", only=name)
    write_seg(scarred, tmp_path / "whole.dcm")
    assert len(read_seg(folder / "1.dcm").origins_mm) < len(read_seg(folder / "3.dcm").origins_mm)
    by_parts, whole = (
        load_patient(row_of(scarred, path), CLASSES, patient_reader())
        for path in (folder, tmp_path / "whole.dcm")
    )
    assert np.array_equal(by_parts.patient.labels, whole.patient.labels)
    assert by_parts.loss == whole.loss
    write_seg(scarred, folder / "4.dcm", "somebody else", only="LGE")
    with pytest.raises(StudyError, match="different patients"):
        load_patient(row_of(scarred, folder), CLASSES, patient_reader())


@pytest.mark.parametrize("drawn", [(0, 1, 4), (1, 5), (2,)])
def test_planes_that_are_left_out_are_empty(
    scarred: Path, tmp_path: Path, drawn: tuple[int, ...]
) -> None:
    """They are not filled from their neighbours."""
    labels = labels_of(scarred).copy()
    labels[...] = 0
    labels[list(drawn), 40:50, 40:50] = 3
    write_seg(scarred, tmp_path / "mask.dcm", only="LGE", labels=labels)
    found = load_patient(row_of(scarred, tmp_path / "mask.dcm"), CLASSES, patient_reader())
    assert (found.patient.labels == Label.SCAR).sum() == len(drawn) * 100
    assert ((found.patient.labels == Label.SCAR).any((1, 2))).sum() == len(drawn)
    assert not found.loss.resampled


@pytest.mark.parametrize("kind", ["segments", "files"])
@pytest.mark.parametrize("choice", ["background", "unlabelled"])
def test_a_mask_without_a_segment_of_scar(
    scarred: Path, tmp_path: Path, write_rows: Callable[..., Path], kind: str, choice: str
) -> None:
    """The TOML says whether that means no scar, or that nobody looked."""
    image = nibabel.load(scarred / "labels.nii.gz")
    wall = np.isin(np.asarray(image.dataobj), (2, 3)).astype(np.uint8)
    (tmp_path / "mask").mkdir()
    if kind == "files":
        nibabel.save(nibabel.Nifti1Image(wall, image.affine), tmp_path / "mask" / "LV wall.nii.gz")
    else:
        write_seg(scarred, tmp_path / "mask" / "1.dcm", only="LV wall")
    text = "\n".join(f'"{name}" = "{meant}"' for name, meant in SEGMENTS.items() if name != "Blood")
    (tmp_path / "classes.toml").write_text(f'missing_segments = "{choice}"\n[{kind}]\n{text}\n')
    table = write_rows(tmp_path / "t.csv", [{"study": str(scarred / "study"), "mask": "mask"}])
    report = tmp_path / "r.json"
    main(["data", "check", str(table), "--files-only", "--report", str(report)])
    facts = json.loads(report.read_text())
    assert facts["scar_not_looked_for"] == (choice == "unlabelled")
    assert any("nobody had looked" in p["what"] for p in facts["problems"]) == (
        choice == "unlabelled"
    )


def test_two_files_of_one_class_add_up(scarred: Path, tmp_path: Path) -> None:
    image = nibabel.load(scarred / "labels.nii.gz")
    scar = np.argwhere(np.asarray(image.dataobj) == 3)
    for name, part in (("scar", scar[::2]), ("mvo", scar[1::2])):
        mask = np.zeros(image.shape, np.uint8)
        mask[tuple(part.T)] = 1
        nibabel.save(nibabel.Nifti1Image(mask, image.affine), tmp_path / f"{name}.nii.gz")
    classes = Classes({0: "background"}, {}, {"scar": "scar", "mvo": "scar"}, {})
    patient = load_patient(row_of(scarred, tmp_path), classes, patient_reader()).patient
    assert (patient.labels == Label.SCAR).sum() == len(scar)


@given(st.integers(0, 2**16), st.booleans())
@settings(max_examples=20)
def test_a_mask_turned_in_space_lands_where_it_was(seed: int, flip: bool) -> None:
    """Whatever order and direction its file has, voxels go by where they lie."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(3, 9, 3))
    codes_ = rng.integers(0, 5, shape).astype(np.uint8)
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0] * np.array([1.5, 1.2, 9.0])
    origins = rng.normal(0, 40, 3) + np.arange(shape[0])[:, None] * axes[:, 2]
    heights = np.full(shape[0], 9.0)
    study = Placed(codes_, origins, axes[:, 0], axes[:, 1], heights, True)
    values, rows, columns, first = codes_, axes[:, 0], axes[:, 1], origins
    if flip:
        values, first, rows = values[:, ::-1], first + (shape[1] - 1) * rows, -rows
    order = rng.permutation(shape[0])
    values, first = values[order].swapaxes(1, 2), first[order]
    mask = Mask(Placed(values, first, columns, rows, heights, True), frozenset(CODES))
    found, loss = onto(mask, study)
    assert np.array_equal(found, codes_)
    assert loss.slices == shape[0]


def test_what_nobody_drew_is_unknown_and_not_background() -> None:
    codes_ = np.array([[[CODES[n] for n in ("background", "cavity", "myocardium", "scar", "rv",
                                             "unlabelled")]]], np.uint8)  # fmt: skip
    every = frozenset(CODES)
    scar_only = np.where(codes_ == CODES["scar"], codes_, 0).astype(np.uint8)
    assert training_labels(codes_, every).ravel().tolist() == [0, 1, 2, 3, 4, UNLABELLED_PIXEL]
    assert training_labels(codes_, every - {"rv"})[0, 0, 0] == UNKNOWN_OUTSIDE
    assert training_labels(codes_, every - {"scar"})[0, 0, 2] == WALL
    drawn = frozenset(("background", "scar"))
    assert set(training_labels(scar_only, drawn).ravel().tolist()) == {NOT_SCAR, Label.SCAR}
    blank = np.zeros((2, 1, 1), np.uint8)
    assert training_labels(blank, every, "unlabelled").ravel().tolist() == [UNLABELLED_PIXEL] * 2


def test_a_ring_is_filled_with_cavity() -> None:
    codes_ = np.zeros((1, 7, 7), np.uint8)
    codes_[0, 1:6, 1:6] = CODES["myocardium"]
    codes_[0, 3, 3] = 0
    labels = training_labels(codes_, frozenset(("background", "myocardium", "scar")))
    assert labels[0, 3, 3] == Label.LV_CAVITY
    assert (labels == Label.LV_CAVITY).sum() == 1


@pytest.mark.parametrize("code", [UNLABELLED_PIXEL, NOT_SCAR, WALL])
def test_unknown_pixels_pull_at_nothing(code: int) -> None:
    """Gradients where nothing is known are zero, whatever the network says there."""
    torch.manual_seed(0)
    anatomy = torch.randn(2, 4, 6, 6, requires_grad=True)
    scar = torch.randn(2, 6, 6, requires_grad=True)
    truth = torch.randint(0, 5, (2, 6, 6))
    truth[0] = code
    entropy, overlap = anatomy_loss(anatomy, truth)
    wall = torch.softmax(anatomy, 1)[:, 2]
    (entropy + overlap + sum(scar_loss(scar, wall, truth))).backward()
    assert torch.isfinite(anatomy.grad).all()
    if code == WALL:  # the wall is known, only its scar is not
        assert anatomy.grad[0].abs().sum() > 0
        assert scar.grad[0].abs().sum() == 0
    elif code == NOT_SCAR:  # scar is known, only not where the wall is
        assert anatomy.grad[0].abs().sum() == 0
        assert scar.grad[0].abs().sum() > 0
    else:
        assert anatomy.grad[0].abs().sum() == 0
        assert scar.grad[0].abs().sum() == 0


def test_a_table_from_nnunet(cohort: Path, tmp_path: Path) -> None:
    raw = tmp_path / "Dataset001_LGE"
    for name in ("imagesTr", "labelsTr"):
        (raw / name).mkdir(parents=True)
    labels = {"background": 0, "LV blood pool": 1, "normal myocardium": 2, "infarct": 3, "RV": 4}
    (raw / "dataset.json").write_text(
        json.dumps({"channel_names": {"0": "LGE"}, "labels": labels, "file_ending": ".nii.gz"})
    )
    for folder in sorted(cohort.glob("twin-*"))[:3]:
        mask = nibabel.load(folder / "labels.nii.gz")
        pixels = np.stack(
            [dcmread(p).pixel_array for p in sorted((folder / "study").iterdir())]
        ).transpose(2, 1, 0)  # fmt: skip
        image = nibabel.Nifti1Image(pixels.astype(np.float32), mask.affine)
        nibabel.save(image, raw / "imagesTr" / f"{folder.name}_0000.nii.gz")
        nibabel.save(mask, raw / "labelsTr" / f"{folder.name}.nii.gz")
    table = tmp_path / "out" / "table.csv"
    assert main(["data", "from-nnunet", str(raw), "-o", str(table)]) == 0
    assert read_classes(table.parent / "classes.toml").values == {
        0: "background", 1: "cavity", 2: "myocardium", 3: "scar", 4: "rv",
    }  # fmt: skip
    assert main(["data", "check", str(table), "--files-only"]) == 0
    assert main(["data", "from-nnunet", str(raw), "-o", str(table)]) == 6  # nothing overwritten


@pytest.mark.parametrize(
    ("name", "meant"),
    [("LV", "cavity"), ("LV myocardium", "myocardium"), ("RV", "rv"), ("MVO", "scar"),
     ("myocardial infarction", "scar"), ("ignore", "unlabelled"), ("region 7", "?")],
)  # fmt: skip
def test_names_of_labels(name: str, meant: str) -> None:
    assert meaning(name) == meant


def test_a_value_is_what_its_smallest_region_says(tmp_path: Path) -> None:
    """Regions of nnU-Net include each other."""
    raw = tmp_path / "Dataset001_LGE"
    for name in ("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"):
        (raw / name).parent.mkdir(parents=True)
        (raw / name).touch()
    labels = {"background": 0, "LV": [1, 2, 3], "LV myocardium": [2, 3], "scar": 3}
    description = {"channel_names": {"0": "LGE"}, "labels": labels, "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps(description))
    write_nnunet_table(raw, tmp_path / "t.csv")
    assert read_classes(tmp_path / "classes.toml").values == {
        0: "background", 1: "cavity", 2: "myocardium", 3: "scar",
    }  # fmt: skip
    (raw / "dataset.json").write_text(json.dumps(description | {"labels": {"scar": "three"}}))
    with pytest.raises(UsageError, match="whole number"):
        write_nnunet_table(raw, tmp_path / "new" / "t.csv")
    assert not (tmp_path / "new").exists()
