"""``scarseg-bench``: every way of running the shipped model in one run, with parity."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scarseg_bench.cases import Case
from scarseg_runtime.console import CommandParser, run_console
from scarseg_runtime.cores import usable_cores
from scarseg_runtime.edited_text import read_json
from scarseg_runtime.errors import OutputError, ScarsegError, UsageError
from scarseg_runtime.providers.registry import computes_bf16
from scarseg_runtime.version import __version__


def parser() -> argparse.ArgumentParser:
    """The command line's grammar; imports nothing heavy."""
    top = CommandParser(
        prog="scarseg-bench",
        description="Run the shipped model in every way in one run, with parity beside.",
    )
    add = top.add_argument
    add("--out", type=Path, help="folder for bench.json, bench.md, readme.md and bench.png")
    add("--minutes", type=float, default=4.0, help="nothing is begun in the last (%(default)g)")
    add("--full", action="store_true",
        help="no limit of time; also scaling, a profile, and memory over many studies")  # fmt: skip
    add("--rounds", type=int, default=3,
        help="of each row, each beside the reference again (%(default)s)")  # fmt: skip
    add("--threads", type=int, default=usable_cores(), help="default: all it may use")
    add("--only", default="", help="rows whose name contains this")
    add("--scope", default="",
        help="'network on the GPU', 'network', 'warm study' or 'cold process' only")  # fmt: skip
    add("--studies", type=int, help="in a row, for memory (default: with --full 100, else none)")
    add("--needs", action="store_true", help="say what it wants to find here, and end")
    add("--compare", nargs=2, type=Path, metavar=("A", "B"), help="two bench.json side by side")
    add("--version", action="version", version=f"%(prog)s {__version__}")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = parser().parse_args(argv)
    try:
        if options.needs:
            from scarseg_bench.needs import lines

            print("\n".join(lines()))
        elif find_spec("torch") is None:
            raise UsageError("PyTorch is not installed", "Install what --needs lists")
        elif options.compare:
            print(_compared(*options.compare))
        else:
            _measure(options)
    except ScarsegError as error:
        print(f"scarseg-bench: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _compared(before: Path, after: Path) -> str:
    from scarseg_bench.report import compare

    try:
        return compare(read_json(before), read_json(after))
    except (OSError, ValueError, LookupError, TypeError) as error:
        what = error.strerror if isinstance(error, OSError) else "not what --out writes"
        raise UsageError(
            f"what --compare names cannot be read ({what})", "Name two bench.json"
        ) from error


def _measure(options: argparse.Namespace) -> None:
    """Run all, print the tables and write them where that was asked for."""
    if options.out:  # before minutes of measuring
        try:
            options.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"the folder of --out cannot be made ({error.strerror})", "Choose another place"
            ) from error
    document = run_all(options)
    from scarseg_bench.report import write

    text = as_text(document)
    if options.out:
        from scarseg_runtime.console import results_are_there

        write(options.out, document, text)
        results_are_there()
    print(text)


