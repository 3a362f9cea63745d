"""Ranking of a study's stacks: every candidate judged by the same rules, with reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from scarseg_infer.study.dicom.rules import Clue, Fact, series_rules
from scarseg_infer.study.dicom.series import (
    CINE_PHASES,
    LATE_ENHANCEMENT,
    MIN_STACK_SLICES,
    SliceGroup,
    what_repeats,
)
from scarseg_infer.study.geometry.orientation import SHORT_AXIS_LIMIT_DEG, SHORT_AXIS_TRUST_DEG
from scarseg_infer.study.series_verdict import PreferredKind

USUAL_SLICES: Final = 5
"""LGE stacks of the short axis have 5–13 slices; long-axis views fewer."""
BODY_PLANE_DEG: Final = 3.0
"""Planes this close to a body axis were not turned to the heart."""
NOT_ONE: Final = "not one image per slice"

_BODY_PLANES: Final = ("sagittal", "coronal", "transversal")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A group of slices, judged by the rules."""

    number: int
    """From 1, in the order in which series are listed."""
    group: SliceGroup
    score: int
    clues: tuple[Clue, ...]
    """Clues that made the score, most telling first."""
    lge_marked: bool
    """It has an inversion time, or a name that late enhancement series usually have."""
    repeats: str
    """Reason that it is not one image at each position; else ""."""
    moments: str
    """Reason that its images seem to be of several moments of the heart beat; else ""."""
    view: str
    """Reason that it is no short axis; else ""."""

    @property
    def unlikely(self) -> str:
        """Reason why its header speaks against it so much that it is not read unasked; else ""."""
        if self.score >= series_rules().least_score:
            return ""
        against = ", ".join(clue.says for clue in self.clues if clue.points < 0)
        return f"its header speaks against late enhancement ({against})"

    @property
    def readable(self) -> bool:
        """It is a short-axis stack, whatever its header says of LGE."""
        return not self.repeats and not self.view

    @property
    def against(self) -> str:
        """Reason why it cannot be the LGE stack; "" when it may be."""
        return self.repeats or self.moments or self.unlikely or self.view

    @property
    def why(self) -> str:
        """Reasons that speak for it, as a list."""
        return ", ".join(clue.says for clue in self.clues if clue.points > 0)


def judge(groups: Sequence[SliceGroup], prefer: PreferredKind) -> list[Candidate]:
    """Every group with its score, in the order of series numbers."""
    ordered = sorted(groups, key=_order)
    return [_judged(number, group, prefer) for number, group in enumerate(ordered, start=1)]


def orientation_of(group: SliceGroup) -> str:
    """``short axis``, ``long axis`` or ``other`` with the tilt against a usual short axis."""
    if (plane := _body_plane(group)) is not None:
        name = f"other ({plane})"
    else:
        name = "short axis" if group.tilt_deg <= SHORT_AXIS_LIMIT_DEG else "long axis"
    return f"{name}, {group.tilt_deg:.0f}°"


def _order(group: SliceGroup) -> tuple[float, str, str, tuple[int, int]]:
    number = float("inf") if group.series_number is None else group.series_number
    place = min((header.file_index, header.frame or 0) for header in group.slices)
    return number, group.slices[0].series_uid, group.image_kind, place


def _judged(number: int, group: SliceGroup, prefer: PreferredKind) -> Candidate:
    rules = series_rules()
    signs = group.signs
    clues = [rules.signs[sign][1] for sign in signs]
    clues += [rules.facts[fact] for fact in _facts(group, prefer)]
    clues.sort(key=lambda clue: (-abs(clue.points), clue.says))
    # GE writes an inversion time of 0 in sequences that have no inversion.
    inverted = any(header.inversion_time_ms for header in group.slices)
    marked = inverted or LATE_ENHANCEMENT in signs
    return Candidate(
        number=number,
        group=group,
        score=sum(clue.points for clue in clues),
        clues=tuple(clues),
        lge_marked=marked,
        repeats="" if group.is_nearly_stack else f"{what_repeats(group)}: {NOT_ONE}",
        moments=_moments(group, marked),
        view=_view(group),
    )


def _facts(group: SliceGroup, prefer: PreferredKind) -> list[Fact]:
    found: list[Fact] = []
    if any(header.inversion_time_ms for header in group.slices):
        found.append("inversion_time")
    if any(header.contrast_agent for header in group.slices):
        found.append("contrast_agent")
    if group.position_count >= USUAL_SLICES:
        found.append("many_slices")
    else:
        found.append("some_slices" if group.position_count >= MIN_STACK_SLICES else "few_slices")
    if group.tilt_deg <= SHORT_AXIS_TRUST_DEG:
        found.append("short_axis")
    if _body_plane(group) is not None:
        found.append("body_plane")
    if group.image_kind == prefer:
        found.append("preferred_kind")
    if group.image_kind == "phase":
        found.append("phase_image")
    return found


def _body_plane(group: SliceGroup) -> str | None:
    """The body plane in which the slices lie, if in one."""
    cosines = np.abs(group.plane.normal)
    axis = int(cosines.argmax())
    close = cosines[axis] >= np.cos(np.radians(BODY_PLANE_DEG))
    return _BODY_PLANES[axis] if close else None


def _moments(group: SliceGroup, lge_marked: bool) -> str:
    if group.phase_count >= CINE_PHASES and not lge_marked:
        return (
            f"these seem to be single frames of a cine series (each says it is one of "
            f"{group.phase_count} phases)"
        )
    return ""


def _view(group: SliceGroup) -> str:
    if group.tilt_deg > SHORT_AXIS_LIMIT_DEG:
        return (
            f"the slices are tilted by {group.tilt_deg:.0f}° against a usual short-axis view, "
            "as those of another view of the heart or of another part of the body"
        )
    return ""
