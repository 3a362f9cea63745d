"""An engine of a model file, loaded and ready to be given memory and shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from scarseg_runtime.errors import ProviderError
from scarseg_runtime.log import LOG
from scarseg_runtime.model_file.read import ModelFile, check_contract
from scarseg_runtime.providers.engine_cache import KernelCache, engine_for
from scarseg_runtime.providers.engine_file import Built
from scarseg_runtime.providers.gpu import Gpu
from scarseg_runtime.providers.tensorrt.api import Flavour, Messages, as_onnx, import_tensorrt
from scarseg_runtime.providers.tensorrt.build import Profile, Sizes, Target, build_engine
from scarseg_runtime.providers.tensorrt.supported_gpus import engine_gpus


class LoadedEngine:
    """A TensorRT engine with its context, and the kernels that TensorRT-RTX compiles for it."""

    def __init__(
        self, model: ModelFile, flavour: Flavour, gpu: Gpu, *, cache: Path | None,
        cuda_graph: bool = True,
    ) -> None:  # fmt: skip
        trt = import_tensorrt(flavour)
        self.needs_capture = flavour == "tensorrt"
        """True where the session has to capture CUDA graphs; TensorRT-RTX does so by itself."""
        self.messages = Messages(trt)
        self._cache = cache
        self._runtime: Any = trt.Runtime(self.messages.logger)
        self._engine = self._load(trt, model, flavour, gpu)
        _check_engine(trt, self._engine, image_only=model.metadata.image_only)
        three = (tuple(sizes) for sizes in self._engine.get_tensor_profile_shape("lge", 0))
        profile = Profile(*cast(tuple[Sizes, Sizes, Sizes], tuple(three)))
        self.limits = profile.smallest, profile.largest
        self._kernels: KernelCache | None = None
        self._runtime_cache: Any = None
        if flavour == "tensorrt":
            options = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        else:
            self._kernels = KernelCache.of_engine(
                model, flavour, trt.__version__, gpu, profile, cache
            )
            options = self._rtx_config(trt, self._kernels, cuda_graph=cuda_graph)
        self.context: Any = self._engine.create_execution_context(options)
        must(self.context is not None, f"cannot prepare the engine: {self.messages.last}")

    def keep_kernels(self) -> None:
        """Store the kernels compiled so far, if any are new."""
        if self._kernels is not None and self._runtime_cache is not None:
            self._kernels.save(self._runtime_cache)

    def close(self) -> None:
        """Keep the kernels and let go of everything, in the order TensorRT wants."""
        self.keep_kernels()
        self.context = self._runtime_cache = self._engine = self._runtime = None

    def _load(self, trt: Any, model: ModelFile, flavour: Flavour, gpu: Gpu) -> Any:
        """The stored engine; compiled anew once where TensorRT does not take it."""
        compiled = False

        def build() -> Built:
            nonlocal compiled
            compiled = True
            target = Target(engine_gpus(gpu.compute_capability) if "rtx" in flavour else ())
            return build_engine(model, flavour, target=target)

        for fresh in (False, True):
            content, sidecar = engine_for(
                model, flavour, gpu=gpu, version=trt.__version__, build=build, folder=self._cache,
                fresh=fresh,
            )  # fmt: skip
            target = sidecar.get("target")
            if isinstance(target, dict) and target.get("any_version"):
                self._runtime.engine_host_code_allowed = True  # its own lean runtime
            engine = self._runtime.deserialize_cuda_engine(content)
            if engine is not None:
                return engine
            if compiled:  # just now: another try would give the same
                break
            LOG.warning("the stored engine does not load here; it is compiled again")
        raise ProviderError(
            f"{flavour} cannot load its engine: {self.messages.last}",
            "Check the driver's version, or use another provider",
        )

    def _rtx_config(self, trt: Any, kernels: KernelCache, *, cuda_graph: bool) -> Any:
        config = self._engine.create_runtime_config()
        # By itself TensorRT would take scratch memory for the largest stack of the profile at
        # once: 2 GB for 40 × 1024 × 1024. The session gives it what the stack at hand needs.
        config.set_execution_context_allocation_strategy(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        if cuda_graph:
            config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        self._runtime_cache = config.create_runtime_cache()
        kernels.load(self._runtime_cache)
        must(config.set_runtime_cache(self._runtime_cache), "refuses a runtime cache")
        return config


def _check_engine(trt: Any, engine: Any, *, image_only: bool) -> None:
    """Compare an engine's tensors with the contract. Raises ModelError."""
    found: dict[bool, list[Any]] = {True: [], False: []}
    for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
        tensor = as_onnx(trt, name, engine.get_tensor_dtype(name), engine.get_tensor_shape(name))
        found[engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT].append(tensor)
    check_contract(found[True], found[False], image_only=image_only)


def must(fine: Any, what: str) -> None:
    """Raises ProviderError where TensorRT says no."""
    if not fine:
        raise ProviderError(f"TensorRT {what}", "Use another provider")
