"""Studies on which providers are compared: twin patients, and the edges of what may come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarseg_export.train.buffers import TEST, patient_seed
from scarseg_export.twin.cohort import beats_of, sample_case
from scarseg_runtime.contract import BEAT_SAMPLES, IMAGE_INPUTS, LEADS
from scarseg_runtime.errors import ModelError
from scarseg_runtime.model_file.read import ModelMetadata
from scarseg_runtime.preprocess import slice_levels

TWIN_CASES = 20
GRIDS = ((144, 1.8, None), (192, 1.4, 9), (256, 1.2, 12))
"""Rows and columns, mm between them, slices (None: as many as the heart needs)."""
GAPS_DAYS = (0.0, 3.0, 40.0, 400.0)
HALF_MAX = 65504.0
EDGE_PATIENT = 4
"""Has a large scar, so that its edges can be lost."""


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """Inputs of the graph."""

    name: str
    lge: NDArray[np.float32]
    """[S, H, W]"""
    spacing_mm: float
    beat: NDArray[np.float32]
    """[12, 512]"""
    gap_days: float
    valid: float = 1.0
    truth: NDArray[np.uint8] | None = None
    """[S, H, W] true labels, where there are any."""

    def arrays(self, *, image_only: bool = False) -> dict[str, NDArray[np.float32]]:
        """By the names of the contract."""
        values = {
            "lge": self.lge,
            "pixel_spacing": np.full(2, self.spacing_mm),
            "slice_level": slice_levels(np.arange(len(self.lge))),
            "ecg": self.beat,
            "gap_days": np.array([self.gap_days]),
            "ecg_valid": np.array([self.valid]),
        }
        names = [spec.name for spec in IMAGE_INPUTS] if image_only else list(values)
        return {name: np.ascontiguousarray(values[name], np.float32) for name in names}


def studies(count: int = TWIN_CASES) -> Iterator[Study]:
    """Twin patients of several grids and gaps, every fifth without an ECG; then the edges."""
    for index in range(count):
        case = sample_case(patient_seed(0, TEST, index))
        size, spacing, slices = GRIDS[index % len(GRIDS)]
        stack = case.image(size, spacing, 20.0, slices)
        beat = beats_of([case], np.array([False]))[0]
        gap = GAPS_DAYS[index % len(GAPS_DAYS)]
        valid = float(index % 5 != 4)
        yield Study(f"twin {index}", stack.pixels, spacing, beat, gap, valid, stack.labels)
    yield from edge_studies()


def covered(found: Iterable[Study], metadata: ModelMetadata) -> list[Study]:
    """The studies whose field of view a model covers: others it refuses. Raises ModelError where
    that is none."""
    fitting = []
    for study in found:
        pixels = (study.lge.shape[1], study.lge.shape[2])
        if metadata.covers(pixels, (study.spacing_mm, study.spacing_mm)):
            fitting.append(study)
    if not fitting:
        raise ModelError(
            "the model covers the field of view of no study that it is verified on",
            "Export it with more tiles: scarseg-export nnunet --tiles",
        )
    return fitting


def edge_studies() -> Iterator[Study]:
    """One twin patient shown as scanners should not, and images with nothing in them."""
    case = sample_case(patient_seed(0, TEST, EDGE_PATIENT))
    pixels = case.image(160, 1.6, 20.0, 30).pixels
    beat = beats_of([case], np.array([False]))[0]
    few, top = pixels[::6], float(pixels.max())
    spiked = few.copy()
    spiked[:, 5, 5] = 50 * top
    edges: dict[str, NDArray[Any]] = {
        "one slice": pixels[14:15],
        "30 slices": pixels,
        "blank": np.zeros((3, 96, 96)),
        "constant": np.full((3, 96, 96), 700.0),
        "faint": few / top,
        "from -65504 to 65504": (few / top - 0.5) * 2 * HALF_MAX,
        "beyond the range of FP16": few / top * 4e6,
        "one bright pixel": spiked,
    }
    for name, edge in edges.items():
        yield Study(name, edge.astype(np.float32), 1.6, beat, 3.0)
    yield Study("silent ECG", few, 1.6, np.zeros((len(LEADS), BEAT_SAMPLES), np.float32), 0.0)
