"""From a study and an ECG to a result: the one obvious way in.

study ─ read_study ─ display orientation ─┐
ecg ─── read_ecg ─── mean beat ───────────┼─ Model (the graph) ─ clean-up ─ quantities
dates ─ gap_between ─ gap policy (TAFF) ──┘
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from scarseg_infer.arguments import (
    as_number,
    as_path,
    check_choice,
    check_inputs,
    check_progress,
    limits,
)
from scarseg_infer.ecg.evidence import EcgEvidence, ecg_evidence, find_record, search_for
from scarseg_infer.ecg.record import EcgRecord
from scarseg_infer.host.stages import Progress, Stages
from scarseg_infer.models import model_path
from scarseg_infer.pipeline import quantified, run_network, use_of
from scarseg_infer.read_ahead import Pair, ReadAhead, ReadPair, run_pairs
from scarseg_infer.result import ModelUse, ScarResult
from scarseg_infer.study.files import StudyFiles
from scarseg_infer.study.read import study_stack
from scarseg_infer.study.series_verdict import PreferredKind
from scarseg_infer.study.stack import LgeStack
from scarseg_runtime.errors import ScarsegError, UsageError
from scarseg_runtime.model import Model
from scarseg_runtime.own_process import OwnProcess
from scarseg_runtime.providers.cache_place import Cache
from scarseg_runtime.run_control import NO_LIMITS, CancelSignal, RunControl


class Segmenter:
    """A loaded model that segments studies. Load once, run many.

    **Life**: :meth:`from_model` loads, :meth:`run` may follow any number of times, :meth:`close`
    (or the end of a ``with`` block) gives memory and threads back. Nothing outside is touched: no
    logging is configured, nothing printed, no signal handled, no random generator used; but
    OpenVINO and TensorRT keep what they compile in a cache folder (``scarseg-infer/engines`` in the
    user's), see ``cache``. Three things reach the whole process: ONNX Runtime's default logger is
    set to fatal errors where we import it first; oneDNN keeps no kernels once OpenVINO has loaded a
    model, unless the host has set ``ONEDNN_PRIMITIVE_CACHE_CAPACITY``; and environment variables
    are set for a moment while these libraries are imported or load, then put back.

    **Threads**: any number of threads may call :meth:`run` of one Segmenter, on files and on
    arrays. ONNX Runtime computes them side by side, OpenVINO and TensorRT one after another.
    Cancel and join them before the interpreter exits: a daemon thread within :meth:`run` at that
    moment can abort the process.
    **Processes**: load in each; a Segmenter cannot be pickled, nor used after a fork (UsageError).
    """

    def __init__(self, loading: Future[Model]) -> None:
        self._loading: Future[Model] | None = loading
        self._here = OwnProcess()

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

    def _usable(self) -> Future[Model]:
        """The model, loaded or still loading. Raises UsageError where this is closed, and what
        loading raised where it has failed."""
        self._here.check()  # what loads may have been a thread of the other process
        loading = self._loading
        if loading is None:
            raise UsageError("the Segmenter is closed", "Load the model again")
        if loading.done():
            _loaded(loading)
        return loading

    @classmethod
    def from_model(
        cls,
        model: str | Path | None = None,
        *,
        provider: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        cache: Cache = True,
        background: bool = False,
        once: bool = False,
    ) -> Segmenter:
        """Load a model file; without one, the reference model shipped with the package.

        The reference model is trained on the project's digital twin (see MODEL_CARD.md).

        Args:
            provider: execution provider, or ``auto`` for the best one that can run here and
                gave the same answers as PyTorch when the model was verified.
            precision: ``fp32``, ``fp16``, ``bf16``, or ``auto``. What is asked for by name runs
                even unverified; every result then carries a warning.
            threads: cores to compute on; default those the process may use.
            cache: keep what OpenVINO and TensorRT compile in the user's cache folder, so that the
                next start is faster; False keeps nothing, a folder is used in its place. Where it
                cannot be made or written nothing is kept: a warning in the log of
                ``scarseg_runtime`` says so, which is silent unless you configure it.
            background: come back at once and load while the first study is being read; what is
                wrong with the model is then raised by the first run.
            once: this Segmenter will run one study only. On a CPU ``auto`` then takes ``cpu``,
                which loads sooner than ``openvino``; that gains with the second study.

        Raises:
            ModelError: the file is missing, damaged or breaks the contract.
            ProviderError: the provider is unknown or cannot run here.
            UsageError: ``model``, ``threads`` or ``cache`` make no sense.
        """
        file = None if model is None else as_path(model, "model")

        def load() -> Model:
            with model_path(file) as path:
                return Model.load(
                    path, provider, precision, threads=threads, cache=cache, once=once
                )

        with_one_thread = ThreadPoolExecutor(1, thread_name_prefix="scarseg-load")
        loading = with_one_thread.submit(load)
        with_one_thread.shutdown(wait=False)  # the thread ends with its only task
        if not background:
            loading.result()
        return cls(loading)

    def run(
        self,
        study: str | Path | StudyFiles | LgeStack,
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
            study: a DICOM folder, a zip of one, a NIfTI file, DICOM files that a host holds (an
                object as :class:`scarseg_infer.StudyFiles`), or a stack.
            ecg: a file that :func:`scarseg_infer.read_ecg` reads, or a record. None: the newest
                DICOM ECG among the files of the study, if there is one.
            gap_days: days between ECG and MRI, used where the files' own dates do not tell.
                What is unknown, negative or not finite gives the ECG no weight.
            series, prefer: which series of a DICOM study; see :func:`scarseg_infer.read_study`.
            allow_identity_mismatch: go on, with a warning, where MRI and ECG are of different
                patients by their identifiers. Those made of arrays carry none.
            progress: called in the thread of the run with its stage (in order: ``read_study``,
                ``read_ecg``, ``load_model``, ``prepare_ecg``, ``network``, ``quantify``) and the
                share of the whole run that is done, 0 to 1, never less than before. What it raises
                ends the run and comes out of it.
            cancel: a ``threading.Event``; set it from any thread to end the run. That is looked at
                before every file, every stage and (on a CPU) every operator of the network; other
                stages are not interrupted inside: up to some seconds for the longest ECG.
            timeout_s: ends the run in the same way after so many seconds, loading included.

        Returns: everything found; a stack given is its ``stack``, not a copy.

        Raises:
            StudyError: the study cannot be read or is no LGE short-axis stack.
            EcgError: the ECG cannot be read, is not fit to be used, or is of another patient.
            ModelError, ProviderError: loading in the background failed; or the provider fails, or
                takes no stack of this size.
            CancelledError: it was cancelled; RunTimeoutError, which is one: it took too long.
                The Segmenter stays usable after both.
            UsageError: the Segmenter is closed, or an argument makes no sense.
        """
        stages = Stages(limits(cancel, timeout_s), progress)
        check_choice(series, prefer)
        check_inputs(study, ecg, series)
        check_progress(progress)
        gap_days = as_number(gap_days, "gap_days")
        loading = self._usable()  # before anything is read for nothing
        stack, record, found = _read(study, ecg, series, prefer, stages)
        with stages.stage("load_model"):
            model = _loaded(loading, stages.control)
        with stages.stage("prepare_ecg"):
            evidence = ecg_evidence(
                stack, record, gap_days, image_only=model.metadata.image_only,
                allow_identity_mismatch=allow_identity_mismatch,
            )  # fmt: skip
        return _computed(model, stack, evidence, found, stages)

    def model_use(self) -> ModelUse:
        """Name, version and provider of the loaded model.

        Raises:
            ModelError, ProviderError: it cannot be loaded.
            UsageError: the Segmenter is closed.
        """
        return use_of(_loaded(self._usable()))

    def warm_up(self, slices: int = 12, height: int = 256, width: int = 216) -> None:
        """Wait for the model and run it once on a stack of this size, so that the first study does
        not pay for what a provider does at its first run.

        Raises:
            ModelError: the model cannot be loaded.
            ProviderError: the provider fails, or takes no stack of this size.
            UsageError: the size is not of three whole numbers above 0, or the Segmenter is closed.
        """
        _loaded(self._usable()).warm_up(slices, height, width)

    def run_many(
        self,
        studies: Iterable[Pair],
        *,
        prefer: PreferredKind = "PSIR",
        allow_identity_mismatch: bool = False,
        cancel: CancelSignal | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[ScarResult | ScarsegError]:
        """Segment pairs of study and ECG, in order; the next pair is read while one is computed.

        A pair that fails gives its error in place of a result, and the others go on. Each result
        comes as soon as it is there, whether or not there is a next pair: ``studies`` may wait for
        new ones. At most one pair is read ahead, so memory does not grow with their number. To end
        early, stop iterating. For a gap of days, a series or progress call :meth:`run`.

        Args:
            studies: pairs as the first two arguments of :meth:`run`. They are taken in threads of
                their own, one at a time; what taking them raises comes out behind the results of
                those that were taken before.
            prefer, allow_identity_mismatch: see :meth:`run`.
            cancel: ends it all, while it waits for ``studies``, too.
            timeout_s: of each study, reading and computing together.

        Raises:
            CancelledError: it was cancelled.
            ModelError, ProviderError: the model cannot be loaded.
            UsageError: the Segmenter is closed, or an argument makes no sense.
        """
        check_choice(None, prefer)
        limits(cancel, timeout_s)

        def run(read: ReadPair, left_s: float | None) -> ScarResult:
            return self.run(
                read.stack, read.record, allow_identity_mismatch=allow_identity_mismatch,
                cancel=cancel, timeout_s=left_s,
            )  # fmt: skip

        return run_pairs(ReadAhead(studies, prefer, cancel, timeout_s), self._usable, run)


def _read(
    study: str | Path | StudyFiles | LgeStack,
    ecg: str | Path | EcgRecord | None,
    series: str | int | None,
    prefer: PreferredKind,
    stages: Stages,
) -> tuple[LgeStack, EcgRecord | None, tuple[str, ...]]:
    """Stack and ECG of the files, and what to warn of where the ECG was looked for."""
    with stages.stage("read_study"):
        search = search_for(study, ecg)
        look = search.look if search else None
        stack = study_stack(study, series, prefer, stages.part, look)
    with stages.stage("read_ecg"):
        record, found = find_record(ecg, search)
    return stack, record, found


def _computed(
    model: Model, stack: LgeStack, evidence: EcgEvidence, found: tuple[str, ...], stages: Stages
) -> ScarResult:
    """The result, with the warnings ``found`` before those of the evidence."""
    evidence = replace(evidence, warnings=(*found, *evidence.warnings))
    with stages.stage("network"):
        shown = run_network(model, stack, evidence, stages.control)
    with stages.stage("quantify"):
        result = quantified(model, stack, evidence, shown, stages.times_ms)
    stages.finish()
    return result


def _loaded(loading: Future[Model], control: RunControl = NO_LIMITS) -> Model:
    """The model, as soon as it is loaded.

    What loading raised is raised as a new error each time: one object would collect the frames of
    every run that raises it, and with them the studies.
    """
    control.wait(lambda limit_s: bool(wait([loading], limit_s).done))
    if error := loading.exception():
        raise copy(error) from error
    return loading.result()
