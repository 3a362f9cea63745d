"""Fixtures of the tests that need PyTorch."""

from __future__ import annotations

import os
from collections.abc import Iterator

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
