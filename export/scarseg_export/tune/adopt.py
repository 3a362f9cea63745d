"""Decisions by held-out hearts: what of a training is used, and where scar begins.

image     the trained network is kept where scar and wall Dice together are better than before
shift     of the scar logit: where hearts with scar tell that more or less of it is called than was
          drawn, it brings both together, unless scar Dice falls by it
fusion    a way to fuse is heard unless it loses against the image alone, by more than one standard
          error; of those that are heard the better one is used, at equality what came

Fusion is judged by two measures, and must lose by neither. Dice over all hearts, 1 or 0 where there
is no scar, weighs an outline that suffers against a false alarm. But a small scar that is lost
costs little of it and the patient much. So hearts are counted, too, in which scar is rightly found
or rightly not called: a scar lost weighs as much as a false alarm.

Why one standard error (the rule of Breiman et al., Classification and Regression Trees, 1984): one
heart alone makes a mean difference of exactly that. Without it a single heart could drop every ECG;
and 95 % would keep a fusion that probably harms, where one of the ways must be used anyway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import t

from scarseg_export.net.network import ScarNet
from scarseg_export.tune.held_out import (
    IMAGE,
    SHIFTS,
    TRAINED,
    ImageEvidence,
    PairEvidence,
    dice_of,
)

NONE = int(np.abs(SHIFTS).argmin())
FEWEST = 4
"""Held-out hearts with scar below which nothing is decided by them."""


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """Decision on the image network."""

    adopted: bool
    """The trained one is better."""
    shift: float
    """To be added to its scar logit."""
    said: dict[str, Any]


def choose_image(hearts: Sequence[ImageEvidence]) -> ImageChoice:
    """Decide where scar begins, and whether the trained network is better with that than before."""
    ill = [heart for heart in hearts if heart.scar > 0]
    if len(ill) < FEWEST:
        why = f"{len(ill)} held-out hearts with scar; {FEWEST} are needed"
        return ImageChoice(True, 0.0, {"scar_shift": 0.0, "why_no_shift": why})
    at, bias = _unbiased(ill)
    # Where less scar is worse by Dice, too much of it was not what was wrong.
    at = max((NONE, at), key=lambda shift: _scar_dice(ill, shift))
    after = _scar_dice(ill, at)
    said: dict[str, Any] = {
        "hearts": len(hearts), "with_scar": len(ill), "scar_shift": float(SHIFTS[at]),
        "burden_bias_percent": bias, "scar_dice": after,
        "wall_dice": _mean([heart.wall_dice for heart in hearts]),
    }  # fmt: skip
    old = [heart.before for heart in hearts]
    if None in old:
        return ImageChoice(True, float(SHIFTS[at]), said)
    before = [h.before for h in ill if h.before is not None]
    scar = [dice_of(b[0], b[1], h.scar) for b, h in zip(before, ill, strict=True)]
    said |= {
        "scar_dice_before": float(np.mean(scar)),
        "wall_dice_before": _mean([one[2] for one in old if one is not None]),
    }
    gain = after - said["scar_dice_before"]
    if said["wall_dice"] is not None:
        gain += said["wall_dice"] - said["wall_dice_before"]
    return ImageChoice(gain > 0, float(SHIFTS[at]) if gain > 0 else 0.0, said)


def _unbiased(ill: Sequence[ImageEvidence]) -> tuple[int, list[float]]:
    """Index of the shift with which as much scar is called as was drawn, and the 95 % interval of
    the difference without any shift, in % of the wall that was found. Where that holds 0 the hearts
    tell no bias: a shift would follow chance, since five hearts know it to within some five points.
    """
    called = np.array([heart.called for heart in ill])
    scar, wall = (np.array([[getattr(h, name)] for h in ill]) for name in ("scar", "wall"))
    excess = 100.0 * (called - scar) / np.maximum(wall, 1.0)
    now = excess[:, NONE]
    reach = float(t.ppf(0.975, len(ill) - 1) * now.std(ddof=1)) / math.sqrt(len(ill))
    ends = [float(now.mean()) - reach, float(now.mean()) + reach]
    if ends[0] <= 0.0 <= ends[1]:
        return NONE, ends
    return int(np.abs(excess.mean(0)).argmin()), ends


def _scar_dice(ill: Sequence[ImageEvidence], at: int) -> float:
    """Mean over hearts with a shift, by its index."""
    return float(np.mean([dice_of(h.hit[at], h.called[at], h.scar) for h in ill]))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def choose_fusion(pairs: Sequence[PairEvidence], ways: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Name of the way to fuse, and the statement on it.

    Args:
        ways: that there are, besides the image alone; the first is what came.
    """
    ill = sum(pair.scar > 0 for pair in pairs)
    if ill < FEWEST:
        why = f"{ill} held-out pairs with scar; {FEWEST} are needed to compare"
        return ways[0], {"used": ways[0], "why_used": why}
    known = [way for way in (*ways, IMAGE) if all(way in pair.dice for pair in pairs)]
    means = {name: _means(pairs, known, name) for name in MEASURES}
    gains = {way: {name: _gain(pairs, way, name) for name in MEASURES} for way in known[:-1]}
    heard = [way for way, gain in gains.items() if not any(map(_loses, gain.values()))]
    best = max(heard, key=means[MEASURES[0]].__getitem__, default=IMAGE)
    return best, {
        "used": best, "pairs_compared": len(pairs), "pairs_with_scar": ill, **means,
        "against_image": gains,
    }  # fmt: skip


MEASURES = ("dice", "right")
"""Fields of the evidence that fusion is judged by; the first chooses among ways that are heard."""


def _means(pairs: Sequence[PairEvidence], ways: Sequence[str], measure: str) -> dict[str, float]:
    return {way: float(np.mean([getattr(p, measure)[way] for p in pairs])) for way in ways}


def _gain(pairs: Sequence[PairEvidence], way: str, measure: str) -> tuple[float, float]:
    """Mean over pairs of what a way gains against the image alone, and its standard error."""
    apart = [getattr(p, measure)[way] - getattr(p, measure)[IMAGE] for p in pairs]
    return float(np.mean(apart)), float(np.std(apart, ddof=1)) / math.sqrt(len(apart))


def _loses(gain: tuple[float, float]) -> bool:
    """Tell whether a mean is below 0 by more than its standard error, rounding aside."""
    mean, error = gain
    return -mean > error + 1e-9


PARTS = ("fusion", "agreement", "taff")
"""Of a network, that make a way to fuse."""


def take(net: ScarNet, way: str, came: ScarNet | None) -> None:
    """Give ``net``, which holds the trained way to fuse, the one that was chosen.

    Args:
        came: holds what came; None where that was untrained.
    """
    if way != TRAINED and came is not None:
        for part in PARTS:
            getattr(net, part).load_state_dict(getattr(came, part).state_dict())
    if way == IMAGE:
        with torch.no_grad():
            # tanh(0) moves no logit: the answer is that of the image, whatever the ECG says.
            net.fusion.out.weight.zero_()
            net.fusion.out.bias.zero_()


@torch.no_grad()
def shift_scar(net: ScarNet, shift: float) -> None:
    """Move the point from which on the image network calls scar, in place."""
    bias = net.image.scar_head.bias
    assert bias is not None
    bias += shift
