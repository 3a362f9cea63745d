"""``scarseg-bench``: every way of running the shipped model in one run, with parity."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scarseg_bench.cases import Case
from scarseg_runtime.cores import usable_cores

ON_CPU = ("pytorch", "cpu", "openvino")
"""Rows start so that compute on the CPU."""

BUSY_SPREAD = 1.5
"""Slowest over fastest twentieth of the reference beyond which the machine was not idle."""


def parser() -> argparse.ArgumentParser:
    """The command line's grammar; imports nothing heavy."""
    top = argparse.ArgumentParser(
        prog="scarseg-bench",
        description="Run the shipped model in every way in one run, with parity beside.",
    )
    add = top.add_argument
    add("--out", type=Path, help="folder for bench.json, bench.md and bench.png")
    add("--quick", action="store_true", help="few runs, network and warm study only")
    add("--runs", type=int, help="of each row (default: 15; quick: 4)")
    add("--threads", type=int, default=usable_cores(), help="default: all it may use")
    add("--only", default="", help="rows whose name contains this")
    add("--scope", default="", help="network, warm study or cold process only")
    add("--studies", type=int, help="in a row, for memory (default: 100; quick: 20)")
    add("--compare", nargs=2, type=Path, metavar=("A", "B"), help="two bench.json side by side")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = parser().parse_args(argv)
    if options.compare:
        from scarseg_bench.report import compare

        texts = [path.read_text(encoding="utf-8-sig") for path in options.compare]
        print(compare(*map(json.loads, texts)))
        return 0
    document = run_all(options)
    from scarseg_bench.report import write

    text = as_text(document)
    if options.out:
        from scarseg_runtime.console import results_are_there

        write(options.out, document, text)
        results_are_there()
    print(text)
    return 0


