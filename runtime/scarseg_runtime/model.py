"""A loaded model: a study's arrays in, arrays out, on whichever provider was chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.contract import BEAT_SAMPLES, LEADS, MAX_STACK_PIXELS
from scarseg_runtime.cores import checked_threads
from scarseg_runtime.errors import StudyError, UsageError
from scarseg_runtime.log import LOG
from scarseg_runtime.model_file.read import ModelMetadata, with_half_variant
from scarseg_runtime.own_process import OwnProcess
from scarseg_runtime.preprocess import slice_levels
from scarseg_runtime.providers.cache_place import Cache, check_cache
from scarseg_runtime.providers.registry import Candidate, candidates, choose
from scarseg_runtime.run_control import NO_LIMITS, RunControl
from scarseg_runtime.session import Session
from scarseg_runtime.taff import EcgDecision, decide


@dataclass(frozen=True, slots=True)
class NetworkOutput:
    """Outputs of the graph, named as in the contract, on the grid of ``lge``."""

    labels: NDArray[np.uint8]
    scar_probability: NDArray[np.float32]
    image_only_labels: NDArray[np.uint8]
    segments: NDArray[np.uint8]
    segment_burden: NDArray[np.float32]
    ecg_segment_belief: NDArray[np.float32]
    ecg_weight: float
    ecg_image_disagreement: float


class Model:
    """One model file on one provider. Load once, run many."""

    def __init__(self, session: Session, chosen: Candidate) -> None:
        self.session = session
        self.chosen = chosen
        """Provider, precision and file, and whether they passed the parity gates."""
        self._here = OwnProcess()

    @classmethod
    def load(
        cls,
        path: Path,
        provider: str = "auto",
        precision: str = "auto",
        *,
        threads: int | None = None,
        cache: Cache = True,
        once: bool = False,
    ) -> Model:
        """Load a model file and check that it keeps the contract.

        Args:
            provider: a name of scarseg_runtime.providers.registry, or ``auto``.
            precision: ``fp32``, ``fp16``, ``bf16``, or ``auto``.
            threads: cores to compute on; default those the process may use.
            cache: whether compiled models are kept in the user's cache folder, or another folder.
            once: it will run once only: ``auto`` counts the time to load, too.

        Raises:
            ModelError: the file is missing, damaged or breaks the contract.
            ProviderError: a name is unknown, or what it stands for cannot run here.
            UsageError: ``threads`` or ``cache`` make no sense.
        """
        threads = checked_threads(threads)
        check_cache(cache)
        chosen = choose(candidates(with_half_variant(path)), provider, precision, once=once)
        LOG.info(
            "computing on %s %s%s", chosen.provider.name, chosen.precision,
            ", chosen for one run" if once and "auto" in (provider, precision) else "",
        )  # fmt: skip
        return cls(open_session(chosen, threads, cache), chosen)

    @property
    def metadata(self) -> ModelMetadata:
        """Metadata of the model file."""
        return self.chosen.model.metadata

    @property
    def sha256(self) -> str:
        """SHA-256 of the file that runs."""
        return self.chosen.model.sha256

    def run(
        self,
        lge: NDArray[np.float32],
        pixel_spacing_mm: tuple[float, float],
        slice_level: NDArray[np.float32],
        beat_mv: NDArray[np.float32] | None,
        decision: EcgDecision,
        control: RunControl = NO_LIMITS,
    ) -> NetworkOutput:
        """Run the graph on one study.

        Args:
            lge: [S, H, W] pixel values, base → apex, standard display orientation.
            pixel_spacing_mm: between rows, between columns.
            slice_level: [S], 0 base … 1 apex.
            beat_mv: [12, 512] mean beat, or None.
            decision: what the gap policy says of the ECG (scarseg_runtime.taff.decide).
            control: what may stop it before its end.

        Raises:
            StudyError: ``lge`` is not three-dimensional, empty or not finite, or its field of view
                is larger than the model covers.
            ProviderError: the provider failed, or its engine is not built for so large a stack.
            CancelledError, RunTimeoutError: ``control`` stopped it.
            UsageError: the model was loaded before a fork.
        """
        self._here.check()
        if lge.ndim != 3 or min(lge.shape) < 1 or not np.isfinite(lge).all():
            raise StudyError("the image is not a finite three-dimensional stack")
        _check_field(self.metadata, (lge.shape[1], lge.shape[2]), pixel_spacing_mm)
        inputs = {
            "lge": np.ascontiguousarray(lge, np.float32),
            "pixel_spacing": np.asarray(pixel_spacing_mm, np.float32),
            "slice_level": np.ascontiguousarray(slice_level, np.float32),
        }
        if not self.metadata.image_only:
            inputs |= _ecg_inputs(beat_mv, decision)
        outputs: dict[str, Any] = self.session.execute(inputs, control)
        for name in ("ecg_weight", "ecg_image_disagreement"):
            outputs[name] = float(outputs[name][0])
        return NetworkOutput(**outputs)

    def warm_up(self, slices: int, height: int, width: int) -> None:
        """Run the graph once on a stack of a size. Raises what :meth:`run` raises, and UsageError
        where the size is none."""
        size = (slices, height, width)
        if not all(map(_whole, size)) or math.prod(size) > MAX_STACK_PIXELS:
            raise UsageError(
                "the size to warm up for is not three whole numbers above 0, 2^26 pixels in all",
                "Give slices, height and width of the stacks to come",
            )
        self._here.check()
        self.session.prepare(slices, height, width)
        blank, levels = np.zeros(size, np.float32), slice_levels(np.arange(slices))
        widest = zip(self.metadata.largest_field_mm or (np.inf, np.inf), size[1:], strict=True)
        spacing = min(1.5, *(0.99 * field / count for field, count in widest))
        self.run(blank, (spacing, spacing), levels, None, decide(None, ecg_given=False))


def _check_field(
    metadata: ModelMetadata, pixels: tuple[int, int], spacing_mm: tuple[float, float]
) -> None:
    """Raises StudyError where the graph would leave a part of the slices unseen."""
    if metadata.covers(pixels, spacing_mm):
        return
    field = " × ".join(f"{n * apart:.0f}" for n, apart in zip(pixels, spacing_mm, strict=True))
    largest = " × ".join(f"{length:.0f}" for length in metadata.largest_field_mm)
    raise StudyError(
        f"the slices are {field} mm, the model covers {largest} mm",
        "Export it with more tiles: scarseg-export nnunet --tiles",
    )


def _whole(size: object) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and size > 0


def _ecg_inputs(
    beat_mv: NDArray[np.float32] | None, decision: EcgDecision
) -> dict[str, NDArray[np.float32]]:
    beat = np.zeros((len(LEADS), BEAT_SAMPLES), np.float32) if beat_mv is None else beat_mv
    # The graph refuses such a gap too, but not every provider compares NaN as IEEE 754 says:
    # OpenVINO with AVX-512 takes NaN ≥ 0 for true.
    usable = math.isfinite(decision.gap_days) and decision.gap_days >= 0
    valid = decision.valid and beat_mv is not None and usable
    return {
        "ecg": np.ascontiguousarray(beat, np.float32),
        "gap_days": np.array([decision.gap_days if valid else 0.0], np.float32),
        "ecg_valid": np.array([float(valid)], np.float32),
    }


def open_session(chosen: Candidate, threads: int | None = None, cache: Cache = True) -> Session:
    """The session of a candidate. Raises ModelError or ProviderError."""
    if chosen.provider.name in ("tensorrt", "tensorrt-rtx"):
        from scarseg_runtime.providers.tensorrt.engine import TensorrtSession

        return TensorrtSession.open(chosen.model, chosen.provider.name, cache=cache)
    if chosen.provider.name == "openvino":
        from scarseg_runtime.providers.openvino.session import OpenvinoSession

        return OpenvinoSession.open(chosen.model, chosen.precision, threads, cache)
    if chosen.provider.name == "cuda":
        from scarseg_runtime.providers.onnxruntime.cuda_session import CudaSession

        return CudaSession.open(chosen.model, threads)
    from scarseg_runtime.providers.onnxruntime.session import OnnxSession

    return OnnxSession.open(chosen.model, chosen.provider.name, threads)
