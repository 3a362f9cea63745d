"""A result in five lines, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scarseg_infer.write.words import RESEARCH_USE

if TYPE_CHECKING:
    from scarseg_infer.result import ScarResult


def summary_lines(result: ScarResult) -> list[str]:
    """Scar, ventricle, segments, ECG, model: one line each."""
    whole, image = result.quantities, result.image_only_quantities
    ecg, model = result.ecg, result.model
    hit = sorted(
        (s for s in whole.segments if s.scar_ml > 0), key=lambda s: s.burden or 0.0, reverse=True
    )
    named = ", ".join(f"{s.number} {s.name} {100 * (s.burden or 0):.0f} %" for s in hit[:4])
    more = f" and {len(hit) - 4} more" if len(hit) > 4 else ""
    return [
        f"Scar        {whole.scar_ml:.1f} mL, {whole.scar_g:.1f} g, "
        f"{_percent(whole.scar_percent_of_lv_mass)} of LV mass "
        f"(image alone: {_percent(image.scar_percent_of_lv_mass)})",
        f"LV          myocardium {whole.myocardium_g:.0f} g, cavity {whole.lv_cavity_ml:.0f} mL",
        f"Segments    {named or 'no segment with scar'}{more}",
        f"ECG         weight {ecg.weight:.2f}: {ecg.reason}",
        f"Model       {model.name} {model.version} on {model.provider} {model.precision}. "
        f"{model.training_data} {RESEARCH_USE}",
    ]


def scar_sentence(result: ScarResult) -> str:
    """Location, distribution and image type in words, as SCMR asks a reader to report them."""
    found = result.characteristics
    kind = f"Read on {result.stack.image_kind} images."
    if found.distribution is None:
        return f"No scar in any AHA segment. {kind}"
    where = ", ".join(found.location)
    obstruction = found.microvascular_obstruction_ml or 0.0
    dark = f" Microvascular obstruction {obstruction:.1f} mL, counted as scar." * (obstruction > 0)
    return f"Scar in {where}; distribution in the wall: {found.distribution}.{dark} {kind}"


def timing_lines(result: ScarResult) -> list[str]:
    """Wall time of each stage."""
    return [f"{stage:<12}{ms:8.0f} ms" for stage, ms in result.timings_ms.items()]


def _percent(value: float | None) -> str:
    return "no value" if value is None else f"{value:.1f} %"
