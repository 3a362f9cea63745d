"""DICOM SEG: every frame lies on its source image, and independent checkers accept it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pydicom
import pytest
from pydicom import Dataset

from scarseg_infer.orientation import BASE_TO_APEX, LATERAL_WALL
from scarseg_infer.result import ScarResult
from scarseg_infer.study_reader import read_study
from scarseg_infer.write_seg import write_seg
from scarseg_runtime.contract import Label

SHAPE = {"slices": 6, "rows": 56, "columns": 64}
STACKS = {
    "plain": {},
    "reversed": {"step_mm": 10.0 * BASE_TO_APEX},
    "drifting": {"drift_mm": np.linspace(0, 24, 6)[:, None] * LATERAL_WALL},
}


@pytest.fixture(params=STACKS)
def written(
    request: pytest.FixtureRequest,
    make_result: Callable,
    dicom_factory: ModuleType,
    tmp_path: Path,
) -> tuple[ScarResult, Path]:
    datasets = dicom_factory.series(dicom_factory.noise(**SHAPE), **STACKS[request.param])
    dicom_factory.write(tmp_path / "study", datasets)
    result = make_result(read_study(tmp_path / "study"))
    write_seg(result, tmp_path / "scar.dcm")
    return result, tmp_path / "scar.dcm"


def frame_geometry(seg: Dataset, frame: int) -> tuple[np.ndarray, str]:
    group = seg.PerFrameFunctionalGroupsSequence[frame]
    source = group.DerivationImageSequence[0].SourceImageSequence[0]
    position = group.PlanePositionSequence[0].ImagePositionPatient
    return np.array(position, float), source.ReferencedSOPInstanceUID


def test_every_frame_is_its_source_slice(written: tuple[ScarResult, Path]) -> None:
    result, path = written
    seg, stack = pydicom.dcmread(path), result.stack
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    spacing = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    assert cosines == pytest.approx([*stack.row_direction, *stack.column_direction], abs=1e-5)
    assert spacing == pytest.approx(stack.pixel_spacing_mm, abs=1e-6)
    frames = seg.pixel_array.reshape(-1, *stack.pixels.shape[1:])
    assert len(frames) == len(stack.datasets)  # the empty slice is kept
    by_source = {d.SOPInstanceUID: index for index, d in enumerate(stack.datasets)}
    seen = set()
    for number, frame in enumerate(frames):
        position, source = frame_geometry(seg, number)
        index = by_source[source]
        seen.add(index)
        assert position == pytest.approx(stack.origins_mm[index], abs=1e-4)
        assert np.array_equal(frame, result.labels[index] == Label.SCAR)
    assert seen == set(range(len(stack.datasets)))


def test_it_says_what_it_is(written: tuple[ScarResult, Path]) -> None:
    result, path = written
    seg = pydicom.dcmread(path)
    source = result.stack.datasets[0]
    segment = seg.SegmentSequence[0]
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "12402003"
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert seg.StudyInstanceUID == source.StudyInstanceUID
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert seg.PatientID == source.PatientID
    assert "research use" in seg.SeriesDescription


def require(tool: str) -> str:
    """Path of an independent checker; where CI runs, a missing one is a failure."""
    found = shutil.which(tool)
    if found is None:
        message = f"{tool} is not installed (Debian packages dicom3tools, dcmtk)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


def test_dciodvfy_finds_no_error(written: tuple[ScarResult, Path]) -> None:
    run = subprocess.run([require("dciodvfy"), str(written[1])], capture_output=True, text=True)
    report = run.stdout + run.stderr
    assert "Segmentation" in report
    assert "Error" not in report


def test_dcmtk_reads_it(written: tuple[ScarResult, Path]) -> None:
    run = subprocess.run([require("dcm2json"), str(written[1])], capture_output=True, text=True)
    assert run.returncode == 0
    assert "12402003" in run.stdout
    assert run.stderr == ""
