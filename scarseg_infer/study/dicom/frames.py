"""An enhanced (multi-frame) MR object → one header a frame, as if each were a classic image.

Imported only when a DICOM study is read, so that other work does not pay for pydicom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue
from pydicom.uid import EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage
from pydicom.valuerep import DSfloat

from scarseg_infer.study.dicom.parse import (
    PARSE_ERRORS,
    TooManyPartsError,
    damaged,
    drop_misplaced_sequences,
    items,
    number,
)
from scarseg_runtime.errors import StudyError

ENHANCED_CLASSES: Final = (EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)

MAX_FRAMES: Final = 2000
"""Of an object: a cine of a whole heart has some 500; each takes half a millisecond."""

SHARED: Final = "SharedFunctionalGroupsSequence"
PER_FRAME: Final = "PerFrameFunctionalGroupsSequence"

# What the attributes of functional groups (PS3.3 C.7.6.16.2 and C.8.13.5) are called in a
# classic MR image. A frame's own group goes before the shared one.
_FROM_GROUPS: Final = {
    "PlanePositionSequence": {"ImagePositionPatient": "ImagePositionPatient"},
    "PlaneOrientationSequence": {"ImageOrientationPatient": "ImageOrientationPatient"},
    "PixelMeasuresSequence": {
        "PixelSpacing": "PixelSpacing",
        "SliceThickness": "SliceThickness",
        "SpacingBetweenSlices": "SpacingBetweenSlices",
    },
    "PixelValueTransformationSequence": {
        "RescaleIntercept": "RescaleIntercept",
        "RescaleSlope": "RescaleSlope",
    },
    "FrameContentSequence": {
        "FrameReferenceDateTime": "AcquisitionDateTime",
        "FrameAcquisitionDateTime": "AcquisitionDateTime",
        "FrameAcquisitionNumber": "AcquisitionNumber",
        "TemporalPositionIndex": "TemporalPositionIdentifier",
    },
    "MRImageFrameTypeSequence": {
        "FrameType": "ImageType",
        "ComplexImageComponent": "ComplexImageComponent",
    },
    "MREchoSequence": {"EffectiveEchoTime": "EchoTime"},
    "MRModifierSequence": {"InversionTimes": "InversionTime"},
    "CardiacSynchronizationSequence": {"NominalCardiacTriggerDelayTime": "TriggerTime"},
}
_REAL_WORLD: Final = "RealWorldValueMappingSequence"
_ONE_VALUE: Final = frozenset({"InversionTime"})
# A legacy conversion keeps what it has no group for, under its classic name.
UNASSIGNED: Final = (
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
)
# Only groups place a frame: outside of them these describe the object as a whole, if anything.
_NOT_OF_THE_OBJECT: Final = (
    "PixelData",
    SHARED,
    PER_FRAME,
    *_FROM_GROUPS["PlanePositionSequence"],
    *_FROM_GROUPS["PlaneOrientationSequence"],
    *_FROM_GROUPS["PixelMeasuresSequence"],
)


def frame_headers(image: Dataset, label: str) -> list[Dataset]:
    """A classic MR header for each frame, in frame order, without pixel data.

    Args:
        image: an object of one of ``ENHANCED_CLASSES``.
        label: what to call it in messages.

    Raises:
        StudyError: its functional groups are damaged, or not one a frame.
        TooManyPartsError: more than ``MAX_FRAMES``.
    """
    try:
        per_frame = _items(image, PER_FRAME)
        shared = _items(image, SHARED)
        if not per_frame or number(image, "NumberOfFrames") != len(per_frame):
            raise StudyError(
                f"{label} is an enhanced MR object whose frames do not all have their functional "
                "groups",
                "Export or copy the study again",
            )
        if len(per_frame) > MAX_FRAMES:
            raise TooManyPartsError("more frames than any LGE")
        common = Dataset()
        common.update(image)
        for keyword in _NOT_OF_THE_OBJECT:
            if keyword in common:
                delattr(common, keyword)
        for group in shared:
            _flatten(common, group)
        return [_frame(common, group) for group in per_frame]
    except (StudyError, TooManyPartsError):
        raise
    except _BadValueError as error:
        raise StudyError(
            f"{label} has frames with something in {error} that cannot stand there (such as a "
            "decimal comma)",
            "Export the study again from its source",
        ) from error
    except PARSE_ERRORS as error:
        raise damaged(label) from error


class _BadValueError(ValueError):
    """An attribute, by its keyword, with a value that is none of its kind."""


def _frame(common: Dataset, group: Dataset) -> Dataset:
    header = Dataset()
    header.update(common)
    _flatten(header, group)
    return header


def _flatten(header: Dataset, groups: Dataset) -> None:
    """Set in ``header`` what the functional groups of ``groups`` say."""
    for sequence in UNASSIGNED:
        for item in _items(groups, sequence):
            header.update({tag: value for tag, value in item.items() if tag not in header})
    if _REAL_WORLD in groups:
        header[_REAL_WORLD] = groups[_REAL_WORLD]
    for sequence, names in _FROM_GROUPS.items():
        for item in _items(groups, sequence):
            for keyword, classic in names.items():
                try:
                    value = _classic_value(item.get(keyword), one=classic in _ONE_VALUE)
                except PARSE_ERRORS as error:
                    raise _BadValueError(keyword) from error
                if value is not None:
                    # A new element: setattr would change the one that all frames share.
                    header[classic] = DataElement(classic, dictionary_VR(classic), value)


def _classic_value(value: Any, *, one: bool) -> Any:
    """A value as a classic element takes it: numbers as decimal strings; None for no value."""
    if one and isinstance(value, MultiValue):
        value = value[0] if value else None
    if isinstance(value, float) and not isinstance(value, DSfloat):
        return DSfloat(value, auto_format=True) if math.isfinite(value) else None
    return None if value == "" else value


def _items(dataset: Dataset, keyword: str) -> Sequence[Dataset]:
    found = items(dataset, keyword)
    for item in found:
        drop_misplaced_sequences(item)
    return found
