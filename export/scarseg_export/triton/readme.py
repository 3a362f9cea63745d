"""README.md of a model repository: all that a person needs who sends studies to the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from scarseg_export.triton.config import SEGMENT_LABELS
from scarseg_runtime.contract import ECG_RATE_HZ, LEADS, TensorSpec
from scarseg_runtime.model_file.read import ModelFile
from scarseg_runtime.providers.tensorrt.build import Profile

CLASS_LABELS: Final = "classes.txt"

_MEANING: Final = {
    "lge": "pixel values after rescale, any scale; slices base → apex; standard short-axis "
    "display: anterior wall up, right ventricle on image left",
    "pixel_spacing": "mm between rows, mm between columns",
    "slice_level": "position along the long axis, 0 the most basal slice … 1 the most apical",
    "ecg": f"R-aligned mean beat, mV, {ECG_RATE_HZ:g} Hz, leads {' '.join(LEADS)}",
    "gap_days": "days between ECG and MRI, 0 or more",
    "ecg_valid": "1 use the ECG; 0 do not, where there is none or its gap is not known",
    "labels": f"one of {CLASS_LABELS} for each pixel of the input",
    "scar_probability": "0 to 1",
    "image_only_labels": "the same by the image alone: what the ECG has changed shows beside it",
    "segments": "AHA segment 1–17 inside the myocardium, else 0",
    "segment_burden": "scar as a fraction of each AHA segment, 0 to 1",
    "ecg_segment_belief": "scar by the ECG alone for each AHA segment, 0 to 1",
    "ecg_weight": "weight of the ECG in the result, 0 to 1",
    "ecg_image_disagreement": "probability that ECG and image are of different patients; 0 "
    "where no ECG is used",
}
_KINDS: Final = {"tensor(float)": "FP32", "tensor(uint8)": "UINT8"}


def readme(
    model: ModelFile,
    name: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    profile: Profile,
    plan: str | None,
) -> str:
    """Markdown.

    Args:
        profile: the sizes of the TensorRT plan, made or to be made.
        plan: what the plan was made with; None where none was made.
    """
    metadata = model.metadata
    return "\n".join(
        [
            f"# {metadata.name} {metadata.version} for Triton and KServe v2",
            "",
            f"**{metadata.intended_use}** {metadata.training_data}",
            "",
            f"Model name `{name}`, precision {metadata.precision}, licence {metadata.licence}, "
            f"SHA-256 of `1/model.onnx` {model.sha256}.",
            "",
            *_serving(name),
            *_tensors("Inputs", inputs),
            *_tensors("Outputs", outputs),
            *_around(metadata.min_scar_ml, metadata.image_only),
            *_tensorrt(profile, plan),
        ]
    )


def _serving(name: str) -> list[str]:
    return [
        "## Serve it",
        "",
        "```bash",
        "tritonserver --model-repository=..   # the folder above that of this file",
        "```",
        "",
        f"A request is one study, not a batch: POST /v2/models/{name}/infer. Before it is ready "
        "the server runs the simulated patient of `warmup/`.",
        "",
    ]


def _tensors(title: str, specs: Sequence[TensorSpec]) -> list[str]:
    rows = [
        f"| `{spec.name}` | {_KINDS[spec.type]} | "
        f"[{', '.join(map(str, spec.shape))}] | {_MEANING[spec.name]} |"
        for spec in specs
    ]
    head = ["| name | type | shape | meaning |", "|---|---|---|---|"]
    return [f"## {title}", "", *head, *rows, ""]


def _around(min_scar_ml: float, image_only: bool) -> list[str]:
    lines = [
        "S slices, H rows, W columns: any, and the same in all tensors of a request. Resampling, "
        "normalisation and the search for the heart are in the graph: send pixels as they are.",
        "",
        "What the graph does not do, and `scarseg_runtime` does around it:",
        "",
        "- order and turn the slices, from their positions and orientation",
    ]
    if not image_only:
        lines += [
            "- find the beats, average them, judge leads and noise",
            "- decide whether the ECG may be used: an unknown, negative or endless gap, or an "
            "event in between, means `ecg_valid` 0, never `gap_days` 0",
        ]
    return [
        *lines,
        f"- remove islands of scar below {min_scar_ml:g} mL, and quantify what is left",
        "",
        f"`classification` requests of `segment_burden` name the segments as in "
        f"`{SEGMENT_LABELS}`.",
        "",
    ]


def _tensorrt(profile: Profile, plan: str | None) -> list[str]:
    three = {
        "min": profile.smallest, "opt": profile.usual, "max": profile.largest,
    }  # fmt: skip
    shapes = [
        f"    --{name}Shapes=lge:{'x'.join(map(str, sizes))},slice_level:{sizes[0]}"
        for name, sizes in three.items()
    ]
    made = (
        f"`1/model.plan` was made with {plan}. Another release or GPU needs another."
        if plan
        else "No plan lies here: there was no NVIDIA GPU with TensorRT where this folder was "
        "written. Make it on the GPU that will run it, with the TensorRT release of the server:"
    )
    trtexec = " \\\n".join(
        ["trtexec --stronglyTyped --onnx=1/model.onnx --saveEngine=1/model.plan", *shapes]
    )
    return [
        "## TensorRT backend",
        "",
        made,
        "",
        "```bash",
        trtexec,
        "```",
        "",
        "Then `tritonserver --model-repository=.. --model-config-name=tensorrt` takes "
        "`configs/tensorrt.pbtxt`. The plan computes in the types of the ONNX file: make the "
        "repository of the FP16 variant for an FP16 plan. Compare it with the ONNX file before "
        "you use it.",
        "",
    ]
