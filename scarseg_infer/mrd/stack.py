"""All images of a session → the LGE stack among them, chosen by the rules of DICOM studies."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from scarseg_infer.mrd.header import Measurement
from scarseg_infer.mrd.images import StreamImage, slice_headers
from scarseg_infer.study.dicom.choose import choose
from scarseg_infer.study.dicom.chosen import stack_warnings, thickness_mm
from scarseg_infer.study.dicom.foreign import left_out, were
from scarseg_infer.study.dicom.header import SliceHeader
from scarseg_infer.study.dicom.rank import judge
from scarseg_infer.study.dicom.series import ADVICE, group_slices, plane_of
from scarseg_infer.study.geometry.slice_plane import SlicePlane
from scarseg_infer.study.series_verdict import PreferredKind
from scarseg_infer.study.size import check_size
from scarseg_infer.study.stack import LgeStack
from scarseg_runtime.errors import StudyError

MAX_SLICES: Final = 10_000
"""Of all images of a session: a whole examination has some thousand."""


@dataclass(frozen=True, slots=True, eq=False)
class StreamStack:
    """The stack of a session, and the image that each of its slices came in.

    Attributes:
        stack: what the Segmenter takes.
        sources: [S] image of each slice.
        planes: [S] where each slice lies.
    """

    stack: LgeStack
    sources: tuple[StreamImage, ...]
    planes: tuple[SlicePlane, ...]


def lge_stack(
    images: Sequence[StreamImage], measurement: Measurement, prefer: PreferredKind = "PSIR"
) -> StreamStack:
    """The LGE short-axis stack among the images of a session, in any order.

    Raises:
        StudyError: there are too many images, none lies anywhere, no stack is LGE, or several
            that nothing tells apart.
    """
    headers = _headers(images, measurement)
    if not headers:
        raise StudyError("all images of the session are in colour or of several coils", ADVICE)
    placed = [header for header in headers if header.plane is not None]
    if not placed:
        ((fault, _),) = Counter(header.unplaced for header in headers).most_common(1)
        raise StudyError(f"no image of the session lies anywhere in the patient: {fault}", ADVICE)
    choice = choose(judge(group_slices(placed), prefer), prefer, None)
    if choice.chosen is None:
        raise choice.error or StudyError("the session holds no stack of slices", ADVICE)
    group = choice.chosen.group
    rest = left_out(headers, group, choice.superseded, _label)
    plane = group.plane
    check_size(len(group.slices), plane.rows, plane.columns, ADVICE)
    sources = tuple(images[header.file_index] for header in group.slices)
    pixels = [
        image.pixels((header.frame or 1) - 1)
        for image, header in zip(sources, group.slices, strict=True)
    ]
    stack = LgeStack(
        pixels=np.stack(pixels),
        pixel_spacing_mm=plane.pixel_spacing_mm,
        origins_mm=group.origins_mm,
        row_direction=np.array(plane.row_direction),
        column_direction=np.array(plane.column_direction),
        slice_thickness_mm=thickness_mm(group),
        source="array",
        acquired=measurement.acquired,
        date_only=measurement.date_only,
        image_kind=group.image_kind,
        warnings=(
            *measurement.warnings, *_not_read(images), *rest, *choice.notes,
            *stack_warnings(choice.chosen),
        ),
    )  # fmt: skip
    return StreamStack(stack, sources, tuple(plane_of(header) for header in group.slices))


def _headers(images: Sequence[StreamImage], measurement: Measurement) -> list[SliceHeader]:
    if sum(image.slices for image in images) > MAX_SLICES:
        raise StudyError(
            f"the session holds more than {MAX_SLICES} slices", "Send the LGE series by itself"
        )
    phases = _phases(images)
    return [header for image in images for header in slice_headers(image, measurement, phases)]


def _phases(images: Sequence[StreamImage]) -> dict[int, int]:
    """Cardiac phases of each series that has several, by ``image_series_index``."""
    found: dict[int, set[int]] = defaultdict(set)
    for image in images:
        found[int(image.head.image_series_index)].add(int(image.head.phase))
    return {series: len(phases) for series, phases in found.items() if len(phases) > 1}


def _not_read(images: Sequence[StreamImage]) -> list[str]:
    odd = sum(not image.readable for image in images)
    colour = sum(image.slices == 0 for image in images)
    found = []
    if odd:
        names = ("image has attributes that", "images have attributes that")
        found.append(f"{odd} {names[odd > 1]} are not MRD's XML: their names are unknown.")
    if colour:
        several = ("image in colour or of several coils", "images in colour or of several coils")
        found.append(were(colour, several, "left out"))
    return found


def _label(header: SliceHeader) -> str:
    return f"image {header.file_index + 1} of the session"
