"""Losses of the image stages, and the labels that only training knows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from scarseg_runtime.contract import Label

UNKNOWN_OUTSIDE = 5
"""Outside the LV of a real cine frame: background or RV, nobody drew which."""
MIMIC = 6
"""Viable myocardium painted like scar. No image can tell, so it carries no scar loss: the image
path learns what looks enhanced, and the ECG has to say what of it is scar."""

WALL = 7
"""Myocardium of a mask in which nobody looked for scar: no scar loss."""
UNLABELLED_PIXEL = 8
"""Nobody said what is here: no loss at all."""
NOT_SCAR = 9
"""Outside of the scar of a mask that holds nothing else: no scar, and no anatomy loss."""

ANATOMY_WEIGHTS = (1.0, 2.0, 3.0, 2.0)
"""Of background, cavity, wall and RV in the cross-entropy."""

BRIGHT_WALL = 5.0
"""Weight of enhanced wall relative to dark wall. It is rare, looks like blood, and the scar is
lost where it is taken for cavity: without this weight all of it was, early in training."""


def anatomy_loss(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and soft Dice loss of anatomy logits [N, 4, h, w] for labels [N, h, w]."""
    target = truth.clone()
    target[(truth == Label.SCAR) | (truth == MIMIC) | (truth == WALL)] = 2
    target[truth == Label.RV_CAVITY] = 3
    unknown = truth == UNKNOWN_OUTSIDE
    drawn = (truth != UNLABELLED_PIXEL) & (truth != NOT_SCAR)
    target[unknown | ~drawn] = 0
    log_p = torch.log_softmax(logits, 1)
    either = torch.logsumexp(log_p[:, [0, 3]], 1)
    picked = log_p.gather(1, target[:, None])[:, 0]
    bright = (truth == Label.SCAR) | (truth == MIMIC)
    weights = torch.tensor(ANATOMY_WEIGHTS, device=truth.device)[target] * (
        1.0 + (BRIGHT_WALL - 1.0) * bright
    )
    weights = weights * drawn
    picked = torch.where(unknown, either, picked)
    cross_entropy = -(weights * picked).sum() / weights.sum().clamp_min(1.0)
    one_hot = F.one_hot(target, 4).permute(0, 3, 1, 2).to(log_p.dtype)[:, 1:]
    known = drawn[:, None].expand_as(one_hot).to(log_p.dtype).clone()
    known[:, 2] *= (~unknown).to(log_p.dtype)
    return cross_entropy, dice_loss(log_p.exp()[:, 1:] * known, one_hot)


def scar_loss(
    scar: Tensor, wall_probability: Tensor, truth: Tensor, scar_weight: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Cross-entropy and soft Dice loss of scar logits [N, h, w] within the wall, scarred pixels
    counted ``scar_weight`` times.

    Blood or fat that the anatomy takes for wall must not turn into scar: it counts as well. Where
    nobody looked for scar nothing counts; where only scar was drawn, the wall is the predicted one.
    """
    is_scar = (truth == Label.SCAR).to(scar.dtype)
    found = wall_probability.detach()
    viable = (truth == Label.VIABLE_MYOCARDIUM) | ((truth == NOT_SCAR) & (found > 0.5))
    wall = (viable | (truth == Label.SCAR)).to(scar.dtype)
    told = (truth != MIMIC) & (truth != WALL) & (truth != UNLABELLED_PIXEL)
    leak = (found > 0.1).to(scar.dtype) * (1 - wall) * told
    weight = wall + 0.5 * leak
    counted = weight * (1.0 + (scar_weight - 1.0) * is_scar)
    entropy = F.binary_cross_entropy_with_logits(scar, is_scar, counted, reduction="sum")
    probability = torch.sigmoid(scar) * (weight > 0)
    return entropy / weight.sum().clamp_min(1.0), dice_loss(probability[:, None], is_scar[:, None])


def dice_loss(probability: Tensor, truth: Tensor) -> Tensor:
    """1 − soft Dice, pooled over the batch, mean over channels [N, C, h, w]."""
    overlap = (probability * truth).sum((0, 2, 3))
    total = probability.sum((0, 2, 3)) + truth.sum((0, 2, 3))
    return 1.0 - ((2 * overlap + 20.0) / (total + 20.0)).mean()
