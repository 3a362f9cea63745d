"""The one self-describing model file: reading its metadata and checking it keeps the contract."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from scarseg_runtime.contract import (
    BEAT_R_INDEX,
    BEAT_SAMPLES,
    ECG_RATE_HZ,
    FORMAT_VERSION,
    IMAGE_INPUTS,
    INPUTS,
    LEADS,
    OUTPUTS,
    Label,
    TensorSpec,
)
from scarseg_runtime.errors import ModelError
from scarseg_runtime.model_file.envelope import read_envelope, read_model_bytes

PREFIX: Final = "scarseg."
"""All our keys in the ONNX ``metadata_props`` start so; each value is a JSON text."""

HALF_SUFFIX: Final = ".fp16.onnx"

_NUMBERS: Final = (
    "tau_days", "delta_max", "disagreement_threshold", "working_spacing_mm", "min_scar_ml",
)  # fmt: skip

_TEXTS: Final = (
    "name", "version", "training_data", "licence", "intended_use", "recipe_revision", "precision",
    "fp32_graph_sha256",
)  # fmt: skip

MAX_ENTRY_CHARS: Final = 1 << 20
"""Of one entry's JSON text; a longer one counts as missing."""
MAX_TEXT_CHARS: Final = 4000
_SHOWN_CHARS: Final = 60

_ADVICE: Final = "Export it again with scarseg-export onnx"


class _Tensor(Protocol):
    name: str
    type: str
    shape: list[Any]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """Metadata of a model file (ONNX ``metadata_props``, prefix ``scarseg.``)."""

    name: str
    version: str
    training_data: str
    licence: str
    intended_use: str
    recipe_revision: str
    """Version-control revision of the recipe that trained the model."""
    recipe: Mapping[str, Any]
    tau_days: float
    """Learned TAFF time constant."""
    delta_max: float
    """Largest change of a scar logit by the ECG."""
    disagreement_threshold: float
    """``ecg_image_disagreement`` above this is flagged; 5 % of right pairs of the twin are."""
    working_spacing_mm: float
    classes: tuple[Mapping[str, Any], ...]
    """value, name and display colour (#rrggbb) of each label."""
    min_scar_ml: float
    """Scar islands smaller than this are taken for noise; chosen on simulated hearts."""
    precision: str
    """Type of the image convolutions: ``fp32`` or ``fp16``."""
    half_convolutions: int
    """Convolutions that must compute in FP16; 0 in an FP32 file."""
    image_only: bool
    """True where the graph has no ECG inputs."""
    fp32_graph_sha256: str
    """Of the graph that an FP16 variant was made of; empty in an FP32 file."""
    twin_scores: Mapping[str, Any]
    """Test scores on the digital twin, with the command that measured them."""
    ecg_scores: Mapping[str, Any]
    """Worth of the ECG branch on real ECGs it was not trained on: ``data`` that were used,
    ``records``, ``auroc`` of infarct against normal and ``calibration_error`` of the belief, 0–1.
    Empty where nobody measured it, as in files from before it was."""
    largest_field_mm: tuple[float, ...]
    """Rows and columns of the largest field of view that the graph covers; empty: any."""
    verification: Mapping[str, Any]
    """Parity with PyTorch FP32: ``rows`` by "provider precision", and the ``graph_sha256`` that
    they were measured on (scarseg_runtime.model_file.gates)."""

    def covers(self, pixels: tuple[int, int], spacing_mm: tuple[float, float]) -> bool:
        """True where the graph covers slices of so many rows and columns."""
        sizes = zip(pixels, spacing_mm, self.largest_field_mm or (math.inf, math.inf), strict=True)
        return all(count * apart <= largest for count, apart, largest in sizes)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file, its graph not loaded yet."""

    path: Path
    metadata: ModelMetadata
    sha256: str
    """Of the whole file; engines are bound to it."""
    graph_sha256: str
    """Of the graph alone; the verification table is bound to it."""


def read_model_file(path: Path) -> ModelFile:
    """Read the metadata of a model file. Raises ModelError where it is missing, damaged or odd."""
    envelope = read_envelope(path)
    metadata = parse_metadata(envelope.properties)
    return ModelFile(path, metadata, envelope.sha256, envelope.graph_sha256)


def checked_bytes(model: ModelFile) -> bytes:
    """The file again, for a library to load: the bytes that were checked, whatever lies at the
    path by now. Raises ModelError where they changed or are gone."""
    content = read_model_bytes(model.path)
    if hashlib.sha256(content).hexdigest() != model.sha256:
        raise ModelError("the model file has changed since it was checked", "Try again")
    return content


def half_variant_path(path: Path) -> Path:
    """Path at which the FP16 variant of ``model.onnx`` is looked for: ``model.fp16.onnx``."""
    return path.with_suffix(HALF_SUFFIX)


def with_half_variant(path: Path) -> list[ModelFile]:
    """The model file and, where it lies beside it and stems from it, its FP16 variant. Raises
    ModelError as :func:`read_model_file`."""
    model = read_model_file(path)
    half = half_variant_path(path)
    # Not half.is_file(): of a name that is too long by its ending that raises an error.
    if model.metadata.precision != "fp32" or not os.path.isfile(half):  # noqa: PTH113
        return [model]
    try:
        variant = read_model_file(half)
    except ModelError:
        return [model]  # a damaged one is none: the model itself still runs
    if variant.metadata.fp32_graph_sha256 != model.graph_sha256:
        return [model]  # of another training
    return [model, variant]


def encode_metadata(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Metadata as ``metadata_props`` entries, format and ECG contract included."""
    entries = {"format_version": FORMAT_VERSION, "ecg": _ecg_contract(), **metadata}
    return {PREFIX + key: json.dumps(value, sort_keys=True) for key, value in entries.items()}


