"""Table, JSON and plot of a run, and two runs side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scarseg_bench.measure import COLD, NETWORK, STUDY

SCOPES = (NETWORK, STUDY, COLD)
OTHERS = ("pytorch", "nnunet")
"""Rows start so that are not ours."""


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, ratios first."""
    lines = []
    for scope in SCOPES:
        mine = [row for row in rows if row["scope"] == scope]
        if not mine:
            continue
        lines += [
            f"\n### {scope}\n",
            "| way | times faster | p50 ms | p95 | p99 | a second | first run ms | peak RSS MB "
            "| on GPU MB | labels equal | max Δp |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        ran = sorted((r for r in mine if "p50_ms" in r), key=lambda r: r["p50_ms"])
        lines += [_line(row) for row in ran]
        lines += [f"| {r['name']} | {r['error']} |" + " |" * 9 for r in mine if "p50_ms" not in r]
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    def number(key: str, pattern: str) -> str:
        return "" if row.get(key) is None else pattern.format(row[key])

    name = row["name"] if row["right"] else f"**wrong labels:** {row['name']}"
    agreement = row["label_agreement"]
    cells = (
        name, number("times_faster", "{:.2f}"), number("p50_ms", "{:.0f}"),
        number("p95_ms", "{:.0f}"), number("p99_ms", "{:.0f}"), number("per_s", "{:.1f}"),
        number("first_ms", "{:.0f}"), number("peak_rss_mb", "{:.0f}"),
        number("device_mb", "{:.0f}"),
        "" if agreement is None else f"{100 * agreement:.3f} %",
        number("max_abs_probability_difference", "{:.1e}"),
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def write(out: Path, document: dict[str, Any], text: str) -> None:
    """bench.json, bench.md and, if anything was timed, bench.png in folder ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    content = json.dumps(document, indent=1, sort_keys=True) + "\n"
    (out / "bench.json").write_text(content, encoding="utf-8")
    (out / "bench.md").write_text(text + "\n", encoding="utf-8")
    if timed := [row for row in document["rows"] if "p50_ms" in row]:
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
            axis.text(row["p95_ms"], place, f"  {median:.0f}", va="center", fontsize=8)
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
