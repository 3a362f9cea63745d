"""Accuracy of a model on real LGE volumes with expert labels, image alone.

A folder holds pairs ``NAME_image.nii.gz`` and ``NAME_labels.nii.gz`` with labels 0 background,
1 cavity, 2 myocardium, 3 infarct, 4 no-reflow (part of the infarct), as EMIDEC publishes them.
For measuring only: such data must never be trained or tuned on.

    python bench/real_lge.py FOLDER [--model FILE] [--provider NAME] [--precision NAME]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scarseg_export.evaluation.metrics import dice
from scarseg_infer import Segmenter
from scarseg_infer.study.nifti import read_nifti
from scarseg_runtime.contract import MYOCARDIUM, Label


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, help="default: the reference model")
    parser.add_argument("--provider", default="auto")
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    segmenter = Segmenter.from_model(
        options.model, provider=options.provider, precision=options.precision
    )
    rows = []
    print("| volume | cavity Dice | myocardium Dice | scar Dice | scar called | scar true |")
    print("|---|---|---|---|---|---|")
    for image in sorted(options.folder.glob("*_image.nii.gz")):
        name = image.name.removesuffix("_image.nii.gz")
        truth = read_nifti(image.with_name(f"{name}_labels.nii.gz")).pixels
        result = segmenter.run(image)
        wall, true_wall = np.isin(result.labels, MYOCARDIUM), truth >= 2
        scar, true_scar = result.labels == Label.SCAR, truth >= 3
        row = [
            dice(result.labels == Label.LV_CAVITY, truth == 1),
            dice(wall, true_wall),
            dice(scar, true_scar) if true_scar.any() else float("nan"),
            100 * scar.sum() / max(wall.sum(), 1),
            100 * true_scar.sum() / true_wall.sum(),
        ]
        rows.append(row)
        print(_line(name, row))
    table = np.array(rows)
    ill = table[:, 4] > 0
    for group, pick in (("mean, with scar", ill), ("mean, scar-free", ~ill)):
        if pick.any():
            print(_line(group, table[pick].mean(axis=0)))


def _line(name: str, row: Sequence[float]) -> str:
    scores = " | ".join("–" if np.isnan(value) else f"{value:.3f}" for value in row[:3])
    return f"| {name} | {scores} | {row[3]:.1f} % of LV mass | {row[4]:.1f} % |"


if __name__ == "__main__":
    main()
