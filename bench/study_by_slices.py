"""Processor time of a warm study by its number of slices, for each provider on the CPU.

    python bench/study_by_slices.py [--providers cpu openvino] [--slices 12 30] [--rounds 5]

Stacks are made out of the demo study, repeated to that number of slices. On one thread, in turn, by
processor time: other processes on the machine take nothing from it but caches.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from statistics import median

import numpy as np

from scarseg_infer import LgeStack, Segmenter, read_ecg, read_study, stack_from_arrays
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_infer.ecg.record import EcgRecord


def stack_of(slices: int) -> LgeStack:
    """The demo's heart cut into so many slices."""
    source = read_study(DEMO_STUDY)
    there = len(source.pixels)
    step = source.normal * np.diff(source.slice_positions_mm)[0] * there / slices
    return stack_from_arrays(
        source.pixels[np.arange(slices) * there // slices],
        source.pixel_spacing_mm,
        source.origins_mm[0] + np.arange(slices)[:, None] * step,
        [*source.row_direction, *source.column_direction],
    )


def cpu_ms(segmenter: Segmenter, stack: LgeStack, record: EcgRecord) -> dict[str, float]:
    """Processor time of one study, by its stages."""
    marks: list[tuple[str, float]] = []

    def mark(stage: str, _share: float) -> None:
        marks.append((stage, time.process_time()))

    segmenter.run(stack, record, gap_days=3, progress=mark)
    marks.append(("end", time.process_time()))
    taken: dict[str, float] = {}
    for (stage, start), (_, end) in pairwise(marks):
        taken[stage] = taken.get(stage, 0.0) + 1000.0 * (end - start)
    return taken | {"all": 1000.0 * (marks[-1][1] - marks[0][1])}


def main() -> None:
    """Print a table in Markdown for each provider."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--providers", nargs="+", default=["cpu", "openvino"])
    parser.add_argument("--slices", type=int, nargs=2, default=[12, 30])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    record = read_ecg(DEMO_ECG)
    few, many = (stack_of(slices) for slices in options.slices)
    for provider in options.providers:
        with Segmenter.from_model(provider=provider, threads=1) as segmenter:
            for stack in (few, many):
                segmenter.run(stack, record, gap_days=3)  # warm
            rounds = [
                [cpu_ms(segmenter, stack, record) for stack in (few, many)]
                for _ in range(options.rounds)
            ]
        names = [f"{count} slices, ms" for count in options.slices]
        print(f"\n| {provider} | {' | '.join(names)} | times |\n|---|---|---|---|")
        for stage in rounds[0][0]:
            both = [[found[place][stage] for found in rounds] for place in (0, 1)]
            times = [more / less for less, more in zip(*both, strict=True) if less > 0]
            ratio = f"{median(times):.2f} ({min(times):.2f}–{max(times):.2f})" if times else ""
            print(f"| {stage} | {median(both[0]):.0f} | {median(both[1]):.0f} | {ratio} |")


if __name__ == "__main__":
    main()
