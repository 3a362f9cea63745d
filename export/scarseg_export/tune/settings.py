"""Every number of a training on one's own patients, in one frozen object."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scarseg_export.train.recipe import Recipe, json_object, named_errors, recipe_of
from scarseg_runtime.errors import UsageError


@dataclass(frozen=True)
class TuneSettings:
    """Settings of a training on patients; ``recipe`` is for all that comes from the twin."""

    seed: int = 1
    folds: int = 5
    twin_share: float = 0.5
    """Of every batch: simulated patients keep a network from forgetting what few patients lack."""
    validation_share: float = 0.2
    """Of the groups that are not tested on: training stops by them, and they decide what of it is
    kept. With an eighth a fold of forty had two or three hearts with scar to decide by."""

    twin_stacks: int = 400
    image_steps: int = 700
    image_batch: int = 32
    image_rate: float = 2e-4
    """From a trained model; from nothing the recipe's. A model file has no BatchNorm left to bear
    more: with 5e-4 the validation loss rose by a third before it fell."""
    scratch_steps: int = 2000
    scar_weight: float = 2.4
    """Of a scarred pixel. The shipped model learned with 1.7 and had 0.35 added to its scar logit:
    together 1.7 · e^0.35. With less, training takes back what was added."""
    check_every: int = 50
    """Steps between looks at the validation part."""
    patience: int = 5
    """Looks without a better one, after which the image network is done."""

    twin_pairs: int = 150
    fusion_steps: int = 400
    fusion_rate: float = 1e-3

    recipe: Recipe = field(default_factory=lambda: Recipe(cine_share=0.0, ecg_real_steps=0))

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def load_settings(path: Path | None, **changes: Any) -> TuneSettings:
    """Settings from a JSON that may name any subset of the fields, and ``changes`` that are not
    None.

    Raises:
        UsageError: the file cannot be read or names an unknown field, or a value makes no sense.
    """
    with named_errors(TuneSettings):
        values = {} if path is None else json_object(path)
        recipe = {"cine_share": 0.0, "ecg_real_steps": 0, **values.pop("recipe", {})}
        values |= {name: value for name, value in changes.items() if value is not None}
        settings = TuneSettings(recipe=recipe_of(recipe), **values)
    if not 0.0 <= settings.twin_share < 1.0:
        raise UsageError("the share of the twin is not from 0 to below 1", "Check --twin-share")
    if settings.folds == 1 or not 0 <= settings.folds <= 50:
        raise UsageError("the number of folds is neither 0 nor 2 to 50", "Check --folds")
    return settings
