"""Table, JSON and plot of a run, and two runs side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scarseg_bench.numbers import PHASES
from scarseg_bench.rows import GPU, SCOPES

OTHERS = ("pytorch", "nnunet")
"""Rows start so that are not ours."""


COLUMNS = ("way", "times faster", "p50 ms", "p95", "p99", "a second", "first run ms",
           "peak RSS MB", "labels equal", "max Δp")  # fmt: skip
ON_GPU = ("on GPU MB", "enqueue ms", "host → device", "device", "device → host")
"""Columns that the network on a GPU has too; its p50 is host to host."""


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, ratios first."""
    lines = []
    for scope in SCOPES:
        mine = [row for row in rows if row["scope"] == scope]
        if not mine:
            continue
        columns = COLUMNS + (ON_GPU if scope == GPU else ())
        lines += [f"\n### {scope}\n", _cells(columns), "|---" * len(columns) + "|"]
        ran = sorted((r for r in mine if "p50_ms" in r), key=lambda r: r["p50_ms"])
        lines += [_line(row) for row in ran]
        empty = " |" * (len(columns) - 2)
        lines += [f"| {r['name']} | {r['error']} |{empty}" for r in mine if "p50_ms" not in r]
        lines += _without_ratio(ran)
    return "\n".join(lines)


def _without_ratio(rows: list[dict[str, Any]]) -> list[str]:
    """Reasons that rows have no ratio, once for each reason."""
    names: dict[str, list[str]] = {}
    for row in rows:
        if "no_ratio" in row:
            names.setdefault(row["no_ratio"], []).append(row["name"])
    every = [(reason, which) for reason, which in names.items() if len(which) == len(rows)]
    if every:
        return [f"\nNothing is compared: {every[0][0]}. Measure again on an idle machine."]
    return [f"\nNo ratio for {', '.join(which)}: {reason}." for reason, which in names.items()]


def short_table(document: dict[str, Any]) -> str:
    """Markdown for a README: what it ran on, and of each way ratio, median and labels."""
    lines = [about(document["machine"], document["stack"], document["threads"]), ""]
    lines += ["| | times faster than PyTorch eager FP32 | ms, median | labels equal |"]
    lines += ["|---|---|---|---|"]
    for row in document["rows"]:
        if "p50_ms" in row:
            equal = (
                "" if row["label_agreement"] is None else f"{100 * row['label_agreement']:.3f} %"
            )
            name = f"{row['scope']}: {row['name']}"
            lines.append(_cells((name, _ratio(row), _number(row["p50_ms"]), equal)))
    return "\n".join(lines)


def about(facts: dict[str, Any], stack: list[int], threads: int) -> str:
    """One line on the machine."""
    gpu = facts["gpu"]
    parts = [f"{facts['date']}: {facts['cpu']}", *facts["instructions"], f"{facts['cores']} cores"]
    if gpu is not None:
        parts += [gpu["name"], f"driver {gpu['driver_version']}",
                  f"{gpu['clocks.sm']} of {gpu['clocks.max.sm']} MHz"]  # fmt: skip
    parts += [f"{threads} threads", f"stack of {' × '.join(map(str, stack))}"]
    parts += [f"{name} {number}" for name, number in facts["versions"].items()]
    return ", ".join(parts)


def _cells(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(ms: float) -> str:
    """Three digits at least: a GPU takes few milliseconds."""
    return f"{ms:.2f}" if ms < 10 else f"{ms:.1f}" if ms < 100 else f"{ms:.0f}"


def _ratio(row: dict[str, Any]) -> str:
    """With the spread of the rounds; none where it would mean nothing."""
    if row.get("times_faster") is None:
        return "–"
    text = f"{row['times_faster']:.2f}"
    if "times_faster_low" in row:
        text += f" ({row['times_faster_low']:.2f}–{row['times_faster_high']:.2f})"
    return text


def _line(row: dict[str, Any]) -> str:
    def number(key: str, pattern: str) -> str:
        return "" if row.get(key) is None else pattern.format(row[key])

    name = row["name"] if row["right"] else f"**wrong labels:** {row['name']}"
    agreement = row["label_agreement"]
    cells = (
        name, _ratio(row), *(_number(row[key]) for key in ("p50_ms", "p95_ms", "p99_ms")),
        number("per_s", "{:.1f}"), number("first_ms", "{:.0f}"), number("peak_rss_mb", "{:.0f}"),
        "" if agreement is None else f"{100 * agreement:.3f} %",
        number("max_abs_probability_difference", "{:.1e}"),
    )  # fmt: skip
    if row["scope"] == GPU:
        cells += (number("device_mb", "{:.0f}"), *(number(f"{p}_ms", "{:.2f}") for p in PHASES))
    return _cells(cells)


def write(out: Path, document: dict[str, Any], text: str) -> None:
    """bench.json and bench.md in folder ``out``; readme.md and bench.png if anything was timed."""
    out.mkdir(parents=True, exist_ok=True)
    content = json.dumps(document, indent=1, sort_keys=True) + "\n"
    (out / "bench.json").write_text(content, encoding="utf-8")
    (out / "bench.md").write_text(text + "\n", encoding="utf-8")
    if timed := [row for row in document["rows"] if "p50_ms" in row]:
        (out / "readme.md").write_text(short_table(document) + "\n", encoding="utf-8")
        draw(timed, out / "bench.png")


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Median time of every row with its 95th percentile, one panel a scope."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [(scope, [r for r in rows if r["scope"] == scope]) for scope in SCOPES]
    panels = [(scope, mine) for scope, mine in panels if mine]
    heights = [len(mine) + 1 for _, mine in panels]
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(9, 0.42 * sum(heights) + 0.8), layout="constrained",
        height_ratios=heights, squeeze=False,
    )  # fmt: skip
    for axis, (scope, mine) in zip(axes[:, 0], panels, strict=True):
        mine = sorted(mine, key=lambda row: -row["p50_ms"])
        medians = [row["p50_ms"] for row in mine]
        above = [row["p95_ms"] - row["p50_ms"] for row in mine]
        colours = ["#999999" if r["name"].startswith(OTHERS) else "#0072b2" for r in mine]
        axis.barh([row["name"] for row in mine], medians, color=colours,
                  xerr=[[0.0] * len(mine), above], ecolor="#333333")  # fmt: skip
        for place, (row, median) in enumerate(zip(mine, medians, strict=True)):
            axis.text(row["p95_ms"], place, f"  {_number(median)}", va="center", fontsize=8)
        axis.set_title(scope, loc="left", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel("ms, median (whisker: 95th percentile); grey: PyTorch and nnU-Net")
    figure.savefig(path, dpi=100)


def compare(first: dict[str, Any], second: dict[str, Any]) -> str:
    """Compare the medians of two runs; marked where outside the first's own spread."""
    before = {(r["scope"], r["name"]): r for r in first["rows"] if "p50_ms" in r}
    lines = ["| scope | way | before ms | after ms | ratio | |", "|---|---|---|---|---|---|"]
    for row in second["rows"]:
        old = before.get((row["scope"], row["name"]))
        if old is None or "p50_ms" not in row:
            continue
        outside = not old["p5_ms"] <= row["p50_ms"] <= old["p95_ms"]
        word = ("slower" if row["p50_ms"] > old["p50_ms"] else "faster") if outside else "noise"
        lines.append(
            f"| {row['scope']} | {row['name']} | {old['p50_ms']:.0f} | {row['p50_ms']:.0f} | "
            f"{row['p50_ms'] / old['p50_ms']:.2f} | {word} |"
        )
    return "\n".join(lines)
