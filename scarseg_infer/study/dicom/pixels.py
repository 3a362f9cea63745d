"""Pixel values of one MR slice, whatever its encoding."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset
from pydicom.encaps import generate_frames, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from scarseg_infer.study.dicom.codestream import Claim, check_rle, jpeg2000_claims, jpeg_claims
from scarseg_infer.study.dicom.parse import (
    PARSE_ERRORS,
    damaged,
    number,
    numbers,
    photometric,
)
from scarseg_infer.study.dicom.samples import (
    SampleBits,
    check_meaning,
    padding_in,
    sample_bits,
    samples,
)
from scarseg_infer.study.geometry.slice_plane import SlicePlane
from scarseg_infer.study.pixel_order import in_other_byte_order
from scarseg_infer.study.rescale import rescaled
from scarseg_runtime.errors import StudyError
from scarseg_runtime.install import install_command

_WORD_BITS: Final = 16
"""Of the words (OW) whose bytes big-endian order turns round (PS3.5, 7.3)."""
DECODERS: Final = "compressed"
"""The extra with decoders for every encoding of ``DECODABLE``; their licences are as free as
ours (pylibjpeg and pyjpegls MIT, openjpeg BSD, gdcm BSD; pylibjpeg-libjpeg is GPL, so not it)."""

_JPEG: Final = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes)
DECODABLE: Final = (
    *_JPEG,
    JPEG2000Lossless,
    JPEG2000,
    HTJ2K,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
)
HIDDEN: Final = 0.05
"""Share of the range of an image by which padding may differ from what it is read as."""
_LOSSY: Final = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K)


class SlicePixels(NamedTuple):
    """Pixels of a slice."""

    values: NDArray[np.float32]
    """[rows, columns] after rescale."""
    padding_hides: bool
    """Padding takes the place of something else than darkness in the middle of the image."""


def slice_pixels(
    image: FileDataset, header: Dataset, frame: int | None, plane: SlicePlane, label: str
) -> SlicePixels:
    """Pixel values after the rescale of PS3.3 C.11.1.

    Padding gets the darkest value of the slice, so that it stretches no scale.

    Args:
        image: the object that holds the pixels.
        header: what the slice's own header says; ``image`` itself unless it has several frames.
        frame: which frame of the image, from 1; None when it has one only.
        plane: the grid that the slice must have.
        label: what to call the slice in messages.

    Raises:
        StudyError: the pixels are cut short, damaged or implausible, or no decoder for them is
            installed.
    """
    try:
        syntax = _transfer_syntax(image)
        require_decoder(syntax)
        check_meaning(image, label)
        image.PhotometricInterpretation = photometric(image)
        bits = sample_bits(image, label)
        if syntax == ExplicitVRBigEndian and bits.allocated > _WORD_BITS:
            raise StudyError(
                f"{label} has samples of {bits.allocated} bits in big-endian order, which programs "
                "write in two ways that cannot be told apart",
                "Export the study in a little-endian transfer syntax",
            )
        claim = _claim(image, syntax, frame, plane)
        words = _words(image, syntax, frame, bits, claim)
        if claim is None and in_other_byte_order(words):
            raise StudyError(
                f"the pixels of {label} have their bytes in another order than its transfer syntax "
                "says",
                "Export the study again from its source",
            )
        stored = samples(words, bits, claim, syntax in _LOSSY, image, label)
        padding = padding_in(words, stored, bits, header)
        slope = _rescale(header, "RescaleSlope", 1.0)
        intercept = _rescale(header, "RescaleIntercept", 0.0)
    except StudyError:
        raise
    except PARSE_ERRORS as error:
        raise damaged(label) from error
    if stored.shape != (plane.rows, plane.columns):
        raise damaged(label)
    if not slope or intercept is None:
        raise StudyError(
            f"{label} has a {'RescaleIntercept' if slope else 'RescaleSlope'} that cannot be one",
            "Export the study again from its source",
        )
    values = rescaled(stored, slope, intercept)
    if values is None:
        raise damaged(label)
    # MONOCHROME1 shows low values bright (PS3.3 C.7.6.3.1.2); bright means enhanced here.
    if photometric(header) == "MONOCHROME1":
        values = -values
    return _without_padding(values, padding)


def _without_padding(values: NDArray[np.float32], padding: NDArray[np.bool_]) -> SlicePixels:
    """An image [rows, columns] with its darkest value, set in place, where it has none."""
    if not padding.any() or padding.all():
        return SlicePixels(values, padding_hides=False)
    darkest, brightest = float(values[~padding].min()), float(values[~padding].max())
    other = np.abs(values - darkest) > HIDDEN * (brightest - darkest)
    rows, columns = (size // 4 for size in values.shape)
    middle = np.s_[rows : len(values) - rows, columns : values.shape[1] - columns]
    hides = bool((padding & other)[middle].any())
    values[padding] = darkest
    return SlicePixels(values, hides)


def _words(
    image: FileDataset, syntax: UID, frame: int | None, bits: SampleBits, claim: Claim | None
) -> NDArray[Any]:
    """Whole words: told that all of their bits are stored, no decoder leaves any out."""
    return pixel_array(
        image,
        index=None if frame is None else frame - 1,
        decoding_plugin="pydicom" if syntax == RLELossless else "",
        bits_stored=bits.allocated if claim is None else claim.bits,
    )


def _claim(image: FileDataset, syntax: UID, frame: int | None, plane: SlicePlane) -> Claim | None:
    """Read what a codestream says of itself; None where there is none (native and RLE).

    Raises one of ``PARSE_ERRORS`` where a compressed frame is not of the size of the slice.
    """
    if not syntax.is_encapsulated:
        return None
    data, frames = image.PixelData, 1 if frame is None else int(image.NumberOfFrames)
    table = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
    offsets: Any = tuple(image[name].value for name in table) if table[0] in image else None
    options: Any = {"number_of_frames": frames, "extended_offsets": offsets}
    if frame is None:
        encoded = list(islice(generate_frames(data, **options), 2))
        if len(encoded) != 1:
            raise ValueError("several frames where one is said to be")
    else:
        encoded = [get_frame(data, frame - 1, **options)]
    bits = int(image.BitsAllocated)
    if syntax == RLELossless:
        check_rle(encoded[0], plane.rows * plane.columns)
        return None
    read = jpeg_claims if syntax in _JPEG else jpeg2000_claims
    claims = read(encoded[0])
    fits = [claim[:3] == (plane.rows, plane.columns, 1) and claim.bits <= bits for claim in claims]
    if not fits or not all(fits) or len(set(claims)) > 1:
        raise ValueError("a compressed frame of another size than its header says")
    return claims[0]


def has_more_pixels(image: FileDataset) -> bool:
    """True where uncompressed pixels go on for a row or more after the last that is said to be; of
    an image that :func:`slice_pixels` has read."""
    if _transfer_syntax(image).is_encapsulated:
        return False
    rows, columns, bits = (
        int(number(image, keyword) or 0) for keyword in ("Rows", "Columns", "BitsAllocated")
    )
    row = columns * bits // 8
    frames = int(number(image, "NumberOfFrames") or 1)
    return len(image.PixelData) >= row * (rows * frames + 1)


def require_decoder(syntax: UID) -> None:
    """Raise StudyError, with the package to install, when the encoding cannot be decoded here."""
    if not syntax.is_encapsulated:
        return
    try:
        if get_decoder(syntax).is_available:
            return
    except NotImplementedError:
        pass
    install = f"Run {install_command(DECODERS)} or export" if syntax in DECODABLE else "Export"
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
