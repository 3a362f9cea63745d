"""Progress of TensorRT's compiler on a terminal: a bar for each of its longer phases."""

from __future__ import annotations

from tqdm import tqdm

SHORT_S = 2.0
"""A phase that is over by then has no bar."""


class CompileBars:
    """Bars as :class:`scarseg_runtime.providers.tensorrt.build.Progress` asks for."""

    def __init__(self) -> None:
        self._bars: dict[str, tqdm] = {}

    def start(self, phase: str, steps: int) -> None:
        """See :class:`Progress`."""
        self.finish(phase)
        self._bars[phase] = tqdm(total=steps, desc=phase.lower(), delay=SHORT_S, mininterval=1)

    def step(self, phase: str) -> None:
        """See :class:`Progress`."""
        if phase in self._bars:
            self._bars[phase].update()

    def finish(self, phase: str) -> None:
        """See :class:`Progress`."""
        if phase in self._bars:
            self._bars.pop(phase).close()
