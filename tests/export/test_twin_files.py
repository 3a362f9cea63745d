"""A written twin case goes through the product's own readers and comes back the same."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import wfdb

from scarseg_export.cli import main
from scarseg_export.twin.cohort import beats_of, sample_case
from scarseg_infer.ecg.gap import gap_between
from scarseg_infer.ecg.read import read_ecg
from scarseg_infer.study.geometry.orientation import display_transform
from scarseg_infer.study.read import read_study
from scarseg_runtime.preprocess import mean_beat


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("twin")
    arguments = ["--cases", "2", "--seed", "40", "--out", str(out), "--gap-days", "12.0001"]
    assert main(["twin", *arguments]) == 0
    return out


@pytest.mark.parametrize("seed", [40, 41])
def test_the_study_reads_back_in_display_orientation(folder: Path, seed: int) -> None:
    stack = read_study(folder / f"twin-{seed:06d}" / "study")
    truth = sample_case(seed).image(160, 1.6, 15.0)
    shown = display_transform(stack).to_display(stack.pixels)
    assert np.array_equal(shown, truth.pixels)
    steps = np.diff(stack.slice_positions_mm)
    assert np.allclose(steps, truth.heights_mm[1] - truth.heights_mm[0], atol=1e-3)


@pytest.mark.parametrize("seed", [40, 41])
def test_the_ecg_reads_back_as_the_beat_that_the_network_was_trained_on(
    folder: Path, seed: int
) -> None:
    record = read_ecg(folder / f"twin-{seed:06d}" / "ecg" / "twin.hea")
    beat = mean_beat(record.signals_mv, record.rate_hz, record.lead_names)
    case = sample_case(seed)
    assert beat.heart_rate_bpm == pytest.approx(60000 / case.conduction.rr_ms, rel=0.05)
    candidates = beats_of([case, case], np.array([False, True]))
    qrs_and_t = slice(150, 400)
    match = [
        np.corrcoef(beat.beat_mv[:, qrs_and_t].ravel(), one[:, qrs_and_t].ravel())[0, 1]
        for one in candidates
    ]
    assert max(match) > 0.97


def test_the_wfdb_package_reads_the_same_record(folder: Path) -> None:
    path = folder / "twin-000040" / "ecg" / "twin"
    ours, theirs = read_ecg(path), wfdb.rdrecord(str(path))
    np.testing.assert_allclose(ours.signals_mv, theirs.p_signal, rtol=1e-12)
    assert (list(ours.lead_names), ours.recorded) == (theirs.sig_name, theirs.base_datetime)
    stored = wfdb.rdrecord(str(path), physical=False)
    assert stored.calc_checksum() == stored.checksum
    assert stored.init_value == stored.d_signal[0].tolist()


def test_dates_give_the_gap(folder: Path) -> None:
    case = folder / "twin-000040"
    gap = gap_between(read_study(case / "study").acquired, read_ecg(case / "ecg" / "twin"), None)
    assert gap.source == "timestamps"
    assert gap.days == pytest.approx(12.0, abs=0.01)


def test_labels_lie_on_the_study(folder: Path) -> None:
    case = folder / "twin-000040"
    stack, labels = read_study(case / "study"), nibabel.load(case / "labels.nii.gz")
    truth = sample_case(40).image(160, 1.6, 15.0).labels
    assert np.array_equal(np.asarray(labels.dataobj).transpose(2, 1, 0), truth)
    first = np.diag([-1, -1, 1, 1]) @ labels.affine @ [0, 0, 0, 1]
    ends = np.stack([stack.origins_mm[0], stack.origins_mm[-1]])
    assert np.linalg.norm(ends - first[:3], axis=1).min() < 0.01


def test_the_ecg_is_the_same_in_dicom(folder: Path) -> None:
    """The demo's, which was made in the same way, also goes through the checkers."""
    case = folder / "twin-000041"
    record, found = read_ecg(case / "ecg" / "twin.hea"), read_ecg(case / "ecg" / "twin.dcm")
    assert (found.lead_names, found.rate_hz) == (record.lead_names, record.rate_hz)
    assert np.allclose(found.signals_mv, record.signals_mv, rtol=0, atol=1e-9)
    assert found.recorded == record.recorded
    image, ecg = (pydicom.dcmread(case / name) for name in ("study/lge001.dcm", "ecg/twin.dcm"))
    assert ecg.PatientID == image.PatientID
    assert ecg.StudyInstanceUID != image.StudyInstanceUID
