"""A training on a table, fold by fold; what is finished is not repeated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
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
from scarseg_export.patients.reader import PatientReader, patient_reader
from scarseg_export.train.device import training_device
from scarseg_export.train.ecg import train_ecg
from scarseg_export.train.fusion import Ablations
from scarseg_export.train.localiser import train_localiser
from scarseg_export.tune.cache import keep_patients, read_patients
from scarseg_export.tune.folds import Fold, folds_of
from scarseg_export.tune.one_fold import Training, train_fold, write_json
from scarseg_export.tune.settings import TuneSettings
from scarseg_export.tune.stacks import found_centres, heart_centres
from scarseg_export.tune.start import Start, start_from
from scarseg_runtime.errors import UsageError
from scarseg_runtime.whole import whole_file

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
    reader: PatientReader | None = None,
) -> Path:
    """Train on a table of patients and write ``run/model.pt`` and one a fold.

    An interrupted run goes on where it stopped. The folder belongs to one table, one model to begin
    with, and one recipe.

    Args:
        start: model file or checkpoint to begin with; None trains from nothing.
        device: of the image network: ``auto``, ``cpu`` or ``cuda``.
        reader: of the patients; by default :func:`patient_reader`.

    Raises:
        UsageError: the table has errors or too few groups, the folder belongs to another run, or
            the device cannot be used.
        ModelError: the model to begin with cannot be used.
    """
    where = training_device(device)
    rows, problems, meaning = open_table(table, classes)
    begun = None if start is None else start_from(start)
    torch.set_num_threads(settings.recipe.threads)
    cache = run / "patients"
    patients, keys = read_patients(rows, problems, meaning, reader or patient_reader(), cache)
    folds = folds_of(patients, settings.folds, settings.validation_share, settings.seed)
    record = _record(patients, folds, settings, begun, meaning)
    _claim(run, record)
    keep_patients(cache, rows, patients, keys)
    if begun is None:
        begun = _from_nothing(run, settings, where)
    write_json(run / "localiser.json", _localiser_says(begun.net, patients))
    by_row = {patient.row: patient for patient in patients}
    training = Training(run, by_row, settings, begun, start is None, where, record)
    for number, fold in enumerate(folds, start=1):
        tqdm.write(f"fold {fold.name} ({number} of {len(folds)}): {len(fold.train)} patients")
        train_fold(training, fold)
    return run / "model.pt"


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
    write_json(run / RECORD, record)


def read_record(run: Path) -> dict[str, Any] | None:
    """Record of a run folder; None where it is none."""
    try:
        return dict(json.loads((run / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


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
        state = work().state_dict()
        with whole_file(path) as part:
            torch.save(state, part)
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
