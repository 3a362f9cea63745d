"""Contoured short-axis cine MRI (Sunnybrook Cardiac Data) as stacks of one cardiac phase.

Two layouts are understood, under one folder at any depth:

    <subject>/NNNN.dcm, NNNN-endo.txt, NNNN-epi.txt
    the public download: <subject>/…/IM-SSSS-NNNN.dcm and, beside it or elsewhere,
    <subject>/…/IM-0001-NNNN-icontour-manual.txt, …-ocontour-manual.txt; subjects may be
    written with leading zeros, and scd_patientdata.csv may give the images other names

Contours are pixel pairs ``x y``, the first pixel's centre being (1, 1): nobody says so, but only
shifted by one pixel do the endocardial contours lie on the edges of the images. The data set
draws the epicardium at end diastole only, so a frame without one (end systole, some basal
slices) has no myocardium to label and is left out. That a stack holds one phase is made sure
from the headers.

Some copies of the data hold one subject's epicardium under another subject's name (the files of
SC-HF-I-6 are those of SC-HF-I-1), so both contours must fit each other.
"""

from __future__ import annotations

import csv
import itertools
import re
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from scarseg_runtime.edited_text import edited_text
from scarseg_runtime.errors import UsageError

Polygon = NDArray[np.float64]
FloatArray = NDArray[np.float32]

MIN_SLICES = 3
PHASE_TOLERANCE = 0.1
"""Share of the heartbeat by which frames of one phase may differ between slices."""
PITCH_TOLERANCE = 0.3
"""Share of the usual pitch by which neighbours may lie further apart or closer."""
MISFIT = 0.05
"""Share of the cavity that may lie outside the epicardium, before the contours belong to
different hearts."""

_PLAIN = re.compile(r"(\d+)-(endo|epi)\.txt")
_PUBLIC = re.compile(r"IM-\d+-(\d+)-([io])contour-manual\.txt")
_CONTOUR_FOLDERS = {"contours-manual", "ircci-expert", "i-contours", "o-contours"}
# What pydicom raises on damaged or incomplete files.
_PARSE_ERRORS = (
    InvalidDicomError, OSError, EOFError, ValueError, TypeError, AttributeError, LookupError,
    RuntimeError,
)  # fmt: skip
_FIRST_PIXEL = 1.0
_ADVICE = "Give the folder of the Sunnybrook Cardiac Data, with DICOM files and contours"


