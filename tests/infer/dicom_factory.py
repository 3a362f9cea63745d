"""Real DICOM MR series of any geometry and any fault, for tests.

A test builds datasets with :func:`series`, spoils what it wants and writes them. Everything is
synthetic: the patient is called Test and does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from scarseg_infer.study.geometry.orientation import ANTERIOR_WALL, BASE_TO_APEX, LATERAL_WALL

PATIENT_NAME = "Secretname^Test"
PATIENT_ID = "SECRET-ID-4711"
SPACING_MM = (1.5, 1.25)
"""Between rows, between columns: different, so that a swap shows."""
PITCH_MM = 10.0


def noise(slices: int = 6, rows: int = 20, columns: int = 16, seed: int = 0) -> NDArray[np.int16]:
    """[S, H, W] values 0–4095 in which no two voxels are alike by design."""
    return np.random.default_rng(seed).integers(0, 4096, (slices, rows, columns), dtype=np.int16)


def series(
    pixels: NDArray[Any] | None = None,
    *,
    row_direction: NDArray[np.float64] = LATERAL_WALL,
    column_direction: NDArray[np.float64] = -ANTERIOR_WALL,
    step_mm: NDArray[np.float64] = -PITCH_MM * BASE_TO_APEX,
    first_mm: Sequence[float] = (-40.0, 30.0, 12.5),
    drift_mm: NDArray[np.float64] | None = None,
    spacing_mm: tuple[float, float] = SPACING_MM,
    **elements: Any,
) -> list[FileDataset]:
    """One MR series, a dataset a slice; the default is a PSIR stack in standard display.

    Its slices begin at the apex: so they lie in increasing order along row × column direction,
    which looks from the apex to the base.

    Args:
        pixels: [S, H, W] of an 8- or 16-bit integer type.
        drift_mm: [S, 3] added to each slice's origin.
        elements: values of DICOM keywords, the same for all slices; None leaves one out.
    """
    pixels = noise() if pixels is None else pixels
    common = {
        "PatientName": PATIENT_NAME,
        "PatientID": PATIENT_ID,
        "StudyInstanceUID": generate_uid(entropy_srcs=["study"]),
        "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(entropy_srcs=["frame"]),
        "StudyDate": "20240229",
        "StudyTime": "101500",
        "AcquisitionDate": "20240229",
        "AcquisitionTime": "104500.250",
        "SeriesNumber": 12,
        "SeriesDescription": "psir_sax",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "PSIR"],
        "InversionTime": 300.0,
        "SliceThickness": 8.0,
        **elements,
    }
    found = []
    for index, image in enumerate(pixels):
        origin = np.asarray(first_mm) + index * step_mm
        origin = origin if drift_mm is None else origin + drift_mm[index]
        dataset = _image(image)
        dataset.InstanceNumber = index + 1
        dataset.PixelSpacing = list(spacing_mm)
        dataset.ImagePositionPatient = [_decimal(x) for x in origin]
        dataset.ImageOrientationPatient = [_decimal(x) for x in (*row_direction, *column_direction)]
        for keyword, value in common.items():
            if value is not None:
                setattr(dataset, keyword, value)
        found.append(dataset)
    return found


def cine(phases: int = 5, slices: int = 4, **elements: Any) -> list[FileDataset]:
    """A cine: several phases at each slice position, in one series."""
    common = {
        "SeriesInstanceUID": generate_uid(),
        "SeriesNumber": 7,
        "SeriesDescription": "tf2d_sax",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM"],
        "InversionTime": None,
        "CardiacNumberOfImages": phases,
        **elements,
    }
    return [
        dataset
        for phase in range(phases)
        for dataset in series(noise(slices, seed=phase), TriggerTime=phase * 40.0, **common)
    ]


def write(folder: Path, datasets: Iterable[FileDataset], prefix: str = "IM") -> list[Path]:
    """Write datasets as prefix000.dcm and so on; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, dataset in enumerate(datasets):
        paths.append(folder / f"{prefix}{index:03d}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def encoded(dataset: FileDataset) -> bytes:
    """The dataset as a file."""
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


class Files:
    """A study in memory."""

    def __init__(self, contents: Sequence[bytes]) -> None:
        self._contents = contents

    def __len__(self) -> int:
        return len(self._contents)

    def read(self, index: int) -> bytes:
        return self._contents[index]


def _image(pixels: NDArray[Any]) -> FileDataset:
    """A dataset with pixels and nothing else."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Modality = "MR"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    bits = pixels.dtype.itemsize * 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset["PixelData"] = _pixel_element(pixels)
    return dataset


def _pixel_element(pixels: NDArray[Any]) -> Any:
    from pydicom.dataelem import DataElement

    data = np.ascontiguousarray(pixels).tobytes()
    return DataElement("PixelData", "OB" if pixels.dtype.itemsize == 1 else "OW", data)


def _decimal(value: float) -> str:
    """A number as a DICOM decimal string of at most 16 characters."""
    return f"{value:.9f}"
