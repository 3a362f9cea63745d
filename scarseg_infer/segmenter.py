"""From a study and an ECG to a result: the one obvious way in.

study ─ read_study ─ display orientation ─┐
ecg ─── read_ecg ─── mean beat ───────────┼─ Model (the graph) ─ clean-up ─ quantities
dates ─ gap_between ─ gap policy (TAFF) ──┘
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np

from scarseg_infer.analysis import quantified, run_network, use_of
from scarseg_infer.ecg import EcgRecord
from scarseg_infer.ecg_evidence import ecg_evidence, find_record
from scarseg_infer.models import model_path
from scarseg_infer.result import ModelUse, ScarResult
from scarseg_infer.series_verdict import PreferredKind
from scarseg_infer.stack import LgeStack
from scarseg_infer.stack_check import check_stack
from scarseg_infer.stages import Progress, Stages
from scarseg_infer.study_reader import read_study
from scarseg_runtime.errors import ScarsegError, UsageError
from scarseg_runtime.model import Model
from scarseg_runtime.preprocess import slice_levels
from scarseg_runtime.run_control import NO_LIMITS, CancelSignal, RunControl
from scarseg_runtime.taff import decide


class Segmenter:
    """A loaded model that segments studies. Load once, run many.

    **Life**: :meth:`from_model` loads, :meth:`run` may follow any number of times, :meth:`close`
    (or the end of a ``with`` block) gives memory and threads back. Nothing outside is touched: no
    logging is configured, nothing printed, no signal handled, no random generator or environment
    variable used.

    **Threads**: any number of threads may call :meth:`run` of one Segmenter, on files and on
    arrays. ONNX Runtime computes them side by side, OpenVINO and TensorRT one after another.
    **Processes**: load in each; a Segmenter cannot be pickled, nor used after a fork.
    """

    def __init__(self, loading: Future[Model]) -> None:
        self._loading: Future[Model] | None = loading

    def close(self) -> None:
        """Let go of the model. Runs under way go on to their end; later ones raise UsageError."""
        self._loading = None

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _model(self, control: RunControl = NO_LIMITS) -> Model:
        """The model, as soon as it is loaded. Raises what loading it raised."""
        loading = self._loading
        if loading is None:
            raise UsageError("the Segmenter is closed", "Load the model again")
        control.wait(lambda limit_s: bool(wait([loading], limit_s).done))
        return loading.result()

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
        progress: Progress | None = None,
        cancel: CancelSignal | None = None,
        timeout_s: float | None = None,
    ) -> ScarResult:
        """Segment one study. May be called from several threads at once.

        Args:
            study: a DICOM folder, a zip of one, a NIfTI file, or a stack read before.
            ecg: a file that :func:`scarseg_infer.read_ecg` reads, or a record read before. None:
                the newest DICOM ECG in the study folder, if it holds one.
            gap_days: days between ECG and MRI, used where the files' own dates do not tell.
                What is unknown, negative or not finite gives the ECG no weight.
            series, prefer: which series of a DICOM study; see :func:`scarseg_infer.read_study`.
            allow_identity_mismatch: go on, with a warning, where MRI and ECG carry different
                patient identifiers.
            progress: called in the thread of the run with its stage and how much of it is done, 0
                to 1. What it raises ends the run and comes out of it.
            cancel: a ``threading.Event``; set it from any thread to end the run. That is looked at
                before every file, every stage and (on a CPU) every operator of the network.
            timeout_s: ends the run in the same way after so many seconds, loading included.

        Raises:
            StudyError: the study cannot be read or is no LGE short-axis stack.
            EcgError: the ECG cannot be read, is not fit to be used, or is of another patient.
            ProviderError: the provider fails, or takes no stack of this size.
            CancelledError: it was cancelled; RunTimeoutError, which is one: it took too long.
                The Segmenter stays usable after both.
            UsageError: the Segmenter is closed, or the time limit is no time.
        """
        stages = Stages(RunControl(cancel, timeout_s), progress)
        with stages.stage("read_study"):
            if isinstance(study, LgeStack):
                check_stack(study)
                stack = study
            else:
                stack = read_study(study, series, prefer, watch=stages.part)
        with stages.stage("read_ecg"):
            record, found = find_record(study, ecg, stages.part)
        with stages.stage("load_model"):
            model = self._model(stages.control)
        with stages.stage("prepare_ecg"):
            evidence = ecg_evidence(
                stack, record, gap_days, image_only=model.metadata.image_only,
                allow_identity_mismatch=allow_identity_mismatch,
            )  # fmt: skip
            evidence = replace(evidence, warnings=(*found, *evidence.warnings))
        with stages.stage("network"):
            shown = run_network(model, stack, evidence, stages.control)
        with stages.stage("quantify"):
            result = quantified(model, stack, evidence, shown, stages.times_ms)
        stages.finish()
        return result

    def model_use(self) -> ModelUse:
        """Which model this is, and what it runs on.

        Raises:
            ModelError, ProviderError: it cannot be loaded.
            UsageError: the Segmenter is closed.
        """
        return use_of(self._model())

    def warm_up(self, slices: int = 12, height: int = 256, width: int = 216) -> None:
        """Wait for the model and run it once on a stack of this size, so that the first study does
        not pay for what a provider does at its first run.

        Raises:
            ModelError: the model cannot be loaded.
            ProviderError: the provider fails, or takes no stack of this size.
        """
        blank = np.zeros((slices, height, width), np.float32)
        levels = slice_levels(np.arange(slices))
        model = self._model()
        model.session.prepare(slices, height, width)
        model.run(blank, (1.5, 1.5), levels, None, decide(None, ecg_given=False))

    def run_many(
        self, studies: Iterable[tuple[str | Path | LgeStack, str | Path | EcgRecord | None]]
    ) -> Iterator[ScarResult | ScarsegError]:
        """Segment pairs of study and ECG, in order; the next pair is read while one is computed.

        A pair that fails gives its error in place of a result, and the others go on. At most one
        pair is read ahead, so memory does not grow with their number. To end early, stop iterating.
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


def _read_pair(
    study: str | Path | LgeStack, ecg: str | Path | EcgRecord | None
) -> tuple[LgeStack, EcgRecord | None]:
    stack = study if isinstance(study, LgeStack) else read_study(study)
    record, found = find_record(study, ecg)
    return replace(stack, warnings=(*stack.warnings, *found)), record
