"""Pixels and labels of a result, packed for the page's slice browser.

Everything is in standard display orientation, base first, cut to a window around the heart
where the whole slices would make the page too large.
"""

from __future__ import annotations

import math
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scarseg_infer.write.report.overlay import grey_range, heart_window
from scarseg_runtime.contract import LEFT_VENTRICLE, SEGMENT_COUNT, Label
from scarseg_runtime.quantify.quantities import slice_heights_mm

if TYPE_CHECKING:
    from scarseg_infer.result import ScarResult

MAX_VOXELS: Final = 700_000
"""Whole slices up to this many voxels (12 × 256 × 216 is 663 552), which make 1.9 MB of text."""
MARGINS_MM: Final = (45.0, 18.0)
"""Shown around the ventricle of larger stacks: the first that fits, else the last."""
MAX_CROPPED_VOXELS: Final = 2_500_000
"""Beyond this, crops (or whole slices of a stack without a heart) are thinned out."""
_CODES: Final = 65_535


def volumes(result: ScarResult) -> dict[str, Any]:
    """Volumes as the browser needs them, in JSON values.

    ``pixels``: base64 of little-endian uint16, [S, H, W]; value = ``offset`` + code · ``step``,
    exact where the source has at most 65 536 whole numbers. ``labels``: runs (see
    :func:`run_lengths`) of fused label + 8 · image-only label; ``segments``: runs of AHA numbers.
    ``heart``: first and last + 1 row and column of the window to show first, ``turn_deg``: how far
    clockwise a slice is to be turned about the middle of what is shown. ``segment_slices``:
    the slice to show for each AHA segment, None where it is not imaged.
    """
    turn, stack = result.display.to_display, result.stack
    labels, image_only = turn(result.labels), turn(result.image_only_labels)
    spacing = result.display.display_spacing(stack.pixel_spacing_mm)
    ventricle = np.where(np.isin(labels, LEFT_VENTRICLE), labels, image_only)
    window, every = _shown(ventricle, spacing)
    view = (slice(None), *(slice(w.start, w.stop, every) for w in window))
    pixels = turn(stack.pixels)[view]
    segments = turn(result.segments)
    heart = _inside(_clipped(heart_window(ventricle, spacing), ventricle), window)
    codes, offset, step = quantise(pixels)
    seen = tuple(slice(start // every, max(stop // every, 1)) for start, stop in heart)
    grey = grey_range(pixels[:, seen[0], seen[1]])
    scar = labels == Label.SCAR, image_only == Label.SCAR
    return {
        "shape": list(pixels.shape),
        "spacing_mm": [spacing[0] * every, spacing[1] * every],
        "thinned": every,
        "turn_deg": result.display.turn_deg,
        "heart": [[start / every, stop / every] for start, stop in heart],
        "pixels": b64encode(codes.astype("<u2").tobytes()).decode("ascii"),
        "offset": offset,
        "step": step,
        "grey": [float(grey[0]), float(grey[1])],
        "labels": run_lengths((labels | (image_only << 3))[view]),
        "segments": run_lengths(segments[view]),
        "slices": _slices(result, *scar),
        "segment_slices": segment_slices(*scar, segments, _heights(result)),
        "start": _start(*scar, ventricle),
    }


def quantise(pixels: NDArray[np.float32]) -> tuple[NDArray[np.uint16], float, float]:
    """Codes 0–65535 of pixels of any scale, and offset and step that lead back.

    Whole numbers stay exact where they fit. Otherwise the error is half a step of the range in
    which pixels usually lie; what lies far outside it (a single hot pixel) is clipped.
    """
    values = np.nan_to_num(pixels.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if high - low <= _CODES and bool((values == np.rint(values)).all()):
        return (values - low).astype(np.uint16), low, 1.0
    # Every 7th pixel tells the usual range as well, sooner.
    usual = np.percentile(values.ravel()[:: 7 if values.size > 100_000 else 1], (0.5, 99.5))
    reach = 4.0 * (usual[1] - usual[0])
    if reach > 0:
        low, high = max(low, float(usual[0] - reach)), min(high, float(usual[1] + reach))
    step = (high - low) / _CODES or 1.0
    codes = np.rint((np.clip(values, low, high) - low) / step)
    return codes.astype(np.uint16), low, step


def run_lengths(values: NDArray[np.uint8]) -> str:
    """Base64 of (value, length 1–255) byte pairs that spell ``values`` in C order."""
    flat = values.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(starts, append=flat.size)
    pieces = -(-lengths // 255)
    pairs = np.full((int(pieces.sum()), 2), 255, np.uint8)
    pairs[:, 0] = np.repeat(flat[starts], pieces)
    pairs[np.cumsum(pieces) - 1, 1] = lengths - 255 * (pieces - 1)
    return b64encode(pairs.tobytes()).decode("ascii")


def segment_slices(
    fused: NDArray[np.bool_],
    image_only: NDArray[np.bool_],
    segments: NDArray[np.uint8],
    heights_mm: ArrayLike,
) -> list[int | None]:
    """For each AHA segment the slice in which it has most scar; without any, most of the scar
    that the image alone saw; without that, most wall; None where it is not imaged."""
    bins = SEGMENT_COUNT + 1
    key = np.arange(len(segments))[:, None, None] * bins + segments
    found: list[int | None] = [None] * bins
    for mask in (segments > 0, image_only, fused):  # the last one that knows decides
        count = np.bincount(key[mask], minlength=len(segments) * bins).reshape(-1, bins)
        volume = count * np.asarray(heights_mm)[:, None]
        for number in np.flatnonzero(volume.any(axis=0)):
            found[number] = int(volume[:, number].argmax())
    return found[1:]


def _shown(ventricle: NDArray[np.uint8], spacing: tuple[float, float]) -> tuple[list[slice], int]:
    """Rows and columns to embed, and how many pixels to skip to for one that is kept."""
    whole = [slice(0, n) for n in ventricle.shape[1:]]
    windows = [whole]
    for margin in MARGINS_MM:
        windows.append(_clipped(heart_window(ventricle, spacing, margin), ventricle))
    for window in windows:
        if _voxels(ventricle, window) <= MAX_VOXELS:
            return window, 1
    window = windows[-1]
    return window, math.ceil(math.sqrt(_voxels(ventricle, window) / MAX_CROPPED_VOXELS))


def _voxels(volume: NDArray[np.uint8], window: list[slice]) -> int:
    return len(volume) * math.prod(int(w.stop - w.start) for w in window)


def _clipped(window: tuple[slice, slice], volume: NDArray[np.uint8]) -> list[slice]:
    """The part of a window of rows and columns that lies on the image."""
    return [slice(*w.indices(n)) for w, n in zip(window, volume.shape[1:], strict=True)]


def _inside(heart: list[slice], window: list[slice]) -> list[tuple[int, int]]:
    """First and last + 1 row and column of ``heart``, counted from where ``window`` starts."""
    return [
        (max(h.start, w.start) - w.start, min(h.stop, w.stop) - w.start)
        for h, w in zip(heart, window, strict=True)
    ]


def _heights(result: ScarResult) -> NDArray[np.float64]:
    """[S] mm that each slice stands for, base first."""
    stack = result.stack
    heights = slice_heights_mm(stack.slice_positions_mm, stack.slice_thickness_mm)
    return heights[::-1] if result.display.reverse_slices else heights


def _slices(
    result: ScarResult, fused: NDArray[np.bool_], image_only: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Number in the stack's own order (as in the other outputs), place and scar of each slice."""
    stack, count = result.stack, len(fused)
    reverse = result.display.reverse_slices
    positions = stack.slice_positions_mm
    shown = -positions[::-1] if reverse else positions
    row, column = stack.pixel_spacing_mm
    voxel_ml = _heights(result) * row * column / 1000.0
    return [
        {
            "number": count - index if reverse else index + 1,
            "from_base_mm": round(float(shown[index] - shown[0]), 2),
            "scar_ml": round(float(fused[index].sum() * voxel_ml[index]), 4),
            "image_only_scar_ml": round(float(image_only[index].sum() * voxel_ml[index]), 4),
        }
        for index in range(count)
    ]


def _start(
    fused: NDArray[np.bool_], image_only: NDArray[np.bool_], ventricle: NDArray[np.uint8]
) -> int:
    """The slice to open with: most scar, else the middle of the ventricle, else of the stack."""
    for scar in (fused, image_only):
        area = scar.sum(axis=(1, 2))
        if area.any():
            return int(area.argmax())
    seen = np.flatnonzero(np.isin(ventricle, LEFT_VENTRICLE).any(axis=(1, 2)))
    return int(seen[len(seen) // 2]) if seen.size else len(fused) // 2
