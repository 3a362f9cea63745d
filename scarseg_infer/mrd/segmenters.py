"""The loaded model, on the provider that a session asks for, and on the CPU where memory is out."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from scarseg_infer.ecg.record import EcgRecord
from scarseg_infer.mrd.options import AS_STARTED
from scarseg_infer.result import ScarResult
from scarseg_infer.segmenter import Segmenter
from scarseg_infer.study.stack import LgeStack
from scarseg_runtime.errors import ModelError, ProviderError
from scarseg_runtime.providers.memory import ran_out_of_memory

FELL_BACK: Final = (
    "The provider {provider} ran out of memory on this study: it was computed on the CPU, which "
    "takes longer."
)


@dataclass(slots=True)
class Segmenters:
    """Segmenters of one model file by provider, each loaded when it is first asked for. May be
    used from any number of threads.

    Attributes:
        model, provider, precision, threads: as for :meth:`Segmenter.from_model`.
    """

    model: Path | None = None
    provider: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    _loaded: dict[str, Segmenter] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, provider: str = AS_STARTED) -> Segmenter:
        """The Segmenter of a provider, or the one that the server was started with.

        Raises:
            ModelError, ProviderError: it cannot be loaded.
        """
        own = provider in (AS_STARTED, self.provider)
        name = self.provider if own else provider
        with self._lock:  # one at a time: what loads takes memory and cores
            if name not in self._loaded:
                self._loaded[name] = Segmenter.from_model(
                    self.model, provider=name, threads=self.threads,
                    precision=self.precision if own else "auto",
                )  # fmt: skip
            return self._loaded[name]

    def run(
        self, provider: str, stack: LgeStack, record: EcgRecord | None, **limits: Any
    ) -> ScarResult:
        """Segment a stack; on the CPU, with a warning, where the provider runs out of memory.

        Args:
            limits: of :meth:`Segmenter.run`.

        Raises: what :meth:`Segmenter.run` raises.
        """
        try:
            return self.get(provider).run(stack, record, **limits)
        except (ModelError, ProviderError) as error:
            used = self._used(provider)
            if used == "cpu" or not ran_out_of_memory(error):
                raise
        warned = replace(stack, warnings=(FELL_BACK.format(provider=used), *stack.warnings))
        return self.get("cpu").run(warned, record, **limits)

    def _used(self, provider: str) -> str:
        """The provider that a session's choice stands for, as far as that is known."""
        name = self.provider if provider == AS_STARTED else provider
        loaded = self._loaded.get(name)  # not there where loading is what failed
        return loaded.model_use().provider if loaded else name
