"""A run's model as the folder that is handed on: files, engine, verification table, model card."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from scarseg_export.deploy.half import write_half_variant
from scarseg_export.deploy.onnx_export import export_onnx
from scarseg_export.tune.run import read_record
from scarseg_export.tune.statements import statements
from scarseg_export.verify.parity import verify
from scarseg_export.verify.table import table_lines
from scarseg_runtime.errors import ModelError, OutputError, UsageError
from scarseg_runtime.model_file.read import half_variant_path, read_model_file
from scarseg_runtime.providers.engine_cache import beside_path
from scarseg_runtime.providers.registry import OF_THE_VARIANT
from scarseg_runtime.whole import not_written, whole_folder

MODEL, CARD = "model.onnx", "MODEL_CARD.md"
ENGINE: Final = "tensorrt-rtx"
PROFILE = ((1, 16, 16), (12, 256, 216), (40, 1024, 1024))


def deploy(run: Path, out: Path, *, min_scar_ml: float, cases: int) -> Path:
    """Write folder ``out`` from a finished run of ``train --data``, whole or not at all.

    It holds the FP32 model file and its FP16 variant, both verified here, a TensorRT-RTX engine
    where that is installed, and a model card made of the run's own records.

    Args:
        min_scar_ml: smaller islands of scar count as noise.
        cases: simulated patients to verify on.

    Raises:
        UsageError: the folder holds no run of ``train --data``.
        ModelError: the run is not finished, or the FP32 file does not pass verification.
        OutputError: ``out`` is there already or cannot be written.
    """
    record = read_record(run)
    if record is None:
        raise UsageError("the run folder holds no run", "Pass that of scarseg-export train --data")
    if not (run / "model.pt").is_file():
        raise ModelError("the run is not finished", "Train it to its end")
    if out.exists():
        raise OutputError("the folder is there already", "Choose another name")
    try:
        with whole_folder(out) as part:
            place = part / MODEL
            model = export_onnx(run / "model.pt", place, min_scar_ml=min_scar_ml, cases=cases)
            write_half_variant(model)
            verify(model, precisions=OF_THE_VARIANT, cases=cases)
            _check(model)
            if find_spec("tensorrt_rtx") is not None:
                _write_engine(half_variant_path(model))
            card = model_card(model, record, _stages(run))
            (part / CARD).write_text(card, encoding="utf-8")
    except OSError as error:
        raise not_written("the folder", error) from error
    return out


def _check(model: Path) -> None:
    rows = read_model_file(model).metadata.verification.get("rows", {})
    failed = [name for name, row in rows.items() if name.endswith("fp32") and not row["passed"]]
    if failed or not rows:
        raise ModelError(
            f"the FP32 file did not pass verification ({', '.join(failed) or 'nothing ran'})",
            "Look at scarseg-export verify",
        )


def _write_engine(model: Path) -> None:
    from scarseg_runtime.providers.tensorrt.build import (
        Profile,
        Target,
        build_engine,
        write_engine,
    )

    engine, sidecar = build_engine(read_model_file(model), ENGINE, Profile(*PROFILE), Target())
    write_engine(beside_path(model, ENGINE), engine, sidecar)


def _stages(run: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads((run / "stages.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def model_card(model: Path, record: dict[str, Any], stages: dict[str, Any] | None) -> str:
    """Markdown of what the run recorded and the file says of itself; nothing else."""
    metadata = read_model_file(model).metadata
    half = read_model_file(half_variant_path(model)).metadata
    rows = {**metadata.verification.get("rows", {}), **half.verification.get("rows", {})}
    settings, tested = record["settings"], sum(len(fold["test"]) for fold in record["folds"])
    lines = [
        f"# {metadata.name} {metadata.version}",
        "",
        f"{metadata.intended_use}",
        "",
        f"- **Data**: {metadata.training_data}",
        f"- **Licence**: {metadata.licence}",
        f"- **Began with**: {record['start']['name']}",
        f"- **Patients**: {record['patients']}; {tested} of them tested on in folds, by "
        "`scarseg-export score TABLE --folds RUN`",
        f"- **Seed** {settings['seed']}, share of simulated patients {settings['twin_share']:g}, "
        f"folds {settings['folds']}",
        f"- **τ** {metadata.tau_days:.0f} days; **δ_max** {metadata.delta_max:g}; islands of scar "
        f"below {metadata.min_scar_ml:g} mL count as noise",
        "",
        "## What was trained",
        "",
        *(f"- {line}" for line in (statements(stages) if stages else ())),
        "",
        "## Verification",
        "",
        "```text",
        *table_lines(rows),
        "```",
        "",
        "Scores on patients are in the report of `scarseg-export score`, not in this card.",
        "",
    ]
    return "\n".join(lines)
