"""Files of a study that cannot be used: fatal where they are, or may be, slices of the stack that
is read; of others one more or less must not end a study, so they are counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from scarseg_infer.study.dicom.header import BrokenFile, SliceHeader
from scarseg_infer.study.dicom.series import SliceGroup
from scarseg_infer.study.files import StudyFiles, file_label
from scarseg_infer.study.geometry.slight_tilt import MOST_TILT_DEG
from scarseg_runtime.errors import StudyError

ALIKE_DEG: Final = 20.0
"""Images that lean no more than this against a stack show the same view of the heart."""


@dataclass(frozen=True, slots=True)
class Clash:
    """Two different images with one SOP Instance UID."""

    first: SliceHeader
    second: SliceHeader

    def error(self, files: StudyFiles) -> StudyError:
        """Error for where one of them is of the stack that is read."""
        one, two = (file_label(h.file_index, files) for h in (self.first, self.second))
        return different_images(one, two)


def different_images(one: str, two: str) -> StudyError:
    """Error for two files, by their labels, of which nobody knows which one is meant."""
    return StudyError(
        f"{one} and {two} are different images with the same SOP Instance UID",
        "Export the study again from its source",
    )


def without_copies(headers: Sequence[SliceHeader]) -> tuple[list[SliceHeader], list[Clash]]:
    """Headers with every image once, and different images that bear one name.

    An image that came to an archive twice may bear two: it is one where all else is the same,
    pixels included.
    """
    seen: dict[tuple[str, int | None], SliceHeader] = {}
    by_pixels: dict[tuple[str, int, int | None], SliceHeader] = {}
    kept: list[SliceHeader] = []
    clashes = []
    for header in headers:
        name = (header.instance_uid, header.frame)
        first = seen.setdefault(name, header) if header.instance_uid else header
        if first is not header and _same(header, first):
            continue
        if header.plane is not None and header.pixel_digest is not None:
            pixels = (header.series_uid, header.pixel_digest, header.frame)
            twin = by_pixels.setdefault(pixels, header)
            if twin is not header and _same(header, twin):
                continue
        kept.append(header)
        if first is not header:
            clashes.append(Clash(first, header))
    return _without_copied_series(kept), clashes


def _without_copied_series(headers: Sequence[SliceHeader]) -> list[SliceHeader]:
    """Headers without those of series whose images are all in one other series too, pixels
    included: an archive may take in a series twice, under another name."""
    series: dict[str, set[SliceHeader]] = {}
    for header in headers:
        nameless = replace(header, file_index=0, instance_uid="", series_uid="", series_number=None)
        series.setdefault(header.series_uid, set()).add(nameless)
    holders: dict[SliceHeader, set[str]] = {}
    copied: set[str] = set()
    for uid, images in sorted(series.items(), key=lambda item: -len(item[1])):
        told = all(one.plane is not None and one.pixel_digest is not None for one in images)
        if told and set.intersection(*(holders.get(one, set()) for one in images)):
            copied.add(uid)
            continue
        for one in images:
            holders.setdefault(one, set()).add(uid)
    return [header for header in headers if header.series_uid not in copied]


def _same(header: SliceHeader, other: SliceHeader) -> bool:
    """Tell whether two headers differ in file, name and encoding of their pixels alone."""
    file, uid, digest = other.file_index, other.instance_uid, other.pixel_digest
    return replace(header, file_index=file, instance_uid=uid, pixel_digest=digest) == other


def check_clashes(clashes: Sequence[Clash], group: SliceGroup | None, files: StudyFiles) -> None:
    """Raise StudyError where two images with one name are of the series that is read, or where
    there is none to read."""
    series = {header.series_uid for header in group.slices} if group else set()
    for clash in clashes:
        if group is None or not series.isdisjoint(
            h.series_uid for h in (clash.first, clash.second)
        ):
            raise clash.error(files)


def check_broken(broken: Sequence[BrokenFile], group: SliceGroup) -> tuple[str, ...]:
    """A warning that counts broken files that are no part of the stack.

    Raises:
        StudyError: one is of its series, or may be.
    """
    for one in broken:
        if may_be_slice(one, group):
            raise one.error
    if not broken:
        return ()
    count = len(broken)
    what = "1 damaged or incomplete file" if count == 1 else f"{count} damaged or incomplete files"
    is_ = "is no MR image of the LGE series and was" if count == 1 else (
        "are no MR images of the LGE series and were"
    )  # fmt: skip
    return (f"{what} {is_} left out.",)


def left_out(
    headers: Sequence[SliceHeader],
    group: SliceGroup,
    superseded: Sequence[SliceHeader],
    label: Callable[[SliceHeader], str],
) -> tuple[str, ...]:
    """Warnings that count what is not in the stack.

    Args:
        label: what to call an image in messages.

    Raises:
        StudyError: an image of its series does not say where it lies.
    """
    taken = {(header.file_index, header.frame) for header in (*group.slices, *superseded)}
    series = {header.series_uid for header in group.slices}
    others = [header for header in headers if (header.file_index, header.frame) not in taken]
    for header in others:
        if header.plane is None and header.series_uid in series:
            raise StudyError(
                f"{label(header)} belongs to the LGE series but does not "
                f"say where it lies in the patient: {header.unplaced}",
                "Export or copy the study again",
            )
    apart = [h for h in others if h.series_uid in series and _on_another_grid(h, group)]
    same = [header for header in others if header.series_uid in series and header not in apart]
    rest = [header for header in others if header.series_uid not in series]
    found = []
    if apart:
        of = "of the LGE series, turned, tilted or on another pixel grid than the others,"
        lost = were(len(apart), (f"image {of}", f"images {of}"), "left out").removesuffix(".")
        found.append(f"{lost}: volumes lack what {'it shows' if len(apart) == 1 else 'they show'}.")
    if same:
        of = "of the LGE series, of another view or kind,"
        found.append(were(len(same), (f"image {of}", f"images {of}"), "left out"))
    if rest:
        count = len({(header.series_uid, header.image_kind) for header in rest})
        of = "of another series" if count == 1 else f"of {count} other series"
        found.append(were(len(rest), (f"image {of}", f"images {of}"), "left out"))
    return tuple(found)


def _on_another_grid(header: SliceHeader, group: SliceGroup) -> bool:
    """Tell whether an image shows the view of a stack and was left out for its grid alone."""
    if header.plane is None or header.image_kind != group.image_kind:
        return False
    plane = group.plane
    cosine = abs(float(np.dot(header.plane.normal, plane.normal)))
    return cosine >= np.cos(np.radians(ALIKE_DEG)) and not header.plane.same_grid(plane)


def were(count: int, names: tuple[str, str], what: str) -> str:
    """A warning about ``count`` things, given their name in singular and plural."""
    return f"1 {names[0]} was {what}." if count == 1 else f"{count} {names[1]} were {what}."


def may_be_slice(broken: BrokenFile, group: SliceGroup) -> bool:
    """True where a file that cannot be used may be a slice of the stack."""
    if not broken.is_mr:
        return False
    series = {header.series_uid for header in group.slices}
    if not broken.series_uid or broken.series_uid in series:
        return True
    # Some scanners give every slice a series of its own: then only the grid tells.
    alone = len(series) == group.position_count > 1
    return alone and (broken.plane is None or broken.plane.same_grid(group.plane, MOST_TILT_DEG))
