"""A training on a table, fold by fold; what is finished is not repeated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from scarseg_export.net.network import ScarNet
from scarseg_export.patients.classes import Classes
from scarseg_export.patients.load import OwnPatient
from scarseg_export.patients.open import open_table
from scarseg_export.patients.reader import patient_reader
from scarseg_export.train.checkpoint import save_checkpoint
from scarseg_export.train.device import training_device
from scarseg_export.train.ecg import train_ecg
from scarseg_export.train.fusion import Ablations
from scarseg_export.train.localiser import train_localiser
from scarseg_export.tune.cache import read_patients
from scarseg_export.tune.flag import flag_threshold, keep_scores, kept_scores, own_scores
from scarseg_export.tune.folds import ALL, Fold, folds_of
from scarseg_export.tune.fusion_stage import tune_fusion
from scarseg_export.tune.image_stage import Parts, tune_image
from scarseg_export.tune.settings import TuneSettings
from scarseg_export.tune.stacks import found_centres, heart_centres
from scarseg_export.tune.start import Start, checkpoint_of, start_from, unplaced_head
from scarseg_runtime.errors import UsageError
from scarseg_runtime.version import __version__

RECORD = "run.json"
SCRATCH = "the twin and own patients, from nothing"


def tune(
    table: Path,
    run: Path,
    settings: TuneSettings,
    *,
    classes: Path | None = None,
    start: Path | None = None,
    device: str = "auto",
) -> Path:
    """Train on a table of patients and write ``run/model.pt`` and one a fold.

    An interrupted run goes on where it stopped. The folder belongs to one table, one model to begin
    with, and one recipe.

    Args:
        start: model file or checkpoint to begin with; None trains from nothing.
        device: of the image network: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UsageError: the table has errors or too few groups, the folder belongs to another run, or
            the device cannot be used.
        ModelError: the model to begin with cannot be used.
    """
    where = training_device(device)
    rows, problems, meaning = open_table(table, classes)
    begun = None if start is None else start_from(start)
    torch.set_num_threads(settings.recipe.threads)
    patients = read_patients(rows, problems, meaning, patient_reader(), run / "patients")
    folds = folds_of(patients, settings.folds, settings.validation_share, settings.seed)
    record = _record(patients, folds, settings, begun, meaning)
    _claim(run, record)
    if begun is None:
        begun = _from_nothing(run, settings, where)
    _write(run / "localiser.json", _localiser_says(begun.net, patients))
    for number, fold in enumerate(folds, start=1):
        tqdm.write(f"fold {fold.name} ({number} of {len(folds)}): {len(fold.train)} patients")
        _fold(run, fold, patients, settings, begun, where, record, scratch=start is None)
    return run / "model.pt"


def _fold(
    run: Path,
    fold: Fold,
    patients: Sequence[OwnPatient],
    settings: TuneSettings,
    begun: Start,
    device: torch.device,
    record: dict[str, Any],
    *,
    scratch: bool,
) -> None:
    folder = run if fold.name == ALL else run / f"fold{fold.name}"
    target = folder / "model.pt"
    if target.exists():
        return
    work = run / "work" / fold.name
    by_row = {patient.row: patient for patient in patients}
    parts = Parts(*([by_row[row] for row in part] for part in (fold.train, fold.validation)))
    own = begun.fresh()
    net, unplaced = own.net, unplaced_head(own.net)
    said: dict[str, Any] = {
        "image": tune_image(
            net, parts, settings, work, run / "twin" / "image", device, scratch=scratch,
            name=f"image, fold {fold.name}",
        )
    }  # fmt: skip
    said |= tune_fusion(
        net, own.ablations, unplaced, parts.train, settings, work / "fusion",
        run / "twin" / "pairs", scratch=scratch,
    )  # fmt: skip
    said["flag"] = _flag(run, fold, by_row, net, said, settings, work)
    found = said["flag"]["threshold"]
    threshold = own.threshold if found is None else float(found)
    recipe = {"cine_share": 0.0, **own.recipe, "own": record["settings"]}
    checkpoint = replace(checkpoint_of(own, threshold, recipe), facts=_facts(record, fold, said))
    folder.mkdir(parents=True, exist_ok=True)
    heads = {"trained": said["fusion"]["trained"], "unplaced": unplaced.state_dict()}
    torch.save(heads, folder / "heads.pt")
    _write(folder / "stages.json", said)
    if fold.name != ALL:
        tested = [by_row[row] for row in fold.test]
        keep_scores(folder, own_scores(net, tested, settings.seed))
    save_checkpoint(target, checkpoint)
    for line in statements(said):
        tqdm.write(f"fold {fold.name}: {line}")


def _flag(
    run: Path,
    fold: Fold,
    by_row: Mapping[int, OwnPatient],
    net: ScarNet,
    said: dict[str, Any],
    settings: TuneSettings,
    work: Path,
) -> dict[str, Any]:
    """Statement on the threshold of the disagreement flag. What it compares moves with the image
    and with the agreement; where neither was trained it stays as it came."""
    if not (said["image"]["trained"] or said["agreement"]["trained"]):
        return {"threshold": None, "set_on": "nothing", "pairs": 0, "why": "nothing was trained"}
    folds = sorted(run.glob("fold*")) if fold.name == ALL else []
    validation = [by_row[row] for row in fold.validation]
    held_out = kept_scores(folds) or own_scores(net, validation, settings.seed)
    # Models of folds only score; simulated patients are worth their time for what is deployed.
    simulate = fold.name == ALL and settings.twin_share > 0
    twin = run / "twin" / "held-out" if simulate else None
    return flag_threshold(net, held_out, settings, work / "held-out", twin)


def statements(said: dict[str, Any]) -> list[str]:
    """Sentences on what was trained and what kept its weights."""
    lines = []
    for stage in ("image", "fusion", "agreement"):
        found = said[stage]
        what = "trained" if found["trained"] else f"kept as it was ({found['why']})"
        lines.append(f"{stage}: {what}")
    tau = said["tau"]
    if tau["adopted"]:
        low, high = tau["low_days"], tau["high_days"]
        lines.append(f"τ: {tau['tau_days']:.0f} days ({low:.0f} to {high:.0f}) from the pairs")
    else:
        how = "learned from the twin" if tau.get("from_twin") else "kept"
        lines.append(f"τ: {tau['used_days']:.0f} days, {how} ({tau['why']})")
    flag = said.get("flag")  # runs of earlier releases have none
    if flag is not None and flag["threshold"] is None:
        lines.append(f"disagreement flag: threshold kept ({flag['why']})")
    elif flag is not None:
        lines.append(
            f"disagreement flag: above {flag['threshold']:.2f}, from {flag['pairs']} "
            f"{flag['set_on']}"
        )
    return lines


def _facts(record: dict[str, Any], fold: Fold, said: dict[str, Any]) -> dict[str, Any]:
    """Statements of a model file made of this: the table's own words, and counts."""
    words = record["data"] or "labelled patients of whom their table says nothing"
    count = len(fold.train) + len(fold.validation)
    begun = record["start"]
    trained = begun.get("training_data")
    how = f"Fine-tuned from {begun['name']}, trained on: {trained}" if trained else (
        "From nothing, together with the digital twin."
    )  # fmt: skip
    return {
        "name": "scarseg-own",
        "version": f"{__version__}+{record['digest'][:8]}",
        "training_data": f"{count} patients: {words.rstrip('.')}. {how}",
        "licence": record["licence"] or "not stated",
    }


