"""The training recipe: every number that makes a model, in one frozen object."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scarseg_export.net.config import NetworkConfig
from scarseg_runtime.edited_text import read_json
from scarseg_runtime.errors import UsageError


@dataclass(frozen=True)
class Recipe:
    """Numbers by which a model is trained. Seeds of patients are disjoint between all stages."""

    seed: int = 1
    threads: int = 2
    network: NetworkConfig = field(default_factory=NetworkConfig)

    ecg_patients: int = 16000
    ecg_steps: int = 1800
    ecg_rate: float = 2e-3
    ecg_real_steps: int = 500
    """Steps with simulated and real ECGs together after those on the twin alone; with 0 no real
    ECG is used."""
    ecg_real_rate: float = 1e-3

    cine_share: float = 0.6
    """Share of re-rendered real cine frames in each batch of the image network; with 0 the
    training is pure simulation and needs no data at all."""
    cine_stacks: int = 4000

    localiser_stacks: int = 400
    localiser_steps: int = 1800
    localiser_rate: float = 3e-3
    close_steps: int = 1200
    """Of the localiser's close look."""
    close_batch: int = 48
    close_rate: float = 3e-3

    image_stacks: int = 2400
    image_steps: tuple[int, ...] = (1000, 1000)
    """Of the image network, in as many rounds of rising and falling rates; the mean of what the
    rounds ended with is taken."""
    image_batch: int = 64
    image_rate: float = 3e-3
    scar_shift: float = 0.35
    """Added to the scar logit when the rounds are over, so that as much scar is called on real
    infarcts as experts draw: chosen on the validation hearts."""
    scar_weight: float = 1.7
    """Of scarred pixels in the cross-entropy: without it half of the scar is not called."""

    fusion_cases: int = 1600
    semi_real_share: float = 0.5
    """Of the fusion stage's patients: twin hearts with real ECGs, where there are any."""
    validation_cases: int = 400
    """Patients on whom the threshold of the disagreement flag is set; never trained on."""
    fusion_steps: int = 1500
    fusion_rate: float = 3e-3
    tau_rate: float = 1e-1

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@contextmanager
def named_errors(kind: type) -> Iterator[None]:
    """Raise UsageError that says what is wrong with the JSON that fills the dataclass ``kind``."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"the recipe cannot be read ({error.strerror})", "Check its path"
        ) from error
    except (ValueError, AttributeError) as error:
        raise UsageError(f"the recipe is not a JSON object ({error})", "Correct it") from error
    except TypeError as error:  # the message names the field
        known = ", ".join(field.name for field in dataclasses.fields(kind))
        raise UsageError(f"the recipe has an unknown field ({error})", f"Known: {known}") from error


def load_recipe(path: Path | None) -> Recipe:
    """Recipe from a JSON file that may name any subset of the fields; defaults otherwise.

    Raises:
        UsageError: the file cannot be read, is no JSON object, or names an unknown field.
    """
    if path is None:
        return Recipe()
    with named_errors(Recipe):
        return recipe_of(json_object(path))


def json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object. Raises OSError, and ValueError where it does not."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise ValueError("not an object")
    return values


def recipe_of(values: dict[str, Any]) -> Recipe:
    """Recipe from plain values, as JSON and checkpoints hold them; TypeError for unknown ones."""
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return Recipe(network=network_config(plain.pop("network", {})), **plain)


def network_config(values: dict[str, Any]) -> NetworkConfig:
    """Network configuration from plain values, as JSON and checkpoints hold them."""
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    if "delta_max" in plain and "delta_scarred" not in plain:
        plain["delta_scarred"] = plain["delta_max"]  # models of before: one bound for every heart
    return NetworkConfig(**plain)
