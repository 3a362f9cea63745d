"""The contract between a model file and whoever runs it: names, shapes, dtypes, units.

The graph holds the whole numeric image pipeline, from raw pixels to labels on the same grid,
so this page is all that a host in another language needs to know.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

FORMAT_VERSION: Final = "3"
"""Version of the model file format; the runtime refuses any other."""

LEADS: Final = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""Lead order of the ``ecg`` input."""

ECG_RATE_HZ: Final = 500.0
BEAT_SAMPLES: Final = 512
BEAT_R_INDEX: Final = 192
"""Sample of the mean beat at which the R peak lies: 384 ms of the beat precede it."""

SEGMENT_COUNT: Final = 17

MAX_STACK_PIXELS: Final = 2**26
"""A quarter of a gigabyte as we hold them, and several times that while they are worked on; 3-D LGE
of 150 slices of 512 x 512 has half of it, 30 slices of that size an eighth. Compressed slices of
black take next to nothing in their files."""


class Label(IntEnum):
    """Values of the ``labels`` and ``image_only_labels`` outputs."""

    BACKGROUND = 0
    LV_CAVITY = 1
    VIABLE_MYOCARDIUM = 2
    SCAR = 3
    RV_CAVITY = 4


LEFT_VENTRICLE: Final = (Label.LV_CAVITY, Label.VIABLE_MYOCARDIUM, Label.SCAR)
MYOCARDIUM: Final = (Label.VIABLE_MYOCARDIUM, Label.SCAR)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, ONNX Runtime type string and shape (``str`` axes are dynamic) of one tensor."""

    name: str
    type: str
    shape: tuple[int | str, ...]


_VOLUME: Final = ("S", "H", "W")

INPUTS: Final = (
    # Pixel values after rescale, any scale; slices base → apex; standard short-axis display
    # orientation (anterior wall up, RV on image left).
    TensorSpec("lge", "tensor(float)", _VOLUME),
    TensorSpec("pixel_spacing", "tensor(float)", (2,)),  # mm: between rows, between columns
    TensorSpec("slice_level", "tensor(float)", ("S",)),  # 0 = most basal slice … 1 = most apical
    TensorSpec("ecg", "tensor(float)", (12, BEAT_SAMPLES)),  # R-aligned mean beat, mV, 500 Hz
    TensorSpec("gap_days", "tensor(float)", (1,)),  # days between ECG and MRI, ≥ 0
    TensorSpec("ecg_valid", "tensor(float)", (1,)),  # 1 use the ECG, 0 image only
)

IMAGE_INPUTS: Final = INPUTS[:3]
"""Inputs of an image-only model: its ECG weight is 0 whatever the ECG."""

OUTPUTS: Final = (
    TensorSpec("labels", "tensor(uint8)", _VOLUME),
    TensorSpec("scar_probability", "tensor(float)", _VOLUME),
    TensorSpec("image_only_labels", "tensor(uint8)", _VOLUME),
    TensorSpec("segments", "tensor(uint8)", _VOLUME),  # AHA segment 1–17 in myocardium, else 0
    TensorSpec("segment_burden", "tensor(float)", (SEGMENT_COUNT,)),  # scar fraction, 0–1
    TensorSpec("ecg_segment_belief", "tensor(float)", (SEGMENT_COUNT,)),
    TensorSpec("ecg_weight", "tensor(float)", (1,)),  # TAFF weight in [0, 1]
    # Probability that ECG and image are of different patients; 0 where no ECG is used.
    TensorSpec("ecg_image_disagreement", "tensor(float)", (1,)),
)
