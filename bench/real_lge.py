"""Accuracy of a model on real LGE volumes with expert labels, image alone.

A folder holds pairs ``NAME_image.nii.gz`` and ``NAME_labels.nii.gz`` with labels 0 background,
1 cavity, 2 myocardium, 3 infarct, 4 no-reflow (part of the infarct), as EMIDEC publishes them.
For measuring only: such data must never be trained or tuned on.

    python bench/real_lge.py FOLDER [--model FILE]
"""

from __future__ import annotations

import argparse
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
    options = parser.parse_args()
    segmenter = Segmenter.from_model(options.model)
    print("| volume | cavity Dice | myocardium Dice | scar Dice | scar called | scar true |")
    print("|---|---|---|---|---|---|")
    for image in sorted(options.folder.glob("*_image.nii.gz")):
        name = image.name.removesuffix("_image.nii.gz")
        truth = read_nifti(image.with_name(f"{name}_labels.nii.gz")).pixels
        result = segmenter.run(image)
        wall, true_wall = np.isin(result.labels, MYOCARDIUM), truth >= 2
        scar, true_scar = result.labels == Label.SCAR, truth >= 3
        print(
            f"| {name} | {dice(result.labels == Label.LV_CAVITY, truth == 1):.3f} "
            f"| {dice(wall, true_wall):.3f} | {dice(scar, true_scar):.3f} "
            f"| {100 * scar.sum() / max(wall.sum(), 1):.1f} % of LV mass "
            f"| {100 * true_scar.sum() / true_wall.sum():.1f} % |"
        )


if __name__ == "__main__":
    main()
