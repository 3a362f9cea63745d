"""Work behind each ``scarseg-export`` command; imports inside, since torch takes seconds."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from scarseg_export.json_report import write_report
from scarseg_runtime.errors import ModelError, UsageError
from scarseg_runtime.model_file.read import half_variant_path


def twin(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from scarseg_export.twin.write import write_cohort

    written = write_cohort(
        arguments.out, arguments.cases, arguments.seed, size=arguments.size,
        spacing_mm=arguments.spacing_mm, gap_days=arguments.gap_days, shift=arguments.shift,
    )  # fmt: skip
    for folder, gap_days in tqdm(written, total=arguments.cases, desc="simulate", mininterval=5):
        tqdm.write(f"{folder}: ECG {gap_days:.1f} days before the MRI")


def data(arguments: argparse.Namespace) -> None:
    from scarseg_export.patients import commands

    actions = {
        "check": commands.check,
        "from-nnunet": commands.from_nnunet,
        "to-nnunet": commands.to_nnunet,
    }
    actions[arguments.action](arguments)


def deploy(arguments: argparse.Namespace) -> None:
    from scarseg_export.deploy.deploy import deploy as write_folder

    folder = write_folder(
        arguments.run, arguments.out, min_scar_ml=arguments.min_scar_ml, cases=arguments.cases
    )
    print("\n".join(str(path) for path in sorted(folder.iterdir())))


def score(arguments: argparse.Namespace) -> None:
    from scarseg_export.patients import commands

    commands.score(arguments)


def train(arguments: argparse.Namespace) -> None:
    if arguments.data is not None:
        from scarseg_export.patients import commands

        commands.train(arguments)
        return
    for option in ("classes", "start", "folds", "twin_share", "allow_identity_mismatch"):
        if getattr(arguments, option) not in (None, False):
            name = "from" if option == "start" else option.replace("_", "-")
            raise UsageError(f"--{name} needs --data", "Pass a table of your own patients")
    from dataclasses import replace

    from scarseg_export.train.recipe import load_recipe
    from scarseg_export.train.run import train as run_training
    from scarseg_export.train.workers import peak_memory_gb

    recipe = load_recipe(arguments.recipe)
    if arguments.seed is not None:
        recipe = replace(recipe, seed=arguments.seed)
    if arguments.cine is None:  # the recorded recipe says what was done
        recipe = replace(recipe, cine_share=0.0)
    if arguments.ecg is None:
        recipe = replace(recipe, ecg_real_steps=0, semi_real_share=0.0)
    device = arguments.device
    print(run_training(arguments.out, recipe, arguments.cine, arguments.ecg, device=device))
    peak = peak_memory_gb()
    if peak is not None:
        print(f"peak memory, all processes: at most {peak:.1f} GB")


def onnx(arguments: argparse.Namespace) -> None:
    from scarseg_export.deploy.onnx_export import export_onnx, record_scores

    export_onnx(
        arguments.checkpoint, arguments.out,
        min_scar_ml=arguments.min_scar_ml, cases=arguments.cases,
    )  # fmt: skip
    if arguments.test_cases:
        record_scores(arguments.out, arguments.test_cases)
    _say_model(arguments.out, arguments.report)


def fp16(arguments: argparse.Namespace) -> None:
    from scarseg_export.deploy.half import write_half_variant
    from scarseg_export.verify.parity import verify as measure
    from scarseg_runtime.providers.registry import OF_THE_VARIANT

    target = write_half_variant(arguments.model, arguments.out)
    if target == half_variant_path(arguments.model):
        measure(arguments.model, precisions=OF_THE_VARIANT, cases=arguments.cases)
    _say_model(target, arguments.report)


def verify(arguments: argparse.Namespace) -> None:
    from scarseg_export.verify.parity import verify as measure
    from scarseg_export.verify.table import table_lines
    from scarseg_runtime.providers.registry import PRECISIONS

    precisions = PRECISIONS if arguments.precision == "auto" else (arguments.precision,)
    rows = measure(arguments.model, arguments.provider, precisions, cases=arguments.cases)
    print("\n".join(table_lines(rows)))
    write_report(arguments.report, rows)
    failed = [name for name, row in rows.items() if not row.get("passed")]
    if failed:
        raise ModelError(
            f"{', '.join(failed)} did not pass verification", "It is not used unless asked for"
        )


def tensorrt(arguments: argparse.Namespace) -> None:
    from scarseg_export.deploy.compile_bars import CompileBars
    from scarseg_runtime.model_file.read import read_model_file
    from scarseg_runtime.providers.engine_cache import beside_path
    from scarseg_runtime.providers.gpu import nvidia_gpu
    from scarseg_runtime.providers.tensorrt.build import Profile, Target, build_engine, write_engine
    from scarseg_runtime.providers.tensorrt.supported_gpus import refusal

    model = read_model_file(arguments.model)
    out = arguments.out or beside_path(arguments.model, arguments.runtime)
    profile = Profile(tuple(arguments.min), tuple(arguments.opt), tuple(arguments.max))
    target = Target(tuple(arguments.gpu), arguments.portable, arguments.any_version)
    start = time.perf_counter()
    engine, sidecar = build_engine(model, arguments.runtime, profile, target, CompileBars())
    seconds = time.perf_counter() - start
    write_engine(out, engine, sidecar)
    stored = out.stat().st_size
    print(
        f"{out}: {stored / 1e6:.1f} MB ({len(engine) / 1e6:.1f} MB unpacked) in {seconds:.1f} s, "
        f"{sidecar['precision']}, {sidecar['half_convolutions']} convolutions in FP16"
    )
    gpu = nvidia_gpu()
    if gpu is not None and (refused := refusal(arguments.runtime, gpu)) is not None:
        print(f"For other machines: here {refused}")
    write_report(arguments.report, {"seconds": seconds, "bytes": stored, "engine": dict(sidecar)})


def triton(arguments: argparse.Namespace) -> None:
    from scarseg_export.triton.repository import write_repository

    folder = write_repository(arguments.model, arguments.out, arguments.name)
    print("\n".join(str(path) for path in sorted(folder.rglob("*")) if path.is_file()))


def inspect(arguments: argparse.Namespace) -> None:
    from scarseg_export.verify import inspect_model

    if arguments.file.suffix == ".onnx":
        facts = inspect_model.inspect_model(arguments.file)
        lines = inspect_model.report_lines(facts)
    else:
        facts = inspect_model.inspect_engine(arguments.file)
        lines = [f"{key}: {value}" for key, value in facts["engine"].items()]
    print("\n".join(lines))
    write_report(arguments.report, facts)


def nnunet(arguments: argparse.Namespace) -> None:
    from scarseg_export.nnunet.convert import export_nnunet

    export_nnunet(
        arguments.folder, arguments.out, arguments.classes,
        folds=tuple(arguments.fold), checkpoint=arguments.checkpoint, cases=arguments.cases,
        tiles=tuple(arguments.tiles) if arguments.tiles else None,
    )  # fmt: skip
    _say_model(arguments.out, arguments.report)


def tradeoff(arguments: argparse.Namespace) -> None:
    from scarseg_export.train.tradeoff import write_tradeoff

    print(write_tradeoff(arguments.run, arguments.out, arguments.validation, arguments.ecg))


def evaluate(arguments: argparse.Namespace) -> None:
    from scarseg_export.evaluation.report import evaluate as evaluate_checkpoints

    report = evaluate_checkpoints(
        arguments.checkpoints, arguments.out, arguments.cases, arguments.min_scar_ml,
        ecg=arguments.ecg, lge=arguments.lge,
    )  # fmt: skip
    print(report)


def _say_model(path: Path, report: Path | None) -> None:
    """One line on a written model file, its verification table, and the JSON report."""
    from scarseg_export.verify.inspect_model import inspect_model
    from scarseg_export.verify.table import table_lines

    facts = inspect_model(path)
    print(f"{path}: {facts['file']['bytes'] / 1e6:.1f} MB")
    print("\n".join(table_lines(facts["verification"])))
    write_report(report, facts)
