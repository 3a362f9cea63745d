"""A trained nnU-Net v2 2-D model as an image-only model file.

nnU-Net leaves a folder with ``plans.json``, ``dataset.json`` and one checkpoint a fold. What its
labels mean for us, and what it was trained on, stands in a TOML::

    name = "my-lge-nnunet"
    version = "1"
    training_data = "100 patients of ..."
    licence = "CC-BY-4.0"

    [classes]                        # every label of dataset.json
    background = "background"
    "LV blood pool" = "cavity"
    "normal myocardium" = "myocardium"
    infarction = "scar"
    no_reflow = "scar"               # also: "rv"

The exported graph is nnU-Net's own inference without mirroring (graph.py). nnU-Net learns
the orientation of its files; the runtime shows slices base → apex in standard short-axis display
orientation, so train on images that lie like that, or with nnU-Net's mirroring augmentation on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from scarseg_export.deploy.onnx_export import exported_graph, save_model
from scarseg_export.nnunet.axis import MAX_TILES, covered_pixels
from scarseg_export.nnunet.folder import read_folder
from scarseg_export.nnunet.graph import Plan, TiledNet
from scarseg_export.nnunet.trained import checkpoint_path
from scarseg_export.nnunet.weights import load_fold
from scarseg_export.verify.parity import Difference, difference, table_row, write_table
from scarseg_export.verify.studies import covered, edge_studies, studies
from scarseg_runtime.contract import IMAGE_INPUTS, OUTPUTS
from scarseg_runtime.errors import UsageError
from scarseg_runtime.model_file.read import read_model_file
from scarseg_runtime.providers.onnxruntime.session import OnnxSession


def export_nnunet(
    folder: Path,
    target: Path,
    description: Path,
    *,
    folds: tuple[str, ...] = ("0",),
    checkpoint: str = "checkpoint_final.pth",
    cases: int = 3,
    tiles: tuple[int, int] | None = None,
) -> Path:
    """Write ``target`` from a trained-model folder, compared with PyTorch on ``cases`` twins.

    Args:
        folds: averaged.
        tiles: along rows and columns, always so many: what TensorRT asks for. The file then says
            which field of view they cover. None: as many as each image needs.

    Raises:
        UsageError: ``tiles`` are none, or more than 64 along an axis.
        ModelError: a file is missing or damaged, the model is of a kind that cannot be exported,
            a label is not mapped, or a tensor does not fit; names which.
    """
    if tiles is not None and not all(1 <= number <= MAX_TILES for number in tiles):
        raise UsageError("there can be 1 to 64 tiles along an axis", "Correct --tiles")
    source = read_folder(folder, description)
    nets = [
        load_fold(source, checkpoint_path(folder, fold, checkpoint), len(source.labels))
        for fold in folds
    ]
    net = TiledNet(nets, source.plan, source.labels, tiles).eval()
    model = exported_graph(net, _example(), _dynamic_shapes(), IMAGE_INPUTS)
    facts = {
        "recipe": source.facts["recipe"] | {"folds": folds, "tiles": tiles},
        "largest_field_mm": largest_field_mm(source.plan, tiles),
    }
    save_model(model, source.facts | facts, target)
    write_table(target, {"cpu fp32": _parity(net, target, cases)})
    return target


def largest_field_mm(plan: Plan, tiles: tuple[int, int] | None) -> list[float]:
    """Rows and columns that a fixed number of tiles covers, less a hundredth of a pixel; empty
    where it is not fixed."""
    if tiles is None:
        return []
    sizes = map(covered_pixels, plan.patch, tiles)
    return [(size - 0.01) * apart for size, apart in zip(sizes, plan.spacing_mm, strict=True)]


def _parity(net: TiledNet, target: Path, cases: int) -> dict[str, Any]:
    """ONNX Runtime on the CPU against PyTorch."""
    session = OnnxSession.open(read_model_file(target), "cpu")
    names = [spec.name for spec in OUTPUTS]
    found: list[Difference] = []
    metadata = read_model_file(target).metadata
    chosen = list(studies(cases))[:cases] + [s for s in edge_studies() if len(s.lge) < 10]
    for study in tqdm(
        covered(chosen, metadata), desc="the file is there; compare it with PyTorch", mininterval=2
    ):
        arrays = study.arrays(image_only=True)
        with torch.no_grad():
            values = net(*(torch.from_numpy(array) for array in arrays.values()))
        theirs = {name: value.numpy() for name, value in zip(names, values, strict=True)}
        found.append(difference(study, session.execute(arrays), theirs))
    return table_row(found, "pytorch fp32")


def _example() -> tuple[Tensor, ...]:
    rng = np.random.default_rng(0)
    pixels = rng.uniform(1, 1000, (7, 168, 152)).astype(np.float32)
    return torch.from_numpy(pixels), torch.tensor([1.5, 1.4]), torch.linspace(0, 1, 7)


def _dynamic_shapes() -> tuple[dict[int, Any], ...]:
    slices = torch.export.Dim("S", min=1, max=4096)
    height = torch.export.Dim("H", min=16, max=8192)
    width = torch.export.Dim("W", min=16, max=8192)
    return {0: slices, 1: height, 2: width}, {}, {0: slices}
