"""Case that is computed: one simulated stack of any size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Case:
    """Size of a stack."""

    slices: int = 12
    height: int = 256
    width: int = 216


def case_arrays(case: Case) -> dict[str, NDArray[Any]]:
    """Inputs of the graph: a simulated patient with scar, an ECG of three days before."""
    # Here, not above: it imports torch, which must not count as memory of the lean rows.
    from scarseg_export.train.buffers import TEST, patient_seed
    from scarseg_export.twin.cohort import beats_of, sample_case
    from scarseg_export.verify.studies import Study

    patient = sample_case(patient_seed(0, TEST, 4))
    size = max(case.height, case.width)
    pixels = patient.image(size, 360.0 / size, 20.0, case.slices).pixels
    pixels = np.ascontiguousarray(pixels[:, : case.height, : case.width])
    beat = beats_of([patient], np.array([False]))[0]
    return Study("benchmark", pixels, 360.0 / size, beat, 3.0).arrays()
