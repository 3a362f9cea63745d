"""Sentences on what a training did, from its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scarseg_export.tune.held_out import IMAGE, TRAINED


def statements(said: Mapping[str, Any]) -> list[str]:
    """Sentences on what was trained, what of it is used, and what kept its weights."""
    fusion, agreement = said["fusion"], said["agreement"]
    lines = [*_image(said["image"]), f"fusion: {_fusion(fusion)}"]
    if not agreement["trained"]:
        lines.append(f"agreement: kept as it was ({agreement['why']})")
    else:
        lines.append("agreement: " + ("trained" if fusion["used"] == TRAINED else "as the fusion"))
    return [*lines, _tau(said["tau"], fusion), _flag(said["flag"])]


def _image(image: Mapping[str, Any]) -> list[str]:
    if not image["trained"]:
        return [f"image: kept as it was ({image['why']})"]
    on = ""
    if "scar_dice" in image:
        parts = [
            f"{part} Dice {image[key]:.3f}"
            + (f", before {image[key + '_before']:.3f}" if key + "_before" in image else "")
            for part, key in (("scar", "scar_dice"), ("wall", "wall_dice"))
            if image[key] is not None
        ]
        on = f" ({'; '.join(parts)}; on {image['hearts']} held-out hearts)"
    if not image["adopted"]:
        return [f"image: trained, no better and not used{on}"]
    if "scar_dice" not in image:
        return [f"image: trained; scar logit not shifted ({image['why_no_shift']})"]
    low, high = image["burden_bias_percent"]
    bias = f"called minus drawn: {low:+.1f} to {high:+.1f} % of the wall found (95 %)"
    shift = f"shifted by {image['scar_shift']:+.2f}" if image["scar_shift"] else "not shifted"
    where = f"in {image['with_scar']} held-out hearts with scar"
    return [f"image: trained{on}", f"scar logit: {shift} ({bias} {where})"]


def _fusion(fusion: Mapping[str, Any]) -> str:
    trained, used = fusion["trained"], fusion["used"]
    if used == IMAGE:
        what = "not used, the ECG changes nothing"
    elif used == TRAINED and trained:
        what = "trained"
    else:
        what = "trained, but kept as it was" if trained else "kept as it was"
    reasons = [] if trained else [fusion["why"]]
    if "against_image" in fusion:
        each = "; ".join(
            f"{way} {_gain(gain['dice'])} and {_gain(gain['right'])}"
            for way, gain in fusion["against_image"].items()
        )
        on = f"{fusion['pairs_compared']} held-out pairs"
        reasons.append(f"mean Dice and share told right against the image alone, {on}: {each}")
    elif trained:
        reasons.append(fusion["why_used"])
    return f"{what} ({'; '.join(reasons)})"


def _gain(gain: Sequence[float]) -> str:
    mean, error = gain
    return f"{mean:+.3f} ± {error:.3f}"


def _tau(tau: Mapping[str, Any], fusion: Mapping[str, Any]) -> str:
    if tau["adopted"] and fusion["used"] == TRAINED:
        low, high = tau["low_days"], tau["high_days"]
        return f"τ: {tau['tau_days']:.0f} days ({low:.0f} to {high:.0f}) from the pairs"
    told = tau["why"] or f"the pairs say {tau['tau_days']:.0f} days"
    if fusion["used"] == IMAGE:
        return f"τ: not used, as no ECG is heard ({told})"
    how = "learned from the twin" if tau.get("from_twin") else "kept"
    why = tau["why"] or f"the pairs say {tau['tau_days']:.0f}, with which fusion is no better"
    return f"τ: {tau['used_days']:.0f} days, {how} ({why})"


def _flag(flag: Mapping[str, Any]) -> str:
    if flag["threshold"] is None:
        return f"disagreement flag: threshold kept ({flag['why']})"
    return (
        f"disagreement flag: above {flag['threshold']:.2f}, from {flag['pairs']} {flag['set_on']}"
    )
