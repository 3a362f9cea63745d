"""DICOM files → the LGE stack in them, or a list of the series that they hold."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset

from scarseg_infer.host.quiet import quiet_readers
from scarseg_infer.study.dicom.charset import (
    Declared,
    character_set_warnings,
    settle_character_set,
)
from scarseg_infer.study.dicom.choose import Choice, choose
from scarseg_infer.study.dicom.chosen import stack_warnings, thickness_mm
from scarseg_infer.study.dicom.contradictions import contradictions
from scarseg_infer.study.dicom.foreign import (
    Clash,
    check_broken,
    check_clashes,
    left_out,
    were,
    without_copies,
)
from scarseg_infer.study.dicom.frames import frame_headers
from scarseg_infer.study.dicom.header import (
    BrokenFile,
    FileKind,
    SliceHeader,
    broken_file,
    read_headers,
)
from scarseg_infer.study.dicom.parse import PARSE_ERRORS, damaged, parse, text
from scarseg_infer.study.dicom.pixels import has_more_pixels, slice_pixels
from scarseg_infer.study.dicom.rank import Candidate, judge, orientation_of
from scarseg_infer.study.dicom.scales import scale_warnings
from scarseg_infer.study.dicom.series import (
    ADVICE,
    SliceGroup,
    group_slices,
    plane_of,
)
from scarseg_infer.study.dicom.time import acquisition_time
from scarseg_infer.study.files import StudyFiles, file_label
from scarseg_infer.study.geometry.orientation import counted_from
from scarseg_infer.study.series_verdict import PreferredKind, SeriesVerdict
from scarseg_infer.study.size import check_size
from scarseg_infer.study.stack import LgeStack
from scarseg_runtime.errors import StudyError

_IGNORED: Final = {
    FileKind.NOT_DICOM: ("file that is not DICOM", "files that are not DICOM"),
    FileKind.ARCHIVE: ("packed archive", "packed archives"),
    FileKind.OTHER_OBJECT: (
        "DICOM object that is not an MR image",
        "DICOM objects that are not MR images",
    ),
    FileKind.SEGMENTATION: ("DICOM segmentation", "DICOM segmentations"),
    FileKind.COLOURS: ("MR image in colours", "MR images in colours"),
    FileKind.MULTI_FRAME: ("multi-frame MR object", "multi-frame MR objects"),
    FileKind.TOO_LARGE: (
        "file too large or complex to be an LGE image",
        "files too large or complex to be LGE images",
    ),
}


def read_dicom(
    files: StudyFiles, series: str | int | None = None, prefer: PreferredKind = "PSIR"
) -> LgeStack:
    """Read the LGE short-axis stack among DICOM files, chosen by ``series_rules.toml``.

    Files of other kinds and other series are ignored with a count in the warnings. Slice
    heights come from positions; SliceThickness matters only to a study of one slice.

    Args:
        files: the study.
        series: a number of :func:`list_dicom_series` or a SeriesInstanceUID; None to choose.
        prefer: which kind of image to take where the same slices are there as both.

    Raises:
        StudyError: nothing readable, two patients or studies, damaged files, no LGE short-axis
            stack, several that nothing tells apart, or no such series.
    """
    with quiet_readers():
        scan = _scan(files)
        headers, clashes, notes = _headers(scan)
        placed = [header for header in headers if header.plane is not None]
        if not placed:
            faults = Counter(header.unplaced for header in headers)
            raise StudyError(
                "the MR images do not say how they lie in the patient: "
                f"{faults.most_common(1)[0][0]}",
                "Export the original images, not screenshots or reformatted ones",
            )
        choice = choose(judge(group_slices(placed), prefer), prefer, series)
        check_clashes(clashes, choice.chosen.group if choice.chosen else None, files)
        if choice.chosen is None:
            error = choice.error or StudyError("the study holds no stack of slices", ADVICE)
            raise _besides(error, scan.broken)
        unusable = check_broken(scan.broken, choice.chosen.group)
        rest = left_out(
            headers, choice.chosen.group, choice.superseded,
            lambda header: file_label(header.file_index, files),
        )  # fmt: skip
        notes = (*notes, *unusable, *rest, *choice.notes)
        return _load(files, choice.chosen, notes)


def list_dicom_series(files: StudyFiles, prefer: PreferredKind = "PSIR") -> list[SeriesVerdict]:
    """Every series among DICOM files, as :func:`read_dicom` would choose among them.

    Raises:
        StudyError: nothing readable, two patients or studies, or damaged files.
    """
    with quiet_readers():
        headers, _, _ = _headers(_scan(files))
        placed = [header for header in headers if header.plane is not None]
        candidates = judge(group_slices(placed), prefer)
        choice = choose(candidates, prefer, None) if candidates else Choice()
        verdicts = [_verdict(candidate, choice) for candidate in candidates]
        return [*verdicts, *_unplaced(headers, len(verdicts))]


def _verdict(candidate: Candidate, choice: Choice) -> SeriesVerdict:
    group = candidate.group
    first = group.slices[0]
    return SeriesVerdict(
        number=candidate.number,
        series_uid=first.series_uid,
        series_number=group.series_number,
        description=first.description,
        kind=group.image_kind,
        slices=group.position_count,
        orientation=orientation_of(group),
        score=candidate.score,
        chosen=choice.chosen is not None and choice.chosen.number == candidate.number,
        reason=choice.reasons[candidate.number],
    )


def _unplaced(headers: Sequence[SliceHeader], listed: int) -> list[SeriesVerdict]:
    """Verdicts on series whose images do not lie anywhere, after ``listed`` others."""
    series: dict[str, list[SliceHeader]] = {}
    for header in headers:
        if header.plane is None:
            series.setdefault(header.series_uid, []).append(header)
    return [
        SeriesVerdict(
            number=number,
            series_uid=uid,
            series_number=members[0].series_number,
            description=members[0].description,
            kind=members[0].image_kind,
            slices=len(members),
            orientation="unknown",
            score=0,
            chosen=False,
            reason=f"its images do not say where they lie in the patient: {members[0].unplaced}",
        )
        for number, (uid, members) in enumerate(series.items(), start=listed + 1)
    ]


@dataclass(frozen=True, slots=True)
class _Scan:
    """Files of a study by what they are."""

    headers: list[SliceHeader]
    kinds: Counter[FileKind]
    broken: list[BrokenFile]


def _headers(scan: _Scan) -> tuple[list[SliceHeader], list[Clash], tuple[str, ...]]:
    """Headers of all MR slices of one patient, each once, those with one name, and what was
    ignored."""
    _one_patient(scan.headers)
    headers, clashes = without_copies(scan.headers)
    kinds = scan.kinds
    notes = [were(kinds[k], names, "ignored") for k, names in _IGNORED.items() if kinds[k]]
    if copies := len(scan.headers) - len(headers):
        notes.append(were(copies, ("copy of an image", "copies of images"), "ignored"))
    return headers, clashes, tuple(notes)


def _scan(files: StudyFiles) -> _Scan:
    """Headers of all MR slices, how many files of each kind there are, and what is broken."""
    if len(files) == 0:
        raise StudyError("the study holds no files", "Pass the folder of the exported study")
    scan = _Scan([], Counter(), [])
    for index in range(len(files)):
        data = files.read(index)
        if data is None:
            scan.kinds[FileKind.TOO_LARGE] += 1
            continue
        try:
            kind, found = read_headers(data, index, file_label(index, files))
        except StudyError as error:
            scan.broken.append(broken_file(data, error))
            continue
        scan.kinds[kind] += 1
        scan.headers.extend(found)
    if not scan.headers:
        for one in sorted(scan.broken, key=lambda one: not one.is_mr):
            raise one.error
        raise _nothing(len(files), scan.kinds)
    return scan


def _besides(error: StudyError, broken: Sequence[BrokenFile]) -> StudyError:
    """An error that also says of a file that could not be read, if it may be what is missed."""
    for one in broken:
        if one.is_mr:
            return StudyError(f"{error.what}; besides, {one.error.what}", error.advice)
    return error


def _nothing(count: int, kinds: Counter[FileKind]) -> StudyError:
    if kinds[FileKind.MULTI_FRAME]:
        return StudyError(
            "the study holds multi-frame MR images that do not say where their frames lie",
            "Export them as enhanced or as classic single-frame MR images",
        )
    if kinds[FileKind.TOO_LARGE]:
        return StudyError("the study holds files that are too large or complex for LGE", ADVICE)
    if kinds[FileKind.COLOURS]:
        return StudyError(
            "the MR images of the study are in colours",
            "Export the original images of the scanner, not screenshots or coloured maps",
        )
    if kinds[FileKind.SEGMENTATION]:
        return StudyError(
            "the study holds a segmentation (DICOM SEG), which is a result, but no MR images",
            "Pass the images that it was made of",
        )
    if kinds[FileKind.OTHER_OBJECT]:
        return StudyError("the study holds DICOM objects but no MR images", ADVICE)
    if kinds[FileKind.ARCHIVE]:
        return StudyError(
            "the study holds a packed archive instead of images",
            "Unpack it and pass the folder; a zip is passed by its own path",
        )
    return StudyError(
        f"none of the files in the study ({count}) is a DICOM image",
        "Pass the folder of the exported study; a NIfTI file is passed by its own path, not by its "
        "folder",
    )


def _same_name(name: str) -> str:
    """Family, given and middle name of a PN (PS3.5, 6.2.1) in its first way of writing, with one
    way to write accents, spaces and what parts them: devices differ in titles, in names in another
    script, and in commas or blanks for ``^``."""
    groups = unicodedata.normalize("NFKC", name).casefold().split("=")
    first = next((group for group in groups if group.strip("^ ")), "")
    if "^" in first:
        parts = [" ".join(part.split()) for part in first.split("^")[:3]]
    else:
        parts = re.split(r"[\s,]+", first.strip(" ,"))
    return "^".join(parts).rstrip("^")


def _one_patient(headers: Sequence[SliceHeader]) -> None:
    patients = {header.patient_id.casefold() for header in headers if header.patient_id}
    if not all(header.patient_id for header in headers) and len(patients) < 2:
        names = {_same_name(header.patient_name) for header in headers}
        patients = {name for name in names if name}
    if len(patients) > 1:
        raise StudyError(
            f"the files mix images of {len(patients)} patients", "Pass one patient at a time"
        )
    studies = {header.study_uid for header in headers if header.study_uid}
    if len(studies) > 1:
        raise StudyError(
            f"the files mix images of {len(studies)} studies", "Pass one study at a time"
        )


def _load(files: StudyFiles, chosen: Candidate, notes: Sequence[str]) -> LgeStack:
    """Read the pixels of the chosen slices and put the stack together."""
    group = chosen.group
    found = _read_slices(files, group)
    datasets, images, pixels = found.datasets, found.images, found.pixels
    too_long = sum(has_more_pixels(image) for image in {id(one): one for one in images}.values())
    acquired, date_only, time_notes = acquisition_time(datasets)
    doubtful, odd = contradictions(datasets, images, group)
    plane = group.plane
    return LgeStack(
        pixels=pixels,
        pixel_spacing_mm=plane.pixel_spacing_mm,
        origins_mm=group.origins_mm,
        row_direction=np.array(plane.row_direction),
        column_direction=np.array(plane.column_direction),
        slice_thickness_mm=thickness_mm(group),
        source="dicom",
        orientation_known=not doubtful,
        acquired=acquired,
        date_only=date_only,
        image_kind=group.image_kind,
        datasets=tuple(datasets),
        frame_numbers=tuple(header.frame for header in group.slices),
        warnings=(
            *notes,
            *stack_warnings(chosen),
            *doubtful,
            *odd,
            *_loss(datasets),
            *scale_warnings(datasets, pixels, too_long, counted_from(plane.normal)),
            *_hidden(found.hidden),
            *character_set_warnings(found.settled),
            *time_notes,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Slices:
    """Slices of a stack as read."""

    datasets: list[Dataset]
    images: list[FileDataset]
    """The object of each slice."""
    pixels: NDArray[np.float32]
    """[S, H, W] after rescale."""
    hidden: int
    """Number of slices in whose middle padding hides something."""
    settled: set[Declared]
    """Ways in which their texts are read."""


def _read_slices(files: StudyFiles, group: SliceGroup) -> _Slices:
    """Read a stack; a file of many frames is parsed once."""
    grid = plane_of(group.slices[0])
    check_size(len(group.slices), grid.rows, grid.columns, ADVICE)
    datasets: list[Dataset] = []
    images = []
    found = []
    settled: set[Declared] = set()
    opened: dict[int, tuple[FileDataset, list[Dataset]]] = {}
    for header in group.slices:
        label = file_label(header.file_index, files)
        if header.file_index not in opened:
            data = files.read(header.file_index) or b""  # raises what a watcher does, any kind
            try:
                image = parse(data)
            except PARSE_ERRORS as error:
                raise damaged(label) from error
            settled.add(settle_character_set(image))
            frames = [] if header.frame is None else frame_headers(image, label)
            opened[header.file_index] = image, frames
        image, frames = opened[header.file_index]
        dataset = image if header.frame is None else frames[header.frame - 1]
        found.append(slice_pixels(image, dataset, header.frame, plane_of(header), label))
        datasets.append(dataset)
        images.append(image)
    pixels = np.stack([one.values for one in found])
    return _Slices(datasets, images, pixels, sum(one.padding_hides for one in found), settled)


def _hidden(slices: int) -> tuple[str, ...]:
    """A warning where what is called padding may be a part of the picture."""
    if not slices:
        return ()
    of = "1 slice" if slices == 1 else f"{slices} slices"
    return (
        f"PixelPaddingValue takes pixels in the middle of {of} for padding, though they do not "
        "look like it: they are read as the darkest, and scar may be missed there.",
    )


def _loss(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    """A warning where images have been compressed with loss (PS3.3 C.7.6.1.1.5)."""
    if not any(text(dataset, "LossyImageCompression") == "01" for dataset in datasets):
        return ()
    return ("The images have been compressed with loss: fine detail may be gone.",)
