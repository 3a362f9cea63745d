"""From MR slices to groups of them that may be stacks, and what a group is that is none."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.study.dicom.header import SliceHeader
from scarseg_infer.study.dicom.rules import series_rules
from scarseg_infer.study.geometry.orientation import short_axis_tilt_deg
from scarseg_infer.study.geometry.slice_plane import (
    MISSING_SLICE_STEP,
    SAME_POSITION_MM,
    SlicePlane,
    usual_step_mm,
)
from scarseg_infer.study.geometry.slight_tilt import MOST_TILT_DEG, aligned_origins, middle_plane
from scarseg_infer.study.stack import ImageKind

MIN_STACK_SLICES: Final = 3
"""Fewer slices are taken only when the study has nothing else; LGE stacks have 5–13."""
CINE_PHASES: Final = 5
"""From this many cardiac phases on an acquisition is a cine (15–40 are usual); LGE has one,
or a few where a reference image is counted."""
LONGEST_BEAT_MS: Final = 2000.0
"""Trigger times spread wider than this (30 beats a minute) span several heart beats."""
MAX_GRIDS: Final = 100
"""In a series: each image is compared with all of them, and 2000 took minutes. Only views that turn
around the patient have more."""
LATE_ENHANCEMENT: Final = "late_enhancement"
"""The sign in ``series_rules.toml`` by which names and image types tell LGE."""

_TOUCHING: Final = 0.9
"""Of their thickness, that slices beside each other are apart at least."""
_ANY_NUMBER: Final = re.compile(r"\d+")

ADVICE: Final = "Export the short-axis LGE series (PSIR or magnitude), one image per slice"


@dataclass(frozen=True, slots=True)
class SliceGroup:
    """Parallel slices on one grid, sorted along their normal."""

    slices: tuple[SliceHeader, ...]
    images_per_position: tuple[int, ...]
    plane: SlicePlane
    """The plane whose axes are those of all."""

    @property
    def origins_mm(self) -> NDArray[np.float64]:
        """[S, 3] centre of the first voxel of each slice on those axes."""
        return aligned_origins([plane_of(header) for header in self.slices], self.plane)

    @property
    def position_count(self) -> int:
        """Number of different slice positions."""
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
    def signs(self) -> frozenset[str]:
        """Ids of the signs in ``series_rules.toml`` that any of its headers bears."""
        rules = series_rules()
        said = {(header.names, header.tokens) for header in self.slices}
        return frozenset().union(*(rules.signs_of(*names) for names in said))

    @property
    def image_kind(self) -> ImageKind:
        """``PSIR``, ``magnitude``, ``phase`` or ``unknown type``: the same for all slices."""
        return self.slices[0].image_kind

    @property
    def series_number(self) -> int | None:
        """The lowest number of its series."""
        return min(
            (h.series_number for h in self.slices if h.series_number is not None), default=None
        )

    @property
    def acquired(self) -> datetime | None:
        """Time of its earliest slice; None where that is not known of every slice."""
        moments = [header.acquired for header in self.slices]
        known = [moment for moment in moments if moment is not None]
        return min(known) if len(known) == len(moments) else None

    @property
    def phase_count(self) -> int:
        """Cardiac phases of the acquisition; 0 when not said."""
        return max(header.phase_count for header in self.slices)

    @property
    def tilt_deg(self) -> float:
        """Angle between the slices and a usual short-axis view."""
        return short_axis_tilt_deg(self.plane.normal)

    def at_positions(self) -> list[tuple[SliceHeader, ...]]:
        """The images of each slice position, in order."""
        ends = np.cumsum(self.images_per_position).tolist()
        return [
            self.slices[end - n : end]
            for end, n in zip(ends, self.images_per_position, strict=True)
        ]

    def same_slices(self, other: SliceGroup) -> bool:
        """True when both are stacks of the same slices of the patient."""
        if not (self.is_stack and other.is_stack and self.position_count == other.position_count):
            return False
        # The other one may be sorted along the opposite normal only where grids differ.
        pairs = zip(self.slices, other.slices, strict=True)
        return all(plane_of(one).same_place(plane_of(two)) for one, two in pairs)

    def same_acquisition(self, other: SliceGroup) -> bool:
        """True when both are images of the same slices, made of one acquisition: they share their
        series or their times."""
        if not self.same_slices(other):
            return False
        pairs = list(zip(self.slices, other.slices, strict=True))
        if all(one.series_uid == two.series_uid for one, two in pairs):
            return True
        return all(one.acquired is not None and one.acquired == two.acquired for one, two in pairs)


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
    groups = [
        group
        for parts in by_series
        for slices in _with_slight_tilts(parts)
        for group in _by_image_type(_sorted_group(slices))
    ]
    lone = [group for group in groups if group.position_count == 1]
    groups = [group for group in groups if group.position_count > 1]
    for repeated in (False, True):  # single images are not mixed with cines of one slice
        slices = (h for group in lone if group.is_stack != repeated for h in group.slices)
        joined = _cluster(slices, lambda h: (h.frame_uid, h.image_kind, _family(h)))
        groups.extend(
            _sorted_group(members) for parts in joined for members in _with_slight_tilts(parts)
        )
    return _with_complements(groups)


def _with_complements(groups: Sequence[SliceGroup]) -> list[SliceGroup]:
    """Groups, those joined that are parts of one stack taken in several series, as in several
    breath-holds: of one name and grid, and together an even stack."""
    kept: list[SliceGroup] = []
    for group in sorted(groups, key=lambda group: -group.position_count):
        for index, other in enumerate(kept):
            if (joined := _complemented(other, group)) is not None:
                kept[index] = joined
                break
        else:
            kept.append(group)
    return kept


def _complemented(group: SliceGroup, part: SliceGroup) -> SliceGroup | None:
    """The stack that two groups make together; None where they are none."""
    one, two = group.slices[0], part.slices[0]
    told = [
        (h.frame_uid, h.image_kind, _family(h)[0], _ANY_NUMBER.sub("", h.names).split())
        for h in (one, two)
    ]
    apart = {h.series_uid for h in group.slices}.isdisjoint(h.series_uid for h in part.slices)
    alike = told[0] == told[1] and told[0][2] and plane_of(one).same_grid(plane_of(two))
    if not (apart and alike and group.is_stack and part.is_stack and group.position_count > 1):
        return None
    joined = _sorted_group([*group.slices, *part.slices])
    if joined.position_count < group.position_count + part.position_count:
        return None
    steps = np.diff(joined.origins_mm @ joined.plane.normal)
    usual, step = (usual_step_mm(g.origins_mm @ g.plane.normal) for g in (group, joined))
    # Two whole stacks that lie half a step beside each other are taken twice: their slices overlap.
    least = one.slice_thickness_mm or usual
    even = steps.max() < MISSING_SLICE_STEP * step and steps.min() * MISSING_SLICE_STEP > step
    return joined if even and step >= _TOUCHING * least else None


def _with_slight_tilts(parts: list[list[SliceHeader]]) -> list[list[SliceHeader]]:
    """Parts of one series, the largest of them joined by those that lean a little against it.

    Not by one that shows the same positions, as a stack that was planned anew as a whole, unless
    its slices are few and their times say that they were taken again.
    """
    first, *rest = sorted(parts, key=len, reverse=True)
    apart = []
    for part in rest:
        alike = plane_of(first[0]).same_grid(plane_of(part[0]), MOST_TILT_DEG)
        if alike and _fill_in(first, part):
            first = [*first, *part]
        else:
            apart.append(part)
    return [first, *apart]


def _fill_in(first: list[SliceHeader], part: list[SliceHeader]) -> bool:
    joined = _sorted_group([*first, *part])
    if joined.position_count == sum(_sorted_group(one).position_count for one in (first, part)):
        return True
    moments = [[header.acquired for header in images] for images in joined.at_positions()]
    told = all(len(set(some) - {None}) == len(some) for some in moments if len(some) > 1)
    return joined.is_nearly_stack and told


def _by_image_type(group: SliceGroup) -> list[SliceGroup]:
    """A group with several images at each position as the stacks that ImageType makes of it, also
    where its values are none that we know; the group itself where they make no stacks."""
    if group.is_nearly_stack or group.position_count == 1:
        return [group]
    kinds: dict[tuple[str, ...], list[SliceHeader]] = {}
    for header in group.slices:
        kinds.setdefault(header.tokens, []).append(header)
    parts = [_sorted_group(members) for members in kinds.values()]
    whole = all(part.position_count == group.position_count for part in parts)
    return parts if whole and all(part.is_nearly_stack for part in parts) else [group]


def _cluster(
    headers: Iterable[SliceHeader], key: Callable[[SliceHeader], Hashable]
) -> list[list[list[SliceHeader]]]:
    """Headers with equal keys, in parts whose grids fit each other, in order of appearance.

    An image on one grid more than ``MAX_GRIDS`` belongs to none: it is counted as left out.
    """
    clusters: dict[Hashable, list[list[SliceHeader]]] = {}
    for header in headers:
        alike = clusters.setdefault(key(header), [])
        plane = plane_of(header)
        for members in alike:
            if plane_of(members[0]).same_grid(plane):
                members.append(header)
                break
        else:
            if len(alike) < MAX_GRIDS:
                alike.append([header])
    return list(clusters.values())


def _family(header: SliceHeader) -> tuple[bool, bool]:
    """Two flags: its name says late enhancement; it says something else (but for the view, which
    geometry tells). Series of one slice belong together only where both agree."""
    rules = series_rules()
    signs = rules.signs_of(header.names, header.tokens)
    other = any(rules.signs[sign][1].points < rules.least_score for sign in signs - {"long_axis"})
    return LATE_ENHANCEMENT in signs, other


def _sorted_group(slices: Sequence[SliceHeader]) -> SliceGroup:
    planes = [plane_of(header) for header in slices]
    usual = middle_plane(planes)
    positions: NDArray[np.float64] = aligned_origins(planes, usual) @ usual.normal
    order = np.argsort(positions, kind="stable")
    counts = [1]
    for step in np.diff(positions[order]):
        if step < SAME_POSITION_MM:
            counts[-1] += 1
        else:
            counts.append(1)
    return SliceGroup(tuple(slices[i] for i in order), tuple(counts), usual)


def what_repeats(group: SliceGroup) -> str:
    """Kind of several images at each slice position, judged by what differs among them."""
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
        return f"this looks like a cine series ({images} {where})"
    if beats or len({header.acquisition for header in first}) > 1:
        return f"this looks like perfusion or another series repeated in time ({images} {where})"
    return f"this series has {images} {where}"


def _distinct(values: Iterable[float | None]) -> list[float]:
    """Different values in increasing order, told apart to 0.1 ms."""
    return sorted({round(value, 1) for value in values if value is not None})
