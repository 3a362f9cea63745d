"""The real-data tables of the evaluation as text: they come first."""

from __future__ import annotations

from typing import Any

from scarseg_export.evaluation.real_hearts import ECGS_A_KIND, GAP_DAYS, KINDS

IMAGE_COLUMNS = {
    "cavity": ("cavity Dice", ".3f"), "wall": ("wall Dice", ".3f"), "scar": ("scar Dice", ".3f"),
    "called_percent": ("scar called, % of wall", ".1f"),
    "true_percent": ("true", ".1f"),
    "absolute_burden_error": ("absolute error", ".1f"),
    "false_percent": ("called in scar-free hearts, %", ".1f"),
    "false_percent_worst": ("in the worst", ".1f"),
    "turn_spread_percent": ("range over 8 turns and flips", ".1f"),
    "quarter_spread_percent": ("range over 4 turns", ".1f"),
    "angle_spread_percent": ("range over odd angles", ".1f"),
    "angle_spread_worst": ("in the worst", ".1f"),
}  # fmt: skip


def real_lines(results: dict[str, Any]) -> list[str]:
    """Markdown of what was measured on real hearts and real ECGs; nothing where none was given."""
    lines: list[str] = []
    if "real_hearts" in results:
        lines += _hearts(results["real_hearts"], results["seeds"])
    if "real_ecgs" in results:
        lines += _ecgs(results["real_ecgs"], results["seeds"])
    return lines


def _hearts(by_seed: list[dict[str, Any]], seeds: list[int]) -> list[str]:
    counts = by_seed[0]["image"]
    lines = [
        "## Real hearts", "",
        f"{counts['with_scar']} labelled hearts with scar and {counts['without_scar']} without, "
        "image alone; means over hearts.", "",
    ]  # fmt: skip
    head = ["seed", *(title for title, _ in IMAGE_COLUMNS.values())]
    rows = [
        [str(seed), *(format(one["image"][key], form) for key, (_, form) in IMAGE_COLUMNS.items())]
        for seed, one in zip(seeds, by_seed, strict=True)
    ]
    lines += [*table(head, rows), ""]
    if not by_seed[0]["ecg"]:
        return lines
    lines += [
        f"The same hearts with {ECGS_A_KIND} real ECGs of each kind, all of other people, as if "
        f"recorded {GAP_DAYS:g} day apart: what shows is harm.", "",
    ]  # fmt: skip
    head = ["seed", "ECG", "scar Dice image alone", "fused", "difference",
            "half of the scar gone", "false scar taken from scar-free hearts"]  # fmt: skip
    rows = []
    for seed, one in zip(seeds, by_seed, strict=True):
        for kind in KINDS:
            part = one["ecg"][kind]
            rows.append([
                str(seed), kind, f"{part['dice_image']:.3f}", f"{part['dice_fused']:.3f}",
                f"{part['dice_fused'] - part['dice_image']:+.3f}",
                f"{100 * part['lost_half']:.0f} %", f"{100 * part['false_removed']:.0f} %",
            ])  # fmt: skip
    return [*lines, *table(head, rows), ""]


def _ecgs(by_seed: list[dict[str, Any]], seeds: list[int]) -> list[str]:
    tests = [one["test"] for one in by_seed]
    counts = tests[0]
    lines = [
        "## Real ECGs", "",
        f"Test fold of PTB-XL: {counts['infarcts']} infarcts, {counts['normals']} normals and "
        f"{counts['others']} others, as read from the ECGs; the score of a record is its highest "
        "belief over the segments.", "",
    ]  # fmt: skip
    shown: dict[str, list[str]] = {
        "AUROC infarct against normal (95 %)": [
            f"{t['auroc']:.3f} ({t['auroc_low']:.3f} to {t['auroc_high']:.3f})" for t in tests
        ],
        "the same within one recorder model": [
            f"{t['auroc_one_recorder']['mean']:.3f}" for t in tests
        ],
        "AUROC infarct against all others": [f"{t['auroc_against_all']:.3f}" for t in tests],
        "AUROC inferior against anterior": [f"{t['auroc_inferior_anterior']:.3f}" for t in tests],
        **{
            f"{kind} believed scarred": [f"{100 * t[f'{kind}_believed_scarred']:.1f} %"
                                         for t in tests]
            for kind in ("infarcts", "normals", "others")
        },
        "calibration error of the belief": [
            f"{one['reliability_test']['ece']:.3f}" for one in by_seed
        ],
    }  # fmt: skip
    rows = [[name, *values] for name, values in shown.items()]
    return [*lines, *table(["", *(f"seed {seed}" for seed in seeds)], rows), ""]


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Markdown table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return [lines[0], "|---" * len(head) + "|", *lines[1:]]
