"""Parity of a model file, on every provider and precision that runs here, with PyTorch FP32.

The table travels in the file, with the SHA-256 of the graph that it was measured on. A precision
that misses a gate (scarseg_runtime.model_file.gates) is not used unless somebody asks for it by
name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from scarseg_export.deploy.model_io import load_model, set_metadata, write_model
from scarseg_export.deploy.onnx_weights import network_of
from scarseg_export.evaluation.metrics import dice
from scarseg_export.verify.studies import TWIN_CASES, Study, covered, studies
from scarseg_runtime.contract import OUTPUTS, Label
from scarseg_runtime.errors import ModelError, ProviderError, ScarsegError
from scarseg_runtime.model import open_session
from scarseg_runtime.model_file.gates import passes
from scarseg_runtime.model_file.read import ModelFile, read_model_file, with_half_variant
from scarseg_runtime.providers.registry import (
    PRECISIONS,
    Candidate,
    candidates,
    provider_named,
)

Outputs = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Difference:
    """One study on one provider against the reference."""

    study: str
    probability: float
    """Largest absolute difference of scar probability."""
    agreement: float
    """Share of equal labels."""
    dice: float | None
    """Absolute difference of scar Dice with the truth; None where there is no true scar."""
    burden: float
    """Absolute difference of scar, % of LV mass."""
    finite: bool


def verify(
    path: Path,
    provider: str = "auto",
    precisions: Collection[str] = PRECISIONS,
    *,
    cases: int = TWIN_CASES,
) -> dict[str, dict[str, Any]]:
    """Measure the model file, and its FP16 variant beside it, on what runs here; write the table
    into each file.

    Args:
        provider: only this one; ``auto`` for all that can run here.
        precisions: only these.
        cases: twin patients; edge cases come on top.

    Returns the rows by "provider precision"; one that cannot run has ``error`` instead of numbers
    and is not written.

    Raises:
        ModelError: the file is missing, damaged, or an FP16 variant itself.
        ProviderError: what was asked for cannot run here.
    """
    files = with_half_variant(path)
    if files[0].metadata.precision != "fp32":
        raise ModelError(
            "this is an FP16 variant, which has no FP32 weights to compare with",
            "Verify the FP32 file; the variant beside it is verified too",
        )
    wanted = _wanted(files, provider, precisions)
    rows = measure(files[0], wanted, cases)
    for model in files:
        measured = {_name(c): rows[_name(c)] for c in wanted if c.model == model}
        write_table(model.path, {n: row for n, row in measured.items() if "error" not in row})
    return rows


def _wanted(files: list[ModelFile], provider: str, precisions: Collection[str]) -> list[Candidate]:
    if provider != "auto":
        provider_named(provider)
    fitting = [
        c
        for c in candidates(files)
        if provider in ("auto", c.provider.name) and c.precision in precisions
    ]
    runnable = [c for c in fitting if c.unusable is None]
    if not runnable:
        why = fitting[0].unusable if fitting else "the model has no such variant"
        named = " or ".join(precisions) if len(precisions) < len(PRECISIONS) else "any precision"
        raise ProviderError(f"{provider} in {named} cannot be verified here: {why}")
    return runnable


def measure(model: ModelFile, wanted: Iterable[Candidate], cases: int) -> dict[str, dict[str, Any]]:
    """Rows of the table: every candidate against the reference of ``model``."""
    reference, name = _reference(model)
    sessions, rows = {}, {}
    for candidate in wanted:
        try:
            sessions[_name(candidate)] = open_session(candidate)
        except ScarsegError as error:
            rows[_name(candidate)] = {"error": str(error)}
    found: dict[str, list[Difference]] = {key: [] for key in sessions}
    image_only = model.metadata.image_only
    chosen = covered(studies(cases), model.metadata)
    for study in tqdm(chosen, desc=f"compare with {name}", mininterval=2):
        theirs = reference(study)
        for key, session in sessions.items():
            ours = session.execute(study.arrays(image_only=image_only))
            found[key].append(difference(study, ours, theirs))
    return rows | {key: table_row(values, name) for key, values in found.items()}


def _name(candidate: Candidate) -> str:
    return f"{candidate.provider.name} {candidate.precision}"


def _reference(model: ModelFile) -> tuple[Callable[[Study], Outputs], str]:
    """Make the reference that all are compared with: PyTorch FP32 with the weights of the file. An
    image-only model of another architecture was compared with PyTorch when it was exported; its
    reference here is ONNX Runtime on the CPU in FP32."""
    if model.metadata.image_only:
        from scarseg_runtime.providers.onnxruntime.session import OnnxSession

        session = OnnxSession.open(model, "cpu")
        return lambda study: session.execute(study.arrays(image_only=True)), "onnxruntime cpu fp32"
    net = network_of(load_model(model.path), model.metadata)
    names = [spec.name for spec in OUTPUTS]

    @torch.no_grad()
    def run(study: Study) -> Outputs:
        values = net(*(torch.from_numpy(array) for array in study.arrays().values()))
        return {name: value.numpy() for name, value in zip(names, values, strict=True)}

    return run, "pytorch fp32"


def difference(study: Study, ours: Outputs, theirs: Outputs) -> Difference:
    """Compare outputs by the names of the contract."""
    labels, reference = ours["labels"], theirs["labels"]
    apart = np.abs(ours["scar_probability"] - theirs["scar_probability"])
    scar = None if study.truth is None else study.truth == Label.SCAR
    return Difference(
        study.name,
        float(np.nanmax(apart, initial=0.0)),
        float((labels == reference).mean()),
        abs(dice(labels == Label.SCAR, scar) - dice(reference == Label.SCAR, scar))
        if scar is not None and scar.any()
        else None,
        abs(_burden(labels) - _burden(reference)),
        all(bool(np.isfinite(value).all()) for value in ours.values()),
    )


def _burden(labels: NDArray[np.uint8]) -> float:
    scar = int((labels == Label.SCAR).sum())
    wall = scar + int((labels == Label.VIABLE_MYOCARDIUM).sum())
    return 100.0 * scar / wall if wall else 0.0


def table_row(differences: list[Difference], reference: str) -> dict[str, Any]:
    """Worst study of every measure, and whether all gates are passed."""
    dices = [d.dice for d in differences if d.dice is not None]
    row = {
        "reference": reference,
        "studies": len(differences),
        "max_abs_probability_difference": max(d.probability for d in differences),
        "label_agreement": min(d.agreement for d in differences),
        "max_scar_dice_difference": max(dices, default=0.0),
        "max_burden_difference": max(d.burden for d in differences),
        "finite": all(d.finite for d in differences),
        "worst_study": min(differences, key=lambda d: d.agreement).study,
    }
    return row | {"passed": passes(row)}


def write_table(path: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Add rows to the verification table of a model file, bound to its graph. Rows that were
    measured on another graph are dropped."""
    if not rows:
        return
    before = read_model_file(path)
    old = before.metadata.verification
    kept = old.get("rows", {}) if old.get("graph_sha256") == before.graph_sha256 else {}
    table = {"graph_sha256": before.graph_sha256, "rows": {**kept, **rows}}
    model = load_model(path)
    set_metadata(model, {"verification": table})
    write_model(model, path)
