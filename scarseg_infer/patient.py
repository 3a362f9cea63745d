"""A patient as the network would get it, for whoever trains or scores models on patients.

``scarseg_export`` trains and scores on what this hands out and so sees slices in the order and
orientation in which they are served. It does not import this module: the package offers
:class:`PatientReader` as entry point ``scarseg.patient_reader``, in arrays and plain values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.cohort.inputs import content_digest
from scarseg_infer.ecg.evidence import EcgEvidence, ecg_evidence
from scarseg_infer.ecg.read import read_ecg
from scarseg_infer.host.quiet import quiet_readers
from scarseg_infer.models import model_path
from scarseg_infer.study.dicom.parse import text
from scarseg_infer.study.dicom.patient_id import normal
from scarseg_infer.study.geometry.orientation import DisplayTransform, display_transform
from scarseg_infer.study.nifti import read_nifti
from scarseg_infer.study.read import read_study
from scarseg_infer.study.stack import LgeStack
from scarseg_runtime.quantify.quantities import slice_heights_mm
from scarseg_runtime.taff import EcgDecision

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Slices of voxels and where they lie, in the patient frame (LPS, mm).

    Voxel ``[s, r, c]`` is at ``origins_mm[s] + r * rows_mm + c * columns_mm``.
    """

    values: NDArray[np.float32]
    """[S, H, W]"""
    origins_mm: FloatArray
    """[S, 3]"""
    rows_mm: FloatArray
    """[3] step from a row to the next; ``columns_mm`` from a column to the next."""
    columns_mm: FloatArray
    heights_mm: FloatArray
    """[S] height that each slice stands for."""
    placed: bool
    """True where the file says where in a body its voxels lie."""

    @property
    def spacing_mm(self) -> tuple[float, float]:
        """Between rows, between columns."""
        return float(np.linalg.norm(self.rows_mm)), float(np.linalg.norm(self.columns_mm))


@dataclass(frozen=True, slots=True, eq=False)
class PatientView:
    """One patient in standard short-axis display, slices base → apex, and the prepared ECG."""

    grid: Grid
    """Of the image. Where ``grid.placed`` is False, which end is the base is not known."""
    beat_mv: NDArray[np.float32] | None
    """[12, 512] mean beat; None without an ECG."""
    decision: EcgDecision
    """Verdict of the gap policy on the ECG."""
    gap_days: float | None
    gap_source: str
    instance_uids: tuple[str, ...]
    """SOPInstanceUIDs of the slices' sources; empty unless DICOM. Not for any output."""
    study_uid: str | None
    patient_key: str | None
    """Digest of the patient identifier, to find rows of one patient; None without one."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PatientReader:
    """The product's own readers behind four questions."""

    allow_identity_mismatch: bool = False
    """Go on, with a warning, where MRI and ECG carry different patient identifiers."""

    def read(
        self,
        study: Path,
        ecg: Path | None,
        gap_days: float | None,
        series: str | None = None,
    ) -> PatientView:
        """Read a study and its ECG as ``scarseg-infer`` does.

        Args:
            gap_days: days between both where the files' dates do not tell.
            series: number or SeriesInstanceUID, where the rules are not to choose.

        Raises:
            StudyError: as :func:`scarseg_infer.read_study` does.
            EcgError: the ECG cannot be read, is not fit to be used or, unless that is allowed, is
                of another patient.
        """
        chosen = int(series) if series is not None and series.isdecimal() else series
        stack = read_study(study, chosen)
        record = None if ecg is None else read_ecg(ecg)
        evidence = ecg_evidence(
            stack, record, gap_days, image_only=False,
            allow_identity_mismatch=self.allow_identity_mismatch,
        )  # fmt: skip
        return view_of(stack, evidence)

    def read_volume(self, path: Path) -> Grid:
        """Voxels of a NIfTI file placed as the product places images. Raises StudyError."""
        return _grid(read_nifti(path), DisplayTransform(False, False, False, False))

    def digest(self, study: Path, ecg: Path | None, settings: str) -> str:
        """Digest of the contents of both, whatever they are called, and of ``settings``.

        Raises:
            StudyError: the study is a folder that cannot be read.
        """
        return content_digest(study, ecg, settings)

    @contextmanager
    def reference_model(self) -> Iterator[Path]:
        """The file of the model that ships with the product."""
        with model_path(None) as path:
            yield path


def view_of(stack: LgeStack, evidence: EcgEvidence) -> PatientView:
    """View of a stack and its evidence as the network would get them."""
    with quiet_readers():  # pydicom would quote an identifier that it does not like
        first = stack.datasets[0] if stack.datasets else None
        patient = None if first is None else text(first, "PatientID")
        study = None if first is None else text(first, "StudyInstanceUID")
        instances = tuple(text(source, "SOPInstanceUID") or "" for source in stack.datasets)
    display = display_transform(stack)
    key = normal(patient)
    return PatientView(
        grid=_grid(stack, display),
        beat_mv=evidence.beat.beat_mv if evidence.beat else None,
        decision=evidence.decision,
        gap_days=evidence.gap.days,
        gap_source=evidence.gap.source,
        instance_uids=instances[::-1] if display.reverse_slices else instances,
        study_uid=study,
        patient_key=hashlib.sha256(key.encode()).hexdigest() if key else None,
        warnings=(*stack.warnings, *evidence.warnings),
    )


def _grid(stack: LgeStack, display: DisplayTransform) -> Grid:
    """A stack and its geometry as the display has them."""
    values = display.to_display(stack.pixels)
    rows = stack.column_direction * stack.pixel_spacing_mm[0]
    columns = stack.row_direction * stack.pixel_spacing_mm[1]
    origins = np.asarray(stack.origins_mm, np.float64)
    heights = slice_heights_mm(stack.slice_positions_mm, stack.slice_thickness_mm)
    if display.reverse_slices:
        origins, heights = origins[::-1], heights[::-1]
    if display.transpose:
        rows, columns = columns, rows
    if display.flip_rows:
        origins, rows = origins + (values.shape[1] - 1) * rows, -rows
    if display.flip_columns:
        origins, columns = origins + (values.shape[2] - 1) * columns, -columns
    return Grid(values, origins, rows, columns, heights, stack.orientation_known)
