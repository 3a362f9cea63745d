"""Promise of semantic versioning: names and signatures change with a deliberate edit here.

Adding is a minor release; removing, renaming or reordering a major one (see CHANGELOG.md).
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import get_args

import pytest

import scarseg_infer
from scarseg_infer import ScarResult, ScarsegError, Segmenter

NAMES = {
    "Amount", "CancelSignal", "CancelledError", "Characteristics", "DisplayTransform", "EcgError",
    "EcgQuality", "EcgRecord", "EcgSource", "EcgUse", "GapSource", "ImageKind", "LEADS", "Label",
    "LeadQuality", "LgeStack", "ModelError", "ModelUse", "OutputError", "Pair", "PreferredKind",
    "Progress", "ProviderError", "Quantities", "RunTimeoutError", "ScarResult", "ScarsegError",
    "SegmentQuantities", "Segmenter", "SeriesVerdict", "Stage", "StudyError", "StudyFiles",
    "UsageError", "Watch", "Zones", "__version__", "list_series", "read_ecg", "read_study",
    "stack_from_arrays",
}  # fmt: skip

PARAMETERS = {
    Segmenter.from_model: (
        "model=None *provider='auto' *precision='auto' *threads=None *cache=True *background=False "
        "*once=False"
    ),
    Segmenter.run: (
        "self study ecg=None *gap_days=None *series=None *prefer='PSIR' "
        "*allow_identity_mismatch=False *progress=None *cancel=None *timeout_s=None"
    ),
    Segmenter.run_many: (
        "self studies *prefer='PSIR' *allow_identity_mismatch=False *cancel=None *timeout_s=None"
    ),
    Segmenter.warm_up: "self slices=12 height=256 width=216",
    Segmenter.model_use: "self",
    Segmenter.close: "self",
    scarseg_infer.read_study: "path series=None prefer='PSIR' *watch=None",
    scarseg_infer.read_ecg: "path",
    scarseg_infer.list_series: "path prefer='PSIR'",
    scarseg_infer.stack_from_arrays: (
        "pixels pixel_spacing_mm image_positions_mm image_orientation *slice_thickness_mm=None "
        "*acquired=None *image_kind='unknown type'"
    ),
    ScarResult.write: "self out *overwrite=False *only=()",
}

FIELDS = {
    "Amount": "ml g percent_of_lv_mass",
    "Characteristics": (
        "location distribution segment_distribution microvascular_obstruction_ml fwhm sd n_sd "
        "schmidt"
    ),
    "DisplayTransform": "reverse_slices transpose flip_rows flip_columns turn_deg=0.0",
    "EcgQuality": (
        "leads heart_rate_bpm qrs_ms pattern pacing exchanged_electrodes findings warnings"
    ),
    "EcgRecord": (
        "signals_mv rate_hz lead_names recorded=None date_only=False source='array' warnings=() "
        "patient_id=None"
    ),
    "EcgUse": (
        "given weight gap_days gap_source reason source heart_rate_bpm beats_averaged "
        "derived_leads quality mean_beat_mv segment_belief image_disagreement"
    ),
    "LeadQuality": "lead present flat clipped invalid_share noise_uv",
    "LgeStack": (
        "pixels pixel_spacing_mm origins_mm row_direction column_direction slice_thickness_mm "
        "source orientation_known=True acquired=None date_only=False image_kind='unknown type' "
        "datasets=() frame_numbers=() warnings=()"
    ),
    "ModelUse": "name version sha256 training_data provider precision tau_days ecg_scores=None",
    "Quantities": (
        "myocardium_ml myocardium_g scar_ml scar_g scar_percent_of_lv_mass lv_cavity_ml segments"
    ),
    "ScarResult": (
        "stack labels scar_probability image_only_labels segments display quantities "
        "image_only_quantities ecg model timings_ms warnings"
    ),
    "SegmentQuantities": (
        "number name territory myocardium_ml scar_ml burden transmurality transmurality_class"
    ),
    "SeriesVerdict": (
        "number series_uid series_number description kind slices orientation score chosen reason"
    ),
    "Zones": "core grey_zone",
}

EXIT_CODES = {
    "UsageError": 2, "StudyError": 3, "EcgError": 4, "ModelError": 5, "ProviderError": 5,
    "OutputError": 6,
}  # fmt: skip


def test_names() -> None:
    assert set(scarseg_infer.__all__) == NAMES
    assert set(dir(scarseg_infer)) >= NAMES
    for name in NAMES:
        assert getattr(scarseg_infer, name) is not None


def test_the_stub_is_nothing_but_public_names() -> None:
    """Type checkers and imports see one list: no line is passed over."""
    stub = Path(scarseg_infer.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    lines = [node for node in ast.parse(stub).body if not isinstance(node, ast.Expr)]
    assert {
        alias.asname: node.module
        for node in lines
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    } == scarseg_infer._MODULES
    assert len(lines) == len(NAMES)


def test_names_are_found_in_a_zip(tmp_path: Path) -> None:
    """Some hosts ship Python so."""
    package = Path(scarseg_infer.__file__).parent
    with zipfile.ZipFile(tmp_path / "host.zip", "w") as archive:
        for name in ("__init__.py", "__init__.pyi"):
            archive.write(package / name, f"scarseg_infer/{name}")
    code = "import scarseg_infer; print(scarseg_infer.__file__, *scarseg_infer.__all__)"
    run = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(tmp_path / "host.zip")}, cwd=tmp_path,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    place, *names = run.stdout.split()
    assert "host.zip" in place and set(names) == NAMES


def test_signatures() -> None:
    for call, expected in PARAMETERS.items():
        found = [
            "*" * (parameter.kind is inspect.Parameter.KEYWORD_ONLY)
            + with_default(parameter.name, parameter.default, inspect.Parameter.empty)
            for parameter in inspect.signature(call).parameters.values()
        ]
        assert " ".join(found) == expected, call.__qualname__


def with_default(name: str, default: object, missing: object) -> str:
    return name if default is missing else f"{name}={default!r}"


def test_everything_public_documents_itself() -> None:
    for call in PARAMETERS:
        assert inspect.getdoc(call), call.__qualname__
    for name in NAMES:
        value = getattr(scarseg_infer, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), name


@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_what_hosts_hold(name: str) -> None:
    fields = dataclasses.fields(getattr(scarseg_infer, name))
    found = [with_default(f.name, f.default, dataclasses.MISSING) for f in fields]
    assert " ".join(found) == FIELDS[name]


@pytest.mark.parametrize("name", FIELDS)
def test_help_says_what_each_field_is(name: str) -> None:
    fields = {f.name: f for f in dataclasses.fields(getattr(scarseg_infer, name))}
    _, _, block = (inspect.getdoc(getattr(scarseg_infer, name)) or "").partition("\nAttributes:\n")
    texts = dict(re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", block, re.M))
    assert list(texts) == list(fields)
    arrays = [key for key, field in fields.items() if "NDArray" in str(field.type)]
    assert [key for key in arrays if not re.match(r"\[[\w, ]+\] ", texts[key])] == []


def test_help_names_the_stages_that_progress_is_told() -> None:
    said = inspect.getdoc(Segmenter.run) or ""
    places = [said.find(f"``{stage}``") for stage in get_args(scarseg_infer.Stage)]
    assert len(places) == 6 and -1 not in places and places == sorted(places)


def test_every_public_dataclass_is_pinned() -> None:
    assert {n for n in NAMES if dataclasses.is_dataclass(getattr(scarseg_infer, n))} == {*FIELDS}


def test_labels_and_leads() -> None:
    assert {label.name: label.value for label in scarseg_infer.Label} == {
        "BACKGROUND": 0, "LV_CAVITY": 1, "VIABLE_MYOCARDIUM": 2, "SCAR": 3, "RV_CAVITY": 4,
    }  # fmt: skip
    assert " ".join(scarseg_infer.LEADS) == "I II III aVR aVL aVF V1 V2 V3 V4 V5 V6"


def test_errors_have_one_base_and_documented_exit_codes() -> None:
    for name, code in EXIT_CODES.items():
        error = getattr(scarseg_infer, name)
        assert issubclass(error, ScarsegError) and error.exit_code == code
    assert issubclass(scarseg_infer.RunTimeoutError, (scarseg_infer.CancelledError, TimeoutError))
