"""The sizes that have a graph of their own: the last few, within a limit of memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, Protocol, TypeVar

from scarseg_runtime.log import LOG
from scarseg_runtime.providers.onnxruntime.bound_graph import Sizes

MOST_KEPT: Final = 4
"""A scanner's protocols have few sizes."""


class Closable(Protocol):
    """A thing that is kept."""

    def close(self) -> None:
        """Give its memory back."""


Kept = TypeVar("Kept", bound=Closable)


class KeptGraphs(Generic[Kept]):
    """Graphs by size, the one that was not used for longest dropped first.

    Args:
        most_bytes: of all together.
        most: how many.
    """

    def __init__(self, most_bytes: int, most: int = MOST_KEPT) -> None:
        self._most_bytes, self._most = most_bytes, most
        self._kept: OrderedDict[Sizes, tuple[Kept, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, sizes: Sizes) -> Kept | None:
        """The graph of a size, which is then the last used; None where there is none."""
        if sizes not in self._kept:
            return None
        self._kept.move_to_end(sizes)
        return self._kept[sizes][0]

    def add(self, sizes: Sizes, graph: Kept, taken: int) -> bool:
        """Keep a graph that takes so many bytes, and drop others for it. False where it is larger
        than the limit by itself: it is closed."""
        if taken > self._most_bytes:
            graph.close()
            return False
        while self._kept and (
            len(self._kept) >= self._most or self._bytes + taken > self._most_bytes
        ):
            self._drop_oldest()
        self._kept[sizes] = graph, taken
        return True

    def clear(self) -> bool:
        """Drop all. True where there were any."""
        had = bool(self._kept)
        while self._kept:
            self._drop_oldest()
        return had

    @property
    def _bytes(self) -> int:
        return sum(taken for _, taken in self._kept.values())

    def _drop_oldest(self) -> None:
        sizes, (graph, _) = self._kept.popitem(last=False)
        LOG.debug("the graph for %s × %s × %s is dropped", *sizes)
        graph.close()
