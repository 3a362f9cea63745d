"""``scarseg-export``: simulate patients, train, export, evaluate. Needs the ``export`` extra."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from scarseg_export import commands
from scarseg_export.patients.arguments import (
    MIN_SCAR_ML,
    data_arguments,
    score_arguments,
    tune_arguments,
)
from scarseg_runtime.console import CommandParser, results_are_there, run_console
from scarseg_runtime.errors import ScarsegError
from scarseg_runtime.install import install_command
from scarseg_runtime.log import warnings_on_stderr
from scarseg_runtime.version import __version__

ONNX_HELP = """\
Export a checkpoint as one self-describing ONNX file: BatchNorm folded, compared with PyTorch.
A model file of an earlier release counts as one: it gets the graph of this release.

Your own checkpoint of the same architecture (a state dict) needs a TOML of its name beside it:

  name = "my-scar-model"
  version = "1.0"
  training_data = "180 patients of ..."
  licence = "CC-BY-4.0"
  tau_days = 90                   # where the state has no taff.log_tau
  disagreement_threshold = 0.9    # optional; without it nothing is flagged
  min_scar_ml = 0.3               # optional
  classes = ["background", "LV cavity", "viable myocardium", "scar", "RV cavity"]  # optional
  [network]                       # what differs from the default: widths, spacing ...
  crop_spacing_mm = 1.4
  [ecg]                           # lead order of the training
  leads = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
"""

NNUNET_HELP = """\
Export a trained-model folder of nnU-Net v2 (2-D, PlainConv or ResEnc, one channel) as an image-only
model file, compared with PyTorch. Its labels are explained by a TOML:

  name = "my-lge-nnunet"
  version = "1"
  training_data = "100 patients of ..."
  licence = "CC-BY-4.0"
  min_scar_ml = 0.0               # optional
  [classes]                       # every label of dataset.json: background, cavity,
  background = "background"       # myocardium, scar or rv; several may be one
  "LV blood pool" = "cavity"
  "normal myocardium" = "myocardium"
  infarction = "scar"

