"""The usual alternative: nnU-Net v2's default 2-D network in its own predictor, without mirroring.

Its weights are random: only its time means anything.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NNUNET = "nnunet 2d (random weights, time only)"
LABELS = {"background": 0, "cavity": 1, "myocardium": 2, "scar": 3, "rv": 4}
DATASET = {
    "channel_names": {"0": "LGE"}, "labels": LABELS, "numTraining": 1, "file_ending": ".nii.gz",
}  # fmt: skip
IMPORTED = ["conv_op", "norm_op", "dropout_op", "nonlin"]


def missing() -> str | None:
    """Reason why the peer cannot run here, or None."""
    if find_spec("nnunetv2") is None:
        return "not installed: pip install nnunetv2"
    return None


def predictor_run(
    pixels: NDArray[np.float32], spacing_mm: tuple[float, float, float], threads: int
) -> Callable[[], dict[str, Any]]:
    """One volume [S, H, W] through nnU-Net's predictor: preprocessing, tiles, resampling, labels.

    Args:
        spacing_mm: between slices, rows and columns.
    """
    import torch

    torch.set_num_threads(threads)
    # It prints its plans.
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        plans = _default_plans(Path(folder), pixels, spacing_mm)
        predictor = _predictor(Path(folder) / "model", plans)
    properties = {"spacing": list(spacing_mm)}
    return lambda: {"labels": predictor.predict_single_npy_array(pixels[None], properties)}


def _default_plans(
    root: Path, pixels: NDArray[np.float32], spacing_mm: tuple[float, float, float]
) -> dict[str, Any]:
    """Plans that nnU-Net's own planner makes of a data set of such volumes."""
    for name in ("raw", "preprocessed", "results"):  # nnunetv2 reads them when it is imported
        os.environ[f"nnUNet_{name}"] = str(root / name)
    import nibabel
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (
        ExperimentPlanner,
    )

    data, done = root / "raw" / "Dataset001_LGE", root / "preprocessed" / "Dataset001_LGE"
    for folder in (data / "imagesTr", data / "labelsTr", done):
        folder.mkdir(parents=True)
    for folder in (data, done):
        (folder / "dataset.json").write_text(json.dumps(DATASET), encoding="utf-8")
    low, middle, high = np.percentile(pixels, (0.5, 50, 99.5)).tolist()
    intensities = {
        "max": float(pixels.max()), "mean": float(pixels.mean()), "median": middle,
        "min": float(pixels.min()), "std": float(pixels.std()),
        "percentile_00_5": low, "percentile_99_5": high,
    }  # fmt: skip
    fingerprint = {
        "spacings": [list(spacing_mm)], "shapes_after_crop": [list(pixels.shape)],
        "median_relative_size_after_cropping": 1.0,
        "foreground_intensity_properties_per_channel": {"0": intensities},
    }  # fmt: skip
    (done / "dataset_fingerprint.json").write_text(json.dumps(fingerprint), encoding="utf-8")
    image = nibabel.Nifti1Image(pixels.T, np.diag([*spacing_mm[::-1], 1.0]))
    nibabel.save(image, data / "imagesTr" / "a_0000.nii.gz")
    nibabel.save(image, data / "labelsTr" / "a.nii.gz")
    return dict(json.loads(json.dumps(ExperimentPlanner(1).plan_experiment())))


def _predictor(folder: Path, plans: dict[str, Any]) -> Any:
    """A trained-model folder with random weights, loaded as nnU-Net loads any."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    described = plans["configurations"]["2d"]["architecture"]
    net = get_network_from_plans(
        described["network_class_name"], described["arch_kwargs"], IMPORTED, 1, len(LABELS),
        deep_supervision=True,
    )  # fmt: skip
    (folder / "fold_0").mkdir(parents=True)
    content = {
        "network_weights": net.state_dict(), "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "2d", "plans": plans, "dataset_json": DATASET, "fold": 0},
        "inference_allowed_mirroring_axes": (0, 1), "_best_ema": 0.0,
    }  # fmt: skip
    torch.save(content, folder / "fold_0" / "checkpoint_final.pth")
    for name, value in (("plans", plans), ("dataset", DATASET)):
        (folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"),
        verbose=False, verbose_preprocessing=False, allow_tqdm=False,
    )  # fmt: skip
    predictor.initialize_from_trained_model_folder(str(folder), (0,), "checkpoint_final.pth")
    return predictor
