"""Fixtures of the tests that need PyTorch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread_of_torch() -> Iterator[None]:
    """A training sets PyTorch's threads for its whole process. Beside other tests they would spin
    in the time of those, through all later tests of the worker: fifty times the processor time
    where operations are small."""
    with pytest.MonkeyPatch.context() as patch:
        if "PYTEST_XDIST_WORKER" in os.environ:
            torch.set_num_threads(1)
            patch.setattr(torch, "set_num_threads", lambda _: None)
        yield


@pytest.fixture(scope="session")
def tell_no_rv() -> Callable[[Path], None]:
    """Make the localisers of all checkpoints below a folder see no RV anywhere.

    After two steps of training they see a little of one everywhere: how a crop is turned, and how
    the next look lies, would then hang on rounding, which no two providers share.
    """

    def tell(folder: Path) -> None:
        found = sorted(folder.rglob("model.pt"))
        assert found
        for path in found:
            content = torch.load(path, weights_only=True)
            for look in ("far", "close"):
                content["state"][f"localiser.{look}.head.weight"][1] = 0.0
                content["state"][f"localiser.{look}.head.bias"][1] = -20.0
            torch.save(content, path)

    return tell