Inference is nnU-Net's own without mirroring. The runtime shows slices base to apex in standard
short-axis display orientation: train on images that lie like that.
"""


def parser() -> argparse.ArgumentParser:
    """The command line's grammar; imports nothing heavy."""
    top = CommandParser(
        prog="scarseg-export",
        description="Train on the digital twin and export self-describing ONNX models.",
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    add = top.add_subparsers(dest="command", required=True, metavar="COMMAND").add_parser
    _twin_arguments(add("twin", help="write simulated patients as DICOM, ECGs in WFDB too"))
    data_arguments(add("data", help="check tables of your own patients, or make them"))
    score_arguments(add("score", help="score models on labelled patients of your own"))
    _train_arguments(
        add("train", help="train a model on the digital twin, or on your own patients")
    )
    deploy = add("deploy", help="everything that is handed on of a run of train --data")
    deploy.add_argument("run", type=Path, help="run folder of a finished training")
    deploy.add_argument("-o", "--out", type=Path, required=True, help="new folder")
    _export_arguments(deploy)
    _onnx_arguments(add("onnx", help="export a checkpoint as one ONNX file",
                        formatter_class=argparse.RawDescriptionHelpFormatter,
                        description=ONNX_HELP))  # fmt: skip
    _variant_arguments(add)
    _tensorrt_arguments(add("tensorrt", help="compile a model file for NVIDIA GPUs"))
    triton = add("triton", help="a model repository for NVIDIA Triton and KServe v2 servers")
    triton.add_argument("model", type=Path, help="model file; its FP16 variant is one of its own")
    triton.add_argument("-o", "--out", type=Path, required=True, help="new folder")
    triton.add_argument("--name", help="of the model on the server (default: the model file's)")
    _nnunet_arguments(add("nnunet",
                          help="export an nnU-Net v2 2-D model as an image-only model file",
                          formatter_class=argparse.RawDescriptionHelpFormatter,
                          description=NNUNET_HELP))  # fmt: skip
    tradeoff = add("tradeoff", help="gain of the right ECG against damage by another patient's")
    tradeoff.add_argument("run", type=Path, help="run folder of a finished training")
    tradeoff.add_argument("--out", type=Path, required=True, help="folder for table and plot")
    tradeoff.add_argument("--ecg", type=Path, metavar="FOLDER",
                          help="PTB-XL: measure with ECGs of its calibration fold")  # fmt: skip
    tradeoff.add_argument("--validation", type=int, default=300, help="patients (default: 300)")
    evaluate = add("evaluate", help="compare all arms on unseen twin patients, and on real data")
    evaluate.add_argument("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT",
                          help="model.pt of one run folder per training seed")  # fmt: skip
    evaluate.add_argument("--out", type=Path, required=True,
                          help="folder for tables and plots; goes on where it stopped")  # fmt: skip
    evaluate.add_argument("--cases", type=int, default=300, help="patients a set (default: 300)")
    evaluate.add_argument("--ecg", type=Path, metavar="FOLDER",
                          help="PTB-XL: its test fold, also with simulated hearts")  # fmt: skip
    evaluate.add_argument("--lge", type=Path, metavar="FOLDER",
                          help="labelled real LGE as EMIDEC publishes it")  # fmt: skip
    evaluate.add_argument("--min-scar-ml", type=float, default=MIN_SCAR_ML,
                          help="smaller islands of scar count as noise (%(default)s)")  # fmt: skip
    return top


def _train_arguments(train: argparse.ArgumentParser) -> None:
    train.add_argument("--out", type=Path, required=True, help="run folder; resumes if it exists")
    train.add_argument("--recipe", type=Path, help="JSON with the recipe fields to change")
    train.add_argument("--seed", type=int, help="instead of the recipe's")
    train.add_argument("--cine", type=Path, metavar="FOLDER",
                       help="contoured cine frames (Sunnybrook Cardiac Data) as real backgrounds; "
                       "without them no real image is used")  # fmt: skip
    train.add_argument("--ecg", type=Path, metavar="FOLDER",
                       help="PTB-XL, as published or a part of it, as real ECGs (folds 1-8; "
                       "9 calibrates, 10 tests); without it no real ECG is used")  # fmt: skip
    tune_arguments(train)
    train.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto",
                       help="of the image stages (default: CUDA where there is a GPU)")  # fmt: skip


def _onnx_arguments(onnx: argparse.ArgumentParser) -> None:
    onnx.add_argument(
        "checkpoint", type=Path, help="model.pt of a run folder, your own, or a model file"
    )
    onnx.add_argument("-o", "--out", type=Path, required=True)
    _export_arguments(onnx)
    onnx.add_argument("--test-cases", type=int, default=0,
                      help="score on so many twin patients, record the scores")  # fmt: skip
    _report_argument(onnx)


def _export_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--min-scar-ml", type=float, default=MIN_SCAR_ML,
                         help="smaller islands of scar count as noise (%(default)s)")  # fmt: skip
    command.add_argument("--cases", type=int, default=20,
                         help="twin patients to verify on (%(default)s)")  # fmt: skip


def _variant_arguments(add: Callable[..., argparse.ArgumentParser]) -> None:
    """fp16, verify and inspect: what becomes of a model file."""
    fp16 = add("fp16", help="write and verify the FP16 variant of a model file")
    fp16.add_argument("model", type=Path)
    fp16.add_argument("-o", "--out", type=Path,
                      help="default: MODEL.fp16.onnx, where the runtime finds it")  # fmt: skip
    verify = add("verify", help="compare a model file with PyTorch FP32, write the table into it")
    verify.add_argument("model", type=Path, help="the FP32 file; its FP16 variant is verified too")
    verify.add_argument("--provider", default="auto", help="default: all that can run here")
    verify.add_argument("--precision", default="auto", help="fp32, fp16, bf16; default: all")
    for command in (fp16, verify):
        command.add_argument("--cases", type=int, default=20, help="twin patients (%(default)s)")
    inspect = add("inspect", help="what a model file or an engine says of itself")
    inspect.add_argument("file", type=Path, metavar="MODEL|ENGINE")
    for command in (fp16, verify, inspect):
        _report_argument(command)


