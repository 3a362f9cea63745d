"""Bits of a stored word that are the value of a pixel, in every encoding alike.

A word has room for more bits than a value: old files keep overlay planes in the others, and some
write values at the upper end (PS3.5, 8.1.1). Decoders differ in what they do about it, so they
are asked for whole words; BitsStored, HighBit and PixelRepresentation are applied here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from scarseg_infer.study.dicom.codestream import Claim
from scarseg_infer.study.dicom.parse import number, photometric
from scarseg_runtime.errors import StudyError

WORD_BITS: Final = (8, 16, 32)
OVERSHOOT: Final = 1 / 8
"""By this share of their range values may leave it where they were compressed with loss; they are
cut off there. What lies beyond was no value before it was compressed."""
UNDECLARED_PLANES: Final = 1
"""Bits above the value that may be an overlay plane of which the header says nothing."""
_OVERLAY_GROUPS: Final = range(0x6000, 0x6020, 2)
_OVERLAY_BIT: Final = 0x0102
_EXPORT: Final = "Export the study uncompressed, or correct the header"
GREY: Final = ("MONOCHROME1", "MONOCHROME2")
"""PhotometricInterpretation of images whose samples are shades of grey."""


@dataclass(frozen=True, slots=True)
class SampleBits:
    """Place of the value in a word."""

    allocated: int
    stored: int
    high: int
    """Place of the uppermost bit of the value, from 0."""
    signed: bool

    @property
    def unused_below(self) -> int:
        """Number of bits below the value."""
        return self.high + 1 - self.stored


def sample_bits(image: Dataset, label: str) -> SampleBits:
    """Layout of the words of a grey-scale image by the Image Pixel module (PS3.3, C.7.6.3).

    Raises:
        StudyError: an attribute is missing, or they contradict each other. It names them.
    """
    count, allocated, stored, signed = (
        _whole(image, keyword, label)
        for keyword in ("SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation")
    )
    # Files of other programs leave it out; there is one place for it then.
    left_out = "HighBit" not in image or image["HighBit"].is_empty
    high = stored - 1 if left_out else _whole(image, "HighBit", label)
    if count != 1:
        raise _contradiction(label, f"SamplesPerPixel is {count}")
    if allocated not in WORD_BITS:
        raise _contradiction(label, f"BitsAllocated is {allocated}, not 8, 16 or 32")
    if not 1 <= stored <= allocated or not stored - 1 <= high < allocated:
        raise _contradiction(
            label, f"BitsStored {stored} and HighBit {high} do not fit BitsAllocated {allocated}"
        )
    if signed not in (0, 1):
        raise _contradiction(label, f"PixelRepresentation is {signed}, not 0 or 1")
    return SampleBits(allocated, stored, high, bool(signed))


def check_meaning(image: Dataset, label: str) -> None:
    """Check that a sample is a shade of grey, with a line for its scale.

    Raises:
        StudyError: it is an index into a table of colours, or of values. It names the attribute.
    """
    said = photometric(image)
    if said not in GREY:
        said = "none of these" if said else "missing"
        raise StudyError(
            f"{label} is no grey-scale image: its PhotometricInterpretation, which is MONOCHROME1 "
            f"or MONOCHROME2 in those, is {said}",
            "Export the original images of the scanner",
        )
    if image.get("ModalityLUTSequence"):
        raise StudyError(
            f"the pixels of {label} have a table for a scale (ModalityLUTSequence), which is not "
            "supported",
            "Export the original images of the scanner",
        )


def samples(
    words: NDArray[Any], bits: SampleBits, claim: Claim | None, lossy: bool, image: Dataset,
    label: str,
) -> NDArray[Any]:  # fmt: skip
    """The values in decoded words.

    Args:
        words: as decoded, right-aligned at the precision of ``claim``.
        bits: what the header says.
        claim: what the codestream says, None where there is none (native and RLE).
        lossy: whether the transfer syntax may lose something.
        image: where overlays are looked for.

    Raises:
        StudyError: header and codestream contradict each other.
    """
    if claim is not None and claim.bits < bits.high + 1:
        return _short_words(words, bits, claim, label)
    if lossy and claim is not None:
        return _nearly(words, bits, claim, label)
    _check_above(words, bits, claim, image, label)
    if bits.unused_below and not _has_overlay_below(image, bits.unused_below):
        below = _unsigned(words) & ((1 << bits.unused_below) - 1)
        if below.any():
            raise _contradiction(
                label,
                f"HighBit {bits.high} and BitsStored {bits.stored} say that the lowest "
                f"{bits.unused_below} bits of its words are unused, and they are not",
            )
    return _cut_out(words, bits.stored, bits.high, signed=bits.signed)


def _check_above(
    words: NDArray[Any], bits: SampleBits, claim: Claim | None, image: Dataset, label: str
) -> None:
    """Raise StudyError where what lies above the value belongs to it: cut off, it would be lost.

    An old overlay plane is a single bit. Several of them that nothing declares are a value of more
    bits than BitsStored says, or the sign of values that PixelRepresentation calls unsigned.
    """
    above = bits.allocated - bits.high - 1
    if claim is not None:
        above = min(above, max(claim.bits - bits.high - 1, 0))
        negative = claim.signed and not bits.signed
        if negative and (_cut_out(words, claim.bits, claim.bits - 1, signed=True) < 0).any():
            raise _contradiction(
                label,
                "its compressed pixels have values below zero and PixelRepresentation 0 says that "
                "it has none",
            )
    if not above:
        return
    held = (_unsigned(words) >> (bits.high + 1)) & ((1 << above) - 1)
    padding = number(image, "PixelPaddingValue")
    if padding is not None:  # may be what no value can be
        held = held[_unsigned(words) != int(padding) % (1 << bits.allocated)]
    used = held[held != (1 << above) - 1] if bits.signed else held  # all set: the sign
    planes = int(np.bitwise_or.reduce(used, axis=None)) if used.size else 0
    sign = not bits.signed and above > 1 and np.isin(held, (0, (1 << above) - 1)).all()
    partial = claim is not None and claim.bits not in (bits.high + 1, bits.allocated)
    few = planes.bit_count() <= UNDECLARED_PLANES and not sign and not partial
    if planes and few:
        few = not _goes_on(words, bits, planes.bit_length())
    if planes and not few and not _has_overlay_above(image, bits.high):
        raise _contradiction(
            label,
            f"its words hold more bits than BitsStored {bits.stored} and HighBit {bits.high} say",
        )


def _goes_on(words: NDArray[Any], bits: SampleBits, above: int) -> bool:
    """True where an image is smoother with the bits above its value than without them: they are of
    the value, which jumps where they are cut off. The outline of an overlay plane is a jump."""
    high = bits.high + above
    cut, whole = (
        _cut_out(words, stored, place, signed=bits.signed).astype(np.int64)
        for stored, place in ((bits.stored, bits.high), (bits.stored + above, high))
    )
    jumps = [sum(int(np.abs(np.diff(v, axis=k)).sum()) for k in (0, 1)) for v in (cut, whole)]
    return jumps[1] < jumps[0]


def padding_in(
    words: NDArray[Any], values: NDArray[Any], bits: SampleBits, header: Dataset
) -> NDArray[np.bool_]:
    """Pixels that say that there is none (PS3.3, C.7.5.1.1.2).

    The value may lie outside of what BitsStored can hold; then it is one of whole words.
    """
    value = number(header, "PixelPaddingValue")
    if value is None:
        return np.zeros(words.shape, np.bool_)
    limit = number(header, "PixelPaddingRangeLimit")
    ends = [int(value), int(value if limit is None else limit)]
    # Written as US where it is SS, or the other way round: the VR depends on PixelRepresentation.
    room = 1 << bits.allocated
    ends = [_as_represented(end % room, bits.allocated, bits.signed) for end in ends]
    low, high = value_range(bits.stored, bits.signed)
    if not all(low <= end <= high for end in ends):
        values = _cut_out(words, bits.allocated, bits.allocated - 1, signed=bits.signed)
    return np.asarray((values >= min(ends)) & (values <= max(ends)), np.bool_)


def value_range(stored: int, signed: bool) -> tuple[int, int]:
    """The least and the largest value of so many bits."""
    return (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)


def _short_words(words: NDArray[Any], bits: SampleBits, claim: Claim, label: str) -> NDArray[Any]:
    """Values of a codestream that has fewer bits than the header says.

    Headers that say 16 for images of 12 bits are common, and harmless as long as no value is
    negative in one of the two only.
    """
    contradiction = _contradiction(
        label,
        f"BitsStored {bits.stored} and HighBit {bits.high} of its header need more than the "
        f"{claim.bits} bits of its compressed pixels",
    )
    if bits.unused_below:
        raise contradiction
    values = _cut_out(words, claim.bits, claim.bits - 1, signed=claim.signed)
    negative = _cut_out(words, claim.bits, claim.bits - 1, signed=True) < 0
    if claim.signed != bits.signed and negative.any():
        raise contradiction
    return values


def _nearly(words: NDArray[Any], bits: SampleBits, claim: Claim, label: str) -> NDArray[Any]:
    """Values that have been compressed with loss: bits beside them cannot have survived."""
    signed = _cut_out(words, claim.bits, claim.bits - 1, signed=bits.signed or claim.signed)
    signed = signed.astype(np.int64)
    low, high = value_range(bits.stored, bits.signed)
    beyond = OVERSHOOT * (high - low + 1)
    if bits.unused_below or signed.min() < low - beyond or signed.max() > high + beyond:
        raise _contradiction(
            label,
            f"it was compressed with loss and has values that BitsStored {bits.stored} and "
            f"HighBit {bits.high} of its header cannot hold",
        )
    return signed.clip(low, high)


def _cut_out(words: NDArray[Any], stored: int, high: int, *, signed: bool) -> NDArray[Any]:
    """``stored`` bits of words up to bit ``high``, with their sign."""
    room = words.dtype.itemsize * 8
    up = (_unsigned(words) << (room - high - 1)).view(_kind(words, signed=signed))
    return np.asarray(up >> (room - stored))  # shifts the sign in


def _unsigned(words: NDArray[Any]) -> NDArray[Any]:
    native = words.astype(words.dtype.newbyteorder("="), copy=False)
    return np.ascontiguousarray(native).view(_kind(words, signed=False))


def _kind(words: NDArray[Any], *, signed: bool) -> np.dtype[Any]:
    return np.dtype(f"{'i' if signed else 'u'}{words.dtype.itemsize}")


def _as_represented(word: int, bits: int, signed: bool) -> int:
    return word - (1 << bits) if signed and word >> (bits - 1) else word


def _has_overlay_below(image: Dataset, bits: int) -> bool:
    """True where an overlay plane is said to lie in the lowest ``bits``."""
    return any(place < bits for place in _overlay_planes(image))


def _has_overlay_above(image: Dataset, high: int) -> bool:
    return any(place > high for place in _overlay_planes(image))


def _overlay_planes(image: Dataset) -> list[int]:
    """Bits of a word that are said to be an overlay plane (PS3.3, C.9.2)."""
    found = [image.get((group, _OVERLAY_BIT)) for group in _OVERLAY_GROUPS]
    values = [str(element.value) for element in found if element is not None]
    return [int(value) for value in values if value.isdecimal()]


def _whole(image: Dataset, keyword: str, label: str) -> int:
    value = number(image, keyword)
    if value is None or value != int(value):
        raise StudyError(
            f"{label} lacks {keyword}, or has something else than one number there",
            "Export the study again from its source",
        )
    return int(value)


def _contradiction(label: str, what: str) -> StudyError:
    return StudyError(f"the header of {label} contradicts its pixels: {what}", _EXPORT)
