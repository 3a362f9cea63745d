"""One fold of a training on a table: its stages, and what of them is kept."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from scarseg_export.net.network import ScarNet
from scarseg_export.patients.load import OwnPatient
from scarseg_export.train.checkpoint import save_checkpoint
from scarseg_export.tune.adopt import PARTS, choose_fusion, choose_image, shift_scar, take
from scarseg_export.tune.flag import Scores, flag_threshold, pair_scores
from scarseg_export.tune.folds import ALL, Fold
from scarseg_export.tune.fusion_stage import tune_fusion
from scarseg_export.tune.held_out import (
    SHIPPED,
    TRAINED,
    Heart,
    HeldOut,
    ImageEvidence,
    image_evidence,
    keep,
    kept,
    look,
    pair_evidence,
    with_ecg,
)
from scarseg_export.tune.image_stage import Parts, tune_image
from scarseg_export.tune.settings import TuneSettings
from scarseg_export.tune.start import Start, checkpoint_of, unplaced_head
from scarseg_export.tune.statements import statements
from scarseg_runtime.version import __version__
from scarseg_runtime.whole import whole_file


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """Parts of a run that all folds share."""

    run: Path
    by_row: Mapping[int, OwnPatient]
    settings: TuneSettings
    begun: Start
    scratch: bool
    """``begun`` is untrained but for localiser and ECG encoder."""
    device: torch.device
    """Of the image network."""
    record: dict[str, Any]

    def patients(self, rows: Sequence[int]) -> list[OwnPatient]:
        return [self.by_row[row] for row in rows]

    def hearts(self, net: ScarNet, rows: Sequence[int]) -> list[Heart]:
        """Patients held out, as ``net`` sees them."""
        return look(net, self.patients(rows), self.settings.seed)


def train_fold(training: Training, fold: Fold) -> None:
    """Train the model of a fold, or of the run on everybody, unless it is there already."""
    whole = fold.name == ALL
    folder = training.run if whole else training.run / f"fold{fold.name}"
    target = folder / "model.pt"
    if target.exists():
        return
    own = training.begun.fresh()
    # The run on everybody has no patient left to ask but the tested ones of the folds.
    others = kept(sorted(training.run.glob("fold*"))) if whole else HeldOut([], [], [])
    said: dict[str, Any] = {}
    said["image"], image = _image(training, fold, own.net, others)
    unplaced = unplaced_head(own.net)
    came = None if training.scratch else copy.deepcopy(own.net)
    said |= _fusion(training, fold, own, unplaced)
    ways = {} if came is None else {SHIPPED: came}
    if said["fusion"]["trained"] or said["tau"]["adopted"]:
        ways[TRAINED] = copy.deepcopy(own.net)
    validation = training.hearts(own.net, fold.validation)
    way, used = choose_fusion(others.pairs or pair_evidence(validation, ways), list(ways))
    take(own.net, way, came)
    said["fusion"] |= used
    said["tau"] |= {"used_days": own.net.taff.tau_days}
    scores = others.disagreement or _disagreement(own.net, validation)
    said["flag"] = _flag(training, fold, own.net, said, scores)
    folder.mkdir(parents=True, exist_ok=True)
    if not whole:
        tested = training.hearts(own.net, fold.test)
        odd = _disagreement(own.net, tested)
        keep(folder, HeldOut(image, pair_evidence(tested, ways), odd))
    heads = {"unplaced": unplaced.state_dict(), "trained": said["fusion"]["trained"]} | {
        part: getattr(ways.get(TRAINED, own.net), part).state_dict() for part in PARTS
    }
    with whole_file(folder / "heads.pt") as part:
        torch.save(heads, part)
    _save(training, fold, own, said, folder)


def _image(
    training: Training, fold: Fold, net: ScarNet, others: HeldOut
) -> tuple[dict[str, Any], list[ImageEvidence]]:
    """Train the image network and decide on it; the statement, and what the tested part says."""
    parts = Parts(training.patients(fold.train), training.patients(fold.validation))
    said = tune_image(
        net, parts, training.settings, training.run / "work" / fold.name,
        training.run / "twin" / "image", training.device, scratch=training.scratch,
        name=f"image, fold {fold.name}",
    )  # fmt: skip
    if not said["trained"]:
        return said | {"adopted": False}, []
    before = training.begun.net

    def evidence(rows: Sequence[int]) -> list[ImageEvidence]:
        old = None if training.scratch else training.hearts(before, rows)
        return image_evidence(training.hearts(net, rows), old)

    tested = evidence(fold.test)
    choice = choose_image(others.image or evidence(fold.validation))
    if choice.adopted:
        shift_scar(net, choice.shift)
    else:
        net.image.load_state_dict(before.image.state_dict())
    return said | choice.said | {"adopted": choice.adopted}, tested


def _fusion(training: Training, fold: Fold, own: Start, unplaced: nn.Module) -> dict[str, Any]:
    return tune_fusion(
        own.net, own.ablations, unplaced, training.patients(fold.train), training.settings,
        training.run / "work" / fold.name / "fusion", training.run / "twin" / "pairs",
        scratch=training.scratch,
    )  # fmt: skip


def _disagreement(net: ScarNet, hearts: Sequence[Heart]) -> Scores:
    return pair_scores(net, [heart.patient for heart in with_ecg(hearts)])


def _flag(
    training: Training, fold: Fold, net: ScarNet, said: Mapping[str, Any], scores: Scores
) -> dict[str, Any]:
    """Statement on the threshold of the disagreement flag. What it compares moves with the image
    and with the agreement; where neither was trained it stays as it came."""
    agreement = said["agreement"]["trained"] and said["fusion"]["used"] == TRAINED
    if not (said["image"]["adopted"] or agreement):
        return {"threshold": None, "set_on": "nothing", "pairs": 0, "why": "nothing was trained"}
    # Models of folds only score; simulated patients are worth their time for what is deployed.
    simulate = fold.name == ALL and training.settings.twin_share > 0
    twin = training.run / "twin" / "held-out" if simulate else None
    folder = training.run / "work" / fold.name / "held-out"
    return flag_threshold(net, scores, training.settings, folder, twin)


def _save(training: Training, fold: Fold, own: Start, said: dict[str, Any], folder: Path) -> None:
    """Write the records, and last the checkpoint, which says that the fold is finished."""
    found = said["flag"]["threshold"]
    threshold = own.threshold if found is None else float(found)
    recipe = {"cine_share": 0.0, **own.recipe, "own": training.record["settings"]}
    facts = _facts(training.record, fold, said)
    checkpoint = replace(checkpoint_of(own, threshold, recipe), facts=facts)
    write_json(folder / "stages.json", said)
    save_checkpoint(folder / "model.pt", checkpoint)
    for line in statements(said):
        tqdm.write(f"fold {fold.name}: {line}")


def _facts(record: Mapping[str, Any], fold: Fold, said: Mapping[str, Any]) -> dict[str, Any]:
    """Statements of a model file made of this: the table's own words, and counts."""
    words = record["data"] or "labelled patients of whom their table says nothing"
    who = f"{len(fold.train) + len(fold.validation)} patients: {words.rstrip('.')}"
    begun, fusion = record["start"], said["fusion"]["used"]
    before = f"{begun['name']}, trained on: {begun.get('training_data')}"
    learned = said["image"]["adopted"] or fusion != SHIPPED
    if "training_data" not in begun:
        data = f"{who}. From nothing, together with the digital twin."
    elif learned or said["flag"]["threshold"] is not None:
        data = f"{who}. Fine-tuned from {before}"
    else:
        data = f"Nothing is used of {who}. The weights are those of {before}"
    return {
        "name": "scarseg-own",
        "version": f"{__version__}+{record['digest'][:8]}",
        "training_data": data,
        "licence": record["licence"] or "not stated",
    }


def write_json(path: Path, content: Any) -> None:
    """Write a record, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
