"""Software bill of materials of an installed environment, as CycloneDX 1.6 JSON.

    python bench/sbom.py PYTHON -o sbom.cdx.json    # `make sbom` gives it a lean environment

Lists every Python package with version, package URL and licence, who needs whom, and the shipped
model files with their SHA-256. The same environment gives the same bytes. It names no place on
this machine and no address: who knows a package URL knows where to look.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from scarseg_runtime.model_file.read import read_model_file
from scarseg_runtime.version import __version__

ROOT: Final = Path(__file__).resolve().parents[1]
MODELS: Final = ROOT / "scarseg_infer" / "models"
NAME: Final = "scarseg-infer"
Document = dict[str, Any]

CONCLUDED: Final = {"protobuf": "BSD-3-Clause", "ray": "Apache-2.0", "wfdb": "MIT"}
"""SPDX identifiers of licences that stand in a package's files but not, or in words of its own, in
its metadata."""


def bill_of_materials(python: str | Path) -> Document:
    """List what is installed for interpreter ``python``, or in the environment of that folder, and
    our models. Raises subprocess.CalledProcessError where the environment cannot be read."""
    command = [
        sys.executable, "-m", "cyclonedx_py", "environment", "--spec-version", "1.6",
        "--output-reproducible", "--no-validate",
        "--pyproject", str(ROOT / "pyproject.toml"), str(python),
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    document: Document = json.loads(run.stdout)
    _complete_root(document)
    document.setdefault("components", [])  # where nothing is installed
    for component in (*document["components"], *document["metadata"]["tools"]["components"]):
        _tidy(component)
    _add_models(document)
    return document


def as_checked_text(document: Document) -> str:
    """The document as JSON text. Raises ValueError where it breaks CycloneDX's schema.

    Takes time with the square of the number of components: 2 s for 50, half a minute for 190.
    """
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem is not None:
        raise ValueError(f"not CycloneDX 1.6: {problem}")
    return text


def _complete_root(document: Document) -> None:
    """Our version is computed when we are built, so the tool does not find it."""
    root = document["metadata"]["component"]
    root["version"] = __version__
    root["purl"] = f"pkg:pypi/{NAME}@{__version__}"


def _tidy(component: Document) -> None:
    component.pop("externalReferences", None)  # addresses, and where a local file came from
    if not component.get("licenses") and component["name"] in CONCLUDED:
        licence = {"id": CONCLUDED[component["name"]], "acknowledgement": "concluded"}
        component["licenses"] = [{"license": licence}]


def _add_models(document: Document) -> None:
    models = [_model_component(path) for path in sorted(MODELS.glob("*.onnx"))]
    document["components"] += models
    references = [model["bom-ref"] for model in models]
    root = document["metadata"]["component"]["bom-ref"]
    for entry in document["dependencies"]:
        if entry["ref"] == root:
            entry["dependsOn"] = sorted([*entry.get("dependsOn", []), *references])
    document["dependencies"] += [{"ref": reference} for reference in references]


def _model_component(path: Path) -> Document:
    facts = read_model_file(path).metadata
    return {
        "type": "machine-learning-model",
        "bom-ref": f"{path.name}@{facts.version}",
        "name": facts.name,
        "version": facts.version,
        "description": f"{facts.precision}. {facts.training_data}",
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}],
        "licenses": [{"license": {"id": facts.licence}}],
        "purl": f"pkg:generic/{facts.name}@{facts.version}?file_name={path.name}",
        "modelCard": {
            "modelParameters": {"task": "image segmentation"},
            "considerations": {"useCases": [facts.intended_use]},
        },
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Write the bill of the interpreter that the command line names."""
    arguments = argparse.ArgumentParser(description="Write a CycloneDX bill of materials.")
    arguments.add_argument("python", help="interpreter or folder of the environment")
    arguments.add_argument("-o", "--out", type=Path, required=True)
    chosen = arguments.parse_args(argv)
    document = bill_of_materials(chosen.python)
    chosen.out.write_text(as_checked_text(document), encoding="utf-8")
    print(f"{chosen.out.name}: {len(document['components'])} components")
    return 0


if __name__ == "__main__":
    sys.exit(main())
