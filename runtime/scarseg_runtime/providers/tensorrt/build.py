"""A model file compiled for NVIDIA GPUs, with a sidecar that says what from and what for.

TensorRT-RTX compiles ahead of time on any machine, without a GPU; enterprise TensorRT times its
kernels on the GPU it will run on. Both compute in the types the graph names, and the parsed
network must show that its convolutions do. No timing cache is made: it would ask for a GPU.

Engines of the enterprise flavour, and the speed of either, are not yet measured on a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from scarseg_runtime.errors import ModelError, OutputError, ProviderError, UsageError
from scarseg_runtime.model_file.read import ModelFile, check_contract, checked_bytes
from scarseg_runtime.providers.engine_file import Built, why, write_pair
from scarseg_runtime.providers.gpu import nvidia_gpu
from scarseg_runtime.providers.tensorrt.api import Flavour, Messages, as_onnx, import_tensorrt
from scarseg_runtime.providers.tensorrt.supported_gpus import check_gpu

Sizes = tuple[int, int, int]
"""Slices, rows, columns."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Stacks an engine takes: smallest, the one it is fastest on, largest.

    The largest costs nothing until such a stack comes: the session gives an engine memory for the
    stack at hand. Raises UsageError where the three do not rise.
    """

    smallest: Sizes = (1, 16, 16)
    usual: Sizes = (12, 256, 216)
    largest: Sizes = (40, 1024, 1024)

    def __post_init__(self) -> None:
        three = zip(self.smallest, self.usual, self.largest, strict=True)
        if not all(1 <= low <= middle <= high for low, middle, high in three):
            raise UsageError(
                "the sizes of the engine do not rise from smallest to largest",
                "Give slices, rows and columns as whole numbers, --min ≤ --opt ≤ --max",
            )


@dataclass(frozen=True, slots=True)
class Target:
    """GPUs and TensorRT releases that an engine has to run on, beyond those it is made with."""

    gpus: tuple[str, ...] = ()
    """TensorRT-RTX: compute capabilities such as ``SM89``; none means all that engines run on by
    default (supported_gpus.py).
    A list costs some bytes more per entry, and the engine runs on nothing else."""
    portable: bool = False
    """Enterprise TensorRT: run on every GPU from Ampere on, not only on the one it is built on.
    Costs speed: fewer kernels and fusions to choose from, at most 48 KiB of shared memory."""
    any_version: bool = False
    """Enterprise TensorRT: load in later releases too. Costs size, because the engine carries its
    own lean runtime, and speed, because it keeps to the operators of that; and who loads it runs
    the code in it."""


class Progress(Protocol):
    """Listener to the compiler, which works in phases of some steps, one within the other."""

    def start(self, phase: str, steps: int) -> None:
        """Begin a phase."""

    def step(self, phase: str) -> None:
        """One step of it is done."""

    def finish(self, phase: str) -> None:
        """End a phase."""


def build_engine(
    model: ModelFile,
    flavour: Flavour,
    profile: Profile = Profile(),
    target: Target = Target(),
    progress: Progress | None = None,
) -> Built:
    """Compile a model file.

    Args:
        progress: told of all that the compiler does.

    Raises:
        ModelError: NVIDIA's parser refuses an operator, the graph breaks the contract, or its
            convolutions would not compute in the precision that the metadata declare.
        ProviderError: TensorRT is not installed, knows no such GPU, needs one, or cannot build.
        UsageError: an option is not for this flavour.
    """
    gpu = nvidia_gpu() if flavour == "tensorrt" else None
    if flavour == "tensorrt" and gpu is None:
        raise ProviderError(
            "enterprise TensorRT compiles only on the NVIDIA GPU that will run the engine",
            "Use --runtime tensorrt-rtx, or compile on that machine",
        )
    if gpu is not None:
        check_gpu(flavour, gpu)
    trt = import_tensorrt(flavour)
    messages = Messages(trt)
    builder = trt.Builder(messages.logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, messages.logger)
    _parse(parser, model)
    _check_network(trt, network, model)
    halves = _check_precision(trt, network, model)
    config = _configure(trt, builder, flavour, target)
    config.add_optimization_profile(_shapes(builder, profile))
    if progress is not None:
        config.progress_monitor = _monitor(trt, progress)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ProviderError(
            f"{flavour} cannot compile the model: {messages.last}", "Choose other GPUs or sizes"
        )
    return bytes(engine), {
        "onnx_sha256": model.sha256,
        "model": model.metadata.name,
        "model_version": model.metadata.version,
        "runtime": flavour,
        "version": trt.__version__,
        "precision": model.metadata.precision,
        "half_convolutions": halves,
        "profile": asdict(profile),
        "target": asdict(target),
        "built_on": asdict(gpu) if gpu else None,
    }


def write_engine(path: Path, engine: bytes, sidecar: Mapping[str, Any]) -> None:
    """Write an engine and its sidecar: both whole, or what was there before. Raises OutputError."""
    try:
        write_pair(path, engine, sidecar)
    except OSError as error:
        raise OutputError(
            f"the engine cannot be written ({why(error)})",
            "Check free space and the folder's rights",
        ) from error


def _parse(parser: Any, model: ModelFile) -> None:
    content = checked_bytes(model)
    if not parser.parse(content):
        refused = [parser.get_error(index) for index in range(parser.num_errors)]
        named = [error for error in refused if error.node_operator()]
        what = f"operator {named[0].node_operator()}" if named else "the graph"
        advice = "Use the provider cuda or cpu"
        if model.metadata.image_only:
            # What depends on the pixel spacing in an nnU-Net, which no profile tells.
            advice = "Export it with a fixed number of tiles (scarseg-export nnunet --tiles)"
        raise ModelError(f"NVIDIA's parser refuses {what}", advice)


def _check_network(trt: Any, network: Any, model: ModelFile) -> None:
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    check_contract(
        [as_onnx(trt, tensor.name, tensor.dtype, tensor.shape) for tensor in inputs],
        [as_onnx(trt, tensor.name, tensor.dtype, tensor.shape) for tensor in outputs],
        image_only=model.metadata.image_only,
    )


def _check_precision(trt: Any, network: Any, model: ModelFile) -> int:
    """Convolutions that give FP16. A strongly typed engine computes them so; fewer than the
    metadata declare means that the parser dropped types and the engine would be slow FP32."""
    kinds = (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION)
    layers = (network.get_layer(index) for index in range(network.num_layers))
    halves = sum(
        bool(layer.type in kinds and layer.get_output(0).dtype == trt.DataType.HALF)
        for layer in layers
    )
    wanted = max(model.metadata.half_convolutions, int(model.metadata.precision == "fp16"))
    if halves < wanted:
        raise ModelError(
            f"{halves} convolutions of the parsed network compute in FP16, not {wanted}",
            "Convert the model again with scarseg-export fp16",
        )
    return halves


def _shapes(builder: Any, profile: Profile) -> Any:
    shapes = builder.create_optimization_profile()
    three = (profile.smallest, profile.usual, profile.largest)
    shapes.set_shape("lge", *three)
    shapes.set_shape("slice_level", *((sizes[0],) for sizes in three))
    return shapes


def _configure(trt: Any, builder: Any, flavour: Flavour, target: Target) -> Any:
    config = builder.create_builder_config()
    # TF32 would keep 10 bits of the 23 of FP32: not what the parity gates were measured with.
    config.clear_flag(trt.BuilderFlag.TF32)
    if flavour == "tensorrt":
        if target.gpus:
            raise UsageError(
                "enterprise TensorRT compiles for the GPU at hand only",
                "Leave out --gpu, or use --runtime tensorrt-rtx",
            )
        if target.portable:
            config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
        if target.any_version:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        return config
    if target.portable or target.any_version:
        raise UsageError(
            "TensorRT-RTX knows no --portable and no --any-version: its engines run on every GPU "
            "that the library takes (8.0, 8.6, 8.9, 12.x), and only in the release that made them",
            "Leave them out, or use --runtime tensorrt",
        )
    # Nothing allocates behind the session's back, so that a run can be captured as a CUDA graph.
    config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    _choose_gpus(trt, config, target.gpus)
    return config


def _monitor(trt: Any, progress: Progress) -> Any:
    """TensorRT's own listener, passing on to ours."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)  # its binding does not take super()

        def phase_start(self, phase: str, _parent: str | None, steps: int) -> None:
            progress.start(phase, steps)

        def step_complete(self, phase: str, _step: int) -> bool:
            progress.step(phase)
            return True  # go on

        def phase_finish(self, phase: str) -> None:
            progress.finish(phase)

    return Monitor()


def _choose_gpus(trt: Any, config: Any, gpus: tuple[str, ...]) -> None:
    known = [name for name in trt.ComputeCapability.__members__ if name.startswith("SM")]
    for name in gpus:
        if name not in known:
            raise ProviderError(
                f"TensorRT-RTX {trt.__version__} compiles for no GPU {name!r}",
                f"Use one of: {', '.join(known)}",
            )
    if gpus:
        config.num_compute_capabilities = len(gpus)
    for index, name in enumerate(gpus):
        config.set_compute_capability(trt.ComputeCapability.__members__[name], index)
