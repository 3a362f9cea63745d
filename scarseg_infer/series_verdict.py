"""What became of each series of a study when the LGE stack was looked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

PreferredKind = Literal["PSIR", "magnitude"]
"""Which of two reconstructions of the same slices is read when a study holds both."""


@dataclass(frozen=True, slots=True)
class SeriesVerdict:
    """One candidate: parallel slices on one grid, of one kind, of one series.

    A series of several views, grids or kinds of image makes several candidates; series of one
    slice each that fit together make one.
    """

    number: int
    """From 1, in the order of the list: what ``read_study`` takes as ``series``."""
    series_uid: str
    """SeriesInstanceUID, of the first slice where every slice has its own."""
    series_number: int | None
    description: str = field(repr=False)
    """SeriesDescription as typed by staff: it may hold a patient's name. Show it to the user who
    asked for the list; never log it."""
    kind: str
    """``PSIR``, ``magnitude``, ``phase`` or ``unknown type``."""
    slices: int
    """How many slice positions."""
    orientation: str
    """``short axis``, ``long axis`` or ``other`` with the tilt against a usual short axis."""
    score: int
    """Points by the rules of ``series_rules.toml``."""
    chosen: bool
    reason: str
    """Why it was chosen or not, as one clause."""
