"""Files of a training that decide what is not repeated: killed while one is written, a run begins
that stage again instead of reading half of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from scarseg_export.train import buffers, run
from scarseg_export.tune import run as tune_run


def killed(*_: Any, **__: Any) -> None:
    """Writes a part of its file, then ends like a process that is stopped."""
    target = _[1] if isinstance(_[1], str | Path) else _[0]
    if isinstance(target, str | Path):
        Path(target).write_bytes(b"half")
    else:
        target.write(b"half")
    raise KeyboardInterrupt


@pytest.mark.parametrize("stage", [run._stage, tune_run._stage])
def test_a_stage_that_was_killed_is_trained_again(
    stage: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, module = tmp_path / "ecg.pt", nn.Linear(2, 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "save", killed)
        stage(path, module, lambda: nn.Linear(2, 1))
    assert list(tmp_path.iterdir()) == []
    stage(path, module, lambda: nn.Linear(2, 1))
    assert path.exists()


def test_stacks_that_were_killed_are_rendered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffers.np, "save", killed)
    spec = buffers.StackSpec(buffers.IMAGE, 1, 32, (4.0, 4.0), 5.0, 3)
    with pytest.raises(KeyboardInterrupt):
        buffers.stack_buffer(tmp_path / "twin", 1, spec)
    assert not list((tmp_path / "twin").glob("*"))
    monkeypatch.undo()
    assert np.asarray(buffers.stack_buffer(tmp_path / "twin", 1, spec).pixels).shape[-1] == 32
