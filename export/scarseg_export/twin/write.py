"""A simulated patient as files: DICOM study, WFDB record, label volume."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scarseg_export.twin.cohort import Case
from scarseg_export.twin.ecg import ONSET_MS, STEP_MS, simulate_raw
from scarseg_export.twin.image import ImageStack
from scarseg_export.twin.torso import ANTERIOR, LATERAL, LONG_AXIS
from scarseg_runtime.contract import BEAT_SAMPLES, ECG_RATE_HZ, LEADS

MRI_TIME = datetime(2024, 3, 4, 10, 30)
"""When every simulated MRI was taken; the ECG lies the case's gap before it."""

if TYPE_CHECKING:
    from pydicom import Dataset

STRIP_S = 10.0
WANDER_MM = 15.0
"""How far the heart may lie from the image centre."""
_LSB_MV = 0.001


def write_case(
    case: Case, folder: Path, *, size: int, spacing_mm: float, gap_days: float, stale: bool
) -> None:
    """Write ``study/*.dcm``, ``ecg/twin.hea`` + ``.dat`` and ``labels.nii.gz`` into ``folder``."""
    stack = case.image(size, spacing_mm, WANDER_MM)
    heights = stack.heights_mm
    _write_dicom(case, stack, heights, folder / "study")
    _write_wfdb(case, folder / "ecg", MRI_TIME - timedelta(days=gap_days), stale)
    _write_labels(stack, heights, folder / "labels.nii.gz")


def rhythm_strip(case: Case, stale: bool) -> NDArray[np.float64]:
    """[5000, 12] ten seconds at 500 Hz in mV: beats with varying RR, noise, baseline wander."""
    scar = case.other_scar if stale else case.scar
    beat = simulate_raw([case.anatomy], [scar], [case.conduction])[0].T
    rng = np.random.default_rng([case.seed, 5])
    samples = int(STRIP_S * ECG_RATE_HZ)
    strip = np.zeros((samples + 2 * BEAT_SAMPLES, len(LEADS)))
    time_ms = rng.uniform(0, 400.0)
    while time_ms < STRIP_S * 1000.0 + ONSET_MS:
        start = int(BEAT_SAMPLES + (time_ms - ONSET_MS) / STEP_MS)
        strip[start : start + BEAT_SAMPLES] += beat[: len(strip) - start]
        time_ms += case.conduction.rr_ms * (1.0 + rng.normal(0.0, 0.025))
    strip = strip[BEAT_SAMPLES : BEAT_SAMPLES + samples]
    seconds = np.arange(samples)[:, None] / ECG_RATE_HZ
    wander = 0.06 * np.sin(2 * np.pi * (0.22 * seconds + rng.random(8)[None, :]))
    electrodes = wander + rng.normal(0.0, 0.008, (samples, 8))
    limb, chest = electrodes[:, :2], electrodes[:, 2:]
    return strip + np.hstack([_limb_leads(limb[:, 0], limb[:, 1]), chest])


