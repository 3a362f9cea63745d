"""DICOM Segmentation from images as they come: incomplete, oddly valued, drifting, scattered.

Whatever the reader accepts must end in a segmentation that independent checkers accept and
that lies on the source images. dciodvfy (dicom3tools) and dcm2json (DCMTK) are not Python
packages; continuous integration must have them, elsewhere they may be missing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from scarseg_infer import read_study
from scarseg_infer.result import ScarResult
from scarseg_infer.study.geometry.orientation import ANTERIOR_WALL, BASE_TO_APEX, LATERAL_WALL
from scarseg_infer.write.dicom.seg import write_seg
from scarseg_infer.write.words import RESEARCH_USE
from scarseg_runtime.contract import Label
from scarseg_runtime.errors import StudyError

COMPLETE = {
    "PatientBirthDate": "19500101",
    "PatientSex": "M",
    "AccessionNumber": "A1",
    "StudyID": "S1",
    "ReferringPhysicianName": "",
}
POSITION_TOLERANCE_MM = 1e-6  # decimal strings hold 16 characters
SHAPE = (6, 48, 44)

MakeSeg = Callable[..., tuple[ScarResult, Path]]


@pytest.fixture
def make_seg(
    dicom_factory: ModuleType, make_result: Callable[..., ScarResult], tmp_path: Path
) -> MakeSeg:
    """DICOM files on disk → reader → result → segmentation on disk."""

    def make(datasets: list[Any] | None = None, **elements: Any) -> tuple[ScarResult, Path]:
        if datasets is None:
            datasets = dicom_factory.series(dicom_factory.noise(*SHAPE), **{**COMPLETE, **elements})
        dicom_factory.write(tmp_path / "study", datasets)
        result = make_result(read_study(tmp_path / "study"))
        write_seg(result, tmp_path / "scar.dcm")
        return result, tmp_path / "scar.dcm"

    return make


def checker(name: str) -> str:
    """Path of an independent checker; where it is missing the test is skipped, in CI it fails."""
    found = shutil.which(name)
    if found is None and os.environ.get("CI"):
        pytest.fail(f"{name} is not installed (Debian: dicom3tools, dcmtk)")
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: dicom3tools, dcmtk)")
    return found


def verify(path: Path) -> None:
    """Both checkers read the file, and dciodvfy finds no error in it."""
    run = subprocess.run([checker("dciodvfy"), path], capture_output=True, text=True, check=False)
    said = run.stdout + run.stderr
    assert run.returncode == 0 and "Segmentation" in said, said
    assert not [line for line in said.splitlines() if line.startswith("Error")], said
    run = subprocess.run([checker("dcm2json"), path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "00080018" in json.loads(run.stdout)


def frames_by_image(path: Path) -> list[tuple[int, str, np.ndarray, np.ndarray, np.ndarray]]:
    """Per frame: segment number, source SOP Instance UID, pixels, origin in mm, [2, 3] steps to
    the next row and column in mm. Read with pydicom alone."""
    seg = pydicom.dcmread(path)
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    row_mm, column_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    steps = np.stack([cosines[3:] * row_mm, cosines[:3] * column_mm])
    found = []
    for frame, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        origin = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        segment = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found.append((segment, source.ReferencedSOPInstanceUID, pixels, origin, steps))
    return found


def assert_on_sources(result: ScarResult, path: Path) -> None:
    """Every frame shows its segment of the slice it refers to, in the place where that image
    itself says it lies; each segment has a frame for every slice, in the order of the stack."""
    frames = frames_by_image(path)
    images = {image.SOPInstanceUID: image for image in result.stack.datasets}
    assert [frame[:2] for frame in frames] == [(n, uid) for n in (1, 2, 3) for uid in images]
    labels = (Label.SCAR, Label.VIABLE_MYOCARDIUM, Label.LV_CAVITY)
    for segment, uid, pixels, origin, steps in frames:
        shown = result.labels[list(images).index(uid)] == labels[segment - 1]
        assert np.array_equal(pixels, shown)
        image = images[uid]
        cosines = np.array(image.ImageOrientationPatient, float)
        corner = np.array([image.Rows - 1, image.Columns - 1])
        row_mm, column_mm = map(float, image.PixelSpacing)
        source_origin = np.array(image.ImagePositionPatient, float)
        source_corner = (
            source_origin + corner[0] * row_mm * cosines[3:] + corner[1] * column_mm * cosines[:3]
        )
        assert origin == pytest.approx(source_origin, abs=POSITION_TOLERANCE_MM)
        assert origin + corner @ steps == pytest.approx(source_corner, abs=1e-3)


def test_complete_study(make_seg: MakeSeg) -> None:
    result, path = make_seg()
    verify(path)
    assert_on_sources(result, path)
    seg, image = pydicom.dcmread(path), result.stack.datasets[0]
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID",
                    "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):  # fmt: skip
        assert seg[keyword].value == image[keyword].value
    assert seg.SeriesInstanceUID != image.SeriesInstanceUID
    assert seg.SegmentationType == "BINARY"
    assert seg.NumberOfFrames == 3 * len(result.stack.pixels)
    assert [frame.any() for frame in seg.pixel_array].count(False) == 1  # kept though empty
    assert [segment.SegmentAlgorithmType for segment in seg.SegmentSequence] == ["AUTOMATIC"] * 3
    assert "research use" in seg.SeriesDescription and RESEARCH_USE in seg.ContentDescription
    assert not seg.get("ContentCreatorName")


@pytest.mark.parametrize("turn", ["reversed", "transposed", "drifting"])
def test_any_geometry(make_seg: MakeSeg, dicom_factory: ModuleType, turn: str) -> None:
    drift = np.random.default_rng(3).normal(0, 1, (SHAPE[0], 1)) * 8.0 * LATERAL_WALL
    geometry = {
        "reversed": {"step_mm": 9.0 * BASE_TO_APEX},
        "transposed": {"row_direction": -ANTERIOR_WALL, "column_direction": LATERAL_WALL},
        "drifting": {"drift_mm": drift},
    }[turn]
    pixels = dicom_factory.noise(*SHAPE)
    result, path = make_seg(dicom_factory.series(pixels, **COMPLETE, **geometry))
    verify(path)
    assert_on_sources(result, path)


@pytest.mark.parametrize(
    "keyword",
    ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
     "StudyDate", "StudyTime", "ReferringPhysicianName", "SeriesNumber", "FrameOfReferenceUID",
     "SliceThickness", "StudyInstanceUID", "SeriesInstanceUID"],
)  # fmt: skip
def test_attribute_that_an_export_left_out(make_seg: MakeSeg, keyword: str) -> None:
    result, path = make_seg(**{keyword: None})
    verify(path)
    assert_on_sources(result, path)


@pytest.mark.parametrize(
    ("keyword", "value", "written"),
    [("StudyDate", "20120000", ""), ("PatientBirthDate", "unknown", ""), ("PatientSex", "m", ""),
     ("StudyTime", "9999", ""), ("PatientID", "", "")],
)  # fmt: skip
def test_value_that_is_none(make_seg: MakeSeg, keyword: str, value: str, written: str) -> None:
    result, path = make_seg(**{keyword: value})
    verify(path)
    assert_on_sources(result, path)
    assert (pydicom.dcmread(path)[keyword].value or "") == written


def test_name_in_another_alphabet(make_seg: MakeSeg) -> None:
    _, path = make_seg(SpecificCharacterSet="ISO_IR 100", PatientName="Müßig^Jörg")
    verify(path)
    assert str(pydicom.dcmread(path).PatientName) == "Müßig^Jörg"


def test_every_slice_in_a_series_of_its_own(make_seg: MakeSeg, dicom_factory: ModuleType) -> None:
    datasets = dicom_factory.series(dicom_factory.noise(*SHAPE), **COMPLETE)
    for dataset in datasets:
        dataset.SeriesInstanceUID = generate_uid()
        dataset.InstanceNumber = 1
    result, path = make_seg(datasets)
    verify(path)
    assert_on_sources(result, path)
    listed = {
        (series.SeriesInstanceUID, reference.ReferencedSOPInstanceUID)
        for series in pydicom.dcmread(path).ReferencedSeriesSequence
        for reference in series.ReferencedInstanceSequence
    }
    assert listed == {(image.SeriesInstanceUID, image.SOPInstanceUID) for image in datasets}


def test_orientations_that_differ_in_the_last_digits(
    make_seg: MakeSeg, dicom_factory: ModuleType
) -> None:
    datasets = dicom_factory.series(dicom_factory.noise(*SHAPE), **COMPLETE)
    for index, dataset in enumerate(datasets):
        cosines = [f"{float(c) + 1e-6 * index:.9f}" for c in dataset.ImageOrientationPatient]
        dataset.ImageOrientationPatient = cosines
    result, path = make_seg(datasets)
    verify(path)
    assert_on_sources(result, path)


def test_images_that_cannot_be_referred_to(make_seg: MakeSeg, dicom_factory: ModuleType) -> None:
    datasets = dicom_factory.series(dicom_factory.noise(*SHAPE), **COMPLETE)
    result, _ = make_seg(datasets)
    for dataset in result.stack.datasets:
        del dataset.SOPInstanceUID
        del dataset.file_meta.MediaStorageSOPInstanceUID
    with pytest.raises(StudyError, match="no SOP Instance UID"):
        write_seg(result, Path("never-written.dcm"))
    assert not Path("never-written.dcm").exists()
