"""From judged candidates to the one stack that is read, with the fate of all the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from scarseg_infer.study.dicom.header import SliceHeader
from scarseg_infer.study.dicom.rank import Candidate
from scarseg_infer.study.dicom.rules import UNKNOWN_KIND, series_rules
from scarseg_infer.study.dicom.series import ADVICE, SliceGroup, plane_of
from scarseg_infer.study.geometry.orientation import counted_from
from scarseg_infer.study.series_verdict import PreferredKind
from scarseg_runtime.errors import StudyError

_SAY_WHICH: Final = (
    "Say which with --series, or in column series of a table (scarseg-infer STUDY --list-series "
    "numbers them), or pass a folder of one"
)
_MOST_LISTED: Final = 8
"""A message is to be read, not searched; all of them are in the list of series."""


@dataclass(slots=True)
class Choice:
    """Verdict on the candidates of a study."""

    chosen: Candidate | None = None
    reasons: dict[int, str] = field(default_factory=dict)
    """Reason that a candidate was not chosen, by its number."""
    notes: list[str] = field(default_factory=list)
    """Warnings for whoever reads the result."""
    superseded: list[SliceHeader] = field(default_factory=list)
    """Images of the chosen series that were taken again."""
    error: StudyError | None = None
    """Reason that there is no stack to read, though one may have been chosen."""


def choose(
    candidates: Sequence[Candidate], prefer: PreferredKind, series: str | int | None
) -> Choice:
    """The LGE stack among candidates, or the error that says why none can be read.

    Raises:
        StudyError: ``series`` is none of the study.
    """
    asked = candidates if series is None else _asked_for(candidates, series)
    choice = Choice(reasons={c.number: c.against for c in candidates})
    usable = [c for c in asked if not c.against]
    if not usable and series is not None:
        usable = [c for c in asked if c.readable]
        if usable:
            choice.notes.append("The series was read as told, though its header speaks against it.")
    if not usable:
        choice.error = _no_stack(asked)
        return choice
    kept = _without_other_kinds(_marked_by_twins(usable), prefer, choice)
    chosen = _best(kept, choice)
    if chosen is not None:
        choice.chosen = chosen
        _compare(chosen, kept, choice)
        _note_other_kinds(chosen, candidates, choice)
        _take_last(choice)
    return choice


def _asked_for(candidates: Sequence[Candidate], series: str | int) -> list[Candidate]:
    """The candidates of a series, given as a number of the list or a SeriesInstanceUID."""
    wanted = str(series).strip()
    if wanted.isdecimal():
        found = [c for c in candidates if str(c.number) == wanted.lstrip("0")]
    else:
        found = [c for c in candidates if wanted in {h.series_uid for h in c.group.slices}]
    if not found:
        raise StudyError(
            "the study has no such series", "List them with scarseg-infer STUDY --list-series"
        )
    return found


def _no_stack(candidates: Sequence[Candidate]) -> StudyError:
    """Say why none of the candidates will do, told by the largest of them, and the way out."""
    largest = max(candidates, key=lambda candidate: len(candidate.group.slices))
    if any(candidate.readable for candidate in candidates):
        return StudyError(largest.against, f"{ADVICE}; if one is here, name it with --series")
    return StudyError(largest.against, ADVICE)


def _marked_by_twins(usable: Sequence[Candidate]) -> list[Candidate]:
    """Candidates, those counted as LGE too whose acquisition is marked as LGE in another kind of
    image: names and image types may tell of one of them only."""
    found = []
    for candidate in usable:
        twins = [
            other
            for other in usable
            if other.lge_marked
            and other.group.image_kind != candidate.group.image_kind
            and other.group.same_acquisition(candidate.group)
        ]
        if twins and not candidate.lge_marked:
            score = max(candidate.score, *(twin.score for twin in twins))
            candidate = replace(candidate, lge_marked=True, score=score)
        found.append(candidate)
    return found


def _without_other_kinds(
    usable: Sequence[Candidate], prefer: PreferredKind, choice: Choice
) -> list[Candidate]:
    """Candidates without those whose slices are there as the preferred kind of image too."""
    kept = []
    for candidate in usable:
        twins = [
            other
            for other in usable
            if other.group.image_kind == prefer != candidate.group.image_kind
            and other.lge_marked == candidate.lge_marked
            and other.group.same_slices(candidate.group)
        ]
        if twins:
            choice.reasons[candidate.number] = (
                f"{candidate.group.image_kind} images of the same slices as number "
                f"{twins[0].number}, whose {prefer} images are preferred"
            )
        else:
            kept.append(candidate)
    return kept


def _best(kept: Sequence[Candidate], choice: Choice) -> Candidate | None:
    """The candidate with most points; of repeats the one taken last; None where undecidable."""
    top = max(candidate.score for candidate in kept)
    best = [candidate for candidate in kept if candidate.score == top]
    if not best[0].lge_marked:
        best = list(kept)  # points for shape alone do not tell LGE from other stacks
    if len(best) == 1:
        return best[0]
    if _parts_of_one_series(best):
        return _largest_part(best, choice)
    last = _taken_last(best) if best[0].lge_marked else None
    if last is None:
        listed = _listed(best)
        choice.error = StudyError(
            f"the study holds {len(best)} stacks that may be the LGE: {listed}", _SAY_WHICH
        )
        some = [str(candidate.number) for candidate in best[:_MOST_LISTED]]
        numbers = ", ".join(some if len(best) == len(some) else [*some, "…"])
        for candidate in best:
            choice.reasons[candidate.number] = f"may be the LGE; which of {numbers} is not known"
        return None
    choice.notes.append(
        f"{len(best)} stacks are equally good by their headers: the one taken last was read "
        f"({_describe(last.group)})."
    )
    for candidate in best:
        choice.reasons[candidate.number] = f"as good as number {last.number}, but taken before it"
    return last


def _parts_of_one_series(best: Sequence[Candidate]) -> bool:
    """True where candidates are one series whose slices do not lie on one grid."""
    series = {(h.series_uid, h.image_kind) for c in best for h in c.group.slices}
    if len(series) > 1:
        return False
    grids = [plane_of(candidate.group.slices[0]) for candidate in best]
    return not any(one.same_grid(two) for i, one in enumerate(grids) for two in grids[:i])


def _largest_part(best: Sequence[Candidate], choice: Choice) -> Candidate | None:
    """The part with most slices; None where several are as large. The rest is told as left out."""
    *_, second, first = sorted(best, key=lambda candidate: candidate.group.position_count)
    if first.group.position_count > second.group.position_count:
        for candidate in best:
            choice.reasons[candidate.number] = (
                f"a smaller part of the series of number {first.number}, turned, tilted or of "
                "another pixel size"
            )
        return first
    sizes = [str(candidate.group.position_count) for candidate in best[:_MOST_LISTED]]
    listed = ", ".join(sizes if len(best) == len(sizes) else [*sizes, "…"])
    choice.error = StudyError(
        "the slices of the LGE series are turned, tilted or of another pixel size against each "
        f"other: they make {len(best)} stacks (of {listed} slices), none of them the largest",
        "Say which with --series (--list-series numbers them), or export parallel slices",
    )
    for candidate in best:
        choice.reasons[candidate.number] = "as large as another part of its series"
    return None


def _taken_last(best: Sequence[Candidate]) -> Candidate | None:
    """The candidate that was acquired after all others; None where times do not tell."""
    moments = [candidate.group.acquired for candidate in best]
    known = [moment for moment in moments if moment is not None]
    if len(known) < len(moments) or moments.count(max(known)) > 1:
        return None
    return best[moments.index(max(known))]


def _compare(chosen: Candidate, kept: Sequence[Candidate], choice: Choice) -> None:
    """Say of the chosen one why, of weaker ones what they lack, and warn of what else is there."""
    choice.reasons[chosen.number] = f"best by the rules: {chosen.why}"
    weaker = [c for c in kept if c.score < chosen.score]
    for candidate in weaker:
        choice.reasons[candidate.number] = (
            f"less likely than number {chosen.number} ({candidate.score} points against "
            f"{chosen.score})"
        )
    others = [candidate for candidate in weaker if candidate.lge_marked]
    if others:
        listed = _listed(others)
        choice.notes.append(f"Other stacks may be LGE too and were left out: {listed}.")


def _note_other_kinds(chosen: Candidate, candidates: Sequence[Candidate], choice: Choice) -> None:
    """Note that the chosen slices exist as another kind of image too, or are named as one."""
    kinds = {
        other.group.image_kind
        for other in candidates
        if not other.against
        and (other.lge_marked == chosen.lge_marked or other.group.same_acquisition(chosen.group))
        and other.group.same_slices(chosen.group)
    } - {chosen.group.image_kind}
    if kinds:
        choice.notes.append(
            f"The same slices are there as {' and '.join(sorted(kinds))} images too: the "
            f"{chosen.group.image_kind} images were read."
        )
    kind = chosen.group.image_kind
    contradictory = {
        name for h in chosen.group.slices for name in series_rules().contradictory_kinds(h.tokens)
    }
    if contradictory:
        choice.notes.append(
            f"ImageType calls these images {' and '.join(sorted(contradictory))} at once: they "
            f"were read as {kind} images. Thresholds differ between kinds: check which one it is."
        )
    for named in sorted({h.named_kind for h in chosen.group.slices} - {kind, UNKNOWN_KIND, *kinds}):
        choice.notes.append(
            f"The series is named as {named} images, but its headers say {kind}: they were read "
            f"as {kind} images."
        )


def _take_last(choice: Choice) -> None:
    """Keep the last image of every slice that was taken more than once."""
    if choice.chosen is None or choice.chosen.group.is_stack:
        return
    group = choice.chosen.group
    kept: list[SliceHeader] = []
    again = [str(i) for i, n in enumerate(group.images_per_position, start=1) if n > 1]
    if len(again) > 2 * _MOST_LISTED:
        again[2 * _MOST_LISTED :] = ["…"]
    which = f"slice {again[0]} was" if len(again) == 1 else f"slices {', '.join(again)} were"
    what = f"{which} taken more than once ({counted_from(group.plane.normal)})"
    for images in group.at_positions():
        moments = [header.acquired for header in images]
        known = [moment for moment in moments if moment is not None]
        if len(images) == 1:
            kept.append(images[0])
        elif len(known) == len(images) and moments.count(max(known)) == 1:
            last = images[moments.index(max(known))]
            kept.append(last)
            choice.superseded.extend(header for header in images if header is not last)
        else:
            choice.error = StudyError(
                f"{what}, and which image to use cannot be known",
                "Export the LGE series with one image per slice",
            )
            choice.reasons[choice.chosen.number] = choice.error.what
            choice.chosen = None
            return
    choice.notes.append(f"{what[0].upper()}{what[1:]}: the last image of each was used.")
    stack = SliceGroup(tuple(kept), (1,) * len(kept), group.plane)
    choice.chosen = replace(choice.chosen, group=stack)


def _listed(candidates: Sequence[Candidate]) -> str:
    """Describe candidates, the first of them where they are many."""
    described = sorted(_describe(candidate.group) for candidate in candidates)
    more = len(described) - _MOST_LISTED
    if more > 0:
        described[_MOST_LISTED:] = [f"and {more} more"]
    return "; ".join(described)


def _describe(group: SliceGroup) -> str:
    series = sorted({h.series_number for h in group.slices if h.series_number is not None})
    if not series:
        where = "series without a number"
    elif len(series) == 1:
        where = f"series {series[0]}"
    else:
        where = f"series {series[0]} to {series[-1]}"
    return f"{where} ({group.position_count} slices, {group.image_kind})"
