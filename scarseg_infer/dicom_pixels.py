"""Pixel values of one MR slice, whatever its encoding."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

from scarseg_infer.dicom_parse import PARSE_ERRORS, damaged, numbers, text
from scarseg_infer.slice_plane import SlicePlane
from scarseg_runtime.errors import StudyError

# Packages whose licences are as free as ours, by what they decode.
_DECODER_PACKAGES: Final = (
    (JPEGTransferSyntaxes, "python-gdcm"),
    (JPEGLSTransferSyntaxes, "pyjpegls"),
    (JPEG2000TransferSyntaxes, "pylibjpeg pylibjpeg-openjpeg"),
)
_HTJ2K_PREFIX: Final = "1.2.840.10008.1.2.4.20"  # 201 to 203: High-Throughput JPEG 2000


def slice_pixels(dataset: FileDataset, plane: SlicePlane, label: str) -> NDArray[np.float32]:
    """Pixel values [rows, columns] after the rescale of PS3.3 C.11.1.

    Raises:
        StudyError: the pixels are cut short or damaged, or no decoder for them is installed.
    """
    try:
        syntax = _transfer_syntax(dataset)
        require_decoder(syntax)
        stored = np.asarray(pixel_array(dataset), dtype=np.float32)
    except StudyError:
        raise
    except PARSE_ERRORS as error:
        raise damaged(label) from error
    slope = _rescale(dataset, "RescaleSlope", 1.0)
    intercept = _rescale(dataset, "RescaleIntercept", 0.0)
    if stored.shape != (plane.rows, plane.columns) or not slope or intercept is None:
        raise damaged(label)
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asarray(stored * slope + intercept, dtype=np.float32)
    if not np.isfinite(values).all():
        raise damaged(label)
    # MONOCHROME1 shows low values bright (PS3.3 C.7.6.3.1.2); bright means enhanced here.
    return -values if text(dataset, "PhotometricInterpretation") == "MONOCHROME1" else values


def require_decoder(syntax: UID) -> None:
    """Raise StudyError, with the package to install, when the encoding cannot be decoded here."""
    if not syntax.is_encapsulated:
        return
    try:
        if get_decoder(syntax).is_available:
            return
    except NotImplementedError:
        pass
    package = next((name for syntaxes, name in _DECODER_PACKAGES if syntax in syntaxes), None)
    if syntax.startswith(_HTJ2K_PREFIX):
        package = "pylibjpeg pylibjpeg-openjpeg"
    install = f"Run 'pip install {package}' or export" if package else "Export"
    raise StudyError(
        f"the images are compressed ({syntax.name}, {syntax}) and no decoder for that is installed",
        f"{install} the study uncompressed",
    )


def _transfer_syntax(dataset: FileDataset) -> UID:
    """The transfer syntax; set from what parsing found where old files do not say it."""
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return UID(dataset.file_meta.TransferSyntaxUID)


def _rescale(dataset: Dataset, keyword: str, absent: float) -> float | None:
    if keyword not in dataset or dataset[keyword].is_empty:
        return absent
    found = numbers(dataset, keyword, 1)
    return found[0] if found else None
