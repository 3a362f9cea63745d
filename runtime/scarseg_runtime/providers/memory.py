"""Telling a provider that ran out of memory from one that failed for another reason.

No library has an error of its own for it but Python, so the words that each is known to use are
looked for in the error and in what caused it.
"""

from __future__ import annotations

from typing import Final

_WORDS: Final = (
    "out of memory",  # CUDA
    "outofmemory",  # TensorRT
    "cuda_error_out_of_memory",
    "cudaerrormemoryallocation",
    "failed to allocate memory",  # ONNX Runtime's arenas
    "bad allocation",
    "bad_alloc",  # C++
    "cl_out_of_resources",  # OpenVINO on a GPU
    "cl_mem_object_allocation_failure",
)
_DEEPEST: Final = 20
"""Causes that are followed: libraries chain two or three."""


def ran_out_of_memory(error: BaseException) -> bool:
    """True where an error, or what caused it, says that memory could not be had."""
    seen: BaseException | None = error
    for _ in range(_DEEPEST):
        if seen is None:
            break
        if isinstance(seen, MemoryError) or any(word in str(seen).casefold() for word in _WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
