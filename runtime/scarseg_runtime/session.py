"""A loaded model: arrays in, arrays out, on ONNX Runtime."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.contract import BEAT_SAMPLES, LEADS, OUTPUTS
from scarseg_runtime.errors import ModelError, StudyError
from scarseg_runtime.model_file import ModelMetadata, check_contract, file_sha256, parse_metadata
from scarseg_runtime.providers import Provider, choose
from scarseg_runtime.taff import EcgDecision

if TYPE_CHECKING:
    import onnxruntime


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


class Session:
    """One model on one provider. Load once, run many; safe to call from several threads."""

    def __init__(
        self, session: onnxruntime.InferenceSession, metadata: ModelMetadata,
        sha256: str, provider: Provider,
    ) -> None:  # fmt: skip
        self._session = session
        self.metadata = metadata
        self.sha256 = sha256
        self.provider = provider

    @classmethod
    def load(cls, path: Path, provider: str = "auto", *, threads: int | None = None) -> Session:
        """Load a model file and check that it keeps the contract.

        Args:
            threads: cores to compute on; default those the process may use.

        Raises:
            ModelError: the file is missing, damaged or breaks the contract.
            ProviderError: the provider is unknown.
        """
        chosen = choose(provider)
        if not path.is_file():
            raise ModelError("the model file does not exist", "Check the path given with --model")
        session = _open(path, chosen, threads)
        metadata = parse_metadata(session.get_modelmeta().custom_metadata_map)
        check_contract(session.get_inputs(), session.get_outputs())
        return cls(session, metadata, file_sha256(path), chosen)

    def run(
        self,
        lge: NDArray[np.float32],
        pixel_spacing_mm: tuple[float, float],
        slice_level: NDArray[np.float32],
        beat_mv: NDArray[np.float32] | None,
        decision: EcgDecision,
    ) -> NetworkOutput:
        """Run the graph on one study.

        Args:
            lge: [S, H, W] pixel values, base → apex, standard display orientation.
            pixel_spacing_mm: between rows, between columns.
            slice_level: [S], 0 base … 1 apex.
            beat_mv: [12, 512] mean beat, or None.
            decision: what the gap policy says of the ECG (scarseg_runtime.taff.decide).

        Raises:
            StudyError: ``lge`` is not three-dimensional, empty or not finite.
        """
        if lge.ndim != 3 or min(lge.shape) < 1 or not np.isfinite(lge).all():
            raise StudyError("the image is not a finite three-dimensional stack")
        beat = np.zeros((len(LEADS), BEAT_SAMPLES), np.float32) if beat_mv is None else beat_mv
        valid = decision.valid and beat_mv is not None
        values = self._session.run(
            [spec.name for spec in OUTPUTS],
            {
                "lge": np.ascontiguousarray(lge, np.float32),
                "pixel_spacing": np.asarray(pixel_spacing_mm, np.float32),
                "slice_level": np.ascontiguousarray(slice_level, np.float32),
                "ecg": np.ascontiguousarray(beat, np.float32),
                "gap_days": np.array([decision.gap_days], np.float32),
                "ecg_valid": np.array([float(valid)], np.float32),
            },
        )
        outputs = dict(zip((spec.name for spec in OUTPUTS), values, strict=True))
        for name in ("ecg_weight", "ecg_image_disagreement"):
            outputs[name] = float(outputs[name][0])
        return NetworkOutput(**outputs)


def _open(path: Path, provider: Provider, threads: int | None) -> onnxruntime.InferenceSession:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or _usable_cores()
    options.inter_op_num_threads = 1
    # The arena never returns memory; a host process beside a scanner wants it back.
    options.enable_cpu_mem_arena = False
    # Not session.set_denormal_as_zero: it changes the floating-point mode of the caller's thread.
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            str(path), options, providers=[provider.onnxruntime_name]
        )
    except (
        ort_errors.Fail,
        ort_errors.InvalidArgument,
        ort_errors.InvalidGraph,
        ort_errors.InvalidProtobuf,
        ort_errors.NotImplemented,
        RuntimeError,
    ) as error:
        raise ModelError(
            "the model file cannot be loaded by ONNX Runtime",
            "Check that it is an ONNX file exported by scarseg-export and not cut short",
        ) from error


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
