"""The result as a JSON document (schema: ``scarseg_infer/schema/result.schema.json``)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scarseg_infer.host.quiet import quiet_readers
from scarseg_infer.study.stack import LgeStack
from scarseg_infer.write.words import RESEARCH_USE
from scarseg_runtime.ecg.quality import EcgQuality
from scarseg_runtime.quantify.quantities import slice_heights_mm
from scarseg_runtime.version import __version__

if TYPE_CHECKING:
    from scarseg_infer.result import EcgUse, ScarResult

SCHEMA_VERSION: Final = "1.3"
_DIGITS: Final = 6


def write_json(result: ScarResult, path: Path, files: Mapping[str, str]) -> None:
    """Write :func:`result_document` as ``path``."""
    document = json.dumps(result_document(result, files), indent=2, allow_nan=False)
    path.write_text(document + "\n", encoding="utf-8")


def result_document(result: ScarResult, files: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The result in plain values that keep the JSON schema.

    Volumes in mL, masses in g, fractions 0–1 unless a name says percent. Of the source only
    its study and series UIDs appear: no name, no patient ID, no dates but the gap.

    Args:
        files: names of the files written beside it, by output.
    """
    quantities = asdict(result.quantities)
    segments = quantities.pop("segments")
    image_only = asdict(result.image_only_quantities)
    del image_only["segments"]
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "statement": RESEARCH_USE,
        "software": {"name": "scarseg-infer", "version": __version__},
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": asdict(result.model),
        "input": _input(result.stack),
        "ecg": _ecg(result.ecg),
        "quantities": quantities,
        "segments": list(segments),
        "image_only_quantities": image_only,
        "characteristics": asdict(result.characteristics),
        "timings_ms": dict(result.timings_ms),
        "warnings": list(result.warnings),
        "files": dict(files or {}),
    }
    return {key: _plain(value) for key, value in document.items()}


def _input(stack: LgeStack) -> dict[str, Any]:
    positions = stack.slice_positions_mm
    studies, series = (_uids(stack, f"{level}InstanceUID") for level in ("Study", "Series"))
    return {
        "source": stack.source,
        "image_kind": stack.image_kind,
        "slices": len(stack.pixels),
        "rows": stack.pixels.shape[1],
        "columns": stack.pixels.shape[2],
        "pixel_spacing_mm": list(stack.pixel_spacing_mm),
        "slice_positions_mm": (positions - positions[0]).tolist(),
        "slice_heights_mm": slice_heights_mm(positions, stack.slice_thickness_mm).tolist(),
        "orientation_known": stack.orientation_known,
        "study_instance_uid": studies[0] if studies else None,
        "series_instance_uids": series,
    }


def _uids(stack: LgeStack, keyword: str) -> list[str]:
    """Different UIDs of the source images in slice order; empty where there are none."""
    if not stack.datasets:
        return []
    # Imported here, since the page needs this module and no pydicom.
    from scarseg_infer.study.dicom.parse import text

    with quiet_readers():  # pydicom would quote what is no UID, and it may be a name
        found = [text(dataset, keyword) for dataset in stack.datasets]
    return [uid for uid in dict.fromkeys(found) if uid]


def _ecg(ecg: EcgUse) -> dict[str, Any]:
    belief = ecg.segment_belief
    return {
        "given": ecg.given,
        "weight": ecg.weight,
        "gap_days": ecg.gap_days if _is_finite(ecg.gap_days) else None,
        "gap_source": ecg.gap_source,
        "reason": ecg.reason,
        "source": ecg.source,
        "heart_rate_bpm": ecg.heart_rate_bpm,
        "beats_averaged": ecg.beats_averaged,
        "derived_leads": list(ecg.derived_leads),
        "quality": None if ecg.quality is None else _quality(ecg.quality),
        "segment_belief": None if belief is None else [float(b) for b in belief],
        "ecg_image_disagreement": ecg.image_disagreement,
    }


def _quality(quality: EcgQuality) -> dict[str, Any]:
    """Without what stands elsewhere in the document."""
    return {
        "qrs_ms": quality.qrs_ms,
        "pattern": quality.pattern,
        "pacing": quality.pacing,
        "exchanged_electrodes": quality.exchanged_electrodes,
        "findings": list(quality.findings),
        "leads": [asdict(lead) for lead in quality.leads],
    }


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _plain(value: Any) -> Any:
    """Floats rounded to six digits after the point, everything else as it is."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return round(float(value), _DIGITS) if isinstance(value, float) else value
