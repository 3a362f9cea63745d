"""Verdict on each series of a study, from the search for the LGE stack."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

PreferredKind = Literal["PSIR", "magnitude"]
"""Reconstruction that is read when a study holds two of the same slices."""


@dataclass(frozen=True, slots=True)
class SeriesVerdict:
    """One candidate: parallel slices on one grid, of one kind, of one series.

    A series of several views, grids or kinds of image makes several candidates; series of one
    slice each that fit together make one.

    Attributes:
        number: from 1, in the order of the list: what ``read_study`` takes as ``series``.
        series_uid: SeriesInstanceUID, of the first slice where every slice has its own.
        series_number: SeriesNumber; None where there is none.
        description: SeriesDescription as typed by staff: it may hold a patient's name. Show it to
            the user who asked for the list; never log it.
        kind: ``PSIR``, ``magnitude``, ``phase`` or ``unknown type``.
        slices: how many slice positions.
        orientation: ``short axis``, ``long axis`` or ``other`` with the tilt against a usual short
            axis.
        score: points by the rules of ``series_rules.toml``.
        chosen: whether it is the one that is read.
        reason: why it was chosen or not, as one clause.
    """

    number: int
    series_uid: str
    series_number: int | None
    description: str = field(repr=False)
    kind: str
    slices: int
    orientation: str
    score: int
    chosen: bool
    reason: str
