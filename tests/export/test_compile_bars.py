"""Progress of TensorRT's compiler, without TensorRT."""

from __future__ import annotations

import pytest

from scarseg_export.deploy import compile_bars
from scarseg_export.deploy.compile_bars import CompileBars


@pytest.mark.parametrize(("after_s", "shown"), [(0.0, True), (60.0, False)])
def test_only_a_long_phase_has_a_bar(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    after_s: float,
    shown: bool,
) -> None:
    monkeypatch.setattr(compile_bars, "SHORT_S", after_s)
    bars = CompileBars()
    bars.start("Timing graph nodes", 2)
    bars.start("Within it", 1)
    bars.step("Within it")
    bars.finish("Within it")
    for _ in range(2):
        bars.step("Timing graph nodes")
    bars.finish("Timing graph nodes")
    bars.step("never begun")
    bars.finish("never begun")
    assert ("timing graph nodes: 100%" in capsys.readouterr().err) == shown
