"""The models of a run's folds, each on the patients that it never saw."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from scarseg_export.net.fusion import Fusion, moved, unheard
from scarseg_export.net.network import ScarNet, change_map
from scarseg_export.net.seen import Seen
from scarseg_export.net.time_weight import mix
from scarseg_export.patients.load import OwnPatient
from scarseg_export.score.arms import (
    ATLAS,
    FUSED,
    IMAGE,
    TRAINED_HERE,
    UNPLACED,
    UNTIMED,
    Predictor,
)
from scarseg_export.score.case import Prediction
from scarseg_export.train.checkpoint import Checkpoint, load_checkpoint
from scarseg_export.tune.adopt import PARTS
from scarseg_export.tune.folds import ALL
from scarseg_export.tune.fusion_stage import nowhere
from scarseg_export.tune.run import read_record, table_digest
from scarseg_export.tune.start import unplaced_head
from scarseg_runtime.errors import ModelError, UsageError


@dataclass(frozen=True, slots=True, eq=False)
class FoldModel:
    """One fold's network and its heads for comparison."""

    trained: Checkpoint
    unplaced: nn.Module
    own: ScarNet
    """With the fusion that was trained along with those heads, used or not."""
    heads: bool
    """True where they were trained."""


@dataclass(frozen=True, slots=True, eq=False)
class Folds:
    """The finished folds of a run, each for the patients that it was not trained on."""

    predict: Predictor
    tested: set[int]
    """Rows of the table that they say something of."""
    waiting: set[int]
    """Rows whose fold is not finished."""


def of_run(run: Path, patients: Sequence[OwnPatient], min_scar_ml: float) -> Folds:
    """Load the folds of a run.

    Raises:
        UsageError: the folder is no run, of another table, or tested nobody.
        ModelError: no fold is finished, or one is damaged.
    """
    record = read_record(run)
    if record is None:
        raise UsageError("the run folder holds no run", "Pass that of scarseg-export train --data")
    if record["digest"] != table_digest(patients):
        raise UsageError(
            "the run was trained on another table", "Pass the table that it was trained on"
        )
    fold_of = {row: fold["name"] for fold in record["folds"] for row in fold["test"]}
    if not fold_of:
        raise UsageError("the run has no patients kept for testing", "Train with --folds 5")
    where = {name: run if name == ALL else run / f"fold{name}" for name in set(fold_of.values())}
    models = {
        name: _load(folder) for name, folder in where.items() if (folder / "model.pt").is_file()
    }  # fmt: skip
    if not models:
        raise ModelError("no fold of the run is finished", "Train it to its end")

    def predict(patient: OwnPatient) -> Mapping[str, Prediction]:
        model = models.get(fold_of.get(patient.row, ""))
        return {} if model is None else _predictions(model, patient, min_scar_ml)

    tested = {row for row, name in fold_of.items() if name in models}
    return Folds(predict, tested, set(fold_of) - tested)


def _load(folder: Path) -> FoldModel:
    trained = load_checkpoint(folder / "model.pt")
    head, own = unplaced_head(trained.net), copy.deepcopy(trained.net)
    try:
        known = torch.load(folder / "heads.pt", weights_only=True)
        head.load_state_dict(known["unplaced"])
        for part in PARTS:
            getattr(own, part).load_state_dict(known[part])
    except (OSError, KeyError, RuntimeError) as error:
        raise ModelError("a fold of the run is damaged", "Train it again") from error
    return FoldModel(trained, head.eval(), own, bool(known["trained"]))


@torch.no_grad()
def _predictions(
    model: FoldModel, patient: OwnPatient, min_scar_ml: float
) -> dict[str, Prediction]:
    net, ablations = model.trained.net, model.trained.ablations
    lge = torch.from_numpy(patient.pixels).float()
    seen = net.see(lge, torch.tensor(patient.spacing_mm).float(), torch.from_numpy(patient.levels))
    image = torch.sigmoid(net.ceiling(seen.scar))
    maps = {IMAGE: image}
    if not patient.ecg_valid or patient.beat_mv is None or patient.gap_days is None:
        maps |= dict.fromkeys((FUSED, UNTIMED), image)
        if model.heads:
            maps[TRAINED_HERE] = image
            blind = unheard(torch.zeros(17))
            maps[ATLAS] = _head(net, ablations.atlas, seen, blind)
            maps[UNPLACED] = image
        return _on_grid(net, seen, maps, min_scar_ml)
    beat = torch.from_numpy(patient.beat_mv).float()
    gap, valid = torch.tensor([patient.gap_days]).float(), torch.ones(1)
    maps[FUSED] = net.fuse(seen, beat, gap, valid).scar
    if model.heads:
        fused = model.own.fuse(seen, beat, gap, valid)
        belief = net.ecg(beat[None, net.lead_rows])[0][0]
        maps[TRAINED_HERE] = fused.scar
        maps[UNTIMED] = _head(net, ablations.untimed, seen, belief)
        maps[ATLAS] = _head(net, ablations.atlas, seen, unheard(belief))
        maps[UNPLACED] = _unplaced(model, seen, belief, fused.disagreement, fused.weight)
    else:
        maps[UNTIMED] = net.fuse(seen, beat, torch.zeros(1), valid).scar
    return _on_grid(net, seen, maps, min_scar_ml)


def _head(net: ScarNet, head: Fusion, seen: Seen, belief: Tensor) -> Tensor:
    """Scar map of a head that knows neither time nor gate, as it was trained."""
    return torch.sigmoid(net.ceiling(seen.scar) + change_map(head, seen, belief))


def _unplaced(model: FoldModel, seen: Seen, belief: Tensor, odd: Tensor, weight: Tensor) -> Tensor:
    """Fusion whose head hears the ECG without a place."""
    net = model.trained.net
    flat = seen.features.permute(0, 2, 3, 1).flatten(0, 2)
    place = torch.zeros(len(flat), dtype=torch.int64)
    change = model.unplaced(
        flat, seen.scar.flatten(), place, nowhere(belief), nowhere(seen.evidence)
    ).view_as(seen.scar)
    image = net.ceiling(seen.scar)
    fused = torch.sigmoid(moved(image, change, odd, net.config))
    return mix(weight, fused, torch.sigmoid(image))


def _on_grid(
    net: ScarNet, seen: Seen, maps: dict[str, Tensor], min_scar_ml: float
) -> dict[str, Prediction]:
    found = {}
    for name, scar in maps.items():
        labels, probability, _, segments = net.to_input_grid(seen, scar)
        found[name] = Prediction(labels.numpy(), segments.numpy(), probability.numpy(), min_scar_ml)
    return found
