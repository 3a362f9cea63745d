"""Network and quantification of a stack and its ECG evidence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.ecg.evidence import EcgEvidence
from scarseg_infer.result import EcgUse, ModelUse, ScarResult
from scarseg_infer.study.geometry.orientation import DisplayTransform, display_transform
from scarseg_infer.study.geometry.slice_plane import gap_warnings
from scarseg_infer.study.geometry.straight_grid import grid_warnings
from scarseg_infer.study.geometry.upright import upright_turn
from scarseg_infer.study.label_map import map_warnings
from scarseg_infer.study.slice_signal import signal_warnings
from scarseg_infer.study.stack import LgeStack
from scarseg_runtime.atlas import segments_on
from scarseg_runtime.contract import MYOCARDIUM, Label
from scarseg_runtime.model import Model, NetworkOutput
from scarseg_runtime.preprocess import slice_levels
from scarseg_runtime.providers.registry import Candidate
from scarseg_runtime.quantify.characteristics import threshold_doubts
from scarseg_runtime.quantify.components import clean_labels
from scarseg_runtime.quantify.elongation import elongation
from scarseg_runtime.quantify.quantities import Quantities, quantify, slice_heights_mm
from scarseg_runtime.run_control import RunControl
from scarseg_runtime.slice_order import apex_comes_first

PLAUSIBLE_LV_MASS_G = (20.0, 1500.0)
"""Myocardium beyond these is a mistake in image or geometry: adults have 60–200 g, the heaviest
hearts described about 1000 g, those of infants some 20 g."""
PLAUSIBLE_SCAR_PERCENT = 60.0
"""Of LV mass; infarcts that hearts survive are smaller (design choice)."""
WHOLE_HEART_SLICES = 5
"""Fewer may be a part of the heart (LGE has 5–13)."""
MOST_CUT_OFF = 0.1
"""Share of the scar that may have the highest value of the stack: in real ones none has."""
WIDEST_MM = 600.0
"""Fields of view end with the bore, which is 600 to 700 mm wide; LGE has 300 to 450 mm."""
MOST_ELONGATED = 1.4
"""Length by width of a ventricle in its short axis: in 22 real stacks 1.12 at most, in simulated
hearts 1.3; of images squeezed to half 1.3 to 1.7."""
WIDER = 1.3
"""The end at the base may be narrower than that at the apex by this factor (in the same stacks the
apex has 0.75 of the base at most)."""
ECG_CHANGE_PERCENT = 2.0
"""Points of LV mass by which the ECG may change the scar without a warning, unless it takes the
last or brings the first (design choice)."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Network output together with the orientation in which it was computed."""

    display: DisplayTransform
    output: NetworkOutput
    warnings: tuple[str, ...] = ()


def run_network(model: Model, stack: LgeStack, evidence: EcgEvidence, control: RunControl) -> Shown:
    """Run the graph in display orientation; where no geometry says which end is the base,
    the image decides and the graph runs again if the first guess was wrong.

    Raises:
        StudyError, ProviderError, CancelledError, RunTimeoutError: see :meth:`Model.run`.
    """
    display = display_transform(stack)
    shown = Shown(display, _execute(model, stack, display, evidence, control))
    if stack.orientation_known or len(stack.pixels) == 1:
        return shown
    warning = "The file does not say which end of the stack is the base; the image decided."
    if apex_comes_first(shown.output.labels):
        display = replace(display, reverse_slices=not display.reverse_slices)
        shown = Shown(display, _execute(model, stack, display, evidence, control))
    return replace(shown, warnings=(warning,))


def _execute(
    model: Model,
    stack: LgeStack,
    display: DisplayTransform,
    evidence: EcgEvidence,
    control: RunControl,
) -> NetworkOutput:
    positions = stack.slice_positions_mm
    base_to_apex = -positions[::-1] if display.reverse_slices else positions
    return model.run(
        display.to_display(stack.pixels),
        display.display_spacing(stack.pixel_spacing_mm),
        slice_levels(base_to_apex),
        evidence.beat.beat_mv if evidence.beat else None,
        evidence.decision,
        control,
    )


