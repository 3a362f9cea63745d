"""BatchNorm folded into the convolution before it: the network as it is deployed."""

from __future__ import annotations

from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(module: nn.Module) -> None:
    """Fold every BatchNorm that follows a convolution in a Sequential into it, in place."""
    for child in module.modules():
        if isinstance(child, nn.Sequential):
            _fold_sequence(child)


def _fold_sequence(sequence: nn.Sequential) -> None:
    names = list(sequence._modules)
    for name, following in pairwise(names):
        layer, norm = sequence._modules[name], sequence._modules[following]
        if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            continue
        if isinstance(layer, nn.Conv1d | nn.Conv2d):
            sequence._modules[name] = fuse_conv_bn_eval(layer, norm)
            sequence._modules[following] = nn.Identity()
