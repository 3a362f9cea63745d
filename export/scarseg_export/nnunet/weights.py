"""Networks of nnU-Net checkpoints: built as the plan says, with the weights of one fold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from scarseg_export.nnunet.folder import DESCRIBED, Source
from scarseg_runtime.errors import ModelError
from scarseg_runtime.log import LOG

_WEIGHT_DIMENSIONS_3D: Final = 5
"""Of a convolution: output and input channels, and three of space."""
_UNKNOWN_OBJECT: Final = re.compile(r"Unsupported (?:global|class)[^A-Za-z]+(?:GLOBAL )?([\w.]+)")
"""In torch's refusal to unpickle."""
_ONE_TRAINING: Final = "Pass plans.json and checkpoint of one training"
_BESIDE: Final = "Pass plans.json and dataset.json as they lay beside it in training"
_SAME_NETWORK: Final = re.compile(
    r"nnUNetTrainer(_?\d+epochs?|_?NoMirroring|_?onlyMirror01|NoDeepSupervision|DA5(ord0)?|NoDA"
    r"|Adam\w*|_probabilisticOversampling\w*|(DiceCE|Dice|CE|TopK\w*)Loss\w*|CosAnneal)*"
)
"""Trainers of nnU-Net itself that build the network of the plan."""


def load_fold(source: Source, checkpoint: Path, classes: int) -> nn.Module:
    """One fold's network.

    Raises:
        ModelError: the checkpoint is damaged, of another configuration or trainer, or a tensor does
            not fit; names which.
    """
    content = _read_checkpoint(checkpoint)
    # torch.compile and distributed training put a prefix before every name.
    state: dict[str, Tensor] = {
        name.removeprefix("module.").removeprefix("_orig_mod."): value
        for name, value in content["network_weights"].items()
    }
    _check_configuration(content, state, source.configuration)
    _check_source(content, source)
    net = _built(source, classes)
    trainer = str(content.get("trainer_name", "nnUNetTrainer"))
    misfit = _misfit(net, state)
    if misfit and not _SAME_NETWORK.fullmatch(trainer):
        raise ModelError(
            f"{misfit}; its trainer {trainer} may build another network than the plan says",
            "Train with nnUNetTrainer, or one that keeps the plan's network",
        )
    if misfit:
        raise ModelError(misfit, _ONE_TRAINING)
    if not _SAME_NETWORK.fullmatch(trainer):
        LOG.warning(
            "The checkpoint is of the trainer %s. Export takes the network as the plan describes "
            "it: compare labels with nnU-Net's own if that trainer changes it.", trainer,
        )  # fmt: skip
    net.load_state_dict(state)
    return net.eval()


def _check_configuration(
    content: Mapping[str, Any], state: Mapping[str, Tensor], expected: str
) -> None:
    arguments = content.get("init_args")
    trained = arguments.get("configuration") if isinstance(arguments, dict) else None
    if any(value.ndim == _WEIGHT_DIMENSIONS_3D for value in state.values()):
        name = trained if isinstance(trained, str) else "3d_fullres"
        raise ModelError(
            f"the weights of the checkpoint are 3-D, as of nnU-Net's {name}",
            "Pass a training of its 2d configuration, the only one that is supported",
        )
    if isinstance(trained, str) and trained != expected:
        raise ModelError(
            f"the checkpoint was trained as configuration {trained}, not {expected}",
            f"Keep it in its own folder, whose name ends in __{trained}",
        )


def _check_source(content: Mapping[str, Any], source: Source) -> None:
    """Raises ModelError where the checkpoint was trained on other labels, or by another plan, than
    lie beside it: its classes would be called by the names of others."""
    arguments = content.get("init_args")
    if not isinstance(arguments, dict):
        return
    dataset, plans = arguments.get("dataset_json"), arguments.get("plans")
    known = dataset.get("labels") if isinstance(dataset, dict) else None
    if known is not None and known != source.described["labels"]:
        raise ModelError(
            "the checkpoint was trained on other labels than dataset.json has", _BESIDE
        )
    levels = plans.get("configurations") if isinstance(plans, dict) else None
    level = levels.get(source.configuration) if isinstance(levels, dict) else None
    if not isinstance(level, dict):
        return
    for key in DESCRIBED:
        # What it inherits stands elsewhere.
        if key in level and _plain(level[key]) != _plain(source.described[key]):
            raise ModelError(f"the checkpoint was trained by a plan of another {key}", _BESIDE)


def _plain(value: Any) -> Any:
    """Lists in place of arrays and tuples, as JSON has them."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _built(source: Source, classes: int) -> nn.Module:
    from dynamic_network_architectures.architectures import unet

    build = getattr(unet, source.architecture["name"])
    try:
        net: nn.Module = build(
            input_channels=1, num_classes=classes, deep_supervision=False,
            **source.architecture["arguments"],
        )  # fmt: skip
    except (AssertionError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise ModelError(
            "the network that plans.json describes cannot be built",
            "Pass plans.json as nnU-Net v2 wrote it",
        ) from error
    return net


def _misfit(net: nn.Module, state: Mapping[str, Tensor]) -> str | None:
    """The first tensor that does not fit, in words."""
    wanted = net.state_dict()
    for name, value in wanted.items():
        if name not in state or state[name].shape != value.shape:
            shape = list(state[name].shape) if name in state else "missing"
            return f"tensor {name} of the checkpoint is {shape}, the plan wants {list(value.shape)}"
    unknown = sorted(state.keys() - wanted.keys())
    if unknown:
        return f"the checkpoint has a tensor {unknown[0]} that the plan does not know"
    return None


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """Content of a checkpoint; nothing but tensors and plain numbers is unpickled."""
    try:
        with torch.serialization.safe_globals(_plain_numbers()):
            content = torch.load(path, map_location="cpu", weights_only=True)
        weights = content["network_weights"]
    except UnpicklingError as error:
        found = _UNKNOWN_OBJECT.search(str(error))
        if found is None:
            raise _damaged() from error
        raise ModelError(
            f"the nnU-Net checkpoint holds more than tensors: an object {found[1]}",
            "Save it again with network_weights, trainer_name and init_args alone",
        ) from error
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, EOFError) as error:
        raise _damaged() from error
    if not isinstance(weights, dict) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise ModelError("the weights of the nnU-Net checkpoint are no tensors", _ONE_TRAINING)
    return dict(content)


def _plain_numbers() -> list[Any]:
    """Numbers and arrays of numpy, as nnU-Net logs them, under the names of all releases."""
    dtypes = [type(np.dtype(kind)) for kind in ("f8", "f4", "f2", "i8", "i4", "u1", "?")]
    moved: list[Any] = [np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]]
    named = [
        (function, f"{module}.{function.__name__}")
        for function in moved
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    ]
    return [np.dtype, np.ndarray, *dtypes, *named]


def _damaged() -> ModelError:
    return ModelError(
        "the nnU-Net checkpoint is missing or damaged, or no checkpoint",
        "Copy it again, or check --checkpoint",
    )
