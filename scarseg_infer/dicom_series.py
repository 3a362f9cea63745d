"""From MR slices to the one LGE stack of a study, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.dicom_header import SliceHeader
from scarseg_infer.orientation import SHORT_AXIS_LIMIT_DEG, counted_from, short_axis_tilt_deg
from scarseg_infer.slice_plane import SAME_POSITION_MM, SlicePlane
from scarseg_runtime.errors import StudyError

MIN_STACK_SLICES: Final = 3
"""Fewer slices are taken only when the study has nothing else; LGE stacks have 5–13."""
CINE_PHASES: Final = 5
"""From this many cardiac phases on an acquisition is a cine (15–40 are usual); LGE has one,
or a few where a reference image is counted."""
LONGEST_BEAT_MS: Final = 2000.0
"""Trigger times spread wider than this (30 beats a minute) span several heart beats."""

ADVICE: Final = "Export the short-axis LGE series (PSIR or magnitude), one image per slice"


@dataclass(frozen=True, slots=True)
class SliceGroup:
    """Parallel slices on one grid, sorted along their normal."""

    slices: tuple[SliceHeader, ...]
    images_per_position: tuple[int, ...]

    @property
    def position_count(self) -> int:
        """How many different slice positions there are."""
        return len(self.images_per_position)

    @property
    def is_stack(self) -> bool:
        """One image at each position."""
        return max(self.images_per_position) == 1

    @property
    def is_nearly_stack(self) -> bool:
        """One image at most positions: a stack in which some slices were taken again."""
        return self.images_per_position.count(1) * 2 > self.position_count

    @property
    def lge_marked(self) -> bool:
        """Some header says or hints that this is late enhancement."""
        return any(header.lge_marked for header in self.slices)

    @property
    def tilt_deg(self) -> float:
        """Angle between the slices and a usual short-axis view."""
        return short_axis_tilt_deg(plane_of(self.slices[0]).normal)

    @property
    def is_cine_frames(self) -> bool:
        """Frames picked from a cine: many phases were taken and nothing speaks of LGE."""
        phases = max(header.phase_count for header in self.slices)
        return phases >= CINE_PHASES and not self.lge_marked


def plane_of(header: SliceHeader) -> SlicePlane:
    """The plane of a slice that is known to have one."""
    if header.plane is None:
        raise ValueError("slice without a place in the patient")
    return header.plane


def group_slices(headers: Iterable[SliceHeader]) -> list[SliceGroup]:
    """Sort placed slices into groups that may be stacks.

    A series gives one group for each grid, orientation and kind of image in it. Series with a
    single slice position are then joined with others like them: some scanners give every
    slice a series of its own.
    """
    by_series = _cluster(headers, lambda h: (h.series_uid, h.image_kind))
    groups = [_sorted_group(slices) for slices in by_series]
    lone = [group for group in groups if group.position_count == 1]
    groups = [group for group in groups if group.position_count > 1]
    for repeated in (False, True):  # single images are not mixed with cines of one slice
        slices = (h for group in lone if group.is_stack != repeated for h in group.slices)
        joined = _cluster(slices, lambda h: (h.frame_uid, h.image_kind))
        groups.extend(_sorted_group(members) for members in joined)
    return groups


def choose_stack(groups: Sequence[SliceGroup]) -> SliceGroup:
    """The only LGE stack among the groups of a study.

    Raises:
        StudyError: there is none (it says what there is instead), or more than one.
    """
    usable = [
        group
        for group in groups
        if group.is_nearly_stack
        and group.tilt_deg <= SHORT_AXIS_LIMIT_DEG
        and not group.is_cine_frames
        and not any(header.localiser for header in group.slices)
    ]
    usable = [group for group in usable if group.position_count >= MIN_STACK_SLICES] or usable
    usable = [group for group in usable if group.lge_marked] or usable
    if not usable:
        raise _no_stack(groups)
    if len(usable) > 1:
        listed = "; ".join(sorted(_describe(group) for group in usable))
        raise StudyError(
            f"the study holds {len(usable)} stacks that may be the LGE: {listed}",
            "Pass a folder with only one of them",
        )
    if not usable[0].is_stack:
        raise _taken_again(usable[0])
    return usable[0]


def _cluster(
    headers: Iterable[SliceHeader], key: Callable[[SliceHeader], Hashable]
) -> list[list[SliceHeader]]:
    """Headers with equal keys and grids that fit each other, in order of appearance."""
    clusters: dict[Hashable, list[list[SliceHeader]]] = {}
    for header in headers:
        alike = clusters.setdefault(key(header), [])
        plane = plane_of(header)
        for members in alike:
            if plane_of(members[0]).same_grid(plane):
                members.append(header)
                break
        else:
            alike.append([header])
    return [members for alike in clusters.values() for members in alike]


def _sorted_group(slices: Sequence[SliceHeader]) -> SliceGroup:
    origins = np.array([plane_of(header).origin_mm for header in slices])
    positions: NDArray[np.float64] = origins @ plane_of(slices[0]).normal
    order = np.argsort(positions, kind="stable")
    counts = [1]
    for step in np.diff(positions[order]):
        if step < SAME_POSITION_MM:
            counts[-1] += 1
        else:
            counts.append(1)
    return SliceGroup(tuple(slices[i] for i in order), tuple(counts))


def _describe(group: SliceGroup) -> str:
    series = sorted({h.series_number for h in group.slices if h.series_number is not None})
    if not series:
        where = "series without a number"
    elif len(series) == 1:
        where = f"series {series[0]}"
    else:
        where = f"series {series[0]} to {series[-1]}"
    return f"{where} ({group.position_count} slices, {group.slices[0].image_kind})"


def _no_stack(groups: Sequence[SliceGroup]) -> StudyError:
    """Why none of the groups will do, told by the largest of them."""
    largest = max(groups, key=lambda group: len(group.slices))
    if not largest.is_nearly_stack:
        return StudyError(f"{_what_repeats(largest)}, not late gadolinium enhancement", ADVICE)
    if largest.is_cine_frames:
        phases = max(header.phase_count for header in largest.slices)
        return StudyError(
            f"these are single frames of a cine series (each says it is one of {phases} phases), "
            "not late gadolinium enhancement",
            ADVICE,
        )
    if any(header.localiser for header in largest.slices):
        return StudyError("these are localiser images, not late gadolinium enhancement", ADVICE)
    return StudyError(
        f"the slices are tilted by {largest.tilt_deg:.0f}° against a usual short-axis view, "
        "so this is another view of the heart or another part of the body",
        ADVICE,
    )


def _what_repeats(group: SliceGroup) -> str:
    """What several images at each slice position are, judged by what differs among them."""
    first = group.slices[: group.images_per_position[0]]
    inversions = _distinct(header.inversion_time_ms for header in first)
    echoes = _distinct(header.echo_time_ms for header in first)
    triggers = _distinct(header.trigger_time_ms for header in first)
    low, high = min(group.images_per_position), max(group.images_per_position)
    images = f"{low} images" if low == high else f"{low} to {high} images"
    positions = group.position_count
    where = f"at each of {positions} slice positions" if positions > 1 else "at one slice position"
    if len(inversions) > 1:
        return (
            f"this looks like T1 mapping or an inversion time scout ({images} with different "
            f"inversion times {where})"
        )
    if len(echoes) > 1:
        return f"this looks like T2 mapping ({images} with different echo times {where})"
    beats = bool(triggers) and triggers[-1] - triggers[0] > LONGEST_BEAT_MS
    if not beats and (len(triggers) > 1 or max(h.phase_count for h in first) >= CINE_PHASES):
        return f"this is a cine series ({images} {where})"
    if beats or len({header.acquisition for header in first}) > 1:
        return f"this looks like perfusion or another series repeated in time ({images} {where})"
    return f"this is a series of several images per slice ({images} {where})"


def _distinct(values: Iterable[float | None]) -> list[float]:
    """Different values in increasing order, told apart to 0.1 ms."""
    return sorted({round(value, 1) for value in values if value is not None})


def _taken_again(group: SliceGroup) -> StudyError:
    numbers = [str(i) for i, n in enumerate(group.images_per_position, start=1) if n > 1]
    which = f"slice {numbers[0]} was" if len(numbers) == 1 else f"slices {', '.join(numbers)} were"
    counted = counted_from(plane_of(group.slices[0]).normal)
    return StudyError(
        f"{which} taken more than once ({counted}), and which image to use cannot be known",
        "Export the LGE series with one image per slice",
    )
