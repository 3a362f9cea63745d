"""From a study and an ECG to a result: the one obvious way in.

study ─ read_study ─ display orientation ─┐
ecg ─── read_ecg ─── mean beat ───────────┼─ Model (the graph) ─ clean-up ─ quantities
dates ─ gap_between ─ gap policy (TAFF) ──┘
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scarseg_infer.ecg import EcgRecord
from scarseg_infer.ecg_evidence import EcgEvidence, ecg_evidence, find_record
from scarseg_infer.models import model_path
from scarseg_infer.orientation import DisplayTransform, display_transform
from scarseg_infer.result import ModelUse, ScarResult
from scarseg_infer.series_verdict import PreferredKind
from scarseg_infer.slice_order import apex_comes_first
from scarseg_infer.stack import LgeStack
from scarseg_infer.study_reader import read_study
from scarseg_runtime.atlas import segments_on
from scarseg_runtime.components import clean_labels
from scarseg_runtime.contract import MYOCARDIUM
from scarseg_runtime.errors import ScarsegError
from scarseg_runtime.model import Model, NetworkOutput
from scarseg_runtime.preprocess import slice_levels
from scarseg_runtime.quantify import quantify, slice_heights_mm
from scarseg_runtime.taff import decide

ECG_CHANGE_PERCENT = 2.0
"""Points of LV mass by which the ECG may change the scar without a warning (design choice)."""


class Segmenter:
    """A loaded model that segments studies. Load once, run many.

    Several threads may call :meth:`run` of one Segmenter on stacks and records that were read
    before: ONNX Runtime computes them side by side, OpenVINO and TensorRT one after another.
    Reading files is for one thread at a time, because it keeps the DICOM library quiet by settings
    of the whole process; :meth:`run_many` reads ahead in a thread of its own.
    """

    def __init__(self, loading: Future[Model]) -> None:
        self._loading = loading

    @property
    def _model(self) -> Model:
        """The model, as soon as it is loaded. Raises what loading it raised."""
        return self._loading.result()

    @classmethod
    def from_model(
        cls,
        model: str | Path | None = None,
        *,
        provider: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        background: bool = False,
    ) -> Segmenter:
        """Load a model file; without one, the reference model shipped with the package.

        The reference model is trained on the project's digital twin (see MODEL_CARD.md).

        Args:
            provider: execution provider, or ``auto`` for the best one that can run here and
                gave the same answers as PyTorch when the model was verified.
            precision: ``fp32``, ``fp16``, ``bf16``, or ``auto``. What is asked for by name runs
                even unverified; every result then carries a warning.
            threads: cores to compute on; default those the process may use.
            background: come back at once and load while the first study is being read; what is
                wrong with the model is then raised by the first run.

        Raises:
            ModelError: the file is missing, damaged or breaks the contract.
            ProviderError: the provider is unknown or cannot run here.
        """

        def load() -> Model:
            with model_path(model) as path:
                return Model.load(path, provider, precision, threads=threads)

        with_one_thread = ThreadPoolExecutor(1, thread_name_prefix="scarseg-load")
        loading = with_one_thread.submit(load)
        with_one_thread.shutdown(wait=False)  # the thread ends with its only task
        if not background:
            loading.result()
        return cls(loading)

    def run(
        self,
        study: str | Path | LgeStack,
        ecg: str | Path | EcgRecord | None = None,
        *,
        gap_days: float | None = None,
        series: str | int | None = None,
        prefer: PreferredKind = "PSIR",
        allow_identity_mismatch: bool = False,
    ) -> ScarResult:
        """Segment one study.

        Args:
            study: a DICOM folder, a zip of one, a NIfTI file, or a stack read before.
            ecg: a file that :func:`scarseg_infer.read_ecg` reads, or a record read before. None:
                the newest DICOM ECG in the study folder, if it holds one.
            gap_days: days between ECG and MRI, used where the files' own dates do not tell.
                What is unknown, negative or not finite gives the ECG no weight.
            series, prefer: which series of a DICOM study; see :func:`scarseg_infer.read_study`.
            allow_identity_mismatch: go on, with a warning, where MRI and ECG carry different
                patient identifiers.

        Raises:
            StudyError: the study cannot be read or is no LGE short-axis stack.
            EcgError: the ECG cannot be read, is not fit to be used, or is of another patient.
        """
        clock = _Clock()
        with clock.stage("read_study"):
            stack = study if isinstance(study, LgeStack) else read_study(study, series, prefer)
        with clock.stage("read_ecg"):
            record, found = find_record(study, ecg)
        with clock.stage("load_model"):
            metadata = self._model.metadata
        with clock.stage("prepare_ecg"):
            evidence = ecg_evidence(
                stack, record, gap_days, image_only=metadata.image_only,
                allow_identity_mismatch=allow_identity_mismatch,
            )  # fmt: skip
            evidence = replace(evidence, warnings=(*found, *evidence.warnings))
        with clock.stage("network"):
            shown = self._run_network(stack, evidence)
        with clock.stage("quantify"):
            return self._result(stack, evidence, shown, clock)

    def warm_up(self, slices: int = 12, height: int = 256, width: int = 216) -> None:
        """Wait for the model and run it once on a stack of this size, so that the first study does
        not pay for what a provider does at its first run.

        Raises:
            ModelError: the model cannot be loaded.
            ProviderError: the provider fails, or takes no stack of this size.
        """
        blank = np.zeros((slices, height, width), np.float32)
        levels = slice_levels(np.arange(slices))
        self._model.session.prepare(slices, height, width)
        self._model.run(blank, (1.5, 1.5), levels, None, decide(None, ecg_given=False))

    def run_many(
        self, studies: Iterable[tuple[str | Path | LgeStack, str | Path | EcgRecord | None]]
    ) -> Iterator[ScarResult | ScarsegError]:
        """Segment pairs of study and ECG, in order; the next pair is read while one is computed.

        A pair that fails gives its error in place of a result, and the others go on. At most one
        pair is read ahead, so memory does not grow with their number.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="scarseg-read") as reader:
            ahead: Future[tuple[LgeStack, EcgRecord | None]] | None = None
            for study, ecg in studies:
                following = reader.submit(_read_pair, study, ecg)
                if ahead is not None:
                    yield self._result_or_error(ahead)
                ahead = following
            if ahead is not None:
                yield self._result_or_error(ahead)

    def _result_or_error(
        self, reading: Future[tuple[LgeStack, EcgRecord | None]]
    ) -> ScarResult | ScarsegError:
        try:
            return self.run(*reading.result())
        except ScarsegError as error:
            return error

    def _run_network(self, stack: LgeStack, evidence: EcgEvidence) -> _Shown:
        """Run the graph in display orientation; where no geometry says which end is the base,
        the image decides and the graph runs again if the first guess was wrong."""
        display = display_transform(stack)
        shown = _Shown(display, self._execute(stack, display, evidence))
        if stack.orientation_known or len(stack.pixels) == 1:
            return shown
        warning = "The file does not say which end of the stack is the base; the image decided."
        if apex_comes_first(shown.output.labels):
            display = replace(display, reverse_slices=not display.reverse_slices)
            shown = _Shown(display, self._execute(stack, display, evidence))
        return replace(shown, warnings=(warning,))

    def _execute(
        self, stack: LgeStack, display: DisplayTransform, evidence: EcgEvidence
    ) -> NetworkOutput:
        positions = stack.slice_positions_mm
        base_to_apex = -positions[::-1] if display.reverse_slices else positions
        return self._model.run(
            display.to_display(stack.pixels),
            display.display_spacing(stack.pixel_spacing_mm),
            slice_levels(base_to_apex),
            evidence.beat.beat_mv if evidence.beat else None,
            evidence.decision,
        )

    def _result(
        self, stack: LgeStack, evidence: EcgEvidence, shown: _Shown, clock: _Clock
    ) -> ScarResult:
        output, metadata = shown.output, self._model.metadata
        heights = slice_heights_mm(stack.slice_positions_mm, stack.slice_thickness_mm)
        spacing = stack.pixel_spacing_mm
        voxel_ml = spacing[0] * spacing[1] * float(np.mean(heights)) / 1000.0
        labels, image_only = (
            clean_labels(shown.display.to_source(volume), metadata.min_scar_ml, voxel_ml)
            for volume in (output.labels, output.image_only_labels)
        )
        segments = segments_on(
            np.isin(labels, MYOCARDIUM), shown.display.to_source(output.segments)
        )
        quantities = quantify(labels, segments, spacing, heights)
        warnings = [*stack.warnings, *evidence.warnings, *shown.warnings]
        if quantities.myocardium_ml == 0:
            warnings.append("No left ventricle was found in the image.")
        if self._model.chosen.gate:
            chosen = self._model.chosen
            warnings.append(
                f"{chosen.provider.name} {chosen.precision} was asked for by name and is not known "
                f"to give the answers of PyTorch: {chosen.gate}."
            )
        image_quantities = quantify(image_only, segments, spacing, heights)
        fused, alone = (q.scar_percent_of_lv_mass or 0.0 for q in (quantities, image_quantities))
        use = evidence.use(output, metadata.disagreement_threshold)
        if use.image_disagreement:
            warnings.append(
                "ECG and image do not fit each other: make sure that they are of the same "
                "patient, and compare with the image-only result."
            )
        if abs(fused - alone) > ECG_CHANGE_PERCENT:
            warnings.append(
                f"The ECG changed the scar from {alone:.1f} to {fused:.1f} % of LV mass: "
                "compare with the image-only result."
            )
        return ScarResult(
            stack=stack,
            labels=labels,
            scar_probability=shown.display.to_source(output.scar_probability),
            image_only_labels=image_only,
            segments=segments,
            display=shown.display,
            quantities=quantities,
            image_only_quantities=image_quantities,
            ecg=use,
            model=ModelUse(
                name=metadata.name,
                version=metadata.version,
                sha256=self._model.sha256,
                training_data=metadata.training_data,
                provider=self._model.chosen.provider.name,
                precision=self._model.chosen.precision,
                tau_days=None if metadata.image_only else metadata.tau_days,
            ),
            timings_ms=clock.stages_ms,
            warnings=tuple(warnings),
        )


def _read_pair(
    study: str | Path | LgeStack, ecg: str | Path | EcgRecord | None
) -> tuple[LgeStack, EcgRecord | None]:
    stack = study if isinstance(study, LgeStack) else read_study(study)
    record, found = find_record(study, ecg)
    return replace(stack, warnings=(*stack.warnings, *found)), record


@dataclass(frozen=True, slots=True)
class _Shown:
    """Network output together with the orientation in which it was computed."""

    display: DisplayTransform
    output: NetworkOutput
    warnings: tuple[str, ...] = ()


class _Clock:
    """Wall time of each stage, in the order in which they ran."""

    def __init__(self) -> None:
        self.stages_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.stages_ms[name] = (time.perf_counter() - start) * 1000.0
