"""A simulated patient as DICOM objects: LGE slices and the 12-lead ECG."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from scarseg_export.twin.cohort import Case
from scarseg_export.twin.image import ImageStack
from scarseg_export.twin.torso import ANTERIOR, LATERAL
from scarseg_runtime.contract import ECG_RATE_HZ, LEADS

if TYPE_CHECKING:
    from pydicom import Dataset

MRI_TIME: Final = datetime(2024, 3, 4, 10, 30)
"""Time at which every simulated MRI was taken; the ECG lies the case's gap before it."""
STEP_MV: Final = 0.001
"""Voltage of one count of an ECG sample."""


def slice_dataset(
    case: Case, stack: ImageStack, index: int, *, pitch_mm: float, origin_mm: NDArray[np.float64]
) -> Dataset:
    """An MR object without its pixels.

    Args:
        pitch_mm: between slice centres.
        origin_mm: [3] patient coordinates of the slice's first voxel, LPS mm.
    """
    from pydicom.uid import MRImageStorage

    acquired = MRI_TIME + timedelta(seconds=15 * index)
    dataset = _new(case, MRImageStorage, f"instance {index}")
    dataset.StudyInstanceUID = _uid(case, "study")
    dataset.SeriesInstanceUID = _uid(case, "series")
    dataset.FrameOfReferenceUID = _uid(case, "frame of reference")
    dataset.PositionReferenceIndicator = None
    _set_time(dataset, "Study", MRI_TIME)
    _set_time(dataset, "Series", MRI_TIME)
    _set_time(dataset, "Acquisition", acquired)
    _set_time(dataset, "Content", acquired)
    dataset.Modality = "MR"
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
    dataset.SliceThickness = f"{min(8.0, pitch_mm):.2f}"
    dataset.SpacingBetweenSlices = f"{pitch_mm:.3f}"
    dataset.PixelSpacing = [f"{stack.spacing_mm:.4f}"] * 2
    dataset.ImageOrientationPatient = [f"{v:.8f}" for v in (*LATERAL, *-ANTERIOR)]
    dataset.ImagePositionPatient = [f"{v:.5f}" for v in origin_mm]
    return dataset


def ecg_dataset(case: Case, counts: NDArray[np.int16], recorded: datetime) -> Dataset:
    """A 12-Lead ECG object in a study of its own.

    Args:
        counts: [samples, 12] in steps of STEP_MV, leads in the order of LEADS.
    """
    from pydicom.dataset import Dataset
    from pydicom.uid import TwelveLeadECGWaveformStorage

    dataset = _new(case, TwelveLeadECGWaveformStorage, "ecg instance")
    dataset.StudyInstanceUID = _uid(case, "ecg study")
    dataset.SeriesInstanceUID = _uid(case, "ecg series")
    _set_time(dataset, "Study", recorded)
    _set_time(dataset, "Series", recorded)
    _set_time(dataset, "Content", recorded)
    dataset.AcquisitionDateTime = f"{recorded:%Y%m%d%H%M%S}"
    dataset.Modality = "ECG"
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.SeriesDescription = "12-lead ECG (simulated)"
    dataset.AcquisitionContextSequence = []
    group = Dataset()
    group.WaveformOriginality = "ORIGINAL"
    group.NumberOfWaveformChannels = len(LEADS)
    group.NumberOfWaveformSamples = len(counts)
    group.SamplingFrequency = ECG_RATE_HZ
    group.ChannelDefinitionSequence = [_channel(lead) for lead in _lead_codes()]
    group.WaveformBitsAllocated = 16
    group.WaveformSampleInterpretation = "SS"
    group.WaveformData = counts.astype("<i2").tobytes()
    dataset.WaveformSequence = [group]
    return dataset


def _channel(lead: Dataset) -> Dataset:
    """The definition of a channel of whole microvolts."""
    from pydicom.dataset import Dataset

    channel = Dataset()
    channel.ChannelSourceSequence = [lead]
    channel.ChannelSensitivity = f"{STEP_MV * 1000:g}"
    channel.ChannelSensitivityUnitsSequence = [_code("uV", "UCUM", "microvolt")]
    channel.ChannelSensitivityCorrectionFactor = 1
    channel.ChannelBaseline = 0
    channel.ChannelSampleSkew = 0
    channel.WaveformBitsStored = 16
    return channel


def _lead_codes() -> list[Dataset]:
    """Codes of DICOM's context group 3001 in the order of LEADS."""
    from pydicom.sr.codedict import codes

    found = [codes.cid3001.LeadI, codes.cid3001.LeadII, codes.cid3001.LeadIII,
             codes.cid3001.AvrAugmentedVoltageRight, codes.cid3001.AvlAugmentedVoltageLeft,
             codes.cid3001.AvfAugmentedVoltageFoot, codes.cid3001.LeadV1, codes.cid3001.LeadV2,
             codes.cid3001.LeadV3, codes.cid3001.LeadV4, codes.cid3001.LeadV5,
             codes.cid3001.LeadV6]  # fmt: skip
    return [_code(code.value, code.scheme_designator, code.meaning) for code in found]


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _new(case: Case, sop_class_uid: str, role: str) -> Dataset:
    """Make what both kinds of object have; the UID follows from the role."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(_uid(case, role))
    dataset.SOPClassUID = UID(sop_class_uid)
    dataset.SOPInstanceUID = UID(_uid(case, role))
    dataset.PatientName = "Twin^Digital"
    dataset.PatientID = f"TWIN-{case.seed}"
    dataset.PatientBirthDate = dataset.PatientSex = dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = "1"
    dataset.Manufacturer = "scarseg-infer digital twin"
    return dataset


def _set_time(dataset: Dataset, event: str, when: datetime) -> None:
    setattr(dataset, f"{event}Date", f"{when:%Y%m%d}")
    setattr(dataset, f"{event}Time", f"{when:%H%M%S}")


def _uid(case: Case, role: str) -> str:
    """A UUID-derived UID (PS3.5 B.2) that is the same whenever the case is written."""
    digest = hashlib.sha256(f"scarseg twin {case.seed} {role}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"
