"""The gap policy: unknown is never zero."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scarseg_runtime.taff import decide, weight


@pytest.mark.parametrize("gap", [None, math.nan, math.inf, -math.inf, -0.1, -1000.0])
def test_an_unusable_gap_invalidates_the_ecg(gap: float | None) -> None:
    decision = decide(gap, ecg_given=True)
    assert not decision.valid
    assert decision.gap_days == 0.0
    assert "not used" in decision.reason


@given(st.floats(min_value=0, max_value=1e6, allow_nan=False))
def test_a_usable_gap_is_passed_on_as_it_is(gap: float) -> None:
    decision = decide(gap, ecg_given=True)
    assert decision.valid
    assert decision.gap_days == gap


def test_without_ecg_the_gap_does_not_matter() -> None:
    assert not decide(3.0, ecg_given=False).valid


def test_findings_beat_any_gap_and_are_named() -> None:
    decision = decide(0.0, ecg_given=True, findings=["paced rhythm", "rate 160/min"])
    assert not decision.valid
    assert "paced rhythm" in decision.reason and "rate 160/min" in decision.reason


@given(
    st.floats(min_value=0, max_value=1e4),
    st.floats(min_value=0, max_value=1e4),
    st.floats(min_value=1, max_value=1e4),
)
def test_weight_is_monotone_and_bounded(first: float, second: float, tau: float) -> None:
    near, far = sorted((first, second))
    assert 0.0 <= weight(far, tau) <= weight(near, tau) <= 1.0
    assert weight(0.0, tau) == 1.0
