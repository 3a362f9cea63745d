"""Several dates in the headers of one MRI: the time between it and the ECG hangs on them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from scarseg_infer.study.read import read_study


@pytest.mark.parametrize("keyword", ["AcquisitionDateTime", "AcquisitionDate"])
def test_two_dates_of_one_acquisition_are_none(
    tmp_path: Path, dicom_factory: ModuleType, keyword: str
) -> None:
    """In one header, or in the headers of two slices."""
    datasets = dicom_factory.series()
    if keyword == "AcquisitionDate":
        datasets[3].AcquisitionDate = "20230101"
    else:
        for dataset in datasets:
            dataset.AcquisitionDateTime = "20140228104500"
    dicom_factory.write(tmp_path, datasets)
    stack = read_study(tmp_path)
    assert stack.acquired is None
    assert any("several dates" in warning for warning in stack.warnings)


@pytest.mark.parametrize(("date", "warned"), [("20240229", False), ("20240228", False),
                                              ("20140228", True), ("19000101", False)])  # fmt: skip
def test_a_study_of_another_date_than_its_images(
    tmp_path: Path, dicom_factory: ModuleType, date: str, warned: bool
) -> None:
    """1900 is what de-identification puts in place of a date."""
    dicom_factory.write(tmp_path, dicom_factory.series(StudyDate=date))
    stack = read_study(tmp_path)
    assert stack.acquired is not None and stack.acquired.year == 2024
    assert any("StudyDate and AcquisitionDate" in w for w in stack.warnings) == warned


def test_a_study_that_ends_after_midnight(tmp_path: Path, dicom_factory: ModuleType) -> None:
    datasets = dicom_factory.series()
    datasets[5].AcquisitionDate, datasets[5].AcquisitionTime = "20240301", "000500"
    dicom_factory.write(tmp_path, datasets)
    stack = read_study(tmp_path)
    assert stack.acquired is not None and stack.acquired.day == 29
    assert stack.warnings == ()
