"""``scarseg-export``: simulate patients, train, export, evaluate. Needs the ``export`` extra."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scarseg_runtime.errors import ScarsegError
from scarseg_runtime.version import __version__

MIN_SCAR_ML = 0.3


def parser() -> argparse.ArgumentParser:
    """The command line's grammar; imports nothing heavy."""
    top = argparse.ArgumentParser(
        prog="scarseg-export",
        description="Train on the digital twin and export self-describing ONNX models.",
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = top.add_subparsers(dest="command", required=True)
    _twin_arguments(commands.add_parser("twin", help="write simulated patients as DICOM + WFDB"))
    train = commands.add_parser("train", help="train a model on the digital twin")
    train.add_argument("--out", type=Path, required=True, help="run folder; resumes if it exists")
    train.add_argument("--recipe", type=Path, help="JSON with the recipe fields to change")
    train.add_argument("--seed", type=int, help="instead of the recipe's")
    train.add_argument("--cine", type=Path, metavar="FOLDER",
                       help="contoured cine frames (Sunnybrook Cardiac Data) as real backgrounds; "
                       "without them the training is pure simulation")  # fmt: skip
    onnx = commands.add_parser("onnx", help="export a checkpoint as one ONNX file")
    onnx.add_argument("checkpoint", type=Path, help="model.pt of a run folder")
    onnx.add_argument("-o", "--out", type=Path, required=True)
    onnx.add_argument("--min-scar-ml", type=float, default=MIN_SCAR_ML,
                      help="smaller islands of scar count as noise (%(default)s)")  # fmt: skip
    onnx.add_argument("--test-cases", type=int, default=0,
                      help="score on so many twin patients, record the scores")  # fmt: skip
    tradeoff = commands.add_parser(
        "tradeoff", help="gain of the right ECG against damage by another patient's"
    )
    tradeoff.add_argument("run", type=Path, help="run folder of a finished training")
    tradeoff.add_argument("--out", type=Path, required=True, help="folder for table and plot")
    tradeoff.add_argument("--validation", type=int, default=300, help="patients (default: 300)")
    evaluate = commands.add_parser(
        "evaluate", help="compare all arms on two test sets of unseen twin patients"
    )
    evaluate.add_argument("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT",
                          help="model.pt of one run folder per training seed")  # fmt: skip
    evaluate.add_argument("--out", type=Path, required=True,
                          help="folder for tables and plots; goes on where it stopped")  # fmt: skip
    evaluate.add_argument("--cases", type=int, default=300, help="patients a set (default: 300)")
    evaluate.add_argument("--min-scar-ml", type=float, default=MIN_SCAR_ML,
                          help="smaller islands of scar count as noise (%(default)s)")  # fmt: skip
    return top


def _twin_arguments(twin: argparse.ArgumentParser) -> None:
    twin.add_argument("--cases", type=int, default=1)
    twin.add_argument("--out", type=Path, required=True, help="one sub-folder a patient")
    twin.add_argument("--seed", type=int, default=0, help="seed of the first patient")
    twin.add_argument("--size", type=int, default=160, help="rows and columns (default: 160)")
    twin.add_argument("--spacing-mm", type=float, default=1.6)
    twin.add_argument("--gap-days", type=float, help="same for all; default: a clinical mix")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = parser().parse_args(argv)
    command = {
        "twin": _twin, "train": _train, "onnx": _onnx, "tradeoff": _tradeoff,
        "evaluate": _evaluate,
    }  # fmt: skip
    try:
        command[arguments.command](arguments)
    except ScarsegError as error:
        print(f"scarseg-export: {error}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        print(
            f"scarseg-export: {error.name} is not installed. "
            "Install the extra: pip install 'scarseg-infer[export]'.",
            file=sys.stderr,
        )
        return 2
    return 0


def run() -> None:
    """Entry point of the console script."""
    sys.exit(main())


def _twin(arguments: argparse.Namespace) -> None:
    import numpy as np

    from scarseg_export.twin.cohort import is_stale, sample_case, sample_gaps
    from scarseg_export.twin.write import write_case

    for index in range(arguments.cases):
        seed = arguments.seed + index
        rng = np.random.default_rng([seed, 6])
        gap = sample_gaps(rng, 1)
        if arguments.gap_days is not None:
            gap[:] = arguments.gap_days
        folder = arguments.out / f"twin-{seed:06d}"
        stale = bool(is_stale(rng, gap)[0])
        write_case(
            sample_case(seed), folder, size=arguments.size, spacing_mm=arguments.spacing_mm,
            gap_days=float(gap[0]), stale=stale,
        )  # fmt: skip
        print(f"{folder}: ECG {gap[0]:.1f} days before the MRI")


def _train(arguments: argparse.Namespace) -> None:
    from dataclasses import replace

    from scarseg_export.recipe import load_recipe
    from scarseg_export.train import train

    recipe = load_recipe(arguments.recipe)
    if arguments.seed is not None:
        recipe = replace(recipe, seed=arguments.seed)
    if arguments.cine is None:  # the recorded recipe says what was done
        recipe = replace(recipe, cine_share=0.0)
    print(train(arguments.out, recipe, arguments.cine))


def _onnx(arguments: argparse.Namespace) -> None:
    from scarseg_export.onnx_export import export_onnx, record_scores

    export_onnx(arguments.checkpoint, arguments.out, min_scar_ml=arguments.min_scar_ml)
    if arguments.test_cases:
        record_scores(arguments.out, arguments.test_cases)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.1f} MB")


def _tradeoff(arguments: argparse.Namespace) -> None:
    from scarseg_export.tradeoff import write_tradeoff

    print(write_tradeoff(arguments.run, arguments.out, arguments.validation))


def _evaluate(arguments: argparse.Namespace) -> None:
    from scarseg_export.evaluation.report import evaluate

    print(evaluate(arguments.checkpoints, arguments.out, arguments.cases, arguments.min_scar_ml))


if __name__ == "__main__":
    run()