def parse_metadata(properties: Mapping[str, str]) -> ModelMetadata:
    """Read our entries of ``metadata_props``. Raises ModelError where one is missing or odd."""
    if PREFIX + "format_version" not in properties:
        raise ModelError("the model file carries no scarseg metadata", _ADVICE)
    try:
        entries = {
            key.removeprefix(PREFIX): json.loads(value)
            for key, value in properties.items()
            if key.startswith(PREFIX) and len(value) <= MAX_ENTRY_CHARS
        }
    except (ValueError, RecursionError) as error:
        raise ModelError("the model file's metadata is damaged", _ADVICE) from error
    version = entries.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise ModelError(
            f"the model file has format version {shown(version)}, this runtime reads "
            f"{FORMAT_VERSION}",
            "Use the matching release, or export the model again",
        )
    if entries.pop("ecg", None) != _ecg_contract():
        raise ModelError("the model file expects another ECG (leads, rate or beat length)", _ADVICE)
    return _build(entries)


def _build(entries: dict[str, Any]) -> ModelMetadata:
    names = set(ModelMetadata.__dataclass_fields__)
    for name, absent in (("ecg_scores", {}), ("largest_field_mm", [])):  # of files before it was
        entries.setdefault(name, absent)
    missing = sorted(names - entries.keys())
    if missing:
        raise ModelError(f"the model file's metadata lacks {', '.join(missing)}", _ADVICE)
    values = {name: entries[name] for name in names}
    _check_types(values)
    for name in _NUMBERS:
        values[name] = float(values[name])
    values["classes"] = tuple(values["classes"])
    values["largest_field_mm"] = tuple(map(float, values["largest_field_mm"]))
    if sorted(entry["value"] for entry in values["classes"]) != sorted(map(int, Label)):
        raise ModelError("the model file's classes are not those of the contract", _ADVICE)
    if values["precision"] not in ("fp32", "fp16"):
        raise ModelError("the model file's precision is neither fp32 nor fp16", _ADVICE)
    if not values["tau_days"] > 0:
        raise ModelError("the model file's time constant is not positive", _ADVICE)
    return ModelMetadata(**values)


