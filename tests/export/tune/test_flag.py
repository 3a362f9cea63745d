"""The threshold of the disagreement flag: what it promises, and on whom it is set."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from scarseg_export.train.fusion import FALSE_FLAGS
from scarseg_export.tune import flag
from scarseg_export.tune.flag import FEWEST, flag_threshold, threshold_of
from scarseg_export.tune.settings import TuneSettings


def draw(rng: np.random.Generator, pairs: int) -> list[list[float]]:
    """Scores of right pairs, whose copies are much alike."""
    return (rng.beta(2, 8, (pairs, 1)) + rng.normal(0, 0.02, (pairs, 4))).tolist()


@pytest.mark.parametrize("pairs", [FEWEST, 40, 103])
def test_no_more_new_pairs_are_flagged_than_promised(pairs: int) -> None:
    """Over many cohorts of this size, as the conformal bound says for single scores; copies of one
    pair, taken together, come within a percent of it."""
    rng = np.random.default_rng(pairs)
    flagged = []
    for _ in range(300):
        threshold = threshold_of(draw(rng, pairs))
        assert threshold is not None
        flagged.append(float((np.array(draw(rng, 200)) > threshold).mean()))
    assert np.mean(flagged) <= FALSE_FLAGS + 0.01
    if pairs > 100:
        assert np.mean(flagged) >= FALSE_FLAGS / 2  # nor is everything let through


def test_so_few_pairs_that_their_highest_promises_nothing() -> None:
    assert threshold_of(draw(np.random.default_rng(0), FEWEST - 1)) is None


def test_simulated_patients_who_are_never_trained_on_help_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def load(
        net: object, recipe: object, folder: Path, purpose: int, count: int, **_: Path
    ) -> list:
        drawn.append((purpose, count))
        return list(range(count))

    monkeypatch.setattr(flag, "load_patients", load)
    monkeypatch.setattr(flag, "pair_scores", lambda net, patients: [[p / 100] for p in patients])
    net, few = SimpleNamespace(), [[0.9]] * 3
    settings = TuneSettings(twin_pairs=150)
    said = flag_threshold(net, few, settings, tmp_path, tmp_path)  # type: ignore[arg-type]
    assert drawn == [(flag.VALIDATION, 50)]
    assert said["threshold"] == 0.48  # 49 of 50 are not above it, which is 95 % of 51
    assert said["set_on"] == "simulated pairs"
    kept = flag_threshold(net, few, settings, tmp_path, None)  # type: ignore[arg-type]
    assert kept["threshold"] is None
    assert "3 held-out pairs" in kept["why"]
