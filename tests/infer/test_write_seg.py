"""DICOM SEG: every frame lies on its source image, and independent checkers accept it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom import Dataset

from scarseg_infer.result import ScarResult
from scarseg_infer.study.geometry.orientation import BASE_TO_APEX, LATERAL_WALL
from scarseg_infer.study.read import read_study
from scarseg_infer.write.dicom.seg import write_seg
from scarseg_infer.write.report.drawing import ENDOCARDIUM, EPICARDIUM, SCAR
from scarseg_runtime.contract import Label
from scarseg_runtime.errors import StudyError

SHAPE = {"slices": 6, "rows": 56, "columns": 64}
LABELS = (Label.SCAR, Label.VIABLE_MYOCARDIUM, Label.LV_CAVITY)
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
    by_source = {d.SOPInstanceUID: index for index, d in enumerate(stack.datasets)}
    seen = set()
    for number, frame in enumerate(frames):
        position, source = frame_geometry(seg, number)
        identification = seg.PerFrameFunctionalGroupsSequence[number].SegmentIdentificationSequence
        segment = identification[0].ReferencedSegmentNumber
        index = by_source[source]
        seen.add((segment, index))
        assert position == pytest.approx(stack.origins_mm[index], abs=1e-4)
        assert np.array_equal(frame, result.labels[index] == LABELS[segment - 1])
    # The empty slice of the scar is kept.
    assert seen == {(segment, index) for segment in (1, 2, 3) for index in by_source.values()}
    assert len(frames) == len(seen)


def test_segments_are_the_wall_without_overlap(written: tuple[ScarResult, Path]) -> None:
    result, path = written
    seg = pydicom.dcmread(path)
    scar, viable, cavity = seg.pixel_array.reshape(3, *result.stack.pixels.shape).astype(bool)
    assert seg.SegmentsOverlap == "NO"
    assert not (scar & viable).any() and not ((scar | viable) & cavity).any()
    assert (scar | viable).sum() == (result.segments > 0).sum()  # the whole wall, scar once


def test_highdicom_reads_the_same_segments(written: tuple[ScarResult, Path]) -> None:
    """An independent reader sorts the frames by their own references."""
    result, path = written
    seg = highdicom.seg.segread(path)
    assert seg.segment_numbers == [1, 2, 3]
    uids = [str(dataset.SOPInstanceUID) for dataset in result.stack.datasets]
    pixels = seg.get_pixels_by_source_instance(uids)  # [S, H, W, segment]
    for number, label in enumerate(LABELS):
        assert np.array_equal(pixels[..., number], result.labels == label)


def test_highdicom_reads_an_even_stack_as_one_volume(
    make_result: Callable, dicom_factory: ModuleType, tmp_path: Path
) -> None:
    dicom_factory.write(tmp_path / "study", dicom_factory.series(dicom_factory.noise(**SHAPE)))
    result = make_result(read_study(tmp_path / "study"))
    write_seg(result, tmp_path / "scar.dcm")
    volume = highdicom.seg.segread(tmp_path / "scar.dcm").get_volume(combine_segments=True)
    # highdicom's own order of slices may be the other one: compare voxel by voxel in space.
    stack = result.stack
    corner = stack.origins_mm[2] + 5 * 1.5 * stack.column_direction + 7 * 1.25 * stack.row_direction
    plane, row, column = np.round(volume.map_reference_to_indices(corner[None])[0]).astype(int)
    assert (row, column) == (5, 7)
    number = {0: 0, Label.SCAR: 1, Label.VIABLE_MYOCARDIUM: 2, Label.LV_CAVITY: 3}
    expected = np.vectorize(number.get)(result.labels[2])
    assert np.array_equal(volume.array[plane], expected)
    assert expected.max() == 3


def test_it_says_what_it_is(written: tuple[ScarResult, Path]) -> None:
    result, path = written
    seg = pydicom.dcmread(path)
    source = result.stack.datasets[0]
    assert [
        (s.SegmentNumber, s.SegmentLabel, s.SegmentedPropertyTypeCodeSequence[0].CodeValue)
        for s in seg.SegmentSequence
    ] == [
        (1, "Scar", "12402003"),
        (2, "Viable myocardium", "49848007"),
        (3, "Left ventricular cavity", "87612001"),
    ]
    assert len({s.TrackingUID for s in seg.SegmentSequence}) == 3
    for segment in seg.SegmentSequence:
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("toy", "1.2.3")
    assert seg.StudyInstanceUID == source.StudyInstanceUID
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert seg.PatientID == source.PatientID
    assert "research use" in seg.SeriesDescription


def test_colours_are_those_of_the_pictures(written: tuple[ScarResult, Path]) -> None:
    seg = pydicom.dcmread(written[1])
    for segment, colour in zip(seg.SegmentSequence, (SCAR, EPICARDIUM, ENDOCARDIUM), strict=True):
        expected = highdicom.color.CIELabColor.from_rgb(*colour).value
        assert segment.RecommendedDisplayCIELabValue == pytest.approx(expected, abs=700)  # 1 %


def test_nothing_found(make_result: Callable, dicom_factory: ModuleType, tmp_path: Path) -> None:
    dicom_factory.write(tmp_path / "study", dicom_factory.series(dicom_factory.noise(**SHAPE)))
    result = make_result(read_study(tmp_path / "study"), lv=False)
    write_seg(result, tmp_path / "scar.dcm")
    seg = pydicom.dcmread(tmp_path / "scar.dcm")
    assert seg.NumberOfFrames == 3 * SHAPE["slices"]
    assert not seg.pixel_array.any()
    check(tmp_path / "scar.dcm")


def test_frames_that_do_not_fill_their_last_byte(
    make_result: Callable, dicom_factory: ModuleType, tmp_path: Path
) -> None:
    pixels = dicom_factory.noise(slices=5, rows=49, columns=51)  # 2499 bits a frame
    dicom_factory.write(tmp_path / "study", dicom_factory.series(pixels))
    result = make_result(read_study(tmp_path / "study"))
    write_seg(result, tmp_path / "scar.dcm")
    shown = pydicom.dcmread(tmp_path / "scar.dcm").pixel_array.reshape(3, *pixels.shape)
    for number, label in enumerate(LABELS):
        assert np.array_equal(shown[number], result.labels == label)
    check(tmp_path / "scar.dcm")


def test_study_that_is_not_dicom(
    make_result: Callable, make_stack: Callable, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match="no DICOM images"):
        write_seg(make_result(make_stack()), tmp_path / "scar.dcm")
    assert not (tmp_path / "scar.dcm").exists()


def test_nothing_slow_is_imported() -> None:
    """Writing is part of every cold start: the tables of the whole standard stay closed."""
    code = (
        "import sys, scarseg_infer.write.dicom.seg, scarseg_infer.write.dicom.object;"
        "print([m for m in sys.modules if m.startswith(('highdicom', 'pydicom.sr'))])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def require(tool: str) -> str:
    """Path of an independent checker; where CI runs, a missing one is a failure."""
    found = shutil.which(tool)
    if found is None:
        message = f"{tool} is not installed (Debian packages dicom3tools, dcmtk)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


def check(path: Path) -> None:
    run = subprocess.run([require("dciodvfy"), str(path)], capture_output=True, text=True)
    report = run.stdout + run.stderr
    assert "Segmentation" in report
    assert "Error" not in report
    warnings = [line for line in report.splitlines() if line.startswith("Warning")]
    known = (
        "DICOMDIR - Study ID",  # the source has none
        # PS3.3 has it among the equipment that contributed (C.12.1), dciodvfy not yet.
        "(0x0018,0x1002) UI Device UID",
        "this is a Standard Extended SOP Class",
    )
    assert [line for line in warnings if not any(words in line for words in known)] == []


def test_dciodvfy_finds_no_error(written: tuple[ScarResult, Path]) -> None:
    check(written[1])


def test_dcmtk_reads_it(written: tuple[ScarResult, Path]) -> None:
    run = subprocess.run([require("dcm2json"), str(written[1])], capture_output=True, text=True)
    assert run.returncode == 0
    assert "12402003" in run.stdout
    assert run.stderr == ""