def _check_types(values: Mapping[str, Any]) -> None:
    """Raises ModelError naming the first entry that is not what :class:`ModelMetadata` says."""
    checks: dict[Callable[[Any], bool], tuple[str, ...]] = {
        _is_number: _NUMBERS,
        _is_text: _TEXTS,
        lambda value: type(value) is int and value >= 0: ("half_convolutions",),
        lambda value: isinstance(value, bool): ("image_only",),
        lambda value: isinstance(value, dict): ("recipe", "twin_scores"),
        _is_table: ("verification",),
        _is_ecg_scores: ("ecg_scores",),
        _is_field: ("largest_field_mm",),
        lambda value: isinstance(value, list) and all(map(_is_class, value)): ("classes",),
    }
    for fits, names in checks.items():
        for name in names:
            if not fits(values[name]):
                raise ModelError(f"the model file's {name} is of a wrong type or size", _ADVICE)


def _is_number(value: Any) -> bool:
    """An integer too large for a float is none."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:
        return False


def _is_text(value: Any) -> bool:
    """It stands in results and on terminals: no control characters."""
    return isinstance(value, str) and len(value) <= MAX_TEXT_CHARS and value.isprintable()


def _is_class(value: Any) -> bool:
    """The colour goes into pictures and pages as it is."""
    return (
        isinstance(value, dict)
        and type(value.get("value")) is int
        and _is_text(value.get("name"))
        and isinstance(value.get("colour"), str)
        and re.fullmatch("#[0-9a-fA-F]{6}", value["colour"]) is not None
    )


def _is_table(value: Any) -> bool:
    """Rows by provider and precision; what a row lacks, its gate finds out."""
    rows = value.get("rows", {}) if isinstance(value, dict) else None
    return isinstance(rows, dict) and all(isinstance(row, dict) for row in rows.values())


def _is_field(value: Any) -> bool:
    """Nothing, or two lengths."""
    return isinstance(value, list) and (
        not value or (len(value) == 2 and all(_is_number(one) and one > 0 for one in value))
    )


def _is_ecg_scores(value: Any) -> bool:
    """They stand in results."""
    return isinstance(value, dict) and (
        not value
        or (
            value.keys() == {"data", "records", "auroc", "calibration_error"}
            and _is_text(value["data"])
            and type(value["records"]) is int
            and value["records"] > 0
            and all(_is_number(value[k]) for k in ("auroc", "calibration_error"))
            and all(0 <= value[k] <= 1 for k in ("auroc", "calibration_error"))
        )
    )


def shown(value: Any) -> str:
    """Text of a file, short and on one line, for a message."""
    text = str(value)[:_SHOWN_CHARS]
    return text if text.isprintable() else ascii(text)


def check_contract(
    inputs: Iterable[_Tensor], outputs: Iterable[_Tensor], *, image_only: bool = False
) -> None:
    """Compare a graph's inputs and outputs with the contract. Raises ModelError naming the
    first tensor that differs."""
    wanted = IMAGE_INPUTS if image_only else INPUTS
    for kind, specs, tensors in (("input", wanted, inputs), ("output", OUTPUTS, outputs)):
        found = {tensor.name: tensor for tensor in tensors}
        for spec in specs:
            if spec.name not in found:
                raise ModelError(f"the model file has no {kind} named {spec.name}", _ADVICE)
            _check_tensor(kind, spec, found.pop(spec.name))
        if found:
            odd = shown(sorted(found)[0])
            raise ModelError(f"the model file has an unknown {kind} {odd}", _ADVICE)


def _check_tensor(kind: str, spec: TensorSpec, tensor: _Tensor) -> None:
    shape = tuple(tensor.shape)
    fits = len(shape) == len(spec.shape) and all(
        isinstance(axis, str) if isinstance(wanted, str) else axis == wanted
        for axis, wanted in zip(shape, spec.shape, strict=True)
    )
    if tensor.type != spec.type or not fits:
        raise ModelError(
            f"the model file's {kind} {spec.name} is {shown(f'{tensor.type} {list(shape)}')}, "
            f"the contract says {spec.type} {list(spec.shape)}",
            _ADVICE,
        )


def _ecg_contract() -> dict[str, Any]:
    return {
        "leads": list(LEADS),
        "rate_hz": ECG_RATE_HZ,
        "samples": BEAT_SAMPLES,
        "r_index": BEAT_R_INDEX,
    }