def run_all(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for, as one JSON document."""
    from scarseg_bench import numbers
    from scarseg_bench.machine import machine
    from scarseg_bench.measure import Budget, Settings, measure
    from scarseg_bench.pairing import Plan
    from scarseg_bench.rows import all_rows

    budget = Budget(None if options.full else options.minutes)
    settings = Settings(Plan(rounds=options.rounds), options.threads, Case(), budget)
    rows = [
        row for row in all_rows() if options.only in row.name and options.scope in ("", row.scope)
    ]
    measure(rows, settings)
    summaries = [numbers.summary(row) for row in rows]
    case = settings.case
    document: dict[str, Any] = {
        "machine": machine(),
        "threads": options.threads,
        "stack": [case.slices, case.height, case.width],
        "rows": summaries,
        "roofline": _roofline(summaries, options.threads, case),
    }
    studies = options.studies or (100 if options.full else 0)
    if studies:
        document["memory"] = _memory(studies, options.threads)
    if options.full:
        document |= _more(settings)
    return document


def _memory(studies: int, threads: int) -> dict[str, Any]:
    from scarseg_bench.measure import memory_over_studies
    from scarseg_bench.numbers import slope_mb_per_100

    seen = memory_over_studies(studies, threads)
    return {"seen": seen, "mb_per_100_studies": slope_mb_per_100(seen)}


def _more(settings: Any) -> dict[str, Any]:
    """Measure and print the longer parts: scaling and a profile."""
    from scarseg_bench import profile
    from scarseg_bench.peers import AUTOCAST, EAGER

    ways = [("openvino", "fp32"), ("cpu", "fp32"), (f"pytorch {EAGER}", "")]
    ways += [(f"pytorch {AUTOCAST}", "")] if computes_bf16() else []
    return {"scaling": _scaling(ways, settings), "profile": profile.profile(settings.threads)}


def _roofline(rows: list[dict[str, Any]], threads: int, case: Case) -> dict[str, Any]:
    import torch

    from scarseg_bench.roofline import network_gflop, peak_gflops
    from scarseg_bench.rows import NETWORK

    work = network_gflop(case)
    single = peak_gflops(threads, torch.float32)
    half = peak_gflops(threads, torch.bfloat16) if computes_bf16() else None
    fast = max(single, half or 0.0)
    reached = {
        row["name"]: work / (row["p50_ms"] / 1000.0) / (fast if "bf16" in row["name"] else single)
        for row in rows
        # Of a time that counts for nothing neither does its share.
        if row["scope"] == NETWORK and "p50_ms" in row and "no_ratio" not in row
    }
    return {
        "network_gflop": work, "fp32_gflops": single, "bf16_gflops": half,
        "fraction_of_peak": reached,
    }  # fmt: skip


def _scaling(ways: Sequence[tuple[str, str]], settings: Any) -> list[dict[str, Any]]:
    """Network alone, by slices, matrix and threads."""
    from dataclasses import replace

    from scarseg_bench.measure import measure
    from scarseg_bench.numbers import summary
    from scarseg_bench.pairing import Plan
    from scarseg_bench.rows import NETWORK, Row

    threads = settings.threads
    cases = [(f"{n} slices", Case(slices=n), threads) for n in (1, 5, 10, 20, 30)]
    cases += [(f"{n} × {n}", Case(height=n, width=n), threads) for n in (128, 256, 512)]
    cases += [(f"{n} threads", Case(), n) for n in range(1, threads + 1)]
    found = []
    for name, case, count in cases:
        rows = [Row(NETWORK, way, precision) for way, precision in ways]
        measure(rows, replace(settings, plan=Plan(rounds=1), threads=count, case=case))
        found += [summary(row) | {"case": name} for row in rows]
    return found


def as_text(document: dict[str, Any]) -> str:
    """The document as Markdown."""
    from scarseg_bench import profile
    from scarseg_bench.report import about, table

    roof = document["roofline"]
    lines = [
        about(document["machine"], document["stack"], document["threads"]),
        "Times faster: than PyTorch eager FP32 in the same scope, measured again beside each row "
        "(median of the rounds, smallest to largest). The warm study and the cold process are the "
        "bundled demonstration.",
        table(document["rows"]),
        f"\nNetwork: {roof['network_gflop']:.1f} GFLOP a stack; matrix products here reach "
        f"{roof['fp32_gflops']:.0f} GFLOP/s in FP32{_half_rate(roof['bf16_gflops'])}. Reached: "
        + ", ".join(f"{n} {100 * f:.0f} %" for n, f in roof["fraction_of_peak"].items()),
    ]
    if memory := document.get("memory"):
        lines.append(
            f"\nMemory over {memory['seen'][-1][0]:.0f} studies in a row: "
            f"{memory['seen'][0][1]:.0f} → {memory['seen'][-1][1]:.0f} MB, "
            f"{memory['mb_per_100_studies']:+.1f} MB per 100 studies in the second half."
        )
    if "profile" in document:
        lines += profile.as_lines(document["profile"])
    if "scaling" in document:
        lines += ["\n| network alone | " + " | ".join(_scaled_names(document)) + " |"]
        lines += ["|---" * (1 + len(_scaled_names(document))) + "|"]
        lines += _scaling_lines(document["scaling"])
    return "\n".join(lines)


def _half_rate(gflops: float | None) -> str:
    return "" if gflops is None else f", {gflops:.0f} in BF16"


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
    sys.exit(run_console("scarseg-bench", main))


if __name__ == "__main__":
    run()
