"""SEG, SR and PDF of one result belong together, whatever the source images lack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import EnhancedMRImageStorage, generate_uid

from scarseg_infer.result import ScarResult
from scarseg_infer.study.read import read_study
from scarseg_infer.write.dicom.pdf import write_pdf
from scarseg_infer.write.dicom.seg import write_seg
from scarseg_infer.write.dicom.sr import write_sr

Verify = Callable[[Path], dict[str, Any]]


@pytest.fixture
def make_objects(
    dicom_factory: ModuleType,
    make_result: Callable[..., ScarResult],
    verify_dicom: Verify,
    tmp_path: Path,
) -> Callable[..., list[Dataset]]:
    """Source datasets, or elements of them → SEG, SR and PDF, each accepted by the checkers."""

    def make(
        datasets: list[Any] | None = None,
        change: Callable[[ScarResult], ScarResult] = lambda result: result,
        **elements: Any,
    ) -> list[Dataset]:
        if datasets is None:
            datasets = dicom_factory.series(dicom_factory.noise(5, 48, 44), **elements)
        dicom_factory.write(tmp_path / "study", datasets)
        result = change(make_result(read_study(tmp_path / "study")))
        paths = [tmp_path / name for name in ("seg.dcm", "sr.dcm", "pdf.dcm")]
        write_seg(result, paths[0])
        write_sr(result, paths[1], paths[0])
        write_pdf(result, paths[2])
        for path in paths:
            verify_dicom(path)
        return [pydicom.dcmread(path) for path in paths]

    return make


@pytest.mark.parametrize(
    "keyword",
    ["PatientName", "PatientID", "StudyDate", "StudyTime", "FrameOfReferenceUID",
     "SliceThickness", "StudyInstanceUID", "SeriesInstanceUID"],
)  # fmt: skip
def test_attribute_that_an_export_left_out(make_objects: Callable, keyword: str) -> None:
    seg, report, pdf = make_objects(**{keyword: None})
    assert seg.StudyInstanceUID == report.StudyInstanceUID == pdf.StudyInstanceUID
    assert len({seg.SeriesInstanceUID, report.SeriesInstanceUID, pdf.SeriesInstanceUID}) == 3
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0]
    assert evidence.StudyInstanceUID == seg.StudyInstanceUID
    listed = {series.SeriesInstanceUID for series in evidence.ReferencedSeriesSequence}
    assert listed == {
        seg.SeriesInstanceUID,
        *(series.SeriesInstanceUID for series in seg.ReferencedSeriesSequence),
    }


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("StudyDate", "20120000"), ("PatientSex", "x"), ("StudyTime", "9999"),
     ("LossyImageCompression", "00")],
)  # fmt: skip
def test_value_that_is_none(make_objects: Callable, keyword: str, value: str) -> None:
    make_objects(**{keyword: value})


def test_lossy_compression_is_passed_on(make_objects: Callable) -> None:
    seg, _, _ = make_objects(
        LossyImageCompression="01",
        LossyImageCompressionRatio=["8.5", "2"],
        LossyImageCompressionMethod=["ISO_10918_1", "ISO_15444_1"],
    )
    assert seg.LossyImageCompression == "01"
    assert list(seg.LossyImageCompressionRatio) == [8.5, 2]


def test_name_in_another_alphabet(make_objects: Callable) -> None:
    for found in make_objects(SpecificCharacterSet="ISO_IR 100", PatientName="Müßig^Jörg"):
        assert str(found.PatientName) == "Müßig^Jörg"


def test_every_slice_in_a_series_of_its_own(
    make_objects: Callable, dicom_factory: ModuleType
) -> None:
    datasets = dicom_factory.series(dicom_factory.noise(5, 48, 44))
    for dataset in datasets:
        dataset.SeriesInstanceUID = generate_uid()
    _, report, _ = make_objects(datasets)
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0]
    assert len(evidence.ReferencedSeriesSequence) == 1 + len(datasets)


def test_frames_of_one_enhanced_object(make_objects: Callable) -> None:
    """Slices that are frames share a SOP Instance UID and are told apart by frame number."""
    uid, numbers = generate_uid(), (5, 3, 4, 2, 1)

    def enhance(result: ScarResult) -> ScarResult:
        for dataset in result.stack.datasets:
            dataset.SOPInstanceUID, dataset.SOPClassUID = uid, EnhancedMRImageStorage
        return replace(result, stack=replace(result.stack, frame_numbers=numbers))

    seg, report, pdf = make_objects(change=enhance)
    sources = [
        frame.DerivationImageSequence[0].SourceImageSequence[0]
        for frame in seg.PerFrameFunctionalGroupsSequence
    ]
    assert [source.ReferencedFrameNumber for source in sources] == [*numbers] * 3
    assert {source.ReferencedSOPInstanceUID for source in sources} == {uid}
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 1
    assert len(pdf.SourceInstanceSequence) == 1
    assert "ReferencedFrameNumber" not in pdf.SourceInstanceSequence[0]
    (measurements,) = (c for c in report.ContentSequence if meaning(c) == "Imaging Measurements")
    images = [
        item.ReferencedSOPSequence[0].ReferencedFrameNumber
        for item in measurements.ContentSequence[0].ContentSequence
        if meaning(item) == "Source image for segmentation"
    ]
    assert images == list(numbers)


def meaning(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def test_series_say_when_they_were_made(make_objects: Callable) -> None:
    """Lists of series tell the results of one study apart by that."""
    before = datetime.now().replace(microsecond=0)
    for found in make_objects():
        made = datetime.strptime(found.SeriesDate + found.SeriesTime, "%Y%m%d%H%M%S")
        assert before <= made <= datetime.now()
        assert (found.ContentDate, found.ContentTime) == (found.SeriesDate, found.SeriesTime)
