"""Reading of studies and ECGs, which is the product's business, reached without importing it.

What is trained or scored must lie as it will lie when it is served: slices base → apex, standard
display, the mean beat and the gap policy of the product. That code knows DICOM and belongs to
``scarseg_infer``; this package depends on ``scarseg_runtime`` alone. So this module says what it
needs as protocols of arrays, and takes whatever package offers it as entry point
``scarseg.patient_reader``, as plug-ins are found. A test may pass a reader of its own.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.errors import UsageError
from scarseg_runtime.install import DISTRIBUTION
from scarseg_runtime.taff import EcgDecision

GROUP = "scarseg.patient_reader"


class Grid(Protocol):
    """Slices of voxels, placed in the patient frame (LPS, mm): ``[s, r, c]`` lies at
    ``origins_mm[s] + r * rows_mm + c * columns_mm``."""

    @property
    def values(self) -> NDArray[np.float32]: ...
    @property
    def origins_mm(self) -> NDArray[np.float64]: ...
    @property
    def rows_mm(self) -> NDArray[np.float64]: ...
    @property
    def columns_mm(self) -> NDArray[np.float64]: ...
    @property
    def heights_mm(self) -> NDArray[np.float64]: ...
    @property
    def placed(self) -> bool: ...
    @property
    def spacing_mm(self) -> tuple[float, float]: ...


class PatientView(Protocol):
    """A patient as the network gets it: display orientation, base → apex."""

    @property
    def grid(self) -> Grid: ...
    @property
    def beat_mv(self) -> NDArray[np.float32] | None: ...
    @property
    def decision(self) -> EcgDecision: ...
    @property
    def gap_days(self) -> float | None: ...
    @property
    def gap_source(self) -> str: ...
    @property
    def instance_uids(self) -> tuple[str, ...]: ...
    @property
    def study_uid(self) -> str | None: ...
    @property
    def patient_key(self) -> str | None: ...
    @property
    def warnings(self) -> tuple[str, ...]: ...


class PatientReader(Protocol):
    """Reader of patients; ``scarseg_infer.patient`` says what each method raises."""

    @property
    def allow_identity_mismatch(self) -> bool: ...

    def read(
        self, study: Path, ecg: Path | None, gap_days: float | None, series: str | None = None
    ) -> PatientView: ...

    def read_volume(self, path: Path) -> Grid: ...

    def digest(self, study: Path, ecg: Path | None, settings: str) -> str: ...

    def reference_model(self) -> AbstractContextManager[Path]: ...


def patient_reader(*, allow_identity_mismatch: bool = False) -> PatientReader:
    """The reader of the installed product. Raises UsageError where there is none.

    Args:
        allow_identity_mismatch: files of one row may carry different patient identifiers, as those
            of differently pseudonymised sources do.
    """
    for found in entry_points(group=GROUP):
        made: PatientReader = found.load()(allow_identity_mismatch=allow_identity_mismatch)
        return made
    raise UsageError(
        f"no installed package offers to read patients ({GROUP})",
        f"Install {DISTRIBUTION} again: pip install -e . in its source folder",
    )