@dataclass(frozen=True, slots=True, eq=False)
class CineStack:
    """Neighbouring slices of one subject in one phase, base → apex, as the scanner turned them."""

    pixels: FloatArray
    """[S, H, W] stored pixel values."""
    spacing_mm: float
    heights_mm: NDArray[np.float64]
    """[S] distance of each slice from the first towards the apex."""
    endo: tuple[Polygon, ...]
    """Per slice, [N, 2] (column, row) of the endocardium, the first pixel's centre being (0, 0).
    The papillary muscles lie inside."""
    epi: tuple[Polygon, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    pixels: FloatArray
    spacing_mm: float
    position_mm: float
    """Along the normal of the slices."""
    phase: float
    """0–1 of the heartbeat."""
    endo: Polygon
    epi: Polygon


def read_cine(folder: Path) -> list[CineStack]:
    """Read all subjects that have at least ``MIN_SLICES`` neighbouring slices with both contours.

    Raises:
        UsageError: there are none, or a contour or DICOM file of theirs cannot be used.
    """
    if not folder.is_dir():
        raise UsageError("the folder of cine frames does not exist", _ADVICE)
    contours = _contours(folder)
    if not contours:
        raise UsageError("no frame has both an endocardial and an epicardial contour", _ADVICE)
    images = _images(folder, set(contours))
    stacks, misfits = [], 0
    for subject, pairs in sorted(contours.items()):
        frames = _series(images[subject], pairs)
        fitting = [frame for frame in frames if _fits(frame)]
        misfits += len(frames) - len(fitting)
        if fitting:
            stacks += _stacks(_one_phase(fitting))
    if misfits:
        warnings.warn(
            f"{misfits} cine frames left out: their endocardium lies outside their epicardium",
            stacklevel=2,
        )
    if not stacks:
        raise UsageError(
            f"no subject has {MIN_SLICES} neighbouring cine slices with both contours", _ADVICE
        )
    return stacks


def signed_distance(polygon: Polygon, columns: NDArray, rows: NDArray) -> FloatArray:
    """Distance in pixels of every point [rows, columns] inside a closed polygon; outside < 0."""
    start = polygon.astype(np.float32)
    step = np.roll(start, -1, axis=0) - start
    x = np.asarray(columns, np.float32)[None, :, None] - start[:, 0]
    y = np.asarray(rows, np.float32)[:, None, None] - start[:, 1]
    length = np.maximum((step**2).sum(axis=1), np.float32(1e-12))
    along = np.clip((x * step[:, 0] + y * step[:, 1]) / length, 0, 1)
    square = (x - along * step[:, 0]) ** 2 + (y - along * step[:, 1]) ** 2
    distance = np.sqrt(square.min(axis=-1))
    # Even-odd rule: count the sides that a ray towards larger columns crosses.
    crossing = (y < 0) != (y - step[:, 1] < 0)
    height = np.where(step[:, 1] == 0, np.float32(1.0), step[:, 1])
    right = x < y / height * step[:, 0]
    inside = (crossing & right).sum(axis=-1) % 2 == 1
    return np.where(inside, distance, -distance).astype(np.float32)


def _contours(folder: Path) -> dict[str, dict[int, tuple[Path, Path]]]:
    """Per subject and image number, the files of endocardium and epicardium where both exist."""
    found: dict[str, dict[int, dict[str, Path]]] = defaultdict(lambda: defaultdict(dict))
    for path in sorted(folder.resolve().rglob("*.txt")):
        match = _PLAIN.fullmatch(path.name) or _PUBLIC.fullmatch(path.name)
        if match:
            parents = (p.name for p in path.parents if p.name.lower() not in _CONTOUR_FOLDERS)
            kind = "epi" if match[2] in ("epi", "o") else "endo"
            found[_canonical(next(parents))][int(match[1])][kind] = path
    both = {
        subject: {
            number: (kinds["endo"], kinds["epi"])
            for number, kinds in numbers.items()
            if len(kinds) == 2
        }
        for subject, numbers in found.items()
    }
    return {subject: numbers for subject, numbers in both.items() if numbers}


def _canonical(name: str) -> str:
    """Subject without leading zeros or case: the public contours say SC-HF-I-01 for SC-HF-I-1."""
    return re.sub(r"\d+", lambda digits: str(int(digits[0])), name).lower()


def _images(folder: Path, subjects: set[str]) -> dict[str, dict[str, dict[int, Path]]]:
    """DICOM files by subject, series (folder and name before the number) and image number."""
    alias = _aliases(folder)
    images: dict[str, dict[str, dict[int, Path]]] = defaultdict(lambda: defaultdict(dict))
    for path in sorted(folder.resolve().rglob("*.dcm")):
        match = re.fullmatch(r"(.*?)(\d+)", path.stem)
        names = (_canonical(parent.name) for parent in path.parents)
        subject = next((s for n in names if (s := alias.get(n, n)) in subjects), None)
        if match and subject:
            images[subject][f"{path.parent}/{match[1]}"][int(match[2])] = path
    return images


def _aliases(folder: Path) -> dict[str, str]:
    """Names that the public table gives the images of a subject, to those of the contours."""
    alias = {}
    for path in folder.rglob("scd_patientdata.csv"):
        with path.open(encoding="utf-8-sig", newline="") as lines:
            for row in csv.DictReader(lines):
                if row.get("PatientID") and row.get("OriginalID"):
                    alias[_canonical(row["PatientID"])] = _canonical(row["OriginalID"])
    return alias


def _series(
    images: dict[str, dict[int, Path]], pairs: dict[int, tuple[Path, Path]]
) -> list[_Frame]:
    """Frames of the series that the contours were drawn on.

    The public download numbers the images of every series from 1 and does not say which one
    was contoured: it is the one with the most contoured numbers and, among equals, the one
    where blood inside the endocardium is brightest against the wall.
    """
    numbers = {name: sorted(pairs.keys() & files) for name, files in images.items()}
    most = max((len(found) for found in numbers.values()), default=0)
    candidates = [
        [_read_frame(images[name][n], *pairs[n]) for n in found]
        for name, found in numbers.items()
        if most and len(found) == most
    ]
    if len(candidates) < 2:
        return candidates[0] if candidates else []
    return max(candidates, key=lambda frames: float(np.mean([_contrast(f) for f in frames])))


def _contrast(frame: _Frame) -> float:
    endo, epi = _masks(frame)
    wall = epi & ~endo
    if not wall.any() or not endo.any():
        return -np.inf
    difference = np.median(frame.pixels[endo]) - np.median(frame.pixels[wall])
    return float(difference / (frame.pixels.std() + 1e-6))


def _fits(frame: _Frame) -> bool:
    endo, epi = _masks(frame)
    return bool((endo & ~epi).sum() <= MISFIT * endo.sum())


def _masks(frame: _Frame) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """[H, W] pixels inside the endocardium and inside the epicardium."""
    masks = np.zeros((2, *frame.pixels.shape), np.bool_)
    points = np.concatenate([frame.endo, frame.epi])
    (left, top), (right, bottom) = points.min(axis=0).astype(int), points.max(axis=0).astype(int)
    columns, rows = np.arange(left, right + 1), np.arange(top, bottom + 1)
    for mask, polygon in zip(masks, (frame.endo, frame.epi), strict=True):
        mask[top : bottom + 1, left : right + 1] = signed_distance(polygon, columns, rows) > 0
    return masks[0], masks[1]


def _read_frame(image: Path, endo: Path, epi: Path) -> _Frame:
    try:
        with warnings.catch_warnings():  # identifiers of the data set break the standard
            warnings.simplefilter("ignore")
            header = dcmread(image)
        pixels = header.pixel_array.astype(np.float32)
        row_spacing, column_spacing = (float(v) for v in header.PixelSpacing)
        along_row, along_column = np.reshape(header.ImageOrientationPatient, (2, 3)).astype(float)
        position = np.dot(
            np.cross(along_row, along_column), np.asarray(header.ImagePositionPatient, float)
        )
        phase = _phase(header)
    except _PARSE_ERRORS as error:
        what = "a contoured cine frame cannot be read as DICOM with position and pixel spacing"
        raise UsageError(what, _ADVICE) from error
    if pixels.ndim != 2 or not np.isclose(row_spacing, column_spacing, rtol=0.01):
        raise UsageError("a contoured cine frame is not one image of square pixels", _ADVICE)
    borders = [_read_polygon(path, pixels.shape) for path in (endo, epi)]
    return _Frame(pixels, row_spacing, float(position), phase, *borders)


def _read_polygon(path: Path, shape: tuple[int, ...]) -> Polygon:
    try:
        points = np.array(edited_text(path).split(), np.float64).reshape(-1, 2)
    except (OSError, ValueError) as error:
        raise UsageError("a contour file does not hold pairs of numbers", _ADVICE) from error
    points -= _FIRST_PIXEL
    limit = np.array(shape[::-1])
    if len(points) < 3 or (points < -0.5).any() or (points > limit - 0.5).any():
        raise UsageError("a contour has less than 3 points or leaves its frame", _ADVICE)
    return points


def _phase(header: Any) -> float:
    """Place of a frame in the heartbeat, 0–1.

    InstanceNumber counts the phases of one position before the next (GE). Where the number of
    phases is not known, the trigger time tells, though the heart rate varies between slices.
    """
    count = int(header.get("CardiacNumberOfImages") or 0)
    if count > 1 and header.get("InstanceNumber") is not None:
        return (int(header.InstanceNumber) - 1) % count / count
    beat = float(header.get("NominalInterval") or 0.0)
    trigger = float(header.get("TriggerTime") or 0.0)
    return trigger / beat % 1.0 if beat > 0 else 0.0


def _one_phase(frames: list[_Frame]) -> list[_Frame]:
    """One frame a position, all in the phase with the most frames: the fullest where two tie."""
    phases = np.array([frame.phase for frame in frames])
    apart = np.abs((phases[:, None] - phases[None, :] + 0.5) % 1.0 - 0.5)
    volumes = np.array([_area(frame.endo) for frame in frames])
    near = apart <= PHASE_TOLERANCE
    reference = max(range(len(frames)), key=lambda k: (near[k].sum(), volumes[near[k]].sum()))
    chosen: dict[float, tuple[float, _Frame]] = {}
    for frame, distance in zip(frames, apart[reference], strict=True):
        place = round(frame.position_mm, 1)
        if distance <= PHASE_TOLERANCE and distance < chosen.get(place, (1.0, frame))[0]:
            chosen[place] = distance, frame
    return sorted((frame for _, frame in chosen.values()), key=lambda frame: frame.position_mm)


def _stacks(frames: list[_Frame]) -> list[CineStack]:
    """Runs of neighbours among frames sorted by position, each turned base → apex."""
    if len(frames) < MIN_SLICES:
        return []
    positions = np.array([frame.position_mm for frame in frames])
    pitch = np.diff(positions)
    usual = float(np.median(pitch))
    same = [
        first.pixels.shape == second.pixels.shape
        and bool(np.isclose(first.spacing_mm, second.spacing_mm, rtol=0.01))
        for first, second in itertools.pairwise(frames)
    ]
    cuts = np.nonzero((np.abs(pitch - usual) > PITCH_TOLERANCE * usual) | ~np.array(same))[0] + 1
    areas = np.array([_area(frame.endo) for frame in frames])
    # The cavity narrows towards the apex; the slope over all slices is safe against one contour.
    towards_apex = 1 if np.polyfit(positions, areas, 1)[0] < 0 else -1
    runs = [frames[a:b] for a, b in zip([0, *cuts], [*cuts, len(frames)], strict=True)]
    return [_stack(run[::towards_apex]) for run in runs if len(run) >= MIN_SLICES]


def _stack(frames: list[_Frame]) -> CineStack:
    positions = np.array([frame.position_mm for frame in frames])
    return CineStack(
        np.stack([frame.pixels for frame in frames]),
        frames[0].spacing_mm,
        np.abs(positions - positions[0]),
        tuple(frame.endo for frame in frames),
        tuple(frame.epi for frame in frames),
    )


def _area(polygon: Polygon) -> float:
    x, y = polygon.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
