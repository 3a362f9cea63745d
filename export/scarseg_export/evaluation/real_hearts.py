"""Real LGE with expert labels: the image path alone, and what real ECGs do to it.

The labelled hearts come without their ECGs, so any ECG here is of somebody else: what shows is
harm, and how much false scar an ECG takes from a heart without any. For measuring only: such
data must never be trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tqdm import tqdm

from scarseg_export.evaluation.metrics import NAN, dice
from scarseg_export.net.network import ScarNet
from scarseg_export.net.sampling import PixelGrid
from scarseg_export.net.sampling import turned as turned_by
from scarseg_export.net.seen import Seen
from scarseg_export.train.real_ecgs import RealEcgs
from scarseg_runtime.contract import MYOCARDIUM, Label
from scarseg_runtime.errors import UsageError
from scarseg_runtime.preprocess import slice_levels
from scarseg_runtime.quantify.components import clean_labels

GAP_DAYS = 1.0
ECGS_A_KIND = 6
KINDS = ("infarct", "normal")
PARTS = ("image", "labels")
ODD_ANGLES_DEG = (20.0, 44.0, 70.0, 135.0, 250.0)
HALF = 0.5
"""A heart that keeps less than this share of its called scar has lost it."""


@dataclass(frozen=True, eq=False)
class Heart:
    """One labelled study."""

    name: str
    pixels: NDArray[np.float32]
    """[S, H, W] base → apex."""
    spacing_mm: tuple[float, float, float]
    """Between rows, columns and slices."""
    truth: NDArray[np.uint8]
    """[S, H, W] labels as EMIDEC has them: 1 cavity, 2 myocardium, 3 infarct, 4 no-reflow."""

    @property
    def voxel_ml(self) -> float:
        return float(np.prod(self.spacing_mm)) / 1000.0


def read_hearts(folder: Path) -> list[Heart]:
    """Pairs ``NAME_image.nii.gz`` and ``NAME_labels.nii.gz`` as EMIDEC publishes them: the first
    slice is the apex, and pixdim, not the affine, has the size of a voxel.

    Raises:
        UsageError: there are none.
    """
    hearts = []
    for path in sorted(folder.glob("*_image.nii.gz")):
        name = path.name.removesuffix("_image.nii.gz")
        image, labels = (_volume(path.with_name(f"{name}_{part}.nii.gz")) for part in PARTS)
        x, y, z = (float(size) for size in image.header.get_zooms()[:3])
        pixels, truth = (
            np.asarray(volume.dataobj, np.float32).transpose(2, 1, 0)[::-1]
            for volume in (image, labels)
        )
        hearts.append(Heart(name, pixels.copy(), (y, x, z), np.rint(truth).astype(np.uint8)))
    if not hearts:
        raise UsageError(
            "no pair NAME_image.nii.gz and NAME_labels.nii.gz in the folder",
            "Give a folder of labelled LGE volumes as EMIDEC publishes them",
        )
    return hearts


def _volume(path: Path) -> Any:
    """A NIfTI image; nibabel has no annotations for what is asked of it."""
    import nibabel

    return nibabel.load(path)


@torch.no_grad()
def score_hearts(
    net: ScarNet, hearts: list[Heart], min_scar_ml: float, ecgs: RealEcgs | None = None
) -> dict[str, Any]:
    """Rows per heart and their means: image alone and, where ``ecgs`` are given, what
    ``ECGS_A_KIND`` infarct and as many normal ones do."""
    bar = tqdm(hearts, desc="real hearts", mininterval=10)
    rows = [_row(net, heart, min_scar_ml, ecgs, number) for number, heart in enumerate(bar)]
    return {"hearts": rows, "image": image_summary(rows), "ecg": ecg_summary(rows)}


def _row(
    net: ScarNet, heart: Heart, min_scar_ml: float, ecgs: RealEcgs | None, number: int
) -> dict[str, Any]:
    lge = torch.from_numpy(heart.pixels)
    levels = torch.from_numpy(slice_levels(np.arange(len(lge)))).float()
    seen = net.see(lge, torch.tensor(heart.spacing_mm[:2]), levels)
    alone = torch.sigmoid(net.ceiling(seen.scar))
    row: dict[str, Any] = {"name": heart.name} | _scores(net, seen, alone, heart, min_scar_ml)
    row["called_turned"] = turned(net, heart)
    row["called_at_odd_angles"] = at_odd_angles(net, heart)
    row["pairs"] = [] if ecgs is None else [
        {"kind": kind} | _scores(net, seen, fused, heart, min_scar_ml)
        for kind, fused in _fused(net, seen, ecgs, number)
    ]  # fmt: skip
    return row


def turned(net: ScarNet, heart: Heart) -> list[float]:
    """Scar called by the image alone, % of the wall, in all eight turns and flips of the pixels:
    how a study happens to lie should not matter."""
    found = []
    for number in range(8):
        flipped = heart.pixels[:, :, ::-1] if number % 2 else heart.pixels
        pixels = np.rot90(flipped, number // 2, (1, 2))
        spacing = heart.spacing_mm[:2] if number // 2 % 2 == 0 else heart.spacing_mm[1::-1]
        found.append(_called(net, pixels.copy(), spacing))
    return found


def at_odd_angles(net: ScarNet, heart: Heart) -> list[float]:
    """The same as it lies and at ``ODD_ANGLES_DEG``, resampled about the middle of the image."""
    found = [_called(net, heart.pixels, heart.spacing_mm[:2])]
    for degrees in ODD_ANGLES_DEG:
        found.append(_called(net, rotated(heart, degrees), heart.spacing_mm[:2]))
    return found


def rotated(heart: Heart, degrees: float) -> NDArray[np.float32]:
    """[S, H, W] pixels turned clockwise in mm, the lowest value where nothing was seen."""
    image = torch.from_numpy(heart.pixels)
    lowest = image.amin()
    grid = PixelGrid.of(image, torch.tensor(heart.spacing_mm[:2]))
    columns, rows = grid.positions_mm()
    turn = torch.deg2rad(torch.tensor(-degrees))
    x, y = turned_by(columns[None, :], rows[:, None], torch.stack([turn.cos(), turn.sin()]))
    places = (torch.stack([x, y], -1) / grid.half_mm)[None]
    values = F.grid_sample((image - lowest)[None], places, align_corners=False)[0] + lowest
    return values.numpy()


def _called(net: ScarNet, pixels: NDArray[np.float32], spacing_mm: tuple[float, ...]) -> float:
    levels = torch.from_numpy(slice_levels(np.arange(len(pixels)))).float()
    lge = torch.from_numpy(pixels)
    seen = net.see(lge, torch.tensor(spacing_mm), levels)
    labels = net.to_input_grid(seen, torch.sigmoid(net.ceiling(seen.scar)))[0].numpy()
    wall = np.isin(labels, MYOCARDIUM).sum()
    return 100.0 * float((labels == Label.SCAR).sum()) / max(float(wall), 1.0)


def _fused(
    net: ScarNet, seen: Seen, ecgs: RealEcgs, number: int
) -> Iterator[tuple[str, torch.Tensor]]:
    rng = np.random.default_rng([number, 17])
    for kind in KINDS:
        of_kind = np.flatnonzero(ecgs.kind == kind)
        for index in rng.choice(of_kind, min(ECGS_A_KIND, of_kind.size), replace=False):
            beat = torch.from_numpy(ecgs.beats[index])
            yield kind, net.fuse(seen, beat, torch.tensor([GAP_DAYS]), torch.ones(1)).scar


def _scores(
    net: ScarNet,
    seen: Seen,
    scar_map: torch.Tensor,
    heart: Heart,
    min_scar_ml: float,
) -> dict[str, float]:
    labels = net.to_input_grid(seen, scar_map)[0].numpy()
    labels = clean_labels(labels, min_scar_ml, heart.voxel_ml)
    wall, true_wall = np.isin(labels, MYOCARDIUM), heart.truth >= 2
    scar, true_scar = labels == Label.SCAR, heart.truth >= 3
    return {
        "cavity": dice(labels == Label.LV_CAVITY, heart.truth == 1),
        "wall": dice(wall, true_wall),
        "scar": dice(scar, true_scar) if true_scar.any() else NAN,
        "called": 100.0 * float(scar.sum()) / max(float(wall.sum()), 1.0),
        "true": 100.0 * float(true_scar.sum()) / float(true_wall.sum()),
    }


def image_summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Means over hearts with scar, and over those without."""
    ill, healthy = _split(rows)
    called = np.array([row["called"] for row in ill])
    true = np.array([row["true"] for row in ill])
    return {
        "with_scar": len(ill),
        **{key: _mean(row[key] for row in ill) for key in ("cavity", "wall", "scar")},
        "called_percent": _mean(called),
        "true_percent": _mean(true),
        "absolute_burden_error": _mean(np.abs(called - true)),
        "without_scar": len(healthy),
        "false_percent": _mean(row["called"] for row in healthy),
        "false_percent_worst": max((row["called"] for row in healthy), default=NAN),
        "turn_spread_percent": _mean(np.ptp(row["called_turned"]) for row in rows),
        "quarter_spread_percent": _mean(np.ptp(row["called_turned"][::2]) for row in rows),
        "angle_spread_percent": _mean(np.ptp(row["called_at_odd_angles"]) for row in rows),
        "angle_spread_worst": max(float(np.ptp(row["called_at_odd_angles"])) for row in rows),
    }


def ecg_summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """By kind of ECG: change of scar Dice on hearts with scar, how often half of the called scar
    is gone, and the share of false scar that is taken from hearts without."""
    ill, healthy = _split(rows)
    found = {}
    for kind in KINDS if rows and rows[0]["pairs"] else ():
        pairs = [(row, pair) for row in ill for pair in row["pairs"] if pair["kind"] == kind]
        false = [(row, pair) for row in healthy for pair in row["pairs"] if pair["kind"] == kind]
        before = sum(row["called"] for row, _ in false)
        found[kind] = {
            "pairs": len(pairs),
            "dice_image": _mean(row["scar"] for row, _ in pairs),
            "dice_fused": _mean(pair["scar"] for _, pair in pairs),
            "lost_half": _mean(pair["called"] < HALF * row["called"] for row, pair in pairs),
            "false_pairs": len(false),
            "false_removed": 1.0 - sum(p["called"] for _, p in false) / before if before else NAN,
        }
    return found


def _split(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return [r for r in rows if r["true"] > 0], [r for r in rows if r["true"] == 0]


def _mean(values: Any) -> float:
    listed = [float(value) for value in values]
    return float(np.mean(listed)) if listed else NAN