def table_digest(patients: Sequence[OwnPatient]) -> str:
    """Digest of all that patients and their table say."""
    digest = hashlib.sha256()
    for patient in patients:
        said = (patient.row, patient.group, patient.split, patient.weight, patient.gap_days)
        digest.update(repr(said).encode())
        for values in (patient.pixels, patient.labels, patient.beat_mv):
            digest.update(b"-" if values is None else np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _record(
    patients: Sequence[OwnPatient],
    folds: Sequence[Fold],
    settings: TuneSettings,
    begun: Start | None,
    classes: Classes,
) -> dict[str, Any]:
    """All that decides on the run, to be found again in it."""
    start = {"name": SCRATCH} if begun is None else {
        "name": begun.name, "sha256": begun.sha256, "training_data": begun.training_data,
    }  # fmt: skip
    return {
        "digest": table_digest(patients),
        "patients": len(patients),
        "data": classes.about.get("training_data", ""),
        "licence": classes.about.get("licence", ""),
        "start": start,
        "settings": json.loads(json.dumps(settings.to_dict())),
        "folds": json.loads(json.dumps([asdict(fold) for fold in folds])),
    }


def _claim(run: Path, record: dict[str, Any]) -> None:
    known = read_record(run)
    if known is not None and known != record:
        parts = ("digest", "start", "settings")
        changed = [part for part in parts if known.get(part) != record[part]]
        word = {"digest": "table", "start": "model to begin with", "settings": "recipe"}
        what = word[changed[0]] if changed else "description of its patients"
        raise UsageError(f"the run folder belongs to another {what}", "Train into a new folder")
    run.mkdir(parents=True, exist_ok=True)
    _write(run / RECORD, record)


def read_record(run: Path) -> dict[str, Any] | None:
    """Record of a run folder; None where it is none."""
    try:
        return dict(json.loads((run / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _write(path: Path, content: Any) -> None:
    partial = path.with_suffix(".partial")
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _from_nothing(run: Path, settings: TuneSettings, device: torch.device) -> Start:
    """An untrained network but for localiser and ECG encoder, which are trained on the twin:
    neither can be learned from a hundred patients."""
    recipe = replace(settings.recipe, seed=settings.seed)
    torch.manual_seed(settings.seed)
    net = ScarNet(recipe.network)
    base = run / "base"
    base.mkdir(parents=True, exist_ok=True)
    _stage(base / "ecg.pt", net.ecg, lambda: train_ecg(base / "ecg", recipe))
    _stage(
        base / "localiser.pt", net.localiser,
        lambda: train_localiser(base / "localiser", recipe, None, device),
    )  # fmt: skip
    ablations = Ablations(net)
    return Start(net.eval(), ablations.eval(), 1.0, False, SCRATCH, "", "", recipe.to_dict(), {})


def _stage(path: Path, module: nn.Module, work: Any) -> None:
    if not path.exists():
        torch.save(work().state_dict(), path)
    module.load_state_dict(torch.load(path, weights_only=True))
    module.eval()


def _localiser_says(net: ScarNet, patients: Sequence[OwnPatient]) -> dict[str, Any]:
    """Distances of the localiser, which is not trained on own patients, from them."""
    apart = [
        float(np.linalg.norm(
            found_centres(p, net.localiser).mean(0) - heart_centres(p, net.localiser).mean(0)
        ))
        for p in patients
        if p.anatomy
    ]  # fmt: skip
    if not apart:
        return {"patients": 0}
    said = {"patients": len(apart), "median_mm": float(np.median(apart)), "worst_mm": max(apart)}
    tqdm.write(
        f"localiser: kept; off by {said['median_mm']:.1f} mm (median), {said['worst_mm']:.1f} mm "
        f"(worst) on {len(apart)} patients"
    )
    return said
