"""Values that a header holds where it should not are never printed: they may be names."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType

from scarseg_infer.demo import DEMO_ECG

SECRET = "Secretname"
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
DATES = ("StudyDate", "StudyTime", "PatientBirthDate")
TEXTS = ("PatientID", "AccessionNumber", "StudyID", "ReferringPhysicianName", "Manufacturer",
         "IssuerOfPatientID", "StationName")  # fmt: skip


def test_bad_values_through_every_writer(tmp_path: Path, dicom_factory: ModuleType) -> None:
    values = dict.fromkeys((*UIDS, *DATES), SECRET) | dict.fromkeys(TEXTS, SECRET * 20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's own, while writing what is invalid
        dicom_factory.write(tmp_path / "study", dicom_factory.series(**values))
    done = subprocess.run(
        [sys.executable, "-m", "scarseg_infer.cli", tmp_path / "study", DEMO_ECG, "--only", "all",
         "--provider", "cpu", "--allow-identity-mismatch", "-o", tmp_path / "out"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "result.json").exists()
    assert SECRET not in done.stdout + done.stderr
