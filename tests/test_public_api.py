"""What semantic versioning promises: names and signatures change with a deliberate edit here.

Adding is a minor release; removing, renaming or reordering a major one (see CHANGELOG.md).
"""

from __future__ import annotations

import inspect

import scarseg_infer
from scarseg_infer import LgeStack, ScarResult, ScarsegError, Segmenter

NAMES = {
    "CancelledError", "EcgError", "EcgRecord", "EcgUse", "LgeStack", "ModelError", "ModelUse",
    "OutputError", "ProviderError", "RunTimeoutError", "ScarResult", "ScarsegError", "Segmenter",
    "SeriesVerdict", "StudyError", "UsageError", "__version__", "list_series", "read_ecg",
    "read_study", "stack_from_arrays",
}  # fmt: skip

PARAMETERS = {
    Segmenter.from_model: "model *provider *precision *threads *cache *background",
    Segmenter.run: (
        "self study ecg *gap_days *series *prefer *allow_identity_mismatch *progress *cancel "
        "*timeout_s"
    ),
    Segmenter.run_many: "self studies",
    Segmenter.warm_up: "self slices height width",
    Segmenter.model_use: "self",
    Segmenter.close: "self",
    scarseg_infer.read_study: "path series prefer *watch",
    scarseg_infer.read_ecg: "path",
    scarseg_infer.list_series: "path prefer",
    scarseg_infer.stack_from_arrays: (
        "pixels pixel_spacing_mm image_positions_mm image_orientation *slice_thickness_mm "
        "*acquired *image_kind"
    ),
    ScarResult.write: "self out *overwrite *only",
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


def test_signatures() -> None:
    for call, expected in PARAMETERS.items():
        found = [
            "*" * (parameter.kind is inspect.Parameter.KEYWORD_ONLY) + parameter.name
            for parameter in inspect.signature(call).parameters.values()
        ]
        assert " ".join(found) == expected, call.__qualname__


def test_every_public_call_documents_itself() -> None:
    for call in PARAMETERS:
        assert inspect.getdoc(call), call.__qualname__
    for name in NAMES - {"__version__"}:
        assert inspect.getdoc(getattr(scarseg_infer, name)), name


def test_fields_of_what_hosts_hold() -> None:
    assert [*LgeStack.__dataclass_fields__][:6] == [
        "pixels", "pixel_spacing_mm", "origins_mm", "row_direction", "column_direction",
        "slice_thickness_mm",
    ]  # fmt: skip
    assert set(ScarResult.__dataclass_fields__) >= {
        "stack", "labels", "scar_probability", "image_only_labels", "segments", "quantities",
        "image_only_quantities", "ecg", "model", "timings_ms", "warnings",
    }  # fmt: skip


def test_errors_have_one_base_and_documented_exit_codes() -> None:
    for name, code in EXIT_CODES.items():
        error = getattr(scarseg_infer, name)
        assert issubclass(error, ScarsegError) and error.exit_code == code
    assert issubclass(scarseg_infer.RunTimeoutError, (scarseg_infer.CancelledError, TimeoutError))
