"""Rendered training stacks on disk, made once per recipe by all cores."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from scarseg_export.twin.cohort import sample_case

# Patients of different purposes never share a seed, whatever the recipe's own seed.
SEED_BLOCK = 10_000_000
LOCALISER, IMAGE, FUSION, ECG, TEST = 1, 2, 3, 4, 9


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


def stack_buffer(folder: Path, seed: int, spec: StackSpec) -> StackBuffer:
    """The buffer of a recipe's stage, rendered first where it is not on disk yet."""
    names = ("pixels", "labels", "centres_mm", "spacing_mm")
    paths = [folder / f"{name}.npy" for name in names]
    if not all(path.exists() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        _render(folder, paths, seed, spec)
    return StackBuffer(*(np.load(path, mmap_mode="r") for path in paths))


def _render(folder: Path, paths: list[Path], seed: int, spec: StackSpec) -> None:
    shape = (spec.count, spec.slices, spec.size, spec.size)
    pixels = np.empty(shape, np.uint16)
    labels = np.empty(shape, np.uint8)
    centres = np.empty((*shape[:2], 2), np.float32)
    spacing = np.empty(spec.count, np.float32)
    work = partial(_render_one, seed, spec)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        results = pool.map(work, range(spec.count), chunksize=8)
        for index, stack in enumerate(tqdm(results, total=spec.count, desc=folder.name)):
            pixels[index], labels[index], centres[index], spacing[index] = stack
    arrays: tuple[NDArray[Any], ...] = (pixels, labels, centres, spacing)
    for path, values in zip(paths, arrays, strict=True):
        np.save(path, values)


def _render_one(seed: int, spec: StackSpec, index: int) -> tuple[NDArray, NDArray, NDArray, float]:
    patient = patient_seed(seed, spec.purpose, index)
    spacing = float(np.random.default_rng([patient, 7]).uniform(*spec.spacing_mm))
    stack = sample_case(patient).image(spec.size, spacing, spec.wander_mm, spec.slices)
    return stack.pixels.astype(np.uint16), stack.labels, stack.centres_mm, spacing