def _limb_leads(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    """I, II, III, aVR, aVL, aVF from I and II, so that noise obeys Einthoven's law too."""
    leads = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return np.stack(leads, axis=1)


def _write_wfdb(case: Case, folder: Path, recorded: datetime, stale: bool) -> None:
    import wfdb

    folder.mkdir(parents=True, exist_ok=True)
    strip = rhythm_strip(case, stale)
    wfdb.wrsamp(
        "twin",
        fs=ECG_RATE_HZ,
        units=["mV"] * len(LEADS),
        sig_name=list(LEADS),
        d_signal=np.rint(strip / _LSB_MV).astype(np.int64),
        fmt=["16"] * len(LEADS),
        adc_gain=[1.0 / _LSB_MV] * len(LEADS),
        baseline=[0] * len(LEADS),
        base_datetime=recorded,
        comments=["Digital twin, simulated. No patient."],
        write_dir=str(folder),
    )


def _write_dicom(case: Case, stack: ImageStack, heights: NDArray[np.float64], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, pixels in enumerate(stack.pixels):
        dataset = _slice_dataset(case, stack, heights, index)
        dataset.set_pixel_data(
            pixels.astype(np.uint16), "MONOCHROME2", 16, generate_instance_uid=False
        )
        dataset.save_as(folder / f"lge{index + 1:03d}.dcm", enforce_file_format=True)


def _slice_dataset(
    case: Case, stack: ImageStack, heights: NDArray[np.float64], index: int
) -> Dataset:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

    pitch = float(heights[1] - heights[0])
    acquired = MRI_TIME + timedelta(seconds=15 * index)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(_uid(case, f"instance {index}"))
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = UID(_uid(case, f"instance {index}"))
    dataset.StudyInstanceUID = _uid(case, "study")
    dataset.SeriesInstanceUID = _uid(case, "series")
    dataset.FrameOfReferenceUID = _uid(case, "frame of reference")
    dataset.PositionReferenceIndicator = None
    dataset.PatientName = "Twin^Digital"
    dataset.PatientID = f"TWIN-{case.seed}"
    dataset.PatientBirthDate = dataset.PatientSex = dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = "1"
    dataset.StudyDate = dataset.SeriesDate = f"{MRI_TIME:%Y%m%d}"
    dataset.StudyTime = dataset.SeriesTime = f"{MRI_TIME:%H%M%S}"
    dataset.AcquisitionDate = dataset.ContentDate = f"{acquired:%Y%m%d}"
    dataset.AcquisitionTime = dataset.ContentTime = f"{acquired:%H%M%S}"
    dataset.Modality = "MR"
    dataset.Manufacturer = "scarseg-infer digital twin"
    dataset.BodyPartExamined = "HEART"
    dataset.PatientPosition = "HFS"
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = index + 1
    dataset.SeriesDescription = "LGE PSIR short axis (simulated)"
    dataset.ImageType = ["DERIVED", "PRIMARY", "PSIR"]
    dataset.DerivationDescription = "Simulated by a digital twin; no patient"
    dataset.ScanningSequence = ["GR", "IR"]
    dataset.SequenceVariant = "MP"
    dataset.ScanOptions = ""
    dataset.MRAcquisitionType = "2D"
    dataset.EchoTime = "1.5"
    dataset.EchoTrainLength = 1
    dataset.RepetitionTime = "800"
    dataset.InversionTime = "300"
    dataset.SliceThickness = f"{min(8.0, pitch):.2f}"
    dataset.SpacingBetweenSlices = f"{pitch:.3f}"
    dataset.PixelSpacing = [f"{stack.spacing_mm:.4f}"] * 2
    dataset.ImageOrientationPatient = [f"{v:.8f}" for v in (*LATERAL, *-ANTERIOR)]
    dataset.ImagePositionPatient = [f"{v:.5f}" for v in _origins(stack, heights)[index]]
    return dataset


def _origins(stack: ImageStack, heights: NDArray[np.float64]) -> NDArray[np.float64]:
    """[S, 3] patient coordinates of each slice's first voxel, LPS mm."""
    rows, columns = stack.pixels.shape[1:]
    corner = (0.5 * (rows - 1) * ANTERIOR - 0.5 * (columns - 1) * LATERAL) * stack.spacing_mm
    return corner + heights[:, None] * LONG_AXIS


def _write_labels(stack: ImageStack, heights: NDArray[np.float64], path: Path) -> None:
    import nibabel

    affine = np.eye(4)
    affine[:3, 0] = LATERAL * stack.spacing_mm
    affine[:3, 1] = -ANTERIOR * stack.spacing_mm
    affine[:3, 2] = LONG_AXIS * (heights[1] - heights[0])
    affine[:3, 3] = _origins(stack, heights)[0]
    image = nibabel.Nifti1Image(stack.labels.transpose(2, 1, 0), np.diag([-1, -1, 1, 1]) @ affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def _uid(case: Case, role: str) -> str:
    """A UUID-derived UID (PS3.5 B.2) that is the same whenever the case is written."""
    digest = hashlib.sha256(f"scarseg twin {case.seed} {role}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"
