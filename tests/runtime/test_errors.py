"""Errors survive the way to another process and back as they were."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

from scarseg_runtime import errors
from scarseg_runtime.errors import ScarsegError

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ScarsegError)
]
WAYS: list[Callable[[ScarsegError], ScarsegError]] = [
    lambda error: pickle.loads(pickle.dumps(error)),
    copy.copy,
    copy.deepcopy,
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("advice", ["do it", ""])
@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_says_the_same(
    kind: type[ScarsegError], advice: str, way: Callable[[ScarsegError], ScarsegError]
) -> None:
    error = kind("what", advice)
    error.add_note("of the host")
    again = way(way(error))
    assert type(again) is kind and again is not error
    assert str(again) == str(error) == ("what. do it." if advice else "what.")
    assert (again.what, again.advice) == ("what", advice)
    assert again.__notes__ == ["of the host"]


def test_all_kinds_are_here() -> None:
    assert len(KINDS) == 9
