"""Rendered training stacks on disk, made once per recipe by all cores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from scarseg_export.train.cine import CineStack, read_cine
from scarseg_export.train.cine_render import render_cine
from scarseg_export.train.losses import MIMIC
from scarseg_export.train.workers import worker_pool
from scarseg_export.twin.cohort import Case, sample_case
from scarseg_runtime.whole import whole_file

# Patients of different purposes never share a seed, whatever the recipe's own seed.
SEED_BLOCK = 10_000_000
LOCALISER, IMAGE, FUSION, ECG, CINE_LOCALISER, CINE_IMAGE, VALIDATION, TEST = (
    1, 2, 3, 4, 5, 6, 8, 9,
)  # fmt: skip
SEMI_REAL, SEMI_REAL_VALIDATION = 10, 11


def patient_seed(recipe_seed: int, purpose: int, index: int) -> int:
    """Seed of one simulated patient; test patients are the same for every recipe."""
    base = 0 if purpose == TEST else recipe_seed * 100 * SEED_BLOCK
    return base + purpose * SEED_BLOCK + index


@dataclass(frozen=True)
class StackSpec:
    """Size of buffered stacks; spacing is drawn per stack between the two limits."""

    purpose: int
    count: int
    size: int
    spacing_mm: tuple[float, float]
    wander_mm: float
    slices: int = 10


@dataclass(frozen=True)
class StackBuffer:
    """Memory-mapped stacks: pixels uint16 [N, S, h, w], labels uint8, centres and spacing."""

    pixels: NDArray[np.uint16]
    labels: NDArray[np.uint8]
    centres_mm: NDArray[np.float32]
    spacing_mm: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pixels)


def stack_buffer(
    folder: Path,
    seed: int,
    spec: StackSpec,
    cine: Path | None = None,
    case_of: Callable[[int], Case] = sample_case,
) -> StackBuffer:
    """The buffer of a recipe's stage, rendered first where it is not on disk yet.

    Args:
        cine: folder of contoured cine frames to render from; None simulates.
        case_of: the heart of a patient's seed.
    """
    names = ("pixels", "labels", "centres_mm", "spacing_mm")
    paths = [folder / f"{name}.npy" for name in names]
    if not all(path.exists() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        _render(folder, paths, partial(_render_one, seed, spec, cine, case_of), spec)
    return StackBuffer(*(np.load(path, mmap_mode="r") for path in paths))


def _render(folder: Path, paths: list[Path], work: Callable[[int], Any], spec: StackSpec) -> None:
    shape = (spec.count, spec.slices, spec.size, spec.size)
    pixels = np.empty(shape, np.uint16)
    labels = np.empty(shape, np.uint8)
    centres = np.empty((*shape[:2], 2), np.float32)
    spacing = np.empty(spec.count, np.float32)
    desc = f"render {folder.parent.name}/{folder.name}"
    with worker_pool() as pool:
        results = pool.map(work, range(spec.count), chunksize=8)
        for index, stack in enumerate(tqdm(results, total=spec.count, desc=desc, mininterval=10)):
            pixels[index], labels[index], centres[index], spacing[index] = stack
    arrays: tuple[NDArray[Any], ...] = (pixels, labels, centres, spacing)
    for path, values in zip(paths, arrays, strict=True):
        with whole_file(path) as part, part.open("wb") as file:  # numpy would add .npy to a name
            np.save(file, values)


def _render_one(
    seed: int, spec: StackSpec, cine: Path | None, case_of: Callable[[int], Case], index: int
) -> tuple[NDArray, NDArray, NDArray, float]:
    patient = patient_seed(seed, spec.purpose, index)
    rng = np.random.default_rng([patient, 7])
    spacing = float(rng.uniform(*spec.spacing_mm))
    case = case_of(patient)
    if cine is None:
        stack = case.image(spec.size, spacing, spec.wander_mm, spec.slices)
    else:
        frames = _cine_stacks(cine)
        chosen = frames[int(rng.integers(len(frames)))]
        stack = render_cine(
            rng, chosen, case.scar, case.mimic, spec.size, spacing, spec.wander_mm, spec.slices
        )
    labels = stack.labels.copy()
    labels[stack.mimic] = MIMIC
    return stack.pixels.astype(np.uint16), labels, stack.centres_mm, spacing


@cache
def _cine_stacks(folder: Path) -> list[CineStack]:
    return read_cine(folder)