def run_all(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for, as one JSON document."""
    from scarseg_bench import measure, numbers, profile
    from scarseg_bench.machine import machine
    from scarseg_bench.peers import AUTOCAST, EAGER

    case = Case()
    rows = [
        row for row in measure.all_rows() if options.only in row.name and options.scope in row.scope
    ]
    if options.quick:
        rows = [row for row in rows if row.scope != measure.COLD]
    measure.measure(rows, options.runs or (4 if options.quick else 15), options.threads, case)
    summaries = numbers.with_ratios([numbers.summary(r) for r in rows], measure.REFERENCE)
    seen = measure.memory_over_studies(
        options.studies or (20 if options.quick else 100), options.threads
    )
    document = {
        "machine": machine(),
        "threads": options.threads,
        "stack": [case.slices, case.height, case.width],
        "rows": summaries,
        "memory": {"seen": seen, "mb_per_100_studies": numbers.slope_mb_per_100(seen)},
        "roofline": _roofline(summaries, options.threads, case),
    }
    if not options.quick:
        ways = (
            ("openvino", "fp32"),
            ("cpu", "fp32"),
            (f"pytorch {EAGER}", ""),
            (f"pytorch {AUTOCAST}", ""),
        )
        document["scaling"] = _scaling(ways, options.threads)
        document["profile"] = profile.profile(options.threads)
    return document


def _roofline(rows: list[dict[str, Any]], threads: int, case: Case) -> dict[str, Any]:
    import torch

    from scarseg_bench.measure import NETWORK
    from scarseg_bench.roofline import network_gflop, peak_gflops

    work = network_gflop(case)
    single, half = (peak_gflops(threads, kind) for kind in (torch.float32, torch.bfloat16))
    fast = max(single, half)  # a CPU without BF16 arithmetic emulates it, more slowly
    reached = {
        row["name"]: work / (row["p50_ms"] / 1000.0) / (fast if "bf16" in row["name"] else single)
        for row in rows
        # The peak is the CPU's: a GPU's fraction of it would mean nothing.
        if row["scope"] == NETWORK and "p50_ms" in row and row["name"].startswith(ON_CPU)
    }
    return {
        "network_gflop": work, "fp32_gflops": single, "bf16_gflops": half,
        "fraction_of_peak": reached,
    }  # fmt: skip


def _scaling(ways: Sequence[tuple[str, str]], threads: int) -> list[dict[str, Any]]:
    """Network alone, by slices, matrix and threads."""
    from scarseg_bench import measure, numbers

    cases = [(f"{n} slices", Case(slices=n), threads) for n in (1, 5, 10, 20, 30)]
    cases += [(f"{n} × {n}", Case(height=n, width=n), threads) for n in (128, 256, 512)]
    cases += [(f"{n} threads", Case(), n) for n in range(1, threads + 1)]
    found = []
    for name, case, count in cases:
        rows = [measure.Row(measure.NETWORK, way, precision) for way, precision in ways]
        measure.measure(rows, 3, count, case)
        found += [numbers.summary(row) | {"case": name} for row in rows]
    return found


def as_text(document: dict[str, Any]) -> str:
    """The document as Markdown."""
    from scarseg_bench import profile
    from scarseg_bench.report import table

    facts, roof, memory = document["machine"], document["roofline"], document["memory"]
    lines = [
        f"{facts['cpu']}, {', '.join(facts['instructions'])}, {facts['cores']} cores; "
        f"{document['threads']} threads; stack of {' × '.join(map(str, document['stack']))}; "
        + ", ".join(f"{name} {number}" for name, number in facts["versions"].items()),
        "Times faster: than PyTorch eager FP32 in the same scope and run. The warm study and the "
        "cold process are the bundled demonstration.",
        *_busy(document["rows"]),
        table(document["rows"]),
        f"\nNetwork: {roof['network_gflop']:.1f} GFLOP a stack; matrix products here reach "
        f"{roof['fp32_gflops']:.0f} GFLOP/s in FP32, {roof['bf16_gflops']:.0f} in BF16. Reached: "
        + ", ".join(f"{n} {100 * f:.0f} %" for n, f in roof["fraction_of_peak"].items()),
        f"\nMemory over {memory['seen'][-1][0]:.0f} studies in a row: "
        f"{memory['seen'][0][1]:.0f} → {memory['seen'][-1][1]:.0f} MB, "
        f"{memory['mb_per_100_studies']:+.1f} MB per 100 studies in the second half.",
    ]
    if "profile" in document:
        lines += profile.as_lines(document["profile"])
    if "scaling" in document:
        lines += ["\n| network alone | " + " | ".join(_scaled_names(document)) + " |"]
        lines += ["|---" * (1 + len(_scaled_names(document))) + "|"]
        lines += _scaling_lines(document["scaling"])
    return "\n".join(lines)


def _busy(rows: list[dict[str, Any]]) -> list[str]:
    """A warning where the reference itself did not run evenly: PyTorch's threads wait for each
    other, so that other work on the machine slows it more than it slows the rest."""
    from scarseg_bench.measure import COLD, REFERENCE

    timed = [r for r in rows if r["name"] == REFERENCE and "p50_ms" in r and r["scope"] != COLD]
    spread = max((r["p95_ms"] / r["p5_ms"] for r in timed), default=1.0)
    if spread <= BUSY_SPREAD:
        return []
    return [
        f"\n**The machine was busy:** PyTorch eager FP32 spread {spread:.1f}-fold between its 5th "
        "and 95th percentile. Ratios of this run flatter whatever is compared with it."
    ]


def _scaled_names(document: dict[str, Any]) -> list[str]:
    return [f"{name}, ms" for name in dict.fromkeys(row["name"] for row in document["scaling"])]


def _scaling_lines(rows: list[dict[str, Any]]) -> list[str]:
    lines = []
    for case in dict.fromkeys(row["case"] for row in rows):
        mine = [row for row in rows if row["case"] == case]
        cells = (f"{row['p50_ms']:.0f}" if "p50_ms" in row else str(row["error"]) for row in mine)
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    return lines


def run() -> None:
    """Entry point of the console script."""
    from scarseg_runtime.console import run_console

    sys.exit(run_console("scarseg-bench", main))


if __name__ == "__main__":
    run()
