"""Scores on labelled real volumes, here written as such files are."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from scarseg_export.evaluation import real_hearts
from scarseg_export.evaluation.real_hearts import ecg_summary, image_summary, read_hearts
from scarseg_export.evaluation.real_report import real_lines
from scarseg_runtime.errors import UsageError


def write(folder: Path, name: str, labels: np.ndarray) -> np.ndarray:
    """Labels [S, H, W] base → apex with pixels, stored as EMIDEC does; returns the pixels."""
    pixels = np.random.default_rng(1).integers(0, 255, labels.shape).astype(np.float32)
    for part, values in (("image", pixels), ("labels", labels.astype(np.float32))):
        volume = nibabel.Nifti1Image(values[::-1].transpose(2, 1, 0), np.eye(4))
        volume.header["pixdim"][1:4] = (1.2, 1.5, 10.0)
        nibabel.save(volume, folder / f"{name}_{part}.nii.gz")
    return pixels


def test_volumes_are_read_base_first_with_the_size_of_their_voxels(tmp_path: Path) -> None:
    labels = np.zeros((3, 8, 6), np.uint8)
    labels[0, 1:5, 2:4] = 2
    labels[0, 2, 2] = 4
    pixels = write(tmp_path, "P1", labels)
    (heart,) = read_hearts(tmp_path)
    assert heart.name == "P1" and heart.spacing_mm == pytest.approx((1.5, 1.2, 10.0))
    assert np.array_equal(heart.truth, labels) and np.array_equal(heart.pixels, pixels)
    assert heart.voxel_ml == pytest.approx(0.018)


def test_pixels_are_turned_clockwise_about_the_middle() -> None:
    pixels = np.random.default_rng(0).uniform(5, 9, (2, 10, 10)).astype(np.float32)
    heart = real_hearts.Heart("x", pixels, (1.5, 1.5, 8.0), np.zeros(pixels.shape, np.uint8))
    quarter = np.rot90(pixels, -1, (1, 2))
    assert real_hearts.rotated(heart, 90.0) == pytest.approx(quarter, abs=1e-3)
    corner = real_hearts.rotated(heart, 45.0)[:, 0, 0]
    assert corner == pytest.approx(pixels.min(), abs=1e-5)  # nothing was seen there


def test_a_folder_without_labelled_volumes_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no pair"):
        read_hearts(tmp_path)


def row(true: float, called: float, scar: float, **pairs: list[tuple[float, float]]) -> dict:
    listed = [
        {"kind": kind, "called": c, "scar": s} for kind, found in pairs.items() for c, s in found
    ]
    return {"name": "x", "cavity": 0.9, "wall": 0.8, "scar": scar, "called": called, "true": true,
            "called_turned": [called, called + 1.0, called + 0.5, called],
            "called_at_odd_angles": [called, called + 2.0], "pairs": listed}  # fmt: skip


ROWS = [
    row(20.0, 10.0, 0.5, infarct=[(12.0, 0.55), (10.0, 0.5)], normal=[(4.0, 0.3), (10.0, 0.5)]),
    row(0.0, 4.0, float("nan"), infarct=[(4.0, float("nan"))], normal=[(1.0, float("nan"))]),
]


def test_means_are_of_hearts_with_and_without_scar_apart() -> None:
    found = image_summary(ROWS)
    assert (found["with_scar"], found["without_scar"]) == (1, 1)
    assert found["scar"] == 0.5 and found["absolute_burden_error"] == 10.0
    assert found["false_percent"] == found["false_percent_worst"] == 4.0
    assert found["turn_spread_percent"] == 1.0
    assert found["quarter_spread_percent"] == 0.5
    assert found["angle_spread_percent"] == found["angle_spread_worst"] == 2.0


def test_what_ecgs_change_is_told_by_their_kind() -> None:
    found = ecg_summary(ROWS)
    assert found["infarct"]["dice_fused"] == pytest.approx(0.525)
    assert found["normal"]["dice_fused"] == pytest.approx(0.4)
    assert found["normal"]["lost_half"] == 0.5 and found["infarct"]["lost_half"] == 0.0
    assert found["normal"]["false_removed"] == pytest.approx(0.75)
    assert found["infarct"]["false_removed"] == 0.0


def test_the_report_leads_with_real_data() -> None:
    part = {"hearts": ROWS, "image": image_summary(ROWS), "ecg": ecg_summary(ROWS)}
    text = "\n".join(real_lines({"seeds": [1], "real_hearts": [part]}))
    assert "1 labelled hearts with scar and 1 without" in text
    assert "| 1 | normal | 0.500 | 0.400 | -0.100 | 50 % | 75 % |" in text
    assert real_lines({"seeds": [1]}) == []
    assert real_hearts.KINDS == ("infarct", "normal")
