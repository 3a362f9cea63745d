"""Rows of the benchmark: one way of running, in one scope."""

from __future__ import annotations

from dataclasses import dataclass, field

from scarseg_bench.gpu_peers import GPU_WAYS, REFERENCE_WAY, torch_cuda_missing
from scarseg_bench.nnunet_peer import NNUNET, missing
from scarseg_bench.pairing import Round
from scarseg_bench.peers import AUTOCAST, COMPILED, EAGER, WAYS
from scarseg_bench.worker import WITHOUT_GRAPH
from scarseg_infer.models import model_path
from scarseg_runtime.model_file.gates import passes
from scarseg_runtime.model_file.read import with_half_variant
from scarseg_runtime.providers.gpu import nvidia_gpu
from scarseg_runtime.providers.registry import (
    NO_BF16,
    Candidate,
    candidates,
    computes_bf16,
    provider_named,
    unusable_reason,
)

NETWORK, STUDY, COLD, GPU = "network", "warm study", "cold process", "network on the GPU"
SCOPES = (GPU, NETWORK, STUDY, COLD)
REFERENCE = f"pytorch {EAGER}"
GPU_REFERENCE = f"pytorch cuda {REFERENCE_WAY}"
OURS = "scarseg-infer --provider"
OURS_JSON = "scarseg-infer --only json --provider"


@dataclass
class Row:
    """One way of running, in one scope."""

    scope: str
    way: str
    precision: str
    error: str | None = None
    """Reason that there is no number."""
    rounds: list[Round] = field(default_factory=list)
    """Bursts of runs, each beside one of the reference."""
    no_ratio: str | None = None
    """Reason that its times are not compared with the reference's."""
    other_work: str | None = None
    """Difference between its work and the reference's, where there is one: it has no ratio."""
    late: bool = False
    """True where it takes long to get ready, so that it is begun after all others."""
    load_s: float | None = None
    first_s: float | None = None
    peak_rss_mb: float | None = None
    device_mb: float | None = None
    """Memory taken on the GPU."""
    label_agreement: float | None = None
    max_abs_probability_difference: float | None = None
    burden_difference: float = 0.0
    """Points of LV mass."""
    finite: bool = True

    @property
    def name(self) -> str:
        """As in tables."""
        return (
            self.way
            if self.way.startswith(("pytorch", "nnunet"))
            else f"{self.way} {self.precision}"
        )

    @property
    def times_s(self) -> list[float]:
        """Of every run that counts."""
        return [run.total_s for found in self.rounds for run in found.own]

    @property
    def right(self) -> bool:
        """True where its results are those of PyTorch FP32, by the gates."""
        return self.label_agreement is None or passes(
            {
                "finite": self.finite, "label_agreement": self.label_agreement,
                "max_scar_dice_difference": 0.0, "max_burden_difference": self.burden_difference,
            }
        )  # fmt: skip


def reference_of(scope: str) -> str:
    """Name of the row that the others of a scope are compared with."""
    return GPU_REFERENCE if scope == GPU else REFERENCE


def all_rows() -> list[Row]:
    """Every way in every scope; those that cannot run here carry the reason."""
    with model_path(None) as path:
        found = candidates(with_half_variant(path))
    rows = _gpu_rows(found)
    rows += [_pytorch(NETWORK, way) for way in WAYS]
    rows += [
        Row(NETWORK, c.provider.name, c.precision, error=c.unusable)
        for c in found
        if not c.provider.needs_gpu
    ]
    # Compiling takes minutes; what it gains shows in the network's own table.
    rows += [_pytorch(STUDY, way) for way in WAYS if way != COMPILED]
    rows += [Row(STUDY, c.provider.name, c.precision, error=c.unusable) for c in found]
    rows += [Row(COLD, REFERENCE, ""), Row(COLD, OURS, "auto")]
    # Which ``auto`` does not take for one study: whether it is right in that shows here.
    rows.append(Row(COLD, OURS, "openvino", error=unusable_reason(provider_named("openvino"))))
    fewer = "it writes one file, the reference eight"
    rows.append(Row(COLD, OURS_JSON, "auto", other_work=fewer))
    return [*rows, Row(STUDY, NNUNET, "", error=missing())]


def _pytorch(scope: str, way: str) -> Row:
    """PyTorch on the CPU. Without instructions for BF16 it emulates them, for minutes."""
    error = NO_BF16 if way == AUTOCAST and not computes_bf16() else None
    return Row(scope, f"pytorch {way}", "", error=error, late=way == COMPILED)


def _gpu_rows(found: list[Candidate]) -> list[Row]:
    """PyTorch on the GPU and our providers there."""
    why = torch_cuda_missing() if nvidia_gpu() else "no NVIDIA GPU or driver"
    rows = [Row(GPU, f"pytorch cuda {way}", "", error=why) for way in GPU_WAYS]
    for candidate in found:
        provider = candidate.provider
        if not provider.needs_gpu:
            continue
        rows.append(Row(GPU, provider.name, candidate.precision, error=candidate.unusable))
        if provider.name.startswith("tensorrt"):
            way = provider.name + WITHOUT_GRAPH
            rows.append(Row(GPU, way, candidate.precision, error=candidate.unusable))
    return rows
