"""Tables of the page, from the values of ``score.json`` and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from scarseg_runtime.contract import SEGMENT_COUNT

NOTHING = "–"
MEASURES = (
    ("scar_dice", "Scar Dice, per case", ".3f"),
    ("scar_dice_pooled", "Scar Dice, pooled", ".3f"),
    ("precision", "Scar precision", ".3f"),
    ("sensitivity", "Scar sensitivity", ".3f"),
    ("scar_hd95_mm", "Scar HD95, mm", ".1f"),
    ("scar_mean_mm", "Scar mean surface distance, mm", ".1f"),
    ("cavity_dice", "Cavity Dice", ".3f"),
    ("wall_dice", "Wall Dice", ".3f"),
    ("endo_hd95_mm", "Endocardium HD95, mm", ".1f"),
    ("endo_mean_mm", "Endocardium mean distance, mm", ".1f"),
    ("epi_hd95_mm", "Epicardium HD95, mm", ".1f"),
    ("epi_mean_mm", "Epicardium mean distance, mm", ".1f"),
    ("false_alarm", "False alarms on hearts without scar", ".2f"),
)


SCAR = ("scar", "precision", "sensitivity", "false")
"""Beginnings of the keys that say something of scar."""


def interval(found: Mapping[str, Any] | None, form: str) -> str:
    """A mean and its interval."""
    if found is None or found["mean"] is None:
        return NOTHING
    if found["low"] is None:
        return format(found["mean"], form)
    return f"{found['mean']:{form}} ({found['low']:{form}} to {found['high']:{form}})"


def overview(arms: Mapping[str, Any], *, scar_only: bool = False) -> str:
    """All measures of all arms, or those of scar alone, one column an arm."""
    rows = [
        [title, *(interval(summary[key], form) for summary in arms.values())]
        for key, title, form in MEASURES
        if not scar_only or key.startswith(SCAR)
    ]
    rows += [
        ["Scar burden, bias and limits, % of wall",
         *(_limits(summary["burden_percent"]) for summary in arms.values())],
        ["Scar burden, ICC",
         *(_number((summary["burden_percent"] or {}).get("icc")) for summary in arms.values())],
        ["AHA segments with scar, κ",
         *(_number((summary["segments"] or {}).get("kappa")) for summary in arms.values())],
        ["Calibration error of scar probability",
         *(_number((s["calibration"] or {}).get("expected_error")) for s in arms.values())],
    ]  # fmt: skip
    rows = [row for row in rows if set(row[1:]) != {NOTHING}]
    return html("Means over patients with 95 % intervals", ["", *arms], rows)


def paper(model: str, arms: Mapping[str, Any], rows: Sequence[tuple[str, str]]) -> str:
    """Image-only baseline against fusion, with and without its parts.

    Args:
        rows: words and the arm that they stand for.
    """
    keys = ("scar_dice", "precision", "sensitivity")
    cells = [
        [words, *(interval(arms[title][key], ".3f") for key in keys)]
        for words, title in rows
        if title in arms
    ]
    head = ["", "Scar Dice", "Precision", "Sensitivity"]
    return html(model, head, cells)


def by_bin(bins: Mapping[str, Any], arms: Sequence[str]) -> str:
    """Scar Dice by Δt."""
    rows = [
        [f"{name} (n = {group['patients']})",
         *(interval(group["arms"][arm]["scar_dice"], ".3f") for arm in arms)]
        for name, group in bins.items()
    ]  # fmt: skip
    return html("Scar Dice by time between ECG and MRI", ["", *arms], rows)


def by_segment(arms: Mapping[str, Any]) -> str:
    """Agreement on scar segment by segment."""
    told = {title: found for title, summary in arms.items() if (found := summary["segments"])}
    rows = [
        [str(number), *(_number(found["by_segment"][number - 1]) for found in told.values())]
        for number in range(1, SEGMENT_COUNT + 1)
    ]
    return html("κ of scar or none by AHA segment", ["Segment", *told], rows) if told else ""


def differences(found: Iterable[Mapping[str, Any]]) -> str:
    """Paired differences."""
    rows = []
    for one in found:
        apart = one["scar_dice"]
        p = apart["p_wilcoxon"]
        rows.append([
            one["to"], one["from"], interval(apart, "+.3f"), str(apart["patients"]),
            NOTHING if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}",
        ])  # fmt: skip
    head = ["Arm", "against", "Scar Dice, difference", "Patients", "p (Wilcoxon)"]
    return html("Paired by patient", head, rows)


def patients(document: Mapping[str, Any], arms: Sequence[str]) -> str:
    """One row a patient, sortable."""
    head = ["Patient", "Δt, days", "Scar drawn, mL"]
    head += [f"{arm}: {what}" for arm in arms for what in ("Dice", "scar, mL")]
    rows = []
    for patient in document["patients"]:
        scores = patient["scores"]
        true = next((s["true_scar_ml"] for s in scores.values()), None)
        gap = patient["gap_days"] if patient["ecg"] else None
        row = [patient["id"], _number(gap, ".1f"), _number(true, ".1f")]
        for arm in arms:
            score = scores.get(arm, {})
            row += [_number(score.get("scar_dice"), ".3f"), _number(score.get("scar_ml"), ".1f")]
        rows.append(row)
    return html("Every patient", head, rows, marks=' class="sortable"')


def _limits(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return NOTHING
    return f"{found['bias']:+.1f} ({found['low']:+.1f} to {found['high']:+.1f})"


def _number(value: float | None, form: str = ".3f") -> str:
    return NOTHING if value is None else format(value, form)


def html(
    caption: str, head: Iterable[str], rows: Iterable[Iterable[str]], *, marks: str = ""
) -> str:
    """A table of plain words, which are escaped here; the first column heads the rows."""
    top = "".join(f'<th scope="col">{escape(words)}</th>' for words in head)
    body = []
    for row in rows:
        first, *others = (escape(words) for words in row)
        cells = "".join(f"<td>{words}</td>" for words in others)
        body.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    return (
        f'<div class="scroll"><table{marks}><caption>{escape(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )
