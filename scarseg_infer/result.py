"""The one result object that every writer reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scarseg_infer.ecg.record import EcgSource
    from scarseg_infer.study.geometry.orientation import DisplayTransform
    from scarseg_infer.study.stack import LgeStack
    from scarseg_runtime.ecg.quality import EcgQuality
    from scarseg_runtime.quantify.characteristics import Characteristics
    from scarseg_runtime.quantify.quantities import Quantities

GapSource = Literal["timestamps", "dates", "given", "unknown"]


@dataclass(frozen=True, slots=True, eq=False)
class EcgUse:
    """Worth of the ECG in this result, and the reason for it.

    Attributes:
        given: an ECG was read and its mean beat was fed to the network.
        weight: TAFF weight in [0, 1] with which the fused path entered the result.
        gap_days: days between ECG and MRI; None where unknown.
        gap_source: where the gap came from: both time stamps, dates without time, the caller
            (``given``), nowhere (``unknown``).
        reason: one sentence: why the weight is what it is.
        source: format of the file it came from; None without an ECG.
        heart_rate_bpm: beats a minute; None without an ECG.
        beats_averaged: how many beats the mean beat is of; None without an ECG.
        derived_leads: names of leads that were computed from others, not recorded.
        quality: noise, conduction, pacing and electrodes; None without an ECG.
        mean_beat_mv: [12, 512] R-aligned mean beat as the network saw it, mV at 500 Hz, leads as in
            :data:`scarseg_infer.LEADS`; None without an ECG.
        segment_belief: [17] scar belief per AHA segment from the ECG alone, 0–1; None without an
            ECG.
        image_disagreement: ECG and image do not fit one patient (scar pattern, size of the heart);
            None where no ECG was used. A flag to look at, not a proof: an old ECG may disagree for
            good reason.
    """

    given: bool
    weight: float
    gap_days: float | None
    gap_source: GapSource
    reason: str
    source: EcgSource | None
    heart_rate_bpm: float | None
    beats_averaged: int | None
    derived_leads: tuple[str, ...]
    quality: EcgQuality | None
    mean_beat_mv: NDArray[np.float32] | None
    segment_belief: NDArray[np.float32] | None
    image_disagreement: bool | None


@dataclass(frozen=True, slots=True)
class ModelUse:
    """The model that computed the result, and what it ran on.

    Attributes:
        name: of the model, as its file says.
        version: of the model, not of this package.
        sha256: of the model file, in hexadecimal.
        training_data: what it was trained on, in a sentence.
        provider: what computed it: ``cpu``, ``openvino``, ``tensorrt`` and so on.
        precision: ``fp32``, ``fp16`` or ``bf16``.
        tau_days: τ in days of the TAFF weight exp(−Δt/τ); None for a model of the image alone.
        ecg_scores: what its belief by the ECG alone was worth on real ECGs it was not trained on:
            ``data``, ``records``, ``auroc`` (infarct against normal), ``calibration_error`` (0–1);
            None where the model file does not say.
    """

    name: str
    version: str
    sha256: str
    training_data: str
    provider: str
    precision: str
    tau_days: float | None
    ecg_scores: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class ScarResult:
    """Scar of one study, on the source grid of the study.

    All volumes have the shape [S, H, W] of ``stack.pixels``: the display orientation that the
    network works in has been undone. They belong to this result alone; ``stack`` is the one that
    was given, and not copied. Results are equal only to themselves: compare their parts.

    Attributes:
        stack: the study as it was read, or the stack that was given.
        labels: [S, H, W] values of :class:`scarseg_infer.Label`.
        scar_probability: [S, H, W] of each voxel, 0 to 1, as the network gives it: ``labels`` have
            been cleaned since.
        image_only_labels: [S, H, W] what the image alone says: the audit trail of the fusion.
        segments: [S, H, W] AHA segment 1–17 inside the myocardium, else 0.
        display: how to show the volumes in the standard short-axis orientation.
        quantities: volumes, mass and burden of ``labels``.
        image_only_quantities: the same of ``image_only_labels``.
        ecg: what the ECG was worth.
        model: which model computed it, and on what.
        timings_ms: milliseconds that each :data:`scarseg_infer.Stage` took.
        warnings: sentences for the user, those of study and ECG included.
    """

    stack: LgeStack
    labels: NDArray[np.uint8]
    scar_probability: NDArray[np.float32]
    image_only_labels: NDArray[np.uint8]
    segments: NDArray[np.uint8]
    display: DisplayTransform
    quantities: Quantities
    image_only_quantities: Quantities
    ecg: EcgUse
    model: ModelUse
    timings_ms: Mapping[str, float]
    warnings: tuple[str, ...]

    @cached_property
    def characteristics(self) -> Characteristics:
        """Location and distribution of the scar, core and grey zone by signal thresholds,
        microvascular obstruction; computed when first asked for, from what pixels and labels hold
        then."""
        from scarseg_runtime.atlas import SEGMENT_NAMES
        from scarseg_runtime.quantify.characteristics import characterise
        from scarseg_runtime.quantify.quantities import slice_heights_mm

        heights = slice_heights_mm(self.stack.slice_positions_mm, self.stack.slice_thickness_mm)
        return characterise(
            self.stack.pixels, self.labels, self.segments, self.stack.pixel_spacing_mm, heights,
            tuple(SEGMENT_NAMES),
        )  # fmt: skip

    def write(
        self, out: str | Path, *, overwrite: bool = False, only: Collection[str] = ()
    ) -> dict[str, Path]:
        """Write outputs into folder ``out``, all of them or none. May be called in any number of
        threads; it has no progress and cannot be cancelled.

        Args:
            out: the folder; parents are made where missing.
            overwrite: replace the results in it. Where several write there at the same time, one
                result is there at the end: without ``overwrite`` the first.
            only: a list of names of scarseg_infer.write.folder.NAMES, or ``all``; where empty all
                but the PDFs, ``fhir`` and ``hl7``. Of a study without DICOM images there is no
                ``seg``, ``sr``, ``dicom-pdf`` and ``hl7``: they are left out, and alone they are
                an error.

        Returns:
            The path of each output that was written, by name.

        Raises:
            OutputError: the folder exists (without ``overwrite``), is no folder of results, or
                cannot be written.
            UsageError: ``out`` is no path, ``only`` is no list, has an unknown name, or nothing of
                it can be made of this study.
        """
        from scarseg_infer.arguments import as_path
        from scarseg_infer.write.folder import write_all

        return write_all(self, as_path(out, "output"), overwrite=overwrite, only=only)