def quantified(
    model: Model, stack: LgeStack, evidence: EcgEvidence, shown: Shown, timings_ms: dict[str, float]
) -> ScarResult:
    """Labels on the source grid, their quantities, and what to be warned of."""
    output, metadata, chosen = shown.output, model.metadata, model.chosen
    heights = slice_heights_mm(stack.slice_positions_mm, stack.slice_thickness_mm)
    spacing = stack.pixel_spacing_mm
    voxel_ml = spacing[0] * spacing[1] * heights / 1000.0
    labels, image_only = (
        clean_labels(shown.display.to_source(volume), metadata.min_scar_ml, voxel_ml)
        for volume in (output.labels, output.image_only_labels)
    )
    segments = segments_on(np.isin(labels, MYOCARDIUM), shown.display.to_source(output.segments))
    quantities = quantify(labels, segments, spacing, heights)
    image_quantities = quantify(image_only, segments, spacing, heights)
    use = evidence.use(output, metadata.disagreement_threshold)
    turn_deg, turn_warnings = upright_turn(stack, shown.display, output.labels)
    found = (
        *stack.warnings, *gap_warnings(stack.slice_positions_mm, stack.slice_thickness_mm),
        *map_warnings(stack.pixels), *signal_warnings(stack), *grid_warnings(stack),
        *evidence.warnings, *shown.warnings,
    )  # fmt: skip
    return ScarResult(
        stack=stack,
        labels=labels,
        scar_probability=shown.display.to_source(output.scar_probability),
        image_only_labels=image_only,
        segments=segments,
        display=replace(shown.display, turn_deg=turn_deg),
        quantities=quantities,
        image_only_quantities=image_quantities,
        ecg=use,
        model=use_of(model),
        timings_ms=timings_ms,
        warnings=(
            *found,
            *turn_warnings,
            *_picture_doubts(stack, labels, shown.display),
            *_doubts(quantities, image_quantities, use, chosen, len(labels)),
            *threshold_doubts(stack.pixels, labels, voxel_ml),
        ),
    )


def use_of(model: Model) -> ModelUse:
    """Statement of results about the model that made them."""
    metadata, chosen = model.metadata, model.chosen
    return ModelUse(
        name=metadata.name,
        version=metadata.version,
        sha256=model.sha256,
        training_data=metadata.training_data,
        provider=chosen.provider.name,
        precision=chosen.precision,
        tau_days=None if metadata.image_only else metadata.tau_days,
        ecg_scores=dict(metadata.ecg_scores) or None,
    )


def _doubts(
    fused: Quantities, image_only: Quantities, ecg: EcgUse, chosen: Candidate, slices: int
) -> Iterator[str]:
    """Warn of what in the result itself calls for a second look."""
    if fused.myocardium_ml == 0:
        yield "No left ventricle was found in the image."
    elif _implausible(fused.myocardium_g, slices):
        yield (
            f"The left ventricle found has {fused.myocardium_g:.1f} g of myocardium, which is not "
            "plausible: check the pictures, pixel spacing and slice positions."
        )
    if (fused.scar_percent_of_lv_mass or 0.0) > PLAUSIBLE_SCAR_PERCENT:
        yield (
            f"{fused.scar_percent_of_lv_mass:.0f} % of LV mass is called scar, which is not "
            "plausible: check the pictures, and that model and series are the right ones."
        )
    if chosen.gate:
        yield (
            f"{chosen.provider.name} {chosen.precision} was asked for by name and is not known "
            f"to give the answers of PyTorch: {chosen.gate}."
        )
    if ecg.image_disagreement:
        yield (
            "ECG and image do not fit each other: make sure that they are of the same "
            "patient, and compare with the image-only result."
        )
    after, before = (q.scar_percent_of_lv_mass or 0.0 for q in (fused, image_only))
    if abs(after - before) > ECG_CHANGE_PERCENT or (before > 0) != (after > 0):
        yield (
            f"The ECG changed the scar from {before:.1f} to {after:.1f} % of LV mass: "
            "compare with the image-only result."
        )


def _picture_doubts(
    stack: LgeStack, labels: NDArray[np.uint8], display: DisplayTransform
) -> Iterator[str]:
    """Warn of pictures that are none of a heart, and of a ventricle that lies the wrong way."""
    extent_mm = max(
        size * step for size, step in zip(labels.shape[1:], stack.pixel_spacing_mm, strict=True)
    )
    if extent_mm > WIDEST_MM:
        yield (
            f"The images are {extent_mm:.0f} mm wide, more than scanners show: check that they are "
            "no montage of several, and the unit of the pixel spacing."
        )
    longer = elongation(labels, stack.pixel_spacing_mm)
    if longer > MOST_ELONGATED:
        yield (
            f"The left ventricle found is {longer:.1f} times as long as it is wide: check the "
            "view, and the order and unit of the pixel spacing."
        )
    scar = stack.pixels[labels == Label.SCAR]
    cut_off = float((scar == stack.pixels.max()).mean()) if scar.size else 0.0
    if cut_off > MOST_CUT_OFF:
        yield (
            f"{100 * cut_off:.0f} % of the scar has the highest value of the images, which seem to "
            "be cut off there, as by a window: scar, blood and fat look alike. Pass them as the "
            "scanner made them."
        )
    whole = len(labels) >= WHOLE_HEART_SLICES
    if stack.orientation_known and whole and apex_comes_first(display.to_display(labels), WIDER):
        yield (
            "The left ventricle found is the wider at the end which is the apex by the positions "
            "of the slices: check base and apex, from which AHA segments follow."
        )


def _implausible(mass_g: float, slices: int) -> bool:
    """True where it cannot be the mass of a heart; that of a few slices may be small."""
    low, high = PLAUSIBLE_LV_MASS_G
    return mass_g > high or (mass_g < low and slices >= WHOLE_HEART_SLICES)
