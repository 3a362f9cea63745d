"""DICOM studies: what is ignored with a count, and what is refused and how."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    generate_uid,
)

from scarseg_infer.study.geometry.orientation import ANTERIOR_WALL, BASE_TO_APEX, LATERAL_WALL
from scarseg_infer.study.read import read_study

# --- what is ignored, with a count ----------------------------------------------------------

Refusal = Callable[[Path], str]


def test_other_files_are_ignored_with_a_count(tmp_path: Path, dicom_factory: ModuleType) -> None:
    pixels = dicom_factory.noise()
    paths = dicom_factory.write(tmp_path / "deep" / "er", dicom_factory.series(pixels))
    for name in ("README.txt", ".DS_Store", "empty.dcm"):
        (tmp_path / name).write_bytes(b"hello" if name != "empty.dcm" else b"")
    shutil.copy(str(get_testdata_file("dicomdirtests/DICOMDIR", download=False)), tmp_path)
    shutil.copy(str(get_testdata_file("waveform_ecg.dcm", download=False)), tmp_path)
    ct = dicom_factory.series()[0]
    ct.SOPClassUID = ct.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dicom_factory.write(tmp_path, [ct], prefix="ct")
    shutil.copy(paths[2], tmp_path / "again.dcm")
    stack = read_study(tmp_path)
    np.testing.assert_array_equal(stack.pixels, pixels)
    assert stack.warnings == (
        "3 files that are not DICOM were ignored.",
        "2 DICOM objects that are not MR images were ignored.",
        "1 copy of an image was ignored.",
    )


# --- what is refused ------------------------------------------------------------------------


def test_empty_folder(tmp_path: Path, refusal: Refusal) -> None:
    assert "no files" in refusal(tmp_path)


def test_folder_without_dicom(tmp_path: Path, refusal: Refusal) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    said = refusal(tmp_path)
    assert "none of the files in the study (1)" in said
    assert "a NIfTI file is passed by its own path" in said


def test_missing_path(tmp_path: Path, refusal: Refusal) -> None:
    assert "does not exist" in refusal(tmp_path / "nowhere")


def test_single_dicom_file(tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal) -> None:
    path = dicom_factory.write(tmp_path, dicom_factory.series())[0]
    assert "a single DICOM file" in refusal(path)


def test_unsupported_file(tmp_path: Path, refusal: Refusal) -> None:
    path = tmp_path / "study.mha"
    path.write_bytes(b"ObjectType = Image\n")
    assert "unsupported type" in refusal(path)


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "StudyInstanceUID"])
def test_mixed_patients_and_studies(
    tmp_path: Path, dicom_factory: ModuleType, keyword: str, refusal: Refusal
) -> None:
    datasets = dicom_factory.series(**({"PatientID": None} if keyword == "PatientName" else {}))
    setattr(datasets[4], keyword, "1.2.3" if keyword == "StudyInstanceUID" else "SECRET^Other")
    dicom_factory.write(tmp_path, datasets)
    what = "2 studies" if keyword == "StudyInstanceUID" else "2 patients"
    assert what in refusal(tmp_path)


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        (("Twin^Digital", "Twin^Digital^^"), 1),
        (("Twin^Digital", "TWIN^Digital^^^="), 1),
        (("Twin^Digital", "Twin ^Digital "), 1),
        (("Twin^Digital", "Twin^Digital^^Dr", "Twin, Digital", "TWIN DIGITAL"), 1),
        (("Twin^Digital", "Twin^Digital=Zwilling^Digital"), 1),
        (("Twin^Digital", "Twin^^Digital"), 2),
        (("Twin^Digital", "Twin^Digital^Two"), 2),
    ],
)
def test_empty_ends_of_a_name_are_no_other_patient(
    tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal, names: tuple[str, ...],
    patients: int,
) -> None:  # fmt: skip
    datasets = dicom_factory.series(PatientID=None)
    for index, dataset in enumerate(datasets):
        dataset.PatientName = names[index % len(names)]
    dicom_factory.write(tmp_path, datasets)
    if patients > 1:
        assert "2 patients" in refusal(tmp_path)
    else:
        assert len(read_study(tmp_path).pixels) == len(datasets)


def test_same_patient_written_differently_is_one(tmp_path: Path, dicom_factory: ModuleType) -> None:
    datasets = dicom_factory.series()
    datasets[3].PatientName = "SECRETNAME^TEST^MIDDLE"  # the ID decides
    dicom_factory.write(tmp_path, datasets)
    assert len(read_study(tmp_path).pixels) == 6


def test_cine(tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal) -> None:
    dicom_factory.write(tmp_path, dicom_factory.cine(phases=12, slices=4))
    message = refusal(tmp_path)
    assert "cine series (12 images at each of 4 slice positions)" in message
    assert "Export the short-axis LGE" in message


def test_cine_with_a_series_for_every_slice(
    tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal
) -> None:
    for number in range(4):
        one = dicom_factory.cine(slices=1, SeriesNumber=30 + number)
        for dataset in one:
            dataset.ImagePositionPatient = [0.0, 0.0, 8.0 * number]
        dicom_factory.write(tmp_path, one, prefix=f"s{number}-")
    assert "(5 images at each of 4 slice positions)" in refusal(tmp_path)


def test_single_frames_of_a_cine(
    tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal
) -> None:
    dicom_factory.write(tmp_path, dicom_factory.cine(phases=20)[:4])
    assert "one of 20 phases" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("keyword", "step", "what"),
    [
        ("InversionTime", 80.0, "T1 mapping"),
        ("EchoTime", 10.0, "T2 mapping"),
        ("TriggerTime", 900.0, "perfusion"),
        ("AcquisitionNumber", 1, "perfusion"),
        ("ImageComments", 1, "not one image per slice"),
    ],
)
def test_other_repeated_series(
    tmp_path: Path,
    dicom_factory: ModuleType,
    keyword: str,
    step: float,
    what: str,
    refusal: Refusal,
) -> None:
    uid = generate_uid()
    datasets = [
        dataset
        for repeat in range(8)
        for dataset in dicom_factory.series(
            dicom_factory.noise(3, seed=repeat), SeriesInstanceUID=uid,
            **{keyword: str(repeat) if keyword == "ImageComments" else 100 + repeat * step}
        )
    ]  # fmt: skip
    dicom_factory.write(tmp_path, datasets)
    message = refusal(tmp_path)
    assert what in message
    assert "8 images" in message
    assert "at each of 3 slice positions" in message


def test_slice_taken_twice(tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal) -> None:
    datasets = dicom_factory.series()
    again = dicom_factory.series(
        dicom_factory.noise(seed=9), SeriesInstanceUID=datasets[0].SeriesInstanceUID
    )[3]
    dicom_factory.write(tmp_path, [*datasets, again])
    assert "slice 4 was taken more than once (counted from the apex)" in refusal(tmp_path)


def test_other_views(tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal) -> None:
    long_axis = dicom_factory.series(
        row_direction=LATERAL_WALL, column_direction=BASE_TO_APEX, step_mm=10 * ANTERIOR_WALL
    )
    dicom_factory.write(tmp_path, long_axis)
    assert "tilted by 90°" in refusal(tmp_path)


def test_steep_heart_is_read_with_a_warning(tmp_path: Path, dicom_factory: ModuleType) -> None:
    steep = np.cos(np.radians(50)) * BASE_TO_APEX + np.sin(np.radians(50)) * LATERAL_WALL
    dicom_factory.write(
        tmp_path,
        dicom_factory.series(
            row_direction=np.cross(-ANTERIOR_WALL, steep), step_mm=10 * steep
        ),
    )  # fmt: skip
    assert any("tilted by 50°" in warning for warning in read_study(tmp_path).warnings)


def test_enhanced_mr_without_functional_groups(
    tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal
) -> None:
    dataset = dicom_factory.series()[0]
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    dicom_factory.write(tmp_path, [dataset])
    assert "file 1 of 1 in name order is an enhanced MR object" in refusal(tmp_path)


def test_many_frames_in_a_classic_object(
    tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal
) -> None:
    dataset = dicom_factory.series()[0]
    dataset.NumberOfFrames = 2
    dataset.PixelData = dataset.PixelData * 2
    dicom_factory.write(tmp_path, [dataset])
    assert "do not say where their frames lie" in refusal(tmp_path)


def test_without_position(tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal) -> None:
    datasets = dicom_factory.series()
    del datasets[2].ImagePositionPatient
    dicom_factory.write(tmp_path, datasets)
    assert "file 3 of 6 in name order" in refusal(tmp_path)


def test_different_images_with_one_identifier(
    tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal
) -> None:
    datasets = dicom_factory.series()
    datasets[1].SOPInstanceUID = datasets[0].SOPInstanceUID
    dicom_factory.write(tmp_path, datasets)
    assert "file 1 of 6" in refusal(tmp_path)


@pytest.mark.parametrize("kept", [140, 200, 400, 0.5, 0.9, 0.999])
def test_truncated_file_is_named(
    tmp_path: Path, dicom_factory: ModuleType, kept: float, refusal: Refusal
) -> None:
    path = dicom_factory.write(tmp_path, dicom_factory.series())[3]
    data = path.read_bytes()
    path.write_bytes(data[: int(kept if kept > 1 else kept * len(data))])
    assert "file 4 of 6 in name order" in refusal(tmp_path)


@pytest.mark.parametrize("thickness", ["1e-300", "0.1", "0.6", "51"])
def test_a_single_slice_of_no_plausible_height(
    tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal, thickness: str
) -> None:
    """Volumes grow with the height: a scar was once dropped as too small, without a word."""
    dicom_factory.write(tmp_path, dicom_factory.series(SliceThickness=thickness)[:1])
    assert "no usable SliceThickness" in refusal(tmp_path)


@pytest.mark.parametrize(
    "keyword",
    ["InversionTime", "EchoTime", "TriggerTime", "SliceThickness", "SliceLocation",
     "SpacingBetweenSlices"],
)  # fmt: skip
def test_a_number_with_a_decimal_comma_is_named_where_it_does_not_count(
    tmp_path: Path, dicom_factory: ModuleType, keyword: str
) -> None:
    """Else it would be missing without a word, as an inversion time that tells LGE from others."""
    for path in dicom_factory.write(tmp_path, dicom_factory.series(**{keyword: "8.0625"})):
        path.write_bytes(path.read_bytes().replace(b"8.0625", b"8,0625"))
    warnings = read_study(tmp_path).warnings
    assert any(warning.startswith(f"{keyword} of the images") for warning in warnings)


def test_the_height_of_a_single_slice_with_a_decimal_comma(
    tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal
) -> None:
    (path,) = dicom_factory.write(tmp_path, dicom_factory.series(SliceThickness="8.0625")[:1])
    path.write_bytes(path.read_bytes().replace(b"8.0625", b"8,0625"))
    assert re.search("SliceThickness .* decimal comma", refusal(tmp_path))
