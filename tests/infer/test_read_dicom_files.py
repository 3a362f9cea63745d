"""Reading real and damaged DICOM files."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from scarseg_infer.study.read import read_study
from scarseg_runtime.errors import StudyError

# --- real and damaged files -----------------------------------------------------------------

Refusal = Callable[[Path], str]


def test_real_cine_study_is_refused(shared_data: Path, refusal: Refusal) -> None:
    message = refusal(shared_data / "cine-study")
    assert "this looks like a cine series (20 images at each of 10 slice positions)" in message


def test_contoured_cine_frames_are_refused(shared_data: Path, refusal: Refusal) -> None:
    message = refusal(shared_data / "sunnybrook-cc0" / "SC-HF-I-1")
    assert "cine" in message


def test_subjects_together_are_refused(shared_data: Path, refusal: Refusal) -> None:
    assert "5 patients" in refusal(shared_data / "sunnybrook-cc0")


def test_real_geometry_is_short_axis(shared_data: Path, tmp_path: Path) -> None:
    """One phase of a real cine, relabelled as LGE, reads as a whole stack."""
    frames = {}
    for path in sorted((shared_data / "cine-study").iterdir()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path)
            place = tuple(dataset.ImagePositionPatient)
            if frames.setdefault(place, dataset) is dataset:
                dataset.SeriesDescription = "LGE"
                dataset.save_as(tmp_path / f"{len(frames)}.dcm")
    stack = read_study(tmp_path)
    assert stack.pixels.shape == (10, 256, 256)
    np.testing.assert_allclose(np.diff(stack.slice_positions_mm), 8.0, atol=1e-3)
    assert stack.acquired is None  # AcquisitionDate and StudyDate are 20120000
    assert any("not dates" in warning for warning in stack.warnings)


def test_pydicom_test_files_never_crash(tmp_path: Path) -> None:
    folder = Path(str(get_testdata_file("MR_small.dcm", download=False))).parent
    outcomes = set()
    for path in sorted(folder.glob("*.dcm")):
        target = tmp_path / path.stem
        target.mkdir()
        shutil.copy(path, target)
        try:
            read_study(target)
            outcomes.add("read")
        except StudyError:
            outcomes.add("refused")
    assert "refused" in outcomes


@pytest.fixture(scope="module")
def one_file(dicom_factory: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A DICOM slice with a nested sequence in it."""
    dataset = dicom_factory.series(dicom_factory.noise(1, 8, 8))[0]
    item = pydicom.Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    dataset.ReferencedImageSequence = [item]
    return dicom_factory.write(tmp_path_factory.mktemp("one"), [dataset])[0].read_bytes()


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_files_are_refused_or_read(
    one_file: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    damaged = bytearray(one_file)
    positions = st.integers(128, len(damaged) - 1)
    flips = data.draw(st.lists(st.tuples(positions, st.integers(0, 255)), max_size=8))
    for position, value in flips:
        damaged[position] = value
    length = data.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "x").write_bytes(bytes(damaged[:length]))
    try:
        stack = read_study(folder)
    except StudyError:
        return
    assert np.isfinite(stack.pixels).all()
    assert np.isfinite(stack.origins_mm).all()
