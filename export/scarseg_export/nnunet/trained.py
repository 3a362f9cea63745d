"""The folder in which nnU-Net v2 leaves a trained model: telling it from its neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from scarseg_runtime.errors import ModelError

CONFIGURATION: Final = "2d"
_FILES: Final = ("plans.json", "dataset.json")
_LAYOUT: Final = (
    "Pass the folder of the trained model, whose name ends in __2d; it holds plans.json, "
    "dataset.json and fold_0"
)


def check_trained(folder: Path) -> None:
    """Check that it can be a trained-model folder. Raises ModelError that says where one may
    lie."""
    if not folder.is_dir():
        advice = f"Pass the folder it lies in: {_above(folder)}" if _above(folder) else _LAYOUT
        raise ModelError(f"{folder} is no folder", advice)
    if _is_of_version_1(folder):
        raise ModelError(
            f"{folder} is a model of nnU-Net v1",
            "Train it again with nnU-Net v2, which alone is supported",
        )
    if "___" in folder.resolve().name or folder.resolve().name == "ensembles":
        raise ModelError(
            f"{folder} is an ensemble of nnU-Net",
            "Pass one model, whose name ends in __2d; --fold 0 1 2 3 4 averages its folds",
        )
    if not all((folder / name).is_file() for name in _FILES):
        raise ModelError(f"{folder} is not the folder of a trained model", _elsewhere(folder))


def _is_of_version_1(folder: Path) -> bool:
    return (folder / "plans.pkl").is_file() and not (folder / "plans.json").is_file()


def _elsewhere(folder: Path) -> str:
    above = _above(folder)
    if above:
        return f"Pass the folder it lies in: {above}"
    inside = sorted(
        path.relative_to(folder).as_posix()
        for pattern in ("*__*__*", "*/*__*__*")
        for path in folder.glob(pattern)
        if path.is_dir() and "___" not in path.name
    )
    flat = [name for name in inside if name.endswith(f"__{CONFIGURATION}")]
    if len(flat) == 1:
        return f"Pass the trained model in it: {folder / flat[0]}"
    if flat:
        return f"Pass one of the trained models in it: {', '.join(flat[:5])}"
    if inside:
        return f"It holds no model of the configuration 2d, but {inside[0]}: train nnU-Net's 2d"
    return _LAYOUT


def _above(path: Path) -> Path | None:
    """The trained model that a fold's folder or a file in one belongs to."""
    for parent in path.resolve().parents[:2]:
        if all((parent / name).is_file() for name in _FILES):
            return parent
    return None


def checkpoint_path(folder: Path, fold: str, checkpoint: str) -> Path:
    """Checkpoint of a fold. Raises ModelError that names the folds or checkpoints there are."""
    fold_folder = folder / f"fold_{fold}"
    if not fold_folder.is_dir():
        found = sorted(p.name.removeprefix("fold_") for p in folder.glob("fold_*") if p.is_dir())
        raise ModelError(
            f"the trained model has no fold {fold}",
            f"There are: --fold {' '.join(found)}" if found else "Train nnU-Net's 2d first",
        )
    path = fold_folder / checkpoint
    if not path.is_file():
        found = sorted(p.name for p in fold_folder.glob("*.pth"))
        raise ModelError(
            f"fold {fold} has no {checkpoint}",
            f"There are: {', '.join(found)}. Name one with --checkpoint; without "
            "checkpoint_final.pth the training has not ended"
            if found
            else "Let its training end first",
        )
    return path