def _tensorrt_arguments(tensorrt: argparse.ArgumentParser) -> None:
    add = tensorrt.add_argument
    add("model", type=Path, help="model file; the FP16 variant for an FP16 engine")
    add("-o", "--out", type=Path,
        help="default: MODEL.RUNTIME.engine beside it, where the runtime finds it")  # fmt: skip
    add("--runtime", choices=("tensorrt", "tensorrt-rtx"), default="tensorrt-rtx",
        help="tensorrt-rtx needs no GPU to compile (default)")  # fmt: skip
    sizes = (("min", (1, 16, 16)), ("opt", (12, 256, 216)), ("max", (40, 1024, 1024)))
    for name, size in sizes:
        add(f"--{name}", type=int, nargs=3, metavar=("S", "H", "W"), default=size,
            help="slices, rows, columns (default: %(default)s)")  # fmt: skip
    add("--gpu", nargs="*", default=(), metavar="SM",
        help="compute capabilities such as SM89; default: all that tensorrt-rtx knows")  # fmt: skip
    add("--portable", action="store_true",
        help="tensorrt: run on Ampere and newer, without the fastest kernels")  # fmt: skip
    add("--any-version", action="store_true",
        help="tensorrt: later releases can load the engine; a larger file")  # fmt: skip
    _report_argument(tensorrt)


def _nnunet_arguments(nnunet: argparse.ArgumentParser) -> None:
    nnunet.add_argument("folder", type=Path, help="with plans.json, dataset.json and fold_0 …")
    nnunet.add_argument("-o", "--out", type=Path, required=True)
    nnunet.add_argument("--classes", type=Path, required=True, metavar="TOML",
                        help="which label is what, and what the model was trained on")  # fmt: skip
    nnunet.add_argument("--fold", nargs="+", default=["0"], help="several are averaged (0)")
    nnunet.add_argument("--checkpoint", default="checkpoint_final.pth")
    nnunet.add_argument("--cases", type=int, default=3, help="twin patients to verify on (3)")
    nnunet.add_argument("--tiles", type=int, nargs=2, metavar=("ROWS", "COLUMNS"),
                        help="always so many tiles, which TensorRT asks for (default: as many as "
                        "an image needs)")  # fmt: skip
    _report_argument(nnunet)


def _report_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument("--report", type=Path, metavar="JSON", help="write the facts as JSON")


def _twin_arguments(twin: argparse.ArgumentParser) -> None:
    twin.add_argument("--cases", type=int, default=1)
    twin.add_argument("--out", type=Path, required=True, help="one sub-folder a patient")
    twin.add_argument("--seed", type=int, default=0, help="seed of the first patient")
    twin.add_argument("--size", type=int, default=160, help="rows and columns (default: 160)")
    twin.add_argument("--spacing-mm", type=float, default=1.6)
    twin.add_argument("--gap-days", type=float, help="same for all; default: a clinical mix")
    twin.add_argument("--shift", action="store_true",
                      help="patients of another hospital: other contrast, other territories, a "
                      "time constant of 30 instead of 120 days")  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = parser().parse_args(argv)
    try:
        with warnings_on_stderr():
            getattr(commands, arguments.command)(arguments)
        if arguments.command != "inspect" or arguments.report:
            results_are_there()
    except ScarsegError as error:
        print(f"scarseg-export: {error}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        nnunet = arguments.command == "nnunet"
        needed = install_command("export,nnunet") if nnunet else install_command("export")
        print(
            f"scarseg-export: {error.name} is not installed. Install what is missing: {needed}.",
            file=sys.stderr,
        )
        return 2
    return 0


def run() -> None:
    """Entry point of the console script."""
    sys.exit(run_console("scarseg-export", main))


if __name__ == "__main__":
    run()
