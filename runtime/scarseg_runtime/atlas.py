"""The AHA 17-segment model: numbering, names, territories, and segment from position.

Source of numbering and territories: Cerqueira et al., Circulation 2002;105:539 (as described
by Radiopaedia). The anterior RV insertion is the boundary between segments 1 and 2, which
follows from the definition of the septum as segments 2 + 3.

The septum of the definition ends at both insertions of each slice. Here it always spans 120° about
one direction for the whole stack, that of the right ventricle from the left, since insertions of
single slices are found too unsurely: where the insertions of a heart lie otherwise, borders between
its segments are off by as much.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

SEGMENT_NAMES: Final = (
    "basal anterior",
    "basal anteroseptal",
    "basal inferoseptal",
    "basal inferior",
    "basal inferolateral",
    "basal anterolateral",
    "mid anterior",
    "mid anteroseptal",
    "mid inferoseptal",
    "mid inferior",
    "mid inferolateral",
    "mid anterolateral",
    "apical anterior",
    "apical septal",
    "apical inferior",
    "apical lateral",
    "apex",
)

TERRITORIES: Final = {
    "LAD": (1, 2, 7, 8, 13, 14, 17),
    "RCA": (3, 4, 9, 10, 15),
    "LCx": (5, 6, 11, 12, 16),
}
"""Usual coronary territory of each segment; varies widely between patients."""

RING_ENDS: Final = (0.32, 0.62, 0.92)
"""Long-axis positions (0 base … 1 apex) where basal, mid and apical rings end and the cap begins.

From a public atlas template with basal/mid/apical/apex lengths of about 32/30/30/8 mm.
"""

SEPTUM_DEG: Final = 120.0
"""Angle from the anterior to the inferior RV insertion: two sectors of 60°."""

_APICAL_START_DEG: Final = SEPTUM_DEG / 2 - 45.0  # segment 14 is centred on the septum


def segment_at(angle_deg: ArrayLike, long_axis: ArrayLike) -> NDArray[np.uint8]:
    """AHA segment of points given in LV coordinates.

    Args:
        angle_deg: degrees from the anterior RV insertion, anticlockwise in the standard
            short-axis display (so the septum is 0–120°); any shape.
        long_axis: position along the LV, 0 at the base plane to 1 at the apical tip;
            broadcast against ``angle_deg``.

    Returns:
        Segment numbers 1–17, of the broadcast shape.
    """
    angle = np.mod(np.asarray(angle_deg, dtype=np.float64), 360.0)
    level = np.asarray(long_axis, dtype=np.float64)
    sixth = (np.floor(angle / 60.0).astype(np.int64) + 1) % 6
    quarter = (np.floor(np.mod(angle - _APICAL_START_DEG, 360.0) / 90.0).astype(np.int64) + 1) % 4
    segment = np.where(level < RING_ENDS[0], sixth + 1, sixth + 7)
    segment = np.where(level < RING_ENDS[1], segment, quarter + 13)
    return np.where(level < RING_ENDS[2], segment, 17).astype(np.uint8)


def segments_on(wall: NDArray[np.bool_], segments: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Segments [S, H, W] for exactly the voxels of ``wall``, after a clean-up changed it.

    Wall that has no segment yet (a filled hole) takes that of its nearest neighbours in the
    slice; 0 outside the wall, and in wall that touches no segment at all.
    """
    spread = np.where(wall, segments, 0).astype(np.uint8)
    while True:
        bare = wall & (spread == 0)
        if not bare.any():
            return spread
        near = np.zeros_like(spread)
        for axis, step in ((1, 1), (1, -1), (2, 1), (2, -1)):
            moved = np.roll(spread, step, axis=axis)
            edge: list[slice | int] = [slice(None)] * 3
            edge[axis] = 0 if step == 1 else -1
            moved[tuple(edge)] = 0
            near = np.maximum(near, moved)
        if not near[bare].any():
            return spread
        spread[bare] = near[bare]
