"""The model that ships with the package: trained on the project's digital twin (MODEL_CARD.md)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

REFERENCE_MODEL = "reference.onnx"


@contextmanager
def model_path(model: str | Path | None) -> Iterator[Path]:
    """The file of ``model``, or of the shipped reference model with its FP16 variant beside it."""
    if model is not None:
        yield Path(model)
        return
    with resources.as_file(resources.files(__name__)) as folder:
        yield folder / REFERENCE_MODEL
